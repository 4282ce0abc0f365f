"""What judges samples of a target with cells: exact masses, quantiles, and the floor of every metric."""

from typing import Any

import jax
import numpy as np

import metrics
from kinds.contract import Judge, Scorer, Target, floor_of, fresh_rows
from kinds.real.cells import row_masses, score_cells

N_FLOOR_DRAWS = 200
N_FLOOR_QUANTILES = 41  # kept of them, at equal steps from 0 to 1: every 2.5 %
N_REFERENCE_ROWS = 100_000  # fixed target rows behind the sliced distance in 2-D


def make_judge(target: Target, config: Any, n_samples: int | None = None) -> Judge:
    """Builds the scorer of a target with its floors.

    Args:
      target: from `targets.make_target`.
      config: the run's configuration.
      n_samples: rows of a sample; None: config.n_eval_samples.
    """
    n = n_samples or config.n_eval_samples
    soft = target.codec.compared is not None and config.decode == "soft"
    cells = score_cells(target.truth, config.kld_cells)
    masses = target.truth.cell_masses(cells)
    axes = metrics.directions(target.dim).astype(np.float32)
    levels = metrics.mid_ranks(n)

    # Compiled as one: operation by operation every one of them would be compiled by itself.
    as_compared = jax.jit(target.as_compared)

    def compared(rows):
        return np.asarray(as_compared(np.asarray(rows, np.float32)))

    if target.empirical:
        quantiles = metrics.projected_quantiles(compared(target.held_out_rows), axes, levels)
    elif target.truth.quantile is not None:
        quantiles = compared(target.truth.quantile(levels)[:, None]).T
    else:
        # The same rows whatever the run's seed: a distance must not change with its yardstick.
        rows = jax.jit(target.sample, static_argnums=1)(jax.random.key(0), N_REFERENCE_ROWS)
        quantiles = metrics.projected_quantiles(np.asarray(rows), axes, levels)

    def score_against(x, masses, quantiles):
        counts = metrics.cell_counts(cells.index(x), cells.n_cells)
        return {
            "kld": float(metrics.kld(masses, counts, config.kld_epsilon)),
            "wasserstein": metrics.wasserstein(x, quantiles, axes),
        }

    def score(x):
        return score_against(x, masses, quantiles)

    if target.empirical:
        # A split of its own a draw: which rows were held out is part of what a perfect score depends on.
        table = compared(np.concatenate([target.train_rows, target.held_out_rows]))

        def perfect(i):
            generator = np.random.default_rng([config.seed, 1, i])
            train, held_out = np.split(generator.permutation(table), [len(target.train_rows)])
            return train[generator.integers(len(train), size=n)], held_out

    else:
        fresh = fresh_rows(target, config.seed, n)

        def perfect(i):
            return fresh(i), None

    def score_perfect(i):
        x, held_out = perfect(i)
        if held_out is None:
            return score(x)
        return score_against(x, row_masses(held_out, cells), metrics.projected_quantiles(held_out, axes, levels))

    scores = [score_perfect(i) for i in range(N_FLOOR_DRAWS)]
    discretisation_error = None
    if target.codec.compared is not None:
        points = target.held_out_rows
        if not target.empirical:
            points = target.truth.quantile(metrics.mid_ranks(N_REFERENCE_ROWS))[:, None]
        discretisation_error = float(np.mean(np.abs(points - compared(points))))
    return Judge(
        scorer=Scorer(
            n,
            target.codec.decode_mean if soft else target.codec.decode,
            soft,
            tuple(scores[0]),
            score,
            keep=lambda x: row_masses(x, cells),
        ),
        labels={"kld": "KLD (nats)", "wasserstein": "W₁ (units of x)" if target.dim == 1 else "sliced W₁ (units of x)"},
        floors={name: floor_of([score[name] for score in scores], N_FLOOR_QUANTILES) for name in scores[0]},
        of_shares=lambda q: float(metrics.kld(masses, q, config.kld_epsilon)),
        masses=masses,
        quantiles=quantiles,
        discretisation_error=discretisation_error,
        perfect=perfect,
    )

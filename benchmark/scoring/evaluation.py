"""From a target to what judges samples of it: cells, exact masses, quantiles, and the floor of every metric."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

import metrics
from benchmark.engine.training import Scorer
from kinds.cells import row_masses
from targets import Target, kld_cells

N_FLOOR_DRAWS = 200
N_FLOOR_QUANTILES = 41  # kept of them, at equal steps from 0 to 1: every 2.5 %
N_REFERENCE_ROWS = 100_000  # fixed target rows behind the sliced distance in 2-D


@dataclass(frozen=True)
class Floor:
    """What samples of the target itself score on the same estimator.

    Unpacked it is the three numbers that pictures draw: mean, low and high.
    """

    mean: float
    low: float  # 2.5 % quantile over draws
    high: float  # 97.5 % quantile
    median: float  # below the mean where a cell that stays empty now and then costs much
    quantiles: tuple[float, ...] = ()  # at equal steps from 0 to 1, of what is drawn often enough to have them

    def __iter__(self) -> Iterator[float]:
        """What pictures draw."""
        return iter((self.mean, self.low, self.high))


class Judge(NamedTuple):
    """Everything that scores samples of one size of one target during training."""

    scorer: Scorer
    floors: Mapping[str, Floor]
    masses: np.ndarray  # [K] float64, the target's exact cell masses
    quantiles: np.ndarray  # [L, n] float32, the target's along every direction
    discretisation_error: float | None  # W₁(target, binned target); None without bins
    perfect: Callable[[int], tuple[np.ndarray, np.ndarray | None]]  # floor draw i: what a perfect model would sample
    # [n, D], and the rows to compare it with where these are redrawn as well (a table's held-out part)


def make_judge(target: Target, config: Any, n_samples: int | None = None) -> Judge:
    """Builds the scorer of a target with its floors.

    Args:
      target: from `targets.make_target`.
      config: the run's configuration.
      n_samples: rows of a sample; None: config.n_eval_samples.
    """
    n = n_samples or config.n_eval_samples
    soft = target.n_bins > 0 and config.decode == "soft"
    cells = kld_cells(target, config.kld_cells)
    masses = target.cell_masses(cells)
    axes = metrics.directions(target.dim).astype(np.float32)
    levels = metrics.mid_ranks(n)

    # Compiled as one: operation by operation every one of them would be compiled by itself.
    as_compared = jax.jit(target.as_compared)

    def compared(rows):
        return np.asarray(as_compared(np.asarray(rows, np.float32)))

    if target.empirical:
        quantiles = metrics.projected_quantiles(compared(target.held_out_rows), axes, levels)
    elif target.quantile is not None:
        quantiles = compared(target.quantile(levels)[:, None]).T
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

        @jax.jit
        def draw(i):
            key_floor = jax.random.fold_in(jax.random.key(config.seed), 2**31 + 1)
            return target.as_compared(target.sample(jax.random.fold_in(key_floor, i), n))

        def perfect(i):
            return np.asarray(draw(i)), None

    def score_perfect(i):
        x, held_out = perfect(i)
        if held_out is None:
            return score(x)
        return score_against(x, row_masses(held_out, cells), metrics.projected_quantiles(held_out, axes, levels))

    scores = [score_perfect(i) for i in range(N_FLOOR_DRAWS)]
    discretisation_error = None
    if target.n_bins:
        points = target.held_out_rows
        if not target.empirical:
            points = target.quantile(metrics.mid_ranks(N_REFERENCE_ROWS))[:, None]
        discretisation_error = float(np.mean(np.abs(points - compared(points))))
    return Judge(
        scorer=Scorer(n, target.codec.decode_mean if soft else target.codec.decode, soft, tuple(scores[0]), score),
        floors={name: floor_of([score[name] for score in scores], N_FLOOR_QUANTILES) for name in scores[0]},
        masses=masses,
        quantiles=quantiles,
        discretisation_error=discretisation_error,
        perfect=perfect,
    )


def floor_of(values: Any, n_quantiles: int = 0) -> Floor:
    """Mean, 95 % range and median of what perfect samples scored, and if asked for so many of their quantiles."""
    low, high = np.quantile(values, (0.025, 0.975))
    quantiles = np.quantile(values, np.linspace(0, 1, n_quantiles)).tolist()
    return Floor(float(np.mean(values)), float(low), float(high), float(np.median(values)), tuple(quantiles))

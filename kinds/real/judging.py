"""What judges samples of a target with cells: exact masses, quantiles, and the floor of every metric."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

import metrics
from kinds.contract import Judge, Scorer, Target, floor_of, fresh_rows
from kinds.real.cells import Cells, row_masses, score_cells

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
    axes = metrics.directions(target.dim).astype(np.float32)
    yardstick = _Yardstick(cells, axes, metrics.mid_ranks(n), config.kld_epsilon)
    compared = _compared_of(target)
    masses = target.truth.cell_masses(cells)
    quantiles = _quantiles_of(target, yardstick, compared)

    def score(x):
        return yardstick.score(x, masses, quantiles)

    perfect = _perfect_of(target, config.seed, n, compared)
    scores = []
    for x, held_out in map(perfect, range(N_FLOOR_DRAWS)):
        own = (masses, quantiles) if held_out is None else yardstick.of_rows(held_out)
        scores.append(yardstick.score(x, *own))
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
        discretisation_error=_discretisation_error(target, compared),
        perfect=perfect,
    )


class _Yardstick(NamedTuple):
    """What samples [n, D] are compared by."""

    cells: Cells
    axes: np.ndarray  # [L, D] float32, directions
    levels: np.ndarray  # [n], of the quantiles along them
    epsilon: float  # what an empty cell is taken to hold

    def score(self, x: np.ndarray, masses: np.ndarray, quantiles: np.ndarray) -> dict[str, float]:
        """Both metrics, against masses of the cells and quantiles [L, n] along the directions."""
        counts = metrics.cell_counts(self.cells.index(x), self.cells.n_cells)
        return {
            "kld": float(metrics.kld(masses, counts, self.epsilon)),
            "wasserstein": metrics.wasserstein(x, quantiles, self.axes),
        }

    def of_rows(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The masses and quantiles of rows [m, D]."""
        return row_masses(rows, self.cells), self.quantiles(rows)

    def quantiles(self, rows: np.ndarray) -> np.ndarray:
        """Those of rows [m, D], [L, n]."""
        return metrics.projected_quantiles(rows, self.axes, self.levels)


def _compared_of(target: Target) -> Callable[[np.ndarray], np.ndarray]:
    """`Target.as_compared` on the host."""
    # One jit: run eagerly, each operation would compile separately.
    as_compared = jax.jit(target.as_compared)
    return lambda rows: np.asarray(as_compared(np.asarray(rows, np.float32)))


def _quantiles_of(target: Target, yardstick: _Yardstick, compared: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The target's own quantiles: of held-out rows, known ones, or those of many rows."""
    if target.empirical:
        return yardstick.quantiles(compared(target.held_out_rows))
    if target.truth.quantile is not None:
        return compared(target.truth.quantile(yardstick.levels)[:, None]).T
    # The same rows whatever the run's seed: a distance must not change with its yardstick.
    rows = jax.jit(target.sample, static_argnums=1)(jax.random.key(0), N_REFERENCE_ROWS)
    return yardstick.quantiles(np.asarray(rows))


def _perfect_of(
    target: Target, seed: int, n: int, compared: Callable[[np.ndarray], np.ndarray]
) -> Callable[[int], tuple[np.ndarray, np.ndarray | None]]:
    """`Judge.perfect`: fresh rows of the target, or of a table that is split anew."""
    if not target.empirical:
        fresh = fresh_rows(target, seed, n)
        return lambda i: (fresh(i), None)
    # A split of its own a draw: which rows were held out is part of what a perfect score depends on.
    table = compared(np.concatenate([target.train_rows, target.held_out_rows]))

    def perfect(i):
        generator = np.random.default_rng([seed, 1, i])
        train, held_out = np.split(generator.permutation(table), [len(target.train_rows)])
        return train[generator.integers(len(train), size=n)], held_out

    return perfect


def _discretisation_error(target: Target, compared: Callable[[np.ndarray], np.ndarray]) -> float | None:
    """How far bins move a row on average; None without bins."""
    if target.codec.compared is None:
        return None
    points = target.held_out_rows
    if not target.empirical:
        points = target.truth.quantile(metrics.mid_ranks(N_REFERENCE_ROWS))[:, None]
    return float(np.mean(np.abs(points - compared(points))))

"""From a target to what judges samples of it: cells, exact masses, quantiles, and the floor of every metric."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import metrics
from cells import Cells, row_masses
from models.base import Model
from targets import Target, kld_cells
from training import Scorer

N_FLOOR_DRAWS = 200
N_REFERENCE_ROWS = 100_000  # fixed target rows behind the sliced distance in 2-D


class Floor(NamedTuple):
    """What samples of the target itself score on the same estimator."""

    mean: float
    low: float  # 2.5 % quantile over draws
    high: float  # 97.5 % quantile


class Judge(NamedTuple):
    """Everything that scores samples of one target."""

    scorer: Scorer
    floors: Mapping[str, Floor]
    masses: np.ndarray  # [K] float64, the target's exact cell masses
    quantiles: np.ndarray  # [L, n] float32, the target's along every direction
    discretisation_error: float | None  # W₁(target, binned target); None without bins


def make_judge(target: Target, config: Any) -> Judge:
    """Builds the scorer of a target with its floors.

    Args:
      target: from `targets.make_target`.
      config: the run's configuration.
    """
    n = config.n_eval_samples
    soft = target.n_bins > 0 and config.decode == "soft"
    cells = kld_cells(target, config.kld_cells)
    masses = target.cell_masses(cells)
    axes = metrics.directions(target.dim).astype(np.float32)
    levels = metrics.mid_ranks(n)

    # Compiled as one: operation by operation every one of them would be compiled by itself.
    as_compared = jax.jit(target.as_compared)

    def compared(rows):
        return np.asarray(as_compared(np.asarray(rows, np.float32)))

    if target.held_out_rows is not None:
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

    if target.held_out_rows is None:

        @jax.jit
        def draw(i):
            key_floor = jax.random.fold_in(jax.random.key(config.seed), 2**31 + 1)
            return target.as_compared(target.sample(jax.random.fold_in(key_floor, i), n))

        scores = [score(np.asarray(draw(i))) for i in range(N_FLOOR_DRAWS)]
    else:
        # A split of its own a draw: which rows were held out is part of what a perfect score depends on.
        table = compared(np.concatenate([target.train_rows, target.held_out_rows]))
        generator = np.random.default_rng([config.seed, 1])
        scores = []
        for _ in range(N_FLOOR_DRAWS):
            train, held_out = np.split(generator.permutation(table), [len(target.train_rows)])
            x = train[generator.integers(len(train), size=n)]
            reference = metrics.projected_quantiles(held_out, axes, levels)
            scores.append(score_against(x, row_masses(held_out, cells), reference))

    discretisation_error = None
    if target.n_bins:
        points = target.held_out_rows
        if points is None:
            points = target.quantile(metrics.mid_ranks(N_REFERENCE_ROWS))[:, None]
        discretisation_error = float(np.mean(np.abs(points - compared(points))))
    return Judge(
        scorer=Scorer(n, target.codec.decode_mean if soft else target.codec.decode, soft, tuple(scores[0]), score),
        floors={name: _floor([score[name] for score in scores]) for name in scores[0]},
        masses=masses,
        quantiles=quantiles,
        discretisation_error=discretisation_error,
    )


def kl_exact(model: Model, state: Any, target: Target) -> float | None:
    """KL(p ‖ q) = E_p[ln p − ln q] in nats, by enumeration of the bins or by quadrature under the target; float64.

    No sampling is involved: a Monte Carlo error at the values that good models reach is larger than they are. None
    where the target has no density (a continuous Poisson, a user's table) or the model none.
    """
    if model.log_prob is None or target.log_prob is None or (target.discrete and not target.n_bins):
        return None
    if target.n_bins:
        cells = Cells(target.box, target.n_bins, closed=True)
        p = target.cell_masses(cells)
        x = np.eye(target.n_bins)
        x, p = x[p > 0], p[p > 0]
        log_p = np.log(p)
    else:
        x, weights = target.quadrature()
        log_p = target.log_prob(x)
        p = weights * np.exp(log_p)
    with jax.enable_x64(True):
        exact_state = jax.tree.map(
            lambda leaf: leaf.astype(np.float64) if np.issubdtype(leaf.dtype, np.floating) else leaf, state
        )
        log_q = np.asarray(model.log_prob(exact_state, jnp.asarray(x)))
    return float(np.sum(p * (log_p - log_q)))


def mean_log_likelihoods(model: Model, state: Any, target: Target) -> dict[str, float] | None:
    """Mean ln q of a user's training rows and of the held-out ones, in nats and in the user's units.

    A family that memorises its training rows has the first far above the second. None without held-out rows or density.
    """
    if target.held_out_rows is None or model.log_prob is None:
        return None
    means = {}
    for part, rows in (("train", target.train_rows), ("held_out", target.held_out_rows)):
        events = target.codec.encode(jnp.asarray(rows, jnp.float32))
        means[part] = float(jnp.mean(model.log_prob(state, events))) - target.codec.log_volume
    return means


def _floor(values: Any) -> Floor:
    low, high = np.quantile(values, (0.025, 0.975))
    return Floor(float(np.mean(values)), float(low), float(high))

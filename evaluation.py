"""From a target to what judges samples of it: cells, exact masses, quantiles, and the floor of every metric."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import metrics
from models.base import Model
from targets import Target, kld_cells
from training import Scorer, over_seeds

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
    axes = jnp.asarray(metrics.directions(target.dim), jnp.float32)
    levels = metrics.mid_ranks(n)

    if target.held_out_rows is not None:
        rows = target.as_compared(jnp.asarray(target.held_out_rows, jnp.float32))
        quantiles = metrics.projected_quantiles(rows, axes, levels)
    elif target.quantile is not None:
        exact = jnp.asarray(target.quantile(levels), jnp.float32)[:, None]
        quantiles = target.as_compared(exact).T
    else:
        # The same rows whatever the run's seed: a distance must not change with its yardstick.
        rows = jax.jit(target.sample, static_argnums=1)(jax.random.key(0), N_REFERENCE_ROWS)
        quantiles = metrics.projected_quantiles(rows, axes, levels)

    def measure(x, quantiles):
        return metrics.cell_counts(cells.index(x), cells.n_cells), metrics.wasserstein(x, quantiles, axes)

    def finish(raw):
        counts, wasserstein = raw
        return {
            "kld": metrics.kld(masses, counts, config.kld_epsilon),
            "wasserstein": np.asarray(wasserstein, np.float64),
        }

    scorer = Scorer(
        n_samples=n,
        decode=target.codec.decode_mean if soft else target.codec.decode,
        soft=soft,
        measure=measure,
        reference=quantiles,
        finish=finish,
    )

    if target.held_out_rows is None:

        def floor_draw(key, quantiles):
            return *measure(target.as_compared(target.sample(key, n)), quantiles), ()

    else:
        table = jnp.asarray(np.concatenate([target.train_rows, target.held_out_rows]), jnp.float32)

        def floor_draw(key, quantiles):
            del quantiles
            key_split, key_rows = jax.random.split(key)
            shuffled = target.as_compared(jax.random.permutation(key_split, table))
            train, held_out = jnp.split(shuffled, [len(target.train_rows)])
            x = train[jax.random.randint(key_rows, (n,), 0, len(train))]
            counts, distance = measure(x, metrics.projected_quantiles(held_out, axes, levels))
            return counts, distance, metrics.cell_counts(cells.index(held_out), cells.n_cells)

    key_floor = jax.random.fold_in(jax.random.key(config.seed), 2**31 + 1)
    spread, n_keys, _ = over_seeds(floor_draw, N_FLOOR_DRAWS, (True, False))
    counts, distances, held_out_counts = jax.tree.map(
        np.asarray, jax.jit(spread)(jax.random.split(key_floor, n_keys), quantiles)
    )
    if isinstance(held_out_counts, tuple):
        klds = metrics.kld(masses, counts, config.kld_epsilon)
    else:
        shares = held_out_counts / held_out_counts.sum(-1, keepdims=True)
        klds = [metrics.kld(p, c, config.kld_epsilon) for p, c in zip(shares, counts, strict=True)]
    floors = {"kld": _floor(klds), "wasserstein": _floor(distances)}

    discretisation_error = None
    if target.n_bins:
        points = target.held_out_rows
        if points is None:
            points = target.quantile(metrics.mid_ranks(N_REFERENCE_ROWS))[:, None]
        moved = np.asarray(target.as_compared(jnp.asarray(points, jnp.float32)))
        discretisation_error = float(np.mean(np.abs(points - moved)))
    return Judge(scorer, floors, masses, discretisation_error)


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
    values = np.asarray(values, np.float64)[:N_FLOOR_DRAWS]
    low, high = np.quantile(values, (0.025, 0.975))
    return Floor(float(values.mean()), float(low), float(high))

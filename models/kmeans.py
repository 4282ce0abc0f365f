"""k-means as the limit of EM, sampled as balls of one variance around its centres.

Of a mixture of Gaussians with one shared variance σ² EM's assignments become those to the nearest centre as σ → 0, and
its update of the means Lloyd's. The centres found that way become a model with what they leave over: each cluster's
share of the rows is its weight, and the mean squared distance to the nearest centre over the dimension is σ².

Several starts are carried along; the one with the smallest inertia is the model. With bins the rows of each lie evenly
over it, and the cell probabilities are the balls', the end cells with the tails.

References:
  Lloyd, Least Squares Quantization in PCM, 1982.
  Bishop, Pattern Recognition and Machine Learning, 2006, §9.3.2 (the limit).
  Arthur and Vassilvitskii, k-means++: The Advantages of Careful Seeding, 2007.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from core.settings import Settings, setting
from models import grouped, mixtures, starts
from models.base import Model

# The laws of events that it can draw.
LAWS = grouped.LAWS


@dataclass(frozen=True)
class Config(Settings, of="KMEANS"):
    """Settings of k-means."""

    n_init: int = setting(3, "starts, by k-means++; the one with the smallest inertia is the model", low=1)
    max_iter: int = setting(100, "Lloyd's iterations, one a training step", low=1)
    variance_floor: float = setting(
        1e-5, "smallest variance of the balls", above=0, unit="units of an event squared", traced=True
    )
    n_components: int = setting(0, "centres; 0: as many as PARAMETER_BUDGET makes", low=0, high=2**20)
    n_rows: int = setting(32_768, "size of the data set where there is none but fresh draws", low=1, high=2**24)


class Params(NamedTuple):
    """Trainable weights."""

    log_odds: Any  # [K − 1] ln of each cluster's share over the last one's; () of one cluster
    centres: jax.Array  # [K, D]
    variance: jax.Array  # [1]


class Info(NamedTuple):
    """Scalars of one step, of the best start before it."""

    loss: jax.Array  # negative mean log-likelihood under the balls, nats
    inertia: jax.Array  # mean squared distance to the nearest centre: what falls


def build(config: Any, target: Any) -> Model:
    """Sizes k-means for the budget: K D coordinates of centres, K − 1 shares and one variance.

    Args:
      config: the run's configuration; `config.kmeans` is this family's `Config`.
      target: the distribution to learn; its event is what the model draws.

    Raises:
      UserError: the budget is below a single ball, or makes more centres than a fixed training set has rows.
    """
    settings: Config = config.kmeans
    positions = grouped.positions(target)
    dim, floor = positions.dim, settings.variance_floor

    def count(n_centres):
        return n_centres * (dim + 1)

    width = grouped.n_components(config, target, count, "centres", settings)
    mixture = positions.mixture(_OVER_ROWS)

    def init(key, data):
        rows, weights = positions.weighted(data)

        def start(key):
            centres = mixtures.k_means_plus_plus(key, rows, width, weights)
            equal = Params(mixtures.log_odds_of(jnp.zeros(width, rows.dtype)), centres, jnp.ones(1, rows.dtype))
            counts, inertia, _ = assign(equal, rows, weights)
            return Params(_log_odds(counts), centres, _variance(inertia, dim, floor))

        return starts.begun(start, key, settings, rows.dtype)

    def step(whole, state, batch, noise):
        del noise
        rows, weights = positions.weighted(batch)
        after, inertias = starts.each(
            lambda params: lloyd_step(params, rows, weights, floor, whole), state.starts, whole
        )
        best = mixtures.smallest(inertias)
        loss = -jnp.mean(mixture.log_prob(starts.at(state.starts, best), batch, whole))
        return state.followed_by(starts.at(after, best), after, loss), Info(loss, inertias[best])

    fit = starts.Fit(
        name="KMEANS",
        width=width,
        n_params=count(width),
        mixture=mixture,
        natural=natural,
        assigning=cells,
        init=init,
        step=step,
        last_fields=Info._fields,
    )
    return starts.model_of(fit, target, positions, settings)._replace(info_units={"inertia": "squared distance"})


def natural(params: Params) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Log weights [K], centres [K, D] and covariance matrices [K, D, D] of the balls."""
    n_centres, dim = params.centres.shape
    covariance = params.variance[:, None] * jnp.eye(dim, dtype=params.variance.dtype)
    log_weights = mixtures.log_weights_of(params.log_odds, params.variance.dtype)
    return log_weights, params.centres, jnp.tile(covariance[None], (n_centres, 1, 1))


def balls(params: Params) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The balls in the form that `mixtures` takes: constants [K], centres [K, D], whitening [K, D, D]."""
    log_weights, centres, covariances = natural(params)
    whitening = mixtures.inverse_lower(mixtures.cholesky(covariances))
    return mixtures.normal_constant(log_weights, whitening), centres, whitening


def _log_masses(params, edges):
    deviation = jnp.broadcast_to(jnp.sqrt(params.variance), (len(params.centres),))
    return grouped.cell_moments(params.centres[:, 0], deviation, edges).log_mass


def _draw(key, params, n):
    log_weights, centres, covariances = natural(params)
    return mixtures.draw_normal(key, n, log_weights, centres, mixtures.cholesky(covariances))[0]


# The balls, by functions of their parameters.
_OVER_ROWS = grouped.Mixture(
    log_weights=lambda params: natural(params)[0],
    centres=lambda params: params.centres,
    log_masses=_log_masses,
    draw=_draw,
    log_density=lambda params, x, whole: mixtures.log_density(*balls(params), x, whole=whole),
)


def cells(params: Params) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What assigns a row to its nearest centre, in the form that `mixtures` takes: balls of one weight and σ = 1."""
    n_centres, dim = params.centres.shape
    dtype = params.centres.dtype
    return jnp.zeros(n_centres, dtype), params.centres, jnp.tile(jnp.eye(dim, dtype=dtype)[None], (n_centres, 1, 1))


def assign(
    params: Params, x: jax.Array, weights: jax.Array | None = None, whole: bool = False
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Rows x [n, D] to their nearest centres: counts [K], inertia [] (a mean), sums of the rows [K, D]."""
    sums = mixtures.expectation(cells(params), x, weights, hard=True, whole=whole)
    # A log component is minus half the squared distance.
    return sums.counts, -2 * sums.log_total / jnp.sum(sums.counts), sums.first


def lloyd_step(
    params: Params, x: jax.Array, weights: jax.Array | None, floor: Any, whole: bool = False
) -> tuple[Params, jax.Array]:
    """One iteration over rows x [n, D] with weights [n]; the parameters after it and the inertia before it.

    A centre without rows stays where it is. `whole` as for `mixtures.log_density`.
    """
    counts, inertia, first = assign(params, x, weights, whole)
    mean = first / jnp.maximum(counts, 1e-6)[:, None]
    centres = jnp.where((counts > 1e-6)[:, None], mean, params.centres)
    # What the same rows have about their own mean is less by its distance from where the centre was, squared.
    moved = jnp.sum(counts * jnp.sum((centres - params.centres) ** 2, axis=1)) / jnp.sum(counts)
    return Params(_log_odds(counts), centres, _variance(inertia - moved, x.shape[1], floor)), inertia


def _log_odds(counts: jax.Array) -> jax.Array:
    log_shares = mixtures.log_shares(counts, jnp.sum(counts))
    return mixtures.log_odds_of(log_shares)


def _variance(inertia: jax.Array, dim: int, floor: Any) -> jax.Array:
    return jnp.maximum(inertia / dim, floor)[None]

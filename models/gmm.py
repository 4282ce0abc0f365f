"""Gaussian mixture fitted by expectation–maximisation; the budget decides the number of components.

One training step is one iteration over the whole data set: responsibilities rₙₖ ∝ wₖ N(xₙ; μₖ, Σₖ), then the weights,
means and covariances that maximise the expected log-likelihood. Covariances keep to a floor: no eigenvalue ("diag": no
variance) lies below `variance_floor`. Σ is the maximiser under that condition, the weighted scatter whose smaller
eigenvalues are raised to the floor, so that the likelihood rises at every iteration; adding a constant to the diagonal,
the other custom, does not have that property.

Several starts are carried along and take their iterations side by side; the one with the largest likelihood is the
model. With bins the model is a mixture over the line whose cell probabilities are the Gaussians', the end cells with
the tails, and EM is that of grouped data: moments are those of a Gaussian truncated to each cell, and the likelihood of
the bins is what rises.

References:
  Dempster, Laird and Rubin, Maximum Likelihood from Incomplete Data via the EM Algorithm, 1977.
  Bishop, Pattern Recognition and Machine Learning, 2006, §9.2.
  McLachlan and Jones, Fitting Mixture Models to Grouped and Truncated Data via the EM Algorithm, 1988.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from core.settings import Settings, setting
from models import grouped, mixtures, starts
from models.base import Model

# In units of an event, squared.
# Rows that a component needs to have moved: below, its mean would be a quotient of what rounding has left.
_FEWEST_ROWS = 1e-6


# The laws of events that it can draw.
LAWS = grouped.LAWS


@dataclass(frozen=True)
class Config(Settings, of="GMM"):
    """Settings of the GMM."""

    covariance_type: Literal["full", "diag", "spherical"] = setting("full", "in 1-D they are the same")
    n_init: int = setting(3, "starts, by k-means++; the one with the largest likelihood is the model", low=1)
    max_iter: int = setting(100, "EM iterations, one a training step", low=1)
    variance_floor: float = setting(
        1e-5, "smallest eigenvalue of a covariance", above=0, unit="units of an event squared", traced=True
    )
    n_components: int = setting(0, "components; 0: as many as PARAMETER_BUDGET makes", low=0, high=2**20)
    n_rows: int = setting(32_768, "size of the data set where there is none but fresh draws", low=1, high=2**24)


class Params(NamedTuple):
    """Trainable weights."""

    log_odds: Any  # [K − 1] ln of each weight over the last; () of one component
    means: jax.Array  # [K, D]
    covariances: jax.Array  # [K, D(D+1)/2] lower triangles; "diag": [K, D]; "spherical": [K, 1]


class Info(NamedTuple):
    """Scalars of one step."""

    loss: jax.Array  # negative mean log-likelihood of the rows before the iteration, nats


def build(config: Any, target: Any) -> Model:
    """Sizes the mixture for the budget: K − 1 weights, K D means and the covariances' free numbers.

    Args:
      config: the run's configuration; `config.gmm` is this family's `Config`.
      target: the distribution to learn; its event is what the model draws.

    Raises:
      UserError: the budget is below a single Gaussian, or makes more components than a fixed training set has rows.
    """
    settings: Config = config.gmm
    positions = grouped.positions(target)
    dim, kind, floor = positions.dim, settings.covariance_type, settings.variance_floor
    n_scales = {"full": dim * (dim + 1) // 2, "diag": dim, "spherical": 1}[kind]

    def count(n_components):
        return n_components * (1 + dim + n_scales) - 1

    width = grouped.n_components(config, target, count, "components", settings)

    def init(key, data):
        rows, weights = positions.weighted(data)

        def start(key):
            return initial(key, rows, width, kind, floor, weights)

        return starts.begun(start, key, settings, data.dtype)

    def iterated(params, batch, whole):
        if positions.edges is not None:
            return em_step_grouped(params, jnp.sum(batch, axis=0), positions.edges, floor)
        return em_step(params, batch, kind, floor, whole)

    def step(whole, state, batch, noise):
        del noise
        after, losses = starts.each(lambda params: iterated(params, batch, whole), state.starts, whole)
        best = mixtures.smallest(losses)
        return state.followed_by(starts.at(after, best), after, losses[best]), Info(losses[best])

    mixture = positions.mixture(_over_rows(kind))
    fit = starts.Fit(
        name="GMM",
        width=width,
        n_params=count(width),
        mixture=mixture,
        natural=lambda params: natural(params, kind),
        assigning=lambda params: gaussians(params, kind),
        init=init,
        step=step,
        last_fields=("loss",),
    )
    model = starts.model_of(fit, target, positions, settings)
    return model._replace(direct=lambda params, x, key: mixture.log_prob(params, x, whole=True))


def _over_rows(kind: str) -> grouped.Mixture:
    """The mixture, by functions of its parameters."""

    def log_masses(params, edges):
        _, means, covariances = natural(params, kind)
        return grouped.cell_moments(means[:, 0], jnp.sqrt(covariances[:, 0, 0]), edges).log_mass

    def draw(key, params, n):
        log_weights, means, covariances = natural(params, kind)
        return mixtures.draw_normal(key, n, log_weights, means, mixtures.cholesky(covariances))[0]

    return grouped.Mixture(
        log_weights=lambda params: natural(params, kind)[0],
        centres=lambda params: params.means,
        log_masses=log_masses,
        draw=draw,
        log_density=lambda params, x, whole: mixtures.log_density(*gaussians(params, kind), x, whole=whole),
    )


def natural(params: Params, kind: str) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Log weights [K], means [K, D] and covariance matrices [K, D, D]."""
    dim = params.means.shape[1]
    if kind == "full":
        covariances = mixtures.symmetric(params.covariances, dim)
    else:
        covariances = params.covariances[:, :, None] * jnp.eye(dim, dtype=params.means.dtype)[None]
    return mixtures.log_weights_of(params.log_odds, params.means.dtype), params.means, covariances


def from_natural(log_weights: jax.Array, means: jax.Array, covariances: jax.Array, kind: str) -> Params:
    """The trainable numbers of log weights [K], means [K, D] and covariance matrices [K, D, D] of that kind."""
    if kind == "full":
        free = mixtures.lower_of(covariances)
    else:
        free = jnp.diagonal(covariances, axis1=-2, axis2=-1)[:, : 1 if kind == "spherical" else None]
    return Params(mixtures.log_odds_of(log_weights), means, free)


def gaussians(params: Params, kind: str) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The components in the form that `mixtures` takes: constants [K], centres [K, D], whitening [K, D, D]."""
    log_weights, means, covariances = natural(params, kind)
    whitening = mixtures.inverse_lower(mixtures.cholesky(covariances))
    return mixtures.normal_constant(log_weights, whitening), means, whitening


def initial(
    key: jax.Array, x: jax.Array, n_components: int, kind: str, floor: Any, weights: jax.Array | None = None
) -> Params:
    """Centres by k-means++ on rows x [n, D], equal weights, and the rows' variance about their centres for all."""
    dim = x.shape[1]
    centres = mixtures.k_means_plus_plus(key, x, n_components, weights)
    variance = jnp.maximum(mixtures.mean_square_distance(x, centres, weights) / dim, floor)
    covariances = jnp.tile(variance * jnp.eye(dim, dtype=x.dtype)[None], (n_components, 1, 1))
    return from_natural(jnp.zeros(n_components, x.dtype), centres, covariances, kind)


def em_step(params: Params, x: jax.Array, kind: str, floor: Any, whole: bool = False) -> tuple[Params, jax.Array]:
    """One iteration over rows x [n, D]; the parameters after it and the loss before it, in nats a row.

    `whole` as for `mixtures.log_density`.
    """
    sums = mixtures.expectation(gaussians(params, kind), x, whole=whole)
    new = _maximised(params, sums, len(x), kind, floor)
    return new, -sums.log_total / len(x)


def em_step_grouped(params: Params, counts: jax.Array, edges: Any, floor: Any) -> tuple[Params, jax.Array]:
    """One iteration over how many rows [J] lie between edges [J + 1]; as `em_step`, the loss is that of the cells."""
    log_weights, means, covariances = natural(params, "full")
    deviation = jnp.sqrt(covariances[:, 0, 0])
    cells = grouped.cell_moments(means[:, 0], deviation, edges)
    log_each = log_weights[:, None] + cells.log_mass
    log_cell = jax.nn.logsumexp(log_each, axis=0)
    expected = jnp.exp(log_each - log_cell[None]) * counts[None]
    n_each = jnp.sum(expected, axis=1)
    # From the old mean on, in its own deviations: a narrow component far from 0 keeps its digits.
    per_row = 1 / jnp.maximum(n_each, _FEWEST_ROWS)
    shift = jnp.sum(expected * cells.first, axis=1) * per_row
    square = jnp.sum(expected * (cells.second - 2 * shift[:, None] * cells.first + shift[:, None] ** 2), axis=1)
    moved = n_each > _FEWEST_ROWS
    new_means = means[:, 0] + jnp.where(moved, deviation * shift, 0)
    variances = jnp.where(moved, jnp.maximum(deviation**2 * square * per_row, floor), deviation**2)
    n = jnp.sum(counts)
    new = from_natural(mixtures.log_shares(n_each, n), new_means[:, None], variances[:, None, None], "full")
    return new, -jnp.sum(jnp.where(counts > 0, counts * log_cell, 0)) / n


def _maximised(params: Params, sums: mixtures.Sums, n: int, kind: str, floor: Any) -> Params:
    """The M-step."""
    dim = params.means.shape[1]
    moved = (sums.counts > _FEWEST_ROWS)[:, None]
    per_row = (1 / jnp.maximum(sums.counts, _FEWEST_ROWS))[:, None]
    means = jnp.where(moved, sums.first * per_row, params.means)
    rows, columns = mixtures.triangle(dim)
    scatter = sums.second * per_row - means[:, rows] * means[:, columns]
    if kind == "full":
        free = _raised(scatter, dim, floor)
    else:
        variances = scatter[:, rows == columns]
        free = jnp.maximum(variances if kind == "diag" else jnp.mean(variances, axis=1, keepdims=True), floor)
    return Params(
        mixtures.log_odds_of(mixtures.log_shares(sums.counts, n)),
        means,
        jnp.where(moved, free, params.covariances),
    )


def _raised(lower: jax.Array, dim: int, floor: Any) -> jax.Array:
    """Lower triangles [K, D(D+1)/2] with all eigenvalues below the floor raised to it."""
    if dim == 1:
        return jnp.maximum(lower, floor)
    values, vectors = jnp.linalg.eigh(mixtures.symmetric(lower, dim))
    raised = jnp.einsum("kij,kj,klj->kil", vectors, jnp.maximum(values, floor), vectors, precision="highest")
    # What is above it stays as it was, bit for bit.
    return jnp.where(jnp.min(values, axis=1, keepdims=True) < floor, mixtures.lower_of(raised), lower)

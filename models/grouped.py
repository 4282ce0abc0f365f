"""Mixtures as models of events: of rows as they are, or of the bins that they lie in.

Rows of which only the bin is known are grouped data. A mixture over the line is a model of them by what it gives each
cell between two edges; the end cells are without an end and take the tails.

Reference: McLachlan and Jones, Fitting Mixture Models to Grouped and Truncated Data via the EM Algorithm, 1988.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models import mixtures
from models.mixtures import LOG_2PI

# Edges of cells without an end: their square is no longer finite, and a normal density there is 0.
_FAR = 1e25
# Positions that binned rows are spread over, in all and at least in a bin.
_POSITIONS, _FEWEST_A_BIN = 4096, 8


class Mixture(NamedTuple):
    """A mixture over positions, by functions of its parameters."""

    log_weights: Callable[[Any], jax.Array]  # (params) -> [K]
    centres: Callable[[Any], jax.Array]  # (params) -> [K, D]
    log_masses: Callable[[Any, Any], jax.Array]  # (params, edges [J + 1]) -> [K, J], of cells of the line
    draw: Callable[[jax.Array, Any, int], jax.Array]  # (key, params, n) -> [n, D]
    log_density: Callable[..., jax.Array]  # (params, x [n, D], whole) -> [n]; `whole` as for `mixtures.log_density`


class OfEvents(NamedTuple):
    """The same over events, by functions of its parameters."""

    sample: Callable[[jax.Array, Any, int], jax.Array]  # (key, params, n) -> [n, *event]
    sample_mean: Callable[[jax.Array, Any, int], jax.Array]  # (key, params, n) -> [n, *event]: E[event | component]
    log_prob: Callable[..., jax.Array]  # (params, x [n, *event], whole=False) -> [n] nats


def of_events(target: Any, mixture: Mixture) -> OfEvents:
    """A mixture over positions as one over a target's events."""

    def continuous_mean(key, params, n):
        return mixture.centres(params)[mixtures.draw_components(key, mixture.log_weights(params), n)]

    def continuous_log_prob(params, x, whole=False):
        return mixture.log_density(params, x, whole)

    if not target.codec.one_hot:
        return OfEvents(mixture.draw, continuous_mean, continuous_log_prob)
    edges = bin_edges(target)

    def log_cells(params):
        return jax.nn.logsumexp(mixture.log_weights(params)[:, None] + mixture.log_masses(params, edges), axis=0)

    def sample(key, params, n):
        return jax.nn.one_hot(jax.random.categorical(key, log_cells(params), shape=(n,)), target.n_bins)

    def sample_mean(key, params, n):
        component = mixtures.draw_components(key, mixture.log_weights(params), n)
        return jnp.exp(mixture.log_masses(params, edges))[component]

    def log_prob(params, x, whole=False):
        del whole
        return x @ log_cells(params)

    return OfEvents(sample, sample_mean, log_prob)


def positions_of(events: jax.Array, target: Any) -> tuple[jax.Array, jax.Array | None]:
    """Events as rows [n, D] with weights [n]: one-hot ones spread over their bins, others themselves (weights None)."""
    return spread(events, target) if target.codec.one_hot else (events, None)


class CellMoments(NamedTuple):
    """Of a normal variable, cell by cell; K components, J cells."""

    log_mass: jax.Array  # [K, J] ln P(x in the cell)
    first: jax.Array  # [K, J] E[x − μ | cell] / σ
    second: jax.Array  # [K, J] E[(x − μ)² | cell] / σ²


def bin_edges(target: Any) -> np.ndarray:
    """The boundaries [J + 1] of a target's bins; the end cells take what lies outside, so theirs are far away."""
    edges = np.linspace(*target.box[0], target.n_bins + 1)
    edges[0], edges[-1] = -_FAR, _FAR
    return edges


def cell_moments(mean: jax.Array, deviation: jax.Array, edges: Any) -> CellMoments:
    """Masses of cells under normal laws, and their truncated moments (McLachlan and Jones 1988, appendix).

    With z = (edge − μ)/σ, mass = Φ(z₂) − Φ(z₁), the first moment (φ(z₁) − φ(z₂))/mass and the second
    1 + (z₁ φ(z₁) − z₂ φ(z₂))/mass. All by logarithms, and on the side of the mean where the tail is: a cell far from a
    component has a mass that neither underflows nor is a difference of ones.

    Args:
      mean: [K].
      deviation: [K].
      edges: [J + 1].
    """
    edges = jnp.asarray(edges, mean.dtype)
    z = (edges[None] - mean[:, None]) / deviation[:, None]
    low, high = z[:, :-1], z[:, 1:]
    flipped = low + high > 0
    near, far = jnp.where(flipped, -low, high), jnp.where(flipped, -high, low)
    log_near, log_far = jax.scipy.special.log_ndtr(near), jax.scipy.special.log_ndtr(far)
    tiny = jnp.finfo(z.dtype).tiny
    log_mass = log_near + jnp.log(jnp.maximum(-jnp.expm1(jnp.minimum(log_far - log_near, 0)), tiny))
    # A far cell has no mass at all; its logarithm stays a number, so that differences of two are.
    log_mass = jnp.maximum(log_mass, -1e30)
    ratio_low, ratio_high = (jnp.exp(-bound * bound / 2 - LOG_2PI / 2 - log_mass) for bound in (low, high))
    first = ratio_low - ratio_high
    second = 1 + low * ratio_low - high * ratio_high
    # Inside its cell a variable is no farther from its mean than the farther edge, whatever rounding says.
    reach = jnp.minimum(jnp.maximum(jnp.abs(low), jnp.abs(high)), 1e15)
    first = jnp.clip(first, jnp.maximum(low, -1e15), jnp.minimum(high, 1e15))
    return CellMoments(log_mass, first, jnp.clip(second, first**2, reach**2))


def spread(one_hot: jax.Array, target: Any) -> tuple[jax.Array, jax.Array]:
    """One-hot rows [n, J] as positions [G, 1] with weights [G]: a bin's rows lie evenly over it.

    That is all that bins say of where their rows were; rows beyond an end are spread over its cell like the others.
    """
    n_bins = one_hot.shape[1]
    n_each = max(_FEWEST_A_BIN, -(-_POSITIONS // n_bins))
    edges = np.linspace(*target.box[0], n_bins * n_each + 1)
    positions = jnp.asarray((edges[1:] + edges[:-1])[:, None] / 2, one_hot.dtype)
    return positions, jnp.repeat(jnp.sum(one_hot, axis=0) / n_each, n_each)


def within_bins(one_hot: jax.Array, uniforms: jax.Array, target: Any) -> jax.Array:
    """One-hot rows [n, J] as positions [n, 1], each as far into its bin as its uniform number [n] says."""
    low, high = target.box[0]
    place = jnp.argmax(one_hot, axis=-1).astype(one_hot.dtype) + uniforms
    return (low + (high - low) / target.n_bins * place)[:, None]

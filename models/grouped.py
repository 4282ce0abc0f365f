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

from budget import solve_width
from core.errors import UserError
from models import mixtures
from models.laws import box_of
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

    sample: Callable[[jax.Array, Any, int], jax.Array]  # (key, params, n) -> [n, size]
    sample_mean: Callable[[jax.Array, Any, int], jax.Array]  # (key, params, n) -> [n, size]: E[event | component]
    log_prob: Callable[..., jax.Array]  # (params, x [n, size], whole=False) -> [n] nats


class Positions(NamedTuple):
    """Where a mixture lies: on the events themselves, or on the line that their bins divide."""

    dim: int
    edges: np.ndarray | None  # [J + 1], the boundaries of the bins; None: events are rows themselves
    weighted: Callable[[jax.Array], tuple[jax.Array, jax.Array | None]]  # events [n, size] -> rows [G, D] and their
    # weights [G]; None: all weigh the same
    drawn: Callable[[jax.Array, jax.Array], jax.Array]  # (events, uniforms [n]) -> [n, D], one place for each
    middle: Callable[[jax.Array], jax.Array]  # events -> [n, D], with bins their centres
    events: Callable[[jax.Array], jax.Array]  # rows [n, D] -> events
    data: Callable[[jax.Array], jax.Array]  # rows [n, D] -> the same in the target's units
    sides: np.ndarray  # [D], of the target's box, in units of the rows
    mixture: Callable[[Mixture], OfEvents]  # over rows -> the same over events


def positions(target: Any) -> Positions:
    """Where mixtures of a target's events lie.

    Args:
      target: the law of its events is one of LAWS.
    """
    return LAWS[target.event.law.name](target)


def _of_rows(target: Any) -> Positions:
    codec = target.codec

    def mixture(rows):
        def sample_mean(key, params, n):
            return rows.centres(params)[mixtures.draw_components(key, rows.log_weights(params), n)]

        def log_prob(params, x, whole=False):
            return rows.log_density(params, x, whole)

        return OfEvents(rows.draw, sample_mean, log_prob)

    return Positions(
        dim=target.event.size,
        edges=None,
        weighted=lambda events: (events, None),
        drawn=lambda events, uniforms: events,
        middle=lambda events: events,
        events=lambda rows: rows,
        data=codec.decode,
        sides=np.ptp(box_of(target.event), axis=1),
        mixture=mixture,
    )


def _of_bins(target: Any) -> Positions:
    edges, n_bins = bin_edges(target), target.event.size

    def mixture(line):
        def log_cells(params):
            return jax.nn.logsumexp(line.log_weights(params)[:, None] + line.log_masses(params, edges), axis=0)

        def sample(key, params, n):
            return jax.nn.one_hot(jax.random.categorical(key, log_cells(params), shape=(n,)), n_bins)

        def sample_mean(key, params, n):
            component = mixtures.draw_components(key, line.log_weights(params), n)
            return jnp.exp(line.log_masses(params, edges))[component]

        def log_prob(params, x, whole=False):
            del whole
            return x @ log_cells(params)

        return OfEvents(sample, sample_mean, log_prob)

    return Positions(
        dim=1,
        edges=edges,
        weighted=lambda events: spread(events, target),
        drawn=lambda events, uniforms: within_bins(events, uniforms, target),
        middle=target.codec.decode,
        events=target.codec.encode,
        data=lambda rows: rows,
        sides=np.ptp(box_of(target.event), axis=1),
        mixture=mixture,
    )


# The law of an event -> where mixtures of such events lie.
LAWS = {"normal": _of_rows, "category": _of_bins}


def n_components(
    config: Any, target: Any, count: Callable[[int], int], what: str, settings: Any, fewest: int = 1
) -> int:
    """How many components the budget makes, or as many as are asked for.

    Args:
      config: the run's.
      target: its fixed training set is the data set; without one, n_rows are drawn. With bins rows may lie anywhere in
        theirs, and need not be as many as there are components.
      count: (number of components) -> parameters.
      what: they are called.
      settings: the family's own, with `n_components` and `n_rows`.
      fewest: rows that any fit needs.

    Raises:
      UserError: the budget is below a single one, or the data set has fewer rows than there are components to place on
        them, or than `fewest`.
    """
    width = settings.n_components or solve_width(count, config.parameter_budget)
    fixed = target.train_rows is not None
    n = len(target.train_rows) if fixed else settings.n_rows
    more = "give more training rows" if fixed else "raise n_rows"
    if n < fewest:
        raise UserError(f"{n} rows are too few for a covariance: at least {fewest} are needed; {more}")
    if positions(target).edges is None and n < width:
        if settings.n_components:
            asked = settings.label("n_components")
            raise UserError(
                f"{asked} = {width} {what} are more than the {n} rows to fit them to; set {asked} = {n}, or {more}"
            )
        raise UserError(
            f"PARAMETER_BUDGET = {config.parameter_budget} makes {width} {what}, more than the {n} rows to fit them "
            f"to; {count(n)} makes as many, or {more}"
        )
    return width


def drawing(mixture: OfEvents, params_of: Callable[[Any], Any]) -> dict[str, Any]:
    """The fields of a `Model` that draw from a mixture and score by it.

    Args:
      mixture: over events.
      params_of: State -> its parameters.
    """

    @jax.jit
    def log_prob(state, x):
        return mixture.log_prob(params_of(state), x)

    return {
        "sample": lambda key, state, n: mixture.sample(key, params_of(state), n),
        "sample_mean": lambda key, state, n: mixture.sample_mean(key, params_of(state), n),
        "log_prob": log_prob,
        "log_prob_kind": "exact",
    }


class CellMoments(NamedTuple):
    """Of a normal variable, cell by cell; K components, J cells."""

    log_mass: jax.Array  # [K, J] ln P(x in the cell)
    first: jax.Array  # [K, J] E[x − μ | cell] / σ
    second: jax.Array  # [K, J] E[(x − μ)² | cell] / σ²


def bin_edges(target: Any) -> np.ndarray:
    """The boundaries [J + 1] of a target's bins; the end cells take what lies outside, so theirs are far away."""
    edges = np.linspace(*box_of(target.event)[0], target.event.size + 1)
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


def spread(events: jax.Array, target: Any) -> tuple[jax.Array, jax.Array]:
    """One-hot rows [n, J] as positions [G, 1] with weights [G]: a bin's rows lie evenly over it.

    That is all that bins say of where their rows were; rows beyond an end are spread over its cell like the others.
    """
    n_bins = events.shape[1]
    n_each = max(_FEWEST_A_BIN, -(-_POSITIONS // n_bins))
    edges = np.linspace(*box_of(target.event)[0], n_bins * n_each + 1)
    rows = jnp.asarray((edges[1:] + edges[:-1])[:, None] / 2, events.dtype)
    return rows, jnp.repeat(jnp.sum(events, axis=0) / n_each, n_each)


def within_bins(events: jax.Array, uniforms: jax.Array, target: Any) -> jax.Array:
    """One-hot rows [n, J] as positions [n, 1], each as far into its bin as its uniform number [n] says."""
    low, high = box_of(target.event)[0]
    place = jnp.argmax(events, axis=-1).astype(events.dtype) + uniforms
    return (low + (high - low) / target.event.size * place)[:, None]

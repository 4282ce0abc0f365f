"""Histogram with as many free cell probabilities as the budget has parameters: what every other family should beat.

Without bins: equal cells over the target's box, k of them in one dimension and k × k in two, and one more for all that
lies outside, whose probability is what the others leave. Within a cell the density is uniform. Outside it is that of a
Gaussian around the box's middle with a quarter of the box's sides as deviations, given that it is outside: of its shape
nothing is fitted.

With bins and on bit strings the cells are the bins or the strings, in the order of their numbers; where the budget has
fewer, neighbouring ones are merged into groups as even as can be and share their group's probability evenly.

Of n rows of which cell i of K holds nᵢ, its probability is (nᵢ + a)/(n + aK). With a = ½ (Krichevsky and Trofimov) none
is 0, and KL(p ‖ q) finite. Nothing is trained: `init` counts a whole fixed training set, or 2¹⁷ fresh rows. That they
are no more costs about (K − 1)/2n nats.

References:
  Krichevsky and Trofimov, The Performance of Universal Encoding, 1981.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from budget import solve_width
from core.settings import Settings, setting
from models import at_once
from models.base import Model
from models.laws import box_of

_N_ROWS = 2**17
# The box in deviations of the Gaussian outside of it: ± this.
_EDGE = 2.0
# Of a coordinate of that Gaussian, the share within the box.
_WITHIN = 1 - 2 * scipy.special.ndtr(-_EDGE)


@dataclass(frozen=True)
class Config(Settings, of="HISTOGRAM"):
    """Settings of the histogram."""

    pseudo_count: float = setting(
        0.5, "a: what every cell is taken to hold before a row is counted", above=0, traced=True
    )


class State(NamedTuple):
    """What is fitted."""

    params: jax.Array  # [K − 1] float32: ln of the cells' probabilities over that of the last one


class Partition(NamedTuple):
    """How events go into cells and come out of them."""

    n_cells: int
    width: int  # what the budget solver found: cells an axis, or with bins free probabilities
    steps: int | None  # cells an axis of the target's box within which the density is constant
    index: Callable[..., jax.Array]  # (x [n, size]) -> [n] int, the cell of each
    log_density: Callable[..., jax.Array]  # (x [n, size], index [n]) -> [n], ln of the density within their cells
    draw: Callable[..., jax.Array]  # (key, index [n]) -> [n, size], drawn within their cells
    mean: Callable[..., jax.Array]  # the same with bins expected, not drawn


def build(config: Any, target: Any) -> Model:
    """Chooses the number of cells for the budget: the one whose count is closest.

    Args:
      config: the run's configuration; `config.histogram` is this family's `Config`.
      target: the distribution to learn; its box is divided.

    Returns:
      The model. Its width is the number of cells an axis, or with bins that of free probabilities.

    Raises:
      UserError: the budget is below 1.
    """
    settings: Config = config.histogram
    cells = LAWS[target.event.law.name](config, target)

    def init(key, data):
        del key
        counts = jnp.zeros(cells.n_cells).at[cells.index(data)].add(1.0)
        logs = jnp.log(counts + settings.pseudo_count)
        return State(logs[:-1] - logs[-1])

    def log_masses(state):
        return jax.nn.log_softmax(jnp.append(state.params, jnp.zeros((), state.params.dtype)))

    def drawn_index(key, state, n):
        # By inversion: a Gumbel number a row and cell would be thousands a row.
        cumulative = jnp.cumsum(jnp.exp(log_masses(state)))
        index = jnp.searchsorted(cumulative, cumulative[-1] * jax.random.uniform(key, (n,)), side="right")
        return jnp.minimum(index, cells.n_cells - 1)

    def sample(key, state, n):
        key_cell, key_within = jax.random.split(key)
        return cells.draw(key_within, drawn_index(key_cell, state, n))

    def sample_mean(key, state, n):
        key_cell, key_within = jax.random.split(key)
        return cells.mean(key_within, drawn_index(key_cell, state, n))

    @jax.jit
    def log_prob(state, x):
        index = cells.index(x)
        return log_masses(state)[index] + cells.log_density(x, index)

    return at_once.build(
        "HISTOGRAM",
        cells.n_cells - 1,
        init,
        log_prob,
        width=cells.width,
        sample=sample,
        sample_mean=sample_mean,
        log_prob_steps=cells.steps,
        n_data_rows=_N_ROWS,
        rival=True,
    )


def _groups(config: Any, target: Any) -> Partition:
    """Cells of events that can be counted: groups of neighbouring ones, whose sizes differ by one at most."""
    states = target.event.law.states
    width = min(solve_width(lambda width: width, config.parameter_budget), states.n - 1)
    n_groups = width + 1
    # 32 bits each: JAX may keep a NumPy array's 64 where it has none, having once seen it under `enable_x64`.
    group = (np.arange(states.n) * n_groups // states.n).astype(np.int32)
    sizes = np.bincount(group).astype(np.int32)
    starts = np.cumsum(sizes, dtype=np.int32) - sizes
    with jax.ensure_compile_time_eval():
        events = np.asarray(states.event(np.arange(states.n, dtype=np.int32)))
    means = np.add.reduceat(events, starts, axis=0) / sizes[:, None]

    def draw(key, index):
        within = jnp.floor(jax.random.uniform(key, index.shape) * jnp.asarray(sizes)[index]).astype(jnp.int32)
        return states.event(jnp.asarray(starts)[index] + within)

    return Partition(
        n_groups,
        width,
        None,
        index=lambda x: jnp.asarray(group)[states.index(x)],
        log_density=lambda x, index: -jnp.log(jnp.asarray(sizes, x.dtype))[index],
        draw=draw,
        mean=lambda key, index: jnp.asarray(means, jnp.float32)[index],
    )


def _boxes(config: Any, target: Any) -> Partition:
    """Cells of events [n, D]: equal ones over the box, numbered with the last coordinate running fastest; outside."""
    dim = target.event.size
    n_per_axis = solve_width(lambda width: width**dim, config.parameter_budget)
    box = box_of(target.event)
    outside = _Outside(box.mean(1, dtype=np.float64), np.ptp(box.astype(np.float64), axis=1) / (2 * _EDGE))
    # As float32 has them: what is counted, drawn and integrated has the same bounds.
    grid = _Grid(np.stack([np.linspace(low, high, n_per_axis + 1, dtype=np.float32) for low, high in box]))

    def log_density(x, index):
        return jnp.where(index < grid.n_cells, -grid.log_volume(index, x.dtype), outside.log_density(x))

    def draw(key, index):
        key_within, key_outside = jax.random.split(key)
        is_inside = (index < grid.n_cells)[:, None]
        return jnp.where(is_inside, grid.draw(key_within, index), outside.draw(key_outside, len(index)))

    return Partition(grid.n_cells + 1, n_per_axis, n_per_axis, grid.index, log_density, draw, mean=draw)


class _Grid(NamedTuple):
    """Equal cells over a box in D dimensions."""

    edges: np.ndarray  # [D, cells an axis + 1] float32

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells along every axis."""
        return (self.edges.shape[1] - 1,) * len(self.edges)

    @property
    def n_cells(self) -> int:
        """Cells in all; that is the number of the one outside of the box."""
        return math.prod(self.shape)

    def index(self, x: jax.Array) -> jax.Array:
        """The cell of each of x [n, D], [n]."""
        n_per_axis = self.shape[0]
        each = self._positions(x)
        inside = jnp.all((each >= 0) & (each < n_per_axis), axis=-1)
        flat = each[:, 0]
        for axis in range(1, len(self.edges)):
            flat = flat * n_per_axis + each[:, axis]
        return jnp.where(inside, flat, self.n_cells)

    def log_volume(self, index: jax.Array, dtype: Any) -> jax.Array:
        """Of cells inside [n], [n]."""
        log_widths = np.log(np.diff(self.edges.astype(np.float64), axis=1))
        axes = self._by_axis(index)
        return sum(jnp.asarray(widths, dtype)[axes[:, axis]] for axis, widths in enumerate(log_widths))

    def draw(self, key: jax.Array, index: jax.Array) -> jax.Array:
        """Uniform draws [n, D] within cells inside [n]."""
        dim, axes = len(self.edges), self._by_axis(index)
        low, high = (
            jnp.stack([jnp.asarray(self.edges)[a][axes[:, a] + end] for a in range(dim)], -1) for end in (0, 1)
        )
        return low + jax.random.uniform(key, (len(index), dim)) * (high - low)

    def _positions(self, x: jax.Array) -> jax.Array:
        """The cell of every coordinate [n, D]; −1 or the number of cells outside."""
        found = []
        for axis, n_cells in enumerate(self.shape):
            bounds = jnp.asarray(self.edges[axis], x.dtype)
            position = jnp.searchsorted(bounds, x[:, axis], side="right") - 1
            # The box has its upper edge: a table's largest row lies there.
            found.append(jnp.where(x[:, axis] == bounds[-1], n_cells - 1, position))
        return jnp.stack(found, axis=-1)

    def _by_axis(self, index: jax.Array) -> jax.Array:
        """The cell of every coordinate [n, D] of cells inside."""
        return jnp.stack(jnp.unravel_index(jnp.minimum(index, self.n_cells - 1), self.shape), axis=-1)


class _Outside(NamedTuple):
    """A Gaussian, given that it is outside of the box whose sides are _EDGE deviations away."""

    middle: np.ndarray  # [D]
    deviation: np.ndarray  # [D]

    def log_density(self, x: jax.Array) -> jax.Array:
        """At x [n, D], [n]."""
        dim = len(self.middle)
        z = (x - jnp.asarray(self.middle, x.dtype)[None]) / jnp.asarray(self.deviation, x.dtype)[None]
        density = jnp.sum(-(z**2) / 2, axis=-1) - float(np.log(self.deviation).sum()) - dim / 2 * math.log(2 * math.pi)
        return density - math.log1p(-(_WITHIN**dim))

    def draw(self, key: jax.Array, n: int) -> jax.Array:
        """Draws [n, D]: the first coordinate that is outside, and the others."""
        dim = len(self.middle)
        key_first, key_side, key_u = jax.random.split(key, 3)
        bounds = np.cumsum(_WITHIN ** np.arange(dim))[:-1] / np.sum(_WITHIN ** np.arange(dim))
        first = jnp.sum(jax.random.uniform(key_first, (n, 1)) >= jnp.asarray(bounds, jnp.float32)[None], -1)
        u = jax.random.uniform(key_u, (n, dim), minval=1e-7)
        side = jnp.where(jax.random.bernoulli(key_side, shape=(n, dim)), 1.0, -1.0)
        # Each by the lower half of its distribution function, where float32 is fine-grained.
        tail, half = (1 - _WITHIN) / 2, _WITHIN / 2
        axis = jnp.arange(dim)[None]
        lower = jnp.where(axis == first[:, None], tail * u, jnp.where(axis < first[:, None], tail + half * u, u / 2))
        z = side * jax.scipy.special.ndtri(lower)
        return jnp.asarray(self.middle, jnp.float32)[None] + z * jnp.asarray(self.deviation, jnp.float32)[None]


# The law of an event -> what divides such events into cells.
LAWS = {"normal": _boxes, "category": _groups, "bits": _groups}

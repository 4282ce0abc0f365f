"""The density of a restricted Boltzmann machine with one or two Gaussian visible units: where it is, ln Z, exact draws.

It is exp(−F) over Z, where −F(v) = S(v) − Σᵢ (vᵢ − b_vᵢ)²/2σᵢ² and S, a sum of softplus, is convex. About the
centre c of a cell it lies below a function whose logarithm is linear:

    S(v) ≤ S(c) + ∇S(c)·(v − c) + δ,    δ = max over the corners v of S(v) − S(c) − ∇S(c)·(v − c),

since a convex function is largest at a corner, and the concave square below its tangent at any point: that of the cell
which is nearest to b_v + σ²∇S(c), where the bound of both is largest. So a cell is drawn by the mass of that
function, a point of it by its inverse, and rejection makes the draw exact. The same bound says which cells can be left
out: Z is at least what its tangent gives, ∫ exp(S(c) + ∇S(c)·(v − c) − Σᵢ (vᵢ − b_vᵢ)²/2σᵢ²) dv, for any c.

Reference:
  Gilks and Wild, Adaptive Rejection Sampling for Gibbs Sampling, 1992 (envelopes that are linear in the logarithm).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from models.boltzmann import Params, free_energy, hidden_input, sum_softplus
from models.visibles import GAUSSIAN

MOST_UNITS = 2  # visible ones: the cells are those of a line or of a plane
_REACH = 8.0  # σ about the outermost centres
# Cells an axis while the box shrinks to where the mass is, and then.
_COARSE, _FINE = {1: 256, 2: 24}, {1: 2048, 2: 128}
_DIRECT = {1: 512, 2: 72}  # nodes an axis where ln Z is differentiated
_ROUNDS = 8  # each leaves a sixth of a side that is far too long
_LEFT_OUT = 1e-12  # of the mass, by a round at most
_MOST_NODES = 2**22  # of the quadrature of Z
_MOST_PASSES = 200  # of n proposals each
# Columns of v at once, whose hidden units are so many numbers at most if that leaves a few.
_MOST_COLUMNS, _FEWEST_COLUMNS, _PART_NUMBERS = 1024, 8, 2**20


class Envelope(NamedTuple):
    """The cells of a box; M of them, V visible units."""

    centres: jax.Array  # [V, M]
    side: jax.Array  # [V]
    height: jax.Array  # [M], at the centre: the logarithm of the function above exp(−F)
    slope: jax.Array  # [V, M], of this logarithm
    log_mass: jax.Array  # [M], of this function
    log_least: jax.Array  # [], what ln Z is at least


@jax.jit
def mass_box(params: Params, left_out: float = _LEFT_OUT) -> tuple[jax.Array, jax.Array]:
    """Low and high ends [V] of a box outside of which no more than eight times `left_out` of the mass can lie.

    It begins with the model's reach, b_v + [Σⱼ min(W, 0), Σⱼ max(W, 0)] ± 8 σ, which holds the centres of all 2^H
    Gaussians, and leaves out cells whose bound is too small.
    """
    sigma = jnp.exp(params.log_sigma)
    low = params.visible_bias + jnp.minimum(params.weights, 0).sum(1) - _REACH * sigma
    high = params.visible_bias + jnp.maximum(params.weights, 0).sum(1) + _REACH * sigma
    return jax.lax.fori_loop(0, _ROUNDS, lambda _, box: _shrunk(params, box, left_out), (low, high))


def log_partition_gaussian(params: Params, nodes_per_sigma: int = 4, left_out: float = _LEFT_OUT) -> jax.Array:
    """ln Z by the trapezoid rule over the box that holds the model's mass, whatever the data are.

    A box around the data alone would miss mass that the model puts elsewhere, and flatter it. The rule converges faster
    than any power for a mixture of Gaussians. Not for tracing: the number of nodes depends on the weights. NaN where
    they are not finite, or would take more than four million nodes.
    """
    sigma = jnp.exp(params.log_sigma)
    low, high = mass_box(params, left_out)
    if not jnp.all((high - low) / sigma < _MOST_NODES / nodes_per_sigma):
        return jnp.full((), jnp.nan)
    # Rounded up so that models of similar reach share a compilation.
    n_nodes = [-(-int(n) // 64) * 64 for n in jnp.ceil((high - low) / sigma * nodes_per_sigma) + 1]
    if math.prod(n_nodes) > _MOST_NODES:
        return jnp.full((), jnp.nan)
    axes = [jnp.linspace(*span) for span in zip(low, high, n_nodes, strict=True)]
    grid = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    return jax.nn.logsumexp(-free_energies(params, grid)) + sum(jnp.log(axis[1] - axis[0]) for axis in axes)


def direct_gaussian(params: Params, x: jax.Array, key: jax.Array, box: jax.Array) -> jax.Array:
    """ln q [n] of rows [n, V], to be differentiated: ln Z over a grid that reaches half of the box beyond its ends.

    The key moves the grid within a cell. Mass beyond it, which no gradient would see, shows in the exact divergence.
    """
    n_per_axis = _DIRECT[len(box)]
    low, span = jnp.asarray(box[:, 0], x.dtype), jnp.asarray(box[:, 1] - box[:, 0], x.dtype)
    side = 2 * span / n_per_axis
    shift = jax.random.uniform(key, (len(box),))
    axes = (low - span / 2)[:, None] + side[:, None] * (jnp.arange(n_per_axis)[None] + shift[:, None])
    nodes = jnp.stack(jnp.meshgrid(*axes, indexing="ij")).reshape(len(box), -1)
    log_z = jax.nn.logsumexp(-free_energy(GAUSSIAN, params, nodes)) + jnp.sum(jnp.log(side))
    return -free_energy(GAUSSIAN, params, x.T) - log_z


@jax.jit
def free_energies(params: Params, v: jax.Array) -> jax.Array:
    """F(v) with Gaussian visibles of many rows [n, V] without holding [n, H] at once."""
    return jax.lax.map(lambda row: free_energy(GAUSSIAN, params, row[:, None])[0], v, batch_size=4096)


def exact_rows(key: jax.Array, params: Params, n: int) -> jax.Array:
    """Independent rows [n, V] of exp(−F)/Z, exact but for rounding and for 1e-11 of the mass.

    Where the cells are so wide for σ that n draws would take more than 200 n proposals, those that were accepted are
    repeated; where there is none, as of weights that are not finite, all rows are NaN.
    """
    return _accepted(key, params, envelope(params, *mass_box(params), _FINE[len(params.visible_bias)]), n)


def envelope(params: Params, low: jax.Array, high: jax.Array, n_per_axis: int) -> Envelope:
    """The cells of a box [V], [V]; V of `_COARSE`."""
    n_visible = len(low)
    side = (high - low) / n_per_axis
    variance = jnp.exp(2 * params.log_sigma)[:, None]

    def crossings(steps):
        axes = low[:, None] + side[:, None] * steps[None]
        return jnp.stack(jnp.meshgrid(*axes, indexing="ij")).reshape(n_visible, -1)

    def about(c):
        x = hidden_input(GAUSSIAN, params, c)
        return sum_softplus(x), params.weights @ nn.sigmoid(x) / variance

    centres = crossings(jnp.arange(n_per_axis) + 0.5)
    n_hidden = len(params.hidden_bias)
    total, gradient = _in_parts(about, centres, n_hidden)
    at_corners = _in_parts(
        lambda v: sum_softplus(hidden_input(GAUSSIAN, params, v)), crossings(jnp.arange(n_per_axis + 1)), n_hidden
    )
    at_corners = at_corners.reshape((n_per_axis + 1,) * n_visible)
    delta = jnp.zeros_like(total)
    for corner in range(2**n_visible):
        ends = [corner >> axis & 1 for axis in range(n_visible)]
        there = at_corners[tuple(slice(end, end + n_per_axis) for end in ends)].reshape(-1)
        step = side * (jnp.array(ends) - 0.5)
        delta = jnp.maximum(delta, there - total - jnp.sum(step[:, None] * gradient, axis=0))
    bias = params.visible_bias[:, None]
    from_bias = centres - bias
    # The square's tangent where the sum of both is largest in the cell: in wide cells at the top of a peak.
    half = side[:, None] / 2
    touching = jnp.clip(bias + variance * gradient, centres - half, centres + half) - bias
    slope = gradient - touching / variance
    height = total + delta + jnp.sum((touching**2 / 2 - touching * from_bias) / variance, axis=0)
    tangents = total - jnp.sum(gradient * from_bias - variance * gradient**2 / 2, axis=0)
    log_least = jnp.max(tangents) + jnp.sum(params.log_sigma) + n_visible / 2 * math.log(2 * math.pi)
    log_mass = height + jnp.sum(jnp.log(side)) + jnp.sum(_log_mean_exp(slope * side[:, None]), axis=0)
    return Envelope(centres, side, height, slope, log_mass, log_least)


def _in_parts(function, columns, n_hidden):
    """A function of columns [V, M], whose hidden units stay in the cache, as arrays with M columns."""
    n = columns.shape[1]
    at_once = min(n, max(_FEWEST_COLUMNS, min(_MOST_COLUMNS, _PART_NUMBERS // n_hidden)))
    padded = jnp.pad(columns, ((0, 0), (0, -n % at_once)), mode="edge")
    parts = padded.reshape(len(columns), -1, at_once).swapaxes(0, 1)
    return jax.tree.map(
        lambda found: jnp.moveaxis(found, 0, -2).reshape(*found.shape[1:-1], -1)[..., :n], jax.lax.map(function, parts)
    )


def _log_mean_exp(t: jax.Array) -> jax.Array:
    """ln of the mean of exp(t u) over u in [−½, ½]."""
    t = jnp.abs(t)
    large = jnp.maximum(t, 0.1)
    return jnp.where(t < 0.1, t**2 / 24, large / 2 + jnp.log(-jnp.expm1(-large) / large))


def _shrunk(params: Params, box: tuple[jax.Array, jax.Array], left_out: float) -> tuple[jax.Array, jax.Array]:
    """The smallest box of cells outside of which no more than `left_out` of the mass can lie."""
    low, high = box
    cells = envelope(params, low, high, _COARSE[len(low)])
    least = cells.log_least + jnp.log(left_out / len(cells.log_mass))
    kept = cells.log_mass > least
    # Centres of what is kept; of none, as where nothing is finite, the box stays.
    first = jnp.min(jnp.where(kept, cells.centres, jnp.inf), axis=1) - cells.side / 2
    last = jnp.max(jnp.where(kept, cells.centres, -jnp.inf), axis=1) + cells.side / 2
    some = jnp.any(kept)
    return jnp.where(some, first, low), jnp.where(some, last, high)


def _accepted(key: jax.Array, params: Params, cells: Envelope, n: int) -> jax.Array:
    """Rows [n, V] under exp(−F), by passes of n proposals under the envelope."""
    shares = jnp.cumsum(nn.softmax(cells.log_mass))

    def proposals(key):
        key_cell, key_place, key_level = jax.random.split(key, 3)
        cell = jnp.searchsorted(shares, shares[-1] * jax.random.uniform(key_cell, (n,)), side="right")
        cell = jnp.minimum(cell, len(shares) - 1)
        slope, side = cells.slope[:, cell], cells.side[:, None]
        step = _step(jax.random.uniform(key_place, slope.shape), slope * side) * side
        v = cells.centres[:, cell] + step
        above = cells.height[cell] + jnp.sum(slope * step, axis=0)
        log_density = -_in_parts(lambda v: free_energy(GAUSSIAN, params, v), v, len(params.hidden_bias))
        return v, jnp.log(jax.random.uniform(key_level, (n,), minval=1e-30)) < log_density - above

    def one_pass(carried):
        i, count, rows = carried
        v, accepted = proposals(jax.random.fold_in(key, i))
        # What is not accepted, or too many, goes behind the end, where nothing is kept.
        place = jnp.where(accepted, count + jnp.cumsum(accepted) - 1, n)
        return i + 1, count + jnp.sum(accepted), rows.at[place].set(v.T, mode="drop")

    def goes_on(carried):
        i, count, _ = carried
        return (count < n) & (i < _MOST_PASSES) & jnp.isfinite(shares[-1])

    start = (0, 0, jnp.full((n, len(cells.side)), jnp.nan))
    _, count, rows = jax.lax.while_loop(goes_on, one_pass, start)
    return rows[jnp.arange(n) % jnp.clip(count, 1, n)]


def _step(uniform: jax.Array, t: jax.Array) -> jax.Array:
    """Inverse of the distribution with density ∝ exp(t u) over u in [−½, ½]."""
    size = jnp.abs(t)
    large = jnp.maximum(size, 1e-6)
    # From the end where the density is largest.
    down = jnp.where(size < 1e-6, uniform, -jnp.log1p(uniform * jnp.expm1(-large)) / large)
    return jnp.where(t > 0, 0.5 - down, down - 0.5)

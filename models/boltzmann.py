"""The mathematics of a restricted Boltzmann machine: energies, Gibbs sweeps, sums over hidden units."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from core import prng
from models.visibles import Visible

# Bytes of an array [H, B] that a part of a step holds, and the fewest hidden units (`models.rbm` says why).
_PART_BYTES = 2**17
_FEWEST_AT_ONCE = 64
FLOAT_BYTES = 4
# Factors 1 + e^-|x| ≤ 2 whose product float32 holds.
_FACTORS = 64


class Params(NamedTuple):
    """Trainable weights; V visible units, H hidden ones."""

    weights: jax.Array  # [V, H] float32
    visible_bias: jax.Array  # [V] float32
    hidden_bias: jax.Array  # [H] float32
    log_sigma: Any  # [V] float32 when σ is learned, else ()


def hidden_input(visible: Visible, params: Params, v: jax.Array) -> jax.Array:
    """The logits of P(h = 1 | v), [H, n], of visible columns v [V, n]."""
    return params.weights.T @ visible.scaled(params, v) + params.hidden_bias[:, None]


def visible_mean(visible: Visible, params: Params, h: jax.Array) -> jax.Array:
    """E[v | h], [V, n], of hidden columns h [H, n]."""
    return visible.mean(params.weights @ h + params.visible_bias[:, None])


def free_energy(visible: Visible, params: Params, v: jax.Array) -> jax.Array:
    """F(v) [n] of columns v [V, n]: −ln of the unnormalised density or probability."""
    return visible.energy(params, v) - sum_softplus(hidden_input(visible, params, v))


def sweep(visible: Visible, params: Params, v: jax.Array, hidden: jax.Array, drawn: jax.Array) -> jax.Array:
    """One Gibbs sweep v -> h -> v [V, n], with uniforms [H, n] for h and the visible layer's own noise for v."""
    h = (hidden < nn.sigmoid(hidden_input(visible, params, v))).astype(v.dtype)
    return visible.draw(params, params.weights @ h + params.visible_bias[:, None], drawn)


@jax.custom_jvp
def sum_softplus(x: jax.Array) -> jax.Array:
    """Σⱼ ln(1 + e^xⱼ) of columns x [H, n], [n]: Σ max(x, 0) + ln Π (1 + e^-|x|), a logarithm for 64 units."""
    return _sum_softplus_of(x, 1 + jnp.exp(-jnp.abs(x)))


def _sum_softplus_of(x: jax.Array, factors: jax.Array) -> jax.Array:
    """The same where the factors 1 + e^-|x| are known."""
    missing = -len(x) % min(_FACTORS, len(x))
    groups = jnp.pad(factors, ((0, missing), (0, 0)), constant_values=1).reshape(-1, min(_FACTORS, len(x)), x.shape[1])
    return jnp.sum(jnp.maximum(x, 0), axis=0) + jnp.sum(jnp.log(jnp.prod(groups, axis=1)), axis=0)


@sum_softplus.defjvp
def _sum_softplus_jvp(primals, tangents):
    # The sigmoid that the Gibbs sweeps need as well: it is computed once.
    (x,), (dx,) = primals, tangents
    return sum_softplus(x), jnp.sum(nn.sigmoid(x) * dx, axis=0)


class Sums(NamedTuple):
    """What one pass over the hidden units has summed up; fields that nobody asked for stay as they were."""

    field: jax.Array  # [V, n]: W h of hidden states that were drawn
    softplus: jax.Array  # [n]: Σⱼ softplus
    d_scaled: jax.Array  # [V, n]: the derivative of −share Σ softplus by what the hidden units see
    gradient: Any  # its derivatives by the weights [V, H] and the hidden biases [H], added to those given


def units_at_once(n_hidden: int, n: int) -> int:
    """Hidden units of one part of a step with n rows."""
    return min(n_hidden, max(_FEWEST_AT_ONCE, _PART_BYTES // (FLOAT_BYTES * n)))


def over_hidden_units(
    params: Params,
    scaled: jax.Array,
    n_at_once: int,
    key: jax.Array | None = None,
    gradient: tuple[jax.Array, jax.Array] | None = None,
    share: float = 0.0,
) -> Sums:
    """Everything that a step needs of the hidden units, which are independent given v, a few at a time.

    Args:
      params: the weights.
      scaled: what hidden units see, [V, n], from `Visible.scaled`.
      n_at_once: hidden units of a part; the last one may be smaller.
      key: [2] uint32, to draw hidden states with; None: none are drawn.
      gradient: derivatives by weights and hidden biases so far; None: none are wanted.
      share: what a column's free energy counts in them.
    """
    n_hidden, n = len(params.hidden_bias), scaled.shape[1]

    def part(sums, i, size):
        start = i * n_at_once
        cut = functools.partial(jax.lax.dynamic_slice_in_dim, start_index=start, slice_size=size)
        weights, bias = cut(params.weights, axis=1), cut(params.hidden_bias)

        x = weights.T @ scaled + bias[:, None]
        # One exponential for both: XLA would take one for each.
        small = jnp.exp(-jnp.abs(x))
        on = jnp.where(x < 0, small, 1) / (1 + small)
        if key is not None:
            h = (part_uniforms(key, i, (size, n)) < on).astype(scaled.dtype)
            sums = sums._replace(field=sums.field + weights @ h)
        if gradient is not None:
            put = functools.partial(jax.lax.dynamic_update_slice_in_dim, start_index=start)
            d_weights, d_bias = sums.gradient
            sums = sums._replace(
                softplus=sums.softplus + _sum_softplus_of(x, 1 + small),
                d_scaled=sums.d_scaled - share * (weights @ on),
                gradient=(
                    put(d_weights, cut(d_weights, axis=1) - share * (scaled @ on.T), axis=1),
                    put(d_bias, cut(d_bias) - share * on.sum(1), axis=0),
                ),
            )
        return sums

    sums = Sums(jnp.zeros_like(scaled), jnp.zeros(n, scaled.dtype), jnp.zeros_like(scaled), gradient)
    n_whole, rest = divmod(n_hidden, n_at_once)
    sums = jax.lax.fori_loop(0, n_whole, lambda i, sums: part(sums, i, n_at_once), sums)
    return part(sums, n_whole, rest) if rest else sums


def part_uniforms(key: jax.Array, i: jax.Array | int, shape: tuple[int, ...]) -> jax.Array:
    """The uniforms [h, n] of the i-th part of a sweep's hidden units, whose Threefry key is [2] uint32."""
    key = jax.random.fold_in(prng.unrolled(key), i)
    # As of several keys: XLA would else fuse the hash with what reads its numbers, at 4.2 ns a number instead of 0.6.
    return jax.vmap(lambda key: jax.random.uniform(key, shape))(key[None])[0]

"""What a restricted Boltzmann machine's visible layer is made of: Gaussian, softmax or binary units.

Everything is a function of the machine's parameters (`boltzmann.Params`: weights [V, H], visible_bias [V], hidden_bias
[H], log_sigma [V]) and of columns: visible ones v [V, n], hidden ones h [H, n]. `models.rbm` says what is exact about
each.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from core import prng
from models.laws import draw_one_hot


class Visible(NamedTuple):
    """One kind of visible layer."""

    weight_scale: Callable[[int], float]  # (V) -> the deviation that weights begin with
    has_sigma: bool  # a deviation a unit
    first_bias: (
        Callable[[jax.Array], jax.Array] | None
    )  # (rows [n, V]) -> [V], that the visible bias begins with; None: 0
    starts_at_rows: bool  # hidden units begin to switch at rows
    noise: Callable[[jax.Array, tuple[int, int, int]], jax.Array]  # (key, (k, V, n)) -> what k draws of v take
    scaled: Callable[[Any, jax.Array], jax.Array]  # (params, v) -> [V, n], what hidden units see
    mean: Callable[[jax.Array], jax.Array]  # W h + b_v [V, n] -> E[v | h]
    energy: Callable[[Any, jax.Array], jax.Array]  # (params, v) -> [n], the part of F(v) that needs no hidden unit
    draw: Callable[[Any, jax.Array, jax.Array], jax.Array]  # (params, W h + b_v, one draw's noise) -> v


GAUSSIAN = Visible(
    # In the plane narrow peaks, as those of 2D_RING, are lost with large ones.
    weight_scale=lambda n_visible: 0.1 if n_visible == 1 else 0.02,
    has_sigma=True,
    first_bias=lambda rows: jnp.mean(rows, axis=0),
    starts_at_rows=True,
    noise=prng.normal,
    scaled=lambda params, v: v * jnp.exp(-2 * params.log_sigma)[:, None],
    mean=lambda linear: linear,
    energy=lambda params, v: (
        jnp.sum(((v - params.visible_bias[:, None]) / jnp.exp(params.log_sigma)[:, None]) ** 2, axis=0) / 2
    ),
    draw=lambda params, linear, noise: linear + jnp.exp(params.log_sigma)[:, None] * noise,
)

SOFTMAX = Visible(
    weight_scale=lambda n_visible: 0.01,
    has_sigma=False,
    first_bias=None,
    starts_at_rows=False,
    noise=lambda key, shape: jax.random.uniform(key, (shape[0], 1, shape[2])),
    scaled=lambda params, v: v,
    mean=lambda linear: nn.softmax(linear, axis=0),
    energy=lambda params, v: -params.visible_bias @ v,
    draw=lambda params, linear, noise: draw_one_hot(linear, noise),
)


def _log_odds(rows: jax.Array) -> jax.Array:
    """ln of how many rows have a 1 over how many have none, [V], each with half a row more."""
    ones = jnp.sum(rows, axis=0)
    return jnp.log(ones + 0.5) - jnp.log(len(rows) - ones + 0.5)


BINARY = Visible(
    weight_scale=lambda n_visible: 0.1,
    has_sigma=False,
    # Hinton, A Practical Guide to Training Restricted Boltzmann Machines, 2012, §8.1.
    first_bias=_log_odds,
    starts_at_rows=False,
    noise=lambda key, shape: jax.random.uniform(key, shape),
    scaled=lambda params, v: v,
    mean=nn.sigmoid,
    energy=lambda params, v: -params.visible_bias @ v,
    draw=lambda params, linear, noise: (noise < nn.sigmoid(linear)).astype(linear.dtype),
)

# Chains are of 0 and 1. Grey levels of the data stand for themselves: −F is convex, so that its value there is at most
# its mean over the bits that coins of these probabilities make.
PIXELS = BINARY._replace(weight_scale=lambda n_visible: 0.01)

"""What families share: Flax networks from rows [n, features] to rows, and draws of a category."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn


class MLP(nn.Module):
    """A multilayer perceptron whose hidden layers all have one width, the quantity that the budget solver finds."""

    width: int
    hidden_layers: int
    n_outputs: int
    activation: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps x [n, n_inputs] to [n, n_outputs]."""
        for _ in range(self.hidden_layers):
            x = self.activation(nn.Dense(self.width)(x))
        return nn.Dense(self.n_outputs)(x)


def draw_one_hot(logits: jax.Array, uniform: jax.Array) -> jax.Array:
    """Draws a category a row by inversion of its distribution function.

    It takes one random number a row where the Gumbel trick takes one a category, and small models are bound by their
    random numbers.

    Args:
      logits: [n, K], log probabilities up to a constant a row.
      uniform: [n, 1] in [0, 1).

    Returns:
      One-hot rows [n, K].
    """
    n_categories = logits.shape[-1]
    cumulative = nn.softmax(logits) @ jnp.triu(jnp.ones((n_categories, n_categories), logits.dtype))
    # Scaled by the last sum, which rounding leaves a little off one.
    drawn = jnp.sum(uniform * cumulative[:, -1:] >= cumulative[:, :-1], axis=-1)
    return jax.nn.one_hot(drawn, n_categories, dtype=logits.dtype)

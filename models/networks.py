"""What families share: perceptrons and draws of a category, with features first.

Arrays are [features, n] within a step, with the n rows of a minibatch along the contiguous axis: a processor computes
eight or sixteen of them at once, where rows of two or twenty features would leave most of its lanes empty.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn


class Dense(nn.Module):
    """An affine layer, initialised like `flax.linen.Dense`."""

    n_outputs: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps x [n_inputs, n] to [n_outputs, n]."""
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[0], self.n_outputs))
        if not self.use_bias:
            return kernel.T @ x
        bias = self.param("bias", nn.initializers.zeros_init(), (self.n_outputs,))
        return kernel.T @ x + bias[:, None]


class MLP(nn.Module):
    """A multilayer perceptron whose hidden layers all have one width, the quantity that the budget solver finds."""

    width: int
    hidden_layers: int
    n_outputs: int
    activation: Callable[[jax.Array], jax.Array]
    output_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps x [n_inputs, n] to [n_outputs, n]."""
        for _ in range(self.hidden_layers):
            x = self.activation(Dense(self.width)(x))
        return Dense(self.n_outputs, self.output_bias)(x)


def draw_one_hot(logits: jax.Array, uniform: jax.Array) -> jax.Array:
    """Draws a category a column by inversion of its distribution function.

    It takes one random number a column where the Gumbel trick takes one a category, and small models are bound by their
    random numbers.

    Args:
      logits: [K, n], log probabilities up to a constant a column.
      uniform: [1, n] in [0, 1).

    Returns:
      One-hot columns [K, n].
    """
    n_categories = logits.shape[0]
    cumulative = jnp.tril(jnp.ones((n_categories, n_categories), logits.dtype)) @ nn.softmax(logits, axis=0)
    # Scaled by the last sum, which rounding leaves a little off one.
    drawn = jnp.sum(uniform * cumulative[-1:] >= cumulative[:-1], axis=0)
    return jax.nn.one_hot(drawn, n_categories, axis=0, dtype=logits.dtype)

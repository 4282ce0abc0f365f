"""The Flax networks that families share. They map rows [n, features] to rows and hold no state."""

from collections.abc import Callable

import jax
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

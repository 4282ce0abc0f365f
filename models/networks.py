"""What families share: perceptrons, with features first.

Arrays are [features, n] within a step, with the n rows of a minibatch along the contiguous axis: a processor computes
eight or sixteen of them at once, where rows of two or twenty features would leave most of its lanes empty.
"""

from collections.abc import Callable

import jax
from flax import linen as nn

from models.convolutions import spectrally_normalised


class Dense(nn.Module):
    """An affine layer, initialised like `flax.linen.Dense`."""

    n_outputs: int
    use_bias: bool = True
    spectral_norm: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps x [n_inputs, n] to [n_outputs, n]."""
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[0], self.n_outputs))
        kernel = spectrally_normalised(kernel) if self.spectral_norm else kernel
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
    spectral_norm: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps x [n_inputs, n] to [n_outputs, n]."""
        for _ in range(self.hidden_layers):
            x = self.activation(Dense(self.width, spectral_norm=self.spectral_norm)(x))
        return Dense(self.n_outputs, self.output_bias, self.spectral_norm)(x)

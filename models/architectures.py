"""The networks for an event: convolutions where it is an image, a perceptron otherwise.

A family asks for those of its event, and has no branch of its own.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from core import prng
from models.convolutions import settled
from models.images import FromImage, ToImage
from models.laws import Event
from models.networks import MLP

# Rows at once outside of training, so that the layers of many thousands need not be held together.
_IMAGES_AT_ONCE = 512
# Rows of z whose statistics a generator's batch normalisation has when it is sampled, always the same.
_SETTLING_ROWS = 1024


class Networks(NamedTuple):
    """What makes the networks for an event. All have columns: [n_inputs, n] to [n_outputs, n]."""

    to_event: Callable[..., nn.Module]  # (width, n_outputs, batch_norm=False) -> from a latent to a law's outputs
    # (width, n_outputs, batch_norm=False, spectral_norm=False, output_bias=True) -> from an event to a few numbers
    from_event: Callable[..., nn.Module]
    is_image: bool  # only these networks have batch normalisation, and rows that are taken in parts


def networks_for(event: Event, hidden_layers: int, activation: Callable[[jax.Array], jax.Array]) -> Networks:
    """The networks for an event.

    Args:
      event: of shape [height, width, channels] an image; of any other shape a vector.
      hidden_layers: of a perceptron.
      activation: of a perceptron.
    """
    if is_image(event):

        def to_image(width, n_outputs, batch_norm=False):
            return ToImage(width, event.shape, n_outputs, batch_norm)

        def from_image(width, n_outputs, batch_norm=False, spectral_norm=False, output_bias=True):
            return FromImage(width, event.shape, n_outputs, batch_norm, spectral_norm, output_bias)

        return Networks(to_image, from_image, is_image=True)
    mlp = functools.partial(MLP, hidden_layers=hidden_layers, activation=activation)

    def to_event(width, n_outputs, batch_norm=False):
        del batch_norm
        return mlp(width, n_outputs=n_outputs)

    def from_event(width, n_outputs, batch_norm=False, spectral_norm=False, output_bias=True):
        del batch_norm
        return mlp(width, n_outputs=n_outputs, spectral_norm=spectral_norm, output_bias=output_bias)

    return Networks(to_event, from_event, is_image=False)


def is_image(event: Event) -> bool:
    """Whether an event has rows, columns and channels."""
    return len(event.shape) == 3


def applied(network: nn.Module, networks: Networks, n_inputs: int | None = None) -> Callable[[Any, jax.Array], Any]:
    """A network outside of training: (variables, columns [n_inputs, n]) -> [n_outputs, n], each column by itself.

    Args:
      network: of the networks.
      networks: that it belongs to.
      n_inputs: the length of the latents that settle its batch normalisation; None: it has none.
    """
    if not networks.is_image:
        return network.apply

    def of_columns(variables, columns):
        if n_inputs is not None:
            rows = prng.normal(jax.random.key(0), (n_inputs, _SETTLING_ROWS))
            variables = settled(network, variables, rows)
        n = columns.shape[1]
        if n <= _IMAGES_AT_ONCE:
            return network.apply(variables, columns)
        padded = jnp.pad(columns, ((0, 0), (0, -n % _IMAGES_AT_ONCE)))
        parts = jnp.moveaxis(padded.reshape(len(columns), -1, _IMAGES_AT_ONCE), 1, 0)
        outputs = jax.lax.map(lambda part: network.apply(variables, part), parts)
        return jnp.moveaxis(outputs, 0, 1).reshape(outputs.shape[1], -1)[:, :n]

    return of_columns

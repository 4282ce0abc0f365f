"""How far images are apart in the features of a network's layers, whatever the features' size.

References:
  Zhang, Isola, Efros, Shechtman and Wang, The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, 2018
    (eq. 1, without learned weights of channels).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

_EPSILON = 1e-10  # added to the squared length of features, so that it has a root and a slope where all are 0


def perceptual_loss(ours: Sequence[jax.Array], theirs: Sequence[jax.Array]) -> jax.Array:
    """The squared distance of features [channels, h, w, n] of length 1, summed over layers, averaged over positions."""
    pairs = zip(ours, theirs, strict=True)
    return sum(jnp.mean(jnp.sum((unit_length(a) - unit_length(b)) ** 2, axis=0)) for a, b in pairs)


def unit_length(features: jax.Array) -> jax.Array:
    """Features [channels, h, w, n] over their length at every position."""
    return features * jax.lax.rsqrt(jnp.sum(features**2, axis=0, keepdims=True) + _EPSILON)

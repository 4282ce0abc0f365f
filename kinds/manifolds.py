"""What a picture shows of the latent space of an autoencoder whose events are seen as small images."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

_SHOWN = 11  # values of a latent, so that images have room


class ManifoldPicture(NamedTuple):
    """What one or two latents decode to, any others at 0."""

    z: np.ndarray  # [g], the values of each
    mean: np.ndarray  # [g (z₂), g (z₁), size], or [g, size] of one: E[event | z]; all NaN: diverged
    rate: float  # nats: KL(q(z|x) ‖ p(z)), its mean over events of the target
    more: int  # latents beyond two


def manifold_of(arrays: Mapping[str, np.ndarray]) -> ManifoldPicture:
    """A few of the values that a view of the latent space has computed."""
    mean = arrays["mean"]
    few = np.linspace(0, len(arrays["z"]) - 1, _SHOWN).astype(int)
    thinned = mean[few] if mean.ndim == 2 else mean[np.ix_(few, few)]
    return ManifoldPicture(arrays["z"][few], thinned, float(arrays["rate"]), int(arrays["more"]))

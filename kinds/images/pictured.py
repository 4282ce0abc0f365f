"""What pictures show of a target over images, as plain arrays that can be sent to another process."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from core.captions import Caption
from core.drawing.scenes import Curve
from kinds.contract import Judge, Showing, Target
from kinds.images.judging import N_KEPT
from kinds.images.truth import Images

_VIEWS = "kinds.images.views"


class ImagesPicture(NamedTuple):
    """What pictures show of a target."""

    name: str
    rows: np.ndarray  # [64, D] real images: held out, or fresh
    shape: tuple[int, int, int]  # H, W, C
    depth_scale: float | None  # lengths that 1 stands for in the last channel; None: that is no depth
    empirical: bool

    panels = "kinds.images.panels.ImagePanels"


class ManifoldPicture(NamedTuple):
    """What one or two latents decode to, any others at 0."""

    z: np.ndarray  # [g], the values of each
    mean: np.ndarray  # [g (z₂), g (z₁), D], or [g, D] of one; all NaN: diverged
    rate: float  # nats: KL(q(z|x) ‖ p(z)), its mean over real images
    more: int  # latents beyond two


def scene_of(target: Target, judge: Judge, config: Any) -> ImagesPicture:
    """The target in the form that its pictures take."""
    truth: Images = target.truth
    if target.held_out_rows is not None:
        rows = target.held_out_rows[:N_KEPT]
    else:
        key = jax.random.fold_in(jax.random.key(config.seed), 2**31 + 7)
        rows = np.asarray(jax.jit(target.sample, static_argnums=1)(key, N_KEPT))
    del judge
    return ImagesPicture(target.name, rows, truth.shape, truth.depth_scale, target.empirical)


def _latent_sweep(arrays: Mapping[str, np.ndarray], curves: Mapping[str, Curve], scene: ImagesPicture, colour: str):
    del curves, colour
    mean = arrays["mean"]
    # Every sixth of 61 values, so that images have room.
    few = np.linspace(0, len(arrays["z"]) - 1, 11).astype(int)
    thinned = mean[few] if mean.ndim == 2 else mean[np.ix_(few, few)]
    return ManifoldPicture(arrays["z"][few], thinned, float(arrays["rate"]), int(arrays["more"])), scene


VIEWS = {
    "latent_sweep": Showing(
        f"{_VIEWS}.manifold",
        _latent_sweep,
        "mean",
        caption=Caption(
            "Latent map",
            "What a grid of two latents decodes to, the others at 0: images that turn into one another show a code in "
            "use, and one image everywhere shows posterior collapse.",
        ),
    ),
}

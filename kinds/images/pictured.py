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
from kinds.manifolds import manifold_of

_VIEWS = "kinds.images.views"
_MOST_FILTERS = 64


class ImagesPicture(NamedTuple):
    """What pictures show of a target."""

    name: str
    rows: np.ndarray  # [64, D] real images: held out, or fresh
    shape: tuple[int, int, int]  # H, W, C
    depth_scale: float | None  # lengths that 1 stands for in the last channel; None: that is no depth
    empirical: bool

    panels = "kinds.images.panels.ImagePanels"


class FiltersPicture(NamedTuple):
    """Hidden units and Gibbs chains of a Boltzmann machine."""

    weights: np.ndarray  # [K, D] of the hidden units with the largest
    n_hidden: int  # units that there are
    chains: np.ndarray  # [T, c, D] E[v | h]; all NaN: diverged
    sweeps: np.ndarray  # [T] after so many


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
    return manifold_of(arrays), scene


def _filters(arrays: Mapping[str, np.ndarray], curves: Mapping[str, Curve], scene: ImagesPicture, colour: str):
    del curves
    weights = np.asarray(arrays["weights"])
    largest = np.argsort(-np.linalg.norm(weights, axis=1), kind="stable")[:_MOST_FILTERS]
    return FiltersPicture(weights[largest], len(weights), arrays["chains"], arrays["sweeps"]), scene, colour


VIEWS = {
    "filters": Showing(
        f"{_VIEWS}.filters",
        _filters,
        "chains",
        caption=Caption(
            "Filters and chains",
            "The weights of hidden units, and Gibbs chains that begin at real images: strokes and spots are what "
            "hidden units stand for, and a chain that keeps its digit forever does not mix.",
        ),
    ),
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

"""What families show of themselves on images: a map of two latents.

Drawn from arrays alone, with the conventions of `plotting` for `path`, `title` and the look.
"""

from pathlib import Path

import numpy as np

from core.drawing import figures
from core.drawing.figures import DIVERGED, TARGET_COLOUR
from kinds.images import mosaics
from kinds.images.pictured import ImagesPicture, ManifoldPicture

COLLAPSED = 0.1  # nats: below this rate the code says next to nothing about an image


@figures.styled
def manifold(path: str | Path, said: ManifoldPicture, scene: ImagesPicture, title: str) -> None:
    """Draws what a grid of z decodes to."""
    two, n = said.mean.ndim == 3, len(said.z)
    fig = figures.new(8.6, 7.4 if two else 2.6, title)
    ax = fig.subplots()
    # Upwards z₂ grows.
    rows = (said.mean[::-1] if two else said.mean).reshape(-1, said.mean.shape[-1])
    drawn = mosaics.show(ax, rows, scene.shape, n)
    height, width = drawn.get_array().shape[:2]
    words = [f"{value + 0.0:.3g}".replace("-", "−") for value in np.round(said.z, 3)]
    places = np.array([0, n // 2, n - 1])
    ax.set_xticks((places + 0.5) * width / n, [words[i] for i in places])
    ax.set_xlabel("z₁")
    if two:
        ax.set_yticks((n - 0.5 - places) * height / n, [words[i] for i in places])
        ax.set_ylabel("z₂")
    mosaics.depth_bar(ax, scene.shape, scene.depth_scale)
    lost = bool(np.isnan(said.mean).all())
    said_of = (
        f"posterior collapse: rate {said.rate:.2g} nats" if said.rate < COLLAPSED else f"rate {said.rate:.2f} nats"
    )
    said_of += f" · z₁ and z₂ of {said.more + 2}, the others at 0" if said.more else ""
    figures.header(ax, "", "" if lost else said_of, TARGET_COLOUR)
    if lost:
        figures.words_in(ax, DIVERGED, TARGET_COLOUR)
    figures.save(fig, path)

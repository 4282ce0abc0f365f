"""Pictures of several runs side by side, drawn from arrays alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.drawing import figures
from core.drawing.figures import TARGET_COLOUR

_WIDTH = 8.0  # inches of a column
_MOST_COLUMNS = 3
# Inches above all, above a column for its head, and below all.
_TITLE, _ROOM, _NOTES = 0.5, 0.4, 0.4


class Tile(NamedTuple):
    """One run's pictures, one below the other."""

    head: str  # what tells this run from the others
    images: Sequence[np.ndarray]  # [height, width, 3] uint8 each; every tile has as many


@figures.styled
def tiles(path: str | Path, runs: Sequence[Tile], title: str, notes: Sequence[str] = ()) -> None:
    """Draws the same pictures of several runs in columns of one width, three columns at most in a row.

    Args:
      path: the PNG to write.
      runs: one or more.
      title: of the whole picture.
      notes: what a reader has to know, such as what all runs share.
    """
    columns = min(len(runs), _MOST_COLUMNS)
    blocks, n_images = -(-len(runs) // columns), len(runs[0].images)
    # Equal pictures of runs need not be of equal height: a note may take a line more.
    heights = [_WIDTH * max(_aspect(run.images[i]) for run in runs) for i in range(n_images)]
    height = blocks * (sum(heights) + _ROOM) + _TITLE + _NOTES * bool(notes)
    fig = figures.new(columns * _WIDTH, height, title)
    panels = fig.subplots(blocks * n_images, columns, squeeze=False, height_ratios=heights * blocks)
    for ax in panels.flat:
        ax.set_axis_off()
    for i, run in enumerate(runs):
        block, column = divmod(i, columns)
        for j, image in enumerate(run.images):
            ax = panels[block * n_images + j, column]
            ax.imshow(image)
            ax.set_anchor("NW")
            if j == 0:
                figures.header(ax, run.head, "", TARGET_COLOUR)
    if notes:
        figures.figure_legend(fig, {}, " · ".join(notes))
    figures.save(fig, path)


def _aspect(image: np.ndarray) -> float:
    return image.shape[0] / image.shape[1]

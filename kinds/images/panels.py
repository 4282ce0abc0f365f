"""Panels of the comparison and the timeline: images of the target and of every entry in a grid."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from core.drawing import figures
from kinds.images import mosaics
from kinds.images.pictured import ImagesPicture
from kinds.images.truth import has_depth

_N_SHOWN = {False: 64, True: 32}  # images of a panel, without depth and with it


class ImagePanels:
    """A square of images an entry."""

    flat = False
    side = 3.4  # inches

    def __init__(
        self, scene: ImagesPicture, frames: Sequence[Mapping[str, np.ndarray]], exactly: Mapping[str, np.ndarray]
    ):
        """Takes what `Scorer.keep` leaves of samples [64, D] of every frame."""
        self.scene, self.frames, self.known = scene, frames, dict(exactly)
        self.n = _N_SHOWN[has_depth(scene.shape)]
        self.columns = mosaics.square_columns(self.n, scene.shape)
        self.movers = {}

    def note(self, frame: int, entry: str) -> str:
        """What a panel cannot show of an entry: nothing."""
        del frame, entry
        return ""

    def spare(self, second_line: bool) -> float:
        """By how many inches a row of panels may be lower."""
        return 0.2 if second_line else 0.4

    def _shown(self, rows: np.ndarray) -> np.ndarray:
        """As many images as the panel has room for; a sample of fewer is filled up with black ones."""
        rows = rows[: self.n]
        return np.concatenate([rows, np.zeros((self.n - len(rows), rows.shape[1]), rows.dtype)])

    def draw(self, ax: Axes, entry: str | None, colour: str) -> None:
        """Draws an entry of the first frame."""
        del colour
        rows = self.scene.rows if entry is None else self.frames[0][entry]
        self.movers[entry] = mosaics.show(ax, self._shown(rows), self.scene.shape, self.columns)

    def axis_words(self) -> tuple[str, str]:
        """What the axes are: nothing."""
        return "", ""

    def move(self, frame: int, entry: str) -> None:
        """Shows an entry of another frame in its panel."""
        rows = self._shown(self.frames[frame][entry])
        self.movers[entry].set_data(mosaics.mosaic(rows, self.scene.shape, self.columns))

    def legend(self, fig: Figure, last: Axes) -> None:
        """Says what is drawn."""
        mosaics.depth_bar(last, self.scene.shape, self.scene.depth_scale)
        what = "held out" if self.scene.empirical else "fresh"
        words = f"target: {self.n} real images, {what} · others: the first {self.n} of a sample, none is chosen"
        if has_depth(self.scene.shape):
            beside = "depth" if self.scene.depth_scale else f"channel {self.scene.shape[2]}"
            words += f" · on the right of every image: its {beside}"
        figures.figure_legend(fig, {}, words)

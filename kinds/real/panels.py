"""Panels of the comparison and the timeline: the target and every entry over the same cells, all on one scale."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from core.drawing import figures, scales
from core.drawing.figures import DENSITY_MAP, FLOOR_COLOUR, TARGET_COLOUR
from kinds.real.outlines import (
    cell_heights,
    draw_contours,
    heights_of,
    line_or_steps,
    outline_of,
    target_contour,
)
from kinds.real.pictured import TargetPicture


class _Panels:
    """What the panels on a line and in a plane share; an entry is a family's name, None is the target."""

    flat: bool  # whether a panel is wider than high
    side = 2.9  # inches
    room = 1.0  # what an axis goes beyond what is drawn, as a factor

    def __init__(
        self, scene: TargetPicture, frames: Sequence[Mapping[str, np.ndarray]], exactly: Mapping[str, np.ndarray]
    ):
        """Takes the shares of samples in every cell [K] of every frame, and the masses of what is known by them."""
        self.scene = scene
        self.known = {name: cell_heights(masses, scene) for name, masses in exactly.items()}
        self.sampled = bool(frames[0])
        self.cells = [{name: cell_heights(q, scene) for name, q in samples.items()} | self.known for samples in frames]
        self.exact = heights_of(scene.masses, scene)
        tallest = self.tallest()
        peak = max((heights.max() for frame in self.cells for heights, _ in frame.values()), default=0.0)
        # A collapsed model's spike must not flatten everyone else: cut it, and say so in the panel's head.
        self.top = max(tallest, min(peak, 1.6 * tallest)) * self.room
        self.peak = peak
        self.what = f"probability per {scene.cell}" if scene.binned else "probability density"
        self.movers = {}

    def tallest(self) -> float:
        """The largest height of the target."""
        return float(self.exact.max())

    def note(self, frame: int, entry: str) -> str:
        """What a panel cannot show of an entry, or nothing."""
        return figures.unseen_note(*self.cells[frame][entry], self.top, float(self.scene.masses.sum()))

    def spare(self, second_line: bool) -> float:
        """By how many inches a row of panels may be lower."""
        return 0.0

    def _shown(self) -> str:
        of_known = f", but exact probabilities of {' and '.join(self.known)}" if self.known else ""
        return f"samples{of_known}" if self.sampled else "exact probabilities"


class LinePanels(_Panels):
    """Histograms of a line with the target's density or steps over them."""

    flat = True
    room = 1.06

    def tallest(self) -> float:
        """The largest height of the target's cells and of its line."""
        return float(max(self.exact.max(), outline_of(self.scene).max()))

    def draw(self, ax: Axes, entry: str | None, colour: str) -> None:
        """Draws an entry of the first frame."""
        scene, edges = self.scene, self.scene.edges[0]
        heights = self.exact if entry is None else self.cells[0][entry][0]
        shade = FLOOR_COLOUR if entry is None else colour
        self.movers[entry] = ax.stairs(heights, edges, fill=True, color=shade, alpha=0.6, lw=0, zorder=2)
        line_or_steps(ax, scene.axes[0], outline_of(scene), scene, color=TARGET_COLOUR, lw=1.8, zorder=3)
        ax.set(xlim=(edges[0], edges[-1]), ylim=(0, self.top))
        scales.round_ticks(ax.xaxis)

    def axis_words(self) -> tuple[str, str]:
        """What the axes are."""
        return "x", self.what

    def move(self, frame: int, entry: str) -> None:
        """Shows an entry of another frame in its panel."""
        self.movers[entry].set_data(self.cells[frame][entry][0])

    def legend(self, fig: Figure, last: Axes) -> None:
        """Says what is drawn."""
        del last
        per_cell = "share of the held-out rows" if self.scene.empirical else "exact probability of every cell"
        drawn = "exact density" if self.scene.density is not None else per_cell
        entries = {f"target: {drawn}": Line2D([], [], color=TARGET_COLOUR, lw=1.8)}
        entries[f"filled: {self._shown()}"] = Patch(fc="#B0B0B0")
        figures.figure_legend(fig, entries)


class PlanePanels(_Panels):
    """Densities of cells in the plane by colour, with the target's contours over them."""

    flat = False

    def spare(self, second_line: bool) -> float:
        """Panels keep the proportions of the plane: what lies lower needs less room."""
        across, along = np.ptp(self.scene.box, axis=1)
        if not along < across <= 1.5 * along:
            return 0.0
        # A second line in the panels' heads does need some.
        return max(self.side * (1 - along / across) - (0.4 if second_line else 0.0), 0.0)

    def draw(self, ax: Axes, entry: str | None, colour: str) -> None:
        """Draws an entry of the first frame."""
        del colour
        heights = self.exact if entry is None else self.cells[0][entry][0]
        # By its root: what is spread widely is faint beside a target's peaks, and has as much mass.
        norm = PowerNorm(0.5, 0, self.top, clip=True)
        self.movers[entry] = ax.pcolormesh(*self.scene.edges, heights.T, cmap=DENSITY_MAP, norm=norm)
        draw_contours(ax, self.scene, "white")
        figures.plane(ax, self.scene.box)

    def axis_words(self) -> tuple[str, str]:
        """What the axes are."""
        return "x₁", "x₂"

    def move(self, frame: int, entry: str) -> None:
        """Shows an entry of another frame in its panel."""
        self.movers[entry].set_array(self.cells[frame][entry][0].T)

    def legend(self, fig: Figure, last: Axes) -> None:
        """Says what is drawn, and by which colours, beside the last panel of the first row."""
        extend = "max" if self.peak > self.top else "neither"
        # Beside a low panel a label of one line would be longer than the bar.
        apart = "\n" if self.spare(False) else " "
        bar = figures.colour_bar(last, self.movers[None], f"{self.what},{apart}by its square root", extend)
        ticks = _ticks_by_root(self.top)
        bar.set_ticks(ticks, labels=[f"{value:g}" for value in ticks])
        contour = target_contour(self.scene, "#707070")
        heading = f"colours: {self._shown()}" if self.known else None
        figures.figure_legend(fig, {contour.get_label(): contour}, heading)


def _ticks_by_root(top: float) -> list[float]:
    """0 and round numbers up to top that lie apart by their square roots."""
    decade = 10.0 ** np.floor(np.log10(top))
    round_numbers = [0.0, *(step * scale for scale in (decade / 100, decade / 10, decade) for step in (1, 2, 5))]
    kept = [0.0]
    for value in round_numbers[1:]:
        # Beside a low panel the bar is short, and nearer ticks would touch.
        if 0.015 * top < value <= top and np.sqrt(value / top) - np.sqrt(kept[-1] / top) >= 0.08:
            kept.append(value)
    return kept

"""Panels of the comparison and the timeline: probabilities of the likeliest strings, target and every entry."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from core.drawing import figures, scales
from core.drawing.figures import FLOOR_COLOUR, TARGET_COLOUR
from kinds.bits.pictured import BitsPicture

_MOST_LABELLED = 16
_STEEP = 15  # times the median of the strings: a taller one would flatten them


def label_strings(ax: Axes, scene: BitsPicture) -> None:
    """Writes the strings under an axis of their places, where there is room, and says where the valid ones end."""
    n = len(scene.strings)
    ax.set_xlim(-0.7, n - 0.3)
    ax.grid(False, axis="x")
    if n <= _MOST_LABELLED:
        words = ["".join(str(int(bit)) for bit in row) for row in scene.strings]
        ax.set_xticks(range(n), words, rotation=90, fontsize=8, family="monospace")
    else:
        scales.round_ticks(ax.xaxis)
    if scene.valid is not None and scene.valid.any() and not scene.valid.all():
        ax.axvline(scene.valid.sum() - 0.5, color=FLOOR_COLOUR, lw=1.2, ls=":", zorder=1.5)


def brief(value: float) -> str:
    """A probability in two digits: 0.24, 0.0067, 1.2e-5."""
    if 0 < value < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    return f"{value:#.2g}" if 0 < value < 1 else f"{value:.0f}"


class BitPanels:
    """Bars of the strings that are shown, the likeliest first, and what the others have together in words."""

    flat = True
    side = 2.9  # inches

    def __init__(
        self, scene: BitsPicture, frames: Sequence[Mapping[str, np.ndarray]], exactly: Mapping[str, np.ndarray]
    ):
        """Takes what `Scorer.keep` leaves of samples [K + 1] of every frame, and the same of exact probabilities."""
        self.scene, self.known = scene, dict(exactly)
        self.sampled = bool(frames[0])
        self.shares = [{name: np.nan_to_num(q) for name, q in {**samples, **exactly}.items()} for samples in frames]
        tallest = scene.masses[:-1].max()
        peak = max((q[:-1].max() for frame in self.shares for q in frame.values()), default=0.0)
        # A collapsed model's spike must not flatten everyone else: it is cut, and the panel says so.
        self.top = max(tallest, min(peak, 1.6 * tallest)) * 1.06
        shown = scene.masses[:-1][scene.masses[:-1] > 0]
        # As in the plane, where colours follow the square root of the density.
        self.root = tallest > _STEEP * np.median(shown)
        self.partial = len(scene.strings) < scene.n_states
        if self.partial:
            # Room for what the others have.
            self.top *= 1.5 if self.root else 1.25
        self.movers, self.rest = {}, {}

    def note(self, frame: int, entry: str) -> str:
        """What a panel cannot show of an entry."""
        peak = self.shares[frame][entry][:-1].max()
        return f"peak {peak:.2g} cut" if peak > self.top else ""

    def _others(self, q: np.ndarray) -> str:
        """What the strings have together that are not shown."""
        return f"all other strings: {brief(q[-1])}" if self.partial else ""

    def spare(self, second_line: bool) -> float:
        """By how many inches a row of panels may be lower."""
        del second_line
        return 0.0

    def draw(self, ax: Axes, entry: str | None, colour: str) -> None:
        """Draws an entry of the first frame."""
        n = len(self.scene.strings)
        edges = np.arange(n + 1) - 0.5
        q = self.scene.masses if entry is None else self.shares[0][entry]
        shade = FLOOR_COLOUR if entry is None else colour
        self.movers[entry] = ax.stairs(q[:-1], edges, fill=True, color=shade, alpha=0.6, lw=0, zorder=2)
        ax.stairs(self.scene.masses[:-1], edges, color=TARGET_COLOUR, lw=1.5, zorder=3)
        label_strings(ax, self.scene)
        box = {"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1.5}
        self.rest[entry] = ax.text(0.985, 0.985, self._others(q), transform=ax.transAxes, ha="right", va="top",
                                   fontsize=10.5, color="#404040", bbox=box, zorder=5)  # fmt: skip
        if self.root:
            scales.root_axis(ax.yaxis, self.top)
        ax.set_ylim(0, self.top)

    def axis_words(self) -> tuple[str, str]:
        """What the axes are."""
        return self.scene.words, f"probability{' (square-root axis)' if self.root else ''}"

    def move(self, frame: int, entry: str) -> None:
        """Shows an entry of another frame in its panel."""
        q = self.shares[frame][entry]
        self.movers[entry].set_data(q[:-1])
        self.rest[entry].set_text(self._others(q))

    def legend(self, fig: Figure, last: Axes) -> None:
        """Says what is drawn."""
        del last
        what = "share of the strings held out" if self.scene.empirical else "exact probability"
        entries = {f"target: {what}": Line2D([], [], color=TARGET_COLOUR, lw=1.5)}
        of_known = f", but exact probabilities of {' and '.join(self.known)}" if self.known else ""
        drawn = f"samples{of_known}" if self.sampled else "exact probabilities"
        entries[f"filled: {drawn}"] = Patch(fc="#B0B0B0")
        valid = self.scene.valid
        if valid is not None and valid.any() and not valid.all():
            entries["right of it: not valid"] = Line2D([], [], color=FLOOR_COLOUR, lw=1.2, ls=":")
        figures.figure_legend(fig, entries)

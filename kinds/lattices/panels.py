"""Panels of the comparison and the timeline: how the magnetisation of a sample is distributed."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from core.drawing import figures
from core.drawing.figures import TARGET_COLOUR
from kinds.real.panels import LinePanels


class MagnetisationPanels(LinePanels):
    """Histograms of m with that of the long run over them."""

    def axis_words(self) -> tuple[str, str]:
        """What the axes are."""
        return "magnetisation m of a lattice", "share of the lattices"

    def legend(self, fig: Figure, last: Axes) -> None:
        """Says what is drawn."""
        del last
        entries: Mapping[str, Any] = {
            "target: a long run of clusters, mirrored": Line2D([], [], color=TARGET_COLOUR, lw=1.5),
            "filled: samples": Patch(fc="#B0B0B0"),
        }
        figures.figure_legend(fig, entries)

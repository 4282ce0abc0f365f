"""What a family gives up of one quantity for another as one of its settings is swept, drawn from arrays alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.patheffects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from core.drawing import figures, scales
from core.drawing.figures import TARGET_COLOUR

_BOUND_DASH = (0, (1, 1.5))


class Panel(NamedTuple):
    """One target's V values of the setting, in rising order."""

    row: str  # the target
    values: Sequence[float]  # [V]
    x: Sequence[np.ndarray]  # [V] arrays with a number a seed, NaN where it has diverged
    y: Sequence[np.ndarray]  # likewise
    bound: float | None  # what x + y cannot be below; None: nothing is known


@figures.styled
def tradeoff(
    path: str | Path,
    panels: Sequence[Panel],
    labels: tuple[str, str, str, str],
    colour: str,
    title: str,
    notes: Sequence[str] = (),
) -> None:
    """Draws one quantity against the other, a panel a target and a labelled point a value of the setting.

    Args:
      path: the file.
      panels: what to draw.
      labels: what the setting, x, y and the line x + y = bound are called.
      colour: the family's.
      title: of the picture.
      notes: what a reader has to know, such as what short names of targets stand for.
    """
    setting, x_label, y_label, bound_label = labels
    fig, axes, _ = figures.grid(len(panels), 4.4, title, True)
    entries: dict[str, Line2D] = {
        f"{setting}, median over seeds and range": Line2D([], [], color=colour, marker="o", ms=8)
    }
    for ax, panel in zip(axes, panels, strict=True):
        kept = [i for i in range(len(panel.values)) if np.isfinite(panel.x[i]).any()]
        x, y = (
            np.array([[f(values[i][np.isfinite(values[i])]) for i in kept] for f in (np.median, np.min, np.max)])
            for values in (panel.x, panel.y)
        )
        if kept:
            ax.vlines(x[0], y[1], y[2], color=colour, lw=2, zorder=3)
            ax.hlines(y[0], x[1], x[2], color=colour, lw=2, zorder=3)
            ax.plot(x[0], y[0], "-o", color=colour, lw=1.4, ms=8, mec="white", zorder=4)
        else:
            figures.words_in(ax, figures.DIVERGED, colour)
        for i, at_x, at_y in zip(kept, x[0], y[0], strict=True):
            text = ax.annotate(f"{panel.values[i]:g}", (at_x, at_y), xytext=(8, 6), textcoords="offset points",
                               fontsize=11, color="#404040", zorder=5)  # fmt: skip
            text.set_path_effects([matplotlib.patheffects.withStroke(linewidth=2.5, foreground="white")])
        lost = [panel.values[i] for i in range(len(panel.values)) if i not in kept]
        ax.margins(0.14)
        if panel.bound is not None and kept:
            _bound(ax, panel.bound)
            entries[bound_label] = Line2D([], [], color=TARGET_COLOUR, lw=1.5, ls=_BOUND_DASH)
        remark = f"{figures.DIVERGED}: {setting} = {', '.join(f'{value:g}' for value in lost)}" if lost and kept else ""
        figures.header(ax, panel.row, remark, TARGET_COLOUR)
        ax.set(xlabel=x_label, ylabel=y_label)
        scales.round_ticks(ax.xaxis, ax.yaxis)
    figures.figure_legend(fig, entries, " · ".join(notes) or None)
    figures.save(fig, path)


def _bound(ax: Axes, bound: float) -> None:
    """The line x + y = bound within what the panel shows of the points, and as much of it as there is on its way."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    left, bottom = min(left, 0.0), min(bottom, bound - right)
    ends = np.array([left, right])
    ax.plot(ends, bound - ends, color=TARGET_COLOUR, lw=1.5, ls=_BOUND_DASH, zorder=2)
    ax.fill_between(ends, np.full(2, bottom), bound - ends, color="#EFEFEF", lw=0, zorder=1)
    ax.set(xlim=(left, right), ylim=(bottom, top))

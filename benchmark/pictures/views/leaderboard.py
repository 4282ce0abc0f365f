"""The picture over all cells of a sweep: who comes how close on which target.

It is drawn from arrays alone and looks like those of `plotting`, whose conventions for `path`, `colours` and `title`
hold here too.
"""

import textwrap
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np

from benchmark.pictures.views import board_scales
from benchmark.pictures.views.boards import Board
from core import wording
from core.drawing import figures
from core.drawing.figures import TARGET_COLOUR
from core.drawing.lettering import drawable, text_width

_MAP = "cividis_r"  # the same to the colour-blind; light is good
_LONGEST_ROW = 60  # letters; a longer name is cut


def number(value: float | None) -> str:
    """Two digits or more, without an exponent where that is short; "diverged" for what is not finite."""
    if value is None or not np.isfinite(value):
        return "diverged"
    if value >= 1e4 or 0 < value < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.0f}" if value >= 9.95 else f"{value:#.2g}"


@figures.styled
def leaderboard(path: str | Path, board: Board, colours: Mapping[str, str], title: str) -> None:
    """Draws every score relative to its floor as a number on a colour; the colour's scale is logarithmic.

    Rows whose floor is 0 have the score itself, and a scale of their own.
    """
    n_rows, n_names = board.ratio.shape
    rows = [wording.cut(drawable(row), _LONGEST_ROW) for row in board_scales.row_names(board)]
    cell = max(1.15, min(2.6, 5.2 / n_names))
    wide, high = cell * n_names, max(0.46, min(0.9, 2.4 / n_rows)) * n_rows
    labels = max(max(map(len, rows)) * 0.105, max(text_width(row, 12) for row in rows)) + 0.3
    fig = figures.new(max(labels + wide + 1.5, 10.5), high + 2.5, title)
    ax = fig.subplots()

    colour_map = matplotlib.colormaps[_MAP].with_extremes(bad="#F2F2F2")
    shown, norm, scales_of = board_scales.on_one_scale(board)
    ax.pcolormesh(np.ma.masked_invalid(shown), cmap=colour_map, norm=norm, edgecolors="white", linewidth=2)
    for i, j in np.ndindex(n_rows, n_names):
        value = board.ratio[i, j]
        shade = colour_map(norm(shown[i, j])) if not np.isnan(value) else (1.0, 1.0, 1.0)
        dark = np.dot(shade[:3], (0.299, 0.587, 0.114)) < 0.46
        text = "none" if np.isnan(value) else "∞" if np.isinf(value) else wording.multiple(value)
        weight = "bold" if value <= board.reach[i, j] else "normal"
        ink, loss = "white" if dark else TARGET_COLOUR, board.loss(i, j, "/")
        ax.text(j + 0.5, i + (0.38 if loss else 0.5), text, ha="center", va="center", color=ink, fontsize=13,
                fontweight=weight)  # fmt: skip
        if loss:
            ax.text(j + 0.5, i + 0.77, f"{loss} ∞", ha="center", va="center", color=ink, fontsize=8.5)
    styles = ["italic" if name in board.externals else "normal" for name in board.names]
    ax.set_xticks(np.arange(n_names) + 0.5, list(map(_wrapped_name, board.names, [cell] * n_names, styles)))
    ax.set_yticks(np.arange(n_rows) + 0.5, rows)
    ax.invert_yaxis()
    ax.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    for label, name, style in zip(ax.get_xticklabels(), board.names, styles, strict=True):
        label.set(color=colours[name], fontweight="bold", fontstyle=style)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    for i, each in enumerate(scales_of):
        board_scales.colour_bar(
            fig, ax.inset_axes((1 + (0.2 + 1.1 * i) / wide, 0, 0.2 / wide, 1)), each, colour_map, high
        )
    figures.figure_legend(fig, {}, " · ".join(board_scales.notes(board)))
    figures.save(fig, path)


def _wrapped_name(name: str, width: float, style: str) -> str:
    """A column's name in lines of its `width` in inches, three at most."""
    name = drawable(name, weight="bold", style=style)
    # Letters are of several widths, and some are wide.
    letter = max(0.115, text_width(name, 12, weight="bold") / len(name))
    room = max(4 if letter > 0.15 else 8, int(width / letter))
    return textwrap.fill(name, room, max_lines=3, placeholder="…", break_long_words=True)

"""Pictures of this kind's own, at the end of a run: the likeliest strings, and correlations of pairs.

Drawn from arrays alone, with the conventions of `plotting` for `path`, `title` and the look.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from core.drawing import figures
from core.drawing.figures import DIVERGED, TARGET_COLOUR
from kinds.bits.endings import N_PATTERNS, Correlations, Patterns
from kinds.bits.panels import brief

_ONE_COLUMN = 4  # so many entries stand below each other; more stand in two columns
_WIDTH, _HEIGHT = 7.9, 1.78  # inches of an entry
_IMAGE, _CELL, _LONGEST = 0.8, 0.22, 1.95  # sides of a lattice and of a strip's bit, and a strip's longest; of a slot
_LINES = 4  # strips below each other
_FRAME = {True: {"ec": "#808080", "lw": 0.9}, False: {"ec": "#B3261E", "lw": 2.0, "ls": (0, (2, 1.2))}}
_MAP = "RdBu_r"  # told apart by people without red, green or blue cones
_ITSELF = "#D4D4D4"  # of a bit and itself


@figures.styled
def patterns(
    path: str | Path, rows: Sequence[Patterns], lattice: tuple[int, int] | None, empirical: bool, title: str
) -> None:
    """Draws the likeliest strings of the target and of every entry as small images, with p and q under each.

    Args:
      rows: the target, then the entries.
      lattice: rows and columns of a string; None: strings are drawn as strips.
      empirical: the target's probabilities are shares of strings that were held out.
    """
    columns = 1 if len(rows) <= _ONE_COLUMN else 2
    lines = -(-len(rows) // columns)
    fig = figures.new(_WIDTH * columns + 0.4, _HEIGHT * lines + 1.7, title)
    axes = fig.subplots(lines, columns, squeeze=False).ravel()
    for ax in axes[len(rows) :]:
        ax.remove()
    for ax, row in zip(axes, rows, strict=False):
        colour = row.colour or TARGET_COLOUR
        ax.set(xlim=(0, N_PATTERNS), ylim=(-0.45, 1.02), aspect="equal", anchor="NW")
        ax.axis("off")
        figures.header(ax, row.name, "", colour)
        ax.set_title(row.note, loc="right", fontsize=10.5, color="#404040")
        if row.diverged:
            figures.words_in(ax, DIVERGED, colour)
        for i in range(len(row.strings)):
            _pattern(ax, i, row, lattice)
    what = "share of the strings held out" if empirical else "exact probability under the target"
    heading = f"p: {what} · q: the same of the model; ≈ is an estimate"
    entries = {"bit is 1": Patch(fc="black", ec="#808080"), "bit is 0": Patch(fc="white", ec="#808080")}
    if any(row.valid is not None for row in rows):
        entries |= {"valid": Patch(fc="none", **_FRAME[True]), "✗ not valid": Patch(fc="none", **_FRAME[False])}
    figures.figure_legend(fig, entries, heading)
    figures.save(fig, path)


def _pattern(ax: Axes, i: int, row: Patterns, lattice: tuple[int, int] | None) -> None:
    """One string at its place: a lattice has its words below, a strip beside it."""
    right = row.valid is None or bool(row.valid[i])
    before = "" if right else "✗ "
    words = [f"{before}p {brief(row.p[i])}"]
    if row.q is not None:
        words.append(f"q {'≈ ' if row.about else ''}{brief(row.q[i])}")
    if lattice is not None:
        cell = _IMAGE / max(lattice)
        left, bottom = i + (1 - cell * lattice[1]) / 2, 0.5 - cell * lattice[0] / 2
        ax.text(i + 0.5, bottom - 0.06, "\n".join(words), ha="center", va="top", fontsize=9)
    else:
        n = row.strings.shape[1]
        cell = min(_CELL, _LONGEST / n)
        left, bottom = 0.1 + N_PATTERNS / 2 * (i // _LINES), 0.78 - 0.36 * (i % _LINES)
        ax.text(left + cell * n + 0.12, bottom + cell / 2, "   ".join(words), va="center_baseline", fontsize=9)
    image = row.strings[i].reshape(lattice or (1, -1))
    high, wide = (cell * side for side in image.shape)
    extent = (left, left + wide, bottom, bottom + high)
    ax.imshow(image, extent=extent, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest", zorder=2, aspect="equal")
    thin = {"color": "#B0B0B0", "lw": 0.5, "zorder": 2.5}
    ax.vlines(left + cell * np.arange(1, image.shape[1]), bottom, bottom + high, **thin)
    ax.hlines(bottom + cell * np.arange(1, image.shape[0]), left, left + wide, **thin)
    ax.add_patch(Rectangle((left, bottom), wide, high, fill=False, zorder=3, **_FRAME[right]))
    # An image sets the limits to its own.
    ax.set(xlim=(0, N_PATTERNS), ylim=(-0.45, 1.02))


@figures.styled
def correlations(path: str | Path, said: Correlations, title: str) -> None:
    """Draws the target's covariances of pairs of bits, and every entry's error of them, on one symmetric scale."""
    fig, axes, columns = figures.grid(1 + len(said.errors), 2.9, title, False)
    n = len(said.target)
    itself = np.eye(n, dtype=bool)
    shown = {None: said.target, **said.errors}
    reach = max((np.nanmax(np.abs(each)) for each in shown.values() if not np.isnan(each).all()), default=0.0) or 1.0
    colours = matplotlib.colormaps[_MAP].with_extremes(bad=_ITSELF)
    heads = []
    for i, (ax, (name, values)) in enumerate(zip(axes, shown.items(), strict=True)):
        colour = TARGET_COLOUR if name is None else said.colours[name]
        lost = bool(np.isnan(values).all())
        drawn = np.ma.masked_array(np.zeros((n, n)) if lost else values, itself & ~np.isnan(values))
        mesh = ax.imshow(drawn, cmap=colours, vmin=-reach, vmax=reach, interpolation="nearest")
        ax.grid(False)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 4, 5, 10]))
        figures.outer_labels(ax, i, len(axes), columns, "bit", "bit")
        if lost:
            figures.words_in(ax, DIVERGED, colour)
        line = "" if lost else _largest(values, "largest covariance" if name is None else "largest error")
        heads.append((figures.header(ax, name or "target", line or " ", colour), [line]))
    figures.colour_bar(axes[min(columns, len(axes)) - 1], mesh, "covariance, error of it")
    notes = ["target: the covariance of the spins s = 2x − 1 of two bits", "others: the model's minus the target's",
             "grey: a bit and itself"]  # fmt: skip
    if said.floor is not None:
        notes.append(f"floor: the largest error of samples of the target itself, {brief(said.floor)} on average")
    figures.figure_legend(fig, {}, " · ".join(notes))
    figures.settle(fig)
    figures.fit_heads(heads)
    figures.save(fig, path)


def _largest(values: np.ndarray, what: str) -> str:
    """The value that is furthest from 0, with its sign, and the bits that it is of."""
    i, j = np.unravel_index(np.argmax(np.abs(values)), values.shape)
    return f"{what} {values[i, j]:+.2g} (bits {i}, {j})".replace("-", "−") if values[i, j] else f"{what} 0"

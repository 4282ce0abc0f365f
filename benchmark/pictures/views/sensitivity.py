"""The picture that puts the KLD into proportion to how it is estimated.

It is drawn from arrays alone and looks like those of `plotting`, whose conventions for `path`, `colours` and `title`
hold here too.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmark.pictures.views.marks import THIS, named
from core.drawing import figures, scales, scenes
from core.drawing.courses import course
from core.drawing.figures import FLOOR_COLOUR, TARGET_COLOUR
from core.drawing.scenes import Sensitivity


@figures.styled
def kld_sensitivity(
    path: str | Path,
    grid: Sensitivity,
    colours: Mapping[str, str],
    title: str,
    *,
    cells_label: str = "cells",
) -> None:
    """Draws the final KLD against the number of cells, a panel for every ε, and marks the run's own setting.

    Args:
      grid: what is drawn.
      cells_label: what `grid.cells` counts, such as "cells an axis" in 2-D.
    """
    courses = _courses_of(grid)
    n, ticks = len(grid.epsilons), np.union1d(courses.cells, grid.chosen[0])
    columns = min(n, 4)
    rows = -(-n // columns)
    width = {1: 8.0, 2: 10.5}.get(columns, 12.5)
    fig = figures.new(width, 2.0 + 3.6 * rows, title)
    panels = fig.subplots(rows, columns, squeeze=False).ravel()
    for ax in panels[n:]:
        ax.remove()
    room = (width - 1) / columns - 0.35  # inches across a panel
    below = textwrap.fill(cells_label, int(72 * room / (0.56 * 12)))
    own_epsilon = np.isclose(grid.epsilons, grid.chosen[1], rtol=1e-6, atol=0)
    for e, ax in enumerate(panels[:n]):
        _axes(ax, ticks, courses, room, grid.chosen[0])
        figures.outer_labels(ax, e, n, columns, below, "KLD (nats)")
        _floor_course(ax, courses.cells, courses.floor[..., e], courses.limits[0])
        for i, name in enumerate(courses.families):
            _family(ax, courses, (i, name, e), colours[name], external=name in grid.externals)
        _head(ax, grid, e, own=own_epsilon[e])

    entries = {}
    for name, values in courses.families.items():
        external = name in grid.externals
        line = figures.external_entry(colours[name]) if external else figures.entry_of(colours[name])
        lost = "" if np.isfinite(values).any() else ", no KLD"
        entries[f"{name} (external{lost})" if external else named(name, values, "")] = line
    entries |= figures.floor_entry()
    if own_epsilon.any():
        entries["this run's setting"] = Line2D([], [], **THIS)
    n_seeds = max((len(values) for values in courses.families.values()), default=1)
    seeds = f"median over {n_seeds} seeds and their range · " if n_seeds > 1 else ""
    reading = "where a line parts from the floor it is the model, where both move together it is the estimator"
    figures.figure_legend(fig, entries, seeds + reading)
    figures.save(fig, path)


class _Courses(NamedTuple):
    """What is drawn, in the order of the numbers of cells; C of them, E values of ε."""

    cells: np.ndarray  # [C]
    floor: np.ndarray  # [3, C, E]
    families: Mapping[str, np.ndarray]  # [S, C, E]
    medians: Mapping[str, Sequence[Any]]  # [E] of the median and the range over seeds, [C] each
    limits: tuple[float, float]


def _courses_of(grid: Sensitivity) -> _Courses:
    order = np.argsort(grid.cells)
    cells = np.asarray(grid.cells, np.float64)[order]
    floor = np.asarray(grid.floor, np.float64)[:, order]
    families = {name: np.asarray(values, np.float64)[:, order] for name, values in grid.families.items()}
    of_epsilon = range(len(grid.epsilons))
    medians = {name: [course(values[..., e]) for e in of_epsilon] for name, values in families.items()}
    limits = scales.log_limits([three for each in medians.values() for three in each], tuple(floor.ravel()))
    return _Courses(cells, floor, families, medians, limits)


def _axes(ax: Axes, ticks: np.ndarray, courses: _Courses, room: float, chosen: float) -> None:
    """Log axes with a tick for every number of cells, as far as these have room."""
    margin = max(1.4 if len(courses.cells) == 1 else 1.0, (ticks[-1] / ticks[0]) ** 0.06)
    ax.set(xscale="log", yscale="log", xlim=(ticks[0] / margin, ticks[-1] * margin), ylim=courses.limits)
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(_some_of(ticks, ax.get_xlim(), room, chosen))
    scales.log_ticks(ax.yaxis)


def _family(ax: Axes, courses: _Courses, which: tuple[int, str, int], colour: str, *, external: bool) -> None:
    """One family's course in a panel.

    Args:
      ax: the panel.
      courses: of all.
      which: the family's number and name, and the number of the panel's ε.
      colour: of the family.
      external: whether it comes from elsewhere.
    """
    i, name, e = which
    cells, (low, high), n = courses.cells, courses.limits, len(courses.families)
    # What is infinite leaves through the top; what is zero runs along the bottom.
    three = [np.clip(values, low, high * 100) for values in courses.medians[name][e]]
    if len(cells) > 1:
        style = {"ls": figures.EXTERNAL_DASH, "lw": 2.0}
        if not external:
            style = {"lw": 2.2, **figures.line_of(colour, 1, n)}
        figures.band(ax, cells, three, colour, name, zorder=3, **style)
    elif external:
        figures.external_line(ax, three[0][0], colour, low)
    else:
        # One point is no line, and points at one place would hide one another.
        x = cells * 1.25 ** (2 * (i + 1) / (n + 1) - 1)
        ax.vlines(x, *three[1:], color=colour, lw=2.2, zorder=3)
        ax.plot(x, three[0], scenes.marker_of(colour), color=colour, ms=9, mec="white", zorder=3)


def _head(ax: Axes, grid: Sensitivity, e: int, *, own: bool) -> None:
    """The panel's ε; the run's own one stands out."""
    said, style = f"ε = {_short(grid.epsilons[e])}", {"loc": "left", "color": TARGET_COLOUR}
    if not own:
        ax.set_title(f"{said}{_same(grid, e)}", **style)
        return
    ax.axvline(grid.chosen[0], **THIS)
    ax.set_title(f"{said} (this run){_same(grid, e)}", fontweight="bold", **style)
    for spine in ax.spines.values():
        spine.set(visible=True, color=TARGET_COLOUR, linewidth=1.8)


def _same(grid: Sensitivity, e: int) -> str:
    """Which other ε a panel stands for."""
    others = grid.alike[e] if len(grid.alike) else ()
    return f", same at {', '.join(map(_short, others))}" if len(others) else ""


def _floor_course(ax: Axes, cells: np.ndarray, floor: np.ndarray, bottom: float) -> None:
    """As `figures.floor_band`, of a floor [3, C] that is another one at every number of cells."""
    if len(cells) == 1:
        figures.floor_band(ax, floor[:, 0], bottom)
        return
    middle, low, high = np.maximum(floor, bottom)
    ax.fill_between(cells, low, high, color=FLOOR_COLOUR, alpha=0.28, lw=0, zorder=1)
    ax.plot(cells, middle, color=FLOOR_COLOUR, lw=1.5, zorder=1.5)


def _some_of(ticks: np.ndarray, limits: tuple[float, float], width: float, first: float) -> FuncFormatter:
    """Labels as many of the ticks as have room on a log axis of `width` inches; `first` comes before the others."""
    places = width * np.log(ticks / limits[0]) / np.log(limits[1] / limits[0])
    texts = [f"{tick:g}" for tick in ticks]
    shown: list[int] = []
    for i in sorted(range(len(ticks)), key=lambda i: (ticks[i] != first, 0 < i < len(ticks) - 1, i)):
        half = [0.65 * len(texts[j]) * 12 / 72 / 2 + 0.05 for j in (i, *shown)]
        if all(abs(places[i] - places[j]) > half[0] + other for j, other in zip(shown, half[1:], strict=True)):
            shown.append(i)
    labels = {float(ticks[i]): texts[i] for i in shown}
    return FuncFormatter(lambda value, _: labels.get(float(value), ""))


def _short(value: Any) -> str:
    """A number such as 1e-6."""
    return np.format_float_scientific(value, trim="-", exp_digits=1)

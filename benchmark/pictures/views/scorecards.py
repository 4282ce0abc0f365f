"""Pictures that put a score into proportion: to what a training costs, and to how the score is estimated.

They are drawn from arrays alone and look like those of `plotting`, whose conventions for `path`, `colours` and `title`
hold here too.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from core.drawing import figures, scales, scenes
from core.drawing.courses import course
from core.drawing.figures import FLOOR_COLOUR, TARGET_COLOUR
from core.drawing.scenes import CostPicture, Curve, MetricPicture, Sensitivity

_SECONDS, _OPERATIONS = "training wall time / number of seeds (s)", "floating-point operations per seed"
_WORDS = {_SECONDS: "time", _OPERATIONS: "operations"}
_MARK = {"color": TARGET_COLOUR, "ls": (0, (1, 2)), "lw": 1.4, "zorder": 1.8}


@figures.styled
def cost_quality(
    path: str | Path,
    points: Mapping[str, CostPicture],
    metric: MetricPicture,
    colours: Mapping[str, str],
    title: str,
    *,
    remarks: Mapping[str, str] | None = None,
) -> None:
    """Draws the main metric against the time (left) and the operations (right) that it took, on log scales.

    A panel is left out when nobody's cost is known.

    Args:
      points: per family its costs and its scores.
      metric: the axis of the score. What samples from elsewhere cost is unknown.
      remarks: what the legend says behind a name, such as "▼ loses to HISTOGRAM".
    """
    label, floor, externals = metric.label, metric.floor, metric.externals
    remarks, of_score = remarks or {}, label.split(" (")[0]
    # Who has diverged altogether has a cost, but no place on the other axis.
    drawn = {family: cost for family, cost in points.items() if np.isfinite(cost.score).any()}
    ways = {family: _way(cost.course, cost.n_steps) for family, cost in drawn.items()}
    known = {
        _SECONDS: {family: cost.seconds for family, cost in drawn.items() if cost.seconds > 0},
        _OPERATIONS: {family: cost.operations for family, cost in drawn.items() if (cost.operations or 0) > 0},
    }
    shown = {label: totals for label, totals in known.items() if totals} or {_SECONDS: {}}
    # What is not trained has no place on an axis of costs: it is there before all others begin.
    free = [family for family, cost in drawn.items() if cost.seconds == 0 and cost.operations == 0]
    levels = {name: value for name, value in externals.items() if value is not None and np.isfinite(value)}
    scores = [[cost.score for cost in drawn.values()], [median for _, median in ways.values()], [*levels.values()]]
    low, high = scales.log_limits(scores, floor)
    limits = scales.not_far_below(low, floor), high

    fig = figures.new(12.5 if len(shown) > 1 else 8.0, 6.0, title)
    compared = False
    for ax, (axis, totals) in zip(fig.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True):
        starts = [totals[family] * share[0] for family, (share, _) in ways.items() if family in totals and len(share)]
        ax.set(xscale="log", yscale="log", xlim=_spread([*totals.values(), *starts]), ylim=limits, xlabel=axis)
        ax.set_ylabel(label)
        if floor is not None:
            figures.floor_band(ax, floor, limits[0])
        for name, value in levels.items():
            figures.external_line(ax, value, colours[name], limits[0])
        for family in free:
            level = np.clip(_median(drawn[family].score), limits[0], limits[1] * 100)
            ax.axhline(level, color=colours[family], lw=2, ls=scenes.dash_of(colours[family]), zorder=2.8)
        for family, total in totals.items():
            share, median = ways[family]
            ax.plot(total * share, np.clip(median, limits[0], limits[1] * 100), color=colours[family], lw=1.6,
                    ls=scenes.dash_of(colours[family]), alpha=0.75, zorder=3)  # fmt: skip
            _ending(ax, total, drawn[family].score, colours[family], limits)
        cheapest = min(totals, key=totals.__getitem__, default=None)
        # The budget that every family here has had: where the others' lines cross it they can be compared.
        if any(len(ways[family][0]) > 1 and totals[family] > totals[cheapest] for family in totals):
            compared = True
            ax.axvline(totals[cheapest], **_MARK)
        scales.log_ticks(ax.xaxis)
        scales.log_ticks(ax.yaxis)
        if not totals:
            ax.tick_params(axis="x", which="both", bottom=False, labelbottom=False)
            why = "no family has both a score and a known cost" if drawn else "all families have diverged"
            figures.words_in(ax, why, TARGET_COLOUR).set(fontsize=13, y=0.93)

    entries = {}
    for family, cost in points.items():
        unknown = [label for label in known if family in drawn and family not in known[label]]
        note = f"{' and '.join(_WORDS[label] for label in unknown)} unknown" if unknown else ""
        note = "nothing to train" if family in free else note
        note = ", ".join(filter(None, (note, f"{of_score} ≈" if family in metric.estimates else "")))
        style = {"marker": "X", "ms": 9, "ls": "none"}
        if family in drawn:
            style = {"marker": scenes.marker_of(colours[family]), "ms": 10, "lw": 1.6,
                     "ls": scenes.dash_of(colours[family])}  # fmt: skip
        label = figures.remarked(_named(family, cost.score, note), remarks.get(family))
        entries[label] = Line2D([], [], color=colours[family], mec="white", **style)
    for name in externals:
        said = f"{name} ({'cost unknown' if name in levels else f'no {of_score}'})"
        entries[figures.remarked(said, remarks.get(name))] = figures.external_entry(colours[name])
    if floor is not None:
        entries |= figures.floor_entry()
    if compared:
        entries["equal cost: what the cheapest took"] = Line2D([], [], **_MARK)
    markers = {_marker(_median(cost.score), "") for cost in drawn.values()}
    for marker, meaning in (("^", "the median seed has diverged"), ("v", "the median is no more than 0")):
        if marker in markers:
            entries[meaning] = Line2D([], [], color="#606060", marker=marker, ms=10, ls="none")
    n_seeds = max((len(cost.score) for cost in points.values()), default=1)
    end = (
        f"large: median of {n_seeds} seeds at the end, with their range · dots: every seed"
        if n_seeds > 1
        else "one seed"
    )
    way = " · line: the way there" if any(len(share) > 1 for share, _ in ways.values()) else ""
    figures.figure_legend(fig, entries, end + way if drawn else None)
    figures.save(fig, path)


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
    order = np.argsort(grid.cells)
    cells = np.asarray(grid.cells, np.float64)[order]
    floor = np.asarray(grid.floor, np.float64)[:, order]
    families = {name: np.asarray(values, np.float64)[:, order] for name, values in grid.families.items()}
    n = len(grid.epsilons)
    courses = {name: [course(values[..., e]) for e in range(n)] for name, values in families.items()}
    limits = scales.log_limits([three for each in courses.values() for three in each], tuple(floor.ravel()))
    ticks = np.union1d(cells, grid.chosen[0])
    margin = max(1.4 if len(cells) == 1 else 1.0, (ticks[-1] / ticks[0]) ** 0.06)

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
    for e, (ax, epsilon) in enumerate(zip(panels, grid.epsilons, strict=False)):
        ax.set(xscale="log", yscale="log", xlim=(ticks[0] / margin, ticks[-1] * margin), ylim=limits)
        ax.xaxis.set_major_locator(FixedLocator(ticks))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(_some_of(ticks, ax.get_xlim(), room, grid.chosen[0]))
        scales.log_ticks(ax.yaxis)
        figures.outer_labels(ax, e, n, columns, below, "KLD (nats)")
        _floor_course(ax, cells, floor[..., e], limits[0])
        for i, name in enumerate(families):
            # What is infinite leaves through the top; what is zero runs along the bottom.
            three = [np.clip(values, limits[0], limits[1] * 100) for values in courses[name][e]]
            if len(cells) > 1:
                style = {"ls": figures.EXTERNAL_DASH, "lw": 2.0}
                if name not in grid.externals:
                    style = {"lw": 2.2, **figures.line_of(colours[name], 1, len(families))}
                figures.band(ax, cells, three, colours[name], name, zorder=3, **style)
            elif name in grid.externals:
                figures.external_line(ax, three[0][0], colours[name], limits[0])
            else:
                # One point is no line, and points at one place would hide one another.
                x = cells * 1.25 ** (2 * (i + 1) / (len(families) + 1) - 1)
                ax.vlines(x, *three[1:], color=colours[name], lw=2.2, zorder=3)
                ax.plot(x, three[0], scenes.marker_of(colours[name]), color=colours[name], ms=9, mec="white", zorder=3)
        title_style = {"loc": "left", "color": TARGET_COLOUR}
        if own_epsilon[e]:
            ax.axvline(grid.chosen[0], **_MARK)
            ax.set_title(f"ε = {_short(epsilon)} (this run){_same(grid, e)}", fontweight="bold", **title_style)
            for spine in ax.spines.values():
                spine.set(visible=True, color=TARGET_COLOUR, linewidth=1.8)
        else:
            ax.set_title(f"ε = {_short(epsilon)}{_same(grid, e)}", **title_style)

    entries = {}
    for name, values in families.items():
        external = name in grid.externals
        line = figures.external_entry(colours[name]) if external else figures.entry_of(colours[name])
        lost = "" if np.isfinite(values).any() else ", no KLD"
        entries[f"{name} (external{lost})" if external else _named(name, values, "")] = line
    entries |= figures.floor_entry()
    if own_epsilon.any():
        entries["this run's setting"] = Line2D([], [], **_MARK)
    n_seeds = max((len(values) for values in families.values()), default=1)
    seeds = f"median over {n_seeds} seeds and their range · " if n_seeds > 1 else ""
    reading = "where a line parts from the floor it is the model, where both move together it is the estimator"
    figures.figure_legend(fig, entries, seeds + reading)
    figures.save(fig, path)


def _same(grid: Sensitivity, e: int) -> str:
    """Which other ε a panel stands for."""
    others = grid.alike[e] if len(grid.alike) else ()
    return f", same at {', '.join(map(_short, others))}" if len(others) else ""


def _way(curve: Curve | None, n_steps: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The share of the whole cost and the median KLD after it, [E] both; without the start, which costs nothing.

    Args:
      curve: the KLD's.
      n_steps: of the training; None: as many as the curve has.
    """
    if curve is None:
        return np.empty(0), np.empty(0)
    steps = np.asarray(curve.steps, np.float64)
    last = steps[-1] if n_steps is None else max(1, n_steps)
    # Where cost stands still, scores that go on would be a line upon the range of the seeds.
    kept = (steps > 0) & (steps < last)
    kept[-1] = steps[-1] > 0
    return np.minimum(steps[kept] / last, 1.0), course(np.asarray(curve.values, np.float64))[0][kept]


def _median(kld: np.ndarray) -> float:
    """The median over seeds, a diverged one as +∞."""
    return float(np.median(np.where(np.isfinite(kld), kld, np.inf)))


def _marker(median: float, usual: str) -> str:
    """The usual marker; what a log axis cannot show points out of it."""
    return "^" if np.isinf(median) else "v" if median <= 0 else usual


def _ending(ax: Axes, total: float, kld: np.ndarray, colour: str, limits: tuple[float, float]) -> None:
    """Where a training has ended: the median with the range of the seeds, and beside them every seed."""
    low, high = limits
    finite = np.clip(kld[np.isfinite(kld)], low, high)
    median = _median(kld)
    ax.vlines(total, finite.min(), high if np.isinf(median) else finite.max(), color=colour, lw=2.2, zorder=4)
    marker = _marker(median, scenes.marker_of(colour))
    ax.plot(total, np.clip(median, low, high), marker, color=colour, ms=10, mec="white", mew=1, zorder=5, clip_on=False)
    if len(kld) > 1:
        beside = ax.transData + ScaledTranslation(10 / 72, 0, ax.figure.dpi_scale_trans)
        ax.plot(np.full(len(finite), total), finite, "o", color=colour, ms=4.5, mec="white", mew=0.4, zorder=5,
                transform=beside, clip_on=False)  # fmt: skip


def _floor_course(ax: Axes, cells: np.ndarray, floor: np.ndarray, bottom: float) -> None:
    """As `figures.floor_band`, of a floor [3, C] that is another one at every number of cells."""
    if len(cells) == 1:
        figures.floor_band(ax, floor[:, 0], bottom)
        return
    middle, low, high = np.maximum(floor, bottom)
    ax.fill_between(cells, low, high, color=FLOOR_COLOUR, alpha=0.28, lw=0, zorder=1)
    ax.plot(cells, middle, color=FLOOR_COLOUR, lw=1.5, zorder=1.5)


def _spread(costs: Sequence[float]) -> tuple[float, float]:
    """Limits around all costs, a decade at least: times that hardly differ must not look as if they did."""
    low, high = (min(costs), max(costs)) if costs else (1.0, 10.0)
    margin = max(1.35, (high / low) ** 0.06, np.sqrt(10 * low / high))
    return low / margin, high * margin


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


def _named(name: str, values: np.ndarray, note: str) -> str:
    """A name for the legend with a note and the number of its seeds [S, …] that have diverged."""
    lost = (~np.isfinite(np.asarray(values, np.float64))).reshape(len(values), -1).any(axis=1)
    diverged = figures.lost_seeds(lost.sum(), len(lost)) if lost.any() else ""
    notes = ", ".join(filter(None, (note, diverged)))
    return f"{name} ({notes})" if notes else name


def _short(value: Any) -> str:
    """A number such as 1e-6."""
    return np.format_float_scientific(value, trim="-", exp_digits=1)

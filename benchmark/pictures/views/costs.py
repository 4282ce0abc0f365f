"""The picture that puts the main metric into proportion to what a training costs.

It is drawn from arrays alone and looks like those of `plotting`, whose conventions for `path`, `colours` and `title`
hold here too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from benchmark.pictures.views.marks import THIS, named
from core.drawing import figures, scales, scenes
from core.drawing.courses import course
from core.drawing.figures import TARGET_COLOUR
from core.drawing.scenes import CostPicture, Curve, MetricPicture

_SECONDS, _OPERATIONS = "training wall time / number of seeds (s)", "floating-point operations per seed"
_WORDS = {_SECONDS: "time", _OPERATIONS: "operations"}


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
    remarks = remarks or {}
    costs = _costs_of(points, metric)
    known = costs.known()
    shown = {axis: totals for axis, totals in known.items() if totals} or {_SECONDS: {}}
    fig = figures.new(12.5 if len(shown) > 1 else 8.0, 6.0, title)
    axes = fig.subplots(1, len(shown), squeeze=False)[0]
    compared = [
        _panel(ax, axis, totals, costs, colours) for ax, (axis, totals) in zip(axes, shown.items(), strict=True)
    ]

    entries = {}
    for family, cost in points.items():
        said = named(family, cost.score, _note(family, costs, known))
        entries[figures.remarked(said, remarks.get(family))] = _entry(family, costs, colours[family])
    for name in metric.externals:
        said = f"{name} ({'cost unknown' if name in costs.levels else f'no {costs.of_score}'})"
        entries[figures.remarked(said, remarks.get(name))] = figures.external_entry(colours[name])
    if metric.floor is not None:
        entries |= figures.floor_entry()
    if any(compared):
        entries["equal cost: what the cheapest took"] = Line2D([], [], **THIS)
    markers = {_marker(_median(cost.score), "") for cost in costs.drawn.values()}
    for marker, meaning in (("^", "the median seed has diverged"), ("v", "the median is no more than 0")):
        if marker in markers:
            entries[meaning] = Line2D([], [], color="#606060", marker=marker, ms=10, ls="none")
    figures.figure_legend(fig, entries, _heading(points, costs) if costs.drawn else None)
    figures.save(fig, path)


class _Costs(NamedTuple):
    """What is drawn of families and of what comes from elsewhere."""

    metric: MetricPicture
    drawn: Mapping[str, CostPicture]  # who has a score
    ways: Mapping[str, tuple[np.ndarray, np.ndarray]]  # of these, as `_way` gives them
    levels: Mapping[str, float]  # scores of what comes from elsewhere
    limits: tuple[float, float]  # of the scores

    @property
    def of_score(self) -> str:
        """The metric without its unit."""
        return self.metric.label.split(" (")[0]

    @property
    def free(self) -> list[str]:
        """Who is not trained, and has no place on an axis of costs: it is there before all others begin."""
        return [family for family, cost in self.drawn.items() if cost.seconds == 0 and cost.operations == 0]

    def known(self) -> dict[str, dict[str, float]]:
        """Per axis the families' costs."""
        return {
            _SECONDS: {family: cost.seconds for family, cost in self.drawn.items() if cost.seconds > 0},
            _OPERATIONS: {family: cost.operations for family, cost in self.drawn.items() if (cost.operations or 0) > 0},
        }


def _costs_of(points: Mapping[str, CostPicture], metric: MetricPicture) -> _Costs:
    # Who has diverged altogether has a cost, but no place on the other axis.
    drawn = {family: cost for family, cost in points.items() if np.isfinite(cost.score).any()}
    ways = {family: _way(cost.course, cost.n_steps) for family, cost in drawn.items()}
    levels = {name: value for name, value in metric.externals.items() if value is not None and np.isfinite(value)}
    scores = [[cost.score for cost in drawn.values()], [median for _, median in ways.values()], [*levels.values()]]
    low, high = scales.log_limits(scores, metric.floor)
    return _Costs(metric, drawn, ways, levels, (scales.not_far_below(low, metric.floor), high))


def _panel(ax: Axes, axis: str, totals: Mapping[str, float], costs: _Costs, colours: Mapping[str, str]) -> bool:
    """The scores against one cost; whether there is a budget at which families can be compared."""
    ways, (low, high) = costs.ways, costs.limits
    starts = [totals[family] * share[0] for family, (share, _) in ways.items() if family in totals and len(share)]
    ax.set(xscale="log", yscale="log", xlim=_spread([*totals.values(), *starts]), ylim=costs.limits, xlabel=axis)
    ax.set_ylabel(costs.metric.label)
    if costs.metric.floor is not None:
        figures.floor_band(ax, costs.metric.floor, low)
    for name, value in costs.levels.items():
        figures.external_line(ax, value, colours[name], low)
    for family in costs.free:
        level = np.clip(_median(costs.drawn[family].score), low, high * 100)
        ax.axhline(level, color=colours[family], lw=2, ls=scenes.dash_of(colours[family]), zorder=2.8)
    for family, total in totals.items():
        share, median = ways[family]
        ax.plot(total * share, np.clip(median, low, high * 100), color=colours[family], lw=1.6,
                ls=scenes.dash_of(colours[family]), alpha=0.75, zorder=3)  # fmt: skip
        _ending(ax, total, costs.drawn[family].score, colours[family], costs.limits)
    cheapest = min(totals, key=totals.__getitem__, default=None)
    # The budget that every family here has had: where the others' lines cross it they can be compared.
    compared = any(len(ways[family][0]) > 1 and totals[family] > totals[cheapest] for family in totals)
    if compared:
        ax.axvline(totals[cheapest], **THIS)
    scales.log_ticks(ax.xaxis)
    scales.log_ticks(ax.yaxis)
    if not totals:
        ax.tick_params(axis="x", which="both", bottom=False, labelbottom=False)
        why = "no family has both a score and a known cost" if costs.drawn else "all families have diverged"
        figures.words_in(ax, why, TARGET_COLOUR).set(fontsize=13, y=0.93)
    return compared


def _note(family: str, costs: _Costs, known: Mapping[str, Mapping[str, float]]) -> str:
    """What the legend says of a family's cost and score."""
    unknown = [_WORDS[axis] for axis in known if family in costs.drawn and family not in known[axis]]
    note = f"{' and '.join(unknown)} unknown" if unknown else ""
    note = "nothing to train" if family in costs.free else note
    return ", ".join(filter(None, (note, f"{costs.of_score} ≈" if family in costs.metric.estimates else "")))


def _entry(family: str, costs: _Costs, colour: str) -> Line2D:
    """A family in the legend."""
    style = {"marker": "X", "ms": 9, "ls": "none"}
    if family in costs.drawn:
        style = {"marker": scenes.marker_of(colour), "ms": 10, "lw": 1.6, "ls": scenes.dash_of(colour)}
    return Line2D([], [], color=colour, mec="white", **style)


def _heading(points: Mapping[str, CostPicture], costs: _Costs) -> str:
    """What the legend says of the marks."""
    n_seeds = max((len(cost.score) for cost in points.values()), default=1)
    end = "one seed"
    if n_seeds > 1:
        end = f"large: median of {n_seeds} seeds at the end, with their range · dots: every seed"
    way = " · line: the way there" if any(len(share) > 1 for share, _ in costs.ways.values()) else ""
    return end + way


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


def _spread(costs: Sequence[float]) -> tuple[float, float]:
    """Limits around all costs, a decade at least: times that hardly differ must not look as if they did."""
    low, high = (min(costs), max(costs)) if costs else (1.0, 10.0)
    margin = max(1.35, (high / low) ** 0.06, np.sqrt(10 * low / high))
    return low / margin, high * margin

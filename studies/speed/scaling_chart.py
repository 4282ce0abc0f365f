"""The pictures of how time and memory grow."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from core.drawing import figures, scales, scenes
from studies.speed import scaling_points
from studies.speed.knees import FACTOR

_MARKERS = {"GAN": "o", "VAE": "s", "RBM": "^"}
_GREY = "#606060"
_LIMIT = 4 * 2**30
_CONTINUOUS_AT = 2  # where an axis of bins shows continuous events
_TITLES = {
    "budget": "budget",
    "batch": "batch",
    "bins": "bins, at 10 000 parameters",
    "k": "CD steps",
    "seeds": "seeds",
}
_TICKS = {
    "batch": ((16, 64, 256, 1024, 4096, 16384), ("16", "64", "256", "1024", "4096", "16384")),
    "seeds": ((1, 2, 4, 8, 16, 32, 64), ("1", "2", "4", "8", "16", "32", "64")),
    "bins": ((_CONTINUOUS_AT, 5, 20, 50, 100, 200, 500), ("none", "5", "20", "50", "100", "200", "500")),
}


class _Panel(NamedTuple):
    """One panel of a picture: what draws it, and whether there is anything to draw."""

    draw: Callable[[Axes], None]
    there: bool
    shared: bool = True  # its y limits, with the picture's other such panels


@figures.styled
def draw(time_path: Path, memory_path: Path, results: Mapping[str, Any]) -> None:
    """Draws what has been measured in two pictures; one without any point is not written.

    Args:
      time_path: PNG of the time of a step against every axis, and the throughput against the seeds.
      memory_path: PNG of memory against every axis and the steps, and of whole runs at the largest budget.
      results: the content of `scaling.json`.
    """
    colours = scenes.family_colours(scaling_points.FAMILIES)
    default = "1D_TRIMODAL, 20 bins, 1 600 parameters, batch 128, a seed a core, unless varied"

    def over(name, quantity, unit, faint=()):
        def panel(ax):
            _curves(ax, results, name, (quantity, unit), colours)
            for other in faint:
                _curves(ax, results, name, (other, unit), colours, faint=True)

        families = scaling_points.AXES[name].families
        return _Panel(panel, any(scaling_points.curve(results, name, family, quantity)[0] for family in families))

    times = [over(name, "median_seconds", 1e6) for name in scaling_points.AXES]
    rated = any(scaling_points.seed_rates(results, family) for family in scaling_points.FAMILIES)
    times.append(_Panel(lambda ax: _rates(ax, results, colours), rated, shared=False))
    entries = {
        family: Line2D([], [], color=colours[family], marker=marker, ms=7, mec="white", lw=2)
        for family, marker in _MARKERS.items()
    }
    entries |= {
        "knee: from here on at least twice the flat level": Line2D(
            [], [], color=_GREY, marker="D", mfc="white", mew=1.8, ms=8, lw=1.2, ls=":"
        ),
        "in proportion to x": Line2D([], [], color=_GREY, lw=1.2, ls=(0, (5, 3))),
    }
    heading = f"median and range of several timings · {results['machine']}"
    title = f"How the time of a step grows · {default}"
    _picture(time_path, title, times, 3, "time a step (µs)", (entries, heading))

    sizes = [over(name, "device_bytes", 2**-20, ("process_bytes",)) for name in scaling_points.AXES]
    kinds = {point["kind"] for point in results["points"].values() if "failed" not in point}
    sizes.append(_Panel(lambda ax: _lengths(ax, results, colours), "train" in kinds, shared=False))
    sizes.append(_Panel(lambda ax: _runs(ax, results, colours), "run" in kinds, shared=False))
    entries |= {
        "solid: the compiler's account, one device": Line2D([], [], color=_GREY, lw=2),
        "dotted: peak of the process above a trivial one": Line2D([], [], color=_GREY, lw=1.5, ls=":"),
    }
    title = f"How memory grows · {default}"
    _picture(memory_path, title, sizes, 4, "memory of training (MiB)", (entries, results["machine"]))


def _picture(
    path: Path,
    title: str,
    panels: Sequence[_Panel],
    columns: int,
    label: str,
    legend: tuple[Mapping[str, Any], str],
) -> None:
    """The panels that have something to show, in rows of `columns`.

    `label` is the y axis of those that share it; the legend has entries and a heading.
    """
    panels = [panel for panel in panels if panel.there]
    if not panels:
        return
    columns = min(columns, len(panels))
    n_rows = -(-len(panels) // columns)
    fig = figures.new(max(4.6 * columns, 9.0), 4.0 * n_rows + 1.4, title)
    axes = list(fig.subplots(n_rows, columns, squeeze=False).ravel())
    for ax in axes[len(panels) :]:
        ax.remove()
    for ax, panel in zip(axes, panels, strict=False):
        panel.draw(ax)
    _share_y([ax for ax, panel in zip(axes, panels, strict=False) if panel.shared], label)
    figures.figure_legend(fig, *legend)
    figures.save(fig, path)


def _curves(
    ax: Axes,
    results: Mapping[str, Any],
    name: str,
    measured: tuple[str, float],
    colours: Mapping[str, str],
    faint: bool = False,
) -> None:
    """One curve a family, of a quantity in its unit, its knee marked; `faint` ones are for comparison and have none."""
    quantity, unit = measured
    axis = scaling_points.AXES[name]
    spans = []
    for family in axis.families:
        x, y = scaling_points.curve(results, name, family, quantity)
        pairs = [(a, b * unit) for a, b in zip(x, y, strict=True) if b > 0]
        style = dict(color=colours[family], marker=_MARKERS[family], mec="white")
        style |= dict(lw=1.3, ls=":", ms=4, alpha=0.7) if faint else dict(lw=2, ms=6.5)
        ax.plot([_CONTINUOUS_AT for a, _ in pairs if a == 0], [b for a, b in pairs if a == 0], **{**style, "ls": ""})
        line = [(a, b) for a, b in pairs if a > 0]
        if line:
            ax.plot(*zip(*line, strict=True), zorder=3, **style)
            spans.append(line)
        if quantity == "median_seconds":
            _ranges(ax, results, name, family, colours[family])
        found = results.get("knees", {}).get(name, {}).get(quantity, {}).get(family)
        if found and found["x"] and not faint:
            _mark(ax, found["x"], FACTOR * found["flat"] * unit, colours[family])
    if not faint:
        _finish(ax, name, _TITLES[name], spans)


def _ranges(ax: Axes, results: Mapping[str, Any], name: str, family: str, colour: str) -> None:
    for point in scaling_points.axis_points(name, family):
        found = results["points"].get(point.key, {})
        if "seconds" in found:
            x = dict(point.constants)[scaling_points.AXES[name].constant] or _CONTINUOUS_AT
            ax.vlines(x, 1e6 * min(found["seconds"]), 1e6 * max(found["seconds"]), color=colour, lw=3, alpha=0.35)


def _mark(ax: Axes, x: float, y: float, colour: str) -> None:
    """A knee: a diamond on the curve and a line to the axis below."""
    ax.plot([x, x], [y, y * 1e-9], color=colour, lw=1.2, ls=":", zorder=2, scaley=False)
    ax.plot(x, y, "D", color=colour, mfc="white", mew=1.8, ms=8, zorder=5)


def _finish(ax: Axes, name: str, title: str, spans: list, proportional: bool = True) -> None:
    """Logarithmic axes, words, and, where a cost grows, a line of slope 1 up to the highest point."""
    ax.set(xscale="log", yscale="log", xlabel=scaling_points.AXES[name].label)
    ax.set_title(title, loc="left", fontweight="bold")
    shown = [value or _CONTINUOUS_AT for value in scaling_points.AXES[name].values]
    ax.set_xlim(min(shown) / 1.4, max(shown) * 1.4)
    if spans and proportional:
        line = max(spans, key=lambda line: line[-1][1])
        x, y = line[-1]
        flat = min(value for _, value in line)
        if y > FACTOR * flat:
            start = max(line[0][0], x / 100, x * flat / (1.7 * y))
            ax.plot([start, x], [1.7 * y * start / x, 1.7 * y], color=_GREY, lw=1.2, ls=(0, (5, 3)), zorder=1)
    scales.log_ticks(ax.xaxis)
    if name in _TICKS:
        ax.set_xticks(*_TICKS[name])
        ax.set_xticks([], minor=True)


def _share_y(row: Sequence[Axes], label: str) -> None:
    """The same limits for all panels of a quantity."""
    curves = [line.get_ydata() for ax in row for line in ax.lines if line.get_marker() in _MARKERS.values()]
    values = np.concatenate([*curves, []])
    values = values if len(values) else np.array([1.0, 10.0])
    for ax in row:
        ax.set_ylim(values.min() / 1.6, values.max() * 2)
        ax.set_ylabel(label)
        scales.log_ticks(ax.yaxis)


def _rates(ax: Axes, results: Mapping[str, Any], colours: Mapping[str, str]) -> None:
    """Seed-steps a second over all devices. It has no knee: that of the time stands in the time's own panel."""
    spans = []
    for family in scaling_points.FAMILIES:
        rates = scaling_points.seed_rates(results, family)
        if rates:
            line = [(n, rate / 1000) for n, rate in rates.items()]
            ax.plot(*zip(*line, strict=True), color=colours[family], marker=_MARKERS[family], mec="white", lw=2, ms=6.5)
            spans.append(line)
    _finish(ax, "seeds", "throughput against seeds", spans, proportional=False)
    ax.set_ylabel("thousand seed-steps a second")
    values = [rate for line in spans for _, rate in line]
    ax.set_ylim(min(values, default=1) / 1.6, max(values, default=10) * 1.6)
    scales.log_ticks(ax.yaxis)


def _lengths(ax: Axes, results: Mapping[str, Any], colours: Mapping[str, str]) -> None:
    """The peak of a whole training against its steps."""
    highest = 0.0
    for family in scaling_points.FAMILIES:
        pairs = []
        for point in scaling_points.train_points():
            found = results["points"].get(point.key, {})
            if point.families == (family,) and "process_bytes" in found:
                pairs.append((dict(point.constants)["N_STEPS"], found["process_bytes"] / 2**20))
        if pairs:
            ax.plot(
                *zip(*pairs, strict=True), color=colours[family], marker=_MARKERS[family], mec="white", lw=2, ms=6.5
            )
            highest = max(highest, *(size for _, size in pairs))
    ax.set(xscale="log", xlabel=f"N_STEPS, {scaling_points.N_EVALUATIONS} evaluations", ylim=(0, 1.25 * highest or 1))
    ax.set_xlim(min(scaling_points.N_STEPS) / 1.4, max(scaling_points.N_STEPS) * 1.4)
    ax.set_ylabel("peak of the whole process (MiB)")
    ax.set_title("length of the training", loc="left", fontweight="bold")
    scales.log_ticks(ax.xaxis)


def _runs(ax: Axes, results: Mapping[str, Any], colours: Mapping[str, str]) -> None:
    """The peak of whole runs at the largest budget."""
    names, highest = [], 0.0
    for i, point in enumerate(scaling_points.run_points()):
        size = results["points"].get(point.key, {}).get("peak_memory_bytes", 0) / 2**30
        alone = len(point.families) == 1
        n_seeds = dict(point.constants)["NUM_SEEDS"]
        ax.bar(i, size, color=colours[point.families[0]] if alone else _GREY, width=0.65, zorder=2)
        text = f"{size:.2f}" if size else "–"
        ax.annotate(text, (i, size), (0, 4), textcoords="offset points", ha="center", fontsize=10.5)
        names.append(f"{point.families[0] if alone else 'all'}\n{n_seeds} seed{'s' * (n_seeds > 1)}")
        highest = max(highest, size)
    ax.axhline(_LIMIT / 2**30, color=_GREY, lw=1.2, ls=(0, (2, 2)), zorder=3)
    ax.annotate("aim: below 4 GiB", (0.02, _LIMIT / 2**30), (0, 3), xycoords=("axes fraction", "data"),
                textcoords="offset points", fontsize=10.5, color=_GREY)  # fmt: skip
    ax.set_xticks(range(len(names)), names)
    ax.set(ylim=(0, max(4.8, 1.15 * highest)), ylabel="peak of the whole process (GiB)")
    ax.set_title("10⁷ parameters", loc="left", fontweight="bold")
    ax.set_xlabel(f"whole runs of {scaling_points.RUN_STEPS} steps")
    ax.grid(axis="x", visible=False)

"""The picture of what a larger budget brings, or another value of a setting: scores against it, a panel a target.

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

from benchmark.pictures.views.boards import Course, Level, Panel
from core import power_law
from core.drawing import figures, rivals, scales
from core.drawing.figures import TARGET_COLOUR
from core.drawing.lettering import drawable
from core.power_law import PowerLaw

_FIT_DASH = (0, (2.5, 1.5))
_POINT = {"marker": "P", "ms": 11, "mec": "white", "ls": "none"}
_NO_SIZE = (0, (4, 1.2))  # of a family without parameters
_WIDE_SPAN = 10  # a setting whose values span more has a logarithmic axis


@figures.styled
def budget_scaling(
    path: str | Path,
    panels: Sequence[Panel],
    colours: Mapping[str, str],
    title: str,
    *,
    setting: str = "",
    notes: Sequence[str] = (),
) -> None:
    """Draws the main metric against the parameters on log scales, or against another setting; a panel a target.

    Where a power law of the parameters fits (`power_law.fit`) it is drawn, with its exponent over the panel, else
    why there is none. What the fit is of, the metric or the exact divergence, is drawn with it.

    Args:
      setting: what the courses' x is, if it is not parameters: then nothing is fitted, and what comes from elsewhere
        stands at no value.
      notes: what a reader has to know, such as what short names of targets stand for.
    """
    fits, too_few = _fits(panels, setting)
    layout = _layout(panels, fits)
    fig = figures.new(layout.width, layout.height, title)
    axes = fig.subplots(layout.n_rows, layout.columns, squeeze=False, sharex=True, sharey=True).ravel()
    for ax in axes[len(panels) :]:
        ax.remove()
    limits, x = _limits(fits), _all_x(panels, sized=not setting)
    for i, (ax, fit) in enumerate(zip(axes, fits, strict=False)):
        ax.set(yscale="log", ylim=limits)
        _x_axis(ax, x, logarithmic=not setting)
        scales.log_ticks(ax.yaxis)
        figures.outer_labels(ax, i, len(panels), layout.columns, setting or "parameters", fit.panel.label)
        _panel(ax, fit, colours, limits, sized=not setting)
        legend = [(colours[name], law, f"{name}: {_said(law, name in fit.exact)}") for name, law in fit.laws.items()]
        _head(ax, fit.panel.row, legend, layout.heads[i // layout.columns], layout.beside)
    heading = _heading(fits, "value" if setting else "budget")
    if too_few:
        heading.append("an exponent needs four budgets")
    figures.figure_legend(fig, _entries(panels, colours, sized=not setting), " · ".join([*heading, *notes]))
    figures.save(fig, path)


class _Fit(NamedTuple):
    """A panel and its power laws."""

    panel: Panel
    laws: Mapping[str, PowerLaw | str]  # or why there is none

    @property
    def fitted(self) -> list[str]:
        """The families with a law."""
        return [name for name, law in self.laws.items() if isinstance(law, PowerLaw)]

    @property
    def exact(self) -> list[str]:
        """Those whose law is one of the exact divergence."""
        return [name for name in self.laws if self.panel.courses[name].exact is not None]


def _fits(panels: Sequence[Panel], setting: str) -> tuple[list[_Fit], bool]:
    """The panels with their laws; and whether none is shown because budgets are too few for all of them."""
    found = [{} if setting else _laws(panel) for panel in panels]
    too_few = any(found) and all(law == power_law.FEW for laws in found for law in laws.values())
    return [_Fit(panel, {} if too_few else laws) for panel, laws in zip(panels, found, strict=True)], too_few


class _Layout(NamedTuple):
    """Where panels stand, and the room above them."""

    columns: int
    n_rows: int
    width: float  # of the picture, inches
    height: float
    beside: int  # exponents in one line above a panel
    heads: Sequence[int]  # lines of them, per row of panels


def _layout(panels: Sequence[Panel], fits: Sequence[_Fit]) -> _Layout:
    n = len(panels)
    columns = n if n <= 3 else 2 if n == 4 else 3 if n <= 6 else 4
    n_rows = -(-n // columns)
    width = {1: 8.0, 2: 11.0, 3: 12.5}.get(columns, 16.0)
    side = {1: 4.2, 2: 3.0}.get(n_rows, 2.6)
    longest = max((len(name) for fit in fits for name in fit.laws), default=0)
    beside = max(1, int((width - 1) / columns / (0.077 * (longest + 38) + 0.4)))
    lines = [-(-len(fit.laws) // beside) for fit in fits]
    heads = [max(lines[i : i + columns]) for i in range(0, n, columns)]
    names = max(_head_lines(panel.row).count("\n") for panel in panels)
    height = n_rows * (side + 0.55 + 0.22 * names) + 0.22 * sum(heads) + 1.5
    return _Layout(columns, n_rows, width, height, beside, heads)


def _limits(fits: Sequence[_Fit]) -> tuple[float, float]:
    """Of the scores, in all panels."""
    panels = [fit.panel for fit in fits]
    shown = [[np.concatenate(course.scores) for course in panel.courses.values()] for panel in panels]
    shown += [[fit.panel.courses[name].exact_medians for name in fit.exact] for fit in fits]
    shown += [[np.array([level.score for panel in panels for level in panel.levels.values()])]]
    shown += [[np.array([value for panel in panels for value in panel.rivals.values()])]]
    low, high = scales.log_limits(shown, tuple(np.ravel([panel.floor for panel in panels])))
    # Names of rivals stand above their lines.
    return low, high * (high / low) ** 0.04 if any(panel.rivals for panel in panels) else high


def _all_x(panels: Sequence[Panel], *, sized: bool) -> np.ndarray:
    """All parameters that have a place on the axis, or all values of a setting."""
    x = np.concatenate([course.x for panel in panels for course in panel.courses.values()])
    if not sized:
        return x
    declared = [level.n_params for panel in panels for level in panel.levels.values()]
    x = np.append(x, [size for size in declared if size is not None])
    # What has no parameters has no place on a log axis.
    return x[x > 0]


def _panel(ax: Axes, fit: _Fit, colours: Mapping[str, str], limits: tuple[float, float], *, sized: bool) -> None:
    """The floor, rivals, what comes from elsewhere, every family, and what fits it."""
    panel = fit.panel
    if panel.has_floor:
        figures.floor_band(ax, panel.floor, limits[0])
    rivals.lines(ax, panel.rivals, colours)
    for name, level in panel.levels.items():
        _level(ax, level if sized else level._replace(n_params=None), colours[name], limits)
    for name, course in panel.courses.items():
        _course(ax, course, colours[name], limits)
    for name in fit.fitted:
        law, middle = fit.laws[name], 0.0 if name in fit.exact else panel.floor[0]
        size = np.geomspace(law.n_params.min() / 1.15, law.n_params.max() * 1.15, 100)
        ax.plot(size, middle + law.factor * size**law.slope, color=colours[name], ls=_FIT_DASH, lw=1.5, zorder=2.5)
    for name in fit.exact:
        course = panel.courses[name]
        ax.plot(course.x, np.clip(course.exact_medians, *limits), "D", color=colours[name], mfc="white", mew=1.5, ms=6,
                zorder=3.4, clip_on=False)  # fmt: skip


def _heading(fits: Sequence[_Fit], of: str) -> list[str]:
    """What the legend says of the marks; the dots are those of a value or a budget."""
    panels = [fit.panel for fit in fits]
    heading = [f"dots: median over the seeds of a {of}", "bars and bands: their range"]
    if any(fit.fitted for fit in fits):
        metric = panels[0].label.split(" (")[0]
        floor = "floor + " if any(panel.has_floor for panel in panels) else ""
        heading.append(f"dashed: the fit of {metric} = {floor}c × parametersᵃ, with a and its 95 % interval above")
    if any(fit.exact for fit in fits):
        heading.append("hollow, and exact a: the exact KL, which has no floor")
    if any(panel.rivals for panel in panels):
        heading.append(rivals.WORDS)
    return heading


def _entries(panels: Sequence[Panel], colours: Mapping[str, str], *, sized: bool) -> dict[str, Any]:
    """The legend: families with what they have lost, what comes from elsewhere, and the floor."""
    entries: dict[str, Any] = {}
    for name in dict.fromkeys(name for panel in panels for name in panel.courses):
        lost = sum(np.isinf(np.concatenate(p.courses[name].scores)).sum() for p in panels if name in p.courses)
        of_none = sized and not any(p.courses[name].x.any() for p in panels if name in p.courses)
        notes = [
            note for note in ("no parameters" if of_none else "", f"{lost} seeds diverged" if lost else "") if note
        ]
        entries[f"{name} ({', '.join(notes)})" if notes else name] = Line2D(
            [],
            [],
            color=colours[name],
            lw=2,
            **({"ls": _NO_SIZE} if of_none else {"marker": "o", "ms": 8, "mec": "white"}),
        )
    if any(np.isinf(course.medians).any() for panel in panels for course in panel.courses.values()):
        entries["the median seed has diverged"] = Line2D([], [], color="#606060", marker="^", ms=8, ls="none")
    for name in dict.fromkeys(name for panel in panels for name in panel.levels):
        at_size = sized and any(panel.levels[name].n_params for panel in panels if name in panel.levels)
        entries[f"{name} (external)"] = (
            Line2D([], [], color=colours[name], **_POINT) if at_size else figures.external_entry(colours[name])
        )
    (handle,) = figures.floor_entry().values()
    floor = {"floor: median and range of samples of the target itself": handle}
    return entries | (floor if any(panel.has_floor for panel in panels) else {})


def _x_axis(ax: Axes, x: np.ndarray, *, logarithmic: bool) -> None:
    """Room for all x, on a logarithmic axis where they span more than _WIDE_SPAN and are positive."""
    low, high = (x.min(), x.max()) if len(x) else (1.0, 1.0)
    if logarithmic or (low > 0 and high / low > _WIDE_SPAN):
        margin = max(1.25, (high / low) ** 0.05)
        ax.set(xscale="log", xlim=(low / margin, high * margin))
        scales.log_ticks(ax.xaxis)
    else:
        margin = 0.06 * (high - low) or 0.5
        ax.set_xlim(low - margin, high + margin)
        scales.round_ticks(ax.xaxis)


def _level(ax: Axes, level: Level, colour: str, limits: tuple[float, float]) -> None:
    """What comes from elsewhere: a point at the size that was declared for it, else a line."""
    score = min(level.score, limits[1] * 100)
    if level.n_params:
        ax.plot(level.n_params, np.clip(score, *limits), color=colour, zorder=3.6, clip_on=False, **_POINT)
    else:
        figures.external_line(ax, score, colour, limits[0])


def _laws(panel: Panel) -> dict[str, PowerLaw | str]:
    """How families fall with their parameters; a family of one size has no way to."""
    sized = {name: course for name, course in panel.courses.items() if len(course.x) > 1}
    return {name: course.law(panel.floor[0], panel.floor[2]) for name, course in sized.items()}


def _course(ax: Axes, course: Course, colour: str, limits: tuple[float, float]) -> None:
    """The medians as dots on a line, and the range of the seeds: to the top where one has diverged."""
    low, high = limits
    if ax.get_xscale() == "log" and not course.x.any():
        ax.axhline(np.clip(course.medians[0], low, high), color=colour, lw=2, ls=_NO_SIZE, zorder=2.8)
        return
    ends = []
    for values in course.scores:
        finite = values[np.isfinite(values)]
        lowest = finite.min() if len(finite) else high * 100
        ends.append((lowest, finite.max() if len(finite) == len(values) else high * 100))
    lowest, highest = np.clip(np.transpose(ends), low, high * 100)
    # What is infinite leaves through the top; what is zero runs along the bottom.
    medians = np.clip(course.medians, low, high * 100)
    # No band is drawn next to a diverged value: the other value's range is a line there.
    known = np.array([np.isfinite(values).all() for values in course.scores])
    ax.fill_between(course.x, lowest, highest, where=known, color=colour, alpha=0.16, lw=0, zorder=2)
    ax.vlines(course.x, lowest, highest, color=colour, lw=1.4, alpha=0.8, zorder=3)
    ax.plot(course.x, medians, color=colour, lw=1.7, alpha=0.75, zorder=3.2)
    lost = np.isinf(course.medians)
    for marker, these in (("o", ~lost), ("^", lost)):
        if these.any():
            ax.plot(course.x[these], np.clip(course.medians[these], low, high), marker, color=colour, ms=8, mec="white",
                    mew=0.9, zorder=3.5, clip_on=False)  # fmt: skip


def _head(
    ax: Axes,
    row: str,
    laws: Sequence[tuple[str, PowerLaw | str, str]],
    lines: int,
    columns: int,
) -> None:
    """A target's name, and under it the exponents, or why there is none.

    Args:
      ax: the panel.
      row: the target.
      laws: colour, law and words of every family.
      lines: how many stay free for them in all panels of a row.
      columns: how many stand in one line.
    """
    name = _head_lines(row)
    ax.set_title(name, loc="left", color=TARGET_COLOUR, fontweight="bold", pad=7 + 14 * lines)
    if laws:
        handles = [
            Line2D([], [], color=colour, ls="none" if isinstance(law, str) else _FIT_DASH, lw=1.8,
                   marker="o" if isinstance(law, str) else "", ms=5)
            for colour, law, _ in laws
        ]  # fmt: skip
        words = [said for *_, said in laws]
        legend = ax.legend(handles, words, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, fontsize=9.5,
                           borderaxespad=0.15, borderpad=0.1, labelspacing=0.25, handlelength=1.8)  # fmt: skip
        # The title above it keeps its place.
        legend.set_in_layout(False)


def _said(law: PowerLaw | str, exact: bool) -> str:
    """A law in words, or why there is none; `exact`: it is of the exact divergence."""
    if isinstance(law, str):
        return f"no exponent, {'exact KL: ' if exact else ''}{law}"
    budgets = f"{len(law.n_params)} of {law.n_budgets} budgets"
    return f"{'exact ' if exact else ''}a = {_with_error(law.slope, law.error)}, {budgets}"


def _head_lines(row: str) -> str:
    """A target's name in two lines at most: what tells panels apart may stand at its end."""
    row = drawable(row, weight="bold")
    whole = ", ".join(part.replace(" ", "\u00a0") for part in row.split(", "))
    lines = textwrap.fill(whole, figures.LONGEST_HEAD, max_lines=2, placeholder="…", break_long_words=True)
    return lines.replace("\u00a0", " ")


def _with_error(value: float, error: float) -> str:
    """Such as "−0.58 ± 0.02", with a digit more where the error needs it or rounding would reach zero."""
    digits = 2 if error >= 0.01 and round(value, 2) + round(error, 2) < -0.005 else 3
    spread = f"± {error:.{digits}f}" if error >= 0.001 else "± < 0.001"
    return f"{value:.{digits}f} {spread}".replace("-", "−")

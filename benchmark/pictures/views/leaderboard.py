"""Pictures over all cells of a sweep: who comes how close on which target, and what a larger budget brings.

They are drawn from arrays alone and look like those of `plotting`, whose conventions for `path`, `colours` and `title`
hold here too.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from benchmark.pictures.views import board_scales
from benchmark.pictures.views.boards import Board, Course, Level, Panel
from core import power_law, wording
from core.drawing import figures, scales
from core.drawing.figures import TARGET_COLOUR
from core.drawing.lettering import drawable, text_width
from core.power_law import PowerLaw

_MAP = "cividis_r"  # the same to the colour-blind; light is good
_LONGEST_ROW = 60  # letters; a longer name is cut
_FIT_DASH = (0, (2.5, 1.5))
_POINT = {"marker": "P", "ms": 11, "mec": "white", "ls": "none"}
_WIDE_SPAN = 10  # a setting whose values span more has a logarithmic axis


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
    n = len(panels)
    columns = n if n <= 3 else 2 if n == 4 else 3 if n <= 6 else 4
    n_rows = -(-n // columns)
    width = {1: 8.0, 2: 11.0, 3: 12.5}.get(columns, 16.0)
    side = {1: 4.2, 2: 3.0}.get(n_rows, 2.6)
    found = [{} if setting else _fits(panel) for panel in panels]
    too_few = any(found) and all(law == power_law.FEW for laws in found for law in laws.values())
    fits = [{}] * n if too_few else found
    longest = max((len(name) for laws in fits for name in laws), default=0)
    beside = max(1, int((width - 1) / columns / (0.077 * (longest + 38) + 0.4)))  # exponents in one line
    lines = [-(-len(laws) // beside) for laws in fits]
    heads = [max(lines[i : i + columns]) for i in range(0, n, columns)]
    names = max(_head_lines(panel.row).count("\n") for panel in panels)
    fig = figures.new(width, n_rows * (side + 0.55 + 0.22 * names) + 0.22 * sum(heads) + 1.5, title)
    axes = fig.subplots(n_rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for ax in axes[n:]:
        ax.remove()

    fitted = [[name for name, law in laws.items() if isinstance(law, PowerLaw)] for laws in fits]
    exact = [
        [name for name in laws if panel.courses[name].exact is not None]
        for laws, panel in zip(fits, panels, strict=True)
    ]
    shown = [[np.concatenate(course.scores) for course in panel.courses.values()] for panel in panels]
    shown += [[panel.courses[name].exact_medians for name in own] for own, panel in zip(exact, panels, strict=True)]
    shown += [[np.array([level.score for panel in panels for level in panel.levels.values()])]]
    limits = scales.log_limits(shown, tuple(np.ravel([panel.floor for panel in panels])))
    declared = [] if setting else [level.n_params for panel in panels for level in panel.levels.values()]
    x = np.concatenate([course.x for panel in panels for course in panel.courses.values()])
    x = np.append(x, [size for size in declared if size is not None])
    for i, (ax, panel, laws) in enumerate(zip(axes, panels, fits, strict=False)):
        ax.set(yscale="log", ylim=limits)
        _x_axis(ax, x, logarithmic=not setting)
        scales.log_ticks(ax.yaxis)
        figures.outer_labels(ax, i, n, columns, setting or "parameters", panel.label)
        figures.floor_band(ax, panel.floor, limits[0])
        for name, level in panel.levels.items():
            _level(ax, level._replace(n_params=None) if setting else level, colours[name], limits)
        for name, course in panel.courses.items():
            _course(ax, course, colours[name], limits)
        for name in fitted[i]:
            law, middle = laws[name], 0.0 if name in exact[i] else panel.floor[0]
            size = np.geomspace(law.n_params.min() / 1.15, law.n_params.max() * 1.15, 100)
            ax.plot(size, middle + law.factor * size**law.slope, color=colours[name], ls=_FIT_DASH, lw=1.5, zorder=2.5)
        for name in exact[i]:
            course = panel.courses[name]
            ax.plot(course.x, np.clip(course.exact_medians, *limits), "D", color=colours[name], mfc="white", mew=1.5,
                    ms=6, zorder=3.4, clip_on=False)  # fmt: skip
        legend = [(colours[name], law, f"{name}: {_said(law, name in exact[i])}") for name, law in laws.items()]
        _head(ax, panel.row, legend, heads[i // columns], beside)

    of = "value" if setting else "budget"
    heading = [f"dots: median over the seeds of a {of}"]
    heading.append("bars and bands: their range")
    if any(fitted):
        metric = panels[0].label.split(" (")[0]
        heading.append(f"dashed: the fit of {metric} = floor + c × parametersᵃ, with a and its 95 % interval above")
    if any(exact):
        heading.append("hollow, and exact a: the exact KL, which has no floor")
    if too_few:
        heading.append("an exponent needs four budgets")
    figures.figure_legend(fig, _entries(panels, colours, sized=not setting), " · ".join([*heading, *notes]))
    figures.save(fig, path)


def _entries(panels: Sequence[Panel], colours: Mapping[str, str], *, sized: bool) -> dict[str, Any]:
    """The legend: families with what they have lost, what comes from elsewhere, and the floor."""
    entries: dict[str, Any] = {}
    for name in dict.fromkeys(name for panel in panels for name in panel.courses):
        lost = sum(np.isinf(np.concatenate(p.courses[name].scores)).sum() for p in panels if name in p.courses)
        entries[f"{name} ({lost} seeds diverged)" if lost else name] = Line2D(
            [], [], color=colours[name], lw=2, marker="o", ms=8, mec="white"
        )
    if any(np.isinf(course.medians).any() for panel in panels for course in panel.courses.values()):
        entries["the median seed has diverged"] = Line2D([], [], color="#606060", marker="^", ms=8, ls="none")
    for name in dict.fromkeys(name for panel in panels for name in panel.levels):
        at_size = sized and any(panel.levels[name].n_params for panel in panels if name in panel.levels)
        entries[f"{name} (external)"] = (
            Line2D([], [], color=colours[name], **_POINT) if at_size else figures.external_entry(colours[name])
        )
    (handle,) = figures.floor_entry().values()
    return {**entries, "floor: median and range of samples of the target itself": handle}


def _x_axis(ax: Axes, x: np.ndarray, *, logarithmic: bool) -> None:
    """Room for all x, on a logarithmic axis where they span more than _WIDE_SPAN and are positive."""
    low, high = x.min(), x.max()
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


def _fits(panel: Panel) -> dict[str, PowerLaw | str]:
    return {name: course.law(panel.floor[0], panel.floor[2]) for name, course in panel.courses.items()}


def _course(ax: Axes, course: Course, colour: str, limits: tuple[float, float]) -> None:
    """The medians as dots on a line, and the range of the seeds: to the top where one has diverged."""
    low, high = limits
    ends = []
    for values in course.scores:
        finite = values[np.isfinite(values)]
        lowest = finite.min() if len(finite) else high * 100
        ends.append((lowest, finite.max() if len(finite) == len(values) else high * 100))
    lowest, highest = np.clip(np.transpose(ends), low, high * 100)
    # What is infinite leaves through the top; what is zero runs along the bottom.
    medians = np.clip(course.medians, low, high * 100)
    # Between a range and what has no end nothing is known: the range of the other stands there as a line alone.
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


def _wrapped_name(name: str, width: float, style: str) -> str:
    """A column's name in lines of its `width` in inches, three at most."""
    name = drawable(name, weight="bold", style=style)
    # Letters are of several widths, and some are wide.
    letter = max(0.115, text_width(name, 12, weight="bold") / len(name))
    room = max(4 if letter > 0.15 else 8, int(width / letter))
    return textwrap.fill(name, room, max_lines=3, placeholder="…", break_long_words=True)

"""The dashboards, from arrays alone: nothing here samples, trains, needs a display or knows a family by its name.

One look throughout: the target is near-black, its floor grey, a family keeps its colour in every picture; titles stand
on the left, legends below the data. Everywhere `path` is the PNG to write, `colours` maps a family to its colour, and
`title` heads the whole picture. What the pictures are built from is in `figures`.
"""

import math
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter
from PIL import Image

from core.drawing import animation, figures, rivals, scales
from core.drawing.courses import course, last_finite
from core.drawing.figures import DIVERGED, MARK_COLOUR, TARGET_COLOUR
from core.drawing.scenes import Curve, Frame, LossPicture, MetricPicture

# What is on its way to divergence may take an axis so much further than all else does: as a factor of a log axis, and
# in lengths of a linear one.
_MOST_FACTOR, _MOST_LENGTHS = 100.0, 2.0
# A metric whose limits are closer, as a factor, has a linear axis from 0: on a log axis hardly anything would move.
_NARROW = 9.0
# Nats within which a loss is drawn on a linear scale: less than a minibatch's noise.
_LEAST_DISTANCE = 1e-3
_MOST_IN_LINE = 3  # scores over a panel
_DASHES = ("--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (8, 3)), (0, (1, 3)))


def _reach(curves: Sequence[Curve], reference: float | None) -> tuple[float, float]:
    """How far a linear axis may go for what is on its way to divergence: beyond all that is not."""
    shown = np.concatenate([*map(scales.steady, curves), [0.0 if reference is None else reference]])
    low, high = shown.min(), shown.max()
    length = max(high - low, 0.1 * abs(high), 1e-3)
    return low - _MOST_LENGTHS * length, high + _MOST_LENGTHS * length


@figures.styled
def metrics_comparison(
    path: str | Path,
    curves: Mapping[str, Mapping[str, Curve]],
    metrics: Mapping[str, MetricPicture],
    colours: Mapping[str, str],
    title: str,
    *,
    remarks: Mapping[str, str] | None = None,
) -> None:
    """Draws what is followed during training against the training step, a panel a metric.

    Scales are logarithmic but for a metric that hardly moves.

    Metrics that need no sample stand in a row of their own, below those that have the noise of one.

    Args:
      curves: per family the course of every metric that it has.
      metrics: the panels, from left to right.
      remarks: what the legend says behind a name, such as "▼ loses to HISTOGRAM".
    """
    rows = [[name for name, each in metrics.items() if each.exact == exact] for exact in (False, True)]
    rows = [row for row in rows if row]
    high = 5.4 if len(curves) <= 5 else 6.6
    fig = figures.new(12.5, high + 3.6 * (len(rows) - 1), title)
    places = fig.add_gridspec(len(rows), math.lcm(*map(len, rows)) if rows else 1)
    marked = False
    for r, row in enumerate(rows):
        wide = places.ncols // len(row)
        for i, metric in enumerate(row):
            ax = fig.add_subplot(places[r, i * wide : (i + 1) * wide])
            shown = {family: of_family[metric] for family, of_family in curves.items() if metric in of_family}
            marked |= _metric_panel(ax, shown, metrics[metric], colours)
    entries = _dashboard_entries(curves, metrics, colours, remarks or {})
    if marked:
        entries["a seed diverges"] = Line2D([], [], color="#606060", marker="X", ms=9, ls="none")
    if any(_has_floor(picture) for picture in metrics.values()):
        entries |= figures.floor_entry()
    n_seeds = max((len(c.values) for of_family in curves.values() for c in of_family.values()), default=1)
    heading = f"line: median over {n_seeds} seeds · shaded: their range" if n_seeds > 1 else "one seed"
    if marked and n_seeds > 1:
        heading = f"line: median over {n_seeds} seeds, diverged ones as +∞ · shaded: the range of the others"
    if any(picture.rivals for picture in metrics.values()):
        heading += f" · {rivals.WORDS}"
    figures.figure_legend(fig, entries, heading)
    figures.save(fig, path)


def _metric_panel(ax: Axes, shown: Mapping[str, Curve], picture: MetricPicture, colours: Mapping[str, str]) -> bool:
    """Draws one metric of all families that have it; returns whether a seed diverges there."""
    floor = picture.floor if _has_floor(picture) else None
    courses = {family: course(curve.values) for family, curve in shown.items()}
    scored = {name: value for name, value in picture.externals.items() if value is not None and np.isfinite(value)}
    levels = [*scored.values(), *picture.rivals.values()]
    low, high = scales.log_limits([*courses.values(), levels], floor)
    steady = [scales.steady(curve) for curve in shown.values()]
    high = min(high, _MOST_FACTOR * scales.log_limits([*steady, levels], floor)[1])
    low = scales.not_far_below(low, floor)
    narrow = high < _NARROW * low
    if narrow:
        low = 0.0
    if floor is not None:
        figures.floor_band(ax, floor, low)
    for name, value in scored.items():
        figures.external_line(ax, value, colours[name], low)
    marked = False
    for family, curve in shown.items():
        # What is infinite leaves through the top; what is zero runs along the bottom.
        three = [np.clip(values, low, high * 100) for values in courses[family]]
        line = figures.line_of(colours[family], len(curve.steps), len(shown))
        figures.band(ax, curve.steps, three, colours[family], family, lw=2.2, zorder=3, **line)
        last = last_finite(curve)
        if len(last):
            marked = True
            at_most = np.minimum(last[:, 1], high)
            ax.plot(last[:, 0], at_most, "X", color=colours[family], ms=9, mec="white", zorder=5, clip_on=False)
    ax.set(yscale="linear" if narrow else "log", ylim=(low, high / 1.4 if narrow else high), ylabel=picture.label)
    if narrow:
        scales.round_ticks(ax.yaxis)
    else:
        scales.log_ticks(ax.yaxis)
    scales.step_axis(ax, shown.values())
    rivals.lines(ax, picture.rivals, colours)
    rivals.lines(ax, picture.marks, dict.fromkeys(picture.marks, MARK_COLOUR))
    if picture.exact:
        figures.header(ax, "", "without a sample: no noise, and 0 is a perfect model", TARGET_COLOUR)
    return marked


def _dashboard_entries(
    curves: Mapping[str, Mapping[str, Curve]],
    metrics: Mapping[str, MetricPicture],
    colours: Mapping[str, str],
    remarks: Mapping[str, str],
) -> dict[str, Any]:
    """What the legend says of families and of samples from elsewhere, which may lack a score."""
    entries = {}
    exact = {name: picture for name, picture in metrics.items() if picture.exact}
    for family, of_family in curves.items():
        lacking = [_short(each.label) for name, each in exact.items() if name not in of_family]
        about = [_short(each.label) for each in exact.values() if family in each.estimates]
        notes = [f" (no {' and '.join(lacking)})"] if lacking else []
        notes += [f" ({' and '.join(about)} ≈)"] if about else []
        label = family + "".join(notes) + figures.diverged_note(of_family.values())
        entries[figures.remarked(label, remarks.get(family))] = figures.entry_of(colours[family])
    lacks: dict[str, list[str]] = {name: [] for picture in metrics.values() for name in picture.externals}
    for picture in metrics.values():
        for name, unscored in lacks.items():
            value = picture.externals.get(name)
            if not picture.exact and (value is None or not np.isfinite(value)):
                unscored.append(_short(picture.label))
    for name, unscored in lacks.items():
        note = f", no {unscored[0] if len(unscored) == 1 else 'score'}" if unscored else ""
        label = figures.remarked(f"{name} (external{note})", remarks.get(name))
        entries[label] = figures.external_entry(colours[name])
    return entries


def _has_floor(picture: MetricPicture) -> bool:
    """Whether a metric has a floor that a log scale can show."""
    return picture.floor is not None and max(picture.floor) > 0


def _short(label: str) -> str:
    """A metric's name without its unit."""
    return label.split(" (")[0]


@figures.styled
def comparison_hist(
    path: str | Path,
    target: Any,
    frame: Frame,
    colours: Mapping[str, str],
    title: str,
    *,
    floors_text: str = "",
) -> None:
    """Draws the target and every family's samples side by side on one scale.

    Args:
      target: what its kind's `scene` makes; drawn first, and with every family.
      frame: samples or probabilities of every family, and its scores.
      floors_text: the line of scores for the target's panel: what samples of the target itself score.
    """
    (image,) = _comparison_images([frame], target, colours, title, floors_text)
    figures.save_image(image, path)


@figures.styled
def timeline(
    path: str | Path,
    target: Any,
    frames: Mapping[str, Frame],
    colours: Mapping[str, str],
    title: str,
    *,
    floors_text: str = "",
) -> None:
    """Draws the comparison at every snapshot: a PNG each, all of one size and scale, and then one animated GIF.

    Args:
      path: of the animation; the pictures go beside it.
      target: see `comparison_hist`.
      frames: by file name every snapshot, all with the same families; those of the animation alone by any other name.
      floors_text: see `comparison_hist`.
    """
    if not frames:
        return
    images = []
    drawn = _comparison_images([*frames.values()], target, colours, title, floors_text)
    for (name, frame), image in zip(frames.items(), drawn, strict=True):
        if not frame.in_animation_alone:
            figures.save_image(image, Path(path).parent / name)
        images.append(image)
    families = next(iter(frames.values())).kept
    animation.save_gif(images, [colours[family] for family in families], Path(path))


@figures.styled
def loss_curves(
    path: str | Path,
    losses: Mapping[str, LossPicture],
    colours: Mapping[str, str],
    title: str,
) -> None:
    """Draws what each family minimises and reports, a panel a family: the losses differ in kind.

    Args:
      losses: by family; the field `loss` is drawn thickest. Where there is a reference the panel shows how far the loss
        is from it, on a scale that is logarithmic on both sides.
    """
    fig, panels, _ = figures.grid(len(losses), 3.4, title, True)
    notes = {family: figures.diverged_note(of.curves.values()).strip(" ()") for family, of in losses.items()}
    blank = " " if any(notes.values()) else ""
    for ax, (family, picture) in zip(panels, losses.items(), strict=True):
        if picture.curves:
            _loss_panel(ax, picture, colours[family])
            figures.header(ax, family, notes[family] or blank, colours[family])
            continue
        figures.header(ax, family, blank, colours[family])
        figures.words_in(ax, "nothing to train", colours[family]).set(fontsize=14)
        ax.set(xticks=[], yticks=[])
    figures.save(fig, path)


def _loss_panel(ax: Axes, picture: LossPicture, family_colour: str) -> None:
    """Draws the fields of one family."""
    fields, reference, units, of_the_last = picture
    fields = {name: scales.without_start(curve) for name, curve in fields.items()}
    if reference is not None:
        fields["loss"] = fields["loss"]._replace(values=np.asarray(fields["loss"].values, np.float64) - reference[0])
    level = None if reference is None else 0.0
    courses = {name: course(curve.values, diverged_is_infinite=False) for name, curve in fields.items()}
    low, high = _reach([*fields.values()], level)
    far = 10 * (high - low)
    ordered = sorted(fields, key=lambda name: name != "loss")
    for i, name in enumerate(ordered):
        main = name == "loss" or len(ordered) == 1
        colour = family_colour if main else tuple(0.3 + 0.7 * c for c in to_rgb(family_colour))
        style = {"lw": 2.4, "ls": "-"} if main else {"lw": 1.6, "ls": _DASHES[(i - 1) % len(_DASHES)]}
        label = name.replace("_", " ") + (f" ({units[name]})" if name in units else "")
        if name == "loss" and reference is not None:
            label += f" {'−' if reference[0] > 0 else '+'} {abs(reference[0]):.4g}" if reference[0] else ""
        # What runs away leaves through the top or the bottom.
        three = [np.clip(values, low - far, high + far) for values in courses[name]]
        figures.band(ax, fields[name].steps, three, colour, label, zorder=3 if main else 2.5, **style)
    values = [np.clip(v, low, high) for three in courses.values() for v in three]
    if reference is None:
        scales.robust_limits(ax, values, None)
        # A power of ten over the axis would stand where the name does.
        if 0 < max(map(abs, ax.get_ylim())) < 1e-3:
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}".replace("-", "−")))
    else:
        said = f"{reference[1]}: {reference[0]:.4g}".replace(": -", ": −") if reference[0] else reference[1]
        ax.axhline(0.0, color=TARGET_COLOUR, lw=1.5, ls=(0, (1, 1.5)), label=said, zorder=4)
        scales.distance_axis(ax, values, _LEAST_DISTANCE)
    scales.step_axis(ax, fields.values())
    figures.words_after(ax, [*fields.values()], family_colour)
    what = "end of the interval" if set(fields) <= set(of_the_last) else "mean over the interval"
    ax.set_ylabel(f"nats, {what}" if any(name not in units for name in fields) else what)
    figures.legend_below(ax, 4.2)


def _in_lines(scores: str) -> str:
    """Scores over a panel: many of them in two lines, as in one their letters would have to be too small."""
    each = scores.split("   ")
    if len(each) <= _MOST_IN_LINE:
        return scores
    half = -(-len(each) // 2)
    return "   ".join(each[:half]) + "\n" + "   ".join(each[half:])


def _comparison_images(
    frames: Sequence[Frame],
    target: Any,
    colours: Mapping[str, str],
    title: str,
    floors_text: str,
) -> Iterator[Image.Image]:
    """Draws the figure once and then only moves its data: building one for every frame would take most of the time."""
    panels = pkgutil.resolve_name(target.panels)(target, [frame.kept for frame in frames], frames[0].masses)
    families = [*frames[0].kept, *panels.known]
    lost = [{family for family, x in frame.kept.items() if np.isnan(x).all()} for frame in frames]
    notes = []
    for i, (frame, gone) in enumerate(zip(frames, lost, strict=True)):
        unseen = {name: "" if name in gone else panels.note(i, name) for name in families}
        notes.append({name: " · ".join(filter(None, (frame.remarks.get(name), note))) for name, note in unseen.items()})
    noted = any(any(frame.values()) for frame in notes)
    lines = [
        {None: _in_lines(floors_text) or target.name}
        | {name: _in_lines(frame.scores.get(name, "")) for name in families}
        for frame in frames
    ]
    n_lines = 1 + max(line.count("\n") for frame in lines for line in frame.values())

    labelled = [f"{title} — {frame.label}" if frame.label else title for frame in frames]
    fig, axes, columns = figures.grid(1 + len(families), panels.side, max(labelled, key=len), panels.flat)
    spare = (panels.spare(noted) - 0.2 * (n_lines - 1)) * -(-len(axes) // columns)
    fig.set_figheight(fig.get_figheight() - spare + figures.further_title_lines(fig))
    heads, words = {}, {}
    for i, (ax, family) in enumerate(zip(axes, [None, *families], strict=True)):
        colour = TARGET_COLOUR if family is None else colours[family]
        panels.draw(ax, family, colour)
        figures.outer_labels(ax, i, len(axes), columns, *panels.axis_words())
        # Where the families' scores stand stands the floor's.
        name = family or (f"target: {target.name}" if floors_text else "target")
        heads[family] = figures.header(ax, name, "\n".join([" "] * (n_lines + noted)), colour)
        words[family] = figures.words_in(ax, "", colour)
    panels.legend(fig, axes[min(columns, len(axes)) - 1])

    # Solved once, with the longest title and room for every note: frames must not move against each other.
    figures.settle(fig)
    if noted:
        lines = [{name: f"{line}\n{note.get(name) or ' '}" for name, line in frame.items()}
                 for frame, note in zip(lines, notes, strict=True)]  # fmt: skip
    figures.fit_heads([(head, {frame[name] for frame in lines}) for name, head in heads.items()])
    figures.fit_heads([(ax._left_title, [ax._left_title.get_text()]) for ax in axes])
    for i, frame in enumerate(lines):
        figures.set_title(fig, labelled[i])
        for name, line in frame.items():
            heads[name].set_text(line)
        for family in families:
            panels.move(i, family)
            words[family].set_text(DIVERGED if family in lost[i] else "")
        yield figures.render(fig)

"""The dashboards, from arrays alone: nothing here samples, trains, needs a display or knows a family by its name.

One look throughout: the target is near-black, its floor grey, a family keeps its colour in every picture; titles stand
on the left, legends below the data. Everywhere `path` is the PNG to write, `colours` maps a family to its colour, and
`title` heads the whole picture. What the pictures are built from is in `figures`.
"""

import pkgutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter
from PIL import Image

from core.drawing import animation, figures, scales
from core.drawing.courses import course, last_finite
from core.drawing.figures import DIVERGED, TARGET_COLOUR
from core.drawing.scenes import Curve
from metrics import METRICS

# What is on its way to divergence may take an axis so much further than all else does: as a factor of a log axis, and
# in lengths of a linear one.
_MOST_FACTOR, _MOST_LENGTHS = 100.0, 2.0


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
    floors: Mapping[str, tuple[float, float, float]],
    colours: Mapping[str, str],
    title: str,
    *,
    labels: Mapping[str, str] | None = None,
    externals: Mapping[str, Mapping[str, float | None]] | None = None,
    remarks: Mapping[str, str] | None = None,
) -> None:
    """Draws what is followed during training against the training step, a panel a metric, on log scales.

    Args:
      curves: per family the course of every metric.
      floors: per metric the mean, low and high that samples of the target itself score.
      labels: per metric what its axis says; in a plane the distance is another one than on a line.
      externals: per set of samples from elsewhere what it scores in each metric; None where it has no score.
      remarks: what the legend says behind a name, such as "▼ loses to HISTOGRAM".
    """
    externals, remarks = externals or {}, remarks or {}
    followed = dict.fromkeys(metric for of_family in curves.values() for metric in of_family)
    labels = {name: METRICS[name].label_with_unit for name in followed} | dict(labels or {})
    fig = figures.new(12.5, 5.4 if len(curves) <= 5 else 6.6, title)
    panels = np.ravel(fig.subplots(1, len(labels)))
    n_seeds = max((len(c.values) for metrics in curves.values() for c in metrics.values()), default=1)
    crossed = False
    unscored = {name: [] for name in externals}
    for ax, (metric, label) in zip(panels, labels.items(), strict=True):
        floor = floors.get(metric)
        shown = {family: metrics[metric] for family, metrics in curves.items() if metric in metrics}
        courses = {family: course(curve.values) for family, curve in shown.items()}
        levels = {name: scores.get(metric) for name, scores in externals.items()}
        scored = {name: value for name, value in levels.items() if value is not None and np.isfinite(value)}
        low, high = scales.log_limits([*courses.values(), [*scored.values()]], floor)
        steady = [scales.steady(curve) for curve in shown.values()]
        high = min(high, _MOST_FACTOR * scales.log_limits([*steady, [*scored.values()]], floor)[1])
        if floor is not None:
            figures.floor_band(ax, floor, low)
        for name in externals:
            if name in scored:
                figures.external_line(ax, scored[name], colours[name], low)
            else:
                unscored[name].append(label.split(" (")[0])
        for family, curve in shown.items():
            # What is infinite leaves through the top; what is zero runs along the bottom.
            three = [np.clip(values, low, high * 100) for values in courses[family]]
            line = figures.line_of(colours[family], len(curve.steps), len(shown))
            figures.band(ax, curve.steps, three, colours[family], family, lw=2.2, zorder=3, **line)
            last = last_finite(curve)
            if len(last):
                crossed = True
                at_most = np.minimum(last[:, 1], high)
                ax.plot(last[:, 0], at_most, "X", color=colours[family], ms=9, mec="white", zorder=5, clip_on=False)
        ax.set_yscale("log")
        ax.set_ylim(low, high)
        scales.log_ticks(ax.yaxis)
        ax.set_ylabel(label)
        scales.step_axis(ax, shown.values())
    entries = {}
    for family, metrics in curves.items():
        label = figures.remarked(family + figures.diverged_note(metrics.values()), remarks.get(family))
        entries[label] = figures.entry_of(colours[family])
    if crossed:
        entries["a seed diverges"] = Line2D([], [], color="#606060", marker="X", ms=9, ls="none")
    for name, lacks in unscored.items():
        note = f", no {lacks[0] if len(lacks) == 1 else 'score'}" if lacks else ""
        label = figures.remarked(f"{name} (external{note})", remarks.get(name))
        entries[label] = figures.external_entry(colours[name])
    if floors:
        entries |= figures.floor_entry()
    heading = f"line: median over {n_seeds} seeds · shaded: their range" if n_seeds > 1 else "one seed"
    if crossed and n_seeds > 1:
        heading = f"line: median over {n_seeds} seeds, diverged ones as +∞ · shaded: the range of the others"
    figures.figure_legend(fig, entries, heading)
    figures.save(fig, path)


@figures.styled
def comparison_hist(
    path: str | Path,
    target: Any,
    samples: Mapping[str, np.ndarray],
    scores: Mapping[str, str],
    colours: Mapping[str, str],
    title: str,
    *,
    floors_text: str = "",
    heights: Mapping[str, np.ndarray] | None = None,
    remarks: Mapping[str, str] | None = None,
) -> None:
    """Draws the target and every family's samples side by side on one scale.

    Args:
      target: what its kind's `scene` makes; drawn first, and with every family.
      samples: per family [n, D] in units of x; all NaN of a model that has diverged.
      scores: per panel one ready line for its head.
      floors_text: the same line for the target's panel: what samples of the target itself score.
      heights: of whatever is known as probabilities instead of samples the mass of every cell, [K] in the order of
        the target's masses; overflow behind them is not drawn. Their panels come last.
      remarks: per panel what stands under the scores, such as "1 of 4 seeds diverged".
    """
    frames = [("", samples, scores)]
    (image,) = _comparison_images(frames, target, colours, title, floors_text, heights, remarks)
    figures.save_image(image, path)


@figures.styled
def timeline(
    folder: str | Path,
    gif_name: str,
    frames: Sequence[tuple[str, str, Mapping[str, np.ndarray], Mapping[str, str]]],
    target: Any,
    colours: Mapping[str, str],
    title: str,
    *,
    floors_text: str = "",
) -> None:
    """Draws the comparison at every snapshot: a PNG each, all of one size and scale, and then one animated GIF.

    Args:
      folder: where the pictures go.
      gif_name: the file name of the animation.
      frames: file name, label ("5 % · step 1 000"), samples and scores (see `comparison_hist`) of every snapshot.
      target: see `comparison_hist`.
      floors_text: see `comparison_hist`.
    """
    if not frames:
        return
    images = []
    drawn = _comparison_images([frame[1:] for frame in frames], target, colours, title, floors_text)
    for (name, *_), image in zip(frames, drawn, strict=True):
        figures.save_image(image, Path(folder) / name)
        images.append(image)
    animation.save_gif(images, [colours[family] for family in frames[0][2]], Path(folder) / gif_name)


@figures.styled
def loss_curves(
    path: str | Path,
    curves: Mapping[str, Mapping[str, Curve]],
    colours: Mapping[str, str],
    references: Mapping[str, tuple[float, str]],
    title: str,
    *,
    units: Mapping[str, Mapping[str, str]] | None = None,
    of_the_last: Mapping[str, Collection[str]] | None = None,
) -> None:
    """Draws what each family minimises and reports, a panel a family: the losses differ in kind.

    Args:
      curves: per family its fields; `loss` is drawn thickest. None of a family that is not trained.
      references: per family a value and its label, drawn as a dotted line.
      units: per family and field that is not in nats, what the legend says of it.
      of_the_last: per family the fields that are those of an interval's last step, where others are means.
    """
    fig, panels, _ = figures.grid(len(curves), 3.4, title, True)
    dashes = ["--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (8, 3)), (0, (1, 3))]
    notes = {family: figures.diverged_note(fields.values()).strip(" ()") for family, fields in curves.items()}
    blank = " " if any(notes.values()) else ""
    for ax, (family, fields) in zip(panels, curves.items(), strict=True):
        if not fields:
            figures.header(ax, family, blank, colours[family])
            figures.words_in(ax, "nothing to train", colours[family]).set(fontsize=14)
            ax.set(xticks=[], yticks=[])
            continue
        fields = {name: scales.without_start(curve) for name, curve in fields.items()}
        courses = {name: course(curve.values, diverged_is_infinite=False) for name, curve in fields.items()}
        reference = references.get(family, (None,))[0]
        low, high = _reach([*fields.values()], reference)
        far = 10 * (high - low)
        ordered = sorted(fields, key=lambda name: name != "loss")
        for i, name in enumerate(ordered):
            main = name == "loss" or len(ordered) == 1
            colour = colours[family] if main else tuple(0.3 + 0.7 * c for c in to_rgb(colours[family]))
            style = {"lw": 2.4, "ls": "-"} if main else {"lw": 1.6, "ls": dashes[(i - 1) % len(dashes)]}
            unit = (units or {}).get(family, {}).get(name)
            label = name.replace("_", " ") + (f" ({unit})" if unit else "")
            # What runs away leaves through the top or the bottom.
            three = [np.clip(values, low - far, high + far) for values in courses[name]]
            figures.band(ax, fields[name].steps, three, colour, label, zorder=3 if main else 2.5, **style)
        if family in references:
            value, label = references[family]
            ax.axhline(value, color=TARGET_COLOUR, lw=1.5, ls=(0, (1, 1.5)), label=label, zorder=4)
        values = [np.clip(v, low, high) for three in courses.values() for v in three]
        scales.robust_limits(ax, values, reference)
        figures.header(ax, family, notes[family] or blank, colours[family])
        scales.step_axis(ax, fields.values())
        figures.words_after(ax, [*fields.values()], colours[family])
        in_nats = any(name not in (units or {}).get(family, {}) for name in fields)
        is_last = set(fields) <= set((of_the_last or {}).get(family, ()))
        # A power of ten over the axis would stand where the name does.
        if 0 < max(map(abs, ax.get_ylim())) < 1e-3:
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}".replace("-", "−")))
        what = "end of the interval" if is_last else "mean over the interval"
        ax.set_ylabel(f"nats, {what}" if in_nats else what)
        figures.legend_below(ax, 4.2)
    figures.save(fig, path)


def _comparison_images(
    frames: Sequence[tuple[str, Mapping[str, Any], Mapping[str, str]]],
    target: Any,
    colours: Mapping[str, str],
    title: str,
    floors_text: str,
    exactly: Mapping[str, np.ndarray] | None = None,
    remarks: Mapping[str, str] | None = None,
) -> Iterator[Image.Image]:
    """Draws the figure once and then only moves its data: building one for every frame would take most of the time."""
    panels = pkgutil.resolve_name(target.panels)(target, [samples for _, samples, _ in frames], exactly or {})
    families = [*frames[0][1], *panels.known]
    lost = [{family for family, x in samples.items() if np.isnan(x).all()} for _, samples, _ in frames]
    notes = []
    for frame, gone in enumerate(lost):
        unseen = {name: "" if name in gone else panels.note(frame, name) for name in families}
        notes.append(
            {name: " · ".join(filter(None, ((remarks or {}).get(name), note))) for name, note in unseen.items()}
        )
    noted = any(any(frame.values()) for frame in notes)

    labelled = [f"{title} — {label}" if label else title for label, _, _ in frames]
    fig, axes, columns = figures.grid(1 + len(families), panels.side, max(labelled, key=len), panels.flat)
    fig.set_figheight(fig.get_figheight() - panels.spare(noted) * -(-len(axes) // columns))
    heads, words = {}, {}
    for i, (ax, family) in enumerate(zip(axes, [None, *families], strict=True)):
        colour = TARGET_COLOUR if family is None else colours[family]
        panels.draw(ax, family, colour)
        figures.outer_labels(ax, i, len(axes), columns, *panels.axis_words())
        # Where the families' scores stand stands the floor's.
        name = family or (f"target: {target.name}" if floors_text else "target")
        heads[family] = figures.header(ax, name, " \n " if noted else " ", colour)
        words[family] = figures.words_in(ax, "", colour)
    panels.legend(fig, axes[min(columns, len(axes)) - 1])

    # Solved once, with the longest title and room for every note: frames must not move against each other.
    figures.settle(fig)
    lines = [{None: floors_text or target.name} | {name: scores.get(name, "") for name in families}
             for _, _, scores in frames]  # fmt: skip
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

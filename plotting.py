"""The dashboards, from arrays alone: nothing here samples, trains, needs a display or knows a family by its name.

One look throughout: the target is near-black, its floor grey, a family keeps its colour in every picture; titles stand
on the left, legends below the data. Everywhere `path` is the PNG to write, `colours` maps a family to its colour, and
`title` heads the whole picture. What the pictures are built from is in `figures`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm, to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter
from PIL import Image

from core.drawing import animation, figures
from core.drawing.figures import DENSITY_MAP, DIVERGED, FLOOR_COLOUR, TARGET_COLOUR
from core.drawing.scenes import Curve, TargetPicture

# What is on its way to divergence may take an axis so much further than all else does: as a factor of a log axis, and
# in lengths of a linear one.
_MOST_FACTOR, _MOST_LENGTHS = 100.0, 2.0
_MOST_POINTS = 100  # an axis, that a density takes whose features are wide enough for several contours


def course(values: np.ndarray, diverged_is_infinite: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The median over seeds, and the lowest and highest of those that have not diverged.

    Args:
      values: [S, E], not finite where a seed has diverged.
      diverged_is_infinite: the median counts such a value as +∞, as it must for a score; False leaves it out, for
        quantities without a worst side (a loss, a probability).

    Returns:
      Three arrays [E]; NaN where nothing is left.
    """
    finite = np.where(np.isfinite(values), values, np.nan)
    empty = np.isnan(finite).all(axis=0)
    filled = np.where(empty, 0.0, finite)
    median, low, high = (np.where(empty, np.nan, f(filled, axis=0)) for f in (np.nanmedian, np.nanmin, np.nanmax))
    if diverged_is_infinite:
        median = np.median(np.where(np.isnan(finite), np.inf, finite), axis=0)
    return median, low, high


def _reach(curves: Sequence[Curve], reference: float | None) -> tuple[float, float]:
    """How far a linear axis may go for what is on its way to divergence: beyond all that is not."""
    shown = np.concatenate([*map(figures.steady, curves), [0.0 if reference is None else reference]])
    low, high = shown.min(), shown.max()
    length = max(high - low, 0.1 * abs(high), 1e-3)
    return low - _MOST_LENGTHS * length, high + _MOST_LENGTHS * length


def last_finite(curve: Curve) -> np.ndarray:
    """The last point (step, value) before every divergence: [n diverged, 2]. A seed that never had one has none."""
    lost = ~np.isfinite(curve.values)
    seeds = np.flatnonzero(lost.any(axis=1) & ~lost[:, 0])
    last = lost[seeds].argmax(axis=1) - 1
    return np.stack([np.asarray(curve.steps, np.float64)[last], curve.values[seeds, last]], axis=-1)


def cell_heights(samples: np.ndarray, target: TargetPicture) -> tuple[np.ndarray, float]:
    """A sample's histogram over the target's cells, [K] or [Kx, Ky].

    Args:
      samples: [n, D], possibly with rows that are not numbers; those lie in no cell.
      target: its cells; closed ones also take what lies outside.

    Returns:
      Probabilities per bin if the target is binned, else densities that integrate to the share inside the cells;
      and that share.
    """
    samples = np.asarray(samples, np.float64).reshape(len(samples), target.dim)
    inside = ~np.isnan(samples).any(axis=1)
    flat = np.zeros(len(samples), np.intp)
    for x, edges in zip(samples.T, target.edges, strict=True):
        n = len(edges) - 1
        index = np.searchsorted(edges, x, side="right") - 1
        if target.closed:
            index = np.clip(index, 0, n - 1)
        inside &= (index >= 0) & (index < n)
        flat = flat * n + index
    shape = [len(edges) - 1 for edges in target.edges]
    masses = np.bincount(flat[inside], minlength=np.prod(shape)).reshape(shape) / max(len(samples), 1)
    return _heights(masses, target), float(inside.mean()) if len(samples) else 0.0


@figures.styled
def metrics_comparison(
    path: str | Path,
    curves: Mapping[str, Mapping[str, Curve]],
    floors: Mapping[str, tuple[float, float, float]],
    colours: Mapping[str, str],
    title: str,
    *,
    wasserstein_label: str = "W₁ (units of x)",
    externals: Mapping[str, Mapping[str, float | None]] | None = None,
    remarks: Mapping[str, str] | None = None,
) -> None:
    """Draws KLD (left) and Wasserstein distance (right) against the training step, on log scales.

    Args:
      curves: per family, `kld` (nats) and `wasserstein` (units of x).
      floors: per metric the mean, low and high that samples of the target itself score.
      wasserstein_label: the right panel's axis label; in 2-D the distance is another one.
      externals: per set of samples from elsewhere what it scores in each metric; None where it has no score.
      remarks: what the legend says behind a name, such as "▼ loses to HISTOGRAM".
    """
    externals, remarks = externals or {}, remarks or {}
    fig = figures.new(12.5, 5.4 if len(curves) <= 5 else 6.6, title)
    panels = fig.subplots(1, 2)
    n_seeds = max((len(c.values) for metrics in curves.values() for c in metrics.values()), default=1)
    crossed = False
    unscored = {name: [] for name in externals}
    for ax, metric, label in zip(panels, ("kld", "wasserstein"), ("KLD (nats)", wasserstein_label), strict=True):
        floor = floors.get(metric)
        shown = {family: metrics[metric] for family, metrics in curves.items() if metric in metrics}
        courses = {family: course(curve.values) for family, curve in shown.items()}
        levels = {name: scores.get(metric) for name, scores in externals.items()}
        scored = {name: value for name, value in levels.items() if value is not None and np.isfinite(value)}
        low, high = figures.log_limits([*courses.values(), [*scored.values()]], floor)
        steady = [figures.steady(curve) for curve in shown.values()]
        high = min(high, _MOST_FACTOR * figures.log_limits([*steady, [*scored.values()]], floor)[1])
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
        figures.log_ticks(ax.yaxis)
        ax.set_ylabel(label)
        figures.step_axis(ax, shown.values())
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
    target: TargetPicture,
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
      target: drawn first, and in every family's panel as a line (1-D) or as contours (2-D).
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
    target: TargetPicture,
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
        fields = {name: figures.without_start(curve) for name, curve in fields.items()}
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
        figures.robust_limits(ax, values, reference)
        figures.header(ax, family, notes[family] or blank, colours[family])
        figures.step_axis(ax, fields.values())
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
    frames: Sequence[tuple[str, Mapping[str, np.ndarray], Mapping[str, str]]],
    target: TargetPicture,
    colours: Mapping[str, str],
    title: str,
    floors_text: str,
    exactly: Mapping[str, np.ndarray] | None = None,
    remarks: Mapping[str, str] | None = None,
) -> Iterator[Image.Image]:
    """Draws the figure once and then only moves its data: building one for every frame would take most of the time."""
    known = {name: _known_heights(masses, target) for name, masses in (exactly or {}).items()}
    families = [*frames[0][1], *known]
    cells = [{family: cell_heights(x, target) for family, x in samples.items()} | known for _, samples, _ in frames]
    exact, outline = _heights(target.masses, target), outline_of(target)
    # A plane shows no density but that of its cells.
    tallest = float(max(exact.max(), outline.max() if target.dim == 1 else 0.0))
    peak = max((heights.max() for frame in cells for heights, _ in frame.values()), default=0.0)
    # A collapsed model's spike must not flatten everyone else: cut it, and say so in the panel's head.
    top = max(tallest, min(peak, 1.6 * tallest)) * (1.06 if target.dim == 1 else 1.0)
    share = float(target.masses.sum())
    lost = [{family for family, x in samples.items() if np.isnan(x).all()} for _, samples, _ in frames]
    notes = []
    for frame, gone in zip(cells, lost, strict=True):
        unseen = {name: "" if name in gone else figures.unseen_note(*frame[name], top, share) for name in families}
        notes.append(
            {name: " · ".join(filter(None, ((remarks or {}).get(name), note))) for name, note in unseen.items()}
        )
    noted = any(any(frame.values()) for frame in notes)

    flat = target.dim == 1
    labelled = [f"{title} — {label}" if label else title for label, _, _ in frames]
    side = 2.9
    fig, panels, columns = figures.grid(1 + len(families), side, max(labelled, key=len), flat)
    across, along = np.ptp(target.box, axis=1) if not flat else (1.0, 1.0)
    if along < across <= 1.5 * along:
        # Panels keep the proportions of the plane: what lies lower needs less room.
        # A second line in the panels' heads does need some.
        spare = side * (1 - along / across) - (0.4 if noted else 0.0)
        fig.set_figheight(fig.get_figheight() - max(spare, 0.0) * -(-len(panels) // columns))
    what = "probability per bin" if target.binned else "probability density"
    movers, heads, words = {}, {}, {}
    for i, (ax, family) in enumerate(zip(panels, [None, *families], strict=True)):
        heights = exact if family is None else cells[0][family][0]
        if flat:
            colour = FLOOR_COLOUR if family is None else colours[family]
            movers[family] = ax.stairs(heights, target.edges[0], fill=True, color=colour, alpha=0.6, lw=0, zorder=2)
            line_or_steps(ax, target.axes[0], outline, target, color=TARGET_COLOUR, lw=1.8, zorder=3)
            ax.set(xlim=(target.edges[0][0], target.edges[0][-1]), ylim=(0, top))
            figures.round_ticks(ax.xaxis)
        else:
            # By its root: what is spread widely is faint beside a target's peaks, and has as much mass.
            norm = PowerNorm(0.5, 0, top, clip=True)
            movers[family] = ax.pcolormesh(*target.edges, heights.T, cmap=DENSITY_MAP, norm=norm)
            draw_contours(ax, target, "white")
            figures.plane(ax, target.box)
        figures.outer_labels(ax, i, len(panels), columns, "x" if flat else "x₁", what if flat else "x₂")
        # Where the families' scores stand stands the floor's.
        name = family or (f"target: {target.name}" if floors_text else "target")
        colour = TARGET_COLOUR if family is None else colours[family]
        heads[family] = figures.header(ax, name, " \n " if noted else " ", colour)
        words[family] = figures.words_in(ax, "", colour)
    shown = "samples" + (f", but exact probabilities of {' and '.join(known)}" if known else "")
    shown = shown if frames[0][1] else "exact probabilities"
    if flat:
        per_cell = "share of the held-out rows" if target.empirical else "exact probability of every cell"
        drawn = "exact density" if target.density is not None else per_cell
        entries = {f"target: {drawn}": Line2D([], [], color=TARGET_COLOUR, lw=1.8)}
        entries[f"filled: {shown}"] = Patch(fc="#B0B0B0")
        figures.figure_legend(fig, entries)
    else:
        last = panels[min(columns, len(panels)) - 1]
        bar = figures.colour_bar(last, movers[None], f"{what}, by its square root", "max" if peak > top else "neither")
        ticks = _ticks_by_root(top)
        bar.set_ticks(ticks, labels=[f"{value:g}" for value in ticks])
        contour = target_contour(target, "#707070")
        figures.figure_legend(fig, {contour.get_label(): contour}, f"colours: {shown}" if known else None)

    # Solved once, with the longest title and room for every note: frames must not move against each other.
    figures.settle(fig)
    lines = [{None: floors_text or target.name} | {name: scores.get(name, "") for name in families}
             for _, _, scores in frames]  # fmt: skip
    if noted:
        lines = [{name: f"{line}\n{note.get(name) or ' '}" for name, line in frame.items()}
                 for frame, note in zip(lines, notes, strict=True)]  # fmt: skip
    figures.fit_heads([(head, {frame[name] for frame in lines}) for name, head in heads.items()])
    figures.fit_heads([(ax._left_title, [ax._left_title.get_text()]) for ax in panels])
    for i, frame in enumerate(lines):
        figures.set_title(fig, labelled[i])
        for name, line in frame.items():
            heads[name].set_text(line)
        for family in families:
            heights, _ = cells[i][family]
            movers[family].set_data(heights) if flat else movers[family].set_array(heights.T)
            words[family].set_text(DIVERGED if family in lost[i] else "")
        yield figures.render(fig)


def _ticks_by_root(top: float) -> list[float]:
    """0 and round numbers up to top that lie apart by their square roots."""
    decade = 10.0 ** np.floor(np.log10(top))
    round_numbers = [0.0, *(step * scale for scale in (decade / 100, decade / 10, decade) for step in (1, 2, 5))]
    kept = [0.0]
    for value in round_numbers[1:]:
        # Beside a low panel the bar is short, and nearer ticks would touch.
        if 0.015 * top < value <= top and np.sqrt(value / top) - np.sqrt(kept[-1] / top) >= 0.08:
            kept.append(value)
    return kept


def _known_heights(masses: np.ndarray, target: TargetPicture) -> tuple[np.ndarray, float]:
    """As `cell_heights`, of probabilities."""
    masses = np.asarray(masses, np.float64).ravel()[: target.masses.size].reshape(target.masses.shape)
    return _heights(masses, target), float(masses.sum())


def line_or_steps(ax: Axes, x: np.ndarray, y: np.ndarray, target: TargetPicture, **style: Any) -> None:
    """Draws a function of x, or of the cells where that is what is known."""
    y = np.where(np.isfinite(y), y, np.nan)
    if target.density is None and len(y) == len(target.edges[0]) - 1:
        ax.stairs(y, target.edges[0], baseline=None, **style)
    else:
        ax.plot(x, y, **style)


def draw_contours(ax: Axes, target: TargetPicture, colour: str) -> None:
    """Draws a 2-D target as lines around shares of its mass."""
    axes, density = target.density_axes or target.axes, target.density
    if density is None:
        # Cells of a finite table are too ragged for lines.
        axes = [(edges[1:] + edges[:-1]) / 2 for edges in target.edges]
        density = figures.smoothed(_heights(target.masses, target))
    figures.contours(ax, axes, density, colour, _shares(target))


def target_contour(target: TargetPicture, colour: str) -> Line2D:
    """What a legend says of `draw_contours`."""
    inside = np.ravel(target.density)[np.ravel(target.density) > 0] if target.density is not None else np.arange(2)
    if len(inside) and np.ptp(inside) <= 1e-9 * inside.max():
        return Line2D([], [], color=colour, lw=1.5, label="contour: edge of the target")
    what = "target" if target.density is not None else "target, smoothed"
    return figures.contour_handle(what, colour, _shares(target))


def _shares(target: TargetPicture) -> tuple[float, ...]:
    """Of the mass inside each contour: of narrow features, where lines would lie upon each other, the outermost."""
    narrow = max(map(len, target.density_axes or [[]])) > _MOST_POINTS
    return figures.CONTOUR_SHARES[:1] if narrow else figures.CONTOUR_SHARES


def outline_of(target: TargetPicture) -> np.ndarray:
    """The heights of a 1-D target's line: its density, or what its cells hold."""
    return _heights(target.masses, target) if target.density is None else target.density


def _heights(masses: np.ndarray, target: TargetPicture) -> np.ndarray:
    if target.binned:
        return masses
    sides = np.meshgrid(*(np.diff(edges) for edges in target.edges), indexing="ij")
    return masses / np.prod(sides, axis=0)

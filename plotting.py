"""Every picture, from arrays alone: nothing here samples, trains, needs a display or knows a family by its name.

One look throughout: the target is near-black, its floor grey, a family keeps its colour in every picture; titles stand
on the left, legends below the data. Pictures are drawn on an Agg canvas without pyplot, which would bring a display
backend and global state, and are written whole or not at all. Everywhere `path` is the PNG to write, `colours` maps a
family to its colour, and `title` heads the whole picture.
"""

import contextlib
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import ScaledTranslation
from PIL import Image

# Okabe and Ito's palette without black (the target) and yellow (unreadable on white), then three of Paul Tol's and a
# brown, for ten in all.
PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00",
    "#56B4E9", "#332288", "#882255", "#999933", "#6B4A2B",
)  # fmt: skip
TARGET_COLOUR = "#1A1A1A"
FLOOR_COLOUR = "#8C8C8C"
DENSITY_MAP = "viridis"
DPI = 120
FRAME_MS, LAST_FRAME_MS = 200, 2500
CONTOUR_SHARES = (0.9, 0.5, 0.1)  # of the target's mass, enclosed by its contours
ENERGY_SPAN = 12.0  # nats above the target's lowest energy that a landscape shows

STYLE = {
    # Names and titles come from users: a `$` in them is a dollar.
    "text.parse_math": False,
    "text.usetex": False,
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.labelsize": 12,
    "figure.titlesize": 15,
    "legend.fontsize": 11.5,
    "legend.title_fontsize": 11,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "axes.edgecolor": "#606060",
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
}
_styled = matplotlib.rc_context(STYLE)


class TargetPicture(NamedTuple):
    """What pictures show of a target."""

    name: str
    box: np.ndarray  # [D, 2]
    edges: list[np.ndarray]  # per axis, the cell boundaries that samples are histogrammed over
    masses: np.ndarray  # the exact mass of every cell, [K] or [Kx, Ky], without overflow
    closed: bool  # samples outside go into the end cells (bins)
    axes: list[np.ndarray]  # per axis, the points at which the density is known
    density: np.ndarray | None  # exact density there, [G] or [Gx, Gy]; None: the masses are drawn
    binned: bool  # heights are probabilities per bin, not densities

    @property
    def dim(self) -> int:
        """Coordinates of a sample."""
        return len(self.edges)


class Curve(NamedTuple):
    """One quantity's course over training, all seeds."""

    steps: np.ndarray  # [E]
    values: np.ndarray  # [S, E], NaN where a seed has diverged


def family_colours(names: Sequence[str]) -> dict[str, str]:
    """One colour a family by its position among all registered `names`, so that selecting fewer changes none."""
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}


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


def _heights(masses: np.ndarray, target: TargetPicture) -> np.ndarray:
    if target.binned:
        return masses
    sides = np.meshgrid(*(np.diff(edges) for edges in target.edges), indexing="ij")
    return masses / np.prod(sides, axis=0)


def _enclosing_levels(density: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """The densities above which lie the given shares of the mass; rising, without repeats."""
    falling = np.sort(density.ravel())[::-1]
    enclosed = np.cumsum(falling) / falling.sum()
    levels = falling[np.minimum(np.searchsorted(enclosed, shares), len(falling) - 1)]
    return np.unique(levels[levels > 0])


@_styled
def metrics_comparison(
    path: str | Path,
    curves: Mapping[str, Mapping[str, Curve]],
    floors: Mapping[str, tuple[float, float, float]],
    colours: Mapping[str, str],
    title: str,
    *,
    wasserstein_label: str = "W₁ (units of x)",
) -> None:
    """Draws KLD (left) and Wasserstein distance (right) against the training step, on log scales.

    Args:
      curves: per family, `kld` (nats) and `wasserstein` (units of x).
      floors: per metric the mean, low and high that samples of the target itself score.
      wasserstein_label: the right panel's axis label; in 2-D the distance is another one.
    """
    fig = _figure(12.5, 5.4, title)
    panels = fig.subplots(1, 2)
    n_seeds = max((len(c.values) for metrics in curves.values() for c in metrics.values()), default=1)
    crossed = False
    for ax, metric, label in zip(panels, ("kld", "wasserstein"), ("KLD (nats)", wasserstein_label), strict=True):
        floor = floors.get(metric)
        shown = {family: metrics[metric] for family, metrics in curves.items() if metric in metrics}
        courses = {family: course(curve.values) for family, curve in shown.items()}
        low, high = _log_limits([*courses.values()], floor)
        if floor is not None:
            mean, floor_low, floor_high = floor
            ax.axhspan(max(floor_low, low), floor_high, color=FLOOR_COLOUR, alpha=0.28, lw=0, zorder=1)
            ax.axhline(mean, color=FLOOR_COLOUR, lw=1.5, zorder=1.5)
        for family, curve in shown.items():
            # What is infinite leaves through the top; what is zero runs along the bottom.
            three = [np.clip(values, low, high * 100) for values in courses[family]]
            _band(ax, curve.steps, three, colours[family], family, lw=2.2, zorder=3)
            last = last_finite(curve)
            if len(last):
                crossed = True
                ax.plot(*last.T, "X", color=colours[family], ms=9, mec="white", zorder=5)
        ax.set_yscale("log")
        ax.set_ylim(low, high)
        _log_ticks(ax)
        ax.set_ylabel(label)
        _step_axis(ax)
    entries = {
        family + _diverged_note(metrics.values()): Line2D([], [], color=colours[family], lw=2.6)
        for family, metrics in curves.items()
    }
    if crossed:
        entries["a seed diverges"] = Line2D([], [], color="#606060", marker="X", ms=9, ls="none")
    if floors:
        floor_line = Line2D([], [], color=FLOOR_COLOUR, lw=1.5)
        entries["floor: samples of the target itself"] = (Patch(fc=FLOOR_COLOUR, alpha=0.35), floor_line)
    heading = f"line: median over {n_seeds} seeds · shaded: their range" if n_seeds > 1 else "one seed"
    if crossed and n_seeds > 1:
        heading = f"line: median over {n_seeds} seeds, diverged ones as +∞ · shaded: the range of the others"
    _figure_legend(fig, entries, heading)
    _save(fig, path)


@_styled
def comparison_hist(
    path: str | Path,
    target: TargetPicture,
    samples: Mapping[str, np.ndarray],
    scores: Mapping[str, str],
    colours: Mapping[str, str],
    title: str,
) -> None:
    """Draws the target and every family's samples side by side on one scale.

    Args:
      target: drawn first, and in every family's panel as a line (1-D) or as contours (2-D).
      samples: per family [n, D] in units of x.
      scores: per family one ready line for the head of its panel.
    """
    (image,) = _comparison_images([("", samples, scores)], target, colours, title)
    _save_image(image, path)


@_styled
def timeline(
    folder: str | Path,
    gif_name: str,
    frames: Sequence[tuple[str, str, Mapping[str, np.ndarray], Mapping[str, str]]],
    target: TargetPicture,
    colours: Mapping[str, str],
    title: str,
) -> None:
    """Draws the comparison at every snapshot: a PNG each, all of one size and scale, and then one animated GIF.

    Args:
      folder: where the pictures go.
      gif_name: the file name of the animation.
      frames: file name, label ("5 % · step 1 000"), samples and scores (see `comparison_hist`) of every snapshot.
      target: see `comparison_hist`.
    """
    if not frames:
        return
    images = []
    drawn = _comparison_images([frame[1:] for frame in frames], target, colours, title)
    for (name, *_), image in zip(frames, drawn, strict=True):
        _save_image(image, Path(folder) / name)
        images.append(image)
    palette = _shared_palette(images, [colours[family] for family in frames[0][2]])
    indexed = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    durations = [FRAME_MS] * (len(indexed) - 1) + [LAST_FRAME_MS]
    with _whole(Path(folder) / gif_name) as temporary:
        indexed[0].save(
            temporary, "GIF", save_all=True, append_images=indexed[1:], duration=durations, loop=0, optimize=False
        )


@_styled
def latent_sweep(
    path: str | Path, z: np.ndarray, mean: np.ndarray, coordinate_names: Sequence[str], title: str
) -> None:
    """Draws E[x|z] over two latent coordinates, a panel for every coordinate of x.

    Args:
      z: [G], the values of both z₁ and z₂.
      mean: [G (z₂), G (z₁), D] in units of x.
      coordinate_names: D labels of the coordinates of x.
    """
    n = len(coordinate_names)
    fig = _figure(max(6.6, 5.9 * n), 5.9, title)
    for i, (ax, name) in enumerate(zip(np.ravel(fig.subplots(1, n)), coordinate_names, strict=True)):
        values = np.asarray(mean)[..., i]
        mesh = ax.pcolormesh(z, z, values, cmap=DENSITY_MAP, shading="gouraud")
        _colour_bar(ax, mesh, f"E[{name}|z]")
        if np.ptp(values) > 0:
            ax.contour(z, z, values, levels=MaxNLocator(9).tick_values(values.min(), values.max()), colors="white",
                       linewidths=0.7, alpha=0.65, linestyles="solid")  # fmt: skip
        for radius in (1, 2):
            ax.add_patch(Circle((0, 0), radius, fill=False, ec="white", lw=1.8, ls="--"))
            ax.annotate(f"{radius}σ", (0, radius), xytext=(0, 2), textcoords="offset points", ha="center", va="bottom",
                        color="white", fontsize=12, fontweight="bold")  # fmt: skip
        ax.set(xlabel="z₁", ylabel="z₂", aspect="equal", xlim=(z[0], z[-1]), ylim=(z[0], z[-1]))
        ax.grid(False)
    grey = {"color": "#808080"}
    entries = {"1 and 2 σ of the prior": Line2D([], [], ls="--", lw=1.8, **grey)}
    entries["equal E[x|z]"] = Line2D([], [], lw=0.9, **grey)
    _figure_legend(fig, entries)
    _save(fig, path)


@_styled
def loss_curves(
    path: str | Path,
    curves: Mapping[str, Mapping[str, Curve]],
    colours: Mapping[str, str],
    references: Mapping[str, tuple[float, str]],
    title: str,
) -> None:
    """Draws what each family minimises and reports, a panel a family: the losses differ in kind.

    Args:
      curves: per family its fields; `loss` is drawn thickest.
      references: per family a value and its label, drawn as a dotted line.
    """
    fig, panels, _ = _grid(len(curves), 3.4, title, True)
    dashes = ["--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (8, 3)), (0, (1, 3))]
    notes = {family: _diverged_note(fields.values()).strip(" ()") for family, fields in curves.items()}
    blank = " " if any(notes.values()) else ""
    for ax, (family, fields) in zip(panels, curves.items(), strict=True):
        fields = {name: _without_start(curve) for name, curve in fields.items()}
        courses = {name: course(curve.values, diverged_is_infinite=False) for name, curve in fields.items()}
        ordered = sorted(fields, key=lambda name: name != "loss")
        for i, name in enumerate(ordered):
            main = name == "loss" or len(ordered) == 1
            colour = colours[family] if main else tuple(0.3 + 0.7 * c for c in to_rgb(colours[family]))
            style = {"lw": 2.4, "ls": "-"} if main else {"lw": 1.6, "ls": dashes[(i - 1) % len(dashes)]}
            _band(ax, fields[name].steps, courses[name], colour, name.replace("_", " "), zorder=3 if main else 2.5,
                  **style)  # fmt: skip
        if family in references:
            value, label = references[family]
            ax.axhline(value, color=TARGET_COLOUR, lw=1.5, ls=(0, (1, 1.5)), label=label, zorder=4)
        values = [v for three in courses.values() for v in three]
        _robust_limits(ax, values, references.get(family, (None,))[0])
        _header(ax, family, notes[family] or blank, colours[family])
        _step_axis(ax)
        ax.set_ylabel("mean over the interval")
        _legend_below(ax, 4.2)
    _save(fig, path)


@_styled
def discriminator(
    path: str | Path,
    curves: Mapping[str, Curve],
    equilibrium: float,
    axes: list[np.ndarray],
    d_map: np.ndarray,
    target: TargetPicture,
    colour: str,
    title: str,
) -> None:
    """Draws what a discriminator says: its means over training (left) and D(x) over data space at the end (right).

    Args:
      curves: `d_real` and `d_fake`, the mean D on target rows and on generated ones.
      equilibrium: what D says everywhere once the generator equals the target.
      axes: per coordinate the points of d_map.
      d_map: [G] or [Gx, Gy], D(x).
      target: drawn in pale under D(x), or as contours over it.
    """
    fig = _figure(12.5, 5.4, title)
    left, right = fig.subplots(1, 2)
    line = {"color": "#606060", "ls": "--", "lw": 1.6, "zorder": 4}
    level = f"equilibrium s/2 = {equilibrium:.3g}"
    for name, shade, label in (("d_real", TARGET_COLOUR, "mean D on real"), ("d_fake", colour, "mean D on fake")):
        curve = _without_start(curves[name])
        label += _diverged_note([curve])
        _band(left, curve.steps, course(curve.values, diverged_is_infinite=False), shade, label, lw=2.2)
    left.axhline(equilibrium, label=level, **line)
    left.set_ylabel("D, a probability")
    _step_axis(left)
    _probability_limits(left, [curve.values for curve in curves.values()], equilibrium)
    _legend_below(left, 6)
    if target.dim == 1:
        _probability_limits(right, [d_map], equilibrium)
        bottom, top = right.get_ylim()
        heights = _heights(target.masses, target) if target.density is None else target.density
        scaled = bottom + heights / heights.max() * (top - bottom) * 0.4
        backdrop = {"color": "#DDDDDD", "lw": 0, "label": "target (not to scale)", "zorder": 1}
        if target.density is None:
            right.stairs(scaled, target.edges[0], baseline=bottom, fill=True, **backdrop)
        else:
            right.fill_between(target.axes[0], bottom, scaled, **backdrop)
        _line_or_steps(right, axes[0], d_map, target, color=colour, lw=2.2, label="D(x) at the end", zorder=3)
        right.axhline(equilibrium, label=level, **line)
        right.set(ylabel="D(x)", xlabel="x", xlim=target.box[0], ylim=(bottom, top))
        _round_ticks(right.xaxis)
        _legend_below(right, 6)
    else:
        reach = max(float(np.nanmax(np.abs(np.nan_to_num(d_map, nan=equilibrium) - equilibrium))), 0.05)
        norm = Normalize(equilibrium - reach, equilibrium + reach)
        mesh = right.pcolormesh(*axes, d_map.T, cmap="RdBu_r", norm=norm, shading="gouraud")
        bar = _colour_bar(right, mesh, "D(x) at the end · white: equilibrium")
        # Colours are symmetric about the equilibrium, but no probability lies outside [0, 1].
        bar.ax.set_ylim(max(norm.vmin, min(0.0, np.nanmin(d_map))), min(norm.vmax, max(1.0, np.nanmax(d_map))))
        _contours(right, target, TARGET_COLOUR)
        _plane(right, target)
        _legend_below(right, 6, [_contour_handle(target, TARGET_COLOUR)])
    _save(fig, path)


@_styled
def energy_landscape(
    path: str | Path,
    axes: list[np.ndarray],
    energy: np.ndarray,
    target_energy: np.ndarray | None,
    target: TargetPicture,
    colour: str,
    title: str,
) -> None:
    """Draws a model's energy −ln q against the target's −ln p, both normalised, in nats.

    Args:
      axes: per coordinate the points of the energies.
      energy: [G] or [Gx, Gy], −ln q.
      target_energy: the same of the target; it may hold +∞, or be None.
      target: gives the box and the bins.
    """
    energy = np.asarray(energy, np.float64)
    both = [energy] if target_energy is None else [energy, np.asarray(target_energy, np.float64)]
    low, high, cut = _energy_limits(both)
    whose = "the target's lowest" if target_energy is not None else "the lowest"
    note = f"cut {ENERGY_SPAN:g} nats above {whose}" if cut else ""
    unit = "nats per bin" if target.binned else "nats"
    if target.dim == 1:
        fig = _figure(9, 5.6, title)
        ax = fig.subplots()
        _line_or_steps(ax, axes[0], energy, target, color=colour, lw=2.4, label="model: −ln q(x)", zorder=3)
        if target_energy is not None:
            _line_or_steps(ax, axes[0], both[1], target, color=TARGET_COLOUR, lw=1.7, ls="--",
                           label="target: −ln p(x)", zorder=4)  # fmt: skip
        ax.set(xlabel="x", ylabel=f"energy ({unit})", xlim=target.box[0], ylim=(low, high))
        _round_ticks(ax.xaxis)
        _header(ax, "", note, colour)
        _figure_legend(fig, {line.get_label(): line for line in ax.get_legend_handles_labels()[0]})
    else:
        fig, panels, _ = _grid(len(both), 4.4, title, False)
        names = [("model: −ln q(x)", colour), ("target: −ln p(x)", TARGET_COLOUR)]
        for ax, values, (name, shade) in zip(panels, both, names, strict=False):
            clipped = np.clip(np.nan_to_num(values, nan=high, posinf=high), low, high)
            mesh = ax.pcolormesh(*axes, clipped.T, cmap=DENSITY_MAP + "_r", vmin=low, vmax=high, shading="gouraud")
            levels = np.arange(np.ceil(low), high, 1.0 if high - low < 8 else 2.0)
            ax.contour(*axes, clipped.T, levels=levels, colors=TARGET_COLOUR, linewidths=0.7, alpha=0.7)
            _plane(ax, target)
            _header(ax, name, note, shade)
        _colour_bar(panels[-1], mesh, f"energy ({unit})", "max" if cut else "neither")
    _save(fig, path)


def _comparison_images(
    frames: Sequence[tuple[str, Mapping[str, np.ndarray], Mapping[str, str]]],
    target: TargetPicture,
    colours: Mapping[str, str],
    title: str,
) -> Iterator[Image.Image]:
    """Draws the figure once and then only moves its data: building one for every frame would take most of the time."""
    families = list(frames[0][1])
    cells = [{family: cell_heights(samples[family], target) for family in families} for _, samples, _ in frames]
    exact = _heights(target.masses, target)
    tallest = max(float(exact.max()), 0.0 if target.density is None else float(np.max(target.density)))
    peak = max((heights.max() for frame in cells for heights, _ in frame.values()), default=0.0)
    # A collapsed model's spike must not flatten everyone else: cut it, and say so in the panel's head.
    top = max(tallest, min(peak, 1.6 * tallest)) * (1.06 if target.dim == 1 else 1.0)
    share = float(target.masses.sum())
    notes = [{family: _note(*frame[family], top, share) for family in families} for frame in cells]
    noted = any(any(frame.values()) for frame in notes)

    flat = target.dim == 1
    labelled = [f"{title} — {label}" if label else title for label, _, _ in frames]
    fig, panels, columns = _grid(1 + len(families), 2.9, max(labelled, key=len), flat)
    what = "probability per bin" if target.binned else "probability density"
    _header(panels[0], "target", target.name + ("\n " if noted else ""), TARGET_COLOUR)
    movers, heads = {}, {}
    for i, (ax, family) in enumerate(zip(panels, [None, *families], strict=True)):
        heights = exact if family is None else cells[0][family][0]
        if flat:
            movers[family] = _draw_heights(ax, heights, target, FLOOR_COLOUR if family is None else colours[family])
            ax.set(xlim=(target.edges[0][0], target.edges[0][-1]), ylim=(0, top))
            _round_ticks(ax.xaxis)
        else:
            movers[family] = ax.pcolormesh(*target.edges, heights.T, cmap=DENSITY_MAP, vmin=0, vmax=top)
            _contours(ax, target, "white")
            _plane(ax, target)
        _outer_labels(ax, i, len(panels), columns, "x" if flat else "x₁", what if flat else "x₂")
        if family is not None:
            heads[family] = _header(ax, family, " \n " if noted else " ", colours[family])
    if flat:
        outline = "exact density" if target.density is not None else "exact probability of every cell"
        entries = {f"target: {outline}": Line2D([], [], color=TARGET_COLOUR, lw=1.8)}
        entries["filled: samples"] = Patch(fc="#B0B0B0")
        _figure_legend(fig, entries)
    else:
        _colour_bar(panels[min(columns, len(panels)) - 1], movers[None], what, "max" if peak > top else "neither")
        contour = _contour_handle(target, "#707070")
        _figure_legend(fig, {contour.get_label(): contour})

    # Solved once, with the longest title and room for every note: frames must not move against each other.
    _settle(fig)
    for i, (_, _, scores) in enumerate(frames):
        fig._suptitle.set_text(_wrapped(labelled[i], fig.get_figwidth(), fig._suptitle.get_fontsize()))
        for family in families:
            heights, _ = cells[i][family]
            movers[family].set_data(heights) if flat else movers[family].set_array(heights.T)
            heads[family].set_text(scores.get(family, "") + ("\n" + (notes[i][family] or " ") if noted else ""))
        yield _render(fig)


def _shared_palette(images: Sequence[Image.Image], shades: Sequence[str]) -> Image.Image:
    """One palette for all frames, or the same colour would flicker from frame to frame.

    What carries meaning (paper, ink, the families, the density map) keeps its exact colour; the rest is adapted.
    """
    fixed = [to_rgb(str(grey)) for grey in np.linspace(0, 1, 18)]
    for shade in shades:
        fixed += [tuple(1 - share * (1 - c) for c in to_rgb(shade)) for share in (1, 0.6, 0.3)]
    fixed += [tuple(colour[:3]) for colour in matplotlib.colormaps[DENSITY_MAP](np.linspace(0, 1, 64))]
    fixed = np.round(255 * np.array([to_rgb(TARGET_COLOUR), *fixed])).astype(int)
    chosen = [images[i] for i in sorted({0, len(images) // 2, len(images) - 1})]
    sheet = Image.fromarray(np.concatenate([np.asarray(image)[::2, ::2] for image in chosen]))
    adapted = sheet.quantize(256 - len(fixed), method=Image.Quantize.MEDIANCUT).getpalette()
    adapted = np.reshape(adapted, (-1, 3))
    # Pillow looks colours up in steps of four, so that an adapted near-white would win over white itself.
    apart = np.abs(adapted[:, None] - fixed[None]).max(axis=-1).min(axis=1) > 8
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate([fixed, adapted[apart]])[:256].ravel().tolist())
    return palette


def _draw_heights(ax: Axes, heights: np.ndarray, target: TargetPicture, colour: str) -> Any:
    filled = ax.stairs(heights, target.edges[0], fill=True, color=colour, alpha=0.6, lw=0, zorder=2)
    style = {"color": TARGET_COLOUR, "lw": 1.8, "zorder": 3}
    if target.density is None:
        ax.stairs(_heights(target.masses, target), target.edges[0], baseline=None, **style)
    else:
        ax.plot(target.axes[0], target.density, **style)
    return filled


def _note(heights: np.ndarray, inside: float, top: float, expected: float) -> str:
    """What a panel cannot show of a sample, where that is more than what it cannot show of the target."""
    if inside == 0 and heights.max() == 0:
        return "no sample inside the box"
    parts = [f"{100 * (1 - inside):.2g} % outside the box"] if inside < expected - 0.01 else []
    if heights.max() > top:
        parts.append(f"peak {heights.max():.2g} cut")
    return " · ".join(parts)


def _energy_limits(energies: Sequence[np.ndarray]) -> tuple[float, float, bool]:
    """Low and high to show, and whether something lies above; the last energy is the target's, where it is given."""
    finite = [values[np.isfinite(values)] for values in energies]
    if not any(len(values) for values in finite):
        return 0.0, ENERGY_SPAN, True
    low = min(values.min() for values in finite if len(values))
    base = finite[-1].min() if len(finite[-1]) else low
    highest = max(np.max(values, initial=-np.inf, where=~np.isnan(values)) for values in energies)
    high = min(base + ENERGY_SPAN, max(values.max() for values in finite if len(values)))
    margin = 0.04 * max(high - low, 1e-3)
    return low - margin, high + margin, bool(highest > high + margin)


def _figure(width: float, height: float, title: str) -> Figure:
    fig = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(fig)
    # On the left, so that a frame's changing label does not shift the words before it.
    text = fig.suptitle("", x=0.012, ha="left", fontweight="bold")
    text.set_text(_wrapped(title, width, text.get_fontsize()))
    return fig


def _grid(n: int, side: float, title: str, flat: bool) -> tuple[Figure, list[Axes], int]:
    """A figure of n panels, in one row up to four and then in a grid, and the number of its columns.

    Panels are about `side` inches high; `flat` ones are wider, others are square with room for a colour bar.
    """
    columns = n if n <= 4 else 3 if n <= 6 else 4
    rows = -(-n // columns)
    width = side * (max(1.12, 1.5 - 0.1 * columns) if flat else 1.05)
    fig = _figure(
        max(columns * width + (0.8 if flat else 1.9), 8.0), rows * (side + (0.75 if flat else 0.95)) + 1.1, title
    )
    panels = list(np.ravel(fig.subplots(rows, columns, squeeze=False)))
    for ax in panels[n:]:
        ax.remove()
    return fig, panels[:n], columns


def _outer_labels(ax: Axes, i: int, n: int, columns: int, x: str, y: str) -> None:
    """Labels only the left and lower sides of a grid, whose last row may be shorter."""
    below, beside = i + columns >= n, i % columns == 0
    ax.set(xlabel=x if below else "", ylabel=y if beside else "")
    ax.tick_params(labelbottom=below, labelleft=beside, left=beside)


def _header(ax: Axes, name: str, line: str, colour: str) -> Any:
    """A panel's name with a smaller line under it; returns that line."""
    lines = line.count("\n") + 1 if line else 0
    ax.set_title(name, loc="left", color=colour, fontweight="bold", pad=6 + 15 * lines)
    return ax.annotate(line, (0, 1), xytext=(0, 5), xycoords="axes fraction", textcoords="offset points", fontsize=11,
                       va="bottom", ha="left", color="#404040")  # fmt: skip


def _round_ticks(*axes: Any) -> None:
    for axis in axes:
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))


def _plane(ax: Axes, target: TargetPicture) -> None:
    ax.set(xlim=target.box[0], ylim=target.box[1], xlabel="x₁", ylabel="x₂")
    spans = np.ptp(target.box, axis=1)
    if spans.max() <= 1.5 * spans.min():
        ax.set_aspect("equal")
    else:
        ax.set_box_aspect(1)
    _round_ticks(ax.xaxis, ax.yaxis)
    ax.grid(False)


def _contours(ax: Axes, target: TargetPicture, colour: str) -> None:
    axes, density = target.axes, target.density
    if density is None:
        # Cells of a finite table are too ragged for lines: a binomial filter a side makes them readable.
        axes, density = [(edges[1:] + edges[:-1]) / 2 for edges in target.edges], _heights(target.masses, target)
        for axis in (0, 1):
            density = np.apply_along_axis(np.convolve, axis, density, np.array([1, 4, 6, 4, 1]) / 16, mode="same")
    levels = _enclosing_levels(density, CONTOUR_SHARES)
    if len(levels):
        ax.contour(*axes, density.T, levels=levels, colors=colour, linewidths=1.2, alpha=0.9)


def _contour_handle(target: TargetPicture, colour: str) -> Line2D:
    shares = ", ".join(f"{100 * share:.0f}" for share in CONTOUR_SHARES)
    what = "target" if target.density is not None else "target, smoothed"
    return Line2D([], [], color=colour, lw=1.5, label=f"contours: {shares} % of the {what}")


def _colour_bar(ax: Axes, mesh: Any, label: str, extend: str = "neither") -> Any:
    """A colour bar beside a panel and of its height, which a bar of its own place in the layout would not keep."""
    bar = ax.figure.colorbar(mesh, cax=ax.inset_axes((1.03, 0, 0.05, 1)), extend=extend)
    bar.set_label(label)
    bar.outline.set_visible(False)
    return bar


def _line_or_steps(ax: Axes, x: np.ndarray, y: np.ndarray, target: TargetPicture, **style: Any) -> None:
    y = np.where(np.isfinite(y), y, np.nan)
    if target.density is None and len(y) == len(target.edges[0]) - 1:
        ax.stairs(y, target.edges[0], baseline=None, **style)
    else:
        ax.plot(x, y, **style)


def _band(ax: Axes, steps: np.ndarray, three: Sequence[np.ndarray], colour: Any, label: str, **style: Any) -> None:
    median, low, high = three
    ax.fill_between(steps, low, high, color=colour, alpha=0.18, lw=0, zorder=2)
    ax.plot(steps, median, color=colour, label=label, marker="o" if len(steps) < 4 else "", ms=4, **style)


def _without_start(curve: Curve) -> Curve:
    """Without the points before training, where nothing has been reported yet and nothing has diverged."""
    kept = (np.asarray(curve.steps) > 0) | np.isfinite(curve.values).any(axis=0)
    return Curve(np.asarray(curve.steps)[kept], np.asarray(curve.values)[:, kept])


def _diverged_note(curves: Any) -> str:
    values = [_without_start(curve).values for curve in curves]
    lost, n_seeds = max(((~np.isfinite(v)).any(axis=1).sum(), len(v)) for v in values)
    return f" ({lost} of {n_seeds} seeds diverged)" if lost else ""


def _log_limits(courses: Sequence[Sequence[np.ndarray]], floor: tuple[float, ...] | None) -> tuple[float, float]:
    values = np.concatenate([np.ravel(v) for three in courses for v in three] + [np.ravel(floor or ())])
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return 1e-3, 1.0
    return float(values.min()) / 1.5, float(values.max()) * 1.5


def _log_ticks(ax: Axes) -> None:
    """Decades as 0.01, 1, 10⁻⁵; below two decades also 2 and 5, or an axis could be left with one number."""

    def label(value, _):
        exponent = round(np.log10(value))
        if value >= 1e5 or value < 0.9e-3:
            mantissa = value / 10.0**exponent
            power = f"10{str(exponent).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
            return power if abs(mantissa - 1) < 1e-6 else f"{value:.0e}"
        return f"{value:g}"

    low, high = ax.get_ylim()
    narrow = high / low < 100
    ax.yaxis.set_major_locator(LogLocator(numticks=8))
    ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5) if narrow else range(2, 10), numticks=99))
    ax.yaxis.set_major_formatter(FuncFormatter(label))
    ax.yaxis.set_minor_formatter(FuncFormatter(label) if narrow else NullFormatter())


def _step_axis(ax: Axes) -> None:
    ax.set_xlabel("training step")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace(",", "\u2009")))
    ax.margins(x=0.02)


def _robust_limits(ax: Axes, courses: Sequence[np.ndarray], reference: float | None) -> None:
    """Lets a short transient at the start leave the panel where it would flatten all that follows."""

    def span(arrays):
        values = np.concatenate([np.ravel(values) for values in arrays] + [np.ravel(reference or ())])
        values = values[np.isfinite(values)]
        return (values.min(), values.max()) if len(values) else (0.0, 1.0)

    low, high = span(courses)
    later = span([values[len(values) // 10 :] for values in courses])
    if high - low > 4 * (later[1] - later[0]) > 0:
        low, high = later
    margin = 0.08 * (high - low) or 0.5
    ax.set_ylim(low - margin, high + margin)


def _probability_limits(ax: Axes, arrays: Sequence[np.ndarray], equilibrium: float) -> None:
    values = np.concatenate([np.ravel(values) for values in arrays] + [[0.0, 1.0, equilibrium]])
    values = values[np.isfinite(values)]
    ax.set_ylim(values.min() - 0.02, values.max() + 0.02)


def _legend_columns(labels: Sequence[str], width: float) -> int:
    """How many columns of a legend fit into `width` inches; a legend fills its columns one after the other."""
    widths = [(0.58 * len(label) + 4.5) * matplotlib.rcParams["legend.fontsize"] / 72 for label in labels]
    for columns in range(len(labels), 1, -1):
        if sum(column.max() for column in np.array_split(widths, columns)) <= width:
            return columns
    return 1


def _figure_legend(fig: Figure, entries: Mapping[str, Any], heading: str | None = None) -> None:
    """A legend of label → handle under all panels."""
    columns = _legend_columns([*entries], fig.get_figwidth())
    fig.legend([*entries.values()], [*entries], loc="outside lower center", ncols=columns, title=heading)


def _legend_below(ax: Axes, width: float, handles: Sequence[Any] = ()) -> None:
    """A panel's own legend under its axis label, whatever the panel's height; `width` inches are its room."""
    handles = list(handles) or ax.get_legend_handles_labels()[0]
    columns = _legend_columns([handle.get_label() for handle in handles], width)
    shifted = ax.transAxes + ScaledTranslation(0, -44 / 72, ax.figure.dpi_scale_trans)
    ax.legend(handles=handles, ncols=columns, loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=shifted,
              borderaxespad=0)  # fmt: skip


def _wrapped(text: str, width: float, size: float) -> str:
    """Breaks lines that would run out of `width` inches; 0.64 em is a letter of bold DejaVu Sans."""
    return textwrap.fill(text, max(20, int(0.97 * width * 72 / (0.64 * size))))


def _settle(fig: Figure) -> None:
    """Solves the layout for good: twice, as margins are first measured on panels that are not yet square."""
    for _ in range(2):
        fig.get_layout_engine().execute(fig)
    fig.set_layout_engine("none")


def _render(fig: Figure) -> Image.Image:
    fig.canvas.draw()
    return Image.fromarray(np.asarray(fig.canvas.buffer_rgba())).convert("RGB")


def _save(fig: Figure, path: str | Path) -> None:
    _settle(fig)
    _save_image(_render(fig), path)


def _save_image(image: Image.Image, path: str | Path) -> None:
    with _whole(path) as temporary:
        image.save(temporary, "PNG", compress_level=4, dpi=(DPI, DPI))


@contextlib.contextmanager
def _whole(path: str | Path) -> Iterator[Path]:
    """A temporary name beside `path` that becomes it on success: who reads `path` never sees half a picture."""
    temporary = Path(path).with_name(f".{Path(path).name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

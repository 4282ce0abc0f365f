"""What shows how one family learns: its discriminator, its energy.

Drawn from arrays alone, with the conventions of `plotting` for `path`, `title` and the look; `colour` is the family's.
"""

from pathlib import Path

import numpy as np
from matplotlib.colors import Normalize

from core.drawing import figures, scales
from core.drawing.courses import course
from core.drawing.figures import DENSITY_MAP, DIVERGED, TARGET_COLOUR
from kinds.real.outlines import draw_contours, line_or_steps, outline_of, target_contour
from kinds.real.pictured import DiscriminatorPicture, TargetPicture

ENERGY_SPAN = 12.0  # nats above the target's lowest energy that a landscape shows


@figures.styled
def discriminator(
    path: str | Path,
    said: DiscriminatorPicture,
    target: TargetPicture,
    colour: str,
    title: str,
) -> None:
    """Draws what a discriminator says: its means over training (left) and D(x) over data space at the end (right).

    Args:
      said: what to draw; D(x) at the points of the target's axes.
      target: drawn in pale under D(x), or as contours over it.
    """
    curves, equilibrium, d_map = said
    axes = target.axes
    fig = figures.new(12.5, 5.4, title)
    left, right = fig.subplots(1, 2)
    line = {"color": "#606060", "ls": "--", "lw": 1.6, "zorder": 4}
    level = f"equilibrium s/2 = {equilibrium:.3g}"
    courses, drawn = [], []
    # The second line is narrower, so that both are seen where they meet.
    for what, shade, lw in (("real", TARGET_COLOUR, 3.6), ("fake", colour, 1.8)):
        drawn.append(scales.without_start(curves[f"d_{what}"]))
        label = f"mean D on {what}{figures.diverged_note(drawn[-1:])}"
        courses.append(course(drawn[-1].values, diverged_is_infinite=False))
        figures.band(left, drawn[-1].steps, courses[-1], shade, label, lw=lw)
    left.axhline(equilibrium, label=level, **line)
    left.set_ylabel("D, a probability")
    scales.step_axis(left, drawn)
    figures.words_after(left, drawn, colour)
    scales.full_limits(left, [v for three in courses for v in three], equilibrium, narrowest=0.1)
    figures.legend_below(left, 6)
    lost = np.isnan(d_map).all()
    if lost:
        figures.words_in(right, DIVERGED, colour)
    if target.dim == 1:
        scales.probability_limits(right, [d_map], equilibrium)
        bottom, top = right.get_ylim()
        heights = outline_of(target)
        scaled = bottom + heights / heights.max() * (top - bottom) * 0.4
        backdrop = {"color": "#DDDDDD", "lw": 0, "label": "target (not to scale)", "zorder": 1}
        if target.density is None:
            right.stairs(scaled, target.edges[0], baseline=bottom, fill=True, **backdrop)
        else:
            right.fill_between(target.axes[0], bottom, scaled, **backdrop)
        if not lost:
            line_or_steps(right, axes[0], d_map, target, color=colour, lw=2.2, label="D(x) at the end", zorder=3)
        right.axhline(equilibrium, label=level, **line)
        right.set(ylabel="D(x)", xlabel="x", xlim=target.box[0], ylim=(bottom, top))
        scales.round_ticks(right.xaxis)
        figures.legend_below(right, 6)
    else:
        if not lost:
            reach = max(float(np.nanmax(np.abs(np.nan_to_num(d_map, nan=equilibrium) - equilibrium))), 0.05)
            norm = Normalize(equilibrium - reach, equilibrium + reach)
            mesh = right.pcolormesh(*axes, d_map.T, cmap="RdBu_r", norm=norm, shading="gouraud")
            bar = figures.colour_bar(right, mesh, "D(x) at the end · white: equilibrium")
            # Colours are symmetric about the equilibrium, but no probability lies outside [0, 1].
            bar.ax.set_ylim(max(norm.vmin, min(0.0, np.nanmin(d_map))), min(norm.vmax, max(1.0, np.nanmax(d_map))))
        draw_contours(right, target, TARGET_COLOUR)
        figures.plane(right, target.box)
        figures.legend_below(right, 6, [target_contour(target, TARGET_COLOUR)])
    figures.save(fig, path)


@figures.styled
def energy_landscape(
    path: str | Path,
    energy: np.ndarray,
    target: TargetPicture,
    colour: str,
    title: str,
) -> None:
    """Draws a model's energy −ln q against the target's −ln p, both normalised, in nats.

    Args:
      energy: [G] or [Gx, Gy], −ln q at the points of the target's axes; all NaN of a model that has diverged.
      target: gives these axes, the box, the bins, and its own energy, which may hold +∞ or be unknown.
    """
    axes, target_energy = target.axes, target.energy
    energy = np.asarray(energy, np.float64)
    lost = np.isnan(energy).all()
    both = [energy] if target_energy is None else [energy, np.asarray(target_energy, np.float64)]
    low, high, cut = scales.energy_limits(both, ENERGY_SPAN)
    whose = "the target's lowest" if target_energy is not None else "the lowest"
    note = f"cut {ENERGY_SPAN:g} nats above {whose}" if cut else ""
    unit = f"nats per {target.cell}" if target.binned else "nats"
    if target.dim == 1:
        fig = figures.new(9, 5.6, title)
        ax = fig.subplots()
        label = f"model: {'diverged' if lost else '−ln q(x)'}"
        line_or_steps(ax, axes[0], energy, target, color=colour, lw=2.4, label=label, zorder=3)
        if lost:
            figures.words_in(ax, DIVERGED, colour)
        if target_energy is not None:
            line_or_steps(ax, axes[0], both[1], target, color=TARGET_COLOUR, lw=1.7, ls="--",
                           label="target: −ln p(x)", zorder=4)  # fmt: skip
        ax.set(xlabel="x", ylabel=f"energy ({unit})", xlim=target.box[0], ylim=(low, high))
        scales.round_ticks(ax.xaxis)
        figures.header(ax, "", note, colour)
        figures.figure_legend(fig, {line.get_label(): line for line in ax.get_legend_handles_labels()[0]})
    else:
        fig, panels, _ = figures.grid(len(both), 4.4, title, False)
        names = [("model: −ln q(x)", colour), ("target: −ln p(x)", TARGET_COLOUR)]
        for ax, values, (name, shade) in zip(panels, both, names, strict=False):
            figures.plane(ax, target.box)
            if values is energy and lost:
                figures.words_in(ax, DIVERGED, shade)
                # Names stand at one height.
                figures.header(ax, name, " " if note else "", shade)
                continue
            clipped = np.clip(np.nan_to_num(values, nan=high, posinf=high), low, high)
            mesh = ax.pcolormesh(*axes, clipped.T, cmap=DENSITY_MAP + "_r", vmin=low, vmax=high, shading="gouraud")
            levels = np.arange(np.ceil(low), high, 1.0 if high - low < 8 else 2.0)
            ax.contour(*axes, clipped.T, levels=levels, colors=TARGET_COLOUR, linewidths=0.7, alpha=0.7)
            figures.header(ax, name, note, shade)
            if ax is panels[-1]:
                figures.colour_bar(ax, mesh, f"energy ({unit})", "max" if cut else "neither")
    figures.save(fig, path)

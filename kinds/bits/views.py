"""What families show of themselves on strings of bits: a latent plane, a discriminator, an energy.

Drawn from arrays alone, with the conventions of `plotting` for `path`, `title` and the look; `colour` is the family's.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle

from core.drawing import figures, scales
from core.drawing.courses import course
from core.drawing.figures import DIVERGED, TARGET_COLOUR
from kinds.bits.panels import label_strings
from kinds.bits.pictured import BitsPicture, DiscriminatorPicture
from kinds.manifolds import ManifoldPicture

COLLAPSED = 0.1  # nats: below this rate the code says next to nothing about a string
_WIDE = 0.44  # of the distance between two small images: half of one's side
_SPAN = 12.0  # nats above the target's lowest energy


@figures.styled
def manifold(path: str | Path, said: ManifoldPicture, scene: BitsPicture, title: str) -> None:
    """Draws the probability of every bit at a grid of z, as a small image of the lattice or a strip of the string."""
    fig = figures.new(7.6, 7.2, title)
    ax = fig.subplots()
    lost = bool(np.isnan(said.mean).all())
    apart = said.z[1] - said.z[0]
    n = said.mean.shape[-1]
    rows, columns = scene.lattice or (1, n)
    two = said.mean.ndim == 3
    for i, z2 in enumerate(said.z if two else [0.0]):
        for j, z1 in enumerate(said.z) if not lost else ():
            image = (said.mean[i, j] if two else said.mean[j]).reshape(rows, columns)
            half = _WIDE * apart / max(rows, columns)
            extent = (z1 - half * columns, z1 + half * columns, z2 - half * rows, z2 + half * rows)
            ax.imshow(image, extent=extent, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest", zorder=2)
            ax.add_patch(_frame(extent))
    for radius in (1, 2) if two else ():
        ax.add_patch(Circle((0, 0), radius, fill=False, ec=figures.FLOOR_COLOUR, lw=1.6, ls="--", zorder=4))
    edge = said.z[-1] + apart / 2
    ax.set(xlim=(-edge, edge), ylim=(-edge, edge) if two else (-apart, apart), aspect="equal", xlabel="z₁")
    ax.set_ylabel("z₂" if two else "")
    ax.grid(False)
    collapsed = said.rate < COLLAPSED
    words = f"posterior collapse: rate {said.rate:.2g} nats" if collapsed else f"rate {said.rate:.2f} nats"
    words += f" · z₁ and z₂ of {said.more + 2}, the others at 0" if said.more else ""
    circles = " · circles: 1 and 2 σ of the prior" if two else ""
    figures.header(ax, "", "" if lost else f"{words} · black: the bit is 1{circles}", TARGET_COLOUR)
    if lost:
        figures.words_in(ax, DIVERGED, TARGET_COLOUR)
    figures.save(fig, path)


def _frame(extent: tuple[float, float, float, float]) -> Rectangle:
    low, high, bottom, top = extent
    return Rectangle((low, bottom), high - low, top - bottom, fill=False, ec="#B0B0B0", lw=0.6, zorder=3)


@figures.styled
def discriminator(path: str | Path, said: DiscriminatorPicture, scene: BitsPicture, colour: str, title: str) -> None:
    """Draws what a discriminator says: its means over training (left), and D of the likeliest strings (right)."""
    fig = figures.new(12.5, 5.4, title)
    left, right = fig.subplots(1, 2)
    level = {
        "color": "#606060",
        "ls": "--",
        "lw": 1.6,
        "zorder": 4,
        "label": f"equilibrium s/2 = {said.equilibrium:.3g}",
    }
    courses, drawn = [], []
    for what, shade, lw in (("real", TARGET_COLOUR, 3.6), ("fake", colour, 1.8)):
        drawn.append(scales.without_start(said.curves[f"d_{what}"]))
        label = f"mean D on {what}{figures.diverged_note(drawn[-1:])}"
        courses.append(course(drawn[-1].values, diverged_is_infinite=False))
        figures.band(left, drawn[-1].steps, courses[-1], shade, label, lw=lw)
    left.axhline(said.equilibrium, **level)
    left.set_ylabel("D, a probability")
    scales.step_axis(left, drawn)
    figures.words_after(left, drawn, colour)
    scales.robust_limits(left, [v for three in courses for v in three], said.equilibrium, narrowest=0.1)
    figures.legend_below(left, 6)
    _places(right, said.d, scene, colour, "D(x) at the end")
    right.axhline(said.equilibrium, **level)
    scales.probability_limits(right, [said.d], said.equilibrium)
    right.set_ylabel("D(x)")
    figures.legend_below(right, 6)
    figures.save(fig, path)


@figures.styled
def energies(path: str | Path, energy: np.ndarray, scene: BitsPicture, colour: str, title: str) -> None:
    """Draws a model's −ln q of the likeliest strings against the target's −ln p, both normalised, in nats."""
    fig = figures.new(9, 5.6, title)
    ax = fig.subplots()
    low, high, cut = scales.energy_limits([energy, scene.energy], _SPAN)
    _places(ax, np.clip(energy, None, high), scene, colour, "model: −ln q(x)")
    target = np.where(np.isfinite(scene.energy), np.minimum(scene.energy, high), np.nan)
    ax.plot(np.arange(len(target)), target, color=TARGET_COLOUR, lw=0, marker="_", ms=9, mew=2.2, zorder=4,
            label="target: −ln p(x)")  # fmt: skip
    ax.set(ylabel="energy (nats)", ylim=(low, high))
    note = f"cut {_SPAN:g} nats above the target's lowest" if cut else ""
    figures.header(ax, "", note, colour)
    figures.figure_legend(fig, {line.get_label(): line for line in ax.get_legend_handles_labels()[0]})
    figures.save(fig, path)


def _places(ax: Axes, values: np.ndarray, scene: BitsPicture, colour: str, label: str) -> None:
    """Values of the strings that are shown, over their places."""
    if np.isnan(values).all():
        figures.words_in(ax, DIVERGED, colour)
    else:
        ax.plot(np.arange(len(values)), values, color=colour, lw=0, marker="o", ms=6, label=label, zorder=3)
    label_strings(ax, scene)
    ax.set_xlabel(scene.words)

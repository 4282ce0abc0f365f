"""What a latent code decodes to: over the plane of two latents, or along one.

Drawn from arrays alone, with the conventions of `plotting` for `path`, `title` and the look.
"""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch
from matplotlib.patheffects import withStroke

from core.drawing import figures, scales
from core.drawing.figures import DENSITY_MAP, DIVERGED, TARGET_COLOUR
from kinds.real.modes import QUALITY_RADIUS, squared_distances
from kinds.real.outlines import draw_contours, outline_of, target_contour
from kinds.real.pictured import LatentPicture, TargetPicture

COLLAPSED = 0.1  # nats: below this rate the code says next to nothing about x
_DISC = 2.0  # σ of the prior: 86 % of it for two latents
_GREY = "#808080"
_WIDE = 0.42  # of the distance between two small panels: half of one's width
_LINES = 21  # of the grid of z in data space, each way


@figures.styled
def latent_sweep(path: str | Path, said: LatentPicture, target: TargetPicture, title: str) -> None:
    """Draws what z decodes to.

    On a line E[x|z] has the colours of the target's own range, so that a code that is not used looks flat; with bins
    p(x|z) stands beside it. In the plane the grid of z is drawn where it decodes to.

    Args:
      said: all NaN of a model that has diverged.
      target: gives the range, the modes and what is drawn behind.
    """
    lost = bool(np.isnan(said.mean).all())
    n_panels = 1 if target.dim == 1 and said.probabilities is None else 2
    fig = figures.new(6.6 if n_panels == 1 else 12.2, 6.1, title)
    axes = np.ravel(fig.subplots(1, n_panels))
    draw = {(1, 1): _curve, (1, 2): _heat, (2, 1): _path, (2, 2): _manifold}[target.dim, said.n_latents]
    entries = draw(axes, said, target, lost)
    for ax in axes if lost else ():
        figures.words_in(ax, DIVERGED, TARGET_COLOUR)
    figures.header(axes[0], "", "" if lost else summary(said, target), TARGET_COLOUR)
    figures.figure_legend(fig, entries)
    figures.save(fig, path)


def summary(said: LatentPicture, target: TargetPicture) -> str:
    """The rate, whether the code is used at all, and the share of the target's modes that it reaches."""
    collapsed = said.rate < COLLAPSED
    words = f"posterior collapse: rate {said.rate:.2g} nats" if collapsed else f"rate {said.rate:.2f} nats"
    if said.more:
        words += f" · z₁ and z₂ of {said.more + 2}, the others at 0"
    if target.modes is None or collapsed:
        return words
    reached, n = modes_reached(said, target), len(target.modes[0])
    return f"{words} · within {_DISC:g}σ it reaches {reached} of {n} modes"


def modes_reached(said: LatentPicture, target: TargetPicture) -> int:
    """How many modes some z in the prior's 2σ disc decodes to.

    That is, to a mean E[x|z] within three deviations of the mode; with bins, most of p(x|z) lies there.
    """
    if said.probabilities is not None:
        axes = np.meshgrid(*[said.few] * said.n_latents, indexing="xy")
        inside = np.sum(np.stack(axes, axis=-1) ** 2, axis=-1) <= _DISC**2
        near = squared_distances(target.axes[0][:, None], *target.modes) <= QUALITY_RADIUS**2  # [M, K]
        return int(np.sum((said.probabilities[inside] @ near.T > 0.5).any(axis=0)))
    inside = np.sum(said.points**2, axis=-1) <= _DISC**2
    near = squared_distances(said.mean.reshape(-1, target.dim)[inside], *target.modes) <= QUALITY_RADIUS**2
    return int(np.sum(near.any(axis=1)))


def _prior_entry() -> dict[str, Line2D]:
    """What the legend says of the circles, or of the lines that stand for them."""
    return {"1 and 2 σ of the prior": Line2D([], [], ls="--", lw=1.8, color=_GREY)}


def _latent_axis(ax: Axes, said: LatentPicture) -> None:
    """Lines of the prior, and the axis of one latent."""
    for at in (-2, -1, 1, 2):
        ax.axvline(at, color=_GREY, ls="--", lw=1.4, zorder=2)
    ax.set(xlabel="z₁", xlim=(said.z[0], said.z[-1]))


def _latent_plane(ax: Axes, said: LatentPicture, ink: str) -> None:
    """Circles of the prior, and the axes of two latents."""
    # What lies below a dark word may be dark as well.
    outlined = [] if ink == "white" else [withStroke(linewidth=3, foreground="white")]
    for radius in (1, 2):
        ax.add_patch(Circle((0, 0), radius, fill=False, ec=ink, lw=1.8, ls="--", zorder=5))
        ax.annotate(f"{radius}σ", (0, radius), xytext=(0, 2), textcoords="offset points", ha="center", va="bottom",
                    color=ink, fontsize=12, fontweight="bold", zorder=5, path_effects=outlined)  # fmt: skip
    ends = said.z[0], said.z[-1]
    ax.set(xlabel="z₁", ylabel="z₂", aspect="equal", xlim=ends, ylim=ends)
    ax.grid(False)


def _heat(axes: np.ndarray, said: LatentPicture, target: TargetPicture, lost: bool) -> dict[str, Line2D | Patch]:
    """E[x|z] on a line, and p(x|z) with bins."""
    ax, entries = axes[0], _prior_entry()
    if not lost:
        mesh = ax.pcolormesh(said.z, said.z, said.mean[..., 0], cmap=DENSITY_MAP, shading="gouraud",
                             norm=Normalize(*target.box[0]))  # fmt: skip
        bar = figures.colour_bar(ax, mesh, "E[x|z] on the target's range")
        if target.modes is not None:
            for mean in target.modes[0][:, 0]:
                bar.ax.axhline(mean, color="white", lw=2.4)
                bar.ax.axhline(mean, color=TARGET_COLOUR, lw=1.2)
            entries["modes of the target"] = Line2D([], [], color=TARGET_COLOUR, lw=1.2)
    _latent_plane(ax, said, _GREY if lost else "white")
    if said.probabilities is None:
        return entries
    right = axes[1]
    _latent_plane(right, said, "#B0B0B0")
    few, edges = said.few, target.edges[0]
    apart = few[1] - few[0]
    margin = apart / 2 + 0.02
    right.set(xlim=(few[0] - margin, few[-1] + margin), ylim=(few[0] - margin, few[-1] + margin))
    if not lost:
        figures.header(right, "", "p(x|z) at a few z, each to its own height, x from left to right", TARGET_COLOUR)
        across = (edges - edges[0]) / (edges[-1] - edges[0]) * 2 - 1
        tall = 2 * _WIDE * apart
        outline = tall * target.masses / target.masses.max()
        for i, z2 in enumerate(few):
            for j, z1 in enumerate(few):
                x, foot = z1 + _WIDE * apart * across, z2 - _WIDE * apart
                shade = matplotlib.colormaps[DENSITY_MAP](
                    Normalize(*target.box[0])(said.probabilities[i, j] @ target.axes[0])
                )
                heights = said.probabilities[i, j] / said.probabilities[i, j].max()
                right.stairs(foot + tall * heights, x, baseline=foot, fill=True, color=shade, zorder=3)
                right.stairs(foot + outline, x, baseline=None, color=_GREY, lw=0.7, zorder=2)
        entries["p(x|z)"] = Patch(color=matplotlib.colormaps[DENSITY_MAP](0.5))
        entries["target"] = Line2D([], [], color=_GREY, lw=0.9)
    return entries


def _manifold(axes: np.ndarray, said: LatentPicture, target: TargetPicture, lost: bool) -> dict[str, Line2D | Patch]:
    """The plane of z by what it decodes to, and its grid in data space."""
    left, right = axes
    _latent_plane(left, said, _GREY if lost else "white")
    figures.plane(right, target.box)
    draw_contours(right, target, TARGET_COLOUR)
    entries = _prior_entry()
    if not lost:
        points = said.mean.reshape(-1, 2)
        if target.modes is not None:
            means = target.modes[0]
            # Neighbours on the way round have neighbouring colours.
            turn = np.argsort(np.argsort(np.arctan2(*(means - target.box.mean(1)).T[::-1]), kind="stable"))
            values, n, what = turn[squared_distances(points, *target.modes).argmin(axis=0)], len(means), "nearest mode"
            shades = ListedColormap(matplotlib.colormaps[DENSITY_MAP](np.linspace(0, 0.9, n)) if n > 1 else ["#3B6FB6"])
            norm = Normalize(-0.5, n - 0.5)
        else:
            values = np.arctan2(*(points - target.box.mean(1)).T[::-1])
            around = matplotlib.colormaps["twilight_shifted"](np.linspace(0, 1, 256))[:, :3]
            # Its pale part would not be seen on white.
            shades, norm, what = ListedColormap(0.8 * around), Normalize(-np.pi, np.pi), "direction"
        colours = shades(norm(values)).reshape(*said.mean.shape[:2], 4)
        left.imshow(colours, origin="lower", extent=(said.z[0], said.z[-1]) * 2, interpolation="nearest", zorder=1)
        _grid_lines(right, said, colours)
        figures.header(right, "", f"the grid of z within ±{_DISC:g}σ where it decodes to, by its {what}", TARGET_COLOUR)
    handle = target_contour(target, TARGET_COLOUR)
    return entries | {handle.get_label(): handle}


def _grid_lines(ax: Axes, said: LatentPicture, colours: np.ndarray) -> None:
    """Lines of equal z₁ and of equal z₂ in data space, each piece in its colour."""
    inside = np.flatnonzero(np.abs(said.z) <= _DISC + 1e-9)
    mean, shade = said.mean[np.ix_(inside, inside)], colours[np.ix_(inside, inside)]
    for i in np.unique(np.linspace(0, len(inside) - 1, _LINES).astype(int)):
        for line, along in ((mean[i], shade[i]), (mean[:, i], shade[:, i])):
            pieces = np.stack([line[:-1], line[1:]], axis=1)
            ax.add_collection(LineCollection(pieces, colors=along[:-1], linewidths=1.1, zorder=3))


def _curve(axes: np.ndarray, said: LatentPicture, target: TargetPicture, lost: bool) -> dict[str, Line2D | Patch]:
    """E[x|z] of one latent against it, and p(x|z) with bins."""
    ax, entries = axes[0], _prior_entry()
    low, high = target.box[0]
    if not lost:
        heights = outline_of(target)
        reach = said.z[0] + 0.9 * heights / heights.max()
        if target.density is None:
            ax.fill_betweenx(np.repeat(target.edges[0], 2)[1:-1], said.z[0], np.repeat(reach, 2), color="#DDDDDD", lw=0)
        else:
            ax.fill_betweenx(target.axes[0], said.z[0], reach, color="#DDDDDD", lw=0)
        entries["target (not to scale)"] = Patch(color="#DDDDDD")
        ax.plot(said.z, said.mean[:, 0], color=TARGET_COLOUR, lw=2.4)
        entries["E[x|z]"] = Line2D([], [], color=TARGET_COLOUR, lw=2.4)
    for each in axes:
        _latent_axis(each, said)
        each.set(ylabel="x", ylim=(low, high))
        scales.round_ticks(each.yaxis)
        each.grid(False)
    if said.probabilities is not None and not lost:
        mesh = axes[1].pcolormesh(said.few, target.axes[0], said.probabilities.T, cmap=DENSITY_MAP, shading="nearest")
        figures.colour_bar(axes[1], mesh, "p(x|z)")
    return entries


def _path(axes: np.ndarray, said: LatentPicture, target: TargetPicture, lost: bool) -> dict[str, Line2D | Patch]:
    """The curve in the plane that one latent decodes to, and both coordinates against it."""
    left, right = axes
    entries = _prior_entry()
    if not lost:
        for i, (style, name) in enumerate((("-", "E[x₁|z]"), ("-.", "E[x₂|z]"))):
            left.plot(said.z, said.mean[:, i], color=TARGET_COLOUR, lw=2.2, ls=style)
            entries[name] = Line2D([], [], color=TARGET_COLOUR, lw=2.2, ls=style)
        pieces = np.stack([said.mean[:-1], said.mean[1:]], axis=1)
        line = LineCollection(pieces, cmap=DENSITY_MAP, norm=Normalize(said.z[0], said.z[-1]), lw=3, zorder=3)
        line.set_array(said.z[:-1])
        right.add_collection(line)
        figures.colour_bar(right, line, "z₁")
    _latent_axis(left, said)
    left.set_ylabel("E[x|z]")
    left.set_box_aspect(1)
    figures.plane(right, target.box)
    draw_contours(right, target, TARGET_COLOUR)
    handle = target_contour(target, TARGET_COLOUR)
    return entries | {handle.get_label(): handle}

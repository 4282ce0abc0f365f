"""Pictures of fitted mixtures: how methods divide the data among components, and the bounds that they raise."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter
from scipy.special import ndtr

from core.drawing import figures, scales, scenes
from core.drawing.figures import TARGET_COLOUR
from core.drawing.scenes import Contribution
from kinds.real.outlines import draw_contours, target_contour
from kinds.real.pictured import TargetPicture

# Above this multiple of the target's highest density a narrow component is cut.
_HIGHEST = 1.6
_N_PIECES = 300  # of a line, over which a density is averaged
_MOST_CURVES = 60
_LEAST_WEIGHT = 1e-4  # below it a component holds nothing and is not there


@figures.styled
def clustering(
    path: str | Path,
    parts: Mapping[str, Contribution],
    target: TargetPicture,
    floors: Mapping[str, tuple[float, float, float]],
    title: str,
) -> None:
    """Draws the components of every method with what is assigned to each, and the course of their likelihoods.

    Args:
      parts: per family the arrays of `models.mixture_views.clustering_view`.
      target: what they were fitted to.
      floors: not shown.
    """
    del floors
    fig, panels, _ = figures.grid(len(parts) + 1, 4.4, title, target.dim == 1)
    # Curves of many components would hide all else, and those within a bin have no shape.
    ticks = target.binned or any(
        len(part.arrays["weights"]) > _MOST_CURVES for part in parts.values() if not part.diverged
    )
    heads, peaks = [], []
    # Of a table its training rows: fresh ones there are none.
    scored = f"on {scenes.N_VIEW_ROWS:,} draws of the target".replace(",", " ")
    for ax, (name, part) in zip(panels, parts.items(), strict=False):
        arrays = part.arrays
        line = " "
        if not part.diverged:
            inertia, likelihood = f"{arrays['inertia']:.3g}", f"{arrays['log_likelihood']:.3f}"
            numbers = f"inertia {_signed(inertia)}, log-likelihood {_signed(likelihood)} nats"
            line = f"{len(arrays['weights'])} components, {scored}:\n{numbers}"
        heads.append((figures.header(ax, name, line, part.colour), [line]))
        if target.dim == 1:
            peaks.append(_in_line(ax, part, target, ticks))
        else:
            _in_plane(ax, part, target)
        if part.diverged:
            figures.words_in(ax, figures.DIVERGED, part.colour)
    for ax in panels[: len(peaks)]:
        # All on one scale.
        ax.set_ylim(0, 1.06 * max(peaks))
    _likelihoods(panels[-1], parts)
    if target.dim == 2:
        # As its neighbours are.
        panels[-1].set_box_aspect(1)
    colour = next(iter(parts.values())).colour
    handles = []
    if target.dim == 2 or not ticks:
        style = dict(color="#CCCCCC", lw=2) if target.dim == 2 else dict(color="#707070", lw=1, ls=":")
        handles.append(Line2D([], [], **style, label="borders of what is assigned to one component"))
    if target.dim == 2:
        of_components, style = "components: means, and 2 deviations from them", dict(lw=1.4, marker="o")
    elif ticks:
        of_components, style = "components: their sum, and their means as ticks", dict(lw=2.2)
    else:
        of_components, style = "components, and their sum", dict(lw=1.4)
    handles.append(Line2D([], [], color=colour, ms=4, label=of_components, **style))
    if target.dim == 2:
        handles.append(target_contour(target, TARGET_COLOUR))
    else:
        handles.append(Line2D([], [], color=TARGET_COLOUR, lw=1.6, label="target"))
    figures.figure_legend(fig, {handle.get_label(): handle for handle in handles})
    fig.draw_without_rendering()
    figures.fit_heads(heads)
    figures.save(fig, path)


def _signed(number: str) -> str:
    """A number with minus signs in place of hyphens."""
    return number.replace("-", "−")


def _in_plane(ax: Axes, part: Contribution, target: TargetPicture) -> None:
    figures.plane(ax, target.box)
    draw_contours(ax, target, TARGET_COLOUR)
    if part.diverged:
        return
    arrays = part.arrays
    n = math.isqrt(len(arrays["assignment"]))
    _borders_in_plane(ax, [np.linspace(*side, n) for side in target.box], arrays["assignment"].reshape(n, n))
    many = len(arrays["weights"]) > 60
    for outline, weight in zip(arrays["outlines"], arrays["weights"], strict=True):
        if weight > _LEAST_WEIGHT:
            ax.plot(*outline.T, color=part.colour, lw=0.8 if many else 1.5, alpha=0.8, zorder=3)
    held = arrays["weights"] > _LEAST_WEIGHT
    ax.scatter(*arrays["means"][held].T, s=5 if many else 16, color=part.colour, zorder=4, lw=0)
    # Outlines may reach beyond what is shown.
    ax.set(xlim=target.box[0], ylim=target.box[1])


def _borders_in_plane(ax: Axes, axes: list[np.ndarray], labels: np.ndarray) -> None:
    """Grey where neighbouring points of a grid belong to different components."""
    border = np.zeros(labels.shape, bool)
    border[:-1] |= labels[1:] != labels[:-1]
    border[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    shade = np.ma.masked_where(~border, np.full(labels.shape, 0.8))
    ax.pcolormesh(*axes, shade.T, cmap="gray", vmin=0, vmax=1, shading="nearest", zorder=0.5, rasterized=True)


def _in_line(ax: Axes, part: Contribution, target: TargetPicture, ticks: bool) -> float:
    """Draws one method over the line; returns how high that reaches."""
    low, high = target.box[0]
    heights = target.masses if target.binned else target.masses / np.diff(target.edges[0])
    if target.density is not None:
        ax.plot(target.axes[0], target.density, color=TARGET_COLOUR, lw=1.6, zorder=4)
        top = target.density.max()
    else:
        ax.stairs(heights, target.edges[0], color=TARGET_COLOUR, lw=1.6, zorder=4)
        top = heights.max()
    ax.set(xlim=(low, high), xlabel="x")
    ax.set_ylabel(f"probability per {target.cell}" if target.binned else "density")
    scales.round_ticks(ax.xaxis)
    if part.diverged:
        return top
    arrays = part.arrays
    # An outline's two ends are two deviations from the mean.
    deviation = np.abs(arrays["outlines"][:, 0, 0] - arrays["means"][:, 0]) / 2
    edges = target.edges[0] if target.binned else np.linspace(low, high, _N_PIECES + 1)
    below = ndtr((edges[None] - arrays["means"]) / deviation[:, None])
    if target.binned:
        # The end bins take what lies beyond them.
        below[:, 0], below[:, -1] = 0, 1
    each = arrays["weights"][:, None] * np.diff(below, axis=1) / (1.0 if target.binned else edges[1] - edges[0])
    if target.binned:
        ax.stairs(each.sum(0), edges, color=part.colour, fill=True, alpha=0.55, zorder=2)
    else:
        # Average over each piece: otherwise a peak narrower than the line would get an arbitrary height.
        ax.plot((edges[1:] + edges[:-1]) / 2, each.sum(0), color=part.colour, lw=2.2, zorder=3)
    held = arrays["weights"] > _LEAST_WEIGHT
    if ticks:
        at = ax.get_xaxis_transform()
        ax.vlines(arrays["means"][held, 0], 0, 0.03, transform=at, color=part.colour, lw=0.8, zorder=5)
    else:
        ax.plot((edges[1:] + edges[:-1]) / 2, each[held].T, color=part.colour, lw=1, alpha=0.8, zorder=2)
        labels, at = arrays["assignment"], target.axes[0]
        borders = (at[1:] + at[:-1])[labels[1:] != labels[:-1]] / 2
        ax.vlines(borders, 0, 1, transform=ax.get_xaxis_transform(), color="#707070", lw=0.8, ls=":", zorder=1)
    return min(_HIGHEST * top, max(top, each.sum(0).max()))


def _likelihoods(ax: Axes, parts: Mapping[str, Contribution]) -> None:
    values = []
    for name, part in parts.items():
        if part.diverged:
            continue
        n = int(part.arrays["n_iterations"])
        rising = -part.arrays["loss"][:n]
        ax.plot(np.arange(n), rising, color=part.colour, lw=2.2, ls=scenes.dash_of(part.colour), label=name)
        values.append(rising)
    figures.header(
        ax,
        "Log-likelihood",
        "of the training rows, at every iteration\nof the start that is best by then",
        TARGET_COLOUR,
    )
    ax.set(xlabel="iteration", ylabel="nats, mean over rows")
    if values:
        ax.legend(loc="lower right")


@figures.styled
def bounds(
    path: str | Path,
    parts: Mapping[str, Contribution],
    target: TargetPicture,
    floors: Mapping[str, tuple[float, float, float]],
    title: str,
) -> None:
    """Draws both lower bounds on ln p(X) that each variational method gives, over its training.

    Args:
      parts: per family the arrays of `models.bayesian_mixture`: `step`, `with_assignments`, `summed_out` and its
        `standard_error`, nats a row; and the curve of the number of `components` left.
      target: not shown.
      floors: not shown.
    """
    del target, floors
    fig = figures.new(10.5, 5.8, title)
    ax = fig.subplots()
    curves = {}
    for name, part in parts.items():
        if part.diverged:
            continue
        arrays = {key: np.asarray(value, np.float64) for key, value in part.arrays.items()}
        # Behind the last mark that training came to, places repeat it.
        n = int(np.argmax(arrays["step"])) + 1
        # Before the first update no logarithm is known of the step.
        x = 1 + arrays["step"][:n]
        summed, error = arrays["summed_out"][:n], 2 * arrays["standard_error"][:n]
        ax.plot(x, arrays["with_assignments"][:n], color=part.colour, lw=2.2, ls=(0, (5, 2)))
        ax.fill_between(x, summed - error, summed + error, color=part.colour, alpha=0.2, lw=0)
        ax.plot(x, summed, color=part.colour, lw=2.2)
        curves[name] = np.concatenate([summed, arrays["with_assignments"][:n]])
        left = f"{name}: {part.curves['components'].values[part.seed, -1]:.0f} components left"
        ax.plot([], [], color=part.colour, lw=5, label=left)
    if curves:
        # What is told apart are the ends: a method's start may lie far below.
        values = np.concatenate([*curves.values()])
        top = values.max()
        span = max(top - np.quantile(values, 0.35), 0.02)
        ax.set_ylim(top - 1.15 * span, top + 0.12 * span)
    ax.plot([], [], color=TARGET_COLOUR, lw=2.2, label="assignments summed out (± 2 standard errors)")
    ax.plot([], [], color=TARGET_COLOUR, lw=2.2, ls=(0, (5, 2)), label="assignments in q")
    ax.set(xscale="log", xlabel="1 + training steps", ylabel="lower bound on ln p(X), nats a row")
    # A power of ten would ask for mathematical letters, which are off.
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace(",", " ")))
    figures.figure_legend(fig, {line.get_label(): line for line in ax.get_legend_handles_labels()[0]})
    gone = [name for name, part in parts.items() if part.diverged]
    if gone:
        figures.words_in(ax, f"{' and '.join(gone)} {figures.DIVERGED}", parts[gone[0]].colour, 0.3)
    figures.save(fig, path)

"""The picture of what critics estimate beside what is measured: pure functions of arrays, as in `plotting`."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.lines import Line2D

from core.drawing import figures, scales, scenes
from core.drawing.courses import course
from core.drawing.figures import FLOOR_COLOUR, TARGET_COLOUR
from core.drawing.scenes import Contribution, Curve
from kinds.real.pictured import TargetPicture

_ESTIMATE = {"lw": 1.8, "ls": (0, (4, 1.6))}
_IDENTITY_DASH = (0, (1, 1.5))


@figures.styled
def critic_vs_wasserstein(
    path: str | Path,
    parts: Mapping[str, Contribution],
    target: TargetPicture,
    floors: Mapping[str, Sequence[float]],
    title: str,
) -> None:
    """Draws critics' estimates of a distance and that distance: over training (left), and one over the other (right).

    In 1-D the distance is W₁. In 2-D, where W₁ itself is not followed, it is π/2 times the sliced distance: W₁ is never
    smaller, and equal for a shift, as the mean of |cos| over directions is 2/π. With bins it is √2 times the total
    variation between cell masses, as all one-hot rows are √2 apart.

    Args:
      path: the file.
      parts: per family `curves["critic_distance"]`, and in `scores` `wasserstein` or with bins `total_variation`.
      target: says which of these it is.
      floors: median, low and high of the same, for samples of the target itself.
      title: of the picture.
    """
    name, factor, words = _distance(target)
    fig = figures.new(12.5, 5.6, title)
    left, right = fig.subplots(1, 2)
    floor = [factor * value for value in floors[name]]
    figures.floor_band(left, floor, -np.inf)
    right.axvspan(*floor[1:], color=FLOOR_COLOUR, alpha=0.28, lw=0, zorder=1)
    right.axvline(floor[0], color=FLOOR_COLOUR, lw=1.5, zorder=1.5)
    entries, curves, medians, points = {}, [], [], []
    for family, part in parts.items():
        measured = part.scores[name]._replace(values=factor * part.scores[name].values)
        estimate = scales.without_start(part.curves["critic_distance"])
        r = correlation(measured, estimate)
        remark = f"; r = {np.median(r[np.isfinite(r)]):.2f}".replace("-", "−") if np.isfinite(r).any() else ""
        for curve, what, style in (
            (measured, words, {"lw": 2.4}),
            (estimate, f"its critic's estimate{remark}{figures.diverged_note([estimate])}", _ESTIMATE),
        ):
            three = course(curve.values, diverged_is_infinite=False)
            figures.band(left, curve.steps, three, part.colour, "", zorder=3, **style)
            entries[f"{family}: {what}"] = Line2D([], [], color=part.colour, **style)
            curves.append(curve)
            medians.append(three[0])
        points.append(np.stack([np.ravel(values) for values in _aligned(measured, estimate)]))
        right.plot(*points[-1], scenes.marker_of(part.colour), color=part.colour, ms=6, mec="white", mew=0.5, alpha=0.8,
                   zorder=3)  # fmt: skip
    scales.robust_limits(left, medians, 0.0)
    both = np.concatenate(points, axis=1)
    low, high = (np.nanmin(both), np.nanmax(both)) if np.isfinite(both).any() else (0.0, floor[2])
    reach = max(high, floor[2])
    right.plot([0, 2 * reach], [0, 2 * reach], color=TARGET_COLOUR, lw=1.4, ls=_IDENTITY_DASH, zorder=2)
    ends = min(0.0, low) - 0.03 * reach, 1.05 * reach
    right.set(xlim=(-0.03 * reach, ends[1]), ylim=ends)
    scales.step_axis(left, curves)
    scales.round_ticks(right.xaxis, right.yaxis)
    unit = "distance of one-hot rows" if target.closed else "units of x"
    left.set_ylabel(unit)
    right.set(xlabel=f"measured: {words} ({unit})", ylabel="critic's estimate, mean over the interval")
    entries["estimate = measured"] = Line2D([], [], color=TARGET_COLOUR, lw=1.4, ls=_IDENTITY_DASH)
    seeds = ", median over seeds" if len(curves[0].values) > 1 else ""
    reading = f"r: correlation of the two over the evaluations{seeds}"
    figures.figure_legend(fig, entries | figures.floor_entry(), reading)
    figures.save(fig, path)


def correlation(measured: Curve, estimate: Curve) -> np.ndarray:
    """Pearson's correlation of two curves over the steps that both have, [S]; NaN where one does not change."""
    pairs = zip(*_aligned(measured, estimate), strict=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.array([np.corrcoef(a, b)[0, 1] if len(a) > 1 else np.nan for a, b in pairs])


def _aligned(first: Curve, second: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Both curves' values [S, E] at the steps that both have."""
    _, at_first, at_second = np.intersect1d(first.steps, second.steps, return_indices=True)
    return first.values[:, at_first], second.values[:, at_second]


def _distance(target: TargetPicture) -> tuple[str, float, str]:
    """What is measured: its name among the scores, what it is multiplied by, and how it is written."""
    if target.closed:
        return "total_variation", math.sqrt(2), "√2 · total variation"
    return ("wasserstein", 1.0, "W₁") if target.dim == 1 else ("wasserstein", math.pi / 2, "π/2 · sliced W₁")

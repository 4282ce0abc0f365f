"""The course of a quantity over training, of all seeds."""

import numpy as np

from core.drawing.scenes import Curve


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

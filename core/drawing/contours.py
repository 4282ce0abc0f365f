"""Lines around shares of a density's mass."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

CONTOUR_SHARES = (0.9, 0.5, 0.1)  # of the target's mass, enclosed by its contours


def contours(ax: Axes, axes: Sequence[np.ndarray], density: np.ndarray, colour: str, shares: Sequence[float]) -> None:
    """Draws the lines that enclose these shares of the mass."""
    # Of a density that is level, as inside a square, the line runs where it ends.
    levels = np.unique(np.minimum(enclosing_levels(density, shares), 0.999 * density.max()))
    if len(levels):
        width = 1.2 if len(shares) > 1 else 0.8
        ax.contour(*axes, density.T, levels=levels, colors=colour, linewidths=width, alpha=0.9)


def contour_handle(what: str, colour: str, shares: Sequence[float]) -> Line2D:
    """What a legend says of `contours`."""
    percents = ", ".join(f"{100 * share:.0f}" for share in shares)
    return Line2D(
        [], [], color=colour, lw=1.5, label=f"contour{'s' if len(shares) > 1 else ''}: {percents} % of the {what}"
    )


def smoothed(density: np.ndarray) -> np.ndarray:
    """A binomial filter of two cells a side, along every axis."""
    for axis in range(density.ndim):
        density = np.apply_along_axis(np.convolve, axis, density, np.array([1, 4, 6, 4, 1]) / 16, mode="same")
    return density


def enclosing_levels(density: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """The densities above which lie the given shares of the mass; rising, without repeats."""
    falling = np.sort(density.ravel())[::-1]
    enclosed = np.cumsum(falling) / falling.sum()
    levels = falling[np.minimum(np.searchsorted(enclosed, shares), len(falling) - 1)]
    return np.unique(levels[levels > 0])

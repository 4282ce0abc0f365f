"""A target on a line or in a plane as it is drawn, and samples beside it over the same cells."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from core.drawing import contours
from kinds.real.pictured import TargetPicture

_MOST_POINTS = 100  # an axis, that a density takes whose features are wide enough for several contours


def cell_heights(masses: np.ndarray, target: TargetPicture) -> tuple[np.ndarray, float]:
    """Probabilities, or a sample's shares, as they are drawn over the target's cells.

    Args:
      masses: [K], perhaps with overflow behind the cells; all NaN of a model that has diverged, which is in no cell.
      target: its cells.

    Returns:
      Probabilities of cells that cannot be split, otherwise densities that integrate to the share inside the cells, [K]
      or [Kx, Ky]; and that share.
    """
    masses = np.nan_to_num(np.asarray(masses, np.float64).ravel()[: target.masses.size]).reshape(target.masses.shape)
    return heights_of(masses, target), float(masses.sum())


def line_or_steps(ax: Axes, x: np.ndarray, y: np.ndarray, target: TargetPicture, **style: Any) -> None:
    """Draws a function of x, or of the cells where that is what is known."""
    y = np.where(np.isfinite(y), y, np.nan)
    if target.density is None and len(y) == len(target.edges[0]) - 1:
        ax.stairs(y, target.edges[0], baseline=None, **style)
    else:
        ax.plot(x, y, **style)


def draw_contours(ax: Axes, target: TargetPicture, colour: str) -> None:
    """Draws a target in the plane as lines around shares of its mass."""
    axes, density = target.density_axes or target.axes, target.density
    if density is None:
        # Cells of a finite table are too ragged for lines.
        axes = [(edges[1:] + edges[:-1]) / 2 for edges in target.edges]
        density = contours.smoothed(heights_of(target.masses, target))
    contours.contours(ax, axes, density, colour, _shares(target))


def target_contour(target: TargetPicture, colour: str) -> Line2D:
    """What a legend says of `draw_contours`."""
    inside = np.ravel(target.density)[np.ravel(target.density) > 0] if target.density is not None else np.arange(2)
    if len(inside) and np.ptp(inside) <= 1e-9 * inside.max():
        return Line2D([], [], color=colour, lw=1.5, label="contour: edge of the target")
    what = "target" if target.density is not None else "target, smoothed"
    return contours.contour_handle(what, colour, _shares(target))


def _shares(target: TargetPicture) -> tuple[float, ...]:
    """Of the mass inside each contour: of narrow features, where lines would lie upon each other, the outermost."""
    narrow = max(map(len, target.density_axes or [[]])) > _MOST_POINTS
    return contours.CONTOUR_SHARES[:1] if narrow else contours.CONTOUR_SHARES


def outline_of(target: TargetPicture) -> np.ndarray:
    """The heights of a target on a line: its density, or what its cells hold."""
    return heights_of(target.masses, target) if target.density is None else target.density


def heights_of(masses: np.ndarray, target: TargetPicture) -> np.ndarray:
    """Masses of cells as they are drawn: themselves for bins, otherwise densities."""
    if target.binned:
        return masses
    sides = np.meshgrid(*(np.diff(edges) for edges in target.edges), indexing="ij")
    return masses / np.prod(sides, axis=0)

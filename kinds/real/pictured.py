"""What pictures show of a target on a line or in a plane, as plain arrays that can be sent to another process."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from core.drawing.scenes import Curve


class DiscriminatorPicture(NamedTuple):
    """What a discriminator says."""

    curves: Mapping[str, Curve]  # `d_real` and `d_fake`, the mean D on target rows and on generated ones
    equilibrium: float  # what D says everywhere once the generator equals the target
    d_map: np.ndarray  # [G] or [Gx, Gy], D(x); all NaN of a model that has diverged


class TargetPicture(NamedTuple):
    """What pictures show of a target."""

    name: str
    box: np.ndarray  # [D, 2]
    edges: list[np.ndarray]  # per axis, the cell boundaries that samples are histogrammed over
    masses: np.ndarray  # the exact mass of every cell, [K] or [Kx, Ky], without overflow
    closed: bool  # samples outside go into the end cells (bins)
    axes: list[np.ndarray]  # per axis, the points at which families' views are known, and the density unless it says
    density: np.ndarray | None  # exact density there, [G] or [Gx, Gy]; None: the masses are drawn
    binned: bool  # heights are probabilities of cells that cannot be split, not densities
    density_axes: list[np.ndarray] | None = None  # other points for the density, fine enough for narrow features
    empirical: bool = False  # the masses are shares of held-out rows: nothing about the target is exact

    energy: np.ndarray | None = None  # −ln p at the points of `axes`; None: unknown

    @property
    def cell(self) -> str:
        """What a cell is that cannot be split."""
        return "bin" if self.closed else "number"

    @property
    def panels(self) -> str:
        """What draws its panels: the name of a class."""
        return f"kinds.real.panels.{'LinePanels' if self.dim == 1 else 'PlanePanels'}"

    @property
    def dim(self) -> int:
        """Coordinates of a sample."""
        return len(self.edges)

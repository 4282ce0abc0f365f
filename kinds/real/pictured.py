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


class LatentPicture(NamedTuple):
    """What one or two latents decode to, any others at 0."""

    z: np.ndarray  # [G], the values of each
    mean: np.ndarray  # [G (z₂), G (z₁), D], or [G, D] of one: E[x|z] in units of x
    rate: float  # nats: KL(q(z|x) ‖ p(z)), its mean over rows of the target
    few: np.ndarray | None = None  # [g], values of each where p(x|z) is known
    probabilities: np.ndarray | None = None  # [g (z₂), g (z₁), K], or [g, K] of one: of the bins
    more: int = 0  # latents beyond two

    @property
    def n_latents(self) -> int:
        """One or two."""
        return self.mean.ndim - 1

    @property
    def points(self) -> np.ndarray:
        """The z [G^n, n] of `mean`, in its order."""
        axes = np.meshgrid(*[self.z] * self.n_latents, indexing="xy")
        return np.stack(axes, axis=-1).reshape(-1, self.n_latents)


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
    modes: tuple[np.ndarray, np.ndarray] | None = None  # means [M, D] and covariances [M, D, D], where it is a mixture

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

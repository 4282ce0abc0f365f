"""What a target is: a distribution in data space, with everything about it that is known exactly."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinds.cells import Cells, Codec
from kinds.quadrature import Parts
from models.laws import Event


class Modes(NamedTuple):
    """The components of a mixture of Gaussians."""

    weights: np.ndarray  # [M], sum 1
    means: np.ndarray  # [M, D]
    covariances: np.ndarray  # [M, D, D]


class Target(NamedTuple):
    """A distribution in data space, with every exact quantity it has. Exact ones are float64 on the host."""

    name: str
    dim: int
    box: np.ndarray  # [D, 2]: the range of bins, histogram cells and plots
    codec: Codec
    sample: Callable[[jax.Array, int], jax.Array]  # (key, n) -> [n, D]
    cell_masses: Callable[[Cells], np.ndarray]  # exact probabilities, in the order of Cells.index
    log_prob: Callable[[np.ndarray], np.ndarray] | None = None  # [n, D] -> [n], nats; −∞ where there is no mass
    log_prob_kind: str | None = None  # "exact", "quadrature" (to rounding, over a curve) or None without log_prob
    cdf: Callable[[np.ndarray], np.ndarray] | None = None  # 1-D: [...] -> [...]
    quantile: Callable[[np.ndarray], np.ndarray] | None = None  # 1-D: the inverse of cdf
    parts: Parts | None = None  # what the density is the sum of, for integrals under it
    modes: Modes | None = None
    scale: float | None = None  # the width of its narrowest feature, in units of x; None: unknown
    entropy: float | None = None  # nats: differential, or of the probabilities where the target is discrete
    discrete: bool = False  # log_prob is a probability, not a density
    train_rows: np.ndarray | None = None  # [N, D]: a fixed training set; None: fresh draws
    held_out_rows: np.ndarray | None = None  # [M, D]: beside train_rows, rows that no family trains on
    empirical: bool = False  # CUSTOM: nothing is known but its rows, and the held-out ones are what is compared with
    n_bins: int = 0
    notes: tuple[str, ...] = ()  # what is to be said of how it was read

    @property
    def event(self) -> Event:
        """What families see."""
        return self.codec.event

    def as_compared(self, x: jax.Array) -> jax.Array:
        """Rows [n, D] as every score sees them: with bins encoded and hard-decoded, so that like meets like."""
        return self.codec.decode(self.codec.encode(x)) if self.n_bins else x

    def grid(self, plane: int = 100) -> tuple[jax.Array, jax.Array]:
        """Points over the box in data space [G, D] and the events there: the bins, 400 points, or plane × plane.

        Args:
          plane: points an axis of a plane.
        """
        if self.n_bins:
            axes = Cells(self.box, self.n_bins, closed=True).centres
        elif self.discrete:
            axes = [np.arange(self.box[0, 0] + 0.5, self.box[0, 1])]
        else:
            axes = [np.linspace(low, high, 400 if self.dim == 1 else plane) for low, high in self.box]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, self.dim)
        x = jnp.asarray(points, jnp.float32)
        return x, jax.jit(self.codec.encode)(x)


def masses_from_cdf(cdf: Callable[[np.ndarray], np.ndarray], cells: Cells) -> np.ndarray:
    """The masses of 1-D cells, in the order of Cells.index."""
    edges = cells.edges[0]
    if cells.closed:
        return np.diff(np.concatenate([[0.0], cdf(edges[1:-1]), [1.0]]))
    inside = np.diff(cdf(edges))
    return np.concatenate([inside, [cdf(edges[0]), 1 - cdf(edges[-1])]])

"""What is known of a distribution of rows of numbers, on a line or in a plane."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinds.contract import Codec, Target
from kinds.real.cells import Cells
from kinds.real.quadrature import Parts


class Modes(NamedTuple):
    """The components of a mixture of Gaussians."""

    weights: np.ndarray  # [M], sum 1
    means: np.ndarray  # [M, D]
    covariances: np.ndarray  # [M, D, D]


class Real(NamedTuple):
    """The truth of targets of the kinds `real` and `bins`."""

    box: np.ndarray  # [D, 2]: the range of bins, histogram cells and plots
    cell_masses: Callable[[Cells], np.ndarray]  # exact probabilities, in the order of Cells.index
    cdf: Callable[[np.ndarray], np.ndarray] | None = None  # on a line: [...] -> [...]
    quantile: Callable[[np.ndarray], np.ndarray] | None = None  # on a line: the inverse of cdf
    parts: Parts | None = None  # what the density is the sum of, for integrals under it
    modes: Modes | None = None
    scale: float | None = None  # the width of its narrowest feature, in units of x; None: unknown
    fixed: Cells | None = None  # cells that cannot be split: bins, or a unit of a line for every whole number; None:
    # any cells will do
    axes: Callable[[int], list[np.ndarray]] | None = (
        None  # (points an axis of a plane) -> D axes, whose points are shown
    )


def real_target(name: str, codec: Codec, sample: Callable, truth: Real, **known: Any) -> Target:
    """A target of the kind `real`.

    Args:
      name: of the target.
      codec: its codec.
      sample: (key, n) -> [n, D].
      truth: what is known of it.
      known: other fields of a `Target`.
    """
    with jax.ensure_compile_time_eval():
        box = np.asarray(codec.encode(jnp.asarray(truth.box.T, jnp.float32))).T
    codec = codec._replace(event=codec.event._replace(box=box))
    axes = _axes_of(truth)
    return Target(
        name, "real", len(truth.box), codec, sample, truth._replace(axes=axes), grid=grid_over(axes, codec), **known
    )


def _axes_of(truth: Real) -> Callable[[int], list[np.ndarray]]:
    """Points over the box: every whole number that has mass, 400 of a line, or so many an axis of a plane."""

    def axes(plane):
        if truth.fixed:
            return truth.fixed.centres
        n = 400 if len(truth.box) == 1 else plane
        return [np.linspace(low, high, n) for low, high in truth.box]

    return axes


def points_of(axes: list[np.ndarray]) -> np.ndarray:
    """The points [G, D] float32 that axes cross at."""
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return points.reshape(-1, points.shape[-1]).astype(np.float32)


def grid_over(axes: Callable[[int], list[np.ndarray]], codec: Codec) -> Callable[[int], tuple[jax.Array, jax.Array]]:
    """A `Target.grid` of the points that such axes cross at.

    Args:
      axes: (points an axis of a plane) -> D axes.
      codec: makes events of the points.
    """

    def grid(plane=100):
        x = jnp.asarray(points_of(axes(plane)))
        return x, jax.jit(codec.encode)(x)

    return grid


def masses_from_cdf(cdf: Callable[[np.ndarray], np.ndarray], cells: Cells) -> np.ndarray:
    """The masses of cells of a line, in the order of Cells.index."""
    edges = cells.edges[0]
    if cells.closed:
        return np.diff(np.concatenate([[0.0], cdf(edges[1:-1]), [1.0]]))
    inside = np.diff(cdf(edges))
    return np.concatenate([inside, [cdf(edges[0]), 1 - cdf(edges[-1])]])

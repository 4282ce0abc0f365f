"""Cells over a box, and the codecs between data space and the events that families train on.

Data space is [n, D] in the target's own units; every score and picture lives there. A family sees *events*
[n, size]: the data themselves, standardised ones for a user's own table or, with bins, one-hot rows.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinds.contract import Codec, Event
from models import laws

# Cells an axis that compiled code finds by comparing with all edges, which is faster for few; for many it would take as
# many numbers a row.
_MOST_COMPARED = 256


class Cells(NamedTuple):
    """Equal cells over a box. `open` ones count what lies outside apart; `closed` ones put it into the end cells."""

    box: np.ndarray  # [D, 2] low and high of every coordinate
    n_per_axis: int
    closed: bool

    @property
    def n_cells(self) -> int:
        """Cells in all, with two overflow cells in 1-D and one in more dimensions unless closed."""
        dim = len(self.box)
        return self.n_per_axis**dim + (0 if self.closed else 2 if dim == 1 else 1)

    @property
    def edges(self) -> list[np.ndarray]:
        """The n_per_axis + 1 cell boundaries of every axis."""
        return [np.linspace(low, high, self.n_per_axis + 1) for low, high in self.box]

    @property
    def centres(self) -> list[np.ndarray]:
        """The n_per_axis cell centres of every axis."""
        return [(edges[1:] + edges[:-1]) / 2 for edges in self.edges]

    def index(self, x: jax.Array) -> jax.Array:
        """The cell [n] of every row of x [n, D]; overflow comes after the box (1-D: first below, then above it)."""
        # NumPy arrays on the host, JAX ones inside compiled code. Comparing with the edges gives both the same cells,
        # which dividing by their distance does not: a table's numbers often lie on edges.
        xp = x.__array_namespace__()
        n = self.n_per_axis
        edges = [xp.asarray(axis, dtype=xp.float32) for axis in self.edges]
        if xp is np or n > _MOST_COMPARED:
            below = [xp.searchsorted(bounds, x[:, axis], side="right") for axis, bounds in enumerate(edges)]
        else:
            below = [xp.sum(x[:, axis, None] >= bounds[None], axis=-1) for axis, bounds in enumerate(edges)]
        position = xp.stack(below, axis=-1) - 1
        # The box has its upper edge: a table's largest row lies there.
        position = xp.where(x == xp.stack([bounds[-1] for bounds in edges])[None], n - 1, position)
        if self.closed:
            position = xp.clip(position, 0, n - 1)
        flat = position[:, 0]
        for axis in range(1, x.shape[1]):
            flat = flat * n + position[:, axis]
        if self.closed:
            return flat
        if x.shape[1] == 1:
            return xp.where(flat < 0, n, xp.where(flat >= n, n + 1, flat))
        outside = xp.any((position < 0) | (position >= n), axis=1)
        return xp.where(outside, self.n_cells - 1, flat)


def real_event(dim: int) -> Event:
    """A row of numbers."""
    return Event(dim, (dim,), laws.normal(dim))


def standardising(mean: np.ndarray, deviation: np.ndarray) -> Codec:
    """Events are the rows less `mean` [D], over `deviation` [D]."""
    shift, scale = (jnp.asarray(values, jnp.float32)[None] for values in (mean, deviation))

    def decode(events):
        return events * scale + shift

    return Codec(
        event=real_event(len(mean)),
        encode=lambda x: (x - shift) / scale,
        decode=decode,
        decode_mean=decode,
        log_volume=float(np.sum(np.log(deviation))),
        affine=True,
    )


def identity(dim: int) -> Codec:
    """Events are the rows themselves."""
    return Codec(real_event(dim), lambda x: x, lambda x: x, lambda x: x, affine=True)


def binning(cells: Cells) -> Codec:
    """Events are one-hot rows over closed cells of a 1-D box: no sample is lost at the edges."""
    centres = jnp.asarray(cells.centres[0], jnp.float32)
    n_bins = cells.n_per_axis
    return Codec(
        event=Event(n_bins, (n_bins,), laws.category(n_bins), cells.box),
        encode=lambda x: jax.nn.one_hot(cells.index(x), n_bins, dtype=jnp.float32),
        decode=lambda events: centres[jnp.argmax(events, axis=-1)][:, None],
        decode_mean=lambda events: (events @ centres)[:, None],
        # Without the one-hot rows, which take as many numbers a row as there are bins.
        compared=lambda x: centres[cells.index(x)][:, None],
    )


def row_masses(rows: np.ndarray, cells: Cells) -> np.ndarray:
    """The share of rows [N, D] in every cell, float64."""
    return np.bincount(cells.index(np.asarray(rows, np.float32)), minlength=cells.n_cells) / len(rows)


def score_cells(truth: Any, n_per_axis: int) -> Cells:
    """The cells of the KLD: those that cannot be split, otherwise open ones over the box.

    Args:
      truth: of a target.
      n_per_axis: cells an axis; 0 means 50 on a line and 30 in the plane.
    """
    return truth.fixed or Cells(truth.box, n_per_axis or (50 if len(truth.box) == 1 else 30), closed=False)


def units(box: np.ndarray) -> Cells:
    """A cell for every whole number of a line, [1, 2] from half a unit below the smallest to half above the largest."""
    return Cells(box, round(float(np.ptp(box))), closed=False)

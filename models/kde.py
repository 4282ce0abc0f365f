"""Gaussian kernel density estimate: its parameters are the rows that it stores.

    q(x) = 1/n Σᵢ N(x; xᵢ, h² S),

S is the covariance of the rows and h = n^(−1/(D+4)) (Scott) or (n(D + 2)/4)^(−1/(D+4)) (Silverman), right for a target
that is one Gaussian and too wide for several modes. Both follow from the rows and are no parameters. With bins the rows
are positions of bins, and a bin's probability is the kernels' between its edges, the end ones' beyond them too.

Nothing is trained: `init` takes n rows of a fixed training set without replacement (all, if it has no more), or n fresh
ones.

References:
  Scott, Multivariate Density Estimation, 1992 (§6.5).
  Silverman, Density Estimation for Statistics and Data Analysis, 1986 (§4.3).
"""

import functools
import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from budget import solve_width
from core.settings import Settings, setting
from models import at_once, grouped
from models.base import Model

_ROWS_AT_ONCE = 64
# Of the box's sides, a deviation that is added to the kernels: rows that are all alike have a width, too.
_LEAST = 1e-6
# Exact on every device: some GPUs round the factors of a product unless told not to.
_exactly = functools.partial(jnp.matmul, precision="highest")


# The laws of events that it can draw.
LAWS = grouped.LAWS


@dataclass(frozen=True)
class Config(Settings, of="KDE"):
    """Settings of the kernel density estimate."""

    bandwidth: Literal["scott", "silverman"] = setting("scott", "the rule for the kernels' width")


class State(NamedTuple):
    """What is stored."""

    params: jax.Array  # [n, D] float32, rows


def build(config: Any, target: Any) -> Model:
    """Chooses the number of rows for the budget.

    Args:
      config: the run's configuration; `config.kde` is this family's `Config`.
      target: the distribution to learn.

    Returns:
      The model. Its width is the number of rows.

    Raises:
      UserError: the budget is below a single row, whose kernel is a spike; only D + 1 rows have a covariance.
    """
    positions = grouped.positions(target)
    dim, edges = positions.dim, positions.edges
    n_rows = solve_width(lambda n_rows: n_rows * dim, config.parameter_budget)
    if target.train_rows is not None:
        n_rows = min(n_rows, len(target.train_rows))
    kernels = _Kernels(bandwidth_factor(config.kde.bandwidth, n_rows, dim), _LEAST * positions.sides, edges)

    def init(key, data):
        chosen = jax.random.choice(key, len(data), (n_rows,), replace=len(data) < n_rows)
        return State(positions.middle(data[chosen]))

    def drawn(key, state, n):
        return state.params[jax.random.randint(key, (n,), 0, n_rows)]

    def sample(key, state, n):
        key_row, key_kernel = jax.random.split(key)
        rows = drawn(key_row, state, n)
        return positions.events(rows + _exactly(jax.random.normal(key_kernel, (n, dim)), kernels.scale(state.params).T))

    def sample_mean(key, state, n):
        rows = drawn(key, state, n)
        return rows if edges is None else jnp.exp(kernels.log_masses(state.params, rows))

    @jax.jit
    def log_prob(state, x):
        return kernels.log_density(state.params, x) if edges is None else kernels.log_probability(state.params, x)

    def features(state):
        factor = kernels.scale(state.params)
        return state.params, jnp.tile(_exactly(factor, factor.T)[None], (n_rows, 1, 1))

    return at_once.build(
        "KDE",
        n_rows * dim,
        init,
        log_prob,
        width=n_rows,
        sample=sample,
        sample_mean=sample_mean,
        features=features,
        n_data_rows=n_rows,
    )


class _Kernels(NamedTuple):
    """The kernels of rows [n, D]."""

    factor: float  # their deviation in those of the rows
    least: np.ndarray  # [D], a deviation that each has besides
    edges: np.ndarray | None  # [J + 1], with bins: their boundaries

    def scale(self, rows: jax.Array) -> jax.Array:
        """The lower Cholesky factor [D, D] of the kernels' covariance."""
        centred = rows - jnp.mean(rows, axis=0, keepdims=True)
        covariance = _exactly(centred.T, centred) / max(1, len(rows) - 1) * self.factor**2
        # Of rows on a line rounding must not leave a negative variance across.
        rounding = 8 * jnp.finfo(rows.dtype).eps * jnp.trace(covariance)
        return jnp.linalg.cholesky(covariance + jnp.diag(jnp.asarray(self.least, rows.dtype) ** 2 + rounding))

    def log_masses(self, rows: jax.Array, centres: jax.Array) -> jax.Array:
        """ln of every bin's probability [m, n_bins] under the kernels of centres [m, 1]."""
        deviation = jnp.broadcast_to(self.scale(rows)[0, 0], (len(centres),))
        return grouped.cell_moments(centres[:, 0], deviation, self.edges).log_mass

    def log_probability(self, rows: jax.Array, x: jax.Array) -> jax.Array:
        """ln of the probabilities [m] of one-hot events x [m, n_bins]."""
        return x @ (jax.nn.logsumexp(self.log_masses(rows, rows), axis=0) - math.log(len(rows)))

    def log_density(self, rows: jax.Array, x: jax.Array) -> jax.Array:
        """ln of the density [m] at points x [m, D]."""
        factor, (n_rows, dim) = self.scale(rows), rows.shape
        log_volume = jnp.sum(jnp.log(jnp.diagonal(factor))) + dim / 2 * math.log(2 * math.pi)

        def whitened(points):
            return jax.scipy.linalg.solve_triangular(factor, points.T, lower=True).T

        own, points = whitened(rows), whitened(x)

        def of_point(point):
            return jax.nn.logsumexp(-jnp.sum((own - point[None]) ** 2, axis=-1) / 2)

        return jax.lax.map(of_point, points, batch_size=_ROWS_AT_ONCE) - math.log(n_rows) - log_volume


def bandwidth_factor(rule: str, n: int, dim: int) -> float:
    """The kernels' deviation in those of the n rows."""
    return (n if rule == "scott" else n * (dim + 2) / 4) ** (-1 / (dim + 4))

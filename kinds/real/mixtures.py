"""Mixtures of Gaussians in one and two dimensions, as targets."""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats
from scipy.optimize import elementwise

from core import prng
from kinds.contract import Target
from kinds.real.cells import Cells, identity
from kinds.real.quadrature import Features, Parts, integrate, whole
from kinds.real.truth import Modes, Real, masses_from_cdf, real_target

_PART_REACH = 8.0
_ENTROPY_ERROR = 1e-10  # nats, and of its size: what the quadrature aims at
_MOST_ENTROPY_ERROR = 1e-6  # and what it may be off by in the end, in nats and in mass


def sample_mixture(key: jax.Array, n: int, weights: jax.Array, means: jax.Array, factors: jax.Array) -> jax.Array:
    """Draws [n, D] from a mixture of Gaussians.

    Args:
      key: a PRNG key.
      n: how many.
      weights: [M], sum 1.
      means: [M, D].
      factors: [M, D, D], lower Cholesky factors of the covariances.
    """
    key_mode, key_noise = jax.random.split(key)
    # One uniform a row, where `randint` and `categorical` take more of what bounds training; and a product with one-hot
    # columns, which is exact, where looking up a row at a time is slow.
    bounds = jnp.cumsum(jnp.asarray(weights, jnp.float32))[:-1]
    mode = jnp.sum(jax.random.uniform(key_mode, (1, n)) >= bounds[:, None], axis=0)
    one_hot = jax.nn.one_hot(mode, len(weights), axis=0)
    dim = means.shape[1]
    normal = prng.normal(key_noise, (dim, n))
    # Exact on every device: some GPUs round the factors of a product unless told not to.
    exactly = functools.partial(jnp.matmul, precision="highest")
    mean = exactly(jnp.asarray(means, jnp.float32).T, one_hot)
    factor = exactly(jnp.asarray(factors, jnp.float32).reshape(-1, dim * dim).T, one_hot)
    return (mean + jnp.sum(factor.reshape(dim, dim, n) * normal[None], axis=1)).T


def gaussian_mixture(name: str, modes: Modes, box: np.ndarray | None = None) -> Target:
    """A mixture of Gaussians in one or two dimensions.

    Args:
      name: what pictures call it.
      modes: its components.
      box: [D, 2]; None, in 1-D: from the quantile at 0.001 to that at 0.999.
    """
    mixture = _Mixture.of(modes)
    dim = modes.means.shape[1]
    # Beyond eight deviations of a component lie 1e-15 of it on a line and 1e-14 in the plane.
    reach = _PART_REACH * mixture.factors
    parts = Parts(mixture.log_component, modes.means, reach, n_panels=16 if dim == 1 else 4)
    truth = Real(
        box=box,
        cell_masses=lambda cells: _mixture_masses_2d(modes, cells),
        parts=parts,
        modes=modes,
        scale=math.sqrt(np.linalg.eigvalsh(modes.covariances).min()),
    )
    if dim == 1:
        truth = truth._replace(
            box=mixture.quantile(np.array([[0.001, 0.999]])) if box is None else box,
            cell_masses=lambda cells: masses_from_cdf(mixture.cdf, cells),
            cdf=mixture.cdf,
            quantile=mixture.quantile,
        )
    return real_target(
        name,
        identity(dim),
        mixture.sample,
        truth,
        log_prob=mixture.log_prob,
        log_prob_kind="exact",
        entropy=_entropy(mixture.log_prob, parts, modes),
    )


class _Mixture(NamedTuple):
    """What is known of a mixture of Gaussians."""

    modes: Modes
    factors: np.ndarray  # [M, D, D], lower Cholesky factors of the covariances
    whitening: np.ndarray  # [M, D, D], which takes a row's distance from a mean to standard normal coordinates
    offsets: np.ndarray  # [M], ln of each component's share of the density at its mean

    @classmethod
    def of(cls, modes: Modes) -> "_Mixture":
        """The mixture of these components."""
        factors = np.linalg.cholesky(modes.covariances)
        whitening = np.linalg.inv(factors)
        dim = modes.means.shape[1]
        offsets = np.log(modes.weights) + np.linalg.slogdet(whitening)[1] - dim / 2 * math.log(2 * math.pi)
        return cls(modes, factors, whitening, offsets)

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """Rows [n, D]."""
        return sample_mixture(key, n, self.modes.weights, self.modes.means, self.factors)

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """ln p of rows x [n, D], [n]."""
        x = np.asarray(x, np.float64)
        each = np.empty((len(self.modes.weights), len(x)))
        for row, mean, matrix, offset in zip(each, self.modes.means, self.whitening, self.offsets, strict=True):
            row[:] = offset - 0.5 * np.sum(np.square((x - mean) @ matrix.T), axis=1)
        highest = each.max(axis=0)
        return highest + np.log(np.sum(np.exp(each - highest), axis=0))

    def log_component(self, x: np.ndarray, part: np.ndarray) -> np.ndarray:
        """ln of the density [n] that each of x [n, D] has from the component [n] beside it."""
        z = np.einsum("nij,nj->ni", self.whitening[part], x - self.modes.means[part])
        return self.offsets[part] - 0.5 * np.sum(np.square(z), axis=1)

    def cdf(self, x: np.ndarray) -> np.ndarray:
        """P(X ≤ x) of x [...] on a line, [...]."""
        locations, deviations = self.modes.means[:, 0], self.factors[:, 0, 0]
        return scipy.stats.norm.cdf(np.asarray(x, np.float64)[..., None], locations, deviations) @ self.modes.weights

    def quantile(self, u: np.ndarray) -> np.ndarray:
        """The inverse of `cdf`."""
        locations, deviations = self.modes.means[:, 0], self.factors[:, 0, 0]
        u = np.asarray(u, np.float64)
        low, high = (locations - 12 * deviations).min(), (locations + 12 * deviations).max()
        root = elementwise.find_root(
            lambda x, u: self.cdf(x) - u,
            (np.full_like(u, low), np.full_like(u, high)),
            args=(u,),
            tolerances={"xatol": 1e-14, "xrtol": 1e-15, "fatol": 0, "frtol": 0},
        )
        return root.x


def even_mixture(name: str, means: Any, deviation: float, box: np.ndarray | None = None) -> Target:
    """Equal weights and one variance for all components and directions; means [M, D]."""
    means = np.asarray(means, np.float64)
    covariances = np.tile(deviation**2 * np.eye(means.shape[1]), (len(means), 1, 1))
    return gaussian_mixture(name, Modes(np.full(len(means), 1 / len(means)), means, covariances), box)


def _mixture_masses_2d(modes: Modes, cells: Cells) -> np.ndarray:
    """Cell masses of a 2-D mixture: Gauss–Legendre over x of the exact conditional masses in y.

    Cells are cut to nine standard deviations about a component and into pieces no wider than the scale on which the
    integrand changes, so that sixteen nodes a piece are exact to rounding for narrow and for correlated components.
    """
    x_edges, y_edges = cells.edges
    nodes, weights = np.polynomial.legendre.leggauss(16)
    masses = np.zeros((cells.n_per_axis, cells.n_per_axis))
    for weight, mean, covariance in zip(*modes, strict=True):
        deviation = math.sqrt(covariance[0, 0])
        slope = covariance[0, 1] / covariance[0, 0]
        spread = math.sqrt(covariance[1, 1] - slope * covariance[0, 1])
        edges = np.clip(x_edges, mean[0] - 9 * deviation, mean[0] + 9 * deviation)
        scale = deviation if slope == 0 else min(deviation, spread / abs(slope))
        for i, (low, high) in enumerate(itertools.pairwise(edges)):
            if low == high:
                continue
            pieces = np.linspace(low, high, math.ceil((high - low) / scale) + 1)
            half = (pieces[1] - pieces[0]) / 2
            x = (pieces[:-1] + half)[:, None] + half * nodes  # [pieces, 16]
            density = scipy.stats.norm.pdf(x, mean[0], deviation) * half * weights
            y_mean = mean[1] + slope * (x - mean[0])
            below = scipy.special.ndtr((y_edges - y_mean[..., None]) / spread)  # [pieces, 16, n + 1]
            # Differences first: of sums that are equal to rounding they could be negative.
            masses[i] += weight * np.tensordot(density, np.maximum(np.diff(below), 0), axes=2)
    return np.concatenate([masses.ravel(), [max(0.0, 1 - masses.sum())]])


def _entropy(log_prob: Callable[[np.ndarray], np.ndarray], parts: Parts, modes: Modes) -> float | None:
    """−∫ p ln p of a mixture: every component's share on nodes of its own, which see the narrower ones within it.

    Returns:
      None where the nodes that there may be do not resolve it, as of more than a thousand components in the plane.
    """
    features = [Features(modes.means, modes.covariances)]
    found = integrate(log_prob, parts, whole(parts), features, lambda value: _ENTROPY_ERROR * (1 + abs(value)))
    near = found.error <= _MOST_ENTROPY_ERROR * (1 + abs(found.value))
    return -found.value if near and abs(found.mass - 1) <= _MOST_ENTROPY_ERROR else None

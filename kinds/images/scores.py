"""How far images are from images, by their features: pure functions of arrays [n, F] on the host.

References:
  Heusel et al., GANs Trained by a Two Time-Scale Update Rule, 2017 (Fréchet distance).
  Bińkowski et al., Demystifying MMD GANs, 2018 (kernel distance, §4).
  Kynkäänniemi et al., Improved Precision and Recall Metric for Assessing Generative Models, 2019.
  Naeem et al., Reliable Fidelity and Diversity Metrics for Generative Models, 2020 (density, coverage and their means).
"""

import math

import numpy as np

K_PRECISION, K_DENSITY = 3, 5
N_DIRECTIONS = 128
_BLOCK = 1_000


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    """Squared Fréchet distance of the normal distributions with the means and covariances of two samples.

    ‖μ − ν‖² + tr(A + B − 2 (A^½ B A^½)^½) with the unbiased covariances A and B.

    Args:
      x: [n, F].
      y: [m, F].
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    values, vectors = np.linalg.eigh(np.atleast_2d(a))
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ np.atleast_2d(b) @ root), 0)).sum()
    moved = float(((x.mean(0) - y.mean(0)) ** 2).sum())
    # Rounding leaves −1e-13 of identical samples.
    return max(moved + float(np.trace(np.atleast_2d(a)) + np.trace(np.atleast_2d(b)) - 2 * shared), 0.0)


def frechet_floor(features: np.ndarray, n: int) -> float:
    """The mean Fréchet distance of two samples of n from one normal distribution, to the order 1/n.

    (1/n) [3 Σ λᵢ + Σ_{i≠j} λᵢ λⱼ/(λᵢ + λⱼ)] with the eigenvalues λ of its covariance: 2 Σ λ of the means, and of the
    covariances what the second derivative of the distance gives with the variances of a Wishart matrix.

    Args:
      features: rows [m, F] whose covariance is taken for that of the distribution.
      n: size of either sample.
    """
    values = np.linalg.eigvalsh(np.cov(np.asarray(features, np.float64), rowvar=False))
    values = values[values > 1e-12 * values.max()]
    pairs = values[:, None] * values[None] / (values[:, None] + values[None])
    return float(3 * values.sum() + pairs.sum() - np.trace(pairs)) / n


def kernel(x: np.ndarray, y: np.ndarray) -> float:
    """Squared kernel distance: the unbiased estimate of MMD² with the kernel (x·y/F + 1)³; negative values occur.

    All pairs of different rows count, which is the full U-statistic; KID usually averages over small subsets.

    Args:
      x: [n, F].
      y: [m, F].
    """
    x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
    return _mean_kernel(x, x, True) + _mean_kernel(y, y, True) - 2 * _mean_kernel(x, y, False)


def _mean_kernel(x: np.ndarray, y: np.ndarray, apart: bool) -> float:
    """The mean of the kernel over all pairs; `apart`: without those of a row with itself."""
    values = x @ y.T
    values /= x.shape[1]
    values += 1
    total = np.sum(values * values * values, dtype=np.float64)
    if not apart:
        return float(total) / values.size
    own = np.sum(np.diagonal(values).astype(np.float64) ** 3)
    return float(total - own) / (len(x) * (len(x) - 1))


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """‖x − y‖² of all pairs of rows, [n, m] float32, never below 0."""
    x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
    found = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * (x @ y.T)
    return np.maximum(found, 0)


def _radii(x: np.ndarray, k: int) -> np.ndarray:
    """The squared distance [n] of every row to its k-th nearest other one."""
    distances = squared_distances(x, x)
    # Rounding may leave a row some distance from itself.
    np.fill_diagonal(distances, -1)
    return np.partition(distances, k, axis=1)[:, k]


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = K_PRECISION) -> tuple[float, float]:
    """The share of generated rows within a ball of a real one that reaches its k-th neighbour; and the other way round.

    Args:
      real: [n, F].
      fake: [m, F].
      k: which neighbour.
    """
    distances = squared_distances(real, fake)
    precision = (distances <= _radii(real, k)[:, None]).any(axis=0).mean()
    recall = (distances <= _radii(fake, k)[None]).any(axis=1).mean()
    return float(precision), float(recall)


def density_coverage(real: np.ndarray, fake: np.ndarray, k: int = K_DENSITY) -> tuple[float, float]:
    """How many balls of k neighbours a generated row lies in, over k; and the share of real balls with one in it.

    Args:
      real: [n, F].
      fake: [m, F].
      k: which neighbour.
    """
    within = squared_distances(real, fake) <= _radii(real, k)[:, None]
    return float(within.sum(0).mean() / k), float(within.any(axis=1).mean())


def expected_coverage(n: int, m: int, k: int = K_DENSITY) -> float:
    """The mean coverage of m rows from the very distribution of n real ones: 1 − Π (n − i)/(m + n − i), i = 1 … k."""
    return 1 - math.prod((n - i) / (m + n - i) for i in range(1, k + 1))


def directions(dim: int, n: int = N_DIRECTIONS) -> np.ndarray:
    """Unit vectors [n, dim] at random, the same every time."""
    drawn = np.random.default_rng(0).normal(size=(n, dim))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def nearest(x: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of every x [n, D] the nearest of rows [m, D]: its number [n] and its distance [n]."""
    blocks = range(0, len(x), _BLOCK)
    which = np.concatenate([squared_distances(x[i : i + _BLOCK], rows).argmin(axis=1) for i in blocks])
    # Anew, as the difference of large squares leaves little of a small distance.
    return which, np.linalg.norm(x - rows[which], axis=1)

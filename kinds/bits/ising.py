"""The Ising model on a rectangle: its bonds, its energies, and what is exact about its partition function.

A spin is s = 2x − 1 of a bit x, E = −Σ J_ij s_i s_j over the bonds with J = ± 1, and p ∝ exp(−K E) with K = βJ.

References:
  Onsager, Crystal Statistics I, 1944 (K_c = ½ ln(1 + √2)).
  Kaufman, Crystal Statistics II, Phys. Rev. 76, 1232, 1949 (Z of a finite torus).
"""

import math

import numpy as np

CRITICAL = math.log(1 + math.sqrt(2)) / 2
_BLOCK = 2**14  # states at once


def bonds(height: int, width: int, boundary: str) -> np.ndarray:
    """Pairs of sites [B, 2], row-major; on a torus each site has one to its right and one below it."""
    site = np.arange(height * width).reshape(height, width)
    if boundary == "torus":
        right, below = np.roll(site, -1, axis=1), np.roll(site, -1, axis=0)
        pairs = [(site, right), (site, below)]
    else:
        pairs = [(site[:, :-1], site[:, 1:]), (site[:-1], site[1:])]
    return np.concatenate([np.stack([a.ravel(), b.ravel()], axis=-1) for a, b in pairs])


def signs(n_bonds: int, seed: int) -> np.ndarray:
    """J of every bond [B]: 1, or ± 1 with equal probability where there is a seed."""
    if not seed:
        return np.ones(n_bonds)
    return np.random.default_rng(seed).choice([-1.0, 1.0], n_bonds)


def energies(n: int, pairs: np.ndarray, couplings: np.ndarray) -> np.ndarray:
    """E of all 2ⁿ states [2ⁿ], in units of |J|; bit 0 is the most significant one of a state's number."""
    shifts = np.arange(n - 1, -1, -1)
    parts = []
    for start in range(0, 2**n, _BLOCK):
        number = np.arange(start, min(start + _BLOCK, 2**n))
        spins = 2.0 * (number[:, None] >> shifts & 1) - 1
        parts.append(-(spins[:, pairs[:, 0]] * spins[:, pairs[:, 1]]) @ couplings)
    return np.concatenate(parts)


def log_partition(height: int, width: int, coupling: float) -> float:
    """ln Z of a torus of any size (Kaufman 1949, eq. 76), for K > 0.

    Z = ½ (2 sinh 2K)^(nm/2) [Π 2cosh(m γ_odd/2) + Π 2sinh(m γ_odd/2) + Π 2cosh(m γ_even/2) + Π 2sinh(m γ_even/2)] with
    cosh γ_l = cosh 2K coth 2K − cos(π l/n), γ_l > 0 but γ₀ = 2K + ln tanh K with its own sign, summed by logarithms.

    Args:
      height: n, sites a column.
      width: m, sites a row.
      coupling: K.
    """
    n, m = height, width
    level = math.cosh(2 * coupling) / math.tanh(2 * coupling)
    gamma = np.arccosh(np.maximum(level - np.cos(np.pi * np.arange(2 * n) / n), 1.0))
    gamma[0] = 2 * coupling + math.log(math.tanh(coupling))
    logs, sign = [], []
    for half in (m * gamma[1::2] / 2, m * gamma[::2] / 2):
        size = np.abs(half)
        logs.append(np.sum(size + np.log1p(np.exp(-2 * size))))
        sign.append(1.0)
        with np.errstate(divide="ignore"):
            logs.append(np.sum(size + np.log(-np.expm1(-2 * size))))
        sign.append(float(np.prod(np.sign(half))))
    top = max(logs)
    total = sum(s * math.exp(each - top) for s, each in zip(sign, logs, strict=True))
    return n * m / 2 * math.log(2 * math.sinh(2 * coupling)) - math.log(2) + top + math.log(total)

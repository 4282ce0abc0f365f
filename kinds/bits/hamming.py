"""Distances between distributions over strings by a kernel of their Hamming distance, and by their moments.

k(x, y) = mean over b of exp(−d(x, y)/b), where d is the number of bits that differ and b is n/16, n/8 and n/4. It is a
product over bits of [1, e^(−1/b)], so that Σ_y k(x, y) p(y) of all 2ⁿ strings takes n passes over them.

Reference: Gretton et al., A Kernel Two-Sample Test, 2012 (eq. 3, the unbiased estimate).
"""

import math
from collections.abc import Callable

import numpy as np

_PARTS = (16, 8, 4)  # of n bits: the bandwidths


def smoothed(p: np.ndarray, n: int) -> np.ndarray:
    """Σ_y k(x, y) p(y) at every string x, [2ⁿ], of masses p [2ⁿ]."""
    total = np.zeros(len(p))
    for part in _PARTS:
        far = math.exp(-part / n)
        each = np.asarray(p, np.float64)
        for bit in range(n):
            pairs = each.reshape(2**bit, 2, -1)
            each = np.stack([pairs[:, 0] + far * pairs[:, 1], far * pairs[:, 0] + pairs[:, 1]], axis=1).ravel()
        total += each / len(_PARTS)
    return total


def mmd2_to(p: np.ndarray, n: int) -> Callable[[np.ndarray, int | None], float]:
    """Makes the squared distance to exact masses p [2ⁿ].

    Returns:
      (shares [2ⁿ], m) -> MMD²: of a sample of m strings the unbiased estimate, which may be below 0; with m = None of
      exact probabilities.
    """
    of_target = smoothed(p, n)
    own = float(p @ of_target)

    def mmd2(shares, m):
        each = float(shares @ smoothed(shares, n))
        if m is not None:
            # Without the pairs of a string and itself, whose kernel is 1.
            each = (each - 1 / m) * m / (m - 1)
        return own - 2 * float(shares @ of_target) + each

    return mmd2


def spin_moments(ones: np.ndarray, both: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means ⟨s⟩ [n] of spins s = 2x − 1, and their covariances ⟨s s'⟩ − ⟨s⟩⟨s'⟩ [n, n] with 0 on the diagonal.

    Args:
      ones: [n], the probability that a bit is 1.
      both: [n, n], that two are.
    """
    covariances = 4 * (both - ones[:, None] * ones[None])
    np.fill_diagonal(covariances, 0)
    return 2 * ones - 1, covariances

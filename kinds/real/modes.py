"""How far points are from the modes of a mixture, in deviations. Nothing here needs more than NumPy."""

import numpy as np

# Mahalanobis distance from its mode within which a sample is of high quality, and what a code decodes to at the mode.
QUALITY_RADIUS = 3.0


def squared_distances(x: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distances (x − μ)ᵀ Σ⁻¹ (x − μ), [M, n].

    Args:
      x: points [n, D].
      means: of the modes, [M, D].
      covariances: of the modes, [M, D, D].
    """
    whitened = np.linalg.solve(np.linalg.cholesky(covariances), (x - means[:, None]).swapaxes(1, 2))
    return np.sum(whitened**2, axis=1)

"""Whether what a model lacks falls as a power of its size, and with which exponent."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_FEWEST = 3  # sizes
_LEAST_R2 = 0.9


class PowerLaw(NamedTuple):
    """KLD − floor = factor · P^slope."""

    slope: float
    error: float  # standard error of the slope
    factor: float  # nats
    n_params: np.ndarray  # [B] where it was fitted


def fit(n_params: Sequence[float], medians: Sequence[float], floor: tuple[float, float, float]) -> PowerLaw | None:
    """Least squares of ln(KLD − floor) against ln P.

    What lies in the floor's range is noise and takes no part, nor does a median that has diverged.

    Args:
      n_params: [B] parameters.
      medians: [B] KLD in nats, infinite where it has diverged.
      floor: mean, low and high that samples of the target itself score.

    Returns:
      None unless at least three sizes lie above the floor's range and R² ≥ 0.9.
    """
    size, kld = np.asarray(n_params, np.float64), np.asarray(medians, np.float64)
    mean, _, high = floor
    used = np.isfinite(kld) & (kld > max(high, mean)) & (size > 0)
    if len(np.unique(size[used])) < _FEWEST:
        return None
    x, y = np.log(size[used]), np.log(kld[used] - mean)
    centred = x - x.mean()
    slope = centred @ (y - y.mean()) / (centred @ centred)
    residuals = y - y.mean() - slope * centred
    total = np.sum((y - y.mean()) ** 2)
    if total <= 0 or 1 - residuals @ residuals / total < _LEAST_R2:
        return None
    error = np.sqrt(residuals @ residuals / (len(x) - 2) / (centred @ centred))
    return PowerLaw(float(slope), float(error), float(np.exp(y.mean() - slope * x.mean())), size[used])

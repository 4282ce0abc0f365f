"""Whether what a model lacks falls as a power of its size, and with which exponent."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.stats

_FEWEST = 4  # sizes: with fewer, noise passes for a law
_FEWEST_ABOVE = 3  # of them above the floor's range: the others say only that little is left
_LEVEL = 0.95
_FLAT = 0.3  # half the width of an interval about zero: with a wider one the slope is not known
# Why there is no law.
FEW = f"needs {_FEWEST} budgets"
AT_FLOOR = "at the floor"
RISING = "rising"
FLAT = "flat"
WIDE = "interval too wide"
# Of the floor: from where a fit starts that has to take the logarithm of what is left.
_SMALLEST_START = 0.05


class PowerLaw(NamedTuple):
    """KLD = floor + factor · P^slope."""

    slope: float
    error: float  # slope ± error is its 95 % interval
    factor: float  # nats
    n_params: np.ndarray  # [B] where it was fitted
    n_budgets: int  # of how many


def fit(n_params: Sequence[float], medians: Sequence[float], floor: float = 0.0, high: float = 0.0) -> PowerLaw | str:
    """Least squares of ln KLD against ln(floor + factor · P^slope).

    The spread of the seeds, and that of the KLD's own noise, is about proportional to the KLD: its logarithm has one
    deviation at all sizes, above the floor and in it. Hence sizes in the floor's range stay in, where their term
    says that hardly anything is left; fitting ln(KLD − floor) instead needs a choice of sizes that depends on the
    noise, which flattens the slope. The interval is slope ± t(B − 2) · s · √((JᵀJ)⁻¹) with the deviation s of the
    residuals and the Jacobian J at the minimum (Seber and Wild, Nonlinear Regression, 1989, §5.1): what the seeds
    differ in is in s as much as how far the sizes are from a line.

    Args:
      n_params: [B] parameters.
      medians: [B] KLD in nats, infinite where it has diverged: such a size is left out.
      floor: the median of what samples of the target itself score; 0 for an exact divergence.
      high: the 97.5 % quantile of the same.

    Returns:
      The law; or, in a word or two, why there is none. There is one where there are four sizes, of which three lie
      above the floor's range, and all of the 95 % interval lies below zero.
    """
    size, kld = np.asarray(n_params, np.float64), np.asarray(medians, np.float64)
    used = np.isfinite(kld) & (kld > 0) & (size > 0)
    if len(np.unique(size[used])) < _FEWEST:
        return FEW
    if np.sum(kld[used] > max(high, floor)) < _FEWEST_ABOVE:
        return AT_FLOOR
    x, y = np.log(size[used]), np.log(kld[used])
    centre = x.mean()
    x = x - centre
    with np.errstate(divide="ignore"):
        log_floor = np.log(floor)

    def residuals(at):
        return np.logaddexp(log_floor, at[0] + at[1] * x) - y

    def jacobian(at):
        share = np.exp(at[0] + at[1] * x - np.logaddexp(log_floor, at[0] + at[1] * x))
        return np.column_stack([share, share * x])

    left = np.maximum(kld[used] - floor, _SMALLEST_START * floor)
    slope, level = np.polyfit(x, np.log(left), 1, w=left / kld[used])
    found = scipy.optimize.least_squares(residuals, (level, slope), jacobian)
    information = found.jac.T @ found.jac
    if not np.linalg.cond(information) < 1e10:
        return WIDE
    freedom = len(x) - 2
    deviation = np.sqrt(2 * found.cost / freedom * np.linalg.inv(information)[1, 1])
    error = scipy.stats.t.ppf((1 + _LEVEL) / 2, freedom) * deviation
    level, slope = found.x
    if not slope + error < 0:
        return RISING if slope > error else FLAT if error <= _FLAT else WIDE
    return PowerLaw(float(slope), float(error), float(np.exp(level - slope * centre)), size[used], len(size))

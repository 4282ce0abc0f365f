"""Where a cost leaves its flat part: pure functions of a curve's points."""

import bisect
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

FACTOR = 2.0  # times the flat level: there it is left


class Knee(NamedTuple):
    """What a curve says of how a cost grows."""

    flat: float  # the flat level: the lowest value
    x: float | None  # the knee; None where the cost stays below FACTOR times the flat level
    exponent: float | None  # beyond the knee the cost grows as x to this power; None with fewer than two points there


def knee(x: Sequence[float], y: Sequence[float]) -> Knee:
    """Finds the smallest x from which on y stays at or above FACTOR times its lowest value.

    Between two points ln y is taken to be a straight line in ln x. The crossing that counts is the last one: a single
    slow point within the flat part is noise. The power beyond the knee is a least-squares line through its points.

    Args:
      x: rising, positive.
      y: positive.
    """
    if len(x) != len(y) or not x or any(a >= b for a, b in itertools.pairwise(x)) or min(*x, *y) <= 0:
        raise ValueError("a curve needs rising positive x and positive y, as many of one as of the other")
    flat = min(y)
    below = [i for i, value in enumerate(y) if value < FACTOR * flat]
    last = below[-1]
    if last == len(x) - 1:
        return Knee(flat, None, None)
    share = math.log(FACTOR * flat / y[last]) / math.log(y[last + 1] / y[last])
    at = math.exp(math.log(x[last]) + share * math.log(x[last + 1] / x[last]))
    beyond = bisect.bisect_left(x, at * (1 - 1e-9))
    return Knee(flat, at, _slope(x[beyond:], y[beyond:]))


def _slope(x: Sequence[float], y: Sequence[float]) -> float | None:
    if len(x) < 2:
        return None
    log_x, log_y = [math.log(value) for value in x], [math.log(value) for value in y]
    mean_x, mean_y = sum(log_x) / len(x), sum(log_y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(log_x, log_y, strict=True))
    return covariance / sum((a - mean_x) ** 2 for a in log_x)

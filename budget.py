"""From a parameter budget to a hidden width.

A multilayer perceptron whose hidden layers share one width H has N(H) = aH² + bH + c parameters: a counts the
matrices between hidden layers, b the ones to and from the outside and the hidden biases, c the output biases.
One hidden layer, or a restricted Boltzmann machine, has a = 0.
"""

import math
from collections.abc import Callable

from core.errors import UserError


def solve_width(count_params: Callable[[int], int], budget: int) -> int:
    """Returns the hidden width whose parameter count is closest to the budget.

    Args:
      count_params: the number of trainable parameters at an integer width >= 1. A polynomial of degree at most two
        in the width, strictly increasing.
      budget: the number of parameters asked for.

    Returns:
      The width H >= 1 with the smallest |count_params(H) - budget|; of two equally close ones, the smaller.

    Raises:
      UserError: the budget is below count_params(1), which is named as the smallest that works.
    """
    at_1, at_2, at_3 = (count_params(width) for width in (1, 2, 3))
    if budget < at_1:
        raise UserError(f"PARAMETER_BUDGET = {budget} is too small: the smallest that works is {at_1}")
    # The second difference of a quadratic is 2a and its first difference at 1 is 3a + b: exact in integers.
    twice_a = at_3 - 2 * at_2 + at_1
    twice_b = 2 * (at_2 - at_1) - 3 * twice_a
    constant = at_1 - (twice_a + twice_b) // 2
    if twice_a == 0:
        below = 2 * (budget - constant) // twice_b
    else:
        # aH² + bH + (c - P) = 0 with A = 2a, B = 2b; isqrt keeps it exact for budgets of any size.
        below = (-twice_b + math.isqrt(twice_b**2 + 8 * twice_a * (budget - constant))) // (2 * twice_a)
    below = max(1, below)
    return min((below, below + 1), key=lambda width: (abs(count_params(width) - budget), width))

"""Does a model make right strings that it has not seen? Of targets with a set of valid strings.

Of Q strings drawn, those outside of the training set are new; new ones that are valid are solutions. With S the valid
set and T the training set:

    exploration = |new|/Q, fidelity = |solutions|/|new|, rate = |solutions|/Q, coverage = |distinct solutions|/|S \\ T|,

and precision, the share of all drawn strings that are valid. With fresh draws in the place of a training set there is
only the precision. Of a perfect model on a uniform target with ε = |T|/|S| the rate is 1 − ε and the coverage
1 − (1 − 1/|S|)^Q in expectation.

Reference: Gili, Hibat-Allah, Mauri, Ballance and Perdomo-Ortiz, Do Quantum Circuit Born Machines Generalize?, 2023.
"""

from collections.abc import Callable

import numpy as np

from kinds.bits.truth import Bits, numbers_of
from kinds.contract import Target


def scorer(target: Target) -> Callable[[np.ndarray], dict[str, float]]:
    """(strings [Q, n]) -> metric -> value; NaN for a ratio that is not defined; empty where there is no valid set."""
    truth: Bits = target.truth
    if truth.valid is None:
        return lambda x: {}
    seen = np.zeros(2**truth.n, bool)
    if target.train_rows is not None:
        seen[numbers_of(target.train_rows)] = True

    def score(x):
        return of_strings(numbers_of(x), truth.valid, seen if target.train_rows is not None else None)

    return score


def of_masses(q: np.ndarray, target: Target) -> dict[str, float]:
    """The same of probabilities q [2ⁿ], in expectation: all but the coverage, which depends on how many are drawn."""
    truth: Bits = target.truth
    if truth.valid is None:
        return {}
    scores = {"precision": float(q[truth.valid].sum())}
    if target.train_rows is None:
        return scores
    new = np.ones(2**truth.n, bool)
    new[numbers_of(target.train_rows)] = False
    exploration, rate = float(q[new].sum()), float(q[new & truth.valid].sum())
    return scores | {
        "exploration": exploration,
        "fidelity": rate / exploration if exploration else np.nan,
        "rate": rate,
    }


def of_strings(drawn: np.ndarray, valid: np.ndarray, seen: np.ndarray | None) -> dict[str, float]:
    """The scores of drawn strings.

    Args:
      drawn: [Q] numbers.
      valid: [2ⁿ] bool.
      seen: [2ⁿ] bool, the training set; None: there is none.
    """
    n_drawn = len(drawn)
    scores = {"precision": float(valid[drawn].mean())}
    if seen is None:
        return scores
    new = drawn[~seen[drawn]]
    solutions = new[valid[new]]
    unseen = int((valid & ~seen).sum())
    return scores | {
        "exploration": len(new) / n_drawn,
        "fidelity": len(solutions) / len(new) if len(new) else np.nan,
        "rate": len(solutions) / n_drawn,
        "coverage": len(np.unique(solutions)) / unseen if unseen else np.nan,
    }

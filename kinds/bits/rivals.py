"""What trivial models come to at best, exactly: the smallest KL(p ‖ q) of a uniform law, a product and a tree.

Reference: Chow and Liu, Approximating Discrete Probability Distributions with Dependence Trees, 1968.
"""

import math

import numpy as np
import scipy.sparse.csgraph
import scipy.special

from kinds.bits.truth import Bits, rows_of

_BLOCK = 2**16


def moments(p: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The probability that a bit is 1 [n], and that two are [n, n], under probabilities p [2ⁿ]."""
    both = np.zeros((n, n))
    # Where there is no mass there is nothing to add.
    support = np.flatnonzero(p)
    for start in range(0, len(support), _BLOCK):
        numbers = support[start : start + _BLOCK]
        rows = rows_of(numbers, n, np.float64)
        both += rows.T @ (rows * p[numbers, None])
    return np.diagonal(both).copy(), both


def mutual_information(ones: np.ndarray, both: np.ndarray) -> np.ndarray:
    """Between all pairs of bits [n, n], in nats."""
    a, b = ones[:, None], ones[None]
    joint = np.stack([both, a - both, b - both, 1 - a - b + both]).clip(0)
    apart = np.stack([a * b, a * (1 - b), (1 - a) * b, (1 - a) * (1 - b)])
    return (scipy.special.xlogy(joint, joint) - scipy.special.xlogy(joint, apart)).sum(0)


def tree_information(information: np.ndarray) -> float:
    """The sum of the mutual informations [n, n] along the spanning tree that has the largest."""
    # SciPy takes a weight of 0 for no edge: all are moved, by as much for every tree.
    shift = 1 + information.max()
    weights = np.triu(shift - information, 1)
    tree = scipy.sparse.csgraph.minimum_spanning_tree(weights)
    return float(tree.nnz * shift - tree.sum())


def n_params_of_rivals(n: int) -> dict[str, int]:
    """Family -> its parameters on strings of n bits."""
    return {"UNIFORM": 0, "PRODUCT": n, "CHOW_LIU": 2 * n - 1}


def rivals(truth: Bits, entropy: float) -> dict[str, float]:
    """Family -> the smallest exact KL that it can have, in nats."""
    ones, both = moments(truth.p, truth.n)
    of_bits = float((scipy.special.entr(ones) + scipy.special.entr(1 - ones)).sum())
    gained = tree_information(mutual_information(ones, both))
    found = {
        "UNIFORM": truth.n * math.log(2) - entropy,
        "PRODUCT": of_bits - entropy,
        "CHOW_LIU": of_bits - entropy - gained,
    }
    # A sum of rounded terms may be 1e-16 below 0.
    return {name: max(value, 0.0) for name, value in found.items()}

"""The Ising model on a rectangle: its bonds, its energies, and what is exact about its partition function.

A spin is s = 2x − 1 of a bit x, E = −Σ J_ij s_i s_j over the bonds with J = ± 1, and p ∝ exp(−K E) with K = βJ.

References:
  Onsager, Crystal Statistics I, 1944 (K_c = ½ ln(1 + √2)).
  Kaufman, Crystal Statistics II, Phys. Rev. 76, 1232, 1949 (Z of a finite torus).
"""

import math
from typing import Any

import numpy as np
import scipy.special

from models.lattices import Lattice, rectangle

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


def lattice_of(height: int, width: int, boundary: str, coupling: float, couplings: np.ndarray) -> Lattice:
    """The lattice as samplers move it, with J [B] in the order of `bonds`."""
    each, right, below = couplings.astype(np.int8), *np.zeros((2, height, width), np.int8)
    n_right = height * (width if boundary == "torus" else width - 1)
    right[:, : n_right // height] = each[:n_right].reshape(height, -1)
    below[: (len(each) - n_right) // width] = each[n_right:].reshape(-1, width)
    return rectangle(height, width, boundary == "torus", coupling, (right, below))


def energies(n: int, pairs: np.ndarray, couplings: np.ndarray) -> np.ndarray:
    """E of all 2ⁿ states [2ⁿ], in units of |J|; bit 0 is the most significant one of a state's number."""
    shifts = np.arange(n - 1, -1, -1)
    parts = []
    for start in range(0, 2**n, _BLOCK):
        number = np.arange(start, min(start + _BLOCK, 2**n))
        spins = 2.0 * (number[:, None] >> shifts & 1) - 1
        parts.append(-(spins[:, pairs[:, 0]] * spins[:, pairs[:, 1]]) @ couplings)
    return np.concatenate(parts)


def levels(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """E and |M| [L] of all states of a torus of at most 20 sites, and how many states have both."""
    n, pairs = height * width, bonds(height, width, "torus")
    energy = energies(n, pairs, np.ones(len(pairs)))
    size = np.abs(2.0 * np.bitwise_count(np.arange(2**n)) - n)
    found, counts = np.unique(np.stack([energy, size]), axis=1, return_counts=True)
    return found[0], found[1], counts


def averages(energy: np.ndarray, size: np.ndarray, counts: np.ndarray, couplings: np.ndarray) -> np.ndarray:
    """⟨E⟩, C, ⟨|M|⟩ and χ = K var |M| of these levels at every K, [4, couplings]."""
    weight = scipy.special.softmax(np.log(counts) - couplings[:, None] * energy, axis=1)
    (e, ee), (m, mm) = ((weight @ x, weight @ x**2) for x in (energy, size))
    return np.stack([e, couplings**2 * (ee - e**2), m, couplings * (mm - m**2)])


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


def energy_and_heat_capacity(height: int, width: int, coupling: float) -> tuple[float, float]:
    """⟨E⟩ in units of J, and C in units of k, of a torus of any size: −d ln Z/dK and K² d² ln Z/dK², for K ≠ 0.

    The four products of `log_partition` are differentiated term by term. At K_c the only factor that is 0 is
    2 sinh(m γ₀/2), whose logarithm is not taken. A coupling below 0 is that of −K where no ring of bonds is odd.

    Args:
      height: sites a column.
      width: sites a row.
      coupling: K.

    Raises:
      ValueError: K is 0, or below 0 with an odd side, where spins of neighbours cannot all differ.
    """
    if coupling == 0 or (coupling < 0 and (height % 2 or width % 2)):
        raise ValueError(f"K = {coupling:g} on {height} × {width} has no such form")
    if coupling < 0:
        energy, capacity = energy_and_heat_capacity(height, width, -coupling)
        return -energy, capacity
    k, n, m = coupling, height, width
    sinh, cosh = math.sinh(2 * k), math.cosh(2 * k)
    # c = cosh 2K coth 2K and its derivatives by K; of γ by those of cosh γ.
    c = cosh**2 / sinh
    first_c = 2 * cosh - 2 * cosh / sinh**2
    second_c = 4 * sinh + 4 * (1 + cosh**2) / sinh**3
    angles = np.cos(np.pi * np.arange(2 * n) / n)
    # γ₀ has a form of its own below: its cosh, which is 1 at K_c, must not be divided by.
    level = np.where(np.arange(2 * n) == 0, 2.0, c - angles)
    size = np.sqrt(level**2 - 1)
    gamma, first = np.arccosh(level), first_c / size
    second = (second_c - first**2 * level) / size
    gamma[0], first[0], second[0] = 2 * k + math.log(math.tanh(k)), 2 + 2 / sinh, -4 * cosh / sinh**2
    scaled = [m / 2 * each for each in (gamma, first, second)]
    odd, even = ([each[start::2] for each in scaled] for start in (1, 0))
    terms = [_product(odd, np.cosh), _product(odd, np.sinh), _product(even, np.cosh)]
    rest = _product([each[1:] for each in even], np.sinh)
    x, dx, ddx = (float(each[0]) for each in even)
    # 2 sinh x times the rest, whose logarithm is (log, d, dd).
    log, d, dd = rest
    own, d_own, dd_own = 2 * math.sinh(x), 2 * math.cosh(x) * dx, 2 * math.sinh(x) * dx**2 + 2 * math.cosh(x) * ddx
    top = max(each[0] for each in (*terms, rest))
    z = dz = ddz = 0.0
    for term_log, term_d, term_dd in terms:
        weight = math.exp(term_log - top)
        z, dz, ddz = z + weight, dz + weight * term_d, ddz + weight * (term_dd + term_d**2)
    weight = math.exp(log - top)
    z += weight * own
    dz += weight * (d_own + own * d)
    ddz += weight * (dd_own + 2 * d_own * d + own * (dd + d**2))
    first_log = n * m * cosh / sinh + dz / z
    second_log = -2 * n * m / sinh**2 + ddz / z - (dz / z) ** 2
    return -first_log, k**2 * second_log


def _product(x: list[np.ndarray], function: Any) -> tuple[float, float, float]:
    """ln Π 2 f(x) with its first and second derivative, of f = cosh or sinh, where x has derivatives x' and x''."""
    value, first, second = x
    size = np.abs(value)
    with np.errstate(divide="ignore"):
        if function is np.cosh:
            log = size + np.log1p(np.exp(-2 * size))
            slope, bend = np.tanh(value), 1 / np.cosh(np.minimum(size, 350)) ** 2
        else:
            log = size + np.log(-np.expm1(-2 * size))
            slope, bend = 1 / np.tanh(value), -1 / np.sinh(np.minimum(size, 350)) ** 2
    return float(log.sum()), float((slope * first).sum()), float((slope * second + bend * first**2).sum())


def onsager(coupling: float) -> tuple[float, float, float]:
    """E/N in units of J, C/N in units of k, and |m| of the infinite square lattice, for K > 0.

    References: Onsager 1944 (eq. 114, 116, 117); Yang, The Spontaneous Magnetization, 1952.
    """
    k = coupling
    tanh, tanh_1, coth = math.tanh(2 * k), 2 * math.tanh(2 * k) ** 2 - 1, 1 / math.tanh(2 * k)
    modulus = 2 * math.sinh(2 * k) / math.cosh(2 * k) ** 2
    first, second = scipy.special.ellipkm1(max(1 - modulus**2, 1e-300)), scipy.special.ellipe(modulus**2)
    energy = -coth * (1 + 2 / math.pi * tanh_1 * first)
    inner = 2 * first - 2 * second - 2 * (1 - tanh**2) * (math.pi / 2 + tanh_1 * first)
    capacity = 2 / math.pi * (k * coth) ** 2 * inner
    ordered = (1 - math.sinh(2 * k) ** -4) ** 0.125 if k > CRITICAL else 0.0
    return energy, capacity, ordered

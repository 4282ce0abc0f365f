"""Exact autocorrelations of Swendsen and Wang's moves: E[f(s₀) f(s_t)] without a sample.

Let S and T be the up spins of a state and of the next one. They cut the sites into four parts, by whether a spin is up
before and after. A kept bond joins sites of one part, so that with q = exp(−2K)

    P(T | S) = q^(bonds that S aligns) · r(S ∩ T) r(S − T) r(T − S) r(the rest),
    r(U) = Σ_A (1/q − 1)^|A| / 2^(clusters of A) over the sets A of bonds within U.

The probabilities of all T sum to 1. This gives

    Σ_W⊆U r(W) r(U − W) = q^−(bonds within U),

from which r(U) follows once it is known of all smaller sets. States that symmetries of the lattice turn into each other
form one class. The magnetisation is forgotten in one sweep on any lattice, as every cluster has a coin of its own.
"""

from collections.abc import Iterator

import numpy as np
import scipy.special

from models.lattice_spectra import MOST_SITES, autocorrelations, energies_of, spins_of
from models.lattices import Lattice

MOST_PAIRS = 2**25  # of a class and a state: a torus of 4 × 4 has 433 classes, an open lattice of 4 × 4 too many
_BLOCK = 2**20
_ZEROS = 20  # lags at which ρ of the magnetisation is said to be 0


def exact_autocorrelations(lattice: Lattice) -> dict[str, np.ndarray]:
    """ρ(t) of m, and of e and |m| where the lattice is small and its signs are alike, [L] each; the first is 1."""
    found = {"m": np.append(1.0, np.zeros(_ZEROS))}
    if not _can_hold(lattice):
        return found
    classes, matrix = transitions(lattice)
    log_p = -lattice.coupling * energies_of(lattice)
    p = np.exp(log_p - scipy.special.logsumexp(log_p))
    of_class = np.bincount(classes, p)
    sizes = np.bincount(classes)
    functions = {"e": energies_of(lattice), "|m|": np.abs(spins_of(lattice).sum(0, dtype=float))}
    means = {name: np.bincount(classes, values) / sizes for name, values in functions.items()}
    return found | autocorrelations(lambda f: matrix @ f, of_class, means)


def transitions(lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """The class of every state [2^N], and P from class to class [K, K].

    Args:
      lattice: K > 0 with all J = 1.
    """
    classes, n_states = classes_of(lattice), 2**lattice.n_sites
    inside, q = bonds_inside(lattice), np.exp(-2 * abs(lattice.coupling))
    r, after = scaled_sums(inside, q), np.arange(n_states)
    firsts = np.unique(classes, return_index=True)[1]
    matrix = np.empty((len(firsts), len(firsts)))
    everywhere = n_states - 1
    for row, up in zip(matrix, firsts, strict=True):
        parts = (after & up, up & ~after, after & ~up, everywhere ^ (after | up))
        lost = inside[up] + inside[everywhere ^ up] - sum(inside[part] for part in parts)
        row[:] = np.bincount(classes, q**lost * np.prod([r[part] for part in parts], axis=0), len(firsts))
    return classes, matrix


def scaled_sums(inside: np.ndarray, q: float) -> np.ndarray:
    """q^(bonds within U) r(U) of all sets U of sites [2^N]: numbers from 2^−N to ½, however small q is.

    Args:
      inside: bonds within every set [2^N].
      q: the probability that a bond is lost.
    """
    n = len(inside).bit_length() - 1
    sets = np.arange(len(inside), dtype=np.int32)
    sizes, r = np.bitwise_count(sets), np.ones(len(inside))
    powers = q ** np.arange(inside.max() + 1)
    for size in range(1, n + 1):
        own = sets[sizes == size]
        places = np.nonzero(own[:, None] >> np.arange(n) & 1)[1].reshape(len(own), size)
        block = max(1, _BLOCK >> size)
        for start in range(0, len(own), block):
            whole, bits = own[start : start + block, None], np.int32(1) << places[start : start + block]
            # Each way to cut once: the first site is in W, and the last way is no cut.
            part = bits[:, :1].astype(np.int32)
            for i in range(1, size):
                part = np.concatenate([part, part | bits[:, i : i + 1].astype(np.int32)], axis=1)
            part = part[:, :-1]
            rest = whole ^ part
            cut = powers[inside[whole] - inside[part] - inside[rest]]
            r[whole[:, 0]] = 0.5 - (r[part] * r[rest] * cut).sum(1)
    return r


def bonds_inside(lattice: Lattice) -> np.ndarray:
    """How many bonds have both ends in each set of sites [2^N] int64; the first site is the most significant bit."""
    up = (spins_of(lattice) > 0).reshape(lattice.height, lattice.width, -1)
    ways = ((lattice.right, 1), (lattice.below, 0))
    return sum(((up & np.roll(up, -1, axis)) & (bonds != 0)[..., None]).sum((0, 1)) for bonds, axis in ways)


def classes_of(lattice: Lattice) -> np.ndarray:
    """The class of every state [2^N], numbered from 0. Shifts, mirrors and turning all spins keep a state's class."""
    least = np.arange(2**lattice.n_sites)
    images = list(_images(lattice))
    while True:
        before = least
        for image in images:
            least = np.minimum(least, least[image])
        if np.array_equal(least, before):
            return np.unique(least, return_inverse=True)[1]


def _images(lattice: Lattice) -> Iterator[np.ndarray]:
    """The image of every state [2^N] under each of a few symmetries; all others are products of these."""
    n, site = lattice.n_sites, np.arange(lattice.n_sites).reshape(lattice.height, lattice.width)
    moved = [site[::-1], site[:, ::-1]]
    if lattice.height == lattice.width:
        moved.append(site.T)
    if lattice.torus:
        moved += [np.roll(site, 1, 0), np.roll(site, 1, 1)]
    states = np.arange(2**n)
    yield 2**n - 1 - states
    for places in moved:
        yield sum((states >> (n - 1 - old) & 1) << (n - 1 - new) for new, old in enumerate(places.ravel()))


def _can_hold(lattice: Lattice) -> bool:
    plain = lattice.coupling >= 0 and lattice.alike
    if not plain or lattice.n_sites > MOST_SITES:
        return False
    return (classes_of(lattice).max() + 1) * 2**lattice.n_sites <= MOST_PAIRS

"""Exact autocorrelations of local moves on lattices whose states can all be held: E[f(s₀) f(s_t)] without a sample.

A function f of the state is an array [2^N]. A move at site i takes it to (P f)(s) = f(s) + a(s) (f(s with i turned) −
f(s)), where a is the probability that i turns: N passes over the array are a sweep, and no matrix is made.
"""

from collections.abc import Callable, Mapping

import numpy as np
import scipy.special

from models.lattices import Lattice, colours, neighbours

MOST_SITES = 16  # in checkerboard order
MOST_SITES_RANDOM = 9  # in random order, where a sweep takes N² passes
_MOST_LAGS = 400
_SMALL = 1e-4


def spins_of(lattice: Lattice) -> np.ndarray:
    """All states [N, 2^N] of ± 1 int8, the first site the most significant."""
    n = lattice.n_sites
    return (2 * (np.arange(2**n)[None] >> np.arange(n - 1, -1, -1)[:, None] & 1) - 1).astype(np.int8)


def exact_autocorrelations(lattice: Lattice, metropolis: bool, random_order: bool) -> dict[str, np.ndarray]:
    """ρ(t) of e, m and |m|, [L] each, in sweeps; the first is 1. None of a lattice that is too large."""
    if lattice.n_sites > (MOST_SITES_RANDOM if random_order else MOST_SITES):
        return {}
    energy, magnetisation = energies_of(lattice), spins_of(lattice).sum(0, dtype=float)
    p = np.exp(-lattice.coupling * energy - scipy.special.logsumexp(-lattice.coupling * energy))
    functions = {"e": energy, "m": magnetisation, "|m|": np.abs(magnetisation)}
    return autocorrelations(sweep_of(lattice, metropolis, random_order), p, functions)


def energies_of(lattice: Lattice) -> np.ndarray:
    """E of all states [2^N]."""
    spins, (places, signs) = spins_of(lattice), neighbours(lattice)
    energy = np.zeros(spins.shape[1])
    for site, (around, own) in enumerate(zip(places, signs, strict=True)):
        energy -= spins[site] * (own[:, None] * spins[around]).sum(0) / 2
    return energy


def autocorrelations(
    sweep: Callable[[np.ndarray], np.ndarray], p: np.ndarray, functions: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """ρ(t) of functions of the state, [L] each, up to where it is below 1e-4, or 400 lags.

    Args:
      sweep: f [S] -> its expectation after a sweep from every state.
      p: of every state [S], which a sweep leaves as it is.
      functions: name -> [S].
    """
    found = {}
    for name, values in functions.items():
        start = values - p @ values
        moved, rho = start, [1.0]
        while len(rho) < _MOST_LAGS and abs(rho[-1]) > _SMALL:
            moved = sweep(moved)
            rho.append(float(p @ (start * moved) / (p @ start**2)))
        found[name] = np.array(rho)
    return found


def sweep_of(lattice: Lattice, metropolis: bool, random_order: bool) -> Callable[[np.ndarray], np.ndarray]:
    """f [2^N] -> its expectation after a sweep from every state, [2^N]."""
    spins = spins_of(lattice)
    (n, n_states), (places, signs) = spins.shape, neighbours(lattice)
    turn = []
    for site in range(n):
        towards = 2 * lattice.coupling * spins[site] * (signs[site][:, None] * spins[places[site]]).sum(0)
        if metropolis:
            accepted = np.exp(-np.maximum(towards, 0.0))
            turn.append(np.where((towards == 0) & (not random_order), 0.5, accepted))
        else:
            turn.append(scipy.special.expit(-towards))

    def moved(site, f):
        halves = f.reshape(2**site, 2, -1)
        return f + turn[site] * (halves[:, ::-1].reshape(n_states) - f)

    if random_order:

        def sweep(f):
            for _ in range(n):
                f = sum(moved(site, f) for site in range(n)) / n
            return f

        return sweep
    # The expectation takes the last move first.
    order = np.argsort(colours(lattice).ravel(), kind="stable")[::-1]

    def in_order(f):
        for site in order:
            f = moved(site, f)
        return f

    return in_order

"""Samplers of the Ising model beyond the run's own lattice: over temperatures, over sizes at K_c, and as pictures.

Temperatures are T = 1/K in units of J. No scan takes more sweeps than the run has steps.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from core import prng
from models import mixing
from models.base import View
from models.lattice_moves import Moves
from models.lattices import WORD, Lattice, energy_and_magnetisation, rectangle, unpacked

CRITICAL = math.log(1 + math.sqrt(2)) / 2
TEMPERATURES = (1.4, 1.7, 2.0, 2.2, 2.35, 2.5, 2.9, 3.5)
SIZES = (6, 8, 12, 16, 24)
SHOWN = (1.9, 1 / CRITICAL, 3.0)  # temperatures of the snapshots
SIDE = 64  # of their lattice
_SWEEPS, _SNAPSHOT_SWEEPS = 1500, 300
_CHAINS = 32  # at each temperature
# At K_c: the sweeps that say roughly what τ is, and how many τ there must be in them; then as many τ as are enough, and
# at most so many times the square of the side, as which τ of local moves grows.
_FIRST, _SEEN, _ENOUGH, _LONGEST, _MOST_SWEEPS = 300, 20, 100, 40, 16_000


def views_of(lattice: Lattice, moves_of: Callable[[Lattice], Moves], n_steps: int) -> dict[str, View]:
    """The three pictures of the model itself, which samplers share."""
    lattice = rectangle(lattice.height, lattice.width, True, CRITICAL)

    def of_temperatures(state):
        return over_temperatures(lattice, moves_of, state.key_data, min(_SWEEPS, n_steps))

    def of_sizes(state):
        return over_sizes(moves_of, state.key_data, n_steps)

    def of_states(state):
        return snapshots(moves_of, state.key_data, min(_SNAPSHOT_SWEEPS, n_steps))

    return {
        "ising_temperature": View("temperature", of_temperatures),
        "ising_critical_slowing": View("slowing", of_sizes),
        "ising_states": View("states", of_states),
    }


def over_temperatures(lattice: Lattice, moves_of: Any, key_data: jax.Array, n_sweeps: int) -> dict[str, np.ndarray]:
    """Means and their standard errors [2, t] at every temperature: e, |m|, C and χ a site.

    Chains start with all spins up: from a random start, local moves far below T_c end in stripes. A third of the sweeps
    is left to the start, and errors are those of independent chains.
    """
    coupling = np.repeat(1 / np.array(TEMPERATURES), _CHAINS)
    words = jnp.full((lattice.height, lattice.width, len(coupling) // WORD), 0xFFFFFFFF, np.uint32)
    follow = follower(lattice, moves_of(lattice), jnp.asarray(coupling, jnp.float32), n_sweeps)
    _, energy, magnetisation = follow(words, key_data, n_sweeps)
    skipped, n = len(energy) // 3, lattice.n_sites
    k = 1 / np.array(TEMPERATURES)[:, None]
    e, m = (each[skipped:].reshape(-1, len(TEMPERATURES), _CHAINS) / n for each in (energy, magnetisation))
    m = np.abs(m)
    of_chains = {
        "e": e.mean(0),
        "|m|": m.mean(0),
        # Around the mean of all chains of a temperature, so that a chain that has not moved adds what it is off.
        "C": k**2 * n * ((e - e.mean((0, 2))[None, :, None]) ** 2).mean(0),
        "χ": k * n * ((m - m.mean((0, 2))[None, :, None]) ** 2).mean(0),
    }
    found = {name: np.stack([x.mean(1), x.std(1, ddof=1) / math.sqrt(_CHAINS)]) for name, x in of_chains.items()}
    return {"T": np.array(TEMPERATURES), "side": np.array([lattice.height, lattice.width]), **found}


def over_sizes(moves_of: Any, key_data: jax.Array, n_steps: int) -> dict[str, np.ndarray]:
    """τ of |m| at K_c against the side L: [5, sizes] of L, τ, its error, sweeps of a chain, and whether it is trusted.

    A first recording says how long the second has to be.
    """
    rows = []
    for side in SIZES:
        lattice = rectangle(side, side, True, CRITICAL)
        longest = max(8, min(_LONGEST * side**2, _MOST_SWEEPS, 4 * n_steps))
        follow = follower(lattice, moves_of(lattice), CRITICAL, longest)
        words = jnp.full((side, side, _CHAINS // WORD), 0xFFFFFFFF, np.uint32)
        first = min(_FIRST, longest)
        words, _, m = follow(words, key_data, first)
        # A short recording finds a short τ: only one that it has seen many times ends the search early.
        rough = longest if mixing.stuck(np.abs(m).T) else mixing.tau_of(np.abs(m).T[:, first // 3 :]).value
        n_sweeps = int(np.clip(_ENOUGH * rough, min(1000, longest), longest)) if _SEEN * rough < first else longest
        values = np.abs(follow(words, key_data + np.uint32(1), n_sweeps)[2]).T
        if not mixing.stuck(values):
            tau = mixing.tau_of(values)
            rows.append((side, tau.value, tau.error, n_sweeps, float(tau.trusted)))
    return {"tau": np.array(rows, float).reshape(-1, 5).T}


def snapshots(moves_of: Any, key_data: jax.Array, n_sweeps: int) -> dict[str, np.ndarray]:
    """One chain below, at and above T_c after so many sweeps from a random start: [3, 64, 64] of zeros and ones."""
    lattice = rectangle(SIDE, SIDE, True, CRITICAL)
    words = jax.random.bits(prng.unrolled(key_data), (SIDE, SIDE, 1), np.uint32)
    coupling = jnp.asarray(1 / np.array(SHOWN)[np.arange(WORD) % len(SHOWN)], jnp.float32)
    words, _, _ = follower(lattice, moves_of(lattice), coupling, n_sweeps)(words, key_data, n_sweeps)
    shown = np.asarray(unpacked(words))[..., : len(SHOWN)]
    return {"states": np.moveaxis(shown, -1, 0).astype(np.float32), "T": np.array(SHOWN), "sweeps": np.array(n_sweeps)}


def follower(lattice: Lattice, moves: Moves, coupling: Any, longest: int) -> Callable:
    """Compiles (words, key data, n_sweeps ≤ longest) -> words, and E and M after each sweep, [n_sweeps, 32 W]."""

    @jax.jit
    def run(words, key_data, n_sweeps):
        key, n_words = prng.unrolled(key_data), words.shape[-1]

        def sweep(carry):
            i, words, energies, magnetisations = carry
            words = moves.sweep(words, moves.noise(jax.random.fold_in(key, i), n_words), coupling)
            energy, magnetisation = energy_and_magnetisation(lattice, words)
            return i + 1, words, energies.at[i].set(energy), magnetisations.at[i].set(magnetisation)

        blank = jnp.zeros((longest, WORD * words.shape[-1]), jnp.int32)
        return jax.lax.while_loop(lambda carry: carry[0] < n_sweeps, sweep, (0, words, blank, blank))[1:]

    def follow(words, key_data, n_sweeps):
        words, energy, magnetisation = run(words, key_data, n_sweeps)
        return words, np.asarray(energy)[:n_sweeps], np.asarray(magnetisation)[:n_sweeps]

    return follow

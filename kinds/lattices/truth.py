"""What is known of an Ising model on a torus of more than 20 sites.

Energy and heat capacity are exact: derivatives of Kaufman's ln Z. Nothing exact is known of |m| and of the
susceptibility of a finite lattice: both, the distribution of m, and the rows that stand for perfect samples come from
a pool that Swendsen–Wang chains have drawn, many autocorrelation times apart.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from core import prng
from core.errors import UserError
from kinds.bits import ising
from kinds.contract import Codec, Target
from models.lattice_moves import clusters
from models.lattices import WORD, Lattice, packed, rectangle, unpacked
from models.laws import Event, spins

N_CELLS = 40  # of m, from −1 to 1
_CHAINS = 64  # of the pool
_DRAWS, _APART, _BEFORE = 32, 15, 100  # states of a chain, sweeps between them, and before the first
_SEED = 2**31 + 7  # of the pool: it does not depend on the run's


class Observed(NamedTuple):
    """Averages over rows; energy, heat capacity and susceptibility a site."""

    energy: float  # in units of |J|
    magnetisation: float  # ⟨|m|⟩
    heat_capacity: float  # in units of k: K² N var(e)
    susceptibility: float  # times kT: K N var(|m|)


class Lattices(NamedTuple):
    """The truth of targets of the kind `lattices`."""

    lattice: Lattice
    expected: Observed
    errors: Observed  # one standard error of each; 0 of what is exact
    pool: np.ndarray  # [P, height, width / 8 rounded up] uint8, packed bits: rows of the long run
    words: str  # what titles and tables say

    @property
    def n(self) -> int:
        """Sites."""
        return self.lattice.n_sites


def sums_of(rows: np.ndarray, lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """E [n] in units of |J| and M [n] of rows [n, N] of zeros and ones."""
    s = 2 * (np.asarray(rows) > 0.5).astype(np.int8).reshape(-1, lattice.height, lattice.width) - 1
    energy = -(s * np.roll(s, -1, 2) * lattice.right[None]).sum((1, 2), dtype=np.int64)
    energy -= (s * np.roll(s, -1, 1) * lattice.below[None]).sum((1, 2), dtype=np.int64)
    return energy.astype(np.float64), s.sum((1, 2), dtype=np.int64).astype(np.float64)


def observed(energy: np.ndarray, magnetisation: np.ndarray, lattice: Lattice) -> Observed:
    """Averages of rows with these E and M [n]; variances are unbiased."""
    n, k = lattice.n_sites, abs(lattice.coupling)
    size = np.abs(magnetisation)
    degrees = 1 if len(energy) > 1 else 0
    return Observed(
        float(energy.mean() / n),
        float(size.mean() / n),
        float(k**2 * energy.var(ddof=degrees) / n),
        float(k * size.var(ddof=degrees) / n),
    )


def lattice_target(name: str, height: int, width: int, coupling: float, words: str) -> Target:
    """A target of the kind `lattices`, on a torus with all bonds alike; K > 0, or below 0 with even sides."""
    energy, capacity = ising.energy_and_heat_capacity(height, width, coupling)
    lattice = rectangle(height, width, True, coupling)._replace(mean_energy=energy)
    pool = _pool(height, width, coupling)
    e, m = sums_of(_rows(pool, lattice), lattice)
    of_pool = observed(e, m, lattice)
    # The pool's chains are independent: each gives a value of its own.
    parts = [observed(*each, lattice) for each in zip(e.reshape(_DRAWS, -1).T, m.reshape(_DRAWS, -1).T, strict=True)]
    errors = np.std(np.array(parts), axis=0, ddof=1) / math.sqrt(_CHAINS)
    expected = of_pool._replace(energy=energy / lattice.n_sites, heat_capacity=capacity / lattice.n_sites)
    truth = Lattices(lattice, expected, Observed(0.0, float(errors[1]), 0.0, float(errors[3])), pool, words)
    event = Event(lattice.n_sites, (height, width), spins(lattice.n_sites), lattice=lattice)
    return Target(
        name=name,
        kind="lattices",
        dim=lattice.n_sites,
        codec=Codec(event, lambda x: x, lambda x: x, lambda x: x),
        sample=sampler(truth),
        truth=truth,
        notes=(_note(truth, of_pool),),
    )


def _note(truth: Lattices, of_pool: Observed) -> str:
    """What is said of the pool when a run begins: how far its energy is from the exact one."""
    return (
        f"perfect rows: {len(truth.pool)} states of {_CHAINS} Swendsen–Wang chains, {_APART} sweeps apart; their mean "
        f"energy a site is {of_pool.energy:.5f}, the exact one {truth.expected.energy:.5f}"
    ).replace("-", "−")


def sampler(truth: Lattices) -> Callable[[jax.Array, int], jax.Array]:
    """(key, n) -> rows [n, N], drawn from the pool with replacement."""
    lattice = truth.lattice

    def sample(key, n):
        chosen = jax.random.randint(key, (n,), 0, len(truth.pool))
        drawn = jnp.asarray(truth.pool)[chosen]
        bits = (drawn[..., None] >> np.arange(7, -1, -1, dtype=np.uint8).reshape(1, 1, 1, 8)) & np.uint8(1)
        rows = bits.reshape(n, lattice.height, -1)[:, :, : lattice.width]
        return rows.reshape(n, -1).astype(jnp.float32)

    return sample


def _rows(pool: np.ndarray, lattice: Lattice) -> np.ndarray:
    """The pool as rows [P, N] of zeros and ones, uint8."""
    return np.unpackbits(pool, axis=-1, count=lattice.width).reshape(len(pool), -1)


@functools.lru_cache(maxsize=4)
def _pool(height: int, width: int, coupling: float) -> np.ndarray:
    """States of a long run of clusters, packed [P, height, ⌈width/8⌉]: all chains at one time, then at the next."""
    lattice = rectangle(height, width, True, coupling)
    moves = clusters(lattice)

    @jax.jit
    def run():
        key = prng.unrolled(jax.random.key(_SEED))

        def several(words, i, n):
            def sweep(j, words):
                noise = moves.noise(jax.random.fold_in(jax.random.fold_in(key, i), j), _CHAINS // WORD)
                return moves.sweep(words, noise, abs(coupling))

            return jax.lax.fori_loop(0, n, sweep, words)

        def draw(words, i):
            words = several(words, i, _APART)
            return words, words

        words = packed(jnp.zeros((height, width, _CHAINS), bool))
        return jax.lax.scan(draw, several(words, 0, _BEFORE), jnp.arange(1, _DRAWS + 1))[1]

    states = np.asarray(jax.jit(unpacked)(run()))
    return np.packbits(np.moveaxis(states, -1, 1).reshape(-1, height, width), axis=-1)


def shares_of(magnetisation: np.ndarray, n: int) -> np.ndarray:
    """Shares of M [n rows] in equal cells of m from −1 to 1, [N_CELLS]."""
    place = np.clip(((magnetisation / n + 1) / 2 * N_CELLS).astype(int), 0, N_CELLS - 1)
    return np.bincount(place, minlength=N_CELLS) / len(place)


def pool_shares(truth: Lattices) -> np.ndarray:
    """Those of the pool; a state and its mirror image are alike likely, so both are counted."""
    _, m = sums_of(_rows(truth.pool, truth.lattice), truth.lattice)
    return (shares_of(m, truth.n) + shares_of(m, truth.n)[::-1]) / 2


def check(config: Any) -> None:
    """Proves that such a lattice can be judged.

    Raises:
      UserError: the first that cannot.
    """
    s = config.bits
    place = f"{s.height} × {s.width}"
    if s.boundary != "torus" or s.coupling_seed:
        what = 'BITS.boundary = "free"' if s.boundary != "torus" else f"BITS.coupling_seed = {s.coupling_seed}"
        raise UserError(f"{what} has no exact energy on {place} sites: take a torus with all signs alike, or at most "
                        "20 sites, such as 4 × 5")  # fmt: skip
    if min(s.height, s.width) < 3:
        raise UserError(f"a torus of {place} has some bonds twice: give BITS.height and BITS.width at least 3")
    if s.coupling == 0 or (s.coupling < 0 and (s.height % 2 or s.width % 2)):
        raise UserError(f"BITS.coupling = {s.coupling:g} has no exact energy on {place} sites: take one above 0, or "
                        "even sides with one below 0")  # fmt: skip
    if abs(s.coupling) > 3:
        raise UserError(f"BITS.coupling = {s.coupling:g} freezes a lattice of {place}: take at most 3 in size")
    if config.n_samples_train:
        raise UserError("N_SAMPLES_TRAIN needs at most 20 sites: larger lattices have samplers alone, set it to 0")


def words(config: Any) -> str:
    """What titles and tables say of a target besides its name."""
    return f"{config.bits.height} × {config.bits.width}, torus, K = {config.bits.coupling:g}"


TARGETS: dict[str, Callable[[Any], Target]] = {
    "BITS_ISING": lambda config: lattice_target(
        "BITS_ISING", config.bits.height, config.bits.width, config.bits.coupling, words(config)
    )
}

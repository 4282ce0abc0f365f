"""A rectangle of spins with bonds between neighbours: an event where an Ising model is sampled by its own moves.

A spin is s = 2x − 1 of a bit x, and p ∝ exp(Σ K J_ij s_i s_j) over the bonds, with K = βJ and J_ij = ± 1. Sites are
row-major. Chains are 32 to a word: bit c of word w is the spin (1: up) of chain 32 w + c.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

WORD = 32  # chains of a word


class Lattice(NamedTuple):
    """An Ising model on a rectangle."""

    height: int
    width: int
    torus: bool
    coupling: float  # K, of either sign
    right: np.ndarray  # [height, width] int8: J of the bond to the site on the right; 0: there is none
    below: np.ndarray  # [height, width] int8: the same downwards
    mean_energy: float | None = None  # ⟨E⟩ in units of |J|, exact; None: unknown
    mean_size: float | None = None  # ⟨|M|⟩, alike

    @property
    def n_sites(self) -> int:
        """N."""
        return self.height * self.width

    @property
    def alike(self) -> bool:
        """Whether all bonds have the sign that aligns their spins."""
        signs = np.concatenate([self.right.ravel(), self.below.ravel()]) * np.sign(self.coupling)
        return bool((signs >= 0).all())


def rectangle(
    height: int, width: int, torus: bool, coupling: float, signs: tuple[np.ndarray, np.ndarray] | None = None
) -> Lattice:
    """A lattice with all its bonds.

    Args:
      height: rows; on a torus at least 3, as two have a bond twice.
      width: columns, alike.
      torus: whether the last row and column have bonds to the first.
      coupling: K.
      signs: J of the bonds to the right and downwards, each [height, width]; None: all 1.
    """
    right, below = (np.array(each, np.int8) for each in signs or np.ones((2, height, width)))
    if not torus:
        right[:, -1] = 0
        below[-1] = 0
    return Lattice(height, width, torus, coupling, right, below)


def colours(lattice: Lattice) -> np.ndarray:
    """[height, width] int: sites of one colour have no bond between them, so that they can be updated at once.

    Two colours as on a checkerboard; on a torus with an odd side three, as an odd ring needs.
    """
    rows, columns = (np.arange(side) % 2 for side in (lattice.height, lattice.width))
    if not lattice.torus or (lattice.height % 2 == 0 and lattice.width % 2 == 0):
        return (rows[:, None] + columns[None]) % 2
    for side in (rows, columns):
        if len(side) % 2:
            side[-1] = 2
    return (rows[:, None] + columns[None]) % 3


def neighbours(lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """The four neighbours of every site [N, 4] and J of the bonds to them [N, 4]; J is 0 where there is no bond."""
    site = np.arange(lattice.n_sites).reshape(lattice.height, lattice.width)
    ways = [
        (np.roll(site, -1, 1), lattice.right),
        (np.roll(site, 1, 1), np.roll(lattice.right, 1, 1)),
        (np.roll(site, -1, 0), lattice.below),
        (np.roll(site, 1, 0), np.roll(lattice.below, 1, 0)),
    ]
    places, signs = zip(*ways, strict=True)
    return (np.stack([each.ravel() for each in places], -1), np.stack([each.ravel() for each in signs], -1))


def unpacked(words: jax.Array) -> jax.Array:
    """Words [..., W] -> bits [..., 32 W] bool."""
    bits = (words[..., None] >> _places(words.ndim)) & np.uint32(1)
    return bits.reshape(*words.shape[:-1], -1).astype(bool)


def packed(bits: jax.Array) -> jax.Array:
    """Bits [..., 32 W] bool -> words [..., W] uint32."""
    shifted = bits.reshape(*bits.shape[:-1], -1, WORD).astype(np.uint32) << _places(bits.ndim)
    return jnp.sum(shifted, axis=-1, dtype=np.uint32)


def energy_and_magnetisation(lattice: Lattice, words: jax.Array) -> tuple[jax.Array, jax.Array]:
    """E = −Σ J s s' over the bonds and M = Σ s of every chain, each [32 W] int32, of words [height, width, W]."""
    ways = ((lattice.right, 1), (lattice.below, 0))
    against = jnp.stack([
        (words ^ jnp.roll(words, -1, axis) ^ ones(signs < 0)) & ones(signs != 0) for signs, axis in ways
    ])  # fmt: skip
    n_bonds = int(np.abs(lattice.right).sum() + np.abs(lattice.below).sum())
    frustrated = jnp.sum(unpacked(against), axis=(0, 1, 2), dtype=np.int32)
    ups = jnp.sum(unpacked(words), axis=(0, 1), dtype=np.int32)
    return 2 * frustrated - n_bonds, 2 * ups - lattice.n_sites


def _places(n_axes: int) -> np.ndarray:
    """The places of a word's bits, after so many axes."""
    return np.arange(WORD, dtype=np.uint32).reshape((1,) * n_axes + (WORD,))


def ones(where: np.ndarray) -> np.ndarray:
    """Words [..., 1] of ones where something holds."""
    return np.where(where, np.uint32(0xFFFFFFFF), np.uint32(0))[..., None]

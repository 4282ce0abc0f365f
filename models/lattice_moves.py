"""One sweep of an Ising model's chains: local moves in two orders, and Swendsen and Wang's clusters.

Chains are 32 to a word (`models.lattices`), and so are their random numbers: a word of a plane has one binary digit of
32 uniform numbers, and 24 planes have them all. Whether u < q is then found for 32 chains by two operations a digit.
Probabilities are rounded to multiples of 2⁻²⁴: what is rarer than 3e-8 never happens (against four neighbours from
K = 2.2 on), and no visible average depends on the rest.

Local moves at site i with the field n = Σⱼ Jᵢⱼ sⱼ of its neighbours:

    heat bath (Gibbs): s' = 1 with probability 1/(1 + exp(−2 K n)), whatever s is,
    Metropolis:        s' = −s with probability min(1, exp(−2 K s n)).

Both leave p as it is. On a checkerboard the sites of a colour, which have no bond between them, move at once, and a
sweep takes one colour after the other. In random order a sweep is N moves, each at a site that its chain draws.
On a checkerboard Metropolis turns a spin whose field is 0 with probability ½ and not always: stripes one site wide have
no field anywhere, and all of them would turn at once for ever.

Clusters: every bond whose spins it aligns is kept with probability 1 − exp(−2|K|), and every cluster of kept bonds is
turned with probability ½.

References:
  Swendsen and Wang, Nonuniversal Critical Dynamics in Monte Carlo Simulations, 1987.
  Newman and Barkema, Monte Carlo Methods in Statistical Physics, 1999 (§3.1, §4.4, §13.3 multi-spin coding).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models.lattices import WORD, Lattice, colours, neighbours, ones, packed, unpacked

N_PLANES = 24
_ALL = np.uint32(0xFFFFFFFF)
_DEGREES = (2, 3, 4)  # of a site


class Moves(NamedTuple):
    """One sweep of chains, words [height, width, W] uint32; K is |K|, a number or one for every chain [32 W]."""

    noise: Callable[[jax.Array, int], jax.Array]  # (key, W) -> uint32, all randomness of a sweep of 32 W chains
    steps: tuple[
        Callable[[jax.Array, jax.Array, Any], jax.Array], ...
    ]  # (words, noise, K) -> words, one after the other
    # (words, K) -> [], the probability that a move proposed in these states is accepted; None: no move is ever rejected
    acceptance: Callable[[jax.Array, Any], jax.Array] | None = None

    def sweep(self, words: jax.Array, noise: jax.Array, coupling: Any) -> jax.Array:
        """All its steps."""
        for step in self.steps:
            words = step(words, noise, coupling)
        return words


def checkerboard(lattice: Lattice, metropolis: bool) -> Moves:
    """Local moves of one colour after the other, by the heat bath or Metropolis."""
    places = colours(lattice)
    masks = [ones(places == colour) for colour in range(places.max() + 1)]
    degrees = _degrees(lattice)

    def noise(key, n_words):
        return jax.random.bits(key, (N_PLANES, lattice.height, lattice.width, n_words), np.uint32)

    def of_colour(mask):
        def step(words, noise, coupling):
            up, by_size = field_of(lattice, words, degrees)
            level, unlikely = by_size.pop(0, jnp.zeros_like(words)), jnp.zeros_like(words)
            for size, where in by_size.items():
                # The compiler finds this once for all colours: it depends on the noise of the sites alone.
                unlikely |= where & below(noise, _rarity(size, coupling, metropolis))
            if metropolis:
                against = (words ^ up) & ~level
                moved = words ^ (against | unlikely | level & noise[0])
            else:
                moved = (up ^ unlikely) & ~level | (noise[0] & level)
            return words & ~mask | moved & mask

        return step

    return Moves(noise, tuple(map(of_colour, masks)), acceptance_of(lattice, 0.5) if metropolis else None)


def random_order(lattice: Lattice, metropolis: bool) -> Moves:
    """Local moves at N sites, each drawn by every chain for itself."""
    n = lattice.n_sites

    def noise(key, n_words):
        return jax.random.bits(key, (2, n, WORD * n_words), np.uint32)

    def step(words, noise, coupling):
        spins = jnp.where(unpacked(words).reshape(n, -1), 1, -1)
        site = jnp.minimum(((noise[0] >> 8).astype(np.float32) * np.float32(n / 2**24)).astype(np.int32), n - 1)
        u = (noise[1] >> 8).astype(np.float32) * np.float32(2**-24)

        def move(spins, drawn):
            return moved_at(lattice, metropolis, coupling, spins, *drawn), None

        spins, _ = jax.lax.scan(move, spins, (site, u))
        return packed((spins > 0).reshape(*words.shape[:2], -1))

    return Moves(noise, (step,), acceptance_of(lattice, 1.0) if metropolis else None)


def acceptance_of(lattice: Lattice, level: float) -> Callable[[jax.Array, Any], jax.Array]:
    """(words, K) -> the mean of min(1, exp(−2 K s n)) over all sites and chains, [] float32.

    Args:
      lattice: whose spins.
      level: what stands for it where the field n is 0.
    """
    degrees = _degrees(lattice)

    def acceptance(words, coupling):
        up, by_size = field_of(lattice, words, degrees)
        along, total = ~(words ^ up), jnp.float32(0)
        for size, where in by_size.items():
            if size == 0:
                total += level * _share(where)
            else:
                total += _share(where & ~along) + _share(where & along) * _rarity(size, coupling, metropolis=True)
        return total

    return acceptance


def moved_at(
    lattice: Lattice, metropolis: bool, coupling: Any, spins: jax.Array, site: jax.Array, u: jax.Array
) -> jax.Array:
    """Spins [N, C] of ± 1 after every chain has moved at one site [C], with uniforms u [C]."""
    places, signs = neighbours(lattice)
    signs = -signs if lattice.coupling < 0 else signs
    chain = np.arange(spins.shape[1])
    old = spins[site, chain]
    around = jnp.sum(jnp.asarray(signs, spins.dtype)[site] * spins[jnp.asarray(places)[site], chain[:, None]], axis=1)
    if metropolis:
        new = jnp.where(u < jnp.exp(-2 * coupling * old * around), -old, old)
    else:
        new = jnp.where(u < jax.nn.sigmoid(2 * coupling * around), 1, -1)
    return spins.at[site, chain].set(new)


def clusters(lattice: Lattice) -> Moves:
    """Swendsen and Wang's moves."""

    def noise(key, n_words):
        # The planes of both bonds of a site, and its coin.
        return jax.random.bits(key, (2 * N_PLANES + 1, lattice.height, lattice.width, n_words), np.uint32)

    def step(words, noise, coupling):
        bonds = kept_bonds(lattice, words, noise[:-1], coupling)
        return words ^ packed(coins_of(lattice, *map(unpacked, bonds), unpacked(noise[-1])))

    return Moves(noise, (step,))


def kept_bonds(lattice: Lattice, words: jax.Array, planes: jax.Array, coupling: Any) -> tuple[jax.Array, jax.Array]:
    """The bonds to the right and downwards that hold clusters together, as words [height, width, W] each."""
    kept = []
    negative = lattice.coupling < 0
    for signs, axis, own in ((lattice.right, 1, planes[:N_PLANES]), (lattice.below, 0, planes[N_PLANES:])):
        apart = words ^ jnp.roll(words, -1, axis) ^ ones((signs < 0) ^ negative)
        lost = below(own, _rarity(1, coupling, metropolis=True))
        kept.append(~apart & ones(signs != 0) & ~lost)
    return kept[0], kept[1]


def coins_of(lattice: Lattice, right: jax.Array, down: jax.Array, coins: jax.Array) -> jax.Array:
    """For every site the coin of the first site of its cluster, [height, width, C] bool.

    A label is twice a site's number plus its coin. The smallest runs along the lines of kept bonds, all rows and then
    all columns in both directions, until nothing changes: the coin comes along, and nothing is looked up.

    Args:
      lattice: whose clusters.
      right: [height, width, C] bool, kept bonds to the right.
      down: the same downwards.
      coins: [height, width, C] bool.
    """
    numbers = 2 * np.arange(lattice.n_sites, dtype=np.int16).reshape(lattice.height, lattice.width, 1)
    labels = numbers + coins.astype(np.int16)

    def once_more(carry):
        old, _ = carry
        new = _along(_along(old, right, 1), down, 0)
        return new, jnp.any(new != old)

    labels, _ = jax.lax.while_loop(lambda carry: carry[1], once_more, (labels, jnp.bool_(True)))
    return (labels & 1).astype(bool)


def _along(labels: jax.Array, bonds: jax.Array, axis: int) -> jax.Array:
    """Labels after the smallest of connected ones has run forwards and then backwards along an axis, all around."""
    n = labels.shape[axis]

    def at(array, i):
        return jax.lax.dynamic_index_in_dim(array, i, axis)

    def forwards(i, labels):
        following = (i + 1) % n
        own = at(labels, following)
        new = jnp.where(at(bonds, i), jnp.minimum(at(labels, i), own), own)
        return jax.lax.dynamic_update_index_in_dim(labels, new, following, axis)

    def backwards(i, labels):
        before = n - 1 - i
        own = at(labels, before)
        new = jnp.where(at(bonds, before), jnp.minimum(at(labels, (before + 1) % n), own), own)
        return jax.lax.dynamic_update_index_in_dim(labels, new, before, axis)

    return jax.lax.fori_loop(0, n, backwards, jax.lax.fori_loop(0, n, forwards, labels))


def below(planes: jax.Array, probability: Any) -> jax.Array:
    """Words whose bits say where u < q.

    Args:
      planes: [24, ..., W] uint32, binary digits of u, the most significant first.
      probability: q, a number or one for every chain [32 W].
    """
    if _plain(probability):
        level = min(round(float(probability) * 2**N_PLANES), 2**N_PLANES - 1)
        digits = [_ALL if level >> i & 1 else np.uint32(0) for i in range(N_PLANES)]
    else:
        level = jnp.minimum(jnp.round(probability * 2**N_PLANES), 2**N_PLANES - 1).astype(np.uint32)
        shape = (1,) * (planes.ndim - 2) + (-1,)
        digits = [packed((level >> np.uint32(i) & 1).astype(bool)).reshape(shape) for i in range(N_PLANES)]
    found = jnp.zeros_like(planes[0])
    for i, digit in enumerate(digits):
        u = planes[N_PLANES - 1 - i]
        # From the last digit on: a higher one that differs decides.
        found = ~u & digit | ~(u ^ digit) & found
    return found


def field_of(lattice: Lattice, words: jax.Array, degrees: np.ndarray) -> tuple[jax.Array, dict[int, jax.Array]]:
    """The field n of every site, as words: where it points up, and where |n| has each of its sizes.

    Args:
      lattice: whose bonds.
      words: [height, width, W].
      degrees: [height, width], bonds of every site.
    """
    negative = lattice.coupling < 0
    ways = [
        (-1, 1, lattice.right), (1, 1, np.roll(lattice.right, 1, 1)),
        (-1, 0, lattice.below), (1, 0, np.roll(lattice.below, 1, 0)),
    ]  # fmt: skip
    # Each is 1 where that neighbour draws the spin up; 0 where there is no bond.
    a, b, c, d = (
        (jnp.roll(words, shift, axis) ^ ones((signs < 0) ^ negative)) & ones(signs != 0) for shift, axis, signs in ways
    )
    both, both_others = a & b, c & d
    any_up = a | b | c | d
    odd = a ^ b ^ c ^ d
    four = both & both_others
    three = odd & (both | both_others)
    one = odd & ~three
    counts = [~any_up, one, any_up & ~odd & ~four, three, four]
    up, by_size = jnp.zeros_like(words), {}
    for degree in _DEGREES:
        here = degrees == degree
        if not here.any():
            continue
        for ups in range(degree + 1):
            where, n = counts[ups] & ones(here), 2 * ups - degree
            by_size[abs(n)] = by_size.get(abs(n), jnp.zeros_like(words)) | where
            up = up | where if n > 0 else up
    return up, by_size


def _share(words: jax.Array) -> jax.Array:
    """The share of ones, [] float32."""
    return jnp.mean(jax.lax.population_count(words).astype(np.float32)) / WORD


def _degrees(lattice: Lattice) -> np.ndarray:
    """Bonds of every site [height, width]."""
    return np.abs(neighbours(lattice)[1]).sum(1).reshape(lattice.height, lattice.width)


def _rarity(size: int, coupling: Any, metropolis: bool) -> Any:
    """The probability of what a field of this size makes unlikely: to point, or to turn, against it."""
    module = np if _plain(coupling) else jnp
    return module.exp(-2 * coupling * size) if metropolis else 1 / (1 + module.exp(2 * coupling * size))


def _plain(number: Any) -> bool:
    return isinstance(number, int | float)

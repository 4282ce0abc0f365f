"""Every move on an Ising lattice by its full transition matrix, taken from the program's own kernel bit by bit."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from kinds.bits import ising
from models import lattice_moves
from models.lattices import Lattice, colours, energy_and_magnetisation, neighbours, packed, rectangle, unpacked

# A side of 2 has a bond twice on a torus.
LATTICES = {
    "2×3 free": rectangle(2, 3, False, 0.4),
    "3×3 torus": rectangle(3, 3, True, 0.4406868),
    "3×3 free": rectangle(3, 3, False, 0.6),
    "3×3 antiferromagnet": rectangle(3, 3, True, -0.3),
    "3×3 random signs": rectangle(3, 3, True, 0.5, tuple(np.random.default_rng(3).choice([-1, 1], (2, 3, 3)))),
}
SMALLEST = 2.0**-lattice_moves.N_PLANES


def states(lattice: Lattice) -> np.ndarray:
    """All states [2^N, N] of zeros and ones, the first site the most significant."""
    n = lattice.n_sites
    return np.arange(2**n)[:, None] >> np.arange(n - 1, -1, -1) & 1


def number(bits: np.ndarray) -> np.ndarray:
    """States [N, C] of zeros and ones -> their numbers [C]."""
    return 2 ** np.arange(len(bits) - 1, -1, -1) @ bits


def as_words(lattice: Lattice, bits: np.ndarray) -> jax.Array:
    """[C, N] -> words [height, width, W]; C is a multiple of 32."""
    return packed(jnp.asarray(bits.T.reshape(lattice.height, lattice.width, -1).astype(bool)))


def as_bits(lattice: Lattice, words: jax.Array) -> np.ndarray:
    """Words -> [N, C]."""
    return np.asarray(unpacked(words)).reshape(lattice.n_sites, -1).astype(int)


def law(lattice: Lattice) -> np.ndarray:
    """p of all states, from energies that another module has."""
    pairs = ising.bonds(lattice.height, lattice.width, "torus" if lattice.torus else "free")
    right, below = lattice.right, lattice.below
    if not lattice.torus:
        right, below = right[:, :-1], below[:-1]
    signs = np.concatenate([right.ravel(), below.ravel()])
    weights = np.exp(-lattice.coupling * ising.energies(lattice.n_sites, pairs, signs.astype(float)))
    return weights / weights.sum()


def planes_of(u: np.ndarray) -> jax.Array:
    """Uniform numbers [..., C] -> their digits, words [24, ..., W]."""
    whole = np.floor(u * 2**lattice_moves.N_PLANES).astype(np.int64)
    digits = [whole >> i & 1 for i in range(lattice_moves.N_PLANES - 1, -1, -1)]
    return packed(jnp.asarray(np.stack(digits).astype(bool)))


def thresholds(lattice: Lattice, metropolis: bool) -> np.ndarray:
    """Edges of the intervals of u within which no move depends on it: of every field that a site can have."""
    k, sizes = abs(lattice.coupling), np.arange(1, 5)
    levels = np.exp(-2 * k * sizes) if metropolis else 1 / (1 + np.exp(2 * k * sizes))
    rounded = np.round(np.append(levels, 0.5) / SMALLEST) * SMALLEST
    return np.unique(np.concatenate([[0.0, 1.0], rounded]))


def matrix_of_step(lattice: Lattice, step, moving: np.ndarray, metropolis: bool) -> np.ndarray:
    """P [2^N, 2^N] of one step that moves some sites at once: all intervals of u of these, by the kernel itself."""
    edges = thresholds(lattice, metropolis)
    middles, lengths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    n, all_states = lattice.n_sites, states(lattice)
    words, matrix = as_words(lattice, all_states), np.zeros((2**n, 2**n))
    run = jax.jit(lambda words, noise: step(words, noise, abs(lattice.coupling)))
    for chosen in itertools.product(range(len(middles)), repeat=len(moving)):
        u = np.zeros((n, 1))
        u[moving, 0] = middles[list(chosen)]
        u = np.broadcast_to(u, (n, 2**n)).reshape(lattice.height, lattice.width, -1)
        after = number(as_bits(lattice, run(words, planes_of(u))))
        np.add.at(matrix, (np.arange(2**n), after), lengths[list(chosen)].prod())
    return matrix


def assert_balanced(matrix: np.ndarray, p: np.ndarray, error: float) -> None:
    """Rows sum to 1, and p is left as it is, move by move."""
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-12)
    flow = p[:, None] * matrix
    np.testing.assert_allclose(flow, flow.T, atol=error)
    np.testing.assert_allclose(p @ matrix, p, atol=error)


def sweep_matrix(name: str, metropolis: bool) -> np.ndarray:
    """P of a checkerboard sweep."""
    lattice = LATTICES[name]
    places, moves = colours(lattice).ravel(), lattice_moves.checkerboard(lattice, metropolis)
    whole = np.eye(2**lattice.n_sites)
    for colour, step in enumerate(moves.steps):
        matrix = matrix_of_step(lattice, step, np.flatnonzero(places == colour), metropolis)
        assert_balanced(matrix, law(lattice), 4 * SMALLEST)
        whole = whole @ matrix
    return whole


@pytest.mark.parametrize("metropolis", [False, True])
@pytest.mark.parametrize("name", ["2×3 free", "3×3 torus", "3×3 antiferromagnet", "3×3 random signs"])
def test_checkerboard_keeps_the_law_and_reaches_it(name, metropolis):
    matrix, p = sweep_matrix(name, metropolis), law(LATTICES[name])
    np.testing.assert_allclose(p @ matrix, p, atol=20 * SMALLEST)
    # From anywhere: a sweep is neither periodic nor cut in two.
    np.testing.assert_allclose(np.linalg.matrix_power(matrix, 4096), np.tile(p, (len(p), 1)), atol=1e-4)


@pytest.mark.parametrize("metropolis", [False, True])
def test_stripes_dissolve(metropolis):
    # No site has a field: were all of them turned at once, stripes would stay for ever.
    lattice = rectangle(4, 4, True, 0.2)
    moves = lattice_moves.checkerboard(lattice, metropolis)
    words = jnp.broadcast_to(jnp.asarray([0, 0xFFFFFFFF, 0, 0xFFFFFFFF], jnp.uint32)[None, :, None], (4, 4, 8))
    for i in range(20):
        words = moves.sweep(words, moves.noise(jax.random.key(i), 8), 0.2)
    energy = np.asarray(energy_and_magnetisation(lattice, words)[0], float)
    known = ising.energies(16, ising.bonds(4, 4, "torus"), np.ones(32))
    error = energy.std() / np.sqrt(energy.size)
    assert energy.mean() == pytest.approx(law(lattice) @ known, abs=4 * error)


@pytest.mark.parametrize("metropolis", [False, True])
@pytest.mark.parametrize("name", LATTICES)
def test_a_move_at_one_site_is_balanced(name, metropolis):
    lattice = LATTICES[name]
    n, all_states = lattice.n_sites, states(lattice)
    k, sizes = abs(lattice.coupling), np.arange(-4, 5)
    edges = np.unique([0.0, 1.0, *np.minimum(np.exp(-2 * k * sizes), 1), *(1 / (1 + np.exp(2 * k * sizes)))])
    spins, matrix = jnp.asarray(2 * all_states.T - 1), np.zeros((2**n, 2**n))
    for site in range(n):
        own = np.zeros_like(matrix)
        for low, high in itertools.pairwise(edges):
            u, at = jnp.full(2**n, (low + high) / 2), jnp.full(2**n, site)
            after = lattice_moves.moved_at(lattice, metropolis, k, spins, at, u)
            np.add.at(own, (np.arange(2**n), number((np.asarray(after) + 1) // 2)), high - low)
        assert_balanced(own, law(lattice), 1e-7)
        matrix += own / n
    assert_balanced(matrix, law(lattice), 1e-7)


def roots_of(lattice: Lattice, kept: np.ndarray) -> np.ndarray:
    """The first site of every site's cluster [B, N], by the kernel, of kept bonds [B, 2 N] to the right and below."""
    right, down = (jnp.asarray(half.T.reshape(lattice.height, lattice.width, -1)) for half in np.split(kept, 2, axis=1))
    run = jax.jit(lambda coins: lattice_moves.coins_of(lattice, right, down, coins))
    roots = np.full((lattice.n_sites, len(kept)), -1)
    for site in range(lattice.n_sites):
        coins = np.zeros((lattice.n_sites, len(kept)), bool)
        coins[site] = True
        found = np.asarray(run(jnp.asarray(coins.reshape(lattice.height, lattice.width, -1))))
        roots[found.reshape(lattice.n_sites, -1)] = site
    return roots.T


@pytest.mark.parametrize(
    "name",
    ["2×3 free", "3×3 free", *(pytest.param(n, marks=pytest.mark.slow) for n in ("3×3 torus", "3×3 random signs"))],
)
def test_clusters_are_balanced(name):
    lattice = LATTICES[name]
    matrix = cluster_matrix(lattice)
    assert_balanced(matrix, law(lattice), 1e-7)
    assert (matrix > 0).all()


def cluster_matrix(lattice: Lattice) -> np.ndarray:
    """P of a sweep of clusters: sum over all sets of kept bonds, with the kernel's own bonds and clusters."""
    n, all_states = lattice.n_sites, states(lattice)
    places = np.flatnonzero(np.concatenate([lattice.right.ravel(), lattice.below.ravel()]))
    kept = np.zeros((2 ** len(places), 2 * n), bool)
    kept[:, places] = np.arange(2 ** len(places))[:, None] >> np.arange(len(places)) & 1
    # Which bonds a state can keep, and how likely: just below and just above what decides.
    lost = round(np.exp(-2 * abs(lattice.coupling)) / SMALLEST) * SMALLEST
    words, can = as_words(lattice, all_states), []
    for u in (lost - SMALLEST / 2, lost + SMALLEST / 2):
        planes = planes_of(np.full((lattice.height, lattice.width, 2**n), u))
        bonds = lattice_moves.kept_bonds(lattice, words, jnp.concatenate([planes, planes]), abs(lattice.coupling))
        can.append(np.concatenate([as_bits(lattice, each) for each in bonds])[places].T.astype(bool))
    assert not can[0].any()
    roots = roots_of(lattice, kept)
    partitions, of = np.unique(roots, axis=0, return_inverse=True)
    n_kept = kept.sum(1)
    matrix = np.zeros((2**n, 2**n))
    turned = [_turns(root) for root in partitions]
    for state, possible in enumerate(can[1]):
        allowed = ~(kept[:, places] & ~possible).any(1)
        weight = np.where(allowed, (1 - lost) ** n_kept * lost ** (possible.sum() - n_kept), 0)
        for partition, share in enumerate(np.bincount(of.ravel(), weight, len(partitions))):
            if share:
                matrix[state, state ^ turned[partition]] += share / len(turned[partition])
    return matrix


def _turns(root: np.ndarray) -> np.ndarray:
    """Numbers of the sites that turn, for all coins of the clusters with these first sites [N]."""
    n = len(root)
    masks = [int(((root == first) * 2 ** np.arange(n - 1, -1, -1)).sum()) for first in np.unique(root)]
    return np.array([sum(chosen) for chosen in itertools.product(*((0, mask) for mask in masks))])


@pytest.mark.parametrize("make", ["checkerboard", "random_order", "clusters"])
def test_a_coupling_a_chain_moves_as_one_for_all(make):
    lattice = rectangle(6, 5, False, 0.4, tuple(np.random.default_rng(1).choice([-1, 1], (2, 6, 5))))
    make = getattr(lattice_moves, make)
    moves = make(lattice) if make is lattice_moves.clusters else make(lattice, True)
    words = jax.random.bits(jax.random.key(0), (6, 5, 2), np.uint32)
    noise = moves.noise(jax.random.key(1), 2)
    one = moves.sweep(words, noise, 0.4)
    np.testing.assert_array_equal(one, moves.sweep(words, noise, jnp.full(64, 0.4)))
    assert np.any(one != words)
    # Each by its own.
    mixed = moves.sweep(words, noise, jnp.where(jnp.arange(64) < 32, 0.4, 0.1))
    np.testing.assert_array_equal(one[..., 0], mixed[..., 0])
    assert np.any(one[..., 1] != mixed[..., 1])


@pytest.mark.parametrize("metropolis", [False, True])
def test_sweeps_in_random_order_reach_every_state_as_often_as_its_law_says(metropolis):
    lattice = LATTICES["2×3 free"]
    moves, n_words = lattice_moves.random_order(lattice, metropolis), 512
    words = jnp.full((2, 3, n_words), 2**32 - 1, np.uint32)

    @jax.jit
    def swept(words):
        def once(words, key):
            return moves.sweep(words, moves.noise(key, n_words), 0.4), None

        # The slowest mode of 2 × 3 spins at this coupling is gone after a tenth of these sweeps.
        return jax.lax.scan(once, words, jax.random.split(jax.random.key(5), 100))[0]

    counts = np.bincount(number(as_bits(lattice, swept(words))), minlength=64)
    # Independent chains: the statistic has 63 degrees of freedom, and exceeds this bound once in 10⁵ keys.
    statistic, expected = counts - 32 * n_words * law(lattice), 32 * n_words * law(lattice)
    assert (statistic**2 / expected).sum() < scipy.stats.chi2.isf(1e-5, 63)


def test_digits_make_the_number_that_is_compared():
    u = np.random.default_rng(0).random((3, 5, 64))
    for q in (0.0, 0.25, 0.0286, 0.5, 0.999):
        found = np.asarray(unpacked(lattice_moves.below(planes_of(u), q)))
        np.testing.assert_array_equal(found, np.floor(u / SMALLEST) < round(q / SMALLEST))


@pytest.mark.parametrize("name", LATTICES)
def test_energies_and_magnetisations(name):
    lattice = LATTICES[name]
    energy, magnetisation = energy_and_magnetisation(lattice, as_words(lattice, states(lattice)))
    log_p = -lattice.coupling * np.asarray(energy, float)
    np.testing.assert_allclose(np.exp(log_p) / np.exp(log_p).sum(), law(lattice), rtol=1e-12)
    np.testing.assert_array_equal(magnetisation, (2 * states(lattice) - 1).sum(1))


@pytest.mark.parametrize(
    ("height", "width", "torus", "n"), [(4, 6, True, 2), (3, 5, False, 2), (3, 4, True, 3), (5, 5, True, 3)]
)
def test_no_bond_joins_sites_of_one_colour(height, width, torus, n):
    lattice = rectangle(height, width, torus, 0.4)
    places, signs = neighbours(lattice)
    colour = colours(lattice).ravel()
    assert set(colour) == set(range(n))
    assert not ((colour[places] == colour[:, None]) & (signs != 0)).any()

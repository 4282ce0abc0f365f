"""The fast streams are JAX's own, bit for bit, and what is made of them is normal."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from conftest import quick_if

from core import prng
from studies import compilation

# The lengths of a stream: none, one, odd, even, and more than a vector of the processor holds.
SHAPES = [(), (0,), (1,), (2,), (7,), (8,), (3, 5), (2, 0, 3), (4, 129), (1001,)]
# Both words of a key count, with their highest bits.
KEY_DATA = np.array([[0, 0], [0, 42], [2**32 - 1, 2**31], [0x13198A2E, 0x03707344]], np.uint32)
# A false alarm in 150 000 for one entry and a normal error.
N_ERRORS = 4.5
N = 2**22
EPS = np.finfo(np.float32).eps
FARTHEST = math.sqrt(2 * 24 * math.log(2))


def plain(data):
    """JAX's own keys of key data [..., 2]."""
    return jax.random.wrap_key_data(jnp.asarray(data), impl="threefry2x32")


def fast(data):
    return prng.unrolled(plain(data))


def data_of(value):
    """Keys as their data, anything else as it is."""
    return jax.random.key_data(value) if jnp.issubdtype(value.dtype, jax.dtypes.prng_key) else value


def assert_same_bits(first, second):
    first, second = np.asarray(data_of(first)), np.asarray(data_of(second))
    assert first.dtype == second.dtype
    assert first.shape == second.shape
    assert first.tobytes() == second.tobytes()


# One more function of a key and a shape a line; split and fold_in give keys.
BIT_FOR_BIT = {
    "bits": jax.random.bits,
    "uniform": jax.random.uniform,
    "uniform in a range": lambda key, shape: jax.random.uniform(key, shape, minval=-2.0, maxval=5.0),
    "randint": lambda key, shape: jax.random.randint(key, shape, -3, 1000),
    "bernoulli": lambda key, shape: jax.random.bernoulli(key, 0.3, shape),
    "permutation": lambda key, shape: jax.random.permutation(key, math.prod(shape)),
    "split": lambda key, shape: jax.random.split(key, shape),
    "fold_in": lambda key, shape: jax.random.fold_in(key, 2**31 + math.prod(shape)),
    "bits of a split": lambda key, shape: jax.random.bits(jax.random.split(key, 3)[1], shape),
    "bits of a fold": lambda key, shape: jax.random.bits(jax.random.fold_in(key, 5), shape),
}
# These take logarithms, whose last bit depends on what they are compiled with.
BUT_FOR_ROUNDING = {"gumbel": jax.random.gumbel, "exponential": jax.random.exponential}


def expected_of(function, data):
    with jax.threefry_partitionable(False):
        return function(plain(data))


def assert_equal_values(name, found, expected):
    if name in BIT_FOR_BIT:
        assert_same_bits(found, expected)
    else:
        assert found.dtype == expected.dtype
        # Each logarithm is right to two units in the last place, and that of a number near 1 to as many of 1.
        tolerance = 4 * float(jnp.finfo(found.dtype).eps)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


# Every length of a stream, and every function of one odd and one even length.
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        quick_if(name == "bits" or shape in [(7,), (4, 129)], name, shape, id=f"{name} {shape}")
        for name in (*BIT_FOR_BIT, *BUT_FOR_ROUNDING)
        for shape in SHAPES
    ],
)
def test_streams_are_those_of_jax(name, shape):
    function = functools.partial({**BIT_FOR_BIT, **BUT_FOR_ROUNDING}[name], shape=shape)
    each = [expected_of(function, data) for data in KEY_DATA]
    for data, expected in zip(KEY_DATA, each, strict=True):
        assert_equal_values(name, function(fast(data)), expected)
    assert_equal_values(name, jax.jit(function)(fast(KEY_DATA[2])), each[2])
    # Over keys side by side, compiled and not.
    together = jnp.stack([data_of(expected) for expected in each])
    for mapped in (jax.vmap(function), jax.jit(jax.vmap(function))):
        assert_equal_values(name, data_of(mapped(fast(KEY_DATA))), together)


def test_streams_differ_from_those_of_partitionable_keys():
    """What shows that the test above compares with the right one of JAX's two orders."""
    with jax.threefry_partitionable(True):
        assert np.any(jax.random.bits(plain(KEY_DATA[1]), (8,)) != jax.random.bits(fast(KEY_DATA[1]), (8,)))


@pytest.mark.parametrize("shape", [quick_if(shape == (7,), shape, id=str(shape)) for shape in [(), (0,), (7,), (2, 3)]])
def test_streams_of_other_widths(shape):
    def floats(key, dtype):
        return jax.random.uniform(key, shape, dtype)

    def integers(key, dtype):
        return jax.random.randint(key, shape, 0, 100, dtype)

    def bits(key, dtype):
        return jax.random.bits(key, shape, dtype)

    with jax.enable_x64(True):
        for function, dtype in (
            *itertools.product((bits,), ("uint8", "uint16", "uint32", "uint64")),
            *itertools.product((floats,), ("float16", "float32", "float64")),
            *itertools.product((integers,), ("int8", "int16", "int32", "int64")),
        ):
            draw = functools.partial(function, dtype=dtype)
            each = [expected_of(draw, data) for data in KEY_DATA]
            assert each[0].dtype == dtype
            assert_same_bits(draw(fast(KEY_DATA[2])), each[2])
            assert_same_bits(jax.jit(draw)(fast(KEY_DATA[2])), each[2])
            assert_same_bits(jax.vmap(draw)(fast(KEY_DATA)), jnp.stack(each))


def test_the_hash_is_threefry():
    # The known answers of the Random123 library for Threefry-2x32 in 20 rounds.
    for counter, key, answer in (
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((2**32 - 1,) * 2, (2**32 - 1,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ):
        words = prng._hash(jnp.array(key, jnp.uint32), *(jnp.uint32(word) for word in counter))
        assert tuple(int(word) for word in words) == answer


def test_a_key_keeps_its_data():
    key = plain(KEY_DATA)
    assert_same_bits(prng.unrolled(key), key)
    assert_same_bits(prng.unrolled(prng.unrolled(key)), key)
    assert prng.unrolled(key).shape == key.shape
    assert prng.unrolled(key).dtype != key.dtype
    # And one made from a seed is JAX's.
    assert_same_bits(jax.random.key(42, impl=prng._UNROLLED), jax.random.key(42, impl="threefry2x32"))


def formula(first_words, second_words):
    """Box–Muller in float64: both numbers of each pair, and the pairs' radii."""
    uniform = ((first_words >> 8).astype(np.float64) + 1) * 2.0**-24
    radius = np.sqrt(-2 * np.log(uniform))
    # 24 bits within a quarter of a turn that begins an eighth before a direction, at the middle of a step; two choose
    # the direction.
    angle = ((second_words >> 8).astype(np.float64) + 0.5) * (np.pi / 2 * 2.0**-24) - np.pi / 4
    angle = angle + np.pi / 2 * (second_words & 3)
    return radius * np.cos(angle), radius * np.sin(angle), radius


def assert_is_formula(found, first_words, second_words):
    first, second, radius = formula(first_words, second_words)
    found = np.asarray(found, np.float64)
    # The angle before its shift is as large as π/2, so that its rounding, and that of its constants, come to a unit of
    # 1; logarithm, root, polynomial and product to one and a half together. All of it is in proportion to the radius:
    # near an axis the smaller number of a pair has no more than the angle's absolute precision.
    bound = 2.5 * EPS * np.concatenate([radius, radius])[: found.size]
    assert np.all(np.abs(found - np.concatenate([first, second])[: found.size]) <= bound)


@pytest.mark.parametrize("n", [1, 2, 3, 100_000, 100_001])
@pytest.mark.parametrize("compiled", [False, True])
def test_normal_numbers_are_those_of_the_formula(n, compiled):
    half = -(-n // 2)
    draw = functools.partial(prng.normal, shape=(n,))
    for data in KEY_DATA:
        with jax.threefry_partitionable(False):
            words = np.asarray(jax.random.bits(plain(data), (2 * half,)))
        found = (jax.jit(draw) if compiled else draw)(fast(data))
        assert found.dtype == jnp.float32
        assert_is_formula(found, words[:half], words[half:])


def test_normal_numbers_of_the_outermost_words(monkeypatch):
    # The smallest and largest uniform numbers, and angles at both ends of every direction's quarter and beside its
    # middle.
    ends = np.array([0, 1 << 8, (2**23 - 1) << 8, 2**23 << 8, 2**32 - 2**9, 2**32 - 2**8], np.uint32)
    pairs = np.array([(x, y | d) for x in [*ends, 2**32 - 1] for y in ends for d in range(4)], np.uint32).T
    monkeypatch.setattr(prng, "_hash", lambda key, low, high: tuple(jnp.asarray(word) for word in pairs))
    found = np.asarray(prng.normal(plain(KEY_DATA[0]), (pairs.size,)), np.float64)
    assert np.all(np.isfinite(found))
    assert_is_formula(found, *pairs)
    # The smallest uniform number is 2⁻²⁴, never 0, and the largest is 1, whose radius is 0.
    assert FARTHEST < 5.77
    assert FARTHEST * (1 - 1e-6) < np.abs(found).max() <= FARTHEST * (1 + 2 * EPS)
    assert np.all(found[np.tile(pairs[0] >= 2**32 - 2**8, 2)] == 0)
    # P(|x| > 5.77), which these numbers leave out.
    assert 2 * scipy.stats.norm.sf(FARTHEST) == pytest.approx(8e-9, rel=0.02)


@pytest.mark.parametrize(
    "shape",
    [
        quick_if(shape in [(1,), (7,), (4, 129), (4099,)], shape, id=str(shape))
        for shape in [*SHAPES, (2, 16, 25), (4099,)]
    ],
)
def test_normal_numbers_of_every_shape_and_kind_of_key(shape):
    n = math.prod(shape)
    for data in KEY_DATA:
        found = prng.normal(fast(data), shape)
        assert found.shape == shape
        assert found.dtype == jnp.float32
        # The same for JAX's own keys, whichever the order of their streams.
        for partitionable in (False, True):
            with jax.threefry_partitionable(partitionable):
                assert_same_bits(prng.normal(plain(data), shape), found)
        # A shape is only a shape, and an odd number of them all but the last of an even one.
        assert_same_bits(found.ravel(), prng.normal(fast(data), (n,)))
        assert_same_bits(found.ravel(), prng.normal(fast(data), (n + n % 2,))[:n])
    with jax.enable_x64(True):
        assert prng.normal(fast(data), shape).dtype == jnp.float32
    together = jax.jit(jax.vmap(lambda key: prng.normal(key, shape)))(fast(KEY_DATA))
    for found, data in zip(together, KEY_DATA, strict=True):
        # Another program: the last bits may differ, by twice what either is allowed from the formula.
        np.testing.assert_allclose(found, prng.normal(fast(data), shape), rtol=0, atol=5 * EPS * FARTHEST)


DRAWN = {}


@pytest.fixture(params=[0])
def x(request):
    """N normal numbers of one key, float64; the key is fixed."""
    if request.param not in DRAWN:
        key = prng.unrolled(jax.random.key(request.param))
        DRAWN[request.param] = np.asarray(jax.jit(lambda key: prng.normal(key, (N,)))(key), np.float64)
    return DRAWN[request.param]


# They share what is drawn, and so one worker runs them all.
statistical = pytest.mark.xdist_group("normal numbers")


@statistical
def test_moments(x):
    for k in range(1, 7):
        expected = scipy.special.factorial2(k - 1) if k % 2 == 0 else 0.0
        # Var xᵏ = E x²ᵏ − (E xᵏ)², with E x²ᵏ = (2k − 1)!!. All numbers of a call are independent.
        error = math.sqrt((scipy.special.factorial2(2 * k - 1) - expected**2) / N)
        assert abs(np.mean(x**k) - expected) < N_ERRORS * error


@statistical
def test_distribution_function(x):
    # True normal numbers fail this for one key in a thousand; the keys are fixed.
    assert scipy.stats.kstest(x, "norm").pvalue > 1e-3


@statistical
def test_tails(x):
    for threshold in (3.0, 3.5, 4.0, 4.5):
        for side in (x, -x):
            # Counts are binomial: the range holds 99.9 % of them.
            low, high = scipy.stats.binom.ppf([0.0005, 0.9995], N, scipy.stats.norm.sf(threshold))
            assert low <= np.sum(side > threshold) <= high
    assert np.abs(x).max() <= FARTHEST * (1 + 2 * EPS)
    # All tail cells at once, with the rest as one; 14 are expected in an outermost one.
    edges = np.array([3.0, 3.25, 3.5, 3.75, 4.0, 4.25, 4.5])
    cuts = np.concatenate([[-np.inf], -edges[::-1], edges, [np.inf]])
    expected = N * np.diff(scipy.stats.norm.cdf(cuts))
    # Where the distribution function is near 1 a difference loses its digits: the cells are symmetric.
    expected[len(edges) + 1 :] = expected[len(edges) - 1 :: -1]
    assert expected.min() > 10
    counts = np.histogram(x, cuts)[0]
    assert scipy.stats.chisquare(counts, expected * N / expected.sum()).pvalue > 1e-3


@statistical
def test_bulk(x):
    # A hundred cells of equal mass.
    counts = np.bincount(np.searchsorted(scipy.stats.norm.ppf(np.arange(1, 100) / 100), x), minlength=100)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def correlation(first, second):
    return float(np.corrcoef(first, second)[0, 1])


@statistical
def test_the_two_of_a_pair_are_independent(x):
    first, second = x[: N // 2], x[N // 2 :]
    # A correlation of independent pairs has a standard error of 1/√n. A radius that were not the right one for its
    # angle would show among squares and fourth powers, where a common scale is seen.
    powers = (1, 2, 3, 4)
    for i, j in itertools.product(powers, powers):
        assert abs(correlation(first**i, second**j)) < N_ERRORS / math.sqrt(N // 2)
    assert abs(correlation(np.abs(first), np.abs(second))) < N_ERRORS / math.sqrt(N // 2)
    # Both far out at once: the smaller of the two beyond t has the square of one's probability.
    for threshold in (1.5, 2.0, 2.5):
        low, high = scipy.stats.binom.ppf([0.0005, 0.9995], N // 2, (2 * scipy.stats.norm.sf(threshold)) ** 2)
        assert low <= np.sum(np.minimum(np.abs(first), np.abs(second)) > threshold) <= high


@statistical
def test_angle_and_radius(x):
    first, second = x[: N // 2], x[N // 2 :]
    turn = np.arctan2(second, first) / (2 * np.pi) + 0.5
    # e^(−r²/2) is uniform; like the turn it takes 2²⁴ values or more, far more than n resolves.
    share = np.exp(-(first**2 + second**2) / 2)
    for values in (turn, share):
        assert scipy.stats.kstest(values, "uniform").pvalue > 1e-3
    # Each angle's sector has as many of every radius: 64 by 16 cells of 2 048 pairs.
    cell = np.minimum((turn * 64).astype(int), 63) * 16 + np.minimum((share * 16).astype(int), 15)
    assert scipy.stats.chisquare(np.bincount(cell, minlength=1024)).pvalue > 1e-3
    # The eight octants alone see the smallest asymmetry between directions.
    assert scipy.stats.chisquare(np.bincount((turn * 8).astype(int) % 8, minlength=8)).pvalue > 1e-3


@statistical
def test_neighbours_and_calls_are_independent(x):
    for lag in (1, 2, 3, 4, 8, 16, 64, N // 4):
        for power in (1, 2):
            assert abs(correlation(x[:-lag] ** power, x[lag:] ** power)) < N_ERRORS / math.sqrt(N - lag)


@statistical
def test_keys_that_follow_each_other_give_independent_numbers():
    # As in training: step i has the key folded with i, and draws a few numbers with it.
    n_steps, per_step = 2**16, 32
    keys = jax.vmap(lambda i: jax.random.fold_in(prng.unrolled(jax.random.key(3)), i))(jnp.arange(n_steps))
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: prng.normal(key, (per_step,))))(keys), np.float64)
    assert scipy.stats.kstest(drawn.ravel(), "norm").pvalue > 1e-3
    for lag, power in itertools.product((1, 2, 3), (1, 2)):
        found = correlation(drawn[:-lag].ravel() ** power, drawn[lag:].ravel() ** power)
        assert abs(found) < N_ERRORS / math.sqrt((n_steps - lag) * per_step)
    # The sum of a step's squares is χ² distributed, with as many degrees of freedom as numbers.
    assert scipy.stats.kstest(np.sum(drawn**2, axis=1), scipy.stats.chi2(per_step).cdf).pvalue > 1e-3


def test_a_hash_reads_its_counters_from_memory():
    lowered = jax.jit(lambda key: prng._hash(key, jnp.arange(8, dtype=jnp.uint32), jnp.uint32(3) + jnp.uint32(0)))
    lines = lowered.lower(jnp.zeros(2, jnp.uint32)).as_text().splitlines()
    operations = [line.split("= ")[1].split()[0] for line in lines if "stablehlo." in line and "= " in line]
    # Nothing but the barrier stands between the loop's own counter and the first round.
    assert operations.index("stablehlo.optimization_barrier") < operations.index("stablehlo.xor")
    assert operations.index("stablehlo.iota") < operations.index("stablehlo.optimization_barrier")


def test_three_hashes_in_a_row_compile():
    """In a process of its own: a compiler that does not end cannot be stopped from here."""
    # Without the barrier JAX 0.11 and 0.12 need more than a minute already at 16 of the 20 rounds.
    assert compilation.measure("from memory", 20, limit=120) < 60

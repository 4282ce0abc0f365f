"""Targets over strings of bits against what is known of them in closed form, or by enumeration in another way."""

import itertools
import math

import jax
import numpy as np
import pytest
import scipy.stats

from core.errors import UserError
from kinds.bits import ising
from kinds.bits.rivals import moments, mutual_information, rivals, tree_information
from kinds.bits.settings import Config
from kinds.bits.targets import TARGETS
from kinds.bits.truth import numbers_of, rows_of
from models.laws import bit_states
from targets import make_target

# DESIGN: entropy, and the smallest KL of a uniform law, a product and a tree, in nats; all to four decimals.
KNOWN = [
    ("BITS_BARS_STRIPES", dict(height=2, width=2), (1.7918, 0.9808, 0.9808, 0.8109)),
    ("BITS_BARS_STRIPES", dict(height=3, width=3), (2.6391, 3.5993, 3.5993, 2.8402)),
    ("BITS_BARS_STRIPES", dict(height=4, width=4), (3.4012, 7.6892, 7.6892, 5.9907)),
    ("BITS_CARDINALITY", dict(n=8, ones=4), (4.2485, 1.2967, 1.2967, 1.2250)),
    ("BITS_CARDINALITY", dict(n=12), (6.8287, 1.4891, 1.4891, 1.4435)),
    ("BITS_GAUSSIAN", dict(n=8), (4.8841, 0.6611, 0.6611, 0.0197)),
    ("BITS_ISING", dict(coupling=0.2), (10.3118, 0.7785, 0.7785, 0.3850)),
    ("BITS_ISING", dict(coupling=1 / 3), (7.8567, 3.2337, 3.2337, 1.2005)),
    ("BITS_ISING", dict(coupling=ising.CRITICAL), (4.4827, 6.6076, 6.6076, 1.3639)),
    ("BITS_ISING", dict(coupling=0.6), (1.7391, 9.3513, 9.3513, 0.5955)),
]


def target_of(make_config, name, **settings):
    return make_target(make_config(target_type=name, num_bins=0, bits=Config(**settings)))


@pytest.mark.parametrize(("name", "settings", "known"), KNOWN)
def test_entropies_and_what_rivals_reach(make_config, name, settings, known):
    target = target_of(make_config, name, **settings)
    found = (target.entropy, *rivals(target.truth, target.entropy).values())
    assert found == pytest.approx(known, abs=5.1e-5)


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "BITS_CUSTOM"])
def test_draws_have_the_exact_probabilities(make_config, name):
    target = target_of(make_config, name, n=6, height=3, width=3, coupling=0.3)
    truth, n = target.truth, 40_000
    x = np.asarray(jax.jit(target.sample, static_argnums=1)(jax.random.key(3), n))
    assert set(np.unique(x)) <= {0.0, 1.0}
    counts = np.bincount(numbers_of(x), minlength=2**truth.n)
    assert np.all(counts[~np.isfinite(truth.log_p)] == 0)
    # Strings that are expected fewer than five times are one, as the test asks for.
    often = truth.p * n >= 5
    observed, expected = [*counts[often], counts[~often].sum()], [*truth.p[often], truth.p[~often].sum()]
    if expected[-1] * n < 5:
        observed, expected = observed[:-1], np.array(expected[:-1]) / sum(expected[:-1])
        n = sum(observed)
    # One test in 10⁴ would fail of itself; the key is fixed.
    assert scipy.stats.chisquare(observed, np.array(expected) * n).pvalue > 1e-4


def test_probabilities_of_the_rarest_strings_are_drawn_too(make_config):
    """Of 2¹² strings at twice K_c all but a few are rarer than a step of float32's running sum would tell apart."""
    target = target_of(make_config, "BITS_ISING", height=3, width=4, coupling=0.9)
    truth = target.truth
    x = np.asarray(jax.jit(target.sample, static_argnums=1)(jax.random.key(0), 2**20))
    rare = truth.p[numbers_of(x)] < 1e-4
    expected = truth.p[truth.p < 1e-4].sum()
    assert rare.mean() == pytest.approx(expected, abs=5 * math.sqrt(expected / 2**20))


@pytest.mark.parametrize(
    ("settings", "coupling", "log_z"),
    [
        (dict(height=4, width=4), 0.2, 11.771470358542),
        (dict(height=4, width=4), 0.3, 12.785523325714),
        (dict(height=4, width=4), ising.CRITICAL, 15.521915458755),
        (dict(height=4, width=4), 0.5, 17.105367118732),
        (dict(height=3, width=4), 0.4, 11.089054727525),
        (dict(height=3, width=5), 0.4, 13.749080722751),
        (dict(height=4, width=5), 0.4, 18.066373995590),
    ],
)
def test_kaufmans_partition_function_is_that_of_all_states_and_of_the_transfer_matrix(settings, coupling, log_z):
    height, width = settings["height"], settings["width"]
    pairs = ising.bonds(height, width, "torus")
    energy = ising.energies(height * width, pairs, np.ones(len(pairs)))
    assert np.logaddexp.reduce(-coupling * energy) == pytest.approx(log_z, abs=1e-11)
    assert ising.log_partition(height, width, coupling) == pytest.approx(log_z, abs=1e-11)
    rows = 2.0 * rows_of(np.arange(2**width), width, float) - 1
    within = coupling * (rows * np.roll(rows, 1, axis=1)).sum(1)
    between = np.exp(coupling * rows @ rows.T + (within[:, None] + within[None]) / 2)
    assert np.log(np.trace(np.linalg.matrix_power(between, height))) == pytest.approx(log_z, abs=1e-10)


@pytest.mark.parametrize(
    ("side", "log_z"),
    [(6, 34.111541055), (8, 60.141780789), (10, 93.610300510), (16, 238.642256635), (32, 952.648079549),
     (64, 3808.672283420)],
)  # fmt: skip
def test_kaufmans_partition_function_of_lattices_beyond_enumeration(side, log_z):
    assert ising.log_partition(side, side, ising.CRITICAL) == pytest.approx(log_z, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize(
    ("coupling", "log_z"), [(0.3, 12.227049926), (ising.CRITICAL, 13.676315241), (0.5, 14.497711024)]
)
def test_the_partition_function_of_a_lattice_with_free_ends(coupling, log_z):
    pairs = ising.bonds(4, 4, "free")
    energy = ising.energies(16, pairs, np.ones(len(pairs)))
    assert np.logaddexp.reduce(-coupling * energy) == pytest.approx(log_z, abs=1e-9)


def test_moments_of_the_critical_lattice(make_config):
    truth = target_of(make_config, "BITS_ISING", coupling=ising.CRITICAL).truth
    m = (2 * rows_of(np.arange(2**16), 16, float) - 1).mean(1)
    energy, p = truth.energy, truth.p
    assert p @ energy / 16 == pytest.approx(-1.565624, abs=1e-6)
    heat = ising.CRITICAL**2 * (p @ energy**2 - (p @ energy) ** 2) / 16
    assert heat == pytest.approx(0.783267, abs=1e-6)
    assert p @ np.abs(m) == pytest.approx(0.843860, abs=1e-6)
    assert p @ m**2 == pytest.approx(0.761359, abs=1e-6)
    assert 1 - p @ m**4 / (3 * (p @ m**2) ** 2) == pytest.approx(0.617199, abs=1e-6)


@pytest.mark.parametrize(("height", "width", "known"), [(3, 3, 0.0345), (2, 3, 0.112)])
def test_two_laws_called_bars_and_stripes_differ(make_config, height, width, known):
    """A perfect model of the second against the first."""
    first, second = (
        target_of(make_config, "BITS_BARS_STRIPES", height=height, width=width, variant=variant).truth
        for variant in ("uniform", "orientation_first")
    )
    where = first.support
    assert first.p[where] @ (first.log_p[where] - second.log_p[where]) == pytest.approx(known, rel=0.02)


def test_bars_and_stripes_are_those_of_a_lattice_that_is_not_square(make_config):
    truth = target_of(make_config, "BITS_BARS_STRIPES", height=2, width=3).truth
    patterns = {tuple(rows_of([i], 6)[0].astype(int)) for i in truth.support}
    stripes = {(a,) * 3 + (b,) * 3 for a in (0, 1) for b in (0, 1)}
    assert patterns == stripes | {bar * 2 for bar in itertools.product((0, 1), repeat=3)}
    assert len(patterns) == 2**2 + 2**3 - 2
    single = target_of(make_config, "BITS_BARS_STRIPES", height=2, width=3, variant="single_lines").truth
    assert {tuple(rows_of([i], 6)[0].astype(int)) for i in single.support} == {
        (1, 1, 1, 0, 0, 0), (0, 0, 0, 1, 1, 1), (1, 0, 0, 1, 0, 0), (0, 1, 0, 0, 1, 0), (0, 0, 1, 0, 0, 1)
    }  # fmt: skip


def test_the_first_bit_is_the_most_significant():
    assert numbers_of(np.array([[1, 0, 0, 1, 0]])) == 18
    assert rows_of([18], 5).tolist() == [[1, 0, 0, 1, 0]]
    states = bit_states(5)
    assert int(states.index(np.array([[1.0, 0, 0, 1, 0]]))[0]) == 18
    assert np.asarray(states.event(np.array([18]))).tolist() == [[1, 0, 0, 1, 0]]
    assert np.array_equal(np.asarray(states.index(states.event(np.arange(32)))), np.arange(32))


def test_gray_codes_of_neighbours_differ_in_one_bit(make_config):
    binary, gray = (
        target_of(make_config, "BITS_GAUSSIAN", n=6, encoding=encoding).truth for encoding in ("binary", "gray")
    )
    assert gray.p.sum() == pytest.approx(1)
    x = np.arange(64)
    assert set(np.bitwise_count((x ^ (x >> 1))[1:] ^ (x ^ (x >> 1))[:-1])) == {1}
    assert gray.log_p[x ^ (x >> 1)] == pytest.approx(binary.log_p, abs=1e-12)


def test_the_lognormal_target_of_three_bits(make_config):
    """Zoufal et al. 2019: LogNormal(1, 1) rounded, what is above 7 left out."""
    truth = target_of(make_config, "BITS_LOGNORMAL", n=3).truth
    rows = np.round(np.random.default_rng(0).lognormal(1, 1, 400_000))
    shares = np.bincount(rows[rows <= 7].astype(int), minlength=8)
    n = shares.sum()
    assert np.all(np.abs(shares / n - truth.p) < 5 * np.sqrt(truth.p / n))


def test_blobs_are_a_mixture_of_products_around_their_peaks(make_config):
    truth = target_of(make_config, "BITS_BLOBS", n=4, flip=0.1, peaks="0000,1011").truth
    for i, row in enumerate(itertools.product((0, 1), repeat=4)):
        each = [np.prod([0.1 if bit != own else 0.9 for bit, own in zip(row, peak, strict=True)])
                for peak in ((0, 0, 0, 0), (1, 0, 1, 1))]  # fmt: skip
        assert truth.p[i] == pytest.approx(np.mean(each))


def test_signs_of_couplings_come_from_their_seed(make_config):
    first, again, other = (
        target_of(make_config, "BITS_ISING", height=3, width=3, coupling_seed=seed).truth.energy for seed in (7, 7, 8)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_tree_of_the_most_information_is_the_best_of_all(make_config):
    """Chow–Liu against every spanning tree of five bits, by their Prüfer sequences."""
    generator = np.random.default_rng(1)
    p = generator.dirichlet(np.full(32, 0.3))
    ones, both = moments(p, 5)
    information = mutual_information(ones, both)

    def edges(sequence):
        degree = np.bincount(sequence, minlength=5) + 1
        for node in sequence:
            leaf = int(np.flatnonzero(degree == 1)[0])
            yield leaf, node
            degree[[leaf, node]] -= 1
        yield tuple(np.flatnonzero(degree == 1))

    best = max(sum(information[a, b] for a, b in edges(sequence)) for sequence in itertools.product(range(5), repeat=3))
    assert tree_information(information) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("BITS_ISING", dict(height=2), 'has some bonds twice: .* or set BITS.boundary = "free"$'),
        ("BITS_BARS_STRIPES", dict(height=5, width=5), "= 25 bits are more than 20: such as 4 × 5$"),
        ("BITS_BARS_STRIPES", dict(height=7, width=3), "= 21 bits are more than 20"),
        ("BITS_CARDINALITY", dict(n=8, ones=9), "BITS.ones = 9 are more than the BITS.n = 8 bits; set at most 8$"),
        ("BITS_GAUSSIAN", dict(centres=()), "must be one or two numbers"),
        ("BITS_BLOBS", dict(n=4, peaks="0110,012"), "BITS.peaks has '012': a peak is 4 zeros and ones .* such as 0101"),
        ("BITS_CUSTOM", {}, "^TARGET_TYPE = BITS_CUSTOM needs a file: set BITS.file$"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_line(make_config, name, settings, said):
    with pytest.raises(UserError, match=said):
        make_config(target_type=name, num_bins=0, bits=Config(**settings))


@pytest.mark.parametrize(
    ("name", "settings"),
    [("BITS_GAUSSIAN", dict(n=12, sigma=0.01)), ("BITS_GAUSSIAN", dict(n=6, sigma=1e-6)),
     ("BITS_ISING", dict(coupling=20.0)), ("BITS_ISING", dict(coupling=-20.0))],
)  # fmt: skip
def test_what_float64_cannot_hold_has_no_probability(make_config, name, settings):
    truth = target_of(make_config, name, **settings).truth
    assert np.all(truth.p[truth.support] > 0)
    assert truth.p.sum() == pytest.approx(1)
    x = np.asarray(jax.jit(target_of(make_config, name, **settings).sample, static_argnums=1)(jax.random.key(0), 500))
    assert np.all(truth.p[numbers_of(x)] > 0)


@pytest.mark.parametrize(
    "settings", [dict(coupling=math.nan), dict(coupling=math.inf), dict(sigma=1e-200), dict(sigma=math.nan)]
)
def test_settings_beyond_all_sense_are_refused(settings):
    with pytest.raises(UserError, match=r"^BITS\.\w+ = \S+ must be at least"):
        Config(**settings)


@pytest.mark.parametrize("centres", [(math.nan,), (0.5, math.inf), (5.0,)])
def test_centres_far_away_are_refused(make_config, centres):
    with pytest.raises(UserError, match="must be one or two numbers from -1 to 2"):
        make_config(target_type="BITS_GAUSSIAN", num_bins=0, bits=Config(centres=centres))

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import metrics
from kinds.real import judging
from kinds.real.judging import make_judge
from targets import make_target

AXES_1D = np.ones((1, 1), np.float32)
AXES_2D = metrics.directions(2).astype(np.float32)


def sliced(x, y):
    """The distance between two samples [n, 2] of one size, as make_judge computes it."""
    levels = metrics.mid_ranks(len(x))
    return float(metrics.wasserstein(jnp.asarray(x), metrics.projected_quantiles(y, AXES_2D, levels), AXES_2D))


def score(judge, x):
    """The metrics of one sample, through what the engine calls."""
    return judge.scorer.score(np.asarray(x, np.float32))


def test_cell_counts_count():
    counts = metrics.cell_counts(jnp.asarray([0, 3, 3, 1, 3]), 5)
    assert counts.tolist() == [1, 1, 0, 3, 0]


def test_kld_is_the_sum_by_hand():
    # Q = (.5, .25, .25, 0) of 8 samples, ε = 0.05, K = 4: Q + ε = (.55, .3, .3, .05), and 1 + Kε = 1.2.
    expected = 0.4 * math.log(0.4 * 1.2 / 0.55) + 0.3 * math.log(0.3 * 1.2 / 0.3) + 0 + 0.3 * math.log(0.3 * 1.2 / 0.05)
    value = metrics.kld(np.array([0.4, 0.3, 0, 0.3]), np.array([4, 2, 2, 0]), 0.05)
    assert value == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("epsilon", [1e-12, 1e-10, 1e-3, 0.3])
def test_kld_is_scipys_entropy_against_the_normalised_q(epsilon):
    generator = np.random.default_rng(0)
    p = generator.dirichlet(np.ones(30))
    counts = generator.multinomial(200, generator.dirichlet(np.ones(30)), size=(4, 3))
    values = metrics.kld(p, counts, epsilon)
    assert values.shape == (4, 3)
    assert values.dtype == np.float64
    # SciPy normalises its second argument itself.
    expected = scipy.stats.entropy(p[:, None, None], np.moveaxis(counts / 200 + epsilon, -1, 0), axis=0)
    np.testing.assert_allclose(values, expected, rtol=1e-12)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    weights=st.lists(st.floats(0, 1), min_size=2, max_size=12).filter(lambda w: sum(w) > 1e-3),
    counts=st.data(),
    epsilon=st.floats(1e-14, 0.5),
)
def test_kld_is_never_negative(weights, counts, epsilon):
    n = len(weights)
    drawn = counts.draw(st.lists(st.integers(0, 1000), min_size=n, max_size=n).filter(any))
    value = metrics.kld(np.array(weights) / sum(weights), np.array(drawn), epsilon)
    assert math.isfinite(value)
    assert value >= 0


def test_kld_of_a_distribution_with_itself_is_zero():
    counts = np.array([3, 1, 0, 4])
    assert metrics.kld(counts / 8, counts, 0.0) == 0
    # With ε it is only nearly the same distribution: K ε at most.
    assert 0 <= metrics.kld(counts / 8, counts, 1e-10) < 4e-10


def test_cells_without_mass_contribute_nothing():
    p, counts = np.array([0.25, 0.75]), np.array([30, 70])
    with_empty = metrics.kld(np.array([0.25, 0, 0.75, 0]), np.array([30, 0, 70, 0]), 0.0)
    assert with_empty == pytest.approx(metrics.kld(p, counts, 0.0), rel=1e-14)
    # What a sample puts there is missing elsewhere, and that counts.
    assert metrics.kld(np.array([0.25, 0.75, 0]), np.array([30, 70, 100]), 0.0) == pytest.approx(
        float(metrics.kld(p, counts, 0.0)) + math.log(2)
    )


def test_an_empty_cell_is_taken_to_hold_epsilon():
    p = np.array([0.5, 0.5])
    counts = np.array([10, 0])
    assert metrics.kld(p, counts, 0.0) == np.inf
    for epsilon in (1e-12, 1e-10, 1e-3):
        expected = 0.5 * math.log(0.5 * (1 + 2 * epsilon) / (1 + epsilon)) + 0.5 * math.log(
            0.5 * (1 + 2 * epsilon) / epsilon
        )
        assert metrics.kld(p, counts, epsilon) == pytest.approx(expected, rel=1e-12)


def test_the_null_of_kld_depends_on_epsilon():
    """Why no value stands without its floor: 256 equal cells and 1 000 samples of the target itself."""
    p = np.full(256, 1 / 256)
    counts = np.random.default_rng(1).multinomial(1000, p, size=400)
    small, large = (metrics.kld(p, counts, epsilon).mean() for epsilon in (1e-12, 1e-3))
    assert small > 3 * large > 0.1


@pytest.mark.parametrize("n", [1, 2, 7, 500])
def test_mid_ranks(n):
    np.testing.assert_allclose(metrics.mid_ranks(n), [(k - 0.5) / n for k in range(1, n + 1)], rtol=1e-15)


def test_directions_are_unit_vectors_over_the_half_circle():
    axes = metrics.directions(2, 64)
    assert axes.shape == (64, 2)
    np.testing.assert_allclose(np.linalg.norm(axes, axis=1), 1)
    np.testing.assert_allclose(np.diff(np.arctan2(axes[:, 1], axes[:, 0])), np.pi / 64)
    # A direction and its opposite see the same: none is counted twice.
    assert np.abs(axes @ axes.T - np.eye(64)).max() < 1
    # Σ θθᵀ = L/2 · I for equally spaced angles: no coordinate is preferred.
    np.testing.assert_allclose(axes.T @ axes, 32 * np.eye(2), atol=1e-12)
    np.testing.assert_array_equal(metrics.directions(1), [[1.0]])


def test_projected_quantiles_are_inverses_of_the_empirical_cdf():
    generator = np.random.default_rng(2)
    rows = generator.normal(size=(37, 2)).astype(np.float32)
    levels = np.array([0.001, 0.1, 0.26, 0.5, 0.77, 0.999])
    quantiles = metrics.projected_quantiles(rows, AXES_2D, levels)
    assert quantiles.shape == (64, 6)
    expected = np.quantile(rows @ np.asarray(AXES_2D).T, levels, axis=0, method="inverted_cdf").T
    np.testing.assert_allclose(quantiles, expected, atol=1e-6)


@pytest.mark.parametrize("n", [1, 45, 5000])
def test_as_many_levels_as_rows_give_the_sorted_rows(n):
    rows = np.random.default_rng(3).normal(size=(n, 1)).astype(np.float32)
    quantiles = metrics.projected_quantiles(rows, AXES_1D, metrics.mid_ranks(n))
    np.testing.assert_array_equal(quantiles, np.sort(rows, axis=0).T)


@pytest.mark.parametrize(("m", "n"), [(9, 3), (1000, 200)])
def test_fewer_levels_take_the_middle_of_their_rows(m, n):
    rows = np.random.default_rng(4).permutation(m).astype(np.float32)[:, None]
    quantiles = metrics.projected_quantiles(rows, AXES_1D, metrics.mid_ranks(n))
    # The k-th n-th of 0 … m − 1 spreads about (k + ½)·m/n − ½, which is half-way between two of an even number.
    assert np.abs(np.asarray(quantiles[0]) - ((np.arange(n) + 0.5) * m / n - 0.5)).max() <= 0.5


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 33, 400]))
def test_wasserstein_1d_is_scipys(seed, n):
    generator = np.random.default_rng(seed)
    x, y = (generator.normal(loc, scale, (n, 1)).astype(np.float32) for loc, scale in ((0, 1), (1, 3)))
    quantiles = metrics.projected_quantiles(y, AXES_1D, metrics.mid_ranks(n))
    expected = scipy.stats.wasserstein_distance(x[:, 0], y[:, 0])
    assert float(metrics.wasserstein(jnp.asarray(x), quantiles, AXES_1D)) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("shift", [-100.0, -0.3, 0.0, 1e-3, 2.5, 1e4])
def test_wasserstein_1d_of_a_shift_is_the_shift(shift):
    x = np.random.default_rng(5).normal(size=(1000, 1))
    quantiles = metrics.projected_quantiles(x.astype(np.float32), AXES_1D, metrics.mid_ranks(1000))
    value = float(metrics.wasserstein(jnp.asarray(x + shift, jnp.float32), quantiles, AXES_1D))
    assert value == pytest.approx(abs(shift), rel=1e-5, abs=1e-6)


def test_wasserstein_ignores_the_order_of_the_rows():
    x = np.random.default_rng(6).normal(size=(300, 2)).astype(np.float32)
    assert sliced(x, x[::-1]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shift", [(3.0, 0.0), (0.0, -0.2), (30.0, -40.0)])
def test_sliced_shift_is_the_mean_projection_of_the_shift(shift):
    x = np.random.default_rng(7).normal(size=(500, 2)).astype(np.float32)
    expected = np.abs(metrics.directions(2) @ np.array(shift)).mean()
    assert sliced(x + np.float32(shift), x) == pytest.approx(expected, rel=1e-4)
    # The half circle's own mean |cos| is 2/π; 64 midpoints have it to 1e-4.
    assert expected == pytest.approx(2 / np.pi * np.hypot(*shift), rel=2e-4)


def test_exchanged_coordinates_are_seen():
    """Flattened into one column the two samples are the same numbers."""
    x = np.random.default_rng(8).normal(0, 1, (400, 2)).astype(np.float32) * np.float32(0.1) + np.float32([0, 5])
    assert sorted(x.ravel()) == sorted(x[:, ::-1].ravel())
    expected = np.abs(metrics.directions(2) @ np.array([5.0, -5.0])).mean()
    # Exchanging coordinates maps N((0, 5), 0.01·I) to N((5, 0), 0.01·I): a shift, up to what 400 draws of it differ by.
    assert sliced(x, x[:, ::-1]) == pytest.approx(expected, abs=5 * 0.1 * np.sqrt(2 / 400))


def test_another_dependence_between_the_same_marginals_is_seen():
    """(t, t) against (t, −t): alike in every coordinate and when flattened; exact along every direction."""
    t = np.linspace(-1, 1, 401)
    x, y = (np.stack([t, sign * t], axis=-1).astype(np.float32) for sign in (1, -1))
    cosine, sine = metrics.directions(2).T
    expected = np.mean(np.abs(np.abs(cosine + sine) - np.abs(cosine - sine))) * np.abs(t).mean()
    assert expected > 0.1
    assert sliced(x, y) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "fields",
    [
        dict(target_type="1D_TRIMODAL", num_bins=0),
        dict(target_type="1D_POISSON", num_bins=0),
        dict(target_type="2D_MIX_GAUSS", num_bins=0),
    ],
    ids=lambda fields: fields["target_type"],
)
def test_a_shift_by_100_scores_badly_in_both_metrics(fields, make_config, monkeypatch):
    """The trap: a histogram over each sample's own range, which does not see it."""
    monkeypatch.setattr(judging, "N_REFERENCE_ROWS", 10_000)
    n = 500
    config = make_config(n_eval_samples=n, **fields)
    target = make_target(config)
    judge = make_judge(target, config)
    x = np.asarray(target.sample(jax.random.key(1), n))
    near, far = score(judge, x), score(judge, x + 100)
    assert near["kld"] < 4 * judge.floors["kld"].mean
    assert near["wasserstein"] < 4 * judge.floors["wasserstein"].mean
    # Every sample lies in one overflow cell, every other holds ε: −H(P) + ln((1 + Kε)/ε), all but that cell's part.
    p, epsilon = judge.masses, config.kld_epsilon
    overflow = len(p) - 1
    q = np.where(np.arange(len(p)) == overflow, 1 + epsilon, epsilon) / (1 + len(p) * epsilon)
    assert far["kld"] == pytest.approx(scipy.stats.entropy(p, q), rel=1e-12)
    assert far["kld"] > 15
    per_direction = np.abs(metrics.directions(target.dim) @ np.full(target.dim, 100.0)).mean()
    assert far["wasserstein"] == pytest.approx(per_direction, rel=0.01)


def test_with_bins_a_shift_by_100_ends_in_the_last_bin(make_config):
    n = 500
    config = make_config(target_type="1D_TRIMODAL", num_bins=20, n_eval_samples=n)
    target = make_target(config)
    judge = make_judge(target, config)
    x = target.as_compared(target.sample(jax.random.key(1), n) + 100)
    far = score(judge, x)
    assert far["kld"] > 15
    width = np.ptp(target.truth.box) / 20
    # From the last bin's centre the mean distance is that to the target's mean, 0.
    assert far["wasserstein"] == pytest.approx(target.truth.box[0, 1] - width / 2, rel=0.02)


def test_summary_of_sound_seeds():
    assert metrics.summarise([0.3, 0.1, 0.2, 0.9]) == {
        "median": 0.25,
        "low": 0.1,
        "high": 0.9,
        "seeds": [0.3, 0.1, 0.2, 0.9],
    }


@pytest.mark.parametrize("diverged", [math.nan, math.inf, -math.inf])
def test_a_diverged_seed_is_the_worst_of_all(diverged):
    # nanmedian would be 0.2, and nanmean would hide the seed altogether.
    assert metrics.summarise([0.1, diverged, 0.3]) == {
        "median": 0.3,
        "low": 0.1,
        "high": None,
        "seeds": [0.1, None, 0.3],
    }
    assert metrics.summarise([0.1, diverged, diverged]) == {
        "median": None,
        "low": 0.1,
        "high": None,
        "seeds": [0.1, None, None],
    }
    # Half of them diverged: the middle lies between a number and +∞.
    assert metrics.summarise([0.1, diverged])["median"] is None
    assert metrics.summarise([diverged])["low"] is None


def test_summary_of_no_seeds():
    assert metrics.summarise([]) == {"median": None, "low": None, "high": None, "seeds": []}


def test_no_modes_are_no_negative_number():
    summary = metrics.summarise([0, 0, 3], higher_is_better=True)
    assert [str(summary[key]) for key in ("median", "low", "high")] == ["0.0", "0.0", "3.0"]


def test_summary_takes_arrays_and_gives_plain_numbers():
    summary = metrics.summarise(np.array([1.0, 2.0], np.float32))
    assert [type(value) for value in (summary["median"], *summary["seeds"])] == [float] * 3


def test_from_ten_seeds_on_the_spread_is_a_bootstrap_interval_of_the_median():
    values = np.arange(1.0, 12.0)
    nine, eleven = metrics.summarise(values[:9]), metrics.summarise(values)
    assert (nine["low"], nine["high"]) == (1, 9)
    assert eleven["median"] == 6
    # The resampled median of 1 … 11 is below k when at least six draws are: binomial tails of 2.5 % lie at 3 and at 9.
    assert 2 <= eleven["low"] <= 4
    assert 8 <= eleven["high"] <= 10


def test_a_bootstrap_interval_reaches_infinity_where_seeds_diverged():
    summary = metrics.summarise([1.0] * 6 + [np.nan] * 5)
    assert summary["median"] == summary["low"] == 1
    assert summary["high"] is None

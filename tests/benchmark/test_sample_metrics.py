import contextlib
import itertools

import numpy as np
import pytest
import scipy.stats
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_info, threadpool_limits

from kinds.real import sample_metrics as sm
from targets import Modes

GRID = np.array(list(itertools.product(range(5), repeat=2))) * 2.0
GRID_MODES = Modes(np.full(25, 1 / 25), GRID, np.tile(0.01 * np.eye(2), (25, 1, 1)))
LINE_MODES = Modes(np.array([0.2, 0.5, 0.3]), np.array([[-6.0], [0.0], [6.0]]), np.full((3, 1, 1), 0.25))


def normal(n, dim, seed):
    return np.random.default_rng(seed).normal(size=(n, dim))


def draws(modes, n, seed, weights=None):
    generator = np.random.default_rng(seed)
    mode = generator.choice(len(modes.weights), n, p=modes.weights if weights is None else weights)
    noise = generator.normal(size=(n, modes.means.shape[1]))
    return modes.means[mode] + np.einsum("nij,nj->ni", np.linalg.cholesky(modes.covariances)[mode], noise)


def bin_centres(x):
    """20 bins over ±3, closed."""
    return np.clip(np.floor((x + 3) / 0.3), 0, 19) * 0.3 - 2.85


@pytest.mark.parametrize("shift", [(-0.3,), (1e4,), (3.0, 4.0), (0.0, -0.2), (1e-3, 0.0), (300.0, -400.0)])
def test_wasserstein_of_a_shift_is_its_length(shift):
    x = normal(300, len(shift), 0)
    assert sm.wasserstein_exact(x + shift, x) == pytest.approx(np.linalg.norm(shift), rel=1e-12)


@pytest.mark.parametrize("dim", [1, 2])
def test_wasserstein_ignores_the_order_of_the_rows(dim):
    x = normal(300, dim, 1)
    assert sm.wasserstein_exact(np.random.default_rng(2).permutation(x), x) == 0


def test_wasserstein_1d_is_scipys():
    x, y = normal(400, 1, 3), 1 + 3 * normal(400, 1, 4)
    expected = scipy.stats.wasserstein_distance(x[:, 0], y[:, 0])
    assert sm.wasserstein_exact(x, y) == pytest.approx(expected, rel=1e-12)
    # The same points on a tilted line in the plane are assigned and not sorted.
    line = np.array([[0.6, 0.8]])
    assert sm.wasserstein_exact(x @ line, y @ line) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_wasserstein_is_the_best_of_all_permutations(seed):
    x, y = normal(5, 2, seed), 2 * normal(5, 2, 100 + seed)
    each = [np.linalg.norm(x - y[list(order)], axis=1).mean() for order in itertools.permutations(range(5))]
    assert sm.wasserstein_exact(x, y) == pytest.approx(min(each), rel=1e-12)


AWKWARD = {
    "shifted": normal(200, 2, 5) + 3,
    "far": 1e6 * normal(200, 2, 6) + 1e6,
    "one point": np.zeros((200, 2)),
    "half one point": normal(200, 2, 7) * (np.arange(200) % 2)[:, None],
    "two points": np.sign(normal(200, 1, 8)) * np.ones((1, 2)),
    "one stray": np.where(np.arange(200)[:, None] == 0, 1e4, normal(200, 2, 9)),
    "rounded": np.round(normal(200, 2, 10)),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_wasserstein_is_exact_where_the_solver_is_helped(name):
    """Numbers taken from the cost's rows and columns must not change the optimum."""
    x, y = AWKWARD[name], normal(200, 2, 11)
    cost = cdist(x, y)
    expected = cost[linear_sum_assignment(cost)].mean()
    assert sm.wasserstein_exact(x, y) == pytest.approx(expected, rel=1e-12)
    assert sm.wasserstein_exact(y, x) == pytest.approx(expected, rel=1e-12)
    # Both samples of that kind: ties everywhere.
    assert sm.wasserstein_exact(x, x[::-1]) == 0


def test_wasserstein_takes_float32_and_gives_a_plain_number():
    x, y = (normal(50, 2, seed).astype(np.float32) for seed in (12, 13))
    value = sm.wasserstein_exact(x, y)
    assert type(value) is float
    assert value == sm.wasserstein_exact(x.astype(np.float64), y.astype(np.float64))


def test_median_distance_is_that_of_all_pairs():
    x = normal(21, 2, 14)
    each = [np.linalg.norm(a - b) for a, b in itertools.combinations(x, 2)]
    assert sm.median_distance(x) == pytest.approx(np.median(each), rel=1e-14)


def test_median_distance_is_never_zero():
    # 29 of 45 pairs coincide, the others are 3 apart.
    x = np.array([[0.0]] * 8 + [[3.0]] * 2)
    assert sm.median_distance(x) == pytest.approx(16 * 3 / 45)
    assert sm.median_distance(np.ones((10, 1))) == 1
    assert sm.mmd2(np.ones((9, 1)), np.ones((10, 1)), 1.0) == pytest.approx(0, abs=1e-15)


def kernel(a, b, bandwidth):
    widths = bandwidth * np.array([0.25, 0.5, 1, 2, 4])
    return np.mean(np.exp(-np.sum((a - b) ** 2) / (2 * widths**2)))


# The second pair has more rows than one block of the kernel matrix, and not a multiple of it.
@pytest.mark.parametrize(("m", "n"), [(7, 4), (70, 9)])
@pytest.mark.parametrize("dim", [1, 2])
def test_mmd_is_the_sum_by_hand(m, n, dim):
    x, y, bandwidth = normal(m, dim, 15) + 0.5, 2 * normal(n, dim, 16), 0.8
    of_x = np.mean([kernel(a, b, bandwidth) for a, b in itertools.permutations(x, 2)])
    of_y = np.mean([kernel(a, b, bandwidth) for a, b in itertools.permutations(y, 2)])
    across = np.mean([kernel(a, b, bandwidth) for a, b in itertools.product(x, y)])
    assert sm.mean_kernel(x, bandwidth) == pytest.approx(of_x, rel=1e-12)
    assert sm.mmd2(x, y, bandwidth) == pytest.approx(of_x + of_y - 2 * across, rel=1e-10)
    assert sm.mmd2(y, x, bandwidth) == pytest.approx(of_x + of_y - 2 * across, rel=1e-10)
    assert sm.mmd2(x, y, bandwidth, sm.mean_kernel(y, bandwidth)) == sm.mmd2(x, y, bandwidth)
    # The unit of x is the bandwidth's.
    assert sm.mmd2(1000 * x, 1000 * y, 1000 * bandwidth) == pytest.approx(sm.mmd2(x, y, bandwidth), rel=1e-10)


def test_mmd_of_repeated_rows_is_the_sum_by_hand():
    x, y, bandwidth = bin_centres(normal(70, 2, 15) + 0.5), bin_centres(normal(50, 2, 16)), 0.8
    assert len(np.unique(x[:, :1])) < 20
    x, y = x[:, :1], y[:, :1]
    of_x = np.mean([kernel(a, b, bandwidth) for a, b in itertools.permutations(x, 2)])
    of_y = np.mean([kernel(a, b, bandwidth) for a, b in itertools.permutations(y, 2)])
    across = np.mean([kernel(a, b, bandwidth) for a, b in itertools.product(x, y)])
    assert sm.mmd2(x, y, bandwidth) == pytest.approx(of_x + of_y - 2 * across, rel=1e-10)


def test_classifier_of_repeated_rows_is_that_of_all_of_them():
    # Moved by a millionth no two rows are equal, and each is trained on by itself. The objective is the same; what is
    # left is where a hundred iterations end, far from a boundary between cells.
    x, y = bin_centres(0.7 * normal(400, 1, 30)), bin_centres(normal(400, 1, 31))
    apart = sm.classifier_accuracy(x + 1e-6 * normal(400, 1, 32), y + 1e-6 * normal(400, 1, 33))
    together = sm.classifier_accuracy(x, y)
    # One cell of 20 holds up to a tenth of the rows, of which either side of ½ tells about half.
    assert abs(together - apart) < 0.02
    assert together > 0.5


def test_mmd_of_distant_samples_is_what_each_has_of_itself():
    x, y = normal(30, 2, 17), normal(40, 2, 18)
    expected = sm.mean_kernel(x, 1.0) + sm.mean_kernel(y, 1.0)
    for shift in (1e3, 1e8, 1e30):
        assert sm.mmd2(y + shift, x, 1.0) == pytest.approx(sm.mean_kernel(y + shift, 1.0) + sm.mean_kernel(x, 1.0))
    assert sm.mmd2(y + 1e3, x, 1.0) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0])
def test_mmd_has_the_mean_of_the_population(shift):
    """E k(X, Y) = s/√(s² + 2) · exp(−a²/(2(s² + 2))) for X ~ N(0, 1), Y ~ N(a, 1) and one Gaussian of width s."""
    repetitions, bandwidth = 300, 1.2
    widths = bandwidth * np.array(sm.KERNEL_WIDTHS)
    within = widths / np.sqrt(widths**2 + 2)
    expected = np.mean(2 * within * (1 - np.exp(-(shift**2) / (2 * (widths**2 + 2)))))
    generator = np.random.default_rng(19)
    values = np.array(
        [
            sm.mmd2(generator.normal(shift, 1, (25, 1)), generator.normal(size=(40, 1)), bandwidth)
            for _ in range(repetitions)
        ]
    )
    # The standard error of a mean of independent repetitions, from their own spread.
    standard_error = values.std(ddof=1) / np.sqrt(repetitions)
    assert abs(values.mean() - expected) < 4 * standard_error
    # Pairs i = j, with k = 1, would add this much.
    bias = (1 / 25 + 1 / 40) * (1 - within.mean())
    assert bias > 4 * standard_error
    if shift == 0:
        assert values.min() < 0 < values.max()


@pytest.mark.parametrize("dim", [1, 2])
def test_classifier_cannot_tell_a_distribution_from_itself(dim):
    n = 400
    mean, _, high = sm.cross_validated_null(n)
    # The range is 1.96 standard deviations; 4 of them.
    assert abs(sm.classifier_accuracy(normal(n, dim, 20), normal(n, dim, 21)) - mean) < 4 / 1.96 * (high - mean)


# Bayes' rule tells them apart with probability ½ + ½ TV, whose integral over the line is a sum here.
AXIS = np.linspace(-10, 10, 20_001)


def bayes_rate(p, q):
    return 0.5 + 0.25 * np.sum(np.abs(p - q)) * (AXIS[1] - AXIS[0])


def two_humps(n, seed):
    """±0.9 with deviation √0.19: mean 0 and variance 1."""
    generator = np.random.default_rng(seed)
    return generator.choice([-0.9, 0.9], (n, 1)) + np.sqrt(0.19) * generator.normal(size=(n, 1))


def test_classifier_comes_close_to_the_bayes_rate():
    n = 500
    phi = scipy.stats.norm.pdf
    rate = bayes_rate(phi(AXIS, 3), phi(AXIS))
    assert rate == pytest.approx(scipy.stats.norm.cdf(1.5), abs=1e-6)
    # 4 binomial standard errors of 2n rows to either side, and 0.015 for what the network has not learned.
    error = np.sqrt(rate * (1 - rate) / (2 * n))
    assert -0.015 - 4 * error < sm.classifier_accuracy(normal(n, 1, 22) + 3, normal(n, 1, 23)) - rate < 4 * error


def test_classifier_sees_more_than_mean_and_variance():
    n = 500
    phi, deviation = scipy.stats.norm.pdf, np.sqrt(0.19)
    rate = bayes_rate((phi(AXIS, -0.9, deviation) + phi(AXIS, 0.9, deviation)) / 2, phi(AXIS))
    error = np.sqrt(rate * (1 - rate) / (2 * n))
    accuracy = sm.classifier_accuracy(two_humps(n, 24), normal(n, 1, 25))
    assert -0.03 - 4 * error < accuracy - rate < 4 * error
    # A linear classifier would be at ½.
    assert accuracy > sm.cross_validated_null(n)[2] + 0.05


@pytest.mark.parametrize("shift", [30.0, 1e6, 1e30])
@pytest.mark.parametrize("dim", [1, 2])
def test_classifier_tells_distant_samples_without_fail(shift, dim):
    assert sm.classifier_accuracy(normal(100, dim, 26) + shift, normal(100, dim, 27)) == 1


def test_blas_keeps_one_thread_until_the_last_classifier_is_done():
    def n_threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    with threadpool_limits(2, user_api="blas"):
        before = n_threads()
        first, second = contextlib.ExitStack(), contextlib.ExitStack()
        first.enter_context(sm._ONE_BLAS_THREAD)
        second.enter_context(sm._ONE_BLAS_THREAD)
        first.close()
        assert set(n_threads()) == {1}
        second.close()
        assert n_threads() == before
        assert set(before) != {1}


def test_classifier_takes_a_reference_that_does_not_vary():
    n = 100
    reference = np.concatenate([normal(n, 1, 28), np.full((n, 1), 7.0)], axis=1)
    assert sm.classifier_accuracy(reference + np.array([0, 1]), reference) == 1
    assert sm.classifier_accuracy(np.full((n, 1), 2.5), np.full((n, 1), 2.5)) == 0.5


def test_classifier_does_not_depend_on_units():
    """Factors of two and 256 rows in steps of 1/1024: standardising loses no digit, so that the values are the same."""
    x, y = (np.round(1024 * normal(256, 2, seed)) / 1024 for seed in (29, 30))
    x[:, 0] += 0.5
    expected = sm.classifier_accuracy(x, y)
    scale, offset = np.array([2.0**-10, 2.0**7]), np.array([0.25, -1.0])
    assert sm.classifier_accuracy(scale * (x + offset), scale * (y + offset)) == expected


def test_classifier_repeats_itself_for_a_seed():
    x, y = normal(60, 1, 31), normal(60, 1, 32)
    assert sm.classifier_accuracy(x, y, seed=3) == sm.classifier_accuracy(x, y, seed=3)
    assert len({sm.classifier_accuracy(x, y, seed=seed) for seed in range(4)}) > 1


@pytest.mark.parametrize("null", ["1-D", "20 bins"])
def test_classifier_under_the_null(null):
    """Mean ½, with bins too, and a variance from the binomial one to twice it.

    The upper end is what a pair of rows that serves twice makes of it; see `cross_validated_null`.
    """
    n, repetitions = 60, 30
    generator = np.random.default_rng(33)
    values = []
    for seed in range(repetitions):
        x, y = generator.normal(size=(2, n, 1))
        if null == "20 bins":
            x, y = bin_centres(x), bin_centres(y)
        values.append(sm.classifier_accuracy(x, y, seed))
    deviations = np.array(values) - 0.5
    binomial = 0.25 / (2 * n)
    assert abs(deviations.mean()) < 4 * np.sqrt(2 * binomial / repetitions)
    # Σ (a − ½)²/σ² of R accuracies with mean ½ is χ² with R degrees of freedom.
    low, high = scipy.stats.chi2.ppf([1e-4, 1 - 1e-4], repetitions) / repetitions
    assert low * binomial < np.mean(deviations**2) < high * 2 * binomial


def test_null_ranges():
    n = 300
    mean, low, high = sm.binomial_null(n)
    assert mean == 0.5
    assert (high - mean) == pytest.approx(mean - low, rel=1e-12)
    assert high - mean == pytest.approx(1.96 * 0.5 / np.sqrt(600), rel=1e-12)
    # Of 600 tosses; a range that ends between two counts is off by one of them, of probability 0.005, at either end.
    law = scipy.stats.binom(2 * n, 0.5)
    assert law.cdf(high * 2 * n) - law.cdf(low * 2 * n) == pytest.approx(0.95, abs=0.01)
    wide = sm.cross_validated_null(n)
    assert wide[0] == 0.5
    # Twice the variance.
    assert wide[2] - 0.5 == pytest.approx(np.sqrt(2) * (high - 0.5), rel=1e-12)


@pytest.mark.parametrize(("modes", "dim"), [(LINE_MODES, 1), (GRID_MODES, 2)])
def test_draws_cover_all_modes(modes, dim):
    n = 2000
    share = scipy.stats.chi2.cdf(9, dim)
    covered, quality = sm.mode_statistics(draws(modes, n, 34), modes)
    assert covered == len(modes.weights)
    assert abs(quality - share) < 4 * np.sqrt(share * (1 - share) / n)
    assert (type(covered), type(quality)) == (int, float)


def test_a_dropped_mode_is_not_covered():
    weights = np.where(np.isin(np.arange(25), (3, 11, 24)), 0, 1 / 22)
    assert sm.mode_statistics(draws(GRID_MODES, 2000, 35, weights), GRID_MODES)[0] == 22
    assert sm.mode_statistics(draws(LINE_MODES, 500, 36, [0, 1, 0]), LINE_MODES)[0] == 1


def test_mass_between_modes_is_of_no_quality():
    between = np.repeat(GRID[:-1] + np.array([0, 1]), 10, axis=0)
    assert sm.mode_statistics(between, GRID_MODES) == (0, 0.0)
    covered, quality = sm.mode_statistics(np.concatenate([between, np.repeat(GRID, 10, axis=0)]), GRID_MODES)
    assert covered == 25
    assert quality == 25 / 49


def test_one_stray_sample_does_not_cover_a_mode():
    x = np.concatenate([np.repeat(GRID[:1], 1000, axis=0), GRID[1:]])
    assert sm.mode_statistics(x, GRID_MODES) == (1, 1.0)


def test_a_mode_is_covered_from_a_fifth_of_its_weight_on():
    modes = Modes(np.array([0.75, 0.25]), np.array([[0.0], [100.0]]), np.ones((2, 1, 1)))
    for held, covered in ((9, 1), (10, 2), (11, 2)):
        x = np.repeat([[0.0], [100.0]], [200 - held, held], axis=0)
        assert sm.mode_statistics(x, modes) == (covered, 1.0)
        # What lies 4 deviations off does not count towards it.
        x[-1] = 104
        assert sm.mode_statistics(x, modes) == (1 + (held > 10), 199 / 200)


def test_modes_reach_as_far_as_their_covariances():
    modes = Modes(np.ones(1), np.zeros((1, 2)), np.array([[[1.0, 0.9], [0.9, 1.0]]]))
    # (xᵀ Σ⁻¹ x): 2 · 1.5²/1.9 = 2.4 along the long axis, 2 · 1.5²/0.1 = 45 across it.
    assert sm.mode_statistics(np.array([[1.5, 1.5], [1.5, -1.5]]), modes) == (1, 0.5)
    radius = 3 * np.sqrt(1.9 / 2)
    edge = np.array([[radius, radius]])
    assert sm.mode_statistics(0.999 * edge, modes)[1] == 1
    assert sm.mode_statistics(1.001 * edge, modes)[1] == 0


def test_samples_belong_to_the_mode_that_is_nearest_in_its_own_deviations():
    modes = Modes(
        np.array([0.5, 0.5]), np.array([[0.0, 0.0], [3.0, 0.0]]), np.array([np.diag([4.0, 0.01]), 0.01 * np.eye(2)])
    )
    # One deviation from the first, ten from the second, which is nearer in the plane.
    assert sm.mode_statistics(np.array([[2.0, 0.0]] * 10), modes) == (1, 1.0)
    assert sm.mode_statistics(np.array([[2.0, 0.5]] * 10), modes) == (0, 0.0)

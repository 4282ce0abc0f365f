import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from sklearn.datasets import load_iris

import generative_models_GAN_VAE_RBM_benchmarks as script
import targets
from core import prng
from core.errors import UserError
from kinds import files
from kinds.real import tables
from kinds.real.cells import Cells, score_cells
from kinds.real.targets import DEFAULT_MIXTURE, LINES, PLANES
from metrics import cell_counts
from targets import make_target

# The definitions of docs/targets.md, once more and by other means than the module's own.
MIXTURES_1D = {
    "1D_BIMODAL": ((-1.5, 1.5), 0.4),
    "1D_TRIMODAL": ((-2.0, 0.0, 2.0), 0.35),
    "1D_QUADMODAL": ((-2.5, -0.8, 0.8, 2.5), 0.3),
}
CORNERS = ((1.5, 1.5), (1.5, -1.5), (-1.5, 1.5), (-1.5, -1.5))
MIXTURES_2D = {
    "2D_MIX_GAUSS": [(mean, np.eye(2) * 0.25) for mean in CORNERS],
    "2D_GMM": list(
        zip(
            CORNERS,
            [[[0.5, 0.4], [0.4, 0.5]], [[0.5, -0.4], [-0.4, 0.5]], [[0.5, 0], [0, 0.5]], [[0.2, 0], [0, 0.8]]],
            strict=True,
        )
    ),
    "2D_RING": [(2 * np.exp(1j * math.pi * np.array([k / 4])).view(float), np.eye(2) * 0.01) for k in range(8)],
    "2D_GRID": [((x, y), np.eye(2) * 0.0025) for x in range(-4, 5, 2) for y in range(-4, 5, 2)],
}
BETA = scipy.stats.beta(2, 5, loc=-2.5, scale=5)
POISSON = scipy.stats.poisson(4, loc=-4)

# Their densities are known to test_shapes.py.
SHAPES = ["2D_MOONS", "2D_CIRCLES", "2D_SPIRALS", "2D_PINWHEEL", "2D_CHECKERBOARD"]
# What is made of a file is known to test_given_probabilities.py.
EXACT = [name for name in (*LINES, *PLANES) if name not in (*SHAPES, "1D_PROBABILITIES")]
ONE_D = [*MIXTURES_1D, "1D_BETA", "1D_POISSON"]
DENSITIES_1D = [*MIXTURES_1D, "1D_BETA"]
# A strongly correlated component, a narrow one beside a wide one, and unequal weights.
HARD_MIXTURE = dict(
    target_type="2D_GMM",
    num_bins=0,
    mixture_weights=(0.2, 0.5, 0.3),
    mixture_means=((0.0, 0.0), (4.0, 1.0), (-3.0, 2.0)),
    mixture_covariances=(((1.0, 0.99), (0.99, 1.0)), ((0.0004, 0.0), (0.0, 0.0009)), ((2.0, -0.6), (-0.6, 1.0))),
)
N = 200_000
MADE = {}


def density(name, x):
    """p(x) [n] of rows [n, D], or the probability where the target is discrete."""
    if name in MIXTURES_1D:
        means, deviation = MIXTURES_1D[name]
        return scipy.stats.norm.pdf(x, means, deviation).mean(-1)
    if name in MIXTURES_2D:
        return np.mean([scipy.stats.multivariate_normal.pdf(x, *mode) for mode in MIXTURES_2D[name]], axis=0)
    return BETA.pdf(x[:, 0]) if name == "1D_BETA" else POISSON.pmf(x[:, 0])


DEFINED = [*MIXTURES_1D, *MIXTURES_2D, "1D_BETA", "1D_POISSON"]


def mixture_density(modes, x):
    """p(x) [n] of a mixture as a target states it: what a target without a definition here is compared with."""
    each = zip(modes.weights, modes.means, modes.covariances, strict=True)
    return sum(weight * scipy.stats.multivariate_normal.pdf(x, mean, cov) for weight, mean, cov in each)


def mixture_moments(modes):
    """Mean [D] and covariance [D, D] of such a mixture."""
    mean = modes.weights @ modes.means
    second = np.einsum(
        "k,kij->ij", modes.weights, modes.covariances + np.einsum("ki,kj->kij", modes.means, modes.means)
    )
    return mean, second - np.outer(mean, mean)


def gauss_legendre(low, high, n_intervals, n_nodes=12):
    """Nodes and weights [n_intervals · n_nodes] of a composite rule."""
    nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
    edges = np.linspace(low, high, n_intervals + 1)
    half = (edges[1] - edges[0]) / 2
    return (edges[:-1, None] + half * (nodes + 1)).ravel(), np.tile(half * weights, n_intervals)


def integral_by_cell(log_prob, cells, pieces):
    """The mass of every cell inside the box, in the order of Cells.index: exp(log_prob) by quadrature, each cell cut
    into `pieces` an axis."""
    rules = [gauss_legendre(low, high, cells.n_per_axis * pieces) for low, high in cells.box]
    points = np.stack(np.meshgrid(*(x for x, _ in rules), indexing="ij"), axis=-1).reshape(-1, len(rules))
    mass = np.exp(log_prob(points))
    if len(rules) == 1:
        return (mass * rules[0][1]).reshape(cells.n_per_axis, -1).sum(1)
    (x, x_weights), (y, y_weights) = rules
    mass = mass.reshape(len(x), len(y)) * np.outer(x_weights, y_weights)
    n = cells.n_per_axis
    return mass.reshape(n, len(x) // n, n, len(y) // n).sum((1, 3)).ravel()


@pytest.fixture
def make(make_config):
    """A target by its name, continuous unless asked otherwise; made once, as every new sampler compiles anew."""

    def make(name, **fields):
        key = repr((name, fields))
        if key not in MADE:
            MADE[key] = make_target(make_config(**{"target_type": name, "num_bins": 0, **fields}))
        return MADE[key]

    return make


@pytest.fixture
def edited(make_config):
    return lambda **fields: make_target(make_config(**{**HARD_MIXTURE, **fields}))


def draw(target, n=N, seed=7, kind=lambda key: key):
    return np.asarray(jax.jit(target.sample, static_argnums=1)(kind(jax.random.key(seed)), n))


@pytest.mark.parametrize("name", EXACT)
def test_log_prob_is_the_definition(make, name):
    target = make(name)
    x = np.arange(-4.0, 9.0)[:, None]
    if target.truth.fixed is None:
        x = np.random.default_rng(0).uniform(-2.6, 2.6, (300, target.dim))
    with np.errstate(divide="ignore"):
        expected = np.log(density(name, x) if name in DEFINED else mixture_density(target.truth.modes, x))
    assert target.log_prob(x).dtype == np.float64
    np.testing.assert_allclose(target.log_prob(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", EXACT)
def test_density_integrates_to_one(make, name):
    target = make(name)
    if target.truth.fixed:
        total = np.exp(target.log_prob(np.arange(-4.0, 60)[:, None])).sum()
    else:
        # Seven or more deviations beyond every mode; the Beta law lives on its box.
        reach = target.truth.box if name == "1D_BETA" else np.array([[-9.0, 9.0]] * target.dim)
        total = integral_by_cell(target.log_prob, Cells(reach, 1, closed=False), 60).sum()
    assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", EXACT)
def test_sample_moments(make, name):
    target, x = make(name), draw(make(name)).astype(np.float64)
    if name in MIXTURES_1D:
        means, deviation = MIXTURES_1D[name]
        mean, covariance = np.zeros(1), np.array([[np.mean(np.square(means)) + deviation**2]])
    elif name in MIXTURES_2D:
        mean = np.zeros(2)
        covariance = np.mean([np.outer(mean, mean) + np.array(cov) for mean, cov in MIXTURES_2D[name]], axis=0)
    elif name in DEFINED:
        law = BETA if name == "1D_BETA" else POISSON
        mean, covariance = np.array([law.mean()]), np.array([[law.var()]])
    else:
        mean, covariance = mixture_moments(target.truth.modes)
    assert x.shape == (N, target.dim)
    # Five standard errors: 0.6 in a million false alarms an entry, and sees a mean off by 1 % of the deviation.
    np.testing.assert_array_less(np.abs(x.mean(0) - mean), 5 * np.sqrt(np.diag(covariance) / N))
    products = (x - mean)[:, :, None] * (x - mean)[:, None, :]
    np.testing.assert_array_less(np.abs(products.mean(0) - covariance), 5 * products.std(0) / math.sqrt(N))


# Of JAX's own keys, and as training draws.
@pytest.mark.parametrize("kind", [lambda key: key, prng.unrolled], ids=["plain", "unrolled"])
@pytest.mark.parametrize("name", [*EXACT, *SHAPES, "edited"])
def test_sample_histogram(make, edited, name, kind):
    target = edited() if name == "edited" else make(name)
    cells = score_cells(target.truth, 0)
    masses = target.truth.cell_masses(cells)
    counts = np.asarray(cell_counts(cells.index(jnp.asarray(draw(target, kind=kind))), cells.n_cells))
    assert counts.sum() == N
    full = masses * N >= 10
    observed, expected = (np.append(v[full], v[~full].sum()) for v in (counts, masses * N))
    observed, expected = observed[expected > 0], expected[expected > 0]
    # Five standard errors of a binomial count a cell, where the count is near enough to a normal one.
    errors = (observed - expected) / np.sqrt(expected * (1 - expected / N))
    assert np.all(np.abs(errors[expected >= 50]) < 5)
    assert scipy.stats.chisquare(observed, expected * N / expected.sum()).pvalue > 1e-4


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("kind", [lambda key: key, prng.unrolled], ids=["plain", "unrolled"])
def test_a_mixtures_rows_are_a_mean_and_a_factor_times_normal_numbers(dim, kind):
    generator, n = np.random.default_rng(dim), 20_000
    weights = np.array([0.1, 0.25, 0.0, 0.6, 0.05])
    means = generator.normal(size=(5, dim)) * 3
    factors = np.tril(generator.normal(size=(5, dim, dim)))
    key = kind(jax.random.key(5))
    x = np.asarray(targets.sample_mixture(key, n, weights, means, factors))
    key_mode, key_noise = jax.random.split(key)
    # By inversion: the number of bounds that a uniform number is not below.
    uniform = np.asarray(jax.random.uniform(key_mode, (1, n)))[0]
    mode = np.searchsorted(np.cumsum(weights.astype(np.float32), dtype=np.float32)[:-1], uniform, "right")
    counts = np.bincount(mode, minlength=5)
    assert counts[2] == 0
    assert scipy.stats.chisquare(counts[weights > 0], n * weights[weights > 0]).pvalue > 1e-3
    normal = np.asarray(prng.normal(key_noise, (dim, n)), np.float64).T
    means, factors = (values.astype(np.float32).astype(np.float64) for values in (means, factors))
    expected = means[mode] + np.einsum("nij,nj->ni", factors[mode], normal)
    # Sums of up to four float32 terms: half a unit of the largest for each.
    scale = np.abs(means[mode]) + np.einsum("nij,nj->ni", np.abs(factors[mode]), np.abs(normal))
    assert np.all(np.abs(x - expected) <= 2 * np.finfo(np.float32).eps * scale)
    # Looking a mode up by a product rounds nothing: without noise every row is a mean to the last bit.
    still = targets.sample_mixture(key, n, weights, means, np.zeros_like(factors))
    np.testing.assert_array_equal(still, means.astype(np.float32)[mode])


@pytest.mark.parametrize("name", ["1D_POISSON", "2D_GMM"])
def test_draws_depend_on_the_key_alone(make, name):
    np.testing.assert_array_equal(draw(make(name)), draw(make(name, seed=5, num_seeds=1)))
    assert not np.array_equal(draw(make(name)), draw(make(name), seed=8))


@pytest.mark.parametrize(
    ("name", "n", "closed"),
    [(name, n, closed) for name in DENSITIES_1D for n, closed in ((50, False), (3, False), (20, True), (2, True))],
)
def test_cell_masses_1d(make, name, n, closed):
    target = make(name)
    cells = Cells(target.truth.box, n, closed)
    masses = target.truth.cell_masses(cells)
    assert masses.shape == (cells.n_cells,)
    assert masses.sum() == pytest.approx(1, abs=1e-12)
    inside = integral_by_cell(target.log_prob, cells, 40)
    # The quadrature reaches from −9 to the box; everything has its mass within.
    below = 0.0 if name == "1D_BETA" else 0.001
    if closed:
        inside[[0, -1]] += below
        np.testing.assert_allclose(masses, inside, atol=1e-9)
    else:
        np.testing.assert_allclose(masses, [*inside, below, below], atol=1e-9)


@pytest.mark.parametrize(("name", "n"), [(name, n) for name in [*MIXTURES_2D, "edited"] for n in (30, 7, 1)])
def test_cell_masses_2d(make, edited, name, n):
    target = edited() if name == "edited" else make(name)
    cells = Cells(target.truth.box, n, closed=False)
    masses = target.truth.cell_masses(cells)
    assert masses.shape == (n * n + 1,)
    assert np.all(masses >= 0)
    assert masses.sum() == pytest.approx(1, abs=1e-12)
    if name != "edited":
        np.testing.assert_allclose(masses[:-1], integral_by_cell(target.log_prob, cells, -(-40 // n)), atol=1e-10)
    halves = target.truth.cell_masses(Cells(target.truth.box, 2 * n, closed=False))
    merged = halves[:-1].reshape(n, 2, n, 2).sum((1, 3)).ravel()
    np.testing.assert_allclose(masses, [*merged, halves[-1]], atol=1e-12)


@pytest.mark.parametrize(("name", "n"), [("2D_RING", 30), ("2D_GRID", 30), ("2D_GRID", 100)])
def test_cell_masses_of_round_components_are_products_of_error_functions(make, name, n):
    cells = Cells(make(name).truth.box, n, closed=False)
    masses = np.zeros((n, n))
    for mean, covariance in MIXTURES_2D[name]:
        x, y = (np.diff(scipy.stats.norm.cdf(edges, centre, math.sqrt(covariance[0][0])))
                for edges, centre in zip(cells.edges, mean, strict=True))  # fmt: skip
        masses += np.outer(x, y) / len(MIXTURES_2D[name])
    np.testing.assert_allclose(make(name).truth.cell_masses(cells)[:-1], masses.ravel(), atol=1e-14)


def test_cells_far_wider_than_a_component_hold_its_mass(edited):
    """A rule with few nodes a cell steps over a component that is narrower than the distance between them."""
    target = edited()
    box = np.array([[3.0, 103.0], [-50.0, 50.0]])
    expected = scipy.stats.norm.cdf(1.0, 0, 0.03) * 0.5
    # The narrow component lies at (4, 1), with 50 deviations to the left edge of its cell; the others end before.
    only = edited(
        mixture_weights=(0.5, 0.5),
        mixture_means=((4.0, 1.0), (-40.0, 0.0)),
        mixture_covariances=(((0.0004, 0.0), (0.0, 0.0009)), ((1.0, 0.0), (0.0, 1.0))),
    )
    masses = only.truth.cell_masses(Cells(box, 2, closed=False))
    np.testing.assert_allclose(masses, [0, expected, 0, 0, 0.5], atol=1e-12)
    assert target.truth.cell_masses(Cells(target.truth.box, 30, closed=False)).max() > 0.2


def test_cell_masses_of_a_correlated_component_are_scipys(edited):
    target = edited(
        mixture_weights=(1.0,), mixture_means=((0.3, -0.2),), mixture_covariances=(((1.0, 0.99), (0.99, 1.0)),)
    )
    law = scipy.stats.multivariate_normal([0.3, -0.2], [[1.0, 0.99], [0.99, 1.0]])
    cells = Cells(np.array([[-2.0, 2.0], [-1.0, 3.0]]), 2, closed=False)
    x, y = cells.edges
    at = np.array([[law.cdf([a, b]) for b in y] for a in x])
    # SciPy's own bivariate CDF is good to about 1e-8.
    np.testing.assert_allclose(target.truth.cell_masses(cells)[:-1], np.diff(np.diff(at, axis=0)).ravel(), atol=1e-7)


@pytest.mark.parametrize("name", DENSITIES_1D)
def test_quantile_inverts_cdf(make, name):
    target = make(name)
    u = np.concatenate([np.geomspace(1e-6, 0.5, 500), 1 - np.geomspace(1e-6, 0.5, 500)])
    x = target.truth.quantile(u)
    assert x.dtype == np.float64
    np.testing.assert_allclose(target.truth.cdf(x), u, rtol=1e-9)
    # Where the density is thin x is only as good as cdf's rounding allows: an error of 1e-16 over p(x).
    tolerance = 1e-12 + 1e-15 / density(name, x[:, None])
    np.testing.assert_array_less(np.abs(target.truth.quantile(target.truth.cdf(x)) - x), tolerance)
    np.testing.assert_allclose(np.diff(target.truth.cdf(x)), np.diff(u), atol=1e-9)


@pytest.mark.parametrize("name", DENSITIES_1D)
def test_cdf_is_the_integral_of_the_density(make, name):
    target = make(name)
    for x in np.linspace(-2.4, 2.4, 7):
        nodes, weights = gauss_legendre(-2.5 if name == "1D_BETA" else -9.0, x, 60)
        assert target.truth.cdf(x) == pytest.approx(density(name, nodes[:, None]) @ weights, abs=1e-12)


def test_poisson_quantile_inverts_cdf_on_the_integers(make):
    target = make("1D_POISSON")
    k = np.arange(-4.0, 13)
    assert 1e-6 < target.truth.cdf(k).min() < target.truth.cdf(k).max() < 1 - 1e-6 < target.truth.cdf(13)
    np.testing.assert_array_equal(target.truth.quantile(target.truth.cdf(k)), k)
    # Between two of its values the quantile function is the upper one.
    np.testing.assert_array_equal(
        target.truth.quantile((target.truth.cdf(k[1:]) + target.truth.cdf(k[:-1])) / 2), k[1:]
    )


@pytest.mark.parametrize("name", DENSITIES_1D)
def test_entropy_1d(make, name):
    low, high = (-2.5, 2.5) if name == "1D_BETA" else (-7.0, 7.0)
    nodes, weights = gauss_legendre(low, high, 2000)
    assert make(name).entropy == pytest.approx(scipy.special.entr(density(name, nodes[:, None])) @ weights, abs=1e-9)


def test_entropy_of_a_discrete_target_is_of_its_probabilities(make):
    probabilities = POISSON.pmf(np.arange(-4, 60))
    assert make("1D_POISSON").entropy == pytest.approx(scipy.stats.entropy(probabilities), abs=1e-9)


@pytest.mark.parametrize("name", ONE_D)
def test_entropy_with_bins_is_of_the_bins(make, name):
    target = make(name, num_bins=12)
    masses = target.truth.cell_masses(Cells(target.truth.box, 12, closed=True))
    assert target.entropy == pytest.approx(scipy.stats.entropy(masses), abs=1e-12)


@pytest.mark.parametrize("name", [*MIXTURES_2D, "edited"])
def test_entropy_2d_against_monte_carlo(make, edited, name):
    target = edited() if name == "edited" else make(name)
    surprise = -target.log_prob(draw(target)[:50_000].astype(np.float64))
    assert abs(surprise.mean() - target.entropy) < 5 * surprise.std() / math.sqrt(len(surprise))


def test_entropy_of_components_far_apart_is_theirs_and_that_of_the_choice(edited):
    covariances = np.array([[[1e-6, 0.0], [0.0, 1e-6]], [[4.0, 3.9], [3.9, 4.0]]])
    target = edited(
        mixture_weights=(0.3, 0.7), mixture_means=((0.0, 0.0), (100.0, 0.0)), mixture_covariances=covariances.tolist()
    )
    each = math.log(2 * math.pi * math.e) + np.log(np.linalg.det(covariances)) / 2
    expected = np.dot([0.3, 0.7], each - np.log([0.3, 0.7]))
    assert target.entropy == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", MIXTURES_1D)
def test_box_of_a_1d_mixture_leaves_a_thousandth_each_side(make, name):
    means, deviation = MIXTURES_1D[name]
    box = make(name).truth.box
    assert box.shape == (1, 2)
    np.testing.assert_allclose(scipy.stats.norm.cdf(box[0, :, None], means, deviation).mean(-1), [0.001, 0.999])


@pytest.mark.parametrize(
    ("name", "box"),
    [
        ("1D_BETA", [[-2.5, 2.5]]),
        ("2D_MIX_GAUSS", [[-3.5, 3.5]] * 2),
        ("2D_GMM", [[-3.5, 3.5]] * 2),
        ("2D_RING", [[-2.5, 2.5]] * 2),
        ("2D_GRID", [[-5.0, 5.0]] * 2),
    ],
)
def test_fixed_boxes(make, name, box):
    np.testing.assert_array_equal(make(name).truth.box, box)


@pytest.mark.parametrize("name", [*MIXTURES_1D, *MIXTURES_2D])
def test_modes_are_the_components(make, name):
    modes = make(name).truth.modes
    if name in MIXTURES_1D:
        means, deviation = MIXTURES_1D[name]
        components = [([mean], [[deviation**2]]) for mean in means]
    else:
        components = MIXTURES_2D[name]
    assert modes.weights.sum() == pytest.approx(1)
    order = [np.lexsort(np.round(np.transpose([mean for mean, _ in each]), 9))
             for each in (list(zip(*modes[1:], strict=True)), components)]  # fmt: skip
    for i, j in zip(*order, strict=True):
        np.testing.assert_allclose(modes.means[i], components[j][0], atol=1e-12)
        np.testing.assert_allclose(modes.covariances[i], components[j][1], atol=1e-12)


@pytest.mark.parametrize("fields", [dict(num_bins=9), dict(num_bins=0, kld_cells=9)])
def test_poisson_cells_are_the_integers_and_the_last_holds_the_tail(make, fields):
    target = make("1D_POISSON", **fields)
    np.testing.assert_array_equal(target.truth.box, [[-4.5, 4.5]])
    cells = score_cells(target.truth, fields.get("kld_cells", 0))
    np.testing.assert_array_equal(cells.centres[0], np.arange(-4, 5))
    masses = target.truth.cell_masses(cells)
    np.testing.assert_allclose(masses[:8], POISSON.pmf(np.arange(-4, 4)), atol=1e-15)
    tail = POISSON.sf(3) if cells.closed else POISSON.sf(4)
    assert masses[8 if cells.closed else 10] == pytest.approx(tail, abs=1e-15)
    assert masses.sum() == pytest.approx(1, abs=1e-12)
    far = jnp.asarray([[4.0], [5.0], [30.0]])
    assert cells.index(far).tolist() == ([8, 8, 8] if cells.closed else [8, 10, 10])


def test_poisson_cells_reach_the_999_permille_quantile_by_default(make):
    target = make("1D_POISSON")
    np.testing.assert_array_equal(target.truth.box, [[-4.5, POISSON.ppf(0.999) + 0.5]])
    np.testing.assert_array_equal(score_cells(target.truth, 0).centres[0], np.arange(-4, POISSON.ppf(0.999) + 1))


def test_poisson_draws_whole_numbers_from_minus_four(make):
    x = draw(make("1D_POISSON"))
    np.testing.assert_array_equal(x, np.round(x))
    assert x.min() == -4


@pytest.mark.parametrize("name", ONE_D)
def test_kld_cells_with_bins_are_the_bins(make, name):
    target = make(name, num_bins=20)
    cells = score_cells(target.truth, 7)
    assert cells.closed
    assert cells.n_cells == 20
    np.testing.assert_array_equal(cells.box, target.truth.box)


@pytest.mark.parametrize("name", [*DENSITIES_1D, *MIXTURES_2D])
def test_kld_cells_without_bins_lie_in_the_box_and_around_it(make, name):
    target = make(name)
    assert score_cells(target.truth, 0).n_cells == (50 + 2 if target.dim == 1 else 30 * 30 + 1)
    assert score_cells(target.truth, 11).n_cells == (11 + 2 if target.dim == 1 else 11 * 11 + 1)
    assert not score_cells(target.truth, 0).closed
    np.testing.assert_array_equal(score_cells(target.truth, 0).box, target.truth.box)


@pytest.mark.parametrize("name", ["2D_MIX_GAUSS", "2D_GMM"])
def test_bins_need_one_dimension(make_config, name):
    # The configuration refuses this too, by the name alone; a table is known only when it is read.
    config = make_config()
    object.__setattr__(config, "target_type", name)
    with pytest.raises(UserError, match=r"NUM_BINS = 20 needs a 1-D target.*set NUM_BINS = 0"):
        make_target(config)


@pytest.mark.parametrize("name", ["1D_BETA", "2D_MIX_GAUSS"])
def test_a_fixed_training_set_is_drawn_once(make, name):
    target = make(name, n_samples_train=100)
    rows = target.train_rows
    assert rows.shape == (100, target.dim)
    # Rows of a law without atoms are all different: it is not one row repeated.
    assert len(np.unique(rows, axis=0)) == 100
    np.testing.assert_array_equal(rows, make(name, n_samples_train=100, num_seeds=1, batch_size=3).train_rows)
    assert not np.array_equal(rows, make(name, n_samples_train=100, seed=43).train_rows)
    assert make(name).train_rows is None


def test_grid_covers_the_box(make):
    x, events = make("1D_BETA").grid()
    np.testing.assert_allclose(x[:, 0], np.linspace(-2.5, 2.5, 400), atol=1e-6)
    np.testing.assert_array_equal(events, x)
    x, _ = make("2D_GMM").grid()
    assert x.shape == (100 * 100, 2)
    np.testing.assert_allclose(x[np.array([0, 99, -1])], [[-3.5, -3.5], [-3.5, 3.5], [3.5, 3.5]])
    x, events = make("1D_BETA", num_bins=10).grid()
    np.testing.assert_allclose(x[:, 0], np.arange(-2.25, 2.5, 0.5))
    np.testing.assert_array_equal(events, np.eye(10))
    x, _ = make("1D_POISSON", kld_cells=6).grid()
    np.testing.assert_array_equal(x[:, 0], np.arange(-4, 2))


def test_the_module_knows_the_scripts_mixture():
    assert (script.MIXTURE_WEIGHTS, script.MIXTURE_MEANS, script.MIXTURE_COVARIANCES) == DEFAULT_MIXTURE


def test_the_default_mixture_keeps_its_box_however_it_is_written(make):
    lists = {
        f"mixture_{what}": np.array(value).tolist()
        for what, value in zip(("weights", "means", "covariances"), DEFAULT_MIXTURE, strict=True)
    }
    np.testing.assert_array_equal(make("2D_GMM", **lists).truth.box, [[-3.5, 3.5]] * 2)


def test_an_edited_mixture_has_its_modes_and_four_deviations_as_its_box(edited):
    target = edited(
        mixture_weights=(0.25, 0.75),
        mixture_means=((0.0, 10.0), (2.0, -1.0)),
        mixture_covariances=(((1.0, 0.5), (0.5, 4.0)), ((0.25, 0.0), (0.0, 9.0))),
    )
    np.testing.assert_allclose(target.truth.box, [[-4.0, 4.0], [-13.0, 18.0]])
    np.testing.assert_allclose(target.truth.modes.weights, [0.25, 0.75])
    np.testing.assert_allclose(draw(target).mean(0), [1.5, 1.75], atol=5 * 6 / math.sqrt(N))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            dict(mixture_weights=(0.5, 0.6, 0.2)),
            r"MIXTURE_WEIGHTS = \[0\.5, 0\.6, 0\.2\] sum to 1\.3.*sum to 1, such as",
        ),
        (dict(mixture_weights=(1, 1, 1)), r"such as \[0\.333333333, 0\.333333333, 0\.333333333\]"),
        (dict(mixture_weights=(1.5, -0.25, -0.25)), "must be positive and sum to 1"),
        (dict(mixture_weights=(0.5, 0.5, 0.0)), "must be positive and sum to 1"),
        (dict(mixture_weights=(0.5, 0.5, math.nan)), "MIXTURE_WEIGHTS must be finite"),
        (dict(mixture_weights=(0.5, 0.5)), "2 weights, 3 means and 3 covariances"),
        (dict(mixture_weights=()), "0 weights, 3 means and 3 covariances"),
        (dict(mixture_weights="abc"), "MIXTURE_WEIGHTS = 'abc' must hold a number for every component"),
        (dict(mixture_weights=1.0), "MIXTURE_WEIGHTS = 1.0 must hold a number"),
        (dict(mixture_means=((0, 0), (1, math.inf), (2, 2))), "MIXTURE_MEANS must be finite"),
        (dict(mixture_means=((0, 0), (1,), (2, 2))), "MIXTURE_MEANS = .* must hold 2 numbers"),
        (dict(mixture_means=(0, 1, 2)), "MIXTURE_MEANS = .* must hold 2 numbers"),
        (dict(mixture_means=((0, 0, 0),) * 3), "MIXTURE_MEANS = .* must hold 2 numbers"),
        (dict(mixture_covariances=((1, 1), (1, 1), (1, 1))), "MIXTURE_COVARIANCES = .* must hold 2×2 numbers"),
        (dict(mixture_covariances=None), "MIXTURE_COVARIANCES = None must hold 2×2 numbers"),
    ],
)
def test_unusable_mixtures(edited, fields, message):
    with pytest.raises(UserError, match=message):
        edited(**fields)


@pytest.mark.parametrize(
    "covariance",
    [
        ((1, 2), (2, 1)),  # correlation above 1
        ((1, 1), (1, 1)),  # exactly singular
        ((1, 1 - 1e-12), (1 - 1e-12, 1)),  # singular to rounding
        ((1, 0.1), (0.2, 1)),  # not symmetric
        ((1, 0.1), (0.1 + 1e-9, 1)),  # by more than rounding
        ((-1, 0), (0, 1)),
        ((0, 0), (0, 1)),
    ],
)
def test_a_covariance_must_be_positive_definite_and_the_suggestion_is(edited, covariance):
    identity = ((1, 0), (0, 1))
    with pytest.raises(
        UserError, match=r"MIXTURE_COVARIANCES\[1\] = .* is not symmetric and positive definite"
    ) as error:
        edited(mixture_covariances=(identity, covariance, identity))
    suggestion = eval(str(error.value).rsplit("is ", 1)[1])
    edited(mixture_covariances=(identity, suggestion, identity))


def test_a_covariance_that_is_symmetric_to_rounding_is_symmetric(edited):
    product = ((0.5, 0.18191169085940778), (0.18191169085940775, 0.4))
    (covariance,) = edited(
        mixture_weights=(1,), mixture_means=((0, 0),), mixture_covariances=(product,)
    ).truth.modes.covariances
    assert covariance[0, 1] == covariance[1, 0] == pytest.approx(0.181911690859407765, rel=1e-15)


@pytest.mark.parametrize("weights", [(1, 1, 1), (0.1, 5, -3), (0.0, 0.5, 0.5), (1e9, 2e9, 3e9)])
def test_suggested_weights_are_accepted(edited, weights):
    with pytest.raises(UserError) as error:
        edited(mixture_weights=weights)
    suggestion = eval(str(error.value).rsplit("such as ", 1)[1])
    assert edited(mixture_weights=suggestion).truth.modes.weights.sum() == pytest.approx(1)


IRIS = load_iris().data
TABLES = {"petal length": IRIS[:, 2:3], "petal length × width": IRIS[:, 2:4]}


@pytest.fixture(params=itertools.product(TABLES, (".npy", ".csv")), ids=str)
def iris(request, tmp_path):
    """(rows, path): a real table as a user would have written it."""
    name, suffix = request.param
    path = tmp_path / f"iris{suffix}"
    if suffix == ".npy":
        np.save(path, TABLES[name])
    else:
        np.savetxt(path, TABLES[name], delimiter=",", fmt="%.17g")
    return TABLES[name], str(path)


def sorted_rows(rows):
    return rows[np.lexsort(rows.T)]


def test_a_table_is_read_back_as_it_was(iris):
    rows, path = iris
    np.testing.assert_array_equal(tables.read_rows(path, "CUSTOM_FILE"), rows)


def test_custom_splits_all_rows_by_the_seed_alone(make, iris):
    rows, path = iris
    target = make("CUSTOM", custom_file=path)
    assert (len(target.train_rows), len(target.held_out_rows)) == (105, 45)
    both = np.concatenate([target.train_rows, target.held_out_rows])
    np.testing.assert_array_equal(sorted_rows(both), sorted_rows(rows))
    same = make("CUSTOM", custom_file=path, num_seeds=1, batch_size=4, models=("VAE",))
    np.testing.assert_array_equal(same.train_rows, target.train_rows)
    other = make("CUSTOM", custom_file=path, seed=43)
    assert not np.array_equal(sorted_rows(other.train_rows), sorted_rows(target.train_rows))


def test_the_two_parts_are_disjoint():
    """On rows that are all different, which those of the iris table are not."""
    train, held_out = files.split_rows(np.arange(40.0)[:, None], 3)
    assert (len(train), len(held_out)) == (28, 12)
    assert not set(train.ravel()) & set(held_out.ravel())


def test_custom_trains_on_standardised_rows_and_undoes_it(make, iris):
    rows, path = iris
    target = make("CUSTOM", custom_file=path)
    events = np.asarray(target.codec.encode(jnp.asarray(target.train_rows, jnp.float32)))
    np.testing.assert_allclose(events.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(events.std(0), 1, atol=1e-6)
    for decode in (target.codec.decode, target.codec.decode_mean):
        back = decode(target.codec.encode(jnp.asarray(rows, jnp.float32)))
        np.testing.assert_allclose(back, rows, rtol=1e-6)
    # A density of the events is, in the user's units, that over the product of the deviations.
    assert target.codec.log_volume == pytest.approx(math.log(np.prod(target.train_rows.std(0))))


def test_custom_draws_training_rows_and_is_judged_by_the_held_out_ones(make, iris):
    _, path = iris
    target = make("CUSTOM", custom_file=path)
    drawn = draw(target, 20_000)
    train = target.train_rows.astype(np.float32)
    distinct, counts = np.unique(drawn, axis=0, return_counts=True)
    np.testing.assert_array_equal(distinct, np.unique(train, axis=0))
    shares = np.unique(train, axis=0, return_counts=True)[1] / len(train)
    assert np.all(np.abs(counts - 20_000 * shares) < 5 * np.sqrt(20_000 * shares))
    low, high = target.train_rows.min(0), target.train_rows.max(0)
    # Half a cell of the KLD beyond the outermost rows.
    margin = (high - low) / 2 / (49 if target.dim == 1 else 29)
    np.testing.assert_allclose(target.truth.box, np.stack([low - margin, high + margin], axis=-1), rtol=1e-12)

    # Seven cells: no row of one decimal lies on an inner edge, where rounding would choose its side.
    cells = Cells(target.truth.box, 7, closed=False)
    inside = np.histogramdd(target.held_out_rows, bins=cells.edges)[0].ravel() / 45
    masses = target.truth.cell_masses(cells)
    np.testing.assert_allclose(masses[: len(inside)], inside, atol=1e-12)
    assert masses.sum() == pytest.approx(1)
    # No law is known, so nothing exact may be claimed.
    assert (target.log_prob, target.truth.cdf, target.truth.quantile, target.entropy) == (None,) * 4


def test_custom_bins_one_column(make, tmp_path):
    path = tmp_path / "petal.npy"
    np.save(path, TABLES["petal length"])
    target = make("CUSTOM", custom_file=str(path), num_bins=11)
    assert target.event.size == 11
    cells = score_cells(target.truth, 0)
    clipped = np.clip(target.held_out_rows[:, 0], *target.truth.box[0])
    expected = np.histogram(clipped, bins=cells.edges[0])[0] / 45
    # A row that lies on an edge to rounding may count on either side of it: no row does here.
    assert np.abs(clipped[:, None] - cells.edges[0][1:-1]).min() > 1e-6
    np.testing.assert_allclose(target.truth.cell_masses(cells), expected, atol=1e-12)


def test_the_largest_training_row_is_inside_the_box(make, iris):
    _, path = iris
    target = make("CUSTOM", custom_file=path)
    cells = score_cells(target.truth, 0)
    index = np.asarray(cells.index(jnp.asarray(target.train_rows, jnp.float32)))
    assert index.max() < cells.n_per_axis**target.dim


def test_custom_needs_a_training_set_of_its_own(make, iris):
    _, path = iris
    with pytest.raises(UserError, match=r"N_SAMPLES_TRAIN = 50 has no meaning.*set N_SAMPLES_TRAIN = 0"):
        make("CUSTOM", custom_file=path, n_samples_train=50)


def test_custom_refuses_bins_for_two_columns(make, tmp_path):
    path = tmp_path / "two.npy"
    np.save(path, TABLES["petal length × width"])
    with pytest.raises(UserError, match=r"NUM_BINS = 5 needs a 1-D target, but CUSTOM has 2 columns"):
        make("CUSTOM", custom_file=str(path), num_bins=5)


def test_a_column_that_never_varies_cannot_be_standardised(make, tmp_path):
    path = tmp_path / "flat.csv"
    np.savetxt(path, np.stack([np.arange(30.0), np.full(30, 2.0)], axis=-1), delimiter=",")
    with pytest.raises(UserError, match=r"column 2 is the same in every training row"):
        make("CUSTOM", custom_file=str(path))

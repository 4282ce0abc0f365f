"""EM for Gaussian mixtures against scikit-learn, SciPy and closed forms; float64 where exactness is meant."""

import dataclasses
import functools
import itertools
import math
import warnings

import divergences
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from sklearn.mixture import GaussianMixture

from core.errors import UserError
from models import MODELS, gmm, grouped, mixtures, starts
from targets import make_target

K = 5
KINDS = ("full", "diag", "spherical")


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def rows(n=400, seed=0):
    generator = np.random.default_rng(seed)
    centres = np.array([[1.5, 1.5], [-1.5, 1.0], [0.0, -2.0], [2.0, -1.0]])
    factor = np.array([[0.7, 0.0], [0.5, 0.4]])
    return centres[generator.integers(4, size=n)] + generator.normal(size=(n, 2)) @ factor.T


def started(x, kind, floor=1e-12):
    return gmm.initial(jax.random.key(0), jnp.asarray(x), K, kind, floor)


def iterated(step, params, n):
    losses = []
    for _ in range(n):
        params, loss = step(params)
        losses.append(float(loss))
    return params, losses


@pytest.mark.parametrize("kind", KINDS)
def test_em_is_scikit_learns_from_the_same_start(kind, float64):
    x = rows()
    params = started(x, kind)
    log_weights, means, covariances = gmm.natural(params, kind)
    precisions = np.linalg.inv(np.asarray(covariances))
    of_kind = {"full": precisions, "diag": np.diagonal(precisions, axis1=1, axis2=2), "spherical": precisions[:, 0, 0]}
    reference = GaussianMixture(
        K,
        covariance_type=kind,
        tol=0,
        reg_covar=0,
        max_iter=12,
        weights_init=np.exp(log_weights),
        means_init=np.asarray(means),
        precisions_init=of_kind[kind],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference.fit(x)
    params, losses = iterated(jax.jit(lambda p: gmm.em_step(p, jnp.asarray(x), kind, 1e-12)), params, 12)
    log_weights, means, covariances = gmm.natural(params, kind)
    np.testing.assert_allclose(np.exp(log_weights), reference.weights_, rtol=1e-9)
    np.testing.assert_allclose(means, reference.means_, atol=1e-9)
    full = reference.covariances_
    if kind == "diag":
        full = full[..., None] * np.eye(2)
    elif kind == "spherical":
        full = full[:, None, None] * np.eye(2)
    np.testing.assert_allclose(covariances, full, rtol=1e-8, atol=1e-10)
    assert -float(gmm.em_step(params, jnp.asarray(x), kind, 1e-12)[1]) == pytest.approx(reference.score(x), rel=1e-12)
    assert losses[0] > losses[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_likelihood_rises_also_where_covariances_meet_their_floor(kind, float64):
    x = jnp.asarray(np.concatenate([rows(), np.full((30, 2), 0.5)]))
    floor = 0.2
    params, losses = iterated(jax.jit(lambda p: gmm.em_step(p, x, kind, floor)), started(x, kind, floor), 60)
    # The rounding of a mean of 430 logarithms.
    assert np.diff(losses).max() <= 1e-14
    eigenvalues = np.linalg.eigvalsh(gmm.natural(params, kind)[2])
    assert eigenvalues.min() >= floor * (1 - 1e-12)
    # Thirty rows at one place want none.
    assert eigenvalues.min() <= floor * (1 + 1e-9)


def test_covariances_at_the_floor_are_the_best_that_keep_to_it(float64):
    """No other matrix above the floor has a larger expected likelihood −½ (ln det Σ + tr Σ⁻¹ S)."""
    scatter = np.array([[1.0, 0.6], [0.6, 0.4]])
    floor = 0.3
    lower = gmm._raised(mixtures.lower_of(jnp.asarray(scatter)[None]), 2, floor)
    found = np.asarray(mixtures.symmetric(lower, 2)[0])

    def expected(covariance):
        return -(np.linalg.slogdet(covariance)[1] + np.trace(np.linalg.solve(covariance, scatter))) / 2

    generator = np.random.default_rng(0)
    others = 0
    for scale in (1e-3, 1e-2, 0.1, 1.0):
        for _ in range(200):
            move = generator.normal(size=(2, 2)) * scale
            other = found + move + move.T
            if np.linalg.eigvalsh(other).min() >= floor:
                others += 1
                assert expected(other) <= expected(found) + 1e-12
    assert others > 50


def test_log_prob_and_samples_are_those_of_the_mixture(make_config):
    config = make_config(target_type="2D_GMM", num_bins=0, parameter_budget=23)
    target = make_target(config)
    model = gmm.build(config, target)
    assert (model.width, model.n_params) == (4, 23)
    modes = target.truth.modes
    params = gmm.from_natural(*map(jnp.float32, (np.log(modes.weights), modes.means, modes.covariances)), "full")
    state = starts.State(params, None, None, None)
    x = np.random.default_rng(0).normal(size=(9, 2)) * 2
    np.testing.assert_allclose(model.log_prob(state, jnp.float32(x)), target.log_prob(x), rtol=1e-5)
    # The target itself: nothing is left of the divergence but float32's weights.
    assert abs(divergences.kl_exact(model, state, target)) < 1e-6
    n = 20_000
    drawn = np.asarray(model.sample(jax.random.key(0), state, n))
    # Five standard errors of a mean; the target's mean is 0, its variances about 2.75.
    assert np.all(np.abs(drawn.mean(0)) < 5 * drawn.std(0) / math.sqrt(n))
    product = drawn[:, 0] * drawn[:, 1]
    expected = np.sum(modes.weights * (modes.covariances[:, 0, 1] + modes.means[:, 0] * modes.means[:, 1]))
    assert abs(product.mean() - expected) < 5 * product.std() / math.sqrt(n)


def trained(config, n_rows):
    target = make_target(config)
    model = gmm.build(config, target)
    x = target.codec.encode(target.sample(jax.random.key(4), n_rows))
    state = jax.jit(model.init)(jax.random.key(5), x)
    state, info = jax.lax.scan(lambda state, _: model.step(state, x, ()), state, None, 60)
    return target, model, state, info


def test_the_mixture_recovers_the_targets_own_components(make_config):
    n = 40_000
    target, model, state, info = trained(make_config(target_type="2D_GMM", num_bins=0, parameter_budget=23), n)
    log_weights, means, covariances = map(np.asarray, gmm.natural(state.params, "full"))
    modes = target.truth.modes
    order = min(itertools.permutations(range(4)), key=lambda order: np.abs(means[list(order)] - modes.means).max())
    order = list(order)
    # Five standard errors of what n/4 rows say of each; the components hardly overlap.
    rows_each = n / 4
    variances = np.diagonal(modes.covariances, axis1=1, axis2=2)
    assert np.all(np.abs(means[order] - modes.means) < 5 * np.sqrt(variances / rows_each))
    assert np.all(np.abs(np.exp(log_weights)[order] - 0.25) < 5 * math.sqrt(0.25 * 0.75 / n))
    spread = np.sqrt((modes.covariances**2 + variances[:, :, None] * variances[:, None, :]) / rows_each)
    assert np.all(np.abs(covariances[order] - modes.covariances) < 5 * spread)
    # 2 n KL is χ² with 23 degrees of freedom: above 60 once in 30 000 times.
    assert 0 < divergences.kl_exact(model, state, target) < 60 / (2 * n)
    # The best of several starts, at every iteration.
    assert np.all(np.diff(np.asarray(info.loss)) < 1e-5)
    np.testing.assert_array_equal(state.course[:60], info.loss)


def test_cell_moments_are_those_of_truncated_normal_variables(float64):
    mean, deviation = jnp.array([0.0, 1.3, -2.9]), jnp.array([1.0, 0.05, 0.3])
    edges = np.linspace(-3, 3, 7)
    edges[0], edges[-1] = -1e25, 1e25
    found = grouped.cell_moments(mean, deviation, edges)
    edges[0], edges[-1] = -np.inf, np.inf
    for k, j in itertools.product(range(3), range(6)):
        low, high = (edges[j : j + 2] - float(mean[k])) / float(deviation[k])
        if min(abs(low), abs(high)) > 25:
            continue
        law = scipy.stats.truncnorm(low, high)
        one_side = (scipy.stats.norm.logcdf(high), scipy.stats.norm.logcdf(low))
        if low + high > 0:
            one_side = (scipy.stats.norm.logsf(low), scipy.stats.norm.logsf(high))
        log_mass = one_side[0] + np.log1p(-np.exp(one_side[1] - one_side[0]))
        assert float(found.log_mass[k, j]) == pytest.approx(log_mass, rel=1e-9, abs=1e-12)
        assert float(found.first[k, j]) == pytest.approx(law.moment(1), rel=1e-6, abs=1e-9)
        assert float(found.second[k, j]) == pytest.approx(law.moment(2), rel=1e-6, abs=1e-9)
    assert all(np.all(np.isfinite(values)) for values in found)


def in_line(n_bins, n=500):
    """Rows of a line, the edges of cells over it, and how many rows lie in each."""
    x = rows(n)[:, 0]
    edges = np.linspace(-4, 4, n_bins + 1)
    counts = np.histogram(np.clip(x, -3.999, 3.999), edges)[0].astype(float)
    edges[0], edges[-1] = -1e25, 1e25
    return x, edges, counts


def test_likelihood_of_cells_rises_and_is_the_multinomials(float64):
    x, edges, counts = in_line(9)
    params = started(x[:, None], "full", 1e-9)
    step = jax.jit(lambda p: gmm.em_step_grouped(p, jnp.asarray(counts), edges, 1e-9))
    log_weights, means, covariances = gmm.natural(params, "full")
    below = scipy.stats.norm.cdf((edges - np.asarray(means)) / np.sqrt(np.asarray(covariances))[:, 0])
    masses = np.exp(log_weights) @ np.diff(below, axis=1)
    assert float(step(params)[1]) == pytest.approx(-counts @ np.log(masses) / counts.sum(), rel=1e-10)
    _, losses = iterated(step, params, 150)
    assert np.diff(losses).max() <= 1e-13
    # More components than the cells can tell come close to the best that there is, the counts' own entropy.
    shares = counts[counts > 0] / counts.sum()
    assert 0 <= losses[-1] + shares @ np.log(shares) < 0.02


def test_em_of_fine_cells_is_em_of_the_rows(float64):
    """Moments within a cell differ from its rows' by its width h at first, h²/12 at second order."""
    apart = []
    for n_bins in (400, 4000):
        x, edges, counts = map(jnp.asarray, in_line(n_bins))
        start = started(x[:, None], "full", 1e-9)
        grouped_step = functools.partial(gmm.em_step_grouped, counts=counts, edges=edges, floor=1e-9)
        plain_step = functools.partial(gmm.em_step, x=x[:, None], kind="full", floor=1e-9)
        (grouped, _), (plain, _) = (iterated(jax.jit(step), start, 10) for step in (grouped_step, plain_step))
        apart.append(max(np.abs(a - b).max() for a, b in zip(grouped, plain, strict=True)))
    assert apart[1] < 0.002
    assert apart[1] < apart[0] / 3


def test_k_means_plus_plus_draws_by_squared_distance():
    x = jnp.array([[0.0], [1.0], [3.0]])
    keys = jax.random.split(jax.random.key(0), 4000)
    centres = np.asarray(jax.jit(jax.vmap(lambda key: mixtures.k_means_plus_plus(key, x, 2)))(keys))[..., 0]
    first, second = centres.T
    expected = {0: (0, 1, 9), 1: (1, 0, 4), 3: (9, 4, 0)}
    for value, mass in expected.items():
        assert abs(np.mean(first == value) - 1 / 3) < 5 * math.sqrt(2 / 9 / 4000)
        share = np.array([np.mean(second[first == value] == other) for other in (0, 1, 3)])
        assert np.all(np.abs(share - np.array(mass) / sum(mass)) < 5 * 0.5 / math.sqrt(4000 / 3))
    # As many centres as rows, and more.
    assert set(np.ravel(mixtures.k_means_plus_plus(keys[0], x, 5)).tolist()) == {0.0, 1.0, 3.0}


@pytest.mark.parametrize("family", ["GMM", "KMEANS", "VBGMM", "BBVI"])
def test_components_may_be_asked_for(family, make_config):
    settings = MODELS[family].Config(n_components=4)
    config = make_config(target_type="2D_GMM", num_bins=0, parameter_budget=500, **{family.lower(): settings})
    model = MODELS[family].build(config, make_target(config))
    assert model.width == 4
    # Of K components, as the budget counts them: 1 + 2 + 3 numbers each less one, 2 + 1, and 3 + 2 + 3.
    assert model.n_params == {"GMM": 23, "KMEANS": 12}.get(family, 32)
    few = dataclasses.replace(settings, n_components=50, n_rows=40)
    config = make_config(target_type="2D_GMM", num_bins=0, parameter_budget=500, **{family.lower(): few})
    line = (
        rf"{family}.n_components = 50 (components|centres) are more than the 40 rows .* set {family}.n_components = 40"
    )
    with pytest.raises(UserError, match=line):
        MODELS[family].build(config, make_target(config))


def test_more_components_than_rows_are_refused(make_config):
    config = make_config(target_type="2D_GMM", num_bins=0, parameter_budget=310, n_samples_train=40)
    with pytest.raises(
        UserError, match="= 310 makes 52 components, more than the 40 rows to fit them to; 239 makes as many"
    ):
        gmm.build(config, make_target(config))

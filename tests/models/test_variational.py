"""Variational mixtures against Bishop's formulas, scikit-learn, SciPy and closed forms; float64 where that is meant."""

import functools
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats
from conftest import quick_if
from sklearn.mixture import BayesianGaussianMixture

from core.errors import UserError
from models import bayesian_mixture, bbvi, mixtures, normal_wishart, vbgmm
from models.normal_wishart import Law
from targets import make_target

K = 5
FAMILIES = {"VBGMM": vbgmm, "BBVI": bbvi}
# Where both have the same code for it; `make test-all` takes both.
one_family = pytest.mark.parametrize("family", [quick_if(name == "VBGMM", name) for name in FAMILIES])


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def built(make_config):
    """A family built for a small budget on the 1-D mixture, or as the fields say, and its target."""

    def build(family, **fields):
        config = make_config(**dict(target_type="1D_BIMODAL", num_bins=0, parameter_budget=15, batch_size=16) | fields)
        target = make_target(config)
        return FAMILIES[family].build(config, target), target

    return build


def rows(n=400, seed=0):
    generator = np.random.default_rng(seed)
    centres = np.array([[1.5, 1.5], [-1.5, 1.0], [0.0, -2.0]])
    factor = np.array([[0.7, 0.0], [0.5, 0.4]])
    return centres[generator.integers(3, size=n)] + generator.normal(size=(n, 2)) @ factor.T


def some_law(dim=2, n_components=3, seed=1):
    """A law far from any prior."""
    generator = np.random.default_rng(seed)
    factors = np.tril(generator.normal(size=(n_components, dim, dim)))
    factors[:, range(dim), range(dim)] = generator.uniform(0.3, 1.5, (n_components, dim))
    values = (
        generator.uniform(0.5, 20, n_components),
        generator.uniform(0.5, 9, n_components),
        generator.uniform(dim + 2, dim + 25, n_components),
        generator.normal(size=(n_components, dim)),
        factors,
    )
    return Law(*map(jnp.asarray, values))


def started(x, **settings):
    config = vbgmm.Config(**settings)
    prior = normal_wishart.prior_of(jnp.asarray(x), None, K, config)
    return normal_wishart.start_of(jax.random.key(3), jnp.asarray(x), None, prior), prior


def bishops_bound(law, prior, x):
    """The bound with its seven terms, 10.71 to 10.77, for the responsibilities of 10.49."""
    alpha, beta, nu, m, factors = (np.asarray(field) for field in law)
    alpha0, beta0, nu0, m0, factor0 = (np.asarray(field)[0] for field in prior)
    dim, n_components = x.shape[1], len(alpha)
    w = np.einsum("kji,kjl->kil", factors, factors)
    w0 = factor0.T @ factor0
    digamma, log_det = scipy.special.digamma, np.log(np.linalg.det(w))
    log_pi = digamma(alpha) - digamma(alpha.sum())
    log_lambda = sum(digamma((nu + 1 - i) / 2) for i in (1, 2)) + dim * math.log(2) + log_det
    apart = x[:, None] - m
    square = dim / beta + nu * np.einsum("nki,kij,nkj->nk", apart, w, apart)
    log_rho = log_pi + log_lambda / 2 - dim / 2 * math.log(2 * math.pi) - square / 2
    r = np.exp(log_rho - scipy.special.logsumexp(log_rho, axis=1, keepdims=True))

    def log_b(w, nu):
        return -nu / 2 * np.log(np.linalg.det(w)) - nu * dim / 2 * math.log(2) - scipy.special.multigammaln(nu / 2, dim)

    def log_c(alpha):
        return scipy.special.gammaln(alpha.sum()) - scipy.special.gammaln(alpha).sum()

    of_rows = np.sum(r * (log_lambda - dim * math.log(2 * math.pi) - square)) / 2
    of_assignments = np.sum(r * log_pi)
    of_weights = log_c(np.full(n_components, alpha0)) + (alpha0 - 1) * log_pi.sum()
    from_prior = np.einsum("ki,kij,kj->k", m - m0, w, m - m0)
    of_parameters = (
        np.sum(dim * math.log(beta0 / (2 * math.pi)) + log_lambda - dim * beta0 / beta - beta0 * nu * from_prior) / 2
    )
    of_parameters += n_components * log_b(w0, nu0) + (nu0 - dim - 1) / 2 * log_lambda.sum()
    of_parameters -= np.sum(nu * np.einsum("ij,kji->k", np.linalg.inv(w0), w)) / 2
    q_assignments = np.sum(scipy.special.xlogy(r, r))
    q_weights = np.sum((alpha - 1) * log_pi) + log_c(alpha)
    entropies = [-log_b(w[k], nu[k]) - (nu[k] - dim - 1) / 2 * log_lambda[k] + nu[k] * dim / 2 for k in range(len(nu))]
    q_parameters = np.sum(log_lambda / 2 + dim / 2 * np.log(beta / (2 * math.pi)) - dim / 2 - entropies)
    return of_rows + of_assignments + of_weights + of_parameters - q_assignments - q_weights - q_parameters


def test_bound_is_bishops_sum_of_seven_terms(float64):
    x = rows(60)
    law, prior = started(x, weight_concentration_prior=0.7, mean_precision_prior=2.0, degrees_of_freedom_prior=4.5)
    law = law._replace(concentration=law.concentration * jnp.arange(1.0, K + 1), means=law.means + 0.3)
    _, loss = vbgmm.vb_step(vbgmm.params_of(law), prior, jnp.asarray(x), None)
    assert -float(loss) * len(x) == pytest.approx(bishops_bound(law, prior, x), rel=1e-10)
    found = normal_wishart.bounds(jax.random.key(0), law, prior, jnp.asarray(x), None, 2)
    assert float(found.with_assignments) == pytest.approx(-float(loss), rel=1e-12)


def test_coordinate_ascent_raises_its_bound_and_switches_components_off(float64):
    x = jnp.asarray(rows())
    law, prior = started(x, weight_concentration_prior=1e-3)
    step = jax.jit(lambda params: vbgmm.vb_step(params, prior, x, None))
    params, losses = vbgmm.params_of(law), []
    for _ in range(300):
        params, loss = step(params)
        losses.append(float(loss))
    # Rounding of a sum over 400 rows, over 400.
    assert np.diff(losses).max() <= 1e-13
    assert losses[-1] < losses[0] - 0.1
    # Three clusters made the rows.
    assert float(normal_wishart.n_components(vbgmm.law_of(params), prior, len(x))) == 3


def test_a_prior_is_no_row():
    law, prior = started(jnp.asarray(rows()), weight_concentration_prior=2.0)
    # Of 400 rows two components have half each, one has 0.9 of one, and the prior is all that the others have.
    expected = jnp.zeros(K).at[jnp.array([0, 1, 2])].set(jnp.array([199.0, 200.1, 0.9]))
    law = law._replace(concentration=2.0 + expected)
    assert float(normal_wishart.n_components(law, prior, 400)) == 2
    # Black-box inference finds α by gradients; what counts is their proportion.
    assert float(normal_wishart.n_components(law._replace(concentration=3 * law.concentration), prior, 400)) == 2


@pytest.mark.slow
def test_draws_are_differentiable_functions_of_the_law(float64):
    """d E[ln πₖ]/dα = ψ′(αₖ)·[k = l] − ψ′(Σα), and d E[ln det Λ]/dν = ½ Σᵢ ψ′((ν + 1 − i)/2), as means over draws."""
    law = some_law()
    keys = jax.random.split(jax.random.key(5), 4000)

    def gradient_of(statistic):
        return jax.jit(jax.vmap(jax.grad(lambda law, key: statistic(normal_wishart.draw(key, law))), (None, 0)))(
            law, keys
        )

    def close(found, expected):
        error = np.std(found, axis=0, ddof=1) / np.sqrt(len(keys))
        assert np.all(np.abs(np.mean(found, axis=0) - expected) < 5 * error + 1e-12)

    trigamma = functools.partial(jax.scipy.special.polygamma, 1)
    of_weight = gradient_of(lambda drawn: drawn.log_weights[0]).concentration
    close(of_weight, trigamma(law.concentration) * (jnp.arange(3) == 0) - trigamma(jnp.sum(law.concentration)))
    dim = law.means.shape[1]
    of_precision = gradient_of(lambda drawn: 2 * jnp.sum(mixtures.log_determinant(drawn.whitening)))
    nu = law.degrees_of_freedom
    close(of_precision.degrees_of_freedom, sum(trigamma((nu + 1 - i) / 2) for i in range(1, dim + 1)) / 2)
    close(gradient_of(lambda drawn: jnp.sum(drawn.means)).means, jnp.ones_like(law.means))


@one_family
def test_rows_on_a_line_have_a_posterior(family, built):
    model, _ = built(family, target_type="2D_GMM", parameter_budget=24)
    along = jax.random.normal(jax.random.key(0), (300, 1))
    x = jnp.concatenate([along, 2 * along], axis=1)
    state = jax.jit(model.init)(jax.random.key(1), x)
    for i in range(3):
        state, info = jax.jit(model.step)(state, x, model.noise(jax.random.key(i)))
        assert np.isfinite(info.loss)
    assert np.all(np.isfinite(model.log_prob(state, x)))


@one_family
def test_seeds_side_by_side_evaluate_bounds_at_the_marks_alone(family, built):
    model, target = built(family)
    x = target.sample(jax.random.key(0), 64)
    states = jax.vmap(lambda key: model.init(key, x))(jax.random.split(jax.random.key(1), 2))
    step = jax.vmap(lambda state: model.step(state, x, model.noise(jax.random.key(2))))
    # A batched choice would take both sides and drop one.
    assert "cond[" in str(jax.make_jaxpr(step)(states))
    after, _ = jax.jit(step)(states)
    alone, _ = jax.jit(lambda state: model.step(state, x, model.noise(jax.random.key(2))))(
        jax.tree.map(lambda leaf: leaf[1], states)
    )
    np.testing.assert_allclose(
        *(getattr(s, "inner", s).course for s in (jax.tree.map(lambda leaf: leaf[1], after), alone)), rtol=1e-4
    )


def test_coordinate_ascent_is_scikit_learns(float64):
    x = rows()
    law, prior = started(x)
    reference = BayesianGaussianMixture(
        n_components=K,
        weight_concentration_prior_type="dirichlet_distribution",
        tol=0,
        reg_covar=0,
        max_iter=7,
        warm_start=True,
    )
    # Warm: it goes on from our start, in its own terms.
    reference.converged_, reference.lower_bound_ = False, -np.inf
    reference.weight_concentration_, reference.mean_precision_, reference.degrees_of_freedom_, reference.means_ = (
        np.asarray(field) for field in law[:4]
    )
    upper = np.sqrt(np.asarray(law.degrees_of_freedom))[:, None, None] * np.swapaxes(np.asarray(law.factors), 1, 2)
    # Theirs is without the degrees of freedom's share.
    reference.precisions_cholesky_ = upper
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference.fit(x)
    params = vbgmm.params_of(law)
    for _ in range(7):
        params, _ = vbgmm.vb_step(params, prior, jnp.asarray(x), None)
    found = vbgmm.law_of(params)
    np.testing.assert_allclose(found.concentration, reference.weight_concentration_, rtol=1e-9)
    np.testing.assert_allclose(found.mean_precision, reference.mean_precision_, rtol=1e-9)
    np.testing.assert_allclose(found.degrees_of_freedom, reference.degrees_of_freedom_, rtol=1e-9)
    np.testing.assert_allclose(found.means, reference.means_, atol=1e-9)
    covariances = normal_wishart.scatter_of(found.factors) / found.degrees_of_freedom[:, None, None]
    np.testing.assert_allclose(covariances, reference.covariances_, rtol=1e-8, atol=1e-10)


def test_kl_of_a_law_to_itself_is_nothing_and_else_positive(float64):
    law, other = some_law(), some_law(seed=2)
    assert float(normal_wishart.kl(law, law)) == pytest.approx(0, abs=1e-12)
    assert float(normal_wishart.kl(law, other)) > 1


def test_draws_have_the_laws_moments(float64):
    law = some_law()
    n = 4000
    drawn = jax.jit(jax.vmap(lambda key: normal_wishart.draw(key, law)))(jax.random.split(jax.random.key(5), n))
    precision = np.einsum("nkji,nkjl->nkil", drawn.whitening, drawn.whitening)
    expected = np.asarray(law.degrees_of_freedom)[:, None, None] * np.einsum("kji,kjl->kil", law.factors, law.factors)

    def assert_mean(values, mean):
        # Five standard errors, over at most a dozen numbers: one test in 10⁵ fails by chance.
        assert np.all(np.abs(values.mean(0) - mean) < 5 * values.std(0) / math.sqrt(n))

    assert_mean(precision, expected)
    digamma = scipy.special.digamma
    alpha, nu = np.asarray(law.concentration), np.asarray(law.degrees_of_freedom)
    assert_mean(np.asarray(drawn.log_weights), digamma(alpha) - digamma(alpha.sum()))
    log_det = (
        sum(digamma((nu + 1 - i) / 2) for i in (1, 2))
        + 2 * math.log(2)
        + np.log(np.linalg.det(expected / nu[:, None, None]))
    )
    assert_mean(np.log(np.linalg.det(precision)), log_det)
    # E[(x − μ)ᵀ Λ (x − μ)] at x = m + (1, 1): D/β + ν (1, 1) W (1, 1)ᵀ.
    apart = np.asarray(law.means) + 1 - np.asarray(drawn.means)
    square = np.einsum("nki,nkij,nkj->nk", apart, precision, apart)
    assert_mean(square, 2 / np.asarray(law.mean_precision) + expected.sum((1, 2)))


def test_predictive_is_scipys_mixture_of_student_t(float64):
    law = some_law()
    x = np.random.default_rng(0).normal(size=(7, 2)) * 3
    log_weights, centres, whitening, freedom = map(np.asarray, normal_wishart.predictive(law))
    density = 0.0
    for k in range(3):
        shape = np.linalg.inv(whitening[k].T @ whitening[k])
        density += np.exp(log_weights[k]) * scipy.stats.multivariate_t(centres[k], shape, freedom[k]).pdf(x)
    np.testing.assert_allclose(normal_wishart.predictive_log_density(law, jnp.asarray(x)), np.log(density), rtol=1e-9)
    # Bishop 10.82.
    beta = np.asarray(law.mean_precision)
    w = np.einsum("kji,kjl->kil", law.factors, law.factors)
    precisions = (np.asarray(law.degrees_of_freedom) - 1)[:, None, None] * (beta / (1 + beta))[:, None, None] * w
    np.testing.assert_allclose(np.einsum("kji,kjl->kil", whitening, whitening), precisions, rtol=1e-12)


@pytest.mark.parametrize(("precise", "tolerance"), [(True, 1e-12), (False, 2e-6)])
def test_predictive_masses_are_those_of_student_t(precise, tolerance):
    """Also with as many degrees of freedom as a component with all rows has."""
    with jax.enable_x64(precise):
        law = some_law(dim=1)
        law = law._replace(degrees_of_freedom=jnp.array([2.5, 300.0, 9000.0], law.means.dtype))
        edges = np.linspace(-4, 4, 9)
        edges[0], edges[-1] = -1e25, 1e25
        found = np.exp(normal_wishart.predictive_log_masses(law, edges))
        _, centres, whitening, freedom = map(np.asarray, normal_wishart.predictive(law))
        below = scipy.stats.t.cdf((edges[None] - centres) * whitening[:, 0], freedom[:, None])
        np.testing.assert_allclose(found, np.diff(below, axis=1), atol=tolerance)


def test_predictive_draws_have_its_cell_masses():
    law = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), some_law(dim=1))
    edges = np.linspace(-6, 6, 13)
    edges[0], edges[-1] = -1e25, 1e25
    parts = normal_wishart.predictive(law)[0], normal_wishart.predictive_log_masses(law, edges)
    weights, each = (np.exp(np.asarray(values, np.float64)) for values in parts)
    masses = weights @ each
    n = 20_000
    drawn = np.asarray(normal_wishart.predictive_draw(jax.random.key(8), law, n))[:, 0]
    counts = np.histogram(drawn, edges)[0]
    # One set of draws in ten thousand is rejected.
    assert scipy.stats.chisquare(counts, n * masses / masses.sum()).pvalue > 1e-4


def test_mean_field_of_a_gaussian_has_the_inverse_diagonal_of_its_precision(float64):
    """The gradients of a reparameterised bound find q = Π N(μᵢ, 1/Λᵢᵢ), whose KL is ½(Σ ln Λᵢᵢ − ln det Λ)."""
    mean = jnp.array([0.7, -1.1])
    precision = jnp.array([[2.0, 1.2], [1.2, 1.5]])

    # Plus and minus √2 along each axis have the moments of a normal variable that a quadratic asks for.
    nodes = jnp.sqrt(2.0) * jnp.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])

    def expected(key, params):
        del key
        apart = params[0][None] + jnp.exp(params[1])[None] * nodes - mean[None]
        log_density = -jnp.einsum("ni,ij,nj->n", apart, precision, apart) / 2
        return jnp.mean(log_density) + jnp.linalg.slogdet(precision)[1] / 2 - mixtures.LOG_2PI

    def cost(params):
        return -jnp.sum(params[1]) - mixtures.LOG_2PI - 1

    optimiser = optax.adam(optax.exponential_decay(0.1, 100, 0.3))

    def step(carry, _):
        params, opt_state = carry
        loss, gradient = bbvi.bound_gradient(jax.random.key(0), params, expected, cost, 1)
        updates, opt_state = optimiser.update(gradient, opt_state)
        return (optax.apply_updates(params, updates), opt_state), loss

    params = (jnp.zeros(2), jnp.zeros(2))
    (params, _), losses = jax.lax.scan(step, (params, optimiser.init(params)), None, 1200)
    np.testing.assert_allclose(params[0], mean, atol=1e-5)
    np.testing.assert_allclose(jnp.exp(2 * params[1]), 1 / jnp.diagonal(precision), rtol=1e-5)
    known = (np.log(2.0 * 1.5) - np.log(np.linalg.det(precision))) / 2
    assert float(losses[-1]) == pytest.approx(known, abs=1e-9)


def test_free_parameters_and_laws_go_both_ways(float64):
    law = some_law()
    for family in (vbgmm, bbvi):
        for found, given in zip(family.law_of(family.params_of(law)), law, strict=True):
            np.testing.assert_allclose(found, given, rtol=1e-10, atol=1e-12)


def trained(built, family, n_steps, n_rows, **settings):
    """A family's state after so many steps on rows of the 1-D mixture, and those rows."""
    model, target = built(family, batch_size=32, **{family.lower(): FAMILIES[family].Config(**settings)})
    x = target.sample(jax.random.key(1), n_rows)

    def run(key):
        def step(state, i):
            return model.step(state, x, model.noise(jax.random.fold_in(key, i)))

        return jax.lax.scan(step, model.init(key, x), jnp.arange(n_steps))

    return model, *jax.jit(run)(jax.random.key(0)), x


@pytest.mark.slow
def test_summed_out_the_bound_of_gradients_is_no_lower_than_that_of_coordinate_ascent(built):
    model_vb, vb, _, x = trained(built, "VBGMM", 100, 64)
    # The average of noisy steps about the best q: what they are off by themselves is of the size of what is compared.
    model_bb, bb, info, _ = trained(built, "BBVI", 2000, 64, learning_rate=1e-2, n_gradient_draws=8, average=0.995)
    assert model_vb.width == model_bb.width == 3
    found = {}
    for name, law in (("VBGMM", vbgmm.law_of(vb.params)), ("BBVI", bbvi.law_of(bb.average))):
        found[name] = normal_wishart.bounds(jax.random.key(2), law, vb.prior, x, None, 3000)
        # Jensen: with the assignments in q the bound is lower, whatever q is.
        assert found[name].summed_out - found[name].with_assignments > -4 * found[name].standard_error
    difference = found["BBVI"].summed_out - found["VBGMM"].summed_out
    assert difference > -4 * math.hypot(found["BBVI"].standard_error, found["VBGMM"].standard_error)
    # And so no lower than the bound that VBGMM climbs.
    assert found["BBVI"].summed_out - found["VBGMM"].with_assignments > -4 * found["BBVI"].standard_error
    # What steps report estimates the same bound, at weights that are off by their noise: 0.01 nats a row at most.
    last = np.asarray(info.loss)[-500:]
    assert abs(last.mean() + found["BBVI"].summed_out) < 5 * last.std() / math.sqrt(500) + 0.01


@one_family
def test_course_holds_both_bounds_at_its_marks(family, built):
    model, target = built(family)
    x = target.sample(jax.random.key(1), 64)
    step = jax.jit(lambda state, key: model.step(state, x, model.noise(key)))
    # What neither estimates: the bound with the assignments.
    bound = jax.jit(lambda law, prior: normal_wishart.bounds(jax.random.key(0), law, prior, x, None, 2)[0])
    state, before = model.init(jax.random.key(0), x), []
    for i in range(9):
        own = getattr(state, "inner", state)
        before.append(float(bound(FAMILIES[family].law_of(own.params), own.prior)))
        state, _ = step(state, jax.random.key(i))
    arrays = {name: np.asarray(value) for name, value in model.views["variational_elbo"].arrays(state).items()}
    reached = bayesian_mixture.MARKS[bayesian_mixture.MARKS < 9]
    n = len(reached)
    assert np.array_equal(arrays["step"][:n], reached)
    # Later places repeat the last one.
    assert np.all(arrays["step"][n:] == reached[-1])
    np.testing.assert_allclose(arrays["with_assignments"][:n], np.array(before)[reached], rtol=1e-4)
    assert np.all(arrays["standard_error"] > 0)
    # Jensen: on average no lower; of eight draws each.
    ahead = arrays["summed_out"][:n] - arrays["with_assignments"][:n]
    assert np.all(ahead > -5 * arrays["standard_error"][:n])
    # A count is that of an interval's end.
    assert "components" in model.last_fields
    assert model.n_rows_used == {"VBGMM": None, "BBVI": 16}[family]


def test_bounds_are_in_units_of_the_table(built, tmp_path):
    table = np.random.default_rng(0).normal(size=(60, 2)) * [1.0, 30.0] + [5.0, -2.0]
    np.save(tmp_path / "table.npy", table)
    model, target = built("VBGMM", target_type="CUSTOM", custom_file=str(tmp_path / "table.npy"), parameter_budget=40)
    state = model.init(jax.random.key(0), jnp.asarray(np.random.default_rng(1).normal(size=(60, 2)), jnp.float32))
    state = state._replace(course=state.course.at[0].set(jnp.array([-3.0, -2.5, 0.125])), n_done=jnp.int32(1))
    arrays = model.views["variational_elbo"].arrays(state)
    # A density of rows that were divided by their deviations is by these smaller.
    log_volume = np.log(target.train_rows.std(axis=0)).sum()
    assert float(arrays["with_assignments"][0]) == pytest.approx(-3 - log_volume, rel=1e-5)
    assert float(arrays["summed_out"][0]) == pytest.approx(-2.5 - log_volume, rel=1e-5)
    assert float(arrays["standard_error"][0]) == 0.125


def test_unusable_settings(make_config):
    with pytest.raises(UserError, match="n_draws"):
        vbgmm.Config(n_draws=1)
    config = make_config(target_type="2D_GMM", num_bins=0, vbgmm=vbgmm.Config(degrees_of_freedom_prior=0.5))
    with pytest.raises(UserError, match="must be above 1 in 2 dimensions"):
        vbgmm.build(config, make_target(config))

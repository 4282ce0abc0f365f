"""Likelihoods of images: PCA's against scikit-learn, the bound against a Gaussian's, ln Z against enumeration."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from pixel_targets import blobs
from sklearn.decomposition import PCA

from models import MODELS, likelihood, ppca
from models.boltzmann import Params, free_energy
from models.boltzmann_states import log_partition_binary
from models.likelihood import annealed_log_weights, base_log_partition, held_out, importance_weighted, log_z_of
from models.visibles import PIXELS


@pytest.mark.parametrize("n_directions", [1, 5, 20])
@pytest.mark.parametrize("iterated", [False, True])
def test_the_density_is_scikit_learns(n_directions, iterated, monkeypatch):
    """Whose covariance is over n − 1 rows: scaled to n, its own is the maximum of the likelihood."""
    monkeypatch.setattr(ppca, "_MOST_DECOMPOSED", 10 if iterated else 1000)
    with jax.enable_x64(True):
        generator = np.random.default_rng(0)
        scales = 0.9 ** np.arange(120)
        turn = np.linalg.qr(generator.normal(size=(120, 120)))[0]
        x, other = (generator.normal(size=(400, 120)) * scales @ turn + 0.5 for _ in range(2))
        params = jax.jit(ppca.fitted, static_argnums=1)(jnp.asarray(x), n_directions)
        theirs = PCA(n_directions, svd_solver="full").fit(x)
        theirs.explained_variance_ *= 399 / 400
        theirs.noise_variance_ *= 399 / 400
        # Without its cut to what float64 holds, the covariance is the model's own.
        np.testing.assert_allclose(ppca.log_density(params, jnp.asarray(other)), theirs.score_samples(other), rtol=1e-6)
        covariance = np.asarray(params.directions @ params.directions.T) + np.exp(2 * params.log_sigma[0]) * np.eye(120)
        known = scipy.stats.multivariate_normal(np.asarray(params.mean), covariance).logpdf(other)
        np.testing.assert_allclose(ppca.log_density(params, jnp.asarray(other)), known, rtol=1e-9)


def test_draws_and_codes_of_components(make_config):
    target = blobs(n_rows=300)
    model = MODELS["PPCA"].build(make_config(parameter_budget=64 * 6 + 1), target)
    assert (model.width, model.n_params) == (5, 64 * 6 + 1)
    state = model.init(jax.random.key(0), jnp.asarray(target.train_rows))
    # Of grey levels about the middle, where nothing is cut off.
    params = state.params._replace(mean=jnp.full(64, 0.5), directions=0.1 * state.params.directions)
    state = state._replace(params=params._replace(log_sigma=jnp.log(jnp.array([0.03]))))
    drawn = np.asarray(model.sample(jax.random.key(1), state, 50_000), np.float64)
    known = np.asarray(state.params.directions @ state.params.directions.T) + 0.03**2 * np.eye(64)
    np.testing.assert_allclose(np.cov(drawn.T), known, atol=6 * known.max() / math.sqrt(50_000))
    z = jax.random.normal(jax.random.key(2), (4, 5))
    sharp = state._replace(params=state.params._replace(log_sigma=jnp.array([-20.0])))
    np.testing.assert_allclose(model.encode(sharp, model.decode(sharp, z)), z, atol=1e-2)
    # As many as the rows allow, whatever the budget.
    few = MODELS["PPCA"].build(make_config(parameter_budget=10**5), blobs(n_rows=30))
    assert few.width == 29
    assert MODELS["PPCA"].build(make_config(parameter_budget=10**5), target).width == 63


def linear_model():
    """z ~ N(0, I₂), x = A z + σ ε: q(z | x) is off by a known amount."""
    generator = np.random.default_rng(3)
    a, sigma = generator.normal(size=(6, 2)), 0.7
    # Rows many times over: the bound rises in expectation, and one draw of it has noise.
    x = np.tile(generator.normal(size=(40, 2)) @ a.T + sigma * generator.normal(size=(40, 6)), (100, 1))
    exact = scipy.stats.multivariate_normal(np.zeros(6), a @ a.T + sigma**2 * np.eye(6)).logpdf(x)
    precision = a.T @ a / sigma**2 + np.eye(2)
    to_mean = jnp.asarray(a @ np.linalg.inv(precision).T / sigma**2)

    def log_likelihood(x, z):
        return jnp.sum(-((x - z @ a.T) ** 2) / (2 * sigma**2), axis=1) - 6 * math.log(sigma * math.sqrt(2 * math.pi))

    def encode(x):
        # Too wide, so that weights are bounded, and a little to the side.
        widest = 1 / np.linalg.eigvalsh(precision)[0]
        return x @ to_mean + 0.3, jnp.full((len(x), 2), math.log(1.5 * widest))

    return jnp.asarray(x), exact, encode, log_likelihood


def test_the_bound_rises_with_the_draws_up_to_the_likelihood():
    with jax.enable_x64(True):
        x, exact, encode, log_likelihood = linear_model()
        means = []
        for k in (1, 5, 50, 1000):
            each = importance_weighted(jax.random.key(1), x, k, encode, log_likelihood)
            means.append(float(each.mean()))
        assert np.all(np.diff(means) > 0)
        assert means[0] < exact.mean() - 0.1
        assert means[-1] == pytest.approx(exact.mean(), abs=0.01)


def test_a_bound_with_the_exact_posterior_is_the_likelihood_at_any_number_of_draws(monkeypatch):
    """Every weight is then p(x): also where rows and draws come in parts, the last of them only begun."""
    monkeypatch.setattr(likelihood, "_Z_AT_ONCE", 3)
    with jax.enable_x64(True):
        a, sigma = np.array([[1.0], [2.0]]), 0.5
        variance = 1 / (a.T @ a / sigma**2 + 1)[0, 0]
        x = jnp.asarray(np.random.default_rng(0).normal(size=(150, 2)))

        def log_likelihood(x, z):
            return jnp.sum(-((x - z @ a.T) ** 2) / (2 * sigma**2), axis=1) - 2 * math.log(
                sigma * math.sqrt(2 * math.pi)
            )

        def encode(x):
            return variance * x @ a / sigma**2, jnp.full((len(x), 1), math.log(variance))

        exact = scipy.stats.multivariate_normal(np.zeros(2), a @ a.T + sigma**2 * np.eye(2)).logpdf(np.asarray(x))
        for k in (1, 7):
            found = importance_weighted(jax.random.key(0), x, k, encode, log_likelihood)
            np.testing.assert_allclose(found, exact, atol=1e-9)


def machine(scale, n_visible=10, n_hidden=6):
    generator = np.random.default_rng(5)
    weights = scale * generator.normal(size=(n_visible, n_hidden))
    biases = (generator.normal(size=n) for n in (n_visible, n_hidden))
    return Params(jnp.asarray(weights), *map(jnp.asarray, biases), ())


def own_rows(params, n):
    """Rows that a machine draws, from all of its states."""
    states = np.array(list(itertools.product([0, 1], repeat=len(params.visible_bias))), float)
    log_p = -np.asarray(free_energy(PIXELS, params, jnp.asarray(states.T)))
    p = np.exp(log_p - log_p.max())
    return jnp.asarray(states[np.random.default_rng(1).choice(len(states), n, p=p / p.sum())])


@pytest.mark.parametrize(("scale", "n_betas"), [(0.0, 3), (0.5, 50), (1.5, 400)])
def test_both_ways_find_the_exact_partition_function(scale, n_betas):
    with jax.enable_x64(True):
        params = machine(scale)
        exact = float(log_partition_binary(params))
        to, back = likelihood.both_ways(jax.random.key(0), params, jnp.zeros(10), own_rows(params, 2000), n_betas)
        for found in (to, back):
            # A 95 % interval of these keys, widened once by its own half.
            slack = (found.high - found.low) / 2 + 1e-9
            assert found.low - slack <= exact <= found.high + slack
            assert found.high - found.low < 0.3
            assert 1 <= found.effective <= 2000 + 1e-6
        assert to.effective > 200


def test_weights_of_a_machine_without_weights_are_known():
    """At β = 1 nothing but the biases has changed: every chain's weight in the mean is the ratio of the Zs."""
    with jax.enable_x64(True):
        params = machine(0.0)
        base = params.visible_bias
        log_weights = annealed_log_weights(jax.random.key(0), params, base, jnp.array([0.0, 1.0]), None, 50)
        known = float(log_partition_binary(params) - base_log_partition(base, 6))
        np.testing.assert_allclose(log_weights, known, atol=1e-10)
        found = log_z_of(np.asarray(log_weights), float(base_log_partition(base, 6)), 1, np.random.default_rng(0))
        assert found.value == pytest.approx(float(log_partition_binary(params)), abs=1e-10)
        assert found.effective == pytest.approx(50)


def test_every_family_of_images_says_what_is_known_of_its_likelihood(make_config):
    target = blobs(n_rows=200)
    rows = np.round(target.held_out_rows[:60])
    expected = {
        "VAE": "lower bound",
        "VAE_GAN": "lower bound",
        "RBM": "estimate",
        "BERNOULLI_MIXTURE": "exact",
        "PRODUCT": "exact",
        "PPCA": "exact",
        "GAN": None,
    }
    for family, how in expected.items():
        rbm = MODELS["RBM"].Config(sample_steps=20)
        config = make_config(parameter_budget=65 * 25 + 64, batch_size=16, hidden_layers=1, rbm=rbm)
        model = MODELS[family].build(config, target)
        state = model.init(jax.random.key(0), jnp.asarray(target.train_rows))
        found = held_out(model, state, rows, jax.random.key(1))
        assert (found is None) == (how is None)
        if found is None:
            continue
        assert found.how == how
        assert found.is_density == (family == "PPCA")
        assert found.low < found.nats < found.high
        assert found.bits_per_dimension == pytest.approx(-found.nats / (64 * math.log(2)))
        assert (found.log_z is not None) == (family == "RBM")

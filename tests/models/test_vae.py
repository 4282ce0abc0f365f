"""The VAE's bound, its likelihood and its sampling, against closed forms and brute force."""

import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats
from flax import linen as nn

from core.errors import UserError
from kinds.exact import wide
from kinds.real.cells import identity
from models import sizing, vae
from models.networks import MLP
from targets import Target, make_target

LOG_2PI = math.log(2 * math.pi)


def build(make_config, target_type="2D_GMM", num_bins=0, batch_size=8, **settings):
    config = make_config(
        target_type=target_type,
        num_bins=num_bins,
        parameter_budget=150,
        hidden_layers=1,
        batch_size=batch_size,
        vae=vae.Config(**{"average": 0.0, **settings}),
    )
    target = make_target(config)
    model = vae.build(config, target)
    batch = target.codec.encode(target.sample(jax.random.key(11), batch_size))
    state = jax.jit(model.init)(jax.random.key(10), batch)
    return model, widened(state), batch


def widened(state):
    """Weights as large as trained ones, so that x̂ depends on z and the posterior is far from the prior."""
    return state._replace(params=jax.tree.map(lambda leaf: 1.5 * leaf, state.params))


def constant_decoder(state, bias):
    """The decoder whose output is `bias` whatever z is."""
    decoder = jax.tree.map(jnp.zeros_like, state.params.decoder)
    decoder["params"]["Dense_1"]["bias"] = jnp.asarray(bias, jnp.float32)
    return state._replace(params=state.params._replace(decoder=decoder))


def by_hand(model, state, batch, noise, latent_dim=2):
    """Encoder means and log variances, and the decoder's output at z = μ + σ ε, float64."""
    encoder = MLP(model.width, 1, 2 * latent_dim, nn.tanh)
    decoder = MLP(model.width, 1, batch.shape[-1], nn.tanh)
    encoded = np.asarray(encoder.apply(state.params.encoder, batch.T).T, np.float64)
    mean, log_variance = encoded[:, :latent_dim], encoded[:, latent_dim:]
    z = mean + np.exp(log_variance / 2) * noise.T
    output = decoder.apply(state.params.decoder, jnp.asarray(z.T, jnp.float32)).T
    kl = 0.5 * np.sum(mean**2 + np.exp(log_variance) - 1 - log_variance, axis=-1)
    return kl, np.asarray(output, np.float64)


def test_kl_against_the_full_closed_form_and_monte_carlo():
    mean = np.array([[0.5, -1.0, 0.0], [2.0, 0.3, -0.7]])
    log_variance = np.array([[0.2, -1.0, 0.0], [-2.0, 0.5, 1.0]])
    with jax.enable_x64(True):
        kl = np.asarray(vae.kl_to_standard_normal(jnp.asarray(mean), jnp.asarray(log_variance)))
    assert kl.shape == (2,)
    for i in range(2):
        covariance = np.diag(np.exp(log_variance[i]))
        # The general KL(N(μ, Σ) ‖ N(0, I)) with determinant and trace of full matrices.
        general = (np.trace(covariance) + mean[i] @ mean[i] - 3 - np.linalg.slogdet(covariance)[1]) / 2
        assert kl[i] == pytest.approx(general, abs=1e-12)
        law, prior = (scipy.stats.multivariate_normal(*m) for m in ((mean[i], covariance), (np.zeros(3), np.eye(3))))
        z = law.rvs(200_000, random_state=i)
        draws = law.logpdf(z) - prior.logpdf(z)
        assert abs(draws.mean() - kl[i]) < 4 * draws.std() / math.sqrt(len(draws))
    assert np.all(vae.kl_to_standard_normal(jnp.zeros((1, 3)), jnp.zeros((1, 3))) == 0)


@pytest.mark.parametrize(("beta", "effective"), [(0.0, 0.1), (0.4, 0.4)])
def test_logged_loss_with_squared_error(make_config, beta, effective):
    model, state, batch = build(make_config, beta=beta)
    noise = model.noise(jax.random.key(5))
    _, info = jax.jit(model.step)(state, batch, noise)
    kl, output = by_hand(model, state, batch, noise)
    square = np.sum((np.asarray(batch, np.float64) - output) ** 2, axis=-1)
    loss = np.mean((square + effective * kl) / effective) + 2 / 2 * math.log(math.pi * effective)
    assert float(info.loss) == pytest.approx(loss, rel=1e-5)
    assert float(info.rate) == pytest.approx(np.mean(kl), rel=1e-5)
    assert float(info.distortion) == pytest.approx(loss - np.mean(kl), rel=1e-5)


def test_logged_loss_with_a_learned_sigma(make_config):
    model, state, batch = build(make_config, learn_sigma=True)
    fixed, _, _ = build(make_config)
    # One more trainable weight, of the same networks.
    assert (model.width, model.n_params) == (fixed.width, fixed.n_params + 1)
    log_sigma = -0.7
    state = state._replace(params=state.params._replace(log_sigma=jnp.array([log_sigma])))
    noise = model.noise(jax.random.key(5))
    after, info = jax.jit(model.step)(state, batch, noise)
    kl, output = by_hand(model, state, batch, noise)
    square = np.mean(np.sum((np.asarray(batch, np.float64) - output) ** 2, axis=-1))
    variance = math.exp(2 * log_sigma)
    loss = square / (2 * variance) + 2 * log_sigma + np.mean(kl) + 2 / 2 * LOG_2PI
    assert float(info.loss) == pytest.approx(loss, rel=1e-5)
    # d loss / d ln σ = D − ‖x − x̂‖²/σ²: Adam's first step goes against its sign, by the learning rate.
    moved = float(after.params.log_sigma[0]) - log_sigma
    assert moved == pytest.approx(-vae.Config().learning_rate * np.sign(2 - square / variance), rel=1e-3)


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_logged_loss_with_cross_entropy(make_config, beta):
    model, state, batch = build(make_config, "1D_TRIMODAL", num_bins=5, beta=beta)
    noise = model.noise(jax.random.key(5))
    _, info = jax.jit(model.step)(state, batch, noise)
    kl, output = by_hand(model, state, batch, noise)
    cross_entropy = -np.mean(np.sum(np.asarray(batch) * scipy.special.log_softmax(output, axis=-1), axis=-1))
    assert float(info.distortion) == pytest.approx(cross_entropy, rel=1e-5)
    assert float(info.loss) == pytest.approx(cross_entropy + beta * np.mean(kl), rel=1e-5)


def updated(make_config, state=None, n_updates=0, **settings):
    """The weights after one update of a VAE with bins, and what it logs."""
    model, start, batch = build(make_config, "1D_TRIMODAL", num_bins=5, **settings)
    state = start if state is None else state
    opt_state = optax.tree_utils.tree_set(state.opt_state, count=jnp.asarray(n_updates, jnp.int32))
    after, info = jax.jit(model.step)(state._replace(opt_state=opt_state), batch, model.noise(jax.random.key(5)))
    return after.params, info


def test_a_rate_below_the_free_bits_costs_nothing_and_one_above_all(make_config):
    bound, info = updated(make_config, free_bits=0.0)
    assert 0.01 < float(info.rate) < 100
    # Without any weight of the rate; not none at all, which is β's default.
    unpaid, _ = updated(make_config, free_bits=0.0, beta=1e-12)
    for free_bits, expected in ((0.9 * float(info.rate), bound), (1.1 * float(info.rate), unpaid)):
        found, logged = updated(make_config, free_bits=free_bits)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), found, expected)
        # What is logged is the bound all the same.
        assert logged == info
    with pytest.raises(AssertionError):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), bound, unpaid)


@pytest.mark.parametrize(("n_updates", "beta"), [(0, 1e-12), (1, 0.25), (3, 0.75), (4, 1.0), (9, 1.0)])
def test_beta_rises_during_the_warm_up(n_updates, beta, make_config):
    found, _ = updated(make_config, n_updates=n_updates, warm_up=4, free_bits=0.0)
    expected, _ = updated(make_config, n_updates=n_updates, beta=beta, free_bits=0.0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), found, expected)


def test_the_code_of_bins_is_used_unless_free_bits_are_off(make_config):
    rates = {}
    for free_bits in (0.0, vae.Config().free_bits):
        model, state, _ = build(make_config, "1D_TRIMODAL", num_bins=5, batch_size=64, free_bits=free_bits)
        target = make_target(make_config(target_type="1D_TRIMODAL", num_bins=5))

        def steps(state, model=model, target=target):
            def one(state, key):
                batch = target.codec.encode(target.sample(key, 64))
                return model.step(state, batch, model.noise(jax.random.fold_in(key, 1)))

            return jax.lax.scan(one, state, jax.random.split(jax.random.key(0), 3000))

        rates[free_bits] = float(np.mean(jax.jit(steps)(state)[1].rate[-500:]))
    assert rates[0.0] < 0.1
    # Nothing is gained above what is free; a minibatch's mean moves about it.
    assert rates[0.5] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_samples_have_the_decoders_noise(make_config, beta):
    model, state, _ = build(make_config, beta=beta)
    n, bias = 40_000, [0.7, -1.2]
    drawn = np.asarray(model.sample(jax.random.key(0), constant_decoder(state, bias), n), np.float64)
    # x̂ is the bias, so what is left is the noise: N(0, β/2) in each coordinate, independent. 4 standard errors.
    variance = beta / 2
    assert np.all(np.abs(drawn.mean(0) - bias) < 4 * math.sqrt(variance / n))
    covariance = np.cov(drawn.T)
    assert np.all(np.abs(np.diag(covariance) - variance) < 4 * variance * math.sqrt(2 / n))
    assert abs(covariance[0, 1]) < 4 * variance / math.sqrt(n)
    assert scipy.stats.kstest((drawn[:, 0] - bias[0]) / math.sqrt(variance), "norm").pvalue > 1e-3
    # The mean has none of it.
    mean = model.sample_mean(jax.random.key(0), constant_decoder(state, bias), 8)
    np.testing.assert_allclose(mean, np.tile(np.float32(bias), (8, 1)))


def test_learned_sigma_is_what_samples_have(make_config):
    model, state, _ = build(make_config, learn_sigma=True)
    state = constant_decoder(state, [0.0, 0.0])
    state = state._replace(params=state.params._replace(log_sigma=jnp.array([-1.5])))
    drawn = np.asarray(model.sample(jax.random.key(0), state, 20_000), np.float64)
    assert drawn.std() == pytest.approx(math.exp(-1.5), rel=4 / math.sqrt(2 * drawn.size))


def test_categorical_draws_follow_the_decoders_softmax(make_config):
    model, state, _ = build(make_config, "1D_TRIMODAL", num_bins=5)
    n, logits = 40_000, np.array([1.0, 0.0, -1.0, 0.5, -0.2])
    counts = np.asarray(model.sample(jax.random.key(0), constant_decoder(state, logits), n)).sum(0)
    # A true sampler fails this for one key in a thousand; the key is fixed.
    assert scipy.stats.chisquare(counts, n * scipy.special.softmax(logits)).pvalue > 1e-3
    # With a decoder that depends on z: the average of its softmax over the prior. Two independent draws of z.
    frequency = np.asarray(model.sample(jax.random.key(1), state, n)).mean(0)
    expected = np.asarray(model.sample_mean(jax.random.key(2), state, n), np.float64)
    np.testing.assert_allclose(expected.sum(-1), 1, atol=1e-6)
    error = np.sqrt((frequency * (1 - frequency) + expected.var(0)) / n)
    assert np.all(np.abs(frequency - expected.mean(0)) < 4.5 * error)


def test_squared_error_with_bins_takes_the_largest_after_the_noise(make_config):
    beta = 0.5
    model, state, _ = build(make_config, "1D_TRIMODAL", num_bins=2, reconstruction="squared_error", beta=beta)
    assert model.log_prob is None
    n, bias = 40_000, [0.6, 0.2]
    share = np.asarray(model.sample(jax.random.key(0), constant_decoder(state, bias), n)).mean(0)[0]
    # x̂₀ + ε₀ > x̂₁ + ε₁ with ε ~ N(0, β/2): the difference of the two has variance β.
    expected = scipy.stats.norm.cdf((bias[0] - bias[1]) / math.sqrt(beta))
    assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / n)
    assert vae.Config().reconstruction == "auto"


def test_squared_error_with_bins_is_the_gaussian_objective(make_config):
    model, state, batch = build(make_config, "1D_TRIMODAL", num_bins=5, reconstruction="squared_error")
    noise = model.noise(jax.random.key(5))
    _, info = jax.jit(model.step)(state, batch, noise)
    kl, output = by_hand(model, state, batch, noise)
    square = np.sum((np.asarray(batch, np.float64) - output) ** 2, axis=-1)
    assert float(info.loss) == pytest.approx(
        np.mean((square + 0.1 * kl) / 0.1) + 2.5 * math.log(0.1 * math.pi), rel=1e-5
    )


def test_cross_entropy_needs_bins(make_config):
    with pytest.raises(UserError, match="needs events with probabilities, such as bins"):
        build(make_config, reconstruction="cross_entropy")


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_density_integrates_to_one(make_config, latent_dim):
    model, state, _ = build(make_config, "1D_TRIMODAL", latent_dim=latent_dim)
    # |x̂| is bounded by the decoder's last layer: the box holds every component with 20 σ to spare.
    last = state.params.decoder["params"]["Dense_1"]
    reach = float(jnp.abs(last["kernel"]).sum() + jnp.abs(last["bias"]).sum()) + 20 * math.sqrt(0.05)
    x = np.linspace(-reach, reach, 801)
    assert x[1] - x[0] < math.sqrt(0.05)
    density = np.exp(np.asarray(model.log_prob(state, jnp.asarray(x[:, None], jnp.float32)), np.float64))
    # The trapezoid rule is exact to far below float32 for Gaussians wider than its step.
    assert np.sum(density) * (x[1] - x[0]) == pytest.approx(1, abs=1e-5)


def test_probabilities_sum_to_one(make_config):
    model, state, _ = build(make_config, "1D_TRIMODAL", num_bins=5)
    log_probs = np.asarray(model.log_prob(state, jnp.eye(5)), np.float64)
    assert np.exp(log_probs).sum() == pytest.approx(1, abs=2e-6)
    assert np.ptp(log_probs) > 0.1


@pytest.mark.parametrize("num_bins", [0, 5])
def test_log_prob_against_monte_carlo(make_config, num_bins):
    model, state, _ = build(make_config, "1D_TRIMODAL", num_bins=num_bins)
    n = 200_000
    # The decoder's output at draws from the prior is what `sample_mean` returns.
    output = np.asarray(model.sample_mean(jax.random.key(0), state, n), np.float64)
    if num_bins:
        x, likelihood = np.eye(5), output
    else:
        x = np.linspace(-1.5, 1.5, 7)[:, None]
        likelihood = scipy.stats.norm.pdf(x[:, 0], output, math.sqrt(0.1 / 2))
    exact = np.exp(np.asarray(model.log_prob(state, jnp.asarray(x, jnp.float32)), np.float64))
    assert np.all(np.abs(likelihood.mean(0) - exact) < 4.5 * likelihood.std(0) / math.sqrt(n))
    assert np.all(likelihood.std(0) / math.sqrt(n) < 0.02 * exact + 1e-4)


@pytest.mark.parametrize("num_bins", [0, 5])
def test_elbo_is_a_lower_bound(make_config, num_bins):
    model, state, batch = build(make_config, "1D_TRIMODAL", num_bins=num_bins)
    losses = jax.jit(lambda keys: jax.lax.map(lambda key: model.step(state, batch, model.noise(key))[1].loss, keys))(
        jax.random.split(jax.random.key(0), 2000)
    )
    elbo, error = -np.mean(losses), np.std(losses) / math.sqrt(len(losses))
    log_likelihood = float(np.mean(model.log_prob(state, batch)))
    # Below it, and by much more than the error: an untrained encoder is far from the posterior.
    assert elbo + 4 * error < log_likelihood


def test_a_posterior_that_ignores_x_makes_the_bound_tight(make_config):
    model, state, batch = build(make_config, "1D_TRIMODAL")
    # Decoder: x̂ = const. Encoder: all zero, so q(z|x) = N(0, I) = p(z|x), and ELBO = ln p(x) = ln N(x; x̂, β/2).
    state = constant_decoder(state, [0.3])
    state = state._replace(params=state.params._replace(encoder=jax.tree.map(jnp.zeros_like, state.params.encoder)))
    _, info = jax.jit(model.step)(state, batch, model.noise(jax.random.key(0)))
    expected = scipy.stats.norm.logpdf(np.asarray(batch)[:, 0], 0.3, math.sqrt(0.05))
    np.testing.assert_allclose(model.log_prob(state, batch), expected, rtol=1e-5, atol=1e-5)
    assert -float(info.loss) == pytest.approx(expected.mean(), rel=1e-5)
    assert float(info.rate) == 0


def test_a_latent_beyond_two_has_no_exact_density(make_config):
    model, state, _ = build(make_config, latent_dim=3)
    if model.log_prob is not None:
        assert model.log_prob_kind == "estimate"
        assert np.isfinite(jax.jit(model.log_prob)(state, jnp.zeros((3, 2)))).all()
    rows = jax.random.normal(jax.random.key(3), (50, 2))
    sweep = model.views["vae_latent_manifold_sweep"].arrays(state, rows)
    encoded = np.asarray(MLP(model.width, 1, 6, nn.tanh).apply(state.params.encoder, rows.T), np.float64)
    rate = 0.5 * np.mean(np.sum(encoded[:3] ** 2 + np.exp(encoded[3:]) - 1 - encoded[3:], axis=0))
    assert float(sweep["rate"]) == pytest.approx(rate, rel=1e-5)
    # z₁ runs along columns and z₂ along rows; the third stays at 0.
    decoder = MLP(model.width, 1, 2, nn.tanh)
    z = jnp.array([[sweep["z"][7]], [sweep["z"][40]], [0.0]])
    expected = decoder.apply(state.params.decoder, z)[:, 0]
    np.testing.assert_allclose(sweep["mean"][40, 7], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_the_view_of_bins_has_their_probabilities(latent_dim, make_config):
    model, state, batch = build(make_config, "1D_TRIMODAL", num_bins=5, latent_dim=latent_dim)
    shown = model.views["vae_latent_manifold_sweep"].arrays(state, batch)
    few, p = np.asarray(shown["few"]), np.asarray(shown["probabilities"], np.float64)
    assert p.shape == (len(few),) * latent_dim + (5,)
    np.testing.assert_allclose(p.sum(-1), 1, atol=1e-6)
    z = np.array([few[2], few[4]])[:latent_dim]
    output = MLP(model.width, 1, 5, nn.tanh).apply(state.params.decoder, jnp.asarray(z[:, None], jnp.float32))[:, 0]
    np.testing.assert_allclose(p[4, 2] if latent_dim == 2 else p[2], scipy.special.softmax(output), rtol=1e-4)
    assert shown["mean"].shape == (len(shown["z"]),) * latent_dim + (1,)


def test_learn_sigma_excludes_beta():
    with pytest.raises(UserError, match="must be 1"):
        vae.Config(learn_sigma=True, beta=0.5)


def ppca_log_likelihood(rows, n_latents, variance):
    """The largest mean log-likelihood of probabilistic PCA whose σ² is given (Tipping and Bishop, 1999).

    The best W is U_q (Λ_q − σ² I)^½ with the leading eigenpairs of the covariance: C then has Λ_q along them and σ²
    elsewhere.
    """
    spectrum = np.sort(np.linalg.eigvalsh(np.cov(rows.T, bias=True)))[::-1]
    assert np.all(spectrum[:n_latents] > variance)
    kept, left = spectrum[:n_latents], spectrum[n_latents:]
    log_determinant = np.log(kept).sum() + len(left) * math.log(variance)
    trace = n_latents + left.sum() / variance
    return -0.5 * (len(spectrum) * LOG_2PI + log_determinant + trace)


def test_linear_networks_reach_probabilistic_pca(monkeypatch):
    n_rows, dim, beta = 256, 5, 0.4
    generator = np.random.default_rng(0)
    mixing = np.linalg.qr(generator.normal(size=(dim, dim)))[0] * [2.0, 1.2, 0.5, 0.4, 0.3]
    rows = generator.normal(size=(n_rows, dim)) @ mixing.T + [1.0, -2.0, 0.5, 0.0, 3.0]
    batch = jnp.asarray(rows, jnp.float32)
    target = Target("GAUSSIAN", kind="real", dim=dim, codec=identity(dim), sample=None, truth=None)
    # An MLP without hidden layers is linear. It has no width to solve for.
    monkeypatch.setattr(sizing, "solve_width", lambda count, budget: 1)

    def build_linear(learning_rate):
        settings = vae.Config(learning_rate=learning_rate, beta=beta, latent_dim=2, average=0.0)
        return vae.build(
            types.SimpleNamespace(vae=settings, hidden_layers=0, parameter_budget=1, batch_size=n_rows), target
        )

    params = None
    for learning_rate in (1e-2, 1e-3, 1e-4):
        model = build_linear(learning_rate)
        state = jax.jit(model.init)(jax.random.key(1), batch)
        state = state if params is None else state._replace(params=params)
        train = jax.jit(
            lambda state, model=model: jax.lax.scan(
                lambda state, i: model.step(state, batch, model.noise(jax.random.fold_in(jax.random.key(2), i))),
                state,
                jnp.arange(5000),
            )[0]
        )
        params = train(state).params
    losses = jax.jit(
        lambda state: jax.lax.map(
            lambda key: model.step(state, batch, model.noise(key))[1].loss, jax.random.split(jax.random.key(3), 8000)
        )
    )(state._replace(params=params))
    elbo, error = -np.mean(losses), np.std(losses) / math.sqrt(len(losses))
    best = ppca_log_likelihood(rows, 2, beta / 2)
    # It cannot be above. What keeps it below is the end of the descent, whose steps are noisy: with the last rate of
    # 1e-4 a weight is off by about 1e-3, which costs of the order of 1e-3 nats.
    assert error < 1e-3
    assert best - 1e-3 - 4 * error < elbo < best + 4 * error
    # One latent fewer, or the isotropic Gaussian, would be far away.
    assert best - ppca_log_likelihood(rows, 1, beta / 2) > 0.5


@pytest.mark.parametrize("num_bins", [0, 6])
def test_the_coarser_grid_of_mid_training_says_by_how_much_it_is_off(make_config, num_bins):
    model, state, _ = build(make_config, "1D_BIMODAL", num_bins)
    coarse = model.in_passing()
    x = np.eye(6) if num_bins else np.linspace(-3, 3, 41)[:, None]
    with jax.enable_x64(True):
        functions = model.log_prob, coarse.log_prob, coarse.log_prob_error
        own, quick, error = (np.asarray(function(wide(state), jnp.asarray(x))) for function in functions)
    # A rule and the same one moved by half a step are off to different sides: by less than they differ.
    assert np.all(np.abs(quick - own) <= np.abs(error) + 1e-12)
    assert np.abs(error).max() < 1e-3
    assert coarse.finer() is model

"""The GAN's losses, its sampling and its settings, against what is known exactly."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats
from flax import linen as nn

from models import gan
from targets import make_target

# Two distributions over five categories as integer counts: repeating the categories weighs a mean exactly.
P = np.array([8, 4, 2, 1, 1])
Q = np.array([1, 1, 2, 4, 8])
SHARE_P, SHARE_Q = P / P.sum(), Q / Q.sum()


def loss_of_table(logits, smoothing):
    """L_D of a discriminator that is one free logit a category."""
    return gan.discriminator_loss(logits[np.repeat(np.arange(5), P)], logits[np.repeat(np.arange(5), Q)], smoothing)


def optimal_logits(smoothing):
    d = smoothing * SHARE_P / (SHARE_P + SHARE_Q)
    return jnp.asarray(np.log(d) - np.log1p(-d))


def test_loss_at_the_optimal_discriminator_is_the_jensen_shannon_divergence():
    middle = (SHARE_P + SHARE_Q) / 2
    jensen_shannon = (scipy.stats.entropy(SHARE_P, middle) + scipy.stats.entropy(SHARE_Q, middle)) / 2
    with jax.enable_x64(True):
        loss = loss_of_table(optimal_logits(1.0), 1.0)
        assert -float(loss) == pytest.approx(2 * jensen_shannon - math.log(4), abs=1e-12)


@pytest.mark.parametrize("smoothing", [1.0, 0.9, 0.6])
def test_optimal_discriminator(smoothing):
    with jax.enable_x64(True):
        best = optimal_logits(smoothing)
        gradient = jax.grad(loss_of_table)(best, smoothing)
        np.testing.assert_allclose(gradient, 0, atol=1e-14)
        # It is the minimiser: the loss is strictly convex in the logits, and rises by moving any of them.
        assert np.all(np.linalg.eigvalsh(jax.hessian(loss_of_table)(best, smoothing)) > 1e-3)
        for move in 0.1 * np.concatenate([np.eye(5), -np.eye(5)]):
            assert loss_of_table(best + move, smoothing) > loss_of_table(best, smoothing)


@pytest.mark.parametrize("smoothing", [1.0, 0.9, 0.6])
def test_equilibrium_loss(smoothing):
    d = smoothing / 2
    with jax.enable_x64(True):
        everywhere = jnp.full(7, math.log(d / (1 - d)))
        loss = gan.discriminator_loss(everywhere, everywhere, smoothing)
        assert float(loss) == pytest.approx(gan.equilibrium_loss(smoothing), abs=1e-12)
    assert gan.equilibrium_loss(1.0) == pytest.approx(math.log(4))


def test_generator_loss_is_the_non_saturating_one():
    logits = jnp.array([-3.0, 0.0, 2.0])
    assert float(gan.generator_loss(logits)) == pytest.approx(-np.mean(np.log(scipy.special.expit(logits))), rel=1e-6)
    # Where the discriminator is sure of a fake, the gradient does not vanish: that is what the name says.
    assert jax.grad(gan.generator_loss)(jnp.array([-20.0]))[0] == pytest.approx(-1, abs=1e-6)


def build(make_config, target_type="2D_GMM", num_bins=0, batch_size=8, hidden_layers=1, **settings):
    config = make_config(
        target_type=target_type,
        num_bins=num_bins,
        parameter_budget=200,
        hidden_layers=hidden_layers,
        batch_size=batch_size,
        gan=gan.Config(**{"average": 0.0, **settings}),
    )
    target = make_target(config)
    model = gan.build(config, target)
    batch = target.codec.encode(target.sample(jax.random.key(11), batch_size))
    return model, jax.jit(model.init)(jax.random.key(10), batch), batch


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def discriminator_gradient(state_after, b1):
    """The gradient of one first step: Adam's first moment is then (1 − b1) times it."""
    return flat(optax.tree_utils.tree_get(state_after.opt_state.discriminator, "mu")) / (1 - b1)


def test_binned_samples_are_drawn_from_the_generators_softmax(make_config):
    model, state, _ = build(make_config, "1D_TRIMODAL", num_bins=5, gumbel_temperature=0.3)
    # Larger weights, so that the softmax differs much from one z to another and an argmax would be told from a draw.
    state = state._replace(params=jax.tree.map(lambda leaf: 2 * leaf, state.params))
    n = 20_000
    frequency = np.asarray(model.sample(jax.random.key(0), state, n)).mean(0)
    expected = np.asarray(model.sample_mean(jax.random.key(1), state, n), np.float64)
    # Two independent draws of z: the variance of a frequency plus that of the mean of the softmax, at 4.5 s.e.
    error = np.sqrt((frequency * (1 - frequency) + expected.var(0)) / n)
    assert np.all(np.abs(frequency - expected.mean(0)) < 4.5 * error)
    argmax = np.bincount(expected.argmax(-1), minlength=5) / n
    assert np.max(np.abs(argmax - expected.mean(0)) / error) > 20


def test_r1_penalty_of_a_known_discriminator(make_config):
    b1, penalty = 0.5, 0.7
    gradients, losses = [], []
    for r1 in (0.0, penalty):
        model, state, batch = build(make_config, adam_b1=b1, r1_penalty=r1)
        # A large bias keeps every hidden unit in its linear part: logit D = (x W₁ + b₁) w₂ + b₂.
        discriminator = jax.tree.map(lambda leaf: leaf, state.params.discriminator)
        discriminator["params"]["Dense_0"]["bias"] = jnp.full(model.width, 50.0)
        state = state._replace(params=state.params._replace(discriminator=discriminator))
        after, info = jax.jit(model.step)(state, batch, model.noise(jax.random.key(5)))
        gradients.append(discriminator_gradient(after, b1))
        losses.append(float(info.loss))
    first, second = (np.asarray(discriminator["params"][f"Dense_{i}"]["kernel"], np.float64) for i in (0, 1))
    # γ/2 ‖W₁ w₂‖² at every x: its gradient is γ (W₁ w₂) w₂ᵀ and γ W₁ᵀ (W₁ w₂).
    slope = first @ second
    expected = {
        "Dense_0": {"bias": np.zeros(model.width), "kernel": penalty * slope @ second.T},
        "Dense_1": {"bias": np.zeros(1), "kernel": penalty * first.T @ slope},
    }
    difference = gradients[1] - gradients[0]
    # float32 gradients of up to some tens (the bias is 50), each right to about 1e-6 of that.
    np.testing.assert_allclose(difference, flat(expected), atol=2e-4)
    assert np.abs(flat(expected)).max() > 0.05
    # The loss that is logged is without the penalty, and so comparable with the equilibrium.
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


def test_info_is_recomputed_by_hand(make_config):
    model, state, batch = build(make_config, label_smoothing=0.8)
    noise = model.noise(jax.random.key(5))
    _, info = jax.jit(model.step)(state, batch, noise)

    def network(params, rows):
        for i in range(2):
            layer = params["params"][f"Dense_{i}"]
            rows = np.asarray(rows, np.float64) @ np.asarray(layer["kernel"], np.float64) + layer["bias"][None]
            rows = np.where(rows > 0, rows, 0.01 * rows) if i == 0 else rows
        return rows

    d_real, d_fake = (
        scipy.special.expit(network(state.params.discriminator, events))
        for events in (batch, network(state.params.generator, noise.z_discriminator.T))
    )
    loss = -np.mean(0.8 * np.log(d_real) + 0.2 * np.log(1 - d_real)) - np.mean(np.log(1 - d_fake))
    np.testing.assert_allclose([info.loss, info.d_real, info.d_fake], [loss, d_real.mean(), d_fake.mean()], rtol=1e-5)


def changes(before, after):
    return [flat(getattr(after.params, f)) - flat(getattr(before.params, f)) for f in gan.Networks._fields]


def test_separate_discriminator_rate(make_config):
    moved = {}
    for rate in (0.0, 1e-3, 3e-3):
        model, state, batch = build(make_config, learning_rate=1e-3, discriminator_learning_rate=rate, r1_penalty=0.0)
        after, _ = jax.jit(model.step)(state, batch, model.noise(jax.random.key(5)))
        moved[rate] = changes(state, after)
    # Adam's first update is the rate times something that does not depend on it; weights of order 1 are stored to 1e-7.
    np.testing.assert_allclose(moved[3e-3][1], 3 * moved[1e-3][1], atol=5e-7)
    np.testing.assert_array_equal(moved[0.0][1], moved[1e-3][1])
    # 0 means the generator's rate; and the generator keeps its own whatever the discriminator's.
    for generator, _ in moved.values():
        assert np.abs(generator).max() == pytest.approx(1e-3, rel=1e-3)


def test_noise_of_the_two_updates_differs(make_config):
    model, _, _ = build(make_config)
    noise = model.noise(jax.random.key(0))
    assert np.all(noise.z_discriminator != noise.z_generator)


def test_latent_dim(make_config):
    for latent_dim in (3, 16):
        model, state, _ = build(make_config, latent_dim=latent_dim)
        noise = jax.eval_shape(model.noise, jax.random.key(0))
        assert noise.z_generator.shape == noise.z_discriminator.shape == (latent_dim, 8)
        kernels = [leaf.shape for leaf in jax.tree.leaves(state.params.generator) if leaf.ndim == 2]
        assert (latent_dim, model.width) in kernels
        # Generator z → H → 2 and discriminator 2 → H → 1.
        assert model.n_params == (latent_dim + 1 + 2) * model.width + 2 + (2 + 1 + 1) * model.width + 1


def test_adam_b1(make_config):
    moments = []
    for b1 in (0.0, 0.5):
        model, state, batch = build(make_config, adam_b1=b1)
        after, _ = jax.jit(model.step)(state, batch, model.noise(jax.random.key(5)))
        moments.append(discriminator_gradient(after, b1))
    np.testing.assert_allclose(moments[1], moments[0], atol=1e-6)
    assert np.abs(moments[0]).max() > 1e-2


def test_view_shows_d_against_its_equilibrium(make_config):
    model, state, _ = build(make_config, label_smoothing=0.8)
    zero = jax.tree.map(jnp.zeros_like, state.params)
    arrays = model.views["gan_discriminator"].arrays(state._replace(params=zero))
    np.testing.assert_array_equal(arrays["d"], nn.sigmoid(jnp.zeros(len(arrays["x"]))))
    assert arrays["equilibrium"] == 0.4
    assert model.loss_reference[0] == gan.equilibrium_loss(0.8)


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_evenly_spread_latents_are_no_worse_than_as_many_draws(make_config, scale):
    config = make_config(target_type="1D_BIMODAL", num_bins=6, parameter_budget=300)
    model = gan.build(config, make_target(config))
    state = jax.tree.map(lambda leaf: scale * leaf, model.init(jax.random.key(3), None))
    rows = jnp.eye(6)
    own, quick = (np.exp(np.asarray(each.log_prob(state, rows))) for each in (model, model.in_passing()))
    assert quick.sum() == pytest.approx(1, abs=1e-5)
    # Five standard errors of the mean of a share, which q(1 − q) bounds, over 2¹⁴ and over 2¹⁸ independent draws.
    assert np.all(np.abs(own - quick) < 5 * np.sqrt(own * (1 - own) * (2.0**-14 + 2.0**-18)))
    assert not np.array_equal(own, quick)


def test_without_bins_there_is_no_rule_to_be_cheaper(make_config):
    config = make_config(target_type="1D_BIMODAL", num_bins=0, parameter_budget=300)
    model = gan.build(config, make_target(config))
    assert model.log_prob is None
    assert model.quick == {}


def test_weights_of_the_generator_shrink_by_the_decay_times_the_rate_and_no_others(make_config):
    """The step with a decay is the step without it, less rate · decay of each of the generator's weights."""
    known = dict(learning_rate=0.01, average=0.0)
    model, state, batch = build(make_config, "1D_TRIMODAL", num_bins=5, weight_decay=0.0, **known)
    shrinking, begun, _ = build(make_config, "1D_TRIMODAL", num_bins=5, weight_decay=0.3, **known)
    jax.tree.map(np.testing.assert_array_equal, begun.params, state.params)
    noise = model.noise(jax.random.key(5))
    plain, other = model.step(state, batch, noise)[0].params, shrinking.step(begun, batch, noise)[0].params
    jax.tree.map(np.testing.assert_array_equal, plain.discriminator, other.discriminator)
    jax.tree.map(
        lambda before, without, with_decay: np.testing.assert_allclose(
            with_decay, without - 0.01 * 0.3 * before, atol=3e-7
        ),
        state.params.generator,
        plain.generator,
        other.generator,
    )

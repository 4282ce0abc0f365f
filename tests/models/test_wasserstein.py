"""The Wasserstein GANs against what is known exactly: a linear critic, a shift, clipping, and which rows are used."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import MODELS, wasserstein
from models.wasserstein import Networks
from targets import make_target

# Powers of two and their sums: float32 makes no error.
SHIFT, BIAS = 1.25, 64.0


def build(make_config, name, target_type="2D_GMM", num_bins=0, n_critic=1, custom_file="", **settings):
    config = make_config(target_type=target_type, num_bins=num_bins, parameter_budget=150, hidden_layers=1,
                         batch_size=8, custom_file=custom_file)  # fmt: skip
    field = name.lower()
    own = dataclasses.replace(getattr(config, field), n_critic=n_critic, latent_dim=2, average=0.0, **settings)
    config = dataclasses.replace(config, **{field: own})
    target = make_target(config)
    model = MODELS[name].build(config, target)
    events = target.codec.encode(target.sample(jax.random.key(11), n_critic * 8))
    batch = events if n_critic == 1 else events.reshape(n_critic, 8, -1)
    return model, jax.jit(model.init)(jax.random.key(10), events), batch


def linear(critic, slope):
    """A critic f(x) = slope · x + constant: a large bias keeps its one hidden unit in the linear part."""
    layers = critic["params"]
    return {
        "params": {
            "Dense_0": {
                "kernel": jnp.zeros_like(layers["Dense_0"]["kernel"]).at[:, 0].set(jnp.asarray(slope)),
                "bias": jnp.full_like(layers["Dense_0"]["bias"], BIAS),
            },
            "Dense_1": {"kernel": jnp.zeros_like(layers["Dense_1"]["kernel"]).at[0].set(1.0)},
        }
    }


def constant(generator, output):
    """A generator that puts out one point, or one category's logits, whatever z is."""
    zero = jax.tree.map(jnp.zeros_like, generator)
    zero["params"]["Dense_1"]["bias"] = jnp.asarray(output, jnp.float32)
    return zero


def info_of(model, state, generator, critic, batch):
    """What a step says of the networks that it begins with: at n_critic = 1 the estimate is taken before its update."""
    return jax.jit(model.step)(
        state._replace(params=Networks(generator, critic)), batch, model.noise(jax.random.key(5))
    )[1]


@pytest.mark.parametrize(
    ("name", "slope", "settings", "penalty"),
    [
        ("WGAN", 0.5, {}, 0.0),
        ("WGAN", 2.0, {}, 0.0),
        ("WGAN_GP", 1.0, {"one_sided": False}, 0.0),
        ("WGAN_GP", 1.0, {"one_sided": True}, 0.0),
        ("WGAN_GP", 2.0, {"one_sided": True}, 4.0),
        ("WGAN_GP", 0.5, {"one_sided": True}, 0.0),
        ("WGAN_GP", 0.5, {"one_sided": False}, 1.0),
    ],
)
def test_a_linear_critic_says_the_shift_and_only_its_slope_is_penalised(make_config, name, slope, settings, penalty):
    settings = settings | ({"penalty": 4.0} if name == "WGAN_GP" else {})
    model, state, batch = build(make_config, name, **settings)
    point = jnp.array([1.0, 2.0])
    batch = jnp.broadcast_to(point + jnp.array([SHIFT, 0.0]), batch.shape)
    networks = constant(state.params.generator, point), linear(state.params.critic, [slope, 0.0])
    info = info_of(model, state, *networks, batch)
    assert info.largest_slope == slope
    # WGAN's is divided by the slope; the other's is the shift where the slope is 1.
    assert info.critic_distance == (SHIFT if name == "WGAN" else slope * SHIFT)
    assert info.loss == penalty - slope * SHIFT
    if name == "WGAN_GP":
        # The generator's objective is −f at its events, after the critic's small update.
        assert info.generator_loss == pytest.approx(-(slope + BIAS), rel=0.02)


@pytest.mark.parametrize(("name", "target_type"), [("WGAN", "2D_GMM"), ("WGAN_GP", "1D_TRIMODAL")])
def test_a_step_is_the_algorithm(make_config, name, target_type):
    """n critic updates, each on a minibatch and noise of its own with the generator held, and then the generator's."""
    n_critic = 3
    model, state, batch = build(make_config, name, target_type, n_critic=n_critic)
    single, _, _ = build(make_config, name, target_type)
    noise = model.noise(jax.random.key(5))
    assert model.batches_per_step == n_critic
    assert len(np.unique(noise.z_critic)) == noise.z_critic.size
    step = jax.jit(model.step)
    after, info = step(state, batch, noise)
    one_step = jax.jit(single.step)
    by_hand = state
    for j in range(n_critic):
        own = noise._replace(
            z_critic=noise.z_critic[j : j + 1], draw_critic=noise.draw_critic[j : j + 1],
            mixing=noise.mixing[j : j + 1],
        )  # fmt: skip
        stepped, own_info = one_step(by_hand, batch[j], own)
        by_hand = wasserstein.State(
            Networks(state.params.generator, stepped.params.critic),
            Networks(state.opt_state.generator, stepped.opt_state.critic),
        )
    # Another order of sums: a weight of order 1 differs by a rounding or two.
    for ours, theirs in zip(jax.tree.leaves(after), jax.tree.leaves(stepped), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-6)
    np.testing.assert_allclose(info, own_info, rtol=1e-4, atol=1e-6)
    # No minibatch is passed over.
    for j in range(n_critic):
        other, _ = step(state, batch.at[j].add(1.0), noise)
        assert any(
            np.any(a != b)
            for a, b in zip(jax.tree.leaves(other.params.critic), jax.tree.leaves(after.params.critic), strict=True)
        )


def test_rmsprop_moves_by_its_rate_however_small_gradients_are(make_config):
    model, state, batch = build(make_config, "WGAN")
    # Behind a critic of tiny weights the generator's gradients are tiny.
    tiny = jax.tree.map(lambda leaf: 1e-3 * leaf, state.params.critic)
    state = state._replace(params=state.params._replace(critic=tiny))
    after, _ = jax.jit(model.step)(state, batch, model.noise(jax.random.key(5)))
    difference = jax.tree.map(lambda a, b: np.abs(b - a).ravel(), state.params.generator, after.params.generator)
    moved = np.concatenate(jax.tree.leaves(difference))
    # The first mean square is (1 − 0.99) g²: each weight moves by 5e-5/√0.01, but where its gradient is 0.
    # Weights of order 1 are rounded to 6e-8.
    assert np.mean(moved > 0) > 0.5
    np.testing.assert_allclose(moved[moved > 0], 5e-4, atol=1.2e-7)


def test_weights_are_clipped_after_every_step(make_config):
    clip = 0.03125
    model, state, batch = build(make_config, "WGAN", n_critic=3, clip=clip, learning_rate=0.01)
    step = jax.jit(model.step)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(state.params.critic)) > clip
    for i in range(3):
        state, _ = step(state, batch, model.noise(jax.random.key(i)))
        assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(state.params.critic)) == clip
    # The generator's are not.
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(state.params.generator)) > clip


@pytest.mark.parametrize("name", ["WGAN", "WGAN_GP"])
def test_with_bins_the_best_critic_says_the_total_variation(make_config, name):
    """The generator puts out bin 2 alone: f = √2 elsewhere is the best critic, and TV the share of rows elsewhere."""
    model, state, _ = build(make_config, name, "1D_TRIMODAL", num_bins=4)
    batch = jnp.eye(4)[np.array([0, 1, 1, 2, 2, 2, 3, 3])]
    values = np.where(np.arange(4) == 2, 0.0, math.sqrt(2))
    generator = constant(state.params.generator, 1e4 * (np.arange(4) == 2))
    info = info_of(model, state, generator, linear(state.params.critic, values), batch)
    # A sum of numbers near 64 in float32.
    assert info.critic_distance == pytest.approx(math.sqrt(2) * 5 / 8, abs=2e-5)
    assert info.largest_slope == pytest.approx(1.0, abs=2e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_distances_between_standardised_rows_are_in_the_users_units(make_config, tmp_path, axis):
    rows = np.random.default_rng(0).normal(size=(60, 2)) * [0.5, 30.0] + [5.0, -2.0]
    np.save(tmp_path / "rows.npy", rows)
    model, state, batch = build(make_config, "WGAN", "CUSTOM", custom_file=str(tmp_path / "rows.npy"))
    config = make_config(target_type="CUSTOM", num_bins=0, custom_file=str(tmp_path / "rows.npy"))
    deviation = make_target(config).train_rows.std(0)[axis]
    direction = np.eye(2)[axis]
    batch = jnp.broadcast_to(jnp.asarray(SHIFT * direction, jnp.float32), batch.shape)
    networks = constant(state.params.generator, [0.0, 0.0]), linear(state.params.critic, direction)
    # The deviation is read from float32 rows.
    assert info_of(model, state, *networks, batch).critic_distance == pytest.approx(SHIFT * deviation, rel=1e-4)


def test_norms_have_a_derivative_everywhere():
    columns = jnp.array([[3.0, 0.0], [4.0, 0.0]])
    np.testing.assert_array_equal(wasserstein.norms(columns), [5.0, 0.0])
    gradient = jax.grad(lambda x: wasserstein.norms(x).sum())(columns)
    np.testing.assert_allclose(gradient, [[0.6, 0.0], [0.8, 0.0]], rtol=1e-6)


def test_a_critic_finds_the_distance_of_a_generator_that_stands_still(make_config):
    """From a point c beyond all rows W₁ is c − E[x], which a critic of slope −1 says: here 3 − 0 by symmetry."""
    still = {"learning_rate": 1e-9, "critic_learning_rate": 1e-2}
    model, state, _ = build(make_config, "WGAN_GP", "1D_BIMODAL", penalty=10.0, **still)
    state = state._replace(params=Networks(constant(state.params.generator, [3.0]), state.params.critic))
    target = make_target(make_config(target_type="1D_BIMODAL", num_bins=0))

    def one_step(state, i):
        rows = target.sample(jax.random.fold_in(jax.random.key(0), i), 8)
        return model.step(state, rows, model.noise(jax.random.fold_in(jax.random.key(1), i)))

    _, info = jax.jit(lambda state: jax.lax.scan(one_step, state, jnp.arange(1500)))(state)
    found = info.critic_distance[-500:]
    # A penalty λ leaves a slope of 1 + W₁/2λ where W₁ is the whole gain (2λ(s − 1) = W₁): 1.15 for 3 at 10.
    expected = 3.0 * (1 + 3.0 / 20)
    # Means of 8 rows with deviation √(1.5² + 0.4²), 500 times, at 4 standard errors; and what Adam's step leaves.
    assert np.mean(found) == pytest.approx(expected, abs=4 * math.sqrt((2.25 + 0.16) / 8 / 500) + 0.05 * expected)

"""The simple loops that the suite is timed beside do the same work: as many weights, events of the same law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import build
from models.base import count_params
from models.boltzmann_layers import LAYERS
from studies.speed import loops
from studies.speed.work import ALL, config_of
from targets import make_target


def parts_of(name, family):
    config = config_of(ALL[name], family)
    target = make_target(config)
    model = build(family, config, target)
    return config, target, model, loops.FAMILIES[family](config, target, model.width, False)


@pytest.mark.parametrize(
    ("name", "family"), [(name, family) for name, work in ALL.items() if name != "large" for family in work.families]
)
def test_a_loop_has_as_many_weights_as_the_suite(name, family):
    _, _, model, (init, _) = parts_of(name, family)
    state = jax.eval_shape(init, jax.random.key(0))
    weights = [state[part] for part in ("g", "d", "p") if part in state]
    assert count_params(weights) == model.n_params


def test_bits_are_drawn_with_their_probabilities_and_with_the_gradient_of_a_relaxed_draw():
    law, n = loops.LAWS["bits"], 40_000
    outputs = jnp.array([-1.5, 0.0, 2.0])
    p = np.asarray(jax.nn.sigmoid(outputs))
    # Five standard errors.
    off = 5 * np.sqrt(p * (1 - p) / n)
    rows = jnp.broadcast_to(outputs, (n, 3))
    noise = law.noise(jax.random.key(1), rows.shape)
    for x in (law.draw(jax.random.key(0), rows), law.draw_with_gradient(rows, noise, 0.7)):
        np.testing.assert_allclose(np.minimum(abs(x), abs(x - 1)), 0, atol=1e-6)
        assert (abs(x.mean(0) - p) < off).all()
    gradient = jax.grad(lambda outputs: law.draw_with_gradient(outputs, noise, 0.7).sum())(rows)
    soft = jax.nn.sigmoid((rows + noise) / 0.7)
    np.testing.assert_allclose(gradient, soft * (1 - soft) / 0.7, atol=1e-6)


def test_an_rbm_on_bits_goes_on_with_its_chains():
    config, target, model, (init, (update,)) = parts_of("bits", "RBM")
    state, n = init(jax.random.key(0)), target.event.size
    # A machine that copies: hidden unit i is on exactly where bit i is, and the other way round.
    copying = {
        "w": 100.0 * jnp.eye(n, model.width),
        "a": jnp.full(n, -50.0),
        "b": jnp.full(model.width, -50.0),
    }
    chains = target.sample(jax.random.key(1), config.batch_size)
    assert 0 < chains.mean() < 1
    # Rows first, and biases without a new axis, as most people write it.
    with jax.numpy_rank_promotion("allow"):
        after, _ = jax.jit(update)(state | {"p": copying, "chains": chains}, jnp.zeros_like(chains), jax.random.key(2))
    np.testing.assert_array_equal(after["chains"], chains)


def test_an_rbm_on_bits_takes_as_many_sweeps_as_the_suite(monkeypatch):
    law, drawn = loops.LAWS["bits"], []
    counted = law._replace(draw=lambda key, outputs: drawn.append(1) or law.draw(key, outputs))
    monkeypatch.setitem(loops.LAWS, "bits", counted)
    config, target, _, (init, (update,)) = parts_of("bits", "RBM")
    with jax.numpy_rank_promotion("allow"):
        jax.eval_shape(
            update, init(jax.random.key(0)), jnp.zeros((config.batch_size, target.event.size)), jax.random.key(1)
        )
    assert len(drawn) == LAYERS["bits"].k == 5


def test_a_generator_of_bits_shrinks_by_its_rate_times_the_decay():
    config, _, _, (init, (_, update)) = parts_of("bits", "GAN")
    settings, state = config.gan.for_law("bits"), init(jax.random.key(0))
    # A discriminator without weights has no gradient to give.
    state["d"] = jax.tree.map(jnp.zeros_like, state["d"])
    with jax.numpy_rank_promotion("allow"):
        after, _ = jax.jit(update)(state, None, jax.random.key(1))
    assert settings.weight_decay > 0
    for old, new in zip(jax.tree.leaves(state["g"]), jax.tree.leaves(after["g"]), strict=True):
        np.testing.assert_allclose(new, old * (1 - settings.learning_rate * settings.weight_decay), rtol=1e-6)

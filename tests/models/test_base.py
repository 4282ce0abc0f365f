"""Averaged weights, on a model small enough to follow by hand."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import NUMBERS, quick_if
from pixel_targets import blobs

from models import MODELS, base
from models.base import Model, View, averaged, is_on, packing, watched
from targets import make_target


class State(NamedTuple):
    """One weight."""

    params: Any


class Info(NamedTuple):
    """Nothing."""

    loss: jax.Array


def walker():
    """A model whose weight goes up by its noise, and whose sample is its weight."""

    def constant(state, n):
        return jnp.broadcast_to(state.params[None], (n, 1))

    return Model(
        name="WALKER",
        n_params=1,
        width=1,
        init=lambda key, data: State(jnp.ones(1)),
        noise=lambda key: jax.random.uniform(key, (1,)),
        step=lambda state, batch, noise: (State(state.params + noise), Info(noise[0])),
        sample=lambda key, state, n: constant(state, n),
        sample_mean=lambda key, state, n: constant(state, n),
        log_prob=lambda state, x: x[:, 0] - state.params[0],
        views={"walk": View("energy", lambda state: {"energy": state.params})},
    )


@pytest.mark.parametrize("decay", [0.3, 0.75, 0.999])
def test_the_average_follows_its_recursion_and_does_everything_but_train(decay):
    model, plain = averaged(walker(), decay), walker()
    state, alone = model.init(jax.random.key(0), None), plain.init(jax.random.key(0), None)
    expected, weight = 1.0, 1.0
    for t in range(1, 60):
        noise = model.noise(jax.random.key(t))
        state, info = model.step(state, None, noise)
        alone, _ = plain.step(alone, None, noise)
        weight += float(noise[0])
        # At most (1 + t)/(10 + t), so that the first steps are soon forgotten.
        kept = min(decay, (1 + t) / (10 + t))
        expected = kept * expected + (1 - kept) * weight
        assert info.loss == noise[0]
    assert state.average[0] == pytest.approx(expected, rel=1e-5)
    # Training does not see the average.
    np.testing.assert_array_equal(state.params, alone.params)
    np.testing.assert_array_equal(state.inner.params, alone.params)
    assert abs(expected - weight) > 0.1
    for drawn in (model.sample, model.sample_mean):
        np.testing.assert_array_equal(drawn(jax.random.key(0), state, 3)[:, 0], np.full(3, state.average[0]))
    assert model.log_prob(state, jnp.zeros((2, 1)))[0] == -state.average[0]
    assert model.views["walk"].arrays(state)["energy"] == state.average
    assert model.sample_quick is None


def test_without_a_decay_nothing_is_added():
    model = walker()
    assert averaged(model, 0.0) is model
    assert not is_on(0.0)
    assert jax.jit(lambda decay: jnp.full((), is_on(decay)))(0.0)


# Those whose weights can be averaged, of whose optimisers each update acts on every weight alone.
AVERAGED = [name for name, family in MODELS.items() if hasattr(family.Config(), "average")]
each_averaged = pytest.mark.parametrize("name", [quick_if(name in ("GAN", "RBM"), name) for name in AVERAGED])


def small_case(name, make_config, **settings):
    """A configuration with bins and its target; for families that draw none, one of images."""
    has_bins = name in NUMBERS
    own = {name.lower(): MODELS[name].Config(**settings)}
    config = make_config(num_bins=5, parameter_budget=120 if has_bins else 1200, **own)
    return config, make_target(config) if has_bins else blobs()


def batch_of(model, target, batch_size):
    """What one step consumes: a minibatch, several stacked, or a whole data set, here of four."""
    n = model.batches_per_step or 4
    rows = target.codec.encode(target.sample(jax.random.key(1), n * batch_size))
    return rows.reshape(n, batch_size, -1) if (model.batches_per_step or 1) > 1 else rows


@each_averaged
def test_averaging_adds_no_trainable_weight_and_changes_no_update(name, make_config):
    counts, starts, updates = [], [], []
    for decay in (0.0, 0.9):
        config, target = small_case(name, make_config, average=decay)
        model = MODELS[name].build(config, target)
        batch = batch_of(model, target, config.batch_size)
        # Operation by operation: how the draws behind the weights round depends on what is compiled along with them.
        state = model.init(jax.random.key(2), batch)
        starts.append(state.params)
        state, _ = jax.jit(model.step)(state, batch, model.noise(jax.random.key(3)))
        counts.append(model.n_params)
        updates.append(state.params)
    assert counts[0] == counts[1]
    jax.tree.map(np.testing.assert_array_equal, *starts)
    jax.tree.map(np.testing.assert_array_equal, *updates)


def test_packing_is_undone_and_keeps_the_order_of_the_leaves(monkeypatch):
    tree = {"b": jnp.arange(6.0).reshape(2, 3), "a": (jnp.full((), 7.0), ()), "c": jnp.array([8.0, 9.0])}
    for shapes in (tree, jax.eval_shape(lambda: tree)):
        pack, unpack = packing(shapes)
        np.testing.assert_array_equal(pack(tree), [7, 0, 1, 2, 3, 4, 5, 8, 9])
        assert jax.tree.structure(unpack(pack(tree))) == jax.tree.structure(tree)
        jax.tree.map(np.testing.assert_array_equal, unpack(pack(tree)), tree)
    # Up to the limit, and not beyond it.
    monkeypatch.setattr(base, "_MOST_PACKED", 9)
    assert packing(tree)[0](tree).shape == (9,)
    monkeypatch.setattr(base, "_MOST_PACKED", 8)
    pack, unpack = packing(tree)
    assert pack(tree) is tree
    assert unpack(tree) is tree


@each_averaged
def test_packed_and_unpacked_training_are_the_same(name, make_config, monkeypatch):
    results = []
    for most in (2**15, 0):
        monkeypatch.setattr(base, "_MOST_PACKED", most)
        config, target = small_case(name, make_config, average=0.9)
        model = MODELS[name].build(config, target)
        batch = batch_of(model, target, config.batch_size)
        state, step = model.init(jax.random.key(2), batch), jax.jit(model.step)
        for i in range(3):
            state, _ = step(state, batch, model.noise(jax.random.key(i)))
        results.append((state.params, state.average))
        moments = optax.tree_utils.tree_get_all_with_path(state.inner.opt_state, "mu")
        assert all((getattr(moment, "shape", None) is not None) == (most > 0) for _, moment in moments)
    # Adam and the average act on each weight alone; two programs may round differently by a few units of weights of
    # order 1, and Adam's quotient of moments keeps that small where gradients are not.
    for packed, unpacked in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(packed, unpacked, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9999])
@pytest.mark.parametrize("weight", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_is_seen_in_the_same_step(weight, decay):
    model = averaged(walker(), decay)
    state = model.init(jax.random.key(0), None)
    for noise in (0.5, 0.25):
        state, _ = model.step(state, None, jnp.array([noise]))
        assert all(np.isfinite(leaf).all() for leaf in watched(state))
    state, _ = model.step(state, None, jnp.array([weight]))
    assert not all(np.isfinite(leaf).all() for leaf in watched(state))


@pytest.mark.parametrize("first", [0.5, np.nan, np.inf])
@pytest.mark.parametrize("second", [0.5, np.nan, np.inf])
def test_what_is_not_finite_in_an_optimiser_reaches_the_weights_or_holds_them(first, second):
    """Why it need not be watched: nothing false comes of it."""
    adam, weights = optax.adam(0.1), jnp.array([2.0, 3.0])
    moments, *rest = adam.init(weights)
    moments = moments._replace(mu=jnp.array([first, 0.5]), nu=jnp.array([second, 0.5]))
    updates, _ = adam.update(jnp.array([1.0, 1.0]), (moments, *rest), weights)
    seen = watched(State(optax.apply_updates(weights, updates)))
    held = second == np.inf and first == 0.5
    assert np.isfinite(seen[0]).tolist() == [held or first == second == 0.5, True]
    if held:
        assert seen[0][0] == 2
    assert seen[0][1] != 3


def test_only_floating_weights_are_watched():
    params = {"centres": jnp.ones(3), "counts": jnp.ones(2, int), "key": jax.random.key(0), "none": ()}
    (leaf,) = watched(State(params))
    assert leaf is params["centres"]
    # Of an averaged model the average speaks for the weights.
    large = {"w": jnp.zeros(base._MOST_PACKED + 1), "b": jnp.ones(2)}
    for weights in (large, {"b": jnp.ones(2)}):
        state = base.AveragedState(packing(weights)[0](weights), State(weights), jnp.zeros((), int))
        assert sum(leaf.size for leaf in watched(state)) == base.count_params(weights)


def test_a_model_has_its_cheaper_rule_in_passing_and_falls_back_on_its_own():
    def cheap(state, x):
        return 2 * x

    model = Model("A", 1, 1, *[None] * 5, log_prob=lambda state, x: x)
    assert model.in_passing() is model
    model = model._replace(quick={"log_prob": cheap})
    assert model.in_passing().log_prob is cheap
    assert model.in_passing().finer() is model


def test_a_cheaper_rule_reads_the_average_as_well():
    state = base.AveragedState(jnp.ones(1), State(jnp.zeros(1)), jnp.int32(0))
    model = averaged(Model("A", 1, 1, *[None] * 5, quick={"log_prob": lambda state, x: state.params + x}), 0.5)
    assert model.quick["log_prob"](state, jnp.float32(2.0)) == 3.0

"""The contract of `test_contract` on images, for every family that can draw them, and what each does with grey."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from pixel_targets import blobs
from test_contract import (  # noqa: F401
    Case,
    Spec,
    run_trial,
    test_argument_names,
    test_config_is_a_frozen_dataclass_of_defaults,
    test_every_trainable_leaf_changes,
    test_n_params_counts_the_initialised_leaves,
    test_same_key_same_bits,
    test_seeds_differ,
    test_state_and_info_are_named_tuples,
    test_step_keeps_every_shape_and_dtype,
)

from benchmark.engine.records import streams
from models import MODELS, drawing
from models.boltzmann import Params, free_energy
from models.boltzmann_states import log_partition_binary
from models.visibles import PIXELS

BUDGET, N = 1500, 24
CASES = {}


@pytest.fixture(params=[Spec(family, "BLOBS", 0, 1) for family in drawing("pixels")], ids=str)
def spec(request):
    return request.param


@pytest.fixture
def case(spec, make_config):
    if spec not in CASES:
        config = make_config(parameter_budget=BUDGET, hidden_layers=1, batch_size=16)
        target = blobs()
        model = MODELS[spec.family].build(config, target)
        trial = jax.jit(lambda keys: run_trial(model, target, keys))
        seeds = streams(config.seed, 2)
        first, second = (jax.tree.map(lambda leaf, i=i: leaf[i], seeds) for i in range(2))
        trials = trial(first), trial(first), trial(second)
        mean = jax.jit(model.sample_mean, static_argnums=2)(first.key_eval, trials[0].trained, N)
        CASES[spec] = Case(config, target, model, *trials, None, mean)
    return CASES[spec]


def test_n_params_is_the_closest_to_the_budget(spec, case):
    """As the contract has it: a solver that always rounds down, or up, betrays itself on the other side."""
    if case.model.rival:
        return
    distance = abs(case.model.n_params - BUDGET)
    mirrored = dataclasses.replace(case.config, parameter_budget=2 * BUDGET - case.model.n_params)
    assert abs(MODELS[spec.family].build(mirrored, case.target).n_params - BUDGET) >= distance


def test_samples_are_grey_levels(case):
    for drawn in (case.first.sample, case.sample_mean):
        assert drawn.shape[1] == 64
        assert drawn.dtype == jnp.float32
        assert np.all((drawn >= 0) & (drawn <= 1))


def test_the_images_that_families_draw_are_not_all_alike(case):
    # A mixture has as many as components.
    assert len(np.unique(case.first.sample, axis=0)) > 4


def small_machine(seed=0, n_visible=7, n_hidden=3):
    generator = np.random.default_rng(seed)
    sizes = (n_visible, n_hidden), n_visible, n_hidden, n_visible
    return Params(*(jnp.asarray(generator.normal(size=size)) for size in sizes))


def test_grey_levels_of_a_machine_are_scored_by_no_more_than_their_coins_are():
    """−F is convex, so that ln q of grey levels is at most the mean of ln q over the strings that their coins make."""
    with jax.enable_x64(True):
        params = small_machine()
        strings = np.array(list(itertools.product([0, 1], repeat=7)), float)
        log_q = -np.asarray(free_energy(PIXELS, params, jnp.asarray(strings.T))) - float(log_partition_binary(params))
        assert np.exp(log_q).sum() == pytest.approx(1, abs=1e-12)
        grey = np.random.default_rng(1).uniform(size=(20, 7))
        weights = np.prod(np.where(strings[None] > 0, grey[:, None], 1 - grey[:, None]), axis=-1)
        own = -np.asarray(free_energy(PIXELS, params, jnp.asarray(grey.T))) - float(log_partition_binary(params))
        assert np.all(own <= weights @ log_q)


def test_images_of_a_machine_have_the_mean_of_its_distribution(make_config):
    """Chains of a machine whose states can be counted: the mean image, and that of every hidden state."""
    target = blobs((2, 4, 1))
    config = make_config(parameter_budget=8 + 9 * 3, hidden_layers=1)
    model = MODELS["RBM"].build(config, target)
    assert (model.width, model.log_prob_kind) == (3, "exact")
    state = model.init(jax.random.key(0), target.sample(jax.random.key(1), 50))
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), small_machine(3, 8, 3))._replace(log_sigma=())
    state = state.inner._replace(params=params)
    hidden = np.array(list(itertools.product([0, 1], repeat=3)), float)
    linear = hidden @ np.asarray(params.weights).T + np.asarray(params.visible_bias)
    log_mass = hidden @ np.asarray(params.hidden_bias) + np.logaddexp(0, linear).sum(1)
    p = scipy.special.softmax(log_mass)
    images = scipy.special.expit(linear)
    n = 20_000
    unaveraged = MODELS["RBM"].build(
        make_config(parameter_budget=35, rbm=MODELS["RBM"].Config(average=0, sample_steps=50)), target
    )
    drawn = np.asarray(jax.jit(unaveraged.sample, static_argnums=2)(jax.random.key(2), state, n))
    which = np.argmin(np.abs(drawn[:, None] - images[None]).sum(-1), axis=1)
    np.testing.assert_allclose(drawn, images[which], atol=1e-5)
    counts = np.bincount(which, minlength=8)
    assert scipy.stats.chisquare(counts, p * n).pvalue > 1e-3


def test_a_machine_of_many_units_has_no_probabilities(make_config):
    model = MODELS["RBM"].build(make_config(parameter_budget=65 * 21 + 64), blobs())
    assert (model.width, model.log_prob, model.log_prob_kind) == (21, None, None)


def test_the_product_has_the_mean_grey_level_of_every_pixel_and_draws_bits(make_config):
    target = blobs()
    model = MODELS["PRODUCT"].build(make_config(), target)
    rows = target.sample(jax.random.key(0), 300)
    state = model.init(jax.random.key(1), rows)
    expected = (np.asarray(rows, np.float64).sum(0) + 0.5) / 301
    np.testing.assert_allclose(model.sample_mean(jax.random.key(2), state, 2)[1], expected, atol=1e-6)
    drawn = np.asarray(model.sample(jax.random.key(3), state, 20_000))
    assert set(np.unique(drawn)) == {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean(0), expected, atol=5 * np.sqrt(0.25 / 20_000))


def test_em_on_grey_levels_raises_the_likelihood(make_config):
    target = blobs(n_rows=200)
    model = MODELS["BERNOULLI_MIXTURE"].build(make_config(parameter_budget=600), target)
    rows = jnp.asarray(target.train_rows)
    state = model.init(jax.random.key(0), rows)
    losses = []
    for _ in range(15):
        losses.append(-float(jnp.mean(model.log_prob(state, rows))))
        state, _ = model.step(state, rows, ())
    assert np.all(np.diff(losses) < 1e-4)
    assert losses[-1] < losses[0] - 0.5

"""Families on strings of bits against enumeration, closed forms and other ways to the same number."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.csgraph
import scipy.special
import scipy.stats
from conftest import small_config

from benchmark.engine.preparation import prepare
from benchmark.engine.records import Feed, Schedule
from benchmark.engine.training import train
from core.errors import UserError
from kinds.bits import generalisation
from kinds.bits.hamming import mmd2_to, smoothed
from kinds.bits.judging import divergence, exact_scores, make_closing, make_judge, of_masses, total_variation
from kinds.bits.settings import Config
from kinds.bits.truth import bits_target, numbers_of, rows_of
from kinds.exact import log_q, wide
from models import MODELS, bernoulli_mixture, boltzmann_states, build, chow_liu, vae
from models.base import packing
from models.boltzmann import Params, free_energy
from models.laws import bit_states, bits, log_mixture_of_bits
from models.visibles import BINARY
from targets import make_target

ALL = np.arange(2**5)


def config_of(**fields):
    settings = fields.pop("bits", dict(n=5))
    return small_config(num_bins=0, bits=Config(**settings), **fields)


def random_target(n=5, seed=0):
    return bits_target("RANDOM", np.log(np.random.default_rng(seed).dirichlet(np.full(2**n, 0.4))))


def rbm_params(n_visible, n_hidden, seed=0):
    generator = np.random.default_rng(seed)
    shapes = (n_visible, n_hidden), (n_visible,), (n_hidden,)
    return Params(*(jnp.asarray(generator.normal(size=shape)) for shape in shapes), jnp.zeros(n_visible))


@pytest.mark.parametrize(("n_visible", "n_hidden"), [(6, 4), (4, 7), (5, 5)])
def test_both_layers_give_one_partition_function(n_visible, n_hidden):
    with jax.enable_x64(True):
        params = rbm_params(n_visible, n_hidden)
        energies = [
            -(v @ params.visible_bias + h @ params.hidden_bias + v @ params.weights @ h)
            for v in rows_of(np.arange(2**n_visible), n_visible, float)
            for h in rows_of(np.arange(2**n_hidden), n_hidden, float)
        ]
        known = np.logaddexp.reduce(-np.array(energies))
        assert float(boltzmann_states.log_partition_binary(params)) == pytest.approx(known, abs=1e-11)
        rows = jnp.asarray(rows_of(np.arange(2**n_visible), n_visible, float))
        total = jnp.exp(boltzmann_states.log_prob_binary(params, rows)).sum()
        assert float(total) == pytest.approx(1, abs=1e-12)


def test_the_gradient_of_the_likelihood_is_what_data_and_model_expect_of_vh():
    """∂ ln q / ∂W = ⟨v hᵀ⟩ of the data less that of the model, both exactly."""
    with jax.enable_x64(True):
        params, target = rbm_params(5, 3), random_target()
        rows, p = jnp.asarray(rows_of(ALL, 5, float)), jnp.asarray(target.truth.p)

        def likelihood(params):
            return p @ boltzmann_states.log_prob_binary(params, rows)

        q = jnp.exp(boltzmann_states.log_prob_binary(params, rows))
        on = jax.nn.sigmoid(rows @ params.weights + params.hidden_bias[None])
        expected = (rows * (p - q)[:, None]).T @ on
        np.testing.assert_allclose(jax.grad(likelihood)(params).weights, expected, atol=1e-12)
        # What training descends has the same gradient where its chains are the model's own.
        energy = jax.grad(lambda params: (p - q) @ free_energy(BINARY, params, rows.T))(params)
        np.testing.assert_allclose(-energy.weights, expected, atol=1e-12)


@pytest.mark.parametrize("n_visible", [1, 5, 11])
def test_draws_of_a_machine_have_its_probabilities(n_visible):
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), rbm_params(n_visible, 4))
    n = 40_000
    x = np.asarray(jax.jit(boltzmann_states.sample_binary, static_argnums=2)(jax.random.key(2), params, n))
    rows = jnp.asarray(rows_of(np.arange(2**n_visible), n_visible))
    q = np.exp(np.asarray(boltzmann_states.log_prob_binary(params, rows), np.float64))
    assert_drawn_from(q, numbers_of(x), n)


def assert_drawn_from(q, numbers, n):
    """By χ² over what is expected five times at least, and all the rest together; one in 10⁴ fails by chance."""
    counts = np.bincount(numbers, minlength=len(q))
    often = q * n >= 5
    observed, expected = counts[often], q[often]
    rest = q[~often].sum()
    if rest * n >= 5:
        observed, expected = np.append(observed, counts[~often].sum()), np.append(expected, rest)
    expected = expected / expected.sum() * observed.sum()
    assert scipy.stats.chisquare(observed, expected).pvalue > 1e-4


@pytest.mark.parametrize("n", [2, 5, 8])
def test_a_mixture_over_all_strings_is_the_sum_one_by_one(n):
    with jax.enable_x64(True):
        generator = np.random.default_rng(n)
        # Some bits are certain to rounding, one way or the other.
        outputs = jnp.asarray(generator.normal(size=(n, 9)) * generator.choice([1, 60], (n, 9)))
        log_weights = jnp.asarray(np.log(generator.dirichlet(np.ones(9))))
        rows = jnp.asarray(rows_of(np.arange(2**n), n, float))
        each = jnp.stack([bits(n).log_prob(outputs[:, z][None], rows, None) for z in range(9)], axis=1)
        known = jax.nn.logsumexp(each + log_weights[None], axis=1)
        np.testing.assert_allclose(log_mixture_of_bits(outputs, log_weights), known, atol=1e-9)


@functools.cache
def trained(name, n_steps=60, **fields):
    config = config_of(target_type="BITS_BLOBS", parameter_budget=120, hidden_layers=1, **fields)
    target = make_target(config)
    model = build(name, config, target)
    judge = make_judge(target, config)
    feed = Feed(target.sample, None, config.batch_size)
    program = prepare(model, feed, judge.scorer, Schedule((n_steps // 2, n_steps), 1, 0))
    return target, model, train(program)


@pytest.mark.parametrize(
    "name", ["GAN", "VAE", "RBM", "BERNOULLI_MIXTURE", "HISTOGRAM", "PRODUCT", "CHOW_LIU", "UNIFORM"]
)
def test_probabilities_are_those_that_samples_are_drawn_with(name):
    _, model, run = trained(name)
    state, n = run.states[0], 40_000
    x = np.asarray(jax.jit(model.sample, static_argnums=2)(jax.random.key(5), state, n))
    q = np.exp(log_q(model, state, rows_of(ALL, 5, float), (32,)))
    assert q.sum() == pytest.approx(1, abs=1e-9)
    assert_drawn_from(q, numbers_of(x), n)


@pytest.mark.parametrize("name", ["VAE", "RBM", "BERNOULLI_MIXTURE", "CHOW_LIU"])
def test_divergence_and_total_variation_are_sums_over_all_strings(name):
    target, model, run = trained(name)
    state, p = run.states[0], target.truth.p
    q = np.exp(log_q(model, state, rows_of(ALL, 5, float), (32,)))
    assert divergence(model, state, target).value == pytest.approx(p @ np.log(p / q), abs=1e-10)
    scores = exact_scores(model, state, target)
    assert scores["tv_exact"] == pytest.approx(np.abs(p - q).sum() / 2, abs=1e-10)
    last = run.evaluations[-1].metrics
    assert last["kl_exact"][0] == pytest.approx(scores["kl_exact"], abs=1e-12)
    assert last["tv_exact"][0] == pytest.approx(scores["tv_exact"], abs=1e-12)


def test_total_variation_counts_what_a_model_gives_to_strings_without_probability():
    target = bits_target("HALF", np.array([0.0, -np.inf, 0.0, -np.inf]))
    assert total_variation(target.truth, np.array([0.3, 0.2])) == pytest.approx((0.2 + 0.3 + 0.5) / 2)


def test_the_estimate_of_a_generator_settles_as_more_z_are_taken():
    """Its bias is about K/2M: of 32 strings and 2¹⁸ z no more than 1e-4 nats, and 16 times that in mid-training."""
    target, model, run = trained("GAN")
    state = run.states[0]
    quick = model._replace(**model.quick)
    exact, rough = (divergence(each, state, target).value for each in (model, quick))
    assert exact == pytest.approx(rough, abs=2e-3 + 0.03 * exact)


def test_em_raises_the_likelihood_at_every_iteration_and_finds_the_mixture():
    generator = np.random.default_rng(4)
    # Centres that differ in four bits each: of nearer ones the likelihood hardly tells where they are.
    centres = np.array([[1, 1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1], [1, 0, 1, 0, 1, 0, 1, 0]])
    weights, p = np.array([0.5, 0.3, 0.2]), centres * 0.9 + 0.05
    component = generator.choice(3, size=60_000, p=weights)
    x = (generator.uniform(size=(60_000, 8)) < p[component]).astype(float)
    with jax.enable_x64(True):
        rows = jnp.asarray(x)
        params = bernoulli_mixture.initial(jax.random.key(1), rows, 3)
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
        step = jax.jit(bernoulli_mixture.em_step)
        losses = []
        for _ in range(60):
            params, loss = step(params, rows, 1e-5)
            losses.append(float(loss))
    assert np.all(np.diff(losses) <= 1e-12)
    found = scipy.special.expit(np.asarray(params.logits))
    order = [int(np.abs(found - own).sum(1).argmin()) for own in p]
    assert sorted(order) == [0, 1, 2]
    # Five standard errors of a share of the 12 000 rows of the smallest component, twice for what responsibilities add.
    np.testing.assert_allclose(found[order], p, atol=10 * math.sqrt(0.25 / 12_000))


def test_the_tree_is_scipys_and_its_fit_is_as_good_as_a_tree_can_be():
    target = random_target(6, 3)
    with jax.enable_x64(True):
        rows = target.sample(jax.random.key(0), 50_000).astype(jnp.float64)
        ones, both = rows.mean(0), rows.T @ rows / len(rows)
        information = chow_liu.mutual_information(both, ones)
        order, parent = chow_liu.spanning_tree(information)
        own = {frozenset((int(a), int(b))) for a, b in zip(order[1:], parent[1:], strict=True)}
        weights = 1 - np.triu(np.asarray(information), 1)
        tree = scipy.sparse.csgraph.minimum_spanning_tree(np.triu(weights, 1)).tocoo()
    assert own == {frozenset((int(a), int(b))) for a, b in zip(tree.row, tree.col, strict=True)}
    assert sorted(np.asarray(order).tolist()) == list(range(6))


@pytest.mark.parametrize("n", [2, 5])
def test_the_kernel_by_passes_over_bits_is_the_sum_over_pairs(n):
    p = np.random.default_rng(n).dirichlet(np.ones(2**n))
    apart = np.bitwise_count(np.arange(2**n, dtype=np.uint32)[:, None] ^ np.arange(2**n, dtype=np.uint32)[None])
    kernel = np.mean([np.exp(-apart.astype(float) / (n / part)) for part in (16, 8, 4)], axis=0)
    np.testing.assert_allclose(smoothed(p, n), kernel @ p, atol=1e-14)
    drawn = np.random.default_rng(1).integers(2**n, size=30)
    pairs = [kernel[a, b] for a, b in itertools.permutations(drawn, 2)]
    known = p @ kernel @ p - 2 * np.mean(kernel[drawn] @ p) + np.mean(pairs)
    shares = np.bincount(drawn, minlength=2**n) / 30
    assert mmd2_to(p, n)(shares, 30) == pytest.approx(known, abs=1e-13)
    assert mmd2_to(p, n)(p, None) == pytest.approx(0, abs=1e-15)


def test_generalisation_on_an_example_by_hand():
    """Ten draws of three bits: valid are 0, 1, 2, 3; seen were 0 and 5."""
    valid, seen = np.isin(np.arange(8), (0, 1, 2, 3)), np.isin(np.arange(8), (0, 5))
    drawn = np.array([0, 0, 5, 1, 1, 2, 6, 7, 7, 4])
    found = generalisation.of_strings(drawn, valid, seen)
    assert found == pytest.approx(
        {"precision": 0.5, "exploration": 0.7, "fidelity": 3 / 7, "rate": 0.3, "coverage": 2 / 3}
    )
    nothing_new = generalisation.of_strings(np.array([0, 5]), valid, seen)
    assert math.isnan(nothing_new["fidelity"])
    assert nothing_new["rate"] == 0


def test_generalisation_of_probabilities_is_what_many_draws_come_to():
    config = config_of(target_type="BITS_PARITY", bits=dict(n=3), n_samples_train=30)
    target = make_target(config)
    rows = np.array([[0, 0, 0], [0, 1, 1]], np.float32)
    target = target._replace(train_rows=rows)
    # Valid are 000, 011, 101 and 110, and the first two were seen.
    q = np.array([0.1, 0.05, 0.05, 0.1, 0.05, 0.3, 0.2, 0.15])
    known = {"precision": 0.7, "exploration": 0.8, "fidelity": 0.625, "rate": 0.5}
    assert generalisation.of_masses(q, target) == pytest.approx(known)
    assert generalisation.of_masses(q, target._replace(train_rows=None)) == pytest.approx({"precision": 0.7})
    seen = np.isin(np.arange(8), [0, 3]) / 2
    assert math.isnan(generalisation.of_masses(seen, target)["fidelity"])
    assert of_masses(seen, target, None)["fidelity"] is None
    plain = bits_target("PLAIN", np.log(q))
    assert "precision" not in of_masses(q, plain, None)


def test_a_perfect_model_lies_in_every_floor():
    config = config_of(target_type="BITS_CARDINALITY", bits=dict(n=8), n_eval_samples=2000, n_samples_train=40)
    target = make_target(config)
    judge = make_judge(target, config)
    closing = make_closing(target, config, judge)
    x = np.asarray(jax.jit(target.sample, static_argnums=1)(jax.random.key(12), 2000))
    scores = judge.scorer.score(x) | closing.score(x)
    floors = {**judge.floors, **closing.floors}
    assert {"kld", "mmd2", "mean_error", "pair_error", "rate", "coverage", "precision"} <= scores.keys()
    outside = [name for name, value in scores.items() if not floors[name].low <= value <= floors[name].high]
    # Of nine scores one in twenty lies outside of its range by chance; that three do has a probability of 1 %.
    assert len(outside) <= 2, {name: (scores[name], floors[name]) for name in outside}
    # In expectation a perfect model's rate is 1 − ε, and its coverage 1 − (1 − 1/|S|)^Q.
    share = len(np.unique(numbers_of(target.train_rows))) / 70
    assert floors["rate"].mean == pytest.approx(1 - share, abs=5 * math.sqrt(share / (50 * 2000)))
    assert floors["coverage"].mean == pytest.approx(1 - (1 - 1 / 70) ** 2000, abs=1e-3)


def test_a_machine_of_nine_and_twenty_seven_units_answers_its_number_of_parameters():
    config = config_of(target_type="BITS_CARDINALITY", bits=dict(n=9, ones=4), parameter_budget=279)
    model = MODELS["RBM"].build(config, make_target(config))
    assert (model.width, model.n_params) == (27, 279)


def test_families_that_cannot_draw_bits_say_which_can():
    config = config_of(target_type="BITS_PARITY")
    with pytest.raises(
        UserError, match=r"^KDE draws events of the law 'normal' or 'category', but those of BITS_PARITY"
    ):
        build("KDE", config, make_target(config))


def test_more_components_than_rows_are_refused_with_the_nearest_choice():
    config = config_of(target_type="BITS_PARITY", n_samples_train=30, parameter_budget=1000)
    with pytest.raises(UserError, match=r"167 components, more than the 30 rows .*n_components = 30, or give more"):
        build("BERNOULLI_MIXTURE", config, make_target(config))


def test_states_keep_their_number_on_the_way_there_and_back():
    states = bit_states(11)
    index = np.random.default_rng(0).integers(2**11, size=50).astype(np.int32)
    assert np.array_equal(np.asarray(states.index(states.event(index))), index)
    assert wide({"a": np.float32(1)})["a"].dtype == np.float64


def test_the_floors_of_a_file_are_those_of_strings_that_were_not_held_out(tmp_path):
    """What repeats its training strings is in the range: half of them were in other draws' held-out part."""
    rows = rows_of(np.random.default_rng(2).integers(64, size=1000), 6).astype(int)
    np.savetxt(tmp_path / "strings.csv", rows, fmt="%d", delimiter=",")
    config = config_of(target_type="BITS_CUSTOM", bits=dict(file=str(tmp_path / "strings.csv")), n_eval_samples=5000)
    target = make_target(config)
    judge = make_judge(target, config)
    closing = make_closing(target, config, judge)
    scores = closing.score(np.repeat(target.train_rows, 8, axis=0))
    for name, value in scores.items():
        assert value <= closing.floors[name].high * 1.2, name
    # The frequencies of 700 and of 300 uniform strings differ by so much: of means 2 σ, of the 6 the largest.
    assert closing.floors["mean_error"].mean > math.sqrt(1 / 700 + 1 / 300)


def test_rows_of_any_number_are_scored_in_parts():
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), rbm_params(5, 4))
    rows = jnp.asarray(rows_of(ALL, 5))
    whole = boltzmann_states.log_prob_binary(params, rows)
    np.testing.assert_allclose(boltzmann_states.log_prob_binary(params, rows[:7]), whole[:7], rtol=1e-6)


def test_total_variation_is_unknown_where_the_divergence_is():
    target, model, run = trained("VAE")
    coarse = model._replace(log_prob_error=lambda state, x: jnp.ones(len(x)), finer=None)
    scores = exact_scores(coarse, run.states[0], target)
    assert math.isnan(scores["kl_exact"])
    assert math.isnan(scores["tv_exact"])


@pytest.mark.parametrize(
    ("fields", "k", "persistent"),
    [(dict(target_type="BITS_BLOBS"), 5, True), (dict(target_type="1D_TRIMODAL"), 1, False),
     (dict(target_type="2D_RING"), 1, False)],
)  # fmt: skip
def test_a_machine_is_trained_as_its_units_need_unless_told_otherwise(fields, k, persistent):
    def shapes(**settings):
        own = MODELS["RBM"].Config(**settings)
        config = config_of(parameter_budget=60, rbm=own, **fields)
        target = make_target(config)
        model = MODELS["RBM"].build(config, target)
        state = model.init(jax.random.key(0), target.codec.encode(target.sample(jax.random.key(1), 40)))
        return len(model.noise(jax.random.key(2)).hidden), np.size(state.inner.chains) > 0

    assert shapes() == (k, persistent)
    assert shapes(algorithm="CD", k=3) == (3, False)
    assert shapes(algorithm="PCD", k=2) == (2, True)


def test_the_visible_biases_of_bits_begin_where_a_product_would():
    """Half a row more of either value keeps a bit that never changes from an infinite one."""
    config = config_of(target_type="BITS_BLOBS", parameter_budget=60)
    target = make_target(config)
    rows = jnp.asarray(np.array([[1, 0, 1, 0, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 1], [1, 0, 1, 0, 0]], np.float32))
    state = MODELS["RBM"].build(config, target).init(jax.random.key(0), rows)
    odds = np.array([4.5 / 0.5, 1.5 / 3.5, 3.5 / 1.5, 0.5 / 4.5, 1.0])
    np.testing.assert_allclose(state.inner.params.visible_bias, np.log(odds), rtol=1e-6)


def test_a_decoder_that_turns_sharply_has_its_probabilities_by_a_finer_grid():
    # One latent number: the finest grid of two takes a minute.
    target, model, run = trained("VAE", vae=vae.Config(latent_dim=1))
    params = run.states[0].average
    steep = jax.tree.map(lambda leaf: 20 * leaf, params.decoder)
    state = run.states[0].inner._replace(params=params._replace(decoder=steep))
    state = run.states[0]._replace(inner=state, packed_average=packing(params)[0](state.params))
    coarse = divergence(model._replace(finer=None), state, target)
    assert math.isnan(coarse.value)
    assert "too coarse" in coarse.word
    found, finest = divergence(model, state, target), model
    while finest.finer:
        finest = finest.finer()
    p, q = target.truth.p, log_q(finest, state, rows_of(ALL, 5, float), (32,))
    assert found.value == pytest.approx(p @ (target.truth.log_p - q), rel=2e-3)

"""Where the loss comes from, held against cases whose answer is known."""

import json
import math

import jax
import numpy as np
import pytest

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.asked.config import from_constants
from kinds.registry import kind_of
from models import MODELS, build, drawing
from models.base import weights_of, with_weights
from studies.decomposition import __main__ as study
from studies.decomposition import cases, chart, direct, measure, record, trainings
from targets import Modes, gaussian_mixture, make_target

N_SEEDS = 2


def configured(**constants):
    values = dict(vars(script)) | {"NUM_SEEDS": N_SEEDS, "HIDDEN_LAYERS": 1} | constants
    return from_constants(values)


def begun(family, config, target):
    model = build(family, config, target)
    _, states = trainings.started(model, target, config)
    return model, trainings.of_seeds(states, config.num_seeds)


def ended(family, config, target, monkeypatch, n_steps, rate=direct.RATE):
    """The exact divergence of every seed after the direct training."""
    monkeypatch.setattr(direct, "N_STEPS", n_steps)
    model, states = begun(family, config, target)
    found = direct.minimised(model, target, states, rate, 0)
    return [kind_of(target).divergence(model, state, target).value for state in found]


def gaussian(deviations):
    dim = len(deviations)
    modes = Modes(np.ones(1), np.zeros((1, dim)), np.diag(np.square(deviations))[None])
    return gaussian_mixture("one Gaussian", modes, np.array([[-6.0, 6.0]] * dim))


@pytest.mark.parametrize("family", ["RBM", "VAE", "GAN", "WGAN_GP"])
def test_bins_are_within_the_capacity_of_every_family(family, monkeypatch):
    # A softmax of its own biases is any distribution: the divergence of 0 is within reach.
    config = configured(NUM_BINS=4, PARAMETER_BUDGET=120)
    target = make_target(config)
    for value in ended(family, config, target, monkeypatch, 2_000):
        # A GAN's own divergence is an estimate with an error of √(2 KL/M), and a bias of 4/2M.
        assert value < (2e-5 if build(family, config, target).log_prob_kind == "estimate" else 1e-8)


@pytest.mark.parametrize(
    ("deviations", "latent_dim"),
    [((0.5,), 1), ((0.1,), 1), ((0.6, 0.12), 1)],
    ids=["wider than the decoder", "narrower", "one of each"],
)
def test_the_capacity_of_a_vae_is_that_of_probabilistic_pca(deviations, latent_dim, monkeypatch):
    # The decoder's variance is β/2. A mixture of such kernels has a coordinate of larger variance exactly, by a linear
    # decoder; of a narrower one the best is a single kernel, and the divergence that between two Gaussians.
    variance = 0.08 / 2
    config = configured(NUM_BINS=0, PARAMETER_BUDGET=60, VAE={"beta": 0.08, "latent_dim": latent_dim})
    ratios = [deviation**2 / variance for deviation in deviations if deviation**2 < variance]
    exact = sum((ratio - 1 - math.log(ratio)) / 2 for ratio in ratios)
    for value in ended("VAE", config, gaussian(deviations), monkeypatch, 3_000):
        assert value == pytest.approx(exact, abs=2e-3)
        assert value > exact - 1e-6


def test_an_rbm_that_holds_a_gaussian_finds_it_on_a_line(monkeypatch):
    config = configured(NUM_BINS=0, PARAMETER_BUDGET=8, RBM={"sigma": 0.4})
    assert max(ended("RBM", config, gaussian((0.7,)), monkeypatch, 2_000, 2e-2)) < 2e-4


def test_em_asks_for_the_divergence_itself(monkeypatch):
    """A mixture with as many components as the target: its capacity is 0, and its own loss has nothing else to add."""
    monkeypatch.setattr(direct, "N_STEPS", 500)
    monkeypatch.setattr(cases, "N_SEEDS", N_SEEDS)
    config = configured(TARGET_TYPE="1D_BIMODAL", NUM_BINS=0, GMM={"n_components": 2, "max_iter": 10})
    target = make_target(config)
    parts = {}
    score = measure.scorer(build("GMM", config, target), target, config)
    for name in measure.PARTS:
        parts[name] = measure._measured(name, config, "GMM", target, parts, score)
    # Five numbers fitted to n rows: 5/2n in expectation, that is 8e-5 of 32 768 rows and 8e-6 of ten times as many.
    assert parts["default"].scores.max() < 5e-4
    assert parts["far"].scores.max() < 5e-5
    assert np.all(parts["direct"].scores <= parts["far"].scores)


def test_a_bernoulli_mixture_learns_as_many_products_as_there_are(monkeypatch):
    config = configured(
        TARGET_TYPE="BITS_BARS_STRIPES", NUM_BINS=0, BITS={"height": 2, "width": 2}, PARAMETER_BUDGET=29
    )
    target = make_target(config)
    # Six patterns, and six components of four bits.
    assert build("BERNOULLI_MIXTURE", config, target).width == 6
    assert min(ended("BERNOULLI_MIXTURE", config, target, monkeypatch, 3_000, 5e-2)) < 1e-2


@pytest.mark.parametrize("name", ["GAN", "VAE", "RBM", "WGAN_GP", "BERNOULLI_MIXTURE"])
def test_probabilities_of_bits_are_those_of_the_model(name):
    config = configured(TARGET_TYPE="BITS_ISING", NUM_BINS=0, BITS={"height": 3, "width": 3}, PARAMETER_BUDGET=200)
    target = make_target(config)
    model, states = begun(name, config, target)
    states_of = target.event.law.states
    for x in (states_of.event(np.arange(512)), states_of.event(np.arange(3))):
        # Each probability is off by its few nodes, and right in the mean over where the key moves these.
        keys = jax.random.split(jax.random.key(3), 64)
        each = jax.vmap(lambda key, x=x: model.direct(weights_of(states[0]), x, key))(keys)
        found = jax.nn.logsumexp(each, axis=0) - math.log(len(keys))
        atol = 0.01 if model.log_prob_kind == "estimate" else 1e-3 if name == "VAE" else 1e-5
        np.testing.assert_allclose(found, model.log_prob(states[0], x), atol=atol)


@pytest.mark.parametrize(
    ("name", "deviations"), [("RBM", (0.5,)), ("RBM", (0.5, 0.7)), ("VAE", (0.5,)), ("GMM", (0.5,))]
)
def test_densities_are_those_of_the_model(name, deviations):
    config = configured(NUM_BINS=0, PARAMETER_BUDGET=60, TARGET_TYPE="1D_BIMODAL")
    target = gaussian(deviations)
    model, states = begun(name, config, target)
    x = np.asarray(target.codec.encode(target.sample(jax.random.key(1), 20)))
    found = model.direct(weights_of(states[0]), x, jax.random.key(3))
    np.testing.assert_allclose(found, model.log_prob(states[0], x), atol=2e-3)


def test_a_generator_without_a_density_comes_near_in_distance(monkeypatch):
    monkeypatch.setattr(direct, "N_STEPS", 1_000)
    config = configured(NUM_BINS=0, PARAMETER_BUDGET=120, TARGET_TYPE="1D_BIMODAL")
    target = make_target(config)
    model, states = begun("GAN", config, target)
    assert direct.by_distance(model)
    score = measure.scorer(model, target, config)
    found = direct.minimised(model, target, states, direct.RATE, 0)
    for before, after in zip(states, found, strict=True):
        assert score(model, after) < 0.1 * score(model, before)


def test_the_default_is_what_the_benchmark_trains():
    from benchmark.engine.preparation import prepare
    from benchmark.engine.records import Schedule
    from benchmark.engine.training import train

    config = configured(NUM_BINS=4, PARAMETER_BUDGET=60, N_STEPS=60)
    target = make_target(config)
    found = trainings.train("RBM", config, target, trainings.DEFAULT)
    judge = kind_of(target).judge(target, config)
    schedule = Schedule([60], config.num_seeds, config.seed)
    whole = train(
        prepare(build("RBM", config, target), trainings.feed_of(target, config.batch_size), judge.scorer, schedule)
    )
    for own, states in zip(found.states, whole.states, strict=True):
        jax.tree.map(np.testing.assert_array_equal, weights_of(own), weights_of(states))


def test_far_decays_every_learning_rate_to_nearly_zero():
    factors = trainings.factors(trainings.FAR)
    assert len(factors) == trainings.FAR.n_rates
    assert factors == sorted(factors, reverse=True)
    assert factors[0] > 0.99
    assert factors[-1] < 1e-3
    assert np.mean(factors) == pytest.approx(0.5)
    assert trainings.factors(trainings.DEFAULT) == [1.0]
    config = configured()
    target = make_target(config)
    for name in drawing("category"):
        model = build(name, config, target)
        if name in {family for case in cases.CASES for family in case.families} and model.max_steps is None:
            assert trainings.rates_of(model), name
    assert len(trainings.rates_of(build("GAN", config, target))) == 2


def test_weights_that_are_put_into_a_state_are_those_that_it_samples_with():
    config = configured(NUM_BINS=4, PARAMETER_BUDGET=60)
    target = make_target(config)
    _, states = begun("VAE", config, target)
    doubled = jax.tree.map(lambda leaf: 2 * leaf, weights_of(states[0]))
    state = with_weights(states[0], doubled)
    jax.tree.map(np.testing.assert_array_equal, weights_of(state), doubled)
    jax.tree.map(np.testing.assert_array_equal, state.params, doubled)


def entry(default, far, exact, unit="nats"):
    return {"n_params": 100, "unit": unit, "default": default, "far": far, "direct": exact, "seconds": {}}


def test_parts_are_differences_seed_by_seed():
    found = record.shares(entry([1.0, 2.0, 3.0, None], [0.5, 1.5, 1.0, 1.0], [0.25, 0.25, 0.5, 0.5]))
    assert found == record.Shares(0.375, 0.5, 1.25, 2.5)
    # Two seeds of four are lost: the median is one of them.
    assert record.shares(entry([1.0, 1.0, None, None], [1.0] * 4, [1.0] * 4)).total is None


@pytest.mark.parametrize(
    ("found", "cut"),
    [
        (record.Shares(1.0, 1.0, 2.0, 4.0), ([0.25, 0.25, 0.5], False)),
        (record.Shares(1.0, 3.0, -1.0, 4.0), ([0.25, 0.75, 0.0], True)),
        (record.Shares(4.0, 0.0, 0.0, 4.0), ([1.0, 0.0, 0.0], False)),
        (record.Shares(0.0, 1.0, 1.0, None), None),
    ],
)
def test_a_bar_is_cut_where_the_loss_comes_from(found, cut):
    assert chart.pieces(found) == cut


def test_what_is_there_is_not_measured_again(tmp_path, monkeypatch, capsys):
    asked = []
    part = measure.Part(np.array([0.5, np.nan]), np.zeros((2, 3)), 1.0)

    def measured(case, budget, family, folder):
        asked.append((case.name, budget, family))
        return measure.Found(300, "nats", dict.fromkeys(measure.PARTS, part))

    monkeypatch.setattr(study, "OUTPUT", tmp_path)
    monkeypatch.setattr(study, "measured", measured)
    study.main(["--targets", "BITS_ISING", "--models", "RBM"])
    study.main(["--targets", "BITS_ISING", "--models", "RBM", "VAE"])
    study.main(["--show"])
    assert [each[2] for each in asked] == ["RBM", "VAE"]
    assert "Ising 4 × 4 at K_c" in capsys.readouterr().out
    kept = json.loads((tmp_path / "decomposition.json").read_text())
    assert kept["Ising 4 × 4 at K_c"]["300"]["RBM"]["default"] == [0.5, None]
    assert (tmp_path / "loss_decomposition.png").exists()


def test_a_part_is_read_again_only_with_its_settings(tmp_path):
    part = measure.Part(np.array([0.5, 0.25]), np.zeros((2, 3), np.float32), 1.5)
    file = tmp_path / "runs" / "part.npz"
    measure._written(file, "these", part)
    read = measure._read(file, "these")
    np.testing.assert_array_equal(read.scores, part.scores)
    assert read.seconds == 1.5
    assert measure._read(file, "others") is None


def test_every_case_can_be_configured_and_sized():
    assert len({case.name for case in cases.CASES}) == len(cases.CASES)
    assert {"BITS_BARS_STRIPES", "BITS_CARDINALITY", "BITS_GAUSSIAN", "BITS_ISING", "BITS_LOGNORMAL"} <= {
        case.constants["TARGET_TYPE"] for case in cases.CASES
    }
    slugs = set()
    for case in cases.CASES:
        for budget in case.budgets:
            assert cases.configured(case, budget).num_seeds == cases.N_SEEDS >= 4
            slugs.add(cases.slug(case, budget))
        assert set(case.families) <= set(MODELS)
    assert len(slugs) == sum(len(case.budgets) for case in cases.CASES)

"""Learning rates that must blow up: every family stops where it does, and nothing hides it."""

import dataclasses
import itertools
import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_plotting
from conftest import NUMBERS, quick_first, quick_if
from pixel_targets import blobs
from test_plotting import collisions, opened, texts

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.asked.external import External
from benchmark.engine.intervals import advance
from benchmark.engine.preparation import step_arguments
from benchmark.engine.records import Cost, Evaluation, Feed, Run, data_key, streams
from benchmark.files import results
from benchmark.pictures import context, pictures
from benchmark.run import one_run
from benchmark.scoring import assessment
from benchmark.scoring.outcome import Outcome
from core import prng
from core.drawing import figures
from kinds.real import closing
from kinds.real.judging import make_judge
from models import MODELS, build
from targets import make_target

shown = test_plotting.shown
# Adam's first update is as large as its learning rate: near the end of float32's range the second step has nowhere to
# go. It is a setting that the command line takes.
RATE = 3e38


def with_rates(config, names, rate=RATE):
    """The configuration with every learning rate of these families replaced."""
    for name in names:
        settings = getattr(config, name.lower())
        rates = [field.name for field in dataclasses.fields(settings) if "learning_rate" in field.name]
        assert rates
        changed = dataclasses.replace(settings, **dict.fromkeys(rates, rate))
        config = dataclasses.replace(config, **{name.lower(): changed})
    return config


# What has no rate has no such way to blow up.
RATED = [name for name, family in MODELS.items() if hasattr(family.Config(), "learning_rate")]


@pytest.mark.parametrize(
    ("name", "num_bins"), [quick_first(name, values=(bins,)) for name, bins in zip(RATED, itertools.cycle((6, 0)))]
)
def test_every_family_stops_at_the_step_at_which_it_blows_up(name, num_bins, make_config):
    config = make_config(target_type="1D_BIMODAL", num_bins=num_bins, parameter_budget=60, hidden_layers=1)
    if name not in NUMBERS:
        config = dataclasses.replace(config, parameter_budget=1200)
    config = with_rates(config, [name])
    target = make_target(config) if name in NUMBERS else blobs()
    model = build(name, config, target)
    feed = Feed(lambda key, n: target.codec.encode(target.sample(key, n)), None, config.batch_size)
    rows = jax.jit(lambda keys: feed.rows_for_init(data_key(keys), None, model.n_data_rows))
    init = jax.jit(lambda keys: model.init(keys.key_init, rows(keys)))
    interval = jax.jit(lambda state, keys: advance(model, feed)(state, keys, None, 0, 6))

    @jax.jit
    def step(state, keys, i):
        key_batch, key_noise = (jax.random.fold_in(prng.unrolled(key), i) for key in (keys.key_data, keys.key_step))
        if model.batches_per_step is None:
            batch = rows(keys)
        else:
            batches = [feed.minibatch(jax.random.fold_in(key_batch, j), None) for j in range(model.batches_per_step)]
            batch = jnp.stack(batches) if len(batches) > 1 else batches[0]
        return model.step(state, batch, model.noise(key_noise))

    for seed in range(2):
        keys = jax.tree.map(lambda leaf, seed=seed: leaf[seed], streams(config.seed, 2))
        expected = init(keys)
        for i in range(6):
            expected, info = step(expected, keys, i)
            everything = jax.tree.leaves((info, expected.params, getattr(expected, "average", ())))
            if not all(np.isfinite(leaf).all() for leaf in everything):
                break
        else:
            pytest.fail("nothing has blown up")
        state, _, bad_step = interval(init(keys), keys)
        assert bad_step == i + 1
        # Another program: its sums may be taken in another order, of numbers up to the end of float32's range.
        for found, wanted in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


STEPS = (0, 4, 8)
EXTERNAL = "my-QCBM-300"


def hand_made(config, target, judge, at_steps):
    """A run of every family whose seeds are lost at the given steps; scores and samples are made up."""
    feed = Feed(lambda key, n: target.codec.encode(target.sample(key, n)), None, config.batch_size)
    rng = np.random.default_rng(0)
    good = np.asarray(target.as_compared(target.sample(jax.random.key(2), config.n_eval_samples)))
    runs = []
    for name, lost in zip(config.models, itertools.cycle(at_steps)):
        model = build(name, config, target)
        if model.max_steps == 0:
            # There is no step at which it could be lost.
            lost = [None] * len(lost)
        state = jax.device_get(jax.jit(model.init)(jax.random.key(0), feed.draw(jax.random.key(1), 64)))
        gone = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan) if leaf.dtype == np.float32 else leaf, state)
        fields = jax.eval_shape(model.step, *step_arguments(model, feed))[1]._fields
        evaluations = []
        for step in STEPS:
            is_lost = np.array([at is not None and at <= step for at in lost])
            # What is on its way to it has gone far.
            far = np.where([at is not None and step > 0 for at in lost], 1e25, 1.0)
            values = np.where(is_lost, np.nan, far * rng.uniform(0.1, 0.3, (2 + len(fields), len(lost))))
            samples = np.stack([np.full_like(good, np.nan) if each else good + 0.1 for each in is_lost])
            kept = np.stack([judge.scorer.kept(x) for x in samples])
            own = {"kld": np.minimum(values[0], 20), "wasserstein": values[1]}
            info = dict(zip(fields, values[2:].astype(np.float32), strict=True)) if step else None
            evaluations.append(Evaluation(step, own, info, kept, samples if step == STEPS[-1] else None))
        states = [gone if at is not None else state for at in lost]
        runs.append(Run(model, states, evaluations, list(lost), 2.0, 1.0, 0.0 if None not in lost else 0.5))
    return runs


# The middle seed is sound; it is lost on the way; none is left after the first step.
SOME = dict(target_type="1D_TRIMODAL", num_bins=6), [[None, 3, None, None], [5, None, 8, 6], [1, 1, 1, 1]]
ALL = dict(target_type="2D_GMM", num_bins=0), [[1, 1, 1, 1], [7, 7, 8, 5], [0, 0, 0, 0]]
# Those with pictures of their own that say it.
FEW = "GAN", "VAE", "RBM"


@pytest.mark.parametrize(
    ("fields", "at_steps", "names"),
    [
        quick_if(names is FEW, *case, names, id=f"{kind} of {len(names)}")
        for kind, case in (("some", SOME), ("all", ALL))
        for names in (FEW, tuple(NUMBERS))
    ],
)
def test_every_picture_says_what_has_diverged(fields, at_steps, names, make_config, tmp_path, shown):
    config = make_config(**fields, num_seeds=4, models=names, parameter_budget=120, hidden_layers=1)
    target = make_target(config)
    judge = make_judge(target, config)
    runs = hand_made(config, target, judge, at_steps)
    rows = np.asarray(target.as_compared(target.sample(jax.random.key(3), config.n_eval_samples)))
    entries = [External(EXTERNAL, 300, rows, None, len(rows))]
    assessments = assessment.assess(runs, entries, target, judge, {config.n_eval_samples: judge})
    costs = {run.model.name: results.cost_of(run, Cost(1e6, 16, 2**20), config.n_eval_samples) for run in runs}
    outcome = Outcome(config, target, judge, runs, assessments, costs)
    grid = outcome.kind.sensitivity(assessment.scored(assessments), config, target, judge)
    calls = [*pictures.drawings(tmp_path, outcome, grid), *pictures.closing_drawings(tmp_path, outcome)]
    said = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for call in calls:
            del shown[:]
            pictures.draw(call)
            said[call.function.split(".views.")[-1]] = " ".join(word for fig in shown for word in texts(fig)).replace(
                "\n", " "
            )
            assert [found for fig in shown for found in collisions(fig)] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(pictures.names(config, runs, outcome.kind))
    for path in tmp_path.glob("*.png"):
        opened(path)
    for run in runs:
        lost = run.diverged_at_step
        n_lost, n = sum(at is not None for at in lost), len(lost)
        for function in ("plotting.metrics_comparison", "costs.cost_quality", "sensitivity.kld_sensitivity"):
            assert (f"{run.model.name} ({n_lost} of {n} seeds diverged)" in said[function]) == bool(n_lost)
        middle = lost[context.median_seed(run, "kld")]
        if middle is not None:
            assert f"diverged at step {middle}" in said["plotting.timeline"]
    own = ("latent_pictures.latent_sweep", "family_pictures.discriminator", "family_pictures.energy_landscape")
    for function in own:
        words = said[function]
        (run,) = [run for run in runs if f"{run.model.name} · {target.name}" in words]
        middle = run.diverged_at_step[context.median_seed(run, "kld")]
        assert (f"diverged at step {middle}" in words) == (middle is not None)
        assert (f" {figures.DIVERGED} " in f" {words} ".replace("diverged at", "")) == (middle is not None)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Runs the script with one small family that blows up; returns its exit code and its folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(closing, "N_HOST_DRAWS", 3)
    name = RATED[0]
    always = (
        "--n-steps 20 --n-evaluations 4 --snapshot-percent 50 --num-seeds 2 --n-eval-samples 100 --batch-size 16 "
        f"--parameter-budget 60 --num-bins 4 --models {name} --{name.lower()}.learning-rate {RATE} --out-dir "
    )

    def run(*words, out_dir="out"):
        return script.main([*(always + out_dir).split(), *words])

    return name, run


def test_a_family_that_is_lost_leaves_whole_results_and_with_strict_an_error(small, tmp_path, capfd):
    name, run = small
    assert run("--strict") == 1
    said = capfd.readouterr()
    assert said.err == f"warning: {name}: all 2 seeds have diverged (seeds 0, 1 at step 2)\n"
    assert "0 of 2 seeds; 2 diverged at step 2, 2" in said.out
    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert set(report["files"]) == {path.name for path in (tmp_path / "out").iterdir()}
    model = report["models"][name]
    assert model["diverged_at_step"] == [2, 2]
    n_later = len(model["history"]["step"]) - 1
    assert n_later >= 4
    assert [[value is None for value in seed] for seed in model["history"]["kld"]] == [[False, *[True] * n_later]] * 2
    assert model["history"]["loss"] == [[None] * (n_later + 1)] * 2
    assert model["final"]
    for summary in model["final"].values():
        assert summary in (None, {"median": None, "low": None, "high": None, "seeds": [None, None]})
    assert model["seed_steps_per_second"] == pytest.approx(4 / model["train_seconds"])
    assert model["samples_per_second"] is None
    with np.load(tmp_path / "out" / "samples.npz") as samples:
        assert samples[name].shape == (2, 100, 1)
        assert np.isnan(samples[name]).all()
    with np.load(tmp_path / "out" / "parameters.npz") as parameters:
        assert len(parameters.files) > 1


@pytest.mark.parametrize(
    ("at_steps", "said", "strict"),
    [
        ([None, 7, None, 1500, 7], "3 of 5 seeds have diverged (seeds 1, 4 at step 7; seed 3 at step 1 500)", 0),
        ([None, 7], "1 of 2 seeds has diverged (seed 1 at step 7)", 0),
        ([7, 7], "all 2 seeds have diverged (seeds 0, 1 at step 7)", 1),
        ([0], "its only seed has diverged (seed 0 at step 0)", 1),
    ],
)
def test_what_is_lost_is_a_warning(small, capfd, monkeypatch, at_steps, said, strict):
    name, run = small
    report = {"models": {"OTHER": {"diverged_at_step": [None]}, name: {"diverged_at_step": at_steps}}}
    monkeypatch.setattr(one_run, "execute", lambda *args, **more: report)
    assert run() == 0
    assert capfd.readouterr().err == f"warning: {name}: {said}\n"
    assert run("--strict") == strict
    assert capfd.readouterr().err == f"warning: {name}: {said}\n"


def test_without_a_family_nothing_is_lost(small, capfd, monkeypatch):
    _, run = small
    monkeypatch.setattr(one_run, "execute", lambda *args, **more: {"models": {}})
    assert run("--strict") == 0
    assert capfd.readouterr().err == ""

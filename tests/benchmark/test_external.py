"""What comes from elsewhere: read like a user's table, scored like a family."""

import dataclasses
import re

import jax
import numpy as np
import pytest
import scipy.stats

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.asked import external
from benchmark.asked.command_line import parse
from benchmark.asked.config import from_constants
from benchmark.scoring import assessment
from benchmark.scoring.closing import close
from benchmark.scoring.outcome import Outcome
from core.errors import UserError
from kinds.real.judging import make_judge
from targets import make_target

CONSTANTS = {name: value for name, value in vars(script).items() if name.isupper()}


def draw(target, n, key=0):
    return np.asarray(target.sample(jax.random.key(key), n))


@pytest.fixture
def load(make_config, tmp_path):
    def load(rows, suffix=".npy", **fields):
        file = tmp_path / f"rows{suffix}"
        np.save(file, rows) if suffix == ".npy" else np.savetxt(file, rows, delimiter=",")
        kind = fields.pop("kind", "external_samples")
        config = make_config(**fields, **{kind: (("QCBM", str(file), 120),)})
        target = make_target(config)
        return config, target, external.load(config, target)[0]

    return load


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_fewer_rows_than_asked_for_are_all_taken_in_any_order(load, suffix):
    rows = np.linspace(-2, 2, 50)
    _, _, entry = load(rows, suffix, target_type="1D_TRIMODAL", num_bins=0)
    assert (entry.name, entry.n_params, entry.n_in_file) == ("QCBM", 120, 50)
    np.testing.assert_allclose(np.sort(entry.rows[:, 0]), rows, rtol=1e-6)
    # Metrics that look at the first rows alone must not see the smallest.
    assert np.any(np.diff(entry.rows[:, 0]) < 0)


def test_of_more_rows_as_many_are_drawn_as_the_seed_says(load):
    rows = np.linspace(-2, 2, 1000)
    fields = dict(target_type="1D_TRIMODAL", num_bins=0)
    entries = [load(rows, seed=seed, **fields)[2] for seed in (1, 1, 2)]
    assert all(entry.rows.shape == (64, 1) for entry in entries)
    np.testing.assert_array_equal(entries[0].rows, entries[1].rows)
    assert np.any(entries[0].rows != entries[2].rows)
    # Of a sorted file the first 64 would all lie below −1.7.
    assert len(np.unique(entries[0].rows)) == 64
    assert np.isin(entries[0].rows[:, 0], rows.astype(np.float32)).all()
    assert scipy.stats.kstest(entries[0].rows[:, 0], scipy.stats.uniform(-2, 4).cdf).pvalue > 1e-4


def test_with_bins_rows_are_compared_as_binned(load):
    _, target, entry = load(np.linspace(-3, 3, 60), target_type="1D_TRIMODAL", num_bins=6)
    edges = np.linspace(*target.truth.box[0], 7)
    centres = (edges[1:] + edges[:-1]) / 2
    np.testing.assert_allclose(np.unique(entry.rows), centres, rtol=1e-5)


def test_rows_outside_the_box_are_counted(load):
    _, target, entry = load(np.r_[np.zeros(30), np.full(10, 50.0)], target_type="1D_TRIMODAL", num_bins=0)
    assert entry.outside == 0.25
    assert target.truth.box[0, 1] < 50


@pytest.mark.parametrize(
    ("rows", "fields", "message"),
    [
        (np.zeros((30, 2)), {}, "has 2 columns, but 1D_TRIMODAL has 1"),
        (np.zeros(30), dict(target_type="2D_GMM", num_bins=0), "has 1 columns, but 2D_GMM has 2"),
        (np.zeros(19), {}, "has 19 rows: at least 20"),
        (np.full(30, np.nan), {}, "row 1 holds [nan]"),
        (np.full(30, 1e30), {}, "beyond float32's reach"),
        (np.full(20, 0.1), dict(kind="external_probabilities", num_bins=20), "sum to 2, not 1"),
        (
            np.full(19, 1 / 19),
            dict(kind="external_probabilities", num_bins=20),
            "19 numbers in 19 rows: it needs NUM_BINS = 20",
        ),
        (np.r_[1.5, -0.5, np.zeros(18)], dict(kind="external_probabilities", num_bins=20), "entry 2 is -0.5"),
    ],
)
def test_what_cannot_be_scored_is_named(load, rows, fields, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        load(rows, **fields)
    assert "\n" not in str(error.value)
    assert "QCBM" in str(error.value)


def test_a_missing_file_fails_as_a_table_does(make_config):
    config = make_config(external_samples=(("QCBM", "no.npy", None),))
    with pytest.raises(UserError, match=r"EXTERNAL_SAMPLES\['QCBM'\] 'no.npy' is not a file"):
        external.load(config, make_target(config))


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"EXTERNAL_SAMPLES": {"GAN": ("a.npy", 1)}}, "'GAN' is taken"),
        ({"EXTERNAL_SAMPLES": {"A": ("a.npy", 1)}, "EXTERNAL_PROBABILITIES": {"A": ("b.npy", 1)}}, "'A' is taken"),
        ({"EXTERNAL_SAMPLES": {"a/b": ("a.npy", 1)}}, "without a slash"),
        ({"EXTERNAL_SAMPLES": {"": ("a.npy", 1)}}, "must be a word"),
        ({"EXTERNAL_SAMPLES": {"two\nlines": ("a.npy", 1)}}, "must be a word"),
        ({"EXTERNAL_SAMPLES": {"file": ("a.npy", 1)}}, "'file' is taken"),
        ({"N_EVAL_SAMPLES": 19}, "N_EVAL_SAMPLES = 19 must be at least 20"),
        ({"EXTERNAL_SAMPLES": {"A": ("a.npy", -1)}}, "parameters = -1 must be at least 0"),
        ({"EXTERNAL_SAMPLES": {"A": ("a.npy", 10**15 + 1)}}, "parameters = 1000000000000001 must be at least 0 and at"),
        ({"EXTERNAL_SAMPLES": {"A": ("a.npy", 10**5000)}}, "parameters = a number of thousands of digits must be at"),
        ({"EXTERNAL_SAMPLES": {"A": ("a.npy", 1.5)}}, "parameters = 1.5 must be a whole number"),
        ({"EXTERNAL_SAMPLES": {"A": "a.npy"}}, "must be a dict of"),
        ({"EXTERNAL_SAMPLES": ["a.npy"]}, "must be a dict of"),
        ({"EXTERNAL_SAMPLES": {"A": (3, 1)}}, "must be a path in quotes"),
        ({"EXTERNAL_PROBABILITIES": {"A": ("a.npy", 1)}, "NUM_BINS": 0}, "set NUM_BINS"),
        ({"MODELS": ()}, "must name at least one family"),
    ],
)
def test_entries_that_mean_nothing_are_refused(constants, message):
    with pytest.raises(UserError, match=re.escape(message)):
        from_constants({**CONSTANTS, **constants})


def test_entries_come_from_constants_or_the_command_line():
    config = from_constants({**CONSTANTS, "EXTERNAL_SAMPLES": {"A": ("a.npy", 3), "B": ("b.csv", None)}, "MODELS": ()})
    assert config.external_samples == (("A", "a.npy", 3), ("B", "b.csv", None))
    assert config.models == ()
    constants = {**CONSTANTS, "EXTERNAL_SAMPLES": {"A": ("a.npy", 3)}}
    parsed = parse(constants, ["--external-samples", "C", "c.npy", "7", "D", "d.npy", "None"], "")
    assert parsed.external_samples == (("C", "c.npy", 7), ("D", "d.npy", None))


def assessed(config, target, rows=None, masses=None):
    judge = make_judge(target, config)
    entries = [external.External("QCBM", 1, rows, masses, 0)]
    judges = assessment.judges_of(entries, config, target, judge)
    first = assessment.assess([], entries, target, judge, judges)
    outcome = close(Outcome(config, target, judge, [], first, {}), judges)
    (closed,) = outcome.assessments
    return judge, outcome.closing, closed


def test_samples_of_the_target_score_as_its_floor(make_config):
    config = make_config(target_type="2D_GMM", num_bins=0, n_eval_samples=300)
    target = make_target(config)
    judge, closing, entry = assessed(config, target, rows=draw(target, 300))
    for name, floor in {**judge.floors, **closing.floors}.items():
        # Eight scores against ranges of their own: each lies within twice the distance from mean to end.
        (value,) = entry.scores[name]
        assert (
            floor.mean - 2 * (floor.mean - floor.low) - 1e-9
            <= value
            <= floor.mean + 2 * (floor.high - floor.mean) + 1e-9
        )
    assert entry.scores["kl_exact"] is None
    assert entry.floors == {**judge.floors, **closing.floors}


def test_a_smaller_sample_has_a_floor_at_its_own_size(make_config):
    config = make_config(target_type="1D_TRIMODAL", num_bins=10, n_eval_samples=400)
    target = make_target(config)
    rows = np.asarray(target.as_compared(draw(target, 50)))
    judge, _, entry = assessed(config, target, rows=rows)
    own = make_judge(target, dataclasses.replace(config, n_eval_samples=50))
    assert entry.n_samples == 50
    assert entry.floors["kld"] == own.floors["kld"]
    assert entry.floors["kld"].mean > 4 * judge.floors["kld"].mean
    assert entry.scores["kld"] == [own.scorer.score(rows)["kld"]]


def test_probabilities_are_scored_exactly(make_config):
    config = make_config(target_type="1D_BETA", num_bins=4)
    target = make_target(config)
    law = scipy.stats.beta(2, 5)
    p = np.diff(law.cdf(np.linspace(0, 1, 5)))
    _, _, same = assessed(config, target, masses=p)
    assert same.scores["kl_exact"][0] == pytest.approx(0, abs=1e-12)
    assert same.scores["wasserstein"][0] == pytest.approx(0, abs=1e-12)
    # A tenth of the first cell's mass moved two cells of width 5/4 further.
    q = p - [p[0] / 10, 0, -p[0] / 10, 0]
    _, _, moved = assessed(config, target, masses=q)
    assert moved.scores["wasserstein"][0] == pytest.approx(p[0] / 10 * 2.5)
    assert moved.scores["kl_exact"][0] == pytest.approx(scipy.stats.entropy(p, q))
    _, _, empty = assessed(config, target, masses=np.array([0.5, 0.5, 0, 0]))
    assert empty.scores["kl_exact"] == [np.inf]
    assert moved.samples is None
    assert tuple(moved.floors["kl_exact"]) == (0, 0, 0)

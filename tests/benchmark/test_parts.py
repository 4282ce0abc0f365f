"""Runs whose seeds several processes train: what they leave becomes the run that one process would have written."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from benchmark.engine import records
from benchmark.files import results
from benchmark.run import checks, one_run, parts

N_SEEDS = 3


@pytest.fixture
def job(make_config, tmp_path):
    config = make_config(
        models=("VAE", "RBM"),
        n_samples_train=40,
        num_bins=4,
        num_seeds=N_SEEDS,
        parameter_budget=60,
        hidden_layers=1,
        out_dir=str(tmp_path),
    )
    # States that hold more than weights, and rows that travel into the training.
    config = dataclasses.replace(config, rbm=dataclasses.replace(config.rbm, algorithm="PCD"))
    return checks.check(config)


def train(job, folder, *ranges):
    """One process a range."""
    for seeds in ranges:
        runs, costs = one_run.train_seeds(job, seeds, folder)
        parts.write(folder, job.config, seeds, runs, costs, seconds=1.5)


def execute(job, folder, trained=None):
    folder.mkdir(exist_ok=True)
    one_run.execute(job, folder, one_run.Started.now([]), with_pictures=False, trained=trained)
    arrays = {}
    for name in (results.SAMPLES_FILE, results.PARAMETERS_FILE):
        with np.load(folder / name) as file:
            arrays |= {f"{name}/{key}": file[key] for key in file}
    return arrays, json.loads((folder / results.METRICS_FILE).read_text()), (folder / results.CSV_FILE).read_bytes()


def test_parts_become_the_run_that_one_process_writes(job, tmp_path):
    alone = execute(job, tmp_path / "alone")
    # Not in order, and seed 1 twice.
    train(job, tmp_path, range(1, 3), range(0, 2))
    assert parts.seeds_in(tmp_path, job.config) == {0, 1, 2}
    trained = parts.join(tmp_path, job)
    together = execute(job, tmp_path / "together", trained)
    assert set(alone[0]) == set(together[0])
    for name, array in alone[0].items():
        assert array.dtype == together[0][name].dtype
        np.testing.assert_array_equal(array, together[0][name], err_msg=name)
    assert alone[2] == together[2]
    for name in job.config.models:
        models = [report["models"][name] for report in (alone[1], together[1])]
        for entry in ("history", "final", "diverged_at_step", "log_likelihood", "memorisation", "n_params",
                      "operations_per_step", "rows_per_step"):  # fmt: skip
            assert models[0][entry] == models[1][entry]
        assert models[1]["train_seconds"] > 0
    assert trained.seconds == 3.0
    assert together[1]["provenance"]["seconds"] > 3.0
    # A state is a state again: what a family's own pictures are drawn from.
    assert type(trained.runs[0].states[2]) is type(trained.runs[1].states[0])
    assert len(trained.runs[0].states) == N_SEEDS
    parts.remove(tmp_path)
    assert not parts.seeds_in(tmp_path, job.config)


def test_what_a_seed_was_lost_to_is_joined_as_well(job, tmp_path):
    """Divergence and kept samples are per seed; made up here, as training so small does not diverge."""
    runs, costs = one_run.train_seeds(job, range(0, 3), tmp_path)
    lost = [run._replace(diverged_at_step=[None, 5, 8]) for run in runs]
    cut = [_some(run, slice(0, 1)) for run in lost], [_some(run, slice(1, 3)) for run in lost]
    parts.write(tmp_path, job.config, range(0, 1), cut[0], costs, 0.0)
    parts.write(tmp_path, job.config, range(1, 3), cut[1], costs, 0.0)
    joined = parts.join(tmp_path, job).runs
    for run, original in zip(joined, lost, strict=True):
        assert run.diverged_at_step == [None, 5, 8]
        for one, other in zip(run.evaluations, original.evaluations, strict=True):
            assert one.step == other.step
            np.testing.assert_equal(one.kept, other.kept)
            np.testing.assert_equal(one.samples, other.samples)
            assert (one.info is None) == (other.info is None)
            for name, values in other.metrics.items():
                np.testing.assert_array_equal(one.metrics[name], values)
            for name, values in (other.info or {}).items():
                np.testing.assert_array_equal(one.info[name], values)


def _some(run, seeds):
    def of(values):
        return None if values is None else {name: value[seeds] for name, value in values.items()}

    def rows(array):
        return None if array is None else array[seeds]

    evaluations = [
        records.Evaluation(e.step, of(e.metrics), of(e.info), rows(e.kept), rows(e.samples)) for e in run.evaluations
    ]
    return run._replace(states=run.states[seeds], evaluations=evaluations, diverged_at_step=run.diverged_at_step[seeds])


def test_parts_of_another_form_are_none(job, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(parts, "SCHEMA", parts.SCHEMA - 1)
        train(job, tmp_path, range(0, 1))
        assert parts.seeds_in(tmp_path, job.config) == {0}
    assert not parts.seeds_in(tmp_path, job.config)


def test_parts_of_another_configuration_and_broken_ones_are_none(job, tmp_path):
    train(job, tmp_path, range(0, 1))
    assert parts.seeds_in(tmp_path, job.config) == {0}
    # Where results are written is no part of what they are; what is trained is.
    assert parts.seeds_in(tmp_path, dataclasses.replace(job.config, out_dir="elsewhere")) == {0}
    assert not parts.seeds_in(tmp_path, dataclasses.replace(job.config, seed=7))
    (tmp_path / "seeds-1-1.npz").write_bytes((tmp_path / "seeds-0-0.npz").read_bytes()[:-100])
    (tmp_path / "seeds-2-2.npz").write_bytes(b"")
    assert parts.seeds_in(tmp_path, job.config) == {0}
    with pytest.raises(ValueError, match="no part with seed 1"):
        parts.join(tmp_path, job)
    assert not parts.seeds_in(tmp_path / "nowhere", job.config)


def test_one_process_alone_may_put_a_run_together(tmp_path):
    with parts.claimed(tmp_path, "12") as mine:
        assert mine
        with parts.claimed(tmp_path, "13") as other:
            assert not other
        # Slurm starts a preempted task again under its number.
        with parts.claimed(tmp_path, "12") as again:
            assert again
    assert not list(Path(tmp_path).iterdir())
    with pytest.raises(OSError), parts.claimed(tmp_path, "12"):
        raise OSError
    with parts.claimed(tmp_path, "13") as mine:
        assert mine

"""What docs/reproducibility.md promises and no other test holds: what no bit depends on, and how far another processor
may be off."""

import json
import os
import platform
import re
import subprocess
import sys

import numpy as np
import pytest
import reference
from report_schema import checked

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.asked import command_line
from benchmark.files import results
from benchmark.run import checks, one_run, replay
from kinds.real import closing
from models import latent_density

# One worker has what all are compared with.
pytestmark = pytest.mark.xdist_group("reproducibility")

SMALL = (
    "--target-type 1D_BETA --num-bins 6 --n-steps 20 --n-evaluations 4 --snapshot-percent 50 --num-seeds 2 "
    "--n-eval-samples 300 --batch-size 16 --parameter-budget 100 --hidden-layers 1 --models RBM"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the runs of this file are, with samples from elsewhere."""
    place = tmp_path_factory.mktemp("runs")
    np.save(place / "qcbm.npy", np.random.default_rng(0).normal(size=(80, 1)))
    return place


@pytest.fixture
def _rough(monkeypatch):
    """Fewer nodes and draws behind what is the same with any number of them."""
    monkeypatch.setattr(latent_density, "_Z_SPACING", (0.25, 0.25))
    monkeypatch.setattr(closing, "N_HOST_DRAWS", 3)


@pytest.fixture
def run(folder, monkeypatch):
    """Runs the benchmark once for each command, without pictures: its report, samples and parameters."""
    monkeypatch.chdir(folder)

    def call(more="", name="base"):
        place = folder / name
        if not place.exists():
            place.mkdir()
            words = [*SMALL.split(), *more.split(), "--out-dir", name]
            job = checks.check(command_line.parse(vars(script), words, ""))
            one_run.execute(job, place, one_run.Started.now(words), with_pictures=False)
        arrays = []
        for file in (results.SAMPLES_FILE, results.PARAMETERS_FILE):
            with np.load(place / file) as content:
                arrays.append(dict(content))
        return checked(place), *arrays

    return call


def assert_same_bits(one, other):
    assert (one.shape, one.dtype, one.tobytes()) == (other.shape, other.dtype, other.tobytes())


@pytest.mark.usefixtures("_rough")
def test_a_family_s_seed_depends_neither_on_other_seeds_families_and_entries_nor_on_what_is_shown(run):
    one, samples, parameters = run()
    more = "--models VAE RBM --num-seeds 3 --snapshot-percent 25 --external-samples QCBM qcbm.npy 3"
    other, more_samples, more_parameters = run(more, "more")
    assert [one[part] for part in ("floor", "target")] == [other[part] for part in ("floor", "target")]
    a, b = one["models"]["RBM"], other["models"]["RBM"]
    assert [a[name] for name in ("n_params", "width")] == [b[name] for name in ("n_params", "width")]
    # Every snapshot has a score, and means of losses are over the steps since the one before.
    steps = [each["history"].pop("step") for each in (a, b)]
    assert steps == [[0, 2, 4, 9, 10, 20], [0, 2, 4, 5, 9, 10, 15, 20]]
    both = [[each.index(step) for each in steps] for step in steps[0]]
    same_interval = [i for i, j in both if not i or steps[1][j - 1] == steps[0][i - 1]]
    assert same_interval == [0, 1, 2, 4]
    for name, series in a["history"].items():
        for one_seed, other_seed in zip(series, b["history"][name], strict=False):
            shared = {i: (one_seed[i], other_seed[j]) for i, j in both}
            shown = shared if name in one["floor"] else same_interval
            assert all(np.array_equal(*map(np.array, shared[i])) for i in shown), name
    for name, summary in a["final"].items():
        assert (summary and summary["seeds"]) == (b["final"][name] and b["final"][name]["seeds"][:2]), name
    assert_same_bits(samples["target"], more_samples["target"])
    assert_same_bits(samples["RBM"], more_samples["RBM"][:2])
    for name, array in parameters.items():
        assert_same_bits(array, more_parameters[name][:2])
    assert any("weights" in name for name in parameters)


@pytest.mark.usefixtures("_rough")
def test_what_is_trained_does_not_depend_on_how_it_is_scored(run):
    one, _, parameters = run()
    other, _, other_parameters = run("--n-eval-samples 200 --decode soft --kld-epsilon 1e-6 --kld-cells 3", "scored")
    assert set(parameters) == set(other_parameters)
    for name, array in parameters.items():
        assert_same_bits(array, other_parameters[name])
    histories = [report["models"]["RBM"]["history"] for report in (one, other)]
    scores = [[history.pop(name) for name in ("kld", "wasserstein")] for history in histories]
    assert histories[0] == histories[1]
    # The scores do, or nothing has been shown.
    assert scores[0] != scores[1]


@pytest.mark.slow
@pytest.mark.shipped_compilation
def test_another_processor_comes_as_near_as_is_promised(run, folder):
    """Another set of instructions stands in for it: shorter vectors, without fused multiply-adds."""
    one, _, parameters = run("--target-type 1D_BIMODAL --num-bins 0", "continuous")
    is_x86 = platform.machine() in ("x86_64", "AMD64")
    flag = "--xla_cpu_max_isa=SSE4_2" if is_x86 else "--xla_backend_optimization_level=1"
    command = [sys.executable, script.__file__, "--replay", "continuous/metrics.json", "--out-dir", "other"]
    done = subprocess.run(command, cwd=folder, env={**os.environ, "XLA_FLAGS": flag}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert re.search(f"^environment.variables.XLA_FLAGS .* {flag}$", done.stdout, re.MULTILINE)
    other = checked(folder / "other")
    found = json.loads((folder / "other" / replay.FILE).read_text())["differences"]
    largest = {each["where"]: each["largest"] for each in found}
    for where, difference in largest.items():
        assert not where.startswith("target.") or difference < 1e-12, where
        assert not where.startswith("floor.") or difference < 1e-5, where
    # Of the drawn samples some have another last bit, or it is not another processor.
    assert 0 < largest["samples.npz: target"] < 1e-5
    assert not {f"models.RBM.{size}" for size in ("n_params", "width", "history.step")} & set(largest)
    for name in ("loss", "reconstruction_error"):
        series = [np.array(report["models"]["RBM"]["history"][name])[:, 1:] for report in (one, other)]
        assert_near(*map(np.float64, series))
    with np.load(folder / "other" / results.PARAMETERS_FILE) as file:
        for name, array in parameters.items():
            assert_near(array, file[name])


def test_another_version_comes_as_near_as_is_promised(folder, monkeypatch):
    """Of Python, JAX or another library: the committed numbers are those of the version that they name."""
    monkeypatch.chdir(folder)
    place = folder / "versions"
    place.mkdir()
    words = [*reference.WORDS, "--out-dir", "versions"]
    job = checks.check(command_line.parse(vars(script), words, ""))
    one_run.execute(job, place, one_run.Started.now(words), with_pictures=False)
    found, expected = reference.numbers(place), json.loads(reference.FILE.read_text())
    assert set(found["target"]) == set(expected["target"])
    for name, value in expected["target"].items():
        if isinstance(value, str | None):
            assert found["target"][name] == value, name
        else:
            np.testing.assert_allclose(found["target"][name], value, rtol=1e-12, err_msg=name)
    for metric, floor in expected["floor"].items():
        for name, value in floor.items():
            assert found["floor"][metric][name] == pytest.approx(value, rel=1e-5), (metric, name)
    for part in ("losses", "weights"):
        assert set(found[part]) == set(expected[part])
        for name, values in expected[part].items():
            # Losses have no value at step 0.
            one, other = (np.array(series, float)[:, part == "losses" :] for series in (values, found[part][name]))
            assert_near(one, other)


def assert_near(one, other):
    assert np.abs(one - other).max() <= 1e-4 * np.abs(one).max()

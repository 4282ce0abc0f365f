"""What breaks silently when modules move: the files that a run is made of, and the places where it looks for others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_launcher import order_of, programs  # noqa: F401

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.files import identity, results
from benchmark.run import replay
from benchmark.sweeps import launcher
from core import places, surroundings

ROOT = Path(script.__file__).resolve().parent
QUICK = "--n-steps 4 --n-evaluations 2 --snapshot-percent 50 --num-seeds 1 --n-eval-samples 40 --models HISTOGRAM"


def test_the_root_is_the_folder_of_the_script():
    assert ROOT == places.ROOT
    assert all(path.is_file() for path in (places.SCRIPT, places.SCHEMA, places.REQUIREMENTS))


def test_all_that_a_run_imports_is_part_of_the_program(tmp_path):
    code = (
        "import sys, generative_models_GAN_VAE_RBM_benchmarks as script\n"
        "script.main(sys.argv[1:])\n"
        "print(*(m.__file__ for m in list(sys.modules.values()) if getattr(m, '__file__', None)), sep='\\n')"
    )
    command = [sys.executable, "-c", code, *QUICK.split(), "--out-dir", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {Path(line) for line in done.stdout.splitlines() if line.startswith(f"{ROOT}{os.sep}")}
    ours = {path for path in loaded if not path.relative_to(ROOT).parts[0].startswith(".")}
    assert len(ours) > 30
    assert ours - set(places.program()) == {places.SCRIPT}


def test_every_module_but_tests_and_studies_is_part_of_the_program():
    # Beside a document lies the script that made its example.
    outside = {"tests", "studies", "docs"}
    every = {path for path in ROOT.rglob("*.py") if not path.relative_to(ROOT).parts[0].startswith(".")}
    assert set(places.program()) == {
        path for path in every if path.relative_to(ROOT).parts[0] not in outside and path != places.SCRIPT
    }


@pytest.mark.parametrize("changed", [0, -1])
def test_progress_knows_whether_a_file_of_the_program_has_changed(tmp_path, monkeypatch, changed):
    files = places.program()
    monkeypatch.setattr(places, "ROOT", tmp_path)
    monkeypatch.setattr(places, "program", lambda: [tmp_path / path.name for path in (files[0], files[-1])])
    digests = []
    for text in ("", "1"):
        for path in places.program():
            path.write_text("")
        places.program()[changed].write_text(text)
        digests.append(identity.program.__wrapped__())
    assert digests[0] != digests[1]


def test_a_checkout_is_known_by_its_commit():
    def git(*words):
        return subprocess.run(("git", "-C", str(ROOT), *words), capture_output=True, text=True).stdout.strip()

    if git("rev-parse", "--show-toplevel") != str(ROOT):
        pytest.skip("not a checkout")
    assert results.provenance([], "out", "", {})["git"] == git("rev-parse", "HEAD")


def test_tasks_of_a_cluster_find_the_program_from_anywhere(programs, here, monkeypatch):  # noqa: F811
    submitit = pytest.importorskip("submitit")
    job, asked = type("Job", (), {"job_id": "9_0"}), {}
    monkeypatch.setattr(submitit.SlurmExecutor, "map_array", lambda self, work, tasks: [job] * len(tasks))
    monkeypatch.setattr(
        submitit.SlurmExecutor, "update_parameters", lambda self, **parameters: asked.update(parameters)
    )
    launcher.submit(order_of())
    (export,) = asked["setup"]
    module = launcher.submit.__module__
    command = f"{export}; exec {sys.executable} -P -c 'import {script.__name__}, {module}; print({module}.__file__)'"
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(["sh", "-c", command], cwd=here, env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == launcher.__file__


def test_a_replay_finds_the_schema():
    assert replay.validator().is_valid({}) is False


def test_what_is_missing_is_named_from_the_requirements(monkeypatch):
    monkeypatch.setattr(surroundings.importlib.util, "find_spec", lambda name: None)
    assert "does not have what it needs" in surroundings._missing()

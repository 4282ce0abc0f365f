"""Sweeps on a real Slurm of one node: what a job array leaves is what one process would have written."""

import contextlib
import json
import os
import re
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import slurm_cluster
from report_schema import checked

import generative_models_GAN_VAE_RBM_benchmarks as script

SMALL = (
    "--models RBM --num-bins 4 --n-steps 8 --n-evaluations 2 --snapshot-percent 50 --num-seeds 2 --n-eval-samples 64 "
    "--batch-size 16 --parameter-budget 60 --no-sweep-pictures"
)
TINY = SMALL.split()
ON_SLURM = ["--launcher", "slurm", "--slurm.cpus", "2", "--slurm.mem-gb", "0", "--slurm.time-minutes", "5"]
TIMEOUT_SECONDS = 180.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("slurm"),
    pytest.mark.skipif(bool(slurm_cluster.missing()), reason=slurm_cluster.missing() or "there is Slurm"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    # Compiled as `local` is. And submitit, where it configures Python's logging, would close pytest's own.
    more = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "SUBMITIT_LOG_LEVEL": "NOCONFIG"}
    with slurm_cluster.running(tmp_path_factory.mktemp("cluster")) as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in {**variables, **more}.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """What one process writes."""
    folder = tmp_path_factory.mktemp("local")
    jax.config.update("jax_disable_most_optimizations", True)
    assert script.main([*TINY, "--sweep", "SEED=1,2,3", "--out-dir", str(folder)]) == 0
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Gives a command line to the program, from another folder than its own, and returns what it says."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        capfd.readouterr()
        assert script.main([*TINY, "--out-dir", "a folder", *ON_SLURM, *words]) == 0
        said = capfd.readouterr()
        assert said.err == ""
        return said.out

    return call


def queue():
    said = subprocess.run(
        ["squeue", "--noheader", "--array", "--format=%i"], capture_output=True, text=True, check=True
    )
    return sorted(said.stdout.split())


def wait(until=lambda: not queue()):
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not until():
        assert time.monotonic() < deadline, subprocess.run(["squeue"], capture_output=True, text=True).stdout
        time.sleep(0.1)


def processes(folder):
    """The tasks of a sweep that are at work on this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        # It may have ended meanwhile.
        with contextlib.suppress(OSError):
            if f"{folder}/slurm".encode() in path.read_bytes():
                found.append(path.parent.name)
    return found


def job_in(said):
    return re.search(r"^job (\d+): ", said, re.MULTILINE)[1]


def cell_files(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("*=*/*") if path.is_file()}


def assert_same_results(folder, other):
    for name in ("samples.npz", "parameters.npz"):
        with np.load(folder / name) as one, np.load(other / name) as two:
            assert set(one) == set(two)
            for key in one:
                np.testing.assert_array_equal(one[key], two[key])
    one, two = map(checked, (folder, other))
    assert one["floor"] == two["floor"]
    for entry in ("final", "history"):
        assert one["models"]["RBM"][entry] == two["models"]["RBM"][entry]


def table(folder):
    """The leaderboard without what a clock said."""
    rows = [line.split(",") for line in (folder / "leaderboard.csv").read_text().splitlines()]
    column = rows[0].index("train_seconds")
    return [row[:column] + row[column + 1 :] for row in rows]


def test_a_sweep_on_slurm_is_the_sweep(cluster, local, run, tmp_path):
    out, words = tmp_path / "a folder", ("--sweep", "SEED=1,2,3", "--slurm.cells-per-task", "2")
    # Pending, its cells are nobody else's; cancelled, they are sent again.
    said = run(*words, "--slurm.options=--hold")
    job = job_in(said)
    assert f"job {job}: 2 tasks for 3 cells; see squeue -j {job}" in said
    held = queue()
    assert held == [f"{job}_0", f"{job}_1"]
    said = run(*words)
    assert (
        f"3 cells are still queued or running (job {job})\n2 tasks wait in the queue: JobHeldUser\nnothing to submit\n"
        in said
    )
    assert queue() == held
    subprocess.run(["scancel", job], check=True)
    wait()

    # A cell that cannot write its samples: what comes after it in its task is run, and the others are merged.
    trap = out / "SEED=1/samples.npz"
    trap.mkdir(parents=True)
    said = run(*words)
    assert "2 tasks for 3 cells" in said
    assert "queued" not in said
    wait()
    assert "OutputError" in (out / "SEED=1/error.txt").read_text()
    assert not (out / "SEED=1/metrics.json").exists()
    assert [row[0] for row in table(out)[1:]] == ["SEED=2", "SEED=3"]
    log = next((out / "slurm").glob(f"{job_in(said)}_0_*log.out")).read_text()
    assert "failed: cell SEED=1: OutputError: the results cannot be written" in log
    assert "RuntimeError: failed: SEED=1" in next((out / "slurm").glob(f"{job_in(said)}_0_*log.err")).read_text()
    said = run(*words, "--merge")
    assert "over 2 of 3 cells; missing: SEED=1; 1 of them failed (error.txt in its folder)" in said

    trap.rmdir()
    finished = cell_files(out)
    said = run(*words)
    assert "2 of them are finished already\n1 cell had failed" in said
    assert "1 task for 1 cell;" in said
    wait()
    after = cell_files(out)
    assert {path: after.get(path) for path in finished if "SEED=1" not in str(path)} == {
        path: kept for path, kept in finished.items() if "SEED=1" not in str(path)
    }
    for cell in ("SEED=1", "SEED=2", "SEED=3"):
        assert_same_results(out / cell, local / cell)
        assert sorted(os.listdir(out / cell)) == sorted(os.listdir(local / cell))
    assert table(out) == table(local)
    assert json.loads((out / "sweep.json").read_text())["state"] == "finished"

    merged = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    for more in (["--merge"], ["--merge"], []):
        assert "leaderboard.png and sweep.json in a folder/, over all 3 cells\n" in run(*words, *more)
        assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == merged
    assert cell_files(out) == after
    assert queue() == []


def test_tasks_share_the_seeds_of_a_cell(cluster, local, run, tmp_path):
    out, words = tmp_path / "a folder", ("--sweep", "SEED=1", "--slurm.seeds-per-task", "1")
    said = run(*words)
    job = job_in(said)
    assert "2 tasks for 1 cell;" in said
    subprocess.run(["scancel", f"{job}_1"], check=True)
    wait()
    # What the cancelled one had trained may be kept as well.
    left = {path.name for path in (out / "SEED=1").glob("[!.]*")}
    assert left - {"checkpoint-1-1"} == {"seeds-0-0.npz"}
    assert "1 task for 1 cell;" in run(*words)
    wait()
    assert_same_results(out / "SEED=1", local / "SEED=1")
    assert sorted(os.listdir(out / "SEED=1")) == sorted(os.listdir(local / "SEED=1"))
    assert table(out) == [row for row in table(local) if row[0] in ("cell", "SEED=1")]


def test_a_task_that_is_cancelled_ends_and_is_sent_again(cluster, run, tmp_path):
    out, words = tmp_path / "a folder", ("--sweep", "SEED=1", "--n-steps", "40000000")
    job = job_in(run(*words))
    wait(lambda: (out / "SEED=1/.started-0-2").exists())
    assert len(processes(out)) == 1
    assert f"1 cell is still queued or running (job {job})" in run(*words)
    subprocess.run(["scancel", job], check=True)
    wait()
    # A second one beside it would do its work twice.
    wait(lambda: not processes(out))
    said = run(*words, "--slurm.options=--hold")
    assert "1 cell had been killed or cancelled on the way" in said
    assert "1 task for 1 cell;" in said
    subprocess.run(["scancel", job_in(said)], check=True)
    assert not (out / "SEED=1/metrics.json").exists()

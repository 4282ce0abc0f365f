"""Processes that are killed, interrupted or out of room, from the outside: what they leave and how they go on."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.files import checkpoint
from studies import torture

# Processes that are killed, and disks that are full.
pytestmark = pytest.mark.slow

ROOT = Path(script.__file__).parent
# Long enough to be ended on the way, and with few pictures: a process is mostly its start. Persistent chains are part
# of the state; several families are ended in test_checkpoint.py.
WORK = (
    *("--models", "RBM", "--rbm.algorithm", "PCD", "--num-bins", "4", "--n-steps", "3000", "--n-evaluations", "60"),
    *("--snapshot-percent", "100", "--num-seeds", "2", "--n-eval-samples", "200", "--batch-size", "16"),
    *("--parameter-budget", "100", "--hidden-layers", "1"),
)


SMALL = (
    *("--models", "RBM", "--num-bins", "4", "--n-steps", "8", "--n-evaluations", "2", "--snapshot-percent", "50"),
    *("--num-seeds", "2", "--n-eval-samples", "64", "--parameter-budget", "60", "--compilation-cache", "off"),
)


def wait_for_progress(folder, process):
    """Until something has been kept that was not there before."""
    before = {path: path.stat().st_mtime_ns for path in checkpoint.files_in(folder)}
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        now = {path: path.stat().st_mtime_ns for path in checkpoint.files_in(folder)}
        if now != before and now:
            return
        time.sleep(0.005)
    raise AssertionError(process.communicate()[0])


def test_three_kills_and_an_interruption_change_nothing(tmp_path):
    torture.finish(torture.start(tmp_path / "undisturbed", work=WORK))
    folder = tmp_path / "out"
    generator = random.Random(1)
    for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        process = torture.start(folder, work=WORK)
        wait_for_progress(folder, process)
        time.sleep(generator.uniform(0, 0.1))
        process.send_signal(number)
        said, _ = process.communicate()
        assert process.returncode == (-9 if number == signal.SIGKILL else 143), said
        if number == signal.SIGTERM:
            report = json.loads((folder / "metrics.json").read_text())
            assert report["partial"]["signal"] == "SIGTERM"
            assert max(report["partial"]["steps"].values()) <= 3000
            assert all((folder / name).stat().st_size for name in report["files"])
            assert "partial results" in said
    said = torture.finish(torture.start(folder, work=WORK))
    assert "continuing the run begun at " in said
    assert torture.contents(folder) == torture.contents(tmp_path / "undisturbed")
    report = json.loads((folder / "metrics.json").read_text())
    assert report["partial"] is None
    assert len(report["provenance"]["resumed"]) == 4
    # Neither a checkpoint nor what was being written when a process was killed.
    assert {path.name for path in folder.iterdir()} == set(report["files"])


def run(folder, *words, before="pass"):
    """The script as a program, after a line of Python; gives its exit code and what it said on stderr."""
    code = f"import os, resource, sys; {before}; os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    done = subprocess.run(
        [sys.executable, "-c", code, script.__file__, *SMALL, "--out-dir", str(folder), *words],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION")},
    )
    return done.returncode, done.stderr


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# Smaller than a picture, and larger than what is written before one.
SMALL_FILES = "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"


def test_where_files_may_not_grow_earlier_results_stay(tmp_path):
    (tmp_path / "out").mkdir()
    earlier = {"metrics.json": b'{"files": ["loss_curves.png", "metrics.json"]}', "loss_curves.png": b"earlier"}
    for name, content in earlier.items():
        (tmp_path / "out" / name).write_bytes(content)
    code, said = run(tmp_path / "out", before=SMALL_FILES)
    assert code == 1
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("error: the results cannot be written to ")
    assert "(File too large): what was there before is unchanged" in said.splitlines()[-1]
    assert snapshot(tmp_path / "out") == earlier


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 200 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here; a limit on the size of files stands in for it above")
    yield place
    subprocess.run(["umount", place], check=True)


def test_where_the_disk_is_full_earlier_results_stay(small_disk):
    (small_disk / "out").mkdir()
    (small_disk / "out" / "metrics.json").write_text("earlier")
    code, said = run(small_disk / "out")
    assert code == 1
    assert "Traceback" not in said
    assert "(No space left on device): what was there before is unchanged" in said.splitlines()[-1]
    assert snapshot(small_disk / "out") == {"metrics.json": b"earlier"}
    shutil.rmtree(small_disk / "out")

"""A fresh clone stays one: what a run writes by default is ignored by git, and what is recorded is not."""

import shutil
import subprocess
import sys

import pytest
from conftest import quick_if

from core import places

SHORT = (
    "--n-steps 4 --n-evaluations 2 --snapshot-percent 50 --num-seeds 1 --n-eval-samples 64 --batch-size 16 "
    "--parameter-budget 120 --hidden-layers 1"
)


def git(folder, *words):
    """What git says in a folder."""
    done = subprocess.run(("git", "-C", str(folder), *words), capture_output=True, check=True)
    return done.stdout.decode()


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What the working tree holds, committed into a repository of its own."""
    if shutil.which("git") is None or not (places.ROOT / ".git").exists():
        pytest.skip("git is not installed, or this is no checkout")
    folder = tmp_path_factory.mktemp("clone") / "project"
    names = git(places.ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    for name in filter(None, names):
        source = places.ROOT / name
        # A file that is deleted but still tracked is in no clone of what will be committed.
        if source.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "all")
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ("--models", "HISTOGRAM", "GMM"),
        quick_if(False, (), id="the default families"),
        quick_if(False, ("--models", "HISTOGRAM", "--sweep", "SEED=1,2"), id="a sweep"),
    ],
)
def test_a_run_into_the_default_folder_leaves_a_clone_without_changes(clone, words):
    program = [sys.executable, "generative_models_GAN_VAE_RBM_benchmarks.py", *SHORT.split(), *words]
    done = subprocess.run(program, cwd=clone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    out = clone / "results_classical_benchmarks"
    assert (out / ("leaderboard.csv" if "--sweep" in words else "metrics.json")).is_file()
    assert git(clone, "status", "--porcelain") == ""


def test_the_recorded_run_is_tracked_and_nothing_else_in_the_folder_is(clone):
    tracked = git(clone, "ls-files", "results_classical_benchmarks").splitlines()
    recorded = [name for name in tracked if "/default_run/" in name]
    assert "results_classical_benchmarks/default_run/metrics.json" in recorded
    studies = {f"{study}.{end}" for study in ("quality", "bits", "images", "decomposition") for end in ("json", "md")}
    files = studies | {"loss_decomposition.png"}
    assert set(tracked) - set(recorded) == {f"results_classical_benchmarks/{name}" for name in files}


def test_git_sees_a_change_of_what_is_recorded(clone):
    path = clone / "results_classical_benchmarks" / "default_run" / "new.png"
    path.write_bytes(b"")
    try:
        assert git(clone, "status", "--porcelain").strip() == f"?? {path.relative_to(clone)}"
    finally:
        path.unlink()

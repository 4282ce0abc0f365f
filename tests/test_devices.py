"""Where compiled programs are kept: only where nobody else can write."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import devices
import generative_models_GAN_VAE_RBM_benchmarks as script


@pytest.fixture
def cache_home(tmp_path, monkeypatch):
    """An empty home for caches, and JAX without one; as it was afterwards."""
    before = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", before[0])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", before[1])


def test_the_cache_is_private(cache_home):
    assert devices.use_compilation_cache() is None
    folder = Path(jax.config.jax_compilation_cache_dir)
    assert folder.is_relative_to(cache_home)
    for place in (folder, folder.parent):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert place.stat().st_uid == os.getuid()


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o702])
@pytest.mark.parametrize("which", ["parent", "folder"])
def test_a_folder_that_others_can_write_to_is_not_used(cache_home, mode, which):
    devices.use_compilation_cache()
    folder = Path(jax.config.jax_compilation_cache_dir)
    jax.config.update("jax_compilation_cache_dir", None)
    place = folder if which == "folder" else folder.parent
    place.chmod(mode)
    assert f"others can write to {place}" in devices.use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir is None


def test_a_link_to_elsewhere_is_not_used(cache_home, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (cache_home / "classical-generative-benchmarks").symlink_to(tmp_path / "elsewhere")
    assert "is not a folder" in devices.use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir is None


def test_a_file_in_its_place_is_no_error(cache_home):
    (cache_home / "classical-generative-benchmarks").write_text("mine")
    assert "cannot be used" in devices.use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir is None


def test_a_folder_that_jax_was_given_stays(cache_home):
    jax.config.update("jax_compilation_cache_dir", str(cache_home / "own"))
    assert devices.use_compilation_cache() is None
    assert jax.config.jax_compilation_cache_dir == str(cache_home / "own")


def test_a_run_keeps_its_programs_only_if_asked_to(tmp_path):
    (tmp_path / "masses.csv").write_text("0.2\n" * 5)
    without_training = ["--models", "--external-probabilities", "uniform", "masses.csv", "1"]
    args = [*("--num-bins", "5", "--n-steps", "8", "--n-evaluations", "2", "--snapshot-percent", "50")]
    args += [*("--n-eval-samples", "64", "--batch-size", "16", "--parameter-budget", "60", "--out-dir", "out")]
    samples = []
    # Two runs that keep them, so that the second takes what the first has kept: with the same result.
    for choice, models in (("off", without_training), ("on", ["--models", "RBM"]), ("on", ["--models", "RBM"])):
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "kept")}
        command = [sys.executable, script.__file__, *args, *models, "--compilation-cache", choice]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
        kept = list((tmp_path / "kept" / "classical-generative-benchmarks").rglob("*cache"))
        assert bool(kept) == (choice == "on")
        samples.append((tmp_path / "out" / "samples.npz").read_bytes())
    assert samples[1] == samples[2]


def test_a_slurm_job_uses_the_cores_that_it_asked_for():
    """Not every cluster binds a job to them."""
    code = "import devices, jax; devices.use_every_core(); print(jax.config.jax_num_cpu_devices)"
    for asked, used in (("1", 1), ("100000", len(os.sched_getaffinity(0)))):
        environment = {**os.environ, "SLURM_CPUS_PER_TASK": asked}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            cwd=Path(script.__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"{used}\n"

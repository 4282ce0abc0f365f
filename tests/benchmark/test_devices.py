"""Where compiled programs are kept: only where nobody else can write."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from report_schema import checked

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.engine import devices
from core import trust


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
    assert "is not a folder" in devices.use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir is None


def give_away(path):
    """Makes a path somebody else's."""
    os.chown(path, 65534, -1, follow_symlinks=False)


@pytest.fixture
def somebody_else(monkeypatch):
    """Makes paths somebody else's, as root does it and as anybody else can pretend."""
    if os.getuid() == 0:
        return give_away
    given = []
    monkeypatch.setattr(trust, "_not_mine", lambda status: "belongs to somebody else" * (status.st_ino in given))
    return lambda path: given.append(path.lstat().st_ino)


@pytest.fixture
def home(tmp_path, monkeypatch, cache_home):
    """A folder on the way to the cache; by then JAX has none."""
    home = tmp_path / "home"
    (home / "caches").mkdir(parents=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "caches"))
    return home


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_whoever_can_rename_a_folder_on_the_way_can_replace_the_cache(home, mode):
    home.chmod(mode)
    assert devices.use_compilation_cache() == f"others can write to {home}"
    # Nothing has been left where it is of no use.
    assert not list((home / "caches").iterdir())
    assert jax.config.jax_compilation_cache_dir is None
    # As /tmp is: there nobody can rename what is not his.
    home.chmod(mode | stat.S_ISVTX)
    assert devices.use_compilation_cache() is None
    assert Path(jax.config.jax_compilation_cache_dir).is_relative_to(home / "caches")


def test_the_cache_itself_is_not_safe_where_everybody_can_add_to_it(home):
    devices.use_compilation_cache()
    folder = Path(jax.config.jax_compilation_cache_dir)
    jax.config.update("jax_compilation_cache_dir", None)
    folder.chmod(0o1777)
    assert devices.use_compilation_cache() == f"others can write to {folder}"


@pytest.mark.parametrize("which", ["", "caches", "caches/classical-generative-benchmarks"])
def test_a_folder_of_somebody_else_s_on_the_way_is_not_used(home, which, somebody_else):
    (home / "caches" / "classical-generative-benchmarks").mkdir()
    somebody_else(home / which)
    assert devices.use_compilation_cache().startswith(f"{home / which} belongs to somebody else")
    assert jax.config.jax_compilation_cache_dir is None


def test_a_program_that_somebody_else_has_compiled_is_not_used(home, somebody_else):
    devices.use_compilation_cache()
    folder = Path(jax.config.jax_compilation_cache_dir)
    jax.config.update("jax_compilation_cache_dir", None)
    planted = folder / "jit_step-cache"
    planted.write_text("")
    # What this user's own umask lets others write is out of their reach where they cannot enter.
    planted.chmod(0o666)
    assert devices.use_compilation_cache() is None
    jax.config.update("jax_compilation_cache_dir", None)
    folder.chmod(0o755)
    assert devices.use_compilation_cache() == f"others can write to {planted}"
    folder.chmod(0o700)
    somebody_else(planted)
    assert devices.use_compilation_cache().startswith(f"{planted} belongs to somebody else")
    assert jax.config.jax_compilation_cache_dir is None


@pytest.mark.parametrize("target", ["/elsewhere", "../elsewhere", "../home/../elsewhere"])
def test_a_cache_on_another_disk_is_as_safe_as_the_way_there(home, tmp_path, target, somebody_else):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (home / "caches").rmdir()
    (home / "caches").symlink_to(elsewhere if target[0] == "/" else target)
    assert devices.use_compilation_cache() is None
    assert [path.name for path in elsewhere.iterdir()] == ["classical-generative-benchmarks"]
    jax.config.update("jax_compilation_cache_dir", None)
    elsewhere.chmod(0o777)
    assert devices.use_compilation_cache().startswith("others can write to ")
    elsewhere.chmod(0o755)
    # Whose link it is decides where it leads tomorrow.
    somebody_else(home / "caches")
    assert devices.use_compilation_cache().startswith(f"{home / 'caches'} belongs to somebody else")


def test_who_is_quicker_to_make_the_folder_is_found_out(home, somebody_else, monkeypatch):
    """As anybody can be in /tmp, between two looks."""
    make = Path.mkdir

    def quicker(self, mode):
        make(self, mode=mode)
        somebody_else(self)
        raise FileExistsError

    monkeypatch.setattr(Path, "mkdir", quicker)
    folder = home / "caches" / "classical-generative-benchmarks"
    assert devices.use_compilation_cache().startswith(f"{folder} belongs to somebody else")


def test_links_in_a_circle_end(home):
    (home / "caches").rmdir()
    (home / "caches").symlink_to(home / "again")
    (home / "again").symlink_to("caches")
    assert "is a link that leads nowhere" in devices.use_compilation_cache()


def test_what_is_made_on_the_way_is_private_whatever_the_umask(home):
    (home / "caches").rmdir()
    before = os.umask(0)
    try:
        assert devices.use_compilation_cache() is None
    finally:
        os.umask(before)
    assert stat.S_IMODE((home / "caches").stat().st_mode) == 0o700


def test_a_place_for_caches_has_a_whole_path(home, monkeypatch):
    """What the standard says of a relative one."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("XDG_CACHE_HOME", "caches")
    monkeypatch.setenv("HOME", str(home))
    assert devices.use_compilation_cache() is None
    assert Path(jax.config.jax_compilation_cache_dir).is_relative_to(home / ".cache")
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("HOME", "nowhere")

    def unknown(user):
        raise KeyError(user)

    # Otherwise the system's list of users has one.
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert devices.use_compilation_cache() == "there is no home folder to keep them in"


def test_a_folder_that_jax_was_given_stays(cache_home):
    jax.config.update("jax_compilation_cache_dir", str(cache_home / "own"))
    assert devices.use_compilation_cache() is None
    assert jax.config.jax_compilation_cache_dir == str(cache_home / "own")


@pytest.mark.parametrize("family", ["HISTOGRAM", pytest.param("RBM", marks=pytest.mark.slow)])
def test_a_run_keeps_its_programs_only_if_asked_to(family, tmp_path):
    args = [
        *("--models", family, "--num-bins", "5", "--n-steps", "8", "--n-evaluations", "2", "--n-eval-samples", "64")
    ]
    args += [*("--snapshot-percent", "50", "--batch-size", "16", "--parameter-budget", "60", "--out-dir", "out")]
    # A sweep's cell, for which no pictures are drawn.
    args += ["--sweep", "SEED=1", "--no-sweep-pictures"]
    found = []
    # Two runs that keep them, so that the second takes what the first has kept: all with the same result.
    for choice in ("off", "on", "on"):
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "kept")}
        command = [sys.executable, script.__file__, *args, "--compilation-cache", choice]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
        kept = list((tmp_path / "kept" / "classical-generative-benchmarks").rglob("*cache"))
        assert bool(kept) == (choice == "on")
        cell = tmp_path / "out" / "SEED=1"
        model = checked(cell)["models"][family]
        files = [(cell / name).read_bytes() for name in ("samples.npz", "parameters.npz")]
        found.append((files, model["history"], model["final"]))
        # Nothing is run again where results are.
        (cell / "metrics.json").unlink()
    assert found[0] == found[1] == found[2]


def test_a_slurm_job_uses_the_cores_that_it_asked_for():
    """Not every cluster binds a job to them."""
    code = (
        "import jax; from benchmark.engine import devices\n"
        "devices.use_every_core(); print(jax.config.jax_num_cpu_devices)"
    )
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


def test_what_decides_last_bits_is_recorded(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX2")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = devices.environment()
    assert found["variables"]["XLA_FLAGS"] == "--xla_cpu_max_isa=AVX2"
    assert "OMP_NUM_THREADS" not in found["variables"]
    assert found["n_devices"] == jax.local_device_count()
    # As the tests are compiled: what is in force, wherever it was set.
    assert found["flags"]["disable_most_optimizations"] is True
    assert found["flags"]["enable_x64"] is False
    with jax.default_matmul_precision("highest"):
        assert devices.environment()["flags"]["default_matmul_precision"] == "highest"
    assert "openblas" in found["blas"] or "mkl" in found["blas"] or sys.platform == "darwin"
    assert found["system"]

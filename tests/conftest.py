"""Settings and fixtures that every test shares."""

import dataclasses
import gc
import os
import tempfile
from pathlib import Path

import hypothesis
import jax
import pytest
import report_schema
from jax._src import compiler

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.asked.config import BenchmarkConfig, from_constants
from benchmark.files import results
from benchmark.terminal import console
from core import interruption, storage
from models import MODELS, drawing

# Two devices, as on the smallest machine that matters, so that spreading seeds is what is tested.
jax.config.update("jax_num_cpu_devices", 2)
# An implicit broadcast between different ranks is a bug more often than not.
jax.config.update("jax_numpy_rank_promotion", "raise")
# A test that sends a signal to its own process does not end that, however slow the machine is.
interruption._SECONDS_TO_END = 600.0
# As many examples as a night has room for: HYPOTHESIS_PROFILE=torture, or --hypothesis-profile=torture.
# A process keeps what it has compiled: more examples than these are the matter of several.
hypothesis.settings.register_profile("torture", max_examples=100, deadline=None)
if "HYPOTHESIS_PROFILE" in os.environ:
    hypothesis.settings.load_profile(os.environ["HYPOTHESIS_PROFILE"])


# Families that can draw rows of numbers, those that can draw strings of bits, and those that can where there is a
# lattice.
NUMBERS, BITS = drawing("normal"), drawing("bits")
LATTICES = drawing("bits", lattice=True)


def is_searching():
    """Whether tests on drawn input look for what nobody has thought of, however long that takes."""
    return hypothesis.settings.get_current_profile_name() == "torture"


def drawn(usual=20):
    """Settings of a test on drawn examples: so many as usual, and as many as the profile says under "torture".

    The usual ones are the same every time, so that a test that passes here passes elsewhere; the search for what nobody
    has thought of is the other profile's, whose examples are always new.
    """
    searching = is_searching()
    # Compilation, and files, take their time.
    slow = [hypothesis.HealthCheck.too_slow]
    return hypothesis.settings(
        max_examples=hypothesis.settings.default.max_examples if searching else usual,
        derandomize=not searching,
        database=None,
        deadline=None,
        suppress_health_check=slow,
    )


def pytest_configure(config):
    """One compilation cache for the workers and what they start: what one has compiled, all have."""
    # Few users set it. Without a buffer nothing is left over that a stream could not write.
    os.environ.pop("PYTHONUNBUFFERED", None)
    # A run is taken to be started by hand, though `make test` starts the tests.
    os.environ.pop("MAKELEVEL", None)
    if not hasattr(config, "workerinput"):
        folder = tempfile.TemporaryDirectory(prefix="compiled")
        config.add_cleanup(folder.cleanup)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Keeps the tests of a file on one worker, which share what they train; files of several groups stay divided."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def pytest_sessionfinish(session):
    """Leaves what has been compiled out of the last garbage collections, which would outlast a worker's time to end."""
    if hasattr(session.config, "workerinput"):
        gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _sound_reports():
    """No test writes a metrics.json that is not sound; `report_schema.checked` is for what other processes write."""
    write_whole = storage.write_whole

    def write(path, content):
        if path.name == results.METRICS_FILE:
            report_schema.check(content, path.parent)
        write_whole(path, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "write_whole", write)
        yield


def way_of(name):
    """How a family is fed: minibatches, several of them a step, a whole data set, or nothing after the start."""
    return tuple(hasattr(MODELS[name].Config(), each) for each in ("learning_rate", "n_critic", "max_iter"))


def quick_if(is_quick, *values, marks=(), id=None):
    """A test's parameters, which only `make test-all` takes unless `is_quick`."""
    return pytest.param(*values, marks=[*marks, *([] if is_quick else [pytest.mark.slow])], id=id)


_FIRST = {way_of(name): name for name in reversed(MODELS)}.values()


def quick_first(name, *marks, values=()):
    """A family as a parameter of tests of what sees how a family is fed, and not which it is.

    The quick tests take the first family of each way, and `make test-all` takes all.
    """
    return quick_if(name in _FIRST, name, *values, marks=marks)


def small_config(**fields) -> BenchmarkConfig:
    """The script's own configuration, made small, with the given fields replaced."""
    small = dict(n_steps=8, n_evaluations=2, snapshot_percent=50, batch_size=16, num_seeds=2, n_eval_samples=64)
    small["evaluation_spacing"] = "linear"
    return dataclasses.replace(from_constants(vars(script)), **{**small, **fields})


@pytest.fixture
def make_config():
    """`small_config`, for tests that take it as a fixture."""
    return small_config


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tree(folder):
    """Everything in a folder but `bin`: files with their content and when it was written, folders with None."""

    def about(path):
        status = path.stat()
        # One that only claims to be large holds nothing.
        return (path.read_bytes() if status.st_size < 10**8 else status.st_size), status.st_mtime_ns

    paths = [path for path in Path(folder).rglob("*") if path.relative_to(folder).parts[0] != "bin"]
    return {str(path): about(path) if path.is_file() else None for path in paths}


@pytest.fixture
def refusal(here, capfd, monkeypatch):
    """Runs the script with arguments that it must refuse in one line, which it returns; nothing on disk may change."""
    jax.devices()
    # However slow the machine is, there is nothing to wait for.
    monkeypatch.setattr(console, "_HEARTBEAT_SECONDS", 100)

    def call(*words):
        before = tree(here)
        assert script.main([*words]) == 2
        said = capfd.readouterr()
        assert said.out == ""
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        assert tree(here) == before
        return said.err.removeprefix("error: ").removesuffix("\n")

    return call


_COMPILED: list[bool] = []  # in which way the last test's programs were
_compile_options = compiler.get_compile_options


def _quick_options(*args, env_options_overrides=None, **kwargs):
    """What the compiler is told, and not to go by way of MLIR with fused operations, which takes twice as long."""
    overrides = {"xla_cpu_use_fusion_emitters": False, **(env_options_overrides or {})}
    return _compile_options(*args, env_options_overrides=overrides, **kwargs)


@pytest.fixture(autouse=True)
def _quick_compilation(request):
    """Leaves out most of the compiler's optimisations, but for tests of the very bits that ship: half the time."""
    quick = request.node.get_closest_marker("shipped_compilation") is None
    if [quick] != _COMPILED:
        # What is compiled in the other way is rounded in another: JAX would take it for the same.
        jax.clear_caches()
        _COMPILED[:] = [quick]
    jax.config.update("jax_disable_most_optimizations", quick)
    # JAX 0.11 has the way by MLIR alone.
    has_choice = jax.__version_info__ < (0, 11)
    compiler.get_compile_options = _quick_options if quick and has_choice else _compile_options
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    compiler.get_compile_options = _compile_options

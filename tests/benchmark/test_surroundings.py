"""Surroundings that a run did not choose: streams, variables, homes, a Python that lacks libraries."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import matplotlib
import pytest
from conftest import quick_if
from test_endings import SMALL

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.engine import devices
from benchmark.files import checkpoint
from benchmark.run import checks, one_run
from core import surroundings
from core.drawing import figures
from core.errors import UserError
from studies import starts

# Where nothing is trained there is little to compile.
QUICK = ("--models", "HISTOGRAM", *SMALL[2:])


def run(folder, *words, shell="", python=sys.executable, **variables):
    """The script as a program in an environment of its own; gives its exit code, and what it has said and complained.

    Args:
      folder: OUT_DIR.
      words: further ones of the command line; the first may be options of Python's.
      shell: what a shell is to do with the streams.
      python: which.
      variables: of the environment; None removes one.
    """
    environment = {**os.environ, **variables}
    command = [str(python), script.__file__, *QUICK, *words, "--out-dir", str(folder)]
    if shell:
        command = ["bash", "-c", f'"$@" {shell}', "bash", *command]
    environment = {name: value for name, value in environment.items() if value is not None}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder.parent, timeout=300)
    return done.returncode, done.stdout, done.stderr


def refused(folder, **variables):
    """The one line that a run is refused with; nothing is written."""
    code, said, errors = run(folder, **variables)
    assert (code, said) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert not folder.exists()
    return errors


@pytest.mark.parametrize("shell", ["<&- >&- 2>&-", "> /dev/full"])
def test_no_stream_is_needed_nor_a_backend_that_exists_nor_a_home(shell, tmp_path):
    # One of the working folder comes before all others.
    (tmp_path / "matplotlibrc").write_text("no colon\nfigure.dpi: abc\nfigure.facecolor: red\n")
    (tmp_path / "unreadable").write_bytes(b"\xff\xfe")
    code, said, errors = run(
        tmp_path / "out",
        shell=shell,
        MPLBACKEND="module://matplotlib_inline.backend_inline" if ">&-" in shell else "nosuch",
        XLA_FLAGS="--xla_force_host_platform_device_count=4",
        MATPLOTLIBRC=str(tmp_path / "unreadable"),
        HOME="/proc/nonexistent" if ">&-" in shell else None,
        XDG_CACHE_HOME="/proc/nonexistent",
    )
    # Matplotlib keeps its list of fonts elsewhere, and need not say so.
    assert (code, said, errors) == (0, "", "")
    assert (tmp_path / "out" / "metrics_comparison.png").stat().st_size > 10_000


def test_a_reader_that_is_gone_ends_no_run(tmp_path):
    code, said, errors = run(tmp_path / "out", shell="| head -1; exit ${PIPESTATUS[0]}")
    assert code == 0
    assert said.count("\n") == 1
    assert errors == ""
    assert (tmp_path / "out" / "metrics.json").exists()


@pytest.mark.parametrize(
    "name", [quick_if(name in ("cuda", "nosuch"), name) for name in ("cuda", "gpu", "rocm", "nosuch")]
)
def test_a_device_that_is_not_there_is_named(name, tmp_path):
    if any(device.platform != "cpu" for device in jax.devices()):
        pytest.skip("there is another device here")
    line = refused(tmp_path / "out", JAX_PLATFORMS=name)
    assert f"JAX_PLATFORMS = '{name}' asks for a device that JAX does not find; it finds cpu: set" in line


@pytest.mark.parametrize("variables", [{"XLA_FLAGS": "--nosuchflag"}, {"JAX_ENABLE_X64": "banana"}], ids=str)
def test_the_code_is_the_same_where_its_line_cannot_be_written(variables, tmp_path):
    assert run(tmp_path / "out", shell="2> /dev/full", **variables) == (2, "", "")


def test_where_no_device_works_the_library_s_own_words_are_given(monkeypatch):
    def broken():
        raise RuntimeError("no driver\nat all")

    monkeypatch.setattr(jax, "devices", broken)
    with pytest.raises(UserError, match=r"no device that it can compute on \(no driver\): JAX_PLATFORMS=cpu"):
        devices.check()


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ("--nosuchflag", "(Unknown flag in XLA_FLAGS: --nosuchflag)"),
        ("--Traceback", "(Unknown flag in XLA_FLAGS: --Traceback)"),
        ("/nonexistent/flags", '(Could not open file "/nonexistent/flags" to read flags'),
        ("--xla_force_host_platform_device_count=x", "(Couldn't interpret value x for flag"),
    ],
)
def test_wrong_flags_of_the_compiler_are_named(flags, why, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", flags)
    line = surroundings.check()
    assert line.startswith(f"XLA_FLAGS = {flags!r} cannot be used {why}")
    assert line.endswith(": correct it, or unset XLA_FLAGS")
    assert "\n" not in line


def test_flags_that_the_compiler_knows_are_used(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=4 --xla_cpu_enable_fast_math=false")
    assert surroundings.check() is None


def test_wrong_flags_end_a_run_in_one_line(tmp_path):
    assert "XLA_FLAGS = '--nosuchflag' cannot be used" in refused(tmp_path / "out", XLA_FLAGS="--nosuchflag")


def test_settings_that_jax_refuses_are_one_line(tmp_path):
    line = refused(tmp_path / "out", JAX_ENABLE_X64="banana")
    assert "JAX refuses its settings (invalid truth value 'banana' for environment 'JAX_ENABLE_X64')" in line


def test_a_folder_for_programs_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    line = refused(tmp_path / "out", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "file" / "programs"))
    assert f"cannot be used ({tmp_path / 'file'} is no folder that can be written): give" in line
    # JAX makes one that is not there yet; looking makes none.
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "new" / "programs"))
    assert surroundings.check() is None
    assert not (tmp_path / "new").exists()


def test_a_look_that_matplotlib_cannot_read_is_named(tmp_path):
    (tmp_path / "matplotlibrc").write_bytes(b"\xff\xfe")
    assert "matplotlibrc in the working folder is not text in UTF-8 (invalid start byte): save" in refused(
        tmp_path / "out"
    )


def test_a_python_without_libraries_is_told_how_to_get_them(tmp_path):
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    line = refused(tmp_path / "out", python=bare / "bin" / "python")
    assert "does not have what it needs: start with `make run`, which installs everything" in line
    assert "-m pip install -r requirements.txt`" in line


def test_a_library_that_is_missing_is_named(monkeypatch):
    usual = surroundings.importlib.util.find_spec
    monkeypatch.setattr(surroundings.importlib.util, "find_spec", lambda name: None if name == "PIL" else usual(name))
    assert "does not have pillow: start with `make run`" in surroundings.check()


def test_every_requirement_is_a_module_that_is_looked_for():
    assert surroundings._missing() is None
    assert "jax" in (Path(script.__file__).with_name("requirements.txt")).read_text()


# What little there is to compile, and in `make test-all` every family of a line, of bits, of a lattice and of images.
X64 = {"histogram": ()} | {
    kind: (*starts.KINDS[kind].words, "--parameter-budget", "1000", "--models", *starts.KINDS[kind].families)
    for kind in ("line", "bits", "lattice", "images")
}


@pytest.mark.parametrize("case", [quick_if(case == "histogram", case) for case in X64])
def test_x64_is_set_off_and_changes_nothing(case, tmp_path):
    words = (*X64[case], "--no-sweep-pictures", "--sweep", "SEED=1")
    found = []
    for value in (None, "1"):
        folder = tmp_path / str(value)
        code, _, errors = run(folder, *words, JAX_ENABLE_X64=value)
        assert (code, errors) == (0, "")
        report = json.loads((folder / "SEED=1" / "metrics.json").read_text())
        finals = {name: model["final"] for name, model in report["models"].items()}
        found.append((finals, (folder / "SEED=1" / "samples.npz").read_bytes()))
        log = (folder / "SEED=1" / "log.txt").read_text()
        assert ("; JAX_ENABLE_X64 is set off: everything is trained in float32\n" in log) == bool(value)
    assert found[0] == found[1]


def test_a_program_that_calls_a_run_keeps_its_x64():
    jax.config.update("jax_enable_x64", True)
    try:
        with devices.in_float32():
            assert not jax.config.jax_enable_x64
        assert jax.config.jax_enable_x64
    finally:
        jax.config.update("jax_enable_x64", False)
    assert devices.precision_note() == ""


def test_a_notebook_keeps_its_backend(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    # Here Matplotlib has been read: what it has got is not touched.
    with surroundings.without_display():
        assert os.environ["MPLBACKEND"] == "module://matplotlib_inline.backend_inline"
    monkeypatch.delitem(sys.modules, "matplotlib")
    with surroundings.without_display():
        assert os.environ["MPLBACKEND"] == "agg"
    assert os.environ["MPLBACKEND"] == "module://matplotlib_inline.backend_inline"


def test_a_notebook_keeps_its_look(tmp_path):
    (tmp_path / "look").write_text("lines.linewidth: 7\n")
    code = (
        "from core import surroundings\n"
        "with surroundings.without_display():\n"
        "    import matplotlib\n"
        "    assert matplotlib.rcParams['lines.linewidth'] == 1.5\n"
        "print(matplotlib.rcParams['lines.linewidth'])"
    )
    environment = {**os.environ, "MATPLOTLIBRC": str(tmp_path / "look")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(script.__file__).parent, env=environment, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("7.0\n", "")


def test_a_user_s_own_look_changes_no_picture(tmp_path):
    @figures.styled
    def draw(path):
        fig = figures.new(4, 3, "title")
        fig.subplots().plot([1, 2], [3, 4], label="line")
        fig.savefig(path)
        return path.read_bytes()

    usual = draw(tmp_path / "usual.png")
    with matplotlib.rc_context(
        {"figure.facecolor": "black", "text.color": "white", "lines.linewidth": 9, "savefig.facecolor": "black",
         "font.family": ["monospace"], "axes.facecolor": "black", "savefig.format": "pdf"}
    ):  # fmt: skip
        assert draw(tmp_path / "dark.png") == usual
        assert matplotlib.rcParams["lines.linewidth"] == 9


def test_where_nothing_was_trained_nothing_is_said_to_be_kept(tmp_path, make_config):
    progress = checkpoint.open_in(tmp_path, checks.check(make_config(models=("HISTOGRAM",))))
    line = one_run._unwritten(OSError(28, "No space left on device"), tmp_path, progress, trained=False)
    assert line.endswith("what was there before is unchanged; nothing was trained, so that nothing is lost")
    assert "what was trained is kept" in one_run._unwritten(OSError(28, "No"), tmp_path, progress, trained=True)


@pytest.mark.parametrize(("home", "left"), [("", None), ("/somewhere", "/somewhere")])
def test_an_empty_home_is_none(home, left, monkeypatch):
    monkeypatch.setenv("HOME", home)
    assert surroundings.check() is None
    assert os.environ.get("HOME") == left

"""Signals while a compilation is at work that never ends: the process does, soon, and nothing is left of it."""

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from test_endings import SMALL

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.engine import programs
from benchmark.scoring import closing
from benchmark.terminal import console
from core import interruption
from core.side_by_side import in_threads

ROOT = Path(script.__file__).parent
# As the compiler does, it lets other threads run and hears no signal: a mutex that its own thread holds. `TIMES` calls
# go well before.
CODE = """
import ctypes, importlib, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
place, name, times = sys.argv.pop(1), sys.argv.pop(1), int(sys.argv.pop(1))
import generative_models_GAN_VAE_RBM_benchmarks as script
module = importlib.import_module(place)
usual = getattr(module, name)

def never(*args, **how):
    global times
    times -= 1
    if times >= 0:
        return usual(*args, **how)
    os.write(1, b"at work\\n")
    lock = ctypes.create_string_buffer(64)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(lock)

setattr(module, name, never)
from core import interruption
interruption.own_process()
raise SystemExit(script.main())
"""
# The compiler itself: a straight line of sums and rotations, of which 300 take it seconds and 1 000 more than minutes.
COMPILER = """
    import jax, jax.numpy as jnp
    def chain(a):
        b = a + 1
        for i in range(1000):
            a = a + b
            b = ((b << jnp.uint32(i % 31 + 1)) | (b >> jnp.uint32(31 - i % 31))) ^ a
        return a, b
    lowered = jax.jit(chain).lower(jnp.uint32(3))
    os.write(1, b"at work\\n")
    lowered.compile()
    os.write(1, b"compiled\\n")
"""
_LOCK = CODE[CODE.index("    os.write") : CODE.index("setattr")]


@contextlib.contextmanager
def started(folder, temporary, where, *words, code=CODE):
    """A run that has come to where it stays for ever."""
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *where.split(), *SMALL, "--out-dir", str(folder), *words],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    try:
        for line in process.stdout:
            if "at work" in line:
                break
        yield process
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def children(pid):
    """The processes that one has started, and these."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *children(child)]
    return found


def ended(process, number):
    """What a process has said and complained, which a signal has ended within five seconds, with its exit code."""
    begun = children(process.pid)
    began = time.monotonic()
    process.send_signal(number)
    # What it has started may end after it.
    code = process.wait()
    assert time.monotonic() - began < 5
    assert code == 128 + number
    said, errors = process.communicate()
    assert are_gone(begun, 5)
    return said, errors


def are_gone(pids, seconds):
    deadline = time.monotonic() + seconds
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


# Families are compiled in threads of their own; the rest, as the scorer, in the main one.
@pytest.mark.parametrize(
    ("number", "where"),
    [
        (signal.SIGTERM, "benchmark.engine.preparation compile_shared 0"),
        (signal.SIGTERM, "kinds.real.judging score_cells 0 compiler"),
        pytest.param(signal.SIGINT, "benchmark.engine.preparation compile_shared 0 compiler", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, "benchmark.engine.preparation compile_shared 0", marks=pytest.mark.slow),
        (signal.SIGUSR2, "kinds.real.judging score_cells 0"),
        (signal.SIGINT, "kinds.real.judging score_cells 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_a_signal_ends_a_compilation_within_five_seconds(number, where, tmp_path):
    where, in_compiler, _ = where.partition(" compiler")
    code = CODE.replace(_LOCK, COMPILER) if in_compiler else CODE
    with started(tmp_path / "out", tmp_path / "temporary", where, code=code) as process:
        assert children(process.pid)
        if in_compiler:
            # The line before came from Python: by now it is in the compiler, and stays there.
            time.sleep(2)
            assert process.poll() is None
        said, errors = ended(process, number)
        line = f"interrupted ({number.name}) before anything new could be kept: older files are unchanged"
        assert said.splitlines()[-1] == line
        assert errors == ""
        # Neither the folder nor its lock, and nothing where temporary files go.
        assert sorted(path.name for path in tmp_path.iterdir()) == ["temporary"]
        assert not list((tmp_path / "temporary").iterdir())


# After the training, and at the first scores of the second family.
@pytest.mark.parametrize("where", ["benchmark.run.one_run close 0", "kinds.bins.kind log_q 8"])
def test_a_signal_ends_the_scoring_of_what_is_trained_within_five_seconds(where, tmp_path):
    out, words = tmp_path / "out", ("--models", "RBM", "VAE", "--out-dir", str(tmp_path / "out"))
    with started(out, tmp_path / "temporary", where, *words[:3]) as process:
        said, errors = ended(process, signal.SIGTERM)
    line = "interrupted (SIGTERM): all that was trained is kept; the same command, without --fresh, goes on"
    assert said.splitlines()[-1] == line
    assert errors == "SIGTERM: ending soon, with what there is by then; a second signal, later, stops at once\n"
    # Nothing but what was trained.
    assert [path.name for path in out.iterdir() if path.name != ".gitignore"] == ["checkpoint"]
    done = subprocess.run([sys.executable, script.__file__, *SMALL, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "continuing the run" in done.stdout
    assert (out / "metrics.json").exists()
    assert not (out / "checkpoint").exists()


@pytest.mark.slow
def test_a_sweep_says_what_is_finished(tmp_path):
    words = ("--sweep", "SEED=1,2", "--no-sweep-pictures")
    with started(tmp_path / "out", tmp_path / "temporary", "benchmark.run.fitting prepare 1", *words) as process:
        said, errors = ended(process, signal.SIGTERM)
        assert said.splitlines()[-2:] == [
            "interrupted: 1 of 2 cells finished; the same command continues",
            f"open {tmp_path / 'out'}/index.html in a browser",
        ]
        assert errors == ""
    assert (tmp_path / "out" / "SEED=1" / "metrics.json").exists()
    assert not [path for path in (tmp_path / "out").rglob(".*") if path.name != ".gitignore"]


def test_a_kill_is_silent(tmp_path):
    with started(tmp_path / "out", tmp_path / "temporary", "benchmark.engine.preparation compile_shared 0") as process:
        begun = children(process.pid)
        process.kill()
        # Whoever removes its semaphores writes to the same place.
        _, errors = process.communicate()
        assert errors == ""
        assert are_gone(begun, 5)


def test_calls_in_threads_give_their_results_in_order():
    assert in_threads(lambda i: i * i, range(40)) == [i * i for i in range(40)]
    assert in_threads(str, []) == []
    done = []

    def fails(i):
        if i == 0:
            raise ValueError("first")
        time.sleep(0.05)
        done.append(i)

    # It is raised once all have ended: nothing goes on behind a run that has failed.
    with pytest.raises(ValueError, match="first"):
        in_threads(fails, range(3))
    assert sorted(done) == [1, 2]


def test_calls_that_have_not_begun_do_not_begin_after_a_signal(monkeypatch):
    monkeypatch.setattr(interruption, "_left", [])
    monkeypatch.setattr(os, "cpu_count", lambda: -3)
    begun, over = [], threading.Event()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def work(i):
        begun.append(i)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        over.wait(60)

    try:
        with pytest.raises(KeyboardInterrupt):
            in_threads(work, range(3))
    finally:
        signal.signal(signal.SIGINT, before)
    (left,) = interruption._left
    over.set()
    left.join(60)
    assert begun == [0]


def test_what_compiles_for_long_is_named(monkeypatch):
    monkeypatch.setattr(console, "_LONG_SECONDS", 0.2)
    errors = io.StringIO()
    with (
        contextlib.redirect_stderr(errors),
        contextlib.redirect_stdout(io.StringIO()),
        console.waiting("compiling GAN, VAE"),
        programs.working_on("VAE", "training"),
    ):
        time.sleep(0.5)
    lines = errors.getvalue().splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r"warning: compiling GAN, VAE: still going on after \d+ s, at VAE \(training\)", lines[0])
    assert programs.at_work() == []


def test_a_long_score_after_the_training_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(console, "_LONG_SECONDS", 0.1)

    def slow(*args):
        time.sleep(0.5)
        return usual(*args)

    usual = closing.mean_log_likelihoods
    monkeypatch.setattr(closing, "mean_log_likelihoods", slow)
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        assert script.main([*SMALL, "--out-dir", str(tmp_path)]) == 0
    assert "end: still going on after" in errors.getvalue()
    assert "(likelihoods)" in errors.getvalue()

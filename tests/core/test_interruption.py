"""Signals: the first is noted or raised, the second ends the process even inside a long computation."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from core import interruption, places

ROOT = places.ROOT


@pytest.fixture(autouse=True)
def _heard():
    """Signals as a terminal's processes have them: what a script puts into the background ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(number):
    os.kill(os.getpid(), number)
    # Python runs handlers between two of its instructions.
    time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_where_nothing_is_to_be_kept_a_signal_is_raised(number):
    before = signal.getsignal(number)
    with interruption.handled():
        with pytest.raises(interruption.Interrupted):
            send(number)
        assert interruption.requested() == number
        assert interruption.exit_code() == 128 + number
        with pytest.raises(interruption.Interrupted):
            interruption.check()
        # Whoever begins what could be kept then does not begin it.
        with pytest.raises(interruption.Interrupted), interruption.deferred():
            pass
    assert interruption.requested() is None
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(("owned", "code", "text"), [("", 0, "kept\n"), ("interruption.own_process()", 143, "")])
def test_only_a_process_of_its_own_is_ended_at_its_exit(owned, code, text, tmp_path):
    # Somebody who calls this program, hears of the signal and goes on, with a file that is still open at the end.
    lines = f"""
import os, signal, sys
from core import interruption
{owned}
log = open(sys.argv[1], "w")
try:
    with interruption.handled():
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            pass
except KeyboardInterrupt:
    log.write("kept\\n")
"""
    log = tmp_path / "log"
    done = subprocess.run([sys.executable, "-c", lines, str(log)], cwd=ROOT, timeout=60, capture_output=True, text=True)
    assert (done.returncode, done.stderr, log.read_text()) == (code, "", text)


def test_where_there_is_something_to_keep_it_is_noted_once(capfd):
    with interruption.handled(), interruption.deferred():
        send(signal.SIGTERM)
        # Sent to a process and once more to its group.
        send(signal.SIGTERM)
        deadline = time.monotonic() + 10
        said = ""
        while "\n" not in said and time.monotonic() < deadline:
            time.sleep(0.01)
            said += capfd.readouterr().err
        assert said == "SIGTERM: ending soon, with what there is by then; a second signal, later, stops at once\n"
        assert interruption.requested() == signal.SIGTERM


@pytest.mark.parametrize(
    ("keep", "code", "ending"),
    [("lambda: True", 143, "kept: True\n"), ("lambda: False", 0, "to its end, kept: False\n")],
)
def test_what_is_kept_ends_soon_and_what_cannot_be_kept_goes_on(keep, code, ending):
    lines = f"""
import os, signal, time
from core import interruption
with (
    interruption.handled(),
    interruption.ending_with(lambda: f"kept: {{interruption.kept()}}"),
    interruption.deferred(),
    interruption.kept_by({keep}),
):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
    print(f"to its end, kept: {{interruption.kept()}}")
"""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", lines], cwd=ROOT, timeout=60, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, ending)
    assert code == 0 or time.monotonic() - began < 5


def test_a_part_that_ends_in_time_leaves_the_block_its_usual_way():
    lines = """
import os, signal, time
from core import interruption
interruption._SECONDS_TO_END = 1.0
with interruption.handled(), interruption.deferred():
    with interruption.kept_by(lambda: True):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.3)
    time.sleep(3)
    print(f"to its end, kept: {interruption.kept()}")
"""
    done = subprocess.run([sys.executable, "-c", lines], cwd=ROOT, timeout=60, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "to its end, kept: False\n")


def test_files_that_are_being_exchanged_are_all_in_their_place(tmp_path):
    # The time that is left to the main thread ends within the exchange.
    lines = f"""
import os, pathlib, signal, time
from core import interruption, storage
usual, folder, names = os.replace, pathlib.Path({str(tmp_path)!r}), ["a", "b", "c", "d"]
def slowly(*places):
    time.sleep(0.1)
    usual(*places)
interruption._SECONDS_TO_END = 0.15
os.replace = slowly
with interruption.handled(), interruption.deferred(), interruption.kept_by(lambda: True):
    with storage.staged(folder, names, lambda: None) as staging:
        for name in names:
            (staging / name).write_text("whole")
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", lines], cwd=ROOT, timeout=50, capture_output=True, text=True)
    assert done.returncode == 143, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "d"]


def test_in_another_thread_nothing_is_changed():
    found = []

    def enter():
        with interruption.handled():
            found.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [before]


def test_a_second_one_ends_the_process_inside_a_long_computation(tmp_path):
    # A sorting of so many numbers is one call that looks at no signal.
    code = (
        "import signal, numpy as np; from core import interruption\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with interruption.handled(), interruption.deferred():\n"
        "    print('ready', flush=True)\n"
        "    while True:\n"
        "        np.sort(np.random.default_rng(0).random(2 * 10**7))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    # Nothing is read for ever.
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline().startswith("SIGINT: ending soon, with what there is by then; Ctrl-C again")
        time.sleep(1.5 * interruption._ONE_SECONDS[signal.SIGINT])
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        # It waits for no computation: one of these takes longer.
        assert time.monotonic() - began < 1.0
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()

"""The second process that draws."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor
from pathlib import Path

import pytest

from benchmark.pictures.context import Drawing
from benchmark.pictures.studio import Studio
from core import places


def at(path):
    # As a picture that is told where to go: what writes it is told who writes.
    return Drawing("test_studio.sign", (path,), {})


def sign(path):
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")


def fail(message):
    raise OSError(28, message)


def test_everything_is_drawn_once_and_not_all_of_it_here(tmp_path):
    studio = Studio()
    studio.draw([at(tmp_path / "0")])
    # Until the process is there, nothing is left to it.
    studio._begun[0][1].result()
    studio.draw([at(tmp_path / str(i)) for i in range(1, 40)])
    studio.finish()
    writers = [(tmp_path / str(i)).read_text().split() for i in range(40)]
    assert all(len(lines) == 1 for lines in writers)
    assert writers[0] != [str(os.getpid())]


@pytest.mark.parametrize("position", ["first", "last"])
def test_a_drawing_that_fails_is_reported_after_the_others(tmp_path, position):
    others = [at(tmp_path / str(i)) for i in range(20)]
    bad = [Drawing("test_studio.fail", ("No space left on device",), {})]
    studio = Studio()
    studio.draw(bad + others if position == "first" else others + bad)
    with pytest.raises(OSError, match="No space left"):
        studio.finish()
    assert all((tmp_path / str(i)).exists() for i in range(20))
    # And it can be used again.
    studio.draw([at(tmp_path / "again")])
    studio.finish()
    assert (tmp_path / "again").exists()


def test_the_other_process_outlives_ctrl_c(tmp_path):
    studio = Studio()
    studio.draw([at(tmp_path / "before")])
    studio._begun[0][1].result()
    other = int((tmp_path / "before").read_text())
    assert other != os.getpid()
    os.kill(other, signal.SIGINT)
    studio.draw([at(tmp_path / "after")])
    studio._begun[1][1].result()
    studio.finish()
    assert int((tmp_path / "after").read_text()) == other


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_killed_process_costs_no_picture(tmp_path, when):
    studio = Studio()
    studio.draw([at(tmp_path / "pid")])
    studio._begun[0][1].result()
    other = int((tmp_path / "pid").read_text())
    if when == "before":
        os.kill(other, signal.SIGKILL)
        # Until it has been noticed.
        while studio._pool._flags.broken is None:
            time.sleep(0.01)
        studio.draw([at(tmp_path / str(i)) for i in range(5)])
    else:
        studio.draw([Drawing("os.kill", (other, signal.SIGKILL), {})])
        studio.draw([at(tmp_path / str(i)) for i in range(5)])
        with pytest.raises(BrokenExecutor):
            studio._begun[1][1].result()
        # Not a picture that can be drawn here.
        del studio._begun[1]
    studio.finish()
    assert all((tmp_path / str(i)).read_text() == f"{os.getpid()}\n" for i in range(5))
    # The next one begins another.
    studio = Studio()
    studio.draw([at(tmp_path / "next")])
    assert studio._begun[0][1].result() is None


def test_the_process_ends_with_the_one_that_began_it(tmp_path):
    code = (
        "import time; from benchmark.pictures import pictures, studio\n"
        "s = studio.Studio()\n"
        f"s.draw([pictures.Drawing('test_studio.sign', ({str(tmp_path / 'pid')!r},), {{}})])\n"
        "s._begun[0][1].result()\n"
        "print('drawn', flush=True)\n"
        "time.sleep(600)\n"
    )
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (places.ROOT, here)))}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline() == b"drawn\n"
        process.kill()
        # Both held the pipe: its end is the end of both.
        ended = threading.Event()
        threading.Thread(target=lambda: (process.stdout.read(), ended.set()), daemon=True).start()
        assert ended.wait(20)

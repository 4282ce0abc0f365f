"""One process at a time in a folder, whatever became of the last one."""

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.files import locks
from core import places
from core.errors import UserError


def test_the_second_is_told_who_is_in_the_folder(tmp_path):
    path = str(tmp_path / "a" / "b")
    with locks.held(path) as folder:
        assert folder == Path(path)
        who = rf"^OUT_DIR '{path}' is in use by process {os.getpid()} on {socket.gethostname()} since 20\S+: wait "
        with pytest.raises(locks.Held, match=who), locks.held(path):
            raise AssertionError("entered")
        assert os.listdir(path) == [".lock"]
    # What was made for it and is empty goes again.
    assert not os.listdir(tmp_path)
    with locks.held(path) as folder:
        (folder / "result").touch()
    assert os.listdir(path) == ["result"]


def test_a_lock_ends_with_its_process(tmp_path):
    code = (
        "import time; from benchmark.files import locks\n"
        f"with locks.held({str(tmp_path)!r}):\n  print('in', flush=True)\n  time.sleep(600)"
    )
    place = places.ROOT
    with subprocess.Popen([sys.executable, "-c", code], cwd=place, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "in\n"
        with pytest.raises(locks.Held, match=f"process {process.pid} "), locks.held(str(tmp_path)):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert os.listdir(tmp_path) == [".lock"]
    with locks.held(str(tmp_path)):
        assert f"process {os.getpid()} " in (tmp_path / ".lock").read_text()
    assert not os.listdir(tmp_path)


def test_of_those_who_race_for_a_folder_one_at_a_time_is_in_it(tmp_path):
    # Who is inside must find nobody's mark. Everyone tries until he has been in often enough.
    code = f"""if True:
        import os, time; from benchmark.files import locks
        mark, entered, refused = {str(tmp_path / "mark")!r}, 0, 0
        print("ready", flush=True)
        input()
        while entered < 30:
            try:
                with locks.held({str(tmp_path / "out")!r}):
                    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
                    time.sleep(0.01)
                    os.unlink(mark)
                    entered += 1
            except locks.Held:
                refused += 1
        print(refused)
    """
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    racers = [subprocess.Popen([sys.executable, "-c", code], cwd=places.ROOT, **pipes) for _ in range(3)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    said = [racer.communicate() for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0, 0], said
    # Or there was no race.
    assert sum(int(out) for out, _ in said) > 0
    # Nothing but the folder, where the one who had made it went while another was in it.
    assert not list((tmp_path / "out").glob("*"))


def test_a_lock_that_was_removed_meanwhile_is_taken_anew(tmp_path, monkeypatch):
    real, removed = locks._lock, []

    def lock(file):
        real(file)
        if not removed:
            # Who had it removes it between the opening and the locking.
            (tmp_path / ".lock").unlink()
            removed.append(file)

    monkeypatch.setattr(locks, "_lock", lock)
    with locks.held(str(tmp_path)):
        assert removed
        with pytest.raises(locks.Held), locks.held(str(tmp_path)):
            pass


@pytest.mark.parametrize("kind", ["link", "dangling", "second name", "pipe", "folder"])
def test_what_stands_in_the_lock_s_place_is_not_written_to(tmp_path, kind):
    (tmp_path / "out").mkdir()
    place, victim = tmp_path / "out" / ".lock", tmp_path / "victim"
    if kind != "dangling":
        victim.write_text("precious")
    if kind in ("link", "dangling"):
        place.symlink_to(victim)
    elif kind == "second name":
        place.hardlink_to(victim)
    else:
        os.mkfifo(place) if kind == "pipe" else place.mkdir()
    with pytest.raises(UserError, match=r"holds a \.lock that is .* remove it$"), locks.held(str(tmp_path / "out")):
        raise AssertionError("entered")
    assert os.path.lexists(place)
    assert victim.exists() == (kind != "dangling")
    assert kind == "dangling" or victim.read_text() == "precious"


def test_the_lock_of_another_user_keeps_others_out_as_well(tmp_path, monkeypatch):
    """Who may write in the folder, but not to that file."""
    path, real = str(tmp_path), os.open

    def opened(name, flags, *mode):
        if str(name).endswith(locks.LOCK_FILE) and flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(name, flags, *mode)

    with locks.held(path):
        monkeypatch.setattr(os, "open", opened)
        with pytest.raises(locks.Held, match=f"in use by process {os.getpid()} on "), locks.held(path):
            raise AssertionError("entered")
        assert os.listdir(path) == [".lock"]
    # What a crash of theirs has left.
    (tmp_path / ".lock").touch()
    with locks.held(path), pytest.raises(locks.Held), locks.held(path):
        raise AssertionError("entered")
    assert not os.listdir(path)


def test_where_there_are_no_locks_a_run_is_no_worse_off(tmp_path, monkeypatch):
    def lock(file):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks, "_lock", lock)
    with locks.held(str(tmp_path)), locks.held(str(tmp_path)):
        assert not os.listdir(tmp_path)


def test_two_single_runs(tmp_path, capfd):
    with locks.held(str(tmp_path)):
        assert script.main(["--out-dir", str(tmp_path)]) == 2
        said = capfd.readouterr()
        assert said.out == ""
        assert said.err.startswith(f"error: OUT_DIR '{tmp_path}' is in use by process {os.getpid()} on ")
        assert said.err.count("\n") == 1
        assert os.listdir(tmp_path) == [".lock"]

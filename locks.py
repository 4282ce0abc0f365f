"""One process at a time in an output folder.

The operating system keeps the lock for as long as the process lives, and lets go of it however that ends: what a crash
leaves behind is a file that nobody holds. The file says who does, for the line that the next one is refused with. A
library such as filelock keeps the same lock; who has it would still be this module's to write, and that is most of it.
"""

import contextlib
import datetime
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import storage
from errors import UserError

try:
    import fcntl
except ImportError:
    # Windows.
    fcntl = None
    import msvcrt

LOCK_FILE = ".lock"
# Where Windows locks one byte: what is locked there nobody else can read, and the file's own are to be read.
_BEYOND = 2**30
# Whoever lets go removes the file first: for a moment there may be nothing to take.
_TRIES, _PAUSE_SECONDS = 5, 0.02


class Held(UserError):
    """Another process is at work in the folder."""


@contextlib.contextmanager
def held(path: str) -> Iterator[Path]:
    """Opens an output folder for a block that no other process is in at the same time.

    Where the file system knows no locks the block is entered all the same. A folder that was made for the block and is
    empty at its end is removed.

    Args:
      path: the folder, made if need be.

    Yields:
      The folder.

    Raises:
      Held: another process is in it.
      UserError: it cannot be written.
    """
    folder = Path(path)
    missing = [place for place in (folder, *folder.parents) if not os.path.exists(place)]
    try:
        storage.open_folder(path)
        lock = _take(folder / LOCK_FILE, path)
        try:
            yield folder
        finally:
            if lock is not None:
                _let_go(folder / LOCK_FILE, lock)
    finally:
        for place in missing:
            # Only what is empty.
            with contextlib.suppress(OSError):
                place.rmdir()


def _take(path: Path, folder: str) -> int | None:
    """The lock's open file; None where there can be none."""
    holder = ""
    for i in range(_TRIES):
        if i:
            time.sleep(_PAUSE_SECONDS)
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            # The folder had been made for another run, which has removed it.
            storage.open_folder(folder)
            continue
        except OSError:
            return None
        try:
            _lock(lock)
        except (BlockingIOError, PermissionError):
            holder = _read(lock)
            os.close(lock)
            continue
        except OSError:
            # The file system knows no locks.
            os.close(lock)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        if _is(path, lock):
            since = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
            with contextlib.suppress(OSError):
                os.ftruncate(lock, 0)
                os.lseek(lock, 0, os.SEEK_SET)
                os.write(lock, f"process {os.getpid()} on {socket.gethostname()} since {since}".encode())
            return lock
        os.close(lock)
    raise Held(
        f"OUT_DIR {folder!r} is in use by {holder or 'another process'}: wait until that has ended, or name another "
        "OUT_DIR"
    )


def _lock(lock: int) -> None:
    if fcntl:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        os.lseek(lock, _BEYOND, os.SEEK_SET)
        msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)


def _let_go(path: Path, lock: int) -> None:
    with contextlib.suppress(OSError):
        if fcntl and _is(path, lock):
            path.unlink()
    os.close(lock)
    if not fcntl:
        # An open file stays there; what another has taken meanwhile cannot be removed.
        with contextlib.suppress(OSError):
            path.unlink()


def _is(path: Path, lock: int) -> bool:
    """Whether the path still names the open file: another process may have removed it and made a new one."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(lock))
    except OSError:
        return False


def _read(lock: int) -> str:
    try:
        os.lseek(lock, 0, os.SEEK_SET)
        text = os.read(lock, 200).decode(errors="replace")
    except OSError:
        return ""
    return "".join(letter for letter in text if letter.isprintable())

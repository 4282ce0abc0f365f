"""One process at a time in an output folder.

The operating system keeps the lock for as long as the process lives, and lets go of it however that ends: what a crash
leaves behind is a file that nobody holds. The file says who does, for the line that the next one is refused with. A
library such as filelock keeps the same lock; who has it would still be this module's to write, and that is most of it.
"""

import contextlib
import datetime
import errno
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from core import interruption, storage
from core.errors import UserError

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
      UserError: it cannot be written, or what stands in the lock's place is not a file of its own.
    """
    folder = Path(path)
    missing = [place for place in (folder, *folder.parents) if not os.path.exists(place)]

    def remove_empty():
        for place in missing:
            # Only what is empty.
            with contextlib.suppress(OSError):
                place.rmdir()

    def let_go():
        if lock is not None:
            _let_go(folder / LOCK_FILE, lock)

    with interruption.cleaned_up(remove_empty):
        storage.open_folder(path)
        lock = _take(folder / LOCK_FILE, path)
        with interruption.cleaned_up(let_go):
            yield folder


def _take(path: Path, folder: str) -> int | None:
    """The lock's open file; None where there can be none."""
    holder = ""
    for i in range(_TRIES):
        if i:
            time.sleep(_PAUSE_SECONDS)
        try:
            lock = _open(path)
        except FileNotFoundError:
            # The folder had been made for another run, which has removed it.
            storage.open_folder(folder)
            continue
        except OSError:
            if os.path.lexists(path) and not _is_plain(os.lstat(path)):
                raise _foreign(folder) from None
            return None
        if not _is_plain(os.fstat(lock)):
            os.close(lock)
            raise _foreign(folder)
        try:
            _lock(lock)
        except (BlockingIOError, PermissionError):
            holder = _read(lock)
            os.close(lock)
            continue
        except OSError as error:
            # The file system knows no locks, or none of a file that is only read, which is somebody else's.
            os.close(lock)
            if error.errno != errno.EBADF:
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


def _open(path: Path) -> int:
    """The lock's file, made if need be; never what a link in its place leads to, which would be written over."""
    careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | careful, 0o666)
    except PermissionError:
        # Another user's; to hold it, or to learn that it is held, it need not be written.
        return os.open(path, os.O_RDONLY | careful)


def _is_plain(status: os.stat_result) -> bool:
    """Whether this is a regular file under one name; under none where who had it has just removed it."""
    return stat.S_ISREG(status.st_mode) and status.st_nlink <= 1


def _foreign(folder: str) -> UserError:
    return UserError(
        f"OUT_DIR {folder!r} holds a {LOCK_FILE} that is a link or no file, which no run has put there: remove it"
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

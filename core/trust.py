"""What is read is measured before it is loaded, and what is kept for later lies where nobody else can write.

Files are data: nothing here or behind it unpickles, evaluates or decompresses what it reads, and no size that a file
claims is believed before it has been compared with the file's own.
"""

import contextlib
import io
import math
import os
import stat
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

MOST_BYTES = 2**26  # of a metrics.json: two million numbers, some thousand times the default run's
# NumPy takes headers of 10 000 letters at most; its own have 118.
_LONGEST_HEADER = 16_384
# The third form is the second with names of fields that need not be ASCII; tables of numbers have none.
_NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0,
                (3, 0): np.lib.format.read_array_header_2_0}  # fmt: skip
# An archive's table of contents: thousands of members.
_LONGEST_CONTENTS = 2**20
_MOST_LINKS = 40


class Header(NamedTuple):
    """What the beginning of a `.npy` file claims."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype
    offset: int  # bytes before the numbers

    @property
    def n_bytes(self) -> int:
        """What the numbers take."""
        return math.prod(self.shape) * self.dtype.itemsize


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[BinaryIO]:
    """Opens a regular file for reading, and nothing that one could wait for: no pipe, device or folder.

    Raises:
      OSError: it cannot be opened.
      ValueError: it is something else.
    """

    def without_waiting(name, flags):
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    with open(path, "rb", opener=without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a regular file")
        yield file


def size_of(file: BinaryIO) -> int:
    """Bytes of an open file."""
    return os.fstat(file.fileno()).st_size


def read_whole(path: str | Path) -> bytes:
    """The content of a file that is small enough to be what this program has written about a run.

    Raises:
      OSError: it cannot be read.
      ValueError: it is larger, or no regular file.
    """
    with opened(path) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES >> 20} MiB")
    return content


def read_header(file: BinaryIO) -> Header:
    """Reads the header of an array that begins here, and nothing behind it.

    Raises:
      ValueError: it is not what numpy.save writes.
    """
    start = io.BytesIO(file.read(_LONGEST_HEADER))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = _NPY_HEADERS[np.lib.format.read_magic(start)]
            shape, fortran_order, dtype = read(start)
        # True is a whole number to NumPy.
        shape = tuple(map(int, shape))
    except Exception:
        # It is parsed as a Python literal and then as a dtype, which can fail in any way: by its depth, its types.
        raise ValueError("it is not what numpy.save writes") from None
    if any(length < 0 for length in shape):
        raise ValueError("it is not what numpy.save writes: its shape has a length below 0")
    return Header(shape, fortran_order, dtype, start.tell())


def check_archive(path: str | Path) -> None:
    """Proves that loading an `.npz` file takes no more memory than the file takes on the disk.

    Its members are stored and not compressed, lie inside the file, and each is one whole array without Python objects.

    Raises:
      ValueError: it is no such archive; the line says why.
      OSError: it cannot be read.
    """
    with opened(path) as file:
        size = size_of(file)
        try:
            with zipfile.ZipFile(_Frugal(file)) as archive:
                members = archive.infolist()
                if sum(member.compress_size for member in members) > size:
                    raise ValueError("its members are larger than the file")
                for member in members:
                    _check_member(archive, member)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, struct.error, EOFError, OverflowError) as error:
            raise ValueError(f"it is not a whole archive: {error}") from None


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        raise ValueError(f"its member {member.filename!r} is compressed")
    with archive.open(member) as content:
        header = read_header(content)
    if header.dtype.hasobject:
        raise ValueError(f"its member {member.filename!r} holds pickled objects")
    # Entries of no size take no room in a file, but each takes some as soon as it is looked at.
    needed = header.offset + math.prod(header.shape) * max(header.dtype.itemsize, 1)
    if needed > max(member.file_size, header.offset + 1):
        raise ValueError(f"its member {member.filename!r} claims more numbers than it holds")


class _Frugal:
    """A file of which nobody can read more at once than a table of contents takes."""

    def __init__(self, file: BinaryIO):
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """As of a file."""
        most = _LONGEST_CONTENTS if size < 0 else size
        if most > _LONGEST_CONTENTS:
            raise ValueError("its table of contents is too long")
        return self._file.read(most)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def make_private(folder: Path) -> str | None:
    """Makes a folder, and those on the way to it, unless somebody else could put something of theirs in its place.

    Whoever can write to a folder can rename what is in it and put something else there, unless it has the sticky bit
    (as /tmp has) and the thing is not theirs. So every folder from the root on is looked at, and every link with all
    that it leads to; from the root down, as then nobody can change any more what has been looked at.

    Args:
      folder: an absolute path.

    Returns:
      What is not private, or None where all of it is. On Windows, where a user's profile is the user's, always None.

    Raises:
      OSError: it cannot be made or looked at.
    """
    place, rest, n_links = Path(folder.anchor), list(folder.parts[1:]), 0
    while True:
        try:
            status = place.lstat()
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                place.mkdir(mode=0o700)
            # Somebody may have been quicker: it is looked at all the same.
            status = place.lstat()
        whose = _not_mine(status)
        if whose:
            return f"{place} {whose}"
        if stat.S_ISLNK(status.st_mode):
            n_links += 1
            if n_links > _MOST_LINKS:
                return f"{place} is a link that leads nowhere"
            target = Path(os.readlink(place))
            rest = [*(target.parts[1:] if target.anchor else target.parts), *rest]
            place = Path(target.anchor) if target.anchor else place.parent
            continue
        if not stat.S_ISDIR(status.st_mode):
            return f"{place} is not a folder"
        sticky = rest and status.st_mode & stat.S_ISVTX
        if hasattr(os, "getuid") and status.st_mode & 0o022 and not sticky:
            return f"others can write to {place}"
        if not rest:
            return None
        place = place / rest.pop(0)


def foreign_file(folder: Path) -> str | None:
    """What in a folder somebody else has written or can write; None where there is nothing of the kind.

    Args:
      folder: one that `make_private` has approved of, perhaps after others could write to it.
    """
    enterable = folder.stat().st_mode & 0o011
    with os.scandir(folder) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            whose = _not_mine(status)
            if whose:
                return f"{entry.path} {whose}"
            writable = status.st_mode & 0o022 and not stat.S_ISLNK(status.st_mode)
            if hasattr(os, "getuid") and enterable and writable:
                return f"others can write to {entry.path}"
    return None


def _not_mine(status: os.stat_result) -> str:
    """Whose something is that belongs neither to this user nor to root; empty for what does."""
    if not hasattr(os, "getuid") or status.st_uid in (0, os.getuid()):
        return ""
    return f"belongs to somebody else (user {status.st_uid})"

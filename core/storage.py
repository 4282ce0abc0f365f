"""Files that are there whole or not at all, whatever happens while they are written."""

import contextlib
import errno
import os
import shutil
import tempfile
import uuid
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from core import interruption
from core.errors import UserError

# Ends the names of what is not whole yet.
_TEMPORARY = ".unfinished"
_TRIES = 5


def open_folder(path: str) -> Path:
    """Creates the output folder if need be and proves that files can be written there.

    Raises:
      UserError: it is a file, or cannot be written.
    """
    folder = Path(path)
    missing = [place for place in (folder, *folder.parents) if not os.path.exists(place)]
    try:
        _prove(folder)
    except OSError as error:
        nowhere = [place for place in (folder, *folder.parents) if os.path.islink(place) and not os.path.exists(place)]
        reason = f"{str(nowhere[0])!r} is a link that leads nowhere" if nowhere else error.strerror
        # What was made on the way to it goes again: rmdir takes only what is empty.
        for place in missing:
            with contextlib.suppress(OSError):
                place.rmdir()
        raise UserError(
            f"OUT_DIR {path!r} cannot be written ({reason}): name a folder that can be, such as "
            "results_classical_benchmarks"
        ) from None
    return folder


def _prove(folder: Path) -> None:
    """Makes the folder and a file in it."""
    for i in range(_TRIES):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # As long as any name that a run makes there.
            with tempfile.NamedTemporaryFile(dir=folder, suffix="-" * 64):
                return
        except FileNotFoundError:
            # Another run removes a folder that it has made and that is empty in the end.
            if i == _TRIES - 1:
                raise


@contextlib.contextmanager
def replaced_by(path: str | Path) -> Iterator[Path]:
    """A temporary name beside `path` that becomes it once the block has ended well."""
    # Processes of two machines can have one number.
    temporary = Path(path).with_name(f".{Path(path).name}.{uuid.uuid4().hex[:12]}{_TEMPORARY}")
    with interruption.cleaned_up(lambda: temporary.unlink(missing_ok=True)):
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Opens a file that is there whole once its block has ended, and not at all if that fails."""
    with replaced_by(path) as temporary, open(temporary, "wb") as file:
        yield file


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that it is there whole or not at all."""
    with written_whole(path) as file:
        file.write(content)


def write_npz(file: BinaryIO | Path, arrays: Iterable[tuple[str, np.ndarray]], compress: bool = False) -> None:
    """Writes named arrays as `numpy.savez` does, but one after the other: they need not all be there at once."""
    how = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", how, allowZip64=True) as archive:
        for name, array in arrays:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


class HalfReplaced(OSError):
    """Some of the files that were to come together have come, and others could not."""


@contextlib.contextmanager
def staged(folder: Path, names: Sequence[str], before_last: Callable[[], None]) -> Iterator[Path]:
    """A folder for files that go into another one together, once the block has ended.

    Until then nothing there changes: a full disk is noticed before.

    Args:
      folder: where they are to go; it exists.
      names: of the files, in the order in which they go; where the last one is, all are.
      before_last: called before that goes.

    Raises:
      HalfReplaced: a file could not go, but others have.
      OSError: nothing has changed.
    """
    staging = folder / f".{uuid.uuid4().hex[:12]}{_TEMPORARY}"
    staging.mkdir()
    with interruption.cleaned_up(lambda: shutil.rmtree(staging, ignore_errors=True)):
        yield staging
        for name in names:
            _flush(staging / name)
            if (folder / name).is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(folder / name))
        with interruption.deferred(), interruption.undisturbed():
            for i, name in enumerate(names):
                if name == names[-1]:
                    before_last()
                try:
                    os.replace(staging / name, folder / name)
                except OSError as error:
                    raise HalfReplaced(*error.args) if i else error from None


def remove_leftovers(folder: Path) -> None:
    """Removes what processes that were killed had not finished writing."""
    for path in folder.glob(f".*{_TEMPORARY}"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()


def _flush(path: Path) -> None:
    """Brings a file's content to the disk: a name must not arrive there before."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())

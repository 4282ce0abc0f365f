"""Files from elsewhere, whatever kind of events they hold: read without trusting them, and split into two parts."""

import contextlib
import itertools
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from core import trust
from core.errors import UserError, check_path, nearest_choice
from core.wording import cut

TRAIN_SHARE = 0.7  # the rest is held out and is what the metrics see
MIN_ROWS = 20
MAX_BYTES = 2**29  # of a file
MAX_NUMBERS = 10_000_000  # in a table
_MOST_SIBLINGS = 1000  # among which a name that is missing may have been meant


class Table(NamedTuple):
    """What a file of rows holds."""

    rows: np.ndarray  # [N, D], every entry finite
    notes: tuple[str, ...]  # how it was read, where that is not the only way


class Masses(NamedTuple):
    """What a file of probabilities holds."""

    values: np.ndarray  # [K] float64, sum 1
    notes: tuple[str, ...] = ()  # what is to be said of it


def check_is_file(path: str, what: str, endings: Sequence[str]) -> None:
    """Proves that a path leads to a file of one of several kinds.

    Args:
      path: of the file.
      what: the constant that names it, for messages.
      endings: of the names of such files, such as ".npy".

    Raises:
      UserError: it does not.
    """
    kinds = _either(endings)
    if not str(path):
        raise UserError(f"{what} is empty: name a {kinds} file")
    check_path(what, path)
    place, file = f"{what} {path!r}", Path(path)
    # os.path never raises where a folder cannot be entered or a name is too long.
    if not os.path.isfile(path):
        if os.path.isdir(path):
            raise UserError(f"{place} is not a file but a folder: name a {kinds} file in it")
        if os.path.exists(path):
            raise UserError(f"{place} is not a file but a pipe or a device: write its rows to a {kinds} file")
        if os.path.islink(path):
            raise UserError(f"{place} is not a file but a link that leads nowhere: name the file itself")
        siblings = []
        with contextlib.suppress(OSError):
            siblings = [p.name for p in itertools.islice(file.parent.iterdir(), _MOST_SIBLINGS)]
        siblings = [name for name in siblings if name.lower().endswith(tuple(endings))]
        raise UserError(f"{place} is not a file{nearest_choice(file.name, siblings)}")
    if file.suffix.lower() not in endings:
        neither = f"neither {' nor '.join(endings)}" if len(endings) == 2 else f"none of {', '.join(endings)}"
        raise UserError(f"{place} is {neither}: choose one of {'the two' if len(endings) == 2 else 'these'}")


def _either(words: Sequence[str]) -> str:
    """Such as ".npy or .csv"."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def array_of(
    file: BinaryIO,
    size: int,
    place: str,
    check_shape: Callable[[tuple[int, ...]], None] = lambda shape: None,
    most: int | None = None,
) -> np.ndarray:
    """The array of a .npy file; read only when its header has proved to fit the file and the limits.

    Args:
      file: opened, at its beginning.
      size: its bytes.
      place: which file, for messages.
      check_shape: raises a UserError for a shape that is of no use.
      most: numbers that are read; None: MAX_NUMBERS.
    """
    header = trust.read_header(file)
    if header.dtype.hasobject:
        raise ValueError("it holds pickled objects, which are never loaded; save a plain array of numbers")
    if header.dtype.kind not in "fiub":
        raise UserError(f"{place} holds {cut(str(header.dtype), 60)} entries: it needs real numbers")
    check_shape(header.shape)
    there = max(0, size - header.offset)
    if header.n_bytes > there:
        promised = f"{count_of(header.n_bytes)} bytes of numbers"
        raise ValueError(f"its header promises {promised}, but {count_of(there)} follow; save it again")
    n, most = math.prod(header.shape), MAX_NUMBERS if most is None else most
    if n > most:
        raise too_many(place, n, most)
    if not n:
        return np.empty(header.shape)
    file.seek(header.offset)
    numbers = np.frombuffer(file.read(header.n_bytes), header.dtype, n)
    return numbers.reshape(header.shape, order="F" if header.fortran_order else "C")


def too_many(place: str, n: int, most: int) -> UserError:
    """The error for a table of n numbers, of which `most` are read."""
    return UserError(
        f"{place} has {count_of(n)} numbers: at most {count_of(most)} are read; keep one row in {-(-n // most)}"
    )


def count_of(n: int) -> str:
    """A whole number with spaces between thousands; of one that no file can hold, its size."""
    return f"{n:,}".replace(",", " ") if n < 10**18 else f"about 10^{math.log10(n):.0f}"


def as_probabilities(masses: np.ndarray, place: str) -> np.ndarray:
    """Masses [K] of a file, divided by their sum.

    Raises:
      UserError: one is below 0, or they do not sum to 1.
    """
    if not np.isfinite(masses).all() or masses.min() < 0:
        wrong = int(np.flatnonzero(~np.isfinite(masses))[0]) if not np.isfinite(masses).all() else masses.argmin()
        raise UserError(f"{place}: entry {wrong + 1} is {masses[wrong]:g}; none may be below 0")
    with np.errstate(over="ignore"):
        total = masses.sum()
    if not np.isclose(total, 1, rtol=0, atol=1e-6):
        raise UserError(f"{place}: the probabilities sum to {total:.9g}, not 1; divide them by their sum")
    return masses / total


def split_rows(rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits rows [N, D] at random into a training part (70 %) and a held-out one, as the seed says."""
    order = np.random.default_rng(seed).permutation(len(rows))
    n_train = round(TRAIN_SHARE * len(rows))
    return rows[order[:n_train]], rows[order[n_train:]]

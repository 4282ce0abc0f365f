"""Tables of samples in files: read without trusting them, and split into a training and a held-out part."""

import contextlib
import itertools
import math
import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from core import trust
from core.errors import UserError, check_path, nearest_choice
from core.wording import cut
from kinds.real import csv_tables

TRAIN_SHARE = 0.7  # the rest is held out and is what the metrics see
MIN_ROWS = 20
MAX_BYTES = 2**29  # of its file
_MOST_SIBLINGS = 1000  # among which a name that is missing may have been meant


class Table(NamedTuple):
    """What a file of numbers holds."""

    rows: np.ndarray  # [N, D] float64, every entry finite, D in {1, 2}
    notes: tuple[str, ...]  # how it was read, where that is not the only way


def notes_of(table: Table, place: str) -> tuple[str, ...]:
    """What is said of a table that has been read: its size, and how."""
    n_rows, n_columns = table.rows.shape
    size = f"{_count(n_rows)} rows of {n_columns} column{'s' if n_columns > 1 else ''}"
    return (f"{place}: {'; '.join((size, *table.notes))}",)


def read_rows(path: str, what: str) -> np.ndarray:
    """The rows of `read_table`."""
    return read_table(path, what).rows


def read_table(path: str, what: str) -> Table:
    """Reads a table of samples.

    Args:
      path: a `.npy` file (never unpickled) or a `.csv` file of numbers (`csv_tables.read`); 1 or 2 columns.
      what: the constant that names the file, for messages.

    Raises:
      UserError: the file is missing, empty, of another kind, larger than the limits above, or holds anything but
        finite numbers.
    """
    if not str(path):
        raise UserError(f"{what} is empty: name a .npy or .csv file of 1 or 2 columns")
    path = os.fspath(path)
    check_path(what, path)
    place = f"{what} {path!r}"
    _check_is_file(path, place)
    try:
        with trust.opened(path) as file:
            size = trust.size_of(file)
            if size == 0:
                raise UserError(f"{place} is empty: it needs rows of 1 or 2 numbers")
            if size > MAX_BYTES:
                raise UserError(
                    f"{place} has {_count(size >> 20)} MiB: at most {MAX_BYTES >> 20} are read; keep one row in "
                    f"{_count(-(-size // MAX_BYTES))}"
                )
            is_text = path.lower().endswith(".csv")
            rows, notes = csv_tables.read(file, place) if is_text else (_of_npy(file, size, place), ())
            if is_text and len(rows):
                _check_shape(rows.shape, place)
            rows = _finite(rows, place, file if is_text else None)
    except UserError:
        raise
    except (ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(f"{place} cannot be read as numbers: {reason}") from None
    return Table(rows, notes)


def _finite(rows: np.ndarray, place: str, text: BinaryIO | None) -> np.ndarray:
    """The rows [N, D] float64; of a text file a row that is not finite is named by its line.

    Raises:
      UserError: there is no row, or one that is not finite.
    """
    if not len(rows):
        raise UserError(f"{place} has no rows: at least {MIN_ROWS} are needed")
    if rows.ndim == 1:
        rows = rows[:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        rows = np.array(rows, np.float64)
    wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(wrong):
        first = int(wrong[0])
        where = f"row {first + 1}" if text is None else f"line {csv_tables.line_of_row(text, first)}"
        raise UserError(f"{place}: {where} holds {rows[first].tolist()}; every entry must be a finite number")
    return rows


def _check_is_file(path: str, place: str) -> None:
    """Raises a UserError unless the path leads to a file of one of the two kinds."""
    file = Path(path)
    # os.path never raises where a folder cannot be entered or a name is too long.
    if not os.path.isfile(path):
        if os.path.isdir(path):
            raise UserError(f"{place} is not a file but a folder: name a .npy or .csv file in it")
        if os.path.exists(path):
            raise UserError(f"{place} is not a file but a pipe or a device: write its rows to a .npy or .csv file")
        if os.path.islink(path):
            raise UserError(f"{place} is not a file but a link that leads nowhere: name the file itself")
        siblings = []
        with contextlib.suppress(OSError):
            siblings = [p.name for p in itertools.islice(file.parent.iterdir(), _MOST_SIBLINGS)]
        siblings = [name for name in siblings if name.lower().endswith((".npy", ".csv"))]
        raise UserError(f"{place} is not a file{nearest_choice(file.name, siblings)}")
    if file.suffix.lower() not in (".npy", ".csv"):
        raise UserError(f"{place} is neither .npy nor .csv: choose one of the two")


def _of_npy(file: BinaryIO, size: int, place: str) -> np.ndarray:
    """The array of a .npy file; read only when its header has proved to fit the file and the limits."""
    header = trust.read_header(file)
    if header.dtype.hasobject:
        raise ValueError("it holds pickled objects, which are never loaded; save a plain array of numbers")
    if header.dtype.kind not in "fiub":
        raise UserError(f"{place} holds {cut(str(header.dtype), 60)} entries: it needs real numbers")
    _check_shape(header.shape, place)
    there = max(0, size - header.offset)
    if header.n_bytes > there:
        raise ValueError(
            f"its header promises {_count(header.n_bytes)} bytes of numbers, but {_count(there)} follow; save it again"
        )
    n = math.prod(header.shape)
    if n > csv_tables.MAX_NUMBERS:
        raise _too_many(place, n)
    if not n:
        return np.empty(header.shape)
    file.seek(header.offset)
    numbers = np.frombuffer(file.read(header.n_bytes), header.dtype, n)
    return numbers.reshape(header.shape, order="F" if header.fortran_order else "C")


def _check_shape(shape: tuple[int, ...], place: str) -> None:
    """Raises a UserError unless an array of this shape is a table of 1 or 2 columns."""
    if len(shape) == 1 or (len(shape) == 2 and shape[1] in (1, 2)):
        return
    text = cut("×".join(map(str, shape)), 60) or "of a single number"
    raise UserError(f"{place} has shape {text}: it needs rows of 1 or 2 columns")


def _too_many(place: str, n: int) -> UserError:
    """The error for a table of n numbers."""
    most = csv_tables.MAX_NUMBERS
    return UserError(
        f"{place} has {_count(n)} numbers: at most {_count(most)} are read; keep one row in {-(-n // most)}"
    )


def _count(n: int) -> str:
    """A whole number with spaces between thousands; of one that no file can hold, its size."""
    return f"{n:,}".replace(",", " ") if n < 10**18 else f"about 10^{math.log10(n):.0f}"


def split_rows(rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits rows [N, D] at random into a training part (70 %) and a held-out one, as the seed says."""
    order = np.random.default_rng(seed).permutation(len(rows))
    n_train = round(TRAIN_SHARE * len(rows))
    return rows[order[:n_train]], rows[order[n_train:]]


def check_columns(rows: np.ndarray, train: np.ndarray, place: str) -> None:
    """Proves that a table can be standardised by its training part, in float32.

    Args:
      rows: [N, D] all of it.
      train: [M, D] the part.
      place: which table, for messages.

    Raises:
      UserError: the first column that cannot.
    """
    for i, (column, own) in enumerate(zip(rows.T, train.T, strict=True), 1):
        if (own == own[0]).all():
            raise UserError(f"{place}: column {i} is the same in every training row")
        highest, magnitude = float(np.abs(column).max()), float(np.abs(own).max())
        with np.errstate(over="ignore"):
            deviation = float(own.std())
        if not deviation > 1e-18 or highest > 1e18:
            divisor = highest if highest > 1e18 else deviation or magnitude
            raise UserError(
                f"{place}: column {i} has numbers of {highest:.3g} that vary by {deviation:.3g}, beyond float32's "
                f"reach; divide it by {divisor:.3g}"
            )
        if deviation < 1e-4 * magnitude:
            raise UserError(
                f"{place}: column {i} varies by {deviation:.3g} around numbers of {magnitude:.3g}, too little for "
                f"float32; subtract {own.mean():.9g} from it"
            )

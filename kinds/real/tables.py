"""Tables of samples in files: read without trusting them, and split into a training and a held-out part."""

import contextlib
import io
import itertools
import math
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np

from core import trust
from core.errors import UserError, check_path, nearest_choice
from core.wording import cut

TRAIN_SHARE = 0.7  # the rest is held out and is what the metrics see
MIN_ROWS = 20
MAX_NUMBERS = 10_000_000  # in a table
MAX_BYTES = 2**29  # of its file
MAX_LINE = 4096  # letters of a line of a .csv
_MOST_SIBLINGS = 1000  # among which a name that is missing may have been meant


def read_rows(path: str, what: str) -> np.ndarray:
    """Reads a table of samples.

    Args:
      path: a `.npy` file (never unpickled) or a `.csv` file of numbers without a header; 1 or 2 columns.
      what: the constant that names the file, for messages.

    Returns:
      [N, D] float64, every entry finite, D in {1, 2}.

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
            rows = _of_npy(file, size, place) if path.endswith(".npy") else _of_csv(file, place)
    except UserError:
        raise
    except (ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or _reason(" ".join(str(error).split()))
        raise UserError(f"{place} cannot be read as numbers: {reason}") from None
    if not len(rows):
        raise UserError(f"{place} has no rows: at least {MIN_ROWS} are needed")
    if rows.ndim == 1:
        rows = rows[:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        rows = np.array(rows, np.float64)
    wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(wrong):
        raise UserError(
            f"{place}: row {wrong[0] + 1} holds {rows[wrong[0]].tolist()}; every entry must be a finite number"
        )
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
        siblings = [name for name in siblings if name.endswith((".npy", ".csv"))]
        raise UserError(f"{place} is not a file{nearest_choice(file.name, siblings)}")
    if file.suffix not in (".npy", ".csv"):
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
    if n > MAX_NUMBERS:
        raise _too_many(place, n)
    if not n:
        return np.empty(header.shape)
    file.seek(header.offset)
    numbers = np.frombuffer(file.read(header.n_bytes), header.dtype, n)
    return numbers.reshape(header.shape, order="F" if header.fortran_order else "C")


def _of_csv(file: BinaryIO, place: str) -> np.ndarray:
    """The numbers of a .csv file [N, columns] float64."""
    with io.TextIOWrapper(file, encoding="utf-8-sig") as text, warnings.catch_warnings():
        # That a file holds no rows is said elsewhere, in one line.
        warnings.simplefilter("ignore", UserWarning)
        rows = np.loadtxt(_lines(text, place), delimiter=",", ndmin=2, dtype=np.float64)
    if len(rows):
        _check_shape(rows.shape, place)
    return rows


def _lines(text: TextIO, place: str) -> Iterator[str]:
    """The lines of a text file, as long as they are short and hold no more numbers than a table may."""
    n = 0
    for i, line in enumerate(iter(lambda: text.readline(MAX_LINE + 1), ""), 1):
        if len(line) > MAX_LINE:
            raise UserError(f"{place}: line {i} has more than {MAX_LINE} letters; a row is 1 or 2 numbers on its line")
        n += line.count(",") + 1
        if n > MAX_NUMBERS:
            raise _too_many(place, None)
        yield line


def _check_shape(shape: tuple[int, ...], place: str) -> None:
    """Raises a UserError unless an array of this shape is a table of 1 or 2 columns."""
    if len(shape) == 1 or (len(shape) == 2 and shape[1] in (1, 2)):
        return
    text = cut("×".join(map(str, shape)), 60) or "of a single number"
    raise UserError(f"{place} has shape {text}: it needs rows of 1 or 2 columns")


def _too_many(place: str, n: int | None) -> UserError:
    """The error for a table of n numbers; None: of more than are counted."""
    has, keep = ("too many", "fewer rows") if n is None else (_count(n), f"one row in {-(-n // MAX_NUMBERS)}")
    return UserError(f"{place} has {has} numbers: at most {_count(MAX_NUMBERS)} are read; keep {keep}")


def _count(n: int) -> str:
    """A whole number with spaces between thousands; of one that no file can hold, its size."""
    return f"{n:,}".replace(",", " ") if n < 10**18 else f"about 10^{math.log10(n):.0f}"


def _reason(said: str) -> str:
    """What NumPy says of a file, as this program says such things."""
    # NumPy counts a text file's rows from 0, and every other message here from 1.
    reason = re.sub(r"at row (\d+), column", lambda m: f"at row {int(m[1]) + 1}, column", said)
    if "could not convert" in reason:
        return f"{reason}; a .csv has numbers between commas and no header"
    if "number of columns" in reason:
        return reason.split(";")[0]
    return reason


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

"""Tables of one or two columns in files: read without trusting them."""

import os
from typing import Any, BinaryIO

import numpy as np

from core import trust
from core.errors import UserError
from core.wording import cut
from kinds.contract import Target
from kinds.files import MAX_BYTES, MIN_ROWS, Masses, Table, array_of, as_probabilities, check_is_file, count_of
from kinds.real import csv_tables

_ENDINGS = (".npy", ".csv")


def notes_of(table: Table, place: str) -> tuple[str, ...]:
    """What is said of a table that has been read: its size, and how."""
    n_rows, n_columns = table.rows.shape
    size = f"{count_of(n_rows)} rows of {n_columns} column{'s' if n_columns > 1 else ''}"
    return (f"{place}: {'; '.join((size, *table.notes))}",)


def read_rows(path: str, what: str) -> np.ndarray:
    """The rows of `read_table`."""
    return read_table(path, what).rows


def read_samples(path: str, what: str, target: Target, config: Any) -> Table:
    """Reads samples from elsewhere: rows in the target's units, and what is to be said of how they were read.

    Raises:
      UserError: they cannot be read, have another number of columns than the target, or numbers beyond float32.
    """
    del config
    read = read_table(path, what)
    rows, place = read.rows, f"{what} {path!r}"
    if rows.shape[1] != target.dim:
        raise UserError(
            f"{place} has {rows.shape[1]} columns, but {target.name} has {target.dim}; it needs rows of {target.dim}"
        )
    if len(rows) >= MIN_ROWS and np.abs(rows).max() > 1e18:
        raise UserError(f"{place} has numbers of {np.abs(rows).max():.3g}, beyond float32's reach")
    return Table(rows, notes_of(read, place))


def read_probabilities(path: str, what: str, target: Target, config: Any) -> Masses:
    """Reads the probabilities of NUM_BINS cells, [NUM_BINS] float64.

    Raises:
      UserError: they cannot be read, or are none.
    """
    del target
    return Masses(read_masses(path, what, config))


def read_masses(path: str, what: str, config: Any) -> np.ndarray:
    """The probabilities of `read_probabilities`, [NUM_BINS] float64, sum 1."""
    table = read_rows(path, what)
    if table.shape != (config.num_bins, 1):
        raise UserError(
            f"{what} {path!r} holds {table.size} numbers in {len(table)} rows: it needs NUM_BINS = "
            f"{config.num_bins} probabilities, one a row"
        )
    return as_probabilities(table[:, 0], f"{what} {path!r}")


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
    check_is_file(path, what, _ENDINGS)
    place = f"{what} {path!r}"
    try:
        with trust.opened(path) as file:
            size = trust.size_of(file)
            if size == 0:
                raise UserError(f"{place} is empty: it needs rows of 1 or 2 numbers")
            if size > MAX_BYTES:
                raise UserError(
                    f"{place} has {count_of(size >> 20)} MiB: at most {MAX_BYTES >> 20} are read; keep one row in "
                    f"{count_of(-(-size // MAX_BYTES))}"
                )
            is_text = path.lower().endswith(".csv")
            rows, notes = csv_tables.read(file, place) if is_text else (_array(file, size, place), ())
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


def _array(file: BinaryIO, size: int, place: str) -> np.ndarray:
    return array_of(file, size, place, lambda shape: _check_shape(shape, place))


def _check_shape(shape: tuple[int, ...], place: str) -> None:
    """Raises a UserError unless an array of this shape is a table of 1 or 2 columns."""
    if len(shape) == 1 or (len(shape) == 2 and shape[1] in (1, 2)):
        return
    text = cut("×".join(map(str, shape)), 60) or "of a single number"
    raise UserError(f"{place} has shape {text}: it needs rows of 1 or 2 columns")


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

"""Tables of samples in files: read without trusting them, and split into a training and a held-out part."""

import contextlib
import os
import re
import warnings
from pathlib import Path

import numpy as np

from errors import UserError, nearest_choice

TRAIN_SHARE = 0.7  # the rest is held out and is what the metrics see
MIN_ROWS = 20


def read_rows(path: str, what: str) -> np.ndarray:
    """Reads a table of samples.

    Args:
      path: a `.npy` file (never unpickled) or a `.csv` file of numbers without a header; 1 or 2 columns.
      what: the constant that names the file, for messages.

    Returns:
      [N, D] float64, every entry finite, D in {1, 2}.

    Raises:
      UserError: the file is missing, empty, of another kind, or holds anything but finite numbers.
    """
    place = f"{what} {str(path)!r}"
    file = Path(path)
    if not str(path):
        raise UserError(f"{what} is empty: name a .npy or .csv file of 1 or 2 columns")
    # os.path never raises where a folder cannot be entered or a name is too long.
    if not os.path.isfile(path):
        siblings = []
        with contextlib.suppress(OSError):
            siblings = [p.name for p in file.parent.iterdir() if p.suffix in (".npy", ".csv")]
        raise UserError(f"{place} is not a file{nearest_choice(file.name, siblings)}")
    if file.suffix not in (".npy", ".csv"):
        raise UserError(f"{place} is neither .npy nor .csv: choose one of the two")
    if file.stat().st_size == 0:
        raise UserError(f"{place} is empty: it needs rows of 1 or 2 numbers")
    try:
        if file.suffix == ".npy":
            # np.load would open a zip archive of that name too; this reads an array or fails, and never unpickles.
            rows = np.lib.format.open_memmap(file, mode="r")
        else:
            with warnings.catch_warnings():
                # That a file holds no rows is said below, in one line.
                warnings.simplefilter("ignore", UserWarning)
                rows = np.loadtxt(file, delimiter=",", ndmin=2, dtype=np.float64, encoding="utf-8-sig")
    except (ValueError, OSError, EOFError, SyntaxError, UnicodeDecodeError) as error:
        # NumPy counts a text file's rows from 0, and every other message here from 1.
        reason = re.sub(
            r"at row (\d+), column", lambda m: f"at row {int(m[1]) + 1}, column", " ".join(str(error).split())
        )
        if "could not convert" in reason:
            reason += "; a .csv has numbers between commas and no header"
        elif "number of columns" in reason:
            reason = reason.split(";")[0]
        if "Python objects" in reason:
            reason = "it holds pickled objects, which are never loaded; save a plain array of numbers"
        elif "magic string" in reason:
            reason = "it is not what numpy.save writes"
        raise UserError(f"{place} cannot be read as numbers: {reason}") from None
    if rows.dtype.kind not in "fiub":
        raise UserError(f"{place} holds {rows.dtype} entries: it needs real numbers")
    if rows.ndim == 1:
        rows = rows[:, None]
    if rows.ndim != 2 or rows.shape[1] not in (1, 2):
        shape = "×".join(map(str, rows.shape)) or "of a single number"
        raise UserError(f"{place} has shape {shape}: it needs rows of 1 or 2 columns")
    if not len(rows):
        raise UserError(f"{place} has no rows: at least {MIN_ROWS} are needed")
    rows = np.array(rows, np.float64)
    wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(wrong):
        raise UserError(
            f"{place}: row {wrong[0] + 1} holds {rows[wrong[0]].tolist()}; every entry must be a finite number"
        )
    return rows


def split_rows(rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits rows [N, D] at random into a training part (70 %) and a held-out one, as the seed says."""
    order = np.random.default_rng(seed).permutation(len(rows))
    n_train = round(TRAIN_SHARE * len(rows))
    return rows[order[:n_train]], rows[order[n_train:]]

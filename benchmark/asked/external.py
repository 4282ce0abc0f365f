"""Samples and probabilities from elsewhere, read like a user's table and compared like a family's."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from core.errors import UserError, check_path, check_range, check_whole
from kinds.contract import Target
from kinds.files import MIN_ROWS
from kinds.registry import kind_of
from models import MODELS

LONGEST_NAME = 60  # letters; what tables and legends have room for
MOST_PARAMS = 10**15  # more than anything has; tables and pictures have room for as many digits
# Names are those of arrays in samples.npz, the last two arguments of numpy.savez.
_TAKEN = (*MODELS, "target", "target_probabilities", "floor", "file", "allow_pickle")
# What would lead out of a folder that samples.npz is unpacked into, somewhere.
_PATHLIKE = re.compile(r"/|(^|\\)\.\.?(\\|$)|^[A-Za-z]:\\")


class External(NamedTuple):
    """One entry of EXTERNAL_SAMPLES or of EXTERNAL_PROBABILITIES."""

    name: str
    n_params: int | None  # as its owner declares
    rows: np.ndarray | None  # [n, D] float32, as compared; n is at most what is scored: N_EVAL_SAMPLES, or fewer
    masses: np.ndarray | None  # [K] float64, exact probabilities of bins or of strings
    n_in_file: int
    outside: float = 0.0  # share of the rows that lie outside the target's range
    span: str = ""  # that range, in words
    notes: tuple[str, ...] = ()  # what is to be said of how its file was read


def check_entries(entries: Sequence[tuple[str, str, int | None]]) -> None:
    """Proves that names can stand beside families, in pictures and in archives, and files and parameters be read.

    Args:
      entries: name, file and parameters of each.

    Raises:
      UserError: the first that cannot.
    """
    taken = {_looks(name) for name in _TAKEN}
    for name, file, n_params in entries:
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or _PATHLIKE.search(name):
            raise UserError(
                f"external name {name!r} must be a word or more of visible letters, without a slash, such as QCBM"
            )
        if len(name) > LONGEST_NAME:
            raise UserError(
                f"external name {name!r} has {len(name)} letters: at most {LONGEST_NAME} have room in tables and "
                f"pictures; such as {name[:LONGEST_NAME].strip()!r}"
            )
        if _looks(name) in taken:
            raise UserError(f"external name {name!r} is taken: choose another, such as {name}-2")
        taken.add(_looks(name))
        check_path(f"external {name!r}: file", file)
        if n_params is not None:
            check_whole(f"external {name!r}: parameters", n_params)
            high = MOST_PARAMS if n_params > MOST_PARAMS else None
            check_range(f"external {name!r}: parameters", n_params, low=0, high=high)


def _looks(name: str) -> str:
    """The same for names that look the same, or that one array in an archive would go by."""
    return " ".join(unicodedata.normalize("NFC", name).split()).removesuffix(".npy")


def load(config: Any, target: Target) -> list[External]:
    """Reads every external entry of a configuration.

    Rows are shuffled as the seed says, and of more than are scored that many are taken: the first ones of a sorted
    file, which several metrics look at alone, would be another distribution.

    Raises:
      UserError: a file that cannot be read, has the wrong shape or too few rows, or probabilities that are none.
    """
    entries, kind = [], kind_of(target)
    for name, path, n_params in config.external_samples:
        what = f"EXTERNAL_SAMPLES[{name!r}]"
        read = kind.read_samples(path, what, target, config)
        rows = read.rows
        if len(rows) < MIN_ROWS:
            raise UserError(f"{what} {path!r} has {len(rows)} rows: at least {MIN_ROWS} are needed")
        n = min(len(rows), kind.n_scored(target, config))
        chosen = np.random.default_rng([config.seed, 2]).permutation(rows)[:n]
        compared = np.asarray(target.as_compared(jnp.asarray(chosen, jnp.float32)))
        outside, span = kind.outside(rows, target) if kind.outside else (0.0, "")
        entries.append(External(name, n_params, compared, None, len(rows), outside, span, read.notes))
    for name, path, n_params in config.external_probabilities:
        read = kind.read_probabilities(path, f"EXTERNAL_PROBABILITIES[{name!r}]", target, config)
        entries.append(External(name, n_params, None, read.values, len(read.values), notes=read.notes))
    return entries

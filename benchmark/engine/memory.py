"""Sizes that no memory holds: refused before anything is made of them, and one line where that comes out later."""

import contextlib
import os
from typing import Any

import jax

from core.errors import UserError
from targets import kind_asked

# What JAX says where memory, or the number of an array's entries, has no room.
_NO_ROOM = ("RESOURCE_EXHAUSTED", "Out of memory", "out of bounds for uint32")


def check(config: Any, n_weights: int = 0) -> None:
    """Proves that no constant alone asks for more than this machine's memory.

    Only what a run cannot do without is counted: far more of it can still be too much.

    Args:
      config: the run's.
      n_weights: numbers that the models of one seed consist of, as far as they are known.

    Raises:
      UserError: one does.
    """
    has = physical()
    if has is None:
        return
    dim = kind_asked(config).n_columns(config)
    row = 4 * dim
    # By the constant that they grow with, and with which power of it.
    powers = {"NUM_BINS": 2 if config.models else 1, "KLD_CELLS": dim}
    bytes_of = {
        # Of a family every bin is asked for its probability, in float64 and as a one-hot row.
        "NUM_BINS": 16 * config.num_bins ** powers["NUM_BINS"],
        "KLD_CELLS": 0 if not config.continuous else 16 * config.kld_cells**dim,
        "BATCH_SIZE": row * config.batch_size * bool(config.models),
        # What is drawn, and the positions that it is compared with.
        "N_EVAL_SAMPLES": (row + 16) * config.n_eval_samples,
        "N_SAMPLES_TRAIN": 2 * row * config.n_samples_train,
        "PARAMETER_BUDGET": 4 * n_weights,
        "NUM_SEEDS": config.num_seeds * (row * config.n_eval_samples * len(config.models) + 4 * n_weights),
    }
    for name, needed in bytes_of.items():
        if needed > has:
            value = getattr(config, name.lower())
            fits = int(value * (has / needed) ** (1 / powers.get(name, 1)))
            raise UserError(
                f"{name} = {value} needs at least {_gib(needed)} of memory, and this machine has {_gib(has)}: "
                f"{fits} is the most that there could be room for"
            )


def physical() -> int | None:
    """This machine's memory in bytes; None where the system does not say."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def exhausted(error: BaseException) -> UserError | None:
    """The line for an error that says that there is no room for something; None for any other error."""
    told = isinstance(error, jax.errors.JaxRuntimeError | OverflowError)
    if not isinstance(error, MemoryError) and not (told and any(words in str(error) for words in _NO_ROOM)):
        return None
    why = str(error).partition("\n")[0] or "it is used up"
    return UserError(
        f"this needs more memory than there is ({why}): lower N_EVAL_SAMPLES, BATCH_SIZE, NUM_SEEDS, PARAMETER_BUDGET "
        "or what else is large"
    )


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.3g} GiB"

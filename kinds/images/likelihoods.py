"""How likely held-out images are under every family of which that is known: exactly, by a bound, or by an estimate.

A family of probabilities is asked for bits: every pixel of a held-out image is drawn once, with its grey level as the
probability of a 1. A family with a density is asked for the grey levels themselves, and the two cannot be compared.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinds.contract import Ending
from kinds.images.judging import Reference
from models.likelihood import Likelihood, held_out

N_ROWS = 500  # images at most: a bound takes 1 000 draws of each


class Known(NamedTuple):
    """What is known of one family."""

    family: str
    n: int  # images
    found: Likelihood


def find(ending: Ending) -> list[Known]:
    """The likelihood of at most 500 held-out images under the middle seed of every family where it is known."""
    reference: Reference = ending.judge.compared
    rows = np.asarray(reference.rows[:N_ROWS], np.float32)
    key = jax.random.fold_in(jax.random.key(ending.config.seed), 2**31 + 9)
    key_bits, key_found = jax.random.split(key)
    bits = np.asarray(jax.random.bernoulli(key_bits, jnp.asarray(rows)), np.float32)
    known = []
    for entry in ending.entries:
        if entry.model is None:
            continue
        asked = rows if entry.model.measure == "density" else bits
        found = held_out(entry.model, entry.state, asked, key_found)
        if found is not None:
            known.append(Known(entry.name, len(rows), found))
    return known


def caption(known: Sequence[Known]) -> str:
    """What stands above the table."""
    return f"Likelihood of {known[0].n} held-out images (middle seed)"


def rows_of(known: Sequence[Known]) -> list[dict[str, str]]:
    """The table."""
    return [
        {
            "": each.family,
            "ln q (nats an image)": f"{each.found.nats:.2f}".replace("-", "−"),
            "95 % interval": f"{each.found.low:.2f} … {each.found.high:.2f}".replace("-", "−"),
            "bits per dimension": f"{each.found.bits_per_dimension:.4g}".replace("-", "−"),
            "of": "grey levels (density)" if each.found.is_density else "bits",
            "how": each.found.how,
            "ln Z, there and back": _log_z(each.found),
        }
        for each in known
    ]


def _log_z(found: Likelihood) -> str:
    if found.log_z is None:
        return ""
    there, back = found.log_z
    words = f"{there.value:.2f}, {back.value:.2f} (worth {there.effective:.0f} and {back.effective:.0f} chains)"
    return words.replace("-", "−")


def report_of(known: Sequence[Known]) -> dict[str, Any]:
    """The same as numbers: family -> name -> value."""
    return {
        each.family: {
            "n": each.n,
            "nats": each.found.nats,
            "low": each.found.low,
            "high": each.found.high,
            "how": each.found.how,
            "of": "density" if each.found.is_density else "bits",
            "bits_per_dimension": each.found.bits_per_dimension,
            "log_z": None
            if each.found.log_z is None
            else {way: z._asdict() for way, z in zip(("annealed", "reversed"), each.found.log_z, strict=True)},
        }
        for each in known
    }

"""The settings of bit strings, one line of the config block."""

import functools
from dataclasses import dataclass
from typing import Literal

from core.settings import Need, Settings
from core.settings import setting as any_setting

# Every one of them tells targets apart.
setting = functools.partial(any_setting, affects=("target",), told="row")
MOST_BITS = 20  # 2²⁰ states and their probabilities stay within a few hundred MiB
LONGEST_SIDE = 64  # of an Ising lattice, which larger than this has a kind of its own


def _with(*names: str) -> Need:
    """Where one of these targets is asked for."""
    words = f"with {' or '.join(names)}"
    return Need(words, lambda config: config.target_type in names, f'set TARGET_TYPE = "{names[0]}"')


_STRINGS = _with("BITS_CARDINALITY", "BITS_PARITY", "BITS_GAUSSIAN", "BITS_LOGNORMAL", "BITS_BLOBS")
_LATTICES = _with("BITS_BARS_STRIPES", "BITS_ISING")
_ISING = _with("BITS_ISING")
_BLOBS = _with("BITS_BLOBS")


@dataclass(frozen=True)
class Config(Settings, of="BITS"):
    """Settings of bit strings."""

    n: int = setting(12, "bits of a string without a lattice", low=2, high=MOST_BITS, needs=_STRINGS)
    height: int = setting(4, "rows of a lattice", low=2, high=LONGEST_SIDE, needs=_LATTICES)
    width: int = setting(4, "columns of a lattice", low=2, high=LONGEST_SIDE, needs=_LATTICES)
    variant: Literal["uniform", "orientation_first", "single_lines"] = setting(
        "uniform", "which of three laws goes by this name", needs=_with("BITS_BARS_STRIPES")
    )
    ones: int = setting(0, "ones of a string; 0: half of n", low=0, high=MOST_BITS, needs=_with("BITS_CARDINALITY"))
    centres: tuple[float, ...] = setting((0.5,), "μ, one or two", unit="2ⁿ", needs=_with("BITS_GAUSSIAN"))
    sigma: float = setting(0.125, "σ", low=1e-6, high=1e6, unit="2ⁿ", needs=_with("BITS_GAUSSIAN"))
    encoding: Literal["binary", "gray"] = setting(
        "binary", "bits of a whole number", needs=_with("BITS_GAUSSIAN", "BITS_LOGNORMAL")
    )
    coupling: float = setting(
        0.4406868, "K = βJ; K_c of the square lattice is 0.4406868", low=-20, high=20, needs=_ISING
    )
    coupling_seed: int = setting(0, "signs of J drawn at random from this seed; 0: all alike", low=0, needs=_ISING)
    boundary: Literal["torus", "free"] = setting("torus", "of the lattice", needs=_ISING)
    flip: float = setting(0.05, "probability that a bit of a peak is flipped", above=0, below=0.5, needs=_BLOBS)
    peaks: str = setting("", "strings, with commas between; empty: 00…, 11…, 01…, 10…", needs=_BLOBS)
    file: str = setting("", "strings, one a line or a bit a column; or 2ⁿ probabilities", needs=_with("BITS_CUSTOM"))
    samples: Literal["bits", "integers"] = setting(
        "bits", "what files of samples hold: zeros and ones, or whole numbers 0 … 2ⁿ − 1"
    )
    order: Literal["big", "little"] = setting(
        "big", "whether the first bit of files is the most significant (bit 0), or the last"
    )

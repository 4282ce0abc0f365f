"""Targets over strings of bits: bars and stripes, cardinality, parity, Gaussians, log-normal, blobs, Ising, a file.

References:
  MacKay, Information Theory, Inference and Learning Algorithms, 2003, §43 (bars and stripes).
  Zoufal, Lucchi and Woerner, Quantum Generative Adversarial Networks, 2019 (the log-normal target of three bits).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special
import scipy.stats

from core.errors import UserError
from kinds.bits import ising, reading
from kinds.bits.settings import MOST_BITS
from kinds.bits.truth import bits_target, numbers_of
from kinds.contract import Target


def lattice_patterns(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of all patterns whose rows are alike inside [2^h] (stripes), and whose columns are [2^w] (bars)."""
    rows = (np.arange(2**height)[:, None] >> np.arange(height - 1, -1, -1)) & 1
    columns = (np.arange(2**width)[:, None] >> np.arange(width - 1, -1, -1)) & 1
    stripes = numbers_of(np.repeat(rows, width, axis=1))
    return stripes, numbers_of(np.tile(columns, (1, height)))


def _bars_and_stripes(config: Any) -> Target:
    """Three laws go by this name: see `docs/targets.md`."""
    height, width, variant = config.bits.height, config.bits.width, config.bits.variant
    stripes, bars = lattice_patterns(height, width)
    p = np.zeros(2 ** (height * width))
    if variant == "uniform":
        p[stripes] = p[bars] = 1
    elif variant == "orientation_first":
        np.add.at(p, stripes, 0.5 / len(stripes))
        np.add.at(p, bars, 0.5 / len(bars))
    else:
        # A single line, of either direction.
        single = [2**i for i in range(height)], [2**i for i in range(width)]
        p[np.concatenate([stripes[single[0]], bars[single[1]]])] = 1
    return bits_target("BITS_BARS_STRIPES", _log(p), lattice=(height, width), valid=p > 0, words=words(config))


def _ones_of(n: int) -> np.ndarray:
    """How many ones every string has, [2ⁿ]."""
    return np.bitwise_count(np.arange(2**n, dtype=np.uint32)).astype(int)


def _cardinality(config: Any) -> Target:
    n, ones = config.bits.n, config.bits.ones or config.bits.n // 2
    valid = _ones_of(n) == ones
    return bits_target("BITS_CARDINALITY", _log(valid), valid=valid, words=words(config))


def _parity(config: Any) -> Target:
    valid = _ones_of(config.bits.n) % 2 == 0
    return bits_target("BITS_PARITY", _log(valid), valid=valid, words=words(config))


def _gaussian(config: Any) -> Target:
    n, settings = config.bits.n, config.bits
    x, scale = np.arange(2**n), 2.0**n
    # The middle of the line lies between two strings: string x takes the place from x to x + 1.
    each = [-((x + 0.5 - centre * scale) ** 2) / (2 * (settings.sigma * scale) ** 2) for centre in settings.centres]
    log_p = _encoded(scipy.special.logsumexp(each, axis=0), settings.encoding)
    return bits_target("BITS_GAUSSIAN", log_p, words=words(config))


def _lognormal(config: Any) -> Target:
    n, encoding = config.bits.n, config.bits.encoding
    law = scipy.stats.lognorm(1, scale=np.e)
    x = np.arange(2**n)
    # Each end by the tail that is the smaller: far out the difference of two ones has no digits left.
    upper, lower = law.sf(x - 0.5) - law.sf(x + 0.5), law.cdf(x + 0.5) - law.cdf(x - 0.5)
    log_p = _encoded(_log(np.where(x > 3, upper, lower)), encoding)
    return bits_target("BITS_LOGNORMAL", log_p, words=words(config))


def peaks_of(config: Any) -> np.ndarray:
    """The peaks of the blobs, rows [M, n] of zeros and ones.

    Raises:
      UserError: one of them is not a string of n bits.
    """
    n, text = config.bits.n, config.bits.peaks
    peaks = text.split(",") if text else ["0" * n, "1" * n, ("01" * n)[:n], ("10" * n)[:n]]
    for word in peaks:
        if len(word.strip()) != n or set(word.strip()) - {"0", "1"}:
            raise UserError(f"BITS.peaks has {word.strip()!r}: a peak is {n} zeros and ones (BITS.n = {n}), such as "
                            f"{('01' * n)[:n]}; commas stand between peaks")  # fmt: skip
    return np.array([[int(letter) for letter in word.strip()] for word in peaks])


def _blobs(config: Any) -> Target:
    n, flip, peaks = config.bits.n, config.bits.flip, numbers_of(peaks_of(config))
    apart = np.bitwise_count(np.arange(2**n, dtype=np.uint32)[None] ^ peaks[:, None].astype(np.uint32)).astype(float)
    each = apart * np.log(flip) + (n - apart) * np.log1p(-flip)
    return bits_target("BITS_BLOBS", scipy.special.logsumexp(each, axis=0), words=words(config))


def _ising(config: Any) -> Target:
    settings = config.bits
    height, width = settings.height, settings.width
    pairs = ising.bonds(height, width, settings.boundary)
    signs = ising.signs(len(pairs), settings.coupling_seed)
    energy = ising.energies(height * width, pairs, signs)
    log_p = -settings.coupling * energy
    moves = ising.lattice_of(height, width, settings.boundary, settings.coupling, signs)
    p = scipy.special.softmax(log_p)
    size = np.abs(2.0 * np.bitwise_count(np.arange(len(p))) - height * width)
    means = {"mean_energy": float(p @ energy), "mean_size": float(p @ size)}
    known = {"lattice": (height, width), "energy": energy, "moves": moves._replace(**means)}
    return bits_target("BITS_ISING", log_p, words=words(config), **known)


def _custom(config: Any) -> Target:
    return reading.target_of(config)


def _log(p: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        # Of what is true or false NumPy takes the logarithm in 16 bits.
        return np.log(np.asarray(p, np.float64))


def _encoded(log_p: np.ndarray, encoding: str) -> np.ndarray:
    """Of every whole number x [2ⁿ], at the number that its bits make: its own, or that of its Gray code."""
    if encoding == "binary":
        return log_p
    x = np.arange(len(log_p))
    placed = np.empty_like(log_p)
    placed[x ^ (x >> 1)] = log_p
    return placed


TARGETS: dict[str, Callable[[Any], Target]] = {
    "BITS_BARS_STRIPES": _bars_and_stripes,
    "BITS_CARDINALITY": _cardinality,
    "BITS_PARITY": _parity,
    "BITS_GAUSSIAN": _gaussian,
    "BITS_LOGNORMAL": _lognormal,
    "BITS_BLOBS": _blobs,
    "BITS_ISING": _ising,
    "BITS_CUSTOM": _custom,
}


def words(config: Any) -> str:
    """What titles and tables say of a target besides its name: its size and its variant; nothing of a file."""
    s = config.bits
    size, lattice = f"{s.n} bits", f"{s.height} × {s.width}"
    signs = f", J = ±1 from seed {s.coupling_seed}" if s.coupling_seed else ""
    centres = " and ".join(f"{centre:g}" for centre in s.centres)
    return {
        "BITS_BARS_STRIPES": f"{lattice}, {s.variant.replace('_', ' ')}",
        "BITS_CARDINALITY": f"{s.ones or s.n // 2} ones of {size}",
        "BITS_PARITY": size,
        "BITS_GAUSSIAN": f"{size}, μ = {centres}, σ = {s.sigma:g}, {s.encoding}",
        "BITS_LOGNORMAL": f"{size}, {s.encoding}",
        "BITS_BLOBS": f"{size}, {s.peaks.count(',') + 1 if s.peaks else 4} peaks, flip {s.flip:g}",
        "BITS_ISING": f"{lattice}, {s.boundary}, K = {s.coupling:g}{signs}",
    }.get(config.target_type, "")


def is_large(config: Any) -> bool:
    """Whether an Ising lattice has too many sites to be enumerated: another kind judges it then."""
    return config.target_type == "BITS_ISING" and config.bits.height * config.bits.width > MOST_BITS


def check(config: Any) -> None:
    """Proves that the settings of the target that is asked for fit each other.

    Raises:
      UserError: the first that does not.
    """
    settings, name = config.bits, config.target_type
    if name in ("BITS_BARS_STRIPES", "BITS_ISING"):
        size = settings.height * settings.width
        if size > MOST_BITS:
            raise UserError(f"BITS.height × BITS.width = {settings.height} × {settings.width} = {size} bits are more "
                            f"than {MOST_BITS}: such as 4 × {MOST_BITS // 4}")  # fmt: skip
    if name == "BITS_ISING" and settings.boundary == "torus" and min(settings.height, settings.width) < 3:
        raise UserError(f"a torus of {settings.height} × {settings.width} has some bonds twice: give BITS.height and "
                        'BITS.width at least 3, or set BITS.boundary = "free"')  # fmt: skip
    if name == "BITS_CARDINALITY" and settings.ones > settings.n:
        raise UserError(f"BITS.ones = {settings.ones} are more than the BITS.n = {settings.n} bits; set at most "
                        f"{settings.n}")  # fmt: skip
    centres = settings.centres
    if name == "BITS_GAUSSIAN" and not (1 <= len(centres) <= 2 and all(-1 <= centre <= 2 for centre in centres)):
        raise UserError(
            f"BITS.centres = {settings.centres} must be one or two numbers from -1 to 2, such as (0.25, 0.75)"
        )
    if name == "BITS_BLOBS":
        peaks_of(config)
    if name == "BITS_CUSTOM" and not settings.file:
        raise UserError("TARGET_TYPE = BITS_CUSTOM needs a file: set BITS.file")


def n_columns(config: Any) -> int:
    """Numbers of a row, before a file is read: at most."""
    if config.target_type == "BITS_CUSTOM":
        return MOST_BITS
    if config.target_type in ("BITS_BARS_STRIPES", "BITS_ISING"):
        return config.bits.height * config.bits.width
    return config.bits.n

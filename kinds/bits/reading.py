"""Strings of bits, counts and probabilities in files: read without trusting them.

A file of samples is text with a string of zeros and ones a line, or with a bit a column; an `.npy` array of these
[m, n]; whole numbers 0 … 2ⁿ − 1, one a line, where BITS.samples says so; or JSON that gives each string its count, as
circuit simulators return it. A file of probabilities has 2ⁿ numbers in the order of the strings' numbers, or is JSON
that gives each string its own; a string that is not there has none.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from core.errors import UserError
from core.wording import cut
from kinds.bits.contents import MOST_SHOTS, Content, content_of
from kinds.bits.settings import MOST_BITS
from kinds.bits.truth import Bits, bits_target, numbers_of, rows_of
from kinds.contract import Target
from kinds.files import MIN_ROWS, Masses, Table, as_probabilities, count_of, split_rows

# By how much the other order has to fit better for a word of it, in nats a string.
_HINT = 0.5
_LEAST = 1e-12  # what a string without probability is taken to have there
_PROBABILITIES = "probabilities"


def read_samples(path: str, what: str, target: Target, config: Any) -> Table:
    """Reads samples from elsewhere.

    Args:
      path: of the file.
      what: what names it, for messages.
      target: what they are compared with.
      config: the run's configuration.

    Returns:
      Rows [m, n] of zeros and ones, bit 0 first, and what is to be said of them.

    Raises:
      UserError: it cannot be read, or holds anything but strings of n bits.
    """
    place = f"{what} {path!r}"
    rows = _rows(content_of(path, what, config.bits.samples), place, config, target.truth.n)
    notes = [f"{place}: {count_of(len(rows))} strings of {rows.shape[1]} bits"]
    if len(rows):
        shares = np.bincount(numbers_of(rows), minlength=2**target.truth.n) / len(rows)
        notes += _order_hint(shares, target, config, place)
    return Table(rows, tuple(notes))


def read_probabilities(path: str, what: str, target: Target, config: Any) -> Masses:
    """Reads probabilities from elsewhere: [2ⁿ] float64, sum 1, in the order of the strings' numbers, and notes.

    Raises:
      UserError: it cannot be read, or holds anything but 2ⁿ probabilities.
    """
    place = f"{what} {path!r}"
    p = _probabilities(content_of(path, what, _PROBABILITIES), place, config, target.truth.n)
    return Masses(p, tuple(_order_hint(p, target, config, place)))


def target_of(config: Any) -> Target:
    """The target of BITS_CUSTOM: strings, of which 30 % are held out and compared with, or exact probabilities.

    Raises:
      UserError: the file cannot be read, or its strings are none of 2 to 20 bits.
    """
    path, what = config.bits.file, "BITS.file"
    place, content = f"{what} {path!r}", content_of(path, what, config.bits.samples)
    n = _n_of(content, place, config)
    if _are_probabilities(content, config):
        with np.errstate(divide="ignore"):
            log_p = np.log(_probabilities(content, place, config, n))
        return bits_target("BITS_CUSTOM", log_p, words=f"{n} bits, probabilities of a file")
    rows = _rows(content, place, config, n)
    if len(rows) < MIN_ROWS:
        raise UserError(f"{place} has {len(rows)} strings: at least {MIN_ROWS} are needed")
    if config.n_samples_train > 0:
        raise UserError(
            f"N_SAMPLES_TRAIN = {config.n_samples_train} has no meaning with strings of a file, 70 % of which are the "
            "training set; set N_SAMPLES_TRAIN = 0"
        )
    train, held_out = split_rows(rows.astype(np.float32), config.seed)
    shares = np.bincount(numbers_of(held_out), minlength=2**n) / len(held_out)
    with np.errstate(divide="ignore"):
        log_p = np.log(shares)
    device_rows = jnp.asarray(train)

    def sample(key, n):
        return device_rows[jax.random.randint(key, (n,), 0, len(train))]

    target = bits_target("BITS_CUSTOM", log_p, words=f"{n} bits of a file", train_rows=train, held_out_rows=held_out,
                         empirical=True)  # fmt: skip
    note = (f"{place}: {count_of(len(rows))} strings of {n} bits; scores compare with the frequencies of those held "
            "out, which a perfect model does not have either")  # fmt: skip
    return target._replace(sample=sample, notes=(note,))


def _n_of(content: Content, place: str, config: Any) -> int:
    """How many bits the strings of a file have that nothing else tells of."""
    if content.rows is not None:
        n = content.rows.shape[1]
    elif content.table is not None:
        n = len(next(iter(content.table)))
    elif config.bits.samples == "integers":
        n = config.bits.n
    else:
        n = max(len(content.numbers), 1).bit_length() - 1
        if len(content.numbers) != 2**n:
            raise UserError(f"{place} has {len(content.numbers)} numbers: probabilities are 2ⁿ; for whole numbers that "
                            'stand for strings set BITS.samples = "integers", and BITS.n')  # fmt: skip
    if not 2 <= n <= MOST_BITS:
        raise UserError(f"{place} has strings of {n} bits: 2 to {MOST_BITS} can be counted")
    return n


def _are_probabilities(content: Content, config: Any) -> bool:
    """Whether a file that may hold either has probabilities: some number is not whole, or all of them sum to 1."""
    if content.rows is not None or (content.table is None and config.bits.samples == "integers"):
        return False
    numbers = content.numbers if content.table is None else np.array([*content.table.values()], float)
    return bool((numbers != np.round(numbers)).any()) or float(numbers.sum()) == 1


def _rows(content: Content, place: str, config: Any, n: int) -> np.ndarray:
    """Rows [m, n], bit 0 first."""
    little = config.bits.order == "little"
    if content.numbers is not None:
        if config.bits.samples != "integers":
            raise UserError(f'{place} has one number a row: set BITS.samples = "integers" if they stand for strings of '
                            f"{n} bits")  # fmt: skip
        whole = content.numbers == np.round(content.numbers)
        wrong = np.flatnonzero(~(whole & (content.numbers >= 0) & (content.numbers < 2**n)))
        if len(wrong):
            raise UserError(f"{place}: row {wrong[0] + 1} is {content.numbers[wrong[0]]:g}; strings of {n} bits are "
                            f"the whole numbers 0 … {2**n - 1}")  # fmt: skip
        rows = rows_of(content.numbers.astype(np.int64), n, np.uint8)
        # Of a number the most significant bit is what little-endian order calls the last.
        return rows[:, ::-1] if little else rows
    if content.table is not None:
        rows = _of_counts(content.table, place)
    else:
        rows = content.rows
        wrong = np.flatnonzero(~((rows == 0) | (rows == 1)).all(axis=1))
        if len(wrong):
            raise UserError(f"{place}: row {wrong[0] + 1} holds {cut(str(rows[wrong[0]].tolist()), 60)}; every entry "
                            "is 0 or 1")  # fmt: skip
    if rows.shape[1] != n:
        raise UserError(f"{place} has strings of {rows.shape[1]} bits, but the target has {n}; it needs strings of {n}")
    rows = rows.astype(np.uint8)
    return rows[:, ::-1] if little else rows


def _of_counts(table: dict[str, float], place: str) -> np.ndarray:
    lengths = {len(word) for word in table}
    if len(lengths) > 1:
        raise UserError(f"{place} has strings of {min(lengths)} and of {max(lengths)} bits: all need the same length")
    counts = np.array([*table.values()], float)
    wrong = np.flatnonzero(counts != np.round(counts))
    if len(wrong):
        raise UserError(f"{place}: {[*table][wrong[0]]!r} has {counts[wrong[0]]:g}: counts are whole numbers; "
                        "for probabilities use EXTERNAL_PROBABILITIES")  # fmt: skip
    if sum(table.values()) > MOST_SHOTS:
        n_shots = count_of(int(sum(map(int, table.values()))))
        raise UserError(f"{place} has {n_shots} shots: at most {count_of(MOST_SHOTS)} are read")
    words = np.array([[letter == "1" for letter in word] for word in table], np.uint8)
    return np.repeat(words, counts.astype(np.int64), axis=0)


def _probabilities(content: Content, place: str, config: Any, n: int) -> np.ndarray:
    if content.rows is not None:
        raise UserError(f"{place} has {content.rows.shape[1]} columns: it needs 2ⁿ = {2**n} probabilities, one a row")
    if content.numbers is not None and len(content.numbers) != 2**n:
        raise UserError(f"{place} holds {len(content.numbers)} numbers: it needs 2ⁿ = {2**n} probabilities, one a row")
    if content.table is not None:
        p = np.zeros(2**n)
        for word, value in content.table.items():
            if len(word) != n:
                raise UserError(f"{place} has a string of {len(word)} bits, {word!r}, but the target has {n}; it needs "
                                f"strings of {n}")  # fmt: skip
            p[int(word, 2)] = value
    else:
        p = content.numbers
    p = as_probabilities(p, place)
    return p[_reversed(n)] if config.bits.order == "little" else p


def _reversed(n: int) -> np.ndarray:
    """The number of every string [2ⁿ] read backwards."""
    return numbers_of(rows_of(np.arange(2**n), n)[:, ::-1])


def _order_hint(shares: np.ndarray, target: Target, config: Any, place: str) -> list[str]:
    """Says so where strings of these shares [2ⁿ] fit the target much better when they are read from the other end."""
    truth: Bits = target.truth
    log_p = np.log(truth.p + _LEAST)
    own, other = float(shares @ log_p), float(shares[_reversed(truth.n)] @ log_p)
    if other - own < _HINT:
        return []
    order = "big" if config.bits.order == "little" else "little"
    return [f'{place}: read from the other end the strings fit the target better, by {other - own:.2g} nats each; if '
            f'the file has its bits in that order, set BITS.order = "{order}"']  # fmt: skip

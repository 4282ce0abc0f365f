"""What a file of strings, counts or probabilities holds, as it is written there: read without trusting it.

Text has a string of zeros and ones a line, a bit a column, or one number a line; an `.npy` array has rows of bits or
one number each; JSON gives each string its count or its probability, or is a list of numbers.
"""

import json
import re
from typing import Any, NamedTuple

import numpy as np

from core import trust
from core.errors import UserError
from core.wording import cut
from kinds.files import MAX_BYTES, MIN_ROWS, array_of, check_is_file, count_of

ENDINGS = (".txt", ".csv", ".npy", ".json")
MOST_SHOTS = 10_000_000
_STRING = re.compile(r"[01]+")
_HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]+")
_SEPARATOR = re.compile(r"[,;\s]+")
_LARGEST = float(np.finfo(float).max)


class Content(NamedTuple):
    """What a file holds, as it is written there."""

    rows: np.ndarray | None  # [m, n] of zeros and ones, the first bit as the file has it first
    numbers: np.ndarray | None  # [m] float64: one number a line, or those of an array
    table: dict[str, float] | None  # string -> count or probability


def content_of(path: str, what: str, holds: str) -> Content:
    """What a file holds.

    Args:
      path: of the file.
      what: what names it, for messages.
      holds: "bits", or another word where a single column of text is one of numbers, whatever its digits.
    """
    check_is_file(path, what, ENDINGS)
    place = f"{what} {path!r}"
    try:
        with trust.opened(path) as file:
            size = trust.size_of(file)
            if size == 0:
                raise UserError(f"{place} is empty: it needs strings of zeros and ones, or probabilities")
            if size > MAX_BYTES:
                raise UserError(f"{place} has {size >> 20} MiB: at most {MAX_BYTES >> 20} are read")
            if path.lower().endswith(".npy"):
                array = array_of(file, size, place)
                if array.ndim not in (1, 2):
                    raise UserError(f"{place} has {array.ndim} axes: it needs one number or one string a row")
                if array.ndim == 2 and array.shape[1] == 1:
                    array = array[:, 0]
                return Content(array, None, None) if array.ndim == 2 else Content(None, array.astype(float), None)
            text = file.read().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{place} cannot be read: {getattr(error, 'strerror', None) or 'it is no UTF-8 text'}"
        ) from None
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{place} cannot be read: {' '.join(str(error).split())}") from None
    return _of_json(text, place) if path.lower().endswith(".json") else _of_text(text, place, holds)


def _of_json(text: str, place: str) -> Content:
    try:
        # A key that stands there twice must not be lost: pairs, not a dict.
        content = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place} is not JSON: {' '.join(str(error).split())}") from None
    if isinstance(content, _Pairs) and content:
        return Content(None, None, _table_of(content, place))
    if not isinstance(content, list) or not content:
        raise UserError(f'{place} holds no strings with numbers, such as {{"0110": 123, "1001": 77}}')
    for i, value in enumerate(content, 1):
        if not _is_number(value):
            raise UserError(f"{place}: entry {i} is {_short(value)}; a list needs numbers of 0 or more, and "
                            'strings have counts, as in {"0110": 123, "1001": 77}')  # fmt: skip
    return Content(None, np.array(content, float), None)


class _Pairs(list):
    """The keys and values of a JSON object, [key, value] each."""


def _table_of(pairs: _Pairs, place: str) -> dict[str, float]:
    """String -> count or probability; blanks in strings, which simulators write between registers, are left out."""
    table, keys = {}, {}
    for key, value in pairs:
        word = "".join(key.split())
        if _HEXADECIMAL.fullmatch(word):
            raise UserError(f"{place} has the hexadecimal key {cut(repr(key), 40)}, which does not say how many bits "
                            "its string has: write strings of zeros and ones, such as '0110'")  # fmt: skip
        if not _STRING.fullmatch(word):
            raise UserError(f"{place} has the key {cut(repr(key), 40)}: keys are zeros and ones, such as '0110'")
        if word in table:
            also = "twice" if key == keys[word] else f"and the key {cut(repr(keys[word]), 40)}, which is the same"
            raise UserError(f"{place} has the key {cut(repr(key), 40)} {also}: give each string once")
        if not _is_number(value):
            raise UserError(f"{place}: {cut(repr(key), 40)} has {_short(value)}; it needs a count or a probability, "
                            "0 or more")  # fmt: skip
        table[word], keys[word] = value, key
    return table


def _is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a number from 0 to what a float holds."""
    return not isinstance(value, bool) and isinstance(value, int | float) and 0 <= value <= _LARGEST


def _short(value: Any) -> str:
    """A value of a JSON file in a few letters; Python refuses to write out a whole number of thousands of digits."""
    if isinstance(value, int) and abs(value) > _LARGEST:
        return "a number beyond what a float holds"
    return cut(json.dumps(dict(value) if isinstance(value, _Pairs) else value), 40)


def _of_text(text: str, place: str, holds: str) -> Content:
    """The lines of a text file; what follows # is a comment."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    lines = [(number, line) for number, line in enumerate(lines, 1) if line]
    if not lines:
        raise UserError(f"{place} has no strings: at least {MIN_ROWS} are needed")
    if len(lines) > MOST_SHOTS:
        raise UserError(f"{place} has {count_of(len(lines))} lines: at most {count_of(MOST_SHOTS)} are read")
    fields = _SEPARATOR.split(lines[0][1])
    if len(fields) == 1 and (holds != "bits" or len(fields[0]) < 2 or not _STRING.fullmatch(fields[0])):
        return Content(None, _numbers(lines, place), None)
    width = len(fields[0]) if len(fields) == 1 else len(fields)
    bits = []
    for number, line in lines:
        fields = _SEPARATOR.split(line)
        letters = fields[0] if len(fields) == 1 else "".join(fields)
        if len(letters) != width or set(letters) - {"0", "1"} or (len(fields) > 1 and len(fields) != width):
            need = f"every line is {width} zeros and ones, as the first one is"
            if number == lines[0][0]:
                need = "it needs zeros and ones, such as 0110 or 0,1,1,0; leave out a line of names"
            raise UserError(f"{place}: line {number} is {cut(repr(line), 40)}; {need}")
        bits.append(letters)
    return Content(np.frombuffer("".join(bits).encode(), np.uint8).reshape(-1, width) - ord("0"), None, None)


def _numbers(lines: list[tuple[int, str]], place: str) -> np.ndarray:
    values = []
    for number, line in lines:
        try:
            values.append(float(line))
        except ValueError:
            raise UserError(f"{place}: line {number} is {cut(repr(line), 40)}; it needs zeros and ones, such as 0110, "
                            "or one number a line") from None  # fmt: skip
    return np.array(values)

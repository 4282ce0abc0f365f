"""Text that somebody else has chosen, made harmless where it is shown or written.

Names of samples, paths, swept values and what an exception quotes may hold line breaks, sequences that a terminal
obeys, letters that turn the direction of writing, or bytes that are no text at all.
"""

import unicodedata
from collections.abc import Iterable
from typing import Any

LONGEST_LINE = 1000  # letters of a message; the middle of a longer one is left out
# Controls, what directs the letters around it, bytes that are no text, and ends of lines and paragraphs.
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# What spreadsheets take for the beginning of a formula, in either width.
_FORMULA = tuple("=+-@＝＋－＠")


def visible(text: str, keep: str = "") -> str:
    r"""The text with every letter that cannot be seen, but those in `keep`, as its escape: \n, \x1b, \u202e, \udcff."""
    if text.isprintable():
        return text
    return "".join(
        ascii(letter)[1:-1] if unicodedata.category(letter) in _UNSEEN and letter not in keep else letter
        for letter in text
    )


def one_line(text: str) -> str:
    """The text as one line that can be read: without what cannot be seen, and of LONGEST_LINE letters at most."""
    line = visible(text)
    if len(line) <= LONGEST_LINE:
        return line
    # What is wrong stands at the beginning, what to do about it at the end.
    end = LONGEST_LINE // 3
    return f"{line[: LONGEST_LINE - end - 3]} … {line[-end:]}"


def cell(value: Any) -> Any:
    """A value as a cell of a CSV file: text that a spreadsheet would run gets an apostrophe; numbers stay numbers.

    Line breaks and tabs stay as well, since the cell is quoted; what else cannot be seen is escaped.
    """
    if not isinstance(value, str):
        return value
    text = visible(value, keep="\n\t")
    return f"'{text}" if text.startswith(("\t", "\n")) or text.lstrip().startswith(_FORMULA) else text


def multiple(value: float) -> str:
    """A ratio in three digits that count: 0.987, 1.00, 11.5, 342, 1.2e4."""
    if value >= 1e4 or 0 < value < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.0f}" if value >= 99.95 else f"{value:#.3g}"


def listed(names: Iterable[str]) -> str:
    """Such as "A", "A and B", "A, B and C"."""
    *others, last = names
    return " and ".join(filter(None, (", ".join(others), last)))


def cut(text: str, longest: int) -> str:
    """The text, or its beginning with an ellipsis, in `longest` letters."""
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"

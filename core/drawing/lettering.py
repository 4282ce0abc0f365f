"""What the font of the pictures can draw, and how much room it takes."""

import functools
import textwrap
import unicodedata

from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path

from core import wording

_BOX = "□"  # stands for a letter that the font lacks
_MOST_MARKS = 3  # on one letter, as many as languages put there: more would rise through the picture


def drawable(text: str, *, weight: str = "normal", style: str = "normal") -> str:
    """Text in letters that the font can draw: a box for each that it lacks, and escapes for what cannot be seen.

    Of accents that are piled up on one letter the first ones are left.
    """
    letters = _letters(findfont(FontProperties(weight=weight, style=style)))
    text = _lower(wording.visible(unicodedata.normalize("NFC", text), keep="\n"))
    return "".join(letter if letter == "\n" or ord(letter) in letters else _BOX for letter in text)


def _lower(text: str) -> str:
    """The text without the marks that a letter has beyond the first ones."""
    kept, n_marks = [], 0
    for letter in text:
        n_marks = n_marks + 1 if unicodedata.category(letter) in ("Mn", "Me") else 0
        if n_marks <= _MOST_MARKS:
            kept.append(letter)
    return "".join(kept)


@functools.cache
def _letters(font: str) -> frozenset[int]:
    return frozenset(get_font(font).get_charmap())


def text_width(text: str, size: float, *, weight: str = "normal") -> float:
    """Inches across the longest line of a text in a size of points."""
    font = FontProperties(size=size, weight=weight)
    widths = [text_to_path.get_text_width_height_descent(line, font, False)[0] for line in text.split("\n") if line]
    return max(widths, default=0.0) / 72


def shortened(text: str, longest: int, size: float) -> str:
    """The beginning of a bold text in the room that `longest` letters of usual width take."""
    for letters in range(longest, 0, -1):
        cut = wording.cut(text, letters)
        if text_width(cut, size, weight="bold") <= 0.7 * longest * size / 72:
            break
    return cut


def fitted(label: str, width: float, size: float) -> str:
    """A label of a legend in lines of `width` inches, three at most."""
    lines, room = label, len(label)
    while text_width(lines, size) > width and room > 8:
        room = int(0.9 * room)
        lines = textwrap.fill(label, room, max_lines=3, placeholder="…")
    return lines


def wrapped(text: str, width: float, size: float, *, bold: bool = True) -> str:
    """Breaks lines that would run out of `width` inches, between the parts that "·" separates where that is enough."""
    em, weight = (0.64, "bold") if bold else (0.56, "normal")  # of a letter of DejaVu Sans
    room = max(20, int(0.97 * width * 72 / (em * size)))
    lines = _in_lines(text, room)
    # Some letters are twice as wide.
    while text_width(lines, size, weight=weight) > 0.97 * width and room > 20:
        room = int(0.9 * room)
        lines = _in_lines(text, room)
    return lines


def _in_lines(text: str, room: int) -> str:
    """The text in lines of so many letters."""
    lines = [""]
    for part in text.split(" · "):
        joined = f"{lines[-1]} · {part}" if lines[-1] else part
        # Where a line ends anyway a separator would only hang in the air.
        first, *rest = [joined] if len(joined) <= room else [lines[-1], *textwrap.wrap(part, room)]
        lines[-1:] = [first, *rest] if first else rest
    return "\n".join(lines)

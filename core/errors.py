"""The exceptions that main() prints as a single line: input that cannot be run (2), and output that cannot be (1)."""

import difflib
import math
import os
from collections.abc import Iterable

import jax

from core.wording import one_line


class UserError(ValueError):
    """Input that cannot be run. The message is one line: the value, what is allowed, the nearest valid choice.

    It stays one, and does nothing to a terminal, whatever a path or a value in it holds.
    """

    def __init__(self, message: str):
        super().__init__(one_line(message))


class KeptError(UserError):
    """What is there already would be lost: the same command with --fresh gives it up; the message ends with that."""


class OutputError(Exception):
    """Results that cannot be written. The message is one line: why, what became of them, what to do."""


def nearest_choice(value: str, choices: Iterable[str]) -> str:
    """Returns `; did you mean X?` for the choice that looks most like `value`, or an empty string."""
    choices = list(choices)
    by_upper = {choice.upper(): choice for choice in choices}
    close = difflib.get_close_matches(value.upper(), list(by_upper), n=1, cutoff=0.5)
    return f"; did you mean {by_upper[close[0]]}?" if close else ""


def unknown_choice(what: str, value: str, choices: Iterable[str]) -> UserError:
    """An error for a `value` that is not among `choices`."""
    choices = list(choices)
    return UserError(f"{what} {value!r} is unknown: choose from {', '.join(choices)}{nearest_choice(value, choices)}")


def check_path(what: str, value: object) -> None:
    """Raises a UserError unless the value is text that can name a file or a folder."""
    if not isinstance(value, str):
        raise UserError(f"{what} = {value!r} must be a path in quotes")
    try:
        possible = b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise UserError(f"{what} = {value!r} has a letter that no path can have: name another")
    if value.startswith("~"):
        written = os.path.expanduser(value)
        own = f"./{value}" if os.sep == "/" else f".\\{value}"
        raise UserError(
            f"{what} = {value!r} begins with ~, which only a shell replaces: write "
            + (f"{written!r}, or {own!r} for that very name" if written != value else f"{own!r} for that very name")
        )


def check_whole(what: str, value: object) -> None:
    """Raises a UserError unless the value is a whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        nearest = ""
        if isinstance(value, float) and math.isfinite(value):
            nearest = f"; the nearest valid choice is {round(value)}"
        raise UserError(f"{what} = {value!r} must be a whole number{nearest}")


def check_range(
    what: str,
    value: float,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> None:
    """Raises a UserError unless the value is finite, in [low, high] and strictly between `above` and `below`.

    A traced value passes: a search that shares one compilation among its trials draws them from a valid range.
    """
    if isinstance(value, jax.core.Tracer):
        return
    lower, upper = (low if low is not None else above), (high if high is not None else below)
    bounds = []
    if lower is not None:
        bounds.append(f"at least {low}" if low is not None else f"above {above}")
    if upper is not None:
        bounds.append(f"at most {high}" if high is not None else f"below {below}")
    # A whole number may be too long for a float, which is what math.isfinite would make of it.
    whole = isinstance(value, int) and not isinstance(value, bool)
    number = whole or (isinstance(value, float) and math.isfinite(value))
    if (
        number
        and (low is None or value >= low)
        and (high is None or value <= high)
        and (above is None or value > above)
        and (below is None or value < below)
    ):
        return
    nearest = ""
    if number and low is not None and value < low:
        nearest = f"; the nearest valid choice is {low}"
    elif number and high is not None and value > high:
        nearest = f"; the nearest valid choice is {high}"
    try:
        shown = repr(value)
    except ValueError:
        # Python writes no more than 4 300 digits.
        shown = "a number of thousands of digits"
    raise UserError(f"{what} = {shown} must be {' and '.join(bounds) or 'a finite number'}{nearest}")

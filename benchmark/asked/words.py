"""The words of a command line, checked one by one before the library reads them, so that an error is one clear line."""

import contextlib
import dataclasses
import types
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from core.errors import UserError, nearest_choice, unknown_choice

HELP = "--help lists all of them"


class Option(NamedTuple):
    """One option of the command line."""

    kind: Any  # the type of its value
    switch: bool | None = None  # what an option without a value sets


def option_of(name: str) -> str:
    """A constant's or setting's option of the command line."""
    return f"--{name.lower().replace('_', '-')}"


def options_of(kind: Any, prefix: str = "") -> dict[str, Option]:
    """Every option of a dataclass's fields and of the dataclasses in them: name -> what it takes."""
    found = {}
    for name, hint in get_type_hints(kind).items():
        if name not in {field.name for field in dataclasses.fields(kind)}:
            continue
        if dataclasses.is_dataclass(hint):
            found |= options_of(hint, f"{prefix}{name}.")
        elif hint is bool:
            found[option_of(prefix + name)] = Option(hint, True)
            found[option_of(f"{prefix}no-{name}")] = Option(hint, False)
        else:
            found[option_of(prefix + name)] = Option(hint)
    return found


def apart(args: Sequence[str]) -> list[str]:
    """The arguments with lists as the parser takes them, whether commas or blanks are between their entries.

    Families of --models become words of their own; values of --sweep become one word with their constant.
    """
    words: list[str] = []
    option = ""
    for word in args:
        if word.startswith("--"):
            option, equals, first = word.partition("=")
            if option not in ("--models", "--sweep") or not equals:
                words.append(word)
                continue
            words.append(option)
            word = first
        if option == "--models":
            words += [name for name in word.split(",") if name] if word else [word]
        elif option == "--sweep" and words[-1] != option and "=" not in word:
            words[-1] = f"{words[-1].rstrip(',')},{word.strip(',')}".rstrip(",")
        else:
            words.append(word)
    return words


def check(kind: Any, args: Sequence[str]) -> None:
    """Raises a UserError for the first word that no option takes, or that its option cannot take.

    Args:
      kind: the dataclass that the words are to become.
      args: the command line, from `apart`.
    """
    options = options_of(kind)
    for option, values in _grouped(args):
        name = option.replace("_", "-")
        if name in ("--help", "-h"):
            continue
        if name not in options:
            raise UserError(f"unknown option {option}{nearest_choice(name, options)}; {HELP}")
        _check_values(name, options[name], values)


def _grouped(args: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Every option with the words that follow it; a word before all of them stands for an option."""
    groups: list[tuple[str, list[str]]] = []
    for word in args:
        if word.startswith("--") or word == "-h" or not groups:
            option, equals, value = word.partition("=")
            groups.append((option, [value] if equals else []))
        else:
            groups[-1][1].append(word)
    return groups


def _check_values(option: str, asked: Option, values: list[str]) -> None:
    if asked.switch is not None:
        if values and values[0] in ("True", "False"):
            prefix, dot, last = option.removeprefix("--").removeprefix("no-").rpartition(".")
            last = last.removeprefix("no-")
            on, off = f"--{prefix}{dot}{last}", f"--{prefix}{dot}no-{last}"
            raise UserError(f"{option} takes no {values[0]}: write {on if values[0] == 'True' else off}; {HELP}")
        if values:
            raise _unknown(values[0])
    elif get_origin(asked.kind) is tuple:
        _check_list(option, asked.kind, values)
    elif not values:
        raise UserError(f"{option} needs a value, as in {option} {_example(asked.kind)}")
    else:
        _check_value(option, asked.kind, values[0])
        if len(values) > 1:
            raise _unknown(values[1])


def _check_list(option: str, kind: Any, values: list[str]) -> None:
    """Checks words that become a tuple of values, or of tuples of values."""
    leaves = _leaves(get_args(kind)[0])
    if len(values) % len(leaves) or (len(leaves) > 1 and not all(map(_fits, leaves * len(values), values))):
        if str in leaves:
            what, example = "entries of a name, a file and a number of parameters or None", "QCBM qcbm.npy 120"
        else:
            what, example = f"groups of {len(leaves)} numbers", " ".join(["0.5"] * len(leaves))
        raise UserError(f"{option} {values} must be {what}, such as {example}")
    for leaf, value in zip(leaves * len(values), values, strict=False):
        _check_value(option, leaf, value)


def _check_value(option: str, kind: Any, value: str) -> None:
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise unknown_choice(option, value, get_args(kind))
    elif kind is int and not _fits(int, value):
        nearest = ""
        with contextlib.suppress(ValueError, OverflowError):
            nearest = f"; the nearest valid choice is {round(float(value))}"
        raise UserError(f"{option} {value!r} must be a whole number{nearest}")
    elif kind is float and not _fits(float, value):
        raise UserError(f"{option} {value!r} must be a number, such as 0.001")


def _fits(kind: Any, value: str) -> bool:
    """Whether a word can become a value of a type."""
    if isinstance(kind, types.UnionType):
        return any(value == "None" if each is type(None) else _fits(each, value) for each in get_args(kind))
    if kind not in (int, float):
        return True
    try:
        kind(value)
    except ValueError:
        return False
    return True


def _leaves(kind: Any) -> list[Any]:
    """The types of the words that one entry of a list takes."""
    return [leaf for each in get_args(kind) for leaf in _leaves(each)] if get_origin(kind) is tuple else [kind]


def _example(kind: Any) -> str:
    return str(get_args(kind)[0]) if get_origin(kind) is Literal else {int: "1", float: "0.5"}.get(kind, "name")


def _unknown(word: str) -> UserError:
    return UserError(f"unknown option {word}; {HELP}")

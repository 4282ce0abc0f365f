"""Which runs a sweep consists of: pure functions from swept constants to cells, each a run with a name of its own."""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

from benchmark.asked import command_line
from benchmark.asked import config as configuration
from benchmark.files import results
from benchmark.run import checks
from core.errors import UserError, check_path, nearest_choice, unknown_choice
from models import MODELS

_LONGEST_NAME = 100  # letters of a folder's name; what is longer ends in a hash
_LONGEST_VALUE = 40


class Cell(NamedTuple):
    """One run of a sweep."""

    name: str  # of its folder in OUT_DIR
    values: Mapping[str, Any]  # every swept constant -> its value here
    config: Any  # a BenchmarkConfig, whose out_dir is the cell's folder


class Plan(NamedTuple):
    """A sweep: the product of its lists."""

    out_dir: str
    swept: Mapping[str, Sequence[Any]]
    constants: Mapping[str, Any]  # everything that is not swept, as JSON would hold it
    cells: Sequence[Cell]
    pictures: bool  # whether every cell draws its own


def make_plan(command: command_line.Command) -> Plan:
    """Every cell of a sweep, in the order of its lists, the last one fastest.

    Raises:
      UserError: an unknown constant, an empty list, two cells with one name, or a value that cannot be run; the line
        names the cell.
    """
    swept = _lists(command.sweep)
    shared, out_dir = command.config, command.config.out_dir
    check_path("OUT_DIR", out_dir)
    if not out_dir:
        raise UserError("OUT_DIR is empty: name a folder, such as results_sweep")
    cells: list[Cell] = []
    seen: dict[str, str] = {}
    for values in itertools.product(*swept.values()):
        chosen = dict(zip(swept, values, strict=True))
        name = cell_name(chosen)
        # Some file systems do not tell A from a.
        same = seen.setdefault(name.casefold(), name)
        if same is not name:
            if same != name:
                raise UserError(
                    f"SWEEP has the cells {same} and {name}, whose folders differ only in case, which not every file "
                    "system tells apart: rename one value, or run it into an OUT_DIR of its own"
                )
            raise UserError(f"SWEEP has two cells with the name {name}: list every value once")
        with naming(name):
            config = checks.with_epochs(configuration.with_values(shared, chosen, str(Path(out_dir) / name)))
            if config.n_epochs and "N_STEPS" in swept:
                raise UserError("N_STEPS has no effect with N_EPOCHS: leave one of the two out")
        cells.append(Cell(name, chosen, config))
    _check_families(swept, cells)
    return Plan(out_dir, swept, _unswept(shared, swept), cells, command.sweep_pictures)


def _check_families(swept: Mapping[str, Any], cells: Sequence[Cell]) -> None:
    """Raises a UserError where settings are swept of a family that no cell trains: all cells would be the same run."""
    trained = {family for cell in cells for family in cell.config.models}
    for name in swept:
        family = name.partition(".")[0]
        if family in MODELS and family not in trained:
            others = " ".join(dict.fromkeys(each for cell in cells for each in cell.config.models)) or "()"
            raise UserError(
                f"SWEEP varies {name}, but MODELS = {others} trains no {family}: its values would all run the same; "
                f"add {family} to MODELS, or leave {name} out"
            )


@contextlib.contextmanager
def naming(cell: str) -> Any:
    """Puts a cell's name before what its block raises."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"cell {cell}: {error}") from None


def cell_name(values: Mapping[str, Any]) -> str:
    """A folder name such as `PARAMETER_BUDGET=310,TARGET_TYPE=1D_BETA`.

    It begins with a constant's name and has no other letters than A-Z a-z 0-9 _ . + - = and commas, so that it can
    name nothing outside the folder it stands in. Values that would need others, and long names, end in a hash of what
    was left out: other values have another name. In whichever order the constants are listed, they are sorted here, so
    that a cell is found again.
    """
    kinds = configuration.sweepable()
    name = ",".join(
        f"{constant}={value_text(value, kinds.get(constant))}" for constant, value in sorted(values.items())
    )
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 11]}...{_hash(name)}"
    return name


def _lists(sweep: Mapping[str, Any] | Sequence[str]) -> dict[str, Sequence[Any]]:
    """Constant -> its values, from the config block's dict or from words of the command line."""
    kinds, fixed = configuration.sweepable(), configuration.fixed()
    lists: dict[str, Sequence[Any]] = {}
    for entry in sweep:
        name, equals, text = (entry, "=", "") if isinstance(sweep, Mapping) else entry.partition("=")
        constant = str(name).partition(".")[0]
        if constant in fixed:
            raise UserError(f"SWEEP cannot vary {constant}: {fixed[constant]}")
        if name not in kinds:
            raise _unknown(str(name), kinds)
        if not equals:
            raise UserError(f"--sweep {entry!r} needs values: write {name}=value,value")
        if name in lists:
            raise UserError(f"--sweep names {name} twice: write {name}=value,value with all its values")
        lists[name] = (
            _plain(name, sweep[name], kinds[name]) if isinstance(sweep, Mapping) else _parsed(name, text, kinds[name])
        )
        if not isinstance(lists[name], list | tuple):
            raise _no_list(name, lists[name], kinds[name])
        if not len(lists[name]):
            raise UserError(f"SWEEP's list for {name} is empty: name at least one value, or leave {name} out")
    return lists


def _plain(name: str, value: Any, kind: Any) -> Any:
    """A value as Python itself writes it: other ways to write a number must not make another cell of it.

    Args:
      name: of the constant.
      value: of it, or a list of some.
      kind: its type.

    Raises:
      UserError: a whole number that is too long to be written.
    """
    # Arrays, and the numbers in them.
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, float):
        # Of two zeros one has a sign.
        return value + 0.0
    # Python refuses to write what has more than 4 300 digits, and no constant takes a tenth of a hundred.
    if isinstance(value, int) and value.bit_length() > 1000:
        raise UserError(f"SWEEP[{name!r}] has a whole number of more than 300 digits: no constant takes one")
    if isinstance(value, int) and not isinstance(value, bool) and _leaves(kind) == {float}:
        return float(value)
    if isinstance(value, Mapping):
        return {key: _plain(name, entry, kind) for key, entry in value.items()}
    if isinstance(value, list | tuple | range):
        return (tuple if isinstance(value, tuple) else list)(_plain(name, entry, kind) for entry in value)
    return value


def _leaves(kind: Any) -> set[Any]:
    """What the innermost values of a type are."""
    inner = [each for each in get_args(kind) if each is not ...]
    return set().union(*map(_leaves, inner)) if inner else {kind}


def _no_list(name: str, value: Any, kind: Any) -> UserError:
    """The error for what stands where a constant's values are to be listed."""
    if isinstance(value, Set):
        shown = f"a set, which has no order: write {sorted(value, key=repr)!r}"
    elif isinstance(value, Iterator):
        shown = f"a {type(value).__name__}, which can be read only once: write list(…) around it"
    elif isinstance(value, Mapping) and kind is not Mapping:
        shown = f"a dict: write its values as a list, {list(value.values())!r}" if value else "a dict: write a list"
    else:
        return UserError(f"SWEEP[{name!r}] = {value!r} must be a list: write ({value!r},)")
    return UserError(f"SWEEP[{name!r}] must be a list, and is {shown}")


def _unknown(name: str, kinds: Mapping[str, Any]) -> UserError:
    """The error for a name that cannot be swept, with those among which it may have been meant."""
    family = name.partition(".")[0]
    near = [kind for kind in kinds if kind.startswith(f"{family}.")] or [kind for kind in kinds if "." not in kind]
    return UserError(
        f"SWEEP's {name!r} is unknown: choose from {', '.join(near)}, or a family's setting such as GAN.learning_rate"
        f"{nearest_choice(name, kinds)}"
    )


def _parsed(name: str, text: str, kind: Any) -> list[Any]:
    """Values from the command line, each of its constant's type."""
    if kind is Mapping or get_origin(kind) is tuple:
        raise UserError(
            f"--sweep {name}: its values are {_plural(kind)}, which only SWEEP in the config block can list"
        )
    return [_one(name, word, kind) for word in text.split(",")] if text else []


def _one(name: str, word: str, kind: Any) -> Any:
    if kind is bool:
        if word not in ("True", "False"):
            raise UserError(f"--sweep {name}: {word!r} must be True or False")
        return word == "True"
    if get_origin(kind) is Literal:
        if word not in get_args(kind):
            raise unknown_choice(f"--sweep {name}:", word, get_args(kind))
        return word
    if kind in (int, float):
        try:
            if len(word) > 300:
                raise UserError(f"--sweep {name}: {word[:20]!r}… has more than 300 letters: no number needs as many")
            value = kind(word)
            # Of two zeros one has a sign.
            return value + 0.0 if kind is float else value
        except UserError:
            raise
        except ValueError:
            what, nearest = "a number, such as 0.001", ""
            if kind is int:
                what = "a whole number"
                with contextlib.suppress(ValueError, OverflowError):
                    nearest = f"; the nearest valid choice is {round(float(word))}"
            raise UserError(f"--sweep {name}: {word!r} must be {what}{nearest}") from None
    return word


def _plural(kind: Any) -> str:
    return "dicts" if kind is Mapping else "tuples"


def value_text(value: Any, kind: Any = None) -> str:
    """A value as part of a file name; equal values have equal texts, others others."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            value = float(value)
    if isinstance(value, bool | int | float):
        text = repr(value)
    elif isinstance(value, str):
        text = value
    elif isinstance(value, tuple | list) and value and all(isinstance(word, str) for word in value):
        text = "+".join(value)
    else:
        return _hash(value)
    # The plus between words must not be one of theirs; a dot at the end is lost on Windows.
    allowed = r"[\w.+-]*[\w+-]" if not isinstance(value, tuple | list) else r"\w+(\+\w+)*"
    if len(text) <= _LONGEST_VALUE and re.fullmatch(allowed, text, re.ASCII):
        return text
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', text)[:_LONGEST_VALUE]}-{_hash(value)}"


def _hash(value: Any) -> str:
    try:
        # A tuple and a list with the same entries run the same.
        text = json.dumps(value, sort_keys=True, default=repr)
    except (TypeError, ValueError):
        # What cannot be run needs a name for its error.
        text = repr(value)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _unswept(shared: Any, swept: Mapping[str, Any]) -> dict[str, Any]:
    """The constants that all cells share, as JSON would hold them."""
    names = [constant.name for constant in dataclasses.fields(configuration.BenchmarkConfig)]
    fields = {name.upper(): getattr(shared, name) for name in names if name not in results.PLACES}
    for name, value in fields.items():
        if dataclasses.is_dataclass(value):
            fields[name] = {s: v for s, v in dataclasses.asdict(value).items() if f"{name}.{s}" not in swept}
    return results.plain({name: value for name, value in fields.items() if name not in swept})

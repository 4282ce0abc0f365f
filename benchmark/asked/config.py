"""One validated object out of the config block's constants."""

import dataclasses
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from benchmark.asked.constants import Constants, Entries, check_choice
from benchmark.asked.many_runs import MANY_RUNS
from core.errors import UserError, check_whole, unknown_choice
from core.settings import about
from kinds.registry import SETTINGS
from models import MODELS

_ENTRIES = {name.upper() for name, kind in get_type_hints(Constants).items() if kind == Entries}

# Whatever has settings of its own, a line of the config block, by its name there: families, and kinds of events.
OWN = {name: family.Config for name, family in MODELS.items()} | SETTINGS

# The constants and, for whatever has settings of its own, these under its lower-case name.
BenchmarkConfig = dataclasses.make_dataclass(
    "BenchmarkConfig",
    [(name.lower(), own, field(default_factory=own)) for name, own in OWN.items()],
    bases=(Constants,),
    frozen=True,
    namespace={"__doc__": Constants.__doc__},
)


def from_constants(constants: Mapping[str, Any]) -> BenchmarkConfig:
    """Builds the configuration from upper-case names; a family without a line of its own has its defaults.

    Raises:
      UserError: a constant is missing, or a value cannot be run.
    """
    return BenchmarkConfig(**fields_of(constants))


def sweepable() -> dict[str, Any]:
    """Every name that a sweep may vary -> the type of its values; a family's whole line is a Mapping."""
    hints = get_type_hints(Constants)
    kinds = {each.name.upper(): hints[each.name] for each in dataclasses.fields(Constants) if not about(each).fixed}
    for name, own in OWN.items():
        kinds[name] = Mapping
        kinds |= {f"{name}.{setting}": kind for setting, kind in get_type_hints(own).items()}
    return kinds


def fixed() -> dict[str, str]:
    """Every name that no sweep can vary -> why."""
    fields = {each.name: each for each in dataclasses.fields(Constants)}
    fields |= {name: each for name, (_, each) in MANY_RUNS.items()}
    return {name.upper(): about(each).fixed for name, each in fields.items() if about(each).fixed}


def with_values(shared: Any, values: Mapping[str, Any], out_dir: str) -> BenchmarkConfig:
    """One run of a sweep: the fields of `shared` with some constants replaced.

    Args:
      shared: the `config` of a Command.
      values: names among `sweepable()` -> what the config block might say there.
      out_dir: the run's folder.

    Raises:
      UserError: a value cannot be run, by itself or with the others.
    """
    fields = {constant.name: getattr(shared, constant.name) for constant in dataclasses.fields(BenchmarkConfig)}
    fields["out_dir"] = out_dir
    settings: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        owner, _, setting = name.partition(".")
        if setting:
            check_kind(name, value, get_type_hints(OWN[owner])[setting])
            settings.setdefault(owner, {})[setting] = value
        elif name in OWN:
            fields[name.lower()] = _own(name, value)
        else:
            fields[name.lower()] = _triples(name, value) if name in _ENTRIES else value
    # At once, as two settings may fit each other and not what they replace.
    for owner, replaced in settings.items():
        fields[owner.lower()] = dataclasses.replace(fields[owner.lower()], **replaced)
    return BenchmarkConfig(**fields)


def fields_of(constants: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a BenchmarkConfig out of upper-case names."""
    values = {}
    known = {name.upper() for name in (*(field.name for field in dataclasses.fields(Constants)), *OWN, *MANY_RUNS)}
    # Unknown names first: a misspelt constant is missing as well, and what was typed is what its user looks for.
    for name in constants:
        # A leading underscore marks the user's own helpers.
        if name.isupper() and name not in known and not name.startswith("_"):
            raise unknown_choice("the config block's", name, sorted(known))
    for constant in dataclasses.fields(Constants):
        if constant.name.upper() not in constants:
            raise UserError(f"{constant.name.upper()} is missing from the config block")
        value = constants[constant.name.upper()]
        values[constant.name] = _triples(constant.name.upper(), value) if constant.name.upper() in _ENTRIES else value
    return values | {name.lower(): _own(name, constants.get(name, {})) for name in OWN}


def _own(name: str, settings: Any) -> Any:
    """Settings of a kind or a family out of those that a line of the config block names."""
    first = next(iter(dataclasses.fields(OWN[name])), None)
    # A default that stands for another value tells nobody what a value looks like.
    example = f"{first.name}={about(first).stands_for.get('', first.default)!r}" if first else ""
    return settings_of(name, settings, OWN[name], example)


def settings_of(name: str, settings: Any, kind: Any, example: str) -> Any:
    """A dataclass of settings out of those that a line of the config block names."""
    kinds = get_type_hints(kind)
    if not isinstance(settings, Mapping):
        raise UserError(f"{name} = {settings!r} must be a dict of settings, such as {name} = dict({example})")
    for setting, value in settings.items():
        if setting not in kinds:
            raise unknown_choice(f"{name}'s setting", str(setting), kinds)
        check_kind(f"{name}.{setting}", value, kinds[setting])
    return kind(**settings)


def _triples(what: str, entries: Any) -> tuple[tuple[str, str, int | None], ...]:
    """The form that the command line can override, of a dict name -> (file, parameters)."""
    if isinstance(entries, Mapping) and all(isinstance(e, tuple | list) and len(e) == 2 for e in entries.values()):
        return tuple((name, *entry) for name, entry in entries.items())
    raise UserError(
        f'{what} = {entries!r} must be a dict of (file, parameters or None), such as {{"QCBM": ("qcbm.npy", 120)}}'
    )


def check_kind(what: str, value: Any, kind: Any) -> None:
    """What tyro does for the command line and nobody does for an edited line: its type; ranges are the family's."""
    if get_origin(kind) is Literal:
        check_choice(what, value, get_args(kind))
    elif kind is bool and not isinstance(value, bool):
        raise UserError(f"{what} = {value!r} must be True or False")
    elif kind is int:
        check_whole(what, value)

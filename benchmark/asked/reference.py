"""The tables of constants in the documents, written from the fields that define them.

python3 -m benchmark.asked.reference    # writes them anew into docs/constants.md and README.md
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from benchmark.asked.command_line import FURTHER
from benchmark.asked.config import OWN
from benchmark.asked.constants import Constants
from benchmark.asked.many_runs import MANY_RUNS
from benchmark.asked.resources import Slurm
from core.places import ROOT
from core.settings import About, about
from kinds.registry import SETTINGS
from models import MODELS

# What a newcomer changes first.
EXCERPT = ("target_type", "num_bins", "models", "parameter_budget", "hidden_layers", "n_steps", "n_evaluations",
           "batch_size", "num_seeds", "seed", "n_eval_samples", "out_dir")  # fmt: skip
_BEGIN, _END = "<!-- Written by python3 -m benchmark.asked.reference: {} -->", "<!-- the end of {} -->"


def comment_of(said: About) -> str:
    """What stands beside a constant in the config block."""
    return f"{said.meaning} ({said.needs})" if said.needs else said.meaning


def _values(hint: Any, said: About) -> str:
    """Which values are allowed; empty where the meaning says it."""
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        # Families and targets have pages of their own.
        return "" if len(choices) > 4 else " or ".join(f'`"{choice}"`' for choice in choices)
    if hint is bool:
        return "`True` or `False`"
    return said.range


def _default(value: Any) -> str:
    text = repr(value).replace("'", '"')
    # The covariances of a mixture are longer than all the rest of a table.
    return f"`{text}`" if len(text) < 60 else "in the config block"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def of_constants() -> str:
    """The table of all constants of a run."""
    hints = get_type_hints(Constants)
    rows = []
    for field in dataclasses.fields(Constants):
        said = about(field)
        where = "; ".join(filter(None, (_values(hints[field.name], said), said.unit and f"in {said.unit}")))
        affects = ", ".join(said.affects)
        rows.append((f"`{field.name.upper()}`", _default(field.default), comment_of(said), where, affects))
    return _table(("constant", "default", "meaning", "values", "affects"), rows)


def of_settings(name: str, kind: Any) -> str:
    """The table of a family's settings, or of what a task asks a cluster for."""
    hints = get_type_hints(kind)
    rows = []
    if not dataclasses.fields(kind):
        return "It has none."
    for field in dataclasses.fields(kind):
        said = about(field)
        where = "; ".join(filter(None, (_values(hints[field.name], said), said.unit and f"in {said.unit}")))
        rows.append((f"`{name}.{field.name}`", _default(field.default), comment_of(said), where))
    return _table(("setting", "default", "meaning", "values"), rows)


def of_many_runs() -> str:
    """The table of what is no part of a run: sweeps, clusters, and words that only the command line has."""
    rows = []
    for name, (hint, field) in FURTHER.items():
        if not dataclasses.is_dataclass(hint):
            said = about(field)
            option = f"`--{name.replace('_', '-')}`"
            constant = f"`{name.upper()}`, {option}" if name in MANY_RUNS else option
            rows.append((constant, _default(field.default), said.meaning))
    return _table(("name", "default", "meaning"), rows)


def excerpt() -> str:
    """The table of the README."""
    fields = {field.name: field for field in dataclasses.fields(Constants)}
    rows = [(f"`{name.upper()}`", _default(fields[name].default), comment_of(about(fields[name]))) for name in EXCERPT]
    return _table(("constant", "default", "meaning"), rows)


def tables() -> dict[str, dict[str, str]]:
    """Document -> the name of every written part -> its text."""

    def of_all(names):
        return "\n\n".join(f"### {name}\n\n{of_settings(name, OWN[name])}" for name in names)

    return {
        "README.md": {"the most important constants": excerpt()},
        "docs/constants.md": {
            "all constants": of_constants(),
            "many runs": of_many_runs(),
            "settings of kinds": of_all(SETTINGS),
            "settings of families": of_all(MODELS),
            "settings of a cluster": of_settings("SLURM", Slurm),
        },
    }


def written(text: str, parts: dict[str, str]) -> str:
    """A document with its written parts as they should be.

    Raises:
      ValueError: it lacks the lines between which a part stands.
    """
    for name, part in parts.items():
        begin, end = _BEGIN.format(name), _END.format(name)
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"there must be one line {begin!r} and one line {end!r}")
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n\n{part}\n\n{end}{rest.partition(end)[2]}"
    return text


def main() -> None:
    """Writes all documents anew."""
    for name, parts in tables().items():
        path = ROOT / name
        path.write_text(written(path.read_text(encoding="utf-8"), parts), encoding="utf-8")


if __name__ == "__main__":
    main()

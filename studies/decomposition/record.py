"""The results as JSON and as a table."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate

from core import storage
from studies.decomposition.cases import CASES, Case
from studies.decomposition.measure import PARTS, Found

_NAME = "decomposition"


class Shares(NamedTuple):
    """One family's loss in parts: medians over the seeds of what each part adds. None: a seed in two has no value."""

    capacity: float | None
    objective: float | None  # what its own loss, taken far, ends above that
    optimiser: float | None  # what the default training ends above that; below 0: more training makes it worse
    total: float | None  # where the default training ends


def read(folder: Path) -> dict[str, Any]:
    """What has been recorded; nothing, if there is none."""
    file = folder / f"{_NAME}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def has(results: Mapping[str, Any], case: Case, budget: int, family: str) -> bool:
    """Whether a family has been measured."""
    return family in results.get(case.name, {}).get(str(budget), {})


def added(results: dict[str, Any], case: Case, budget: int, family: str, found: Found) -> dict[str, Any]:
    """The results with one more family."""
    results.setdefault(case.name, {}).setdefault(str(budget), {})[family] = {
        "n_params": found.n_params,
        "unit": found.unit,
        **{name: [_known(value) for value in found.parts[name].scores.tolist()] for name in PARTS},
        "seconds": {name: round(found.parts[name].seconds, 1) for name in PARTS},
    }
    return results


def write(folder: Path, results: Mapping[str, Any]) -> None:
    """Writes the results, and the table of them."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    storage.write_whole(folder / f"{_NAME}.json", text.encode())
    storage.write_whole(folder / f"{_NAME}.md", (table(results) + "\n").encode())


def shares(entry: Mapping[str, Any]) -> Shares:
    """The parts of one family's loss: differences seed by seed, and their medians."""

    def median(values):
        # A seed without a value is the worst.
        middle = statistics.median(math.inf if value is None else value for value in values)
        return middle if math.isfinite(middle) else None

    def less(name, other):
        # Without the lower one there is nothing to compare with.
        pairs = zip(entry[name], entry[other], strict=True)
        return [None if value is None or base is None else value - base for value, base in pairs]

    return Shares(
        median(entry["direct"]), median(less("far", "direct")), median(less("default", "far")), median(entry["default"])
    )


def rows(results: Mapping[str, Any]) -> list[tuple[str, str, str, Mapping[str, Any]]]:
    """(target, budget, family, entry) of all that is there, in the order of the cases."""
    return [
        (case.name, budget, family, by_family[family])
        for case in CASES
        for budget, by_family in results.get(case.name, {}).items()
        for family in case.families
        if family in by_family
    ]


def table(results: Mapping[str, Any]) -> str:
    """All that was measured, as Markdown."""
    lines = []
    for target, budget, family, entry in rows(results):
        found = shares(entry)
        unit = "" if entry["unit"] == "nats" else f" (sliced W₁, {entry['unit']})"
        parts = [number(value) for value in found[:3]]
        ranges = f"{number(found.total)} ({_span(entry['default'])})"
        lines.append([target, budget, family + unit, *parts, ranges])
    head = ["target", "parameters", "family", "capacity", "+ objective", "+ optimiser", "default (range)"]
    return tabulate(lines, head, tablefmt="pipe", disable_numparse=True)


def number(value: float | None) -> str:
    """Such as 0.0123, or 1.2e-05; what lies below 1e-8 is less than rounding."""
    if value is None:
        return "diverged"
    if abs(value) < 1e-8:
        return "0"
    text = f"{abs(value):.3g}" if abs(value) >= 1e-3 else f"{abs(value):.1e}"
    return text if value > 0 else f"−{text}"


def _span(values: Sequence[float | None]) -> str:
    known = [math.inf if value is None else value for value in values]
    low, high = (value if math.isfinite(value) else None for value in (min(known), max(known)))
    return f"{number(low)} – {number(high)}"


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None

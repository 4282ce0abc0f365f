"""The scores of a sweep: one for every family and external entry of every cell, and their table."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmark.asked.constants import rows_of_board
from benchmark.files import results
from benchmark.sweeps.sweep_plan import Cell, Plan
from core import wording
from kinds.contract import Kind
from metrics import METRICS
from targets import kind_asked

# Where these are swept, equal names are other distributions, or have other floors: no row may mix them.
OF_TARGETS = rows_of_board()


class Score(NamedTuple):
    """What one family or external entry has come to in one cell."""

    cell: Cell
    target: str  # its name
    bins: int  # 0: continuous
    kind: Kind  # of its target
    row: str  # what tells this target from the sweep's others, such as "1D_BETA, 20 bins"
    name: str
    external: bool
    n_params: int | None
    width: int | None
    final: Mapping[str, Mapping[str, Any] | None]  # metric -> median, low, high, seeds; None: not defined
    floors: Mapping[str, Mapping[str, float]]  # metric -> mean, low, high, at its own number of rows
    train_seconds: float | None
    n_diverged: int
    exact_unknown: bool = False  # of a seed
    rivals: Mapping[str, float] = {}  # of its target: trivial model -> the smallest exact divergence that it can have

    @property
    def main(self) -> np.ndarray:
        """The main metric of every seed [S], infinite where it has diverged; empty where it is not defined."""
        seeds = (self.final.get(self.kind.main) or {"seeds": []})["seeds"]
        return np.array([np.inf if value is None else value for value in seeds], np.float64)

    @property
    def main_floor(self) -> Mapping[str, Any] | None:
        """The floor of the same."""
        return self.floors.get(self.kind.main)

    @property
    def exact(self) -> np.ndarray:
        """The exact divergence of every seed [S], over the cells of the main metric; empty where that is unknown."""
        summary = self.final.get(self.kind.exact)
        if not summary or self.exact_unknown or not self.kind.exact_is_scored(self.cell.config):
            return np.array([])
        return np.array([np.inf if value is None else value for value in summary["seeds"]], np.float64)

    @property
    def has_scale(self) -> bool:
        """Whether the floor of the main metric is above 0, so that multiples of it mean something."""
        signed = METRICS[self.kind.main].is_signed
        return bool(not signed and self.main_floor and middle_of(self.main_floor))

    @property
    def over_floor(self) -> float:
        """The main metric's median over the floor's; NaN where either is missing, infinite where it has diverged."""
        if not len(self.main) or not self.has_scale:
            return np.nan
        return float(np.median(self.main)) / middle_of(self.main_floor)

    def on_board(self, absolute: bool) -> float:
        """The main metric's median itself, or over the floor's; NaN where it is missing."""
        if not absolute:
            return self.over_floor
        return float(np.median(self.main)) if len(self.main) else np.nan


def scores_of(plan: Plan, cell: Cell, report: Mapping[str, Any]) -> list[Score]:
    """A cell's families and external entries, out of its metrics.json."""
    config = cell.config
    kind = kind_asked(config)
    row = ", ".join(filter(None, [config.target_type, kind.row(config)]))
    own = [
        pattern.format(short_of(plan.swept[name], cell.values[name]))
        for name, pattern in OF_TARGETS.items()
        if len(plan.swept.get(name, ())) > 1
    ]
    place = (cell, config.target_type, config.num_bins, kind, ", ".join([row, *own]))
    known = report.get("target", {}).get("rivals", {})
    rivals = {name: best[kind.exact] for name, best in known.items()}
    return [Score(*place, *entry)._replace(rivals=rivals) for entry in entries_of(report, kind)]


def alike(scores: Sequence[Score]) -> list[Score]:
    """The scores with one main metric a row: one that every family there has."""
    lacking = {score.row for score in scores if not score.external and score.final.get(score.kind.main) is None}
    return [score._replace(kind=score.kind.ranking(score.row not in lacking)) for score in scores]


def ranking_of(config: Any, report: Mapping[str, Any]) -> Kind:
    """The kind of a cell's target with a main metric that every family there has."""
    kind = kind_asked(config)
    return kind.ranking(all(model["final"][kind.main] is not None for model in report["models"].values()))


def entries_of(report: Mapping[str, Any], kind: Kind) -> list[tuple[Any, ...]]:
    """What a Score says of each entry, from its name on."""
    entries = []
    for name, model in report["models"].items():
        lost = sum(step is not None for step in model["diverged_at_step"])
        size = (model["n_params"], model["width"])
        entries.append((name, False, *size, model["final"], report["floor"], model["train_seconds"], lost,
                        f"{kind.exact}_unknown" in model))  # fmt: skip
    for name, entry in report["external"].items():
        entries.append((name, True, entry["n_params"], None, entry["final"], entry["floor"], None, 0))
    return entries


def csv_bytes(plan: Plan, scores: Sequence[Score]) -> bytes:
    """The table of all scores: one row a cell and family or external entry; empty where there is no number.

    Text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    # Of all cells, finished or not: the head does not depend on how far the sweep has come.
    kinds = [*(kind_asked(cell.config) for cell in plan.cells), *(score.kind for score in scores)]
    of_kinds = list(dict.fromkeys(name for kind in kinds for name in _columns(kind)))
    names = ("target", "bins", "family", "kind", "n_params", "width", "seeds", *of_kinds, "train_seconds", "diverged")
    writer.writerow(["cell", *plan.swept, *names])
    for score in scores:
        n_seeds = max((len(summary["seeds"]) for summary in score.final.values() if summary), default=0)
        row = [score.cell.name, *(words_of(score.cell.values[name]) for name in plan.swept)]
        row += [score.target, score.bins, score.name, "external" if score.external else "trained"]
        row += [score.n_params, score.width, n_seeds]
        own = dict(zip(_columns(score.kind), _values(score), strict=True))
        row += [*(own.get(name) for name in of_kinds), score.train_seconds, score.n_diverged]
        writer.writerow([wording.cell(value) for value in row])
    return text.getvalue().encode()


def _columns(kind: Kind) -> list[str]:
    """What the table of all scores has of one kind."""
    main = kind.main
    of_main = [main, f"{main}_low", f"{main}_high", f"{main}_floor", f"{main}_floor_median", f"{main}_over_floor"]
    others = [name for name in kind.followed if name != main]
    return [*of_main, kind.exact, *(column for name in others for column in (name, f"{name}_floor"))]


def _values(score: Score) -> list[Any]:
    """The values of `_columns`; None where there is no number."""
    kind, ratio = score.kind, score.over_floor
    summary = score.final.get(kind.main) or {}
    middle = middle_of(score.main_floor) if score.main_floor else None
    exact = median_of(score, kind.exact)
    values = [*(summary.get(part) for part in ("median", "low", "high")), floor_of(score, kind.main), middle]
    values += [ratio if np.isfinite(ratio) else None, "unknown" if exact is None and score.exact_unknown else exact]
    others = [name for name in kind.followed if name != kind.main]
    return values + [value for name in others for value in (median_of(score, name), floor_of(score, name))]


def short_of(values: Sequence[Any], value: Any) -> str:
    """A swept value for a row's name: a number of its own where it is not one word."""
    if isinstance(value, str):
        names = [Path(each).name for each in values]
        return wording.visible(Path(value).name if len(set(names)) == len(names) else value)
    if isinstance(value, int | float):
        return (
            re.sub(r"e([-+])0*", r"e\1", f"{value:g}").replace("e+", "e")
            if isinstance(value, float)
            else thin_of(value)
        )
    return f"#{list(values).index(value) + 1}"


def thin_of(value: Any) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{value:,}".replace(",", "\u2009") if isinstance(value, int) else str(value)


def median_of(score: Score, metric: str) -> float | None:
    """A metric's median over the seeds; None where there is none."""
    return (score.final.get(metric) or {}).get("median")


def floor_of(score: Score, metric: str) -> float | None:
    """The mean of a metric's floor; None where there is none."""
    return (score.floors.get(metric) or {}).get("mean")


def middle_of(floor: Mapping[str, Any]) -> float:
    """A floor's median; of a cell that was finished before medians were kept, its mean."""
    return floor.get("median", floor["mean"])


def quantiles_of(floor: Mapping[str, Any]) -> tuple[float, ...]:
    """A floor's quantiles at equal steps from 0 to 1; of such an old cell, what it has instead."""
    return tuple(floor.get("quantiles") or (floor["low"], middle_of(floor), floor["high"]))


def words_of(value: Any) -> Any:
    """A swept value as it may stand in a table."""
    return value if isinstance(value, str | int | float) else json.dumps(results.plain(value), default=repr)

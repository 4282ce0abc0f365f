"""From the metrics.json of a sweep's cells to the files over all of them."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.asked.constants import telling
from benchmark.files import results
from benchmark.pictures.views import leaderboard, tradeoff
from benchmark.pictures.views.boards import Board
from benchmark.sweeps.sweep_boards import BUDGET, board_of, in_order, panels_of, pooled, tradeoffs_of
from benchmark.sweeps.sweep_plan import Cell, Plan
from benchmark.sweeps.sweep_scores import OF_TARGETS, csv_bytes, entries_of, middle_of, scores_of, thin_of
from core import storage, trust
from core.drawing import scenes
from metrics import METRICS
from models import MODELS
from targets import kind_asked

CSV_FILE = "leaderboard.csv"
BOARD_FILE = "leaderboard.png"
SCALING_FILE = "budget_scaling.png"
# Family, picture, and what it shows of the family where that setting is swept.
_VIEWS = [
    (family, f"{name}.png", view)
    for family, module in MODELS.items()
    for name, view in getattr(module, "SWEEP_VIEWS", {}).items()
]
# What else is swept and numeric has a picture of its own: not what tells rows or columns apart, nor a draw's number.
_PICTURE_OF = "sweep_{}.png"
_NO_SETTING = telling("row", "column", "size", "draw")


class Merged(NamedTuple):
    """What a merge has written."""

    files: Sequence[str]  # in the sweep's folder
    missing: Sequence[str]  # cells that have not finished, by name
    board: Board
    lost: Sequence[tuple[Cell, str, Sequence[int]]] = ()  # families that have lost all their seeds of a cell, and where
    unpictured: Sequence[str] = ()  # swept settings against which nothing can be drawn


def read(cell: Cell) -> dict[str, Any] | None:
    """A cell's metrics.json; None unless it is there, of this cell's configuration, and whole with all it lists."""
    folder = Path(cell.config.out_dir)
    try:
        report = json.loads(trust.read_whole(folder / results.METRICS_FILE))
        own = json.loads(results.json_bytes(results.without_places(cell.config)))
        same = results.without_places(report["config"]) == own and report.get("partial") is None
        if not same or report["schema"] != results.SCHEMA or not set(report["files"]) <= set(os.listdir(folder)):
            return None
        # What somebody edited must be found here, and not by the first picture that reads it.
        line_of(cell, report)
        entries_of(report, kind_asked(cell.config))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return report


def _notes(plan: Plan, setting: str, board: leaderboard.Board) -> list[str]:
    """What a reader of a picture against a setting has to know."""
    others = pooled(plan, without=setting)
    return [*([f"medians also over {others}"] if others else []), *board.key]


def merge(plan: Plan, earlier: Sequence[str] = ()) -> Merged:
    """Writes `leaderboard.csv`, and as pictures the leaderboard and, of several budgets, what they bring.

    The same files follow from the same cells, however often and by whichever process.

    Args:
      plan: the sweep; cells that have not finished are left out.
      earlier: what the last merge wrote: of it goes what this one does not write.
    """
    reports = [(cell, read(cell)) for cell in plan.cells]
    scores = [score for cell, report in reports if report is not None for score in scores_of(plan, cell, report)]
    missing = [cell.name for cell, report in reports if report is None]
    folder = Path(plan.out_dir)
    storage.write_whole(folder / CSV_FILE, csv_bytes(plan, scores))
    files = [CSV_FILE]
    names = in_order(scores)
    colours = scenes.family_colours(list(MODELS), [name for name, external in names.items() if external])
    shared = _shared(plan, len(missing), any(not external for external in names.values()))
    board = board_of(plan, scores)
    if board.rows:
        leaderboard.leaderboard(folder / BOARD_FILE, board, colours, f"{board.metric} relative to the floor{shared}")
        files.append(BOARD_FILE)
    numeric, others = settings_of(plan)
    for setting in [BUDGET, *numeric] if len(plan.swept.get(BUDGET, ())) > 1 else numeric:
        if panels := panels_of(scores, setting):
            of_budget = setting == BUDGET
            words = "parameters" if of_budget else setting
            name = SCALING_FILE if of_budget else _PICTURE_OF.format(setting)
            leaderboard.budget_scaling(folder / name, panels, colours, f"{board.metric} against {words}{shared}",
                                       setting="" if of_budget else setting,
                                       notes=_notes(plan, setting, board))  # fmt: skip
            files.append(name)
    for family, picture, view in _VIEWS:
        setting = f"{family}.{view.setting}"
        shown = tradeoffs_of(plan, reports, family, view) if len(plan.swept.get(setting, ())) > 1 else []
        if shown:
            labels = (*view.labels, f"{view.x} + {view.y} = entropy of the target, the least there can be")
            title = f"{family} · {labels[1].partition(' (')[0]} and {labels[2].partition(' (')[0]}{shared}"
            notes = _notes(plan, setting, board)
            tradeoff.tradeoff(folder / picture, shown, labels, colours[family], title, notes)
            files.append(picture)
    for name in {name for name in earlier if is_merged(name)} - set(files):
        (folder / name).unlink(missing_ok=True)
    lost = [
        (cell, name, report["models"][name]["diverged_at_step"])
        for cell, report in reports
        if report is not None
        for name in results.lost_families(report)
    ]
    return Merged(files, missing, board, lost, others)


def is_merged(name: str) -> bool:
    """Whether a file's name is of those that a merge writes."""
    own = re.fullmatch(re.escape(_PICTURE_OF).replace(r"\{\}", r"[\w.]+"), name, re.ASCII)
    return own is not None or name in (CSV_FILE, BOARD_FILE, SCALING_FILE, *(picture for _, picture, _ in _VIEWS))


def settings_of(plan: Plan) -> tuple[list[str], list[str]]:
    """What has a picture of its own besides the budget, and what has none since its values are no numbers."""
    swept = [name for name, values in plan.swept.items() if len(values) > 1]
    swept = [name for name in swept if name not in (*_NO_SETTING, *OF_TARGETS)]
    numeric = [name for name in swept if all(_is_number(value) for value in plan.swept[name])]
    return numeric, [name for name in swept if name not in numeric]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def line_of(cell: Cell, report: Mapping[str, Any]) -> str:
    """A finished cell in one line: its families' main metric beside the floor."""
    main = kind_asked(cell.config).main
    entries = {name: model["final"][main] for name, model in (report["models"] | report["external"]).items()}
    parts = [f"{name} {leaderboard.number(summary['median'])}" for name, summary in entries.items() if summary]
    floor = f"floor {leaderboard.number(middle_of(report['floor'][main]))}"
    seconds = f"{report['provenance']['seconds']:.0f} s"
    lost = {name: model["diverged_at_step"] for name, model in report["models"].items()}
    notes = [f"{name} {text}" for name, at_steps in lost.items() if (text := _lost_of(at_steps))]
    return "   ".join([f"{cell.name}   {METRICS[main].label}: {'   '.join([*parts, floor])}", *notes, seconds])


def _lost_of(at_steps: Sequence[int | None]) -> str:
    """Such as "1 of 4 seeds diverged"; empty where none has."""
    n_lost = sum(step is not None for step in at_steps)
    return f"{n_lost} of {len(at_steps)} seeds diverged" if n_lost else ""


def _shared(plan: Plan, n_missing: int, trained: bool) -> str:
    """The settings that stand in a title because all cells have them."""
    units = {BUDGET: "parameters", "N_STEPS": "steps", "NUM_SEEDS": "seeds a cell"} if trained else {}
    parts = [f"{thin_of(plan.constants[name])} {unit}" for name, unit in units.items() if name in plan.constants]
    parts = [part.replace("1 seeds", "1 seed") if part.startswith("1 ") else part for part in parts]
    missing = [f"{n_missing} of {len(plan.cells)} cells missing"] if n_missing else []
    return "".join(f" · {part}" for part in [*parts, *missing])

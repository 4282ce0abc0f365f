"""From the metrics.json of a sweep's cells to the files over all of them."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.files import results
from benchmark.pages import layout
from benchmark.pictures.views import leaderboard
from benchmark.pictures.views.boards import Board
from benchmark.sweeps import sweep_page, sweep_pictures
from benchmark.sweeps.sweep_boards import board_of
from benchmark.sweeps.sweep_latex import TEX_FILE, tex_bytes
from benchmark.sweeps.sweep_plan import Cell, Plan
from benchmark.sweeps.sweep_scores import alike, csv_bytes, entries_of, middle_of, ranking_of, scores_of
from core import storage, trust
from metrics import METRICS
from targets import kind_asked

CSV_FILE = "leaderboard.csv"


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


def merge(plan: Plan, earlier: Sequence[str] = ()) -> Merged:
    """Writes `leaderboard.csv`, `leaderboard.tex`, the pictures over all cells, and the page that shows them.

    The same files follow from the same cells, however often and by whichever process.

    Args:
      plan: the sweep; cells that have not finished are left out.
      earlier: what the last merge wrote: of it goes what this one does not write.
    """
    reports = [(cell, read(cell)) for cell in plan.cells]
    found = [score for cell, report in reports if report is not None for score in scores_of(plan, cell, report)]
    scores = alike(found)
    missing = [cell.name for cell, report in reports if report is None]
    folder = Path(plan.out_dir)
    storage.write_whole(folder / CSV_FILE, csv_bytes(plan, scores))
    storage.write_whole(folder / TEX_FILE, tex_bytes(plan, scores, reports))
    board = board_of(plan, scores)
    drawn = sweep_pictures.draw(sweep_pictures.Content(plan, reports, scores, board))
    _, unpictured = sweep_pictures.settings_of(plan)
    page = sweep_page.page(sweep_page.Content(plan, reports, board, CSV_FILE, drawn, unpictured))
    storage.write_whole(folder / layout.FILE, page)
    files = [CSV_FILE, TEX_FILE, *drawn, layout.FILE]
    for name in {name for name in earlier if is_merged(name)} - set(files):
        (folder / name).unlink(missing_ok=True)
    lost = [
        (cell, name, report["models"][name]["diverged_at_step"])
        for cell, report in reports
        if report is not None
        for name in results.lost_families(report)
    ]
    return Merged(files, missing, board, lost, unpictured)


def is_merged(name: str) -> bool:
    """Whether a file's name is of those that a merge writes."""
    return name in (CSV_FILE, TEX_FILE, layout.FILE) or sweep_pictures.is_drawn(name)


def line_of(cell: Cell, report: Mapping[str, Any]) -> str:
    """A finished cell in one line: its families' main metric beside the floor."""
    main = ranking_of(cell.config, report).main
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

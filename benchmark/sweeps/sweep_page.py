"""The page of a sweep: its leaderboard, the pictures over all cells, and every cell with a link to its own page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.files import results
from benchmark.pages import layout
from benchmark.pages.markup import Child
from benchmark.pictures.views.boards import Board
from benchmark.pictures.views.leaderboard import number
from benchmark.sweeps.sweep_boards import board_texts
from benchmark.sweeps.sweep_latex import TEX_FILE
from benchmark.sweeps.sweep_plan import Cell, Plan
from benchmark.sweeps.sweep_record import STATE_FILE
from benchmark.sweeps.sweep_scores import middle_of, ranking_of, words_of
from benchmark.terminal import numbers
from core.captions import Caption
from metrics import METRICS
from models import MODELS

ERROR_FILE = "error.txt"  # in a cell's folder: why it has failed


class Content(NamedTuple):
    """What the page shows."""

    plan: Plan
    reports: Sequence[tuple[Cell, Mapping[str, Any] | None]]  # every cell with its metrics.json; None: not finished
    board: Board
    table: str  # the file with the scores of all cells
    pictures: Mapping[str, Caption]  # file name -> caption, in reading order
    unpictured: Sequence[str]  # swept settings against which nothing can be drawn


def page(content: Content) -> bytes:
    """The content of a sweep's index.html; it follows from the cells alone, whichever process writes it."""
    plan, folder = content.plan, Path(content.plan.out_dir)
    swept = " × ".join(f"{len(values)} values of {name}" for name, values in plan.swept.items())
    subject = ", ".join(content.board.rows) + ": " + ", ".join(content.board.names)
    figures = [layout.figure(folder, name, caption, subject) for name, caption in content.pictures.items()]
    sections = {
        "Leaderboard": _leaderboard(content.board),
        "Pictures": [*figures, *_without_picture(content)],
        "Cells": [
            layout.numbers("Every cell is one run", [_row(i, *each) for i, each in enumerate(content.reports, 1)])
        ],
        "Configuration": [_configuration(plan)],
        "Files": [_files(content)],
    }
    return layout.page("Sweep: " + swept, _introduction(content), sections)


def _introduction(content: Content) -> list[Child]:
    n, unfinished = len(content.plan.cells), [cell for cell, report in content.reports if report is None]
    failed = [cell.name for cell in unfinished if _has_failed(cell)]
    words = [layout.paragraph(f"{n - len(unfinished)} of {n} cells have finished.")]
    if failed:
        words.append(layout.note(f"Failed: {', '.join(failed)}."))
    if len(unfinished) > len(failed):
        words.append(layout.note(f"{len(unfinished) - len(failed)} of {n} cells have not finished yet."))
    if (Path(content.plan.out_dir) / results.METRICS_FILE).is_file():
        file = layout.link(results.METRICS_FILE, results.METRICS_FILE)
        words.append(layout.note("This folder also holds the results of a single run: ", file, "."))
    for cell, report in content.reports:
        for name, model in (report or {"models": {}})["models"].items():
            line = numbers.divergence(name, model["diverged_at_step"])
            words += [layout.note(f"{cell.name}: {line}.")] if line else []
    return words


def _leaderboard(board: Board) -> list[Child]:
    if not board.rows:
        return [layout.paragraph("No cell has a score yet.")]
    rows = [
        {board.heading: row, **dict(zip(board.names, texts, strict=True))}
        for row, texts in zip(board.rows, board_texts(board), strict=True)
    ]
    relative = (
        f"The median {board.metric} as a multiple of the floor's median: 1.0 is the middle of what perfect models show."
    )
    itself = f"The median {board.metric} itself in rows with a unit: a perfect model has 0."
    sorts = [relative] * (not all(board.absolute)) + [itself] * any(board.absolute)
    return [
        layout.paragraph(" ".join(sorts)),
        layout.numbers("Leaderboard", rows),
        *(layout.paragraph(words) for words in board.key),
    ]


def _without_picture(content: Content) -> list[Child]:
    names = ", ".join(content.unpictured)
    return (
        [layout.paragraph(f"No picture shows the scores against {names}: its values are no numbers.")] if names else []
    )


def _row(i: int, cell: Cell, report: Mapping[str, Any] | None) -> dict[str, Child]:
    """A cell: a link to its page, the swept values, and the main metric of every entry beside the floor."""
    values = {name: str(words_of(value)) for name, value in cell.values.items()}
    if report is None:
        state = layout.link(f"{cell.name}/{ERROR_FILE}", "failed") if _has_failed(cell) else "not finished"
        return {"cell": f"cell {i}", **values, "state": state}
    main = ranking_of(cell.config, report).main
    label = METRICS[main].label
    scores = {
        f"{name}: {label}": number(entry["final"][main]["median"])
        for name, entry in (report["models"] | report["external"]).items()
        if entry["final"][main]
    }
    own = layout.FILE if layout.FILE in report["files"] else results.METRICS_FILE
    place = layout.link(f"{cell.name}/{own}", f"cell {i}")
    floor = number(middle_of(report["floor"][main]))
    return {"cell": place, **values, "state": "finished", **scores, f"floor: {label}": floor}


def _has_failed(cell: Cell) -> bool:
    return (Path(cell.config.out_dir) / ERROR_FILE).is_file()


def _configuration(plan: Plan) -> Child:
    swept = [(name, repr(results.plain(list(values)))) for name, values in plan.swept.items()]
    trained = {family for cell in plan.cells for family in cell.config.models}
    shared = []
    for name, value in plan.constants.items():
        if name not in MODELS:
            shared.append((name, repr(value)))
        elif name in trained:
            shared += [(f"{name}.{setting}", repr(own)) for setting, own in value.items()]
    return layout.facts("What was swept, and what all cells share", [*swept, *shared], ("name", "value"))


def _files(content: Content) -> Child:
    words = {content.table: "the scores of all cells as one table", TEX_FILE: "the same as tables for a paper (LaTeX)"}
    words |= {name: caption.title for name, caption in content.pictures.items()}
    words |= {layout.FILE: "this page", STATE_FILE: "what was swept, and which cells have finished"}
    rows = [(layout.link(name, name), what) for name, what in words.items()]
    return layout.facts("Files over all cells", rows, ("file", "content"))

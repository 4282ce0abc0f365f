"""Runs a sweep: every cell in its own folder, one after the other, then the files over all of them.

The parts stand by themselves: `sweep_plan.make_plan` is pure, `run_cell` does not run a finished cell again, `merge`
reads what there is.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import benchmark
import console
import results
import sweep_merge
from config import Command
from errors import UserError
from sweep_plan import Cell, Plan, make_plan, naming, without_folder

SCHEMA = 1
STATE_FILE = "sweep.json"
UNFINISHED, FINISHED = "unfinished", "finished"
_INTERRUPTED = 130  # the exit code of a program that Ctrl-C ends


def run(command: Command, args: Sequence[str]) -> int:
    """Runs every cell of a sweep that has not finished, and merges all.

    Args:
      command: from `config.read`, with a sweep.
      args: the command line, for the record.

    Returns:
      The exit code: 0, or 130 after Ctrl-C, which loses the cell that was running and no other.

    Raises:
      UserError: anything that cannot be run; then nothing on disk has changed.
    """
    plan = make_plan(command)
    to_run = [cell for cell in plan.cells if not is_finished(cell)]
    check(to_run)
    begin(plan, bool(to_run))

    n, n_open = len(plan.cells), len(to_run)
    console.say(f"sweep: {n} {_cells(n)} of {' × '.join(f'{len(v)} {name}' for name, v in plan.swept.items())}")
    if n_open < n:
        console.say(f"{n - n_open} of them {'is' if n - n_open == 1 else 'are'} finished already")
    try:
        with console.sweep_bar(n, n - n_open) as bar:
            for cell in to_run:
                bar.begin(cell.name)
                bar.end(sweep_merge.line_of(cell, run_cell(cell, args, with_pictures=plan.pictures)))
        with console.waiting("merging …"):
            merged = merge(plan)
    except KeyboardInterrupt:
        done = sum(map(is_finished, plan.cells))
        console.say(f"interrupted: {done} of {n} {_cells(n)} finished; the same command continues")
        return _INTERRUPTED
    console.board_table(merged.board.rows, merged.board.names, merged.board.ratio)
    missing = f"; {merged.n_missing} of {n} {_cells(n)} missing" if merged.n_missing else ""
    console.say(f"{len(merged.files)} files and {n} {_cells(n)} in {plan.out_dir}/{missing}")
    return 0


def check(cells: Sequence[Cell]) -> None:
    """Proves that cells can be run, without writing anything.

    Raises:
      UserError: the first that cannot, by name.
    """
    seen = set()
    for cell in cells:
        folder = Path(cell.config.out_dir)
        if folder.exists() and not folder.is_dir():
            raise UserError(f"cell {cell.name}: {str(folder)!r} is a file; move it, or name another OUT_DIR")
        fields = without_folder(cell.config)
        if cell.config.target_type != "CUSTOM":
            # The seed decides how a table is split, but nothing about what is built for an exact target.
            fields["seed"] = None
        key = json.dumps(fields, sort_keys=True)
        if key not in seen:
            with naming(cell.name):
                benchmark.check(cell.config)
            seen.add(key)


def begin(plan: Plan, to_run: bool = True) -> None:
    """Records a sweep in its folder before its first cell.

    The files over all cells that an earlier sweep left there are removed; its cells stay, and those with this sweep's
    names and configurations are part of it.

    Args:
      plan: the sweep.
      to_run: whether any of its cells has not finished.

    Raises:
      UserError: the folder cannot be written, or holds the unfinished results of a different sweep.
    """
    path = Path(plan.out_dir) / STATE_FILE
    earlier = _read_state(path)
    same = earlier is not None and _is_same(earlier, plan)
    if earlier is not None and not same and earlier["state"] != FINISHED:
        names = earlier["cells"]
        n_lost = sum((path.parent / _plain_name(name) / results.METRICS_FILE).is_file() for name in names)
        # One that has come to nothing yet has nothing to lose.
        if n_lost:
            raise UserError(
                f"OUT_DIR {plan.out_dir!r} holds a different sweep, of which {n_lost} of {len(names)} cells are "
                f"finished: finish that one, name another OUT_DIR, or remove its {STATE_FILE} to give it up"
            )
    folder = results.open_folder(plan.out_dir)
    if same:
        if to_run and earlier["state"] == FINISHED:
            _write_state(plan, UNFINISHED, earlier["files"])
        return
    for name in sweep_merge.FILES:
        if earlier is not None and name in earlier["files"]:
            with contextlib.suppress(OSError):
                (folder / name).unlink()
    _write_state(plan, UNFINISHED, [])


def is_finished(cell: Cell) -> bool:
    """Whether a cell's folder holds the whole results of its own configuration."""
    return sweep_merge.read(cell) is not None


def run_cell(cell: Cell, args: Sequence[str], *, with_pictures: bool) -> Mapping[str, Any]:
    """Runs one cell into its folder unless it has finished.

    Args:
      cell: of a plan.
      args: the command line, for the record.
      with_pictures: whether it draws its own.

    Returns:
      The content of its metrics.json.

    Raises:
      UserError: it cannot be run.
    """
    report = sweep_merge.read(cell)
    if report is not None:
        return report
    started = benchmark.Started.now()
    with naming(cell.name):
        job = benchmark.check(cell.config)
        folder = results.open_folder(cell.config.out_dir)
    # Other results under this name must not look whole while their files are being replaced.
    results.remove_previous(folder, keep=())
    benchmark.execute(job, folder, started, args, with_pictures=with_pictures, root=folder.parent)
    return sweep_merge.read(cell)


def merge(plan: Plan) -> sweep_merge.Merged:
    """Writes the files over all cells from those that have finished, and records whether all have."""
    merged = sweep_merge.merge(plan)
    _write_state(plan, UNFINISHED if merged.n_missing else FINISHED, merged.files)
    return merged


def _write_state(plan: Plan, state: str, files: Sequence[str]) -> None:
    content = {
        "schema": SCHEMA,
        "state": state,
        "files": sorted(files),
        "sweep": {name: list(values) for name, values in plan.swept.items()},
        "constants": plan.constants,
        "cells": [cell.name for cell in plan.cells],
    }
    results.write_whole(Path(plan.out_dir) / STATE_FILE, results.json_bytes(content))


def _read_state(path: Path) -> dict[str, Any] | None:
    """What a folder's sweep.json says; None where there is none.

    Raises:
      UserError: it is there but not what a sweep writes.
    """
    try:
        state = json.loads(path.read_text())
        names = [*state["files"], *state["cells"]]
        if state["schema"] == SCHEMA and {"state", "constants"} <= set(state) and all(map(_is_text, names)):
            return state
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{str(path)!r} is not what a sweep writes: name another OUT_DIR, or remove that file")


def _is_same(state: Mapping[str, Any], plan: Plan) -> bool:
    """Whether a record is of the same cells: names hold the swept values, and the rest is alike for all."""
    constants = json.loads(results.json_bytes(plan.constants))
    return set(state["cells"]) == {cell.name for cell in plan.cells} and state["constants"] == constants


def _plain_name(name: str) -> str:
    # A record that somebody edited must not reach outside the folder.
    return Path(name).name


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _cells(n: int) -> str:
    return "cell" if n == 1 else "cells"

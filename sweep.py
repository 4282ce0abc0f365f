"""Runs a sweep: every cell in its own folder, one after the other or on a cluster, then the files over all of them.

The parts stand by themselves: `sweep_plan.make_plan` is pure, `run_cell` does not run a finished cell again, `merge`
reads what there is.
"""

import contextlib
import json
import re
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import benchmark
import checkpoint
import console
import interruption
import locks
import parts
import results
import storage
import sweep_merge
import wording
from config import Command
from errors import UserError
from sweep_plan import Cell, Plan, make_plan, naming

SCHEMA = 1
STATE_FILE = "sweep.json"
ERROR_FILE = "error.txt"  # in a cell's folder: why it has failed
LOG_FILE = "log.txt"  # there as well: what its run has printed
UNFINISHED, FINISHED = "unfinished", "finished"
_FAILED = 1  # the exit code where a cell has, or with --strict where a family has lost all its seeds in one
_INTERRUPTED = 130  # and of a program that Ctrl-C ends


class Outcome(NamedTuple):
    """What an attempt at a cell, or at some of its seeds, has come to."""

    report: Mapping[str, Any] | None  # the content of its metrics.json; None where it has not finished
    error: str | None  # one line; None where nothing went wrong


def run(command: Command, args: Sequence[str], constants: Mapping[str, Any]) -> int:
    """Runs every cell of a sweep that has not finished, or sends them to a cluster; and merges all.

    Args:
      command: from `config.read`, with a sweep.
      args: the command line, for the record.
      constants: the config block, for other processes.

    Returns:
      The exit code: 0; 1 where a cell has failed, which loses no other, or with --strict where a family has lost all
      its seeds of a finished one; or 130 or 143 where a signal has ended it.

    Raises:
      UserError: anything that cannot be run; then nothing on disk has changed.
    """
    plan = make_plan(command)
    if command.merge:
        return _merge_alone(plan, command.strict)
    try:
        n = len(plan.cells)
        with console.waiting_if_long(f"checking {n} {_cells(n)} …"):
            check([cell for cell in plan.cells if not is_finished(cell)], fresh=command.fresh)
        _earlier(plan)
        # Two that run, or send, the same cells would do all the work twice.
        with locks.held(plan.out_dir):
            return _run(command, args, constants, plan)
    except KeyboardInterrupt:
        n, done = len(plan.cells), sum(map(is_finished, plan.cells))
        console.say(f"interrupted: {done} of {n} {_cells(n)} finished; the same command continues")
        return interruption.exit_code() or _INTERRUPTED


def _run(command: Command, args: Sequence[str], constants: Mapping[str, Any], plan: Plan) -> int:
    """Runs or sends the cells, in a folder that no other process is in."""
    to_run = [cell for cell in plan.cells if not is_finished(cell)]
    n, n_open = len(plan.cells), len(to_run)
    if to_run:
        # Its tasks come back to this module.
        import launcher

        if command.launcher == "slurm":
            order = launcher.order(command, args, constants, plan, to_run)
            if order.tasks:
                begin(plan)
            _say_what(plan, n_open)
            launcher.submit(order, fresh=command.fresh)
            return 0
        launcher.check_idle(plan)
    begin(plan, bool(to_run))
    if command.fresh:
        for cell in to_run:
            parts.remove(Path(cell.config.out_dir))
    _say_what(plan, n_open)
    n_failed = 0
    try:
        with console.sweep_bar(n, n - n_open) as bar:
            for cell in to_run:
                bar.begin(cell.name)
                outcome = attempt(cell, args, with_pictures=plan.pictures)
                n_failed += outcome.error is not None
                bar.end(line_of(cell, outcome))
                interruption.check()
    except KeyboardInterrupt:
        if any(map(is_finished, plan.cells)):
            with console.waiting("merging …"):
                merge(plan)
        raise
    with console.waiting("merging …"):
        merged = merge(plan)
    _say_merged(plan, merged)
    return _FAILED if n_failed or (command.strict and merged.lost) else 0


def attempt(
    cell: Cell, args: Sequence[str], *, with_pictures: bool, seeds: range | None = None, process: str = ""
) -> Outcome:
    """Runs a cell, or some of its seeds, and keeps in its folder what went wrong, so that others can go on.

    Args:
      cell: of a plan.
      args: the command line, for the record.
      with_pictures: whether it draws its own.
      seeds: of the cell, for `run_seeds`; None: all of it, in one piece.
      process: for `run_seeds`.
    """
    path = Path(cell.config.out_dir) / ERROR_FILE
    try:
        if seeds is None:
            report = run_cell(cell, args, with_pictures=with_pictures)
        else:
            report = run_seeds(cell, seeds, args, with_pictures=with_pictures, process=process)
    except locks.Held as error:
        # It is not this cell that has failed.
        return Outcome(None, " ".join(str(error).split()))
    except Exception as error:
        # A full disk may be what went wrong.
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            storage.write_whole(path, traceback.format_exc().encode(errors="backslashreplace"))
        text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return Outcome(None, " ".join(text.split()))
    if report is not None:
        path.unlink(missing_ok=True)
    return Outcome(report, None)


def line_of(cell: Cell, outcome: Outcome) -> str:
    """An attempt in one line."""
    if outcome.report is not None:
        return sweep_merge.line_of(cell, outcome.report)
    if outcome.error is None:
        return f"{cell.name}   its other seeds are not there yet"
    name = "" if outcome.error.startswith(f"cell {cell.name}: ") else f"cell {cell.name}: "
    path = Path(cell.config.out_dir) / ERROR_FILE
    return f"failed: {name}{outcome.error[:300]}{f'   ({path})' if path.exists() else ''}"


def check(cells: Sequence[Cell], *, fresh: bool = False) -> None:
    """Proves that cells can be run, without writing anything.

    Args:
      cells: those that have not finished.
      fresh: whether unfinished runs in their folders will be given up.

    Raises:
      UserError: the first that cannot, by name.
    """
    known: dict[str, Any] = {}
    for cell in cells:
        folder = Path(cell.config.out_dir)
        if folder.is_symlink() and not folder.exists():
            raise UserError(
                f"cell {cell.name}: {str(folder)!r} is a link to nothing; remove it, or name another OUT_DIR"
            )
        if folder.exists() and not folder.is_dir():
            raise UserError(f"cell {cell.name}: {str(folder)!r} is a file; move it, or name another OUT_DIR")
        with naming(cell.name):
            benchmark.check_like(cell.config, known)
            if not fresh:
                checkpoint.check(folder, cell.config)


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
    earlier, same = _earlier(plan)
    folder = results.open_folder(plan.out_dir)
    if same:
        if to_run and earlier["state"] == FINISHED:
            _write_state(plan, UNFINISHED, earlier["files"])
        return
    for name in filter(sweep_merge.is_merged, earlier["files"] if earlier is not None else ()):
        with contextlib.suppress(OSError):
            (folder / name).unlink()
    _write_state(plan, UNFINISHED, [])


def _earlier(plan: Plan) -> tuple[dict[str, Any] | None, bool]:
    """What a sweep's folder says of the last one there, None without one, and whether it is this one.

    Raises:
      UserError: it is a different one, whose unfinished results would be lost.
    """
    path = Path(plan.out_dir) / STATE_FILE
    earlier = _read_state(path)
    same = earlier is not None and _is_same(earlier, plan)
    if earlier is not None and not same and earlier["state"] != FINISHED:
        folders = [path.parent / name for name in earlier["cells"]]
        begun = [folder for folder in folders if parts.files_in(folder) or checkpoint.files_in(folder)]
        finished = [folder for folder in folders if folder not in begun and (folder / results.METRICS_FILE).is_file()]
        trained = [folder for folder in begun if folder not in finished]
        # One that has come to nothing yet has nothing to lose.
        if finished or trained:
            some = f" and {len(trained)} {'has' if len(trained) == 1 else 'have'} trained seeds" if trained else ""
            raise UserError(
                f"OUT_DIR {plan.out_dir!r} holds a different sweep, of which {len(finished)} of {len(folders)} cells "
                f"are finished{some}: finish that one, name another OUT_DIR, or remove its {STATE_FILE} to give it up"
            )
    return earlier, same


def is_finished(cell: Cell) -> bool:
    """Whether a cell's folder holds the whole results of its own configuration."""
    return sweep_merge.read(cell) is not None


def has_failed(cell: Cell) -> bool:
    """Whether the last attempt at a cell has left an error."""
    return (Path(cell.config.out_dir) / ERROR_FILE).is_file() and not is_finished(cell)


def run_cell(cell: Cell, args: Sequence[str], *, with_pictures: bool) -> Mapping[str, Any]:
    """Runs one cell into its folder unless it has finished; of its seeds those that no task has trained yet.

    Args:
      cell: of a plan.
      args: the command line, for the record.
      with_pictures: whether it draws its own.

    Returns:
      The content of its metrics.json.

    Raises:
      UserError: it cannot be run, or another process is running it.
    """
    report = sweep_merge.read(cell)
    if report is not None:
        return report
    started = benchmark.Started.now()
    with contextlib.ExitStack() as stack:
        with naming(cell.name):
            job = benchmark.check(cell.config)
            folder = stack.enter_context(locks.held(cell.config.out_dir))
        # Whoever was here before may have finished it.
        report = sweep_merge.read(cell)
        if report is not None:
            return report
        stack.enter_context(console.copied_to(folder / LOG_FILE))
        trained = None
        if parts.seeds_in(folder, cell.config):
            for seeds in parts.missing_in(folder, cell.config):
                _train_part(cell, job, folder, seeds)
            trained = parts.join(folder, job)
            parts.unclaim(folder)
        return _finish(cell, job, folder, started, args, with_pictures=with_pictures, trained=trained)


def run_seeds(
    cell: Cell, seeds: range, args: Sequence[str], *, with_pictures: bool, process: str
) -> Mapping[str, Any] | None:
    """Trains some of a cell's seeds; and where these were the last ones, puts all together and writes its results.

    Args:
      cell: of a plan.
      seeds: consecutive ones; none where only the rest is left to do.
      args: the command line, for the record.
      with_pictures: whether the cell draws its own.
      process: a name for this one, that no other has.

    Returns:
      The content of its metrics.json; None while other seeds, or another process that finishes the cell, are awaited.

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
    if not set(seeds) <= parts.seeds_in(folder, cell.config):
        _train_part(cell, job, folder, seeds)
    if parts.missing_in(folder, cell.config):
        # Or another process has finished it by now, without this one.
        report = sweep_merge.read(cell)
        if report is not None:
            parts.remove(folder)
        return report
    with parts.claimed(folder, process) as mine:
        if not mine or is_finished(cell):
            return sweep_merge.read(cell)
        with contextlib.ExitStack() as stack:
            with naming(cell.name):
                stack.enter_context(locks.held(cell.config.out_dir))
            stack.enter_context(console.copied_to(folder / LOG_FILE))
            trained = parts.join(folder, job)
            return _finish(cell, job, folder, started, args, with_pictures=with_pictures, trained=trained)


def _train_part(cell: Cell, job: benchmark.Job, folder: Path, seeds: range) -> None:
    began = time.perf_counter()
    runs, costs = benchmark.train_seeds(job, seeds, folder)
    parts.write(folder, cell.config, seeds, runs, costs, time.perf_counter() - began)
    checkpoint.remove(folder, seeds)


def _finish(
    cell: Cell,
    job: benchmark.Job,
    folder: Path,
    started: benchmark.Started,
    args: Sequence[str],
    *,
    with_pictures: bool,
    trained: benchmark.Trained | None,
) -> Mapping[str, Any]:
    """Trains a cell's seeds, unless others have, and writes its results; its parts have then done their service."""
    if trained is not None:
        # What its parts took is counted with them.
        started = benchmark.Started(time.perf_counter(), started.utc)
    benchmark.execute(job, folder, started, args, with_pictures=with_pictures, root=folder.parent, trained=trained)
    report = sweep_merge.read(cell)
    if report is None:
        raise UserError(f"its results in {str(folder)!r} are not whole: something else has written or removed them")
    parts.remove(folder)
    return report


def merge(plan: Plan) -> sweep_merge.Merged:
    """Writes the files over all cells from those that have finished, and records whether all have."""
    earlier = _read_state(Path(plan.out_dir) / STATE_FILE)
    merged = sweep_merge.merge(plan, () if earlier is None else earlier["files"])
    _write_state(plan, UNFINISHED if merged.n_missing else FINISHED, merged.files)
    return merged


def _merge_alone(plan: Plan, strict: bool) -> int:
    """Merges what there is of a sweep, without running anything.

    Raises:
      UserError: none of its cells has finished, or its folder holds another sweep.
    """
    n = len(plan.cells)
    _earlier(plan)
    if not any(map(is_finished, plan.cells)):
        n_failed = sum(map(has_failed, plan.cells))
        failed = f" ({n_failed} failed: see {ERROR_FILE} in {'its folder' if n_failed == 1 else 'their folders'})"
        raise UserError(
            f"--merge: none of the {n} {_cells(n)} of this sweep has finished in OUT_DIR {plan.out_dir!r}"
            f"{failed if n_failed else ''}; run it first, without --merge"
        )
    begin(plan, False)
    with console.waiting("merging …"):
        merged = merge(plan)
    _say_merged(plan, merged)
    return _FAILED if strict and merged.lost else 0


def _say_what(plan: Plan, n_open: int) -> None:
    n = len(plan.cells)
    console.say(f"sweep: {n} {_cells(n)} of {' × '.join(f'{len(v)} {name}' for name, v in plan.swept.items())}")
    if n_open < n:
        console.say(f"{n - n_open} of them {'is' if n - n_open == 1 else 'are'} finished already")


def _say_merged(plan: Plan, merged: sweep_merge.Merged) -> None:
    n, n_failed = len(plan.cells), sum(map(has_failed, plan.cells))
    console.board_table(merged.board.rows, merged.board.names, merged.board.ratio, merged.board.losses)
    missing = f"; {merged.n_missing} of {n} {_cells(n)} missing" if merged.n_missing else ""
    if n_failed:
        missing += f", {n_failed} of them failed ({ERROR_FILE} in {'its folder' if n_failed == 1 else 'their folders'})"
    n_files = len(merged.files)
    files, folder = "file" if n_files == 1 else "files", wording.visible(plan.out_dir)
    console.say(f"{n_files} {files} and {n} {_cells(n)} in {folder}/{missing}")
    if merged.unpictured:
        console.say(f"no picture against {', '.join(merged.unpictured)}: {sweep_merge.CSV_FILE} has every cell")
    for cell, name, at_steps in merged.lost:
        console.warn(f"cell {cell.name}: {console.divergence(name, at_steps)}")


def _write_state(plan: Plan, state: str, files: Sequence[str]) -> None:
    content = {
        "schema": SCHEMA,
        "state": state,
        "files": sorted(files),
        "sweep": {name: list(values) for name, values in plan.swept.items()},
        "constants": plan.constants,
        "cells": [cell.name for cell in plan.cells],
    }
    storage.write_whole(Path(plan.out_dir) / STATE_FILE, results.json_bytes(content))


def _read_state(path: Path) -> dict[str, Any] | None:
    """What a folder's sweep.json says; None where there is none.

    Raises:
      UserError: it is there but not what a sweep writes.
    """
    try:
        state = json.loads(path.read_bytes())
        names = [*state["files"], *state["cells"]]
        if state["schema"] == SCHEMA and {"state", "constants"} <= set(state) and all(map(_is_plain_name, names)):
            return state
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise UserError(f"{str(path)!r} is not what a sweep writes: name another OUT_DIR, or remove that file")


def _is_same(state: Mapping[str, Any], plan: Plan) -> bool:
    """Whether a record is of the same cells: names hold the swept values, and the rest is alike for all."""
    constants = json.loads(results.json_bytes(plan.constants))
    return set(state["cells"]) == {cell.name for cell in plan.cells} and state["constants"] == constants


def _is_plain_name(name: Any) -> bool:
    # A record that somebody edited must not reach outside the folder.
    return isinstance(name, str) and re.fullmatch(r"\w[\w.+=,-]*", name, re.ASCII) is not None


def _cells(n: int) -> str:
    return "cell" if n == 1 else "cells"

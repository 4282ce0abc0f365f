"""Runs a sweep: every cell in its own folder, one after the other or on a cluster, then the files over all of them.

The parts stand by themselves: `sweep_plan.make_plan` is pure, `run_cell` does not run a finished cell again, `merge`
reads what there is.
"""

import contextlib
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
import storage
import sweep_merge
import sweep_record
import wording
from config import Command
from errors import UserError
from sweep_plan import Cell, Plan, make_plan, naming
from sweep_record import FINISHED, STATE_FILE, UNFINISHED

ERROR_FILE = "error.txt"  # in a cell's folder: why it has failed
LOG_FILE = "log.txt"  # there as well: what its run has printed
_FAILED = 1  # the exit code where a cell has, or with --strict where a family has lost all its seeds in one
_INTERRUPTED = 130  # and of a program that Ctrl-C ends
_MOST_NAMED = 5  # cells in a line


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
    n = len(plan.cells)

    def words():
        done = sum(map(is_finished, plan.cells))
        return f"interrupted: {done} of {n} {_cells(n)} finished; the same command continues"

    with interruption.ending_with(words):
        return _run_or_end(command, args, constants, plan)


def _run_or_end(command: Command, args: Sequence[str], constants: Mapping[str, Any], plan: Plan) -> int:
    try:
        n = len(plan.cells)
        sweep_record.check(plan, fresh=command.fresh)
        with console.waiting_if_long(f"checking {n} {_cells(n)} …"):
            check([cell for cell in plan.cells if not is_finished(cell)], fresh=command.fresh)
        # Two that run, or send, the same cells would do all the work twice.
        with locks.held(plan.out_dir):
            return _run(command, args, constants, plan)
    except KeyboardInterrupt:
        console.say(interruption.last_words())
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
                begin(plan, fresh=command.fresh)
            _say_what(plan, to_run, command.config)
            launcher.submit(order, fresh=command.fresh)
            return 0
        launcher.check_idle(plan)
    begin(plan, bool(to_run), fresh=command.fresh)
    if command.fresh:
        for cell in to_run:
            parts.remove(Path(cell.config.out_dir))
    _say_what(plan, to_run, command.config)
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


def begin(plan: Plan, to_run: bool = True, *, fresh: bool = False) -> None:
    """Records a sweep in its folder before its first cell.

    The files over all cells that a sweep with other constants left there are removed; its cells stay, and those with
    this sweep's names and configurations are part of it.

    Args:
      plan: the sweep.
      to_run: whether any of its cells has not finished.
      fresh: whether it may replace what is there.

    Raises:
      UserError: the folder cannot be written, or holds what this sweep may not replace (`sweep_record.check`).
    """
    earlier = sweep_record.check(plan, fresh=fresh)
    folder = storage.open_folder(plan.out_dir)
    files = [] if earlier is None else list(filter(sweep_merge.is_merged, earlier["files"]))
    if earlier is not None and not sweep_record.shares_constants(earlier, plan):
        for name in files:
            with contextlib.suppress(OSError):
                (folder / name).unlink()
        files = []
    if earlier is None or not sweep_record.is_of(earlier, plan) or (to_run and earlier["state"] == FINISHED):
        sweep_record.write(plan, UNFINISHED, files)


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
        folder = storage.open_folder(cell.config.out_dir)
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
    earlier = sweep_record.read(plan.out_dir)
    merged = sweep_merge.merge(plan, () if earlier is None else earlier["files"])
    sweep_record.write(plan, UNFINISHED if merged.missing else FINISHED, merged.files)
    return merged


def as_recorded(command: Command, plan: Plan) -> Plan:
    """The sweep that a folder was last used for where only its lists are others than this one's; else this one."""
    record = sweep_record.read(plan.out_dir)
    if record is None or not sweep_record.shares_constants(record, plan) or sweep_record.is_of(record, plan):
        return plan
    with contextlib.suppress(UserError):
        found = make_plan(command._replace(sweep=record["sweep"]))
        if sweep_record.is_of(record, found):
            return found
    return plan


def _merge_alone(plan: Plan, strict: bool) -> int:
    """Merges what there is of a sweep, without running anything or changing which sweep the folder is used for.

    Raises:
      UserError: none of its cells has finished.
    """
    n = len(plan.cells)
    earlier = sweep_record.read(plan.out_dir)
    if not any(map(is_finished, plan.cells)):
        n_failed = sum(map(has_failed, plan.cells))
        failed = f" ({n_failed} failed: see {ERROR_FILE} in {'its folder' if n_failed == 1 else 'their folders'})"
        none = f"none of the {n} cells of this sweep has" if n > 1 else "this sweep's only cell has not"
        raise UserError(
            f"--merge: {none} finished in OUT_DIR {plan.out_dir!r}"
            f"{failed if n_failed else ''}; run it first, without --merge"
        )
    storage.open_folder(plan.out_dir)
    with console.waiting("merging …"):
        merged = sweep_merge.merge(plan, () if earlier is None else earlier["files"])
        sweep_record.note_merge(plan, earlier, merged.files, len(merged.missing))
    _say_merged(plan, merged)
    return _FAILED if strict and merged.lost else 0


def _say_what(plan: Plan, to_run: Sequence[Cell], shared: Any) -> None:
    n, n_open = len(plan.cells), len(to_run)
    console.say(f"sweep: {n} {_cells(n)} of {' × '.join(f'{len(v)} {name}' for name, v in plan.swept.items())}")
    if n_open < n:
        console.say(f"{n - n_open} of them {'is' if n - n_open == 1 else 'are'} finished already")
    n_replaced = sum(map(bool, map(sweep_record.replaced, to_run)))
    if n_replaced:
        hold = "holds finished results" if n_replaced == 1 else "hold finished results"
        console.say(f"{n_replaced} of them {hold} of another configuration, to be replaced")
    if to_run:
        # What cells say of it is out of sight.
        benchmark.keep_compiled(shared)


def _say_merged(plan: Plan, merged: sweep_merge.Merged) -> None:
    n, n_failed = len(plan.cells), sum(map(has_failed, plan.cells))
    console.board_table(merged.board.rows, merged.board.names, sweep_merge.board_texts(merged.board))
    files, folder = [*merged.files, STATE_FILE], wording.visible(plan.out_dir)
    finished = n - len(merged.missing)
    over = f"all {n} cells" if finished == n > 1 else f"{finished} of {n} {_cells(n)}" if n > 1 else "its only cell"
    missing = f"; missing: {_some(merged.missing)}" if merged.missing else ""
    if n_failed:
        missing += f"; {n_failed} of them failed ({ERROR_FILE} in {'its folder' if n_failed == 1 else 'their folders'})"
    console.say(f"{', '.join(files[:-1])} and {files[-1]} in {folder}/, over {over}{missing}")
    others = sweep_record.elsewhere(plan)
    if others:
        have = "cell of another sweep has" if len(others) == 1 else "cells of other sweeps have"
        console.say(f"{len(others)} {have} results there, too, which stay and are not among these: {_some(others)}")
    if merged.unpictured:
        console.say(f"no picture against {', '.join(merged.unpictured)}: {sweep_merge.CSV_FILE} has every cell")
    for cell, name, at_steps in merged.lost:
        console.warn(f"cell {cell.name}: {console.divergence(name, at_steps)}")


def _some(names: Sequence[str]) -> str:
    """The first few of some names, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return " ".join(names[:_MOST_NAMED]) + more


def _cells(n: int) -> str:
    return "cell" if n == 1 else "cells"

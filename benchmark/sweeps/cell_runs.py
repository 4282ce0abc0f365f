"""What a sweep does with its cells: runs one, or some of its seeds, keeps what went wrong, and merges what there is."""

import contextlib
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.asked.command_line import Command
from benchmark.files import checkpoint, locks
from benchmark.run import checks, one_run, parts
from benchmark.sweeps import sweep_merge, sweep_record
from benchmark.sweeps.sweep_page import ERROR_FILE
from benchmark.sweeps.sweep_plan import Cell, Plan, make_plan, naming
from benchmark.sweeps.sweep_record import FINISHED, UNFINISHED
from benchmark.terminal import console
from core import storage
from core.errors import UserError

LOG_FILE = "log.txt"  # there as well: what its run has printed


class Outcome(NamedTuple):
    """What an attempt at a cell, or at some of its seeds, has come to."""

    report: Mapping[str, Any] | None  # the content of its metrics.json; None where it has not finished
    error: str | None  # one line; None where nothing went wrong


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
            checks.check_like(cell.config, known)
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
    started = one_run.Started.now(args)
    with contextlib.ExitStack() as stack:
        with naming(cell.name):
            job = checks.check(cell.config)
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
        return _finish(cell, job, folder, started, with_pictures=with_pictures, trained=trained)


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
    started = one_run.Started.now(args)
    with naming(cell.name):
        job = checks.check(cell.config)
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
            return _finish(cell, job, folder, started, with_pictures=with_pictures, trained=trained)


def _train_part(cell: Cell, job: checks.Job, folder: Path, seeds: range) -> None:
    began = time.perf_counter()
    runs, costs = one_run.train_seeds(job, seeds, folder)
    parts.write(folder, cell.config, seeds, runs, costs, time.perf_counter() - began)
    checkpoint.remove(folder, seeds)


def _finish(
    cell: Cell,
    job: checks.Job,
    folder: Path,
    started: one_run.Started,
    *,
    with_pictures: bool,
    trained: one_run.Trained | None,
) -> Mapping[str, Any]:
    """Trains a cell's seeds, unless others have, and writes its results; its parts have then done their service."""
    started = started._replace(root=folder.parent)
    if trained is not None:
        # What its parts took is counted with them.
        started = started._replace(clock=time.perf_counter())
    one_run.execute(job, folder, started, with_pictures=with_pictures, trained=trained)
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

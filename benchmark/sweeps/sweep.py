"""Runs a sweep: every cell in its own folder, one after the other or on a cluster, then the files over all of them.

The parts stand by themselves: `sweep_plan.make_plan` is pure, `cell_runs.run_cell` does not run a finished cell
again, `cell_runs.merge` reads what there is.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.asked.command_line import Command
from benchmark.files import locks
from benchmark.pages import layout
from benchmark.run import one_run, parts
from benchmark.sweeps import cell_runs, launcher, sweep_boards, sweep_merge, sweep_record
from benchmark.sweeps.sweep_page import ERROR_FILE
from benchmark.sweeps.sweep_plan import Cell, Plan, make_plan
from benchmark.sweeps.sweep_record import STATE_FILE
from benchmark.terminal import console, numbers, tables
from core import interruption, storage, wording
from core.errors import UserError

_FAILED = 1  # the exit code where a cell has, or with --strict where a family has lost all its seeds in one
_INTERRUPTED = 130  # and of a program that Ctrl-C ends
_MOST_NAMED = 5  # cells in a line


def run(command: Command, args: Sequence[str], constants: Mapping[str, Any]) -> int:
    """Runs every cell of a sweep that has not finished, or sends them to a cluster; and merges all.

    Args:
      command: from `command_line.read`, with a sweep.
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
        done = sum(map(cell_runs.is_finished, plan.cells))
        told = f"interrupted: {done} of {n} {_cells(n)} finished; the same command continues"
        # One that was merged: where none has finished, there is none.
        has_page = (Path(plan.out_dir) / layout.FILE).is_file()
        return f"{told}\n{one_run.page_line(plan.out_dir)}" if done and has_page else told

    with interruption.ending_with(words):
        return _run_or_end(command, args, constants, plan)


def _run_or_end(command: Command, args: Sequence[str], constants: Mapping[str, Any], plan: Plan) -> int:
    try:
        n = len(plan.cells)
        sweep_record.check(plan, fresh=command.fresh)
        with console.waiting_if_long(f"checking {n} {_cells(n)}"):
            cell_runs.check([cell for cell in plan.cells if not cell_runs.is_finished(cell)], fresh=command.fresh)
        # Two that run, or send, the same cells would do all the work twice.
        with locks.held(plan.out_dir):
            return _run(command, args, constants, plan)
    except KeyboardInterrupt:
        console.say(interruption.last_words())
        return interruption.exit_code() or _INTERRUPTED


def _run(command: Command, args: Sequence[str], constants: Mapping[str, Any], plan: Plan) -> int:
    """Runs or sends the cells, in a folder that no other process is in."""
    to_run = [cell for cell in plan.cells if not cell_runs.is_finished(cell)]
    n, n_open = len(plan.cells), len(to_run)
    if to_run:
        if command.launcher == "slurm":
            order = launcher.order(command, args, constants, plan, to_run)
            if order.tasks:
                cell_runs.begin(plan, fresh=command.fresh)
            _say_what(plan, to_run, command.config)
            launcher.submit(order, fresh=command.fresh)
            return 0
        launcher.check_idle(plan)
    cell_runs.begin(plan, bool(to_run), fresh=command.fresh)
    if command.fresh:
        for cell in to_run:
            parts.remove(Path(cell.config.out_dir))
    _say_what(plan, to_run, command.config)
    n_failed = 0
    try:
        with console.sweep_bar(n, n - n_open) as bar:
            for cell in to_run:
                bar.begin(cell.name)
                outcome = cell_runs.attempt(cell, args, with_pictures=plan.pictures)
                n_failed += outcome.error is not None
                bar.end(cell_runs.line_of(cell, outcome))
                interruption.check()
    except KeyboardInterrupt:
        if any(map(cell_runs.is_finished, plan.cells)):
            with console.waiting("merging"):
                cell_runs.merge(plan)
        raise
    with console.waiting("merging"):
        merged = cell_runs.merge(plan)
    _say_merged(plan, merged)
    return _FAILED if n_failed or (command.strict and merged.lost) else 0


def _merge_alone(plan: Plan, strict: bool) -> int:
    """Merges what there is of a sweep, without running anything or changing which sweep the folder is used for.

    Raises:
      UserError: none of its cells has finished.
    """
    n = len(plan.cells)
    earlier = sweep_record.read(plan.out_dir)
    if not any(map(cell_runs.is_finished, plan.cells)):
        n_failed = sum(map(cell_runs.has_failed, plan.cells))
        failed = f" ({n_failed} failed: see {ERROR_FILE} in {'its folder' if n_failed == 1 else 'their folders'})"
        none = f"none of the {n} cells of this sweep has" if n > 1 else "this sweep's only cell has not"
        raise UserError(
            f"--merge: {none} finished in OUT_DIR {plan.out_dir!r}"
            f"{failed if n_failed else ''}; run it first, without --merge"
        )
    storage.open_folder(plan.out_dir)
    with console.waiting("merging"):
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
        one_run.keep_compiled(shared)


def _say_merged(plan: Plan, merged: sweep_merge.Merged) -> None:
    n, n_failed = len(plan.cells), sum(map(cell_runs.has_failed, plan.cells))
    tables.board_table(merged.board, sweep_boards.board_texts(merged.board))
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
        console.warn(f"cell {cell.name}: {numbers.divergence(name, at_steps)}")
    console.say(one_run.page_line(plan.out_dir))


def _some(names: Sequence[str]) -> str:
    """The first few of some names, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return " ".join(names[:_MOST_NAMED]) + more


def _cells(n: int) -> str:
    return "cell" if n == 1 else "cells"

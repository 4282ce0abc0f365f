"""Sends a sweep to Slurm as one job array, and is what runs in the array's tasks.

A task is given the config block, the command line and the names of its cells, and works them off with the code that
runs them here. Nothing else passes between a submission and its tasks but files in OUT_DIR, each written whole: a task
that fails, is cancelled or preempted leaves what it has finished, and the same command sends the rest again.

In OUT_DIR/slurm/ are the tasks' logs and submitit's files, and a record of what was sent under which job name. It is
written before the job is: what a submission that broke off has sent is found by its name, and not sent again.
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import socket
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.asked import command_line
from benchmark.asked.command_line import Command
from benchmark.asked.resources import Slurm
from benchmark.engine import devices
from benchmark.files import results
from benchmark.run import parts
from benchmark.sweeps import cell_runs, slurm_queue
from benchmark.sweeps.slurm_queue import SCHEMA, Unit, clusters_of
from benchmark.sweeps.sweep_page import ERROR_FILE
from benchmark.sweeps.sweep_plan import Cell, Plan, make_plan
from benchmark.terminal import console, numbers
from core import interruption, storage, surroundings, wording
from core.errors import UserError

FOLDER = "slurm"
RECORD_FILE = "submitted.json"
_PROGRAMS = ("sbatch", "srun", "squeue")


class Order(NamedTuple):
    """What a submission sends, and what it finds on its way."""

    folder: Path
    slurm: Slurm
    payload: Mapping[str, Any]  # what every task is given
    tasks: Sequence[Sequence[Unit]]
    queued: Mapping[Unit, str]  # what is pending or running -> its job
    waiting: Mapping[str, int]  # why tasks of these are pending, in Slurm's words -> how many
    earlier: Sequence[Mapping[str, Any]]  # submissions with anything among these
    sweep: str
    cells: Sequence[Cell]  # whose units are sent


def order(
    command: Command, args: Sequence[str], constants: Mapping[str, Any], plan: Plan, to_run: Sequence[Cell]
) -> Order:
    """Plans a submission and has Slurm judge it, without writing or sending anything.

    Args:
      command: from `command_line.read`.
      args: the command line.
      constants: the config block.
      plan: of the sweep.
      to_run: its cells that have not finished.

    Raises:
      UserError: there is no Slurm or no submitit, the cluster refuses what is asked for, or tasks of a different sweep
        are still at work in the folder.
    """
    absent = [program for program in _PROGRAMS if shutil.which(program) is None]
    if absent:
        raise UserError(
            f'LAUNCHER = "slurm" needs Slurm, but there is no {absent[0]} on PATH: run this where jobs are submitted, '
            'or set LAUNCHER = "local"'
        )
    if importlib.util.find_spec("submitit") is None:
        raise UserError(
            'LAUNCHER = "slurm" needs submitit: install it with pip install -r requirements-slurm.txt, or set '
            'LAUNCHER = "local"'
        )
    folder = Path(plan.out_dir).resolve() / FOLDER
    if "%" in str(folder):
        raise UserError(f"OUT_DIR {str(folder.parent)!r} has a %, which Slurm takes for a pattern: name another")
    if wording.visible(str(folder)) != str(folder):
        # It stands in a batch script, whose next line it could become.
        raise UserError(f"OUT_DIR {str(folder.parent)!r} has letters that a batch script cannot hold: name another")
    own = _digest(plan)
    queued, waiting, earlier = slurm_queue.in_queue(folder / RECORD_FILE, command.slurm)
    other = [job for unit, job in queued.items() for each in earlier if each["job"] == job and each["sweep"] != own]
    if other:
        raise UserError(
            f"OUT_DIR {plan.out_dir!r} holds a different sweep, whose job {other[0]} is still queued or running: wait "
            f"for it, name another OUT_DIR, or cancel it with scancel {other[0]}"
        )
    units = [unit for cell in to_run for unit in _open_units(cell, command.slurm.seeds_per_task, queued)]
    tasks = _batched(units, {cell.name: cell for cell in to_run}, command.slurm.cells_per_task)
    if tasks:
        slurm_queue.ask(command.slurm, len(tasks))
    names = {unit.cell for unit in units}
    return Order(
        folder=folder,
        slurm=command.slurm,
        payload={
            "constants": {name: value for name, value in constants.items() if name.isupper()},
            "args": list(args),
            "cwd": os.getcwd(),
        },
        tasks=tasks,
        queued=queued,
        waiting=waiting,
        earlier=earlier,
        sweep=own,
        cells=[cell for cell in to_run if cell.name in names],
    )


def check_idle(plan: Plan) -> None:
    """Proves that no task of an earlier submission is at work in a sweep's folder, so that it can be run here.

    Where there is no Slurm, as on another machine that the folder was copied to, nobody can be asked.

    Raises:
      UserError: one is pending or running, or Slurm does not answer.
    """
    path = Path(plan.out_dir).resolve() / FOLDER / RECORD_FILE
    if not path.exists() or shutil.which("squeue") is None:
        return
    try:
        queued = slurm_queue.in_queue(path).jobs
    except UserError as error:
        raise UserError(
            f"OUT_DIR {plan.out_dir!r} was sent to Slurm, which does not say whether its tasks are still at work "
            f"({error}): name another OUT_DIR, or remove {str(path)!r} if none is"
        ) from None
    jobs = sorted(set(queued.values()), key=int)
    if jobs:
        raise UserError(
            f"OUT_DIR {plan.out_dir!r} has tasks of job {', '.join(jobs)} queued or running: wait for them, or cancel "
            f"them with scancel {' '.join(jobs)}"
        )


def submit(order: Order, *, fresh: bool = False) -> None:
    """Sends an order as one job array, and says how to look after it.

    Args:
      order: from `order`.
      fresh: whether its cells start over where they could be continued.

    Raises:
      UserError: Slurm has refused it after all.
    """
    _say_queue(order)
    if not order.tasks:
        console.say("nothing to submit")
        return
    _say_again(order)
    _clear(order, fresh)
    # A name that no other job has: by it the job is known even if this process ends before it learns its number.
    name = f"benchmark-{uuid.uuid4().hex[:8]}"
    sent = {"name": name, "sweep": order.sweep, "clusters": clusters_of(order.slurm), "tasks": order.tasks}
    order.folder.mkdir(parents=True, exist_ok=True)
    record = {"schema": SCHEMA, "submissions": [*order.earlier, sent]}
    storage.write_whole(order.folder / RECORD_FILE, results.json_bytes(record))
    tasks = [{**order.payload, "units": [tuple(unit) for unit in task]} for task in order.tasks]
    job = slurm_queue.send(work, tasks, name, order.slurm, order.folder)
    n_tasks, n_cells = len(order.tasks), len(order.cells)
    console.say(
        f"job {job}: {n_tasks} task{'s' if n_tasks > 1 else ''} for {n_cells} {_cells(n_cells)}; see squeue -j {job} "
        f"and the logs in {order.folder}/"
    )
    console.say(
        "the last task to end merges the results; --merge with the same command does so at any time, and the same "
        "command alone sends again what has not come to an end"
    )


def work(task: Mapping[str, Any]) -> None:
    """Works off one task's units; this runs on the cluster.

    Args:
      task: of `order`: constants, args, cwd and units.

    Raises:
      RuntimeError: a cell has failed, or with --strict a family has lost all its seeds of one, so that Slurm says so as
        well, and the others have been run all the same; or a signal has ended the task, which keeps what it has done.
    """
    console.prepare()
    # In place of submitit's own handling, which lets a job outlive the signal of its cancellation.
    with interruption.handled(), devices.in_float32(), surroundings.without_display():
        try:
            _work(task)
        except interruption.Interrupted:
            raise RuntimeError(f"interrupted by {interruption.requested().name}") from None


def _work(task: Mapping[str, Any]) -> None:
    os.chdir(task["cwd"])
    command = command_line.read(task["constants"], task["args"], "")
    devices.use_every_core()
    devices.check()
    if command.config.compilation_cache == "on":
        devices.use_compilation_cache()
    plan = make_plan(command)
    cells = {cell.name: cell for cell in plan.cells}
    process = os.environ.get("SLURM_JOB_ID") or f"{socket.gethostname()}-{os.getpid()}"
    failed, lost = [], []
    for unit in (Unit(*words) for words in task["units"]):
        cell = cells[unit.cell]
        mark = Path(cell.config.out_dir) / f".started-{unit.first}-{unit.n}"
        with contextlib.suppress(OSError):
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        seeds = None if unit.n == cell.config.num_seeds else range(unit.first, unit.first + unit.n)
        outcome = cell_runs.attempt(cell, task["args"], with_pictures=plan.pictures, seeds=seeds, process=process)
        # What ends the process leaves its mark behind.
        with contextlib.suppress(OSError):
            mark.unlink(missing_ok=True)
        console.say(cell_runs.line_of(cell, outcome))
        if outcome.error is not None:
            failed.append(unit.cell)
        for name in () if outcome.report is None else results.lost_families(outcome.report):
            lost.append(f"{name} in {unit.cell}")
            at_steps = outcome.report["models"][name]["diverged_at_step"]
            console.warn(f"cell {unit.cell}: {numbers.divergence(name, at_steps)}")
        interruption.check()
    # The last task merges, rather than a job that depends on the array: that one would wait in the queue once more, and
    # start Python once more. Where tasks were killed nobody is the last, and the same command has to be run anyway.
    # What is merged is what was last sent, which may have more cells than this task was told of.
    plan = cell_runs.as_recorded(command, plan)
    if all(cell_runs.is_finished(cell) or cell_runs.has_failed(cell) for cell in plan.cells):
        while any(map(cell_runs.is_finished, plan.cells)):
            merged = cell_runs.merge(plan)
            # Of two that end together, one that has seen fewer cells may have written last.
            if len(merged.missing) == sum(not cell_runs.is_finished(cell) for cell in plan.cells):
                break
    if failed:
        raise RuntimeError(f"failed: {', '.join(failed)}")
    if lost and command.strict:
        raise RuntimeError(f"all seeds diverged: {', '.join(lost)}")


def _say_queue(order: Order) -> None:
    """Says what earlier submissions have in the queue."""
    if order.queued:
        n = len({unit.cell for unit in order.queued})
        jobs = sorted(set(order.queued.values()), key=int)
        console.say(
            f"{n} {_cells(n)} {'is' if n == 1 else 'are'} still queued or running "
            f"(job{'s' if len(jobs) > 1 else ''} {', '.join(jobs)})"
        )
    for reason, n in order.waiting.items():
        console.say(f"{n} {'task waits' if n == 1 else 'tasks wait'} in the queue: {reason}")


def _say_again(order: Order) -> None:
    """Says which cells are not sent for the first time."""
    failed = sum(map(cell_runs.has_failed, order.cells))
    if failed:
        console.say(f"{failed} {_cells(failed)} had failed ({ERROR_FILE} in {_its(failed)} folder): sent again")
    killed = sum(map(_was_killed, order.cells))
    if killed:
        console.say(
            f"{killed} {_cells(killed)} had been killed or cancelled on the way (out of time or memory? see the "
            f"logs in {order.folder}/): sent again, each in a task of its own"
        )


def _clear(order: Order, fresh: bool) -> None:
    """Removes what earlier processes have left in the folders of the cells that are sent."""
    for cell in order.cells:
        # It is tried again: as long as it is at work it has not failed, and what is finished waits for it.
        (Path(cell.config.out_dir) / ERROR_FILE).unlink(missing_ok=True)
        if not any(unit.cell == cell.name for unit in order.queued):
            _forget(cell)
            if fresh:
                parts.remove(Path(cell.config.out_dir))


def _open_units(cell: Cell, seeds_per_task: int, queued: Mapping[Unit, str]) -> list[Unit]:
    """What is left of a cell that nobody has been asked for."""
    config = cell.config
    busy = [unit for unit in queued if unit.cell == cell.name]
    n = config.num_seeds
    most = seeds_per_task if seeds_per_task and config.models else n
    taken = parts.seeds_in(Path(config.out_dir), config)
    taken |= {seed for unit in busy for seed in range(unit.first, unit.first + unit.n)}
    units: list[Unit] = []
    for seed in sorted(set(range(n)) - taken):
        last = units[-1] if units else None
        if last and last.first + last.n == seed and last.n < most:
            units[-1] = last._replace(n=last.n + 1)
        else:
            units.append(Unit(cell.name, seed, 1))
    return units or ([] if busy else [Unit(cell.name, 0, 0)])


def _batched(units: Sequence[Unit], cells: Mapping[str, Cell], per_task: int) -> list[list[Unit]]:
    """Tasks of so many units each."""
    # One that kills its process, by its memory or time, must not take others with it every time.
    alone = [unit for unit in units if _was_killed(cells[unit.cell])]
    # First seeds before second ones: parts of one cell in one task would not run side by side.
    rest = sorted((unit for unit in units if unit not in alone), key=lambda unit: unit.first)
    return [rest[i : i + per_task] for i in range(0, len(rest), per_task)] + [[unit] for unit in alone]


def _digest(plan: Plan) -> str:
    """What sweeps have in common whose cells are the same where they have the same name."""
    return hashlib.sha256(results.json_bytes(plan.constants)).hexdigest()[:16]


def _was_killed(cell: Cell) -> bool:
    return any(Path(cell.config.out_dir).glob(".started-*"))


def _forget(cell: Cell) -> None:
    """Removes what processes that are no more have left in a cell's folder."""
    folder = Path(cell.config.out_dir)
    parts.unclaim(folder)
    for mark in folder.glob(".started-*"):
        mark.unlink(missing_ok=True)


def _cells(n: int) -> str:
    return "cell" if n == 1 else "cells"


def _its(n: int) -> str:
    return "its" if n == 1 else "each one's"

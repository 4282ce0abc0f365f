"""What Slurm is asked: which tasks are in its queue, whether it would take more, and to take them."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.asked.resources import Slurm
from core import places
from core.errors import UserError

SCHEMA = 1
_TIMEOUT_SECONDS = 120


class Unit(NamedTuple):
    """What is not divided between tasks: a cell, or some of its seeds."""

    cell: str
    first: int  # seed
    n: int  # seeds; 0: all are trained, and only what follows is left


class Queue(NamedTuple):
    """What is left in Slurm's queue of earlier submissions."""

    jobs: dict[Unit, str]  # what is pending or running -> its job
    waiting: dict[str, int]  # why tasks are pending, in Slurm's words -> how many
    submissions: list[dict[str, Any]]  # with anything among these, each with its job


def in_queue(path: Path, slurm: Slurm | None = None) -> Queue:
    """What of the submissions that a record names is pending or running.

    Args:
      path: of the record.
      slurm: what is about to be asked for, which may be of other clusters; None: nothing.

    Raises:
      UserError: Slurm does not answer, or the record is none.
    """
    try:
        record = json.loads(path.read_bytes())
        submissions = {each["name"]: {**each, "tasks": [[Unit(*unit) for unit in task] for task in each["tasks"]]}
                       for each in record["submissions"] if isinstance(each["sweep"], str)}  # fmt: skip
        if record["schema"] != SCHEMA:
            raise ValueError
    except (FileNotFoundError, NotADirectoryError):
        return Queue({}, {}, [])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(
            f"{str(path)!r} is not what a submission writes: remove it, if none of its tasks is queued or running"
        ) from None
    if not submissions:
        return Queue({}, {}, [])
    # Whoever sent them, and in whichever partition: what is not seen would be sent twice.
    words = ["squeue", "--all", "--noheader", "--array", f"--name={','.join(submissions)}", "--format=%j|%F|%K|%T|%r"]
    clusters = {str(each.get("clusters", "")) for each in submissions.values()} | {clusters_of(slurm) if slurm else ""}
    clusters = {name for names in clusters for name in names.split(",") if name}
    said = _slurm(words + ([f"--clusters={','.join(sorted(clusters))}"] if clusters else []))
    queued, jobs, waiting = {}, {}, Counter()
    for line in said.splitlines():
        # Of several clusters each has a line of its own above its jobs.
        if line.count("|") < 4:
            continue
        name, job, index, state, reason = line.strip().split("|", 4)
        # One that is completing computes no more. A job of one task is no array.
        if state != "COMPLETING" and name in submissions:
            jobs[name] = job
            if state == "PENDING":
                waiting[reason] += 1
            for unit in submissions[name]["tasks"][int(index) if index.isdigit() else 0]:
                queued[unit] = job
    left = [{**each, "job": jobs[name]} for name, each in submissions.items() if name in jobs]
    return Queue(queued, dict(waiting), left)


def ask(slurm: Slurm, n_tasks: int) -> None:
    """Has Slurm judge what the tasks ask for.

    Raises:
      UserError: it would refuse it.
    """
    array = [f"--array=0-{n_tasks - 1}"] if n_tasks > 1 else []
    try:
        _slurm(["sbatch", "--test-only", "--wrap=true", *slurm.as_options(), *array])
    except NoAnswer:
        # It is not what was asked for.
        raise
    except UserError as error:
        what = f"an array of {n_tasks} tasks (cells_per_task makes fewer)" if n_tasks > 1 else "one task"
        raise UserError(f"{error}; it was asked for {what} with {' '.join(slurm.as_options())}") from None


def send(work: Callable[[Any], None], tasks: Sequence[Any], name: str, slurm: Slurm, folder: Path) -> str:
    """Sends tasks as one job array, through submitit.

    Args:
      work: what runs in every task.
      tasks: what it is given.
      name: of the job.
      slurm: what every task asks for.
      folder: for logs and submitit's files.

    Returns:
      The job's number.

    Raises:
      UserError: Slurm has refused it.
    """
    import submitit

    # In place of the batch script's shell, whose end at a signal would leave it running where no cgroup holds the job.
    # With -P no module is imported from whichever folder this was started in.
    executor = submitit.SlurmExecutor(folder, python=f"exec {shlex.quote(sys.executable)} -P")
    root = shlex.quote(str(places.ROOT))
    executor.update_parameters(
        job_name=name,
        partition=slurm.partition or None,
        account=slurm.account or None,
        time=slurm.time_minutes,
        cpus_per_task=slurm.cpus,
        mem=f"{slurm.mem_gb}G" if slurm.mem_gb else None,
        gpus_per_node=slurm.gpus or None,
        # Some time before its limit a task is told to end: itself, and not its steps, of which it has none.
        additional_parameters={"signal": f"B:USR2@{min(90, 15 * slurm.time_minutes)}", **slurm.more()},
        # Wherever this was started, the tasks find the modules that started it.
        setup=[f'export PYTHONPATH={root}"${{PYTHONPATH:+:$PYTHONPATH}}"'],
        # How many run at once is the cluster's to say.
        array_parallelism=len(tasks),
        # One process is all there is to a task; under srun it would have to be given its cores a second time.
        use_srun=False,
        wckey=None,
    )
    try:
        jobs = executor.map_array(work, tasks)
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        raise UserError(f"Slurm has refused the tasks: {' '.join(str(error).split())[-300:]}") from None
    return jobs[0].job_id.partition("_")[0]


class NoAnswer(UserError):
    """Slurm's programs are here, but nothing that they could ask."""


def clusters_of(slurm: Slurm) -> str:
    """The clusters that tasks are sent to, as sbatch takes them; empty: the one that this machine belongs to."""
    asked = slurm.more().get("clusters") or slurm.more().get("cluster")
    return (
        asked if isinstance(asked, str) else os.environ.get("SBATCH_CLUSTERS") or os.environ.get("SLURM_CLUSTERS", "")
    )


def _slurm(words: Sequence[str]) -> str:
    """What one of Slurm's programs says.

    Raises:
      UserError: it fails.
    """
    # What a user has set up for looking at the queue must not hide a part of it here.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, env=variables)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoAnswer(f"{words[0]} does not answer ({error})") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        # Not what is wrong, but where to read on.
        lines = [line for line in lines if not re.match('Try ".*" for more information', line)] or ["nothing"]
        # What has become of it stands at the end, what went before it above.
        errors = [line for line in lines if "error:" in line or "fatal:" in line] or lines
        why = re.sub(f"^{words[0]}: (error: |fatal: )?", "", errors[-1])
        if re.search("controller|configuration source|resolve_ctls|fetch_config", done.stderr):
            raise NoAnswer(
                f"{words[0]} refuses: {why}; Slurm is installed here, but has no controller that answers: run this "
                'where jobs are submitted, or set LAUNCHER = "local"'
            )
        raise UserError(f"{words[0]} refuses: {why}")
    return done.stdout

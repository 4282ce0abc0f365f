"""A run whose seeds are trained by several processes: what each leaves in the run's folder, and how they become one.

A part is one file with the Runs of some consecutive seeds: arrays, and JSON about them. It is written whole or not at
all, and belongs to one configuration; seeds that several parts hold are the same in all of them.
"""

import contextlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import jax
import numpy as np

import results
from benchmark import Job, Trained, feed_of
from models.base import Model
from sweep_plan import without_folder
from training import Cost, Evaluation, Run

SCHEMA = 1
# A seed is an int32.
_NAME = re.compile(r"seeds-(\d{1,10})-(\d{1,10})\.npz")
# What a file raises that is none of these.
_BROKEN = (OSError, EOFError, BadZipFile, ValueError, KeyError, TypeError, RecursionError)
_CLAIM_FILE = ".joining"


class _Part(NamedTuple):
    path: Path
    seeds: range
    about: Mapping[str, Any]


def seeds_in(folder: Path, config: Any) -> set[int]:
    """The seeds of a run that the parts in its folder hold."""
    return {seed for part in _parts(folder, config) for seed in part.seeds}


def missing_in(folder: Path, config: Any) -> list[range]:
    """The seeds of a run that no part in its folder holds, in consecutive ones."""
    found: list[range] = []
    for seed in sorted(set(range(config.num_seeds)) - seeds_in(folder, config)):
        if found and found[-1].stop == seed:
            found[-1] = range(found[-1].start, seed + 1)
        else:
            found.append(range(seed, seed + 1))
    return found


def write(
    folder: Path, config: Any, seeds: range, runs: Sequence[Run], costs: Mapping[str, Mapping[str, Any]], seconds: float
) -> None:
    """Leaves the Runs of some seeds in a run's folder.

    Args:
      folder: the run's; it exists.
      config: the run's.
      seeds: which they are.
      runs: one for every family.
      costs: per family, from `results.cost_of`.
      seconds: that the process took.
    """
    about = {
        "schema": SCHEMA,
        "config": without_folder(config),
        "seconds": seconds,
        "peak_memory_bytes": results.peak_memory(),
        "families": {
            run.model.name: {
                "steps": [evaluation.step for evaluation in run.evaluations],
                "kept": [evaluation.step for evaluation in run.evaluations if evaluation.samples is not None],
                "metrics": list(run.evaluations[-1].metrics),
                "info": list(run.evaluations[-1].info or ()),
                "diverged_at_step": run.diverged_at_step,
                "train_seconds": run.train_seconds,
                "compile_seconds": run.compile_seconds,
                "sample_seconds": run.sample_seconds,
                "cost": {name: costs[run.model.name][name] for name in Cost._fields},
            }
            for run in runs
        },
    }
    arrays = {"about": np.array(results.json_bytes(about).decode())}
    for run in runs:
        name, evaluations = run.model.name, run.evaluations
        leaves = zip(*(jax.tree.leaves(state) for state in run.states), strict=True)
        arrays |= {f"{name}/state/{i}": np.stack(of_seeds) for i, of_seeds in enumerate(leaves)}
        for metric in evaluations[-1].metrics:
            arrays[f"{name}/metrics/{metric}"] = np.stack([evaluation.metrics[metric] for evaluation in evaluations])
        for field in evaluations[-1].info or ():
            # Step 0 has none.
            arrays[f"{name}/info/{field}"] = np.stack([evaluation.info[field] for evaluation in evaluations[1:]])
        for evaluation in evaluations:
            if evaluation.samples is not None:
                arrays[f"{name}/samples/{evaluation.step}"] = evaluation.samples
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    results.write_whole(folder / f"seeds-{seeds.start}-{seeds.stop - 1}.npz", buffer.getvalue())


def join(folder: Path, job: Job) -> Trained:
    """A run's training as one process would have left it, out of parts that hold all its seeds.

    Times are sums over the parts, memory is that of the largest.

    Args:
      folder: the run's.
      job: the run, from `benchmark.check`.
    """
    missing, chosen = set(range(job.config.num_seeds)), []
    for part in sorted(_parts(folder, job.config), key=lambda part: (part.seeds.start, -len(part.seeds))):
        mine = [seed for seed in part.seeds if seed in missing]
        missing -= set(mine)
        if mine:
            with np.load(part.path) as file:
                arrays = dict(file)
            chosen.append((part, [seed - part.seeds.start for seed in mine], arrays))
    if missing:
        raise ValueError(f"{folder} holds no part with seed {min(missing)}")
    feed = feed_of(job)
    runs = [_joined(model, feed, chosen) for model in job.models]
    costs = {}
    for run in runs:
        each = [part.about["families"][run.model.name]["cost"] for part, _, _ in chosen]
        sizes = [cost["memory_bytes"] for cost in each if cost["memory_bytes"] is not None]
        cost = Cost(**{**each[0], "memory_bytes": max(sizes, default=None)})
        costs[run.model.name] = results.cost_of(run, cost, job.config.n_eval_samples)
    peaks = [part.about["peak_memory_bytes"] for part, _, _ in chosen]
    seconds = sum(part.about["seconds"] for part, _, _ in chosen)
    return Trained(runs, costs, seconds, max((peak for peak in peaks if peak is not None), default=None))


def remove(folder: Path) -> None:
    """Removes the parts of a run that is whole, and those of another configuration."""
    for path in files_in(folder):
        path.unlink(missing_ok=True)


def files_in(folder: Path) -> list[Path]:
    """All parts in a folder, of whichever configuration."""
    try:
        return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
    except OSError:
        return []


@contextlib.contextmanager
def claimed(folder: Path, process: str) -> Iterator[bool]:
    """For a block that one of several processes may enter: whether it is this one.

    A process that is killed inside leaves its claim behind; if it is started again under its name, it is still its own.

    Args:
      folder: the run's.
      process: a name for this one.
    """
    claim = folder / _CLAIM_FILE
    try:
        with open(claim, "x") as file:
            file.write(process)
    except FileExistsError:
        try:
            mine = claim.read_text() == process
        except FileNotFoundError:
            # Who had it is done.
            mine = False
        if not mine:
            yield False
            return
    try:
        yield True
    finally:
        unclaim(folder)


def unclaim(folder: Path) -> None:
    """Removes what a process that is no more has left of a claim."""
    (folder / _CLAIM_FILE).unlink(missing_ok=True)


def _parts(folder: Path, config: Any) -> list[_Part]:
    """The parts in a folder that are of this configuration."""
    own = json.loads(results.json_bytes(without_folder(config)))
    found = []
    for path in files_in(folder):
        first, last = map(int, _NAME.fullmatch(path.name).groups())
        with contextlib.suppress(*_BROKEN):
            with np.load(path) as file:
                about = json.loads(str(file["about"]))
            if about["schema"] == SCHEMA and about["config"] == own:
                found.append(_Part(path, range(first, last + 1), about))
    return found


def _joined(model: Model, feed: Any, chosen: Sequence[tuple[_Part, list[int], Mapping[str, np.ndarray]]]) -> Run:
    """One family's Run out of the chosen seeds of its parts."""
    about = [part.about["families"][model.name] for part, _, _ in chosen]
    first = about[0]

    def of_all(key, axis):
        taken = [np.take(arrays[f"{model.name}/{key}"], places, axis) for _, places, arrays in chosen]
        return np.concatenate(taken, axis)

    # A state is rebuilt from its leaves: the form is what `init` gives.
    key = jax.random.key(0)
    form = jax.tree.structure(jax.eval_shape(lambda: model.init(key, feed.rows_for_init(key, feed.rows))))
    leaves = [of_all(f"state/{i}", 0) for i in range(form.num_leaves)]
    states = [jax.tree.unflatten(form, [leaf[i] for leaf in leaves]) for i in range(len(leaves[0]))]
    metrics = {name: of_all(f"metrics/{name}", 1) for name in first["metrics"]}
    info = {name: of_all(f"info/{name}", 1) for name in first["info"]}
    evaluations = [
        Evaluation(
            step=step,
            metrics={name: values[i] for name, values in metrics.items()},
            info={name: values[i - 1] for name, values in info.items()} if i and info else None,
            samples=of_all(f"samples/{step}", 0) if step in first["kept"] else None,
        )
        for i, step in enumerate(first["steps"])
    ]
    diverged = [each["diverged_at_step"][i] for each, (_, places, _) in zip(about, chosen, strict=True) for i in places]
    seconds = {name: sum(each[name] for each in about) for name in ("train_seconds", "compile_seconds")}
    return Run(model, states, evaluations, diverged, **seconds, sample_seconds=sum(e["sample_seconds"] for e in about))

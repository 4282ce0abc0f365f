"""A run whose seeds are trained by several processes: what each leaves in the run's folder, and how they become one.

A part is one file with the Runs of some consecutive seeds: arrays, and JSON about them. It is written whole or not at
all, and belongs to one configuration; seeds that several parts hold are the same in all of them.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmark.engine.records import Cost, Run
from benchmark.files import archive, checkpoint, results
from benchmark.run.checks import Job
from benchmark.run.fitting import feed_of
from benchmark.run.one_run import Trained
from models.base import Model

SCHEMA = 3
# A seed is an int32.
_NAME = re.compile(r"seeds-(\d{1,10})-(\d{1,10})\.npz")
# Of an archive's arrays: states and samples are [S, ...], what was followed is [E, S].
_SEED_AXIS = {"state": 0, "kept": 0, "samples": 0, "metrics": 1, "info": 1}
_CLAIM_FILE = ".joining"


class _Part(NamedTuple):
    seeds: range
    archive: archive.Archive


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
    folder: Path, config: Any, seeds: range, runs: Sequence[Run], costs: Mapping[str, Cost], seconds: float
) -> None:
    """Leaves the Runs of some seeds in a run's folder.

    Args:
      folder: the run's; it exists.
      config: the run's.
      seeds: which they are.
      runs: one for every family.
      costs: per family.
      seconds: that the process took.
    """
    about = {
        "schema": SCHEMA,
        "config": results.without_places(config),
        "seconds": seconds,
        "peak_memory_bytes": results.peak_memory(),
    }
    entries = [archive.entry_of(run, costs[run.model.name]) for run in runs]
    archive.write(folder / f"seeds-{seeds.start}-{seeds.stop - 1}.npz", about, entries)


def join(folder: Path, job: Job) -> Trained:
    """A run's training as one process would have left it, out of parts that hold all its seeds.

    Times are sums over the parts, memory is that of the largest.

    Args:
      folder: the run's.
      job: the run, from `checks.check`.
    """
    missing, chosen = set(range(job.config.num_seeds)), []
    for part in sorted(_parts(folder, job.config), key=lambda part: (part.seeds.start, -len(part.seeds))):
        mine = [seed for seed in part.seeds if seed in missing]
        missing -= set(mine)
        if mine:
            chosen.append((part.archive, [seed - part.seeds.start for seed in mine]))
    if missing:
        raise ValueError(f"{folder} holds no part with seed {min(missing)}")
    feed = feed_of(job)
    runs = [_joined(model, feed, chosen) for model in job.models]
    costs = {}
    for run in runs:
        each = [part.about["families"][run.model.name]["cost"] for part, _ in chosen]
        sizes = [cost["memory_bytes"] for cost in each if cost["memory_bytes"] is not None]
        costs[run.model.name] = Cost(**{**each[0], "memory_bytes": max(sizes, default=None)})
    peaks = [part.about["peak_memory_bytes"] for part, _ in chosen]
    seconds = sum(part.about["seconds"] for part, _ in chosen)
    return Trained(runs, costs, seconds, max((peak for peak in peaks if peak is not None), default=None))


def remove(folder: Path) -> None:
    """Removes the parts of a run that is whole, those of another configuration, and what of any was unfinished."""
    for path in files_in(folder):
        path.unlink(missing_ok=True)
    checkpoint.remove_all(folder)


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
    own = json.loads(results.json_bytes(results.without_places(config)))
    found = []
    for path in files_in(folder):
        first, last = map(int, _NAME.fullmatch(path.name).groups())
        with contextlib.suppress(archive.Broken, OSError):
            part = archive.read(path)
            # A name alone could claim more seeds than memory holds.
            if part.about.get("schema") == SCHEMA and part.about.get("config") == own and last < config.num_seeds:
                found.append(_Part(range(first, last + 1), part))
    return found


def _joined(model: Model, feed: Any, chosen: Sequence[tuple[archive.Archive, list[int]]]) -> Run:
    """One family's Run out of the chosen seeds of its parts."""
    about = [part.about["families"][model.name] for part, _ in chosen]
    taken = []
    for part, places in chosen:
        arrays = part.arrays(model.name)
        taken.append({key: np.take(array, places, _SEED_AXIS[key.split("/")[0]]) for key, array in arrays.items()})
    together = {key: np.concatenate([each[key] for each in taken], _SEED_AXIS[key.split("/")[0]]) for key in taken[0]}
    diverged = [each["diverged_at_step"][i] for each, (_, places) in zip(about, chosen, strict=True) for i in places]
    seconds = {name: sum(each[name] for each in about) for name in archive.SECONDS}
    return archive.run_of(model, feed, {**about[0], **seconds, "diverged_at_step": diverged}, together)

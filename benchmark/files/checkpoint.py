"""What an unfinished run leaves in its folder, and how the same command goes on from there.

A checkpoint is a folder with one file a family, an `archive` of what its training has come to. It belongs to one
configuration, one state of the program, one set of seeds and one training table. A run of any other is refused until it
is given up, unless it holds the work of a few minutes alone: that is given up with a word. Files are only ever replaced
by whole ones, so that a process may end at any moment.
"""

import contextlib
import datetime
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.engine import devices
from benchmark.engine.preparation import Program
from benchmark.engine.records import Begun, Cost, Feed, Run
from benchmark.files import archive, kept
from benchmark.files.identity import digest, identity_of
from benchmark.terminal import console
from core import storage
from core.errors import UserError
from models.base import Model

# Between two writes, at least; and at least so many times what the last one took: at most 2 % of the time.
_SECONDS_APART = 3.0
_TIMES_APART = 50
# Until one has been timed.
_BYTES_A_SECOND = 1e8


class Checkpoint:
    """The progress of one run, read from its folder and written there."""

    def __init__(self, folder: Path, own: Mapping[str, Any], found: Mapping[str, archive.Archive]):
        self._folder, self._found = folder, found
        first = next(iter(found.values()), None)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        if first is None:
            self._about = {
                **own,
                "run": uuid.uuid4().hex,
                "started": now.partition(" ")[0],
                "resumed": [],
                "seconds": 0.0,
            }
        else:
            self._about = {**own, **{name: first.about[name] for name in ("run", "started")}}
            latest = max(found.values(), key=lambda each: each.about["seconds"]).about
            self._about |= {
                "resumed": [*latest["resumed"], f"{now} on {devices.device_name()}"],
                "seconds": latest["seconds"],
            }
        self._began = time.perf_counter()
        self._unwritten: list[tuple[Run, Cost]] = []
        self._next = self._began + _SECONDS_APART
        self._told = self._failed = False
        self._writing = threading.Lock()
        self.n_written, self.seconds_writing = 0, 0.0

    @property
    def run(self) -> str:
        """What tells this run from all others."""
        return self._about["run"]

    @property
    def started(self) -> str:
        """When it first began (UTC)."""
        return self._about["started"]

    @property
    def resumed(self) -> list[str]:
        """When it was continued (UTC), and on what: on other devices the bits are others, too."""
        return self._about["resumed"]

    @property
    def earlier_seconds(self) -> float:
        """What was spent on it before this process, as far as it was kept."""
        return self._about["seconds"]

    @property
    def is_kept(self) -> bool:
        """Whether all that there was to keep when it was last tried is in the folder."""
        return not (self._unwritten or self._failed)

    def steps(self) -> dict[str, int]:
        """How far its families have come."""
        return {name: each.last_step(name) for name, each in self._found.items()}

    def whole(self, model: Model, feed: Feed, n_steps: int) -> tuple[Run, Cost] | None:
        """A family that has been trained to its end; None for one that has not."""
        name = model.name
        if self.steps().get(name) != n_steps:
            return None
        with self._undamaged(name):
            about = self._found[name].about["families"][name]
            return archive.run_of(model, feed, about, self._found[name].arrays(name)), Cost(**about["cost"])

    def begun(self, program: Program) -> Begun | None:
        """A family's training as far as it has come; None for one that has not begun."""
        name = program.model.name
        if name not in self._found:
            return None
        with self._undamaged(name):
            about, arrays = self._found[name].about["families"][name], self._found[name].arrays(name)
            run = Run(
                model=program.model,
                states=[],
                evaluations=archive.evaluations_of(about, arrays),
                diverged_at_step=about["diverged_at_step"],
                **{part: about[part] for part in archive.SECONDS},
            )
            return Begun(run, archive.state_leaves(program.state_shapes, arrays))

    def progress(self, run: Run, leaves: Iterable[Any], cost: Cost, n_bytes: int, *, now: bool = False) -> None:
        """Keeps what a family's training has come to, if it is time to.

        Args:
          run: so far, without states.
          leaves: of these, made as they are asked for.
          cost: of the family.
          n_bytes: of all its states.
          now: whether it is time in any case.
        """
        # Before one has been timed its size says how far into the run it may be made.
        apart = 0.0 if self.n_written else _TIMES_APART * n_bytes / _BYTES_A_SECOND
        if now or (self._next <= time.perf_counter() and self._elapsed() >= apart):
            self._write([archive.Entry(run, leaves, cost)])

    def finished(self, run: Run, cost: Cost) -> None:
        """Notes a family that has been trained to its end, to be kept with what follows."""
        self._unwritten.append((run, cost))

    def write(self) -> None:
        """Keeps all that is finished, if it is not kept yet; a signal may have another thread call it meanwhile."""
        with self._writing:
            if self._unwritten:
                self._write([])

    def keep(self) -> bool:
        """Keeps all that is finished; returns whether it is kept."""
        self.write()
        return self.is_kept

    def _write(self, entries: Sequence[archive.Entry]) -> None:
        began = time.perf_counter()
        self._failed = False
        try:
            self._folder.mkdir(exist_ok=True)
            while self._unwritten:
                self._write_one(archive.entry_of(*self._unwritten[0]))
                del self._unwritten[0]
            for entry in entries:
                self._write_one(entry)
        except OSError as error:
            # No reason to stop: there may be room again by the end.
            self._failed = True
            if not self._told:
                console.warn(f"progress cannot be kept ({error.strerror}): if this process is killed it is lost")
            self._told = True
        spent = time.perf_counter() - began
        self.seconds_writing += spent
        self._next = time.perf_counter() + max(_SECONDS_APART, _TIMES_APART * spent)

    def _write_one(self, entry: archive.Entry) -> None:
        about = {**self._about, "seconds": self._about["seconds"] + self._elapsed()}
        archive.write(self._folder / f"{entry.run.model.name}{kept.ENDING}", about, [entry])
        self.n_written += 1

    def remove(self) -> None:
        """Removes it: the run is whole."""
        try:
            kept.remove(self._folder)
        except UserError as error:
            console.warn(str(error))

    def _elapsed(self) -> float:
        return time.perf_counter() - self._began

    @contextlib.contextmanager
    def _undamaged(self, name: str) -> Iterator[None]:
        try:
            yield
        except (archive.Broken, LookupError, TypeError, AttributeError, OSError) as error:
            raise kept.damaged(self._folder / f"{name}{kept.ENDING}", error) from None


def open_in(folder: Path, job: Any, *, fresh: bool = False, seeds: range | None = None) -> Checkpoint:
    """The progress of a run in its folder: what an unfinished one has left there, or none.

    Args:
      folder: the run's, which no other process is in.
      job: from `checks.check`.
      fresh: whether to give up what there is; it is removed.
      seeds: of a run whose seeds several processes train; None: all.

    Raises:
      UserError: an unfinished run of another configuration or version of the program, or one that is damaged.
    """
    place = folder / kept.folder_name(seeds)
    kept.refuse_link(place)
    if fresh or kept.is_finished(folder, place):
        kept.remove(place)
    own = identity_of(job.config, seeds) | {"data": digest(job.target.train_rows, job.target.held_out_rows)}
    found = kept.read(place)
    other = kept.other_run(place, found, own)
    if other:
        seconds = kept.seconds_of(found)
        kept.remove(place)
        console.say(f"{other}: it had taken {seconds:.0f} s and is given up")
        found = {}
    storage.remove_leftovers(place)
    return Checkpoint(place, own, {name: found[name] for name in job.config.models if name in found})


def check(folder: Path, config: Any) -> None:
    """Proves that `open_in` will find no other run, as far as can be told without reading tables.

    Raises:
      UserError: as `open_in`.
    """
    place = folder / kept.folder_name(None)
    if place.exists() and not kept.is_finished(folder, place):
        kept.other_run(place, kept.read(place), identity_of(config, None))


def files_in(folder: Path) -> list[Path]:
    """What of an unfinished run is kept in its folder, of all seeds or some."""
    return sorted(path for place in kept.places_in(folder) for path in place.glob(f"*{kept.ENDING}"))


def remove(folder: Path, seeds: range | None = None) -> None:
    """Removes what training of these seeds, or of all, has kept."""
    kept.remove(folder / kept.folder_name(seeds))


def remove_all(folder: Path) -> None:
    """Removes what a run has kept, and what processes that have trained some of its seeds have."""
    for place in kept.places_in(folder):
        kept.remove(place)

"""Training as a file: the Runs of some seeds, whole or not, as arrays and JSON about them.

A file is an `.npz` whose members are stored as they are, and after it the SHA-256 of all before: what was cut off or
has changed since is noticed before anything is made of it. It is written leaf by leaf, so that the states of a large
model are never held twice.
"""

import contextlib
import hashlib
import io
import itertools
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jax
import numpy as np

from benchmark.engine.records import Cost, Evaluation, Feed, Run
from benchmark.files import results
from core import storage, trust
from models.base import Model, without_optimiser

# Of what a family's entry says.
SECONDS = ("train_seconds", "compile_seconds", "sample_seconds")
_MARK = b"sha256 "
_TRAILER_BYTES = len(_MARK) + 64 + 1
_CHUNK_BYTES = 2**20


class Broken(ValueError):
    """A file is not what `write` has written."""


class Entry(NamedTuple):
    """One family's training, to be written."""

    run: Run  # its `states` are not looked at
    leaves: Iterable[Any]  # of all seeds' states, each [S, ...]; made one after the other
    cost: Cost


class Archive(NamedTuple):
    """What a file holds; arrays are read when they are asked for."""

    path: Path
    about: Mapping[str, Any]

    def families(self) -> list[str]:
        """The names of those in it."""
        return list(self.about["families"])

    def last_step(self, name: str) -> int:
        """How far a family has come."""
        return self.about["families"][name]["steps"][-1]

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """A family's: `state/i`, `metrics/…`, `info/…`, `kept/step`, and of one that is trained `samples/step`.

        Raises:
          Broken: they are not what was written.
        """
        with _reading(self.path), np.load(self.path, allow_pickle=False) as file:
            keys = [key for key in file.files if key.startswith(f"{name}/")]
            return {key.removeprefix(f"{name}/"): file[key] for key in keys}


def entry_of(run: Run, cost: Cost) -> Entry:
    """A family that has been trained to its end as an entry."""
    columns = zip(*(jax.tree.leaves(without_optimiser(state)) for state in run.states), strict=True)
    return Entry(run, (np.stack([_raw(leaf) for leaf in column]) for column in columns), cost)


def write(path: Path, about: Mapping[str, Any], entries: Sequence[Entry]) -> None:
    """Writes a file, whole or not at all.

    Args:
      path: where.
      about: what else it says; JSON.
      entries: one a family.
    """
    families = {}
    for run, _, cost in entries:
        families[run.model.name] = {
            "steps": [evaluation.step for evaluation in run.evaluations],
            "kept": [evaluation.step for evaluation in run.evaluations if evaluation.kept is not None],
            "metrics": list(run.evaluations[-1].metrics),
            "info": list(run.evaluations[-1].info or ()),
            "diverged_at_step": run.diverged_at_step,
            **{name: getattr(run, name) for name in SECONDS},
            "cost": cost._asdict(),
        }
    text = results.json_bytes({**about, "families": families}).decode()
    with storage.written_whole(path) as file:
        # Closed here: Python would otherwise close it later and flush a file that is closed by then.
        with _Hashed(file) as hashed:
            storage.write_npz(hashed, itertools.chain([("about", np.array(text))], _lazily(entries)))
        file.write(_MARK + hashed.digest.hexdigest().encode() + b"\n")


def read(path: Path) -> Archive:
    """Reads what a file says of itself, and proves that it is as it was written.

    Raises:
      Broken: it is not.
      OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with _reading(path), trust.opened(path) as file:
        left = trust.size_of(file) - _TRAILER_BYTES
        while left > 0:
            chunk = file.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise Broken("it is cut off")
            digest.update(chunk)
            left -= len(chunk)
        if file.read(_TRAILER_BYTES + 1) != _MARK + digest.hexdigest().encode() + b"\n":
            raise Broken("its checksum differs")
    with _reading(path):
        # A checksum can be made for anything.
        trust.check_archive(path)
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
        if not isinstance(about["families"], dict):
            raise Broken("it holds no families")
    return Archive(path, about)


def evaluations_of(about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> list[Evaluation]:
    """A family's evaluations.

    Args:
      about: the archive's `families` entry.
      arrays: from `Archive.arrays`.
    """
    info = {name: arrays[f"info/{name}"] for name in about["info"]}
    return [
        Evaluation(
            step=step,
            metrics={name: arrays[f"metrics/{name}"][i] for name in about["metrics"]},
            # Step 0 has none.
            info={name: values[i - 1] for name, values in info.items()} if i and info else None,
            kept=arrays[f"kept/{step}"] if step in about["kept"] else None,
            samples=arrays.get(f"samples/{step}"),
        )
        for i, step in enumerate(about["steps"])
    ]


def run_of(model: Model, feed: Feed, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Run:
    """A family's Run, trained to its end: what only training needs is no part of its states.

    Args:
      model: the family, built as it was for training.
      feed: the events it trained on, which say what `init` gives.
      about: the archive's `families` entry.
      arrays: from `Archive.arrays`.

    Raises:
      Broken: the arrays are not those of such a model.
    """
    # A state is rebuilt from its leaves: the form is what `init` gives.
    key = jax.random.key(0)
    shapes = without_optimiser(
        jax.eval_shape(lambda: model.init(key, feed.rows_for_init(key, feed.rows, model.n_data_rows)))
    )
    leaves = state_leaves(jax.tree.leaves(shapes), arrays)
    form = jax.tree.structure(shapes)
    return Run(
        model=model,
        states=[jax.tree.unflatten(form, [leaf[i] for leaf in leaves]) for i in range(len(about["diverged_at_step"]))],
        evaluations=evaluations_of(about, arrays),
        diverged_at_step=list(about["diverged_at_step"]),
        **{name: about[name] for name in SECONDS},
    )


def state_leaves(shapes: Sequence[Any], arrays: Mapping[str, np.ndarray]) -> list[Any]:
    """The leaves of all seeds' states [S, ...], typed keys as such.

    Args:
      shapes: of one seed's, in order.
      arrays: from `Archive.arrays`.

    Raises:
      Broken: there are others.
    """
    leaves = []
    for i, shape in enumerate(shapes):
        leaf = arrays.get(f"state/{i}")
        if leaf is None:
            raise Broken(f"state {i} is missing")
        leaf = _as_keys(leaf, shape) if _is_key(shape) else leaf
        if leaf.shape[1:] != shape.shape or leaf.dtype != shape.dtype:
            raise Broken(f"state {i} is {leaf.dtype}{leaf.shape[1:]}, not {shape.dtype}{shape.shape}")
        leaves.append(leaf)
    return leaves


def _lazily(entries: Sequence[Entry]) -> Iterator[tuple[str, np.ndarray]]:
    for run, leaves, _ in entries:
        name, evaluations = run.model.name, run.evaluations
        for i, leaf in enumerate(leaves):
            yield f"{name}/state/{i}", _raw(leaf)
        for metric in evaluations[-1].metrics:
            yield f"{name}/metrics/{metric}", np.stack([evaluation.metrics[metric] for evaluation in evaluations])
        for field in evaluations[-1].info or ():
            yield f"{name}/info/{field}", np.stack([evaluation.info[field] for evaluation in evaluations[1:]])
        for evaluation in evaluations:
            for field in ("kept", "samples"):
                if (array := getattr(evaluation, field)) is not None:
                    yield f"{name}/{field}/{evaluation.step}", array


def _raw(leaf: Any) -> np.ndarray:
    """A leaf of a state as plain numbers on the host; of typed keys their data."""
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _is_key(leaf: Any) -> bool:
    """Whether an array, or the shape of one, is of typed PRNG keys."""
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _as_keys(numbers: np.ndarray, shape: jax.ShapeDtypeStruct) -> jax.Array:
    """Typed keys of the same kind out of their data."""
    kinds: list[Any] = []
    # Of a shape alone JAX does not say it.
    jax.eval_shape(lambda keys: kinds.append(jax.random.key_impl(keys)), shape)
    return jax.random.wrap_key_data(numbers, impl=kinds[0])


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns what a file raises that is none of these into Broken."""
    try:
        yield
    except Broken:
        raise
    except (EOFError, zipfile.BadZipFile, ValueError, KeyError, TypeError, MemoryError, RecursionError) as error:
        raise Broken(f"{path.name} cannot be read: {' '.join(str(error).split())}") from None


class _Hashed(io.RawIOBase):
    """A file that is only ever appended to, and its digest so far."""

    def __init__(self, file: BinaryIO):
        self._file, self.digest = file, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.digest.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        self._file.flush()

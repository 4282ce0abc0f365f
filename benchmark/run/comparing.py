"""Two reports of one run beside each other: which numbers differ, and what may explain it."""

import contextlib
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmark.files import results

# Of a report, what has to be the same; and of its parts, how many words name what belongs together in a table.
DEPTH = {"target": 2, "floor": 2, "models": 4, "external": 4}
# Of its provenance, what may explain a difference.
_ORIGINS = ("git", "versions", "device", "environment", "inputs")
_CHANGES = {True: "some", False: "none", None: "not known"}  # what `dirty` says of the program
_OF_A_FAMILY = ("n_params", "width", "history", "final", "log_prob_kind", "log_likelihood", "memorisation",
                "diverged_at_step")  # fmt: skip
SCHEMA = 1
# What an archive raises that is none, or that was tampered with.
BROKEN = (OSError, EOFError, ValueError, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)


class Difference(NamedTuple):
    """What has come out differently in one place."""

    where: str  # such as models.GAN.final.kld
    n_differing: int
    n: int  # numbers there
    largest: float | None  # |a − b|/max(|a|, |b|) at most; None: what is there is of another form


class Original(NamedTuple):
    """What is run again."""

    path: str  # of its metrics.json
    report: Mapping[str, Any]
    sha256: str  # of the file
    config: Any  # its configuration, with the replay's own folder
    samples: zipfile.ZipFile | None  # its samples.npz; what is written in its place from now on is another file
    sweeps: bool  # whether the config block asks for a sweep, of which nothing is run
    fresh: bool = False  # as Command
    strict: bool = False  # as Command


def compare(original: Original, report: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """How a report and the samples beside it differ from the original's.

    Args:
      original: from `opened`.
      report: as metrics.json holds it.
      folder: the replay's, with its samples.npz.

    Returns:
      The content of replay.json: whether all is the same, how many numbers and arrays were compared and how many
      differ, where, and what may explain it.
    """
    n, differences = _compare_numbers(_results(original.report), _results(report))
    n_arrays, arrays = None, []
    if original.samples is not None:
        with np.load(folder / results.SAMPLES_FILE) as own:
            n_arrays, arrays = _compare_arrays(original.samples, own)
    facts = [_facts(each["provenance"]) for each in (original.report, report)]
    explanations = [
        {"what": name, "original": facts[0].get(name), "replay": facts[1].get(name)}
        for name in {**facts[0], **facts[1]}
        if facts[0].get(name) != facts[1].get(name)
    ]
    changes = [_CHANGES[each["provenance"]["dirty"]] for each in (original.report, report)]
    if changes != ["none", "none"]:
        what = "changes of the program since its commit, which are not recorded"
        explanations.append({"what": what, "original": changes[0], "replay": changes[1]})
    found = {
        "schema": SCHEMA,
        "original": original.path,
        "sha256": original.sha256,
        "same": not (differences or arrays),
        "numbers": n,
        "numbers_differing": sum(each.n_differing for each in differences),
        "arrays": n_arrays,
        "arrays_differing": len(arrays),
        "differences": [each._asdict() for each in sorted([*differences, *arrays], key=_size, reverse=True)],
        "explanations": explanations,
    }
    return _printable_all(found)


def _compare_numbers(original: Mapping[str, Any], replay: Mapping[str, Any]) -> tuple[int, list[Difference]]:
    """How many numbers there are, and where they differ."""
    one, other = dict(_leaves(original)), dict(_leaves(replay))
    nothing = object()
    n, places = 0, {}
    for path in {**one, **other}:
        a, b = one.get(path, nothing), other.get(path, nothing)
        is_same = _is_same(a, b)
        if is_same and not isinstance(a, int | float):
            continue
        n += 1
        where = ".".join(word for word in path[: DEPTH[path[0]]] if isinstance(word, str))
        # How many there are, and by how much each one differs that does.
        place = places.setdefault(where, [0, []])
        place[0] += 1
        if not is_same:
            place[1].append(_relative(a, b))
    differing = {where: place for where, place in places.items() if place[1]}
    return n, [
        Difference(where, len(found), n_here, None if None in found else max(found))
        for where, (n_here, found) in differing.items()
    ]


def _compare_arrays(original: zipfile.ZipFile, own: Any) -> tuple[int, list[Difference]]:
    """How many arrays there are, and which ones differ."""
    theirs = {name.removesuffix(".npy") for name in original.namelist()}
    differences = []
    for name in own.files:
        array = own[name]
        found = None
        with contextlib.suppress(*BROKEN):
            found = _array_like(original, name, array)
        if found is None:
            differences.append(Difference(f"{results.SAMPLES_FILE}: {name}", array.size, array.size, None))
            continue
        # Of what is not a number as well.
        bits = np.dtype(f"u{array.itemsize}")
        differing = np.ascontiguousarray(found).view(bits) != np.ascontiguousarray(array).view(bits)
        if differing.any():
            one, other = found[differing].astype(np.float64), array[differing].astype(np.float64)
            with np.errstate(all="ignore"):
                relative = np.where(one == other, 0, np.abs(one - other) / np.maximum(np.abs(one), np.abs(other)))
            largest = float(relative.max()) if np.isfinite(relative).all() else None
            differences.append(Difference(f"{results.SAMPLES_FILE}: {name}", len(relative), array.size, largest))
    more = sorted(theirs - set(own.files))
    differences += [Difference(f"{results.SAMPLES_FILE}: {name}", 1, 1, None) for name in more]
    return len(own.files) + len(more), differences


def _array_like(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> np.ndarray | None:
    """An array of an archive; None, without having read it, unless it has the shape and type of the given one."""
    with archive.open(f"{name}.npy") as file:
        # What numpy.savez writes for arrays of numbers.
        if np.lib.format.read_magic(file) != (1, 0):
            return None
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if (shape, dtype) != (array.shape, array.dtype):
        return None
    with archive.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every number, word and null, with the way to it."""
    if isinstance(value, Mapping | list):
        for key, entry in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _leaves(entry, (*path, key))
    else:
        yield path, value


def _is_same(a: Any, b: Any) -> bool:
    """Whether two leaves have the same bits: the two zeros are equal and have not."""
    return a == b and (a != 0 or math.copysign(1, a) == math.copysign(1, b))


def _relative(a: Any, b: Any) -> float | None:
    """|a − b|/max(|a|, |b|); None where one of them is no number."""
    if not (isinstance(a, int | float) and isinstance(b, int | float)):
        return None
    try:
        return abs(a - b) / max(abs(a), abs(b)) if a != b else 0.0
    except OverflowError:
        # A whole number that no float holds.
        return None


def _size(difference: Difference) -> float:
    return math.inf if difference.largest is None else difference.largest


def _facts(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What a result may depend on, by its name."""
    chosen = {name: provenance.get(name) for name in _ORIGINS}
    return {".".join(map(str, path)): value for path, value in _leaves(chosen)}


def _results(report: Mapping[str, Any]) -> dict[str, Any]:
    """Of a report what has to be the same: no times, no costs, nothing about where it was computed."""
    families = {
        name: {entry: model[entry] for entry in _OF_A_FAMILY if entry in model}
        for name, model in report["models"].items()
    }
    return {part: report[part] for part in DEPTH} | {"models": families}


def printable(text: str, longest: int = 200) -> str:
    """Text of somebody else's as it may stand in one line of a terminal."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _printable_all(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _printable_all(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_printable_all(entry) for entry in value]
    return printable(value) if isinstance(value, str) else value

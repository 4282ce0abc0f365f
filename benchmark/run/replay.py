"""Runs what a metrics.json records again, and tells whether it comes to the same, bit for bit.

The file may come from anybody: it is data, checked against `metrics.schema.json` before anything in it is used, and its
configuration goes through the checks of a command line's. What stands beside it (`samples.npz`) is compared without
being unpickled, and only what is as large as this run's own arrays is read.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import numpy as np

from benchmark.asked import command_line, inputs
from benchmark.asked import config as configuration
from benchmark.files import results
from benchmark.run import one_run
from benchmark.terminal import console
from core import places, trust
from core.errors import UserError, nearest_choice, unknown_choice
from models import MODELS

FILE = "replay.json"
SCHEMA = 1
# Of a report, what has to be the same; and of its parts, how many words name what belongs together in a table.
_DEPTH = {"target": 2, "floor": 2, "models": 4, "external": 4}
_OF_A_FAMILY = ("n_params", "width", "history", "final", "log_prob_kind", "log_likelihood", "memorisation",
                "diverged_at_step")  # fmt: skip
# Of its provenance, what may explain a difference.
_ORIGINS = ("git", "versions", "device", "environment", "inputs")
_CHANGES = {True: "some", False: "none", None: "not known"}  # what `dirty` says of the program
# What an archive raises that is none, or that was tampered with.
_BROKEN = (OSError, EOFError, ValueError, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class _CommandLine:
    """What may be asked for beside the file."""

    replay: str = ""
    out_dir: str = ""
    fresh: bool = False
    strict: bool = False


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


class Difference(NamedTuple):
    """What has come out differently in one place."""

    where: str  # such as models.GAN.final.kld
    n_differing: int
    n: int  # numbers there
    largest: float | None  # |a − b|/max(|a|, |b|) at most; None: what is there is of another form


@contextlib.contextmanager
def opened(constants: Mapping[str, Any], args: Sequence[str], description: str) -> Iterator[Original]:
    """Reads what a command line with --replay names, without running anything or writing to disk.

    Args:
      constants: the config block, of which a replay takes nothing.
      args: the command line.
      description: the head of --help.

    Raises:
      UserError: other options beside it, a file that no run of this version can have written, an input file that is
        not what it was, or a folder that holds the original.
    """
    line = _read_line(args, description)
    place = f"--replay {line.replay!r}"
    content = _read(line.replay, place)
    report = _parsed(content, place)
    out_dir = line.out_dir or _own_folder(line.replay)
    config = _config_of(report, place, out_dir)
    if _is_one_place(str(Path(line.replay).parent), out_dir):
        raise UserError(f"--out-dir {out_dir!r} holds the original, which a replay never overwrites: name another")
    _check_inputs(report, config, place)
    with _archive(Path(line.replay).parent / results.SAMPLES_FILE) as samples:
        sweeps = constants.get("SWEEP", {}) != {}
        yield Original(
            line.replay, report, hashlib.sha256(content).hexdigest(), config, samples, sweeps, line.fresh, line.strict
        )


def run(
    original: Original,
    job: one_run.Job,
    folder: Path,
    started: one_run.Started,
    args: Sequence[str],
    *,
    fresh: bool = False,
) -> tuple[Mapping[str, Any], int]:
    """Runs it again and says how the two compare.

    Args:
      original: from `opened`.
      job: its configuration, from `one_run.check`.
      folder: where to write; it exists.
      started: when the run began.
      args: the command line, for the record.
      fresh: as for `one_run.execute`.

    Returns:
      The content of its metrics.json, and the exit code: 0, or 1 where a number or an array is another one.
    """
    console.say(f"replaying {_printable(original.path)} into {folder}/")
    if original.sweeps:
        console.say("SWEEP of the config block is left out: a replay runs what the file records")
    # Pictures are drawn if they were.
    with_pictures = any(name.endswith(".png") for name in original.report["files"])
    how = {"fresh": fresh, "with_pictures": with_pictures, "further": {FILE: functools.partial(_content, original)}}
    report = one_run.execute(job, folder, started, args, **how)
    found = json.loads((folder / FILE).read_bytes())
    console.replay_tables(found)
    return report, 0 if found["same"] else 1


@functools.cache
def validator() -> jsonschema.Draft202012Validator:
    """What checks the content of a metrics.json."""
    return jsonschema.Draft202012Validator(json.loads(places.SCHEMA.read_text(encoding="utf-8")))


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


def _content(original: Original, report: Mapping[str, Any], folder: Path) -> bytes:
    return results.json_bytes(compare(original, results.plain(report), folder))


def _read_line(args: Sequence[str], description: str) -> _CommandLine:
    allowed = [f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(_CommandLine)]
    for word in args:
        option = word.partition("=")[0].replace("_", "-")
        if option.startswith("-") and option not in allowed:
            near = "" if option in command_line.options() else nearest_choice(option, allowed)
            raise UserError(
                f"{option} cannot stand beside --replay, which runs what its file records: only "
                f"{', '.join(allowed[1:])} may{near}"
            )
    line = command_line.command_line(_CommandLine, _CommandLine(), args, description)
    if not line.replay:
        raise UserError(f"--replay is empty: name a {results.METRICS_FILE}")
    return line


def _read(path: str, place: str) -> bytes:
    """A file that is small enough to be what it should be."""
    if os.path.isdir(path):
        raise UserError(f"{place} is a folder: name the file, {os.path.join(path, results.METRICS_FILE)!r}")
    if not os.path.isfile(path):
        near = ""
        with contextlib.suppress(OSError, ValueError):
            near = "" if os.path.exists(path) else nearest_choice(Path(path).name, os.listdir(Path(path).parent))
        raise UserError(f"{place} is not a file{near}")
    try:
        return trust.read_whole(path)
    except OSError as error:
        raise UserError(f"{place} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{place} is not what a run writes: {error}") from None


def _parsed(content: bytes, place: str) -> dict[str, Any]:
    """A report of this version's form."""

    def refuse(word):
        raise ValueError(f"{word} is no number of JSON")

    try:
        report = json.loads(content, parse_constant=refuse)
    except ValueError as error:
        raise UserError(f"{place} is not JSON: {_printable(str(error))}") from None
    except RecursionError:
        raise UserError(f"{place} is not what a run writes: it is nested too deeply") from None
    schema = report.get("schema") if isinstance(report, dict) else None
    if type(schema) is int and schema != results.SCHEMA:
        raise UserError(f"{place} has schema {str(schema)[:20]}: this version replays schema {results.SCHEMA}")
    try:
        fault = next(validator().iter_errors(report), None)
    except RecursionError:
        # Python writes what is wrong into the message.
        raise UserError(f"{place} is not what a run writes: it is nested too deeply") from None
    if fault is not None:
        text = f"{place} is not what a run writes: at {fault.json_path}, {fault.message}"
        raise UserError(_printable(text, 400))
    if report.get("partial") is not None:
        raise UserError(
            f"{place} holds what a run had come to when {report['partial']['signal']} ended it: run its command again, "
            "which continues it, and replay the whole"
        )
    return report


def _config_of(report: Mapping[str, Any], place: str, out_dir: str) -> Any:
    """The recorded configuration as an object, with another folder; whatever is wrong with it is said of its file."""
    constants: dict[str, Any] = {}
    try:
        for name, value in report["config"].items():
            if isinstance(value, Mapping):
                _check_family(name, value, report["provenance"]["git"])
            constants[name.upper()] = _as_tuples(value)
        for name in ("EXTERNAL_SAMPLES", "EXTERNAL_PROBABILITIES"):
            entries = constants[name]
            constants[name] = {entry[0]: entry[1:] for entry in entries}
            if len(constants[name]) < len(entries):
                raise UserError(f"{name} has two entries of one name")
        config = configuration.from_constants(constants)
    except UserError as error:
        raise UserError(_printable(f"{place}: {error}", 1000)) from None
    # Its own line is about --out-dir.
    return dataclasses.replace(config, out_dir=out_dir)


def _check_family(name: str, settings: Mapping[str, Any], commit: str | None) -> None:
    """Raises a UserError for a family, or settings, that this version does not have in this form."""
    written = f"; it was written by commit {commit[:12]}" if commit else ""
    families = {family.lower(): family for family in MODELS}
    if name not in families:
        raise UserError(f"{unknown_choice('its family', name, families)}{written}")
    own = [field.name for field in dataclasses.fields(MODELS[families[name]].Config)]
    for setting in settings:
        if setting not in own:
            raise UserError(f"{unknown_choice(f'its setting of {families[name]}', setting, own)}{written}")
    for setting in own:
        if setting not in settings:
            raise UserError(f"its {families[name]} has no {setting}, which this version needs{written}")


def _is_one_place(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def _own_folder(path: str) -> str:
    """`<folder>_replay` beside the folder that a file is in."""
    folder = Path(path).parent
    if folder.name in ("", ".."):
        folder = Path(os.path.abspath(folder))
    if not folder.name:
        raise UserError(f"--replay {path!r} stands in a folder without a name: name another with --out-dir")
    return str(folder.with_name(f"{folder.name}_replay"))


def _check_inputs(report: Mapping[str, Any], config: Any, place: str) -> None:
    """Raises a UserError where a file that the run reads is not the one that was read."""
    recorded = report["provenance"]["inputs"]
    try:
        here = inputs.fingerprints(config)
    except UserError as error:
        raise UserError(f"{error}: bring it back, or start the replay where its path leads to it") from None
    for path, found in here.items():
        what = inputs.named_in(config)[path]
        if path not in recorded:
            raise UserError(f"{place} does not say what {what} {path!r} held")
        if recorded[path] != found:
            raise UserError(
                f"{what} {path!r} is not what it was: its SHA-256 is {found[:12]}…, and was {recorded[path][:12]}…; "
                "bring back the file that was read"
            )


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile | None]:
    """The original's samples, kept open; None where there are none."""
    try:
        archive = zipfile.ZipFile(path) if path.is_file() else None
    except _BROKEN as error:
        reason = _printable(str(error))
        raise UserError(f"{str(path)!r} beside the original cannot be read ({reason}): move it away") from None
    if archive is None:
        yield None
        return
    with archive:
        yield archive


def _results(report: Mapping[str, Any]) -> dict[str, Any]:
    """Of a report what has to be the same: no times, no costs, nothing about where it was computed."""
    families = {
        name: {entry: model[entry] for entry in _OF_A_FAMILY if entry in model}
        for name, model in report["models"].items()
    }
    return {part: report[part] for part in _DEPTH} | {"models": families}


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
        where = ".".join(word for word in path[: _DEPTH[path[0]]] if isinstance(word, str))
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
        with contextlib.suppress(*_BROKEN):
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


def _printable(text: str, longest: int = 200) -> str:
    """Text of somebody else's as it may stand in one line of a terminal."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _printable_all(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _printable_all(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_printable_all(entry) for entry in value]
    return _printable(value) if isinstance(value, str) else value

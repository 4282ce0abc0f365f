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
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema

from benchmark.asked import command_line, inputs
from benchmark.asked import config as configuration
from benchmark.files import results
from benchmark.run import checks, one_run
from benchmark.run.comparing import BROKEN, Original, compare, printable
from benchmark.terminal import console, tables
from core import places, trust
from core.errors import UserError, nearest_choice, unknown_choice

FILE = "replay.json"


@dataclass(frozen=True)
class _CommandLine:
    """What may be asked for beside the file."""

    replay: str = ""
    out_dir: str = ""
    fresh: bool = False
    strict: bool = False


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
    job: checks.Job,
    folder: Path,
    started: one_run.Started,
) -> tuple[Mapping[str, Any], int]:
    """Runs it again and says how the two compare.

    Args:
      original: from `opened`.
      job: its configuration, from `checks.check`.
      folder: where to write; it exists.
      started: when the run began, and how.

    Returns:
      The content of its metrics.json, and the exit code: 0, or 1 where a number or an array is another one.
    """
    console.say(f"replaying {printable(original.path)} into {folder}/")
    if original.sweeps:
        console.say("SWEEP of the config block is left out: a replay runs what the file records")
    # Pictures are drawn if they were.
    with_pictures = any(name.endswith(".png") for name in original.report["files"])
    further = {FILE: one_run.Further(functools.partial(_content, original), _note)}
    report = one_run.execute(job, folder, started, with_pictures=with_pictures, further=further)
    found = json.loads((folder / FILE).read_bytes())
    tables.replay_tables(found)
    return report, 0 if found["same"] else 1


@functools.cache
def validator() -> jsonschema.Draft202012Validator:
    """What checks the content of a metrics.json."""
    return jsonschema.Draft202012Validator(json.loads(places.SCHEMA.read_text(encoding="utf-8")))


def _content(original: Original, report: Mapping[str, Any], folder: Path) -> bytes:
    return results.json_bytes(compare(original, results.plain(report), folder))


def _note(content: bytes) -> str:
    """What the page of a replay says of it."""
    found = json.loads(content)
    return f"A replay of {found['original']}: {tables.replay_line(found).removeprefix('replayed: ')}."


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
        raise UserError(f"{place} is not JSON: {printable(str(error))}") from None
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
        raise UserError(printable(text, 400))
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
        raise UserError(printable(f"{place}: {error}", 1000)) from None
    # Its own line is about --out-dir.
    return dataclasses.replace(config, out_dir=out_dir)


def _check_family(name: str, settings: Mapping[str, Any], commit: str | None) -> None:
    """Raises a UserError for a family, or settings, that this version does not have in this form."""
    written = f"; it was written by commit {commit[:12]}" if commit else ""
    owners = {owner.lower(): owner for owner in configuration.OWN}
    if name not in owners:
        raise UserError(f"{unknown_choice('its family', name, owners)}{written}")
    own = [field.name for field in dataclasses.fields(configuration.OWN[owners[name]])]
    for setting in settings:
        if setting not in own:
            raise UserError(f"{unknown_choice(f'its setting of {owners[name]}', setting, own)}{written}")
    for setting in own:
        if setting not in settings:
            raise UserError(f"its {owners[name]} has no {setting}, which this version needs{written}")


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
    except BROKEN as error:
        reason = printable(str(error))
        raise UserError(f"{str(path)!r} beside the original cannot be read ({reason}): move it away") from None
    if archive is None:
        yield None
        return
    with archive:
        yield archive

"""The folder that an unfinished run leaves its progress in: what it holds, and of which run that is."""

import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.files import archive, results
from benchmark.files.identity import SCHEMA
from core import storage, trust
from core.errors import KeptError, UserError

FOLDER = "checkpoint"
ENDING = ".npz"
_NAME = re.compile(rf"{FOLDER}(-\d+-\d+)?")
# What has taken no longer does not stand in the way of a run with other settings.
_LITTLE_SECONDS = 300.0


def places_in(folder: Path) -> list[Path]:
    """Where a run, or processes that train some of its seeds, keep their progress in a folder."""
    return [place for place in folder.glob(f"{FOLDER}*") if _NAME.fullmatch(place.name)]


def remove(place: Path) -> None:
    """Removes a checkpoint, and nothing else that somebody has put beside it.

    Raises:
      UserError: it cannot be removed.
    """
    refuse_link(place)
    storage.remove_leftovers(place)
    try:
        for path in place.glob(f"*{ENDING}"):
            path.unlink()
    except OSError as error:
        raise UserError(
            f"checkpoint {str(place)!r} cannot be removed ({error.strerror}): do so by hand, or name another OUT_DIR"
        ) from None
    with contextlib.suppress(OSError):
        # Unless there is something else in it.
        place.rmdir()


def refuse_link(place: Path) -> None:
    """Raises a UserError for a link: what is written and removed would be somewhere else."""
    if place.is_symlink():
        raise UserError(
            f"checkpoint {str(place)!r} is a link, which no run has made: remove it, or name another OUT_DIR"
        )


def folder_name(seeds: range | None) -> str:
    """Of the folder for the progress of these seeds, or of all."""
    return FOLDER if seeds is None else f"{FOLDER}-{seeds.start}-{seeds.stop - 1}"


def read(place: Path) -> dict[str, archive.Archive]:
    """The archives in a folder, by family, all of one run.

    Raises:
      UserError: they are damaged, or not of one run.
    """
    found: dict[str, archive.Archive] = {}
    for path in sorted(place.glob(f"*{ENDING}")):
        try:
            each = archive.read(path)
        except FileNotFoundError:
            # Another process has come to its end.
            continue
        except (archive.Broken, OSError) as error:
            raise damaged(path, error) from None
        try:
            if each.about["schema"] != SCHEMA or each.families() != [path.name.removesuffix(ENDING)]:
                raise archive.Broken("it is of another kind")
            if any(other.about["run"] != each.about["run"] for other in found.values()):
                raise archive.Broken("it is of another run than the files beside it")
        except (archive.Broken, LookupError, TypeError, AttributeError) as error:
            raise damaged(path, error) from None
        found[path.name.removesuffix(ENDING)] = each
    return found


def seconds_of(found: Mapping[str, archive.Archive]) -> float:
    """What an unfinished run has taken."""
    return max((each.about["seconds"] for each in found.values()), default=0.0)


def other_run(place: Path, found: Mapping[str, archive.Archive], own: Mapping[str, Any]) -> str:
    """What an unfinished run is, in words, and in what it is another one than `own` says; "" if it is that one.

    Raises:
      UserError: it is another one, and too much would be lost with it.
    """
    for name, each in found.items():
        try:
            difference, seconds = _difference(each.about, own), seconds_of(found)
            run = f"OUT_DIR {str(place.parent)!r} holds an unfinished run ({name} at step {each.last_step(name)})"
        except (LookupError, TypeError, AttributeError) as error:
            raise damaged(place / f"{name}{ENDING}", error) from None
        if difference and seconds > _LITTLE_SECONDS:
            what = "finish it as it was begun, name another OUT_DIR, or give it up with --fresh"
            raise KeptError(f"{run} {difference}: {what}")
        if difference:
            return f"{run} {difference}"
    return ""


def _difference(about: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """The first thing in which a kept run is another one than `own` describes."""
    if about["config"] != own["config"]:
        return f"with {results.differences(about['config'], own['config'])[0]}"
    if about["program"] != own["program"]:
        other = sorted(key for key, value in own["program"].items() if about["program"].get(key) != value)
        return f"of another version of the program ({', '.join(other)})"
    if "data" in own and about["data"] != own["data"]:
        return "of other rows: CUSTOM_FILE has changed since"
    return ""


def damaged(path: Path, error: Exception) -> UserError:
    """What to raise for a file that cannot be read."""
    why = " ".join(str(error).split()) or type(error).__name__
    return UserError(
        f"checkpoint {str(path)!r} is damaged ({why}): start over with --fresh, or remove {str(path.parent)!r}"
    )


def is_finished(folder: Path, place: Path) -> bool:
    """Whether the run that has left a checkpoint is whole: it was killed between its last file and its end."""
    kept = sorted(place.glob(f"*{ENDING}"))
    if not kept:
        return False
    try:
        report = json.loads(trust.read_whole(folder / results.METRICS_FILE))
        run = report["provenance"]["run"] if report["partial"] is None else None
        return run is not None and all(archive.read(path).about["run"] == run for path in kept)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False

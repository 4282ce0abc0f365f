"""What a sweep's folder says of the last sweep there, and what of its results another sweep would replace.

A cell belongs to a sweep by its folder's name, which holds the swept values, and by its configuration. So sweeps that
share their other constants share their cells, whatever their lists; of any other sweep nothing is replaced unasked.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.files import archive, checkpoint, results
from benchmark.run import parts
from benchmark.sweeps.sweep_plan import Cell, Plan
from core import storage, trust
from core.errors import KeptError, UserError

SCHEMA = 1
STATE_FILE = "sweep.json"
UNFINISHED, FINISHED = "unfinished", "finished"
_MOST_NAMED = 3  # differences in a line


def read(out_dir: str) -> dict[str, Any] | None:
    """What a folder's sweep.json says; None where there is none.

    Raises:
      UserError: it is there but not what a sweep writes.
    """
    path = Path(out_dir) / STATE_FILE
    try:
        record = json.loads(trust.read_whole(path))
        names = [*record["files"], *record["cells"]]
        if (
            record["schema"] == SCHEMA
            and {"state", "constants", "sweep"} <= set(record)
            and isinstance(record["constants"], dict)
            and isinstance(record["sweep"], dict)
            and all(map(_is_plain_name, names))
        ):
            return record
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise UserError(f"{str(path)!r} is not what a sweep writes: name another OUT_DIR, or remove that file")


def write(plan: Plan, state: str, files: Sequence[str]) -> None:
    """Records a sweep in its folder, with the files over all its cells."""
    content = {
        "schema": SCHEMA,
        "state": state,
        "files": sorted(files),
        "sweep": {name: list(values) for name, values in plan.swept.items()},
        "constants": plan.constants,
        "cells": [cell.name for cell in plan.cells],
    }
    storage.write_whole(Path(plan.out_dir) / STATE_FILE, results.json_bytes(content))


def note_merge(plan: Plan, record: Mapping[str, Any] | None, files: Sequence[str], n_missing: int) -> None:
    """Records what a merge has written that ran nothing: which sweep the folder is used for stays what it was.

    Args:
      plan: what was merged.
      record: what the folder has said before.
      files: that were written.
      n_missing: cells of the plan that have not finished.
    """
    if record is None:
        write(plan, UNFINISHED if n_missing else FINISHED, files)
        return
    whole = is_of(record, plan) and not n_missing
    content = {**record, "files": sorted(files), "state": FINISHED if whole else record["state"]}
    storage.write_whole(Path(plan.out_dir) / STATE_FILE, results.json_bytes(content))


def shares_constants(record: Mapping[str, Any], plan: Plan) -> bool:
    """Whether a record is of a sweep whose cells are this one's where they have the same name."""
    return record["constants"] == _constants(plan)


def is_of(record: Mapping[str, Any], plan: Plan) -> bool:
    """Whether a record is of these very cells."""
    return shares_constants(record, plan) and set(record["cells"]) == {cell.name for cell in plan.cells}


def check(plan: Plan, *, fresh: bool = False) -> dict[str, Any] | None:
    """Proves that a sweep will replace nothing that it was not told to.

    Args:
      plan: the sweep.
      fresh: whether it was told to.

    Returns:
      The folder's record; None without one.

    Raises:
      UserError: the folder holds the unfinished results of a sweep with other constants; or finished results, or
        trained seeds, of another configuration in this sweep's cells. A sweep of a single cell is what a single run
        is: its finished results are replaced.
    """
    record = read(plan.out_dir)
    if fresh:
        return record
    if record is not None and record["state"] != FINISHED and not shares_constants(record, plan):
        _refuse_unfinished(record, plan)
    found = others(plan, record)
    if found:
        n, n_cells = len(found), len(plan.cells)
        where = f"{n} of this sweep's {n_cells} cells" if n_cells > 1 else "this sweep's cell"
        raise KeptError(
            f"OUT_DIR {plan.out_dir!r} holds results of another configuration in {where} "
            f"({_named([each for own in found.values() for each in own])}): name another OUT_DIR, or replace them with "
            "--fresh"
        )
    return record


def others(plan: Plan, record: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """Cells that hold results of another configuration which nobody has given up yet -> how that differs.

    Args:
      plan: the sweep.
      record: from `read`. A sweep that it says was begun has been told to replace what is in its cells.
    """
    names = [cell.name for cell in plan.cells]
    given_up: Sequence[str] = ()
    if record is not None and record["state"] != FINISHED and shares_constants(record, plan):
        given_up = record["cells"]
    single = len(names) == 1 and (record is None or record["cells"] == names)
    found = {}
    for cell in plan.cells:
        if cell.name not in given_up:
            differences = ([] if single else replaced(cell)) or _other_seeds(cell)
            if differences:
                found[cell.name] = differences
    return found


def replaced(cell: Cell) -> list[str]:
    """How finished results in a cell's folder differ from its configuration; empty where none are there that do."""
    report = _report(Path(cell.config.out_dir))
    if report is None:
        return []
    return results.differences(results.without_places(report["config"]), _plain(cell.config))


def elsewhere(plan: Plan) -> list[str]:
    """Cells with results that are in a sweep's folder and not among its own."""
    own = {cell.name for cell in plan.cells}
    try:
        names = sorted(path.name for path in Path(plan.out_dir).iterdir() if "=" in path.name)
    except OSError:
        return []
    return [name for name in names if name not in own and _report(Path(plan.out_dir) / name) is not None]


def _refuse_unfinished(record: Mapping[str, Any], plan: Plan) -> None:
    """Raises a UserError where an unfinished sweep with other constants has anything to lose."""
    folders = [Path(plan.out_dir) / name for name in record["cells"]]
    begun = [folder for folder in folders if parts.files_in(folder) or checkpoint.files_in(folder)]
    finished = [folder for folder in folders if folder not in begun and _belongs(folder, record["constants"])]
    if not (finished or begun):
        return
    theirs, ours = record["constants"], _constants(plan)
    if set(record["sweep"]) == set(plan.swept):
        how = _named(results.differences(theirs, ours))
    else:
        how = f"of {' × '.join(map(str, record['sweep']))}, not {' × '.join(plan.swept)}"
    some = f" and {len(begun)} {'has' if len(begun) == 1 else 'have'} trained seeds" if begun else ""
    raise KeptError(
        f"OUT_DIR {plan.out_dir!r} holds a different sweep ({how}), of which {len(finished)} of {len(folders)} cells "
        f"are finished{some}: finish that one, name another OUT_DIR, or give it up with --fresh"
    )


def _belongs(folder: Path, constants: Mapping[str, Any]) -> bool:
    """Whether a folder holds finished results with these constants, whatever the others are."""
    report = _report(folder)
    if report is None:
        return False
    config = {str(name).upper(): value for name, value in report["config"].items()}
    for name, value in constants.items():
        own = config.get(name)
        if isinstance(value, dict) and isinstance(own, dict):
            own = {setting: entry for setting, entry in own.items() if setting in value}
        if own != value:
            return False
    return True


def _other_seeds(cell: Cell) -> list[str]:
    """How seeds that processes have trained for a cell differ from its configuration."""
    folder = Path(cell.config.out_dir)
    for path in parts.files_in(folder):
        try:
            config = archive.read(path).about["config"]
            differences = results.differences(config, _plain(cell.config))
        except (archive.Broken, OSError, KeyError, TypeError, AttributeError):
            continue
        if differences:
            return differences
    return []


def _report(folder: Path) -> dict[str, Any] | None:
    """The metrics.json of a run that has come to its end, of whichever configuration; None where there is none."""
    try:
        report = json.loads(trust.read_whole(folder / results.METRICS_FILE))
        whole = report["partial"] is None and report["config"] and report["models"] is not None
        return report if whole and isinstance(report["config"], dict) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _named(differences: Sequence[str]) -> str:
    """The first few differences, each once."""
    each = list(dict.fromkeys(differences))
    more = f" and {len(each) - _MOST_NAMED} more" if len(each) > _MOST_NAMED else ""
    return "; ".join(each[:_MOST_NAMED]) + more


def _constants(plan: Plan) -> dict[str, Any]:
    return json.loads(results.json_bytes(plan.constants))


def _plain(config: Any) -> dict[str, Any]:
    return json.loads(results.json_bytes(results.without_places(config)))


def _is_plain_name(name: Any) -> bool:
    # A record that somebody edited must not reach outside the folder.
    return isinstance(name, str) and re.fullmatch(r"\w[\w.+=,-]*", name, re.ASCII) is not None

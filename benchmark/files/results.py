"""Everything that is written and read back that is not a picture."""

import contextlib
import dataclasses
import json
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import metrics
from benchmark.asked.constants import affecting
from benchmark.engine import devices
from benchmark.engine.records import Cost, Run
from benchmark.scoring.assessment import Assessment
from benchmark.scoring.outcome import Outcome
from core import places, trust
from kinds.contract import Floor, Kind, Target
from kinds.files import TRAIN_SHARE

SCHEMA = 1
METRICS_FILE = "metrics.json"
CSV_FILE = "metrics.csv"
SUMMARY_FILE = "summary.csv"
SAMPLES_FILE = "samples.npz"
PARAMETERS_FILE = "parameters.npz"
TARGET_FILE = "target.csv"  # where the target has exact probabilities
FILES = (METRICS_FILE, CSV_FILE, SUMMARY_FILE, SAMPLES_FILE, PARAMETERS_FILE)
# Of a family's fields, those that are measured with a clock.
_TIMES = ("train_seconds", "compile_seconds", "samples_per_second", "seed_steps_per_second", "sampling_times")
# Of a configuration's fields, those that no result depends on.
PLACES = tuple(affecting("nothing"))
_ABSENT = "unknown"  # stands for a constant that another version of the program does not have
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "scikit-learn", "matplotlib")


def remove_previous(folder: Path, keep: Sequence[str]) -> None:
    """Removes the files that the folder's last run listed as its own and that are not among `keep`; nothing else."""
    try:
        listed = json.loads(trust.read_whole(folder / METRICS_FILE))["files"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
    for name in listed if isinstance(listed, list) else ():
        # A plain name only: a list that somebody edited must not reach outside the folder.
        if isinstance(name, str) and name == Path(name).name and name not in keep:
            # Some names are none to any file system.
            with contextlib.suppress(OSError, ValueError):
                (folder / name).unlink()


def versions() -> dict[str, str]:
    """Those of Python and of the libraries that numbers depend on."""
    return {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}}


def without_places(config: Any) -> dict[str, Any]:
    """A configuration as metrics.json holds it, but for what results do not depend on: places on the disk."""
    fields = config if isinstance(config, Mapping) else dataclasses.asdict(config)
    return {name: value for name, value in plain(fields).items() if name not in PLACES}


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """What tells one configuration from another, both as JSON holds them: such as "N_STEPS = 8, not 16"."""
    found = []
    for name in {**ours, **theirs}:
        old, new = theirs.get(name, _ABSENT), ours.get(name, _ABSENT)
        if isinstance(old, dict) and isinstance(new, dict):
            both = {**new, **old}
            settings = {f"{name.upper()}.{key}": (old.get(key, _ABSENT), new.get(key, _ABSENT)) for key in both}
        else:
            settings = {name.upper(): (old, new)}
        found += [f"{key} = {_short(a)}, not {_short(b)}" for key, (a, b) in settings.items() if a != b]
    return found


def provenance(args: Sequence[str], out_dir: str | Path, started: str, inputs: Mapping[str, str]) -> dict[str, Any]:
    """What it takes, beside the configuration, to run the same again.

    Args:
      args: the command line.
      out_dir: where the run writes; every run changes that, so `dirty` ignores it.
      started: when the run began, UTC.
      inputs: from `inputs.fingerprints`.
    """
    here = places.ROOT

    def git(*words):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(("git", "-C", str(here), *words), capture_output=True, timeout=10, check=True)
            return os.fsdecode(done.stdout).strip()
        return None

    status = None
    # A folder inside somebody else's repository is not a checkout of this one.
    if git("rev-parse", "--show-toplevel") == str(here):
        folder = Path(out_dir).resolve()
        inside = folder.is_relative_to(here) and folder != here
        status = git(
            "status", "--porcelain", "--", ".", *([f":(exclude,literal){folder.relative_to(here)}"] if inside else [])
        )
    return {
        "command": shlex.join(["python3", "generative_models_GAN_VAE_RBM_benchmarks.py", *args]),
        "git": None if status is None else git("rev-parse", "HEAD"),
        "dirty": None if status is None else bool(status),
        "versions": versions(),
        "device": devices.device_name(),
        "environment": devices.environment(),
        "inputs": inputs,
        "started": started,
        "seconds": None,
        "peak_memory_bytes": None,
    }


def timeless(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report without what no two runs share: how long things took, where they were written, and by whom."""
    models = {
        name: {key: value for key, value in model.items() if key not in _TIMES}
        for name, model in report["models"].items()
    }
    rest = {key: value for key, value in report.items() if key not in ("provenance", "metric_seconds")}
    return {**rest, "config": without_places(report["config"]), "models": models}


def history_of(run: Run) -> dict[str, Any]:
    """Step, metrics [S][E] and the interval means of the family's Info [S][E] (None at step 0)."""
    evaluations = run.evaluations
    history = {"step": [evaluation.step for evaluation in evaluations]}
    for name in evaluations[0].metrics:
        history[name] = np.stack([evaluation.metrics[name] for evaluation in evaluations], axis=-1)
    for name in evaluations[-1].info or ():
        values = [evaluation.info[name] for evaluation in evaluations[1:]]
        history[name] = np.stack([np.full(len(values[0]), np.nan), *values], axis=-1)
    return history


def report(outcome: Outcome, provenance: Mapping[str, Any], files: Sequence[str]) -> dict[str, Any]:
    """The content of metrics.json, schema 1.

    Args:
      outcome: of the run.
      provenance: from `provenance`, completed.
      files: that the run writes.
    """
    config, target, judge, assessments = outcome.config, outcome.target, outcome.judge, outcome.assessments
    by_name = {entry.name: entry for entry in assessments}
    models = {}
    for run in outcome.runs:
        entry = by_name[run.model.name]
        models[run.model.name] = {
            **outcome.costs[run.model.name],
            "width": run.model.width,
            "seed_steps_per_second": run.seed_steps / run.train_seconds if run.train_seconds else None,
            "history": history_of(run),
            "final": final_of(entry, outcome.kind),
            "log_prob_kind": run.model.log_prob_kind,
            "log_likelihood": entry.log_likelihood,
            "memorisation": entry.memorisation,
            "diverged_at_step": run.diverged_at_step,
        }
        if entry.sampling:
            models[run.model.name] |= {"sampling": entry.sampling, "sampling_times": entry.sampling_times}
        if any(entry.unknown):
            models[run.model.name][f"{outcome.kind.exact}_unknown"] = [why or None for why in entry.unknown]
    external = {
        entry.name: {
            "n_params": entry.n_params,
            "n_samples": entry.n_samples,
            "final": final_of(entry, outcome.kind),
            "memorisation": entry.memorisation,
            "floor": {name: _floor(floor) for name, floor in entry.floors.items()},
        }
        for entry in assessments
        if entry.external
    }
    floors = dict(judge.floors)
    if any(entry.scores.get(outcome.kind.exact) is not None for entry in assessments):
        # Against held-out rows it has a floor of its own.
        floors.setdefault(outcome.kind.exact, Floor(0.0, 0.0, 0.0, 0.0))
    floors |= outcome.closing.floors
    return {
        "schema": SCHEMA,
        "partial": outcome.partial,
        "files": sorted(files),
        "config": dataclasses.asdict(config),
        "provenance": provenance,
        "target": {
            "name": target.name,
            "dim": target.dim,
            "entropy": target.entropy,
            "log_prob_kind": target.log_prob_kind,
            **outcome.kind.describe(target),
            "discretisation_error": judge.discretisation_error,
            "split": _split(target, config),
        },
        "floor": {name: _floor(floor) for name, floor in floors.items()},
        "metric_seconds": outcome.closing.seconds,
        "models": models,
        "external": external,
        **({"further": outcome.further.report} if outcome.further else {}),
    }


def lost_families(report: Mapping[str, Any]) -> list[str]:
    """The families of a report that have lost all their seeds to divergence."""
    lost = {name: model["diverged_at_step"] for name, model in report["models"].items()}
    return [name for name, at_steps in lost.items() if all(at is not None for at in at_steps)]


def _floor(floor: Floor) -> dict[str, Any]:
    """A floor as metrics.json holds it; quantiles only where there are any."""
    return {name: value for name, value in dataclasses.asdict(floor).items() if value != ()}


def final_of(entry: Assessment, kind: Kind) -> dict[str, Any]:
    """Every metric that the kind of events reports, over an entry's seeds; None where it is not defined."""
    return {
        name: None
        if entry.scores.get(name) is None
        else metrics.summarise(entry.scores[name], metrics.METRICS[name].higher_is_better)
        for name in kind.reported
    }


def cost_of(run: Run, cost: Cost, n_samples: int) -> dict[str, Any]:
    """What one family took; times are wall times of all its seeds together."""
    return {
        "n_params": run.model.n_params,
        **cost._asdict(),
        "train_seconds": run.train_seconds,
        "compile_seconds": run.compile_seconds,
        "samples_per_second": len(run.states) * n_samples / run.sample_seconds if run.sample_seconds else None,
    }


def peak_memory() -> int | None:
    """The largest resident size of this process so far, in bytes; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _split(target: Target, config: Any) -> dict[str, Any] | None:
    if target.train_rows is None:
        return None
    return {
        "train_share": TRAIN_SHARE if target.empirical else 0.5,
        "seed": config.seed,
        "n_train": len(target.train_rows),
        "n_held_out": len(target.held_out_rows),
        "mean": target.train_rows.mean(0),
        "deviation": target.train_rows.std(0),
    }


def json_bytes(content: Any) -> bytes:
    """Valid JSON in UTF-8 always: what is not finite becomes null, a byte of a path that is no text an escape."""
    text = json.dumps(plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    # Python holds such a byte as a lone surrogate, whose escape is the same in JSON: it is read back as it was.
    return text.encode(errors="backslashreplace")


def plain(value: Any) -> Any:
    """The value with arrays as lists and everything that is not finite as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, tuple | list):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"

"""Everything that is written and read back that is not a picture."""

import contextlib
import csv
import dataclasses
import io
import json
import math
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

import metrics
from errors import UserError
from evaluation import Judge
from tables import TRAIN_SHARE
from targets import Target
from training import Run

SCHEMA = 1
METRICS_FILE = "metrics.json"
CSV_FILE = "metrics.csv"
SAMPLES_FILE = "samples.npz"
PARAMETERS_FILE = "parameters.npz"
FILES = (METRICS_FILE, CSV_FILE, SAMPLES_FILE, PARAMETERS_FILE)
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "matplotlib")


def open_folder(path: str) -> Path:
    """Creates the output folder if need be and proves that files can be written there.

    Raises:
      UserError: it is a file, or cannot be written.
    """
    folder = Path(path)
    missing = [place for place in (folder, *folder.parents) if not os.path.exists(place)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        # What was made on the way to it goes again: rmdir takes only what is empty.
        for place in missing:
            with contextlib.suppress(OSError):
                place.rmdir()
        raise UserError(
            f"OUT_DIR {path!r} cannot be written ({error.strerror}): name a folder that can be, such as "
            "results_classical_benchmarks"
        ) from None
    return folder


def remove_previous(folder: Path, keep: Sequence[str]) -> None:
    """Removes the files that the folder's last run listed as its own and that are not among `keep`; nothing else."""
    try:
        listed = json.loads((folder / METRICS_FILE).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    for name in listed:
        # A plain name only: a list that somebody edited must not reach outside the folder.
        if isinstance(name, str) and name == Path(name).name and name not in keep:
            with contextlib.suppress(OSError):
                (folder / name).unlink()


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def provenance(args: Sequence[str], out_dir: str, started: str) -> dict[str, Any]:
    """What it takes to run the same again. `dirty` ignores the output folder, which every run changes."""
    here = Path(__file__).resolve().parent

    def git(*words):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                ("git", "-C", str(here), *words), capture_output=True, text=True, timeout=10, check=True
            )
            return done.stdout.strip()
        return None

    status = None
    # A folder inside somebody else's repository is not a checkout of this one.
    if git("rev-parse", "--show-toplevel") == str(here):
        folder = Path(out_dir).resolve()
        inside = folder.is_relative_to(here) and folder != here
        status = git("status", "--porcelain", "--", ".", *([f":(exclude){folder.relative_to(here)}"] if inside else []))
    return {
        "command": shlex.join(["python3", "generative_models_GAN_VAE_RBM_benchmarks.py", *args]),
        "git": None if status is None else git("rev-parse", "HEAD"),
        "dirty": None if status is None else bool(status),
        "versions": {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}},
        "device": device_name(),
        "started": started,
        "seconds": None,
    }


def device_name() -> str:
    """The devices that JAX computes on, in words."""
    devices = jax.local_devices()
    name = devices[0].device_kind
    if devices[0].platform == "cpu":
        name = f"{_processor()}, {os.cpu_count()} cores"
    return f"{len(devices)} × {devices[0].platform} ({name})"


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


def report(
    config: Any,
    target: Target,
    judge: Judge,
    runs: Sequence[Run],
    kl_exact: Mapping[str, Sequence[float | None]],
    log_likelihoods: Mapping[str, Sequence[Mapping[str, float] | None]],
    provenance: Mapping[str, Any],
    files: Sequence[str],
) -> dict[str, Any]:
    """The content of metrics.json, schema 1."""
    held_out = target.held_out_rows
    models = {}
    for run in runs:
        last = run.evaluations[-1].metrics
        final = {name: metrics.summarise(values) for name, values in last.items()}
        # A diverged seed has no divergence either; a family without a density has none for any seed.
        exact = kl_exact[run.model.name]
        final["kl_exact"] = None if None in exact else metrics.summarise(exact)
        n_seeds = len(run.states)
        models[run.model.name] = {
            "n_params": run.model.n_params,
            "width": run.model.width,
            "train_seconds": run.train_seconds,
            "compile_seconds": run.compile_seconds,
            "seed_steps_per_second": n_seeds * config.n_steps / run.train_seconds if run.train_seconds else None,
            "history": history_of(run),
            "final": final,
            "log_likelihood": log_likelihoods.get(run.model.name),
            "diverged_at_step": run.diverged_at_step,
        }
    return {
        "schema": SCHEMA,
        "files": sorted(files),
        "config": dataclasses.asdict(config),
        "provenance": provenance,
        "target": {
            "name": target.name,
            "dim": target.dim,
            "entropy": target.entropy,
            "box": target.box,
            "discretisation_error": judge.discretisation_error,
            "split": None
            if held_out is None
            else {
                "train_share": TRAIN_SHARE,
                "n_train": len(target.train_rows),
                "n_held_out": len(held_out),
                "mean": target.train_rows.mean(0),
                "deviation": target.train_rows.std(0),
            },
        },
        "floor": {name: floor._asdict() for name, floor in judge.floors.items()},
        "models": models,
    }


def json_bytes(content: Any) -> bytes:
    """Valid JSON always: what is not finite becomes null."""
    return (json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def csv_bytes(content: Mapping[str, Any]) -> bytes:
    """The histories of a report as one tidy table: model, seed, step, quantity, value (empty where there is none)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("model", "seed", "step", "quantity", "value"))
    for name, model in _plain(content)["models"].items():
        history = dict(model["history"])
        steps = history.pop("step")
        for quantity, seeds in history.items():
            for seed, values in enumerate(seeds):
                for step, value in zip(steps, values, strict=True):
                    writer.writerow((name, seed, step, quantity, "" if value is None else repr(value)))
    return text.getvalue().encode()


def samples_bytes(target_rows: np.ndarray, runs: Sequence[Run]) -> bytes:
    """samples.npz: the last samples of every family [S, n, D] beside rows of the target [n, D], in data space."""
    arrays = {run.model.name: run.evaluations[-1].samples for run in runs}
    return _npz({"target": np.asarray(target_rows, np.float32), **arrays})


def parameters_bytes(runs: Sequence[Run]) -> bytes:
    """parameters.npz: every trained weight under NAME/path, [S, ...]."""
    arrays = {}
    for run in runs:
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *(state.params for state in run.states))
        for path, leaf in jax.tree_util.tree_leaves_with_path(stacked):
            arrays[f"{run.model.name}/{jax.tree_util.keystr(path, simple=True, separator='/')}"] = leaf
    return _npz(arrays)


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _plain(value: Any) -> Any:
    """The value with arrays as lists and everything that is not finite as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _processor() -> str:
    """The processor's own name: platform.processor() is empty on most Linux systems."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine() or sys.platform

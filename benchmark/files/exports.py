"""What is written beside metrics.json for other programs: tables in CSV, and arrays in NumPy's format."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import metrics
from benchmark.engine.records import Run
from benchmark.files.results import plain
from benchmark.scoring.assessment import Assessment
from core import storage
from kinds.contract import States
from models.base import AveragedState


def csv_bytes(content: Mapping[str, Any]) -> bytes:
    """The histories of a report as one tidy table: model, seed, step, quantity, value (empty where there is none)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("model", "seed", "step", "quantity", "value"))
    for name, model in plain(content)["models"].items():
        history = dict(model["history"])
        steps = history.pop("step")
        for quantity, seeds in history.items():
            for seed, values in enumerate(seeds):
                for step, value in zip(steps, values, strict=True):
                    writer.writerow((name, seed, step, quantity, "" if value is None else repr(value)))
    return text.getvalue().encode()


def summary_bytes(content: Mapping[str, Any]) -> bytes:
    """The final scores of a report as one flat table: a row for every entry and metric that is defined for it.

    A value that is not a number, as the median of seeds that have diverged, is an empty field, and so is a floor that
    is not known.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    spread = ("median", "low", "high")
    writer.writerow(("model", "parameters", "seeds", "metric", "unit", *spread, *(f"floor_{name}" for name in spread)))
    content = plain(content)
    for name, model in (content["models"] | content["external"]).items():
        floors = content["floor"] | model.get("floor", {})
        for metric, final in model["final"].items():
            if final is not None:
                floor = floors.get(metric) or {}
                values = [*(final[each] for each in spread), *(floor.get(each) for each in spread)]
                values = ["" if value is None else repr(value) for value in values]
                unit = metrics.METRICS[metric].unit
                writer.writerow((name, model["n_params"], len(final["seeds"]), metric, unit, *values))
    return text.getvalue().encode()


def target_bytes(states: States) -> bytes:
    """target.csv: every state of the target with its exact probability, all digits of it."""
    lines = [f"{label},{mass!r}" for label, mass in zip(states.labels, states.masses.tolist(), strict=True)]
    return "\n".join([f"{states.name},probability", *lines, ""]).encode()


def write_samples(
    path: Path, target_rows: np.ndarray, assessments: Sequence[Assessment], states: States | None = None
) -> None:
    """samples.npz: the last samples of everything scored [S, n, D] beside rows of the target [n, D], in data space.

    With states of the target there are their exact probabilities [K], too.
    """
    arrays = {entry.name: entry.samples for entry in assessments if entry.samples is not None}
    rows = {"target": np.asarray(target_rows, np.float32)}
    if states is not None:
        rows["target_probabilities"] = states.masses
    storage.write_npz(path, (rows | arrays).items(), compress=True)


def write_parameters(path: Path, runs: Sequence[Run]) -> None:
    """parameters.npz: every trained weight under NAME/path, [S, ...], and under NAME/average/path what was scored."""

    def arrays():
        for run in runs:
            scored = {run.model.name: [state.params for state in run.states]}
            if isinstance(run.states[0], AveragedState):
                scored[f"{run.model.name}/average"] = [state.average for state in run.states]
            for name, seeds in scored.items():
                paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(seeds[0])]
                for path, *leaves in zip(paths, *map(jax.tree.leaves, seeds), strict=True):
                    yield f"{name}/{jax.tree_util.keystr(path, simple=True, separator='/')}", np.stack(leaves)

    # Weights hardly shrink.
    storage.write_npz(path, arrays())

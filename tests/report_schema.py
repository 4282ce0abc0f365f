"""What every metrics.json that a test writes is held to: its schema, and what no schema can say."""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metrics
from benchmark.asked import moments
from benchmark.files import results
from benchmark.run import replay
from kinds.contract import Floor, Kind
from kinds.real.judging import N_FLOOR_QUANTILES
from kinds.registry import KINDS


def checked(folder: str | Path) -> dict[str, Any]:
    """The metrics.json of a folder, which another process may have written; the test fails unless it is sound."""
    folder = Path(folder)
    return check((folder / results.METRICS_FILE).read_bytes(), folder)


def check(content: bytes, folder: Path | None = None) -> dict[str, Any]:
    """Fails the test unless this is what a metrics.json may hold.

    The failure passes through whatever catches exceptions: a sweep would else take it for a cell's.

    Args:
      content: of the file.
      folder: where it is written, after all the other files of its run; None leaves these out.
    """
    report = json.loads(content, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    found = list(faults(report, folder))
    if found:
        pytest.fail(f"{results.METRICS_FILE} in {folder} is not sound: {'; '.join(found)[:2000]}")
    return report


def faults(report: Any, folder: Path | None = None) -> Iterator[str]:
    """What is wrong with a report, as `check` takes it but out of JSON."""
    errors = [f"{error.json_path}: {error.message[:200]}" for error in replay.validator().iter_errors(report)]
    if errors:
        # The rest takes the form for granted.
        yield from errors
        return
    if folder is not None:
        for name in report["files"]:
            if name != results.METRICS_FILE and not (folder / name).is_file():
                yield f"files: there is no {name}"
    if sorted(report["files"]) != report["files"] or results.METRICS_FILE not in report["files"]:
        yield "files are not sorted, or without this one"
    yield from _of_target(report)
    config, partial = report["config"], report["partial"]
    n_models = len(config["models"]) if partial is None else len(partial["steps"])
    if list(report["models"]) != config["models"][:n_models]:
        yield "models are not those that were asked for"
    names = [entry[0] for entry in (*config["external_samples"], *config["external_probabilities"])]
    if list(report["external"]) != names:
        yield "external entries are not those that were asked for"
    for name, model in report["models"].items():
        last = config["n_steps"] if partial is None else partial["steps"].get(name)
        yield from (f"models.{name}: {fault}" for fault in _of_model(model, config, last, _kind_of(report)))
    finals = {name: entry["final"] for part in ("models", "external") for name, entry in report[part].items()}
    for name, final in finals.items():
        for metric, summary in final.items():
            if summary is not None:
                worst = -math.inf if metrics.METRICS[metric].higher_is_better else math.inf
                low, median, high = (worst if summary[part] is None else summary[part] for part in _PARTS)
                if not low <= median <= high:
                    yield f"{name}.final.{metric}: the median is not between low and high"
    floors = {"floor": report["floor"]} | {f"{name}.floor": e["floor"] for name, e in report["external"].items()}
    for name, by_metric in floors.items():
        for metric, floor in by_metric.items():
            quantiles = floor.get("quantiles", [floor["low"], floor["high"]])
            if any(a > b for a, b in pairwise([floor[part] for part in _PARTS])) or sorted(quantiles) != quantiles:
                yield f"{name}.{metric}: quantiles are not in order"
    yield from _of_keys(report, finals)


_PARTS = ("low", "median", "high")
_EXACT = {"kl_exact", "tv_exact"}  # that a family without probabilities does not have


def _kind_of(report: Mapping[str, Any]) -> Kind:
    """Of the report's target."""
    return KINDS[report["target"].get("kind", "bins" if report["config"]["num_bins"] else "real")]


def _of_target(report: Mapping[str, Any]) -> Iterator[str]:
    target, config = report["target"], report["config"]
    if target["name"] != config["target_type"]:
        yield "target.name is another one than config.target_type"
    # Events of other kinds than numbers have no range.
    box = target.get("box", [[0, 1]] * target["dim"])
    if len(box) != target["dim"] or any(low >= high for low, high in box):
        yield "target.box has no range for every coordinate"
    if (target["discretisation_error"] is None) != (config["num_bins"] == 0):
        yield "target.discretisation_error goes with bins"
    split = target["split"]
    # Files of bit strings hold samples or probabilities.
    either = config["target_type"] == "BITS_CUSTOM"
    of_rows = {"CUSTOM", "IMAGE_DIGITS", "IMAGE_MNIST", "IMAGE_FASHION_MNIST", "IMAGE_CUSTOM"}
    drawn_afresh = config["target_type"] not in of_rows and config["n_samples_train"] == 0
    if not either and (split is None) != drawn_afresh:
        yield "target.split goes with a fixed training set"
    elif split is not None and {len(split["mean"]), len(split["deviation"])} != {target["dim"]}:
        yield "target.split is of another dimension"


def _of_model(model: Mapping[str, Any], config: Mapping[str, Any], last: int | None, kind: Kind) -> Iterator[str]:
    n_seeds, steps = config["num_seeds"], model["history"]["step"]
    if last is None or steps != [step for step in _steps_of(config) if step <= last]:
        yield "history.step is not that of the scores, from 0 to the last step"
    for name, series in model["history"].items():
        if name != "step" and (len(series) != n_seeds or {len(of_seed) for of_seed in series} != {len(steps)}):
            yield f"history.{name} is not [S][E]"
    for name, summary in model["final"].items():
        if summary is not None and len(summary["seeds"]) != n_seeds:
            yield f"final.{name}.seeds is not [S]"
    if [len(model[name]) for name in ("log_likelihood", "diverged_at_step")] != [n_seeds] * 2:
        yield "log_likelihood or diverged_at_step is not [S]"
    unknown = model.get("kl_exact_unknown")
    if unknown is not None:
        exact = (model["final"]["kl_exact"] or {"seeds": []})["seeds"]
        if len(unknown) != n_seeds or not any(unknown):
            yield "kl_exact_unknown is not [S] with a reason"
        elif any(why and value is not None for why, value in zip(unknown, exact, strict=True)):
            yield "a seed's kl_exact is a number and unknown"
    if len(model["memorisation"]) not in (0, n_seeds):
        yield "memorisation is neither empty nor [S]"
    for name in kind.followed:
        if model["final"][name] is None:
            if name not in _EXACT:
                yield f"final.{name} is not defined"
        elif model["final"][name]["seeds"] != [of_seed[-1] for of_seed in model["history"][name]]:
            yield f"final.{name} is not the last of its history"
    exact, course = model["final"].get("kl_exact"), model["history"].get("kl_exact")
    # By enumeration of the bins, on the way as at the end.
    if config["num_bins"] and exact and course and exact["seeds"] != [of_seed[-1] for of_seed in course]:
        yield "final.kl_exact is not the last of its history"
    for seed, at in enumerate(model["diverged_at_step"]):
        if at is not None and any(s and s["seeds"][seed] is not None for s in model["final"].values()):
            yield f"seed {seed} has diverged and has scores"


def _steps_of(config: Mapping[str, Any]) -> list[int]:
    """The steps that a run of such a configuration is scored at."""
    times = ("n_steps", "n_evaluations", "evaluation_spacing", "snapshot_percent")
    return [0, *moments.scored_steps(*(config[name] for name in times))]


def _of_keys(report: Mapping[str, Any], finals: Mapping[str, Any]) -> Iterator[str]:
    """A metric has a floor where it is defined, and only there."""

    def defined(final):
        return {name for name, summary in final.items() if summary is not None}

    # What is followed has a floor whether an entry has it or not.
    may_have = _EXACT & set(_kind_of(report).followed)
    exact = {"kl_exact"} if any(final.get("kl_exact") is not None for final in finals.values()) else set()
    if (set(report["floor"]) & {"kl_exact"}) - may_have != exact - may_have:
        yield "floor.kl_exact goes with the metric"
    for name in report["models"]:
        if defined(finals[name]) - _EXACT != set(report["floor"]) - _EXACT:
            yield f"models.{name}: metrics are not those that have a floor"
    for name, entry in report["external"].items():
        # Against a table's held-out rows nothing is exact: there exact probabilities have no floor.
        is_empirical = report["target"]["split"] is not None and report["config"]["n_samples_train"] == 0
        bare = entry["n_samples"] is None and is_empirical
        unscored = may_have if entry["n_samples"] is not None else set()
        if set(entry["floor"]) - unscored != (set() if bare else defined(finals[name]) - unscored):
            yield f"external.{name}: metrics are not those that have a floor"
        if any(len(summary["seeds"]) != 1 for summary in finals[name].values() if summary is not None):
            yield f"external.{name}: an entry has one seed"


def made_report(
    config: Any, *, files: Sequence[str] = (results.METRICS_FILE,), klds: Sequence[float] | None = None
) -> dict[str, Any]:
    """A sound report of a run that never was, for what reads one.

    Args:
      config: the run's.
      files: that it lists.
      klds: the last of every seed, NaN for one that diverged; None: those of a small made-up sample.
    """
    steps = [0, *config.scored_steps]
    n_seeds, n_scores = config.num_seeds, len(steps)
    klds = np.linspace(0.01, 0.03, n_seeds) if klds is None else np.asarray(klds)
    series = np.tile(klds[:, None], (1, n_scores))
    scores = {name: metrics.summarise(klds) if name in ("kld", "wasserstein") else None for name in metrics.METRICS}
    model = {
        "n_params": 59,
        "width": 6,
        "operations_per_step": 1e3,
        "rows_per_step": config.batch_size,
        "memory_bytes": 2**20,
        "train_seconds": 1.5,
        "compile_seconds": 1.0,
        "samples_per_second": 1e3,
        "seed_steps_per_second": 1e3,
        "history": {"step": steps, "kld": series, "wasserstein": series, "loss": np.full_like(series, 0.5)},
        "final": scores,
        "log_prob_kind": None,
        "log_likelihood": [None] * n_seeds,
        "memorisation": [],
        "diverged_at_step": [4 if np.isnan(kld) else None for kld in klds],
    }
    floor = Floor(0.01, 0.005, 0.015, 0.01, tuple(np.linspace(0.005, 0.015, N_FLOOR_QUANTILES)))
    versions = dict.fromkeys(
        ("python", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "scikit-learn", "matplotlib"), "1.0"
    )
    report = {
        "schema": results.SCHEMA,
        "partial": None,
        "files": sorted(files),
        "config": dataclasses.asdict(config),
        "provenance": {
            "command": "python3 generative_models_GAN_VAE_RBM_benchmarks.py",
            "git": "0" * 40,
            "dirty": False,
            "versions": versions,
            "device": "2 × cpu (a processor, 2 cores)",
            "environment": {
                "n_devices": 2,
                "system": "Linux x86_64 glibc 2.36",
                "instructions": "avx2 fma",
                "blas": "openblas 0.3 Haswell, 2 threads",
                "flags": dict.fromkeys(
                    ("default_matmul_precision", "default_prng_impl", "disable_jit", "disable_most_optimizations",
                     "enable_x64", "random_seed_offset", "threefry_partitionable", "use_high_dynamic_range_gumbel")
                ),
                "variables": {},
            },
            "inputs": {},
            "started": "2026-01-01T00:00:00+00:00",
            "seconds": 2.0,
            "peak_memory_bytes": 2**30,
            "run": "a1b2",
            "resumed": [],
            "checkpoints": {"written": 0, "seconds": 0.0},
        },
        "target": {
            "name": config.target_type,
            "dim": 1,
            "entropy": 1.0,
            "log_prob_kind": "exact",
            "box": [[-3.0, 3.0]],
            "discretisation_error": 0.1 if config.num_bins else None,
            "split": None,
        },
        "floor": dict.fromkeys(("kld", "wasserstein"), dataclasses.asdict(floor)),
        "metric_seconds": {"mmd2": 0.5},
        "models": dict.fromkeys(config.models, model),
        "external": {},
    }  # fmt: skip
    return results.plain(report)

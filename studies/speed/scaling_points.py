"""What is measured about growth: the points, and what their results say."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import generative_models_GAN_VAE_RBM_benchmarks as script
from studies.speed.knees import knee

FAMILIES = ("GAN", "VAE", "RBM")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
LARGEST = 10**7
BINS_BUDGET = 10_000  # 1 600 parameters would leave no hidden layer beside 500 bins


class Axis(NamedTuple):
    """What is varied, over which values, with which constants besides."""

    constant: str  # the script's; K is the RBM's CD steps
    label: str
    values: tuple[int, ...]
    quick: tuple[int, ...]
    families: tuple[str, ...] = FAMILIES
    fixed: Mapping[str, int] = {}


AXES = {
    "budget": Axis(
        "PARAMETER_BUDGET",
        "parameters",
        (100, 310, 1000, 1600, 3100, 10**4, 31_000, 10**5, 310_000, 10**6, 3_100_000, LARGEST),
        (100, 1000, 1600, 10**4, 10**5),
    ),
    "batch": Axis("BATCH_SIZE", "batch size", (16, 32, 64, 128, 256, 512, 1024, 4096, 16384), (16, 128, 1024)),
    "seeds": Axis("NUM_SEEDS", "seeds", (1, 2, 4, 8, 16, 32, 64), (1, 2, 8)),
    "bins": Axis(
        "NUM_BINS",
        "bins (none: continuous)",
        (0, 5, 10, 20, 50, 100, 200, 500),
        (0, 5, 20, 100),
        fixed={"PARAMETER_BUDGET": BINS_BUDGET},
    ),
    "k": Axis("K", "CD steps k", (1, 2, 5, 10, 20, 50), (1, 5, 20), ("RBM",)),
}
N_STEPS, N_STEPS_QUICK, N_EVALUATIONS = (1_000, 10_000, 100_000), (1_000, 10_000), 10
# Whole runs of the script at the largest budget, scores and pictures included: families, seeds.
RUNS = ((("GAN",), 1), (("VAE",), 1), (("RBM",), 1), (FAMILIES, script.NUM_SEEDS))
RUN_STEPS = 20
QUANTITIES = {"median_seconds": "time", "device_bytes": "training on one device", "process_bytes": "process"}


class Point(NamedTuple):
    """One measurement."""

    kind: str  # "step", "train" or "run"
    families: tuple[str, ...]
    constants: tuple[tuple[str, int], ...]

    @property
    def key(self) -> str:
        """Its name in the results."""
        return " ".join([self.kind, *self.families, *(f"{name}={value}" for name, value in self.constants)])


def step_point(family: str, **constants: int) -> Point:
    """A timing of the default configuration with some constants exchanged; the same work always has the same name."""
    default = {"PARAMETER_BUDGET": script.PARAMETER_BUDGET, "BATCH_SIZE": script.BATCH_SIZE, "NUM_SEEDS": CORES}
    default |= {"NUM_BINS": script.NUM_BINS} | ({"K": script.RBM["k"] or 1} if family == "RBM" else {})
    return Point("step", (family,), tuple((default | constants).items()))


def axis_points(name: str, family: str, quick: bool = False) -> list[Point]:
    """The points of one curve."""
    axis = AXES[name]
    values = axis.quick if quick else axis.values
    return [step_point(family, **{**axis.fixed, axis.constant: value}) for value in values]


def train_points(quick: bool = False) -> list[Point]:
    """Whole trainings of growing length with the same number of scores."""
    values = N_STEPS_QUICK if quick else N_STEPS
    return [
        Point("train", (family,), (("N_STEPS", n), ("N_EVALUATIONS", N_EVALUATIONS), ("SNAPSHOT_PERCENT", 10)))
        for family in FAMILIES
        for n in values
    ]


def run_points() -> list[Point]:
    """Whole runs of the script at the largest budget."""
    shared = (("PARAMETER_BUDGET", LARGEST), ("N_STEPS", RUN_STEPS), ("N_EVALUATIONS", 4), ("SNAPSHOT_PERCENT", 25))
    return [Point("run", families, (*shared, ("NUM_SEEDS", n_seeds))) for families, n_seeds in RUNS]


def points(quick: bool = False) -> list[Point]:
    """Everything to measure, each once; whole runs are not part of a quick look."""
    steps = [
        point for name, axis in AXES.items() for family in axis.families for point in axis_points(name, family, quick)
    ]
    return list(dict.fromkeys([*steps, *train_points(quick), *([] if quick else run_points())]))


def curve(results: Mapping[str, Any], name: str, family: str, quantity: str) -> tuple[list[int], list[float]]:
    """What has been measured of one curve: x and one of QUANTITIES; of the process what exceeds the baseline."""
    x, y = [], []
    for point in axis_points(name, family):
        found = results["points"].get(point.key, {})
        if quantity in found:
            x.append(dict(point.constants)[AXES[name].constant])
            y.append(found[quantity] - (results["baseline_bytes"] if quantity == "process_bytes" else 0))
    return x, y


def knees(results: Mapping[str, Any]) -> dict[str, Any]:
    """The knee of every curve of three points or more: axis -> quantity -> family -> flat, x, exponent."""
    found = {}
    for name, axis in AXES.items():
        for quantity in QUANTITIES:
            for family in axis.families:
                # Continuous events have no place on a logarithmic axis of bins.
                pairs = [
                    (x, y) for x, y in zip(*curve(results, name, family, quantity), strict=True) if x > 0 and y > 0
                ]
                if len(pairs) >= 3:
                    entry = knee(*zip(*pairs, strict=True))._asdict()
                    found.setdefault(name, {}).setdefault(quantity, {})[family] = entry
    return found


def seed_rates(results: Mapping[str, Any], family: str) -> dict[int, float]:
    """Seed-steps a second over all devices, per number of seeds."""
    return {n: n / seconds for n, seconds in zip(*curve(results, "seeds", family, "median_seconds"), strict=True)}

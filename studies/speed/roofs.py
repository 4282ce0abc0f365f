"""What bounds a step, and which share of it a step attains."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

FAMILIES = ("GAN", "VAE", "RBM")
# Roof -> which of `roofline_worker.Counts` it bounds.
ROOFS = {
    "product": "operations",
    "cache": "kernel_bytes",
    "memory": "memory_bytes",
    "random": "random_bits",
    "exponentials": "exponentials",
    "thin": "product_operations",
}
NAMES = {
    "product": "arithmetic",
    "cache": "cache",
    "memory": "memory",
    "random": "random numbers",
    "exponentials": "exponentials",
    "thin": "its own products",
}
# What one core does one after the other: their times add up.
ADDED = ("thin", "random", "exponentials")


def shares(counts: Mapping[str, float | None], rate: float, roofs: Mapping[str, float]) -> dict[str, float]:
    """The share of every roof that a step attains: what it takes of a thing, times steps a second, over the roof.

    The `sum` adds those whose times add up: the share of the step's time that they explain, where all are known.

    Args:
      counts: what one update of one seed takes, `roofline_worker.Counts`.
      rate: seed-steps a second.
      roofs: what the machine does a second.
    """
    found = {
        roof: counts[name] * rate / roofs[roof]
        for roof, name in ROOFS.items()
        if roof in roofs and counts[name] is not None
    }
    if set(ADDED) <= set(found):
        found["sum"] = sum(found[roof] for roof in ADDED)
    return found


def median(rows: Sequence[Mapping[str, float]], key: str) -> float | None:
    """Over the rounds; None where it was not measured."""
    return statistics.median(row[key] for row in rows) if all(key in row for row in rows) else None


def roofs_of(results: Mapping[str, Any]) -> dict[str, float]:
    """The machine's roofs: medians over all rounds."""
    found = [point for of_work in results["points"].values() for point in of_work.values()]
    rounds = [timed for point in found for timed in point["rounds"]]
    return {roof: statistics.median(timed[roof] for timed in rounds) for roof in ROOFS if roof != "thin"}

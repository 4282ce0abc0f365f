"""Which bound a training step meets: arithmetic, memory, random numbers or exponentials.

    python3 -m performance.roofline [--repeats 5] [--families GAN VAE RBM] [--draw]

Every roof and every step runs in a process of its own (`roofline_worker`). In every round a step and all roofs are
timed for about a second each, in turn; a share is taken within a round. Writes `performance/roofline.json` and
`roofline.png`, and prints a table as Markdown.
"""

import argparse
import datetime
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from performance.work import WORKS

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "roofline.json"
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


def measure(family: str, name: str, machine: Mapping[str, Any], repeats: int) -> dict[str, Any]:
    """Counts, rates and shares of one step, and the machine's roofs in the same rounds."""
    worker = [sys.executable, "-m", "performance.roofline_worker"]
    from performance.compare import Worker

    own = {"step": Worker([*worker, "step", family, name])}
    if family == "RBM":
        own["thin"] = Worker([*worker, "thin", family, name])
    counts = own["step"].facts
    rounds = []
    for _ in range(repeats):
        rounds.append({way: process.rate() for way, process in {**machine, **own}.items()})
    for process in own.values():
        process.close()
    return {
        "counts": {key: value for key, value in counts.items() if key != "per_update"},
        "rounds": rounds,
        "shares": [shares(counts, timed["step"], timed) for timed in rounds],
    }


def median(rows: Sequence[Mapping[str, float]], key: str) -> float | None:
    """Over the rounds; None where it was not measured."""
    return statistics.median(row[key] for row in rows) if all(key in row for row in rows) else None


def roofs_of(results: Mapping[str, Any]) -> dict[str, float]:
    """The machine's roofs: medians over all rounds."""
    found = [point for of_work in results["points"].values() for point in of_work.values()]
    rounds = [timed for point in found for timed in point["rounds"]]
    return {roof: statistics.median(timed[roof] for timed in rounds) for roof in ROOFS if roof != "thin"}


def markdown(results: Mapping[str, Any]) -> str:
    """The table of all steps, and the roofs in words."""
    from performance.scaling import seconds_text, table

    rows = [
        ["work", "family", "a seed-step", "Gflop/s", "flop a byte", *(f"% of {name}" for name in NAMES.values()), "sum"]
    ]
    for name, of_work in results["points"].items():
        for family, point in of_work.items():
            counts, rate = point["counts"], median(point["rounds"], "step")
            cells = [median(point["shares"], key) for key in (*NAMES, "sum")]
            rows.append(
                [
                    WORKS[name].title.replace(" · ", ", "),
                    family,
                    seconds_text(1 / rate),
                    f"{counts['operations'] * rate / 1e9:.3g}",
                    f"{counts['operations'] / counts['kernel_bytes']:.2g}",
                    *("–" if cell is None else f"{100 * cell:.0f}" for cell in cells),
                ]
            )
    roofs = roofs_of(results)
    words = (
        f"Roofs, all cores, medians over the rounds: products of 2 048 × 2 048 matrices, one a core, "
        f"{roofs['product'] / 1e9:.0f} Gflop/s, a triad {roofs['memory'] / 1e9:.0f} GB/s in memory and "
        f"{roofs['cache'] / 1e9:.0f} in the second-level cache, {roofs['random'] / 1e9:.0f} Gbit/s of random bits, "
        f"{roofs['exponentials'] / 1e9:.1f} thousand million exponentials a second. {results['machine']}."
    )
    return f"{table(rows)}\n\n{words}"


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--works", nargs="+", choices=list(WORKS), default=list(WORKS))
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--draw", action="store_true", help="measure nothing: table and picture of what is there")
    chosen = parser.parse_args()
    from performance import roofline_chart
    from performance.compare import Worker, machine
    from performance.scaling import write

    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"points": {}}
    if not chosen.draw:
        if results.get("machine", machine()) != machine():
            print(f"measured anew: so far on {results['machine']}, now on {machine()}", flush=True)
            results = {"points": {}}
        results["machine"] = machine()
        results["when"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        command = [sys.executable, "-m", "performance.roofline_worker"]
        processes = {roof: Worker([*command, roof]) for roof in ROOFS if roof != "thin"}
        for name in chosen.works:
            for family in chosen.families:
                found = measure(family, name, processes, chosen.repeats)
                results["points"].setdefault(name, {})[family] = found
                print(f"{name} {family}: {median(found['rounds'], 'step'):,.1f} seed-steps/s", flush=True)
        for process in processes.values():
            process.close()
        write(RESULTS, results)
    print(f"\n{markdown(results)}")
    roofline_chart.draw(HERE / "roofline.png", results)


if __name__ == "__main__":
    main()

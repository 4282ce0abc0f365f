"""Which bound a training step meets: arithmetic, memory, random numbers or exponentials.

    python3 -m studies.speed.roofline [--repeats 5] [--families GAN VAE RBM] [--draw]

Every roof and every step runs in a process of its own (`roofline_worker`). In every round a step and all roofs are
timed for about a second each, in turn; a share is taken within a round. Writes `studies/speed/roofline.json` and
`roofline.png`, and prints a table as Markdown.
"""

import argparse
import datetime
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studies.speed.roofs import FAMILIES, NAMES, ROOFS, median, roofs_of, shares
from studies.speed.work import WORKS

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "roofline.json"


def measure(family: str, name: str, machine: Mapping[str, Any], repeats: int) -> dict[str, Any]:
    """Counts, rates and shares of one step, and the machine's roofs in the same rounds."""
    worker = [sys.executable, "-m", "studies.speed.roofline_worker"]
    from studies.speed.compare import Worker

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


def markdown(results: Mapping[str, Any]) -> str:
    """The table of all steps, and the roofs in words."""
    from studies.speed.scaling import seconds_text, table

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
    from studies.speed import roofline_chart
    from studies.speed.compare import Worker, machine
    from studies.speed.scaling import write

    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"points": {}}
    if not chosen.draw:
        if results.get("machine", machine()) != machine():
            print(f"measured anew: so far on {results['machine']}, now on {machine()}", flush=True)
            results = {"points": {}}
        results["machine"] = machine()
        results["when"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        command = [sys.executable, "-m", "studies.speed.roofline_worker"]
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

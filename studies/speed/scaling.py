"""How time and memory grow with budget, batch, seeds, bins and CD steps, and where each leaves the flat part.

    python3 -m studies.speed.scaling [--quick] [--fresh] [--only step train run] [--out FOLDER]

Every point is measured in a process of its own: a step as the suite runs it (`preparation.prepare` and its `advance`, a
seed on every core), several timings of at least 0.3 s each; the memory that the compiler gives the training on one
device (arguments, results, temporaries: exact), and the largest resident size of the whole process less that of one
which only imports everything and compiles something trivial. A knee is the smallest x from which on a cost stays at or
above twice its flat level, the lowest value of the curve, with straight lines between points of the log-log plot.

Results are written after every point and taken up again by the next run: `scaling.json`, `scaling.png` and
`scaling_memory.png` here, of a quick look in `studies/speed/quick/`. What another machine has measured is
neither mixed with nor replaced. The parent imports neither JAX nor Matplotlib before it draws, so that children start
small.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.speed.scaling_points import (
    AXES,
    CORES,
    FAMILIES,
    N_STEPS,
    QUANTITIES,
    Point,
    knees,
    points,
    run_points,
    seed_rates,
    train_points,
)

HERE = Path(__file__).resolve().parent
QUICK = HERE / "quick"
POINT_LIMIT, RUN_LIMIT = 150, 600  # seconds that one point, one whole run may take


def missing(wanted: Iterable[Point], results: Mapping[str, Any], quick: bool) -> list[Point]:
    """What is still to be measured: not there, failed, or so far only had a quick look."""

    def is_there(point):
        found = results.get("points", {}).get(point.key)
        return found is not None and "failed" not in found and (quick or not found["quick"])

    return [point for point in wanted if not is_there(point)]


def merged(results: Mapping[str, Any], point: Point, found: Mapping[str, Any], quick: bool) -> dict[str, Any]:
    """The results with one more point, in place of what it had before."""
    entry = {"kind": point.kind, "families": list(point.families), "constants": dict(point.constants), "quick": quick}
    return {**results, "points": {**results.get("points", {}), point.key: {**entry, **found}}}


def measure(point: Point, quick: bool) -> dict[str, Any]:
    """Runs one point in a process of its own; what went wrong is an entry of its own."""
    try:
        if point.kind == "run":
            return whole_run(point)
        order = {"kind": point.kind, "family": point.families[0], "constants": dict(point.constants)}
        order |= {"seconds": 0.1, "repeats": 3} if quick else {"seconds": 0.3, "repeats": 5}
        return ask(order)
    except subprocess.TimeoutExpired as error:
        return {"failed": f"took more than {error.timeout:.0f} s"}
    except subprocess.CalledProcessError as error:
        return {"failed": (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1][:300]}


def ask(order: Mapping[str, Any]) -> dict[str, Any]:
    """A worker's answer."""
    command = [sys.executable, "-m", "studies.speed.scaling_worker", json.dumps(order)]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, timeout=POINT_LIMIT, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def whole_run(point: Point) -> dict[str, Any]:
    """The script's own account of one run, pictures and all, without programs kept from before."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "generative_models_GAN_VAE_RBM_benchmarks.py", "--models", *point.families]
        for name, value in point.constants:
            command += [f"--{name.lower().replace('_', '-')}", str(value)]
        command += ["--compilation-cache", "off", "--out-dir", folder]
        subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, timeout=RUN_LIMIT, check=True)
        report = json.loads((Path(folder) / "metrics.json").read_text())
    return {name: report["provenance"][name] for name in ("peak_memory_bytes", "seconds")}


def words(point: Point, found: Mapping[str, Any]) -> str:
    """One line of progress."""
    if "failed" in found:
        return f"{point.key}: failed: {found['failed']}"
    if point.kind == "step":
        low, high = min(found["seconds"]), max(found["seconds"])
        return (
            f"{point.key}: {seconds_text(found['median_seconds'])} ({seconds_text(low)} – {seconds_text(high)}), "
            f"{bytes_text(found['device_bytes'])} a device, process {bytes_text(found['process_bytes'])}"
        )
    return f"{point.key}: {bytes_text(found.get('process_bytes') or found['peak_memory_bytes'])}"


def seconds_text(value: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-6:.3g} µs"


def bytes_text(value: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 2**10:.3g} KiB"


def number_text(value: float) -> str:
    """A whole number of at most two digits that count, thousands apart."""
    digits = len(str(round(value))) - 2
    return f"{round(value, -max(0, digits)):,.0f}".replace(",", " ")


def markdown(results: Mapping[str, Any]) -> str:
    """The tables of the knees, the seeds, the lengths and the whole runs."""
    found = knees(results)
    rows = [["axis", "family", *(f"{words}: flat, knee, power beyond" for words in QUANTITIES.values())]]
    for name, axis in AXES.items():
        for family in axis.families:
            entries = [found.get(name, {}).get(quantity, {}).get(family) for quantity in QUANTITIES]
            if any(entries):
                texts = (seconds_text, bytes_text, bytes_text)
                cells = [knee_text(entry, text) for entry, text in zip(entries, texts, strict=True)]
                rows.append([axis.label, family, *cells])
    parts = [table(rows)]
    rows = [["seed-steps a second", *(str(n) for n in AXES["seeds"].values)]]
    for family in FAMILIES:
        rates = seed_rates(results, family)
        rows.append([family, *(number_text(rates[n]) if n in rates else "–" for n in AXES["seeds"].values)])
    parts.append(table(rows))
    rows = [["peak of a whole training", *(f"{n:,} steps".replace(",", " ") for n in N_STEPS)]]
    for family in FAMILIES:
        entries = {
            dict(point.constants)["N_STEPS"]: results["points"].get(point.key, {})
            for point in train_points()
            if point.families == (family,)
        }
        sizes = [entries[n].get("process_bytes") for n in N_STEPS]
        rows.append([family, *("–" if size is None else bytes_text(size) for size in sizes)])
    parts.append(table(rows))
    rows = [["a whole run at 10⁷ parameters", "seeds", "peak", "time"]]
    for point in run_points():
        entry = results["points"].get(point.key, {})
        cells = ["–", "–"]
        if "peak_memory_bytes" in entry:
            cells = [bytes_text(entry["peak_memory_bytes"]), f"{entry['seconds']:.0f} s"]
        elif "failed" in entry:
            cells = [entry["failed"], "–"]
        rows.append([", ".join(point.families), str(dict(point.constants)["NUM_SEEDS"]), *cells])
    return "\n\n".join([*parts, table(rows)])


def knee_text(entry: Mapping[str, Any] | None, text: Any) -> str:
    """Flat level, knee and power of one curve."""
    if entry is None:
        return "–"
    at = "none" if entry["x"] is None else number_text(entry["x"])
    power = "" if entry["exponent"] is None else f", {entry['exponent']:.2f}"
    return f"{text(entry['flat'])}, {at}{power}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first one the head, as Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def spread(results: Mapping[str, Any]) -> float | None:
    """The median over all points of (slowest − fastest)/median of their timings; None without timings."""
    timed = [entry for entry in results["points"].values() if "median_seconds" in entry]
    widths = [(max(entry["seconds"]) - min(entry["seconds"])) / entry["median_seconds"] for entry in timed]
    return statistics.median(widths) if widths else None


def refusal(path: Path, results: Mapping[str, Any], machine: str) -> str:
    """Why nothing can be added to what a file holds; empty if it can."""
    before = (results.get("machine", machine), results.get("cores", CORES))
    if before == (machine, CORES):
        return ""
    return (
        f"{path} was measured on {before[0]} ({before[1]} used), and this is {machine} ({CORES} used): "
        "--out FOLDER measures into a folder of its own, --fresh gives up what is there"
    )


def main(args: Sequence[str] | None = None) -> int:
    """Measures what is missing, prints, writes.

    Returns:
      The exit code: 2 if what is there is another machine's, 130 after Ctrl-C, which keeps what has been measured.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few points, short timings, no whole runs")
    parser.add_argument("--fresh", action="store_true", help="measure again what is there, of --only these kinds")
    parser.add_argument("--only", nargs="+", choices=("step", "train", "run"), default=("step", "train", "run"))
    parser.add_argument("--draw", action="store_true", help="measure nothing: tables and pictures of what is there")
    parser.add_argument(
        "--out", type=Path, help=f"folder of scaling.json and the pictures; {HERE.name}, with --quick {HERE.name}/quick"
    )
    chosen = parser.parse_args(args)
    folder = chosen.out or (QUICK if chosen.quick else HERE)
    path = folder / "scaling.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    if not chosen.draw:
        folder.mkdir(parents=True, exist_ok=True)
        baseline = ask({"kind": "baseline"})
        if line := refusal(path, results, baseline["machine"]):
            if not chosen.fresh:
                print(line, file=sys.stderr)
                return 2
            results = {}
        results |= {"machine": baseline["machine"], "cores": CORES, "baseline_bytes": baseline["process_bytes"]}
        wanted = [point for point in points(chosen.quick) if point.kind in chosen.only]
        # What is measured again stays until it has been.
        todo = wanted if chosen.fresh else missing(wanted, results, chosen.quick)
        if not todo:
            print(f"all {len(wanted)} points are kept from an earlier run; --fresh measures again", flush=True)
        for i, point in enumerate(todo):
            try:
                found = measure(point, chosen.quick)
            except KeyboardInterrupt:
                n_kept = len(wanted) - len(todo) + i
                after = "the others are those of before" if chosen.fresh else "the same command goes on"
                what = "measured again" if chosen.fresh else "kept"
                print(f"\ninterrupted: {n_kept} of {len(wanted)} points are {what} in {path}; {after}", flush=True)
                return 130
            results = merged(results, point, found, chosen.quick)
            results["when"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            results["knees"] = knees(results)
            write(path, results)
            print(f"[{i + 1}/{len(todo)}] {words(point, found)}", flush=True)
    if not results.get("points"):
        print(f"nothing has been measured: there is no {path}", file=sys.stderr)
        return 2
    print(f"\n{markdown(results)}\n")
    if (share := spread(results)) is not None:
        print(
            f"The timings of a point differ by {100 * share:.1f} % of their median (slowest − fastest, median point)."
        )
    from studies.speed import scaling_chart

    scaling_chart.draw(folder / "scaling.png", folder / "scaling_memory.png", results)
    return 0


def write(path: Path, results: Mapping[str, Any]) -> None:
    """Exchanges the file as a whole: an interruption leaves the one before."""
    temporary = path.with_suffix(".json.tmp")
    temporary.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    os.replace(temporary, path)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        # Before the first point, or while the pictures are drawn: there is nothing to lose.
        print("\ninterrupted", flush=True)
        sys.exit(130)

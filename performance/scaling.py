"""How time and memory grow with budget, batch, seeds, bins and CD steps, and where each leaves the flat part.

    python3 -m performance.scaling [--quick] [--fresh] [--only step train run] [--out FOLDER]

Every point is measured in a process of its own: a step as the suite runs it (`training.prepare` and its `advance`, a
seed on every core), several timings of at least 0.3 s each; the memory that the compiler gives the training on one
device (arguments, results, temporaries: exact), and the largest resident size of the whole process less that of one
which only imports everything and compiles something trivial. A knee is the smallest x from which on a cost stays at or
above twice its flat level, the lowest value of the curve, with straight lines between points of the log-log plot.

Results are written after every point and taken up again by the next run: `scaling.json`, `scaling.png` and
`scaling_memory.png` in `performance/`, of a quick look in `performance/quick/`. What another machine has measured is
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
from typing import Any, NamedTuple

import generative_models_GAN_VAE_RBM_benchmarks as script
from performance.knees import knee

HERE = Path(__file__).resolve().parent
QUICK = HERE / "quick"
FAMILIES = ("GAN", "VAE", "RBM")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
POINT_LIMIT, RUN_LIMIT = 150, 600  # seconds that one point, one whole run may take
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
    default |= {"NUM_BINS": script.NUM_BINS} | ({"K": script.RBM["k"]} if family == "RBM" else {})
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
    command = [sys.executable, "-m", "performance.scaling_worker", json.dumps(order)]
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


def seed_rates(results: Mapping[str, Any], family: str) -> dict[int, float]:
    """Seed-steps a second over all devices, per number of seeds."""
    return {n: n / seconds for n, seconds in zip(*curve(results, "seeds", family, "median_seconds"), strict=True)}


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
    from performance import scaling_chart

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

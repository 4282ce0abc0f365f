"""Two versions of Python and JAX beside each other: training, compilation, the default run; timed in turn.

    python3 -m studies.speed.versions --other ../other/.venv/bin/python [--repeats 5] [--runs 3] [--show]

The interpreter that runs this is the first of the two, `--other` the second. In every round each way of each version
is timed once, one after the other; a ratio is taken within a round. The ways are the suite as it ships and the suite
without one of its fast paths: random numbers from JAX's own keys in place of the unrolled hash, and XLA's default
options in place of the suite's. A path that is slower than the plain way on one version has no place there. Figures go
to `studies/speed/versions.json`.
"""

import argparse
import datetime
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from studies.speed.compare import Worker, machine, spread
from studies.speed.work import ROOT

RESULTS = Path(__file__).resolve().parent / "versions.json"
SCRIPT = ROOT / "generative_models_GAN_VAE_RBM_benchmarks.py"
WORKS, FAMILIES = ("small", "binned"), ("GAN", "VAE", "RBM")
WAYS = {
    "suite": "as it ships",
    "suite jax-keys": "JAX's own keys",
    "suite default-options": "XLA's default options",
}
STARTS = ("cold", "warm")


def version_of(python: str) -> str:
    """The versions of an interpreter and its JAX, in words."""
    code = "import platform, jax; print('Python', platform.python_version() + ', JAX', jax.__version__)"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def training(pythons: Mapping[str, str], repeats: int) -> dict[str, dict[str, list[float]]]:
    """Work and family -> version and way -> seed-steps a second [repeats]."""
    rates = {}
    for work in WORKS:
        for family in FAMILIES:
            workers = {
                f"{version} · {way}": Worker([python, "-m", "studies.speed.worker", way, family, work])
                for version, python in pythons.items()
                for way in WAYS
            }
            found: dict[str, list[float]] = {name: [] for name in workers}
            for _ in range(repeats):
                for name, worker in workers.items():
                    found[name].append(worker.rate())
            for worker in workers.values():
                worker.close()
            rates[f"{work}, {family}"] = found
            print(f"{work}, {family}: { {name: round(statistics.median(each)) for name, each in found.items()} }")
    return rates


def default_run(python: str, cache: str, out: str) -> dict[str, float]:
    """Seconds of the default run as a whole process, and of its compilation."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION_CACHE")}
    environment["XDG_CACHE_HOME"] = cache
    began = time.perf_counter()
    done = subprocess.run(
        [python, str(SCRIPT), "--out-dir", out], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
    )
    seconds = time.perf_counter() - began
    minutes, rest = re.search(r"compiling [\w, ]+ … (\d+):(\d+)", done.stdout).groups()
    return {"run": seconds, "compiling": 60.0 * int(minutes) + int(rest)}


def default_runs(pythons: Mapping[str, str], n: int) -> dict[str, dict[str, list[float]]]:
    """Version and start -> seconds [n] of the run and of its compilation, in turn."""
    found = {f"{version} · {start}": {"run": [], "compiling": []} for version in pythons for start in STARTS}
    for _ in range(n):
        for version, python in pythons.items():
            with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as out:
                for start in STARTS:
                    for name, seconds in default_run(python, cache, f"{out}/{start}").items():
                        found[f"{version} · {start}"][name].append(seconds)
                        print(f"{version} · {start}, {name}: {seconds:.1f} s", flush=True)
    return found


def markdown(results: Mapping[str, Any]) -> str:
    """Both tables: medians over rounds, ratios with their range."""
    first, second = results["versions"]
    rows = []
    for work, rates in results["training"].items():
        mine, other = rates[f"{first} · suite"], rates[f"{second} · suite"]
        row = [work, f"{statistics.median(mine):.0f}", f"{statistics.median(other):.0f}", _ratio(other, mine)]
        for version in (first, second):
            shipped = rates[f"{version} · suite"]
            row += [_ratio(shipped, rates[f"{version} · {way}"]) for way in WAYS if way != "suite"]
        rows.append(row)
    plain = [f"{version}: × {words}" for version in (first, second) for way, words in WAYS.items() if way != "suite"]
    head = ["work", f"{first}: seed-steps/s", f"{second}: seed-steps/s", "second × first", *plain]
    tables = [tabulate(rows, head, tablefmt="github", disable_numparse=True)]
    rows = [
        [
            name,
            *(
                f"{statistics.median(seconds):.1f} ({min(seconds):.1f} – {max(seconds):.1f})"
                for seconds in (found["run"], found["compiling"])
            ),
        ]
        for name, found in results["default_run"].items()
    ]
    tables.append(tabulate(rows, ["default run", "s", "of these compiling"], tablefmt="github", disable_numparse=True))
    return "\n\n".join(tables)


def _ratio(ours: Sequence[float], others: Sequence[float]) -> str:
    return spread([mine / other for mine, other in zip(ours, others, strict=True)])


def main(args: Sequence[str] | None = None) -> int:
    """Times, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", help="the second interpreter, with what requirements.txt names")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of training")
    parser.add_argument("--runs", type=int, default=3, help="rounds of the default run")
    parser.add_argument("--show", action="store_true", help="print the last figures alone")
    options = parser.parse_args(args)
    if not options.show:
        if options.other is None:
            parser.error("--other: which interpreter?")
        pythons = {version_of(python): python for python in (sys.executable, options.other)}
        if len(pythons) < 2:
            parser.error(f"both interpreters are {next(iter(pythons))}")
        found = {
            "machine": machine(),
            "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": list(pythons),
            "training": training(pythons, options.repeats),
            "default_run": default_runs(pythons, options.runs),
        }
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(markdown(json.loads(RESULTS.read_text())))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Fresh processes of the benchmark, one after the other, and how many of them never come to an end.

    python3 -m studies.starts                       # 264 processes, two at a time
    python3 -m studies.starts --each 3 --jobs 1     # every case three times
    python3 -m studies.starts --each 3 --new        # the cases that have not been counted with these versions
    python3 -m studies.starts --show                # the table of docs/reproducibility.md

Each process compiles everything anew: it has neither the kept programs of earlier runs nor those of its neighbours. A
quarter of them are the default families on the default target; the others take every family alone, on every kind of
target that it knows: a line, bins, a plane, a user's table, bits, a lattice, images. All are short runs. A process is
late when it takes more than three times the median of its case, and stands when it has not ended after `LIMIT` seconds;
then it is stopped. Figures go to `studies/starts.json`, by version of Python and JAX.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tabulate import tabulate

from core import places, storage
from models import drawing

ROOT = places.ROOT
SCRIPT = ROOT / "generative_models_GAN_VAE_RBM_benchmarks.py"
RESULTS = ROOT / "studies" / "starts.json"
LIMIT = 300.0  # seconds; the longest of 31 starts, BBVI with bins beside other work, took 163
LATE = 3  # times the median of a case
SHORT = (
    *("--n-steps", "40", "--n-evaluations", "1", "--snapshot-percent", "100", "--num-seeds", "1"),
    *("--n-eval-samples", "100", "--compilation-cache", "off"),
)
COUNTS = ("processes", "standing", "late", "failed")
DEFAULT = "default families"


class Events(NamedTuple):
    """One kind of target, and who draws its events."""

    words: tuple[str, ...]
    families: Sequence[str]


def _kinds() -> dict[str, Events]:
    numbers, bits = drawing("normal"), drawing("bits")
    ising = ("--target-type", "BITS_ISING")
    large = ("--bits.height", "6", "--bits.width", "6")  # whose states nobody can enumerate
    kinds = {
        "line": (("--target-type", "1D_TRIMODAL"), numbers),
        "bins": (("--target-type", "1D_TRIMODAL", "--num-bins", "20"), drawing("category")),
        "plane": (("--target-type", "2D_GMM"), numbers),
        "table": (("--target-type", "CUSTOM", "--custom-file", "table.npy"), numbers),
        "bits": (ising, bits),
        "lattice": ((*ising, *large), [name for name in drawing("bits", lattice=True) if name not in bits]),
        "images": (("--target-type", "IMAGE_DIGITS"), drawing("pixels")),
    }
    # A number that is given twice counts as it stands last.
    return {kind: Events(("--num-bins", "0", *words), families) for kind, (words, families) in kinds.items()}


KINDS: Mapping[str, Events] = _kinds()


class Start(NamedTuple):
    """One process."""

    case: str
    seconds: float
    exit_code: int | None  # None: it was stopped after LIMIT seconds


def cases() -> dict[str, tuple[str, ...]]:
    """Name -> arguments of the script."""
    families = {
        f"{family}, {kind}": ("--models", family, *events.words)
        for kind, events in KINDS.items()
        for family in events.families
    }
    return {DEFAULT: (), **families}


def order(n: int, only: Sequence[str] = ()) -> Iterator[str]:
    """The names of n processes: every fourth the default families, the others in turn; or those alone, in turn.

    The others come from one kind of target after the other, so that a few processes have seen all kinds.
    """
    if only:
        return itertools.islice(itertools.cycle(only), n)
    kinds = [[f"{family}, {kind}" for family in events.families] for kind, events in KINDS.items()]
    others = [name for names in itertools.zip_longest(*kinds) for name in names if name is not None]
    turn = itertools.cycle(others)
    return (DEFAULT if i % 4 == 0 else next(turn) for i in range(n))


def write_table(folder: Path) -> None:
    """Writes the table that one kind of target reads: of fewer rows some families would have more components."""
    np.save(folder / "table.npy", np.random.default_rng(0).normal(size=(2000, 2)))


def start(case: str, folder: Path, limit: float = LIMIT) -> Start:
    """Runs one case in a process of its own, in a folder that has `table.npy`."""
    out = tempfile.mkdtemp(dir=folder)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION_CACHE")}
    command = [sys.executable, str(SCRIPT), *cases()[case], *SHORT, "--out-dir", out]
    began = time.perf_counter()
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return Start(case, time.perf_counter() - began, None)
    if done.returncode:
        print(f"{case}: exit code {done.returncode}\n{done.stderr}", flush=True)
    return Start(case, time.perf_counter() - began, done.returncode)


def figures(starts: Sequence[Start]) -> dict[str, dict[str, Any]]:
    """Case -> what came of its processes, and their median and longest time."""
    by_case: dict[str, list[Start]] = {}
    for each in starts:
        by_case.setdefault(each.case, []).append(each)
    return {case: _figures(each) for case, each in sorted(by_case.items())}


def _figures(starts: Sequence[Start]) -> dict[str, Any]:
    seconds = [each.seconds for each in starts]
    median = statistics.median(seconds)
    return {
        "processes": len(starts),
        "standing": sum(each.exit_code is None for each in starts),
        "failed": sum(bool(each.exit_code) for each in starts),
        "late": sum(each > LATE * median for each in seconds),
        "median_seconds": round(median, 1),
        "longest_seconds": round(max(seconds), 1),
    }


def totals(by_case: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """What came of the processes of all cases."""
    return {count: sum(case[count] for case in by_case.values()) for count in COUNTS}


def markdown(results: Mapping[str, Any]) -> str:
    """The table of all versions that were counted."""
    rows = []
    for versions, found in sorted(results.items()):
        name, longest = max(found["cases"].items(), key=lambda case: case[1]["longest_seconds"])
        counts = totals(found["cases"]).values()
        median = found["cases"][DEFAULT]["median_seconds"]
        rows.append([versions, *counts, f"{median:.0f} s", f"{longest['longest_seconds']:.0f} s ({name})"])
    head = ["", *("stand" if count == "standing" else count for count in COUNTS)]
    head += ["default families, median", "longest of all"]
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)


def measure(n: int, jobs: int, only: Sequence[str] = ()) -> list[Start]:
    """Starts n processes, so many at a time, and says of each how long it took."""
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(jobs) as pool:
        folder = Path(temporary)
        write_table(folder)
        starts = []
        for each in pool.map(lambda case: start(case, folder), order(n, only)):
            starts.append(each)
            ended = "stands" if each.exit_code is None else f"exit code {each.exit_code}"
            print(f"{len(starts)}/{n} {each.case}: {each.seconds:.1f} s, {ended}", flush=True)
    return starts


def main(args: Sequence[str] | None = None) -> int:
    """Runs them and writes the figures; returns 1 where one stands, is late or has failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # Every case three times: the longer of two is never three times their median.
    parser.add_argument("--processes", type=int, default=4 * (len(cases()) - 1))
    parser.add_argument("--each", type=int, default=0, help="so many processes of every case, in place of --processes")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--only", nargs="+", default=(), choices=[*cases()], help="these cases; no figures are kept")
    parser.add_argument("--new", action="store_true", help="the cases without figures, which join those of the others")
    parser.add_argument("--show", action="store_true", help="print the last figures alone")
    options = parser.parse_args(args)
    if options.show:
        print(markdown(json.loads(RESULTS.read_text())))
        return 0
    versions = f"Python {sys.version.split()[0]}, JAX {jax.__version__}"
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    earlier = kept[versions]["cases"] if options.new and versions in kept else {}
    names = options.only or (tuple(name for name in cases() if name not in earlier) if options.each else ())
    processes = options.each * len(names) if options.each else options.processes
    found = figures(measure(processes, options.jobs, names))
    if not options.only:
        kept[versions] = {"cases": {**earlier, **found}, "jobs": options.jobs, "cores": os.cpu_count()}
        storage.write_whole(RESULTS, (json.dumps(kept, indent=1, sort_keys=True) + "\n").encode())
    counts = totals(found)
    print(json.dumps(found, indent=1) if options.only else counts)
    return int(bool(counts["standing"] or counts["failed"] or counts["late"]))


if __name__ == "__main__":
    raise SystemExit(main())

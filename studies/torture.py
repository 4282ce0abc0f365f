"""Runs that are killed and interrupted, input that nobody would think of, and what becomes of them.

`make torture` has processes of the benchmark end at random moments and start again until they are done, and compares
what they have written with a run that nobody disturbed; the figures go to results_torture/torture.json. Then the tests
on drawn configurations and files are run with 5 × 100 examples each.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmark.files import results
from core import places, storage

ROOT = places.ROOT
SCRIPT = "generative_models_GAN_VAE_RBM_benchmarks.py"
# Progress is kept after every interval, where else a run so short would keep none.
_CODE = (
    "import sys; from benchmark.files import checkpoint; checkpoint._SECONDS_APART = 0.0; checkpoint._TIMES_APART = 0; "
    "import generative_models_GAN_VAE_RBM_benchmarks as script; raise SystemExit(script.main())"
)
WORK = (
    *("--num-bins", "8", "--n-steps", "4000", "--n-evaluations", "40", "--snapshot-percent", "25", "--num-seeds", "3"),
    *("--n-eval-samples", "500", "--parameter-budget", "300", "--rbm.algorithm", "PCD"),
)
# Tests on drawn input.
DRAWN = ("tests/benchmark/test_any_configuration.py", "tests/kinds/test_tables.py")
ROUNDS = 5  # of them, with 100 examples each


class Trial(NamedTuple):
    """One run that was ended again and again, and then left alone."""

    ended_after: Sequence[float]  # seconds, of every process that was ended
    exit_codes: Sequence[int]  # of all, the last one included
    resumed: int  # how often what was kept was continued
    same: bool  # whether it came to what an undisturbed run came to


def start(folder: Path, words: Sequence[str] = (), work: Sequence[str] = WORK) -> subprocess.Popen:
    """Begins a run into a folder."""
    return subprocess.Popen(
        [sys.executable, "-c", _CODE, *work, "--out-dir", str(folder), *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    """Waits for a run, which must end well; returns what it has printed."""
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}:\n{said}")
    return said


def contents(folder: Path) -> tuple:
    """All that two runs must have in common, to the bit."""
    report = results.timeless(json.loads((folder / results.METRICS_FILE).read_text()))
    arrays = {}
    for name in (results.SAMPLES_FILE, results.PARAMETERS_FILE):
        with np.load(folder / name, allow_pickle=False) as file:
            arrays |= {f"{name}/{key}": (file[key].shape, file[key].tobytes()) for key in file}
    return report, arrays, (folder / results.CSV_FILE).read_bytes()


def trial(folder: Path, moments: Sequence[float], number: int, expected: tuple) -> Trial:
    """Ends a run after so many seconds each, with a signal, and then lets it come to its end.

    Args:
      folder: where; it need not exist.
      moments: seconds from a process's start; one that is done earlier was not ended.
      number: the signal.
      expected: what `contents` gives of a run that nobody has disturbed.
    """
    codes, ended = [], []
    for moment in moments:
        process = start(folder)
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            ended.append(moment)
        said, _ = process.communicate()
        codes.append(process.returncode)
        allowed = {0, -number} if number == signal.SIGKILL else {0, 128 + number, -number}
        if process.returncode not in allowed:
            raise RuntimeError(f"exit code {process.returncode} after {moment:.2f} s:\n{said}")
    finish(start(folder))
    codes.append(0)
    report = json.loads((folder / results.METRICS_FILE).read_text())
    left = {path.name for path in folder.iterdir()} - set(report["files"])
    same = contents(folder) == expected and not left
    return Trial(ended, codes, len(report["provenance"]["resumed"]), same)


def main(args: Sequence[str] | None = None) -> int:
    """Runs everything and writes the figures; returns 1 where anything was not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out-dir", default="results_torture")
    parser.add_argument("--kills", type=int, default=50, help="runs that are killed")
    parser.add_argument("--signals", type=int, default=20, help="runs that are sent SIGINT or SIGTERM")
    parser.add_argument("--seed", type=int, default=None, help="of the moments; None: another one every time")
    parser.add_argument("--drawn", action=argparse.BooleanOptionalAction, default=True, help="drawn input as well")
    options = parser.parse_args(args)
    # What a script puts into the background ignores Ctrl-C, and so would all that is started here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    seed = random.randrange(2**32) if options.seed is None else options.seed
    generator = random.Random(seed)
    out = Path(options.out_dir)
    out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    finish(start(out / "undisturbed"))
    lasted = time.perf_counter() - began
    # The first one compiled.
    began = time.perf_counter()
    finish(start(out / "undisturbed"))
    lasted = min(lasted, time.perf_counter() - began)
    expected = contents(out / "undisturbed")
    print(f"undisturbed: {lasted:.1f} s; moments drawn with --seed {seed}", flush=True)
    trials: dict[str, list[Trial]] = {"SIGKILL": [], "SIGINT or SIGTERM": []}
    for kind, n in (("SIGKILL", options.kills), ("SIGINT or SIGTERM", options.signals)):
        for i in range(n):
            number = signal.SIGKILL if kind == "SIGKILL" else generator.choice((signal.SIGINT, signal.SIGTERM))
            moments = [generator.uniform(0, 1.05 * lasted) for _ in range(generator.choice((1, 1, 2, 3)))]
            found = trial(out / f"trial-{kind.split()[0]}-{i}", moments, number, expected)
            trials[kind].append(found)
            when = ", ".join(f"{moment:.1f}" for moment in found.ended_after)
            verdict = "the same" if found.same else "NOT THE SAME"
            print(f"{kind} {i + 1}/{n}: after {when} s, continued {found.resumed} ×, {verdict}", flush=True)
    figures = {kind: _figures(found) for kind, found in trials.items()}
    figures |= {"seed": seed, "undisturbed_seconds": lasted, "cores": os.cpu_count()}
    storage.write_whole(out / "torture.json", results.json_bytes(figures))
    print(json.dumps(figures, indent=1), flush=True)
    failed = not all(each.same for found in trials.values() for each in found)
    if options.drawn:
        # One of them is slow for the quick tests.
        words = [sys.executable, "-m", "pytest", "-q", "-m", "slow or not slow", *DRAWN]
        environment = {**os.environ, "HYPOTHESIS_PROFILE": "torture"}
        for _ in range(ROUNDS):
            failed |= subprocess.run(words, cwd=ROOT, env=environment).returncode != 0
    return int(failed)


def _figures(found: Sequence[Trial]) -> dict[str, Any]:
    return {
        "runs": len(found),
        "processes ended": sum(len(each.ended_after) for each in found),
        "continued from what was kept": sum(each.resumed for each in found),
        "the same in the end": sum(each.same for each in found),
    }


if __name__ == "__main__":
    raise SystemExit(main())

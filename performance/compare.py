"""Times this suite beside other ways to do the same training, in turn within one run.

    python3 -m performance.compare [--works small binned large] [--repeats 7] [--torch-python …]

Every way runs in a process of its own that keeps what it compiled. In every round each way is timed once for about a
second, one after the other, so that what else the machine does hits all alike; a ratio is taken within a round, and
its median and range over the rounds are what is reported. Writes `performance/results.json` and `ratios.png`.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from performance import chart
from performance.work import ROOT, WORKS, config_of

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
SECONDS = 1.0  # of a timing
WAYS = {
    "suite": "this suite, all cores",
    "strong": "(b) one donated jitted call a step, one pinned core",
    "tutorial": "(b′) a jitted call for the data and each network, undonated, unpinned",
    "torch": "(c) PyTorch eager",
}


class Worker:
    """A process that times what it is told to."""

    def __init__(self, command: list[str]):
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        while line := self.process.stdout.readline():
            if line.startswith("ready "):
                self.facts = json.loads(line.removeprefix("ready "))
                break
        else:
            raise SystemExit(f"{' '.join(command[:5])} …: {self.process.stderr.read()[-2000:]}")
        self.n = 1
        while (seconds := self.time()) < SECONDS / 4:
            self.n = max(self.n + 1, int(self.n * min(20, SECONDS / 2 / seconds)))
        self.n = max(1, round(self.n * SECONDS / seconds))

    def time(self) -> float:
        """Seconds of n updates, or blocks of them."""
        self.process.stdin.write(f"{self.n}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def rate(self) -> float:
        """Seed-steps a second."""
        return self.n * self.facts["per_update"] / self.time()

    def close(self) -> None:
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            stream.close()


def torch_facts(family: str, name: str, width: int) -> str:
    """What a PyTorch process has to know, as JSON."""
    import dataclasses

    import numpy as np

    from targets import make_target

    work = WORKS[name]
    config = config_of(work, family)
    target = make_target(config)
    facts = {
        "settings": dataclasses.asdict(getattr(config, family.lower())),
        "width": width,
        "hidden_layers": work.hidden_layers,
        "batch_size": work.batch_size,
        "num_bins": work.num_bins,
        "event_dim": target.codec.event_shape[0],
        "weights": target.modes.weights.tolist(),
        "means": target.modes.means.tolist(),
        "factors": np.linalg.cholesky(target.modes.covariances).tolist(),
        "box": target.box.tolist(),
        # A second thread pays only where there is enough to do.
        "threads": os.cpu_count() if name == "large" else 1,
    }
    return json.dumps(facts)


def compare(family: str, name: str, repeats: int, torch_python: str | None) -> dict[str, Any]:
    """Rates of every way [repeats], in turn, and the ratios of the suite's to the others'."""

    def python(way):
        return Worker([sys.executable, "-m", "performance.worker", way, family, name])

    workers = {"suite": python("suite"), "strong": python("strong"), "tutorial": python("tutorial")}
    # Adam on one vector or on each array: whichever is faster in the way that it is meant for.
    flat = python("strong flat")
    plain = workers["strong"]
    if statistics.median(flat.rate() for _ in range(3)) > statistics.median(plain.rate() for _ in range(3)):
        workers["strong"], flat = flat, plain
    flat.close()
    width = workers["suite"].facts["width"]
    if torch_python:
        script = str(HERE / "torch_worker.py")
        workers["torch"] = Worker([torch_python, script, family, torch_facts(family, name, width)])
    rates = {way: [] for way in workers}
    for _ in range(repeats):
        for way, worker in workers.items():
            rates[way].append(worker.rate())
    for worker in workers.values():
        worker.close()
    ratios = {
        way: [mine / other for mine, other in zip(rates["suite"], rates[way], strict=True)]
        for way in rates
        if way != "suite"
    }
    return {
        "n_params": workers["suite"].facts["n_params"],
        "rates": rates,
        "ratios": ratios,
        "torch": workers["torch"].facts["version"] if torch_python else None,
    }


def cores(repeats: int) -> dict[str, list[float]]:
    """How much faster eight seeds train on all cores than the same pinned to one, per family, in every round."""
    gains = {}
    for family in WORKS["small"].families:
        commands = (
            [sys.executable, "-m", "performance.worker", way, family, "small"] for way in ("suite", "suite pinned")
        )
        everywhere, pinned = map(Worker, commands)
        gains[family] = [everywhere.rate() / pinned.rate() for _ in range(repeats)]
        everywhere.close()
        pinned.close()
    return gains


def arithmetic(repeats: int) -> dict[str, Any]:
    """The large work's share of the arithmetic rate of a large matrix product, per family, in every round."""
    product = Worker([sys.executable, "-m", "performance.worker", "product", "", ""])
    shares, rates = {}, []
    for family in WORKS["large"].families:
        suite = Worker([sys.executable, "-m", "performance.worker", "suite", family, "large"])
        shares[family] = []
        for _ in range(repeats):
            rates.append(product.rate())
            shares[family].append(suite.rate() * suite.facts["operations"] / rates[-1])
        suite.close()
    product.close()
    return {"shares": shares, "product": rates}


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.1f} ({min(values):.1f} – {max(values):.1f})"


def main() -> None:
    """Compares, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--works", nargs="+", choices=list(WORKS), default=list(WORKS))
    parser.add_argument("--families", nargs="+", default=["GAN", "VAE", "RBM"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--torch-python", default=None, help="a Python that has PyTorch; left out: no comparison with it"
    )
    parser.add_argument("--skip-checks", action="store_true", help="leave out the cores and the arithmetic rate")
    parser.add_argument("--no-save", action="store_true", help="print alone")
    chosen = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results |= {"machine": machine(), "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
    for name in chosen.works:
        for family in WORKS[name].families:
            if family not in chosen.families:
                continue
            found = compare(family, name, chosen.repeats, chosen.torch_python)
            results.setdefault("comparison", {}).setdefault(name, {})[family] = found
            line = f"{WORKS[name].title:<52} {family}: {statistics.median(found['rates']['suite']):,.0f} seed-steps/s"
            line += "".join(f";  × {spread(values)} {way}" for way, values in found["ratios"].items())
            print(line, flush=True)
    if not chosen.skip_checks:
        results["cores"] = cores(chosen.repeats)
        for family, gains in results["cores"].items():
            print(f"{family}: eight seeds on {os.cpu_count()} cores × {spread(gains)} one pinned core", flush=True)
        results["arithmetic"] = arithmetic(chosen.repeats)
        rate = statistics.median(results["arithmetic"]["product"])
        for family, shares in results["arithmetic"]["shares"].items():
            percent = spread([100 * share for share in shares])
            print(f"{family}, large: {percent} % of a matrix product's {rate / 1e9:.0f} Gflop/s", flush=True)
    if not chosen.no_save:
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        chart.draw(HERE / "ratios.png", results, {name: work.title for name, work in WORKS.items()}, WAYS)


def machine() -> str:
    """Processor, cores and versions in words."""
    import jax

    from devices import device_name

    return f"{device_name()}, Python {platform.python_version()}, JAX {jax.__version__}"


if __name__ == "__main__":
    main()

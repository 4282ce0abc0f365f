"""Times this suite beside other ways to do the same training, in turn within one run.

    python3 -m studies.speed.compare [--works small binned bits large] [--only ways cores share] [--repeats 7]
                                   [--torch-python …] [--draw]

Every way runs in a process of its own that keeps what it compiled. In every round each way is timed once for about a
second, one after the other, so that what else the machine does hits all alike; a ratio is taken within a round, and
its median and range over the rounds are what is reported. Writes `studies/speed/results.json` and `ratios.png`.
"""

import argparse
import datetime
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.wording import multiple
from studies.speed import chart
from studies.speed.work import ALL, BITS, ROOT, WORKS, config_of

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
SECONDS = 1.0  # of a timing
WAYS = {
    "suite": "this suite, all cores",
    "strong": "(b) one donated jitted call a step, one pinned core",
    "tutorial": "(b′) a jitted call for the data and each network, undonated, unpinned",
    "torch": "(c) PyTorch eager",
}
PARTS = ("ways", "cores", "share")


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

    work = ALL[name]
    config = config_of(work, family)
    target = make_target(config)
    facts = {
        "settings": dataclasses.asdict(getattr(config, family.lower()).for_law(target.event.law.name)),
        "width": width,
        "hidden_layers": work.hidden_layers,
        "batch_size": work.batch_size,
        "num_bins": work.num_bins,
        "event_dim": target.event.size,
        "weights": target.truth.modes.weights.tolist(),
        "means": target.truth.modes.means.tolist(),
        "factors": np.linalg.cholesky(target.truth.modes.covariances).tolist(),
        "box": target.truth.box.tolist(),
        # A second thread pays only where there is enough to do.
        "threads": os.cpu_count() if name == "large" else 1,
    }
    return json.dumps(facts)


def compare(family: str, name: str, repeats: int, torch_python: str | None) -> dict[str, Any]:
    """Rates of every way [repeats], in turn, and the ratios of the suite's to the others'."""

    def python(way):
        return Worker([sys.executable, "-m", "studies.speed.worker", way, family, name])

    workers = {"suite": python("suite"), "strong": python("strong"), "tutorial": python("tutorial")}
    # Adam on one vector or on each array: whichever is faster in the way that it is meant for.
    flat = python("strong flat")
    plain = workers["strong"]
    if statistics.median(flat.rate() for _ in range(3)) > statistics.median(plain.rate() for _ in range(3)):
        workers["strong"], flat = flat, plain
    flat.close()
    width = workers["suite"].facts["width"]
    if torch_python and name not in BITS:
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
        "torch": workers["torch"].facts["version"] if "torch" in workers else None,
    }


def cores(repeats: int) -> dict[str, list[float]]:
    """How much faster eight seeds train on all cores than the same pinned to one, per family, in every round."""
    gains = {}
    for family in WORKS["small"].families:
        commands = (
            [sys.executable, "-m", "studies.speed.worker", way, family, "small"] for way in ("suite", "suite pinned")
        )
        everywhere, pinned = map(Worker, commands)
        gains[family] = [everywhere.rate() / pinned.rate() for _ in range(repeats)]
        everywhere.close()
        pinned.close()
    return gains


def share(repeats: int) -> dict[str, Any]:
    """The large work's share of the arithmetic rate of a large matrix product, per family, in every round.

    Both run on as many devices, one a core. The product is timed before and after every timing of the suite: what else
    the machine does changes its speed by more than the share is to be known to.
    """
    product = Worker([sys.executable, "-m", "studies.speed.worker", "product", "", ""])
    found = {}
    for family in WORKS["large"].families:
        suite = Worker([sys.executable, "-m", "studies.speed.worker", "suite", family, "large"])
        products, rates = [product.rate()], []
        for _ in range(repeats):
            rates.append(suite.rate() * suite.facts["operations"])
            products.append(product.rate())
        suite.close()
        found[family] = {"products": products, "rates": rates, "shares": shares(products, rates)}
    product.close()
    return found


def shares(products: Sequence[float], rates: Sequence[float]) -> list[float]:
    """Every rate over the mean of its two neighbours in time.

    Args:
      products: [R + 1] operations a second of the product, before, between and after the rates.
      rates: [R] operations a second.
    """
    pairs = itertools.pairwise(products)
    return [2 * rate / (before + after) for rate, (before, after) in zip(rates, pairs, strict=True)]


def spread(values: Sequence[float]) -> str:
    """Median and range."""
    middle, low, high = map(multiple, (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} – {high})"


def markdown(results: Mapping[str, Any]) -> str:
    """The table of all ratios, and what else has been measured in words."""
    from studies.speed.scaling import table

    ways = [way for way in WAYS if way != "suite"]
    rows = [["work", "family", "seed-steps/s", *(f"× {WAYS[way].split()[0]}" for way in ways)]]
    for name, of_work in results.get("comparison", {}).items():
        for family, found in of_work.items():
            rate = f"{statistics.median(found['rates']['suite']):,.0f}".replace(",", " ")
            cells = [spread(found["ratios"][way]) if way in found["ratios"] else "–" for way in ways]
            rows.append([ALL[name].title.replace(" · ", ", "), family, rate, *cells])
    lines = [table(rows), f"Median and range over the rounds. {results['machine']}."]
    for family, gains in results.get("cores", {}).items():
        lines.append(f"{family}: eight seeds on all cores {spread(gains)} times as fast as on one pinned core.")
    for family, found in results.get("share", {}).items():
        percent, rate = [100 * each for each in found["shares"]], statistics.median(found["products"])
        lines.append(f"{family}, large: {spread(percent)} % of a matrix product's {rate / 1e9:.0f} Gflop/s.")
    return "\n\n".join(lines)


def main() -> None:
    """Compares, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--works", nargs="+", choices=list(ALL), default=list(ALL))
    parser.add_argument("--families", nargs="+", default=["GAN", "VAE", "RBM"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--torch-python", default=None, help="a Python that has PyTorch; left out: no comparison with it"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--no-save", action="store_true", help="print alone")
    parser.add_argument("--draw", action="store_true", help="measure nothing: table and picture of what is there")
    chosen = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not chosen.draw:
        measure(results, chosen)
    print(f"\n{markdown(results)}")
    if not chosen.no_save and not chosen.draw:
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    if not chosen.no_save and "comparison" in results:
        chart.draw(HERE / "ratios.png", results, {name: work.title for name, work in WORKS.items()}, WAYS)


def measure(results: dict[str, Any], chosen: argparse.Namespace) -> None:
    """Adds what is to be measured to the results; those of another machine go."""
    here = machine()
    if results.get("machine", here) != here:
        print(f"measured anew: so far on {results['machine']}, now on {here}", flush=True)
        results.clear()
    results |= {"machine": here, "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
    for name in chosen.works if "ways" in chosen.only else ():
        for family in ALL[name].families:
            if family not in chosen.families:
                continue
            found = compare(family, name, chosen.repeats, chosen.torch_python)
            results.setdefault("comparison", {}).setdefault(name, {})[family] = found
            line = f"{ALL[name].title:<52} {family}: {statistics.median(found['rates']['suite']):,.0f} seed-steps/s"
            line += "".join(f";  × {spread(values)} {way}" for way, values in found["ratios"].items())
            print(line, flush=True)
    if "cores" in chosen.only:
        results["cores"] = cores(chosen.repeats)
    if "share" in chosen.only:
        results["share"] = share(chosen.repeats)


def machine() -> str:
    """Processor or other devices, cores and versions in words."""
    import jax

    from benchmark.engine.devices import device_name, processor

    cpu = jax.local_devices()[0].platform == "cpu"
    # Not how many devices JAX has: on a processor that is the process's own choice.
    name = f"{processor()}, {os.cpu_count()} cores" if cpu else device_name()
    return f"{name}, Python {platform.python_version()}, JAX {jax.__version__}"


if __name__ == "__main__":
    main()

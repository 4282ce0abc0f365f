"""Times steps of a DCGAN and a VAE on images of 28 × 28 beside PyTorch's, in turn within one run.

    python3 -m studies.speed.images --torch-python .venv-torch/bin/python [--repeats 5] [--works 20000 100000 width64]

On one core both have one thread. On all cores the suite trains a seed a core, and PyTorch has one thread or all,
whichever is faster. Prints the table; writes `studies/speed/images.json`.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

from studies.speed import compare

HERE = Path(__file__).resolve().parent
# Budget or width, and rows of a minibatch.
WORKS = {"20000": (20_000, 0, 128), "100000": (100_000, 0, 128), "width64": (0, 64, 64)}
# DCGAN has no penalty on slopes. At 20 000 parameters 100 latents would leave two channels.
SETTINGS = {"GAN": {"latent_dim": 16, "r1_penalty": 0.0}, "VAE": {"latent_dim": 20}}
AT_WIDTH = {"GAN": {"latent_dim": 100, "r1_penalty": 0.0}, "VAE": {"latent_dim": 20}}


def measured(family: str, name: str, repeats: int, torch_python: str) -> dict[str, Any]:
    """Rates of all ways in every round, in seed-steps a second, on one core and on all."""
    budget, width, batch_size = WORKS[name]
    facts = dict(budget=budget, width=width, batch_size=batch_size)
    facts["settings"] = (AT_WIDTH if width else SETTINGS)[family]
    everywhere = sorted(os.sched_getaffinity(0))
    found: dict[str, Any] = {}
    for place, cores in (("one core", everywhere[:1]), ("all cores", everywhere)):
        os.sched_setaffinity(0, set(cores))
        try:
            command = [sys.executable, "-m", "studies.speed.images_worker", family]
            suite = compare.Worker([*command, json.dumps(facts | {"n_devices": len(cores)})])
            found |= {key: suite.facts[key] for key in ("width", "n_params")}
            own = facts | {"width": suite.facts["width"]}
            script = str(HERE / "images_torch.py")
            others = {
                threads: compare.Worker([torch_python, script, family, json.dumps(own | {"threads": threads})])
                for threads in sorted({1, len(cores)})
            }
            rounds = [
                (suite.rate(), {threads: other.rate() for threads, other in others.items()}) for _ in range(repeats)
            ]
            best = max(others, key=lambda threads: statistics.median(each[threads] for _, each in rounds))
            found[place] = {
                "suite": [mine for mine, _ in rounds],
                "torch": [each[best] for _, each in rounds],
                "torch_threads": best,
                "ratios": [mine / each[best] for mine, each in rounds],
            }
            found["torch"] = others[best].facts["version"]
            for worker in (suite, *others.values()):
                worker.close()
        finally:
            os.sched_setaffinity(0, set(everywhere))
    return found


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-python", required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--works", nargs="+", choices=list(WORKS), default=list(WORKS))
    chosen = parser.parse_args()
    path, results = HERE / "images.json", {}
    with contextlib.suppress(FileNotFoundError):
        results = json.loads(path.read_text())
    for name in chosen.works:
        for family in SETTINGS:
            found = measured(family, name, chosen.repeats, chosen.torch_python)
            results |= {"machine": compare.machine(), f"{family} {name}": found}
            line = f"{family} {name}: width {found['width']}, {found['n_params']} parameters"
            for place in ("one core", "all cores"):
                line += f"; {place} × {compare.spread(found[place]['ratios'])} PyTorch"
            print(line, flush=True)
            path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

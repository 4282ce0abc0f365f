"""How close does each family come to images, at two numbers of parameters? With defaults.

python3 -m studies.images --images FOLDER   # runs what is missing; FOLDER has mnist/ and fashion/ with IDX files
python3 -m studies.images --show            # prints the tables of the last runs

Without a folder only targets that need no files are run. Floors and rivals stand beside every number.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate

from core import places
from studies import records

OUTPUT = places.ROOT / "results_classical_benchmarks" / "images"
RUNS = places.ROOT / "studies" / "images_runs"
BUDGETS = (20_000, 100_000)
FAMILIES = ("GAN", "WGAN_GP", "VAE", "VAE_GAN", "RBM", "BERNOULLI_MIXTURE", "PPCA", "PRODUCT")
METRICS = {
    "kd_clf": "KD-clf",
    "fd_clf": "FD-clf",
    "class_kld": "KLD of classes",
    "knn_precision": "precision",
    "knn_coverage": "coverage",
}


class Case(NamedTuple):
    """A target, and how long it is trained on."""

    target: str
    n_steps: int
    folder: str = ""  # of its files, in the folder of images
    more: tuple[str, ...] = ()


CASES = {
    "DIGITS": Case("IMAGE_DIGITS", 10_000),
    "SHAPES_RGBD": Case("IMAGE_SHAPES_RGBD", 2_000),
    "MNIST": Case("IMAGE_MNIST", 4_000, "mnist"),
    "FASHION_MNIST": Case("IMAGE_FASHION_MNIST", 4_000, "fashion"),
}
COMMON = ("--num-bins", "0", "--num-seeds", "3", "--n-evaluations", "1", "--snapshot-percent", "100")


def run_cell(case: Case, budget: int, family: str, images: str) -> dict[str, Any]:
    """One family at one budget, which goes on where it was if it was killed."""
    folder = RUNS / f"{case.target}_{budget}_{family}"
    files = ["--images.folder", str(Path(images).resolve() / case.folder)] if case.folder else []
    command = [sys.executable, str(places.SCRIPT), "--target-type", case.target, *COMMON, *case.more, *files]
    command += ["--n-steps", str(case.n_steps), "--parameter-budget", str(budget), "--models", family]
    subprocess.run([*command, "--out-dir", str(folder)], check=True, cwd=places.ROOT, stdout=subprocess.DEVNULL)
    report = json.loads((folder / "metrics.json").read_text())
    shutil.rmtree(folder)
    model = report["models"][family]
    return {
        "n_params": model["n_params"],
        "final": {name: model["final"][name] for name in METRICS},
        "floor": {name: report["floor"][name] for name in METRICS},
        "likelihood": report["further"].get("likelihoods", {}).get(family),
        "compared": report["further"]["compared"],
        "versions": report["provenance"]["versions"],
    }


def tables(results: Mapping[str, Any], metrics: Sequence[str] = tuple(METRICS)) -> str:
    """All that was measured, as Markdown: median and range over three seeds, and the floor's median and range."""
    text = []
    for name, case in CASES.items():
        for budget in BUDGETS:
            cells = results.get(f"{name} {budget}")
            if cells:
                text += [f"**{name}, {budget} parameters, {case.n_steps} steps**", "", _table(cells, metrics), ""]
    return "\n".join(text)


def _table(cells: Mapping[str, Any], metrics: Sequence[str]) -> str:
    lines = [
        [family, cell["n_params"], *(_cell(cell["final"][name]) for name in metrics), _nats(cell["likelihood"])]
        for family, cell in ((family, cells[family]) for family in FAMILIES if family in cells)
    ]
    floor = next(iter(cells.values()))["floor"]
    lines.append(["real images", "", *(_floor(floor[name]) for name in metrics), ""])
    head = ["family", "parameters", *(METRICS[name] for name in metrics), "ln q of held-out images, nats"]
    return tabulate(lines, head, tablefmt="pipe", disable_numparse=True)


def _cell(summary: Mapping[str, Any]) -> str:
    if summary["median"] is None:
        return "diverged"
    low, high = (_number(summary[end]) if summary[end] is not None else "diverged" for end in ("low", "high"))
    return f"{_number(summary['median'])} ({low} – {high})"


def _floor(floor: Mapping[str, float]) -> str:
    return f"{_number(floor['median'])} ({_number(floor['low'])} – {_number(floor['high'])})"


def _nats(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "unknown"
    ends = f"{found['low']:.1f} … {found['high']:.1f}"
    what = ", density" if found["of"] == "density" else ""
    return f"{found['nats']:.1f} ({ends}; {found['how']}{what})".replace("-", "−")


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def main() -> None:
    """Runs what is missing and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", default="", help="folder with mnist/ and fashion/, which have IDX files")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES), help="which targets")
    parser.add_argument(
        "--budgets", nargs="*", type=int, default=list(BUDGETS), choices=list(BUDGETS), help="parameters"
    )
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=list(FAMILIES), help="which families")
    parser.add_argument("--show", action="store_true", help="print the tables of the last runs and stop")
    chosen = parser.parse_args()
    file = OUTPUT.with_suffix(".json")
    results = json.loads(file.read_text()) if file.exists() else {}
    for name in () if chosen.show else chosen.cases:
        case = CASES[name]
        if case.folder and not chosen.images:
            continue
        for budget in chosen.budgets:
            cells = results.setdefault(f"{name} {budget}", {})
            for family in [each for each in chosen.families if each not in cells]:
                cells[family] = run_cell(case, budget, family, chosen.images)
                records.write(file, results, tables(results))
                print(f"{name}, {budget}, {family}: done", flush=True)
    print(tables(results))


if __name__ == "__main__":
    main()

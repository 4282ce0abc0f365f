"""How close does each family come to targets over bit strings, at three numbers of parameters? With defaults.

python3 -m studies.bits           # runs what is missing: about 25 minutes on two idle cores
python3 -m studies.bits --show    # prints the tables of the last runs

Every number is the exact KL, which has no floor. What trivial families can reach at best stands beside it, exactly.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

from core import places
from studies import records

OUTPUT = places.ROOT / "results_classical_benchmarks" / "bits"
RUNS = places.ROOT / "studies" / "bits_runs"
BUDGETS = (100, 300, 1000)
FAMILIES = ("GAN", "WGAN", "WGAN_GP", "VAE", "RBM", "BERNOULLI_MIXTURE", "HISTOGRAM")
CASES = {
    "bars and stripes 4 × 4": ("BITS_BARS_STRIPES",),
    "cardinality 6 of 12": ("BITS_CARDINALITY",),
    "Gaussian, 8 bits": ("BITS_GAUSSIAN", "--bits.n", "8"),
    "Ising 4 × 4 at K_c": ("BITS_ISING",),
    "log-normal, 3 bits": ("BITS_LOGNORMAL", "--bits.n", "3"),
}
COMMON = (
    "--num-bins",
    "0",
    "--num-seeds",
    "4",
    "--n-steps",
    "20000",
    "--n-evaluations",
    "1",
    "--snapshot-percent",
    "100",
)


def run_case(case: str) -> dict[str, Any]:
    """All budgets of one target as one sweep, which goes on where it was if it was killed."""
    folder = RUNS / case.replace(" ", "_")
    arguments = ["--target-type", *CASES[case], *COMMON]
    sweep = ["--sweep", f"PARAMETER_BUDGET={','.join(map(str, BUDGETS))}", "--no-sweep-pictures"]
    command = [sys.executable, str(places.SCRIPT), *arguments, "--models", *FAMILIES, *sweep, "--out-dir", str(folder)]
    subprocess.run(command, check=True, cwd=places.ROOT, stdout=subprocess.DEVNULL)
    rows = {}
    for budget in BUDGETS:
        report = json.loads((folder / f"PARAMETER_BUDGET={budget}" / "metrics.json").read_text())
        rows[str(budget)] = {
            name: {
                "n_params": model["n_params"],
                "kl_exact": model["final"]["kl_exact"],
                "tv_exact": model["final"]["tv_exact"],
            }
            for name, model in report["models"].items()
        }
        target = report["target"]
    shutil.rmtree(folder)
    rivals = {name: rival["kl_exact"] for name, rival in target["rivals"].items()}
    return {"arguments": arguments, "entropy": target["entropy"], "rivals": rivals, "rows": rows}


def tables(results: Mapping[str, Any]) -> str:
    """All that was measured, as Markdown: exact KL in nats, median and range over four seeds."""
    lines = []
    for case in [name for name in CASES if name in results["cases"]]:
        result = results["cases"][case]
        rivals = [_number(value) for value in result["rivals"].values()]
        for budget, models in result["rows"].items():
            own = [_cell(models[name]["kl_exact"]) if name in models else "–" for name in FAMILIES]
            lines.append([case, budget, *own, *rivals])
    head = ["target", "parameters", *FAMILIES, "UNIFORM", "PRODUCT", "CHOW_LIU"]
    return tabulate(lines, head, tablefmt="pipe", disable_numparse=True)


def _is_whole(result: Mapping[str, Any] | None) -> bool:
    """Whether a case has been run with every family that the table has."""
    return result is not None and all(set(FAMILIES) <= set(models) for models in result["rows"].values())


def _cell(summary: Mapping[str, Any] | None) -> str:
    if summary is None or summary["median"] is None:
        return "unknown"
    low, high = (_number(summary[end]) if summary[end] is not None else "diverged" for end in ("low", "high"))
    return f"{_number(summary['median'])} ({low} – {high})"


def _number(value: float) -> str:
    return f"{value:.4f}" if value >= 5e-5 or value == 0 else f"{value:.1e}"


def main() -> None:
    """Runs what is missing and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--show", action="store_true", help="print the table of the last runs and stop")
    chosen = parser.parse_args()
    file = OUTPUT.with_suffix(".json")
    results = json.loads(file.read_text()) if file.exists() else {"cases": {}}
    for case in () if chosen.show else CASES:
        if not _is_whole(results["cases"].get(case)):
            results["cases"][case] = run_case(case)
            records.write(file, results, tables(results))
            print(f"{case}: done", flush=True)
    print(tables(results))


if __name__ == "__main__":
    main()

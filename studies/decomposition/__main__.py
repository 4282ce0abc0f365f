"""Where the loss of each family comes from: the exact KL by the networks, by its own loss, and by training.

    python3 -m studies.decomposition                                   # what is missing, in the order of the table
    python3 -m studies.decomposition --targets BITS_ISING --models RBM
    python3 -m studies.decomposition --show                            # draws and prints what has been measured

Each family is trained three times with four seeds, at the same parameters: by the exact KL itself (`direct.py`), by its
own loss far beyond the default (ten times the steps, minibatches of four times the rows, rates that fall to 0), and by
default. The first is the capacity; what the second adds is the objective's, and what the third adds the optimiser's.
Results are in results_classical_benchmarks/decomposition.{json,md} and loss_decomposition.png; what has been measured
is kept in studies/decomposition_runs/, weights included, and is not measured again.
"""

import argparse
import os
import time
from collections.abc import Sequence

import jax

from core import places
from studies.decomposition import chart, record
from studies.decomposition.cases import BITS_BUDGETS, BUDGETS, CASES, Case
from studies.decomposition.measure import measured

RUNS = places.ROOT / "studies" / "decomposition_runs"
OUTPUT = places.ROOT / "results_classical_benchmarks"


def chosen(options: argparse.Namespace) -> list[tuple[Case, int, str]]:
    """What is to be measured, in order."""
    return [
        (case, budget, family)
        for case in CASES
        if not options.targets or case.constants["TARGET_TYPE"] in options.targets
        for budget in case.budgets
        if not options.budgets or budget in options.budgets
        for family in case.families
        if not options.models or family in options.models
    ]


def main(args: Sequence[str] | None = None) -> int:
    """Measures what is missing and writes what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    targets = list(dict.fromkeys(case.constants["TARGET_TYPE"] for case in CASES))
    families = list(dict.fromkeys(name for case in CASES for name in case.families))
    budgets = sorted({*BUDGETS, *BITS_BUDGETS})
    parser.add_argument("--targets", nargs="+", choices=targets, default=[], help="these targets alone")
    parser.add_argument("--models", nargs="+", choices=families, default=[], help="these families alone")
    parser.add_argument("--budgets", nargs="+", type=int, choices=budgets, default=[], help="these budgets alone")
    parser.add_argument("--show", action="store_true", help="write and print what has been measured, and stop")
    options = parser.parse_args(args)
    results = record.read(OUTPUT)
    if not options.show:
        jax.config.update("jax_num_cpu_devices", max(2, len(os.sched_getaffinity(0))))
        began = time.perf_counter()
        for case, budget, family in chosen(options):
            if record.has(results, case, budget, family):
                continue
            found = measured(case, budget, family, RUNS)
            results = record.added(record.read(OUTPUT), case, budget, family, found)
            record.write(OUTPUT, results)
            seconds = sum(part.seconds for part in found.parts.values())
            print(f"{case.name}, {budget} parameters, {family}: {seconds:.0f} s", flush=True)
        print(f"{time.perf_counter() - began:.0f} s in all", flush=True)
    record.write(OUTPUT, results)
    chart.draw(OUTPUT / "loss_decomposition.png", results)
    print(record.table(results))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

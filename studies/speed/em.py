"""Times EM for Gaussian mixtures beside scikit-learn's, in turn within one run.

    python3 -m studies.speed.em [--repeats 7] [--no-save]

Sixteen components with full covariances on 100 000 rows of a mixture in two dimensions, from the same start and for the
same number of iterations. scikit-learn gets the rows in either precision; both ways may use every core. A ratio is
taken within a round. Writes `studies/speed/em.json`.
"""

import argparse
import datetime
import json
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.mixture import GaussianMixture
from tabulate import tabulate

from benchmark.engine.programs import options
from models import gmm
from studies.speed.compare import machine, spread

RESULTS = Path(__file__).resolve().parent / "em.json"
N_COMPONENTS, N_ROWS, N_ITERATIONS = 16, 100_000, 20
FLOOR = 1e-6
KIND = "full"
WAYS = {"float32": "scikit-learn, float32", "float64": "scikit-learn, float64"}


def rows() -> np.ndarray:
    """Rows [n, 2] of sixteen components that overlap, float64."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(N_COMPONENTS, 2)) * 3
    factors = np.tril(generator.normal(size=(N_COMPONENTS, 2, 2)))
    component = generator.integers(N_COMPONENTS, size=N_ROWS)
    return centres[component] + np.einsum("nij,nj->ni", factors[component], generator.normal(size=(N_ROWS, 2)))


def suites(x: np.ndarray, start: gmm.Params) -> Callable[[], float]:
    """Runs the suite's EM, float32; returns the mean log-likelihood before the last iteration."""

    def fit(params, x):
        def iteration(_, carry):
            return gmm.em_step(carry[0], x, KIND, FLOOR)

        return jax.lax.fori_loop(0, N_ITERATIONS, iteration, (params, jnp.float32(0)))

    x = jnp.asarray(x, jnp.float32)
    compiled = jax.jit(fit).lower(start, x).compile(compiler_options=options())
    return lambda: -float(compiled(start, x)[1])


def scikit_learns(x: np.ndarray, start: gmm.Params) -> Callable[[], float]:
    """Runs scikit-learn's; returns its mean log-likelihood before the last iteration."""
    log_weights, means, covariances = (np.asarray(part, x.dtype) for part in gmm.natural(start, KIND))

    def fit():
        # Neither converges nor looks at anything twice: so many iterations and the one E-step at its end.
        mixture = GaussianMixture(
            N_COMPONENTS,
            covariance_type=KIND,
            tol=0,
            reg_covar=0,
            max_iter=N_ITERATIONS,
            weights_init=np.exp(log_weights),
            means_init=means,
            precisions_init=np.linalg.inv(covariances),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mixture.fit(x)
        return float(mixture.lower_bound_)

    return fit


def markdown(results: Mapping[str, Any]) -> str:
    """What was measured, as a table: medians over rounds, and the range of the ratios."""
    table = []
    for name, seconds in results["seconds_an_iteration"].items():
        ratio = f"{spread(results['ratios'][name])}" if name in WAYS else ""
        table.append([WAYS.get(name, "this suite, float32"), f"{1e3 * statistics.median(seconds):.2f}", ratio])
    return tabulate(table, ["", "ms an iteration", "× the suite's"], tablefmt="github", disable_numparse=True)


def main() -> None:
    """Times, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--no-save", action="store_true", help="print alone")
    chosen = parser.parse_args()
    x = rows()
    start = gmm.initial(jax.random.key(0), jnp.asarray(x, jnp.float32), N_COMPONENTS, KIND, FLOOR)
    ways = {"suite": suites(x, start)} | {name: scikit_learns(x.astype(name), start) for name in WAYS}
    # Once before anything is timed; and they must have come to the same.
    reached = {name: run() for name, run in ways.items()}
    worst = max(abs(value - reached["float64"]) for value in reached.values())
    if not worst < 1e-4:
        raise SystemExit(f"the fits differ: mean log-likelihoods {reached}")
    seconds = {name: [] for name in ways}
    for _ in range(chosen.repeats):
        for name, run in ways.items():
            begun = time.perf_counter()
            run()
            seconds[name].append((time.perf_counter() - begun) / N_ITERATIONS)
    ratios = {
        name: [other / mine for other, mine in zip(seconds[name], seconds["suite"], strict=True)] for name in WAYS
    }
    found = {
        "machine": machine(),
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "n_components": N_COMPONENTS,
        "n_rows": N_ROWS,
        "n_iterations": N_ITERATIONS,
        "mean_log_likelihoods": reached,
        "seconds_an_iteration": seconds,
        "ratios": ratios,
    }
    print(markdown(found))
    if not chosen.no_save:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

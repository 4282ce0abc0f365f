"""What is computed once, when training is over: every score of every family and external entry, with its floor."""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import metrics
import sample_metrics
from evaluation import N_FLOOR_DRAWS, Floor, Judge, floor_of, make_judge
from exact import kl_exact, mean_log_likelihoods
from external import External
from targets import Target
from training import Run

N_ROWS = 2_000  # rows of a sample and of the target that the metrics below compare
N_HOST_DRAWS = 20  # behind their floors


class Assessment(NamedTuple):
    """One family's or one external entry's scores at the end; S seeds, of which an external entry has one."""

    name: str
    n_params: int | None
    n_samples: int | None  # rows of each sample; None for probabilities
    samples: np.ndarray | None  # [S, n, D], as compared
    masses: np.ndarray | None  # [K], an external entry given as probabilities
    scores: Mapping[str, Sequence[float] | None]  # metric -> [S], NaN for a diverged seed; None: not defined here
    floors: Mapping[str, Floor]  # at its own number of rows
    diverged_at_step: Sequence[int | None]
    log_likelihood: Sequence[Mapping[str, float] | None] = ()  # per seed, with rows held out
    memorisation: Sequence[Mapping[str, float]] = ()  # per seed W₁ to training and to held-out rows, where there are
    external: bool = False
    estimated: bool = False  # kl_exact rests on a density that is itself an estimate


class Closing(NamedTuple):
    """What scores samples beyond the metrics that are followed during training."""

    score: Callable[[np.ndarray], dict[str, float]]  # x [n, D] -> metric name -> value
    floors: Mapping[str, Floor]
    seconds: Mapping[str, float]  # per metric, summed over all samples scored so far, some side by side: it grows


def make_closing(target: Target, config: Any, judge: Judge) -> Closing:
    """Builds the scorer of the metrics that are computed once, with its floors (20 draws)."""
    held_out = target.held_out_rows if target.empirical else None
    n_rows = min(N_ROWS, judge.scorer.n_samples, N_ROWS if held_out is None else len(held_out))
    if held_out is None:
        key_reference = jax.random.fold_in(jax.random.key(config.seed), 2**31 + 3)
        rows = jax.jit(target.sample, static_argnums=1)(key_reference, n_rows)
    else:
        rows = jnp.asarray(held_out, jnp.float32)
    reference = np.asarray(target.as_compared(rows))[:n_rows]
    bandwidth = sample_metrics.median_distance(reference)
    reference_term = sample_metrics.mean_kernel(reference, bandwidth)
    seconds: dict[str, float] = {}
    lock = threading.Lock()

    def timed(name, function, *args):
        started = time.perf_counter()
        value = function(*args)
        with lock:
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started
        return value

    def score_against(x, rows):
        scores = {}
        if target.dim == 2:
            scores["wasserstein_exact"] = timed("wasserstein_exact", sample_metrics.wasserstein_exact, x[:n_rows], rows)
        known = reference_term if rows is reference else None
        scores["mmd2"] = timed("mmd2", sample_metrics.mmd2, x[:n_rows], rows, bandwidth, known)
        if target.modes is not None:
            # Cheap enough for all rows.
            covered, high_quality = timed("modes", sample_metrics.mode_statistics, x, target.modes)
            scores |= {"modes_covered": covered, "high_quality": high_quality}
        return scores

    def accuracy(x, rows):
        return timed("classifier_accuracy", sample_metrics.classifier_accuracy, x[:n_rows], rows)

    def perfect_scores(i):
        # Other draws than those behind the floors of the KLD.
        x, rows = judge.perfect(N_FLOOR_DRAWS + i)
        rows = reference if rows is None else rows[:n_rows]
        scores = score_against(x, rows)
        # Between independent samples the null is known; of a table's rows, which repeat, it has to be measured.
        return scores | {"classifier_accuracy": accuracy(x, rows)} if target.empirical else scores

    with ThreadPoolExecutor() as pool:
        draws = list(pool.map(perfect_scores, range(N_HOST_DRAWS)))
    floors = {name: floor_of([draw[name] for draw in draws]) for name in draws[0]}
    floors.setdefault("classifier_accuracy", Floor(*sample_metrics.cross_validated_null(n_rows)))
    # In the order of every table.
    floors = {name: floors[name] for name in metrics.METRICS if name in floors}
    return Closing(
        score=lambda x: score_against(x, reference) | {"classifier_accuracy": accuracy(x, reference)},
        floors=floors,
        seconds=seconds,
    )


def assess_runs(runs: Sequence[Run], target: Target, judge: Judge, closing: Closing) -> list[Assessment]:
    """Every score of every seed of every family."""
    jobs = [(run, seed) for run in runs for seed in range(len(run.states))]
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda job: _assess_seed(*job, target, judge, closing), jobs))
    assessments = []
    for run in runs:
        of_run = [result for (owner, _), result in zip(jobs, found, strict=True) if owner is run]
        last = run.evaluations[-1]
        scores = {name: list(values) for name, values in last.metrics.items()}
        for name in ("kl_exact", *closing.floors):
            values = [scored[name] for scored, _, _ in of_run]
            scores[name] = None if None in values else values
        assessments.append(
            Assessment(
                name=run.model.name,
                n_params=run.model.n_params,
                n_samples=judge.scorer.n_samples,
                samples=last.samples,
                masses=None,
                scores=scores,
                floors={**judge.floors, **closing.floors},
                diverged_at_step=run.diverged_at_step,
                log_likelihood=[likelihood for _, likelihood, _ in of_run],
                memorisation=[distances for _, _, distances in of_run if distances is not None],
                estimated=run.model.log_prob_kind == "estimate",
            )
        )
    return assessments


def assess_external(
    entries: Sequence[External], config: Any, target: Target, judge: Judge, closing: Closing
) -> list[Assessment]:
    """The same for what came from elsewhere, each against floors at its own number of rows."""
    judges = {judge.scorer.n_samples: (judge, closing)}
    assessments = []
    for entry in entries:
        if entry.rows is None:
            assessments.append(_assess_masses(entry, target, judge))
            continue
        n = len(entry.rows)
        if n not in judges:
            own = make_judge(target, config, n)
            judges[n] = own, make_closing(target, config, own)
        own, own_closing = judges[n]
        scores = own.scorer.score(entry.rows) | own_closing.score(entry.rows)
        distances = memorisation(entry.rows, target)
        assessments.append(
            Assessment(
                name=entry.name,
                n_params=entry.n_params,
                n_samples=n,
                samples=entry.rows[None],
                masses=None,
                scores={"kl_exact": None} | {name: [value] for name, value in scores.items()},
                floors={**own.floors, **own_closing.floors},
                diverged_at_step=[None],
                memorisation=[] if distances is None else [distances],
                external=True,
            )
        )
    return assessments


def memorisation(x: np.ndarray, target: Target) -> dict[str, float] | None:
    """Wasserstein-1 of a sample [n, D] to training rows and to as many held-out ones.

    A model that repeats its training rows is near the first and as far from the second as these are from each other
    (`memoriser`); for one that has learned the distribution both are alike. None where data are drawn afresh.
    """
    if target.train_rows is None:
        return None
    axes = metrics.directions(target.dim).astype(np.float32)
    levels = metrics.mid_ranks(len(x))
    return {
        part: metrics.wasserstein(x, metrics.projected_quantiles(rows, axes, levels), axes)
        for part, rows in _equal_parts(target).items()
    }


def memoriser(target: Target) -> dict[str, float] | None:
    """What `memorisation` gives for a model that repeats all training rows equally often."""
    if target.train_rows is None:
        return None
    return memorisation(np.asarray(target.as_compared(jnp.asarray(target.train_rows, jnp.float32))), target)


def _assess_seed(run: Run, seed: int, target: Target, judge: Judge, closing: Closing) -> tuple:
    """Scores, likelihoods and distances of one seed; NaN for all that a diverged one has."""
    x = run.evaluations[-1].samples[seed]
    exact = kl_exact(run.model, run.states[seed], target)
    likelihood = mean_log_likelihoods(run.model, run.states[seed], target)
    if run.diverged_at_step[seed] is not None:
        lost = dict.fromkeys(closing.floors, math.nan) | {"kl_exact": None if exact is None else math.nan}
        return lost, likelihood, None if target.train_rows is None else {"train": math.nan, "held_out": math.nan}
    return {"kl_exact": exact, **closing.score(x)}, likelihood, memorisation(x, target)


def _assess_masses(entry: External, target: Target, judge: Judge) -> Assessment:
    """Exact scores of exact probabilities: no sample, hence a floor of zero; against held-out rows nothing is exact."""
    p, q = judge.masses, entry.masses
    with np.errstate(divide="ignore"):
        exact = [float(np.sum(p[p > 0] * (np.log(p[p > 0]) - np.log(q[p > 0]))))]
    width = float(np.ptp(target.box)) / target.n_bins
    scores = {"wasserstein": [float(np.abs(np.cumsum(p - q)).sum() * width)]}
    scores["kl_exact"] = None if target.empirical else exact
    floors = {} if target.empirical else dict.fromkeys(scores, Floor(0.0, 0.0, 0.0))
    return Assessment(entry.name, entry.n_params, None, None, q, scores, floors, [None], external=True)


def _equal_parts(target: Target) -> dict[str, np.ndarray]:
    """As many training rows as held-out ones, as compared: distances to parts of unequal size cannot be compared."""
    n = min(len(target.train_rows), len(target.held_out_rows))
    parts = {"train": target.train_rows[:n], "held_out": target.held_out_rows[:n]}
    return {part: np.asarray(target.as_compared(jnp.asarray(rows, jnp.float32))) for part, rows in parts.items()}

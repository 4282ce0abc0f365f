"""What is computed when training is over: every score of every family and external entry, with its floor."""

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
from benchmark.asked.external import External
from benchmark.engine.training import Run
from benchmark.scoring import sample_metrics
from benchmark.scoring.evaluation import N_FLOOR_DRAWS, Floor, Judge, floor_of, make_judge
from kinds.exact import Divergence, divergence, has_kl_exact, has_log_likelihoods, mean_log_likelihoods, of_masses
from targets import Target

N_ROWS = 2_000  # rows of a sample and of the target that the metrics below compare
N_HOST_DRAWS = 20  # behind their floors
_LOST = {"train": math.nan, "held_out": math.nan}  # what a diverged seed has in either part of the rows


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
    unknown: Sequence[str] = ()  # per seed why kl_exact is unknown, or ""; empty where it is not defined
    estimated: bool = False  # kl_exact rests on a density that is itself an estimate
    rival: bool = False  # a trivial model that every other should beat


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
    null = sample_metrics.cross_validated_null(n_rows)
    # It is symmetric: its mean is its median.
    floors.setdefault("classifier_accuracy", Floor(*null, median=null[0]))
    # In the order of every table.
    floors = {name: floors[name] for name in metrics.METRICS if name in floors}
    return Closing(
        score=lambda x: score_against(x, reference) | {"classifier_accuracy": accuracy(x, reference)},
        floors=floors,
        seconds=seconds,
    )


def judges_of(entries: Sequence[External], config: Any, target: Target, judge: Judge) -> dict[int, Judge]:
    """Number of rows -> what judges samples of that size: the run's own judge, and one for each other size there is."""
    judges = {judge.scorer.n_samples: judge}
    for entry in entries:
        if entry.rows is not None and len(entry.rows) not in judges:
            judges[len(entry.rows)] = make_judge(target, config, len(entry.rows))
    return judges


def assess(
    runs: Sequence[Run], entries: Sequence[External], target: Target, judge: Judge, judges: Mapping[int, Judge]
) -> list[Assessment]:
    """What is known when training is over: the scores of the last evaluation, and the same of what came from elsewhere.

    Args:
      runs: the families'.
      entries: external entries.
      target: the target.
      judge: the run's.
      judges: from `judges_of`.
    """
    assessments = [
        Assessment(
            name=run.model.name,
            n_params=run.model.n_params,
            n_samples=judge.scorer.n_samples,
            samples=run.evaluations[-1].samples,
            masses=None,
            scores={name: list(values) for name, values in run.evaluations[-1].metrics.items()},
            floors=judge.floors,
            diverged_at_step=run.diverged_at_step,
            estimated=run.model.log_prob_kind == "estimate",
            rival=run.model.rival,
        )
        for run in runs
    ]
    for entry in entries:
        if entry.rows is None:
            assessments.append(_assess_masses(entry, target, judge))
            continue
        own = judges[len(entry.rows)]
        assessments.append(
            Assessment(
                name=entry.name,
                n_params=entry.n_params,
                n_samples=len(entry.rows),
                samples=entry.rows[None],
                masses=None,
                scores={name: [value] for name, value in own.scorer.score(entry.rows).items()},
                floors=own.floors,
                diverged_at_step=[None],
                external=True,
            )
        )
    return assessments


def losses_to_rivals(assessments: Sequence[Assessment], floor: Floor) -> dict[str, str]:
    """What is worse than a trivial model of the same run -> a remark, such as "▼ loses to HISTOGRAM by KLD".

    It is if its median KLD is larger than that of any seed of the rival and lies above the floor's range: within that
    range it cannot be told from a perfect model, and of two such which is larger is chance. The KLD, and not the exact
    divergence, since every family has one. Rivals are not compared with each other, nor are samples of another size.

    Args:
      assessments: of one run; those without a KLD have no remark.
      floor: that of the KLD.
    """

    def median(entry):
        return float(np.median(np.where(np.isfinite(entry.scores["kld"]), entry.scores["kld"], np.inf)))

    worst = {
        entry.name: float(np.nanmax(entry.scores["kld"]))
        for entry in assessments
        if entry.rival and np.isfinite(median(entry))
    }
    remarks = {}
    for entry in assessments:
        comparable = entry.floors.get("kld") == floor and entry.scores.get("kld") is not None
        if comparable and not entry.rival and (own := median(entry)) > floor.high:
            better = [name for name, value in worst.items() if value < own]
            if better:
                remarks[entry.name] = f"▼ loses to {' and '.join(better)} by KLD"
    return remarks


def close(
    assessments: Sequence[Assessment],
    runs: Sequence[Run],
    config: Any,
    target: Target,
    judge: Judge,
    judges: Mapping[int, Judge],
) -> tuple[list[Assessment], Closing]:
    """Adds every score that is computed once: of every seed of every family, and of every sample from elsewhere.

    Args:
      assessments: from `assess`.
      runs: the families'.
      config: the run's configuration.
      target: the target.
      judge: the run's.
      judges: from `judges_of`.

    Returns:
      The assessments, and the scorer of the run's own number of rows.
    """
    closing = make_closing(target, config, judge)
    closings = {judge.scorer.n_samples: closing}
    of_run = {run.model.name for run in runs}
    closed = []
    with ThreadPoolExecutor() as pool:
        # One job a family: side by side, its seeds would all compile the same program.
        densities = {run.model.name: pool.submit(_of_densities, run, target) for run in runs}
        samples = {
            run.model.name: [pool.submit(_of_samples, run, seed, target, closing) for seed in range(len(run.states))]
            for run in runs
        }
        for entry in assessments:
            if entry.name in of_run and not entry.external:
                own = closing
                exact, unknown, likelihoods = densities[entry.name].result()
                found = [job.result() for job in samples[entry.name]]
                added = {"kl_exact": exact} | {name: [scores[name] for scores, _ in found] for name in closing.floors}
                distances = [distance for _, distance in found if distance is not None]
                entry = entry._replace(unknown=unknown, log_likelihood=likelihoods, memorisation=distances)
            elif entry.samples is not None:
                n = entry.n_samples
                if n not in closings:
                    closings[n] = make_closing(target, config, judges[n])
                own = closings[n]
                added = {"kl_exact": None} | {name: [v] for name, v in own.score(entry.samples[0]).items()}
                distance = memorisation(entry.samples[0], target)
                entry = entry._replace(memorisation=[] if distance is None else [distance])
            else:
                closed.append(entry)
                continue
            closed.append(entry._replace(scores={**entry.scores, **added}, floors={**entry.floors, **own.floors}))
    return closed, closing


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


def _of_densities(run: Run, target: Target) -> tuple[list[float] | None, list[str], list[dict[str, float] | None]]:
    """Exact divergence, why it is unknown, and likelihoods of every seed; NaN and no reason for a diverged one."""
    missing = _LOST if has_log_likelihoods(run.model, target) else None
    exact, unknown, likelihoods = [], [], []
    for state, lost in zip(run.states, run.diverged_at_step, strict=True):
        found = Divergence(math.nan) if lost is not None else divergence(run.model, state, target)
        if found is not None:
            exact.append(found.value)
            unknown.append(found.word)
        likelihoods.append(missing if lost is not None else mean_log_likelihoods(run.model, state, target))
    return exact if has_kl_exact(run.model, target) else None, unknown, likelihoods


def _of_samples(run: Run, seed: int, target: Target, closing: Closing) -> tuple:
    """Scores and distances of one seed's last sample; NaN for all that a diverged one has."""
    x = run.evaluations[-1].samples[seed]
    if run.diverged_at_step[seed] is not None:
        return dict.fromkeys(closing.floors, math.nan), None if target.train_rows is None else _LOST
    return closing.score(x), memorisation(x, target)


def _assess_masses(entry: External, target: Target, judge: Judge) -> Assessment:
    """Exact scores of exact probabilities: no sample, hence a floor of zero; against held-out rows nothing is exact."""
    p, q = judge.masses, entry.masses
    with np.errstate(divide="ignore"):
        exact = [of_masses(p[p > 0], np.log(q[p > 0])).value]
    width = float(np.ptp(target.box)) / target.n_bins
    scores = {"wasserstein": [float(np.abs(np.cumsum(p - q)).sum() * width)]}
    scores["kl_exact"] = None if target.empirical else exact
    floors = {} if target.empirical else dict.fromkeys(scores, Floor(0.0, 0.0, 0.0, 0.0))
    return Assessment(entry.name, entry.n_params, None, None, q, scores, floors, [None], external=True)


def _equal_parts(target: Target) -> dict[str, np.ndarray]:
    """As many training rows as held-out ones, as compared: distances to parts of unequal size cannot be compared."""
    n = min(len(target.train_rows), len(target.held_out_rows))
    parts = {"train": target.train_rows[:n], "held_out": target.held_out_rows[:n]}
    return {part: np.asarray(target.as_compared(jnp.asarray(rows, jnp.float32))) for part, rows in parts.items()}

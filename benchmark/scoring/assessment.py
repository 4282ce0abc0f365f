"""What is computed when training is over: every score of every family and external entry, with its floor."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import metrics
from benchmark.asked.external import External
from benchmark.engine.records import Run
from kinds.contract import Floor, Judge, Kind, Scored, Target
from kinds.registry import kind_of

_ROUNDING = 1e-9


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
    sampling: Sequence[Mapping[str, Any] | None] = ()  # per seed from `mixing.diagnosed`, of a family with chains
    sampling_times: Sequence[Mapping[str, Any] | None] = ()  # per seed from `mixing.times`
    rival: bool = False  # a trivial model that every other should beat


def judges_of(entries: Sequence[External], config: Any, target: Target, judge: Judge) -> dict[int, Judge]:
    """Number of rows -> what judges samples of that size: the run's own judge, and one for each other size there is."""
    judges = {judge.scorer.n_samples: judge}
    for entry in entries:
        if entry.rows is not None and len(entry.rows) not in judges:
            judges[len(entry.rows)] = kind_of(target).judge(target, config, len(entry.rows))
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
            scores=_last_scores(run, target, judge),
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
                # What needs a model's probabilities is not defined of a sample.
                scores=dict.fromkeys(own.scorer.exact_metrics)
                | {name: [value] for name, value in own.scorer.score(entry.rows).items()},
                floors=own.floors,
                diverged_at_step=[None],
                external=True,
            )
        )
    return assessments


def _last_scores(run: Run, target: Target, judge: Judge) -> dict[str, list[float] | None]:
    """The scores of a family's last evaluation; what needs a density is not defined for a family without one."""
    has_exact = kind_of(target).has_divergence(run.model, target)
    undefined = () if has_exact else judge.scorer.exact_metrics
    metrics = run.evaluations[-1].metrics
    return {name: None if name in undefined else list(values) for name, values in metrics.items()}


def losses_to_rivals(assessments: Sequence[Assessment], kind: Kind, floor: Floor, exactly: bool) -> dict[str, str]:
    """What is worse than a trivial model of the same run -> a remark, such as "▼ loses to HISTOGRAM by KLD".

    Two that both have the exact divergence are compared by it: what is worse than every seed of the rival loses. Others
    are compared by the main metric, and what loses lies above the floor's range as well: within that range it cannot be
    told from a perfect model, and of two such which is larger is chance. Rivals are not compared with each other, nor
    are samples of another size.

    Args:
      assessments: of one run; those without such a metric have no remark.
      kind: of their target.
      floor: that of the main metric.
      exactly: whether the exact divergence is of what is scored (`Kind.exact_is_scored`).
    """

    def known(entry, name):
        return entry.scores.get(name) is not None and not any(entry.unknown)

    def median(entry, name):
        scores = entry.scores[name]
        return float(np.median(np.where(np.isfinite(scores), scores, np.inf)))

    rivals = [entry for entry in assessments if entry.rival]
    remarks = {}
    for entry in assessments:
        better: dict[str, dict[str, float]] = {}
        for rival in rivals if not entry.rival else ():
            name = kind.exact if exactly and known(entry, kind.exact) and known(rival, kind.exact) else kind.main
            if name == kind.main:
                scored_alike = entry.floors.get(name) == floor and rival.scores.get(name) is not None
                if not (scored_alike and entry.scores.get(name) is not None and median(entry, name) > floor.high):
                    continue
            worst = float(np.nanmax(rival.scores[name])) if np.isfinite(median(rival, name)) else np.inf
            if worst < median(entry, name):
                better.setdefault(name, {})[rival.name] = worst
        if better:
            remarks[entry.name] = "▼ loses to " + " and to ".join(
                f"{_named(worst)} by {metrics.METRICS[name].label}" for name, worst in better.items()
            )
    return remarks


def _named(worst: Mapping[str, float]) -> str:
    """Such as "A and B"; of more than two the best, and how many there are besides."""
    if len(worst) <= 2:
        return " and ".join(worst)
    return f"{min(worst, key=worst.__getitem__)} and {len(worst) - 1} more"


def scored(assessments: Sequence[Assessment]) -> list[Scored]:
    """The entries that have samples."""
    return [
        Scored(entry.name, entry.samples, [at is not None for at in entry.diverged_at_step])
        for entry in assessments
        if entry.samples is not None
    ]


def memorisation(x: np.ndarray, target: Target) -> dict[str, float] | None:
    """How far a sample [n, D] is from training rows and from as many held-out ones, such as by Wasserstein-1.

    A model that repeats its training rows is near the first and as far from the second as these are from each other
    (`memoriser`); for one that has learned the distribution both are alike. None where data are drawn afresh.
    """
    if target.train_rows is None:
        return None
    return kind_of(target).distances(x, _equal_parts(target))


def memoriser(target: Target) -> dict[str, float] | None:
    """What `memorisation` gives for a model that repeats all training rows equally often."""
    if target.train_rows is None:
        return None
    return memorisation(np.asarray(target.as_compared(jnp.asarray(target.train_rows, jnp.float32))), target)


def _assess_masses(entry: External, target: Target, judge: Judge) -> Assessment:
    """Exact scores of exact probabilities: no sample, hence as a floor one value, that of the target's own."""
    kind = kind_of(target)
    scores = {
        name: None if value is None else [value] for name, value in kind.of_masses(entry.masses, target, judge).items()
    }
    own = kind.states(target)
    # Against held-out rows nothing is exact.
    known = {} if own is None else kind.of_masses(own.masses, target, judge)
    # A distance of the target to itself is 0 but for rounding.
    known = {name: 0.0 if abs(value) < _ROUNDING else value for name, value in known.items() if value is not None}
    floors = {name: Floor(*[value] * 4) for name, value in known.items()}
    return Assessment(entry.name, entry.n_params, None, None, entry.masses, scores, floors, [None], external=True)


def _equal_parts(target: Target) -> dict[str, np.ndarray]:
    """As many training rows as held-out ones, as compared: distances to parts of unequal size cannot be compared."""
    n = min(len(target.train_rows), len(target.held_out_rows))
    parts = {"train": target.train_rows[:n], "held_out": target.held_out_rows[:n]}
    return {part: np.asarray(target.as_compared(jnp.asarray(rows, jnp.float32))) for part, rows in parts.items()}

"""Every score that is computed once, when training is over."""

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmark.engine.programs import working_on
from benchmark.engine.records import Run
from benchmark.scoring.assessment import Assessment, memorisation
from benchmark.scoring.outcome import Outcome
from kinds.contract import Closing, Divergence, Judge, Target
from kinds.exact import has_log_likelihoods, mean_log_likelihoods
from kinds.registry import kind_of
from models import mixing

_LOST = {"train": math.nan, "held_out": math.nan}  # what a diverged seed has in either part of the rows


def close(outcome: Outcome, judges: Mapping[int, Judge]) -> Outcome:
    """The outcome with every score that is computed once: of every seed of every family, and of every sample.

    Args:
      outcome: with the assessments from `assess`.
      judges: from `judges_of`.

    Returns:
      The outcome, and in it the scorer of the run's own number of rows.
    """
    kind, target, config = outcome.kind, outcome.target, outcome.config
    closing = kind.closing(target, config, outcome.judge)
    closings = {outcome.judge.scorer.n_samples: closing}
    runs = {run.model.name: run for run in outcome.runs}
    closed = []
    # One after the other, and before anything else is at work: their sweeps are timed.
    chains = {name: _of_chains(run) for name, run in runs.items()}
    with ThreadPoolExecutor() as pool:
        # One job a family: side by side, its seeds would all compile the same program.
        densities = {name: pool.submit(_of_densities, run, target) for name, run in runs.items()}
        samples = {
            name: [pool.submit(_of_samples, run, seed, target, closing) for seed in range(len(run.states))]
            for name, run in runs.items()
        }
        for entry in outcome.assessments:
            if entry.samples is None:
                closed.append(entry)
            elif entry.external:
                n = entry.n_samples
                if n not in closings:
                    closings[n] = kind.closing(target, config, judges[n])
                added = {kind.exact: None} | {name: [v] for name, v in closings[n].score(entry.samples[0]).items()}
                distance = memorisation(entry.samples[0], target)
                entry = entry._replace(memorisation=[] if distance is None else [distance])
                closed.append(_with(entry, added, closings[n]))
            else:
                exact, unknown, likelihoods = densities[entry.name].result()
                found = [job.result() for job in samples[entry.name]]
                added = {kind.exact: exact} | {name: [scores[name] for scores, _ in found] for name in closing.floors}
                distances = [distance for _, distance in found if distance is not None]
                entry = entry._replace(unknown=unknown, log_likelihood=likelihoods, memorisation=distances)
                entry = entry._replace(sampling=chains[entry.name][0], sampling_times=chains[entry.name][1])
                closed.append(_with(entry, added, closing))
    return outcome._replace(assessments=closed, closing=closing)


def _with(entry: Assessment, scores: Mapping[str, list[float] | None], closing: Closing) -> Assessment:
    return entry._replace(scores={**entry.scores, **scores}, floors={**entry.floors, **closing.floors})


def _of_chains(run: Run) -> tuple[list[dict[str, Any] | None], list[dict[str, Any] | None]]:
    """How the chains of every seed mix, and how long sweeps take; None for a diverged one. Empty without chains."""
    if run.model.record is None:
        return [], []
    sampling, times = [], []
    for state, lost in zip(run.states, run.diverged_at_step, strict=True):
        with working_on(run.model.name, "chains"):
            recording = None if lost is not None else run.model.record(state)
        sampling.append(None if recording is None else mixing.diagnosed(recording))
        times.append(None if recording is None else mixing.times(recording, sampling[-1]))
    return sampling, times


def _of_densities(run: Run, target: Target) -> tuple[list[float] | None, list[str], list[dict[str, float] | None]]:
    """Exact divergence, why it is unknown, and likelihoods of every seed; NaN and no reason for a diverged one."""
    kind = kind_of(target)
    missing = _LOST if has_log_likelihoods(run.model, target) else None
    exact, unknown, likelihoods = [], [], []
    for state, lost in zip(run.states, run.diverged_at_step, strict=True):
        with working_on(run.model.name, "exact divergence"):
            found = Divergence(math.nan) if lost is not None else kind.divergence(run.model, state, target)
        if found is not None:
            exact.append(found.value)
            unknown.append(found.word)
        with working_on(run.model.name, "likelihoods"):
            likelihoods.append(missing if lost is not None else mean_log_likelihoods(run.model, state, target))
    return exact if kind.has_divergence(run.model, target) else None, unknown, likelihoods


def _of_samples(run: Run, seed: int, target: Target, closing: Closing) -> tuple:
    """Scores and distances of one seed's last sample; NaN for all that a diverged one has."""
    x = run.evaluations[-1].samples[seed]
    if run.diverged_at_step[seed] is not None:
        return dict.fromkeys(closing.floors, math.nan), None if target.train_rows is None else _LOST
    with working_on(run.model.name, "scores of the sample"):
        return closing.score(x), memorisation(x, target)

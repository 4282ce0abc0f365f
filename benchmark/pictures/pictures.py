"""Which pictures a run writes, and with what: from a run's arrays to calls of the functions that draw them.

A call is a name and plain arrays, so that it can be sent to another process; the drawing library is only imported
where one is carried out.
"""

import functools
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.engine.records import Run
from benchmark.pictures.context import Drawing, Shown, lost_at, own_floor
from benchmark.pictures.own_views import drawings_of_views, views_of
from benchmark.scoring.assessment import Assessment
from benchmark.scoring.outcome import Outcome
from benchmark.terminal import numbers
from core.drawing import scenes
from kinds.contract import Ended, Ending, Kind
from kinds.exact import sound_log_q

DASHBOARD = "metrics_comparison.png"
HISTOGRAM = "classical_benchmark_comparison_hist.png"
LOSSES = "loss_curves.png"
COSTS = "cost_quality.png"
SENSITIVITY = "kld_sensitivity.png"
TIMELINE_GIF = "timeline.gif"
_VIEWS = "benchmark.pictures.views"
_UNSEEN = 0.02  # a share of a value that is less than the width of a line
_FEW = 2  # points of a course that say nothing of the way


def draw(drawing: Drawing) -> None:
    """Carries a call out."""
    module, _, name = drawing.function.rpartition(".")
    getattr(importlib.import_module(module), name)(*drawing.args, **drawing.kwargs)


def timeline_name(percent: int) -> str:
    """The file name of a snapshot."""
    return f"timeline_{percent:03d}pct.png"


def names(config: Any, runs: Sequence[Run], kind: Kind) -> list[str]:
    """The files that `drawings` write."""
    models = [run.model for run in runs]
    of_kind = [name for name, each in kind.pictures.items() if each.wanted(config, models)]
    of_kind += [SENSITIVITY] if kind.sensitivity else []
    if not runs:
        return [HISTOGRAM, *of_kind]
    views = [f"{name}.png" for name in views_of(runs, kind)]
    timeline = [timeline_name(percent) for percent in _reached(config, runs)]
    timeline += [TIMELINE_GIF] if timeline else []
    return [DASHBOARD, HISTOGRAM, LOSSES, COSTS, *of_kind, *views, *timeline]


def drawings(folder: Path, outcome: Outcome, grid: Any, note: str = "") -> list[Drawing]:
    """The pictures of a run that need no score of the end; the one that takes longest comes first.

    Args:
      folder: where they are to go.
      outcome: of the run.
      grid: the main metric at other settings of its estimator, from `Kind.sensitivity`; None: it has none.
      note: what every title begins with.
    """
    # Another process may be at another place.
    folder = folder.absolute()
    shown = Shown(outcome, note)
    calls = [] if grid is None else [_sensitivity(folder, shown, grid)]
    if outcome.runs:
        calls += [*_timeline(folder, shown), _losses(folder, shown)]
        calls += drawings_of_views(folder, shown)
    return sorted(calls, key=lambda call: call.function != "plotting.timeline")


def closing_drawings(folder: Path, outcome: Outcome, note: str = "") -> list[Drawing]:
    """Those that show scores of the end.

    Args:
      folder: where they are to go.
      outcome: of the run, from `closing.close`.
      note: what every title begins with.
    """
    folder, shown = folder.absolute(), Shown(outcome, note)
    of_runs = [_dashboard(folder, shown), _costs(folder, shown)] if outcome.runs else []
    return [_comparison(folder, shown), *of_runs, *_of_kind(folder, shown)]


def _comparison(folder: Path, shown: Shown) -> Drawing:
    outcome = shown.outcome
    several = outcome.config.num_seeds > 1 and outcome.runs
    how = f"{shown.middle.replace('the ', 'samples of the ', 1)}, scores: medians" if several else ""
    entries = outcome.assessments
    remarks = {
        e.name: " · ".join(filter(None, (_exact_of(e, outcome), _lost_beside(e), shown.worse.get(e.name))))
        for e in entries
    }
    kept = outcome.judge.scorer.kept
    frame = scenes.Frame(
        kept={e.name: kept(e.samples[shown.seeds.get(e.name, 0)]) for e in entries if e.samples is not None},
        scores={entry.name: _head(entry, outcome) for entry in entries},
        masses={e.name: outcome.judge.shown(e.masses) for e in shown.external if e.masses is not None},
        remarks=remarks,
    )
    args = folder / HISTOGRAM, shown.scene, frame, shown.colours, shown.heading + how
    return Drawing("plotting.comparison_hist", args, {"floors_text": shown.floors_text})


def _of_kind(folder: Path, shown: Shown) -> list[Drawing]:
    """The pictures of the kind's own."""
    outcome = shown.outcome
    models = [run.model for run in outcome.runs]
    wanted = {name: each for name, each in shown.kind.pictures.items() if each.wanted(outcome.config, models)}
    if not wanted:
        return []
    ending = outcome.ending or _ending(shown)
    heading = shown.heading + shown.middle if outcome.runs else shown.heading
    return [
        Drawing(each.function, (folder / name, *each.arguments(ending), heading), {}) for name, each in wanted.items()
    ]


def with_further(outcome: Outcome) -> Outcome:
    """The outcome with what its kind makes of the end beside scores; as it is where that is nothing."""
    if outcome.kind.further is None:
        return outcome
    ending = _ending(Shown(outcome, ""))
    further = outcome.kind.further(ending)
    return outcome._replace(ending=ending._replace(shared=further.shared), further=further)


def _ending(shown: Shown) -> Ending:
    outcome = shown.outcome
    floors = {**outcome.judge.floors, **(outcome.closing.floors if outcome.closing else {})}
    entries = [_ended(entry, shown) for entry in outcome.assessments]
    return Ending(outcome.target, floors, entries, outcome.config, outcome.judge)


def _ended(entry: Assessment, shown: Shown) -> Ended:
    """A family's middle seed, or what came from elsewhere."""
    seed, colour = shown.seeds.get(entry.name, 0), shown.colours[entry.name]
    diverged = entry.diverged_at_step[seed] is not None
    x = None if diverged or entry.samples is None else entry.samples[seed]
    ended = Ended(entry.name, colour, x, entry.masses, None, entry.estimated, diverged)
    for run in shown.outcome.runs:
        if run.model.name == entry.name:
            ended = ended._replace(courses=shown.curves(run, run.evaluations[-1].info or ()))
            if not diverged:
                ended = ended._replace(model=run.model, state=run.states[seed])
            if not diverged and shown.kind.has_divergence(run.model, shown.outcome.target):
                ended = ended._replace(log_q=functools.partial(sound_log_q, run.model, run.states[seed]))
    return ended


def _sensitivity(folder: Path, shown: Shown, grid: Any) -> Drawing:
    entries = {shown.labels[name]: np.asarray(values) for name, values in grid.entries.items()}
    groups = _alike([grid.floor, *entries.values()], grid.epsilons, grid.chosen[1])
    drawn = [group[0] for group in groups]
    scene = scenes.Sensitivity(
        np.asarray(grid.cells),
        np.asarray(grid.epsilons)[drawn],
        {name: values[..., drawn] for name, values in entries.items()},
        np.asarray(grid.floor)[..., drawn],
        grid.chosen,
        [shown.labels[entry.name] for entry in shown.external],
        [[grid.epsilons[e] for e in group[1:]] for group in groups],
    )
    args = folder / SENSITIVITY, scene, shown.colours, shown.heading
    return Drawing(f"{_VIEWS}.sensitivity.kld_sensitivity", args, {"cells_label": grid.label})


def _alike(arrays: Sequence[np.ndarray], epsilons: Sequence[float], chosen: float) -> list[list[int]]:
    """Numbers of the ε by panel: those whose values [..., E] nobody could tell apart share one, the run's own first."""
    groups: list[list[int]] = []
    for e in sorted(range(len(epsilons)), key=lambda e: not np.isclose(epsilons[e], chosen, rtol=1e-6, atol=0)):
        for group in groups:
            both = [(np.asarray(each)[..., e], np.asarray(each)[..., group[0]]) for each in arrays]
            if all(np.allclose(*each, rtol=_UNSEEN, atol=0, equal_nan=True) for each in both):
                group.append(e)
                break
        else:
            groups.append([e])
    return sorted(groups)


def _dashboard(folder: Path, shown: Shown) -> Drawing:
    scorer, exact = shown.outcome.judge.scorer, shown.kind.exact
    curves = {}
    for run in shown.outcome.runs:
        found = shown.curves(run, scorer.followed) | {exact: shown.exact_curve(run)}
        curves[run.model.name] = {name: curve for name, curve in found.items() if curve is not None}
    # An exact score that no family has is no panel.
    drawn = [name for name in scorer.followed if any(name in each for each in curves.values())]
    metrics = {name: _metric(shown, name) for name in drawn}
    args = folder / DASHBOARD, curves, metrics, shown.colours, shown.heading
    return Drawing("plotting.metrics_comparison", args, {"remarks": shown.worse})


def _metric(shown: Shown, name: str) -> scenes.MetricPicture:
    """One metric as an axis, with the floor and what samples from elsewhere score."""
    outcome = shown.outcome
    exact = name in outcome.judge.scorer.exact_metrics
    externals = {shown.labels[entry.name]: shown.value_of(entry, name) for entry in shown.external}
    estimates = [entry.name for entry in outcome.assessments if name in outcome.estimates(entry)]
    rivals = {}
    if name == shown.kind.exact:
        known = shown.kind.describe(outcome.target).get("rivals", {})
        rivals = {rival: best[name] for rival, best in known.items() if rival not in outcome.config.models}
    return scenes.MetricPicture(outcome.judge.labels[name], shown.floors.get(name), externals, exact, estimates, rivals,
                                outcome.judge.marks.get(name, {}))  # fmt: skip


def _costs(folder: Path, shown: Shown) -> Drawing:
    # The exact divergence tells families apart where samples do not: it is shown where every family has it.
    of_exact = {run.model.name: shown.exact_curve(run) for run in shown.outcome.runs}
    main, points = shown.kind.main, {}
    if all(curve is not None and len(curve.steps) > _FEW for curve in of_exact.values()):
        main = shown.kind.exact
    for run in shown.outcome.runs:
        course = of_exact[run.model.name] if main == shown.kind.exact else shown.curves(run, [main])[main]
        cost = shown.outcome.costs[run.model.name]
        operations = cost["operations_per_step"]
        n_steps = run.model.steps_until(run.evaluations[-1].step)
        points[run.model.name] = scenes.CostPicture(
            # Of a whole training: a diverged seed has not taken all its steps.
            seconds=cost["train_seconds"] / (run.seed_steps / n_steps) if run.seed_steps else 0.0,
            operations=None if operations is None else operations * n_steps,
            score=course.values[:, -1],
            course=course,
            n_steps=n_steps,
        )
    args = folder / COSTS, points, _metric(shown, main), shown.colours, shown.heading
    return Drawing(f"{_VIEWS}.costs.cost_quality", args, {"remarks": shown.worse})


def _timeline(folder: Path, shown: Shown) -> list[Drawing]:
    config, runs = shown.outcome.config, shown.outcome.runs
    frames, reached = {}, _reached(config, runs)
    estimates = {entry.name: shown.outcome.estimates(entry) for entry in shown.outcome.assessments}
    percent_at = {step: percent for percent, step in reached.items()}
    last = max(percent_at, default=-1)
    for step in [step for step in config.shown_steps if step <= last]:
        kept, scores = {}, {}
        for run in runs:
            name = run.model.name
            evaluation = next(evaluation for evaluation in run.evaluations if evaluation.step == step)
            seed, lost = shown.seeds[name], run.diverged_at_step[shown.seeds[name]]
            kept[name] = evaluation.kept[seed]
            own = {metric: evaluation.metrics[metric][seed] for metric in shown.floors}
            scores[name] = numbers.scores_text(own, estimates[name])
            if lost is not None and lost <= evaluation.step:
                scores[name] = lost_at(lost)
        label = f"step {numbers.thousands(step)}"
        if step in percent_at:
            name, label = timeline_name(percent_at[step]), f"{percent_at[step]} %, {label}"
            frames[name] = scenes.Frame(kept, scores, label)
        else:
            frames[label] = scenes.Frame(kept, scores, label, in_animation_alone=True)
    if not frames:
        return []
    args = folder / TIMELINE_GIF, shown.scene, frames, shown.colours, shown.heading + shown.middle
    return [Drawing("plotting.timeline", args, {"floors_text": shown.floors_text})]


def _losses(folder: Path, shown: Shown) -> Drawing:
    runs = shown.outcome.runs
    in_views = {run.model.name: set() for run in runs}
    for parts in views_of(runs, shown.kind).values():
        for run, view in parts:
            in_views[run.model.name] |= set(view.info_fields)
    losses = {}
    for run in runs:
        model = run.model
        fields = [f for f in run.evaluations[-1].info or () if f not in in_views[model.name]]
        losses[model.name] = scenes.LossPicture(
            shown.curves(run, fields), model.loss_reference, model.info_units, model.last_fields
        )
    return Drawing("plotting.loss_curves", (folder / LOSSES, losses, shown.colours, shown.heading), {})


def _reached(config: Any, runs: Sequence[Run]) -> dict[int, int]:
    """Percent of the training -> step, for every snapshot that all families have come to."""
    last = min(run.evaluations[-1].step for run in runs)
    return {percent: step for percent, step in config.snapshot_steps.items() if step <= last}


def _lost_of(entry: Assessment) -> str:
    """Such as "1 of 4 seeds diverged"; empty if none has."""
    lost = [step for step in entry.diverged_at_step if step is not None]
    if lost and len(entry.diverged_at_step) == 1:
        return lost_at(lost[0])
    return f"{len(lost)} of {len(entry.diverged_at_step)} seeds diverged" if lost else ""


def _lost_beside(entry: Assessment) -> str:
    """The same where it stands beside scores, and not in their place."""
    return _lost_of(entry) if _has_median(entry) else ""


def _exact_of(entry: Assessment, outcome: Outcome) -> str:
    """The exact divergence of a family, or its estimate; it tells families apart where samples do not."""
    exact = outcome.kind.exact
    # Where it is followed it stands among the scores.
    beside = exact not in outcome.judge.floors and not entry.external
    known = beside and entry.scores.get(exact) is not None and _has_median(entry)
    return numbers.medians_text(entry, [exact], outcome.estimates(entry)) if known else ""


def _has_median(entry: Assessment) -> bool:
    """Whether so few seeds have diverged that there are medians."""
    return 2 * sum(step is not None for step in entry.diverged_at_step) < len(entry.diverged_at_step)


def _head(entry: Assessment, outcome: Outcome) -> str:
    """The line of scores over an entry's panel: medians; of probabilities what they have; and its own floor."""
    if not _has_median(entry):
        return _lost_of(entry)
    names = outcome.judge.floors
    if entry.masses is not None:
        names = [name for name in (outcome.kind.exact, *names) if name in entry.scores]
    known = [name for name in names if entry.scores[name] is not None]
    return numbers.medians_text(entry, known, outcome.estimates(entry)) + own_floor(entry, outcome)

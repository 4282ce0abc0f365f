"""Which pictures a run writes, and with what: from a run's arrays to calls of the functions that draw them.

A call is a name and plain arrays, so that it can be sent to another process; the drawing library is only imported
where one is carried out.
"""

import functools
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmark.engine.training import Run
from benchmark.files.results import history_of
from benchmark.scoring.assessment import Assessment, losses_to_rivals
from benchmark.scoring.outcome import Outcome
from benchmark.terminal import console
from core.drawing import scenes
from kinds.contract import Kind, Target, floor_of
from kinds.registry import kind_of
from models import MODELS
from models.base import View

DASHBOARD = "metrics_comparison.png"
HISTOGRAM = "classical_benchmark_comparison_hist.png"
LOSSES = "loss_curves.png"
COSTS = "cost_quality.png"
SENSITIVITY = "kld_sensitivity.png"
TIMELINE_GIF = "timeline.gif"
_VIEWS = "benchmark.pictures.views"


class Drawing(NamedTuple):
    """One call that writes one picture, or several that belong together."""

    function: str  # module.function
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def draw(drawing: Drawing) -> None:
    """Carries a call out."""
    module, _, name = drawing.function.rpartition(".")
    getattr(importlib.import_module(module), name)(*drawing.args, **drawing.kwargs)


def timeline_name(percent: int) -> str:
    """The file name of a snapshot."""
    return f"timeline_{percent:03d}pct.png"


def names(config: Any, runs: Sequence[Run], kind: Kind) -> list[str]:
    """The files that `drawings` write."""
    of_estimator = [SENSITIVITY] if kind.sensitivity else []
    if not runs:
        return [HISTOGRAM, *of_estimator]
    views = [f"{name}.png" for name in _views_of(runs, kind)]
    timeline = [timeline_name(percent) for percent in _reached(config, runs)]
    timeline += [TIMELINE_GIF] if timeline else []
    return [DASHBOARD, HISTOGRAM, LOSSES, COSTS, *of_estimator, *views, *timeline]


def drawings(folder: Path, outcome: Outcome, grid: Any, note: str = "") -> list[Drawing]:
    """Every picture of a run; the one that takes longest comes first.

    Args:
      folder: where they are to go.
      outcome: of the run.
      grid: the main metric at other settings of its estimator, from `Kind.sensitivity`; None: it has none.
      note: what every title begins with.
    """
    # Another process may be at another place.
    folder = folder.absolute()
    shown = _Shown(outcome, note)
    calls = [_comparison(folder, shown)]
    if grid is not None:
        calls.append(_sensitivity(folder, shown, grid))
    if outcome.runs:
        calls += [_dashboard(folder, shown), _costs(folder, shown), *_timeline(folder, shown), _losses(folder, shown)]
        calls += _views(folder, shown)
    return sorted(calls, key=lambda call: call.function != "plotting.timeline")


class _Shown:
    """What the pictures of one run share."""

    def __init__(self, outcome: Outcome, note: str):
        judge, runs = outcome.judge, outcome.runs
        self.outcome, self.kind = outcome, outcome.kind
        self.external = [entry for entry in outcome.assessments if entry.external]
        self.colours = scenes.family_colours(list(MODELS), [entry.name for entry in self.external])
        # What was scored at another number of rows has another floor than the one that is drawn.
        self.labels = {entry.name: entry.name + _own_floor(entry, outcome) for entry in outcome.assessments}
        self.colours |= {label: self.colours[name] for name, label in self.labels.items()}
        self.scene = self.kind.scene(outcome.target, judge, outcome.config)
        self.heading = note + title(outcome.config, outcome.target)
        self.middle = " · the middle seed" if outcome.config.num_seeds > 1 else ""
        self.seeds = {run.model.name: median_seed(run, self.kind.main) for run in runs}
        self.floors = {name: tuple(floor) for name, floor in judge.floors.items()}
        self.floors_text = "floor: " + console.scores_text({name: floor.mean for name, floor in judge.floors.items()})
        self.worse = losses_to_rivals(outcome.assessments, self.kind, judge.floors[self.kind.main])
        self._histories = {run.model.name: history_of(run) for run in runs}

    def curves(self, run: Run, fields: Iterable[str]) -> dict[str, scenes.Curve]:
        """The course of metrics and of fields of Info, those that there are."""
        history = self._histories[run.model.name]
        steps = np.asarray(history["step"])
        drawn = [field for field in fields if field in history]
        # Step 0 has scores but no losses.
        start = {field: int(field not in self.floors) for field in drawn}
        return {f: scenes.Curve(steps[start[f] :], np.asarray(history[f], float)[:, start[f] :]) for f in drawn}

    def value_of(self, entry: Assessment, name: str) -> float | None:
        """A score of what came from elsewhere; exact probabilities have none of the noise that the floor is made of."""
        values = None if entry.masses is not None else entry.scores.get(name)
        return None if values is None else values[0]


def _comparison(folder: Path, shown: _Shown) -> Drawing:
    outcome = shown.outcome
    how = " · samples of the middle seed, scores: medians" if outcome.config.num_seeds > 1 and outcome.runs else ""
    entries = outcome.assessments
    remarks = {
        e.name: " · ".join(filter(None, (_lost_of(e) if _has_median(e) else "", shown.worse.get(e.name))))
        for e in entries
    }
    args = (
        folder / HISTOGRAM,
        shown.scene,
        {e.name: e.samples[shown.seeds.get(e.name, 0)] for e in entries if e.samples is not None},
        {entry.name: _head(entry, outcome) for entry in entries},
        shown.colours,
        shown.heading + how,
    )
    heights = {entry.name: entry.masses for entry in shown.external if entry.masses is not None}
    return Drawing(
        "plotting.comparison_hist", args, {"floors_text": shown.floors_text, "heights": heights, "remarks": remarks}
    )


def _sensitivity(folder: Path, shown: _Shown, grid: Any) -> Drawing:
    scene = scenes.Sensitivity(
        np.asarray(grid.cells),
        np.asarray(grid.epsilons),
        {shown.labels[name]: np.asarray(values) for name, values in grid.entries.items()},
        grid.floor,
        grid.chosen,
        [shown.labels[entry.name] for entry in shown.external],
    )
    args = folder / SENSITIVITY, scene, shown.colours, shown.heading
    return Drawing(f"{_VIEWS}.scorecards.kld_sensitivity", args, {"cells_label": grid.label})


def _dashboard(folder: Path, shown: _Shown) -> Drawing:
    judge = shown.outcome.judge
    curves = {run.model.name: shown.curves(run, judge.floors) for run in shown.outcome.runs}
    externals = {
        shown.labels[entry.name]: {name: shown.value_of(entry, name) for name in judge.floors}
        for entry in shown.external
    }
    args = folder / DASHBOARD, curves, shown.floors, shown.colours, shown.heading
    return Drawing(
        "plotting.metrics_comparison",
        args,
        {"labels": judge.labels, "externals": externals, "remarks": shown.worse},
    )


def _costs(folder: Path, shown: _Shown) -> Drawing:
    main, points = shown.kind.main, {}
    for run in shown.outcome.runs:
        cost = shown.outcome.costs[run.model.name]
        operations = cost["operations_per_step"]
        n_steps = run.model.steps_until(run.evaluations[-1].step)
        points[run.model.name] = scenes.CostPicture(
            # Of a whole training: a diverged seed has not taken all its steps.
            seconds=cost["train_seconds"] / (run.seed_steps / n_steps) if run.seed_steps else 0.0,
            operations=None if operations is None else operations * n_steps,
            score=run.evaluations[-1].metrics[main],
            course=shown.curves(run, [main])[main],
            n_steps=n_steps,
        )
    levels = {shown.labels[e.name]: shown.value_of(e, main) for e in shown.external}
    args = folder / COSTS, points, levels, shown.floors.get(main), shown.colours, shown.heading
    label = shown.outcome.judge.labels[main]
    return Drawing(f"{_VIEWS}.scorecards.cost_quality", args, {"label": label, "remarks": shown.worse})


def _timeline(folder: Path, shown: _Shown) -> list[Drawing]:
    config, runs = shown.outcome.config, shown.outcome.runs
    frames = []
    for percent, step in _reached(config, runs).items():
        samples, scores = {}, {}
        for run in runs:
            name, evaluation = run.model.name, run.evaluations[step * config.n_evaluations // config.n_steps]
            seed, lost = shown.seeds[name], run.diverged_at_step[shown.seeds[name]]
            samples[name] = evaluation.samples[seed]
            scores[name] = console.scores_text({metric: values[seed] for metric, values in evaluation.metrics.items()})
            if lost is not None and lost <= evaluation.step:
                scores[name] = _lost_at(lost)
        label = f"{percent} % · step {step:,}".replace(",", " ")
        frames.append((timeline_name(percent), label, samples, scores))
    if not frames:
        return []
    args = folder, TIMELINE_GIF, frames, shown.scene, shown.colours, shown.heading + shown.middle
    return [Drawing("plotting.timeline", args, {"floors_text": shown.floors_text})]


def _losses(folder: Path, shown: _Shown) -> Drawing:
    runs = shown.outcome.runs
    in_views = {run.model.name: {f for view in run.model.views.values() for f in view.info_fields} for run in runs}
    losses = {
        run.model.name: shown.curves(
            run, [f for f in run.evaluations[-1].info or () if f not in in_views[run.model.name]]
        )
        for run in runs
    }
    references = {run.model.name: run.model.loss_reference for run in runs if run.model.loss_reference}
    units = {run.model.name: run.model.info_units for run in runs}
    ends = {run.model.name: run.model.last_fields for run in runs}
    args = folder / LOSSES, losses, shown.colours, references, shown.heading
    return Drawing("plotting.loss_curves", args, {"units": units, "of_the_last": ends})


def _views(folder: Path, shown: _Shown) -> Iterator[Drawing]:
    outcome = shown.outcome
    rows = functools.cache(lambda: view_rows(outcome.config, outcome.target))
    for picture, parts in _views_of(outcome.runs, shown.kind).items():
        showing = shown.kind.views[parts[0][1].kind]
        # Every seed has data of its own: families that share a picture are shown by one seed, the first one's middle.
        seed = shown.seeds[parts[0][0].model.name]
        contributions = {
            run.model.name: _contribution(shown, run, view, seed, rows, showing.further) for run, view in parts
        }
        head = _head_of_view(shown, contributions, [run.diverged_at_step[seed] for run, _ in parts])
        path = folder / f"{picture}.png"
        if showing.arguments is None:
            drawn = {name: _without_arrays_of(part) for name, part in contributions.items()}
            own = {name: _further_floor(score, outcome) for name, score in showing.further.items()}
            yield Drawing(showing.function, (path, drawn, shown.scene, shown.floors | own, head), {})
            continue
        ((_, part),) = contributions.items()
        arrays = part.arrays
        if part.diverged:
            arrays = arrays | {showing.of_model: np.full_like(arrays[showing.of_model], np.nan)}
        yield Drawing(
            showing.function, (path, *showing.arguments(arrays, part.curves, shown.scene, part.colour), head), {}
        )


def _contribution(
    shown: _Shown, run: Run, view: View, seed: int, rows: Callable[[], jax.Array], further: Mapping[str, Callable]
) -> scenes.Contribution:
    outcome = shown.outcome
    arrays = {} if view.arrays is None else view.arrays(run.states[seed], *([rows()] if view.needs_rows else []))
    return scenes.Contribution(
        arrays={key: np.asarray(value) for key, value in jax.device_get(arrays).items()},
        curves=shown.curves(run, view.info_fields),
        scores=shown.curves(run, outcome.judge.floors)
        | {name: _further(score, run, outcome) for name, score in further.items()},
        colour=shown.colours[run.model.name],
        diverged=run.diverged_at_step[seed] is not None,
        seed=seed,
    )


def _head_of_view(shown: _Shown, contributions: Mapping[str, scenes.Contribution], lost: Sequence[int | None]) -> str:
    """Whose picture it is, of which seed, and which of them have diverged."""
    words = [
        ("" if len(contributions) == 1 else f"{name} ") + _lost_at(at)
        for name, at in zip(contributions, lost, strict=True)
        if at is not None
    ]
    which = shown.middle if any(part.arrays for part in contributions.values()) else ""
    which += f" of {next(iter(contributions))}" if which and len(contributions) > 1 else ""
    return " · ".join([" and ".join(contributions), shown.heading + which, *words])


def view_rows(config: Any, target: Target) -> jax.Array:
    """The target's events [2 000, *event] that a view with `needs_rows` is given: the same for all families."""
    key = jax.random.fold_in(jax.random.key(config.seed), 2**31 + 4)
    return jax.jit(lambda key: target.codec.encode(target.sample(key, scenes.N_VIEW_ROWS)))(key)


def _further(score: Callable[..., float], run: Run, outcome: Outcome) -> scenes.Curve:
    """Another score of all samples that have been kept."""
    kept = [evaluation for evaluation in run.evaluations if evaluation.samples is not None]
    values = [
        [score(rows, outcome.target, outcome.judge, outcome.config) for rows in evaluation.samples]
        for evaluation in kept
    ]
    return scenes.Curve(np.array([evaluation.step for evaluation in kept]), np.array(values).T)


def _further_floor(score: Callable[..., float], outcome: Outcome) -> tuple[float, ...]:
    """The same of samples of the target itself."""
    judge, n = outcome.judge, outcome.kind.n_floor_draws
    return tuple(floor_of([score(judge.perfect(i)[0], outcome.target, judge, outcome.config) for i in range(n)]))


def _views_of(runs: Sequence[Run], kind: Kind) -> dict[str, list[tuple[Run, View]]]:
    """Picture name -> the families that contribute to it, with what each shows; of views that the kind draws.

    Raises:
      ValueError: families share a picture whose kind is drawn of one alone, or do not agree on its kind.
    """
    found: dict[str, list[tuple[Run, View]]] = {}
    for run in runs:
        for picture, view in run.model.views.items():
            if view.kind in kind.views:
                found.setdefault(picture, []).append((run, view))
    for picture, parts in found.items():
        kinds = {view.kind for _, view in parts}
        if len(kinds) > 1 or (len(parts) > 1 and any(kind.views[each].arguments for each in kinds)):
            families = " and ".join(run.model.name for run, _ in parts)
            raise ValueError(f"{families} cannot share the picture {picture!r} of {' and '.join(sorted(kinds))}")
    return found


def _without_arrays_of(part: scenes.Contribution) -> scenes.Contribution:
    """A contribution as it may be shown: nothing is drawn of the weights of a seed that has diverged."""
    if not part.diverged:
        return part
    return part._replace(arrays={key: np.full(np.shape(value), np.nan) for key, value in part.arrays.items()})


def _reached(config: Any, runs: Sequence[Run]) -> dict[int, int]:
    """Percent of the training -> step, for every snapshot that all families have come to."""
    last = min(run.evaluations[-1].step for run in runs)
    return {percent: step for percent, step in config.snapshot_steps.items() if step <= last}


def _lost_at(step: int) -> str:
    return f"diverged at step {console.thousands(step)}"


def _lost_of(entry: Assessment) -> str:
    """Such as "1 of 4 seeds diverged"; empty if none has."""
    lost = [step for step in entry.diverged_at_step if step is not None]
    if lost and len(entry.diverged_at_step) == 1:
        return _lost_at(lost[0])
    return f"{len(lost)} of {len(entry.diverged_at_step)} seeds diverged" if lost else ""


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
    return console.medians_text(entry, known) + _own_floor(entry, outcome)


def _own_floor(entry: Assessment, outcome: Outcome) -> str:
    """Of an external entry of fewer rows, how many, and what samples of the target of that size score."""
    if not entry.external or entry.n_samples in (None, outcome.judge.scorer.n_samples):
        return ""
    main = outcome.kind.main
    return f", n = {entry.n_samples}: floor {console.scores_text({main: entry.floors[main].mean})}"


def title(config: Any, target: Target) -> str:
    """What every picture says of its run."""
    seeds = f"{config.num_seeds} seed{'s' if config.num_seeds > 1 else ''}"
    if not config.models:
        seeds = "external entries alone"
    words = kind_of(target).words(target, config)
    parameters = f"{config.parameter_budget} parameters · " if config.models else ""
    return f"{target.name} · {words + ' · ' if words else ''}{parameters}{seeds}"


def median_seed(run: Run, main: str) -> int:
    """The middle seed by the main metric at the end, of two middle ones the better: pictures show no kind of luck."""
    last = run.evaluations[-1].metrics[main]
    return int(np.argsort(np.where(np.isfinite(last), last, np.inf), kind="stable")[(len(last) - 1) // 2])

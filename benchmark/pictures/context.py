"""What the pictures of one run share."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from benchmark.engine.records import Run
from benchmark.files.results import history_of
from benchmark.scoring.assessment import Assessment
from benchmark.scoring.outcome import Outcome
from benchmark.terminal import numbers
from core.drawing import scenes
from kinds.contract import Target
from kinds.registry import kind_of
from models import MODELS


class Drawing(NamedTuple):
    """One call that writes one picture, or several that belong together."""

    function: str  # module.function
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


class Shown:
    """What the pictures of one run share."""

    def __init__(self, outcome: Outcome, note: str):
        judge, runs = outcome.judge, outcome.runs
        self.outcome, self.kind = outcome, outcome.kind
        self.external = [entry for entry in outcome.assessments if entry.external]
        self.colours = scenes.family_colours(list(MODELS), [entry.name for entry in self.external])
        # What was scored at another number of rows has another floor than the one that is drawn.
        self.labels = {entry.name: entry.name + own_floor(entry, outcome) for entry in outcome.assessments}
        self.colours |= {label: self.colours[name] for name, label in self.labels.items()}
        self.scene = self.kind.scene(outcome.target, judge, outcome.config)
        self.heading = note + title(outcome.config, outcome.target)
        self.middle = " · the middle seed" if outcome.config.num_seeds > 1 else ""
        self.seeds = {run.model.name: median_seed(run, self.kind.main) for run in runs}
        self.floors = {name: tuple(floor) for name, floor in judge.floors.items()}
        self.floors_text = "floor: " + numbers.scores_text({name: floor.mean for name, floor in judge.floors.items()})
        self.worse = outcome.losses_to_rivals()
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


def lost_at(step: int) -> str:
    """What is said of a seed that has diverged."""
    return f"diverged at step {numbers.thousands(step)}"


def own_floor(entry: Assessment, outcome: Outcome) -> str:
    """Of an external entry of fewer rows, how many, and what samples of the target of that size score."""
    if not entry.external or entry.n_samples in (None, outcome.judge.scorer.n_samples):
        return ""
    main = outcome.kind.main
    return f", n = {entry.n_samples}: floor {numbers.scores_text({main: entry.floors[main].mean})}"


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

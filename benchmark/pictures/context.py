"""What the pictures of one run share."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmark.asked.constants import Constants, affecting
from benchmark.engine.records import Run
from benchmark.files.results import history_of
from benchmark.scoring.assessment import Assessment
from benchmark.scoring.outcome import Outcome
from benchmark.terminal import numbers
from core.drawing import scenes
from kinds.contract import Target
from kinds.registry import kind_of
from models import MODELS

# Constants that titles name by other words, and those that nothing in a picture depends on.
_SAID = {"target_type", "num_bins", "models", "parameter_budget", "num_seeds", "decode", "external_samples",
         "external_probabilities", *affecting("nothing"), *affecting("pictures")}  # fmt: skip
_MOST_LETTERS = 32


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
        # An entry that is scored on another number of rows has its own floor; its label says so.
        self.labels = {entry.name: entry.name + own_floor(entry, outcome) for entry in outcome.assessments}
        self.colours |= {label: self.colours[name] for name, label in self.labels.items()}
        self.scene = self.kind.scene(outcome.target, judge, outcome.config)
        self._note = note
        self.heading = self.heading_of(runs)
        self.middle = middle_words(outcome.config.num_seeds)
        self.seeds = {run.model.name: median_seed(run, self.kind.main) for run in runs}
        self.floors = {name: tuple(floor) for name, floor in judge.floors.items()}
        self.floors_text = "floor: " + numbers.scores_text({name: floor.median for name, floor in judge.floors.items()})
        self.worse = outcome.losses_to_rivals()
        self._histories = {run.model.name: history_of(run) for run in runs}

    def heading_of(self, runs: Sequence[Run], instead: str = "") -> str:
        """What a picture of some of the families, or of all, says first; `instead` as `title` takes it."""
        return self._note + title(self.outcome.config, self.outcome.target, runs, instead)

    def curves(self, run: Run, fields: Iterable[str]) -> dict[str, scenes.Curve]:
        """The course of metrics and of fields of Info, those that there are."""
        history, scorer = self._histories[run.model.name], self.outcome.judge.scorer
        steps = np.asarray(history["step"])
        found = {}
        for field in fields:
            if field in history:
                values = np.asarray(history[field], float)
                # Step 0 has scores but no losses.
                kept = steps >= (0 if field in scorer.followed else 1)
                if field in scorer.exact_metrics:
                    kept = _known(steps, values, run.diverged_at_step)
                if kept.any():
                    found[field] = scenes.Curve(steps[kept], values[:, kept])
        return found

    def exact_curve(self, run: Run) -> scenes.Curve | None:
        """The course of the exact divergence, with its value at the end once that is computed; None: it has none."""
        name = self.kind.exact
        curve = self.curves(run, [name]).get(name)
        (entry,) = (entry for entry in self.outcome.assessments if entry.name == run.model.name)
        last, final = run.evaluations[-1].step, entry.scores.get(name)
        if final is None:
            return curve
        values = np.asarray(final, float)[:, None]
        if not _known(np.array([last]), values, run.diverged_at_step).any():
            return curve
        before = curve or scenes.Curve(np.empty(0, int), np.empty((len(values), 0)))
        earlier = before.steps < last
        return scenes.Curve(np.append(before.steps[earlier], last), np.hstack([before.values[:, earlier], values]))

    def value_of(self, entry: Assessment, name: str) -> float | None:
        """A score of what came from elsewhere; exact probabilities have none of the noise that the floor is made of."""
        values = None if entry.masses is not None else entry.scores.get(name)
        return None if values is None else values[0]


def _known(steps: np.ndarray, values: np.ndarray, diverged_at: Sequence[int | None]) -> np.ndarray:
    """At which steps [E] values [S, E] are known of all seeds that have not diverged by then, if there are any."""
    living = np.stack([steps < (np.inf if at is None else at) for at in diverged_at])
    return (np.isfinite(values) | ~living).all(axis=0) & living.any(axis=0)


def lost_at(step: int) -> str:
    """What is said of a seed that has diverged."""
    return f"diverged at step {numbers.thousands(step)}"


def own_floor(entry: Assessment, outcome: Outcome) -> str:
    """Of an external entry of fewer rows, how many, and what samples of the target of that size score."""
    if not entry.external or entry.n_samples in (None, outcome.judge.scorer.n_samples):
        return ""
    main = outcome.kind.main
    return f", n = {entry.n_samples}: floor {numbers.scores_text({main: entry.floors[main].median})}"


def title(config: Any, target: Target, runs: Sequence[Run] = (), instead: str = "") -> str:
    """What every picture says of its run: the target, each family's parameters, and what is not as it is by default.

    Args:
      config: of the run.
      target: its target.
      runs: of its families; none: they are still to be sized. Where none has a parameter nothing is said of any.
      instead: what is said in place of the target's size and settings; "": these.
    """
    seeds = f"{config.num_seeds} seed{'s' if config.num_seeds > 1 else ''}"
    if not config.models:
        seeds = "external entries alone"
    words = instead or kind_of(target).words(target, config)
    parameters = f"{config.parameter_budget} parameters" if config.models else ""
    if runs and not any(run.model.n_params for run in runs):
        parameters = ""
    elif len(runs) == 1:
        parameters = f"{runs[0].model.n_params} parameters"
    elif runs:
        parameters = "parameters: " + ", ".join(f"{run.model.name} {run.model.n_params}" for run in runs)
    settings = own_settings(config, [run.model.name for run in runs]) if runs else ()
    return " · ".join(filter(None, (target.name, words, parameters, seeds, *settings)))


def own_settings(config: Any, families: Iterable[str]) -> list[str]:
    """The constants, and settings of these families, that differ from their defaults and that titles do not name.

    Such as "N_STEPS = 2000" and "GAN.learning_rate = 0.01".
    """
    words = []
    for each in dataclasses.fields(Constants):
        value = getattr(config, each.name)
        if each.name not in _SAID and value != each.default:
            words.append(f"{each.name.upper()} = {_brief(value)}")
    # A family that is not in the registry has no settings.
    for own, name in ((getattr(config, name.lower()), name) for name in families if hasattr(config, name.lower())):
        for each in dataclasses.fields(own):
            if getattr(own, each.name) != each.default:
                words.append(f"{name}.{each.name} = {_brief(getattr(own, each.name))}")
    return words


def _brief(value: Any) -> str:
    """A value as a title names it: a long one is cut."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 1]}…"


def middle_words(n_seeds: int) -> str:
    """Which seed `median_seed` finds among so many, as titles say it."""
    if n_seeds == 1:
        return ""
    if n_seeds == 2:
        return " · the better of both seeds"
    return " · the middle seed" if n_seeds % 2 else " · the better of the two middle seeds"


def median_seed(run: Run, main: str) -> int:
    """The middle seed by the main metric at the end, of two middle ones the better: pictures show no kind of luck."""
    last = run.evaluations[-1].metrics[main]
    return int(np.argsort(np.where(np.isfinite(last), last, np.inf), kind="stable")[(len(last) - 1) // 2])

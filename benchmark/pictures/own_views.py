"""Pictures of what families show of themselves, which depend on the kind of events."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmark.engine.records import Run
from benchmark.pictures.context import Drawing, Shown, lost_at
from benchmark.scoring.outcome import Outcome
from core import wording
from core.drawing import scenes
from kinds.contract import Judge, Kind, Target, floor_of
from models.base import View


def drawings_of_views(folder: Path, shown: Shown) -> Iterator[Drawing]:
    """The pictures of what families show of themselves."""
    outcome = shown.outcome
    rows = functools.cache(lambda: view_rows(outcome.config, outcome.target))
    for picture, parts in views_of(outcome.runs, shown.kind).items():
        showing = shown.kind.views[parts[0][1].kind]
        # Every seed has data of its own: families that share a picture are shown by one seed, the first one's middle.
        seed = shown.seeds[parts[0][0].model.name]
        contributions = {
            run.model.name: _contribution(shown, run, view, seed, rows, showing.further) for run, view in parts
        }
        head = _head_of_view(shown, contributions, [run for run, _ in parts], seed, showing.instead)
        path = folder / f"{picture}.png"
        if showing.arguments is None:
            drawn = {name: _without_arrays_of(part) for name, part in contributions.items()}
            own = {name: _further_floor(score, outcome) for name, score in showing.further.items()}
            yield Drawing(showing.function, (path, drawn, shown.scene, shown.floors | own, head), {})
            continue
        ((_, part),) = contributions.items()
        arrays = part.arrays
        if part.diverged and showing.of_model:
            arrays = arrays | {showing.of_model: np.full_like(arrays[showing.of_model], np.nan)}
        yield Drawing(
            showing.function, (path, *showing.arguments(arrays, part.curves, shown.scene, part.colour), head), {}
        )


def _contribution(
    shown: Shown, run: Run, view: View, seed: int, rows: Callable[[], jax.Array], further: Mapping[str, Callable]
) -> scenes.Contribution:
    outcome = shown.outcome
    arrays = {} if view.arrays is None else view.arrays(run.states[seed], *([rows()] if view.needs_rows else []))
    return scenes.Contribution(
        arrays={key: np.asarray(value) for key, value in jax.device_get(arrays).items()},
        curves=shown.curves(run, view.info_fields),
        scores=shown.curves(run, outcome.judge.floors)
        | {name: _further(score, run, outcome.judge) for name, score in further.items()},
        colour=shown.colours[run.model.name],
        diverged=run.diverged_at_step[seed] is not None,
        seed=seed,
    )


def _head_of_view(
    shown: Shown, contributions: Mapping[str, scenes.Contribution], runs: Sequence[Run], seed: int, instead: str
) -> str:
    """Whose picture it is, of which seed, and which of them have diverged."""
    words = [
        ("" if len(runs) == 1 else f"{run.model.name} ") + lost_at(run.diverged_at_step[seed])
        for run in runs
        if run.diverged_at_step[seed] is not None
    ]
    which = shown.middle if any(part.arrays for part in contributions.values()) else ""
    which += f" of {next(iter(contributions))}" if which and len(contributions) > 1 else ""
    return " · ".join([wording.listed(contributions), shown.heading_of(runs, instead) + which, *words])


def view_rows(config: Any, target: Target) -> jax.Array:
    """The target's events [2 000, size] that a view with `needs_rows` is given: the same for all families."""
    key = jax.random.fold_in(jax.random.key(config.seed), 2**31 + 4)
    return jax.jit(lambda key: target.codec.encode(target.sample(key, scenes.N_VIEW_ROWS)))(key)


def _further(score: Callable[..., float], run: Run, judge: Judge) -> scenes.Curve:
    """Another score of all snapshots."""
    snapshots = [evaluation for evaluation in run.evaluations if evaluation.kept is not None]
    values = [[score(kept, judge) for kept in evaluation.kept] for evaluation in snapshots]
    return scenes.Curve(np.array([evaluation.step for evaluation in snapshots]), np.array(values).T)


def _further_floor(score: Callable[..., float], outcome: Outcome) -> tuple[float, ...]:
    """The same of samples of the target itself."""
    judge, n = outcome.judge, outcome.kind.n_floor_draws
    return tuple(floor_of([score(judge.scorer.kept(judge.perfect(i)[0]), judge) for i in range(n)]))


def views_of(runs: Sequence[Run], kind: Kind) -> dict[str, list[tuple[Run, View]]]:
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

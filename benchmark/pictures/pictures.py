"""Which pictures a run writes, and with what: from a run's arrays to calls of the functions that draw them.

A call is a name and plain arrays, so that it can be sent to another process; the drawing library is only imported
where one is carried out.
"""

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmark.engine.training import Run
from benchmark.files.results import history_of
from benchmark.scoring.assessment import Assessment, losses_to_rivals
from benchmark.scoring.evaluation import N_FLOOR_DRAWS, Floor, Judge, floor_of
from benchmark.scoring.sensitivity import Sensitivity
from benchmark.terminal import console
from core.drawing import scenes
from kinds.cells import Cells, row_masses
from models import MODELS
from models.base import View
from targets import Target, kld_cells

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


def names(config: Any, runs: Sequence[Run]) -> list[str]:
    """The files that `drawings` write."""
    if not runs:
        return [HISTOGRAM, SENSITIVITY]
    views = [f"{name}.png" for name in dict.fromkeys(name for run in runs for name in run.model.views)]
    timeline = [timeline_name(percent) for percent in _reached(config, runs)]
    timeline += [TIMELINE_GIF] if timeline else []
    return [DASHBOARD, HISTOGRAM, LOSSES, COSTS, SENSITIVITY, *views, *timeline]


def drawings(
    folder: Path,
    config: Any,
    target: Target,
    judge: Judge,
    runs: Sequence[Run],
    assessments: Sequence[Assessment],
    costs: Mapping[str, Mapping[str, Any]],
    grid: Sensitivity,
    note: str = "",
) -> list[Drawing]:
    """Every picture of a run; the one that takes longest comes first.

    Args:
      folder: where they are to go.
      assessments: the final scores of the families and of what came from elsewhere.
      costs: per family, from `results.cost_of`.
      grid: the KLDs over other cells and ε.
      note: what every title begins with.
    """
    calls: list[Drawing] = []

    def add(function, *args, **kwargs):
        calls.append(Drawing(function, args, kwargs))

    # Another process may be at another place.
    folder = folder.absolute()
    external = [entry for entry in assessments if entry.external]
    colours = scenes.family_colours(list(MODELS), [entry.name for entry in external])
    # What was scored at another number of rows has another floor than the one that is drawn.
    labels = {entry.name: entry.name + _own_floor(entry, judge) for entry in assessments}
    colours |= {labels[name]: colours[name] for name in labels}
    scene = target_picture(target, judge, config)
    heading = note + title(config, target)
    histories = {run.model.name: history_of(run) for run in runs}
    shown = {run.model.name: median_seed(run) for run in runs}
    floors = {name: tuple(floor) for name, floor in judge.floors.items()}
    floors_text = "floor: " + console.scores_text({name: floor.mean for name, floor in judge.floors.items()})

    def curves(run, fields):
        history = histories[run.model.name]
        steps = np.asarray(history["step"])
        drawn = [field for field in fields if field in history]
        # Step 0 has scores but no losses.
        start = {field: int(field not in judge.floors) for field in drawn}
        return {f: scenes.Curve(steps[start[f] :], np.asarray(history[f], float)[:, start[f] :]) for f in drawn}

    lost = {run.model.name: run.diverged_at_step[shown[run.model.name]] for run in runs}

    def samples_and_scores(index):
        samples, scores = {}, {}
        for run in runs:
            name, evaluation = run.model.name, run.evaluations[index]
            samples[name] = evaluation.samples[shown[name]]
            scores[name] = console.scores_text({metric: v[shown[name]] for metric, v in evaluation.metrics.items()})
            if lost[name] is not None and lost[name] <= evaluation.step:
                scores[name] = _lost_at(lost[name])
        return samples, scores

    worse = losses_to_rivals(assessments, judge.floors["kld"])
    how = " · samples of the middle seed, scores: medians" if config.num_seeds > 1 and runs else ""
    add(
        "plotting.comparison_hist",
        folder / HISTOGRAM,
        scene,
        {e.name: e.samples[shown.get(e.name, 0)] for e in assessments if e.samples is not None},
        {entry.name: _head(entry, judge) for entry in assessments},
        colours,
        heading + how,
        floors_text=floors_text,
        heights={entry.name: entry.masses for entry in external if entry.masses is not None},
        remarks={
            e.name: " · ".join(filter(None, (_lost_of(e) if _has_median(e) else "", worse.get(e.name))))
            for e in assessments
        },
    )
    families = {labels[name]: np.asarray(values) for name, values in grid.entries.items()}
    add(
        f"{_VIEWS}.scorecards.kld_sensitivity",
        folder / SENSITIVITY,
        scenes.Sensitivity(
            np.asarray(grid.cells),
            np.asarray(grid.epsilons),
            families,
            grid.floor,
            grid.chosen,
            [labels[entry.name] for entry in external],
        ),
        colours,
        heading,
        cells_label="cells that the bins are merged into"
        if grid.merged
        else "cells"
        if target.dim == 1
        else "cells an axis",
    )
    if not runs:
        return calls

    def value_of(entry, name):
        # Exact probabilities have none of the noise that the floor is made of.
        values = None if entry.masses is not None else entry.scores.get(name)
        return None if values is None else values[0]

    add(
        "plotting.metrics_comparison",
        folder / DASHBOARD,
        {run.model.name: curves(run, judge.floors) for run in runs},
        floors,
        colours,
        heading,
        wasserstein_label="W₁ (units of x)" if target.dim == 1 else "sliced W₁ (units of x)",
        externals={labels[entry.name]: {name: value_of(entry, name) for name in judge.floors} for entry in external},
        remarks=worse,
    )
    points = {}
    for run in runs:
        cost = costs[run.model.name]
        operations = cost["operations_per_step"]
        n_steps = run.model.steps_until(run.evaluations[-1].step)
        points[run.model.name] = scenes.CostPicture(
            # Of a whole training: a diverged seed has not taken all its steps.
            seconds=cost["train_seconds"] / (run.seed_steps / n_steps) if run.seed_steps else 0.0,
            operations=None if operations is None else operations * n_steps,
            kld=run.evaluations[-1].metrics["kld"],
            course=curves(run, ["kld"])["kld"],
            n_steps=n_steps,
        )
    add(
        f"{_VIEWS}.scorecards.cost_quality",
        folder / COSTS,
        points,
        {labels[e.name]: value_of(e, "kld") for e in external},
        floors,
        colours,
        heading,
        remarks=worse,
    )

    middle = " · the middle seed" if config.num_seeds > 1 else ""
    frames = []
    for percent, step in _reached(config, runs).items():
        label = f"{percent} % · step {step:,}".replace(",", " ")
        frames.append(
            (timeline_name(percent), label, *samples_and_scores(step * config.n_evaluations // config.n_steps))
        )
    if frames:
        add(
            "plotting.timeline", folder, TIMELINE_GIF, frames, scene, colours, heading + middle, floors_text=floors_text
        )

    in_views = {run.model.name: {f for view in run.model.views.values() for f in view.info_fields} for run in runs}
    losses = {
        run.model.name: curves(run, [f for f in run.evaluations[-1].info or () if f not in in_views[run.model.name]])
        for run in runs
    }
    references = {run.model.name: run.model.loss_reference for run in runs if run.model.loss_reference}
    units = {run.model.name: run.model.info_units for run in runs}
    ends = {run.model.name: run.model.last_fields for run in runs}
    add("plotting.loss_curves", folder / LOSSES, losses, colours, references, heading, units=units, of_the_last=ends)

    rows = functools.cache(lambda: view_rows(config, target))
    variation_floor = functools.cache(lambda: tuple(_total_variation_floor(config, target, judge)))
    for picture, parts in _views_of(runs).items():
        contributions, kind = {}, parts[0][1].kind
        # Every seed has data of its own: families that share a picture are shown by one seed, the first one's middle.
        seed = shown[parts[0][0].model.name]
        of_masses = target.n_bins > 0 and kind in _OF_MASSES
        for run, view in parts:
            name = run.model.name
            state = run.states[seed]
            arrays = {} if view.arrays is None else view.arrays(state, *([rows()] if view.needs_rows else []))
            contributions[name] = scenes.Contribution(
                arrays={key: np.asarray(value) for key, value in jax.device_get(arrays).items()},
                curves=curves(run, view.info_fields),
                scores=curves(run, judge.floors)
                | ({"total_variation": _total_variation(run, config, target, judge)} if of_masses else {}),
                colour=colours[name],
                diverged=run.diverged_at_step[seed] is not None,
                seed=seed,
            )
        words = [
            ("" if len(parts) == 1 else f"{run.model.name} ") + _lost_at(run.diverged_at_step[seed])
            for run, _ in parts
            if run.diverged_at_step[seed] is not None
        ]
        which = middle if any(part.arrays for part in contributions.values()) else ""
        which += f" of {next(iter(contributions))}" if which and len(parts) > 1 else ""
        head = " · ".join([" and ".join(contributions), heading + which, *words])
        if kind in SHARED:
            parts_drawn = {name: _without_arrays_of(part) for name, part in contributions.items()}
            own = {"total_variation": variation_floor()} if of_masses else {}
            add(SHARED[kind], folder / f"{picture}.png", parts_drawn, scene, floors | own, head)
        else:
            ((name, part),) = contributions.items()
            what, call = _OF_ONE[kind]
            arrays = part.arrays
            if part.diverged:
                arrays = arrays | {what: np.full_like(arrays[what], np.nan)}
            function, args = call(arrays, part.curves, scene, target, part.colour)
            add(function, folder / f"{picture}.png", *args, head)
    return sorted(calls, key=lambda call: call.function != "plotting.timeline")


def view_rows(config: Any, target: Target) -> jax.Array:
    """The target's events [2 000, *event] that a view with `needs_rows` is given: the same for all families."""
    key = jax.random.fold_in(jax.random.key(config.seed), 2**31 + 4)
    return jax.jit(lambda key: target.codec.encode(target.sample(key, scenes.N_VIEW_ROWS)))(key)


def _total_variation(run: Run, config: Any, target: Target, judge: Judge) -> scenes.Curve:
    """½ Σ |q − p| between the cell masses of the samples and the target's, wherever samples have been kept."""
    cells = kld_cells(target, config.kld_cells)
    kept = [evaluation for evaluation in run.evaluations if evaluation.samples is not None]
    values = np.array([[_variation(rows, cells, judge) for rows in evaluation.samples] for evaluation in kept]).T
    return scenes.Curve(np.array([evaluation.step for evaluation in kept]), values)


def _total_variation_floor(config: Any, target: Target, judge: Judge) -> Floor:
    """The same of samples of the target itself."""
    cells = kld_cells(target, config.kld_cells)
    return floor_of([_variation(judge.perfect(i)[0], cells, judge) for i in range(N_FLOOR_DRAWS)])


def _variation(rows: np.ndarray, cells: Cells, judge: Judge) -> float:
    if not np.isfinite(rows).all():
        return np.nan
    return float(np.abs(row_masses(rows, cells) - judge.masses).sum() / 2)


def _views_of(runs: Sequence[Run]) -> dict[str, list[tuple[Run, View]]]:
    """Picture name -> the families that contribute to it, with what each shows.

    Raises:
      ValueError: families share a picture whose kind is drawn of one alone, or do not agree on its kind.
    """
    found: dict[str, list[tuple[Run, View]]] = {}
    for run in runs:
        for picture, view in run.model.views.items():
            found.setdefault(picture, []).append((run, view))
    for picture, parts in found.items():
        kinds = {view.kind for _, view in parts}
        if len(kinds) > 1 or (len(parts) > 1 and not kinds <= set(SHARED)):
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


def _head(entry: Assessment, judge: Judge) -> str:
    """The line of scores over an entry's panel: medians; of probabilities what they have; and its own floor."""
    if not _has_median(entry):
        return _lost_of(entry)
    names = (
        [name for name in ("kl_exact", *judge.floors) if name in entry.scores]
        if entry.masses is not None
        else judge.floors
    )
    return console.medians_text(entry, [name for name in names if entry.scores[name] is not None]) + _own_floor(
        entry, judge
    )


def _own_floor(entry: Assessment, judge: Judge) -> str:
    """Of an external entry of fewer rows, how many, and what samples of the target of that size score."""
    if not entry.external or entry.n_samples in (None, judge.scorer.n_samples):
        return ""
    return f", n = {entry.n_samples}: floor {console.scores_text({'kld': entry.floors['kld'].mean})}"


def title(config: Any, target: Target) -> str:
    """What every picture says of its run."""
    seeds = f"{config.num_seeds} seed{'s' if config.num_seeds > 1 else ''}"
    if not config.models:
        seeds = "external entries alone"
    bins = f"{target.n_bins} bins · " if target.n_bins else ""
    soft = "soft decode · " if target.n_bins and config.decode == "soft" else ""
    parameters = f"{config.parameter_budget} parameters · " if config.models else ""
    return f"{target.name} · {bins}{soft}{parameters}{seeds}"


def median_seed(run: Run) -> int:
    """The middle seed by last KLD (of two middle ones the better), so that pictures show neither luck nor bad luck."""
    last = run.evaluations[-1].metrics["kld"]
    return int(np.argsort(np.where(np.isfinite(last), last, np.inf), kind="stable")[(len(last) - 1) // 2])


def target_picture(target: Target, judge: Judge, config: Any) -> scenes.TargetPicture:
    """The target's exact masses and density in the form that plotting takes."""
    cells = kld_cells(target, config.kld_cells)
    shape = (cells.n_per_axis,) * target.dim
    points, _ = target.grid()
    axes = [np.unique(np.asarray(points)[:, axis]) for axis in range(target.dim)]
    per_cell = bool(target.n_bins) or target.discrete
    density, fine = None, axes
    if target.log_prob is not None and not per_cell:
        if target.dim == 2:
            # Three points a deviation of the narrowest feature, or its contours would depend on where points fall.
            n = [np.clip(3 * np.ptp(side) / (target.scale or np.inf), 100, 400) for side in target.box]
            fine = [np.linspace(*side, int(points)) for side, points in zip(target.box, n, strict=True)]
        nodes = np.stack(np.meshgrid(*fine, indexing="ij"), axis=-1).reshape(-1, target.dim)
        density = np.exp(target.log_prob(nodes)).reshape([len(axis) for axis in fine])
    return scenes.TargetPicture(
        name=target.name,
        box=target.box,
        edges=cells.edges,
        masses=judge.masses[: cells.n_per_axis**target.dim].reshape(shape),
        closed=cells.closed,
        axes=axes,
        density=density,
        binned=per_cell,
        density_axes=fine,
        empirical=target.empirical,
    )


def _latent_sweep(arrays, curves, scene, target, colour):
    del curves, scene, colour
    coordinates = ["x"] if target.dim == 1 else [f"x{subscript}" for subscript in "₁₂"[: target.dim]]
    return f"{_VIEWS}.family_pictures.latent_sweep", (arrays["z"], arrays["mean"], coordinates)


def _discriminator(arrays, curves, scene, target, colour):
    d_map = _on_axes(arrays["d"], scene)
    return f"{_VIEWS}.family_pictures.discriminator", (
        curves,
        float(arrays["equilibrium"]),
        scene.axes,
        d_map,
        scene,
        colour,
    )


def _energy(arrays, curves, scene, target, colour):
    del curves
    target_energy = None
    if target.n_bins:
        with np.errstate(divide="ignore"):
            target_energy = -np.log(scene.masses)
    elif target.log_prob is not None:
        target_energy = _on_axes(-target.log_prob(np.asarray(arrays["x"], np.float64)), scene)
    energy = _on_axes(arrays["energy"], scene)
    return f"{_VIEWS}.family_pictures.energy_landscape", (scene.axes, energy, target_energy, scene, colour)


def _on_axes(values: np.ndarray, scene: scenes.TargetPicture) -> np.ndarray:
    return np.asarray(values).reshape([len(axis) for axis in scene.axes])


# Kind of a view that shows one family -> which of its arrays is the model's, and what makes the function that draws it
# and the arguments between the path and the title.
_OF_ONE: Mapping[str, tuple[str, Callable[..., tuple[str, tuple]]]] = {
    "latent_sweep": ("mean", _latent_sweep),
    "discriminator": ("d", _discriminator),
    "energy": ("energy", _energy),
}

# Kind of a view to which several families may contribute -> module.function that draws it, of (path, contributions,
# scene, floors, title): a `scenes.Contribution` for every family that shows it under one picture name, the target, and
# per followed metric the floor's mean, low and high.
SHARED: dict[str, str] = {
    "critic": f"{_VIEWS}.critics.critic_vs_wasserstein",
    "clustering": f"{_VIEWS}.mixture_pictures.clustering",
    "bounds": f"{_VIEWS}.mixture_pictures.bounds",
}
# Those of them that with bins show the total variation of the samples, too.
_OF_MASSES = ("critic",)

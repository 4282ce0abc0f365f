"""Which pictures a run writes, and with what: from a run's arrays to the functions of plotting."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import console
import metrics
import plotting
import scorecards
from assessment import Assessment
from evaluation import Judge
from models import MODELS
from results import history_of
from sensitivity import Sensitivity
from targets import Target, kld_cells
from training import Run

DASHBOARD = "metrics_comparison.png"
HISTOGRAM = "classical_benchmark_comparison_hist.png"
LOSSES = "loss_curves.png"
COSTS = "cost_quality.png"
SENSITIVITY = "kld_sensitivity.png"
TIMELINE_GIF = "timeline.gif"


def timeline_name(percent: int) -> str:
    """The file name of a snapshot."""
    return f"timeline_{percent:03d}pct.png"


def names(config: Any, runs: Sequence[Run]) -> list[str]:
    """The files that `draw` writes."""
    if not runs:
        return [HISTOGRAM, SENSITIVITY]
    views = [f"{name}.png" for run in runs for name in run.model.views]
    timeline = [*map(timeline_name, config.snapshot_steps), TIMELINE_GIF]
    return [DASHBOARD, HISTOGRAM, LOSSES, COSTS, SENSITIVITY, *views, *timeline]


def draw(
    folder: Path,
    config: Any,
    target: Target,
    judge: Judge,
    runs: Sequence[Run],
    assessments: Sequence[Assessment],
    costs: Mapping[str, Mapping[str, Any]],
    grid: Sensitivity,
) -> None:
    """Writes every picture of a run into the folder.

    Args:
      assessments: the final scores of the families and of what came from elsewhere.
      costs: per family, from `results.cost_of`.
      grid: the KLDs over other cells and ε.
    """
    external = [entry for entry in assessments if entry.external]
    colours = plotting.family_colours(list(MODELS), [entry.name for entry in external])
    # What was scored at another number of rows has another floor than the one that is drawn.
    labels = {entry.name: entry.name + _own_floor(entry, judge) for entry in assessments}
    colours |= {labels[name]: colours[name] for name in labels}
    scene = target_picture(target, judge, config)
    heading = title(config, target)
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
        return {f: plotting.Curve(steps[start[f] :], np.asarray(history[f], float)[:, start[f] :]) for f in drawn}

    def samples_and_scores(index):
        evaluations = {run.model.name: run.evaluations[index] for run in runs}
        samples = {name: evaluation.samples[shown[name]] for name, evaluation in evaluations.items()}
        scores = {
            name: console.scores_text({metric: values[shown[name]] for metric, values in evaluation.metrics.items()})
            for name, evaluation in evaluations.items()
        }
        return samples, scores

    note = " · samples of the middle seed, scores: medians" if config.num_seeds > 1 and runs else ""
    plotting.comparison_hist(
        folder / HISTOGRAM,
        scene,
        {e.name: e.samples[shown.get(e.name, 0)] for e in assessments if e.samples is not None},
        {entry.name: _head(entry, judge) for entry in assessments},
        colours,
        heading + note,
        floors_text=floors_text,
        heights={entry.name: entry.masses for entry in external if entry.masses is not None},
    )
    families = {labels[name]: np.asarray(values) for name, values in grid.entries.items()}
    scorecards.kld_sensitivity(
        folder / SENSITIVITY,
        scorecards.Sensitivity(
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
        return

    def value_of(entry, name):
        # Exact probabilities have none of the noise that the floor is made of.
        values = None if entry.masses is not None else entry.scores.get(name)
        return None if values is None else values[0]

    plotting.metrics_comparison(
        folder / DASHBOARD,
        {run.model.name: curves(run, judge.floors) for run in runs},
        floors,
        colours,
        heading,
        wasserstein_label="W₁ (units of x)" if target.dim == 1 else "sliced W₁ (units of x)",
        externals={labels[entry.name]: {name: value_of(entry, name) for name in judge.floors} for entry in external},
    )
    points = {}
    for run in runs:
        cost = costs[run.model.name]
        operations = cost["operations_per_step"]
        points[run.model.name] = scorecards.Cost(
            seconds=cost["train_seconds"] / config.num_seeds,
            operations=None if operations is None else operations * config.n_steps,
            kld=run.evaluations[-1].metrics["kld"],
            course=curves(run, ["kld"])["kld"],
        )
    scorecards.cost_quality(
        folder / COSTS, points, {labels[e.name]: value_of(e, "kld") for e in external}, floors, colours, heading
    )

    middle = " · the middle seed" if config.num_seeds > 1 else ""
    frames = []
    for percent, step in config.snapshot_steps.items():
        label = f"{percent} % · step {step:,}".replace(",", " ")
        frames.append(
            (timeline_name(percent), label, *samples_and_scores(step * config.n_evaluations // config.n_steps))
        )
    plotting.timeline(folder, TIMELINE_GIF, frames, scene, colours, heading + middle, floors_text=floors_text)

    in_views = {run.model.name: {f for view in run.model.views.values() for f in view.info_fields} for run in runs}
    losses = {
        run.model.name: curves(run, [f for f in run.evaluations[-1].info or () if f not in in_views[run.model.name]])
        for run in runs
    }
    references = {run.model.name: run.model.loss_reference for run in runs if run.model.loss_reference}
    units = {field: unit for run in runs for field, unit in run.model.info_units.items()}
    plotting.loss_curves(folder / LOSSES, losses, colours, references, heading, units=units)

    for run in runs:
        name = run.model.name
        for picture, view in run.model.views.items():
            arrays = {key: np.asarray(value) for key, value in view.arrays(run.states[shown[name]]).items()}
            _VIEWS[view.kind](
                folder / f"{picture}.png",
                arrays,
                curves(run, view.info_fields),
                scene,
                target,
                colours[name],
                f"{name} · {heading}{middle}",
            )


def _head(entry: Assessment, judge: Judge) -> str:
    """The line of scores over an entry's panel: medians; of probabilities what they have; and its own floor."""
    names = (
        [name for name in ("kl_exact", *judge.floors) if name in entry.scores]
        if entry.masses is not None
        else judge.floors
    )
    line = console.scores_text({name: metrics.summarise(entry.scores[name])["median"] for name in names})
    return line + _own_floor(entry, judge)


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


def target_picture(target: Target, judge: Judge, config: Any) -> plotting.TargetPicture:
    """The target's exact masses and density in the form that plotting takes."""
    cells = kld_cells(target, config.kld_cells)
    shape = (cells.n_per_axis,) * target.dim
    points, _ = target.grid()
    axes = [np.unique(np.asarray(points)[:, axis]) for axis in range(target.dim)]
    per_cell = bool(target.n_bins) or target.discrete
    density = None
    if target.log_prob is not None and not per_cell:
        density = np.exp(target.log_prob(np.asarray(points, np.float64))).reshape([len(axis) for axis in axes])
    return plotting.TargetPicture(
        name=target.name,
        box=target.box,
        edges=cells.edges,
        masses=judge.masses[: cells.n_per_axis**target.dim].reshape(shape),
        closed=cells.closed,
        axes=axes,
        density=density,
        binned=per_cell,
    )


def _latent_sweep(path, arrays, curves, scene, target, colour, heading):
    del curves, scene, colour
    coordinates = ["x"] if target.dim == 1 else [f"x{subscript}" for subscript in "₁₂"[: target.dim]]
    plotting.latent_sweep(path, arrays["z"], arrays["mean"], coordinates, heading)


def _discriminator(path, arrays, curves, scene, target, colour, heading):
    d_map = _on_axes(arrays["d"], scene)
    plotting.discriminator(path, curves, float(arrays["equilibrium"]), scene.axes, d_map, scene, colour, heading)


def _energy(path, arrays, curves, scene, target, colour, heading):
    del curves
    target_energy = None
    if target.n_bins:
        with np.errstate(divide="ignore"):
            target_energy = -np.log(scene.masses)
    elif target.log_prob is not None:
        target_energy = _on_axes(-target.log_prob(np.asarray(arrays["x"], np.float64)), scene)
    plotting.energy_landscape(
        path, scene.axes, _on_axes(arrays["energy"], scene), target_energy, scene, colour, heading
    )


def _on_axes(values: np.ndarray, scene: plotting.TargetPicture) -> np.ndarray:
    return np.asarray(values).reshape([len(axis) for axis in scene.axes])


_VIEWS: Mapping[str, Any] = {"latent_sweep": _latent_sweep, "discriminator": _discriminator, "energy": _energy}

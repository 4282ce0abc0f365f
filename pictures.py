"""Which pictures a run writes, and with what: from a run's arrays to the functions of plotting."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import console
import metrics
import plotting
from evaluation import Judge
from models import MODELS
from results import history_of
from targets import Target, kld_cells
from training import Run

DASHBOARD = "metrics_comparison.png"
HISTOGRAM = "classical_benchmark_comparison_hist.png"
LOSSES = "loss_curves.png"
TIMELINE_GIF = "timeline.gif"


def timeline_name(percent: int) -> str:
    """The file name of a snapshot."""
    return f"timeline_{percent:03d}pct.png"


def names(config: Any, runs: Sequence[Run]) -> list[str]:
    """The files that `draw` writes."""
    views = [f"{name}.png" for run in runs for name in run.model.views]
    return [DASHBOARD, HISTOGRAM, LOSSES, *views, *map(timeline_name, config.snapshot_steps), TIMELINE_GIF]


def draw(folder: Path, config: Any, target: Target, judge: Judge, runs: Sequence[Run]) -> None:
    """Writes every picture of a run into the folder."""
    colours = plotting.family_colours(list(MODELS))
    scene = target_picture(target, judge, config)
    heading = title(config, target)
    histories = {run.model.name: history_of(run) for run in runs}
    shown = {run.model.name: median_seed(run) for run in runs}

    def curves(run, fields):
        history = histories[run.model.name]
        steps = np.asarray(history["step"])
        drawn = [field for field in fields if field in history]
        # Step 0 has scores but no losses.
        start = {field: int(field not in judge.floors) for field in drawn}
        return {f: plotting.Curve(steps[start[f] :], np.asarray(history[f], float)[:, start[f] :]) for f in drawn}

    plotting.metrics_comparison(
        folder / DASHBOARD,
        {run.model.name: curves(run, judge.floors) for run in runs},
        {name: tuple(floor) for name, floor in judge.floors.items()},
        colours,
        heading,
        wasserstein_label="W₁ (units of x)" if target.dim == 1 else "sliced W₁ (units of x)",
    )

    def samples_and_scores(index):
        evaluations = {run.model.name: run.evaluations[index] for run in runs}
        samples = {name: evaluation.samples[shown[name]] for name, evaluation in evaluations.items()}
        scores = {
            name: console.scores_text({metric: values[shown[name]] for metric, values in evaluation.metrics.items()})
            for name, evaluation in evaluations.items()
        }
        return samples, scores

    samples, _ = samples_and_scores(-1)
    medians = {
        run.model.name: console.scores_text(
            {name: metrics.summarise(values)["median"] for name, values in run.evaluations[-1].metrics.items()}
        )
        for run in runs
    }
    middle = " · the middle seed" if config.num_seeds > 1 else ""
    note = " · samples of the middle seed, scores: medians" if config.num_seeds > 1 else ""
    plotting.comparison_hist(folder / HISTOGRAM, scene, samples, medians, colours, heading + note)
    frames = []
    for percent, step in config.snapshot_steps.items():
        label = f"{percent} % · step {step:,}".replace(",", " ")
        frames.append(
            (timeline_name(percent), label, *samples_and_scores(step * config.n_evaluations // config.n_steps))
        )
    plotting.timeline(folder, TIMELINE_GIF, frames, scene, colours, heading + middle)

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


def title(config: Any, target: Target) -> str:
    """What every picture says of its run."""
    seeds = f"{config.num_seeds} seed{'s' if config.num_seeds > 1 else ''}"
    bins = f"{target.n_bins} bins · " if target.n_bins else ""
    soft = "soft decode · " if target.n_bins and config.decode == "soft" else ""
    return f"{target.name} · {bins}{soft}{config.parameter_budget} parameters · {seeds}"


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

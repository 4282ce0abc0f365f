"""What pictures show of a target on a line or in a plane, and what draws families' own views there."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from core.captions import Caption
from core.drawing.scenes import Curve
from kinds.contract import Judge, Showing, Target
from kinds.real.cells import score_cells
from kinds.real.pictured import DiscriminatorPicture, LatentPicture, TargetPicture
from kinds.real.truth import points_of

_VIEWS = "kinds.real.views"


def scene_of(target: Target, judge: Judge, config: Any) -> TargetPicture:
    """The target's exact masses and density in the form that its pictures take."""
    truth = target.truth
    cells = score_cells(truth, config.kld_cells)
    shape = (cells.n_per_axis,) * target.dim
    # Not the grid, whose events are as many one-hot rows as there are bins.
    points = points_of(truth.axes(100))
    axes = [np.unique(points[:, axis]) for axis in range(target.dim)]
    per_cell = truth.fixed is not None
    masses = judge.masses[: cells.n_per_axis**target.dim].reshape(shape)
    density, fine, energy = None, axes, None
    if target.log_prob is not None and not per_cell:
        if target.dim == 2:
            # Three points a deviation of the narrowest feature, or its contours would depend on where points fall.
            n = [np.clip(3 * np.ptp(side) / (truth.scale or np.inf), 100, 400) for side in truth.box]
            fine = [np.linspace(*side, int(points)) for side, points in zip(truth.box, n, strict=True)]
        nodes = np.stack(np.meshgrid(*fine, indexing="ij"), axis=-1).reshape(-1, target.dim)
        density = np.exp(target.log_prob(nodes)).reshape([len(axis) for axis in fine])
    if target.codec.compared is not None:
        # What families learn are the cells' masses.
        with np.errstate(divide="ignore"):
            energy = -np.log(masses)
    elif target.log_prob is not None:
        energy = -target.log_prob(points.astype(np.float64)).reshape([len(axis) for axis in axes])
    return TargetPicture(
        name=target.name,
        box=truth.box,
        edges=cells.edges,
        masses=masses,
        closed=cells.closed,
        axes=axes,
        density=density,
        binned=per_cell,
        density_axes=fine,
        empirical=target.empirical,
        energy=energy,
        modes=None if truth.modes is None else (truth.modes.means, truth.modes.covariances),
    )


def total_variation(masses: np.ndarray, judge: Judge) -> float:
    """½ Σ |q − p| between the shares [K] of a sample in the cells and the target's masses; NaN if they are."""
    return float(np.abs(masses - judge.masses).sum() / 2)


def _latent_sweep(arrays: Mapping[str, np.ndarray], curves: Mapping[str, Curve], scene: TargetPicture, colour: str):
    del curves, colour
    known = {name: arrays[name] for name in ("few", "probabilities") if name in arrays}
    return LatentPicture(arrays["z"], arrays["mean"], float(arrays["rate"]), more=int(arrays["more"]), **known), scene


def _discriminator(arrays: Mapping[str, np.ndarray], curves: Mapping[str, Curve], scene: TargetPicture, colour: str):
    said = DiscriminatorPicture(curves, float(arrays["equilibrium"]), _on_axes(arrays["d"], scene))
    return said, scene, colour


def _energy(arrays: Mapping[str, np.ndarray], curves: Mapping[str, Curve], scene: TargetPicture, colour: str):
    del curves
    return _on_axes(arrays["energy"], scene), scene, colour


def _on_axes(values: np.ndarray, scene: TargetPicture) -> np.ndarray:
    return np.asarray(values).reshape([len(axis) for axis in scene.axes])


VIEWS = {
    "latent_sweep": Showing(
        f"{_VIEWS}.latent_pictures.latent_sweep",
        _latent_sweep,
        "mean",
        caption=Caption(
            "Latent map",
            "What each latent z decodes to: smooth transitions between the modes show a code that is used, and a map "
            "in one colour shows posterior collapse.",
        ),
    ),
    "discriminator": Showing(
        f"{_VIEWS}.family_pictures.discriminator",
        _discriminator,
        "d",
        caption=Caption(
            "Discriminator",
            "The mean output of the discriminator on real and on generated samples, and D(x) at the end: both lines at "
            "the equilibrium mean that it can no longer tell the samples apart.",
        ),
    ),
    "energy": Showing(
        f"{_VIEWS}.family_pictures.energy_landscape",
        _energy,
        "energy",
        caption=Caption(
            "Energy landscape",
            "The energy −ln q of the model beside −ln p of the target: a good model has its valleys where the target "
            "has its modes, equally deep, and none elsewhere.",
        ),
    ),
    "critic": Showing(
        f"{_VIEWS}.critics.critic_vs_wasserstein",
        caption=Caption(
            "Critics and the distance",
            "The estimates of the critics beside the measured distance: points along the dotted line mean that the "
            "loss tells how far off the samples are.",
        ),
    ),
    "clustering": Showing(
        f"{_VIEWS}.mixture_pictures.clustering",
        caption=Caption(
            "Clusters",
            "The components of the mixtures, the borders between their clusters, and how well they fit at every "
            "iteration: k-means cuts what EM shares.",
        ),
    ),
    "bounds": Showing(
        f"{_VIEWS}.mixture_pictures.bounds",
        caption=Caption(
            "Variational bounds",
            "Both lower bounds on ln p(X) during the training: a solid line, with the assignments summed out, lies "
            "above the dashed line of the same colour, and the gap is the cost of the assignments.",
        ),
    ),
}

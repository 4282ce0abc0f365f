"""The kind of events that are rows of numbers, on a line or in a plane."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import metrics
from kinds.contract import Judge, Kind, Target, with_divergence
from kinds.exact import has_divergence
from kinds.real import tables, targets
from kinds.real.closing import make_closing
from kinds.real.exact import divergence, divergence_in_passing
from kinds.real.judging import N_FLOOR_DRAWS
from kinds.real.judging import make_judge as samples_judge
from kinds.real.scene import VIEWS, scene_of
from kinds.real.sensitivity import sensitivity

# At how many evaluations the exact divergence is known, on a line and in a plane.
N_EXACT = {1: 8, 2: 4}


def distances(x: np.ndarray, parts: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Wasserstein-1 of a sample [n, D] to every part of the rows [m, D]; in the plane the sliced one."""
    axes = metrics.directions(x.shape[1]).astype(np.float32)
    levels = metrics.mid_ranks(len(x))
    return {
        part: metrics.wasserstein(x, metrics.projected_quantiles(rows, axes, levels), axes)
        for part, rows in parts.items()
    }


def make_judge(target: Target, config: Any, n_samples: int | None = None) -> Judge:
    """What scores samples, and at a few evaluations the exact divergence, whose quadrature takes a while.

    Args:
      target: of this kind.
      config: the run's configuration.
      n_samples: rows of a sample; None: config.n_eval_samples.
    """
    judge = samples_judge(target, config, n_samples)
    return with_divergence(judge, target, "kl_exact", divergence_in_passing, N_EXACT[target.dim])


def outside(rows: np.ndarray, target: Target) -> tuple[float, str]:
    """The share of rows [n, D] outside of the target's box, and the box in words."""
    box = target.truth.box
    share = np.mean(np.any((rows < box[:, 0]) | (rows > box[:, 1]), axis=1))
    return float(share), " × ".join(f"[{low:.4g}, {high:.4g}]" for low, high in box)


def describe(target: Target) -> dict[str, Any]:
    """What the report says of a target besides what it says of all."""
    return {"box": target.truth.box}


KIND = Kind(
    name="real",
    settings=None,
    continuous=True,
    law="normal",
    files=targets.files,
    read_samples=tables.read_samples,
    read_probabilities=None,
    targets=targets.TARGETS,
    check=targets.check,
    n_columns=targets.n_columns,
    outside=outside,
    # Of densities, which cells partly hide.
    exact_is_scored=lambda config: False,
    row=lambda config: "continuous",
    distance="W₁",
    with_bins="bins",
    adapt=lambda target, config: target,
    main="kld",
    followed=("kld", "wasserstein"),
    reported=(
        "kld",
        "wasserstein",
        "kl_exact",
        "wasserstein_exact",
        "mmd2",
        "classifier_accuracy",
        "modes_covered",
        "high_quality",
    ),
    printed=("kld", "wasserstein"),
    exact="kl_exact",
    n_floor_draws=N_FLOOR_DRAWS,
    judge=make_judge,
    closing=make_closing,
    has_divergence=has_divergence,
    divergence=divergence,
    distances=distances,
    of_masses=None,
    sensitivity=sensitivity,
    scene=scene_of,
    words=lambda target, config: "",
    states=lambda target: None,
    describe=describe,
    views=VIEWS,
)

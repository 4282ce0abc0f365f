"""The kind of events that are images, of which there are rows and no densities."""

from typing import Any

from kinds.contract import Kind, Target
from kinds.exact import has_divergence
from kinds.images import reading, targets
from kinds.images.endings import PICTURES, further
from kinds.images.judging import N_FLOOR_DRAWS, distances, make_closing, make_judge, n_scored
from kinds.images.pictured import VIEWS, scene_of
from kinds.images.settings import Config
from kinds.images.truth import Images


def describe(target: Target) -> dict[str, Any]:
    """What the report says of a target besides."""
    truth: Images = target.truth
    return {
        "kind": "images",
        "shape": list(truth.shape),
        "classes": list(truth.names),
        "anomaly_classes": list(truth.anomaly_names),
        "variant": truth.words,
    }


KIND = Kind(
    name="images",
    settings=Config,
    targets=targets.TARGETS,
    check=targets.check,
    n_columns=targets.n_columns,
    with_bins="",
    adapt=lambda target, config: target,
    continuous=False,
    law="pixels",
    files=targets.files,
    main="kd_clf",
    followed=("kd_clf", "fd_clf"),
    reported=(
        "kd_clf",
        "fd_clf",
        "class_kld",
        "knn_precision",
        "knn_recall",
        "density",
        "knn_coverage",
        "sliced_wasserstein",
    ),
    printed=("kd_clf", "fd_clf", "class_kld", "knn_coverage"),
    # No image has a probability that is known.
    exact="kl_exact",
    exact_is_scored=lambda config: False,
    n_floor_draws=N_FLOOR_DRAWS,
    judge=make_judge,
    closing=make_closing,
    has_divergence=has_divergence,
    divergence=lambda model, state, target: None,
    distances=distances,
    distance="nearest, L₂",
    read_samples=reading.read_samples,
    read_probabilities=None,
    of_masses=None,
    sensitivity=None,
    outside=None,
    scene=scene_of,
    views=VIEWS,
    words=lambda target, config: target.truth.words,
    row=targets.words,
    states=lambda target: None,
    describe=describe,
    n_scored=n_scored,
    further=further,
    pictures=PICTURES,
)

"""The kind of events that are strings of n bits, of which everything is known by enumeration."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import metrics
from kinds.bits import reading
from kinds.bits.endings import PICTURES
from kinds.bits.judging import N_FLOOR_DRAWS, divergence, make_closing, make_judge, of_masses
from kinds.bits.pictured import VIEWS, scene_of
from kinds.bits.rivals import rivals
from kinds.bits.settings import Config
from kinds.bits.targets import TARGETS, check, n_columns, words
from kinds.bits.truth import Bits, numbers_of
from kinds.contract import Kind, Target
from kinds.exact import has_divergence


def distances(x: np.ndarray, parts: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Total variation between the frequencies of a sample [m, n] and those of every part of the rows."""
    n_states = 2 ** x.shape[1]

    def shares(rows):
        return metrics.cell_counts(numbers_of(rows), n_states) / len(rows)

    own = shares(x)
    return {part: float(np.abs(own - shares(rows)).sum()) / 2 for part, rows in parts.items()}


def describe(target: Target) -> dict[str, Any]:
    """What the report says of a target besides."""
    truth: Bits = target.truth
    return {
        "kind": "bits",
        "bits": truth.n,
        "variant": truth.words,
        "strings": len(truth.support),
        "valid": None if truth.valid is None else int(truth.valid.sum()),
        "rivals": rivals(truth, target.entropy),
    }


KIND = Kind(
    name="bits",
    settings=Config,
    targets=TARGETS,
    check=check,
    n_columns=n_columns,
    with_bins="",
    adapt=lambda target, config: target,
    continuous=False,
    files=lambda config: {config.bits.file: "BITS.file"} if config.target_type == "BITS_CUSTOM" else {},
    main="kl_exact",
    followed=("kl_exact", "tv_exact", "kld"),
    reported=(
        "kl_exact",
        "tv_exact",
        "kld",
        "mmd2",
        "mean_error",
        "pair_error",
        "precision",
        "exploration",
        "fidelity",
        "rate",
        "coverage",
    ),
    exact="kl_exact",
    exact_is_scored=lambda config: True,
    n_floor_draws=N_FLOOR_DRAWS,
    judge=make_judge,
    closing=make_closing,
    has_divergence=has_divergence,
    divergence=divergence,
    distances=distances,
    distance="TV",
    read_samples=reading.read_samples,
    read_probabilities=reading.read_probabilities,
    of_masses=of_masses,
    sensitivity=None,
    outside=None,
    scene=scene_of,
    views=VIEWS,
    words=lambda target, config: target.truth.words,
    row=words,
    describe=describe,
    pictures=PICTURES,
)

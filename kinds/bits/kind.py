"""The kind of events that are strings of n bits, of which everything is known by enumeration."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import metrics
from kinds.bits import reading
from kinds.bits.endings import PICTURES
from kinds.bits.judging import N_FLOOR_DRAWS, divergence, make_closing, make_judge, of_masses
from kinds.bits.pictured import VIEWS, scene_of
from kinds.bits.rivals import n_params_of_rivals, rivals
from kinds.bits.settings import Config
from kinds.bits.targets import TARGETS, check, is_large, n_columns, words
from kinds.bits.truth import Bits, numbers_of
from kinds.contract import Kind, States, Target
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
    n_params = n_params_of_rivals(truth.n)
    return {
        "kind": "bits",
        "bits": truth.n,
        "variant": truth.words,
        "strings": len(truth.support),
        "valid": None if truth.valid is None else int(truth.valid.sum()),
        "rivals": {
            name: {"kl_exact": value, "n_params": n_params[name]}
            for name, value in rivals(truth, target.entropy).items()
        },
    }


def states(target: Target) -> States | None:
    """Every string, bit 0 first; of strings held out there are frequencies alone."""
    truth: Bits = target.truth
    if target.empirical:
        return None
    return States("state", [format(number, f"0{truth.n}b") for number in range(2**truth.n)], truth.p)


KIND = Kind(
    name="bits",
    settings=Config,
    targets=TARGETS,
    check=check,
    n_columns=n_columns,
    with_bins="",
    adapt=lambda target, config: target,
    continuous=False,
    law="bits",
    files=lambda config: {config.bits.file: "BITS.file"} if config.target_type == "BITS_CUSTOM" else {},
    main="kl_exact",
    followed=("kl_exact", "tv_exact", "kld"),
    of_samples="kld",
    instead=lambda config: "lattices" if is_large(config) else "",
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
    printed=("kl_exact", "tv_exact", "kld", "mmd2"),
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
    states=states,
    describe=describe,
    pictures=PICTURES,
)

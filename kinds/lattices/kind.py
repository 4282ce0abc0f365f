"""The kind of events that are spins of a lattice too large to be enumerated."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import metrics
from kinds.bits.pictured import CHAIN_VIEWS
from kinds.bits.settings import Config
from kinds.contract import Closing, Judge, Kind, Scorer, Target, floor_of, fresh_rows
from kinds.lattices.pictured import LatticePicture
from kinds.lattices.truth import (
    N_CELLS,
    TARGETS,
    Lattices,
    check,
    observed,
    pool_shares,
    shares_of,
    sums_of,
    words,
)

N_FLOOR_DRAWS = 100
_METRICS = ("energy_error", "magnetisation_error", "heat_capacity_error", "susceptibility_error")


def make_judge(target: Target, config: Any, n_samples: int | None = None) -> Judge:
    """Distances of four averages from what they should be; floors are those of rows of the long run.

    Args:
      target: of this kind.
      config: the run's configuration.
      n_samples: rows of a sample; None: config.n_eval_samples.
    """
    truth: Lattices = target.truth
    n = n_samples or config.n_eval_samples

    def score(x):
        found = observed(*sums_of(x, truth.lattice), truth.lattice)
        return {name: abs(a - b) for name, a, b in zip(_METRICS, found, truth.expected, strict=True)}

    fresh = fresh_rows(target, config.seed, n)

    def perfect(i):
        return fresh(i), None

    draws = [score(perfect(i)[0]) for i in range(N_FLOOR_DRAWS)]
    floors = {name: floor_of([each[name] for each in draws], 41) for name in _METRICS}

    def keep(x):
        return shares_of(sums_of(x, truth.lattice)[1], truth.n)

    labels = {name: metrics.METRICS[name].label_with_unit for name in _METRICS}
    scorer = Scorer(n, target.codec.decode, False, _METRICS, score, keep=keep)
    return Judge(scorer, floors, labels, perfect, masses=pool_shares(truth))


def distances(x: np.ndarray, parts: Mapping[str, np.ndarray]) -> dict[str, float]:
    """How far apart the mean magnetisations of a sample and of every part are."""
    return {part: float(abs(x.mean() - rows.mean())) for part, rows in parts.items()}


def scene_of(target: Target, judge: Judge, config: Any) -> LatticePicture:
    """The distribution of m, which is what panels show."""
    del config
    edges = np.linspace(-1, 1, N_CELLS + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    return LatticePicture(
        name=target.name, box=np.array([[-1.0, 1.0]]), edges=[edges], masses=judge.masses, closed=True,
        axes=[middles], density=None, binned=True, empirical=True,
    )  # fmt: skip


def describe(target: Target) -> dict[str, Any]:
    """What the report says of a target besides."""
    truth: Lattices = target.truth
    return {
        "kind": "lattices",
        "variant": truth.words,
        "bits": truth.n,
        "expected": truth.expected._asdict(),
        "expected_errors": truth.errors._asdict(),
    }


KIND = Kind(
    name="lattices",
    settings=Config,
    targets=TARGETS,
    check=check,
    n_columns=lambda config: config.bits.height * config.bits.width,
    with_bins="",
    adapt=lambda target, config: target,
    continuous=False,
    law="spins",
    files=lambda config: {},
    main="energy_error",
    followed=_METRICS,
    reported=(*_METRICS, "kl_exact"),
    printed=_METRICS,
    exact="kl_exact",
    exact_is_scored=lambda config: False,
    n_floor_draws=N_FLOOR_DRAWS,
    judge=make_judge,
    closing=lambda target, config, judge: Closing(lambda x: {}, {}, {}),
    has_divergence=lambda model, target: False,
    divergence=lambda model, state, target: None,
    distances=distances,
    distance="|Δ mean|",
    read_samples=None,
    read_probabilities=None,
    of_masses=None,
    sensitivity=None,
    outside=None,
    scene=scene_of,
    views=CHAIN_VIEWS,
    words=lambda target, config: target.truth.words,
    row=words,
    states=lambda target: None,
    describe=describe,
)

"""One family on one target at one budget: three trainings of all seeds, each scored exactly."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from kinds.contract import Target
from kinds.registry import kind_of
from models.base import Model, weights_of, with_weights
from studies.decomposition import direct, trainings
from studies.decomposition.cases import Case, configured, slug
from targets import make_target

PARTS = ("default", "far", "direct")
N_DISTANCE_ROWS = 20_000  # of a generator without a density, behind its distance


class Part(NamedTuple):
    """One training of all seeds."""

    scores: np.ndarray  # [S] nats, or a distance; NaN: diverged or unknown
    weights: np.ndarray  # [S, P] float32
    seconds: float


class Found(NamedTuple):
    """What was measured of one family."""

    n_params: int
    unit: str  # "nats", or what the distance is measured in
    parts: dict[str, Part]  # of PARTS


def measured(case: Case, budget: int, family: str, folder: Path) -> Found:
    """All three parts; what an earlier call has measured with the same settings is read from the folder."""
    config = configured(case, budget)
    target = make_target(config)
    model = trainings.build(family, config, target)
    score = scorer(model, target, config)
    parts: dict[str, Part] = {}
    for name in PARTS:
        file = folder / f"{slug(case, budget)}-{family}-{name}.npz"
        said = _settings(config, family, name)
        parts[name] = _read(file, said) or _written(file, said, _measured(name, config, family, target, parts, score))
    unit = "units of x" if direct.by_distance(model) else "nats"
    return Found(model.n_params, unit, parts)


def scorer(model: Model, target: Target, config: Any) -> Any:
    """(model, state) -> the exact divergence in nats; of a model without a density the sliced Wasserstein distance."""
    if not direct.by_distance(model):
        divergence = kind_of(target).divergence
        return lambda model, state: divergence(model, state, target).value
    judge = kind_of(target).judge(target, config, N_DISTANCE_ROWS)
    draw = jax.jit(lambda state: target.codec.decode(model.sample(jax.random.key(0), state, N_DISTANCE_ROWS)))
    return lambda model, state: judge.scorer.score(np.asarray(draw(state)))["wasserstein"]


def _measured(name: str, config: Any, family: str, target: Target, parts: dict[str, Part], score: Any) -> Part:
    began = time.perf_counter()
    if name == "direct":
        scores, states = _directly(config, family, target, parts, score)
    else:
        effort = {"default": trainings.DEFAULT, "far": trainings.FAR}[name]
        trained = trainings.train(family, config, target, effort)
        states = trained.states
        scores = _scores(trained.model, states, score, trained.diverged)
    weights = np.stack([np.asarray(ravel_pytree(weights_of(state))[0], np.float32) for state in states])
    return Part(scores, weights, time.perf_counter() - began)


def _directly(
    config: Any, family: str, target: Target, parts: dict[str, Part], score: Any
) -> tuple[np.ndarray, Sequence[Any]]:
    """The best of each seed: from its own start, from where its own loss has ended, and that end itself."""
    model = trainings.build(family, config, target)
    _, begun = trainings.started(model, target, config)
    begun = trainings.of_seeds(begun, config.num_seeds)
    unravel = ravel_pytree(weights_of(begun[0]))[1]
    ended = [with_weights(state, unravel(row)) for state, row in zip(begun, parts["far"].weights, strict=True)]
    candidates = [(parts["far"].scores, ended)]
    for states, rate in ((begun, direct.RATE), (ended, direct.RATE_ON)):
        found = direct.minimised(model, target, states, rate, config.seed)
        candidates.append((_scores(model, found, score), found))
    scores = np.array([where[0] for where in candidates])
    best = np.where(np.isfinite(scores), scores, np.inf).argmin(axis=0)
    seeds = np.arange(config.num_seeds)
    return scores[best, seeds], [candidates[which][1][seed] for which, seed in zip(best, seeds, strict=True)]


def _scores(model: Model, states: Sequence[Any], score: Any, diverged: Any = None) -> np.ndarray:
    lost = np.zeros(len(states), bool) if diverged is None else diverged
    return np.array([np.nan if out else score(model, state) for state, out in zip(states, lost, strict=True)])


def _settings(config: Any, family: str, part: str) -> str:
    """What a measurement depends on, in words: another one of these is measured again."""
    how = (direct.N_STEPS, direct.RATE, direct.RATE_ON) if part == "direct" else ()
    efforts = trainings.DEFAULT if part == "default" else trainings.FAR
    names = ("target_type", "num_bins", "bits", "parameter_budget", "hidden_layers", "n_steps", "batch_size", "seed")
    values = [getattr(config, name) for name in (*names, "num_seeds", family.lower())]
    return repr((*values, efforts, how))


def _read(file: Path, said: str) -> Part | None:
    if not file.exists():
        return None
    with np.load(file) as kept:
        if str(kept["settings"]) != said:
            return None
        return Part(kept["scores"], kept["weights"], float(kept["seconds"]))


def _written(file: Path, said: str, part: Part) -> Part:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp.npz")
    np.savez(temporary, settings=said, **part._asdict())
    temporary.replace(file)
    return part

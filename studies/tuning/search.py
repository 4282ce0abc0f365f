"""One search for the default settings of every family: as many trials for each, on targets drawn for it alone.

A trial is one choice of settings, drawn at random from `SPACE` with a fixed seed. It is trained once on every mixture
of every kind (1-D binned, 1-D continuous, 2-D), and its score on a kind is the mean over the mixtures of ln(KLD/floor),
with the benchmark's own KLD. The best trials of a family are trained again, longer and with other seeds, so that luck
in the first round does not choose the defaults. The benchmark's own targets take no part.

Trials that differ in numbers only share a compilation: rates are arguments of the compiled program, like the mixture.

    python3 -m studies.tuning.search            # every family; writes studies/tuning/results.json
    python3 -m studies.tuning.search --show     # prints its table
"""

import dataclasses
import itertools
import math
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tabulate import tabulate

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.asked.config import from_constants
from benchmark.engine.intervals import advance, over_seeds
from benchmark.engine.records import Feed, data_key, streams
from kinds.real.judging import make_judge
from models import MODELS
from studies.tuning.trials import SEED, Search, command, drawn, one_of, uniform
from targets import Modes, Target, gaussian_mixture, sample_mixture, with_bins

N_TRIALS = 48  # of every family
N_MIXTURES = 2  # of every kind
N_FINALISTS = 6  # of every family: the best over all kinds, and the best on each kind; and see FIXED
BUDGET = 800  # parameters: between a small quantum circuit's and the default run's
STEPS, FINAL_STEPS = 8_000, 20_000
FINAL_SEEDS = 2
KINDS = ("1-D binned", "1-D continuous", "2-D")
N_BINS = 20
RESULTS = Path(__file__).parent / "results.json"
_BOX = 4.0


# Per family: what each trial draws; what is compiled in comes second, every combination as often as every other.
SPACE = {
    "GAN": (
        {
            "learning_rate": uniform(1e-4, 5e-3),
            "discriminator_ratio": uniform(0.5, 8),
            "r1_penalty": uniform(0.01, 10),
            "adam_b1": one_of(0.0, 0.5, 0.9),
            "gumbel_temperature": uniform(0.3, 3),
            "average": one_of(0.0, 0.999, 0.9999),
        },
        {"label_smoothing": (0.9, 1.0)},
    ),
    "VAE": (
        {"learning_rate": uniform(1e-4, 1e-2), "beta": uniform(0.01, 0.5), "average": one_of(0.0, 0.999, 0.9999)},
        {"learn_sigma": (False, True)},
    ),
    "RBM": (
        {"learning_rate": uniform(3e-5, 3e-3), "sigma": uniform(0.2, 1), "average": one_of(0.0, 0.999, 0.9999)},
        {"algorithm": ("CD", "PCD"), "k": (1,), "sample_steps_training": (200,)},
    ),
}

# What the definitions fix stays a default unless something else is clearly better, so the best trial that has it is
# always trained again.
FIXED = {"GAN": {"label_smoothing": 0.9, "adam_b1": 0.5}, "VAE": {"learn_sigma": False}, "RBM": {}}


def mixtures(kind: str, n: int, first: int = 0) -> list[Target]:
    """Random mixtures of 2 to 5 components, those numbered from `first` on; the box is the same for all."""
    dim = 2 if kind == "2-D" else 1
    targets = []
    for number in range(first, first + n):
        generator = np.random.default_rng([SEED, KINDS.index(kind), number])
        m = int(generator.integers(2, 6))
        weights = generator.dirichlet(np.full(m, 4.0))
        means = generator.uniform(-2.5, 2.5, (m, dim))
        deviations = generator.uniform(0.25, 0.6, (m, dim))
        covariances = deviations[:, :, None] * deviations[:, None, :] * np.eye(dim)
        if dim == 2:
            angles = generator.uniform(0, np.pi, m)
            turns = np.moveaxis(np.array([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]]), 2, 0)
            covariances = turns @ covariances @ np.swapaxes(turns, 1, 2)
            covariances = (covariances + np.swapaxes(covariances, 1, 2)) / 2
        box = np.array([[-_BOX, _BOX]] * dim)
        target = gaussian_mixture(f"{kind} mixture {number}", Modes(weights, means, covariances), box)
        targets.append(with_bins(target, N_BINS) if kind == "1-D binned" else target)
    return targets


def draw_trials(family: str) -> list[dict[str, Any]]:
    """The settings of every trial of a family."""
    return drawn(SPACE, family, N_TRIALS)


def as_settings(family: str, trial: dict[str, Any], kind: str) -> dict[str, Any]:
    """A trial as arguments of the family's Config."""
    settings = dict(trial)
    if "discriminator_ratio" in settings:
        settings["discriminator_learning_rate"] = settings.pop("discriminator_ratio") * settings["learning_rate"]
    if family == "VAE" and (settings["learn_sigma"] or kind == "1-D binned"):
        # A learned deviation and cross-entropy have the bound itself as objective: β = 1.
        settings["beta"] = 0.0
    return settings


def scores(family: str, kind: str, trials: list[dict], targets: list[Target], n_steps: int, n_seeds: int) -> np.ndarray:
    """ln(KLD/floor) of every trial [trials, targets, seeds]; infinite where it diverged."""
    n_bins = N_BINS if kind == "1-D binned" else 0
    base = dataclasses.replace(from_constants(vars(script)), parameter_budget=BUDGET, num_bins=n_bins)
    judges = [make_judge(target, base) for target in targets]
    result = np.full((len(trials), len(targets), n_seeds), np.inf)
    _, compiled_in = SPACE[family]

    def signature(trial):
        return tuple(trial[name] for name in compiled_in)

    for fixed in dict.fromkeys(map(signature, trials)):
        chosen = [i for i, trial in enumerate(trials) if signature(trial) == fixed]
        settings = [as_settings(family, trials[i], kind) for i in chosen]
        work = list(itertools.product(range(len(chosen)), range(len(targets)), range(n_seeds)))
        x, sound = _train_together(family, base, targets, settings, work, n_steps)
        for (i, j, s), rows, is_sound in zip(work, x, sound, strict=True):
            if is_sound:
                judge = judges[j]
                result[chosen[i], j, s] = math.log(judge.scorer.score(rows)["kld"] / judge.floors["kld"].mean)
    return result


def _train_together(
    family: str, base: Any, targets: list[Target], settings: list[dict], work: list[tuple[int, int, int]], n_steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Trains settings i on target j with seed s for all (i, j, s) of the work, in one compilation.

    Returns:
      Samples [work, n, D], and whether each training stayed finite [work].
    """
    _, compiled_in = SPACE[family]
    # What is 0 in all trials means "default", which a traced number cannot; an average of 0 is taken as it is.
    numbers = [
        name
        for name in settings[0]
        if name not in compiled_in and (name == "average" or any(trial[name] != 0 for trial in settings))
    ]
    constant = {name: value for name, value in settings[0].items() if name not in numbers}
    codec = targets[0].codec

    def train_one(numbers, modes, keys):
        own = MODELS[family].Config(**constant, **numbers)
        model = MODELS[family].build(dataclasses.replace(base, **{family.lower(): own}), targets[0])
        feed = Feed(lambda key, n: codec.encode(sample_mixture(key, n, *modes)), None, base.batch_size)
        state = model.init(keys.key_init, feed.rows_for_init(data_key(keys), None))
        state, _, bad_step = advance(model, feed)(state, keys, None, 0, n_steps)
        draw = model.sample_quick or model.sample
        x = codec.decode(draw(keys.key_eval, state, base.n_eval_samples))
        return x, (bad_step > n_steps) & jnp.isfinite(x).all()

    most = max(len(target.truth.modes.weights) for target in targets)
    padded = [_padded(target.truth.modes, most) for target in targets]
    # The same keys for every trial: trials differ in their settings alone.
    seeds = jnp.array([s for _, _, s in work])
    arguments = (
        {name: jnp.array([settings[i][name] for i, _, _ in work], jnp.float32) for name in numbers},
        tuple(jnp.array([padded[j][part] for _, j, _ in work], jnp.float32) for part in range(3)),
        jax.tree.map(lambda leaf: leaf[seeds], streams(SEED, int(seeds.max()) + 1)),
    )
    spread, n_filled, sharding = over_seeds(train_one, len(work), (True, True, True))
    filled = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[: n_filled - len(work)]]), arguments)
    x, sound = jax.jit(spread)(*jax.device_put(filled, sharding))
    return np.asarray(x)[: len(work)], np.asarray(sound)[: len(work)]


def search(family: str) -> dict[str, Any]:
    """Both rounds of one family."""
    trials = draw_trials(family)
    started = time.perf_counter()
    first = np.stack(
        [scores(family, kind, trials, mixtures(kind, N_MIXTURES), STEPS, 1).mean((1, 2)) for kind in KINDS], axis=1
    )
    best = [int(i) for i in np.argsort(first.mean(1))[: N_FINALISTS - len(KINDS)]]
    for kind in range(len(KINDS)):
        best.append(next(int(i) for i in np.argsort(first[:, kind]) if i not in best))
    order = [int(i) for i in np.argsort(first.mean(1))]
    kept = next(i for i in order if FIXED[family].items() <= trials[i].items())
    best += [kept] if kept not in best else []
    # Other mixtures and other seeds than those that chose the finalists.
    finals = [
        scores(
            family, kind, [trials[i] for i in best], mixtures(kind, N_MIXTURES, N_MIXTURES), FINAL_STEPS, FINAL_SEEDS
        )
        for kind in KINDS
    ]
    second = np.stack([values.mean((1, 2)) for values in finals], axis=1)
    return {
        "seconds": time.perf_counter() - started,
        "trials": [
            {"settings": trial, "first": dict(zip(KINDS, row, strict=True))}
            for trial, row in zip(trials, first.tolist(), strict=True)
        ],
        "finalists": [
            {"trial": i, "settings": trials[i], "final": dict(zip(KINDS, row, strict=True))}
            for i, row in sorted(zip(best, second.tolist(), strict=True), key=lambda entry: np.mean(entry[1]))
        ],
    }


def table(results: dict[str, Any]) -> str:
    """The finalists of every family, best first: KLD as a multiple of its floor, by kind."""
    parts = []
    for family, found in results.items():
        rows = [
            [entry["trial"]]
            + [f"{math.exp(entry['final'][kind]):.2f}" for kind in KINDS]
            + [
                f"{value:.2g}" if isinstance(value, float) and value < 0.99 else value
                for value in entry["settings"].values()
            ]
            for entry in found["finalists"]
        ]
        head = ["trial", *KINDS, *found["finalists"][0]["settings"]]
        parts.append(f"{family}\n\n" + tabulate(rows, head, tablefmt="github", disable_numparse=True))
    return "\n\n".join(parts)


def _padded(modes: Modes, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means and factors with n components, those added of weight 0."""
    missing = n - len(modes.weights)
    factors = np.linalg.cholesky(modes.covariances)
    return tuple(
        np.concatenate([part, np.zeros((missing, *part.shape[1:]))]) for part in (modes.weights, modes.means, factors)
    )


if __name__ == "__main__":
    command(Search(__doc__.splitlines()[0], SPACE, search, table, RESULTS))

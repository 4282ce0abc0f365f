"""One search for the default settings of GAN, WGAN, WGAN_GP, VAE and RBM on bit strings, as many trials for each.

A trial is one choice of settings, drawn at random from `SPACE` with a fixed seed. It is trained once on every target of
`TARGETS`, and its score is the mean over them of ln(KL/PRODUCT): the exact KL over what independent bits reach at best.
The best trials of a family are trained again, longer, with other seeds and at other budgets. The targets that
`studies.bits` reports take no part: sizes and signs of the couplings are others.

    python3 -m studies.tuning.bits            # every family; writes studies/tuning/bits.json
    python3 -m studies.tuning.bits --show     # prints its table
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
from benchmark.engine.programs import compile_shared
from benchmark.engine.records import Feed, data_key, streams
from core.settings import traced
from kinds.bits.judging import divergence
from kinds.bits.rivals import rivals
from kinds.contract import Target
from models import MODELS
from models.base import without_optimiser
from studies.tuning.trials import SEED, Search, command, drawn, one_of, uniform
from targets import make_target

N_TRIALS = 24  # of every family
N_FINALISTS = 4  # of every family, the best over all targets
BUDGET, FINAL_BUDGETS = 300, (300, 1000)
STEPS, FINAL_STEPS = 6_000, 12_000
FINAL_SEEDS = 2
RESULTS = Path(__file__).parent / "bits.json"
# Beyond these a model is as good as perfect, or a probability has underflowed.
_LEAST, _MOST = 1e-4, 1e2

TARGETS = {
    "bars and stripes 3 × 4": ("BITS_BARS_STRIPES", {"height": 3, "width": 4}),
    "cardinality 3 of 9": ("BITS_CARDINALITY", {"n": 9, "ones": 3}),
    "Ising 3 × 4, random signs": ("BITS_ISING", {"height": 3, "width": 4, "coupling_seed": 2}),
    "blobs, 10 bits": ("BITS_BLOBS", {"n": 10}),
}

# Per family: what each trial draws; what is compiled in comes second, every combination as often as every other.
SPACE = {
    "GAN": (
        {
            "learning_rate": uniform(3e-4, 1e-2),
            "discriminator_ratio": uniform(0.7, 6),
            "r1_penalty": uniform(0.1, 20),
            "adam_b1": one_of(0.0, 0.5),
            "gumbel_temperature": uniform(0.3, 3),
            "weight_decay": uniform(3e-3, 0.5),
        },
        {"latent_dim": (2, 8)},
    ),
    "WGAN": (
        {
            "learning_rate": uniform(5e-5, 5e-3),
            "clip": uniform(0.01, 0.3),
            "gumbel_temperature": uniform(0.3, 3),
        },
        {"latent_dim": (2, 8), "average": (0.999,)},
    ),
    "WGAN_GP": (
        {
            "learning_rate": uniform(1e-4, 5e-3),
            "critic_ratio": uniform(0.7, 6),
            "penalty": uniform(0.1, 10),
            "gumbel_temperature": uniform(0.3, 3),
            "weight_decay": uniform(3e-3, 0.5),
        },
        {"latent_dim": (2, 8)},
    ),
    "VAE": (
        {"learning_rate": uniform(5e-4, 2e-2), "free_bits": uniform(0.03, 2)},
        {"latent_dim": (2,)},
    ),
    "RBM": (
        {"learning_rate": uniform(3e-4, 2e-2), "weight_scale": uniform(0.01, 0.5)},
        {"algorithm": ("CD", "PCD"), "k": (1, 5)},
    ),
}
# A rate that is drawn as a multiple of the generator's.
_RATIOS = {
    "discriminator_ratio": "discriminator_learning_rate",
    "critic_ratio": "critic_learning_rate",
}


def target_of(name: str) -> Target:
    """One of `TARGETS`."""
    kind, settings = TARGETS[name]
    base = from_constants(vars(script))
    bits = dataclasses.replace(base.bits, **settings)
    return make_target(dataclasses.replace(base, target_type=kind, num_bins=0, bits=bits))


def draw_trials(family: str) -> list[dict[str, Any]]:
    """The settings of every trial of a family."""
    return drawn(SPACE, family, N_TRIALS)


def as_settings(trial: dict[str, Any]) -> dict[str, Any]:
    """A trial as arguments of the family's Config."""
    settings = dict(trial)
    for ratio, rate in _RATIOS.items():
        if ratio in settings:
            settings[rate] = settings.pop(ratio) * settings["learning_rate"]
    return settings


def scores(family: str, trials: list[dict[str, Any]], budget: int, n_steps: int, n_seeds: int) -> np.ndarray:
    """ln(KL/PRODUCT) of every trial [trials, targets, seeds]."""
    result = np.empty((len(trials), len(TARGETS), n_seeds))
    numbers = set(traced(MODELS[family].Config))
    settings = [as_settings(trial) for trial in trials]
    for j, name in enumerate(TARGETS):
        target = target_of(name)
        product = rivals(target.truth, target.entropy)["PRODUCT"]

        def compiled_in(i):
            return tuple((key, value) for key, value in settings[i].items() if key not in numbers)

        for fixed in dict.fromkeys(map(compiled_in, range(len(trials)))):
            chosen = [i for i in range(len(trials)) if compiled_in(i) == fixed]
            kl = train_together(family, target, [settings[i] for i in chosen], (budget, n_steps, n_seeds))
            result[chosen, j] = np.log(np.clip(kl, _LEAST, _MOST) / product)
        print(f"{family}, {budget} parameters, {name}", flush=True)
    return result


def train_together(family: str, target: Target, settings: list[dict], size: tuple[int, int, int]) -> np.ndarray:
    """Trains these settings with every seed in one compilation; they differ in traced numbers alone.

    Args:
      family: its name.
      target: of bit strings.
      settings: arguments of its Config.
      size: the budget, the steps and the number of seeds.

    Returns:
      The exact KL [settings, seeds] in nats; infinite where training has diverged.
    """
    budget, n_steps, n_seeds = size
    base = dataclasses.replace(from_constants(vars(script)), num_bins=0, parameter_budget=budget, n_steps=n_steps)
    names = [name for name in traced(MODELS[family].Config) if name in settings[0]]
    constant = {name: value for name, value in settings[0].items() if name not in names}

    def model_of(numbers):
        own = MODELS[family].Config(**constant, **numbers)
        return MODELS[family].build(dataclasses.replace(base, **{family.lower(): own}), target)

    feed = Feed(lambda key, n: target.codec.encode(target.sample(key, n)), None, base.batch_size)

    def train_one(unused, numbers, keys):
        del unused
        model = model_of(numbers)
        state = model.init(keys.key_init, feed.rows_for_init(data_key(keys), None))
        state, _, bad_step = advance(model, feed)(state, keys, None, 0, n_steps)
        return without_optimiser(state), bad_step > n_steps

    work = list(itertools.product(range(len(settings)), range(n_seeds)))
    # The same keys for every trial: trials differ in their settings alone.
    arguments = (
        {name: jnp.array([settings[i][name] for i, _ in work], jnp.float32) for name in names},
        jax.tree.map(lambda leaf: leaf[jnp.array([seed for _, seed in work])], streams(SEED, n_seeds)),
    )
    spread, n_filled, sharding = over_seeds(train_one, len(work), (False, True, True))
    filled = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[: n_filled - len(work)]]), arguments)
    filled = jax.device_put(filled, sharding)
    states, sound = jax.device_get(compile_shared(jax.jit(spread).lower((), *filled), ())(*filled))
    model = model_of({name: settings[0][name] for name in names}).in_passing()
    kl = [divergence(model, jax.tree.map(lambda leaf: leaf[n], states), target).value for n in range(len(work))]  # noqa: B023
    return np.where(sound[: len(work)], np.nan_to_num(kl, nan=np.inf), np.inf).reshape(len(settings), n_seeds)


def search(family: str) -> dict[str, Any]:
    """Both rounds of one family."""
    trials = draw_trials(family)
    started = time.perf_counter()
    first = scores(family, trials, BUDGET, STEPS, 1).mean(2)
    best = [int(i) for i in np.argsort(first.mean(1))[:N_FINALISTS]]
    finals = [
        scores(family, [trials[i] for i in best], budget, FINAL_STEPS, FINAL_SEEDS).mean(2) for budget in FINAL_BUDGETS
    ]
    second = np.stack(finals, axis=1)  # [finalists, budgets, targets]
    by_budget = [dict(zip(map(str, FINAL_BUDGETS), map(list, entry.tolist()), strict=True)) for entry in second]
    return {
        "seconds": time.perf_counter() - started,
        "trials": [{"settings": trial, "first": row} for trial, row in zip(trials, first.tolist(), strict=True)],
        "finalists": [
            {"trial": best[i], "settings": trials[best[i]], "final": by_budget[i]}
            for i in np.argsort(second.mean((1, 2)))
        ],
    }


def table(results: dict[str, Any]) -> str:
    """The finalists of every family, best first: KL as a multiple of PRODUCT's, as geometric means over targets."""
    parts = []
    for family, found in results.items():
        rows = [
            [entry["trial"]]
            + [f"{math.exp(np.mean(entry['final'][str(budget)])):.3f}" for budget in FINAL_BUDGETS]
            + [f"{value:.2g}" if isinstance(value, float) else value for value in entry["settings"].values()]
            for entry in found["finalists"]
        ]
        head = ["trial", *(f"{budget} parameters" for budget in FINAL_BUDGETS), *found["finalists"][0]["settings"]]
        parts.append(f"{family}\n\n" + tabulate(rows, head, tablefmt="github", disable_numparse=True))
    return "\n\n".join(parts)


if __name__ == "__main__":
    command(Search(__doc__.splitlines()[0], SPACE, search, table, RESULTS))

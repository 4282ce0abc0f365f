"""A family trained by its own loss: as the benchmark does by default, and far beyond that."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmark.engine import programs
from benchmark.engine.intervals import advance, over_seeds
from benchmark.engine.records import Feed, data_key, streams
from kinds.contract import Target
from models import build
from models.base import Model


class Effort(NamedTuple):
    """How far a family is trained by its own loss."""

    times: int  # as many steps; of a family that sees its whole data set at every step, as many rows and steps
    batches: int  # a minibatch is so many of the default's
    n_rates: int  # equal parts of the training, each with one learning rate
    decays: bool  # whether the rates fall to 0, by half a period of a cosine


DEFAULT = Effort(1, 1, 1, False)
FAR = Effort(10, 4, 100, True)
_RATE = "learning_rate"  # what the names of all learning rates end with


class Trained(NamedTuple):
    """What a training of all seeds has come to."""

    model: Model
    states: list[Any]  # of every seed, on the host
    diverged: np.ndarray  # [S] bool


def feed_of(target: Target, batch_size: int) -> Feed:
    """Fresh draws of a target."""
    return Feed(lambda key, n: target.codec.encode(target.sample(key, n)), None, batch_size)


def rates_of(model: Model) -> list[str]:
    """The settings of a model that are learning rates."""
    return [name for name in model.numbers if name.endswith(_RATE)]


def factors(effort: Effort) -> list[float]:
    """What the learning rates are multiplied by, in each part of the training."""
    if not effort.decays:
        return [1.0] * effort.n_rates
    return [0.5 * (1 + math.cos(math.pi * (i + 0.5) / effort.n_rates)) for i in range(effort.n_rates)]


def started(model: Model, target: Target, config: Any) -> tuple[Any, Any]:
    """Keys and states of all seeds before their first step, as the benchmark begins with them: [S, …]."""
    feed = feed_of(target, config.batch_size)

    def init(keys):
        return model.init(keys.key_init, feed.rows_for_init(data_key(keys), None, model.n_data_rows))

    spread, n_padded, sharding = over_seeds(init, config.num_seeds, (True,))
    keys = jax.device_put(jax.jit(streams, static_argnums=1)(config.seed, n_padded), sharding)
    return keys, _compiled(spread, keys)(keys)


def train(family: str, config: Any, target: Target, effort: Effort) -> Trained:
    """Trains all seeds of a family on fresh draws; their randomness is that of the benchmark.

    Args:
      family: its name.
      config: the run's configuration; its steps and minibatch are the default's.
      target: the distribution.
      effort: how far.
    """
    n_steps = config.n_steps * effort.times
    config = dataclasses.replace(config, batch_size=config.batch_size * effort.batches)
    model = build(family, config, target)
    if model.batches_per_step is None:
        model = model._replace(n_data_rows=model.n_data_rows * effort.times, max_steps=model.max_steps * effort.times)
    feed, rates = feed_of(target, config.batch_size), rates_of(model)

    def part(numbers, *args):
        state, keys, first, last, lost = args
        own = model.with_numbers(numbers) if numbers else model
        if model.max_steps is not None:
            own = own._replace(n_data_rows=model.n_data_rows, max_steps=model.max_steps)
        state, _, bad_step = advance(own, feed)(state, keys, None, first, last, lost)
        return state, bad_step <= last

    keys, states = started(model, target, config)
    lost = jnp.zeros(len(keys.key_init), bool)
    spread, _, _ = over_seeds(part, config.num_seeds, (False, True, True, False, False, True))
    ends = np.linspace(0, model.steps_until(n_steps), effort.n_rates + 1).round().astype(int)
    compiled = None
    for first, last, factor in zip(ends[:-1], ends[1:], factors(effort), strict=True):
        numbers = {name: jnp.float32(value * (factor if name in rates else 1)) for name, value in model.numbers.items()}
        args = numbers, states, keys, jnp.int32(first), jnp.int32(last), lost
        compiled = compiled or _compiled(spread, *args)
        states, bad = compiled(*args)
        lost = lost | bad
    return Trained(model, of_seeds(states, config.num_seeds), np.asarray(lost)[: config.num_seeds])


def of_seeds(states: Any, n_seeds: int) -> list[Any]:
    """The states of every seed, on the host."""
    host = jax.tree.map(np.asarray, states)
    return [jax.tree.map(lambda leaf, i=i: leaf[i], host) for i in range(n_seeds)]


def _compiled(function: Any, *args: Any) -> Any:
    return jax.jit(function).lower(*args).compile(compiler_options=programs.options())

"""What is compiled before a family is trained: its start, the steps of an interval, and the draws that are scored.

Seeds are spread over the devices. The compiled programs take a family's traced settings as their first argument, so
that runs with other values share them.
"""

import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from benchmark.engine.intervals import advance, all_finite, over_seeds
from benchmark.engine.programs import compile_shared, memory_bytes, working_on
from benchmark.engine.records import Cost, Feed, Schedule, Streams, data_key, streams
from core import prng
from kinds.contract import Scorer
from models.base import Model, watched


def step_cost(model: Model, feed: Feed, compiled: Any = None) -> Cost:
    """Counts one update of one seed: not that of the compiled interval, whose loop over steps counts once.

    Args:
      model: the family.
      feed: the training events.
      compiled: the compiled training, for its memory.

    Returns:
      The cost. Random numbers and the data draw are not among the operations, nor are exponentials and their like,
      which the compiler counts apart; what the compiler or the device does not say is None.
    """

    def step(numbers, *args):
        own = model.with_numbers(numbers) if numbers else model
        return (own.step_counted or own.step)(*args)

    if model.max_steps == 0:
        rows = jax.eval_shape(lambda: feed.rows_for_init(jax.random.key(0), feed.rows, model.n_data_rows))
        return Cost(0.0, len(rows), memory_bytes(compiled))
    state, batch, noise = step_arguments(model, feed)
    numbers = {name: jnp.float32(value) for name, value in model.numbers.items()}
    # Operations are counted before they become machine code, which is never run and need not be good.
    with working_on(model.name, "one step, to count its operations"):
        counted = compile_shared(jax.jit(step).lower(numbers, state, batch, noise), numbers, once=True)
    analysis = counted.cost_analysis() or {}
    rows = math.prod(batch.shape[: 1 if model.batches_per_step in (None, 1) else 2])
    return Cost(analysis.get("flops"), model.n_rows_used or rows, memory_bytes(compiled))


def step_arguments(model: Model, feed: Feed) -> tuple[Any, Any, Any]:
    """The shapes of what `model.step` takes: state, batch, noise."""

    def arguments(key):
        rows = feed.rows_for_init(key, feed.rows, model.n_data_rows)
        batch = feed.minibatch(key, feed.rows)
        if model.batches_per_step is None:
            batch = rows
        elif model.batches_per_step > 1:
            batch = jnp.stack([batch] * model.batches_per_step)
        return model.init(key, rows), batch, model.noise(key)

    return jax.eval_shape(arguments, jax.random.key(0))


class Program(NamedTuple):
    """One family's training, compiled for all seeds and ready to run."""

    model: Model
    scorer: Scorer
    rows: jax.Array | None
    steps: Sequence[int]  # at which it is scored after step 0; the last one is its end
    n_seeds: int
    keys: Streams  # [n_seeds, rounded up to fill the devices]
    init: Callable  # (keys, rows) -> states [n_seeds, rounded up]
    state_shapes: Sequence[jax.ShapeDtypeStruct]  # of one seed's leaves
    put: Callable  # (list of leaves, each [n_seeds, ...], which it empties) -> states [n_seeds, rounded up]
    advance: (
        Callable  # (states, keys, rows, first_step, last_step, lost) -> (states, info, bad_step); consumes the states
    )
    evaluate: Callable  # (states, keys, step) -> (x [S, n, D], finite [S])
    evaluate_last: Callable
    compile_seconds: float


def prepare(model: Model, feed: Feed, scorer: Scorer, schedule: Schedule) -> Program:
    """Compiles one family's training. Safe to call from several threads at once.

    Args:
      model: the family, built for the target.
      feed: the training events.
      scorer: the metrics.
      schedule: how many seeds are trained, and after which steps they are scored.
    """
    started = time.perf_counter()
    of_seed = _OfSeed(model, feed, scorer)
    _, n_padded, sharding = over_seeds(of_seed.init, schedule.n_seeds, (False, True, False))
    keys = jax.device_put(jax.jit(streams, static_argnums=1)(schedule.seed, n_padded, schedule.first_seed), sharding)
    numbers = {name: jnp.float32(value) for name, value in model.numbers.items()}
    numbers = jax.device_put(numbers, NamedSharding(sharding.mesh, PartitionSpec()))
    compiler = _Compiler(model.name, schedule.n_seeds, numbers)

    init = compiler.compiled("initialisation", of_seed.init, (True, False), keys, feed.rows, once=True)
    states = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), init.out_info)
    step, lost = jnp.int32(0), jax.ShapeDtypeStruct((n_padded,), bool, sharding=sharding)
    interval = compiler.compiled(
        "training",
        of_seed.interval,
        (True, True, False, False, False, True),
        *(states, keys, feed.rows, step, step, lost),
        donate_argnums=1,
    )
    in_seeds, args = (True, True, False), (states, keys, step)
    evaluate = evaluate_last = compiler.compiled("evaluation", of_seed.evaluate, in_seeds, *args)
    if model.sample_quick and not scorer.soft:
        evaluate_last = compiler.compiled("last evaluation", of_seed.evaluate_last, in_seeds, *args)
    return Program(
        model=model,
        scorer=scorer,
        rows=feed.rows,
        steps=schedule.steps,
        n_seeds=schedule.n_seeds,
        keys=keys,
        init=init,
        state_shapes=[jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype) for leaf in jax.tree.leaves(states)],
        put=functools.partial(_placed, states, schedule.n_seeds),
        advance=interval,
        evaluate=evaluate,
        evaluate_last=evaluate_last,
        compile_seconds=time.perf_counter() - started,
    )


class _OfSeed(NamedTuple):
    """What is done with one seed, by functions whose first argument is the model's traced settings."""

    model: Model
    feed: Feed
    scorer: Scorer

    def own(self, numbers):
        """The model with these settings."""
        return self.model.with_numbers(numbers) if self.model.numbers else self.model

    def init(self, numbers, keys, rows):
        """The State before training."""
        data = self.feed.rows_for_init(data_key(keys), rows, self.model.n_data_rows)
        return self.own(numbers).init(keys.key_init, data)

    def interval(self, numbers, *args):
        """As `intervals.advance` says."""
        return advance(self.own(numbers), self.feed)(*args)

    def evaluate(self, numbers, state, keys, step):
        """What is scored in mid-training [n, D], and whether the seed is finite."""
        model = self.own(numbers)
        return self._drawn(model, model.sample_quick or model.sample, state, keys, step)

    def evaluate_last(self, numbers, state, keys, step):
        """The same at the end."""
        model = self.own(numbers)
        return self._drawn(model, model.sample, state, keys, step)

    def _drawn(self, model, sample, state, keys, step):
        draw = model.sample_mean if self.scorer.soft else sample
        key = jax.random.fold_in(prng.unrolled(keys.key_eval), 0 if self.scorer.fixed_draws else step)
        x = self.scorer.decode(draw(key, state, self.scorer.n_samples))
        return x, all_finite([*watched(state), x])


class _Compiler(NamedTuple):
    """Compiles the programs of one family for all seeds."""

    name: str
    n_seeds: int
    numbers: dict[str, jax.Array]

    def compiled(self, what: str, function: Callable, in_seeds: tuple[bool, ...], *args: Any, once=False, **how):
        """A function of one seed, compiled.

        Args:
          what: it is called.
          function: its first argument is the model's traced settings.
          in_seeds: for each of the others, whether it has a leading seed axis.
          args: the others, or their shapes.
          once: the program runs once.
          how: further arguments of `jax.jit`.
        """
        spread, _, _ = over_seeds(function, self.n_seeds, (False, *in_seeds))
        with working_on(self.name, what):
            return compile_shared(jax.jit(spread, **how).lower(self.numbers, *args), self.numbers, once)


def _placed(states: Any, n_seeds: int, leaves: list[Any]) -> Any:
    """Leaves on the host, each [n_seeds, ...], as states on the devices, in the form of these; empties the list."""
    placed = []
    for state in jax.tree.leaves(states):
        # Seeds that only fill the devices may be any.
        filled = leaves.pop(0)[np.minimum(np.arange(len(state)), n_seeds - 1)]
        placed.append(jax.device_put(filled, state.sharding))
    return jax.tree.unflatten(jax.tree.structure(states), placed)

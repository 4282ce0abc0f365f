"""The only training loop: every family, every seed, compiled once.

One iteration of the outer loop on the host is one evaluation interval; inside it a single jitted call takes the steps,
as many as it is told: one program serves intervals and trainings of every length.
Seeds are spread over the devices. Randomness comes from four streams a seed, in which step i has a key of its own, so
that families see the same data and the first k steps depend neither on how many follow nor on how they are blocked.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from benchmark.engine.intervals import advance, all_finite, over_seeds
from benchmark.engine.programs import compile_shared, memory_bytes, working_on
from benchmark.engine.records import Begun, Cost, Evaluation, Feed, Run, Schedule, Streams, data_key, streams
from core import prng
from kinds.contract import Scorer
from models.base import Model, watched, without_optimiser


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
    steps, n_seeds, seed, first_seed = schedule

    def own(numbers):
        return model.with_numbers(numbers) if model.numbers else model

    def init(numbers, keys, rows):
        return own(numbers).init(keys.key_init, feed.rows_for_init(data_key(keys), rows, model.n_data_rows))

    def interval(numbers, *args):
        return advance(own(numbers), feed)(*args)

    def evaluate(last):
        def of_state(numbers, state, keys, step):
            model = own(numbers)
            draw = model.sample_mean if scorer.soft else model.sample if last else model.sample_quick or model.sample
            key = jax.random.fold_in(prng.unrolled(keys.key_eval), 0 if scorer.fixed_draws else step)
            events = draw(key, state, scorer.n_samples)
            x = scorer.decode(events)
            return x, all_finite([*watched(state), x])

        return of_state

    started = time.perf_counter()
    _, n_padded, sharding = over_seeds(init, n_seeds, (False, True, False))
    keys = jax.device_put(jax.jit(streams, static_argnums=1)(seed, n_padded, first_seed), sharding)
    numbers = {name: jnp.float32(value) for name, value in model.numbers.items()}
    numbers = jax.device_put(numbers, NamedSharding(sharding.mesh, PartitionSpec()))
    first_step = jnp.int32(0)

    def compiled(what, function, in_seeds, *args, once=False, **how):
        spread, _, _ = over_seeds(function, n_seeds, (False, *in_seeds))
        with working_on(model.name, what):
            return compile_shared(jax.jit(spread, **how).lower(numbers, *args), numbers, once)

    compiled_init = compiled("initialisation", init, (True, False), keys, feed.rows, once=True)
    states = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), compiled_init.out_info
    )

    def put(leaves):
        placed = []
        while leaves:
            # Seeds that only fill the devices may be any.
            filled = leaves.pop(0)[np.minimum(np.arange(n_padded), n_seeds - 1)]
            placed.append(jax.device_put(filled, sharding))
        return jax.tree.unflatten(jax.tree.structure(states), placed)

    in_seeds = (True, True, False, False, False)
    lost = jax.ShapeDtypeStruct((n_padded,), bool, sharding=sharding)
    compiled_advance = compiled(
        "training",
        interval,
        (*in_seeds, True),
        *(states, keys, feed.rows, first_step, first_step, lost),
        donate_argnums=1,
    )
    evaluate_mid = compiled("evaluation", evaluate(last=False), in_seeds[:3], states, keys, first_step)
    evaluate_last = evaluate_mid
    if model.sample_quick and not scorer.soft:
        evaluate_last = compiled("last evaluation", evaluate(last=True), in_seeds[:3], states, keys, first_step)
    return Program(
        model=model,
        scorer=scorer,
        rows=feed.rows,
        steps=steps,
        n_seeds=n_seeds,
        keys=keys,
        init=compiled_init,
        state_shapes=[jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype) for leaf in jax.tree.leaves(states)],
        put=put,
        advance=compiled_advance,
        evaluate=evaluate_mid,
        evaluate_last=evaluate_last,
        compile_seconds=time.perf_counter() - started,
    )


def train(
    program: Program,
    *,
    snapshot_steps: frozenset[int] = frozenset(),
    on_evaluation: Callable[[Evaluation], None] = lambda evaluation: None,
    begun: Begun | None = None,
    pause: Callable[[Run, Iterator[np.ndarray]], bool] = lambda run, leaves: False,
) -> Run:
    """Trains all seeds of one family and scores them at step 0 and after each interval.

    Args:
      program: what `prepare` compiled.
      snapshot_steps: the steps of whose samples is kept what `Scorer.keep` leaves; the last step's are kept whole.
      on_evaluation: called after every evaluation.
      begun: what an earlier call had come to; None: nothing.
      pause: called after every interval with what there is by then, a Run without states and the leaves of these, which
        are copied to the host one after the other as they are asked for; True ends the training there, with a score
        like the last step's.

    Returns:
      The run. A seed that diverges takes no further step, and nothing is drawn from it: it has no metrics, samples or
      info (NaN) from the evaluation after it on.
    """
    n_seeds, n_steps = program.n_seeds, program.steps[-1]
    in_passing = program.model.in_passing()
    numbered = (0, *program.steps)
    exact_at = {numbered[i] for i in program.scorer.exact_at(len(program.steps))}

    def lost():
        return np.array([at is not None for at in diverged_at_step])

    def mark_lost(at_steps):
        """Notes at which step a seed has diverged, unless it had before."""
        for i, step in at_steps:
            if diverged_at_step[i] is None:
                diverged_at_step[i] = int(step)

    def drawn_at(step, last):
        """Samples [S, n, D], and which of them are finite [S]."""
        nonlocal sample_seconds
        evaluate_all = program.evaluate_last if last else program.evaluate
        if lost().all():
            sample_seconds = 0.0
            shape = evaluate_all.out_info[0]
            return np.full((n_seeds, *shape.shape[1:]), np.nan, shape.dtype), np.zeros(n_seeds, bool)
        started = time.perf_counter()
        x, finite = (np.asarray(values)[:n_seeds] for values in evaluate_all(states, program.keys, jnp.int32(step)))
        sample_seconds = time.perf_counter() - started
        return x, finite

    def exact_scores(seed, step, last):
        """What is known of a seed without a sample, where that is asked for; in mid-training by a cheaper rule."""
        if program.scorer.exact is None or not (last or step in exact_at):
            return {}
        model = program.model if last else in_passing
        return program.scorer.exact(model, _of_seed(without_optimiser(states), seed))

    def evaluation_at(step, info, last):
        if info is not None:
            info = {name: np.where(lost(), values.dtype.type(np.nan), values) for name, values in info.items()}
        x, finite = drawn_at(step, last)
        mark_lost((i, step) for i in np.flatnonzero(~finite))
        scores = [
            {} if at is not None else {**program.scorer.score(rows), **exact_scores(i, step, last)}
            for i, (rows, at) in enumerate(zip(x, diverged_at_step, strict=True))
        ]
        metrics = {
            name: np.array([score.get(name, np.nan) for score in scores], np.float64)
            for name in program.scorer.followed
        }
        kept = samples = None
        if last or step in snapshot_steps:
            # A copy: on a CPU the samples of all evaluations would otherwise keep the devices' memory.
            samples = x.copy()
            samples[lost()] = np.nan
            kept = np.stack([program.scorer.kept(rows) for rows in samples])
        evaluation = Evaluation(step, metrics, info, kept, samples if last else None)
        on_evaluation(evaluation)
        return evaluation

    def so_far():
        return Run(program.model, [], evaluations, diverged_at_step, train_seconds, compile_seconds, sample_seconds)

    if begun is None:
        states = program.init(program.keys, program.rows)
        diverged_at_step: list[int | None] = [None] * n_seeds
        sample_seconds = train_seconds = 0.0
        compile_seconds = program.compile_seconds
        evaluations = [evaluation_at(0, None, last=False)]
    else:
        states = program.put(begun.leaves)
        diverged_at_step = list(begun.run.diverged_at_step)
        sample_seconds, train_seconds = begun.run.sample_seconds, begun.run.train_seconds
        compile_seconds = begun.run.compile_seconds + program.compile_seconds
        evaluations = list(begun.run.evaluations)
        on_evaluation(evaluations[-1])
    for step in [step for step in program.steps if step > evaluations[-1].step]:
        last, before = step == n_steps, evaluations[-1].step
        if program.model.max_steps is not None and before >= program.model.max_steps:
            means = evaluations[-1].info
        else:
            # Seeds that only fill the devices never count.
            filled = np.zeros(len(program.keys.key_init), bool)
            filled[:n_seeds] = lost()
            started = time.perf_counter()
            states, info, bad_step = jax.block_until_ready(
                program.advance(states, program.keys, program.rows, jnp.int32(before), jnp.int32(step), filled)
            )
            train_seconds += time.perf_counter() - started
            mark_lost((i, bad) for i, bad in enumerate(np.asarray(bad_step)[:n_seeds]) if bad <= n_steps)
            means = {name: np.asarray(values)[:n_seeds] for name, values in info._asdict().items()}
        evaluations.append(evaluation_at(step, means, last))
        if pause(so_far(), (_on_host(leaf)[:n_seeds] for leaf in jax.tree.leaves(states))) and not last:
            evaluations[-1] = evaluation_at(step, means, last=True)
            break

    leaves, structure = jax.tree.flatten(states)
    states = None
    of_seeds = []
    for i in range(len(leaves)):
        # Copies, one leaf after the other: a view would keep the devices' memory, and that of seeds that only fill it.
        host, leaves[i] = _on_host(leaves[i]), None
        of_seeds.append([host[seed].copy() for seed in range(n_seeds)])
    return so_far()._replace(states=[jax.tree.unflatten(structure, leaves) for leaves in zip(*of_seeds, strict=True)])


def _of_seed(states: Any, seed: int) -> Any:
    """One seed's State on the host: copies, since training consumes what is on the devices."""

    def of_leaf(leaf):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf[seed]
        for shard in leaf.addressable_shards:
            start, stop, _ = shard.index[0].indices(len(leaf))
            if start <= seed < stop:
                # Indexed on the host: on the device every leaf of every seed is a call of its own, fifty times as slow.
                return np.array(np.asarray(shard.data)[seed - start])
        raise ValueError(f"seed {seed} is on no device of this process")

    return jax.tree.map(of_leaf, states)


def _on_host(leaf: jax.Array) -> Any:
    """A leaf's content outside the devices; typed keys, which NumPy does not know, stay what they are."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    # Of the whole, JAX would keep a copy for as long as the leaf lives.
    shards = sorted(leaf.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in shards])

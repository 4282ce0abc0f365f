"""The only training loop: every family, every seed, compiled once.

One iteration of the outer loop on the host is one evaluation interval; inside it a single jitted call scans the steps.
Seeds are spread over the devices. Randomness comes from four streams a seed, in which step i has a key of its own, so
that families see the same data and the first k steps depend neither on how many follow nor on how they are blocked.
"""

import contextlib
import functools
import hashlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from core import prng
from kinds.contract import Scorer
from models.base import Model, watched

# Noise and minibatches are drawn for a block of steps at once: one wide call where many small ones would leave the
# processor idle. The block stays within the second-level cache.
BLOCK_BYTES = 2**17
# What XLA leaves off by default and training is faster with: the widest vectors of the processor, and one thread a
# device, since every core has a device of its own and a tiny product is done before a second thread has woken up.
_CPU_OPTIONS = {
    "xla_cpu_prefer_vector_width": 512,
    "xla_cpu_multi_thread_eigen": False,
    "xla_cpu_copy_insertion_use_region_analysis": True,
    # Families are compiled side by side: parts of a program of their own would only get in each other's way.
    "xla_cpu_parallel_codegen_split_count": 1,
}
# For what runs once, or never.
_CPU_OPTIONS_ONCE = {**_CPU_OPTIONS, "xla_backend_optimization_level": 0}
# Rows that `init` sees where data are drawn afresh, and the data set of a family that trains on all of it at once,
# unless the family asks for another number.
N_DATA_ROWS = 4096


class Feed(NamedTuple):
    """Where events come from. `rows` travel into compiled code as an argument."""

    draw: Callable[[jax.Array, int], jax.Array]  # (key, n) -> [n, *event], fresh draws
    rows: jax.Array | None  # [N, *event], a fixed training set that minibatches are drawn from with replacement
    batch_size: int

    def rows_for_init(self, key: jax.Array, rows: jax.Array | None, n_rows: int | None = None) -> jax.Array:
        """The whole fixed set, or as many fresh events as a family asks for, else N_DATA_ROWS."""
        return self.draw(key, n_rows or N_DATA_ROWS) if rows is None else rows

    def minibatch(self, key: jax.Array, rows: jax.Array | None) -> jax.Array:
        """One minibatch [batch_size, *event]."""
        if rows is None:
            return self.draw(key, self.batch_size)
        return rows[jax.random.randint(key, (self.batch_size,), 0, len(rows))]


class Streams(NamedTuple):
    """The key streams of one seed."""

    key_init: jax.Array
    key_data: jax.Array
    key_step: jax.Array
    key_eval: jax.Array


class Evaluation(NamedTuple):
    """What is known of every seed at one step."""

    step: int
    metrics: Mapping[str, np.ndarray]  # name -> [S] float64, NaN for a diverged seed
    info: Mapping[str, np.ndarray] | None  # name -> [S], the interval's mean, or what its last step has of a model's
    # `last_fields`; NaN if the seed diverged; None at step 0
    samples: np.ndarray | None  # [S, n, D], kept for snapshots; NaN for a diverged seed


class Cost(NamedTuple):
    """What one family's training takes, apart from time."""

    operations_per_step: float | None  # floating-point, of one update of one seed, as the compiler counts them
    rows_per_step: int  # training rows that one update of one seed sees; all that there are, of one that is not trained
    memory_bytes: int | None  # of the compiled training on one device: arguments, results, temporaries


class Run(NamedTuple):
    """One family's training, all seeds."""

    model: Model
    states: list[Any]  # the final State of every seed
    evaluations: list[Evaluation]
    diverged_at_step: list[int | None]
    train_seconds: float  # training alone, all seeds, without compilation and evaluation
    compile_seconds: float
    sample_seconds: float  # drawing the last evaluation's samples, all seeds; 0 if there were none to draw

    @property
    def seed_steps(self) -> int:
        """The steps that all seeds have taken together: a diverged one takes no more."""
        n_steps = self.model.steps_until(self.evaluations[-1].step)
        return sum(n_steps if at is None else min(at, n_steps) for at in self.diverged_at_step)


class Begun(NamedTuple):
    """One family's training that was interrupted."""

    run: Run  # without states
    leaves: list[Any]  # of the states of all its seeds, in order, each [S, ...]; training takes them out


def streams(seed: int, n_seeds: int, first_seed: int = 0) -> Streams:
    """The streams of seeds from `first_seed` on, each field [n_seeds]; those of seed i depend on neither number."""

    def of_seed(i):
        key = jax.random.fold_in(jax.random.key(seed), i)
        return Streams(*(jax.random.fold_in(key, stream) for stream in range(len(Streams._fields))))

    return jax.vmap(of_seed)(first_seed + jnp.arange(n_seeds))


def block_length(n_steps: int, bytes_per_step: int) -> int:
    """The largest divisor of n_steps whose randomness fits BLOCK_BYTES, at least 1."""
    fitting = max(1, min(n_steps, BLOCK_BYTES // max(1, bytes_per_step)))
    return next(length for length in range(fitting, 0, -1) if n_steps % length == 0)


def over_seeds(function: Callable, n_seeds: int, in_seeds: tuple[bool, ...]) -> tuple[Callable, int, NamedSharding]:
    """Maps a function of one seed over all of them, spread over the local devices.

    Within a CPU device seeds run one after the other, where this is as fast as side by side and gives each the bits it
    would get alone; on an accelerator they are batched.

    Args:
      function: takes arguments of one seed, or shared ones.
      n_seeds: seeds in all.
      in_seeds: for each argument, whether it has a leading seed axis.

    Returns:
      The mapped function, the length of its seed axis (n_seeds rounded up to fill the devices), and the sharding of
      that axis.
    """
    devices = jax.local_devices()
    per_device = math.ceil(n_seeds / len(devices))
    # Never one of several: for a single device XLA compiles another program, which would give a lone seed other bits.
    used = devices[: max(2, math.ceil(n_seeds / per_device))]
    mesh = Mesh(np.array(used), ("seed",))

    def of_device(*args):
        mapped = tuple(arg for arg, in_seed in zip(args, in_seeds, strict=True) if in_seed)

        def of_seed(mapped):
            remaining = iter(mapped)
            return function(*(next(remaining) if in_seed else arg for arg, in_seed in zip(args, in_seeds, strict=True)))

        return jax.lax.map(of_seed, mapped) if used[0].platform == "cpu" else jax.vmap(of_seed)(mapped)

    spread = jax.shard_map(
        of_device,
        mesh=mesh,
        in_specs=tuple(PartitionSpec("seed") if in_seed else PartitionSpec() for in_seed in in_seeds),
        out_specs=PartitionSpec("seed"),
        check_vma=False,
    )
    return spread, per_device * len(used), NamedSharding(mesh, PartitionSpec("seed"))


def all_finite(leaves: Sequence[jax.Array]) -> jax.Array:
    """Whether every number of these arrays of floats is finite, [].

    Without its sign a float has the order of its bits, and nothing finite comes after infinity. The largest of whole
    numbers is found with wide vectors, which compilers use neither for sums of floats nor for so many conditions.
    """

    def is_finite(leaf):
        whole = np.dtype(f"int{8 * leaf.dtype.itemsize}")
        bits = jax.lax.bitcast_convert_type(jnp.abs(leaf), whole)
        return jnp.max(bits, initial=0) < np.array(np.inf, leaf.dtype).view(whole)

    return functools.reduce(jnp.logical_and, map(is_finite, leaves))


def advance(model: Model, feed: Feed, n_steps: int) -> Callable:
    """Builds the function that takes one seed n_steps further, or as far as it comes.

    A seed has diverged where a number of its Info, a weight or an averaged weight is not finite. It takes no step after
    that one: its state is what the step has made of it, wherever blocks and intervals end.

    Returns:
      (state, keys, rows, first_step, lost) -> (state, info, bad_step): a seed that is `lost` before takes no step at
      all. `bad_step` is the step, counted from 1, after which the seed has diverged, or the largest int32; if it has
      not, `info` holds the means of the model's Info over the interval.
    """
    never = np.int32(np.iinfo(np.int32).max)

    def randomness(keys, rows, i):
        key_step_data = jax.random.fold_in(prng.unrolled(keys.key_data), i)
        if model.batches_per_step is None:
            batch = ()
        elif model.batches_per_step == 1:
            batch = feed.minibatch(jax.random.fold_in(key_step_data, 0), rows)
        else:
            batch = jax.vmap(lambda j: feed.minibatch(jax.random.fold_in(key_step_data, j), rows))(
                jnp.arange(model.batches_per_step)
            )
        return batch, model.noise(jax.random.fold_in(prng.unrolled(keys.key_step), i))

    def run(state, keys, rows, first_step, lost=False):
        shapes = jax.eval_shape(randomness, keys, rows, 0)
        block = block_length(n_steps, sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes)))
        whole = None
        if model.batches_per_step is None:
            whole = feed.rows_for_init(data_key(keys), rows, model.n_data_rows)
        info_type = None

        def one_step(state, i, drawn):
            nonlocal info_type
            batch, noise = drawn if whole is None else (whole, drawn[1])
            if model.max_steps is None:
                new_state, info = model.step(state, batch, noise)
            else:
                _, info_shape = jax.eval_shape(model.step, state, batch, noise)
                hold = (state, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), info_shape))
                new_state, info = jax.lax.cond(
                    i < model.max_steps, lambda: model.step(state, batch, noise), lambda: hold
                )
            # One row a step: each field of its own would be one more small write.
            info_type = type(info)
            return new_state, jnp.stack(info)

        # Traced once: here for the number of its fields, where the result is thrown away, and for the loop.
        one_step = jax.jit(one_step, inline=True)
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        first_step = jnp.int32(first_step)
        sums_start = jnp.zeros_like(one_step(state, first_step, nothing)[1])

        of_the_last = np.array([field in model.last_fields for field in info_type._fields])

        def added(sums, infos, start, done):
            total = sums + infos.sum(0)
            if not model.last_fields:
                return total
            taken = done if model.max_steps is None else jnp.clip(model.max_steps - start, 0, done)
            return jnp.where(of_the_last, jnp.where(taken > 0, infos[taken - 1], sums), total)

        def is_sound(state, infos, done):
            # Before the first step the row is one of zeros.
            return all_finite([infos[done - 1], *watched(state)])

        def one_block(carry):
            b, state, sums, bad = carry
            start = first_step + b * block
            drawn = jax.vmap(lambda i: randomness(keys, rows, i))(start + jnp.arange(block))

            def goes_on(inner):
                done, state, infos = inner
                return (done < block) & is_sound(state, infos, done)

            def next_step(inner):
                done, state, infos = inner
                state, info = one_step(state, start + done, jax.tree.map(lambda leaf: leaf[done], drawn))
                return done + 1, state, infos.at[done].set(info)

            infos = jnp.zeros((block, *sums.shape), sums.dtype)
            done, state, infos = jax.lax.while_loop(goes_on, next_step, (jnp.int32(0), state, infos))
            bad = jnp.where(is_sound(state, infos, done), never, start + done)
            return b + 1, state, added(sums, infos, start, done), bad

        # Carried and not collected: memory must not grow with the number of steps.
        begin = (jnp.int32(0), state, sums_start, jnp.where(lost, first_step, never))
        _, state, sums, bad = jax.lax.while_loop(
            lambda carry: (carry[0] < n_steps // block) & (carry[-1] == never), one_block, begin
        )
        active = n_steps if model.max_steps is None else jnp.clip(model.max_steps - first_step, 1, n_steps)
        means = sums / active
        return state, info_type(*(jnp.where(of_the_last, sums, means) if model.last_fields else means)), bad

    return run


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
    with _compiling(model.name, "one step, to count its operations"):
        counted = _compiled(jax.jit(step).lower(numbers, state, batch, noise), numbers, once=True)
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


def memory_bytes(compiled: Any) -> int | None:
    """What a compiled program takes on one device: arguments, results, temporaries; None where it does not say."""
    with contextlib.suppress(AttributeError, NotImplementedError):
        sizes = compiled.memory_analysis()
        held = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
        return held + sizes.temp_size_in_bytes
    return None


class _Compiled:
    """A compiled program with its first argument filled in."""

    def __init__(self, executable: Any, first: Any, out_info: Any):
        self._executable, self._first = executable, first
        self.out_info = out_info  # the result's shapes
        self.memory_analysis, self.cost_analysis = executable.memory_analysis, executable.cost_analysis

    def __call__(self, *args: Any) -> Any:
        return self._executable(self._first, *args)


# What was compiled last, by its text: runs of a sweep that differ in a seed or a learning rate have the same programs.
_MOST_KEPT = 32
_kept: dict[str, Any] = {}
_asked_for: set[str] = set()  # of them, since `forget_unused`
_kept_lock = threading.Lock()


# What is being compiled at this moment, by thread: the family and its program.
_being_compiled: dict[int, str] = {}


def being_compiled() -> list[str]:
    """What is being compiled at this moment, such as "GAN (training)"."""
    return sorted(_being_compiled.copy().values())


@contextlib.contextmanager
def _compiling(name: str, what: str) -> Iterator[None]:
    _being_compiled[threading.get_ident()] = f"{name} ({what})"
    try:
        yield
    finally:
        del _being_compiled[threading.get_ident()]


def _compiled(lowered: Any, first: Any, once: bool = False) -> _Compiled:
    """Compiles, unless the same has been compiled before."""
    # Arguments that a program does not use are not in its text, nor what the compiler is told not to do.
    own = (lowered.args_info, once, jax.local_devices(), jax.config.values["jax_disable_most_optimizations"])
    text = f"{lowered.as_text()} {own}"
    key = hashlib.sha256(text.encode()).hexdigest()
    with _kept_lock:
        _asked_for.add(key)
        executable = _kept.pop(key, None)
    if executable is None:
        executable = lowered.compile(compiler_options=_options(once))
    with _kept_lock:
        _kept[key] = executable
        while len(_kept) > _MOST_KEPT:
            del _kept[next(iter(_kept))]
    return _Compiled(executable, first, lowered.out_info)


def forget_unused() -> None:
    """Lets go of compiled programs that nothing has asked for since the last call.

    Called before every run: those of the last one are left. A program may take 50 MB, and a sweep over budgets has
    others in every cell.
    """
    with _kept_lock:
        for key in _kept.keys() - _asked_for:
            del _kept[key]
        _asked_for.clear()


def _options(once: bool = False) -> dict[str, Any] | None:
    """The compiler's, for a program that runs often or once."""
    if jax.local_devices()[0].platform != "cpu":
        return None
    return _CPU_OPTIONS_ONCE if once else _CPU_OPTIONS


def data_key(keys: Streams) -> jax.Array:
    """The key of the rows that `init` sees: outside the numbering of the steps."""
    return jax.random.fold_in(keys.key_data, 2**31)


class Program(NamedTuple):
    """One family's training, compiled for all seeds and ready to run."""

    model: Model
    scorer: Scorer
    rows: jax.Array | None
    n_steps: int
    n_evaluations: int
    n_seeds: int
    keys: Streams  # [n_seeds, rounded up to fill the devices]
    init: Callable  # (keys, rows) -> states [n_seeds, rounded up]
    state_shapes: Sequence[jax.ShapeDtypeStruct]  # of one seed's leaves
    put: Callable  # (list of leaves, each [n_seeds, ...], which it empties) -> states [n_seeds, rounded up]
    advance: Callable  # (states, keys, rows, first_step, lost) -> (states, info, bad_step); consumes the states
    evaluate: Callable  # (states, keys, step) -> (x [S, n, D], finite [S])
    evaluate_last: Callable
    compile_seconds: float


def prepare(
    model: Model,
    feed: Feed,
    scorer: Scorer,
    *,
    n_steps: int,
    n_evaluations: int,
    n_seeds: int,
    seed: int,
    first_seed: int = 0,
) -> Program:
    """Compiles one family's training. Safe to call from several threads at once.

    Args:
      model: the family, built for the target.
      feed: the training events.
      scorer: the metrics.
      n_steps: training steps, a multiple of n_evaluations.
      n_evaluations: intervals.
      n_seeds: independent repetitions.
      seed: the root of all randomness.
      first_seed: the number of the first repetition, where others train those before it.
    """

    def own(numbers):
        return model.with_numbers(numbers) if model.numbers else model

    def init(numbers, keys, rows):
        return own(numbers).init(keys.key_init, feed.rows_for_init(data_key(keys), rows, model.n_data_rows))

    def interval(numbers, *args):
        return advance(own(numbers), feed, n_steps // n_evaluations)(*args)

    def evaluate(last):
        def of_state(numbers, state, keys, step):
            model = own(numbers)
            draw = model.sample_mean if scorer.soft else model.sample if last else model.sample_quick or model.sample
            events = draw(jax.random.fold_in(prng.unrolled(keys.key_eval), step), state, scorer.n_samples)
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
        with _compiling(model.name, what):
            return _compiled(jax.jit(spread, **how).lower(numbers, *args), numbers, once)

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

    in_seeds = (True, True, False, False)
    lost = jax.ShapeDtypeStruct((n_padded,), bool, sharding=sharding)
    compiled_advance = compiled(
        "training", interval, (*in_seeds, True), states, keys, feed.rows, first_step, lost, donate_argnums=1
    )
    evaluate_mid = compiled("evaluation", evaluate(last=False), in_seeds[:3], states, keys, first_step)
    evaluate_last = evaluate_mid
    if model.sample_quick and not scorer.soft:
        evaluate_last = compiled("last evaluation", evaluate(last=True), in_seeds[:3], states, keys, first_step)
    return Program(
        model=model,
        scorer=scorer,
        rows=feed.rows,
        n_steps=n_steps,
        n_evaluations=n_evaluations,
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
      snapshot_steps: the steps whose samples are kept; the last step's always are.
      on_evaluation: called after every evaluation.
      begun: what an earlier call had come to; None: nothing.
      pause: called after every interval with what there is by then, a Run without states and the leaves of these, which
        are copied to the host one after the other as they are asked for; True ends the training there, with a score
        like the last step's.

    Returns:
      The run. A seed that diverges takes no further step, and nothing is drawn from it: it has no metrics, samples or
      info (NaN) from the evaluation after it on.
    """
    n_seeds, n_steps = program.n_seeds, program.n_steps
    interval = n_steps // program.n_evaluations

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

    def evaluation_at(step, info, last):
        if info is not None:
            info = {name: np.where(lost(), values.dtype.type(np.nan), values) for name, values in info.items()}
        x, finite = drawn_at(step, last)
        mark_lost((i, step) for i in np.flatnonzero(~finite))
        nothing = dict.fromkeys(program.scorer.metrics, np.nan)
        scores = [
            program.scorer.score(rows) if at is None else nothing for rows, at in zip(x, diverged_at_step, strict=True)
        ]
        metrics = {name: np.array([score[name] for score in scores]) for name in program.scorer.metrics}
        kept = None
        if last or step in snapshot_steps:
            # A copy: on a CPU the samples of all evaluations would else keep the devices' memory.
            kept = x.copy()
            kept[lost()] = np.nan
        evaluation = Evaluation(step, metrics, info, kept)
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
    for step in range(evaluations[-1].step + interval, n_steps + 1, interval):
        last = step == n_steps
        if program.model.max_steps is not None and step - interval >= program.model.max_steps:
            means = evaluations[-1].info
        else:
            # Seeds that only fill the devices never count.
            filled = np.zeros(len(program.keys.key_init), bool)
            filled[:n_seeds] = lost()
            started = time.perf_counter()
            states, info, bad_step = jax.block_until_ready(
                program.advance(states, program.keys, program.rows, jnp.int32(step - interval), filled)
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


def _on_host(leaf: jax.Array) -> Any:
    """A leaf's content outside the devices; typed keys, which NumPy does not know, stay what they are."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    # Of the whole, JAX would keep a copy for as long as the leaf lives.
    shards = sorted(leaf.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in shards])

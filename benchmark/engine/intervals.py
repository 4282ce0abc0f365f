"""Training from one evaluation to the next, of one seed and of all of them."""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmark.engine.records import Feed, data_key
from core import prng
from models.base import Model, watched

# Noise and minibatches are drawn for a block of steps at once: one wide call where many small ones would leave the
# processor idle. The block stays within the second-level cache, and more steps than these would gain nothing.
BLOCK_BYTES, MOST_BLOCK_STEPS = 2**17, 32


def block_length(bytes_per_step: int) -> int:
    """The largest power of two whose steps' randomness fits BLOCK_BYTES, from 1 to MOST_BLOCK_STEPS."""
    fitting = max(1, min(MOST_BLOCK_STEPS, BLOCK_BYTES // max(1, bytes_per_step)))
    return 1 << (fitting.bit_length() - 1)


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


def advance(model: Model, feed: Feed) -> Callable:
    """Builds the function that takes one seed from one step to another, or as far as it comes.

    Blocks lie where they lie in every run: step i is in block i // length, which is drawn as a whole even if only some
    of its steps are taken. The bits of a step therefore depend neither on where the interval begins and ends nor on
    how many steps there are, and one program serves intervals of every length.

    A seed has diverged where a number of its Info, a weight or an averaged weight is not finite. It takes no step after
    that one: its state is what the step has made of it, wherever blocks and intervals end.

    Returns:
      (state, keys, rows, first_step, last_step, lost) -> (state, info, bad_step): `first_step` steps are done before,
      `last_step` after it; a seed that is `lost` before takes none at all. `bad_step` is the step, counted from 1,
      after which the seed has diverged, or the largest int32; if it has not, `info` holds the means of the model's Info
      over the interval.
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

    def run(state, keys, rows, first_step, last_step, lost=False):
        shapes = jax.eval_shape(randomness, keys, rows, 0)
        block = block_length(sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes)))
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
        first_step, last_step = jnp.int32(first_step), jnp.int32(last_step)
        sums_start = jnp.zeros_like(one_step(state, first_step, nothing)[1])

        of_the_last = np.array([field in model.last_fields for field in info_type._fields])

        def added(sums, infos, start, begun, done):
            # Rows before `begun` and from `done` on are zeros.
            total = sums + infos.sum(0)
            if not model.last_fields:
                return total
            taken = done if model.max_steps is None else jnp.clip(model.max_steps - start, 0, done)
            return jnp.where(of_the_last, jnp.where(taken > begun, infos[taken - 1], sums), total)

        def is_sound(state, infos, done):
            # Before the first step the row is one of zeros.
            return all_finite([infos[done - 1], *watched(state)])

        def one_block(carry):
            step, state, sums, bad = carry
            start = step // block * block
            begun, end = step - start, jnp.minimum(block, last_step - start)
            drawn = jax.vmap(lambda i: randomness(keys, rows, i))(start + jnp.arange(block))

            def goes_on(inner):
                done, state, infos = inner
                return (done < end) & is_sound(state, infos, done)

            def next_step(inner):
                done, state, infos = inner
                state, info = one_step(state, start + done, jax.tree.map(lambda leaf: leaf[done], drawn))
                return done + 1, state, infos.at[done].set(info)

            infos = jnp.zeros((block, *sums.shape), sums.dtype)
            done, state, infos = jax.lax.while_loop(goes_on, next_step, (begun, state, infos))
            bad = jnp.where(is_sound(state, infos, done), never, start + done)
            return start + done, state, added(sums, infos, start, begun, done), bad

        # Carried and not collected: memory must not grow with the number of steps.
        begin = (first_step, state, sums_start, jnp.where(lost, first_step, never))
        _, state, sums, bad = jax.lax.while_loop(
            lambda carry: (carry[0] < last_step) & (carry[-1] == never), one_block, begin
        )
        active = last_step - first_step
        if model.max_steps is not None:
            active = jnp.clip(model.max_steps - first_step, 1, active)
        means = sums / active
        return state, info_type(*(jnp.where(of_the_last, sums, means) if model.last_fields else means)), bad

    return run

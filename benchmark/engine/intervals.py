"""Training from one evaluation to the next, of one seed and of all of them."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmark.engine.records import Feed, Streams, data_key
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

    def run(state, keys, rows, first_step, last_step, lost=False):
        draws = _Draws(model, feed, keys, rows)
        one_step = _one_step(model, draws.whole())
        shapes = jax.eval_shape(draws.of_step, 0)
        first_step, last_step = jnp.int32(first_step), jnp.int32(last_step)
        info = jax.eval_shape(one_step, state, first_step, shapes)[1]
        shown = _Shown(info, model.last_fields, model.max_steps)
        length = block_length(sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes)))
        blocks = _Blocks(draws, one_step, shown, length, last_step)
        # Carried and not collected: memory must not grow with the number of steps.
        begin = _Carry(first_step, state, shown.nothing(), jnp.where(lost, first_step, _NEVER))
        end = jax.lax.while_loop(blocks.goes_on, blocks.one, begin)
        return end.state, shown.over(end.sums, first_step, last_step), end.bad_step

    return run


# No step: a seed that has not diverged.
_NEVER = np.int32(np.iinfo(np.int32).max)


class _Draws(NamedTuple):
    """One seed's randomness and rows."""

    model: Model
    feed: Feed
    keys: Streams
    rows: jax.Array | None

    def of_step(self, i: jax.Array | int) -> tuple[Any, Any]:
        """The minibatch and the noise of step i; of a family that takes the whole data set, () and the noise."""
        key_data = jax.random.fold_in(prng.unrolled(self.keys.key_data), i)
        n_batches = self.model.batches_per_step
        if n_batches is None:
            batch = ()
        elif n_batches == 1:
            batch = self.feed.minibatch(jax.random.fold_in(key_data, 0), self.rows)
        else:
            batch = jax.vmap(lambda j: self.feed.minibatch(jax.random.fold_in(key_data, j), self.rows))(
                jnp.arange(n_batches)
            )
        return batch, self.model.noise(jax.random.fold_in(prng.unrolled(self.keys.key_step), i))

    def whole(self) -> jax.Array | None:
        """The data set of a family that takes it whole; None: it takes minibatches."""
        if self.model.batches_per_step is not None:
            return None
        return self.feed.rows_for_init(data_key(self.keys), self.rows, self.model.n_data_rows)


def _one_step(model: Model, whole: jax.Array | None) -> Callable[..., tuple[Any, Any]]:
    """(state, i, what `_Draws.of_step` gives) -> (state, Info); steps from `max_steps` on change nothing."""

    def one_step(state, i, drawn):
        batch, noise = drawn if whole is None else (whole, drawn[1])
        if model.max_steps is None:
            return model.step(state, batch, noise)
        _, shapes = jax.eval_shape(model.step, state, batch, noise)
        hold = state, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return jax.lax.cond(i < model.max_steps, lambda: model.step(state, batch, noise), lambda: hold)

    # Traced once: for the shapes of its Info, and for the loop.
    return jax.jit(one_step, inline=True)


class _Shown(NamedTuple):
    """What is shown of the Info of an interval's steps: means, or what the last step has."""

    info: Any  # the shapes of one step's
    last_fields: tuple[str, ...]  # as those of a Model, as the next one
    max_steps: int | None

    def nothing(self) -> jax.Array:
        """The sums [fields] before the first step."""
        row = jax.eval_shape(lambda: jnp.stack([jnp.zeros(leaf.shape, leaf.dtype) for leaf in self.info]))
        return jnp.zeros(row.shape, row.dtype)

    def added(self, sums: jax.Array, infos: jax.Array, start: jax.Array, begun: jax.Array, done: jax.Array):
        """The sums with those of a block that starts after `start` steps; its rows `begun` to `done` are not zeros."""
        total = sums + infos.sum(0)
        if not self.last_fields:
            return total
        taken = done if self.max_steps is None else jnp.clip(self.max_steps - start, 0, done)
        return jnp.where(self._of_the_last, jnp.where(taken > begun, infos[taken - 1], sums), total)

    def over(self, sums: jax.Array, first_step: jax.Array, last_step: jax.Array) -> Any:
        """An Info of the whole interval."""
        active = last_step - first_step
        if self.max_steps is not None:
            active = jnp.clip(self.max_steps - first_step, 1, active)
        means = sums / active
        return type(self.info)(*(jnp.where(self._of_the_last, sums, means) if self.last_fields else means))

    @property
    def _of_the_last(self) -> np.ndarray:
        return np.array([field in self.last_fields for field in self.info._fields])


class _Carry(NamedTuple):
    """What goes from block to block."""

    step: jax.Array  # steps that are done
    state: Any
    sums: jax.Array  # of the fields of Info
    bad_step: jax.Array  # the step after which the seed has diverged


class _Blocks(NamedTuple):
    """The blocks of steps of an interval, whose randomness is drawn at once."""

    draws: _Draws
    one_step: Callable[..., tuple[Any, Any]]
    shown: _Shown
    length: int
    last_step: jax.Array

    def goes_on(self, carry: _Carry) -> jax.Array:
        """Whether there is another block."""
        return (carry.step < self.last_step) & (carry.bad_step == _NEVER)

    def one(self, carry: _Carry) -> _Carry:
        """Takes the steps of one block that are within the interval, or as many as it comes to."""
        start = carry.step // self.length * self.length
        begun, end = carry.step - start, jnp.minimum(self.length, self.last_step - start)
        drawn = jax.vmap(self.draws.of_step)(start + jnp.arange(self.length))

        def goes_on(inner):
            done, state, infos = inner
            return (done < end) & _is_sound(state, infos, done)

        def next_step(inner):
            done, state, infos = inner
            state, info = self.one_step(state, start + done, jax.tree.map(lambda leaf: leaf[done], drawn))
            # One row a step: each field of its own would be one more small write.
            return done + 1, state, infos.at[done].set(jnp.stack(info))

        infos = jnp.zeros((self.length, *carry.sums.shape), carry.sums.dtype)
        done, state, infos = jax.lax.while_loop(goes_on, next_step, (begun, carry.state, infos))
        bad_step = jnp.where(_is_sound(state, infos, done), _NEVER, start + done)
        return _Carry(start + done, state, self.shown.added(carry.sums, infos, start, begun, done), bad_step)


def _is_sound(state: Any, infos: jax.Array, done: jax.Array) -> jax.Array:
    # Before the first step the row is one of zeros.
    return all_finite([infos[done - 1], *watched(state)])

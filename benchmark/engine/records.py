"""What training is fed with, and what is known of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models.base import Model

# Rows that `init` sees where data are drawn afresh, and the data set of a family that trains on all of it at once,
# unless the family asks for another number.
N_DATA_ROWS = 4096


class Feed(NamedTuple):
    """Where events come from. `rows` travel into compiled code as an argument."""

    draw: Callable[[jax.Array, int], jax.Array]  # (key, n) -> [n, size], fresh draws
    rows: jax.Array | None  # [N, size], a fixed training set that minibatches are drawn from with replacement
    batch_size: int

    def rows_for_init(self, key: jax.Array, rows: jax.Array | None, n_rows: int | None = None) -> jax.Array:
        """The whole fixed set, or as many fresh events as a family asks for, else N_DATA_ROWS."""
        return self.draw(key, n_rows or N_DATA_ROWS) if rows is None else rows

    def minibatch(self, key: jax.Array, rows: jax.Array | None) -> jax.Array:
        """One minibatch [batch_size, size]."""
        if rows is None:
            return self.draw(key, self.batch_size)
        return rows[jax.random.randint(key, (self.batch_size,), 0, len(rows))]


class Schedule(NamedTuple):
    """How many seeds are trained, and after which steps they are scored."""

    steps: Sequence[int]  # rising, from 1 on; step 0 is scored as well, and the last one is the end
    n_seeds: int  # independent repetitions
    seed: int  # the root of all randomness
    first_seed: int = 0  # the number of the first repetition, where others train those before it

    @classmethod
    def evenly(cls, n_steps: int, n_evaluations: int, n_seeds: int, seed: int) -> "Schedule":
        """Scores at n_evaluations equal distances, whose number divides that of the steps."""
        return cls(range(n_steps // n_evaluations, n_steps + 1, n_steps // n_evaluations), n_seeds, seed)


class Streams(NamedTuple):
    """The key streams of one seed."""

    key_init: jax.Array
    key_data: jax.Array
    key_step: jax.Array
    key_eval: jax.Array


class Evaluation(NamedTuple):
    """What is known of every seed at one step."""

    step: int
    metrics: Mapping[str, np.ndarray]  # name -> [S] float64, NaN for a diverged seed and for what is unknown
    info: Mapping[str, np.ndarray] | None  # name -> [S], the interval's mean, or what its last step has of a model's
    # `last_fields`; NaN if the seed diverged; None at step 0
    kept: np.ndarray | None  # [S, ...], of a snapshot and the end what `Scorer.keep` leaves; NaN for a diverged seed
    samples: np.ndarray | None = None  # [S, n, D], of the end; NaN for a diverged seed


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


def data_key(keys: Streams) -> jax.Array:
    """The key of the rows that `init` sees: outside the numbering of the steps."""
    return jax.random.fold_in(keys.key_data, 2**31)

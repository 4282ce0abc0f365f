"""The only training loop: every family, every seed, by programs that are compiled once (`preparation`).

One iteration of the outer loop on the host is one evaluation interval; inside it a single jitted call takes the steps,
as many as it is told: one program serves intervals and trainings of every length.
Seeds are spread over the devices. Randomness comes from four streams a seed, in which step i has a key of its own, so
that families see the same data and the first k steps depend neither on how many follow nor on how they are blocked.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmark.engine.preparation import Program
from benchmark.engine.records import Begun, Evaluation, Run
from models.base import without_optimiser

_NO_CONTEXT = nullcontext()


def train(
    program: Program,
    *,
    snapshot_steps: frozenset[int] = frozenset(),
    on_evaluation: Callable[[Evaluation], None] = lambda evaluation: None,
    begun: Begun | None = None,
    pause: Callable[[Run, Iterator[np.ndarray]], bool] = lambda run, leaves: False,
    beginning: AbstractContextManager = _NO_CONTEXT,
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
      beginning: entered for the start and the first scores, which may compile for long.

    Returns:
      The run. A seed that diverges takes no further step, and nothing is drawn from it: it has no metrics, samples or
      info (NaN) from the evaluation after it on.
    """
    course = _Course(program, snapshot_steps, on_evaluation)
    with beginning:
        course.begin(begun)
    n_steps, reached = program.steps[-1], course.evaluations[-1].step
    for step in [step for step in program.steps if step > reached]:
        last = step == n_steps
        info = course.advance(step)
        course.evaluate(step, info, last)
        if pause(course.so_far(), course.leaves()) and not last:
            del course.evaluations[-1]
            course.evaluate(step, info, last=True)
            break
    return course.ended()


class _Course:
    """One family's training as it goes on: all seeds' states on the devices, and what is known of them."""

    def __init__(self, program: Program, snapshot_steps: frozenset[int], on_evaluation: Callable[[Evaluation], None]):
        self.program, self.snapshot_steps, self.on_evaluation = program, snapshot_steps, on_evaluation
        numbered = (0, *program.steps)
        self.exact_at = {numbered[i] for i in program.scorer.exact_at(len(program.steps))}
        self.in_passing = program.model.in_passing()
        self.states: Any = None
        self.evaluations: list[Evaluation] = []
        self.diverged_at_step: list[int | None] = [None] * program.n_seeds
        self.train_seconds = self.sample_seconds = 0.0
        self.compile_seconds = program.compile_seconds

    def begin(self, begun: Begun | None) -> None:
        """At step 0, or where an earlier call had come to."""
        if begun is None:
            self.states = self.program.init(self.program.keys, self.program.rows)
            self.evaluate(0, None, last=False)
            return
        self.states, run = self.program.put(begun.leaves), begun.run
        self.diverged_at_step = list(run.diverged_at_step)
        self.train_seconds, self.sample_seconds = run.train_seconds, run.sample_seconds
        self.compile_seconds += run.compile_seconds
        self.evaluations = list(run.evaluations)
        self.on_evaluation(self.evaluations[-1])

    def advance(self, step: int) -> Any:
        """Takes the steps up to this one; the interval's Info, each field [S]."""
        program, before = self.program, self.evaluations[-1].step
        if program.model.max_steps is not None and before >= program.model.max_steps:
            return self.evaluations[-1].info
        # Seeds that only fill the devices never count.
        lost = np.zeros(len(program.keys.key_init), bool)
        lost[: program.n_seeds] = self._lost()
        started = time.perf_counter()
        self.states, info, bad_step = jax.block_until_ready(
            program.advance(self.states, program.keys, program.rows, jnp.int32(before), jnp.int32(step), lost)
        )
        self.train_seconds += time.perf_counter() - started
        bad_step = np.asarray(bad_step)[: program.n_seeds]
        self._mark_lost((i, bad) for i, bad in enumerate(bad_step) if bad <= program.steps[-1])
        return {name: np.asarray(values)[: program.n_seeds] for name, values in info._asdict().items()}

    def evaluate(self, step: int, info: Any, last: bool) -> None:
        """Scores all seeds."""
        if info is not None:
            info = {name: np.where(self._lost(), values.dtype.type(np.nan), values) for name, values in info.items()}
        x, finite = self._drawn(step, last)
        self._mark_lost((i, step) for i in np.flatnonzero(~finite))
        metrics = self._scores(x, step, last)
        kept = samples = None
        if last or step in self.snapshot_steps:
            # A copy: on a CPU the samples of all evaluations would otherwise keep the devices' memory.
            samples = x.copy()
            samples[self._lost()] = np.nan
            kept = np.stack([self.program.scorer.kept(rows) for rows in samples])
        evaluation = Evaluation(step, metrics, info, kept, samples if last else None)
        self.on_evaluation(evaluation)
        self.evaluations.append(evaluation)

    def so_far(self) -> Run:
        """What there is by now, without states."""
        seconds = self.train_seconds, self.compile_seconds, self.sample_seconds
        return Run(self.program.model, [], self.evaluations, self.diverged_at_step, *seconds)

    def leaves(self) -> Iterator[np.ndarray]:
        """Those of the states, copied to the host one after the other."""
        return (_on_host(leaf)[: self.program.n_seeds] for leaf in jax.tree.leaves(self.states))

    def ended(self) -> Run:
        """The run, whose states are taken from the devices."""
        leaves, structure = jax.tree.flatten(self.states)
        self.states = None
        of_seeds = []
        for i in range(len(leaves)):
            # Copies, one leaf after the other: a view would keep the devices' memory, and that of seeds that only fill
            # it.
            host, leaves[i] = _on_host(leaves[i]), None
            of_seeds.append([host[seed].copy() for seed in range(self.program.n_seeds)])
        states = [jax.tree.unflatten(structure, leaves) for leaves in zip(*of_seeds, strict=True)]
        return self.so_far()._replace(states=states)

    def _lost(self) -> np.ndarray:
        """Which seeds have diverged, [S]."""
        return np.array([at is not None for at in self.diverged_at_step])

    def _mark_lost(self, at_steps: Iterable[tuple[int, int]]) -> None:
        """Notes at which step a seed has diverged, unless it had before."""
        for i, step in at_steps:
            if self.diverged_at_step[i] is None:
                self.diverged_at_step[i] = int(step)

    def _drawn(self, step: int, last: bool) -> tuple[np.ndarray, np.ndarray]:
        """Samples [S, n, D], and which of them are finite [S]."""
        n_seeds = self.program.n_seeds
        evaluate = self.program.evaluate_last if last else self.program.evaluate
        if self._lost().all():
            self.sample_seconds = 0.0
            shape = evaluate.out_info[0]
            return np.full((n_seeds, *shape.shape[1:]), np.nan, shape.dtype), np.zeros(n_seeds, bool)
        started = time.perf_counter()
        drawn = evaluate(self.states, self.program.keys, jnp.int32(step))
        x, finite = (np.asarray(values)[:n_seeds] for values in drawn)
        self.sample_seconds = time.perf_counter() - started
        return x, finite

    def _scores(self, x: np.ndarray, step: int, last: bool) -> dict[str, np.ndarray]:
        """The metrics of samples [S, n, D], each [S]."""
        scorer = self.program.scorer
        scores = [
            {} if at is not None else {**scorer.score(rows), **self._exact_scores(i, step, last)}
            for i, (rows, at) in enumerate(zip(x, self.diverged_at_step, strict=True))
        ]
        return {name: np.array([score.get(name, np.nan) for score in scores], np.float64) for name in scorer.followed}

    def _exact_scores(self, seed: int, step: int, last: bool) -> Mapping[str, float]:
        """What is known of a seed without a sample, where that is asked for; in mid-training by a cheaper rule."""
        exact = self.program.scorer.exact
        if exact is None or not (last or step in self.exact_at):
            return {}
        model = self.program.model if last else self.in_passing
        return exact(model, _of_seed(without_optimiser(self.states), seed))


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

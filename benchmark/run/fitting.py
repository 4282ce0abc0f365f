"""Trains the families of one run: compiled side by side, trained one after the other, kept as they go."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from benchmark.engine.preparation import Program, prepare, step_cost
from benchmark.engine.programs import forget_unused, working_on
from benchmark.engine.records import Cost, Feed, Run, Schedule
from benchmark.engine.training import train
from benchmark.files.checkpoint import Checkpoint
from benchmark.terminal import console
from core import interruption
from core.side_by_side import in_threads
from kinds.contract import Judge
from models.base import Model, without_optimiser


class Compiled(NamedTuple):
    """One family that is ready to be trained, or has been by an earlier process."""

    name: str
    program: Program | None
    cost: Cost
    whole: Run | None


def feed_of(job: Any) -> Feed:
    """The events that a run's families train on.

    Args:
      job: from `checks.check`.
    """
    target, rows = job.target, None
    if target.train_rows is not None:
        rows = target.codec.encode(jnp.asarray(target.train_rows, jnp.float32))
    return Feed(lambda key, n: target.codec.encode(target.sample(key, n)), rows, job.config.batch_size)


def compile_all(
    models: Sequence[Model], feed: Feed, judge: Judge, config: Any, seeds: range, checkpoint: Checkpoint
) -> list[Compiled]:
    """Compiles the training of these seeds of every family that an earlier process has not trained to its end."""
    forget_unused()
    schedule = Schedule(config.scored_steps, len(seeds), config.seed, seeds.start)

    def compiled(model):
        whole = checkpoint.whole(model, feed, config.n_steps)
        if whole:
            return Compiled(model.name, None, whole[1], whole[0])
        program = prepare(model, feed, judge.scorer, schedule)
        return Compiled(model.name, program, step_cost(model, feed, program.advance), None)

    # Compilation uses one core: side by side it takes half the time, and it is over before anything is timed.
    with console.waiting(f"compiling {', '.join(model.name for model in models)}"):
        return in_threads(compiled, models)


def fit(families: Sequence[Compiled], config: Any, checkpoint: Checkpoint) -> tuple[list[Run], dict[str, Cost]]:
    """Trains every family.

    Where a signal has asked for the end (`interruption`), the family at work is the last one, with the interval at
    work its last; all there is by then is in the checkpoint.

    Returns:
      The runs, and what each took.
    """
    runs, costs = [], {}
    for family in families:
        if runs and interruption.requested():
            break
        run = family.whole
        if run is None:
            run = _train(family, config, checkpoint)
        runs.append(run)
        costs[family.name] = family.cost
    if interruption.requested():
        checkpoint.write()
    return runs, costs


@contextlib.contextmanager
def _beginning(name: str, checkpoint: Checkpoint) -> Iterator[None]:
    """For the first scores of a family, which may compile for long: of that family there is nothing to keep yet."""
    with (
        console.named_if_long(f"training {name}"),
        working_on(name, "first scores"),
        interruption.kept_by(checkpoint.keep),
    ):
        yield


def _train(family: Compiled, config: Any, checkpoint: Checkpoint) -> Run:
    n_bytes = family.program.n_seeds * sum(math.prod(leaf.shape) * 4 for leaf in family.program.state_shapes)

    def pause(run, leaves):
        stopping = interruption.requested() is not None
        # The end of a family's training is kept with what follows.
        if run.evaluations[-1].step < config.n_steps:
            checkpoint.progress(run, leaves, family.cost, n_bytes, now=stopping)
        return stopping

    with console.family_bar(family.name, config.n_steps) as bar:
        run = train(
            family.program,
            snapshot_steps=frozenset(config.shown_steps),
            on_evaluation=bar.update,
            begun=checkpoint.begun(family.program),
            pause=pause,
            beginning=_beginning(family.name, checkpoint),
        )
    run = run._replace(states=[without_optimiser(state) for state in run.states])
    if run.evaluations[-1].step == config.n_steps:
        checkpoint.finished(run, family.cost)
    return run

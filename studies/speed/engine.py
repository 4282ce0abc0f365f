"""The suite's own training as everything here times it: compiled as it ships, nothing scored."""

from collections.abc import Callable
from typing import Any


def compiled_training(model: Any, feed: Any, config: Any, n_steps: int, n_seeds: int) -> tuple[Callable, Any]:
    """Compiles intervals of n_steps steps of all seeds.

    Returns:
      A function that runs n of them, one after the other and each from where the last one ended; and the program.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    from benchmark.engine.preparation import prepare
    from benchmark.engine.records import Schedule
    from kinds.contract import Scorer

    scorer = Scorer(16, lambda events: events, False, (), lambda x: {})
    program = prepare(
        model, feed, scorer, Schedule.evenly(n_steps=n_steps, n_evaluations=1, n_seeds=n_seeds, seed=config.seed)
    )
    held = {"states": program.init(program.keys, program.rows)}
    nobody = np.zeros(len(program.keys.key_init), bool)

    def run(n):
        for _ in range(n):
            args = program.keys, program.rows, jnp.int32(0), jnp.int32(n_steps), nobody
            held["states"], info, _ = program.advance(held["states"], *args)
        jax.block_until_ready((held["states"], info))

    return run, program

"""One way to do one piece of work, in a process of its own that is told how many updates to time.

    python3 -m studies.speed.worker WAY FAMILY WORK [SETTINGS]

It prints "ready" and a JSON line, then for every number that it reads the seconds that so many updates took.
"""

import json
import os
import sys

from studies.speed.serving import serve


def main(way: str, family: str, name: str, settings: str = "{}") -> None:
    """Compiles, warms up and serves."""
    if way.endswith("pinned") or way.startswith("strong"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import jax

    if way.startswith(("suite", "product")):
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    from models import build
    from studies.speed import loops
    from studies.speed.work import ALL, config_of
    from targets import make_target

    if way == "suite jax-keys":
        from core import prng

        prng.unrolled = lambda key: key
    if way == "suite no-barrier":
        # What newer compilers need, and this one has no need of.
        jax.lax.optimization_barrier = lambda operands: operands
    if way == "suite default-options":
        from benchmark.engine import programs

        programs._CPU_OPTIONS.clear()
    if way == "product":
        from studies.speed.roofline_worker import product

        serve(*product(), {})
        return
    work = ALL[name]
    config = config_of(work, family, json.loads(settings))
    target = make_target(config)
    model = build(family, config, target)
    facts = {"width": model.width, "n_params": model.n_params}
    if way.startswith("suite"):
        run, per_update, facts["operations"] = suite(model, target, config, work)
    else:
        simple = loops.strong if way.startswith("strong") else loops.tutorial
        run, per_update = simple(family, config, target, model.width, way.endswith("flat")), 1
    serve(run, per_update, facts)


def suite(model, target, config, work):
    """The suite with eight seeds: a function that runs n intervals, the seed-steps of one, a step's operations."""
    import jax

    from benchmark.engine.preparation import step_cost
    from benchmark.engine.records import Feed
    from studies.speed.engine import compiled_training

    feed = Feed(lambda key, n: target.codec.encode(target.sample(key, n)), None, config.batch_size)
    n_seeds = max(8, len(jax.local_devices()))
    run, _ = compiled_training(model, feed, config, work.block, n_seeds)
    return run, n_seeds * work.block, step_cost(model, feed).operations_per_step


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Measures one point of `studies.speed.scaling` in a process of its own, which is told what to do as one JSON argument.

    python3 -m studies.speed.scaling_worker '{"kind": "step", "family": "GAN", "constants": {…}, "seconds": 0.3, …}'

Prints one line of JSON. Peak memory is the largest resident size of this process: hence one process a point.
"""

import json
import math
import statistics
import sys
import time

# Of the default run: as many steps as it does between two evaluations, fewer where a step takes long.
_INTERVALS = (500, 100, 20, 4, 1)


def main(order: dict) -> dict:
    """What was found."""
    from benchmark.engine.devices import use_every_core

    use_every_core()
    if order["kind"] == "baseline":
        return baseline()
    return {"step": step, "train": whole_training}[order["kind"]](order)


def baseline() -> dict:
    """Everything imported, every device up and something trivial compiled: what a process holds before it trains."""
    import jax
    import jax.numpy as jnp

    from benchmark.engine import training  # noqa: F401
    from benchmark.files.results import peak_memory
    from models import build  # noqa: F401
    from studies.speed.compare import machine
    from targets import make_target  # noqa: F401

    jax.jit(lambda x: x + 1)(jnp.zeros(8)).block_until_ready()
    return {"machine": machine(), "process_bytes": peak_memory()}


def step(order: dict) -> dict:
    """Seconds in which every seed takes one step, the compiler's account of memory, and the process's peak."""
    import jax

    from benchmark.engine.programs import memory_bytes
    from benchmark.files.results import peak_memory
    from studies.speed.engine import compiled_training

    config, _, model, feed = built(order)
    n_steps = interval(config, order["family"], len(jax.local_devices()))
    advance, program = compiled_training(model, feed, config, n_steps, config.num_seeds)

    def run(n):
        started = time.perf_counter()
        advance(n)
        return time.perf_counter() - started

    run(1)
    calls = math.ceil(order["seconds"] / run(1))
    # The first try may have been a slow one: a timing must not end up shorter than was asked for.
    calls = math.ceil(calls * max(1.0, order["seconds"] / run(calls))) if calls > 1 else 1
    seconds = [run(calls) / (calls * n_steps) for _ in range(order["repeats"])]
    return {
        "seconds": seconds,
        "median_seconds": statistics.median(seconds),
        "steps_of_a_timing": calls * n_steps,
        "device_bytes": memory_bytes(program.advance),
        "process_bytes": peak_memory(),
        "n_params": model.n_params,
        "width": model.width,
        "devices": len(jax.local_devices()),
    }


def whole_training(order: dict) -> dict:
    """The process's peak over a whole training with all its scores."""
    from benchmark.engine.preparation import prepare
    from benchmark.engine.records import Schedule
    from benchmark.engine.training import train
    from benchmark.files.results import peak_memory
    from kinds.real.judging import make_judge

    config, target, model, feed = built(order)
    counts = {"n_steps": config.n_steps, "n_evaluations": config.n_evaluations, "n_seeds": config.num_seeds}
    run = train(prepare(model, feed, make_judge(target, config).scorer, Schedule.evenly(**counts, seed=config.seed)))
    return {"process_bytes": peak_memory(), "train_seconds": run.train_seconds}


def built(order: dict) -> tuple:
    """Configuration, target, model and feed of the script's constants with some of them exchanged."""
    import generative_models_GAN_VAE_RBM_benchmarks as script
    from benchmark.asked.config import from_constants
    from benchmark.engine.records import Feed
    from models import build
    from targets import make_target

    family, constants = order["family"], dict(order["constants"])
    settings = {**vars(script)[family]}
    if "K" in constants:
        settings["k"] = constants.pop("K")
    block = {name: value for name, value in vars(script).items() if name.isupper()}
    config = from_constants(block | constants | {"MODELS": (family,), family: settings})
    target = make_target(config)
    feed = Feed(lambda key, n: target.codec.encode(target.sample(key, n)), None, config.batch_size)
    return config, target, build(family, config, target), feed


def interval(config, family: str, n_devices: int) -> int:
    """Steps of one compiled call: a tenth of a second or so, at most the default run's interval."""
    seeds_in_turn = math.ceil(config.num_seeds / n_devices)
    sweeps = (config.rbm.k or 1) if family == "RBM" else 1
    # A step of 1 600 parameters, 128 rows and one sweep takes some 50 µs, and at most in proportion more.
    guess = 50e-6 * max(1.0, config.parameter_budget * config.batch_size * sweeps / (1600 * 128)) * seeds_in_turn
    return next((n for n in _INTERVALS if n * guess <= 0.2), _INTERVALS[-1])


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))

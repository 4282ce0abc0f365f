"""Times a roof of the machine, or a family's step beside its counts, in a process of its own.

    python3 -m studies.speed.roofline_worker ROOF
    python3 -m studies.speed.roofline_worker step FAMILY WORK
    python3 -m studies.speed.roofline_worker thin FAMILY WORK

It speaks as `studies.speed.worker` does. Roofs are what the cores do side by side, one device each and compiled as
training is, in units a second: bytes of a triad in memory and in the second-level cache, random bits, exponentials,
and, `thin`, floating-point operations of products of the shapes that the RBM's own step has.
"""

import math
import sys
from typing import Any, NamedTuple

from studies.speed.serving import serve

# Numbers of an array that no cache holds, and of one of which three fit the second-level cache.
_LARGE, _SMALL = 2**24, 2**14
# Steps of one compiled call.
_STEPS = {"small": 2_000, "binned": 2_000, "large": 2}


class Counts(NamedTuple):
    """What one update of one seed takes."""

    operations: float  # floating-point, the compiler's count
    kernel_bytes: float  # that the compiled kernels read and write, whatever holds them: the compiler's count
    exponentials: float  # and other transcendental functions: the compiler's count, by hand for an RBM in parts
    random_bits: float  # of the noise, by its shapes; the data draw is not among them
    memory_bytes: float | None  # that have to travel to memory and back: by hand for an RBM in parts
    product_operations: float | None  # of the RBM's products, by hand; None for the others


def main(way: str, family: str = "", name: str = "") -> None:
    """Compiles, warms up and serves."""
    from benchmark.engine.devices import use_every_core

    use_every_core()
    if way in ROOFS:
        serve(*ROOFS[way](), {})
    elif way == "thin":
        serve(*thin(*built(family, name)[:2]), {})
    else:
        config, model, feed = built(family, name)
        facts = counts(config, model, feed)._asdict() | {"n_params": model.n_params, "width": model.width}
        serve(*step(config, model, feed, _STEPS[name]), facts)


def built(family: str, name: str) -> tuple:
    """Configuration, model and feed of a piece of work."""
    from benchmark.engine.records import Feed
    from models import build
    from studies.speed.work import WORKS, config_of
    from targets import make_target

    config = config_of(WORKS[name], family)
    target = make_target(config)
    feed = Feed(lambda key, n: target.codec.encode(target.sample(key, n)), None, config.batch_size)
    return config, build(family, config, target), feed


def counts(config: Any, model: Any, feed: Any) -> Counts:
    """Counts one update of one seed."""
    import jax

    from benchmark.engine.preparation import step_arguments

    state, batch, noise = step_arguments(model, feed)
    analysis = jax.jit(model.step_counted or model.step).lower(state, batch, noise).compile().cost_analysis()
    counted = Counts(
        operations=analysis["flops"],
        kernel_bytes=analysis["bytes accessed"],
        exponentials=analysis["transcendentals"],
        random_bits=32 * sum(leaf.size for leaf in jax.tree.leaves(noise)),
        memory_bytes=None,
        product_operations=None,
    )
    if model.name != "RBM":
        return counted
    counted = counted._replace(
        random_bits=32 * ((config.rbm.k or 1) * model.width * config.batch_size + noise.visible.size),
        product_operations=rbm_products(config, model),
    )
    if model.step_counted is None:
        return counted
    return counted._replace(exponentials=rbm_exponentials(config, model), memory_bytes=rbm_memory_bytes(config, model))


def rbm_products(config: Any, model: Any) -> float:
    """Operations of the products of a CD step, each 2 · V · H · B.

    The logits of the data and of the chains after each sweep, k + 1; W h of each sweep, k; W E[h | v] of the data, for
    the reconstruction, and without bins that of the chains, for σ; the gradient by the weights, of data and chains.
    """
    n_visible = config.num_bins or 2
    products = ((config.rbm.k or 1) + 1) + (config.rbm.k or 1) + (1 if config.num_bins else 2) + 2
    return products * 2.0 * n_visible * model.width * config.batch_size


def rbm_exponentials(config: Any, model: Any) -> float:
    """Of a CD step in parts: one a hidden unit and row in each of k + 1 passes, and in two a logarithm of 64 units."""
    return ((config.rbm.k or 1) + 1 + 2 / 64) * model.width * config.batch_size


def rbm_memory_bytes(config: Any, model: Any) -> float:
    """What a CD step in parts moves between memory and caches that hold no array of all weights.

    Of every weight 4 bytes: k + 1 readings for logits and W h; the gradient set to zero and twice read and written; and
    for Adam and the average weight, gradient, two moments and average read, and all but the gradient written.
    """
    return 4.0 * model.n_params * (((config.rbm.k or 1) + 1) + (1 + 2 * 2) + (5 + 4))


def step(config: Any, model: Any, feed: Any, n_steps: int) -> tuple:
    """A seed a core: a function that runs n compiled calls, and the seed-steps of one."""
    import jax

    from studies.speed.engine import compiled_training

    n_seeds = max(2, len(jax.local_devices()))
    return compiled_training(model, feed, config, n_steps, n_seeds)[0], n_seeds * n_steps


def on_every_core(start: Any, function: Any, repeats: int, units: float) -> tuple:
    """Repeats a function on arrays of every core's own in a compiled loop.

    Args:
      start: key -> arrays.
      function: (i, arrays) -> arrays of the same form.
      repeats: of the loop.
      units: of one repetition on one core.

    Returns:
      A function that runs n loops on all cores, and the units of one.
    """
    import jax

    from benchmark.engine.intervals import over_seeds
    from benchmark.engine.programs import options

    n_devices = len(jax.local_devices())
    spread_start, n_cores, sharding = over_seeds(start, n_devices, (True,))
    held = {"arrays": jax.jit(spread_start)(jax.device_put(jax.random.split(jax.random.key(0), n_cores), sharding))}
    spread, _, _ = over_seeds(lambda arrays: jax.lax.fori_loop(0, repeats, function, arrays), n_devices, (True,))
    compiled = jax.jit(spread, donate_argnums=0).lower(held["arrays"]).compile(compiler_options=options())

    def run(n):
        for _ in range(n):
            held["arrays"] = compiled(held["arrays"])
        jax.block_until_ready(held["arrays"])

    return run, n_cores * repeats * units


def triad(size: int, repeats: int) -> tuple:
    """Bytes of x ← 0.9 x + y: two readings and a writing."""
    import jax

    def start(key):
        return tuple(jax.random.normal(key, (2, size)))

    return on_every_core(start, lambda i, arrays: (0.9 * arrays[0] + arrays[1], arrays[1]), repeats, 12.0 * size)


def random_bits() -> tuple:
    """Bits of the suite's unrolled Threefry in blocks of 128 KiB, as training draws them."""
    import jax
    import jax.numpy as jnp

    from core import prng

    size = 2**15

    def draw(i, arrays):
        key, total = arrays
        keys = jax.random.fold_in(prng.unrolled(key), i)[None]
        return key, total ^ jax.vmap(lambda key: jax.random.bits(key, (size,)))(keys)[0]

    return on_every_core(lambda key: (jax.random.key_data(key), jnp.zeros(size, jnp.uint32)), draw, 500, 32.0 * size)


def exponentials() -> tuple:
    """Exponentials e^-x of numbers that the cache holds."""
    import jax
    import jax.numpy as jnp

    def start(key):
        return jax.random.uniform(key, (_SMALL,))

    return on_every_core(start, lambda i, x: jnp.exp(-x), 2_000, float(_SMALL))


def product() -> tuple:
    """Operations of the product of two large matrices, on every core one of its own as in training."""
    import jax

    size = 2048

    def start(key):
        return tuple(jax.random.normal(key, (2, size, size)))

    # Its size stays what it was: each product has the variance of its factor.
    return on_every_core(
        start, lambda i, arrays: (arrays[0] @ arrays[1] / math.sqrt(size), arrays[1]), 1, 2.0 * size**3
    )


ROOFS = {
    "product": product,
    "memory": lambda: triad(_LARGE, 20),
    "cache": lambda: triad(_SMALL, 5_000),
    "random": random_bits,
    "exponentials": exponentials,
}


def thin(config: Any, model: Any) -> tuple:
    """Operations of products of the shapes of an RBM's step: logits, W h and the gradient by the weights in turn."""
    import jax

    from models.boltzmann import units_at_once

    n_visible, n = config.num_bins or 2, config.batch_size
    n_hidden = model.width if model.step_counted is None else units_at_once(model.width, n)

    def start(key):
        return jax.random.normal(key, (n_visible, n_hidden)), jax.random.normal(key, (n_visible, n))

    def function(i, arrays):
        weights, visible = arrays
        logits = weights.T @ visible
        # Small enough to stay finite.
        return weights + 1e-12 * (visible @ logits.T), visible + 1e-12 * (weights @ logits)

    operations = 3 * 2.0 * n_visible * n_hidden * n
    return on_every_core(start, function, math.ceil(2e9 / operations), operations)


if __name__ == "__main__":
    main(*sys.argv[1:])

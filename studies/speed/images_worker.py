"""One piece of work on images of 28 × 28 by the suite, in a process of its own that is told how many updates to time.

    python3 -m studies.speed.images_worker FAMILY JSON

The JSON has `budget`, or `width` and no budget; `batch_size`, `n_devices` and the family's `settings`. The protocol is
`worker.py`'s.
"""

import dataclasses
import json
import sys

SHAPE, N_ROWS = (28, 28, 1), 4096


def main(family: str, facts: str) -> None:
    """Compiles, warms up and serves."""
    facts = json.loads(facts)
    import jax

    jax.config.update("jax_num_cpu_devices", facts["n_devices"])
    import numpy as np

    import generative_models_GAN_VAE_RBM_benchmarks as script
    from benchmark.asked.config import from_constants
    from benchmark.engine.records import Feed
    from kinds.contract import Codec, Target
    from models import MODELS
    from models.laws import Event, pixels
    from studies.speed.engine import compiled_training
    from studies.speed.serving import serve

    size = SHAPE[0] * SHAPE[1] * SHAPE[2]
    rows = np.random.default_rng(0).uniform(size=(N_ROWS, size)).astype(np.float32)
    codec = Codec(Event(size, SHAPE, pixels(size)), *[lambda x: x] * 3)
    target = Target("IMAGES", "images", size, codec, lambda key, n: rows[:n], None, comparable=False, train_rows=rows)
    config = from_constants({name: value for name, value in vars(script).items() if name.isupper()})
    own = dataclasses.replace(getattr(config, family.lower()), **facts["settings"])
    config = dataclasses.replace(config, batch_size=facts["batch_size"], **{family.lower(): own})

    def built(budget):
        return MODELS[family].build(dataclasses.replace(config, parameter_budget=budget), target)

    budget = facts["budget"] or 2**16
    while facts["width"] and built(budget).width < facts["width"]:
        budget = budget * 9 // 8
    model = built(budget)
    feed = Feed(target.sample, jax.numpy.asarray(rows), config.batch_size)
    block, n_seeds = 4, facts["n_devices"]
    run, _ = compiled_training(model, feed, config, block, n_seeds)
    serve(run, n_seeds * block, {"width": model.width, "n_params": model.n_params})


if __name__ == "__main__":
    main(*sys.argv[1:])

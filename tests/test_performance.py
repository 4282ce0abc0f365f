"""What times the suite runs it through its present interface."""

import dataclasses

import jax
import pytest

from models import MODELS, build
from performance import roofline_worker, scaling_worker, worker
from performance.work import WORKS
from targets import make_target
from training import Feed, step_cost


@pytest.fixture
def built(make_config):
    def make(family):
        config = make_config(models=(family,), parameter_budget=60, num_bins=4, num_seeds=2)
        target = make_target(config)
        feed = Feed(lambda key, n: target.codec.encode(target.sample(key, n)), None, config.batch_size)
        return config, target, build(family, config, target), feed

    return make


@pytest.mark.parametrize("family", MODELS)
def test_workers_train_what_they_time(family, built, monkeypatch):
    config, target, model, feed = built(family)
    n_devices = len(jax.local_devices())
    run, units = roofline_worker.step(config, model, feed, 4)
    assert units == 4 * n_devices
    run(2)
    run, units, operations = worker.suite(model, target, config, dataclasses.replace(WORKS["small"], block=4))
    assert units == 4 * max(8, n_devices)
    assert operations == step_cost(model, feed).operations_per_step
    run(2)
    monkeypatch.setattr(scaling_worker, "built", lambda order: (config, target, model, feed))
    monkeypatch.setattr(scaling_worker, "interval", lambda *args: 4)
    found = scaling_worker.step({"family": family, "seconds": 1e-6, "repeats": 2})
    assert len(found["seconds"]) == 2
    assert found["n_params"] == model.n_params
    assert found["device_bytes"] > 4 * 4 * model.n_params

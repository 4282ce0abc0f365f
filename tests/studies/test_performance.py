"""What times the suite runs it through its present interface; ratios and shares of known rates, and their picture."""

import dataclasses
import json
from pathlib import Path

import jax
import pytest
from conftest import quick_if

from benchmark.engine.records import Feed
from models import build
from studies.speed import (
    chart,
    compare,
    em,
    engine,
    roofline,
    roofline_worker,
    scaling,
    scaling_points,
    scaling_worker,
    versions,
    worker,
)
from studies.speed.work import WORKS
from targets import make_target


@pytest.fixture
def built(make_config):
    def make(family):
        config = make_config(models=(family,), parameter_budget=60, num_bins=4, num_seeds=2)
        target = make_target(config)
        feed = Feed(lambda key, n: target.codec.encode(target.sample(key, n)), None, config.batch_size)
        return config, target, build(family, config, target), feed

    return make


@pytest.mark.parametrize("family", [quick_if(name == "RBM", name) for name in scaling_points.FAMILIES])
def test_workers_train_what_they_time(family, built, monkeypatch):
    config, target, model, feed = built(family)
    n_devices = len(jax.local_devices())
    asked, compile_training, programs = [], engine.compiled_training, []

    def compiled_once(model, feed, config, n_steps, n_seeds):
        # A compilation takes seconds, and the three differ in nothing but how many seeds there are.
        asked.append((model.name, n_steps, n_seeds))
        programs.append(programs[0] if programs else compile_training(model, feed, config, n_steps, n_seeds))
        return programs[-1]

    monkeypatch.setattr(engine, "compiled_training", compiled_once)
    monkeypatch.setattr(scaling_worker, "built", lambda order: (config, target, model, feed))
    monkeypatch.setattr(scaling_worker, "interval", lambda *args: 4)
    found = scaling_worker.step({"family": family, "seconds": 1e-6, "repeats": 2})
    assert len(found["seconds"]) == 2
    assert found["n_params"] == model.n_params
    assert found["device_bytes"] > 4 * 4 * model.n_params
    run, units = roofline_worker.step(config, model, feed, 4)
    assert units == 4 * max(2, n_devices)
    run(2)
    run, units, operations = worker.suite(model, target, config, dataclasses.replace(WORKS["small"], block=4))
    assert units == 4 * max(8, n_devices)
    # Forward and backward, a multiplication and an addition a weight and row: at least four of each.
    assert operations > 4 * model.n_params * config.batch_size
    run(1)
    assert asked == [(family, 4, n) for n in (config.num_seeds, max(2, n_devices), max(8, n_devices))]


def test_a_share_is_taken_from_the_neighbours_in_time():
    # A machine that slows down from 4 to 2: between two products the suite ran at half of what one would have.
    assert compare.shares([4.0, 4.0, 2.0], [2.0, 1.5]) == [0.5, 0.5]
    assert compare.shares([1.0], []) == []
    with pytest.raises(ValueError, match="argument"):
        compare.shares([1.0, 1.0], [])


def synthetic():
    """Rounds in which the suite is 10, 11.5 and 30 times as fast as each other way; no RBM in the large work."""
    ratios = {way: [10.0, 11.5, 30.0] for way in ("strong", "tutorial", "torch")}
    entry = {"rates": {"suite": [1e5, 2e5, 3e5]}, "ratios": ratios}
    comparison = {name: dict.fromkeys(work.families, entry) for name, work in WORKS.items()}
    product = {"products": [4e11] * 2, "rates": [3e11], "shares": [0.75]}
    return {"machine": "a machine", "comparison": comparison, "share": {"GAN": product}}


def test_table_and_picture_have_the_same_digits(tmp_path, monkeypatch):
    results = synthetic()
    text = compare.markdown(results)
    assert "| 2D_GMM, 310 parameters | GAN | 200 000 | 11.5 (10.0 – 30.0) |" in text
    assert "GAN, large: 75.0 (75.0 – 75.0) % of a matrix product's 400 Gflop/s." in text
    said, save = [], chart.figures.save

    def spy(fig, path):
        said.extend([text.get_text() for text in ax.texts] for ax in fig.axes)
        save(fig, path)

    monkeypatch.setattr(chart.figures, "save", spy)
    chart.draw(tmp_path / "r.png", results, {name: work.title for name, work in WORKS.items()}, compare.WAYS)
    assert said[0] == ["11.5"] * 9
    # Why a family is missing is said in its place.
    assert said[2] == ["11.5"] * 6 + ["not in this work:\nsee the roofline"]


@pytest.mark.parametrize("of", [compare, em, roofline, scaling, versions])
def test_the_tables_of_the_docs_are_those_of_the_results(of):
    folder = Path(of.__file__).parent
    name = {"studies.speed.compare": "results"}.get(of.__name__, of.__name__.rpartition(".")[2])
    results, text = json.loads((folder / f"{name}.json").read_text()), (folder / "README.md").read_text()
    tables = [part for part in of.markdown(results).split("\n\n") if part.startswith("|")]
    assert tables
    assert [table for table in tables if table not in text] == []


def test_the_product_is_timed_before_and_after_every_timing_of_the_suite(monkeypatch):
    timed = []

    class Clock:
        """Stands in for a process; the machine is at half its speed from the fifth timing on."""

        def __init__(self, command):
            self.way, self.facts = command[3], {"operations": 10.0}

        def rate(self):
            timed.append(self.way)
            return (4.0 if len(timed) < 5 else 2.0) * (10 if self.way == "product" else 0.5)

        def close(self):
            pass

    monkeypatch.setattr(compare, "Worker", Clock)
    found = compare.share(3)
    assert timed[:7] == ["product", "suite", "product", "suite", "product", "suite", "product"]
    assert list(found) == list(WORKS["large"].families)
    # 4 · 0.5 · 10 of 40; the second between 40 and 20; then 2 · 0.5 · 10 of 20.
    assert found["GAN"] == {"products": [40, 40, 20, 20], "rates": [20, 20, 10], "shares": [0.5, 20 / 30, 0.5]}
    assert found["VAE"]["shares"] == [0.5] * 3

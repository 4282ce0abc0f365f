"""Runs that differ in a number alone share their compiled programs, and no bit of them depends on it."""

import dataclasses

import jax
import numpy as np
import pytest
from conftest import NUMBERS, quick_if

import models
from benchmark.engine import programs
from benchmark.engine.preparation import prepare, step_cost
from benchmark.engine.records import Feed, Schedule
from core.settings import traced
from kinds.contract import Scorer
from models import MODELS
from targets import make_target


@pytest.fixture
def trained(make_config):
    def run(family, traceable=True, **settings):
        config = make_config(num_bins=6, parameter_budget=150, models=(family,))
        config = dataclasses.replace(
            config, **{family.lower(): dataclasses.replace(getattr(config, family.lower()), **settings)}
        )
        target = make_target(config)
        model = models.build(family, config, target) if traceable else MODELS[family].build(config, target)
        feed = Feed(lambda key, n: target.codec.encode(target.sample(key, n)), None, config.batch_size)
        scorer = Scorer(50, target.codec.decode, False, (), lambda x: {})
        program = prepare(model, feed, scorer, Schedule.evenly(n_steps=20, n_evaluations=1, n_seeds=2, seed=3))
        states = program.init(program.keys, program.rows)
        args = program.keys, program.rows, np.int32(0), np.int32(20), np.zeros(2, bool)
        states, info, bad = program.advance(states, *args)
        if traceable:
            # Its compiled step is kept as well.
            step_cost(model, feed)
        x, _ = program.evaluate(states, program.keys, np.int32(20))
        return [np.asarray(leaf) for leaf in jax.tree.leaves((states.params, info, bad, x))]

    return run


@pytest.mark.parametrize("family", [quick_if(name == "GAN", name) for name in NUMBERS])
@pytest.mark.shipped_compilation
def test_numbers_are_arguments_and_no_bit_depends_on_it(trained, family):
    first = trained(family)
    kept = dict(programs._kept)
    config = MODELS[family].Config().for_law("category")
    numbers = {name: getattr(config, name) for name in traced(MODELS[family].Config)}
    assert ("learning_rate" in numbers) == hasattr(config, "learning_rate")
    # Off at 0 they are another program. A floor must be met, and a count be added to some, to make a difference.
    large = {"variance_floor": 1.0, "pseudo_count": 1000.0}
    others = {name: large.get(name, value * 0.875) for name, value in numbers.items() if value}
    other = trained(family, **others)
    assert programs._kept == kept, "another number has compiled something"
    assert any((one != two).any() for one, two in zip(first, other, strict=True)) == bool(numbers)
    for one, two in zip(first, trained(family, traceable=False), strict=True):
        np.testing.assert_array_equal(one, two)


def test_programs_of_the_last_run_alone_are_left(monkeypatch):
    monkeypatch.setattr(programs, "_kept", {})

    def run(*factors):
        programs.forget_unused()
        for factor in factors:
            programs.compile_shared(jax.jit(lambda numbers, x, by=factor: by * x).lower({}, 1.0), {}, once=True)
        return set(programs._kept)

    first, second, third = run(1, 2), run(2, 3), run(4)
    # The next run may have the same programs: they go when it has not asked for them.
    assert (len(first), len(second), len(third)) == (2, 3, 3)
    assert len(first & third) == 1
    assert run(4) == third - second


def test_programs_are_kept_by_what_they_compute_and_only_so_many(monkeypatch):
    monkeypatch.setattr(programs, "_MOST_KEPT", 3)
    monkeypatch.setattr(programs, "_kept", {})

    def compiled(factor, numbers):
        lowered = jax.jit(lambda numbers, x: factor * x).lower(numbers, 1.0)
        return programs.compile_shared(lowered, numbers, once=True)

    assert [float(compiled(factor, {})(2.0)) for factor in (1, 2, 3, 4)] == [2, 4, 6, 8]
    assert len(programs._kept) == 3
    first = dict(programs._kept)
    # An argument that nothing uses is not in the program, but in the call.
    assert float(compiled(4, {"rate": 0.5})(2.0)) == 8
    assert len(programs._kept) == 3
    assert programs._kept != first
    second = dict(programs._kept)
    assert float(compiled(4, {"rate": 0.7})(2.0)) == 8
    assert programs._kept == second
    assert float(compiled(4, {"rate": np.ones(2)})(2.0)) == 8
    assert programs._kept != second


@pytest.mark.parametrize("family", MODELS)
def test_every_traceable_setting_is_a_float_of_the_configuration(family):
    fields = {field.name: field.default for field in dataclasses.fields(MODELS[family].Config)}
    assert all(isinstance(fields[name], float) for name in traced(MODELS[family].Config))


@pytest.mark.parametrize("event", [("1D_TRIMODAL", 6), ("1D_TRIMODAL", 0), ("2D_GMM", 0)], ids=str)
@pytest.mark.parametrize("family", NUMBERS)
def test_every_traceable_setting_can_be_on_whatever_the_events(make_config, family, event):
    target_type, num_bins = event
    config = make_config(target_type=target_type, num_bins=num_bins, parameter_budget=150, models=(family,))
    settings = getattr(config, family.lower())
    # Many are off at first.
    settings = dataclasses.replace(settings, **dict.fromkeys(traced(MODELS[family].Config), 0.3))
    config = dataclasses.replace(config, **{family.lower(): settings})
    target = make_target(config)
    model = models.build(family, config, target)
    assert set(model.numbers) == set(traced(MODELS[family].Config))
    key = jax.random.key(0)
    events = target.codec.encode(target.sample(key, (model.batches_per_step or 1) * config.batch_size))
    shape = (model.batches_per_step, config.batch_size) if (model.batches_per_step or 1) > 1 else (config.batch_size,)
    batch = events.reshape(*shape, target.event.size)

    def trained(numbers):
        own = model.with_numbers(numbers)
        state, _ = own.step(own.init(key, events), batch, own.noise(key))
        return own.sample(key, state, 3)

    numbers = {name: np.float32(value) for name, value in model.numbers.items()}
    assert jax.eval_shape(trained, numbers).shape == (3, target.event.size)

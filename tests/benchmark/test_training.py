"""The engine, on toy models whose arithmetic is known, and on every family of the registry."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import NUMBERS, quick_first, quick_if

from benchmark.engine import intervals, preparation, records
from benchmark.engine.intervals import block_length
from benchmark.engine.preparation import prepare
from benchmark.engine.records import N_DATA_ROWS, Evaluation, Feed, Run, Schedule, streams
from benchmark.engine.training import train
from core import prng
from kinds.contract import Scorer
from models import MODELS
from models.base import Model, averaged
from targets import make_target

pytestmark = pytest.mark.shipped_compilation

SEED = 7
BATCH_SIZE = 4


class Fault(NamedTuple):
    """Steps, counted from 1, at which something goes wrong; 0: never."""

    loss: int = 0  # is NaN
    weight: int = 0  # becomes NaN
    infinite: int = 0  # one becomes, that later losses do not show


class ToyState(NamedTuple):
    params: jax.Array  # [2] float32: the number of steps done, and 0
    fault: jax.Array  # [3] int32: this seed's
    batches: jax.Array  # [n_steps, *batch] what every step was given
    noises: jax.Array  # [n_steps, 2]


class ToyInfo(NamedTuple):
    loss: jax.Array  # the square of the step's number, counted from 1: its means are exact
    other: jax.Array  # the number itself


def toy(
    n_steps: int,
    batch_shape: tuple[int, ...] = (BATCH_SIZE, 1),
    *,
    faults: Mapping[int, Fault] = {},
    **fields,
) -> Model:
    """A model that writes down what it is given and counts its steps.

    Args:
      faults: number of a seed -> what goes wrong with it.
    """

    def init(key, data):
        assert data.shape[1:] == (1,)
        fault = jnp.zeros(3, jnp.int32)
        for index, own in faults.items():
            mine = jnp.all(jax.random.key_data(key) == jax.random.key_data(keys_of(index).key_init))
            fault = jnp.where(mine, jnp.array(own), fault)
        return ToyState(jnp.zeros(2), fault, jnp.full((n_steps, *batch_shape), -1.0), jnp.full((n_steps, 2), -1.0))

    def step(state, batch, noise):
        done, unused = state.params
        row, number = jnp.nan_to_num(done).astype(int), done + 1
        loss = number**2
        if faults:
            bad_loss, bad_weight, infinite = state.fault == number
            loss = jnp.where(bad_loss, jnp.nan, loss)
            done, unused = jnp.where(bad_weight, jnp.nan, done), jnp.where(infinite, -jnp.inf, unused)
        params = jnp.stack([done + 1, unused])
        new = ToyState(params, state.fault, state.batches.at[row].set(batch), state.noises.at[row].set(noise))
        return new, ToyInfo(loss, number)

    def constant(of_state):
        return lambda key, state, n: jnp.broadcast_to(of_state(state)[None], (n, 1))

    model = Model(
        name="TOY",
        n_params=2,
        width=1,
        init=init,
        # Uniforms, whose bits do not depend on how wide the call is that draws them.
        noise=lambda key: jax.random.uniform(key, (2,)),
        step=step,
        sample=constant(lambda state: state.params[:1]),
        sample_mean=constant(lambda state: state.params[:1] + 1000),
    )
    return model._replace(**fields)


FEED = Feed(lambda key, n: jax.random.uniform(key, (n, 1)), None, BATCH_SIZE)
SCORER = Scorer(
    n_samples=4,
    decode=lambda events: events,
    soft=False,
    metrics=("mean",),
    score=lambda x: {"mean": float(x.mean())},
)


def run_model(
    model: Model,
    feed: Feed = FEED,
    scorer: Scorer = SCORER,
    *,
    snapshot_steps: frozenset[int] = frozenset(),
    on_evaluation: Callable[[Evaluation], None] = lambda evaluation: None,
    **settings: int,
) -> Run:
    settings = {"n_steps": 8, "n_evaluations": 2, "n_seeds": 1, "seed": SEED, **settings}
    return train(
        prepare(model, feed, scorer, Schedule.evenly(**settings)),
        snapshot_steps=snapshot_steps,
        on_evaluation=on_evaluation,
    )


def keys_of(seed_index: int) -> records.Streams:
    return jax.tree.map(lambda leaf: leaf[seed_index], streams(SEED, seed_index + 1))


def minibatch_key(keys: records.Streams, i: int, j: int = 0) -> jax.Array:
    return jax.random.fold_in(jax.random.fold_in(prng.unrolled(keys.key_data), i), j)


def noise_key(keys: records.Streams, i: int) -> jax.Array:
    return jax.random.fold_in(prng.unrolled(keys.key_step), i)


def assert_same_bits(first: Any, second: Any) -> None:
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def assert_close(first: Any, second: Any) -> None:
    """Equal up to a few float32 roundings of numbers of order 1, as the weights and moments of eight steps are."""
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)


def test_two_devices():
    # The statements below about seeds are about seeds that are spread.
    assert jax.local_device_count() == 2


class Traces:
    """A model whose step counts how often Python runs it, that is, how often it is traced."""

    def __init__(self, model: Model):
        self.count = 0

        def step(state, batch, noise):
            self.count += 1
            return model.step(state, batch, noise)

        self.model = model._replace(step=step)


@pytest.mark.parametrize(("n_steps", "n_evaluations"), [(8, 1), (8, 2), (8, 8), (16, 2)])
def test_one_trace(n_steps, n_evaluations):
    traces = Traces(toy(n_steps))
    run_model(traces.model, n_steps=n_steps, n_evaluations=n_evaluations, n_seeds=3)
    assert traces.count == 1


@pytest.mark.parametrize("fields", [{}, {"max_steps": 6}, {"batches_per_step": None}, {"batches_per_step": 3}])
def test_memory_does_not_grow_with_the_steps(fields, monkeypatch):
    # What is drawn for a block stays the same, so that all that could differ is what is kept of every block.
    monkeypatch.setattr(intervals, "BLOCK_BYTES", 2**9)
    batch_shape = {None: (N_DATA_ROWS, 1), 3: (3, BATCH_SIZE, 1)}.get(fields.get("batches_per_step", 1))
    model = toy(8, batch_shape or (BATCH_SIZE, 1), **fields)

    def memory(n_steps):
        program = prepare(model, FEED, SCORER, Schedule.evenly(n_steps=n_steps, n_evaluations=1, n_seeds=2, seed=SEED))
        sizes = program.advance.memory_analysis()
        return sizes.temp_size_in_bytes, sizes.argument_size_in_bytes, sizes.output_size_in_bytes

    assert memory(2**10) == memory(2**20)


def test_one_program_serves_trainings_and_intervals_of_every_length():
    model = toy(8)
    schedules = [Schedule((8,), 2, SEED), Schedule((1, 2, 5, 1000), 2, SEED), Schedule.evenly(20_000, 40, 2, SEED)]
    programs = [prepare(model, FEED, SCORER, schedule) for schedule in schedules]
    assert len({id(program.advance._executable) for program in programs}) == 1


def test_draws_of_all_evaluations_are_the_same_where_the_scorer_says_so():
    model = toy(8, sample=lambda key, state, n: jax.random.normal(key, (n, 1)))

    def means(scorer):
        return [evaluation.metrics["mean"][0] for evaluation in run_model(model, scorer=scorer).evaluations]

    assert len(set(means(SCORER))) == 3
    assert len(set(means(SCORER._replace(fixed_draws=True)))) == 1


def test_no_retrace_in_mid_run_with_max_steps():
    # Here the engine also evaluates the step's shapes, so more than one trace; none of them depends on the intervals.
    counts = set()
    for n_evaluations in (1, 2, 4):
        traces = Traces(toy(8, max_steps=6))
        run_model(traces.model, n_evaluations=n_evaluations)
        counts.add(traces.count)
    assert len(counts) == 1


class FamilyRuns(NamedTuple):
    """One family trained in several ways, and how often each traced its step."""

    model: Model
    feed: Feed
    runs: dict[str, Run]
    traces: dict[str, int]


FAMILY_RUNS: dict[str, FamilyRuns] = {}


@pytest.fixture
def family_runs(name, make_config):
    if name not in FAMILY_RUNS:
        # A decoder and visible units as wide as the data: losses are of order 1, as the comparisons below take them to
        # be, where a narrow Gaussian's of 20 nats are stored to 2e-6.
        wide = {"vae": MODELS["VAE"].Config(beta=1.0), "rbm": MODELS["RBM"].Config(sigma=1.0)}
        config = make_config(target_type="1D_BIMODAL", num_bins=0, parameter_budget=60, hidden_layers=1, **wide)
        target = make_target(config)
        # One way to sample at every step, so that what a longer run drew on its way can be compared with a last draw.
        model = MODELS[name].build(config, target)._replace(sample_quick=None)
        feed = Feed(target.sample, None, config.batch_size)
        runs, counts = {}, {}
        for what, settings in {
            "one seed": {"n_seeds": 1},
            "three seeds, twice as long": {"n_seeds": 3, "n_steps": 16, "n_evaluations": 4},
        }.items():
            traces = Traces(model)
            runs[what] = run_model(traces.model, feed, snapshot_steps=frozenset({0, 4, 8}), **settings)
            counts[what] = traces.count
        FAMILY_RUNS[name] = FamilyRuns(model, feed, runs, counts)
    return FAMILY_RUNS[name]


# One worker runs all that needs one family's runs.
FAMILIES = [quick_first(name, pytest.mark.xdist_group(f"runs of {name}")) for name in NUMBERS]
every_family = pytest.mark.parametrize("name", FAMILIES, scope="module")


@every_family
def test_one_trace_per_family(name, family_runs):
    assert len(set(family_runs.traces.values())) == 1
    if family_runs.model.max_steps is None:
        assert set(family_runs.traces.values()) == {1}


@every_family
def test_first_steps_depend_neither_on_how_many_follow_nor_on_the_number_of_seeds(name, family_runs):
    alone, among = family_runs.runs.values()
    assert [e.step for e in among.evaluations] == [0, 4, 8, 12, 16]
    for one, three in zip(alone.evaluations, among.evaluations, strict=False):
        assert one.step == three.step
        assert_same_bits(one.kept[0], three.kept[0])
        assert one.metrics["mean"][0] == three.metrics["mean"][0]
        for field in one.info or ():
            assert_same_bits(one.info[field][0], three.info[field][0])
    # The others are not copies of it.
    for i in (1, 2):
        assert np.all(among.evaluations[-1].samples[0] != among.evaluations[-1].samples[i])


@every_family
@pytest.mark.parametrize("block_bytes", [intervals.BLOCK_BYTES, 2000])
def test_no_bit_of_what_is_trained_depends_on_where_it_is_scored(name, block_bytes, family_runs, monkeypatch):
    monkeypatch.setattr(intervals, "BLOCK_BYTES", block_bytes)
    model, feed = family_runs.model, family_runs.feed
    often, once = (
        train(prepare(model, feed, SCORER, Schedule(steps, 2, SEED)), snapshot_steps=frozenset({11}))
        for steps in ((1, 2, 3, 5, 7, 11), (11,))
    )
    assert [e.step for e in often.evaluations] == [0, 1, 2, 3, 5, 7, 11]
    assert_same_bits(often.states, once.states)
    assert_same_bits(often.evaluations[-1].samples, once.evaluations[-1].samples)


# One family is enough: that the keys do not depend on the block is tested on the toy.
@pytest.mark.parametrize("name", FAMILIES[:1], scope="module")
def test_block_length_does_not_change_the_result(name, family_runs, monkeypatch):
    monkeypatch.setattr(intervals, "BLOCK_BYTES", 1)
    one_at_a_time = run_model(family_runs.model, family_runs.feed)
    # The uniforms behind the noise have the same bits whatever the block (the toy's test); the polynomial that makes
    # normals of them is vectorised, and what a vector leaves over rounds its last bit differently.
    assert_close(one_at_a_time.states, family_runs.runs["one seed"].states)


@every_family
def test_training_is_the_plain_loop(name, family_runs):
    model, feed = family_runs.model, family_runs.feed
    keys = keys_of(0)
    rows = feed.draw(records.data_key(keys), model.n_data_rows or N_DATA_ROWS)
    state = jax.jit(model.init)(keys.key_init, rows)

    @jax.jit
    def step(state, i):
        if model.batches_per_step is None:
            batch = rows
        else:
            draws = [feed.draw(minibatch_key(keys, i, j), feed.batch_size) for j in range(model.batches_per_step)]
            batch = jnp.stack(draws) if len(draws) > 1 else draws[0]
        return model.step(state, batch, model.noise(noise_key(keys, i)))

    run = family_runs.runs["one seed"]
    if model.max_steps == 0:
        assert_close(state, run.states[0])
        assert run.evaluations[-1].info is None
        return
    losses = []
    for i in range(8):
        state, info = step(state, i)
        losses.append(float(info.loss))
    # Another program: sums may be taken in another order.
    # Passes over the same rows are iterations of one map, under which rounding grows, and differences of large sums:
    # there the losses are what is compared.
    if model.batches_per_step is not None:
        assert_close(state, run.states[0])
    for evaluation, part in zip(run.evaluations[1:], (losses[:4], losses[4:]), strict=True):
        expected = part[-1] if model.name in WHOLE_PASSES else np.mean(part)
        # A running sum of a block's 4 096 rows is off by √4096 ε = 4e-6 of itself; three of these.
        tolerance = 2e-6 if model.batches_per_step is not None else 1.2e-5
        assert evaluation.info["loss"][0] == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("block_bytes", [1, 2 * 2**20])
def test_step_i_has_keys_of_its_own(block_bytes, monkeypatch):
    monkeypatch.setattr(intervals, "BLOCK_BYTES", block_bytes)
    states = run_model(toy(8), n_seeds=3).states
    for index, state in enumerate(states):
        keys = keys_of(index)
        for i in range(8):
            assert_same_bits(state.batches[i], FEED.draw(minibatch_key(keys, i), BATCH_SIZE))
            assert_same_bits(state.noises[i], jax.random.uniform(noise_key(keys, i), (2,)))
    assert len({float(state.batches[0, 0, 0]) for state in states}) == 3


def test_streams_of_a_seed_are_distinct_and_do_not_depend_on_which_others_there_are():
    few, many = streams(SEED, 1), streams(SEED, 5)
    assert_same_bits(jax.random.key_data(jnp.stack(few)), jax.random.key_data(jnp.stack(many))[:, :1])
    later = streams(SEED, 2, first_seed=3)
    assert_same_bits(jax.random.key_data(jnp.stack(later)), jax.random.key_data(jnp.stack(many))[:, 3:])
    every = np.asarray(jax.random.key_data(jnp.stack(many))).reshape(-1, 2)
    assert len(np.unique(every, axis=0)) == 4 * 5
    assert not np.any(every[0] == np.asarray(jax.random.key_data(streams(SEED + 1, 1).key_init))[0])


def test_all_families_see_the_same_data(make_config):
    # Real families' noise, whose sizes differ and with them the blocks; the step only writes down what it is given.
    config = make_config(target_type="2D_GMM", num_bins=0, parameter_budget=100)
    target = make_target(config)
    seen = []
    for family in map(MODELS.get, NUMBERS):
        real = family.build(config, target)
        recorder = toy(8, (config.batch_size, 2))

        def step(state, batch, noise, recorder=recorder):
            del noise
            return recorder.step(state, batch, jnp.zeros(2))

        model = recorder._replace(
            init=lambda key, data, recorder=recorder: recorder.init(key, data[:, :1]), noise=real.noise, step=step
        )
        seen.append(run_model(model, Feed(target.sample, None, config.batch_size)).states[0].batches)
    for batches in seen[1:]:
        np.testing.assert_array_equal(batches, seen[0])
    assert np.all(seen[0] != -1)


ROWS = jnp.arange(10, 17, dtype=jnp.float32)[:, None]


def refuse(key, n):
    raise AssertionError("a fixed training set must not be drawn afresh")


def test_minibatches_of_a_fixed_training_set():
    feed = Feed(refuse, ROWS, BATCH_SIZE)
    (state,) = run_model(toy(40), feed, n_steps=40).states
    assert set(state.batches.ravel().tolist()) == set(ROWS.ravel().tolist())
    # Drawn with replacement: some batch of 4 out of 7 repeats a row.
    assert any(len(set(batch.ravel().tolist())) < BATCH_SIZE for batch in state.batches)
    for i in (0, 17, 39):
        chosen = jax.random.randint(minibatch_key(keys_of(0), i), (BATCH_SIZE,), 0, len(ROWS))
        assert_same_bits(state.batches[i], ROWS[chosen])


def test_init_sees_the_fixed_training_set_or_fresh_rows():
    shapes = []

    def init(key, data):
        shapes.append(data.shape)
        return ToyState(data[:2, 0], jnp.zeros(3, int), jnp.zeros((8, BATCH_SIZE, 1)), jnp.zeros((8, 2)))

    model = toy(8, max_steps=0)._replace(init=init)
    fixed = run_model(model, Feed(refuse, ROWS, BATCH_SIZE)).states[0]
    fresh = run_model(model).states[0]
    assert shapes == [(7, 1), (N_DATA_ROWS, 1)]
    assert fixed.params[0] == ROWS[0, 0]
    assert 0 <= fresh.params[0] < 1
    # None of the steps' rows is among them: their key lies outside the numbering of the steps.
    drawn = run_model(toy(8)).states[0].batches
    assert not np.isin(drawn, FEED.draw(records.data_key(keys_of(0)), N_DATA_ROWS)).any()


def test_batches_per_step_stacks_distinct_minibatches():
    (state,) = run_model(toy(8, (5, BATCH_SIZE, 1), batches_per_step=5)).states
    for i, j in itertools.product((0, 7), range(5)):
        assert_same_bits(state.batches[i, j], FEED.draw(minibatch_key(keys_of(0), i, j), BATCH_SIZE))
    assert len(np.unique(state.batches)) == state.batches.size
    # The first of the five is the batch of a family that takes one.
    np.testing.assert_array_equal(state.batches[:, 0], run_model(toy(8)).states[0].batches)


def test_batches_per_step_none_is_the_whole_data_set():
    (state,) = run_model(toy(8, (len(ROWS), 1), batches_per_step=None), Feed(refuse, ROWS, BATCH_SIZE)).states
    for batch in state.batches:
        assert_same_bits(batch, ROWS)
    (state,) = run_model(toy(2, (N_DATA_ROWS, 1), batches_per_step=None), n_steps=2).states
    for batch in state.batches:
        assert_same_bits(batch, FEED.draw(records.data_key(keys_of(0)), N_DATA_ROWS))


def test_max_steps_holds_the_last_value():
    run = run_model(toy(8, max_steps=3), n_evaluations=4, n_seeds=2)
    for index, state in enumerate(run.states):
        reference = run_model(toy(8), n_steps=3, n_evaluations=1, n_seeds=2).states[index]
        assert_same_bits(state, reference)
        assert state.params[0] == 3
    # The mean is over the steps that were done: 1 and 2, then 3 alone.
    assert [float(e.info["loss"][0]) for e in run.evaluations[1:3]] == [2.5, 9.0]
    assert [e.metrics["mean"][0] for e in run.evaluations] == [0, 2, 3, 3, 3]
    assert run.diverged_at_step == [None, None]


@pytest.mark.parametrize(("n_steps", "block_bytes"), [(8, 2**17), (8, 1), (8, 40)])
def test_fields_that_only_converge_are_those_of_the_intervals_last_step(n_steps, block_bytes, monkeypatch):
    monkeypatch.setattr(intervals, "BLOCK_BYTES", block_bytes)
    run = run_model(toy(n_steps, last_fields=("other",)), n_evaluations=2, n_seeds=2)
    # The loss is the mean of 1, 4, 9, 16 and of 25, 36, 49, 64; the other field the last step's number.
    assert [(float(e.info["loss"][0]), float(e.info["other"][0])) for e in run.evaluations[1:]] == [(7.5, 4), (43.5, 8)]
    # Of an interval that training ends in, the last one that was taken; and it is held.
    run = run_model(toy(n_steps, max_steps=3, last_fields=("loss", "other")), n_evaluations=4, n_seeds=2)
    assert [float(e.info["loss"][1]) for e in run.evaluations[1:]] == [4, 9, 9, 9]
    assert [float(e.info["other"][1]) for e in run.evaluations[1:]] == [2, 3, 3, 3]
    assert run.seed_steps == 2 * 3


WHOLE_PASSES = [name for name in NUMBERS if {"n_rows", "max_iter"} <= vars(MODELS[name].Config()).keys()]


@pytest.mark.parametrize(
    ("name", "num_bins"), [quick_if(i % 2 == bool(n), name, n) for i, name in enumerate(WHOLE_PASSES) for n in (0, 6)]
)
def test_the_cost_of_a_pass_is_that_of_all_its_rows_and_starts(name, num_bins, make_config):
    def operations(n_rows, **settings):
        own = MODELS[name].Config(n_rows=n_rows, **settings)
        config = make_config(parameter_budget=60, num_bins=num_bins, **{name.lower(): own})
        target = make_target(config)
        feed = Feed(lambda key, n: target.codec.encode(target.sample(key, n)), None, BATCH_SIZE)
        return preparation.step_cost(MODELS[name].build(config, target), feed).operations_per_step

    # More rows than a block of any size takes. With bins they are counted first, and cells are what costs.
    few, many = operations(8192), operations(65536)
    assert many > few if num_bins else many == pytest.approx(8 * few, rel=0.05)
    if hasattr(MODELS[name].Config(), "n_init"):
        # One start more costs as much each time. (The only one shares work with the best one, whose loss is asked.)
        two, four, six = (operations(8192, n_init=n) for n in (2, 4, 6))
        assert six - four == pytest.approx(four - two, rel=0.01)
        assert four - two > 0.5 * two


def test_max_steps_zero_trains_nothing():
    (state,) = run_model(toy(8, max_steps=0)).states
    assert state.params[0] == 0
    assert np.all(state.batches == -1)


def test_info_is_the_mean_over_the_interval():
    run = run_model(toy(12), n_steps=12, n_evaluations=3, n_seeds=2)
    assert [e.step for e in run.evaluations] == [0, 4, 8, 12]
    assert run.evaluations[0].info is None
    for k, evaluation in enumerate(run.evaluations[1:]):
        numbers = np.arange(4 * k + 1, 4 * k + 5)
        assert list(evaluation.info) == ["loss", "other"]
        np.testing.assert_array_equal(evaluation.info["loss"], np.full(2, np.mean(numbers**2)))
        np.testing.assert_array_equal(evaluation.info["other"], np.full(2, np.mean(numbers)))


@pytest.mark.parametrize("block_bytes", [2**17, 1, 100])
def test_info_is_the_mean_over_intervals_of_any_length(block_bytes, monkeypatch):
    monkeypatch.setattr(intervals, "BLOCK_BYTES", block_bytes)
    model = toy(12, last_fields=("other",))
    run = train(prepare(model, FEED, SCORER, Schedule((1, 2, 4, 7, 12), 2, SEED)))
    assert [e.step for e in run.evaluations] == [0, 1, 2, 4, 7, 12]
    for before, evaluation in itertools.pairwise(run.evaluations):
        mean = np.float32(np.mean(np.arange(before.step + 1, evaluation.step + 1) ** 2))
        np.testing.assert_allclose(evaluation.info["loss"], np.full(2, mean), rtol=2e-7)
        np.testing.assert_array_equal(evaluation.info["other"], np.full(2, evaluation.step))
        np.testing.assert_array_equal(evaluation.metrics["mean"], np.full(2, evaluation.step))


def test_snapshots_are_kept_where_asked_and_at_the_end():
    seen = []
    run = run_model(toy(8), n_evaluations=4, n_seeds=3, snapshot_steps=frozenset({4}), on_evaluation=seen.append)
    assert [e.step for e in run.evaluations if e.kept is not None] == [4, 8]
    for evaluation in run.evaluations:
        if evaluation.kept is not None:
            np.testing.assert_array_equal(evaluation.kept, np.full((3, 4, 1), evaluation.step))
        assert evaluation.metrics["mean"].dtype == np.float64
        np.testing.assert_array_equal(evaluation.metrics["mean"], np.full(3, evaluation.step))
    assert seen == run.evaluations


def test_a_snapshot_is_what_pictures_need_of_a_sample():
    scorer = SCORER._replace(keep=lambda x: np.array([x.sum(), len(x)]))
    run = run_model(toy(8), scorer=scorer, n_evaluations=4, n_seeds=2, snapshot_steps=frozenset({4, 8}))
    kept = {e.step: e.kept for e in run.evaluations if e.kept is not None}
    np.testing.assert_equal(kept, {4: [[16, 4]] * 2, 8: [[32, 4]] * 2})
    # The end is scored once more, of all its rows.
    assert [e.step for e in run.evaluations if e.samples is not None] == [8]
    assert run.evaluations[-1].samples.shape == (2, 4, 1)
    # Of what is no number nothing is kept, in the form of what would be.
    np.testing.assert_array_equal(scorer.kept(np.full((4, 1), np.nan, np.float32)), [np.nan, np.nan])


def quick(key, state, n):
    return jnp.broadcast_to(state.params[None, :1] + 100, (n, 1))


@pytest.mark.parametrize(
    ("fields", "soft", "expected"),
    [
        ({}, False, [0, 4, 8]),
        ({"sample_quick": quick}, False, [100, 104, 8]),
        ({}, True, [1000, 1004, 1008]),
        ({"sample_quick": quick}, True, [1000, 1004, 1008]),
    ],
)
def test_which_sample_is_scored(fields, soft, expected):
    run = run_model(toy(8, **fields), scorer=SCORER._replace(soft=soft))
    assert [e.metrics["mean"][0] for e in run.evaluations] == expected


EXACT = SCORER._replace(exact_metrics=("twice", "name"), exact=lambda model, state: {"twice": 2.0 * state.params[0]})


def test_what_is_known_without_a_sample_is_scored_beside_what_needs_one():
    run = run_model(toy(8), scorer=EXACT, n_evaluations=4, n_seeds=3)
    for evaluation in run.evaluations:
        assert list(evaluation.metrics) == ["mean", "twice", "name"]
        np.testing.assert_array_equal(evaluation.metrics["twice"], np.full(3, 2.0 * evaluation.step))
        # What `exact` leaves out is unknown.
        assert np.isnan(evaluation.metrics["name"]).all()
        assert {values.dtype for values in evaluation.metrics.values()} == {np.dtype(np.float64)}


def test_a_seed_is_scored_by_its_own_state_on_the_host_and_without_its_optimiser():
    seen = []

    def exact(model, state):
        assert {type(leaf) for leaf in jax.tree.leaves(state)} == {np.ndarray}
        seen.append(state)
        return {}

    run = run_model(toy(8), scorer=EXACT._replace(exact=exact), n_evaluations=1, n_seeds=3)
    for last, state in zip(seen[3:], run.states, strict=True):
        assert_same_bits(last, state)
    assert len({state.noises.tobytes() for state in seen[3:]}) == 3


@pytest.mark.parametrize(
    ("n_exact", "n_evaluations", "expected"),
    [(None, 4, [0, 2, 4, 6, 8]), (2, 4, [0, 4, 8]), (3, 4, [0, 2, 4, 8]), (1, 4, [0, 8]), (9, 2, [0, 4, 8])],
)
def test_exact_scores_that_cost_much_are_known_at_a_few_steps(n_exact, n_evaluations, expected):
    run = run_model(toy(8), scorer=EXACT._replace(n_exact=n_exact), n_evaluations=n_evaluations)
    known = [e.step for e in run.evaluations if np.isfinite(e.metrics["twice"]).all()]
    assert known == expected
    assert all(np.isfinite(e.metrics["mean"]).all() for e in run.evaluations)


def full_rule(state, x):
    return jnp.zeros(len(x))


def cheap_rule(state, x):
    return jnp.ones(len(x))


def test_the_last_exact_score_is_by_the_models_own_rule_and_those_before_by_a_cheaper_one():
    model = toy(8, log_prob=full_rule, quick={"log_prob": cheap_rule})
    scorer = EXACT._replace(exact=lambda model, state: {"twice": float(model.log_prob is full_rule)})
    run = run_model(model, scorer=scorer, n_evaluations=4)
    assert [e.metrics["twice"][0] for e in run.evaluations] == [0, 0, 0, 0, 1]


def test_an_early_end_has_its_exact_score_by_the_models_own_rule():
    model = toy(8, log_prob=full_rule, quick={"log_prob": cheap_rule})
    scorer = EXACT._replace(n_exact=1, exact=lambda model, state: {"twice": float(model.log_prob is full_rule)})
    program = prepare(model, FEED, scorer, Schedule.evenly(n_steps=8, n_evaluations=4, n_seeds=2, seed=SEED))
    run = train(program, pause=lambda run, leaves: run.evaluations[-1].step == 4)
    assert [e.step for e in run.evaluations] == [0, 2, 4]
    np.testing.assert_array_equal([e.metrics["twice"] for e in run.evaluations], [[0, 0], [np.nan] * 2, [1, 1]])


def test_a_diverged_seed_has_no_exact_score():
    model = toy(8, faults={1: Fault(weight=3)})
    run = run_model(model, scorer=EXACT, n_evaluations=4, n_seeds=2)
    found = np.stack([e.metrics["twice"] for e in run.evaluations])
    np.testing.assert_array_equal(found[:, 0], 2.0 * np.arange(0, 9, 2))
    np.testing.assert_array_equal(found[:, 1], [0, 4, np.nan, np.nan, np.nan])


def test_evaluation_has_a_key_of_its_own_each_time():
    def sample(key, state, n):
        return jax.random.uniform(key, (n, 1))

    run = run_model(toy(8)._replace(sample=sample), n_seeds=2, snapshot_steps=frozenset({0, 4}))
    for evaluation in run.evaluations:
        for index in range(2):
            key = jax.random.fold_in(prng.unrolled(keys_of(index).key_eval), evaluation.step)
            assert_same_bits(evaluation.kept[index], jax.random.uniform(key, (4, 1)))


# Of three intervals of four steps: the first step of all, the ends of an interval, its middle, and the last step.
FAULTS = {
    1: Fault(loss=1),
    2: Fault(loss=4),
    3: Fault(weight=5),
    4: Fault(infinite=7),
    5: Fault(weight=12),
    # The first one counts.
    6: Fault(loss=10, infinite=9),
}


def plain_loop(model: Model) -> Callable[[int, int], ToyState]:
    """A function of a seed and of a number of steps: what so many steps of a Python loop make of it."""

    @jax.jit
    def step(state, keys, i):
        if model.batches_per_step is None:
            batch = FEED.draw(records.data_key(keys), N_DATA_ROWS)
        else:
            batch = jnp.stack([FEED.draw(minibatch_key(keys, i, j), BATCH_SIZE) for j in range(model.batches_per_step)])
            batch = batch[0] if model.batches_per_step == 1 else batch
        return model.step(state, batch, model.noise(noise_key(keys, i)))[0]

    @jax.jit
    def init(keys):
        return model.init(keys.key_init, FEED.draw(records.data_key(keys), N_DATA_ROWS))

    def run(seed_index, n_steps):
        keys = keys_of(seed_index)
        state = init(keys)
        for i in range(n_steps):
            state = step(state, keys, i)
        return jax.device_get(state)

    return run


@pytest.mark.parametrize(
    ("n_evaluations", "block_bytes", "fields", "batched"),
    [
        (3, 2**17, {}, False),
        (3, 1, {}, False),
        (1, 100, {}, False),
        (12, 2**17, {}, False),
        (3, 2**17, {"max_steps": 13}, False),
        (3, 2**17, {"batches_per_step": None}, False),
        (3, 2**17, {"batches_per_step": 3}, False),
        # As on an accelerator.
        (3, 2**17, {}, True),
    ],
    ids=str,
)
def test_a_seed_stops_at_the_step_at_which_it_diverges(n_evaluations, block_bytes, fields, batched, monkeypatch):
    monkeypatch.setattr(intervals, "BLOCK_BYTES", block_bytes)
    if batched:
        monkeypatch.setattr(jax.lax, "map", lambda function, mapped: jax.vmap(function)(mapped))
    batches = {None: (N_DATA_ROWS, 1), 3: (3, BATCH_SIZE, 1)}.get(fields.get("batches_per_step", 1), (BATCH_SIZE, 1))
    settings = {"n_steps": 12, "n_evaluations": n_evaluations, "n_seeds": 8}
    model = toy(12, batches, faults=FAULTS, **fields)
    run = run_model(model, **settings, snapshot_steps=frozenset({4, 8}))
    found = [None, 1, 4, 5, 7, 12, 9, None]
    assert run.diverged_at_step == found
    assert run.seed_steps == 38 + 24
    loop = plain_loop(model)
    for index, bad_step in enumerate(found):
        assert_same_bits(run.states[index], loop(index, bad_step or 12))
    interval = 12 // n_evaluations
    for evaluation in run.evaluations:
        lost = np.array([at is not None and at <= evaluation.step for at in found])
        np.testing.assert_array_equal(evaluation.metrics["mean"], np.where(lost, np.nan, evaluation.step))
        for name, values in (evaluation.info or {}).items():
            assert values.dtype == np.float32
            numbers = np.arange(evaluation.step - interval + 1, evaluation.step + 1)
            mean = np.float32(np.mean(numbers if name == "other" else numbers**2))
            np.testing.assert_allclose(values, np.where(lost, np.nan, mean), rtol=2e-7)
        if evaluation.kept is not None:
            expected = np.broadcast_to(np.where(lost, np.nan, evaluation.step)[:, None, None], (8, 4, 1))
            np.testing.assert_array_equal(evaluation.kept, expected)


def test_no_bit_of_a_seed_depends_on_what_others_are_lost_to():
    settings = {"n_steps": 12, "n_evaluations": 3, "n_seeds": 8, "snapshot_steps": frozenset({4})}
    some, none = run_model(toy(12, faults=FAULTS), **settings), run_model(toy(12), **settings)
    for index in (0, 7):
        assert_same_bits(some.states[index]._replace(fault=0), none.states[index]._replace(fault=0))
        for one, other in zip(some.evaluations, none.evaluations, strict=True):
            for what in ("metrics", "info"):
                for name, values in (getattr(one, what) or {}).items():
                    assert_same_bits(values[index], getattr(other, what)[name][index])
            if one.kept is not None:
                assert_same_bits(one.kept[index], other.kept[index])


def test_a_lost_seed_takes_no_step_when_training_goes_on():
    """As it is taken up again: all that is known is the state and who was lost."""
    model = toy(8, faults={1: Fault(loss=2)})
    program = prepare(model, FEED, SCORER, Schedule.evenly(n_steps=8, n_evaluations=2, n_seeds=4, seed=SEED))

    def advance(states, first_step, lost):
        args = program.keys, program.rows, np.int32(first_step), np.int32(first_step + 4), lost
        states, _, bad_step = program.advance(states, *args)
        return jax.device_get(states), np.asarray(bad_step)

    states, bad_step = advance(program.init(program.keys, program.rows), 0, np.zeros(4, bool))
    assert (bad_step <= 8).tolist() == [False, True, False, False]
    assert bad_step[1] == 2
    # The weights of seed 1 are sound and its loss would be again; seed 2 was lost to something else.
    lost = np.array([False, True, True, False])
    later, bad_step = advance(jax.device_put(states, program.keys.key_init.sharding), 4, lost)
    assert (bad_step <= 8).tolist() == [False, True, True, False]
    loop = plain_loop(model)
    for index, n_steps in enumerate((8, 2, 4, 8)):
        assert_same_bits(jax.tree.map(lambda leaf, index=index: leaf[index], later), loop(index, n_steps))


def test_nothing_is_drawn_where_all_seeds_are_lost():
    drawn = []

    class Watched:
        def __init__(self, evaluate):
            self.evaluate, self.out_info = evaluate, evaluate.out_info

        def __call__(self, states, keys, step):
            drawn.append(int(step))
            return self.evaluate(states, keys, step)

    model = toy(8, faults=dict.fromkeys(range(2), Fault(weight=2)))
    program = prepare(model, FEED, SCORER, Schedule.evenly(n_steps=8, n_evaluations=2, n_seeds=2, seed=SEED))
    program = program._replace(evaluate=Watched(program.evaluate), evaluate_last=Watched(program.evaluate_last))
    run = train(program, snapshot_steps=frozenset({4}))
    assert run.diverged_at_step == [2, 2]
    assert run.seed_steps == 4
    assert drawn == [0]
    assert run.sample_seconds == 0
    for evaluation in run.evaluations[1:]:
        assert evaluation.kept.shape == (2, 4, 1)
        assert evaluation.kept.dtype == np.float32
        assert np.isnan(evaluation.kept).all()
        assert np.isnan(evaluation.metrics["mean"]).all()


def test_an_average_that_is_not_finite_stops_a_seed():
    model = averaged(toy(8, faults={1: Fault(infinite=3)}), 0.5)
    run = run_model(model, n_seeds=2)
    assert run.diverged_at_step == [None, 3]
    assert run.states[1].n_updates == 3


def test_samples_that_are_not_finite_are_found():
    def sample(key, state, n):
        return jnp.broadcast_to(jnp.where(state.params[:1] > 3, jnp.inf, state.params[:1])[None], (n, 1))

    run = run_model(toy(8)._replace(sample=sample), snapshot_steps=frozenset({4}))
    assert run.diverged_at_step == [4]
    # The interval before was sound; after it nothing is done with a seed of which nothing can be drawn.
    assert run.states[0].params[0] == 4
    assert [np.isnan(e.info["loss"][0]) for e in run.evaluations[1:]] == [False, True]
    assert all(np.isnan(e.kept).all() for e in run.evaluations[1:])


def test_block_length_is_the_largest_power_of_two_that_fits(monkeypatch):
    monkeypatch.setattr(intervals, "BLOCK_BYTES", 1000)
    expected = {0: 32, 1: 32, 30: 32, 62: 16, 99: 8, 100: 8, 334: 2, 1000: 1, 1001: 1}
    assert {bytes_per_step: block_length(bytes_per_step) for bytes_per_step in expected} == expected


def test_times_are_recorded():
    run = run_model(toy(8))
    assert run.train_seconds > 0
    assert run.compile_seconds > 0
    assert run.model.name == "TOY"

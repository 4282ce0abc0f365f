"""What is computed when training is over: memorisation, costs and the sensitivity grid, against what is known."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import metrics
from benchmark.engine.preparation import step_cost
from benchmark.engine.records import Feed
from benchmark.scoring import assessment
from benchmark.scoring.assessment import memorisation, memoriser
from kinds.contract import Floor, Scored
from kinds.real.cells import Cells, score_cells
from kinds.real.closing import N_HOST_DRAWS, make_closing
from kinds.real.judging import N_FLOOR_DRAWS, make_judge
from kinds.real.sensitivity import sensitivity
from kinds.registry import KINDS
from models import MODELS
from models.base import Model
from targets import make_target


def entry(name, samples, diverged=None):
    lost = [None] * len(samples) if diverged is None else diverged
    return assessment.Assessment(name, 1, samples.shape[1], samples, None, {}, {}, lost)


@pytest.mark.parametrize(
    "fields", [dict(target_type="1D_TRIMODAL", num_bins=12), dict(target_type="2D_GMM", num_bins=0)], ids=str
)
def test_who_repeats_the_training_rows_is_exposed(fields, make_config):
    target = make_target(make_config(n_samples_train=40, **fields))
    rows = np.asarray(target.as_compared(jnp.asarray(target.train_rows)))
    repeated = rows[np.random.default_rng(0).integers(len(rows), size=2_000)]
    caught = memorisation(repeated, target)
    fresh = memorisation(np.asarray(target.as_compared(target.sample(jax.random.key(8), 2_000))), target)
    # Forty rows are far from their law, and repeating them is not: what is left is the draw of 2 000 from them.
    assert caught["train"] < 0.3 * caught["held_out"]
    assert fresh["train"] > 0.5 * fresh["held_out"]
    assert memoriser(target)["train"] == pytest.approx(0, abs=1e-6)
    assert memoriser(target)["held_out"] == pytest.approx(caught["held_out"], rel=0.3)


def test_the_memoriser_of_a_table_repeats_all_of_its_training_rows(make_config, tmp_path):
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=200))
    target = make_target(make_config(target_type="CUSTOM", num_bins=0, custom_file=str(tmp_path / "rows.npy")))
    repeated = target.train_rows[np.random.default_rng(1).integers(140, size=50_000)]
    expected, found = memorisation(repeated, target), memoriser(target)
    for part in ("train", "held_out"):
        # 50 000 draws with replacement are off by a standard error of about 1/√50 000.
        assert found[part] == pytest.approx(expected[part], abs=0.02)


def test_nothing_is_held_out_where_data_are_drawn_afresh(make_config):
    target = make_target(make_config())
    assert memorisation(np.zeros((5, 1)), target) is None
    assert memoriser(target) is None


def test_parts_of_unequal_size_are_compared_at_the_smaller(make_config, tmp_path):
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=100))
    target = make_target(make_config(target_type="CUSTOM", num_bins=0, custom_file=str(tmp_path / "rows.npy")))
    assert {part: len(rows) for part, rows in assessment._equal_parts(target).items()} == {"train": 30, "held_out": 30}


def test_operations_of_one_step_are_the_compilers_count():
    """One dense layer: its product takes 2 · batch · inputs · outputs operations, whatever the number of steps."""
    batch, n = 32, 24

    def model(n_batches):
        def step(state, rows, noise):
            return state, (jnp.sum(rows.reshape(-1, n) @ jnp.ones((n, n))),)

        fields = dict.fromkeys(Model._fields[:8])
        return Model(**fields | dict(init=lambda key, data: (), noise=lambda key: ()))._replace(
            step=step, batches_per_step=n_batches
        )

    feed = Feed(lambda key, m: jnp.ones((m, n)), None, batch)
    for n_batches, rows in ((1, batch), (3, 3 * batch)):
        cost = step_cost(model(n_batches), feed)
        assert cost.rows_per_step == rows
        # The product, and one addition an entry of the sum.
        assert cost.operations_per_step == pytest.approx(2 * rows * n * n + rows * n, rel=0.01)
        assert cost.memory_bytes is None
    # What is not trained has seen its rows at once.
    still = model(1)._replace(max_steps=0, n_data_rows=55)
    assert step_cost(still, feed)[:2] == (0.0, 55)
    assert step_cost(still, feed._replace(rows=jnp.ones((77, n))))[:2] == (0.0, 77)
    whole = step_cost(model(None), feed._replace(rows=jnp.ones((77, n))))
    assert whole.rows_per_step == 77


def test_operations_of_a_vae_are_those_of_its_products(make_config):
    config = make_config(target_type="2D_GMM", num_bins=0, hidden_layers=2, parameter_budget=20_000, batch_size=256)
    target = make_target(config)
    model = MODELS["VAE"].build(config, target)
    cost = step_cost(model, Feed(target.sample, None, config.batch_size))
    # Forwards once and backwards twice, two operations a weight and row; the first layer has no gradient of its input,
    # and activations and Adam come on top.
    assert 0.95 < cost.operations_per_step / (6 * model.n_params * config.batch_size) < 1.3


@pytest.mark.parametrize(
    "fields",
    [
        dict(target_type="1D_BETA", num_bins=12),
        dict(target_type="1D_POISSON", num_bins=0),
        dict(target_type="1D_BETA", num_bins=0, kld_cells=30),
        dict(target_type="2D_GMM", num_bins=0),
    ],
    ids=str,
)
def test_the_grid_holds_the_runs_own_score_and_floor(fields, make_config):
    config = make_config(n_eval_samples=200, kld_epsilon=1e-8, **fields)
    target = make_target(config)
    judge = make_judge(target, config)
    x = np.asarray(target.as_compared(target.sample(jax.random.key(5), 200)))
    grid = sensitivity([Scored("A", np.stack([x, x]), [False, True])], config, target, judge)
    at = grid.cells.index(grid.chosen[0]), grid.epsilons.index(1e-8)
    assert grid.entries["A"][0][at] == judge.scorer.score(x)["kld"]
    assert np.isnan(grid.entries["A"][1]).all()
    assert grid.floor[(0, *at)] == pytest.approx(judge.floors["kld"].median, rel=1e-12)
    assert grid.floor[(1, *at)] == pytest.approx(judge.floors["kld"].low, rel=1e-12)
    assert grid.floor.shape == (3, len(grid.cells), len(grid.epsilons))
    assert grid.label.endswith("merged into") == (fields["target_type"] == "1D_POISSON" or fields["num_bins"] > 0)


def test_merged_cells_are_sums_of_neighbours(make_config):
    config = make_config(target_type="1D_BETA", num_bins=12, n_eval_samples=200)
    target = make_target(config)
    judge = make_judge(target, config)
    x = np.asarray(target.as_compared(target.sample(jax.random.key(5), 200)))
    grid = sensitivity([Scored("A", x[None], [False])], config, target, judge)
    assert grid.cells == [3, 6, 12]
    index = score_cells(target.truth, 0).index(x)
    counts = np.bincount(index, minlength=12).reshape(3, 4).sum(1)
    expected = metrics.kld(judge.masses.reshape(3, 4).sum(1), counts, 1e-3)
    assert grid.entries["A"][0, 0, grid.epsilons.index(1e-3)] == pytest.approx(expected, rel=1e-12)


def test_other_cells_are_cells_of_the_box(make_config):
    config = make_config(target_type="2D_GMM", num_bins=0, n_eval_samples=200)
    target = make_target(config)
    judge = make_judge(target, config)
    x = np.asarray(target.sample(jax.random.key(5), 200))
    grid = sensitivity([Scored("A", x[None], [False])], config, target, judge)
    cells = Cells(target.truth.box, 10, closed=False)
    expected = metrics.kld(target.truth.cell_masses(cells), metrics.cell_counts(cells.index(x), cells.n_cells), 1e-6)
    assert grid.entries["A"][0, grid.cells.index(10), grid.epsilons.index(1e-6)] == pytest.approx(expected, rel=1e-12)


def test_closing_floors_are_those_of_the_target_itself(make_config):
    config = make_config(target_type="2D_MIX_GAUSS", num_bins=0, n_eval_samples=150)
    target = make_target(config)
    judge = make_judge(target, config)
    closing = make_closing(target, config, judge)
    assert list(closing.floors) == [
        "wasserstein_exact",
        "mmd2",
        "classifier_accuracy",
        "modes_covered",
        "high_quality",
    ]
    # Twenty-five fresh samples against the mean of twenty: the error of the difference, five times.
    fresh = [closing.score(np.asarray(target.sample(jax.random.key(100 + i), 150))) for i in range(25)]
    for name in ("wasserstein_exact", "mmd2", "high_quality"):
        values = np.array([scores[name] for scores in fresh])
        error = values.std(ddof=1) * np.sqrt(1 / 25 + 1 / N_HOST_DRAWS)
        assert abs(values.mean() - closing.floors[name].mean) < 5 * error
    assert tuple(closing.floors["modes_covered"]) == (4.0, 4.0, 4.0)
    assert set(closing.seconds) == {"wasserstein_exact", "mmd2", "classifier_accuracy", "modes"}
    assert N_FLOOR_DRAWS == 200


def test_a_binned_gans_probabilities_are_those_of_its_samples(make_config):
    config = make_config(num_bins=8, parameter_budget=200)
    config = dataclasses.replace(config, gan=dataclasses.replace(config.gan, average=0.0))
    target = make_target(config)
    model = MODELS["GAN"].build(config, target)
    state = model.init(jax.random.key(1), None)
    # Sharper than at the start, so that the bins differ.
    state = state._replace(params=jax.tree.map(lambda leaf: 3 * leaf, state.params))
    p = np.exp(np.asarray(model.log_prob(state, jnp.eye(8)), np.float64))
    assert p.sum() == pytest.approx(1, abs=1e-5)
    n = 40_000
    shares = np.asarray(model.sample(jax.random.key(2), state, n)).mean(0)
    # Five standard errors of a share of n draws; the estimate's own are of 2¹⁸.
    assert np.all(np.abs(shares - p) < 5 * np.sqrt(p * (1 - p) * (1 / n + 1 / 2**18)))
    assert p.max() > 2 * p.min()
    assert model.log_prob_kind == "estimate"
    logits = nn.log_softmax(jnp.zeros(8))
    flat = jax.tree.map(jnp.zeros_like, state.params)
    np.testing.assert_allclose(model.log_prob(state._replace(params=flat), jnp.eye(8)), logits, atol=1e-5)


def scored(name, kld, rival=False, high=0.3):
    floor = Floor(0.2, 0.1, high, 0.2)
    return entry(name, np.zeros((len(kld), 5, 1)))._replace(scores={"kld": kld}, floors={"kld": floor}, rival=rival)


def test_who_loses_to_a_trivial_rival_is_named():
    entries = [
        scored("HISTOGRAM", [0.35, 0.4, 0.5], rival=True),
        scored("KDE", [0.5, 0.6, np.nan], rival=True),
        scored("BETTER", [0.39, 0.1, 9.0]),
        # As high as a seed of the rival itself.
        scored("ALIKE", [0.41, 0.1, 9.0]),
        scored("WORSE", [0.51, 0.1, 9.0]),
        scored("WORST", [0.7, np.nan, np.nan]),
        # Of another size, hence over another floor; and without a score of this kind.
        scored("FEW ROWS", [9.0], high=0.7),
        scored("EXACT", [0.0])._replace(scores={}, floors={}),
    ]
    floor = entries[0].floors["kld"]
    losses_to_rivals = functools.partial(assessment.losses_to_rivals, kind=KINDS["real"], floor=floor, exactly=False)
    assert losses_to_rivals(entries) == {
        "WORSE": "▼ loses to HISTOGRAM by KLD",
        "WORST": "▼ loses to HISTOGRAM and KDE by KLD",
    }
    # What a perfect model could have scored as well is no loss, by however much the rival is better.
    lucky = [entries[0]._replace(scores={"kld": [0.1]}), scored("WITHIN", [0.3]), scored("ABOVE", [0.31])]
    assert [*losses_to_rivals(lucky)] == ["ABOVE"]
    assert losses_to_rivals(entries[2:]) == {}


def test_two_that_are_known_exactly_are_compared_by_that():
    def known(name, kld, exact, **fields):
        return scored(name, [kld], **fields)._replace(scores={"kld": [kld], "kl_exact": [exact]})

    rivals = [known("HISTOGRAM", 0.35, 0.02, rival=True), scored("KDE", [0.4], rival=True)]
    rivals += [known(name, 0.9, exact, rival=True) for name, exact in (("UNIFORM", 0.5), ("PRODUCT", 0.6))]
    entries = [
        *rivals,
        # Within the floor's range, and yet worse.
        known("WORSE", 0.2, 0.03),
        # By samples it would lose.
        known("LUCKLESS", 0.5, 0.01),
        known("WORST", 0.45, 0.7),
        scored("WITHOUT", [0.45]),
        # Probabilities from elsewhere have no sample.
        scored("MASSES", [0.0])._replace(scores={"kl_exact": [0.1]}, floors={}),
    ]
    floor = rivals[0].floors["kld"]
    assert assessment.losses_to_rivals(entries, KINDS["bins"], floor, True) == {
        "WORSE": "▼ loses to HISTOGRAM by exact KL",
        "LUCKLESS": "▼ loses to KDE by KLD",
        "WORST": "▼ loses to HISTOGRAM and 2 more by exact KL and to KDE by KLD",
        "WITHOUT": "▼ loses to HISTOGRAM and KDE by KLD",
        "MASSES": "▼ loses to HISTOGRAM by exact KL",
    }

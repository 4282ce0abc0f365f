"""The range of a table and of an edited mixture: what lies at its ends, whole numbers, far rows, float32's reach."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metrics
from core.errors import UserError
from kinds.real.cells import score_cells
from kinds.real.panels import LinePanels
from kinds.real.scene import scene_of
from kinds.real.sensitivity import sensitivity
from kinds.registry import kind_of
from targets import make_target


@pytest.fixture
def table(tmp_path, make_config):
    """Makes the target of a column of numbers, and its configuration."""

    def make(column, **fields):
        path = tmp_path / "table.npy"
        np.save(path, column)
        config = make_config(target_type="CUSTOM", custom_file=str(path), **({"num_bins": 0} | fields))
        return make_target(config), config

    return make


WHOLE = np.random.default_rng(0).integers(0, 64, 4000)


def test_whole_numbers_have_cells_of_their_own(table):
    target, config = table(WHOLE, num_bins=64, n_eval_samples=200)
    np.testing.assert_array_equal(target.truth.box, [[-0.5, 63.5]])
    # Nothing is moved: every number is the centre of its bin.
    assert kind_of(target).judge(target, config).discretisation_error == 0
    continuous, _ = table(WHOLE)
    cells = score_cells(continuous.truth, 0)
    assert cells.n_per_axis == 64
    np.testing.assert_array_equal(cells.centres[0], np.arange(64))
    assert any("whole numbers from 0 to 63" in note for note in continuous.notes)
    # No cell of it is called a bin.
    judge = kind_of(continuous).judge(continuous, config)
    scene = kind_of(continuous).scene(continuous, judge, config)
    assert LinePanels(scene, [{}], {}).what == "probability per number"
    assert sensitivity([], config, continuous, judge).label == "cells that the numbers are merged into"
    binned = kind_of(target).scene(target, kind_of(target).judge(target, config), config)
    assert LinePanels(binned, [{}], {}).what == "probability per bin"


@pytest.mark.parametrize("column", [WHOLE * 1000, WHOLE + 0.5, WHOLE / 2], ids=["wide", "between", "halves"])
def test_other_numbers_have_none(table, column):
    target, _ = table(column)
    assert score_cells(target.truth, 0).n_per_axis == 50
    assert target.truth.fixed is None
    assert not any("whole numbers" in note for note in target.notes)


@pytest.mark.parametrize("n_cells", [0, 2, 17, 200])
def test_an_atom_at_an_end_lies_within_the_range(table, n_cells):
    generator = np.random.default_rng(1)
    column = np.where(generator.random(2000) < 0.7, 0.0, generator.gamma(2.0, size=2000))
    target, config = table(column, kld_cells=n_cells)
    cells = score_cells(target.truth, config.kld_cells)
    # A model that is as good as can be draws around it, on both sides.
    near = np.float32(target.train_rows) + np.float32(0.2 * (cells.edges[0][1] - cells.edges[0][0]))
    for rows in (near, 2 * np.float32(target.train_rows) - near):
        assert cells.index(rows).max() < cells.n_per_axis


@pytest.mark.parametrize(
    ("column", "warns"),
    [
        (np.random.default_rng(2).standard_cauchy(1000), True),
        (np.append(np.random.default_rng(3).normal(size=998), [1e6, 2e6]), True),
        (np.random.default_rng(4).normal(size=1000), False),
        (np.random.default_rng(5).gamma(2.0, size=1000) * (np.arange(1000) % 10 > 6), False),
    ],
    ids=["cauchy", "far rows", "normal", "zeros and gamma"],
)
def test_far_rows_that_decide_the_range_are_named(table, column, warns):
    target, _ = table(column)
    assert any("a few far rows decide the range" in note for note in target.notes) == warns


def test_probabilities_are_scored_against_held_out_rows(table):
    target, config = table(WHOLE, num_bins=64, n_eval_samples=200)
    kind = kind_of(target)
    judge = kind.judge(target, config)
    q = np.full(64, 1 / 64)
    scores = kind.of_masses(q, target, judge)
    p = np.bincount(target.held_out_rows[:, 0].astype(int), minlength=64) / len(target.held_out_rows)
    assert scores["kld"] == pytest.approx(float(metrics.kld(p, q, config.kld_epsilon)), rel=1e-9)
    assert scores["wasserstein"] == pytest.approx(np.abs(np.cumsum(p - q)).sum(), rel=1e-9)
    assert scores["kl_exact"] is None


def test_what_is_compared_takes_no_row_of_bins_for_every_row(make_config):
    target = make_target(make_config(target_type="1D_TRIMODAL", num_bins=4096))
    x = target.sample(jax.random.key(0), 500)
    # Of 65 536 bins and 5 000 rows the one-hot rows would be 1.3 GB wherever this is not compiled.
    deaf = target._replace(codec=target.codec._replace(encode=None, decode=None))
    np.testing.assert_array_equal(deaf.as_compared(x), target.codec.decode(target.codec.encode(x)))
    # Nor are there as many numbers a row in the search for its cell.
    compiled = jax.jit(deaf.as_compared).lower(x).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 500 * 4096 * 4 / 8


def test_a_scene_makes_no_events_of_its_points(make_config):
    config = make_config(target_type="1D_TRIMODAL", num_bins=4096)
    target = make_target(config)
    masses = target.truth.cell_masses(score_cells(target.truth, 0))
    # Of as many bins as points they would be a square of 67 MB, and of 65 536 bins one of 17 GB.
    deaf = target._replace(codec=target.codec._replace(encode=None), grid=None)
    scene = scene_of(deaf, SimpleNamespace(masses=masses), config)
    np.testing.assert_allclose(scene.axes[0], target.truth.axes(100)[0], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.exp(-scene.energy), masses)


def mixture(make_config, mean, deviation):
    covariance = ((deviation**2, 0.0), (0.0, deviation**2))
    return make_config(
        target_type="2D_GMM", num_bins=0, mixture_weights=(0.5, 0.5), mixture_means=((0.0, 0.0), (mean, mean)),
        mixture_covariances=(((1.0, 0.0), (0.0, 1.0)), covariance),
    )  # fmt: skip


def test_components_beyond_float32s_reach_are_refused(make_config):
    with pytest.raises(UserError, match=r"MIXTURE_MEANS\[1\] = .* is beyond float32's reach: .* of at least 1e\+03$"):
        make_target(mixture(make_config, 1e8, 1.0))
    # The nearest valid choice is one.
    target = make_target(mixture(make_config, 1e8, 1.001e3))
    rows = np.asarray(target.sample(jax.random.key(0), 1000))
    # Half of the rows lie 8 apart, the distance of float32's numbers there, and a thousand to either side.
    assert len(np.unique(rows[:, 0])) > 700
    assert jnp.isfinite(rows).all()

"""The histogram against counts made by hand, and its density against one."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from kinds.real.cells import Cells
from models import histogram
from targets import make_target


def build(make_config, target_type, num_bins=0, budget=30, pseudo_count=0.5):
    config = make_config(target_type=target_type, num_bins=num_bins, parameter_budget=budget)
    config = dataclasses.replace(config, histogram=histogram.Config(pseudo_count=pseudo_count))
    target = make_target(config)
    model = histogram.build(config, target)
    rows = jax.jit(target.sample, static_argnums=1)(jax.random.key(1), 3000)
    return model, target, jax.jit(model.init)(jax.random.key(0), target.codec.encode(rows)), np.asarray(rows)


def log_prob(model, state, x):
    with jax.enable_x64(True):
        state = jax.tree.map(lambda leaf: leaf.astype(np.float64), state)
        return np.asarray(model.log_prob(state, jnp.asarray(x, np.float64)))


@pytest.mark.parametrize(("target_type", "budget", "n_per_axis"), [("1D_TRIMODAL", 30, 30), ("2D_GMM", 30, 5)])
def test_probabilities_are_the_counts(make_config, target_type, budget, n_per_axis):
    model, target, state, rows = build(make_config, target_type, budget=budget, pseudo_count=0.25)
    cells = Cells(target.truth.box, n_per_axis, closed=False)
    counts = np.bincount(cells.index(rows), minlength=cells.n_cells).astype(float)
    n_inside = n_per_axis**target.dim
    assert model.n_params == model.width**target.dim == n_inside
    assert counts[n_inside:].sum() > 0
    # In 1-D what is below and above the box is one cell.
    counts = np.append(counts[:n_inside], counts[n_inside:].sum()) + 0.25
    masses = counts / counts.sum()
    centres = np.stack(np.meshgrid(*cells.centres, indexing="ij"), axis=-1).reshape(-1, target.dim)
    volume = np.prod(np.ptp(target.truth.box, axis=1) / n_per_axis)
    # Edges and parameters are float32.
    np.testing.assert_allclose(np.exp(log_prob(model, state, centres)) * volume, masses[:-1], rtol=1e-5)
    drawn = np.asarray(model.sample(jax.random.key(2), state, 20_000))
    found = np.bincount(np.minimum(cells.index(drawn), n_inside), minlength=n_inside + 1)
    # A true sampler fails this for one key in a thousand, and this is fixed.
    assert scipy.stats.chisquare(found, 20_000 * masses).pvalue > 1e-3


def test_density_integrates_to_one_with_what_is_outside(make_config):
    model, target, state, _ = build(make_config, "1D_TRIMODAL", budget=7)
    edges = np.linspace(*target.truth.box[0], 8)
    ends = (-40.0, *edges, 40.0)
    total = sum(
        scipy.integrate.quad(lambda x: np.exp(log_prob(model, state, [[x]])[0]), low, high, limit=200)[0]
        for low, high in itertools.pairwise(ends)
    )
    assert total == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("target_type", ["1D_TRIMODAL", "2D_GMM"])
def test_what_is_drawn_outside_has_the_density_that_is_said(make_config, target_type):
    """With all of the mass there, each coordinate against the Gaussian given that the row is outside."""
    model, target, state, _ = build(make_config, target_type, budget=4)
    state = state._replace(params=jnp.full_like(state.params, -80.0))
    x = np.asarray(model.sample(jax.random.key(4), state, 20_000), np.float64)
    half, middle = np.ptp(target.truth.box, axis=1) / 2, target.truth.box.mean(1)
    z = 2 * (x - middle) / half
    assert np.all(np.abs(z).max(1) > 2 - 1e-5)
    within = 1 - 2 * scipy.stats.norm.sf(2)
    share = within ** (target.dim - 1)

    def cdf(t):
        """P(z₁ ≤ t | outside): all of it less what is inside, where the other coordinates are, too."""
        inside = np.clip(scipy.stats.norm.cdf(np.clip(t, -2, 2)) - scipy.stats.norm.cdf(-2), 0, within) * share
        return (scipy.stats.norm.cdf(t) - inside) / (1 - within * share)

    for axis in range(target.dim):
        # As above: one key in a thousand.
        assert scipy.stats.kstest(z[:, axis], cdf).pvalue > 1e-3
    log_q = log_prob(model, state, x[:100])
    expected = scipy.stats.norm.logpdf(z[:100]).sum(1) - np.log(half / 2).sum() - np.log1p(-within * share)
    np.testing.assert_allclose(log_q, expected, atol=1e-5)


@pytest.mark.parametrize(("budget", "n_groups"), [(100, 12), (4, 5)])
def test_with_bins_neighbours_are_merged_evenly(make_config, budget, n_groups):
    model, target, state, rows = build(make_config, "1D_TRIMODAL", num_bins=12, budget=budget)
    assert model.n_params == n_groups - 1
    counts = np.bincount(Cells(target.truth.box, 12, closed=True).index(rows), minlength=12)
    group = np.arange(12) * n_groups // 12
    sizes = np.bincount(group)
    assert sizes.max() - sizes.min() <= 1
    masses = (np.bincount(group, counts) + 0.5) / (len(rows) + 0.5 * n_groups)
    expected = (masses / sizes)[group]
    np.testing.assert_allclose(np.exp(log_prob(model, state, np.eye(12))), expected, rtol=1e-6)
    found = np.asarray(model.sample(jax.random.key(2), state, 20_000)).sum(0)
    assert scipy.stats.chisquare(found, 20_000 * expected).pvalue > 1e-3
    mean = np.asarray(model.sample_mean(jax.random.key(3), state, 500))
    # The expected event of a cell: one of the groups, evenly.
    groups = (group == np.arange(n_groups)[:, None]) / sizes[:, None]
    assert np.all(np.min(np.abs(mean[:, None] - groups[None]).max(-1), axis=1) < 1e-6)


def test_it_is_a_rival_that_counts_many_rows_and_is_not_trained(make_config):
    model, *_ = build(make_config, "1D_POISSON", budget=3)
    assert model.rival
    assert model.max_steps == 0
    assert model.n_data_rows == 2**17

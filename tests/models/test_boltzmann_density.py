"""Exact draws of a Gaussian RBM, their envelope and their box, against the mixture of 2^H Gaussians that it is."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from conftest import quick_if
from test_rbm import exact_log_partition, gaussian_params, mixture, on_device, two_modes

from models import boltzmann, boltzmann_density
from models.boltzmann import free_energy
from models.visibles import GAUSSIAN

# A small one, one whose modes lie far apart, and one of few hidden units that reach 400 σ and more.
CASES = {
    "near": {"n_hidden": 5},
    "far": {"n_hidden": 6, "scale": 4.0},
    "wide reach": {"n_hidden": 10, "scale": 20.0},
}
every_dim = pytest.mark.parametrize("n_visible", [1, 2])
# `make test-all` takes all pairs.
every_case = pytest.mark.parametrize(
    ("case", "n_visible"),
    [quick_if((case, n) in (("near", 2), ("far", 1), ("wide reach", 2)), case, n) for case in CASES for n in (1, 2)],
)


def machine(case, n_visible):
    params = gaussian_params(n_visible, **CASES[case])
    # As in training, hidden units switch near the data: no state of theirs has all the mass.
    switches = np.random.default_rng(5).normal(size=(n_visible, len(params.hidden_bias)))
    inputs = params.weights / np.exp(2 * params.log_sigma)[:, None]
    return params._replace(hidden_bias=-np.sum(inputs * switches, axis=0))


def inside_exact(params, low, high):
    """The exact mass within the box [low, high]."""
    log_weights, centres = mixture(params)
    deviation = np.exp(params.log_sigma)
    each = scipy.special.ndtr((high - centres) / deviation) - scipy.special.ndtr((low - centres) / deviation)
    return scipy.special.softmax(log_weights) @ np.prod(each, axis=-1)


@every_case
def test_the_envelope_lies_above_the_density_and_bounds_z_from_both_sides(case, n_visible):
    params = machine(case, n_visible)
    generator = np.random.default_rng(0)
    with jax.enable_x64(True):
        on64 = on_device(params, jnp.float64)
        low, high = boltzmann_density.mass_box(on64)
        for n_per_axis in (3, 20, 100):
            cells = boltzmann_density.envelope(on64, low, high, n_per_axis)
            which = generator.integers(len(cells.log_mass), size=5000)
            step = np.asarray(cells.side)[:, None] * generator.uniform(-0.5, 0.5, (n_visible, 5000))
            # Corners, where it touches, are among them.
            step[:, :500] = np.sign(step[:, :500]) * np.asarray(cells.side)[:, None] / 2
            above = np.asarray(cells.height)[which] + np.sum(np.asarray(cells.slope)[:, which] * step, axis=0)
            log_density = -np.asarray(free_energy(GAUSSIAN, on64, cells.centres[:, which] + step))
            assert np.all(log_density <= above + 1e-9 * (1 + np.abs(above)))
            exact = exact_log_partition(params)
            assert float(cells.log_least) <= exact + 1e-9
            assert float(jax.nn.logsumexp(cells.log_mass)) >= exact - 1e-9
        # At a hundred cells an axis it is tight, and a draw costs little more than one proposal.
        assert float(jax.nn.logsumexp(cells.log_mass)) - exact < 0.5


@every_case
def test_the_box_holds_the_mass_and_little_else(case, n_visible):
    params = machine(case, n_visible)
    with jax.enable_x64(True):
        low, high = (np.asarray(end) for end in boltzmann_density.mass_box(on_device(params, jnp.float64)))
        narrow = boltzmann_density.mass_box(on_device(params, jnp.float64), 1e-3)
    # Rounding of a sum of up to 2^10 products is what is left.
    assert inside_exact(params, low, high) >= 1 - 1e-11
    assert 1 - 8e-3 <= inside_exact(params, *(np.asarray(end) for end in narrow)) < 1 - 1e-11
    log_weights, centres = mixture(params)
    some = centres[log_weights > log_weights.max() - 40]
    deviation = np.exp(params.log_sigma)
    reach = some.max(0) - some.min(0) + 24 * deviation
    assert np.all(high - low < 1.5 * reach)


def cells_of(params, n):
    """Edges [V, n + 1] of cells that hold most of the mass, and the exact mass of each and of what is outside."""
    with jax.enable_x64(True):
        low, high = (np.asarray(end) for end in boltzmann_density.mass_box(on_device(params, jnp.float64), 1e-3))
    edges = np.linspace(low, high, n + 1, axis=1)
    log_weights, centres = mixture(params)
    masses = scipy.special.softmax(log_weights)
    deviation = np.exp(params.log_sigma)
    sides = [
        np.diff(scipy.special.ndtr((edges[i][:, None] - centres[:, i]) / deviation[i]), axis=0)
        for i in range(len(edges))
    ]
    inside = np.einsum("k,ik->i", masses, sides[0]) if len(sides) == 1 else np.einsum("k,ik,jk->ij", masses, *sides)
    inside = inside.ravel()
    return edges, np.append(inside, 1 - inside.sum())


@every_case
def test_draws_have_the_exact_masses_of_cells(case, n_visible):
    n = 100_000
    params = machine(case, n_visible)
    edges, masses = cells_of(params, 60 if n_visible == 1 else 12)
    # A function of its own: JAX would take one that it has traced before, with another envelope.
    draw = jax.jit(lambda key, params: boltzmann_density.exact_rows(key, params, n))
    rows = np.asarray(draw(jax.random.key(3), on_device(params)), np.float64)
    counts, _ = np.histogramdd(rows, list(edges))
    counts = np.append(counts.ravel(), n - counts.sum())
    # Pearson's statistic needs some in every cell: the rest are one.
    some = masses * n > 10
    expected = np.append(masses[some], masses[~some].sum()) * n
    found = np.append(counts[some], counts[~some].sum())
    kept = expected > 10
    assert found[~kept].sum() < 10 + 60
    statistic = np.sum((found[kept] - expected[kept]) ** 2 / expected[kept])
    # A true sampler fails this for one key in a thousand; the key is fixed.
    assert scipy.stats.chi2.sf(statistic, kept.sum() - 1) > 1e-3
    # Independent draws: rows stand twice by float32's rounding alone, as among 100 000 of 650 000 numbers between 66
    # and 71, and neighbours know nothing of each other.
    assert len(np.unique(rows, axis=0)) > (0.7 if n_visible == 1 else 0.999) * n
    correlation = np.corrcoef(rows[:-1, 0], rows[1:, 0])[0, 1]
    assert abs(correlation) < 4.5 / math.sqrt(n)


def test_a_coarse_envelope_only_costs_proposals(monkeypatch):
    monkeypatch.setattr(boltzmann_density, "_FINE", {1: 4, 2: 4})
    test_draws_have_the_exact_masses_of_cells("near", 2)


def test_long_chains_and_exact_draws_agree(make_config):
    # Here it is running that takes the time.
    jax.config.update("jax_disable_most_optimizations", False)
    model, state, params = two_modes(make_config)
    n = 20_000
    chains = np.asarray(jax.jit(model.sample, static_argnums=2)(jax.random.key(0), state, n))[:, 0]
    rows = np.asarray(boltzmann_density.exact_rows(jax.random.key(1), on_device(params), n))[:, 0]
    assert scipy.stats.ks_2samp(chains, rows).pvalue > 1e-3
    # A test that can fail: three sweeps are not enough.
    short = np.asarray(jax.jit(model.sample_quick, static_argnums=2)(jax.random.key(0), state, n))[:, 0]
    assert scipy.stats.ks_2samp(short, rows).pvalue < 1e-6


@every_dim
def test_peaks_much_narrower_than_cells_are_drawn_from(n_visible):
    # Two peaks 4 apart whose σ is a sixteenth of a cell in the plane: every draw is a new one.
    params = boltzmann.Params(
        np.full((n_visible, 1), 4.0), np.full(n_visible, -2.0), np.zeros(1), np.full(n_visible, math.log(0.002))
    )
    # Equal weights of both.
    params = params._replace(hidden_bias=np.zeros(1))
    rows = np.asarray(boltzmann_density.exact_rows(jax.random.key(0), on_device(params), 2000))
    assert len(np.unique(rows, axis=0)) > 1900
    near = np.abs(np.abs(rows) - 2).max(axis=1)
    assert near.max() < 6 * 0.002
    assert np.std(np.abs(rows) - 2) == pytest.approx(0.002, rel=0.1)
    # −F is 4e6 in the plane, which float32 rounds to a quarter of a nat: the shares are no better than that.
    assert abs(np.mean(rows[:, 0] > 0) - 0.5) < 0.06 + 4.5 * 0.5 / math.sqrt(2000)


def test_without_enough_proposals_rows_are_repeated(monkeypatch):
    params = on_device(machine("near", 1))
    monkeypatch.setattr(boltzmann_density, "_FINE", {1: 8})
    monkeypatch.setattr(boltzmann_density, "_MOST_PASSES", 1)
    rows = np.asarray(boltzmann_density.exact_rows(jax.random.key(0), params, 1000))
    assert np.isfinite(rows).all()
    n_accepted = len(np.unique(rows))
    assert n_accepted < 990
    np.testing.assert_array_equal(rows[n_accepted : 2 * n_accepted], rows[: min(n_accepted, 1000 - n_accepted)])


@every_dim
def test_weights_that_are_not_finite_have_no_rows(n_visible):
    params = on_device(machine("near", n_visible))
    lost = params._replace(weights=params.weights.at[0, 0].set(jnp.nan))
    assert np.isnan(boltzmann_density.exact_rows(jax.random.key(0), lost, 10)).all()
    assert math.isnan(boltzmann_density.log_partition_gaussian(lost))


def test_ln_z_is_found_where_weights_reach_far():
    # The centres lie over 10 000 σ: nodes over all of that are more than there may be.
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(2, 12)) * 300
    params = boltzmann.Params(weights, -0.45 * weights.sum(1), np.zeros(12), np.log([0.2, 0.3]))
    log_weights, _ = mixture(params)
    assert np.isfinite(log_weights).all()
    with jax.enable_x64(True):
        found = float(boltzmann_density.log_partition_gaussian(on_device(params, jnp.float64)))
    assert found == pytest.approx(exact_log_partition(params), rel=1e-12)

"""kl_exact against divergences that are known otherwise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from conftest import NUMBERS, quick_if
from divergences import kl_exact

from kinds.exact import sound_log_q
from kinds.real.cells import score_cells
from models import MODELS
from models.base import Model, packing
from targets import make_target


def model_with(log_prob):
    """A model that has nothing but a density."""
    return Model("KNOWN", 0, 0, *[None] * 5, log_prob=log_prob, log_prob_kind="exact")


@pytest.mark.parametrize("name", ["1D_BIMODAL", "1D_TRIMODAL", "1D_QUADMODAL", "1D_BETA"])
def test_in_1d_it_is_the_integral_that_scipy_finds(name, make_config):
    target = make_target(make_config(target_type=name, num_bins=0))
    known = model_with(lambda state, x: -0.5 * ((x[:, 0] - 0.3) / 1.7) ** 2 - jnp.log(1.7 * jnp.sqrt(2 * jnp.pi)))
    q = scipy.stats.norm(0.3, 1.7)

    def integrand(x):
        log_p = target.log_prob(np.array([[x]]))[0]
        return np.exp(log_p) * (log_p - q.logpdf(x))

    low, high = (-2.5, 2.5) if name == "1D_BETA" else (-6, 6)
    expected, error = scipy.integrate.quad(integrand, low, high, points=[-2, 0, 2], limit=200, epsabs=1e-11)
    # A Beta's p ln p has a singular derivative at its ends, where Gauss–Legendre converges as a power only.
    assert kl_exact(known, (), target) == pytest.approx(expected, abs=max(error, 1e-9))


@pytest.mark.parametrize("name", ["2D_MIX_GAUSS", "2D_GMM", "2D_RING", "2D_GRID"])
def test_in_2d_it_is_cross_entropy_less_entropy(name, make_config):
    target = make_target(make_config(target_type=name, num_bins=0))
    known = model_with(lambda state, x: -0.5 * jnp.sum(x**2, axis=-1) / 4 - jnp.log(2 * jnp.pi * 4))
    modes = target.truth.modes
    # The second moment of a mixture is known exactly, and so is its cross-entropy with N(0, 4 I).
    second = np.sum(modes.weights * (np.sum(modes.means**2, axis=1) + np.trace(modes.covariances, axis1=1, axis2=2)))
    expected = 0.5 * second / 4 + np.log(2 * np.pi * 4) - target.entropy
    # ln p turns within a fraction of σ halfway between two components, which a spacing of σ/3 resolves to about 1e-7.
    assert kl_exact(known, (), target) == pytest.approx(expected, abs=2e-7)


@pytest.mark.parametrize(
    "fields", [dict(target_type="2D_GMM", num_bins=0), dict(target_type="1D_TRIMODAL", num_bins=7)]
)
def test_it_is_zero_for_the_target_itself(fields, make_config):
    target = make_target(make_config(**fields))
    if target.kind == "bins":
        masses = target.truth.cell_masses(score_cells(target.truth, 0))
        perfect = model_with(lambda state, x: x @ jnp.log(jnp.asarray(masses)))
    else:
        perfect = model_with(lambda state, x: jnp.asarray(target.log_prob(np.asarray(x))))
    assert abs(kl_exact(perfect, (), target)) < 1e-12


@pytest.mark.parametrize("num_bins", [0, 9])
def test_a_rule_that_is_too_coarse_gives_way_to_a_finer_one(num_bins, make_config):
    target = make_target(make_config(target_type="1D_TRIMODAL", num_bins=num_bins))

    def by(log_prob, error, finer):
        return model_with(log_prob)._replace(log_prob_error=lambda state, x: 0 * x[:, 0] + error, finer=finer)

    def flat(state, x):
        return 0 * x[:, 0] - 2.5

    exact = kl_exact(model_with(flat), (), target)
    # The density of a coarse rule is off by what it says itself.
    finest = by(flat, 0.0, None)
    middle = by(lambda state, x: flat(state, x) - 0.1, 0.1, lambda: finest)
    coarse = by(lambda state, x: flat(state, x) - 0.2, 0.2, lambda: middle)
    assert kl_exact(coarse, (), target) == pytest.approx(exact, abs=1e-5)
    assert np.isnan(kl_exact(coarse._replace(finer=lambda: middle._replace(finer=None)), (), target))


def test_it_is_none_without_a_density_on_either_side(make_config):
    config = make_config(target_type="1D_POISSON", num_bins=0)
    target = make_target(config)
    assert kl_exact(model_with(lambda state, x: x[:, 0]), (), target) is None
    config = make_config(target_type="1D_BETA", num_bins=0)
    assert kl_exact(model_with(None), (), make_target(config)) is None


@pytest.mark.parametrize(
    ("name", "num_bins"), [quick_if(i % 2 == bool(n), name, n) for i, name in enumerate(NUMBERS) for n in (0, 9)]
)
def test_families_with_a_density_have_a_positive_finite_divergence(name, num_bins, make_config):
    config = make_config(target_type="1D_TRIMODAL", num_bins=num_bins, parameter_budget=150, hidden_layers=1)
    target = make_target(config)
    model = MODELS[name].build(config, target)
    state = jax.jit(model.init)(jax.random.key(1), target.codec.encode(target.sample(jax.random.key(2), 500)))
    value = kl_exact(model, state, target)
    assert (value is None) == (model.log_prob is None)
    assert value is None or 0 < value < 100


def test_a_model_whose_weights_are_not_finite_has_no_log_partition(make_config):
    config = make_config(target_type="1D_TRIMODAL", num_bins=0, parameter_budget=50, models=("RBM",))
    target = make_target(config)
    model = MODELS["RBM"].build(config, target)
    state = model.init(jax.random.key(1), jnp.zeros((20, 1)))
    for value in (np.nan, 1e30):
        average = jax.tree.map(lambda leaf, value=value: jnp.full_like(leaf, value), state.average)
        broken = state._replace(packed_average=packing(state.inner.params)[0](average))
        assert np.isnan(kl_exact(model, broken, target))


@pytest.mark.parametrize(("off", "expected"), [(0.001, -1.0), (0.1, -1.01), (np.nan, -1.01)])
def test_a_picture_asks_the_finer_rule_where_the_own_one_is_visibly_off(off, expected):
    finer = model_with(lambda state, x: -1.01 * x[:, 0])
    # The likeliest events decide, and not those in the tail.
    model = model_with(lambda state, x: -1.0 * x[:, 0])._replace(
        finer=lambda: finer, log_prob_error=lambda state, x: jnp.where(x[:, 0] < 5, off, 3.0)
    )
    x = np.concatenate([np.ones((20, 1)), np.full((30, 1), 50.0)])
    np.testing.assert_allclose(sound_log_q(model, (), x), expected * x[:, 0])
    # Of a model with no finer one its own is the best there is.
    np.testing.assert_allclose(sound_log_q(model._replace(finer=None), (), x), -x[:, 0])

"""Mixtures of one component, trained by the engine over several devices: one Gaussian with the rows' own moments."""

import functools
import itertools

import jax
import numpy as np
import pytest
from conftest import quick_if, small_config

from benchmark.engine.preparation import prepare
from benchmark.engine.records import Feed, Schedule
from benchmark.engine.training import train
from kinds.bits.settings import Config
from kinds.contract import Scorer
from models import MODELS
from targets import make_target

# Family -> parameters of one component on a line and in the plane.
FEWEST = {"GMM": (2, 5), "KMEANS": (2, 3), "VBGMM": (5, 8), "BBVI": (5, 8)}
KINDS = {
    "line": dict(target_type="1D_TRIMODAL", num_bins=0),
    "bins": dict(target_type="1D_TRIMODAL", num_bins=9),
    "plane": dict(target_type="2D_GMM", num_bins=0),
}
# Of events that are no numbers: a string of eight bits.
OTHERS = {("BERNOULLI_MIXTURE", "bits"): (8, dict(target_type="BITS_GAUSSIAN", num_bins=0, bits=Config(n=8)))}
# Whose result is known in closed form, one or two of every family that has one; `make test-all` takes all.
QUICK = [("GMM", "line"), ("GMM", "plane"), ("KMEANS", "line"), ("VBGMM", "plane"), *OTHERS]


def cases(*chosen):
    """Parametrises a test over (name, kind); one training a case, shared by its tests on one worker."""
    marked = [quick_if(case in QUICK, *case, marks=[pytest.mark.xdist_group(f"one {case}")]) for case in chosen]
    return pytest.mark.parametrize(("name", "kind"), marked)


@functools.cache
def trained(name, kind):
    """The model, its target and the trained states of two seeds, on a fixed training set where there are no bins."""
    budget, target = OTHERS.get((name, kind)) or (FEWEST[name][kind == "plane"], KINDS[kind])
    fields = dict(n_samples_train=0 if kind == "bins" else 300, parameter_budget=budget)
    config = small_config(**target, **fields)
    target = make_target(config)
    model = MODELS[name].build(config, target)
    rows = None if target.train_rows is None else target.codec.encode(target.train_rows)
    feed = Feed(lambda key, n: target.codec.encode(target.sample(key, n)), rows, config.batch_size)
    scorer = Scorer(64, target.codec.decode, False, ("kld",), lambda x: {"kld": 0.0})
    program = prepare(model, feed, scorer, Schedule.evenly(n_steps=20, n_evaluations=2, n_seeds=2, seed=0))
    return target, model, train(program, snapshot_steps=frozenset()).states


@cases(*itertools.product(FEWEST, KINDS), *OTHERS)
def test_one_component_trains_and_draws(name, kind):
    target, model, states = trained(name, kind)
    assert model.width == 1
    assert model.n_params == (OTHERS[name, kind][0] if (name, kind) in OTHERS else FEWEST[name][kind == "plane"])
    for state in states:
        x = np.asarray(target.codec.decode(model.sample(jax.random.key(1), state, 200)))
        assert x.shape == (200, target.dim)
        assert np.all(np.isfinite(x))
        assert np.ptp(x, axis=0).min() > 0


@cases(("GMM", "line"), ("GMM", "plane"))
def test_one_gaussian_has_the_mean_and_covariance_of_its_rows(name, kind):
    target, _, states = trained(name, kind)
    rows = np.asarray(target.train_rows, np.float64)
    lower = np.tril_indices(target.dim)
    for state in states:
        # The maximiser of the likelihood in closed form, to the rounding of float32 sums over 300 rows.
        np.testing.assert_allclose(state.params.means[0], rows.mean(0), atol=1e-6)
        covariance = np.cov(rows.T, ddof=0).reshape(target.dim, target.dim)
        np.testing.assert_allclose(state.params.covariances[0], covariance[lower], atol=1e-5)


@cases(("KMEANS", "line"), ("KMEANS", "plane"))
def test_one_ball_has_the_mean_and_the_mean_variance_of_its_rows(name, kind):
    target, _, states = trained(name, kind)
    rows = np.asarray(target.train_rows, np.float64)
    for state in states:
        np.testing.assert_allclose(state.params.centres[0], rows.mean(0), atol=1e-6)
        np.testing.assert_allclose(state.params.variance[0], rows.var(0).mean(), atol=1e-5)


@cases(("VBGMM", "line"), ("VBGMM", "plane"))
def test_one_bayesian_component_has_the_posterior_of_its_rows(name, kind):
    target, _, states = trained(name, kind)
    n, dim, rows = len(target.train_rows), target.dim, np.asarray(target.train_rows, np.float64)
    # The conjugate posterior: the prior's mean is the rows' own, and its W⁻¹ their covariance (Bishop 10.60 – 10.63).
    scatter = (n * np.cov(rows.T, ddof=0) + np.cov(rows.T, ddof=1)).reshape(dim, dim)
    for state in states:
        np.testing.assert_allclose(state.params.means[0], rows.mean(0), atol=1e-6)
        np.testing.assert_allclose(state.params.mean_precision, n + 1, rtol=1e-6)
        np.testing.assert_allclose(state.params.degrees_of_freedom, n + dim, rtol=1e-6)
        np.testing.assert_allclose(state.params.inverse_scale[0], scatter[np.tril_indices(dim)], rtol=1e-4, atol=1e-3)


@cases(*OTHERS)
def test_one_product_has_the_frequencies_of_its_rows(name, kind):
    target, _, states = trained(name, kind)
    frequencies = np.asarray(target.codec.encode(target.train_rows), np.float64).mean(0)
    assert 0 < frequencies.min() < frequencies.max() < 1
    for state in states:
        assert state.params.log_odds == ()
        np.testing.assert_allclose(jax.nn.sigmoid(state.params.logits[0]), frequencies, atol=1e-6)

"""The law of grey levels against that of bits, and against the definition."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.laws import bits, pixels


@pytest.fixture
def outputs():
    return jax.random.normal(jax.random.key(0), (7, 5)) * 3


def test_a_draw_is_the_mean_in_every_form(outputs):
    law = pixels(5)
    known = 1 / (1 + np.exp(-np.asarray(outputs, np.float64)))
    noise, smooth = law.noise(jax.random.key(1), (7,)), law.gradient_noise(jax.random.key(1), 7)
    for drawn in (
        law.draw_rows(jax.random.key(2), outputs, None),
        law.mean(outputs),
        law.draw(outputs.T, noise).T,
        law.draw_with_gradient(outputs.T, smooth, 1.0).T,
        law.mean(outputs.T, axis=0).T,
    ):
        np.testing.assert_allclose(drawn, known, atol=1e-6)
    assert (law.n_outputs, law.has_scale, law.states) == (5, False, None)


def test_grey_counts_as_a_probability(outputs):
    """The log likelihood of grey levels is the mean of that of bits over the strings whose coins they flip."""
    with jax.enable_x64(True):
        outputs = outputs.astype(jnp.float64)
        grey = np.random.default_rng(0).uniform(size=(7, 5))
        strings = np.array(list(itertools.product([0, 1], repeat=5)), float)
        weights = np.prod(np.where(strings[None] > 0, grey[:, None], 1 - grey[:, None]), axis=-1)
        each = np.stack([bits(5).log_prob(outputs, jnp.asarray(s)[None], None) for s in strings], axis=1)
        known = np.sum(weights * each, axis=1)
        np.testing.assert_allclose(pixels(5).log_prob(outputs, jnp.asarray(grey), None), known, atol=1e-12)
        np.testing.assert_allclose(pixels(5).log_prob(outputs.T, jnp.asarray(grey.T), None, 0), known, atol=1e-12)


def test_the_nearest_grey_levels_are_within_the_range():
    points = jnp.array([[-0.5, 0.25, 1.5]])
    np.testing.assert_array_equal(pixels(3).nearest(points), [[0.0, 0.25, 1.0]])

"""Drawing a category by inversion; the perceptron itself is tested by the families that it is part of."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats

from models.networks import draw_one_hot


def test_inversion_is_exact():
    probability = np.array([0.125, 0.5, 0.25, 0.125])
    logits = jnp.log(jnp.asarray(probability, jnp.float32))
    uniform = np.array([0.0, 0.12, 0.13, 0.62, 0.63, 0.87, 0.88, 1 - 2**-23])
    drawn = draw_one_hot(jnp.tile(logits[None], (8, 1)), jnp.asarray(uniform, jnp.float32)[:, None])
    np.testing.assert_array_equal(np.argmax(drawn, axis=-1), np.searchsorted(np.cumsum(probability), uniform, "right"))
    np.testing.assert_array_equal(np.sort(drawn, axis=-1), np.tile([0.0, 0.0, 0.0, 1.0], (8, 1)))


def test_what_has_no_probability_is_never_drawn():
    # At both ends of the unit interval, whatever rounding does to the sum of many shares.
    uniform = jnp.array([0.0, 2**-23, 0.5, 1 - 2**-23], jnp.float32)[:, None]
    logits = jax.random.normal(jax.random.key(0), (200, 33)).at[:, 0].set(-jnp.inf).at[:, -1].set(-jnp.inf)
    for row in logits:
        drawn = draw_one_hot(jnp.tile(row[None], (4, 1)), uniform)
        np.testing.assert_array_equal(drawn.sum(-1), 1)
        np.testing.assert_array_equal(drawn[:, [0, -1]], 0)


def test_frequencies_are_the_softmax():
    n, logits = 100_000, jnp.array([1.0, 0.0, -1.0, 0.5, -0.2])
    uniform = jax.random.uniform(jax.random.key(1), (n, 1))
    counts = draw_one_hot(jnp.tile(logits[None], (n, 1)), uniform).sum(0)
    # A true sampler fails this for one key in a thousand; the key is fixed.
    assert scipy.stats.chisquare(counts, n * scipy.special.softmax(np.asarray(logits, np.float64))).pvalue > 1e-3

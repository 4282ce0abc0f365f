"""The perceptron against Flax's own, and drawing a category by inversion."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from flax import linen as nn

from models.laws import draw_one_hot
from models.networks import MLP, Dense


def test_an_affine_layer_has_the_parameters_of_flax_and_maps_columns():
    rows = jax.random.normal(jax.random.key(1), (7, 5))
    own, flax = Dense(3), nn.Dense(3)
    params, expected = own.init(jax.random.key(0), rows.T), flax.init(jax.random.key(0), rows)
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    assert {name: leaf.shape for name, leaf in params["params"].items()} == {"kernel": (5, 3), "bias": (3,)}
    # A bias that is not the zero of the start.
    params["params"]["bias"] = jnp.array([0.5, -1.0, 2.0])
    kernel, bias = (np.asarray(params["params"][name], np.float64) for name in ("kernel", "bias"))
    np.testing.assert_allclose(own.apply(params, rows.T), (np.asarray(rows) @ kernel + bias).T, atol=1e-6)


@pytest.mark.parametrize("hidden_layers", [0, 1, 3])
def test_a_perceptron_maps_columns_one_by_one(hidden_layers):
    network = MLP(width=6, hidden_layers=hidden_layers, n_outputs=2, activation=nn.tanh)
    x = jax.random.normal(jax.random.key(1), (4, 9))
    params = network.init(jax.random.key(0), x)
    assert len(params["params"]) == hidden_layers + 1
    by_hand = np.asarray(x, np.float64)
    for i in range(hidden_layers + 1):
        layer = {name: np.asarray(leaf, np.float64) for name, leaf in params["params"][f"Dense_{i}"].items()}
        by_hand = layer["kernel"].T @ by_hand + layer["bias"][:, None]
        by_hand = by_hand if i == hidden_layers else np.tanh(by_hand)
    assert by_hand.shape == (2, 9)
    np.testing.assert_allclose(network.apply(params, x), by_hand, atol=2e-6)


def test_inversion_is_exact():
    probability = np.array([0.125, 0.5, 0.25, 0.125])
    logits = jnp.log(jnp.asarray(probability, jnp.float32))
    uniform = np.array([0.0, 0.12, 0.13, 0.62, 0.63, 0.87, 0.88, 1 - 2**-23])
    drawn = draw_one_hot(jnp.tile(logits[:, None], (1, 8)), jnp.asarray(uniform, jnp.float32)[None])
    np.testing.assert_array_equal(np.argmax(drawn, axis=0), np.searchsorted(np.cumsum(probability), uniform, "right"))
    np.testing.assert_array_equal(np.sort(drawn, axis=0).T, np.tile([0.0, 0.0, 0.0, 1.0], (8, 1)))


def test_what_has_no_probability_is_never_drawn():
    # At both ends of the unit interval, whatever rounding does to the sum of many shares.
    uniform = jnp.array([0.0, 2**-23, 0.5, 1 - 2**-23], jnp.float32)[None]
    logits = jax.random.normal(jax.random.key(0), (200, 33)).at[:, 0].set(-jnp.inf).at[:, -1].set(-jnp.inf)
    for row in logits:
        drawn = draw_one_hot(jnp.tile(row[:, None], (1, 4)), uniform)
        np.testing.assert_array_equal(drawn.sum(0), 1)
        np.testing.assert_array_equal(drawn[jnp.array([0, -1])], 0)


def test_frequencies_are_the_softmax():
    n, logits = 100_000, jnp.array([1.0, 0.0, -1.0, 0.5, -0.2])
    uniform = jax.random.uniform(jax.random.key(1), (1, n))
    counts = draw_one_hot(jnp.tile(logits[:, None], (1, n)), uniform).sum(1)
    # A true sampler fails this for one key in a thousand; the key is fixed.
    assert scipy.stats.chisquare(counts, n * scipy.special.softmax(np.asarray(logits, np.float64))).pvalue > 1e-3

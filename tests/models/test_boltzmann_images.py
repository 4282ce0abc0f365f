"""What is shown and known of a Boltzmann machine on images, against machines whose states can be counted."""

import jax
import jax.numpy as jnp
import numpy as np

from models import boltzmann_images
from models.boltzmann import Params
from models.boltzmann_states import log_prob_binary, sample_binary
from models.visibles import PIXELS


def machine(n_visible=9, n_hidden=5):
    generator = np.random.default_rng(3)
    parts = (generator.normal(size=shape) for shape in ((n_visible, n_hidden), n_visible, n_hidden))
    return Params(*(jnp.asarray(each, jnp.float32) for each in parts), ())


def test_rows_of_an_annealed_machine_have_their_exact_probabilities():
    params = machine()

    def exactly(key, params, n, n_sweeps):
        assert n_sweeps == 7
        return sample_binary(key, params, n)

    x = jax.random.bernoulli(jax.random.key(2), 0.5, (40, 9)).astype(jnp.float32)
    each, (there, back) = boltzmann_images.annealed(PIXELS, exactly, 7)(jax.random.key(0), params, x)
    exact = np.asarray(log_prob_binary(params, x))
    for log_z in (there, back):
        # A 95 % interval of this key, widened once by its own width.
        wide = log_z.high - log_z.low
        assert wide < 0.1
        found = np.asarray(each, np.float64)
        np.testing.assert_allclose(found - log_z.value, exact, atol=wide + 1e-4)


def test_a_picture_has_the_weights_and_chains_that_begin_at_rows():
    params, rows = machine(), jax.random.bernoulli(jax.random.key(1), 0.5, (30, 9)).astype(jnp.float32)
    shown = boltzmann_images.filters_of(PIXELS)(params, rows)
    np.testing.assert_array_equal(shown["weights"], params.weights.T)
    np.testing.assert_array_equal(shown["sweeps"], [0, 1, 10, 100, 1000])
    np.testing.assert_array_equal(shown["chains"][0], rows[:16])
    means = np.asarray(shown["chains"][1:])
    assert means.shape == (4, 16, 9)
    assert ((means > 0) & (means < 1)).all()


def test_chains_without_weights_show_the_biases():
    params = machine()._replace(weights=jnp.zeros((9, 5)))
    shown = boltzmann_images.filters_of(PIXELS)(params, jnp.zeros((16, 9)))
    expected = np.broadcast_to(jax.nn.sigmoid(params.visible_bias), (4, 16, 9))
    np.testing.assert_allclose(shown["chains"][1:], expected, rtol=1e-5)

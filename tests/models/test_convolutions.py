"""Convolutions against the compiler's own, batch and spectral normalisation against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from models import convolutions
from models.convolutions import BatchNorm, down, kernel_gradient, settled, spectrally_normalised, up


@pytest.fixture(autouse=True)
def _doubles():
    with jax.enable_x64(True):
        yield


def arrays(a=3, b=2, height=4, width=6, n=5):
    generator = np.random.default_rng(a)
    shapes = (a, 4, 4, b), (b, height, width, n), (a, height // 2, width // 2, n)
    return [jnp.asarray(generator.normal(size=shape)) for shape in shapes]


def by_definition(kernel, x):
    """Σ over taps, one multiplication at a time."""
    kernel, x = np.asarray(kernel), np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1] // 2 - 1, x.shape[2] // 2 - 1
    y = np.zeros((len(kernel), height, width, x.shape[3]))
    for i in range(height):
        for j in range(width):
            y[:, i, j] = np.einsum("aklb,bkln->an", kernel, x[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4])
    return y


@pytest.mark.parametrize("way", ["columns", "slices", "the compiler's"])
@pytest.mark.parametrize("shape", [(3, 2, 4, 6, 5), (1, 4, 2, 2, 3), (5, 1, 8, 8, 1)])
def test_all_three_operations_are_derivatives_of_one_form(shape, way, monkeypatch):
    """All ways to compute them: both for a CPU, and the compiler's own convolution."""
    monkeypatch.setattr(convolutions, "_on_cpu", lambda: way != "the compiler's")
    if way == "slices":
        monkeypatch.setattr(convolutions, "_COLUMN_BYTES", 0)
        monkeypatch.setattr(convolutions, "_FEW", 0)
    kernel, x, y = arrays(*shape)
    known = by_definition(kernel, x)
    np.testing.assert_allclose(down(kernel, x), known, atol=1e-12)
    total = np.sum(known * y)
    assert jnp.sum(up(kernel, y) * x) == pytest.approx(total, abs=1e-10)
    assert jnp.sum(kernel_gradient(y, x) * kernel) == pytest.approx(total, abs=1e-10)
    # Linear in each: what holds for all directions holds for the arrays themselves.
    for i in range(3):
        basis = jnp.zeros_like(x).at[i % x.shape[0], i % x.shape[1], -1 - i % x.shape[2], 0].set(1)
        assert jnp.sum(up(kernel, y) * basis) == pytest.approx(float(np.sum(by_definition(kernel, basis) * y)))


def test_they_are_those_of_the_compiler():
    kernel, x, y = arrays()

    def convolution(kernel, x):
        return jax.lax.conv_general_dilated(
            x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("CHWN", "OHWI", "CHWN")
        )

    np.testing.assert_allclose(down(kernel, x), convolution(kernel, x), atol=1e-12)
    d_kernel, d_x = jax.vjp(convolution, kernel, x)[1](y)
    np.testing.assert_allclose(up(kernel, y), d_x, atol=1e-12)
    np.testing.assert_allclose(kernel_gradient(y, x), d_kernel, atol=1e-12)


@pytest.mark.parametrize("function", [down, up, kernel_gradient])
def test_first_and_second_derivatives_are_those_of_differences(function):
    kernel, x, y = arrays(2, 2, 4, 4, 2)
    arguments = {down: (kernel, x), up: (kernel, y), kernel_gradient: (y, x)}[function]
    # Something that is not linear, so that second derivatives do not vanish.
    check_grads(lambda *args: jnp.sum(jnp.sin(function(*args))), arguments, order=2, modes=["rev"])


def test_batch_normalisation_is_that_of_the_rows_or_of_those_that_settled_it():
    generator = np.random.default_rng(0)
    x, other = (jnp.asarray(generator.normal(2, 3, (4, 3, 5, 7))) for _ in range(2))
    norm = BatchNorm()
    variables = norm.init(jax.random.key(0), x)
    assert set(variables) == {"params"}
    scale, shift = (np.asarray(variables["params"][name]).reshape(-1, 1, 1, 1) for name in ("scale", "shift"))

    def by_hand(x, of):
        mean, variance = (getattr(np.asarray(of), name)((1, 2, 3), keepdims=True) for name in ("mean", "var"))
        return scale * (x - mean) / np.sqrt(variance + 1e-5) + shift

    np.testing.assert_allclose(norm.apply(variables, x), by_hand(x, x), atol=1e-10)
    fixed = settled(norm, variables, other)
    np.testing.assert_allclose(norm.apply(fixed, x), by_hand(x, other), atol=1e-10)
    # A row alone is what it is among others.
    np.testing.assert_allclose(norm.apply(fixed, x[..., :1]), norm.apply(fixed, x)[..., :1], atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 4, 4, 2), (40, 4, 4, 1), (1, 30), (7, 1)])
def test_the_largest_singular_value_becomes_one(shape):
    kernel = jnp.asarray(np.random.default_rng(len(shape)).normal(size=shape))
    values = np.linalg.svd(np.asarray(kernel).reshape(len(kernel), -1), compute_uv=False)
    normalised = spectrally_normalised(kernel)
    np.testing.assert_allclose(normalised, kernel / values[0], rtol=1e-3)
    # A known ratio: of 0.9 the power leaves 0.9^128 = 1e-6.
    matrix = jnp.asarray(np.diag([2.0, 1.8, 0.5]))
    np.testing.assert_allclose(spectrally_normalised(matrix), matrix / 2, rtol=1e-6)


def test_the_gradient_is_that_of_the_quotient_by_its_singular_vectors():
    kernel = jnp.asarray(np.random.default_rng(1).normal(size=(3, 5)))
    weights = jnp.asarray(np.random.default_rng(2).normal(size=(3, 5)))

    def exact(kernel):
        return jnp.sum(weights * kernel / jnp.linalg.norm(kernel, 2))

    own = jax.grad(lambda kernel: jnp.sum(weights * spectrally_normalised(kernel)))(kernel)
    np.testing.assert_allclose(own, jax.grad(exact)(kernel), atol=1e-4)

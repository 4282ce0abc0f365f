"""Networks for images: what a width makes, what a row depends on, and how steep a normalised judge is."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pixel_targets import blobs

from models import MODELS
from models.base import count_params
from models.images import FromImage, Patches, ToImage, n_layers

SHAPES = [(8, 8, 1), (9, 13, 2), (28, 28, 1), (32, 32, 4), (64, 64, 3)]


def parameters(module, n_inputs):
    return jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((n_inputs, 2)))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("width", [1, 3])
def test_counts_are_those_of_the_architecture(shape, width):
    """Channels w, 2w, 4w … towards the small end, 4 × 4 kernels; without a bias where a batch is normalised."""
    depth, (height, length, n_image) = n_layers(shape), shape
    end = -(-height // 2**depth) * -(-length // 2**depth)
    channels = [width * 2**i for i in range(depth)]
    between = sum(16 * a * b for a, b in itertools.pairwise(channels))
    size = height * length * n_image
    generator = ToImage(width, shape, size, batch_norm=True)
    known = 10 * end * channels[-1] + between + 16 * width * n_image + n_image * 0 + 2 * sum(channels)
    assert count_params(parameters(generator, 10)) == known + n_image
    decoder = ToImage(width, shape, size, batch_norm=False)
    plain = 10 * end * channels[-1] + between + 16 * width * n_image
    assert count_params(parameters(decoder, 10)) == plain + sum(channels) + n_image
    encoder = FromImage(width, shape, 6, batch_norm=False)
    plain = 16 * width * n_image + between + 6 * end * channels[-1] + 6
    assert count_params(parameters(encoder, size)) == plain + sum(channels)
    judge = FromImage(width, shape, 6, batch_norm=True)
    assert count_params(parameters(judge, size)) == plain + width + 2 * sum(channels[1:])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_pixel_is_made_and_seen_at_its_place(shape):
    size = int(np.prod(shape))
    decoder, encoder = ToImage(2, shape, size, batch_norm=False), FromImage(2, shape, 3, batch_norm=False)
    z = jax.random.normal(jax.random.key(0), (4, 5))
    params = decoder.init(jax.random.key(1), z)
    images = decoder.apply(params, z)
    assert images.shape == (size, 5)
    # A bias of one channel's last layer moves that channel of every pixel, and nothing else.
    moved = jax.tree.map(lambda leaf: leaf, params)
    moved["params"][f"Up_{n_layers(shape) - 1}"]["bias"] = jnp.arange(shape[2]) == shape[2] - 1
    change = np.asarray(decoder.apply(moved, z) - images).reshape(*shape, 5)
    np.testing.assert_allclose(change[..., -1, :], 1, atol=1e-5)
    np.testing.assert_allclose(change[..., :-1, :], 0, atol=1e-5)
    events = jax.nn.sigmoid(images)
    params = encoder.init(jax.random.key(2), events)
    seen = jax.jacobian(lambda x: encoder.apply(params, x[:, None])[0, 0])(events[:, 0])
    assert np.mean(seen != 0) > 0.95


def test_a_patch_sees_its_part_of_the_image_alone():
    critic = Patches(3, (28, 28, 1), batch_norm=False)
    x = jax.random.uniform(jax.random.key(0), (784, 1))
    params = critic.init(jax.random.key(1), x)
    answers = critic.apply(params, x)
    assert answers.shape == (49, 1)
    seen = np.asarray(jax.jacobian(lambda x: critic.apply(params, x)[24, 0])(x)).reshape(28, 28) != 0
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    # The patch in the middle, of 7 × 7: pixels 9 to 18.
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (9, 18, 9, 18)


def gan(make_config, **settings):
    config = make_config(parameter_budget=1500, batch_size=16, gan=MODELS["GAN"].Config(latent_dim=5, **settings))
    target = blobs()
    model = MODELS["GAN"].build(config, target)
    return target, model, model.init(jax.random.key(0), target.sample(jax.random.key(1), 50))


def test_an_image_depends_on_its_own_latent_alone(make_config):
    """In sampling; in training the minibatch is normalised, so that it depends on the others."""
    _, model, state = gan(make_config, average=0)
    z = jax.random.normal(jax.random.key(3), (1200, 5))
    together = model.decode(state, z)
    np.testing.assert_allclose(model.decode(state, z[:3]), together[:3], atol=1e-6)
    np.testing.assert_allclose(model.decode(state, z[-2:]), together[-2:], atol=1e-6)
    assert "statistics" not in state.params.generator


def test_statistics_are_those_of_the_weights_that_sample(make_config):
    """An average of weights is sampled as the same weights would be without averaging, whatever was trained before."""
    target, averaged, state = gan(make_config, average=0.99)
    _, plain, _ = gan(make_config, average=0)
    for i in range(5):
        batch = target.sample(jax.random.fold_in(jax.random.key(4), i), 16)
        state, _ = averaged.step(state, batch, averaged.noise(jax.random.key(i)))
    own = state.inner._replace(params=state.average)
    first, second = (m.sample(jax.random.key(9), s, 20) for m, s in ((averaged, state), (plain, own)))
    np.testing.assert_array_equal(first, second)
    assert np.abs(np.asarray(plain.sample(jax.random.key(9), state.inner, 20)) - np.asarray(first)).max() > 1e-4


def test_channels_are_normalised_when_it_is_sampled(make_config):
    """Before scale and shift every channel of the settled network has mean 0 and variance 1 over draws."""
    _, model, state = gan(make_config, average=0)
    generator = ToImage(model.width, (8, 8, 1), 64, batch_norm=True)
    params = state.params.generator
    z = jax.random.normal(jax.random.key(3), (5, 20_000))
    first = params["params"]["Project"]["kernel"].reshape(-1, 5) @ z
    channels = first.reshape(2 * model.width, 4, -1)
    settled = generator.apply(params, z[:, :1024], mutable=["statistics"])[1]["statistics"]["Norm_0"]
    np.testing.assert_allclose(settled["mean"], channels.mean((1, 2)), atol=5 * float(channels.std()) / 32)
    np.testing.assert_allclose(settled["variance"], channels.var((1, 2)), rtol=0.3)


@pytest.mark.parametrize("image", [True, False])
def test_a_spectrally_normalised_judge_is_no_steeper_than_its_kernels_allow(make_config, image):
    """An affine layer has slope 1; a convolution of stride 2 at most 2 for each, as a pixel is in four patches."""
    target = blobs()
    if not image:
        event = target.event._replace(shape=(64,))
        target = target._replace(codec=target.codec._replace(event=event))
    settings = MODELS["GAN"].Config(spectral_norm=True, average=0)
    model = MODELS["GAN"].build(make_config(parameter_budget=3000, batch_size=16, gan=settings), target)
    state = model.init(jax.random.key(0), target.sample(jax.random.key(1), 50))
    steeper = jax.tree.map(lambda leaf: 7 * leaf, state.params.discriminator)
    x = target.sample(jax.random.key(2), 40)

    judge = FromImage(model.width, (8, 8, 1), 1, False, True)
    if not image:
        from flax import linen as nn

        from models.networks import MLP

        judge = MLP(model.width, 2, 1, nn.leaky_relu, spectral_norm=True)
    slopes = [
        np.linalg.norm(jax.grad(lambda x, p=params: judge.apply(p, x).sum())(x.T), axis=0)
        for params in (state.params.discriminator, steeper)
    ]
    limit = 2 * 2**2 if image else 1
    assert 0 < slopes[0].max() <= limit
    # Kernels that are seven times as large make the same judge, but for its biases, which are 0 at the start.
    np.testing.assert_allclose(slopes[0], slopes[1], rtol=1e-3)


def test_grey_levels_meet_a_network_around_zero():
    encoder = FromImage(2, (8, 8, 1), 1, batch_norm=False)
    grey = jnp.full((64, 1), 0.5)
    params = encoder.init(jax.random.key(0), grey)
    np.testing.assert_array_equal(encoder.apply(params, grey), 0)


def test_a_family_of_a_budget_has_the_width_that_is_closest(make_config):
    for family, budget in (("GAN", 20_000), ("VAE", 20_000), ("WGAN_GP", 100_000)):
        for shape in ((8, 8, 1), (28, 28, 1)):
            config = make_config(parameter_budget=budget)
            target = blobs(shape)
            model = MODELS[family].build(config, target)
            other = dataclasses.replace(config, parameter_budget=2 * budget - model.n_params)
            assert abs(MODELS[family].build(other, target).n_params - budget) >= abs(model.n_params - budget)

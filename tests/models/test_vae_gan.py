"""The VAE_GAN's losses against closed forms, its budget by hand, and the simple scheme against the VAE."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from pixel_targets import blobs

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.run import replay
from models import MODELS, autoencoding, build
from models.autoencoding import free_rate
from models.base import count_params
from models.images import FromImage, Patches, ToImage, n_layers
from models.perceptual import perceptual_loss, unit_length
from models.vae_gan import Config, adversarial_loss, critic_loss

SIMPLE = {"adversarial_weight": 0.0, "perceptual_weight": 0.0}
B, LATENTS = 8, 3


def built(make_config, shape=(8, 8, 1), budget=1500, family="VAE_GAN", **settings):
    plain = {"average": 0.0, "latent_dim": LATENTS} | ({"spectral_norm": False} if family == "VAE_GAN" else {})
    kind = MODELS[family].Config(**{**plain, **settings})
    config = make_config(parameter_budget=budget, batch_size=B, **{family.lower(): kind})
    target = blobs(shape)
    model = MODELS[family].build(config, target)
    return target, model, jax.jit(model.init)(jax.random.key(0), target.sample(jax.random.key(1), B))


def trained(target, model, state, n):
    step = jax.jit(model.step)
    infos = []
    for i in range(n):
        key = jax.random.key(100 + i)
        state, info = step(state, target.sample(key, B), model.noise(jax.random.fold_in(key, 1)))
        infos.append(info)
    return state, infos


def networks(model, state, shape):
    """The three networks as functions of columns, float64."""
    size = int(np.prod(shape))
    encoder = FromImage(model.width, shape, 2 * LATENTS, batch_norm=False)
    decoder = ToImage(model.width, shape, size, batch_norm=False)
    critic = Patches(model.width, shape, batch_norm=False)
    return [
        lambda x, net=net, p=p: np.asarray(net.apply(p, jnp.asarray(x, jnp.float32)), np.float64)
        for net, p in zip((encoder, decoder, critic), state.params, strict=True)
    ]


def features_by_hand(params, x, shape):
    """LeakyReLU(0.2) of every 4 × 4 convolution of stride 2 of one image, pixel by pixel, unit vectors: [h, w, c]."""
    image = 2 * np.asarray(x, np.float64).reshape(shape) - 1
    found = []
    for i in range(n_layers(shape) - 1):
        layer = params["params"][f"Down_{i}"]
        kernel, bias = np.asarray(layer["kernel"], np.float64), np.asarray(layer["bias"], np.float64)
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
        rows, columns = image.shape[0] // 2, image.shape[1] // 2
        seen = [[padded[2 * r : 2 * r + 4, 2 * c : 2 * c + 4] for c in range(columns)] for r in range(rows)]
        image = np.einsum("aklb,rcklb->rca", kernel, np.array(seen)) + bias
        image = np.where(image > 0, image, 0.2 * image)
        found.append(image / np.linalg.norm(image, axis=-1, keepdims=True))
    return found


def softplus(x):
    return np.logaddexp(0, x)


@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 2)], ids=str)
@pytest.mark.parametrize("kind", ["cross_entropy", "least_squares"])
@pytest.mark.parametrize("reconstruction", ["cross_entropy", "squared_error"])
def test_every_part_of_the_loss_by_hand(make_config, shape, kind, reconstruction):
    target, model, state = built(
        make_config,
        shape,
        budget=6000,
        adversarial_loss=kind,
        reconstruction=reconstruction,
        adversarial_weight=3.0,
        perceptual_weight=5.0,
        beta=0.7,
    )
    x = target.sample(jax.random.key(5), B)
    noise = model.noise(jax.random.key(6))
    _, info = jax.jit(model.step)(state, x, noise)

    encode, decode, judge = networks(model, state, shape)
    x = np.asarray(x, np.float64)
    mean, log_variance = np.split(encode(x.T), 2)
    kl = 0.5 * np.sum(mean**2 + np.exp(log_variance) - 1 - log_variance, axis=0).mean()
    logits = decode(mean + np.exp(log_variance / 2) * np.asarray(noise.epsilon)).T
    rebuilt, drawn = scipy.special.expit(logits), scipy.special.expit(decode(np.asarray(noise.z)).T)
    if reconstruction == "cross_entropy":
        distortion, scale = np.mean(np.sum(softplus(logits) - x * logits, axis=1)), 1.0
        bound = distortion + 0.7 * kl
    else:
        # N(x̂, 0.35) has the objective as 0.7 times its bound.
        scale = 0.7
        distortion = np.mean(np.sum((x - rebuilt) ** 2, axis=1)) / 0.7 + x.shape[1] / 2 * np.log(np.pi * 0.7)
        bound = distortion + kl
    fake, real = judge(np.concatenate([rebuilt, drawn]).T), judge(x.T)
    if kind == "cross_entropy":
        adversarial = softplus(-fake).mean()
        of_critic = (0.9 * softplus(-real) + 0.1 * softplus(real)).mean() + softplus(fake).mean()
    else:
        adversarial = 0.5 * ((fake - 0.9) ** 2).mean()
        of_critic = 0.5 * ((real - 0.9) ** 2).mean() + 0.5 * (fake**2).mean()
    layers = [[features_by_hand(state.params.critic, row, shape) for row in rows] for rows in (rebuilt, x)]
    perceptual = np.mean(
        [
            sum(np.sum((a - b) ** 2, axis=-1).mean() for a, b in zip(ours, theirs, strict=True))
            for ours, theirs in zip(*layers, strict=True)
        ]
    )
    assert len(layers[0][0]) == n_layers(shape) - 1
    known = {
        "distortion": distortion,
        "rate": kl,
        "adversarial_loss": adversarial,
        "perceptual_loss": perceptual,
        "critic_loss": of_critic,
        "loss": bound + (3 * adversarial + 5 * perceptual) / scale,
    }
    assert set(known) == set(info._fields)
    for name, value in known.items():
        assert float(getattr(info, name)) == pytest.approx(value, rel=1e-4, abs=1e-5), name


def test_the_simple_scheme_is_the_vae(make_config):
    """The same networks and noise, and up to rounding the same losses, weights, bound and images."""
    target, plain, state_plain = built(make_config, family="VAE", free_bits=0.0, warm_up=3, beta=0.8)
    _, simple, state = built(make_config, **SIMPLE, warm_up=3, beta=0.8)
    assert (simple.n_params, simple.width) == (plain.n_params, plain.width)
    assert state.params.critic == ()
    state_plain, infos_plain = trained(target, plain, state_plain, 6)
    state, infos = trained(target, simple, state, 6)
    noise = simple.noise(jax.random.key(3))
    np.testing.assert_array_equal(noise.epsilon, plain.noise(jax.random.key(3)))
    assert noise.z.shape == (LATENTS, 0)
    for own, other in zip(infos, infos_plain, strict=True):
        assert own._fields == other._fields
        np.testing.assert_allclose(own, other, rtol=2e-6)
    for network in ("encoder", "decoder"):
        pairs = zip(*(jax.tree.leaves(getattr(s.params, network)) for s in (state, state_plain)), strict=True)
        for own, other in pairs:
            np.testing.assert_allclose(own, other, atol=2e-5)
    x = target.sample(jax.random.key(7), 5)
    for name in ("bound", "sample"):
        drawn = [
            model.bound(jax.random.key(8), s, x) if name == "bound" else model.sample(jax.random.key(8), s, 5)
            for model, s in ((simple, state), (plain, state_plain))
        ]
        np.testing.assert_allclose(*drawn, rtol=1e-4)


def test_the_simple_scheme_with_squared_error_logs_a_bound(make_config):
    target, model, state = built(make_config, **SIMPLE, reconstruction="squared_error")
    x, noise = target.sample(jax.random.key(5), B), model.noise(jax.random.key(6))
    _, info = jax.jit(model.step)(state, x, noise)
    z, mean, log_variance = _codes(model, state, x, noise)
    decoder = ToImage(model.width, (8, 8, 1), 64, batch_norm=False)
    rebuilt = scipy.special.expit(np.asarray(decoder.apply(state.params.decoder, z), np.float64))
    square = np.sum((np.asarray(x.T, np.float64) - rebuilt) ** 2, axis=0)
    kl = np.sum(mean**2 + np.exp(log_variance) - 1 - log_variance, axis=0) / 2
    assert float(info.loss) == pytest.approx(np.mean(square + 0.1 * kl) / 0.1 + 32 * np.log(np.pi * 0.1), rel=1e-5)
    assert model.bound is None


def _codes(model, state, x, noise):
    encoder = FromImage(model.width, (8, 8, 1), 2 * LATENTS, batch_norm=False)
    mean, log_variance = jnp.split(encoder.apply(state.params.encoder, x.T), 2)
    return mean + jnp.exp(log_variance / 2) * noise.epsilon, np.asarray(mean, float), np.asarray(log_variance, float)


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 4)], ids=str)
def test_the_budget_counts_three_networks(make_config, shape):
    depth, (height, length, n_image) = n_layers(shape), shape
    _, model, state = built(make_config, shape, budget=20_000)
    w, end = model.width, (height >> depth) * (length >> depth)
    last = w * 2 ** (depth - 1)
    between = sum(16 * w * 2**i * w * 2 ** (i + 1) for i in range(depth - 1))
    biases = sum(w * 2**i for i in range(depth))
    encoder = 16 * w * n_image + between + biases + 2 * LATENTS * (end * last + 1)
    decoder = LATENTS * end * last + between + biases + 16 * w * n_image + n_image
    # One convolution less, and a 4 × 4 convolution to one number.
    without_last = between - 16 * last * last // 2, biases - last
    critic = 16 * w * n_image + sum(without_last) + 16 * last // 2 + 1
    assert model.n_params == encoder + decoder + critic == count_params(state.params)


def test_a_patch_of_eight_by_eight_pixels_sees_ten_of_them_at_most(make_config):
    """2 × 2 patches, each of the pixels within 10 × 10 around it, by the support of its gradient."""
    _, model, state = built(make_config)
    critic = Patches(model.width, (8, 8, 1), batch_norm=False)
    x = jax.random.uniform(jax.random.key(0), (64, 1))
    slopes = jax.jacobian(lambda x: critic.apply(state.params.critic, x)[:, 0])(x)
    assert slopes.shape == (4, 64, 1)
    seen = np.asarray(slopes).reshape(2, 2, 8, 8) != 0
    # The first patch's place −1 + 4·0 … minus the padding: pixels −3 to 6.
    assert np.array_equal(np.flatnonzero(seen[0, 0].any(1)), np.arange(7))
    assert np.array_equal(np.flatnonzero(seen[1, 1].any(0)), np.arange(1, 8))


def test_a_perceptual_loss_knows_directions_alone():
    ours, theirs = (
        [jax.random.normal(jax.random.fold_in(jax.random.key(i), j), (3, 4, 4, 5)) for j in range(2)] for i in (0, 1)
    )
    assert float(perceptual_loss(ours, ours)) == 0
    loss = float(perceptual_loss(ours, theirs))
    assert 0 < loss < 8
    np.testing.assert_allclose(perceptual_loss([7 * f for f in ours], [0.3 * f for f in theirs]), loss, rtol=1e-5)
    # Unit vectors that point to opposite sides are 2 apart, whatever the number of positions; two layers add up.
    assert float(perceptual_loss(ours, [-f for f in ours])) == pytest.approx(8, rel=1e-5)
    np.testing.assert_allclose(np.sum(unit_length(ours[0]) ** 2, axis=0), 1, rtol=1e-5)
    # Where nothing is felt there is a slope.
    assert np.all(np.isfinite(jax.grad(lambda f: jnp.sum(unit_length(f) ** 2))(jnp.zeros((3, 1, 1, 1)))))


def test_free_bits_are_those_of_every_latent():
    rates = jnp.array([0.1, 0.7, 0.0])
    assert float(free_rate(rates, 0.25)) == pytest.approx(0.25 + 0.7 + 0.25)
    assert float(free_rate(rates, 0.0)) == pytest.approx(0.8)


@pytest.mark.parametrize(("n", "share"), [(0, 0), (1, 0.25), (3, 0.75), (4, 1), (900, 1)])
def test_beta_rises_in_a_line(n, share):
    assert float(autoencoding.risen(jnp.asarray(n), 4)) == share
    assert autoencoding.risen(jnp.asarray(n), 0) == 1


def test_without_a_weight_yet_the_encoder_pays_nothing_for_its_code(make_config):
    """In the first step of a warm-up the gradient is that of β = 0: that of the distortion alone."""
    target, rising, state = built(make_config, **SIMPLE, warm_up=100, beta=4.0)
    _, tiny, _ = built(make_config, **SIMPLE, beta=1e-12)
    x, noise = target.sample(jax.random.key(5), B), rising.noise(jax.random.key(6))
    moved = [jax.tree.leaves(jax.jit(m.step)(state, x, noise)[0].params) for m in (rising, tiny)]
    for first, second in zip(*moved, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)


def test_least_squares_are_lowest_where_every_answer_is_right():
    settings = Config(adversarial_loss="least_squares", label_smoothing=0.8)
    right = jnp.full((4, 3), 0.8)
    assert float(critic_loss(right, jnp.zeros((4, 3)), settings)) == 0
    assert float(adversarial_loss(right, settings)) == 0
    # At equilibrium the critic answers s/2 everywhere: its loss is s²/4.
    assert float(critic_loss(right / 2, right / 2, settings)) == pytest.approx(0.16, rel=1e-6)


def test_a_normalised_critic_does_not_know_how_large_its_kernels_are(make_config):
    """Kernels seven times as large make the same losses, but for biases, which are 0 at the start."""
    target, model, state = built(make_config, spectral_norm=True)
    x, noise = target.sample(jax.random.key(5), B), model.noise(jax.random.key(6))
    steeper = jax.tree.map(lambda leaf: 7 * leaf, state.params.critic)
    larger = state._replace(params=state.params._replace(critic=steeper))
    first, second = (jax.jit(model.step)(s, x, noise)[1] for s in (state, larger))
    for name in ("adversarial_loss", "perceptual_loss", "critic_loss"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), rtol=1e-4)
    # A critic that is not normalised does.
    _, plain, _ = built(make_config)
    first, second = (float(jax.jit(plain.step)(s, x, noise)[1].critic_loss) for s in (state, larger))
    assert abs(first - second) > 1e-3


@pytest.mark.parametrize("only", ["adversarial_weight", "perceptual_weight"])
def test_a_critic_is_trained_as_soon_as_something_needs_it(make_config, only):
    target, model, state = built(make_config, **{**SIMPLE, only: 2.0})
    after, infos = trained(target, model, state, 3)
    for before, now in zip(*(jax.tree.leaves(s.params.critic) for s in (state, after)), strict=True):
        assert np.any(before != now)
    bound = infos[0].distortion + infos[0].rate
    part = infos[0].adversarial_loss if only == "adversarial_weight" else infos[0].perceptual_loss
    assert float(infos[0].loss) == pytest.approx(float(bound + 2 * part), rel=1e-5)


def test_the_decoder_s_update_leaves_the_critic_to_its_own(make_config):
    """The critic's first step is the same whatever the weights are, since it is no part of the other objective."""
    critics = []
    for weight in (0.5, 50.0):
        target, model, state = built(make_config, adversarial_weight=weight, perceptual_weight=weight)
        critics.append(jax.tree.leaves(trained(target, model, state, 1)[0].params.critic))
    for first, second in zip(*critics, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-7)


def test_weights_are_arguments_of_a_program_and_off_is_another(make_config):
    config = make_config(vae_gan=dataclasses.replace(Config(), **SIMPLE))
    assert not set(build("VAE_GAN", config, blobs()).numbers) & set(SIMPLE)
    assert set(build("VAE_GAN", make_config(), blobs()).numbers) >= set(SIMPLE)


ALONE = ("--vae-gan.adversarial-weight", "0", "--vae-gan.perceptual-weight", "0")


@pytest.mark.parametrize("scheme", [(), pytest.param(ALONE, marks=pytest.mark.slow)])
def test_a_replay_comes_to_the_same(scheme, here, capfd):
    command = (
        "--num-bins 0 --target-type IMAGE_DIGITS --parameter-budget 3000 --models VAE_GAN --n-steps 8 "
        "--n-evaluations 2 --snapshot-percent 50 --num-seeds 2 --batch-size 16 --n-eval-samples 200 --out-dir out"
    )
    assert script.main([*command.split(), *scheme]) == 0, capfd.readouterr().err
    assert script.main(["--replay", "out/metrics.json"]) == 0, capfd.readouterr().err
    found = json.loads((here / "out_replay" / replay.FILE).read_text(encoding="utf-8"))
    assert (found["same"], found["numbers_differing"], found["arrays_differing"]) == (True, 0, 0)
    names = set(json.loads((here / "out" / "metrics.json").read_text(encoding="utf-8"))["models"]["VAE_GAN"]["history"])
    assert ("critic_loss" in names) == (not scheme)
    assert (here / "out" / "vae_gan_latent_manifold_sweep.png").is_file()

"""Generative adversarial network with the non-saturating loss.

A generator G maps z ~ N(0, I) to an event; a discriminator D gives the probability that an event is real. With
one-sided label smoothing s the discriminator's loss is

    L_D = −E_p[s ln D(x) + (1 − s) ln(1 − D(x))] − E_z[ln(1 − D(G(z)))],    L_G = −E_z[ln D(G(z))],

minimised over D by D*(x) = s·p(x) / (p(x) + q(x)): at equilibrium D is s/2 everywhere, and ½ only without smoothing.

With bins the generator draws a category, in its own update by straight-through Gumbel-softmax (`models.laws`).

References:
  Goodfellow et al., Generative Adversarial Nets, 2014 (eq. 1 and §3; the non-saturating loss).
  Salimans et al., Improved Techniques for Training GANs, 2016 (§3.4, one-sided label smoothing).
  Mescheder, Geiger and Nowozin, Which Training Methods for GANs do actually Converge?, 2018 (eq. 9, R1).
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from core import prng
from core.settings import COUNTED, Settings, setting
from models.adversarial import Norms, Pair, build_pair, sampling, shrinking
from models.base import Model, View, averaged, is_on

# The laws of events that it can draw: all.
LAWS = None


@dataclass(frozen=True)
class Config(Settings, of="GAN"):
    """Settings of the GAN."""

    learning_rate: float = setting(
        0.0, "of the generator's Adam; 0: 6e-4 (bits), 9e-4", low=0, traced=True, stands_for={"bits": 6e-4, "": 9e-4}
    )
    discriminator_learning_rate: float = setting(
        1.5e-3, "of the discriminator's Adam; 0: the generator's", low=0, traced=True
    )
    adam_b1: float = setting(0.5, "first-moment decay of both", low=0, below=1, traced=True)
    latent_dim: int = setting(
        0, "length of z; 0: 2 (bits), 100 (images), 16", low=0, stands_for={"bits": 2, "pixels": 100, "": 16}
    )
    label_smoothing: float = setting(0.9, "s: what D should answer on real data; 1: no smoothing", above=0, high=1)
    gumbel_temperature: float = setting(
        0.0,
        "τ of a relaxed draw; 0: 0.7 (bits), 2.3",
        low=0,
        needs=COUNTED,
        traced=True,
        stands_for={"bits": 0.7, "": 2.3},
    )
    r1_penalty: float = setting(2.0, "γ of γ/2 · E_p ‖∇ logit D‖²; 0: off", low=0, traced=True)
    spectral_norm: bool = setting(False, "divide D's kernels by their largest singular values")
    weight_decay: float = setting(
        0.0,
        "the generator's weights shrink by it times the rate; 0: 0.15 (bits), none",
        low=0,
        traced=True,
        stands_for={"bits": 0.15, "": 0.0},
    )
    average: float = setting(0.9999, "decay of the averaged weights that sample; 0: off", low=0, below=1)


class Networks(NamedTuple):
    """One entry per network; weights, optimisers and their states, and objectives come in this form."""

    generator: Any
    discriminator: Any


class State(NamedTuple):
    """What training carries."""

    params: Networks
    opt_state: Networks


class Noise(NamedTuple):
    """The randomness of one step: latent noise of both updates and, with bins, what their draws of a category take.

    The discriminator's update needs no gradient through its generated batch, so that a plain draw does.
    """

    z_discriminator: jax.Array  # [latent_dim, B] float32
    z_generator: jax.Array  # [latent_dim, B] float32
    draw_discriminator: jax.Array  # [r, B] float32, what a draw of the event's law takes
    draw_generator: jax.Array  # [q, B] float32, what the same with a gradient takes


class Info(NamedTuple):
    """Scalars of one step."""

    loss: jax.Array  # the discriminator's, in nats, without the penalty
    generator_loss: jax.Array  # in nats
    d_real: jax.Array  # mean D over the real minibatch
    d_fake: jax.Array  # mean D over the generated one


def build(config: Any, target: Any) -> Model:
    """Sizes the GAN for the budget: generator and discriminator share one hidden width.

    Args:
      config: the run's configuration; `config.gan` is this family's `Config`.
      target: the distribution to learn; its event is what the model draws.

    Returns:
      The model. Where events have probabilities `log_prob` is an estimate: `generated.probabilities` states its errors;
      otherwise there is no density and `log_prob` is None.

    Raises:
      UserError: the budget is below the smallest GAN for these events.
    """
    law = target.event.law
    settings: Config = config.gan.for_law(law.name)
    # A penalty on the slope at a row needs a D in which that row alone counts.
    norms = Norms(batch=not (settings.spectral_norm or is_on(settings.r1_penalty)), spectral=settings.spectral_norm)
    pair = build_pair(config, target, settings.latent_dim, settings.gumbel_temperature, norms=norms)
    updates = Networks(*pair.updates(_optimisers(settings)))
    objectives = _objectives(settings, pair)

    def init(key, data):
        del data
        params = Networks(*pair.sized.init_params(key))
        return State(params, Networks(*(update.init(net) for update, net in zip(updates, params, strict=True))))

    def noise(key):
        key_z, key_draw, key_gradient = jax.random.split(key, 3)
        z = prng.normal(key_z, (2, settings.latent_dim, config.batch_size))
        n = (config.batch_size,)
        return Noise(z[0], z[1], law.noise(key_draw, n), law.gradient_noise(key_gradient, *n))

    def step(state, batch, noise):
        generator, discriminator = state.params
        fake = pair.generate(generator, noise.z_discriminator, noise.draw_discriminator)
        gradient, info = jax.grad(objectives.discriminator, has_aux=True)(discriminator, batch.T, fake)
        discriminator, opt_discriminator = updates.discriminator.applied(
            discriminator, gradient, state.opt_state.discriminator
        )

        loss, gradient = jax.value_and_grad(objectives.generator)(
            generator, discriminator, noise.z_generator, noise.draw_generator
        )
        generator, opt_generator = updates.generator.applied(generator, gradient, state.opt_state.generator)
        new_state = State(Networks(generator, discriminator), Networks(opt_generator, opt_discriminator))
        return new_state, info._replace(generator_loss=loss)

    model = Model(
        name="GAN",
        n_params=pair.sized.n_params,
        width=pair.sized.width,
        init=init,
        noise=noise,
        step=step,
        **sampling(pair),
        views={"gan_discriminator": _discriminator_view(settings, target, pair)},
        loss_reference=(equilibrium_loss(settings.label_smoothing), "equilibrium of L_D"),
    )
    return averaged(model, settings.average)


def _optimisers(settings: Config) -> Networks:
    rate, rate_discriminator = settings.learning_rate, settings.discriminator_learning_rate
    generator, discriminator = (
        optax.adam(each, b1=settings.adam_b1)
        for each in (rate, rate_discriminator if is_on(rate_discriminator) else rate)
    )
    return Networks(shrinking(generator, rate, settings.weight_decay), discriminator)


def _objectives(settings: Config, pair: Pair) -> Networks:
    """What either network minimises.

    Returns:
      generator: (its weights, the discriminator's, z, the law's gradient noise) -> L_G.
      discriminator: (its weights, real events [event_dim, B], generated ones) -> L_D with the penalty, and the step's
        Info, in which the generator's loss is missing.
    """

    def generator(params, params_discriminator, z, drawn):
        return generator_loss(pair.judge(params_discriminator, pair.generate_with_gradient(params, z, drawn)))

    def discriminator(params, real, fake):
        logit_real, logit_fake = pair.judge(params, real), pair.judge(params, fake)
        loss = discriminator_loss(logit_real, logit_fake, settings.label_smoothing)
        penalty = 0.0
        if is_on(settings.r1_penalty):
            gradient = jax.grad(lambda events: pair.judge(params, events).sum())(real)
            penalty = settings.r1_penalty / 2 * jnp.mean(jnp.sum(gradient**2, axis=0))
        return loss + penalty, Info(loss, None, jnp.mean(nn.sigmoid(logit_real)), jnp.mean(nn.sigmoid(logit_fake)))

    return Networks(generator, discriminator)


def _discriminator_view(settings: Config, target: Any, pair: Pair) -> View:
    """D over the box."""

    @jax.jit
    def discriminator(params, events):
        return nn.sigmoid(pair.judge(params, events.T))

    def arrays(state):
        x, events = target.grid()
        d = discriminator(state.params.discriminator, events)
        return {"x": x, "d": d, "equilibrium": settings.label_smoothing / 2}

    return View("discriminator", arrays, ("d_real", "d_fake"))


def discriminator_loss(logit_real: jax.Array, logit_fake: jax.Array, smoothing: float) -> jax.Array:
    """L_D of the module's docstring from logits [n] and [m], in nats; −L_D is 2·JS − ln 4 at s = 1 and D*."""
    real = optax.sigmoid_binary_cross_entropy(logit_real, smoothing)
    fake = optax.sigmoid_binary_cross_entropy(logit_fake, 0.0)
    return jnp.mean(real) + jnp.mean(fake)


def equilibrium_loss(smoothing: float) -> float:
    """L_D where the generator is perfect and D is s/2 everywhere; ln 4 at s = 1."""
    d = smoothing / 2
    return -smoothing * math.log(d) - (2 - smoothing) * math.log(1 - d)


def generator_loss(logit_fake: jax.Array) -> jax.Array:
    """The non-saturating L_G from logits [m], in nats."""
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logit_fake, 1.0))

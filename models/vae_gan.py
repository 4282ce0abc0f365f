"""VAE_GAN: a variational autoencoder of images, with an adversarial and a perceptual loss.

The encoder and the decoder minimise

    −E_q[ln p(x|z)] + β_t Σⱼ max(λ, KLⱼ) + w_a L_a + w_p L_p,    β_t = β min(1, t/T),

with the minibatch's mean KLⱼ of every latent j: free bits of each latent by itself. Cross-entropy is that of `VAE` on
grey levels. Squared error is ‖x − x̂‖² with x̂ = sigmoid(outputs); as in `VAE` it is β times the bound of N(x̂, β/2),
and the loss that is logged is in nats. With both weights at 0 there is no critic, the budget is the autoencoder's, and
the family is a VAE: the "simple scheme". Otherwise it is the "composite scheme".

**Adversarial.** A critic answers for every patch of an image (PatchGAN). It is trained to answer s for real patches and
0 for patches of reconstructions and of images decoded from z ~ N(0, I), half of each: a code that is never drawn could
not be told by its reconstructions. The loss is least squares or cross-entropy, averaged over patches.

**Perceptual.** The features are those of the critic's own layers (Larsen et al. 2016). At every position of a layer
they become a vector of length 1, squared differences between an image and its reconstruction are summed over channels
and layers, and averaged over positions. No other features would be honest here. Those of the classifier that scores, or
of one like it, would train a family on what it is judged by (FD-clf, KD-clf), and would show it labels that no other
family sees. The critic's features need no label, and its weights belong to the budget. It is trained as soon as
one of the two weights is above 0.

References:
  Larsen, Sønderby, Larochelle and Winther, Autoencoding beyond Pixels Using a Learned Similarity Metric, 2016 (eq. 7,
    the critic's features; algorithm 1, reconstructions and draws).
  Isola, Zhu, Zhou and Efros, Image-to-Image Translation with Conditional Adversarial Networks, 2017 (§3.2, patches).
  Mao et al., Least Squares Generative Adversarial Networks, 2017 (eq. 2, and eq. 9 for a = 0 and c = b).
  Kingma et al., Improved Variational Inference with Inverse Autoregressive Flow, 2016 (appendix C.8, free bits).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from core import prng
from core.settings import Settings, setting
from models import autoencoding, gan, laws
from models.architectures import networks_for
from models.autoencoding import kl_to_standard_normal
from models.base import Model, View, averaged, is_on
from models.images import Patches
from models.perceptual import perceptual_loss
from models.sizing import Sized, sized, update_of

# The laws of events that it can draw.
LAWS = ("pixels",)


@dataclass(frozen=True)
class Config(Settings, of="VAE_GAN"):
    """Settings of the VAE_GAN."""

    learning_rate: float = setting(3e-3, "of the autoencoder's Adam", above=0, traced=True)
    critic_learning_rate: float = setting(3e-3, "of the critic's Adam; 0: the other one", low=0, traced=True)
    adam_b1: float = setting(0.5, "first-moment decay of the critic's Adam", low=0, below=1, traced=True)
    latent_dim: int = setting(20, "length of z", low=1)
    reconstruction: Literal["cross_entropy", "squared_error"] = setting(
        "cross_entropy", "which loss compares an image with its reconstruction"
    )
    beta: float = setting(
        0.0, "weight of the KL term; 0: 0.1 with squared_error, 1 with cross_entropy", low=0, traced=True
    )
    warm_up: int = setting(0, "T: steps in which β rises to its value; 0: none", low=0)
    free_bits: float = setting(
        0.0, "λ: the mean rate of every latent is free up to this value; 0: off", low=0, unit="nats", traced=True
    )
    adversarial_weight: float = setting(5.0, "weight of the adversarial loss; 0: off", low=0, traced=True)
    adversarial_loss: Literal["least_squares", "cross_entropy"] = setting(
        "cross_entropy", "how the critic's answers are compared with what they should be"
    )
    label_smoothing: float = setting(
        0.9, "s: what the critic should answer on real patches; 1: no smoothing", above=0, high=1
    )
    # At 20 000 parameters KD-clf is 1.5 with it and 4.5 without it on MNIST (1 500 steps, one seed; VAE: 1.6), and 0.08
    # and 0.03 on IMAGE_DIGITS (6 000 steps, two seeds; VAE: 0.22).
    spectral_norm: bool = setting(True, "divide the critic's kernels by their largest singular values")
    perceptual_weight: float = setting(1.0, "weight of the perceptual loss; 0: off", low=0, traced=True)
    average: float = setting(0.9999, "decay of the averaged weights that sample; 0: off", low=0, below=1)


class Params(NamedTuple):
    """Trainable weights."""

    encoder: Any
    decoder: Any
    critic: Any  # () without adversarial and perceptual loss


class Optimised(NamedTuple):
    """One entry for what is updated together."""

    autoencoder: Any
    critic: Any


class State(NamedTuple):
    """What training carries."""

    params: Params
    opt_state: Optimised


class Noise(NamedTuple):
    """The randomness of one step."""

    epsilon: jax.Array  # [latent_dim, B] float32, of the code
    z: jax.Array  # [latent_dim, B] float32, decoded for the critic; [latent_dim, 0] where there is none


class Info(NamedTuple):
    """Scalars of one step, means over the minibatch."""

    loss: jax.Array  # distortion + β · rate, with squared error the bound, and the weighted losses below; in nats
    distortion: jax.Array  # E_q[−ln p(x|z)], in nats
    rate: jax.Array  # KL(q(z|x) ‖ p(z)), in nats
    adversarial_loss: jax.Array  # of reconstructions and draws alike
    perceptual_loss: jax.Array  # a squared distance between features, at most 4 a layer
    critic_loss: jax.Array  # before its update


class _Scheme(NamedTuple):
    """What the settings ask for."""

    decoded: autoencoding.Decoded
    has_critic: bool


class _Networks(NamedTuple):
    """The networks of the width that is closest to the budget."""

    sized: Sized
    code: autoencoding.Code
    critic: Patches


def build(config: Any, target: Any) -> Model:
    """Sizes the VAE_GAN for the budget: encoder, decoder and critic share one number of channels.

    Args:
      config: the run's configuration; `config.vae_gan` is this family's `Config`.
      target: the distribution to learn; its event is an image.

    Returns:
      The model. It has a bound with cross-entropy. With squared error it has none: images are drawn as the critic sees
      them, without the noise of N(x̂, β/2).

    Raises:
      UserError: the budget is below the smallest VAE_GAN for these images.
    """
    settings: Config = config.vae_gan
    scheme = _scheme_of(settings, target.event.law)
    networks = _networks_of(config, target, scheme)
    coder = autoencoding.autoencoder(target, networks.code, scheme.decoded)
    updates = _updates_of(settings, networks.sized.shapes)
    objective, critic_objective = _objectives(settings, scheme, networks, coder)

    def init(key, data):
        del data
        params = networks.sized.init_params(key)
        autoencoder, critic = (update.init(part) for update, part in zip(updates, _apart(params), strict=True))
        return State(params, Optimised(autoencoder, critic if scheme.has_critic else ()))

    def noise(key):
        shape = settings.latent_dim, config.batch_size
        if not scheme.has_critic:
            return Noise(prng.normal(key, shape), jnp.zeros((settings.latent_dim, 0)))
        return Noise(*(prng.normal(each, shape) for each in jax.random.split(key)))

    def step(state, batch, noise):
        real, (weights, critic) = batch.T, _apart(state.params)
        n_updates = optax.tree_utils.tree_get(state.opt_state.autoencoder, "count")
        gradient, (info, fake) = jax.grad(objective, has_aux=True)(weights, critic, real, noise, n_updates)
        weights, opt_autoencoder = updates.autoencoder.applied(weights, gradient, state.opt_state.autoencoder)
        if not scheme.has_critic:
            return State(Params(*weights, critic), Optimised(opt_autoencoder, state.opt_state.critic)), info
        loss, gradient = jax.value_and_grad(critic_objective)(critic, real, fake)
        critic, opt_critic = updates.critic.applied(critic, gradient, state.opt_state.critic)
        return State(Params(*weights, critic), Optimised(opt_autoencoder, opt_critic)), info._replace(critic_loss=loss)

    units = {"perceptual_loss": "squared distance"}
    if settings.adversarial_loss == "least_squares":
        units |= dict.fromkeys(("adversarial_loss", "critic_loss"), "squared error")
    model = Model(
        name="VAE_GAN",
        n_params=networks.sized.n_params,
        width=networks.sized.width,
        init=init,
        noise=noise,
        step=step,
        **coder.fields,
        bound=None if scheme.decoded.law.has_scale else coder.bound,
        views={"vae_gan_latent_manifold_sweep": View("latent_sweep", coder.latent_view, needs_rows=True)},
        info_units=units if scheme.has_critic else {},
    )
    return averaged(model, settings.average)


def critic_loss(real: jax.Array, fake: jax.Array, settings: Config) -> jax.Array:
    """What the critic minimises, from its answers for patches [patches, n] and [patches, m]."""
    if settings.adversarial_loss == "cross_entropy":
        return gan.discriminator_loss(real, fake, settings.label_smoothing)
    return (jnp.mean((real - settings.label_smoothing) ** 2) + jnp.mean(fake**2)) / 2


def adversarial_loss(fake: jax.Array, settings: Config) -> jax.Array:
    """What the decoder is told of the critic's answers [patches, m]."""
    if settings.adversarial_loss == "cross_entropy":
        return gan.generator_loss(fake)
    return jnp.mean((fake - settings.label_smoothing) ** 2) / 2


def _scheme_of(settings: Config, law: laws.Law) -> _Scheme:
    has_scale = settings.reconstruction == "squared_error"
    if has_scale:
        plain = laws.normal(law.n_outputs)

        def log_prob(outputs, events, log_scale, axis=-1):
            return plain.log_prob(law.mean(outputs, axis), events, log_scale, axis)

        law = law._replace(has_scale=True, log_prob=log_prob)
    has_critic = is_on(settings.adversarial_weight) or is_on(settings.perceptual_weight)
    return _Scheme(autoencoding.Decoded(law, autoencoding.weight_of_kl(settings.beta, has_scale)), has_critic)


def _networks_of(config: Any, target: Any, scheme: _Scheme) -> _Networks:
    """The networks of the width that is closest to the budget."""
    settings: Config = config.vae_gan
    size, latent_dim = target.event.size, settings.latent_dim
    makers = networks_for(target.event, config.hidden_layers, nn.tanh)

    def of_width(width):
        critic = Patches(width, target.event.shape, batch_norm=False, spectral_norm=settings.spectral_norm)
        return makers.from_event(width, 2 * latent_dim), makers.to_event(width, scheme.decoded.law.n_outputs), critic

    def init_params(key, networks):
        encoder, decoder, critic = networks
        keys = jax.random.split(key, 2 + scheme.has_critic)
        return Params(
            encoder.init(keys[0], jnp.zeros((size, 1))),
            decoder.init(keys[1], jnp.zeros((latent_dim, 1))),
            critic.init(keys[2], jnp.zeros((size, 1))) if scheme.has_critic else (),
        )

    networks = sized(of_width, init_params, config.parameter_budget)
    encoder, decoder, critic = networks.networks
    return _Networks(networks, autoencoding.Code(encoder, decoder, makers, latent_dim), critic)


def _updates_of(settings: Config, shapes: Params) -> Optimised:
    """Adam for either part of the weights."""
    rate = settings.critic_learning_rate
    optimisers = (
        optax.adam(settings.learning_rate),
        optax.adam(rate if is_on(rate) else settings.learning_rate, b1=settings.adam_b1),
    )
    return Optimised(*map(update_of, optimisers, _apart(shapes)))


def _objectives(
    settings: Config, scheme: _Scheme, networks: _Networks, coder: autoencoding.Autoencoder
) -> tuple[Callable, Callable]:
    """What both parts of the weights minimise.

    Returns:
      (weights of encoder and decoder, the critic's, images [size, B], Noise, updates so far) -> a scalar, with the
      step's Info and the images [size, 2 B] that the critic is trained on; and (the critic's weights, images, those) ->
      a scalar.
    """
    decoded = scheme.decoded

    def bound_of(params, events, noise, n_updates):
        """The objective of the simple scheme, its Info and the decoder's images: reconstructions, then draws."""
        z, mean, log_variance = coder.encoded(params, events, noise.epsilon)
        n = events.shape[1]
        outputs = networks.code.decoder.apply(params.decoder, jnp.concatenate([z, noise.z], axis=1))
        distortion = -jnp.mean(coder.log_likelihood(params, events, outputs[:, :n], axis=0))
        rates = kl_to_standard_normal(mean, log_variance, axis=1) / n
        risen = autoencoding.risen(n_updates, settings.warm_up)
        paid = risen * decoded.weight * autoencoding.free_rate(rates, settings.free_bits)
        rate = jnp.sum(rates)
        info = autoencoding.Info(distortion + decoded.weight * rate, distortion, rate)
        return decoded.scale * (distortion + paid), info, decoded.law.mean(outputs, axis=0)

    def objective(weights, critic, events, noise, n_updates):
        params = Params(*weights, critic)
        total, info, fake = bound_of(params, events, noise, n_updates)
        if not scheme.has_critic:
            return total, (info, fake)
        n = events.shape[1]
        images = jnp.concatenate([fake, events], axis=1)
        answers, kept = networks.critic.apply(critic, images, mutable=["intermediates"])
        features = kept["intermediates"]["features"]
        adversarial = adversarial_loss(answers[:, :-n], settings)
        perceptual = perceptual_loss([f[..., :n] for f in features], [f[..., -n:] for f in features])
        more = settings.adversarial_weight * adversarial + settings.perceptual_weight * perceptual
        loss = info.loss + more / decoded.scale
        return total + more, (Info(loss, info.distortion, info.rate, adversarial, perceptual, loss), fake)

    def critic_objective(critic, real, fake):
        answers = networks.critic.apply(critic, jnp.concatenate([real, fake], axis=1))
        return critic_loss(answers[:, : real.shape[1]], answers[:, real.shape[1] :], settings)

    return objective, critic_objective


def _apart(params: Params) -> tuple[Any, Any]:
    """What is updated together: encoder and decoder, and the critic."""
    return (params.encoder, params.decoder), params.critic

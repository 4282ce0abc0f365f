"""Variational autoencoder with a Gaussian encoder and a Gaussian, categorical or Bernoulli decoder.

With squared error the objective ‖x − x̂‖² + β·KL(q(z|x) ‖ N(0, I)) is β times a negative evidence lower bound whose
decoder is N(x̂, σ²I) with σ² = β/2, so the model draws with that σ and logs the bound itself, in nats:

    −ELBO = (‖x − x̂‖² + β·KL)/β + (D/2) ln(πβ).

A learned σ minimises ‖x − x̂‖²/2σ² + D ln σ + KL + (D/2) ln 2π. With cross-entropy the decoder is categorical (bins) or
Bernoulli (bit strings), and the objective is −ln p(x|z) + β·KL, the bound itself at β = 1. A sample is always one of
p(x|z): the decoder's mean is not a sample of the model.

A decoder that can tell the target by itself leaves its code unused: the rate KL(q(z|x) ‖ p(z)) falls to 0 (posterior
collapse). So the rate may have so many nats for nothing: the objective takes max(λ, the minibatch's mean rate) in its
place, free bits over all latents together. During a warm-up β rises from 0 to its value. What is logged is the bound.

References:
  Kingma and Welling, Auto-Encoding Variational Bayes, 2014 (eq. 10 and appendix B, the Gaussian KL).
  Higgins et al., beta-VAE, 2017 (eq. 4).
  Kingma et al., Improved Variational Inference with Inverse Autoregressive Flow, 2016 (appendix C.8, free bits).
  Bowman et al., Generating Sentences from a Continuous Space, 2016 (§3.1, the KL term's weight that rises).
  Alemi et al., Fixing a Broken ELBO, 2018 (eq. 3 to 6: rate, distortion, and D + R ≥ H).
  Rybkin, Daniilidis and Levine, Simple and Effective VAE Training with Calibrated Decoders, 2021 (§3, σ and β).
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from core import prng
from core.captions import Caption
from core.errors import UserError
from core.settings import Need, Settings, setting
from models import autoencoding, latent_density, laws
from models.architectures import networks_for
from models.autoencoding import Info, kl_to_standard_normal
from models.base import Model, SweepView, View, averaged, is_on
from models.sizing import Sized, sized, update_of

# The distortion is a density's of the decoder with the σ that belongs to β: D + R bounds −E ln q at every β.
SWEEP_VIEWS = {
    "vae_rate_distortion": SweepView(
        setting="beta",
        x="rate",
        y="distortion",
        labels=("β", "rate (nats)", "distortion (nats)"),
        known_as="BETA_VAE",
        values=(0.1, 0.25, 0.5, 1.0, 2.0, 4.0),
        # The rate of a large β is as small as it is.
        beside={"free_bits": 0.0},
        caption=Caption(
            "Rate and distortion",
            "The distortion against the rate, a point for every β: no model lies below the dotted line, and a rate "
            "near zero means that the code is not used.",
        ),
    )
}


def _has_squared_error(config: Any) -> bool:
    chosen = config.vae.reconstruction
    return chosen == "squared_error" or (chosen == "auto" and config.continuous)


_SQUARED_ERROR = Need("with squared_error", _has_squared_error, 'set VAE.reconstruction = "squared_error"')


# The laws of events that it can draw: all.
LAWS = None


@dataclass(frozen=True)
class Config(Settings, of="VAE"):
    """Settings of the VAE."""

    learning_rate: float = setting(3e-3, "of Adam", above=0, traced=True)
    latent_dim: int = setting(0, "length of z; 0: 20 (images), 2", low=0, stands_for={"pixels": 20, "": 2})
    reconstruction: Literal["auto", "squared_error", "cross_entropy"] = setting(
        "auto", "which loss; auto: squared_error if continuous, otherwise cross_entropy"
    )
    beta: float = setting(
        0.0, "weight of the KL term; 0: 0.1 with squared_error, 1 with cross_entropy", low=0, traced=True
    )
    free_bits: float = setting(
        0.5, "λ: the mean rate of a minibatch is free up to this value; 0: off", low=0, unit="nats", traced=True
    )
    warm_up: int = setting(0, "steps in which β rises to its value; 0: none", low=0)
    learn_sigma: bool = setting(False, "train σ of p(x|z), with β = 1", needs=_SQUARED_ERROR)
    average: float = setting(0.9999, "decay of the averaged weights that sample; 0: off", low=0, below=1)

    def check(self):
        """And that β is its default where σ is learnt."""
        super().check()
        if self.learn_sigma and self.beta not in (0, 1):
            raise UserError(f"VAE.beta = {self.beta:g} must be 1 (or 0, its default) when VAE.learn_sigma is on")


class Params(NamedTuple):
    """Trainable weights."""

    encoder: Any
    decoder: Any
    log_sigma: Any  # [1] float32 when σ is learned, else ()


class State(NamedTuple):
    """What training carries."""

    params: Params
    opt_state: Any


def build(config: Any, target: Any, fineness: float = 1.0) -> Model:
    """Sizes the VAE for the budget: encoder and decoder share one hidden width.

    Args:
      config: the run's configuration; `config.vae` is this family's `Config`.
      target: the distribution to learn; its event is what the model draws.
      fineness: of the grid that integrates over the latent, in nodes a unit along an axis.

    Returns:
      The model. `log_prob` integrates over a latent of up to two dimensions on a grid ("exact" up to quadrature
      error), and over a longer one by fixed draws from N(0, I) ("estimate"). With bins and squared error there is none.

    Raises:
      UserError: the budget is below the smallest VAE for these events, or cross_entropy was asked for
        of events that have a density.
    """
    event_dim, law = target.event.size, target.event.law
    settings: Config = config.vae.for_law(law.name)
    decoded = _decoded_of(settings, law, event_dim)
    networks, code = _networks_of(config, target, decoded)
    coder = autoencoding.autoencoder(target, code, decoded)
    update = update_of(optax.adam(settings.learning_rate), networks.shapes)
    objective = _objective(settings, decoded, code, coder)

    def init(key, data):
        del data
        params = networks.init_params(key)
        return State(params, update.init(params))

    def noise(key):
        return prng.normal(key, (settings.latent_dim, config.batch_size))

    def step(state, batch, noise):
        n_updates = optax.tree_utils.tree_get(state.opt_state, "count")
        gradient, info = jax.grad(objective, has_aux=True)(state.params, batch.T, noise, n_updates)
        return State(*update.applied(state.params, gradient, state.opt_state)), info

    def features(state):
        # Everywhere the density is one of kernels of the decoder's width.
        return None, jnp.exp(2 * decoded.log_sigma(state.params)) * jnp.eye(event_dim)[None]

    density = {}
    if decoded.nearest is None:
        refined = functools.partial(build, config, target)
        density = latent_density.fields(decoded.law, settings.latent_dim, coder, fineness, refined)
    model = Model(
        name="VAE",
        n_params=networks.n_params,
        width=networks.width,
        init=init,
        noise=noise,
        step=step,
        **coder.fields,
        **density,
        features=features if law.has_scale else None,
        views={"vae_latent_manifold_sweep": View("latent_sweep", coder.latent_view, needs_rows=True)},
        loss_reference=_loss_reference(target, decoded),
    )
    return averaged(model, settings.average)


def _decoded_of(settings: Config, law: laws.Law, event_dim: int) -> autoencoding.Decoded:
    """What the settings make of p(x|z): the event's own law.

    Or, for squared error of what has no scale, a normal one with the events that are nearest to its draws.
    """
    if settings.reconstruction == "cross_entropy" and law.has_scale:
        raise UserError(
            "VAE.reconstruction = 'cross_entropy' needs events with probabilities, such as bins (NUM_BINS > 0); choose "
            "'auto' or 'squared_error'"
        )
    by_distance = settings.reconstruction == "squared_error" and not law.has_scale
    decoded = laws.normal(event_dim) if by_distance else law
    learn_sigma = settings.learn_sigma and decoded.has_scale
    beta = autoencoding.weight_of_kl(settings.beta, decoded.has_scale and not learn_sigma)
    return autoencoding.Decoded(decoded, beta, learn_sigma, law.nearest if by_distance else None)


def _networks_of(config: Any, target: Any, decoded: autoencoding.Decoded) -> tuple[Sized, autoencoding.Code]:
    """The networks of the width that is closest to the budget."""
    event_dim = target.event.size
    latent_dim = config.vae.for_law(target.event.law.name).latent_dim
    makers = networks_for(target.event, config.hidden_layers, nn.tanh)

    def of_width(width):
        return makers.from_event(width, 2 * latent_dim), makers.to_event(width, decoded.law.n_outputs)

    def init_params(key, networks):
        encoder, decoder = networks
        key_encoder, key_decoder = jax.random.split(key)
        return Params(
            encoder.init(key_encoder, jnp.zeros((event_dim, 1))),
            decoder.init(key_decoder, jnp.zeros((latent_dim, 1))),
            jnp.zeros((1,)) if decoded.learn_sigma else (),
        )

    networks = sized(of_width, init_params, config.parameter_budget)
    return networks, autoencoding.Code(*networks.networks, makers, latent_dim)


def _objective(
    settings: Config, decoded: autoencoding.Decoded, code: autoencoding.Code, coder: autoencoding.Autoencoder
) -> Callable[..., tuple[jax.Array, Info]]:
    """(weights, events [size, B], ε [latent_dim, B], updates so far) -> what is minimised, and the step's Info."""

    def objective(params, events, epsilon, n_updates):
        z, mean, log_variance = coder.encoded(params, events, epsilon)
        outputs = code.decoder.apply(params.decoder, z)
        distortion = -jnp.mean(coder.log_likelihood(params, events, outputs, axis=0))
        rate = jnp.mean(kl_to_standard_normal(mean, log_variance, axis=0))
        paid = jnp.maximum(rate, settings.free_bits) if is_on(settings.free_bits) else rate
        risen = autoencoding.risen(n_updates, settings.warm_up)
        # Squared error minimises β times the bound, as written above: Adam's ε apart this is the bound's own descent.
        total = decoded.scale * (distortion + risen * decoded.weight * paid)
        return total, Info(distortion + decoded.weight * rate, distortion, rate)

    return objective


def _loss_reference(target: Any, decoded: autoencoding.Decoded) -> tuple[float, str] | None:
    """The target's entropy, where the loss is a bound on −ln p: none can be below it."""
    # A user's table has no entropy. β ≠ 1 with cross-entropy is no bound; where β is traced nobody asks.
    at_one = not isinstance(decoded.beta, jax.core.Tracer) and decoded.beta == 1
    is_bound = decoded.nearest is None and target.comparable and (at_one or decoded.law.has_scale)
    return (target.entropy, "entropy of the target") if is_bound and target.entropy is not None else None

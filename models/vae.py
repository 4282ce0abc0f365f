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
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from budget import solve_width
from core import prng
from core.captions import Caption
from core.errors import UserError
from core.settings import Need, Settings, setting
from models import autoencoding, latent, laws
from models.architectures import networks_for
from models.autoencoding import Info, kl_to_standard_normal
from models.base import Model, SweepView, View, averaged, count_params, is_on, packing

# The spacing of the grid of z that integrates the decoder, for events of one and of two coordinates. Steep decoders
# need a fine one: at 0.1 a trained model's divergence was off by 1e-3 nats; tests hold it to 1e-5.
_Z_SPACING = (1 / 30, 1 / 20)
# All strings take one product of matrices, so that their grid may become finer than others: a decoder of few strings
# turns sharply from one to the next.
_Z_SPACING_OF_BITS, _COARSER_OF_BITS, _FINEST_OF_BITS = 1 / 30, 1 / 2, 6.0
# Where that is too coarse for a density, which then differs from a moved grid's, it is made finer up to twice. On
# 1D_BIMODAL and 2D_RING (20 000 steps, and 8 000) once takes 25 times and 10 times off the mean difference.
_FINER, _FINEST = 1.5, 2.0
# In mid-training a coarser grid is tried first, for probabilities and for densities, which are narrower. On the default
# target, after 100, 2 000 and 6 000 steps, the exact KL is off by less than 2e-9 nats, in a thirtieth of the time.
_COARSER = (1 / 8, 1 / 2)

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
    latent_dim = settings.latent_dim
    if settings.reconstruction == "cross_entropy" and law.has_scale:
        raise UserError(
            "VAE.reconstruction = 'cross_entropy' needs events with probabilities, such as bins (NUM_BINS > 0); choose "
            "'auto' or 'squared_error'"
        )
    # p(x|z): the event's own law; or, for squared error of what has no scale, a normal one with the events that are
    # nearest to its draws.
    by_distance = settings.reconstruction == "squared_error" and not law.has_scale
    decoded = laws.normal(event_dim) if by_distance else law
    learn_sigma = settings.learn_sigma and decoded.has_scale
    # Where the law has a scale, the weight of the squared error stands for it, and the objective is the bound at any β.
    fixed_scale = decoded.has_scale and not learn_sigma
    beta = autoencoding.weight_of_kl(settings.beta, fixed_scale)

    makers = networks_for(target.event, config.hidden_layers, nn.tanh)

    def networks(width):
        return makers.from_event(width, 2 * latent_dim), makers.to_event(width, decoded.n_outputs)

    def init_params(key, nets):
        key_encoder, key_decoder = jax.random.split(key)
        return Params(
            nets[0].init(key_encoder, jnp.zeros((event_dim, 1))),
            nets[1].init(key_decoder, jnp.zeros((latent_dim, 1))),
            jnp.zeros((1,)) if learn_sigma else (),
        )

    def shapes(width):
        return jax.eval_shape(functools.partial(init_params, nets=networks(width)), jax.random.key(0))

    def count(width):
        return count_params(shapes(width))

    width = solve_width(count, config.parameter_budget)
    encoder, decoder = networks(width)
    pack, unpack = packing(shapes(width))
    optimiser = optax.adam(settings.learning_rate)

    def log_sigma(params):
        if not decoded.has_scale:
            return None
        return params.log_sigma[0] if learn_sigma else 0.5 * jnp.log(beta / 2)

    coder = autoencoding.autoencoder(
        target,
        autoencoding.Code(encoder, decoder, makers, latent_dim),
        autoencoding.Decoded(decoded, log_sigma, law.nearest if by_distance else None),
    )
    decode, log_likelihood = coder.outputs, coder.log_likelihood

    def init(key, data):
        del data
        params = init_params(key, (encoder, decoder))
        return State(params, optimiser.init(pack(params)))

    def noise(key):
        return prng.normal(key, (latent_dim, config.batch_size))

    def objective(params, events, epsilon, n_updates):
        z, mean, log_variance = coder.encoded(params, events, epsilon)
        distortion = -jnp.mean(log_likelihood(params, events, decoder.apply(params.decoder, z), axis=0))
        rate = jnp.mean(kl_to_standard_normal(mean, log_variance, axis=0))
        weight = 1.0 if decoded.has_scale else beta
        paid = jnp.maximum(rate, settings.free_bits) if is_on(settings.free_bits) else rate
        risen = autoencoding.risen(n_updates, settings.warm_up)
        # Squared error minimises β times the bound, as written above: Adam's ε apart this is the bound's own descent.
        scale = beta if fixed_scale else 1.0
        return scale * (distortion + risen * weight * paid), Info(distortion + weight * rate, distortion, rate)

    def step(state, batch, noise):
        n_updates = optax.tree_utils.tree_get(state.opt_state, "count")
        gradient, info = jax.grad(objective, has_aux=True)(state.params, batch.T, noise, n_updates)
        updates, opt_state = optimiser.update(pack(gradient), state.opt_state)
        return State(unpack(optax.apply_updates(pack(state.params), updates)), opt_state), info

    def of_states(params, nodes, log_weights):
        """ln q of every state that there is, under the decoder at these nodes."""

        def add(log_sums, block):
            z, log_weight = block
            return jnp.logaddexp(log_sums, decoded.log_mixture(decode(params, z).T, log_weight)), None

        start = jnp.full(decoded.states.n, -jnp.inf, log_weights.dtype)
        return jax.lax.scan(add, start, (nodes, log_weights))[0]

    def log_prob_by(state, x, shift, fineness):
        """By the rule whose nodes are moved by that share of their distance along every axis."""
        spacing = _Z_SPACING_OF_BITS if decoded.log_mixture else _Z_SPACING[decoded.has_scale and event_dim > 1]
        spacing /= fineness
        nodes, log_weights = latent.nodes_of(latent_dim, spacing, x.dtype, shift)
        if decoded.log_mixture:
            return of_states(state.params, nodes, log_weights)[decoded.states.index(x)]
        # In blocks that stay in the cache, or every row would pull all nodes through memory several times. Decoded in
        # blocks as well: at 10⁷ parameters the hidden layers of all nodes at once would take seven GiB.
        blocks = jax.lax.map(lambda z: decode(state.params, z), nodes), log_weights

        def of_row(row):
            def add(log_sum, block):
                output, log_weight = block
                each = log_likelihood(state.params, row[None], output) + log_weight
                return jnp.logaddexp(log_sum, jax.nn.logsumexp(each)), None

            return jax.lax.scan(add, jnp.asarray(-jnp.inf, x.dtype), blocks)[0]

        return jax.lax.map(of_row, x, batch_size=64)

    def direct(params, x, key):
        nodes, log_weights = latent.moved_nodes(settings.latent_dim, key)
        if not decoded.has_scale:
            return laws.log_mixture_at(decoded, decode(params, nodes).T, log_weights, x)
        each = log_likelihood(params, x[:, None], decode(params, nodes)[None])
        return jax.nn.logsumexp(each + log_weights[None], axis=1)

    def rule(fineness):
        """The fields of a model that integrates over z on such a grid."""

        def log_prob(state, x):
            return log_prob_by(state, x, 0.0, fineness)

        def log_prob_error(state, x):
            return log_prob_by(state, x, 0.5, fineness) - log_prob(state, x)

        return {"log_prob": jax.jit(log_prob), "log_prob_error": jax.jit(log_prob_error)}

    def features(state):
        # Everywhere the density is one of kernels of the decoder's width.
        return None, jnp.exp(2 * log_sigma(state.params)) * jnp.eye(event_dim)[None]

    # No bound on −ln p can be below the entropy; a user's table has none, and β ≠ 1 with cross-entropy is no bound.
    # Where β is traced nobody asks.
    at_one = not isinstance(beta, jax.core.Tracer) and beta == 1
    is_bound = not by_distance and target.comparable and (at_one or decoded.has_scale)
    reference = (target.entropy, "entropy of the target") if is_bound and target.entropy is not None else None
    # Of grey levels neither a grid nor draws from N(0, I) reach the few z that matter: `models.likelihood` has a bound.
    has_density = not by_distance and (decoded.has_scale or decoded.states is not None)
    by_grid = has_density and latent_dim <= 2
    coarser, finest = _COARSER[decoded.has_scale], _FINEST
    if decoded.log_mixture:
        coarser, finest = _COARSER_OF_BITS, _FINEST_OF_BITS
    model = Model(
        name="VAE",
        n_params=count(width),
        width=width,
        init=init,
        noise=noise,
        step=step,
        **coder.fields,
        bound=None if by_distance or has_density else coder.bound,
        log_prob=rule(fineness)["log_prob"] if has_density else None,
        log_prob_kind=None if not has_density else "exact" if latent_dim <= 2 else "estimate",
        direct=direct if has_density else None,
        features=features if law.has_scale else None,
        log_prob_error=rule(fineness)["log_prob_error"] if by_grid else None,
        quick=rule(coarser * fineness) if by_grid else {},
        finer=functools.partial(build, config, target, _FINER * fineness) if by_grid and fineness < finest else None,
        views={"vae_latent_manifold_sweep": View("latent_sweep", coder.latent_view, needs_rows=True)},
        loss_reference=reference,
    )
    return averaged(model, settings.average)

"""What variational autoencoders share: the code, draws from the decoder, the bound and the map of two latents.

References:
  Kingma and Welling, Auto-Encoding Variational Bayes, 2014 (eq. 10 and appendix B, the Gaussian KL).
  Kingma et al., Improved Variational Inference with Inverse Autoregressive Flow, 2016 (appendix C.8, free bits).
  Bowman et al., Generating Sentences from a Continuous Space, 2016 (§3.1, the KL term's weight that rises).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from models.architectures import Networks, applied
from models.base import is_on
from models.laws import Law
from models.likelihood import importance_weighted

_BOUND_DRAWS = 1000  # k of the importance-weighted bound


class Info(NamedTuple):
    """Scalars of one step, means over the minibatch in nats."""

    loss: jax.Array  # the negative ELBO (with cross-entropy and β ≠ 1: the objective)
    distortion: jax.Array  # E_q[−ln p(x|z)]
    rate: jax.Array  # KL(q(z|x) ‖ p(z))


class Code(NamedTuple):
    """The networks on both sides of z."""

    encoder: nn.Module  # from an event to the means and log variances of q(z|x)
    decoder: nn.Module  # from z to the outputs of p(x|z)
    makers: Networks  # that both belong to
    latent_dim: int


class Decoded(NamedTuple):
    """What p(x|z) is, and how the objective weighs it."""

    law: Law
    beta: Any  # weight of the KL term; where the law has a scale that is not learnt, it stands for that
    learn_sigma: bool = False  # the parameters have a `log_sigma` [1]
    nearest: Callable[[jax.Array], jax.Array] | None = None  # from its draws to events; None: they are events

    @property
    def scale(self) -> Any:
        """How many bounds the objective is: β where it stands for the decoder's variance."""
        return self.beta if self.law.has_scale and not self.learn_sigma else 1.0

    @property
    def weight(self) -> Any:
        """Of the rate beside the distortion, both in nats."""
        return 1.0 if self.law.has_scale else self.beta

    def log_sigma(self, params: Any) -> Any:
        """The law's scale; None: it has none."""
        if not self.law.has_scale:
            return None
        return params.log_sigma[0] if self.learn_sigma else 0.5 * jnp.log(self.beta / 2)


class Autoencoder(NamedTuple):
    """Functions of parameters that have an `encoder` and a `decoder`."""

    encoded: Callable[..., tuple[jax.Array, ...]]  # (params, events [size, n], ε [latent_dim, n]) -> z, and mean and
    # log variance of q(z|x), all [latent_dim, n]
    outputs: Callable[..., jax.Array]  # (params, z [n, latent_dim]) -> [n, n_outputs]
    decode_mean: Callable[..., jax.Array]  # (params, z [n, latent_dim]) -> E[x|z] [n, size]
    log_likelihood: Callable[..., jax.Array]  # (params, events, outputs, axis) -> ln p(x|z) [n]
    bound: Callable[..., jax.Array]  # as that of a `Model`
    latent_view: Callable[..., dict]  # the arrays of a View that needs rows
    fields: Mapping[str, Any]  # of a `Model`: how it draws, encodes, decodes and reconstructs


def autoencoder(target: Any, code: Code, decoded: Decoded) -> Autoencoder:
    """The functions of an encoder and a decoder.

    Args:
      target: the distribution to learn.
      code: the networks.
      decoded: the law of p(x|z).
    """
    latent_dim, law = code.latent_dim, decoded.law
    outputs_of, codes_of = applied(code.decoder, code.makers), applied(code.encoder, code.makers)

    def encoded(params, events, epsilon):
        mean, log_variance = jnp.split(code.encoder.apply(params.encoder, events), 2)
        return mean + jnp.exp(log_variance / 2) * epsilon, mean, log_variance

    def outputs(params, z):
        return outputs_of(params.decoder, z.T).T

    def log_likelihood(params, events, output, axis=-1):
        return law.log_prob(output, events, decoded.log_sigma(params), axis)

    def sample(key, state, n):
        key_z, key_x = jax.random.split(key)
        output = outputs(state.params, jax.random.normal(key_z, (n, latent_dim)))
        drawn = law.draw_rows(key_x, output, decoded.log_sigma(state.params))
        return drawn if decoded.nearest is None else decoded.nearest(drawn)

    def decode_mean(params, z):
        return law.mean(outputs(params, z))

    def sample_mean(key, state, n):
        return decode_mean(state.params, jax.random.normal(key, (n, latent_dim)))

    def encode(state, x):
        return jnp.split(codes_of(state.params.encoder, x.T), 2)[0].T

    @jax.jit
    def bound(key, state, x):
        def codes(x):
            return jnp.split(codes_of(state.params.encoder, x.T).T, 2, axis=1)

        return importance_weighted(
            key, x, _BOUND_DRAWS, codes, lambda x, z: log_likelihood(state.params, x, outputs(state.params, z))
        )

    fields = {
        "sample": sample,
        "sample_mean": sample_mean,
        "latent_dim": latent_dim,
        "decode": lambda state, z: decode_mean(state.params, z),
        "encode": encode,
        "reconstruct": lambda state, x: decode_mean(state.params, encode(state, x)),
    }
    latent_view = _latent_view_of(target, code, decode_mean, law.unit_vectors)
    return Autoencoder(encoded, outputs, decode_mean, log_likelihood, bound, latent_view, fields)


def _latent_view_of(target: Any, code: Code, decode_mean: Any, shows_probabilities: bool) -> Callable[..., dict]:
    latent_dim = code.latent_dim

    @jax.jit
    def latent_view(state, rows):
        """E[x|z] over z₁ and z₂ in [−3, 3], or z₁ alone, the other latents at 0; p(x|z) of bins; the rate of rows."""
        n_shown = min(latent_dim, 2)

        def over(axis, function):
            z = jnp.stack(jnp.meshgrid(*[axis] * n_shown, indexing="xy"), axis=-1).reshape(-1, n_shown)
            z = jnp.pad(z, ((0, 0), (0, latent_dim - n_shown)))
            found = function(decode_mean(state.params, z))
            return found.reshape(*[len(axis)] * n_shown, found.shape[1])

        mean, log_variance = jnp.split(code.encoder.apply(state.params.encoder, rows.T), 2)
        axis, few = jnp.linspace(-3.0, 3.0, 61), jnp.linspace(-3.0, 3.0, 7 if n_shown == 2 else 61)
        shown = {"z": axis, "mean": over(axis, target.codec.decode_mean), "more": latent_dim - n_shown}
        shown["rate"] = jnp.mean(kl_to_standard_normal(mean, log_variance, axis=0))
        return shown | ({"few": few, "probabilities": over(few, lambda p: p)} if shows_probabilities else {})

    return latent_view


def weight_of_kl(beta: Any, fixed_scale: bool) -> Any:
    """β: what was asked for, or the default: 0.1 where it stands for the decoder's σ, and 1."""
    return beta if is_on(beta) else 0.1 if fixed_scale else 1.0


def risen(n_updates: jax.Array, warm_up: int) -> Any:
    """The share of β after so many updates: min(1, t/T)."""
    return jnp.minimum(1.0, n_updates / warm_up) if warm_up else 1.0


def free_rate(rates: jax.Array, free_bits: Any) -> jax.Array:
    """Σⱼ max(λ, KLⱼ) of the rates of all latents [latent_dim]; with λ = 0 their sum."""
    return jnp.sum(jnp.maximum(rates, free_bits) if is_on(free_bits) else rates)


def kl_to_standard_normal(mean: jax.Array, log_variance: jax.Array, axis: int = -1) -> jax.Array:
    """KL(N(mean, diag exp(log_variance)) ‖ N(0, I)) in nats, summed over the axis (Kingma and Welling, appendix B)."""
    return 0.5 * jnp.sum(mean**2 + jnp.exp(log_variance) - 1 - log_variance, axis=axis)

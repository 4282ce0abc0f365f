"""What adversarial families share: a generator, a network that judges its events, and draws through both.

The generator maps z ~ N(0, I) to an event; the judge, a discriminator or a critic, gives an event one number. With bins
the generator's outputs are logits of a category. Its own update draws by straight-through Gumbel-softmax: the one-hot
argmax of logits + g forwards, the softmax at temperature τ backwards. The argmax has the distribution softmax(logits),
from which everything else is drawn: it samples what it was trained to be. On bit strings the outputs are logits of the
bits, and each bit is drawn likewise.

References:
  Jang, Gu and Poole, Categorical Reparameterization with Gumbel-Softmax, 2017 (§2.2, straight-through).
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from core import prng
from models.architectures import applied, networks_for
from models.base import is_on
from models.generated import Probabilities, probabilities
from models.laws import Law
from models.sizing import Sized, Update, sized, update_of


class Norms(NamedTuple):
    """What is normalised in the judge; of a generator of images every batch is."""

    batch: bool = False  # of images: the batch, real rows and generated ones each by themselves
    spectral: bool = False  # the kernels, by their largest singular values


NO_NORMS = Norms()


class Pair(NamedTuple):
    """A generator and a judge of one hidden width, sized together for a budget. Arrays have features first.

    Where a method takes parameters they are those of the network that it asks.
    """

    sized: Sized  # the networks, weights and their shapes are pairs: of the generator, of the judge
    law: Law  # of the events
    latent_dim: int  # the length of z
    temperature: Any  # of relaxed draws
    outputs_of: Callable[[Any, jax.Array], jax.Array]  # (params, z [latent_dim, n]) -> the law's outputs, outside of
    # training, where an event depends on its own z alone
    probabilities: Probabilities  # of the generator's events

    def updates(self, optimisers: Iterable[optax.GradientTransformation]) -> tuple[Update, ...]:
        """How the weights of either change, by optimisers of either."""
        return tuple(map(update_of, optimisers, self.sized.shapes))

    def generate(self, params: Any, z: jax.Array, noise: jax.Array) -> jax.Array:
        """Events [event_dim, n] of z [latent_dim, n] and the law's noise."""
        return self.law.draw(self._generator.apply(params, z), noise)

    def generate_with_gradient(self, params: Any, z: jax.Array, noise: jax.Array) -> jax.Array:
        """The same to differentiate, with the law's gradient noise."""
        return self.law.draw_with_gradient(self._generator.apply(params, z), noise, self.temperature)

    def judge(self, params: Any, events: jax.Array) -> jax.Array:
        """One number for each of events [event_dim, n], [n]."""
        _, judge = self.sized.networks
        return judge.apply(params, events)[0]

    def sample(self, key: jax.Array, params: Any, n: int) -> jax.Array:
        """Events [n, event_dim]."""
        key_z, key_draw = jax.random.split(key)
        z = prng.normal(key_z, (self.latent_dim, n))
        return self.law.draw(self.outputs_of(params, z), self.law.noise(key_draw, (n,))).T

    def sample_mean(self, key: jax.Array, params: Any, n: int) -> jax.Array:
        """E[event | z] of n random z, [n, event_dim]."""
        return self.law.mean(self.outputs_of(params, prng.normal(key, (self.latent_dim, n))).T)

    def decode(self, params: Any, z: jax.Array) -> jax.Array:
        """E[event | z] [n, event_dim] of z [n, latent_dim]."""
        return self.law.mean(self.outputs_of(params, z.T).T)

    @property
    def _generator(self) -> nn.Module:
        return self.sized.networks[0]


def shrinking(optimiser: optax.GradientTransformation, rate: Any, decay: Any) -> optax.GradientTransformation:
    """The optimiser, whose every step also takes rate · decay of each weight off (AdamW); with 0 nothing more.

    A generator of few units drives the logits of its bits as far as it can, and the exact KL then grows with every
    string that it does not reach. Shrinking keeps them finite.

    Args:
      optimiser: of the generator.
      rate: its learning rate.
      decay: the share of the rate.

    References:
      Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019 (algorithm 2).
    """
    if not is_on(decay):
        return optimiser
    return optax.chain(optimiser, optax.add_decayed_weights(-rate * decay))


def build_pair(
    config: Any,
    target: Any,
    latent_dim: int,
    gumbel_temperature: float,
    *,
    judge_bias: bool = True,
    norms: Norms = NO_NORMS,
) -> Pair:
    """Sizes a generator and a judge for the budget.

    Args:
      config: the run's configuration.
      target: the distribution to learn; its event is what is generated.
      latent_dim: the length of z.
      gumbel_temperature: τ, of events that have probabilities.
      judge_bias: whether the judge's output has a bias; where only differences of outputs count it would do nothing.
      norms: of the judge.

    Raises:
      UserError: the budget is below the smallest pair for these events.
    """
    event_dim, law = target.event.size, target.event.law
    makers = networks_for(target.event, config.hidden_layers, nn.leaky_relu)

    def of_width(width):
        return (
            makers.to_event(width, law.n_outputs, batch_norm=True),
            makers.from_event(width, 1, norms.batch, norms.spectral, judge_bias),
        )

    def init_params(key, networks):
        keys, n_inputs = jax.random.split(key), (latent_dim, event_dim)
        return tuple(
            network.init(key, jnp.zeros((n, 1))) for network, key, n in zip(networks, keys, n_inputs, strict=True)
        )

    pair = sized(of_width, init_params, config.parameter_budget)
    generator, _ = pair.networks
    return Pair(
        sized=pair,
        law=law,
        latent_dim=latent_dim,
        temperature=gumbel_temperature,
        outputs_of=applied(generator, makers, latent_dim),
        probabilities=probabilities(generator, law, latent_dim),
    )


def sampling(pair: Pair) -> dict[str, Any]:
    """The fields of a `Model` that draw from a pair's generator, whose weights are a State's `params.generator`."""
    known = pair.probabilities

    def log_prob(state, x):
        return known.log_prob(state.params.generator, x)

    def log_prob_quick(state, x):
        return known.quick(state.params.generator, x)

    def direct(params, x, key):
        return known.direct(params.generator, x, key)

    return {
        "sample": lambda key, state, n: pair.sample(key, state.params.generator, n),
        "sample_mean": lambda key, state, n: pair.sample_mean(key, state.params.generator, n),
        "latent_dim": pair.latent_dim,
        "decode": lambda state, z: pair.decode(state.params.generator, z),
        "log_prob": log_prob if known.log_prob else None,
        "log_prob_kind": "estimate" if known.log_prob else None,
        "direct": direct if known.direct else None,
        "quick": {"log_prob": log_prob_quick} if known.quick else {},
    }

"""Wasserstein GAN whose critic's slope is bounded by clipping its weights.

After every update all weights of the critic are clipped to [−c, c]: its slope is then below some bound K that only the
architecture and c decide, and it estimates K·W₁(p, q). What K comes to is measured: `critic_distance` is the difference
of the critic's means over its largest slope, at rows of the target, at generated ones and between the two (with bins,
from one bin to another). But for steeper places elsewhere that is at most W₁, and less by as much as the critic falls
short of the best one.

References:
  Arjovsky, Chintala and Bottou, Wasserstein GAN, 2017 (algorithm 1 and its defaults).
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from core.settings import COUNTED, Settings, setting
from models import wasserstein
from models.base import Model

# The laws of events that it can draw: all.
LAWS = None


@dataclass(frozen=True)
class Config(Settings, of="WGAN"):
    """Settings of the WGAN."""

    learning_rate: float = setting(5e-5, "of both networks' RMSprop", above=0, traced=True)
    n_critic: int = setting(5, "critic updates a generator update, each on a minibatch of its own", low=1)
    clip: float = setting(0.01, "c: the critic's weights stay within [−c, c]", above=0, traced=True)
    latent_dim: int = setting(0, "length of z; 0: 100 (images), 16", low=0, stands_for={"pixels": 100, "": 16})
    gumbel_temperature: float = setting(2.3, "temperature τ of a relaxed draw", above=0, needs=COUNTED, traced=True)
    average: float = setting(0.0, "decay of the averaged weights that sample; 0: off", low=0, below=1)


def build(config: Any, target: Any) -> Model:
    """Sizes the WGAN for the budget.

    Args:
      config: the run's configuration; `config.wgan` is this family's `Config`.
      target: the distribution to learn; its event is what the model draws.

    Returns:
      The model. Where events have probabilities `log_prob` is an estimate: `generated.probabilities` states its errors;
      otherwise there is no density and `log_prob` is None.

    Raises:
      UserError: the budget is below the smallest WGAN for these events.
    """
    settings: Config = config.wgan.for_law(target.event.law.name)
    # The decay of squared gradients is that of the authors' experiments. Behind a clipped critic gradients may be as
    # small as 10⁻⁸: with the usual ε, and all the more with one under the root, a small generator stands still.
    optimiser = optax.rmsprop(settings.learning_rate, decay=0.99, eps=1e-16, eps_in_sqrt=False)

    def clipped(params):
        return jax.tree.map(lambda leaf: jnp.clip(leaf, -settings.clip, settings.clip), params)

    bound = wasserstein.Bound(penalty=None, after_update=clipped, normalised=True)
    return wasserstein.build("WGAN", config, target, settings, wasserstein.Networks(optimiser, optimiser), bound)

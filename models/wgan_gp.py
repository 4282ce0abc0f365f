"""Wasserstein GAN whose critic's slope is held near 1 by a penalty.

The critic f minimises

    E_z[f(G(z))] − E_p[f(x)] + λ E[(max(‖∇f(x̂)‖, 1) − 1)²],    x̂ = G(z) + u (x − G(z)),  u uniform on [0, 1],

since the best critic has slope 1 almost everywhere on the lines along which an optimal plan moves q to p. Its
difference of means is an estimate of W₁(p, q) as it stands: too large by as much as its slope exceeds 1 (by W₁/2λ where
every row gains from it), too small by as much as it falls short of the best critic.

The paper's penalty is on both sides of 1 (`one_sided=False`; one side is its §4's alternative). But a critic of one
coordinate can then not change the sign of its slope without a penalty on the way: measured on three Gaussians with
λ = 10, the samples left the target altogether.

References:
  Gulrajani, Ahmed, Arjovsky, Dumoulin and Courville, Improved Training of Wasserstein GANs, 2017 (eq. 3, algorithm 1).
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import optax

from core.settings import COUNTED, Settings, setting
from models import wasserstein
from models.adversarial import shrinking
from models.base import Model

# Not `average` and Adam's decays: of 1 − decay a traced float32 has fewer digits left than a constant.


# The laws of events that it can draw: all.
LAWS = None


@dataclass(frozen=True)
class Config(Settings, of="WGAN_GP"):
    """Settings of the WGAN with a gradient penalty."""

    learning_rate: float = setting(
        0.0, "of the generator's Adam; 0: 4e-3 (bits), 5e-4", low=0, traced=True, stands_for={"bits": 4e-3, "": 5e-4}
    )
    critic_learning_rate: float = setting(
        0.0, "of the critic's Adam; 0: 1e-2 (bits), 1.5e-3", low=0, traced=True, stands_for={"bits": 1e-2, "": 1.5e-3}
    )
    adam_b1: float = setting(0.0, "first-moment decay of both", low=0, below=1)
    adam_b2: float = setting(0.9, "second-moment decay of both", low=0, below=1)
    n_critic: int = setting(5, "critic updates a generator update, each on a minibatch of its own", low=1)
    penalty: float = setting(3.0, "λ: weight of the squared distance of the critic's slopes to 1", above=0, traced=True)
    one_sided: bool = setting(True, "only slopes above 1 are penalised; False: those below 1 as well")
    latent_dim: int = setting(0, "length of z; 0: 100 (images), 2", low=0, stands_for={"pixels": 100, "": 2})
    gumbel_temperature: float = setting(
        0.0,
        "τ of a relaxed draw; 0: 0.9 (bits), 2.3",
        low=0,
        needs=COUNTED,
        traced=True,
        stands_for={"bits": 0.9, "": 2.3},
    )
    weight_decay: float = setting(
        0.0,
        "the generator's weights shrink by it times the rate; 0: 0.1 (bits), none",
        low=0,
        traced=True,
        stands_for={"bits": 0.1, "": 0.0},
    )
    average: float = setting(0.999, "decay of the averaged weights that sample; 0: off", low=0, below=1)


def build(config: Any, target: Any) -> Model:
    """Sizes the WGAN_GP for the budget.

    Args:
      config: the run's configuration; `config.wgan_gp` is this family's `Config`.
      target: the distribution to learn; its event is what the model draws.

    Returns:
      The model. Where events have probabilities `log_prob` is an estimate: `generated.probabilities` states its errors;
      otherwise there is no density and `log_prob` is None.

    Raises:
      UserError: the budget is below the smallest WGAN_GP for these events.
    """
    settings: Config = config.wgan_gp.for_law(target.event.law.name)
    rates = wasserstein.Networks(settings.learning_rate, settings.critic_learning_rate)
    generator, critic = (optax.adam(rate, settings.adam_b1, settings.adam_b2) for rate in rates)
    generator = shrinking(generator, rates.generator, settings.weight_decay)
    optimisers = wasserstein.Networks(generator, critic)

    def penalty(slopes):
        return settings.penalty * jnp.mean((jnp.maximum(slopes, 1) - 1 if settings.one_sided else slopes - 1) ** 2)

    bound = wasserstein.Bound(penalty, after_update=lambda params: params, normalised=False)
    return wasserstein.build("WGAN_GP", config, target, settings, optimisers, bound)

"""Independent bits or pixels, each with its own probability: the product of a distribution's margins.

Of n rows of which c have a 1, a bit's probability is (c + a)/(n + 2a). With a = ½ (Krichevsky and Trofimov) none is 0
or 1. Of all products of margins this one has the smallest KL(p ‖ q), which is the sum of the bits' entropies less that
of p. Of pixels the grey levels are added up as c. Their draws are 0 and 1, as the law draws its mean and this family
would show one image alone.

Reference: Krichevsky and Trofimov, The Performance of Universal Encoding, 1981.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from core.settings import Settings, setting
from models import at_once
from models.base import Model

# The laws of events that it can draw.
LAWS = ("bits", "pixels")
_N_ROWS = 2**17


@dataclass(frozen=True)
class Config(Settings, of="PRODUCT"):
    """Settings of the product of margins."""

    pseudo_count: float = setting(
        0.5, "a: what either value is taken to have before a row is counted", above=0, traced=True
    )


class State(NamedTuple):
    """What is fitted."""

    params: jax.Array  # [n] float32, the logits of 1


def build(config: Any, target: Any) -> Model:
    """The model of n parameters; the budget does not apply.

    Args:
      config: the run's configuration; `config.product` is this family's `Config`.
      target: the distribution to learn; its events are bits or grey levels.
    """
    a, size, law = config.product.pseudo_count, target.event.size, target.event.law

    def init(key, data):
        del key
        ones = jnp.sum(data, axis=0)
        return State(jnp.log(ones + a) - jnp.log(len(data) - ones + a))

    def sample(key, state, n):
        return (jax.random.uniform(key, (n, size)) < law.mean(state.params)[None]).astype(jnp.float32)

    def sample_mean(key, state, n):
        del key
        return jnp.broadcast_to(law.mean(state.params)[None], (n, size))

    @jax.jit
    def log_prob(state, x):
        return law.log_prob(state.params[None], x, None)

    return at_once.build(
        "PRODUCT",
        size,
        init,
        log_prob,
        width=size,
        sample=sample,
        sample_mean=sample_mean,
        n_data_rows=_N_ROWS,
        rival=True,
    )

"""Families that `init` fits at once: what is left for training is nothing."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from models.base import Model


class Info(NamedTuple):
    """Scalars of a step that changes nothing."""

    loss: jax.Array  # mean −ln q of the minibatch, in nats


def build(
    name: str, n_params: int, init: Callable[..., Any], log_prob: Callable[..., jax.Array], **fields: Any
) -> Model:
    """A model whose steps change nothing.

    Args:
      name: of the family.
      n_params: its free numbers.
      init: (key, data [n, size]) -> State: the fit.
      log_prob: (state, x [n, size]) -> [n] nats, exact.
      fields: others of a `Model`.
    """

    def noise(key):
        del key
        return ()

    def step(state, batch, noise):
        del noise
        return state, Info(-jnp.mean(log_prob(state, batch)))

    return Model(
        name=name,
        n_params=n_params,
        init=init,
        noise=noise,
        step=step,
        log_prob=log_prob,
        log_prob_kind="exact",
        max_steps=0,
        **fields,
    )

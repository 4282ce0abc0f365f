"""The uniform distribution over all bit strings: what every other family should beat. It has no parameter."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from core.settings import Settings
from models import at_once
from models.base import Model

# The laws of events that it can draw.
LAWS = ("bits",)


@dataclass(frozen=True)
class Config(Settings, of="UNIFORM"):
    """It has no settings."""


class State(NamedTuple):
    """Nothing is fitted."""

    params: tuple[()]
    n_rows: jax.Array  # [] int32, rows that `init` was given


def build(config: Any, target: Any) -> Model:
    """The model; the budget does not apply."""
    del config
    size = target.event.size

    def init(key, data):
        del key
        return State((), jnp.int32(len(data)))

    def sample(key, state, n):
        del state
        return jax.random.bernoulli(key, 0.5, (n, size)).astype(jnp.float32)

    def sample_mean(key, state, n):
        del key, state
        return jnp.full((n, size), 0.5, jnp.float32)

    def log_prob(state, x):
        del state
        return jnp.full(len(x), -size * math.log(2), x.dtype)

    return at_once.build(
        "UNIFORM", 0, init, log_prob, width=0, sample=sample, sample_mean=sample_mean, n_data_rows=1, rival=True
    )

"""The visible layers that a restricted Boltzmann machine has for events of each law, and what is exact about each."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from models import boltzmann_chains, boltzmann_states, visibles
from models.boltzmann import Params
from models.boltzmann_density import MOST_UNITS, direct_gaussian, exact_rows, free_energies, log_partition_gaussian


class Layer(NamedTuple):
    """A visible layer, and what is exact about a machine that has it."""

    visible: visibles.Visible
    log_prob: Callable[[Params, jax.Array], jax.Array]  # (params, x [n, V]) -> [n] nats
    sample: Callable[[jax.Array, Params, int], jax.Array]  # (key, params, n) -> [n, V]
    # (params, x, key, the target's box) -> the same as log_prob, to be differentiated; None: it takes too long
    direct: Callable[..., jax.Array] | None = None
    most_units: int | None = None  # visible ones that can be drawn exactly; None: any number
    most_hidden: int | None = None  # hidden units with which ln Z is known; None: any number
    # (key, params, (V, n)) -> v, where chains begin that are to be samples
    chain_start: Callable[..., jax.Array] = lambda key, params, shape: (
        params.visible_bias[:, None] + jnp.exp(params.log_sigma)[:, None] * jax.random.normal(key, shape)
    )
    shows_mean: bool = False  # a sample is E[v | h] of the last hidden state
    view: str = "rbm_energy_landscape"  # the picture that shows such a machine
    algorithm: str = "CD"  # where the setting is "auto"
    k: int = 1  # where it is 0
    # (steps of the run) -> (params) -> a recording of Gibbs chains; None: there is none
    recorder: Callable[[int], Callable[[Params], Any]] | None = None


def _log_prob_gaussian(params, x):
    return -free_energies(params, x) - log_partition_gaussian(params)


def _regardless(log_prob):
    """A density that needs neither nodes nor a box."""
    return lambda params, x, key, box: log_prob(params, x)


# The law of an event -> the visible layer that draws it.
LAYERS = {
    "normal": Layer(visibles.GAUSSIAN, _log_prob_gaussian, exact_rows, direct_gaussian, MOST_UNITS),
    "category": Layer(
        visibles.SOFTMAX,
        boltzmann_states.log_prob_softmax,
        boltzmann_states.sample_softmax,
        _regardless(boltzmann_states.log_prob_softmax),
    ),
    # Chains that start at the data stay near it: with CD-1 and 300 parameters the exact KL of bars and stripes 3 × 5
    # rises from 1.8 to 2.8 nats in the second half of the default training, and with PCD-5 it ends at 0.12. On an Ising
    # lattice with random signs, 3 × 4, it is 0.02 with CD-1 and 0.10 with PCD-5.
    "bits": Layer(
        visibles.BINARY,
        boltzmann_states.log_prob_binary,
        boltzmann_states.sample_binary,
        _regardless(boltzmann_states.direct_binary),
        algorithm="PCD",
        k=5,
        recorder=boltzmann_chains.recorder,
    ),
    # Chains begin without the hidden units, and a sample's grey levels are E[v | h].
    "pixels": Layer(
        visibles.PIXELS,
        boltzmann_states.log_prob_binary,
        boltzmann_states.sample_binary,
        most_units=0,
        most_hidden=20,
        chain_start=lambda key, params, shape: visibles.PIXELS.draw(
            params, params.visible_bias[:, None], jax.random.uniform(key, shape)
        ),
        shows_mean=True,
        view="rbm_filters",
        algorithm="PCD",
        k=5,
    ),
}

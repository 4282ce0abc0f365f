"""What is exact about a restricted Boltzmann machine whose visible states can be counted: ln Z, probabilities, draws.

With V binary visible units and H hidden ones Z is a sum over the states of the smaller layer,

    Z = Σᵥ exp(−F(v)) = Σₕ exp(b_hᵀh) Πᵢ (1 + exp((b_v + W h)ᵢ)).
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from models.boltzmann import Params, free_energy, sum_softplus
from models.laws import bit_states
from models.visibles import BINARY, SOFTMAX

# States of which the other layer's units are held at once: this many numbers, if that leaves a few states.
_PART_NUMBERS, _FEWEST_AT_ONCE = 2**22, 256


def log_prob_softmax(params: Params, x: jax.Array) -> jax.Array:
    """ln q [n] of one-hot rows [n, V] under one softmax unit."""
    return x @ _log_probs_softmax(params)


def sample_softmax(key: jax.Array, params: Params, n: int) -> jax.Array:
    """One-hot rows [n, V], drawn exactly."""
    drawn = jax.random.categorical(key, _log_probs_softmax(params), shape=(n,))
    return jnp.eye(len(params.visible_bias))[drawn]


def _log_probs_softmax(params: Params) -> jax.Array:
    states = jnp.eye(len(params.visible_bias), dtype=params.weights.dtype)
    return nn.log_softmax(-free_energy(SOFTMAX, params, states.T))


def log_prob_binary(params: Params, x: jax.Array) -> jax.Array:
    """ln q [n] of bits [n, V] under V binary units."""
    size = min(len(x), _at_once(len(params.hidden_bias)))
    padded = jnp.pad(x, ((0, -len(x) % size), (0, 0)))
    parts = jax.lax.map(lambda rows: free_energy(BINARY, params, rows.T), padded.reshape(-1, size, x.shape[1]))
    return -parts.reshape(-1)[: len(x)] - log_partition_binary(params)


def direct_binary(params: Params, x: jax.Array) -> jax.Array:
    """The same, to be differentiated; ln Z by all visible states, what hidden units see of them as a sum of two halves.

    Five times as fast as by whole strings. For strings that fit in memory with all hidden units.
    """
    n_visible = params.weights.shape[0]
    n_first = n_visible // 2
    first, second = (bit_states(n) for n in (n_first, n_visible - n_first))
    first, second = (half.event(np.arange(half.n), params.weights.dtype) for half in (first, second))
    field = (first @ params.weights[:n_first] + params.hidden_bias[None])[:, None]
    field += (second @ params.weights[n_first:])[None]
    bias = (first @ params.visible_bias[:n_first])[:, None] + (second @ params.visible_bias[n_first:])[None]
    return -free_energy(BINARY, params, x.T) - jax.nn.logsumexp(bias + jnp.sum(nn.softplus(field), axis=-1))


def log_partition_binary(params: Params) -> jax.Array:
    """ln Z [] by the states of the smaller layer."""
    n_visible, n_hidden = params.weights.shape
    if n_visible <= n_hidden:
        return jax.nn.logsumexp(_log_weights(params))

    def of_hidden(h):
        field = params.weights @ h.T + params.visible_bias[:, None]
        return h @ params.hidden_bias + sum_softplus(field)

    return jax.nn.logsumexp(_over_states(n_hidden, of_hidden, n_visible, params.weights.dtype))


def sample_binary(key: jax.Array, params: Params, n: int) -> jax.Array:
    """Bits [n, V], drawn exactly from the enumerated states: first a block of them by its mass, then one within it."""
    n_visible = params.weights.shape[0]
    log_weights = _log_weights(params)
    # A running sum over all would leave float32 few digits.
    mass = jnp.exp(log_weights - jnp.max(log_weights)).reshape(2 ** (n_visible // 2), -1)
    uniforms = jax.random.uniform(key, (2, n), mass.dtype)
    block = _inverted(jnp.sum(mass, axis=1)[None], uniforms[0])
    within = _inverted(mass[block], uniforms[1])
    return bit_states(n_visible).event(block * mass.shape[1] + within, params.weights.dtype)


def _inverted(mass: jax.Array, uniform: jax.Array) -> jax.Array:
    """For every uniform number [n] an entry, drawn by its mass [n, K] or [1, K]."""
    total = jnp.cumsum(mass, axis=1)
    return jnp.sum(uniform[:, None] * total[:, -1:] >= total[:, :-1], axis=1).astype(jnp.int32)


def _log_weights(params: Params) -> jax.Array:
    """−F of every visible state, [2^V]."""
    n_visible, n_hidden = params.weights.shape
    return _over_states(n_visible, lambda v: -free_energy(BINARY, params, v.T), n_hidden, params.weights.dtype)


def _over_states(n_units: int, function, n_others: int, dtype) -> jax.Array:
    """A function of rows of states [m, n_units] at all of them, in parts: [2^n_units]."""
    states = bit_states(n_units)
    size = min(states.n, 1 << (_at_once(n_others).bit_length() - 1))
    index = jnp.arange(states.n, dtype=jnp.int32).reshape(-1, size)
    return jax.lax.map(lambda part: function(states.event(part, dtype)), index).reshape(-1)


def _at_once(n_others: int) -> int:
    return max(_FEWEST_AT_ONCE, _PART_NUMBERS // max(1, n_others))

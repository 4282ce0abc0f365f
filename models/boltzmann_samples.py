"""Samples of a restricted Boltzmann machine: from what is known of its distribution, or by Gibbs chains."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from models.boltzmann import Params, hidden_input, sweep, visible_mean
from models.boltzmann_layers import Layer

# Chains are independent, so they run in groups whose hidden layer stays in the cache: twice as fast as all at once for
# 5 000 chains of 799 hidden units on an idle CPU, and ten times on a busy one, whose cache others use too.
_CHAINS_AT_ONCE = 128


class Sampler(NamedTuple):
    """Draws rows [n, V] of a machine with these parameters."""

    layer: Layer
    exactly: bool  # without chains

    def sample(self, key: jax.Array, params: Params, n: int, n_sweeps: int) -> jax.Array:
        """Rows [n, V]; those of chains come after so many sweeps."""
        if self.exactly:
            return self.layer.sample(key, params, n)
        if self.layer.shows_mean:
            key, key_hidden = jax.random.split(key)
            return self._mean_given_hidden(key_hidden, params, self.gibbs(key, params, n, n_sweeps))
        return self.gibbs(key, params, n, n_sweeps)

    def mean(self, key: jax.Array, params: Params, n: int, n_sweeps: int) -> jax.Array:
        """E[v | h] [n, V] of hidden states that belong to such rows."""
        if self.layer.shows_mean:
            return self.sample(key, params, n, n_sweeps)
        key_visible, key_hidden = jax.random.split(key)
        return self._mean_given_hidden(key_hidden, params, self.sample(key_visible, params, n, n_sweeps))

    def gibbs(self, key: jax.Array, params: Params, n: int, n_sweeps: int) -> jax.Array:
        """The visible states [n, V] of chains after so many sweeps."""
        n_visible, n_hidden = params.weights.shape
        n_chains = min(n, _CHAINS_AT_ONCE)
        visible = self.layer.visible

        def chains_of(key):
            key_start, key_sweeps = jax.random.split(key)
            v = self.layer.chain_start(key_start, params, (n_visible, n_chains))

            def swept(v, i):
                key_hidden, key_visible = jax.random.split(jax.random.fold_in(key_sweeps, i))
                hidden = jax.random.uniform(key_hidden, (n_hidden, n_chains))
                (drawn,) = visible.noise(key_visible, (1, n_visible, n_chains))
                return sweep(visible, params, v, hidden, drawn), None

            return jax.lax.scan(swept, v, jnp.arange(n_sweeps))[0].T

        groups = jax.lax.map(chains_of, jax.random.split(key, -(-n // n_chains)))
        return groups.reshape(-1, n_visible)[:n]

    def reconstruct(self, params: Params, x: jax.Array) -> jax.Array:
        """E[v | h] [n, V] of the hidden probabilities that rows x [n, V] give."""
        visible = self.layer.visible
        return visible_mean(visible, params, nn.sigmoid(hidden_input(visible, params, x.T))).T

    def _mean_given_hidden(self, key: jax.Array, params: Params, v: jax.Array) -> jax.Array:
        """E[v | h] of hidden states that are drawn given rows v, [n, V]."""
        visible = self.layer.visible
        on = jax.random.bernoulli(key, nn.sigmoid(hidden_input(visible, params, v.T)))
        return visible_mean(visible, params, on.astype(v.dtype)).T

"""What is shown and known of a restricted Boltzmann machine on images, whose states cannot be counted."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from models.boltzmann import Params, free_energy, hidden_input, sweep, visible_mean
from models.likelihood import LogZ, both_ways
from models.visibles import Visible

# Chains that a view has, and after how many sweeps it has them.
_N_CHAINS_SHOWN, _SWEEPS_SHOWN = 16, (1, 10, 100, 1000)
# Chains of annealed importance sampling, and the steps of each.
_ANNEALED, _TEMPERATURES = 256, 2000


def filters_of(visible: Visible) -> Callable[[Params, jax.Array], dict[str, Any]]:
    """(params, rows [n, V]) -> what a picture of the machine shows.

    `weights` [H, V] are those of the hidden units. `chains` [sweeps, chains, V] are rows, and then E[v | h] of chains
    that begin at these rows, after the numbers of `sweeps`.
    """

    def mean_given(params, v):
        return visible_mean(visible, params, nn.sigmoid(hidden_input(visible, params, v))).T

    @jax.jit
    def filters(params, rows):
        v = rows[:_N_CHAINS_SHOWN].T
        shown, done = [v.T], 0
        for i, n_sweeps in enumerate(_SWEEPS_SHOWN):

            def swept(v, key):
                key_hidden, key_visible = jax.random.split(key)
                hidden = jax.random.uniform(key_hidden, (len(params.hidden_bias), v.shape[1]))
                (drawn,) = visible.noise(key_visible, (1, *v.shape))
                return sweep(visible, params, v, hidden, drawn), None

            keys = jax.random.split(jax.random.fold_in(jax.random.key(0), i), n_sweeps - done)
            v, done = jax.lax.scan(swept, v, keys)[0], n_sweeps
            shown.append(mean_given(params, v))
        return {"weights": params.weights.T, "chains": jnp.stack(shown), "sweeps": jnp.array((0, *_SWEEPS_SHOWN))}

    return filters


def annealed(
    visible: Visible, gibbs: Callable[..., jax.Array], n_sweeps: int
) -> Callable[[jax.Array, Params, jax.Array], tuple[jax.Array, tuple[LogZ, LogZ]]]:
    """(key, params, x [n, V]) -> −F of rows [n], and ln Z by annealing to and fro.

    Args:
      visible: the layer.
      gibbs: (key, params, n, sweeps) -> rows [n, V] of the machine; the chains that come back start there.
      n_sweeps: behind such rows.
    """
    rows_of = jax.jit(gibbs, static_argnums=(2, 3))

    def unnormalised(key, params, x):
        key_rows, key_chains = jax.random.split(key)
        rows = rows_of(key_rows, params, _ANNEALED, n_sweeps)
        log_z = both_ways(key_chains, params, visible.first_bias(rows), rows, _TEMPERATURES)
        return -free_energy(visible, params, x.T), log_z

    return unnormalised

"""Gibbs chains of a trained restricted Boltzmann machine on bits: how they mix, beside its exact samples.

A sweep draws all hidden units given the visible ones and all visible ones given these. Chains start at random bits.
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from core import prng
from models import boltzmann_states, mixing
from models.boltzmann import Params, free_energy, sweep
from models.visibles import BINARY

_CHAINS, _SWEEPS = 32, 2000
_EXACT_ROWS = 20_000


def recorder(n_steps: int) -> Callable[[Params], mixing.Recording]:
    """(params) -> what 32 chains do: e is F(v) a bit, in nats, and m the mean of the spins 2 v − 1.

    Args:
      n_steps: of the run: no recording takes more sweeps.
    """
    n_sweeps = min(_SWEEPS, n_steps)

    @jax.jit
    def run(params):
        n_visible, n_hidden = params.weights.shape
        key_start, key_sweeps = jax.random.split(prng.unrolled(jax.random.key(0)))
        start = jax.random.bernoulli(key_start, 0.5, (n_visible, _CHAINS)).astype(params.weights.dtype)

        def once(v, i):
            key_hidden, key_visible = jax.random.split(jax.random.fold_in(key_sweeps, i))
            hidden = jax.random.uniform(key_hidden, (n_hidden, _CHAINS))
            (drawn,) = BINARY.noise(key_visible, (1, n_visible, _CHAINS))
            new = sweep(BINARY, params, v, hidden, drawn)
            return new, (*_quantities(params, new), jnp.mean(new != v))

        _, (energy, magnetisation, turned) = jax.lax.scan(once, start, jnp.arange(n_sweeps))
        first = _quantities(params, start)
        return *(jnp.concatenate([a[None], b]) for a, b in zip(first, (energy, magnetisation), strict=True)), turned

    @jax.jit
    def exact_means(params):
        v = boltzmann_states.sample_binary(jax.random.key(1), params, _EXACT_ROWS).T
        return tuple(jnp.mean(each) for each in _quantities(params, v))

    def record(params):
        params = Params(*(jnp.asarray(each) for each in params[:3]), log_sigma=())
        compiled = run.lower(params).compile()
        begun = time.perf_counter()
        energy, magnetisation, turned = jax.device_get(compiled(params))
        seconds = (time.perf_counter() - begun) / n_sweeps
        values = {"e": energy.T.astype(np.float64), "m": magnetisation.T.astype(np.float64)}
        exact = dict(zip(values, map(float, exact_means(params)), strict=True))
        return mixing.Recording(values, float(mixing.kept_half(turned[None]).mean()), seconds, exact, of_steps=False)

    return record


def _quantities(params: Params, v: jax.Array) -> tuple[jax.Array, jax.Array]:
    return free_energy(BINARY, params, v) / len(v), 2 * jnp.mean(v, axis=0) - 1

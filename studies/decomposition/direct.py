"""A family's generator trained by what it is judged by, in place of its own loss.

Where a model has a density or probabilities that is the exact divergence from the target. Bins and strings of bits are
enumerated. Of a density −E_p[ln q] is minimised over rows of the target: on a line one row of each of many equal shares
of its probability, in the plane fresh draws. A generator that draws numbers and has no density is trained by the sliced
Wasserstein distance to fresh rows of the target, to be differentiated through sorted projections.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from benchmark.engine import programs
from benchmark.engine.intervals import over_seeds
from kinds.contract import Target
from kinds.registry import kind_of
from models.base import Model, weights_of, with_weights

N_STEPS = 4_000
# Adam's rate at first; it falls to 0. From the family's own start on, and where training by its own loss has ended.
RATE, RATE_ON = 1e-2, 2e-3
_ROWS = {1: 256, 2: 512}  # of a step, by the coordinates of a row
_DIRECTIONS = 16  # of a step's sliced distance, at random
_TABLE = 2**16  # quantiles of a target on a line


def by_distance(model: Model) -> bool:
    """Whether a model has no density, and is trained by the sliced distance."""
    return model.direct is None


def objective(model: Model, target: Target) -> Callable[[Any, jax.Array], jax.Array]:
    """(weights, key) -> what is minimised: the divergence in nats up to a constant, or a distance in events' units."""
    if by_distance(model):
        return _sliced(model, target)
    states = kind_of(target).states(target)
    if states is not None:
        known = np.flatnonzero(states.masses > 0)
        events = target.event.law.states.event(jnp.asarray(known))
        masses = jnp.asarray(states.masses[known], jnp.float32)
        return lambda params, key: -jnp.sum(masses * _finite(model.direct(params, events, key)))
    rows = _rows_of(target)

    def surprise(params, key):
        key_rows, key_nodes = jax.random.split(key)
        return -jnp.mean(model.direct(params, rows(key_rows), key_nodes))

    return surprise


def _finite(log_q: jax.Array) -> jax.Array:
    """Where no node gives an event any probability there is no slope, and the others are still learnt from."""
    return jnp.where(jnp.isfinite(log_q), log_q, 0)


def _rows_of(target: Target) -> Callable[[jax.Array], jax.Array]:
    """(key) -> events of the target."""
    n = _ROWS[target.dim]
    if target.dim > 1:
        return lambda key: target.codec.encode(target.sample(key, n))
    table = jnp.asarray(target.truth.quantile((np.arange(_TABLE) + 0.5) / _TABLE), jnp.float32)
    share = _TABLE // n

    def rows(key):
        place = share * jnp.arange(n) + jax.random.randint(key, (n,), 0, share)
        return target.codec.encode(table[place][:, None])

    return rows


def _sliced(model: Model, target: Target) -> Callable[[Any, jax.Array], jax.Array]:
    n, dim = 2 * _ROWS[target.dim], target.event.size
    rows = _rows_of(target)

    def distance(state, key):
        keys = jax.random.split(key, 5)
        real = jnp.concatenate([rows(keys[0]), rows(keys[1])])
        fake = model.sample(keys[2], state, n)
        axes = jax.random.normal(keys[3], (_DIRECTIONS if dim > 1 else 1, dim))
        axes /= jnp.linalg.norm(axes, axis=1, keepdims=True)
        return jnp.mean(jnp.abs(jnp.sort(axes @ real.T, axis=1) - jnp.sort(axes @ fake.T, axis=1)))

    return distance


def minimised(model: Model, target: Target, states: Sequence[Any], rate: float, seed: int) -> list[Any]:
    """The states of all seeds after training by the objective, from where they are.

    Args:
      model: the family's.
      target: the distribution.
      states: of every seed, on the host.
      rate: Adam's at first.
      seed: of the nodes and rows that are drawn.
    """
    of, whole = objective(model, target), by_distance(model)
    unravel = ravel_pytree(weights_of(states[0]))[1]
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, N_STEPS))

    def value(vector, key, state):
        params = unravel(vector)
        return of(with_weights(state, params) if whole else params, key)

    def one_seed(vector, state, key):
        def step(carry, i):
            vector, opt_state = carry
            gradient = jax.grad(value)(vector, jax.random.fold_in(key, i), state)
            # A step that is no number is none: the next one has other nodes.
            gradient = jnp.where(jnp.isfinite(gradient).all(), gradient, 0)
            updates, opt_state = optimiser.update(gradient, opt_state)
            return (vector + updates, opt_state), None

        return jax.lax.scan(step, (vector, optimiser.init(vector)), jnp.arange(N_STEPS))[0][0]

    spread, n_padded, sharding = over_seeds(one_seed, len(states), (True, True, True))
    filled = [states[min(i, len(states) - 1)] for i in range(n_padded)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *filled)
    vectors = np.stack([np.asarray(ravel_pytree(weights_of(state))[0]) for state in filled])
    keys = jax.random.split(jax.random.key(seed), n_padded)
    args = jax.device_put((vectors, stacked, keys), sharding)
    found = jax.jit(spread).lower(*args).compile(compiler_options=programs.options())(*args)
    return [with_weights(state, unravel(np.asarray(row))) for state, row in zip(states, found, strict=False)]

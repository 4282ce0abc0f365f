"""How a restricted Boltzmann machine is trained: one step of contrastive divergence, CD or PCD.

A step goes over the hidden units at once, or a few at a time where there are many (`models.rbm` says when).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from models.boltzmann import (
    Params,
    Sums,
    free_energy,
    hidden_input,
    over_hidden_units,
    sweep,
    units_at_once,
    visible_mean,
)
from models.sizing import Update
from models.visibles import Visible


class State(NamedTuple):
    """What training carries."""

    params: Params
    opt_state: Any
    chains: Any  # [B, V] float32, the persistent visible states; () with CD


class Noise(NamedTuple):
    """The randomness of one step's k Gibbs sweeps."""

    hidden: jax.Array  # [k, H, B] float32, uniform; or, to be drawn in parts, Threefry keys [k, 2] uint32
    visible: jax.Array  # Gaussian visibles: [k, V, B] normal; softmax: [k, 1, B] uniform


class Info(NamedTuple):
    """Scalars of one step."""

    loss: jax.Array  # mean F(data) − mean F(model), in nats
    reconstruction_error: jax.Array  # mean squared distance of the batch to E[v|h] of its own hidden probabilities


class Sigma(NamedTuple):
    """The deviations of Gaussian visibles."""

    at_start: Any
    is_learnt: bool

    def first(self, n_visible: int) -> Any:
        """What the weights have of them at the start: ln σ [V] where it is learnt."""
        return jnp.full(n_visible, jnp.log(self.at_start)) if self.is_learnt else ()

    def filled(self, params: Params) -> Params:
        """The parameters with ln σ filled in where it is fixed."""
        if self.is_learnt:
            return params
        return params._replace(log_sigma=jnp.full(len(params.visible_bias), jnp.log(self.at_start)))


class Descent(NamedTuple):
    """The steps of one machine's training."""

    visible: Visible
    sigma: Sigma
    update: Update
    k: int  # Gibbs sweeps of the negative phase
    is_cd: bool  # chains start at the data; otherwise they go on

    def noise(self, key: jax.Array, shape: tuple[int, int, int], in_parts: bool) -> Noise:
        """Of a machine and a batch of that shape (V, H, B)."""
        n_visible, n_hidden, n = shape
        key_hidden, key_visible = jax.random.split(key)
        if in_parts:
            hidden = jax.random.key_data(jax.random.split(key_hidden, self.k))
        else:
            hidden = jax.random.uniform(key_hidden, (self.k, n_hidden, n))
        return Noise(hidden, self.visible.noise(key_visible, (self.k, n_visible, n)))

    def at_once(self, state: State, batch: jax.Array, noise: Noise) -> tuple[State, Info]:
        """One step."""
        visible, params, events = self.visible, self.sigma.filled(state.params), batch.T
        chains = self._begun(state, events)
        for of_hidden, of_visible in zip(noise.hidden, noise.visible, strict=True):
            chains = sweep(visible, params, chains, of_hidden, of_visible)
        loss, gradient = jax.value_and_grad(self._objective)(state.params, events, chains)
        mean = visible_mean(visible, params, nn.sigmoid(hidden_input(visible, params, events)))
        return self._updated(state, gradient, chains), Info(loss, _square_distance(events, mean))

    def in_parts(self, state: State, batch: jax.Array, noise: Noise) -> tuple[State, Info]:
        """The same without an array of all hidden units and rows."""
        visible, params, events, n = self.visible, self.sigma.filled(state.params), batch.T, len(batch)
        n_at_once = units_at_once(len(params.hidden_bias), n)

        def over(v, **what):
            return over_hidden_units(params, visible.scaled(params, v), n_at_once, **what)

        none = jnp.zeros_like(params.weights), jnp.zeros_like(params.hidden_bias)
        # Under CD the first sweep starts where the gradient's first half is taken.
        data = over(events, key=noise.hidden[0] if self.is_cd else None, gradient=none, share=1 / n)
        chains = self._begun(state, events)
        for i, (key, of_visible) in enumerate(zip(noise.hidden, noise.visible, strict=True)):
            field = data.field if self.is_cd and i == 0 else over(chains, key=key).field
            chains = visible.draw(params, field + params.visible_bias[:, None], of_visible)
        model = over(chains, gradient=data.gradient, share=-1 / n)

        d_bias, d_log_sigma = self._visible_gradient(state.params, (events, data), (chains, model))
        gradient = Params(model.gradient[0], d_bias, model.gradient[1], d_log_sigma)
        loss = jnp.mean(visible.energy(params, events) - data.softplus)
        loss -= jnp.mean(visible.energy(params, chains) - model.softplus)
        # The derivative of −F's mean by what the hidden units see is W E[h | v]/n.
        mean = visible.mean(params.visible_bias[:, None] - n * data.d_scaled)
        return self._updated(state, gradient, chains), Info(loss, _square_distance(events, mean))

    def counted(self, state: State, batch: jax.Array, noise: Noise) -> tuple[State, Info]:
        """A step in parts as one without a loop, to be counted and not to be run."""
        # Which numbers they are does not change the count, and any that are given cost nothing.
        shape = self.k, len(state.params.hidden_bias), len(batch)
        return self.at_once(state, batch, Noise(jnp.broadcast_to(noise.visible[:, :1], shape), noise.visible))

    def _begun(self, state: State, events: jax.Array) -> jax.Array:
        """Where the chains of a step begin, [V, B]."""
        return events if self.is_cd else state.chains.T

    def _objective(self, params: Params, events: jax.Array, chains: jax.Array) -> jax.Array:
        params = self.sigma.filled(params)
        data, model = (jnp.mean(free_energy(self.visible, params, v)) for v in (events, chains))
        return data - model

    def _visible_gradient(
        self, params: Params, data: tuple[jax.Array, Sums], model: tuple[jax.Array, Sums]
    ) -> tuple[jax.Array, Any]:
        """The objective's, by the visible biases and ln σ: of columns, and what the hidden units add for them."""

        def objective(visible_bias, log_sigma):
            """Its gradient is that of the objective, whose other part's by the visibles is known."""
            filled = self.sigma.filled(params._replace(visible_bias=visible_bias, log_sigma=log_sigma))
            total = 0.0
            for sign, (v, half) in ((1, data), (-1, model)):
                through_hidden = jnp.sum(half.d_scaled * self.visible.scaled(filled, v))
                total += sign * jnp.mean(self.visible.energy(filled, v)) + through_hidden
            return total

        return jax.grad(objective, argnums=(0, 1))(params.visible_bias, params.log_sigma)

    def _updated(self, state: State, gradient: Params, chains: jax.Array) -> State:
        params, opt_state = self.update.applied(state.params, gradient, state.opt_state)
        return State(params, opt_state, chains.T if not self.is_cd else ())


def _square_distance(events: jax.Array, mean: jax.Array) -> jax.Array:
    """The mean over columns [V, B] of the squared distance, []."""
    return jnp.mean(jnp.sum((events - mean) ** 2, axis=0))

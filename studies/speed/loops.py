"""The simple ways to write the same training in JAX: rows first, Flax and Optax as their guides show them.

`strong` is the best of its kind: one donated jitted call a step that draws data and noise and does every update, keys
split outside, for one pinned core. `tutorial` is how it is commonly written: the data draw and the update of every
network are jitted calls of their own, nothing is donated, and the process may use every core.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from models.boltzmann_layers import LAYERS


class MLP(nn.Module):
    """Hidden layers of one width."""

    width: int
    hidden_layers: int
    n_outputs: int
    activation: Any

    @nn.compact
    def __call__(self, x):
        """Maps x [n, n_inputs] to [n, n_outputs]."""
        for _ in range(self.hidden_layers):
            x = self.activation(nn.Dense(self.width)(x))
        return nn.Dense(self.n_outputs)(x)


def ema(average, params, t, decay):
    """The averaged weights after update t."""
    rate = jnp.maximum(1 - decay, 9 / (10 + t))
    return jax.tree.map(lambda old, new: old + rate * (new - old), average, params)


class Simple(NamedTuple):
    """How rows of a network's outputs [n, m] become events [n, D]."""

    noise: Any  # (key, shape) -> what a draw with a gradient takes
    draw: Any  # (key, outputs) -> events
    draw_with_gradient: Any  # (outputs, noise, temperature) -> events, with the gradient of a relaxed draw
    log_prob: Any  # (outputs, events) -> [n], up to a constant
    beta: float  # weight of a VAE's KL term, unless set
    has_sigma: bool = False  # an RBM's visible units have deviations
    persistent: bool = False  # an RBM's chains go on where they are


def _straight_through(hard, soft):
    return hard + soft - jax.lax.stop_gradient(soft)


def _relaxed_category(outputs, noise, temperature):
    soft = nn.softmax((outputs + noise) / temperature)
    return _straight_through(jax.nn.one_hot(jnp.argmax(outputs + noise, -1), outputs.shape[-1]), soft)


# By the law of the events.
LAWS = {
    "normal": Simple(
        noise=lambda key, shape: jnp.zeros((shape[0], 0)),
        draw=lambda key, outputs: outputs,
        draw_with_gradient=lambda outputs, noise, temperature: outputs,
        log_prob=lambda outputs, events: -jnp.sum((events - outputs) ** 2, -1),
        beta=0.1,
        has_sigma=True,
    ),
    "category": Simple(
        noise=jax.random.gumbel,
        draw=lambda key, outputs: jax.nn.one_hot(jax.random.categorical(key, outputs), outputs.shape[-1]),
        draw_with_gradient=_relaxed_category,
        log_prob=lambda outputs, events: jnp.sum(events * nn.log_softmax(outputs), -1),
        beta=1.0,
    ),
    "bits": Simple(
        noise=jax.random.logistic,
        draw=lambda key, outputs: jax.random.bernoulli(key, nn.sigmoid(outputs)).astype(jnp.float32),
        draw_with_gradient=lambda outputs, noise, temperature: _straight_through(
            (outputs + noise > 0).astype(jnp.float32), nn.sigmoid((outputs + noise) / temperature)
        ),
        log_prob=lambda outputs, events: jnp.sum(events * outputs - nn.softplus(outputs), -1),
        beta=1.0,
        persistent=True,
    ),
}


def gan(config, target, width, flat):
    """Parts of a GAN: init(key), and the updates (state, batch, key) -> state of its two networks in turn."""
    gan = _Gan(config, target, width, flat)
    return gan.init, [gan.update_d, gan.update_g]


class _Gan:
    """A GAN's networks, their optimisers, and what is done with both."""

    def __init__(self, config, target, width, flat):
        self.settings = settings = config.gan.for_law(target.event.law.name)
        self.n, self.event_dim, self.law = config.batch_size, target.event.size, LAWS[target.event.law.name]
        self.generator = MLP(width, config.hidden_layers, self.event_dim, nn.leaky_relu)
        self.discriminator = MLP(width, config.hidden_layers, 1, nn.leaky_relu)
        self.optimiser_g = adam(settings.learning_rate, flat, settings.adam_b1, settings.weight_decay)
        self.optimiser_d = adam(settings.discriminator_learning_rate or settings.learning_rate, flat, settings.adam_b1)

    def init(self, key):
        """The state before training."""
        key_g, key_d = jax.random.split(key)
        g = self.generator.init(key_g, jnp.zeros((1, self.settings.latent_dim)))
        d = self.discriminator.init(key_d, jnp.zeros((1, self.event_dim)))
        return {
            "g": g,
            "d": d,
            "opt_g": self.optimiser_g.init(g),
            "opt_d": self.optimiser_d.init(d),
            "average": (g, d) if self.settings.average else (),
            "t": 0.0,
        }

    def latent(self, key):
        """A batch of z."""
        return jax.random.normal(key, (self.n, self.settings.latent_dim))

    def update_d(self, state, batch, key):
        """The discriminator's update."""
        key_z, key_draw = jax.random.split(key)
        fake = self.generator.apply(state["g"], self.latent(key_z))
        fake = self.law.draw(key_draw, fake)

        def objective(d):
            real, generated = self.discriminator.apply(d, batch), self.discriminator.apply(d, fake)
            loss = optax.sigmoid_binary_cross_entropy(real, self.settings.label_smoothing).mean()
            loss += optax.sigmoid_binary_cross_entropy(generated, 0.0).mean()
            penalty = 0.0
            if self.settings.r1_penalty:
                gradient = jax.grad(lambda x: self.discriminator.apply(d, x).sum())(batch)
                penalty = self.settings.r1_penalty / 2 * jnp.mean(jnp.sum(gradient**2, -1))
            return loss + penalty, loss

        gradient, loss = jax.grad(objective, has_aux=True)(state["d"])
        updates, opt = self.optimiser_d.update(gradient, state["opt_d"])
        return state | {"d": optax.apply_updates(state["d"], updates), "opt_d": opt}, loss

    def update_g(self, state, batch, key):
        """The generator's update, and then the averages."""
        del batch
        key_z, key_draw = jax.random.split(key)
        z, noise = self.latent(key_z), self.law.noise(key_draw, (self.n, self.event_dim))

        def objective(g):
            fake = self.generator.apply(g, z)
            fake = self.law.draw_with_gradient(fake, noise, self.settings.gumbel_temperature)
            return optax.sigmoid_binary_cross_entropy(self.discriminator.apply(state["d"], fake), 1.0).mean()

        loss, gradient = jax.value_and_grad(objective)(state["g"])
        updates, opt = self.optimiser_g.update(gradient, state["opt_g"], state["g"])
        state = state | {"g": optax.apply_updates(state["g"], updates), "opt_g": opt, "t": state["t"] + 1}
        if self.settings.average:
            state["average"] = ema(state["average"], (state["g"], state["d"]), state["t"], self.settings.average)
        return state, loss


def vae(config, target, width, flat):
    """Parts of a VAE."""
    settings, event_dim = config.vae.for_law(target.event.law.name), target.event.size
    law = LAWS[target.event.law.name]
    encoder = MLP(width, config.hidden_layers, 2 * settings.latent_dim, nn.tanh)
    decoder = MLP(width, config.hidden_layers, event_dim, nn.tanh)
    optimiser = adam(settings.learning_rate, flat)
    beta = settings.beta or law.beta

    def init(key):
        key_e, key_d = jax.random.split(key)
        params = (
            encoder.init(key_e, jnp.zeros((1, event_dim))),
            decoder.init(key_d, jnp.zeros((1, settings.latent_dim))),
        )
        return {"p": params, "opt": optimiser.init(params), "average": params if settings.average else (), "t": 0.0}

    def update(state, batch, key):
        epsilon = jax.random.normal(key, (config.batch_size, settings.latent_dim))

        def objective(params):
            mean, log_variance = jnp.split(encoder.apply(params[0], batch), 2, -1)
            output = decoder.apply(params[1], mean + jnp.exp(log_variance / 2) * epsilon)
            rate = 0.5 * jnp.mean(jnp.sum(mean**2 + jnp.exp(log_variance) - 1 - log_variance, -1))
            return beta * rate - jnp.mean(law.log_prob(output, batch))

        loss, gradient = jax.value_and_grad(objective)(state["p"])
        updates, opt = optimiser.update(gradient, state["opt"])
        state = state | {"p": optax.apply_updates(state["p"], updates), "opt": opt, "t": state["t"] + 1}
        if settings.average:
            state["average"] = ema(state["average"], state["p"], state["t"], settings.average)
        return state, loss

    return init, [update]


def rbm(config, target, width, flat):
    """Parts of an RBM with contrastive divergence, or with chains that go on where they are (bits)."""
    settings, n_visible = config.rbm.for_law(target.event.law.name), target.event.size
    law, n_sweeps = LAWS[target.event.law.name], settings.k or LAYERS[target.event.law.name].k
    optimiser = adam(settings.learning_rate, flat)

    def init(key):
        params = {
            # How long a step takes does not depend on where it begins.
            "w": 0.01 * jax.random.normal(key, (n_visible, width)),
            "a": jnp.zeros(n_visible),
            "b": jnp.zeros(width),
        }
        if law.has_sigma:
            params["s"] = jnp.full(n_visible, math.log(settings.sigma))
        average, chains = params if settings.average else (), jnp.zeros((config.batch_size, n_visible))
        return {"p": params, "opt": optimiser.init(params), "average": average, "chains": chains, "t": 0.0}

    def hidden(p, v):
        return (v * jnp.exp(-2 * p["s"]) if law.has_sigma else v) @ p["w"] + p["b"]

    def free_energy(p, v):
        quadratic = jnp.sum(((v - p["a"]) * jnp.exp(-p["s"])) ** 2, -1) / 2 if law.has_sigma else -v @ p["a"]
        return quadratic - nn.softplus(hidden(p, v)).sum(-1)

    def sweep(p, v, key):
        key_h, key_v = jax.random.split(key)
        h = jax.random.bernoulli(key_h, nn.sigmoid(hidden(p, v))).astype(jnp.float32)
        mean = h @ p["w"].T + p["a"]
        if law.has_sigma:
            return mean + jnp.exp(p["s"]) * jax.random.normal(key_v, mean.shape)
        return law.draw(key_v, mean)

    def update(state, batch, key):
        p, v = state["p"], state["chains"] if law.persistent else batch
        for each in jax.random.split(key, n_sweeps):
            v = sweep(p, v, each)
        loss, gradient = jax.value_and_grad(lambda p: free_energy(p, batch).mean() - free_energy(p, v).mean())(p)
        updates, opt = optimiser.update(gradient, state["opt"])
        state = state | {"p": optax.apply_updates(p, updates), "opt": opt, "chains": v, "t": state["t"] + 1}
        if settings.average:
            state["average"] = ema(state["average"], state["p"], state["t"], settings.average)
        return state, loss

    return init, [update]


FAMILIES = {"GAN": gan, "VAE": vae, "RBM": rbm}


def adam(rate, flat, b1=0.9, weight_decay=0.0):
    """Adam, on one vector of all weights or on each array."""
    optimiser = optax.adamw(rate, b1=b1, weight_decay=weight_decay) if weight_decay else optax.adam(rate, b1=b1)
    return optax.flatten(optimiser) if flat else optimiser


def strong(family, config, target, width, flat):
    """One donated call a step; returns a function that runs n steps."""
    init, updates = FAMILIES[family](config, target, width, flat)

    def step(state, key):
        key_data, *keys = jax.random.split(key, 1 + len(updates))
        batch = target.codec.encode(target.sample(key_data, config.batch_size))
        losses = []
        for update, key_update in zip(updates, keys, strict=True):
            state, loss = update(state, batch, key_update)
            losses.append(loss)
        return state, losses

    call = jax.jit(step, donate_argnums=0)
    keys_of = jax.jit(lambda key: tuple(jax.random.split(key, 1001)))
    held = {"state": jax.jit(init)(jax.random.key(0)), "key": jax.random.key(1), "queue": []}

    def run(n):
        state, losses = held["state"], None
        for _ in range(n):
            if not held["queue"]:
                # A thousand keys at a time: a split of its own a step would be one more call.
                held["key"], *held["queue"] = keys_of(held["key"])
            state, losses = call(state, held["queue"].pop())
        held["state"] = state
        jax.block_until_ready((state, losses))

    return run


def tutorial(family, config, target, width, flat):
    """A jitted call for the data and one for every network, undonated; returns a function that runs n steps."""
    init, updates = FAMILIES[family](config, target, width, flat)
    draw = jax.jit(lambda key: target.codec.encode(target.sample(key, config.batch_size)))
    calls = [jax.jit(update) for update in updates]
    held = {"state": jax.jit(init)(jax.random.key(0)), "key": jax.random.key(1)}

    def run(n):
        state = held["state"]
        for _ in range(n):
            held["key"], key_data, *keys = jax.random.split(held["key"], 2 + len(calls))
            batch = draw(key_data)
            for call, key in zip(calls, keys, strict=True):
                state, loss = call(state, batch, key)
        held["state"] = state
        jax.block_until_ready((state, loss))

    return run

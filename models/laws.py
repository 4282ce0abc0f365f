"""What an event is, and the laws by which a network's outputs become one.

A family knows an event by its `Event` alone. Arrays of events stay flat, [n, size]; within a training step they are
columns, [size, n], as `models.networks` says why.

References:
  Jang, Gu and Poole, Categorical Reparameterization with Gumbel-Softmax, 2017 (§2.2, straight-through).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import nn

from core.errors import UserError
from models.lattices import Lattice

_LEAST = 1e-30  # of a category's probability, so that its logarithm has a slope
_EXPONENTIAL = 30  # multiplications of a product of matrices that take as long as an exponential


class States(NamedTuple):
    """All the events that there are, where they can be counted."""

    n: int
    index: Callable[[jax.Array], jax.Array]  # events [m, size] -> [m] int32, the number of each
    event: Callable[..., jax.Array]  # ([m] int, dtype) -> [m, size], the events of these numbers


class Law(NamedTuple):
    """How the outputs of a network become an event: a distribution with the outputs as its parameters.

    Columns are [n_outputs, n] outputs and [size, n] events. A law with a scale (a Gaussian's σ) takes its logarithm
    where it scores and draws; one without ignores it. A generator's draw has no scale: its outputs are the events
    where a law has one.
    """

    name: str  # what a family's LAWS knows it by
    n_outputs: int
    has_scale: bool
    noise: Callable[[jax.Array, tuple[int, ...]], jax.Array]  # (key, (…, n)) -> [… , r, n], what `draw` takes
    draw: Callable[[jax.Array, jax.Array], jax.Array]  # (outputs, noise [r, n]) -> events, of a generator
    gradient_noise: Callable[[jax.Array, int], jax.Array]  # (key, n) -> [q, n], what `draw_with_gradient` takes
    draw_with_gradient: Callable[..., jax.Array]  # (outputs, gradient noise, temperature) -> events, to differentiate
    mean: Callable[..., jax.Array]  # (outputs, axis) -> E[event]; the coordinates lie along the axis, as below
    log_prob: Callable[..., jax.Array]  # (outputs, events, log scale, axis) -> [n] nats
    draw_rows: Callable[..., jax.Array]  # (key, outputs [n, n_outputs], log scale) -> [n, size], with the scale
    nearest: Callable[[jax.Array], jax.Array]  # points [n, size] -> the events nearest to them
    unit_vectors: bool = False  # events are the columns of a unit matrix: √2 apart, with E[event] their probabilities
    states: States | None = None  # None: they cannot be counted
    # (outputs [n_outputs, Z], log weights [Z]) -> [n_states] nats: of every state under the mixture of these columns,
    # faster than one by one; None: there is no such form
    log_mixture: Callable[[jax.Array, jax.Array], jax.Array] | None = None


class Event(NamedTuple):
    """One event, as families see it."""

    size: int  # numbers that it is made of
    shape: tuple[int, ...]  # what they are to a picture or a convolution
    law: Law
    box: np.ndarray | None = (
        None  # [size, 2], the range of its numbers; of a category of a line [1, 2], that of the line
    )
    lattice: Lattice | None = None  # where the event is the spins of an Ising model, which has moves of its own


def box_of(event: Event) -> np.ndarray:
    """The range of an event, for families that divide it.

    Raises:
      UserError: it has none.
    """
    if event.box is None:
        raise UserError(f"it divides a range, and events of the law {event.law.name!r} have none here")
    return event.box


def normal(size: int) -> Law:
    """A normal variable of `size` coordinates around the outputs, with one deviation for all."""

    def log_prob(outputs, events, log_scale, axis=-1):
        square = jnp.sum((events - outputs) ** 2, axis=axis)
        return -square / 2 * jnp.exp(-2 * log_scale) - size * (log_scale + 0.5 * math.log(2 * math.pi))

    return Law(
        name="normal",
        n_outputs=size,
        has_scale=True,
        noise=lambda key, shape: jax.random.uniform(key, (*shape[:-1], 0, shape[-1])),
        draw=lambda outputs, noise: outputs,
        gradient_noise=lambda key, n: jax.random.gumbel(key, (0, n)),
        draw_with_gradient=lambda outputs, noise, temperature: outputs,
        mean=lambda outputs, axis=-1: outputs,
        log_prob=log_prob,
        draw_rows=lambda key, outputs, log_scale: outputs + jnp.exp(log_scale) * jax.random.normal(key, outputs.shape),
        nearest=lambda points: points,
    )


def category(size: int) -> Law:
    """One of `size` categories, as one-hot columns, with the outputs as logits."""

    def log_prob(outputs, events, log_scale, axis=-1):
        del log_scale
        return jnp.sum(events * nn.log_softmax(outputs, axis=axis), axis=axis)

    return Law(
        name="category",
        n_outputs=size,
        has_scale=False,
        noise=lambda key, shape: jax.random.uniform(key, (*shape[:-1], 1, shape[-1])),
        draw=draw_one_hot,
        gradient_noise=lambda key, n: jax.random.gumbel(key, (size, n)),
        draw_with_gradient=lambda outputs, noise, temperature: straight_through(outputs + noise, temperature),
        mean=lambda outputs, axis=-1: nn.softmax(outputs, axis=axis),
        log_prob=log_prob,
        draw_rows=lambda key, outputs, log_scale: jax.nn.one_hot(jax.random.categorical(key, outputs), size),
        nearest=lambda points: jax.nn.one_hot(jnp.argmax(points, axis=-1), size),
        unit_vectors=True,
        states=States(
            size,
            lambda events: jnp.argmax(events, axis=-1).astype(jnp.int32),
            lambda index, dtype=jnp.float32: jax.nn.one_hot(index, size, dtype=dtype),
        ),
    )


def bits(size: int, counted: bool = True) -> Law:
    """`size` independent bits, each 0 or 1, with the outputs as logits of 1; `counted`: their states are numbered."""

    def log_prob(outputs, events, log_scale, axis=-1):
        del log_scale
        return jnp.sum(events * outputs - nn.softplus(outputs), axis=axis)

    def draw_rows(key, outputs, log_scale):
        del log_scale
        return (jax.random.uniform(key, outputs.shape) < nn.sigmoid(outputs)).astype(outputs.dtype)

    return Law(
        name="bits",
        n_outputs=size,
        has_scale=False,
        noise=lambda key, shape: jax.random.uniform(key, (*shape[:-1], size, shape[-1])),
        draw=lambda outputs, noise: (noise < nn.sigmoid(outputs)).astype(outputs.dtype),
        gradient_noise=lambda key, n: jax.random.logistic(key, (size, n)),
        draw_with_gradient=lambda outputs, noise, temperature: straight_through_bits(outputs + noise, temperature),
        mean=lambda outputs, axis=-1: nn.sigmoid(outputs),
        log_prob=log_prob,
        draw_rows=draw_rows,
        nearest=lambda points: (points > 0.5).astype(points.dtype),
        states=bit_states(size) if counted else None,
        log_mixture=log_mixture_of_bits,
    )


def pixels(size: int) -> Law:
    """`size` grey levels in [0, 1], with the outputs as logits.

    A draw is the mean, sigmoid(outputs): grey levels are shown and scored, not coin flips with these probabilities. In
    a likelihood grey counts as the probability of a 1: that of x is Σ x ln p + (1 − x) ln(1 − p), the mean of the bits'
    over all strings that coins of the probabilities x make. For rows of 0 and 1 it is the bits'.
    """

    def log_prob(outputs, events, log_scale, axis=-1):
        del log_scale
        return jnp.sum(events * outputs - nn.softplus(outputs), axis=axis)

    return Law(
        name="pixels",
        n_outputs=size,
        has_scale=False,
        noise=lambda key, shape: jax.random.uniform(key, (*shape[:-1], 0, shape[-1])),
        draw=lambda outputs, noise: nn.sigmoid(outputs),
        gradient_noise=lambda key, n: jax.random.logistic(key, (0, n)),
        draw_with_gradient=lambda outputs, noise, temperature: nn.sigmoid(outputs),
        mean=lambda outputs, axis=-1: nn.sigmoid(outputs),
        log_prob=log_prob,
        draw_rows=lambda key, outputs, log_scale: nn.sigmoid(outputs),
        nearest=lambda points: jnp.clip(points, 0, 1),
    )


def spins(size: int) -> Law:
    """`bits` of so many sites that their states cannot be counted."""
    return bits(size, counted=False)._replace(name="spins", log_mixture=None)


def log_mixture_of_bits(outputs: jax.Array, log_weights: jax.Array) -> jax.Array:
    """ln Σ_z w_z Πⱼ p_zj^xⱼ (1 − p_zj)^(1 − xⱼ) of all strings x, [2ⁿ].

    A string is one of the first half of its bits and one of the others, and so the sum is a product of two matrices:
    2ⁿ Z multiplications where one by one it takes as many exponentials.

    Args:
      outputs: [n, Z] logits.
      log_weights: [Z].
    """
    n_first = len(outputs) // 2

    def of_half(logits):
        states = bit_states(len(logits))
        rows = states.event(np.arange(states.n), logits.dtype)
        return rows @ logits - jnp.sum(nn.softplus(logits), axis=0)[None]

    first, second = of_half(outputs[:n_first]), of_half(outputs[n_first:]) + log_weights[None]
    # Without the largest of each only what lies e⁷⁰⁰ below underflows (in float32 e⁸⁷): a string that every z makes so
    # rare by one of its halves is −∞.
    tops = [jnp.max(half, axis=1, keepdims=True) for half in (first, second)]
    total = jnp.exp(first - tops[0]) @ jnp.exp(second - tops[1]).T
    # Twice, or the derivative of what is −∞ would not be a number.
    log_total = jnp.where(total > 0, jnp.log(jnp.where(total > 0, total, 1)), -jnp.inf)
    return (log_total + tops[0] + tops[1].T).reshape(-1)


def log_mixture_at(law: Law, outputs: jax.Array, log_weights: jax.Array, x: jax.Array) -> jax.Array:
    """ln Σ_z w_z p(x | z) of events [n, size] under a law without a scale, to be differentiated.

    All states are taken at once where that is less work.

    Args:
      law: of the events.
      outputs: [n_outputs, Z].
      log_weights: [Z].
      x: [n, size].
    """
    if law.unit_vectors:
        return x @ jnp.log(law.mean(outputs, axis=0) @ jnp.exp(log_weights) + _LEAST)
    if law.log_mixture and law.states.n < _EXPONENTIAL * len(x):
        return law.log_mixture(outputs, log_weights)[law.states.index(x)]
    each = law.log_prob(outputs[:, None], x.T[:, :, None], None, 0)
    return jax.nn.logsumexp(each + log_weights[None], axis=1)


def bit_states(size: int) -> States:
    """All strings of `size` bits, numbered as binary numbers whose most significant bit is the first."""
    # As NumPy's: JAX would make 64 bits of it where that is on.
    powers = 2 ** np.arange(size - 1, -1, -1, dtype=np.int32)

    def index(events):
        return events.astype(jnp.int32) @ jnp.asarray(powers)

    def event(index, dtype=jnp.float32):
        return ((jnp.asarray(index, jnp.int32)[:, None] // jnp.asarray(powers)[None]) % 2).astype(dtype)

    return States(2**size, index, event)


def draw_one_hot(logits: jax.Array, uniform: jax.Array) -> jax.Array:
    """Draws a category a column by inversion of its distribution function.

    It takes one random number a column where the Gumbel trick takes one a category, and small models are bound by their
    random numbers.

    Args:
      logits: [K, n], log probabilities up to a constant a column.
      uniform: [1, n] in [0, 1).

    Returns:
      One-hot columns [K, n].
    """
    n_categories = logits.shape[0]
    cumulative = jnp.tril(jnp.ones((n_categories, n_categories), logits.dtype)) @ nn.softmax(logits, axis=0)
    # Scaled by the last sum, which rounding leaves a little off one.
    drawn = jnp.sum(uniform * cumulative[-1:] >= cumulative[:-1], axis=0)
    return jax.nn.one_hot(drawn, n_categories, axis=0, dtype=logits.dtype)


def straight_through_bits(perturbed_logits: jax.Array, temperature: float) -> jax.Array:
    """1 where logits plus logistic noise [n, B] are above 0, with the gradient of their sigmoid at the temperature.

    The logistic variable is the difference of two Gumbel ones: this is the straight-through Gumbel-softmax of two
    categories (Maddison, Mnih and Teh, The Concrete Distribution, 2017, appendix B).
    """
    soft = nn.sigmoid(perturbed_logits * (1 / jnp.asarray(temperature, perturbed_logits.dtype)))
    hard = (perturbed_logits > 0).astype(soft.dtype)
    return hard + (soft - jax.lax.stop_gradient(soft))


def straight_through(perturbed_logits: jax.Array, temperature: float) -> jax.Array:
    """One-hot argmax of logits plus Gumbel noise [K, n], with the gradient of their softmax at the temperature."""
    # As the compiler does where the temperature is a constant: bits must not depend on whether it is one.
    inverse = 1 / jnp.asarray(temperature, perturbed_logits.dtype)
    soft = nn.softmax(perturbed_logits * inverse, axis=0)
    hard = jax.nn.one_hot(jnp.argmax(perturbed_logits, axis=0), soft.shape[0], axis=0)
    # In this order the forward value is the one-hot column itself, without a rounding error.
    return hard + (soft - jax.lax.stop_gradient(soft))

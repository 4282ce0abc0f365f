"""What is known of the likelihood of held-out rows: exactly, by a bound, or by an estimate with an interval.

A variational autoencoder has the importance-weighted bound

    ln p(x) ≥ E ln (1/k) Σᵢ p(x | zᵢ) p(zᵢ)/q(zᵢ | x),    zᵢ ~ q(z | x),

which rises with k. A Boltzmann machine has ln p(x) = −F(x) − ln Z. Annealed importance sampling estimates Z: chains go
from a machine without weights, whose Z is known, through p_β ∝ p₀^(1 − β) p^β to the machine itself, and the mean of
their weights is Z/Z₀. So ln Z is too small in expectation. The reverse way starts at the machine's own rows and has
Z₀/Z as its mean: there ln Z is too large in expectation, provided that these rows are the machine's. Single runs of
either may err to the other side.

References:
  Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, 2016 (theorem 1).
  Neal, Annealed Importance Sampling, 2001.
  Salakhutdinov and Murray, On the Quantitative Analysis of Deep Belief Networks, 2008 (§4.1, weights and base rates).
  Burda, Grosse and Salakhutdinov, Accurate and Conservative Estimates of MRF Log-likelihood, 2015 (the reverse way).
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models.base import Model
from models.boltzmann import Params, free_energy, hidden_input, sum_softplus
from models.visibles import PIXELS

_RESAMPLES = 1000  # behind an interval
_Z_AT_ONCE, _ROWS_AT_ONCE = 50, 128  # draws, and rows, whose images are held together


class LogZ(NamedTuple):
    """An estimate of ln Z, in nats."""

    value: float
    low: float  # 95 % interval over the chains, by resampling
    high: float
    effective: float  # chains that the weights are worth, of those that there are


class Likelihood(NamedTuple):
    """The mean ln q of rows."""

    nats: float  # an event
    low: float  # 95 % interval, of the rows and where there is one of the estimate
    high: float
    how: Literal["exact", "lower bound", "estimate"]
    is_density: bool  # of grey levels; otherwise the probability of bits, with grey as that of a 1
    bits_per_dimension: float  # −nats/(D ln 2)
    log_z: tuple[LogZ, LogZ] | None = None  # by annealing and by the reverse way


def held_out(model: Model, state: Any, rows: np.ndarray, key: jax.Array) -> Likelihood | None:
    """The likelihood of rows that were not trained on.

    Args:
      model: a family.
      state: of one seed.
      rows: events [n, size].
      key: of what an estimate draws.

    Returns:
      None where nothing is known of the family's. Single rows are kept nowhere: a mean over few has a wide interval.
    """
    rows = jnp.asarray(rows, jnp.float32)
    log_z, is_density = None, model.measure == "density"
    if model.log_prob is not None:
        each, how = np.asarray(model.log_prob(state, rows), np.float64), model.log_prob_kind
        spread = 0.0
    elif model.bound is not None:
        each, how, spread = np.asarray(model.bound(key, state, rows), np.float64), "lower bound", 0.0
    elif model.unnormalised is not None:
        each, log_z = model.unnormalised(key, state, rows)
        each, how = np.asarray(each, np.float64) - log_z[0].value, "estimate"
        spread = (log_z[0].high - log_z[0].low) / 2
    else:
        return None
    half = math.hypot(1.96 * each.std(ddof=1) / math.sqrt(len(each)), spread)
    mean = float(each.mean())
    dimensions = -mean / (rows.shape[1] * math.log(2))
    return Likelihood(mean, mean - half, mean + half, how, is_density, dimensions, log_z)


def importance_weighted(
    key: jax.Array,
    x: jax.Array,
    k: int,
    encode: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
    log_likelihood: Callable[[jax.Array, jax.Array], jax.Array],
) -> jax.Array:
    """The bound of k draws, [n] nats, a few rows at once.

    Args:
      key: of the draws.
      x: rows [n, size].
      k: draws a row.
      encode: x -> means and log variances of q(z | x), [n, latent_dim] each.
      log_likelihood: (x [m, size], z [m, latent_dim]) -> ln p(x | z) [m].
    """
    if len(x) > _ROWS_AT_ONCE:
        padded = jnp.pad(x, ((0, -len(x) % _ROWS_AT_ONCE), (0, 0))).reshape(-1, _ROWS_AT_ONCE, x.shape[1])
        parts = jax.lax.map(
            lambda part: importance_weighted(jax.random.fold_in(key, part[0]), part[1], k, encode, log_likelihood),
            (jnp.arange(len(padded)), padded),
        )
        return parts.reshape(-1)[: len(x)]
    mean, log_variance = encode(x)
    at_once = min(k, _Z_AT_ONCE)

    def log_weights(key):
        epsilon = jax.random.normal(key, (at_once, *mean.shape))
        z = mean[None] + jnp.exp(log_variance / 2)[None] * epsilon
        repeated = jnp.broadcast_to(x[None], (at_once, *x.shape))
        of_x = log_likelihood(repeated.reshape(-1, x.shape[1]), z.reshape(-1, mean.shape[1]))
        # Constants of both normal densities are the same.
        return of_x.reshape(at_once, -1) - jnp.sum(z**2 - epsilon**2 - log_variance[None], axis=-1) / 2

    def add(total, i):
        each = log_weights(jax.random.fold_in(key, i))
        # The last part may be only begun.
        counted = jnp.where(i * at_once + jnp.arange(at_once) < k, 0.0, -jnp.inf)
        return jnp.logaddexp(total, jax.nn.logsumexp(each + counted[:, None], axis=0)), None

    n_parts = -(-k // at_once)
    total, _ = jax.lax.scan(add, jnp.full(len(x), -jnp.inf, mean.dtype), jnp.arange(n_parts))
    return total - math.log(k)


def annealed_log_weights(
    key: jax.Array, params: Params, base: jax.Array, betas: jax.Array, start: jax.Array | None, n_chains: int
) -> jax.Array:
    """Log weights [n_chains] of chains from the base machine to a machine of binary units, or back.

    Args:
      key: of the chains.
      params: of the machine.
      base: [V], the visible biases of the machine without weights.
      betas: rising, 0 first and 1 last.
      start: rows [n_chains, V] of the machine itself: the way back; None: the way to it.
      n_chains: chains side by side.
    """

    # p_β's energy: biases between both, weights and hidden biases times β, and with β as the factor of a hidden unit's
    # part; at β = 0 every hidden unit is free and adds ln 2.
    def at(beta):
        return Params(beta * params.weights, base + beta * (params.visible_bias - base), beta * params.hidden_bias, ())

    def minus_energy(beta, v):
        return -free_energy(PIXELS, at(beta), v)

    def sweep(key, beta, v):
        key_hidden, key_visible = jax.random.split(key)
        own = at(beta)
        x = hidden_input(PIXELS, own, v)
        h = (jax.random.uniform(key_hidden, x.shape) < jax.nn.sigmoid(x)).astype(v.dtype)
        linear = own.weights @ h + own.visible_bias[:, None]
        return PIXELS.draw(own, linear, jax.random.uniform(key_visible, v.shape))

    key_start, key_chains = jax.random.split(key)
    if start is None:
        p = jnp.broadcast_to(jax.nn.sigmoid(base)[:, None], (len(base), n_chains))
        v = (jax.random.uniform(key_start, p.shape) < p).astype(base.dtype)
        order = betas
    else:
        v, order = start.T, betas[::-1]

    def move(carry, i):
        v, log_weights = carry
        log_weights += minus_energy(order[i + 1], v) - minus_energy(order[i], v)
        return (sweep(jax.random.fold_in(key_chains, i), order[i + 1], v), log_weights), None

    begin = v, jnp.zeros(v.shape[1], v.dtype)
    return jax.lax.scan(move, begin, jnp.arange(len(betas) - 1))[0][1]


def base_log_partition(base: jax.Array, n_hidden: int) -> jax.Array:
    """ln Z of a machine without weights and hidden biases."""
    return n_hidden * math.log(2) + sum_softplus(base[:, None])[0]


def log_z_of(log_weights: np.ndarray, base: float, sign: int, generator: np.random.Generator) -> LogZ:
    """ln Z from log weights: of the way to the machine (sign 1), or of the way back (−1).

    Args:
      log_weights: [chains].
      base: ln Z of the machine without weights.
      sign: which way.
      generator: of the resampling behind the interval.
    """
    log_weights = np.asarray(log_weights, np.float64)
    top = log_weights.max()
    weights = np.exp(log_weights - top)
    drawn = generator.integers(len(weights), size=(_RESAMPLES, len(weights)))
    value, means = np.log(weights.mean()), np.log(weights[drawn].mean(1))
    low, high = np.sort(base + sign * (top + np.quantile(means, (0.025, 0.975))))
    effective = weights.sum() ** 2 / (weights**2).sum()
    return LogZ(float(base + sign * (top + value)), float(low), float(high), float(effective))


def both_ways(key: jax.Array, params: Params, base: jax.Array, rows: jax.Array, n_betas: int) -> tuple[LogZ, LogZ]:
    """ln Z by annealing, and by the reverse way from rows [chains, V] of 0 and 1 that the machine itself has drawn."""
    betas = jnp.linspace(0.0, 1.0, n_betas + 1, dtype=params.weights.dtype)
    known = float(base_log_partition(base, len(params.hidden_bias)))
    generator = np.random.default_rng(0)
    found = []
    for sign, start in ((1, None), (-1, rows)):
        weights = _annealed(jax.random.fold_in(key, sign + 1), params, base, betas, start, len(rows))
        found.append(log_z_of(weights, known, sign, generator))
    return found[0], found[1]


_annealed = jax.jit(annealed_log_weights, static_argnums=5)

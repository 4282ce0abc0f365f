"""Probabilistic principal component analysis: a Gaussian with q directions of its own and one variance for all others.

    x = μ + W z + σ ε,    z ~ N(0, I_q), ε ~ N(0, I_D),

with the maximum-likelihood W = U (Λ − σ²)^½ and σ² = (tr S − Σ λ)/(D − q), of the q largest eigenvalues λ of the rows'
covariance S and their eigenvectors U. The budget decides q; μ, W and σ are D (q + 1) + 1 numbers. More directions than
rows or pixels allow would be noise alone: then there are fewer, and fewer parameters than the budget.

It has a density of grey levels, in nats an image, which cannot be compared with probabilities of 0 and 1. σ² is at
least 1e-6. Draws are cut off at 0 and 1, which the density does not know.

Reference: Tipping and Bishop, Probabilistic Principal Component Analysis, 1999 (eq. 3, 7 and 8).
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from budget import solve_width
from core.settings import Settings, setting
from models import at_once
from models.base import Model

# The laws of events that it can draw.
LAWS = ("pixels",)
_LOWEST_VARIANCE = 1e-6
# Above so many pixels only the directions that are wanted are found, by subspace iteration with a few to spare.
_MOST_DECOMPOSED, _SPARE, _ITERATIONS = 1024, 8, 60


@dataclass(frozen=True)
class Config(Settings, of="PPCA"):
    """Settings of probabilistic PCA."""

    n_components: int = setting(0, "directions q; 0: as many as PARAMETER_BUDGET makes", low=0, high=2**16)
    n_rows: int = setting(8192, "size of the data set where there is none but fresh draws", low=2, high=2**24)


class Params(NamedTuple):
    """What is fitted."""

    mean: jax.Array  # [D]
    directions: jax.Array  # [D, q], W; its columns are orthogonal
    log_sigma: jax.Array  # [1]


class State(NamedTuple):
    """The fit."""

    params: Params


def build(config: Any, target: Any) -> Model:
    """The model of D (q + 1) + 1 parameters.

    Args:
      config: the run's configuration; `config.ppca` is this family's `Config`.
      target: the distribution to learn; its events are grey levels.

    Raises:
      UserError: the budget is below a single direction.
    """
    settings: Config = config.ppca
    size, law = target.event.size, target.event.law
    n_rows = settings.n_rows if target.train_rows is None else len(target.train_rows)
    asked = settings.n_components or solve_width(lambda q: size * (q + 1) + 1, config.parameter_budget)
    width = max(1, min(asked, size - 1, n_rows - 1))

    def init(key, data):
        del key
        return State(fitted(data, width))

    def decode(state, z):
        return law.nearest(state.params.mean[None] + z @ state.params.directions.T)

    def sample_mean(key, state, n):
        return decode(state, jax.random.normal(key, (n, width)))

    def sample(key, state, n):
        key_z, key_x = jax.random.split(key)
        centre = state.params.mean[None] + jax.random.normal(key_z, (n, width)) @ state.params.directions.T
        return law.nearest(centre + jnp.exp(state.params.log_sigma[0]) * jax.random.normal(key_x, (n, size)))

    def encode(state, x):
        """E[z | x] = (WᵀW + σ²)⁻¹ Wᵀ (x − μ); WᵀW is diagonal."""
        squares = jnp.sum(state.params.directions**2, axis=0) + jnp.exp(2 * state.params.log_sigma[0])
        return (x - state.params.mean[None]) @ state.params.directions / squares[None]

    return at_once.build(
        "PPCA",
        size * (width + 1) + 1,
        init,
        jax.jit(lambda state, x: log_density(state.params, x)),
        width=width,
        sample=sample,
        sample_mean=sample_mean,
        latent_dim=width,
        decode=decode,
        encode=encode,
        reconstruct=lambda state, x: decode(state, encode(state, x)),
        n_data_rows=settings.n_rows,
        measure="density",
        rival=True,
    )


def fitted(x: jax.Array, n_directions: int) -> Params:
    """The maximum of the likelihood of rows x [n, D]."""
    n, size = x.shape
    mean = jnp.mean(x, axis=0)
    rest = x - mean[None]
    values, vectors = _largest(rest, n_directions)
    variance = (jnp.sum(rest**2) / n - jnp.sum(values)) / (size - n_directions)
    variance = jnp.maximum(variance, _LOWEST_VARIANCE)
    directions = vectors * jnp.sqrt(jnp.maximum(values - variance, 0))[None]
    return Params(mean, directions, jnp.log(variance)[None] / 2)


def _largest(rest: jax.Array, n_directions: int) -> tuple[jax.Array, jax.Array]:
    """The largest eigenvalues [q] and eigenvectors [D, q] of the covariance of rows about their mean [n, D]."""
    n, size = rest.shape
    if size <= _MOST_DECOMPOSED or n_directions + _SPARE > size // 4:
        values, vectors = jnp.linalg.eigh(jnp.matmul(rest.T, rest, precision="highest") / n)
        return values[::-1][:n_directions], vectors[:, ::-1][:, :n_directions]

    def iterate(_, basis):
        return jnp.linalg.qr(rest.T @ (rest @ basis) / n)[0]

    start = jax.random.normal(jax.random.key(0), (size, n_directions + _SPARE), rest.dtype)
    basis = jax.lax.fori_loop(0, _ITERATIONS, iterate, jnp.linalg.qr(start)[0])
    seen = rest @ basis
    values, turned = jnp.linalg.eigh(seen.T @ seen / n)
    return values[::-1][:n_directions], (basis @ turned)[:, ::-1][:, :n_directions]


def log_density(params: Params, x: jax.Array) -> jax.Array:
    """ln N(x; μ, W Wᵀ + σ²) of rows x [n, D], [n] in nats, by W's orthogonal columns."""
    size, n_directions = params.directions.shape
    variance = jnp.exp(2 * params.log_sigma[0])
    squares = jnp.sum(params.directions**2, axis=0)
    rest = x - params.mean[None]
    along = rest @ params.directions
    # (WWᵀ + σ²)⁻¹ = (1 − Σ wwᵀ/(|w|² + σ²))/σ².
    distance = (jnp.sum(rest**2, axis=1) - jnp.sum(along**2 / (squares + variance)[None], axis=1)) / variance
    log_determinant = jnp.sum(jnp.log(squares + variance)) + (size - n_directions) * jnp.log(variance)
    return -(distance + log_determinant + size * math.log(2 * math.pi)) / 2

"""Mixture of Bernoulli products (latent class model), fitted by expectation–maximisation.

q(x) = Σₖ wₖ Πⱼ pₖⱼ^xⱼ (1 − pₖⱼ)^(1 − xⱼ). The budget decides the number of components K: K − 1 weights and K n
probabilities. One training step is one iteration over the whole data set: responsibilities rₘₖ ∝ wₖ p(xₘ | k), then the
weights and probabilities that maximise the expected log-likelihood. Probabilities keep away from 0 and 1 by
`probability_floor`; the expected log-likelihood is concave in each, so that the nearest allowed value is the maximiser
under that condition, and the likelihood rises at every iteration.

Several starts are carried along and take their iterations side by side; the one with the largest likelihood is the
model. The centres of a start are rows, drawn by k-means++.

References:
  Bishop, Pattern Recognition and Machine Learning, 2006, §9.3.3.
  Lazarsfeld and Henry, Latent Structure Analysis, 1968.
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from budget import solve_width
from core.errors import UserError
from core.settings import Settings, setting
from models import mixtures
from models.base import Model, count_params

# The laws of events that it can draw. A grey level counts as the probability of a 1, in the likelihood and so in EM.
LAWS = ("bits", "pixels")
# What a component's probabilities begin with where its centre has a 1, and 1 less that where it has a 0.
_START = 0.8
# Rows that a component needs to have moved.
_FEWEST_ROWS = 1e-6


@dataclass(frozen=True)
class Config(Settings, of="BERNOULLI_MIXTURE"):
    """Settings of the Bernoulli mixture."""

    n_init: int = setting(3, "starts, by k-means++; the one with the largest likelihood is the model", low=1)
    max_iter: int = setting(300, "EM iterations, one a training step", low=1)
    probability_floor: float = setting(
        1e-5, "how far probabilities keep away from 0 and 1", above=0, below=0.5, traced=True
    )
    n_components: int = setting(0, "components; 0: as many as PARAMETER_BUDGET makes", low=0, high=2**20)
    n_rows: int = setting(32_768, "size of the data set where there is none but fresh draws", low=1, high=2**24)


class Params(NamedTuple):
    """Trainable weights."""

    log_odds: Any  # [K − 1] ln of each weight over the last; () of one component
    logits: jax.Array  # [K, n], of 1


class State(NamedTuple):
    """What training carries."""

    params: Params  # of the best start
    starts: Params  # of all, [n_init, …]


class Info(NamedTuple):
    """Scalars of one step."""

    loss: jax.Array  # negative mean log-likelihood of the rows before the iteration, nats


def build(config: Any, target: Any) -> Model:
    """Sizes the mixture for the budget.

    Args:
      config: the run's configuration; `config.bernoulli_mixture` is this family's `Config`.
      target: the distribution to learn; its events are bits or grey levels.

    Raises:
      UserError: the budget is below a single product, or makes more components than the data set has rows.
    """
    settings: Config = config.bernoulli_mixture
    size, law = target.event.size, target.event.law

    def shapes(n_components):
        return Params(jnp.zeros(n_components - 1), jnp.zeros((n_components, size)))

    width = settings.n_components or solve_width(lambda k: k * (1 + size) - 1, config.parameter_budget)
    _check_rows(width, target, config)

    def init(key, data):
        start = functools.partial(initial, x=data, n_components=width)
        starts = jax.lax.map(start, jax.random.split(key, settings.n_init))
        return State(jax.tree.map(lambda leaf: leaf[0], starts), starts)

    def noise(key):
        del key
        return ()

    def step(state, batch, noise):
        del noise
        starts, losses = jax.vmap(lambda params: em_step(params, batch, settings.probability_floor))(state.starts)
        best = mixtures.smallest(losses)
        return State(jax.tree.map(lambda leaf: leaf[best], starts), starts), Info(losses[best])

    def components(key, params, n):
        return mixtures.draw_components(key, mixtures.log_weights_of(params.log_odds, params.logits.dtype), n)

    def sample(key, state, n):
        key_component, key_bits = jax.random.split(key)
        return law.draw_rows(key_bits, state.params.logits[components(key_component, state.params, n)], None)

    def sample_mean(key, state, n):
        return law.mean(state.params.logits[components(key, state.params, n)])

    @jax.jit
    def log_prob(state, x):
        return jax.nn.logsumexp(log_joint(state.params, x), axis=1)

    return Model(
        name="BERNOULLI_MIXTURE",
        n_params=count_params(shapes(width)),
        width=width,
        init=init,
        noise=noise,
        step=step,
        sample=sample,
        sample_mean=sample_mean,
        log_prob=log_prob,
        log_prob_kind="exact",
        direct=lambda params, x, key: jax.nn.logsumexp(log_joint(params, x), axis=1),
        loss_reference=mixtures.loss_reference(target),
        batches_per_step=None,
        n_data_rows=settings.n_rows,
        max_steps=settings.max_iter,
        last_fields=("loss",),
    )


def initial(key: jax.Array, x: jax.Array, n_components: int) -> Params:
    """Centres by k-means++ on rows x [n, size], and equal weights."""
    centres = mixtures.k_means_plus_plus(key, x, n_components)
    logit = jnp.log(jnp.asarray(_START / (1 - _START), x.dtype))
    return Params(mixtures.log_odds_of(jnp.zeros(n_components, x.dtype)), (2 * centres - 1) * logit)


def log_joint(params: Params, x: jax.Array) -> jax.Array:
    """ln wₖ p(x | k), [n, K], of rows x [n, size]."""
    log_weights = mixtures.log_weights_of(params.log_odds, params.logits.dtype)
    each = jnp.matmul(x, params.logits.T, precision="highest")
    return each + (log_weights - jnp.sum(jax.nn.softplus(params.logits), axis=1))[None]


def em_step(params: Params, x: jax.Array, floor: Any) -> tuple[Params, jax.Array]:
    """One iteration over rows x [n, size]; the parameters after it and the loss before it, in nats a row."""
    joint = log_joint(params, x)
    log_each = jax.nn.logsumexp(joint, axis=1)
    shares = jnp.exp(joint - log_each[:, None])
    counts = jnp.sum(shares, axis=0)
    ones = jnp.matmul(shares.T, x, precision="highest") / jnp.maximum(counts, _FEWEST_ROWS)[:, None]
    p = jnp.clip(ones, floor, 1 - floor)
    logits = jnp.where((counts > _FEWEST_ROWS)[:, None], jnp.log(p) - jnp.log1p(-p), params.logits)
    log_odds = mixtures.log_odds_of(mixtures.log_shares(counts, len(x)))
    return Params(log_odds, logits), -jnp.mean(log_each)


def _check_rows(width: int, target: Any, config: Any) -> None:
    """Raises a UserError where there are fewer rows than components to place on them."""
    settings = config.bernoulli_mixture
    fixed = target.train_rows is not None
    n = len(target.train_rows) if fixed else settings.n_rows
    if n < width:
        more = "give more training rows" if fixed else "raise BERNOULLI_MIXTURE.n_rows"
        raise UserError(
            f"BERNOULLI_MIXTURE would have {width} components, more than the {n} rows to fit them to; "
            f"set BERNOULLI_MIXTURE.n_components = {n}, or {more}"
        )

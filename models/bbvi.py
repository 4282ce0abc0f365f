"""Bayesian Gaussian mixture by stochastic gradients of a reparameterised bound: "black box" variational inference.

The priors and the form of q, Dirichlet × Normal–Wishart, are VBGMM's; the assignments, which have no derivative, are
summed out of the model. The bound is then tighter,

    L' = E_q[Σₙ ln Σₖ πₖ N(xₙ; μₖ, Λₖ⁻¹)] − KL(q ‖ p),

and its best q at least as good by it as VBGMM's. The expectation is estimated from draws of the parameters that are
differentiable functions of q's, gamma variables by implicit differentiation, and from a minibatch of rows that counts
N/B times; the KL is exact. Adam follows the gradient with respect to logarithms of what is positive. Rows are a fixed
set, as everything about a posterior needs one, and the minibatches are drawn from it.

What counts as trainable are the variational parameters: of every component 3 + D + D(D+1)/2 numbers. With bins the rows
of each lie evenly over it. Samples and densities are those of the posterior predictive, as VBGMM's.

References:
  Ranganath, Gerrish and Blei, Black Box Variational Inference, 2014.
  Kingma and Welling, Auto-Encoding Variational Bayes, 2014 (reparameterisation).
  Figurnov, Mohamed and Mnih, Implicit Reparameterization Gradients, 2018.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from core.settings import setting
from models import bayesian_mixture, grouped, mixtures, normal_wishart
from models.base import Model, averaged
from models.normal_wishart import Law
from models.sizing import update_of

# The laws of events that it can draw.
LAWS = grouped.LAWS


@dataclass(frozen=True)
class Config(bayesian_mixture.SharedSettings, of="BBVI"):
    """Settings of black-box variational inference."""

    learning_rate: float = setting(1e-2, "of Adam", above=0, traced=True)
    n_gradient_draws: int = setting(1, "draws of the parameters for one gradient", low=1)
    average: float = setting(0.999, "decay of the averaged variational parameters that sample; 0: off", low=0, below=1)


class Params(NamedTuple):
    """The variational parameters, free to be any numbers."""

    log_concentration: jax.Array  # ln α [K]
    log_mean_precision: jax.Array  # ln β [K]
    log_excess: jax.Array  # ln(ν − D + 1) [K]
    means: jax.Array  # m [K, D]
    factors: jax.Array  # [K, D(D+1)/2] lower triangles of A, W = Aᵀ A, with the logarithm of the diagonal


class State(NamedTuple):
    """What training carries."""

    params: Params
    opt_state: Any
    prior: Law
    course: jax.Array  # [M, 3] both bounds and an error at `bayesian_mixture.MARKS`; 0 where none has been
    n_done: jax.Array  # [] int32


class Noise(NamedTuple):
    """The randomness of one step."""

    rows: jax.Array  # [B] uniform: which rows are the minibatch
    within: jax.Array  # [B] uniform: with bins, where in its bin each lies
    seeds: jax.Array  # [2] uniform, from which the key of the draws is made


class Info(NamedTuple):
    """Scalars of one step."""

    loss: jax.Array  # the negative bound L' that the minibatch and the draws estimate, nats a row
    components: jax.Array  # that are left after it: those that expect at least one row


def build(config: Any, target: Any) -> Model:
    """Sizes the mixture for the budget, as VBGMM.

    Args:
      config: the run's configuration; `config.bbvi` is this family's `Config`.
      target: the distribution to learn; its event is what the model draws.

    Raises:
      UserError: as `vbgmm.build`.
    """
    settings: Config = config.bbvi
    shared = bayesian_mixture.shared_parts("BBVI", config, target, settings, lambda state: law_of(state.params))
    shapes = jax.eval_shape(lambda: zeros(shared.width, shared.positions.dim))
    update = update_of(optax.adam(settings.learning_rate), shapes)

    def init(key, data):
        x, weights = shared.positions.weighted(data)
        prior = normal_wishart.prior_of(x, weights, shared.width, settings)
        params = params_of(normal_wishart.start_of(key, x, weights, prior))
        return State(params, update.init(params), prior, bayesian_mixture.no_course(x.dtype), jnp.int32(0))

    def noise(key):
        keys = jax.random.split(key, 3)
        rows, within = (jax.random.uniform(each, (config.batch_size,)) for each in keys[:2])
        return Noise(rows, within, bayesian_mixture.seeds(keys[2]))

    def minibatch(batch, noise):
        rows = batch[jnp.minimum((noise.rows * len(batch)).astype(jnp.int32), len(batch) - 1)]
        return shared.positions.drawn(rows, noise.within)

    def bound_of(state, batch, noise, key, whole):
        """The negative bound that the minibatch and the draws estimate, and its gradient."""
        rows = minibatch(batch, noise)

        def expected(key, params):
            log_likelihood = normal_wishart.log_likelihood(normal_wishart.draw(key, law_of(params)), rows, whole)
            return len(batch) * jnp.mean(log_likelihood)

        def cost(params):
            return normal_wishart.kl(law_of(params), state.prior)

        return bound_gradient(key, state.params, expected, cost, settings.n_gradient_draws)

    def step(whole, state, batch, noise):
        n = len(batch)
        key_gradient, key_bounds = jax.random.split(bayesian_mixture.key_of(noise.seeds))
        loss, gradient = bound_of(state, batch, noise, key_gradient, whole)
        # A row's share: the size of a gradient then does not depend on how many rows there are.
        gradient = jax.tree.map(lambda leaf: leaf / n, gradient)
        # What is counted are the updates: the bounds are evaluated before a few of them.
        course = state.course
        if not whole:
            course = shared.followed(state, law_of(state.params), batch, bayesian_mixture.seeds(key_bounds))
        params, opt_state = update.applied(state.params, gradient, state.opt_state)
        left = normal_wishart.n_components(law_of(params), state.prior, n)
        return State(params, opt_state, state.prior, course, state.n_done + 1), Info(loss / n, left)

    model = shared.model._replace(
        init=init,
        noise=noise,
        step=functools.partial(step, False),
        step_counted=functools.partial(step, True),
        last_fields=("components",),
        n_rows_used=config.batch_size,
    )
    return averaged(model, settings.average)


def bound_gradient(
    key: jax.Array,
    params: Any,
    expected: Callable[[jax.Array, Any], jax.Array],
    cost: Callable[[Any], jax.Array],
    n_draws: int,
) -> tuple[jax.Array, Any]:
    """A negative variational bound, cost − E[expected], and its gradient by the parameters of q, from n_draws draws.

    Args:
      key: a key for all draws.
      params: of q, any pytree.
      expected: (key, params) -> what the bound has the expectation of, at one draw from q that is a differentiable
        function of its parameters.
      cost: (params) -> KL(q ‖ p), or the negative entropy of q where `expected` has the prior in it.
      n_draws: draws.
    """

    def objective(params):
        each = jax.vmap(lambda key: expected(key, params))(jax.random.split(key, n_draws))
        return cost(params) - jnp.mean(each)

    return jax.value_and_grad(objective)(params)


def zeros(n_components: int, dim: int) -> Params:
    """Free parameters that are all 0."""
    each = jnp.zeros(n_components)
    n_lower = dim * (dim + 1) // 2
    return Params(each, each, each, jnp.zeros((n_components, dim)), jnp.zeros((n_components, n_lower)))


def law_of(params: Params) -> Law:
    """The law in the form that `normal_wishart` takes."""
    n_components, dim = params.means.shape
    rows, columns = mixtures.triangle(dim)
    entries = jnp.where(rows == columns, jnp.exp(params.factors), params.factors)
    factors = jnp.zeros((n_components, dim, dim), params.means.dtype).at[:, rows, columns].set(entries)
    return Law(
        jnp.exp(params.log_concentration),
        jnp.exp(params.log_mean_precision),
        jnp.exp(params.log_excess) + (dim - 1),
        params.means,
        factors,
    )


def params_of(law: Law) -> Params:
    """The free parameters of a law."""
    dim = law.means.shape[1]
    rows, columns = mixtures.triangle(dim)
    lower = mixtures.lower_of(law.factors)
    return Params(
        jnp.log(law.concentration),
        jnp.log(law.mean_precision),
        jnp.log(law.degrees_of_freedom - (dim - 1)),
        law.means,
        # The logarithm is asked of the diagonal alone: what lies beside it may be negative.
        jnp.where(rows == columns, jnp.log(jnp.where(rows == columns, lower, 1)), lower),
    )

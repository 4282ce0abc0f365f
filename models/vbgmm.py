"""Bayesian Gaussian mixture by mean-field variational inference: coordinate ascent on q(Z) q(π) Π q(μₖ, Λₖ).

One training step is one pass over the whole data set: the responsibilities that are best for the law of the parameters,
then the law that is best for them. The bound on ln p(X), with every constant, rises at every pass. Components that no
row needs fall back to their prior and carry next to no weight, so that the number left over is found and not set;
with few of them a large budget does not overfit. Samples and densities are those of the posterior predictive, a mixture
of Student's t laws.

What counts as trainable are the variational parameters: of every component α, β, ν, m and W, 3 + D + D(D+1)/2 numbers.
The priors are read off the data: π ~ Dir(1/K, …), W⁻¹ the rows' covariance, m their mean. With bins the rows of each
lie evenly over it, and cell probabilities are the predictive's, the end cells with the tails.

Reference: Bishop, Pattern Recognition and Machine Learning, 2006, §10.2.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from core.settings import setting
from models import bayesian_mixture, grouped, mixtures, normal_wishart
from models.base import Model
from models.normal_wishart import Law

# The laws of events that it can draw.
LAWS = grouped.LAWS


@dataclass(frozen=True)
class Config(bayesian_mixture.SharedSettings, of="VBGMM"):
    """Settings of the variational mixture."""

    max_iter: int = setting(200, "passes, one a training step", low=1)


class Params(NamedTuple):
    """The variational parameters."""

    concentration: jax.Array  # α [K]
    mean_precision: jax.Array  # β [K]
    degrees_of_freedom: jax.Array  # ν [K]
    means: jax.Array  # m [K, D]
    inverse_scale: jax.Array  # W⁻¹ [K, D(D+1)/2], lower triangles


class State(NamedTuple):
    """What training carries."""

    params: Params
    prior: Law
    course: jax.Array  # [M, 3] both bounds and an error at `bayesian_mixture.MARKS`; 0 where none has been
    n_done: jax.Array  # [] int32


class Info(NamedTuple):
    """Scalars of one step."""

    loss: jax.Array  # the negative bound before the pass, nats a row
    components: jax.Array  # that are left after it: those that expect at least one row


def build(config: Any, target: Any) -> Model:
    """Sizes the mixture for the budget, which every component takes 3 + D + D(D+1)/2 of.

    Args:
      config: the run's configuration; `config.vbgmm` is this family's `Config`.
      target: the distribution to learn; its event is what the model draws.

    Raises:
      UserError: the budget is below one component, or makes more than a fixed training set has rows, or a prior has
        too few degrees of freedom.
    """
    settings: Config = config.vbgmm
    shared = bayesian_mixture.shared_parts("VBGMM", config, target, settings, lambda state: law_of(state.params))

    def init(key, data):
        x, weights = shared.positions.weighted(data)
        prior = normal_wishart.prior_of(x, weights, shared.width, settings)
        params = params_of(normal_wishart.start_of(key, x, weights, prior))
        return State(params, prior, bayesian_mixture.no_course(x.dtype), jnp.int32(0))

    def noise(key):
        return bayesian_mixture.seeds(key)

    def step_with(whole):
        def step(state, batch, noise):
            law = law_of(state.params)
            # What is counted are the updates: the bounds are evaluated before a few of them.
            course = state.course if whole else shared.followed(state, law, batch, noise)
            params, loss = vb_step(state.params, state.prior, *shared.positions.weighted(batch), whole)
            left = normal_wishart.n_components(law_of(params), state.prior, len(batch))
            return State(params, state.prior, course, state.n_done + 1), Info(loss, left)

        return step

    return shared.model._replace(
        init=init,
        noise=noise,
        step=step_with(False),
        step_counted=step_with(True),
        max_steps=settings.max_iter,
        last_fields=Info._fields,
    )


def law_of(params: Params) -> Law:
    """The law in the form that `normal_wishart` takes."""
    inverse = mixtures.symmetric(params.inverse_scale, params.means.shape[1])
    return Law(*params[:4], mixtures.inverse_lower(mixtures.cholesky(inverse)))


def params_of(law: Law) -> Params:
    """The variational parameters of a law."""
    return Params(*law[:4], mixtures.lower_of(normal_wishart.scatter_of(law.factors)))


def vb_step(
    params: Params, prior: Law, x: jax.Array, weights: jax.Array | None, whole: bool = False
) -> tuple[Params, jax.Array]:
    """One pass over rows x [n, D] with weights [n]; the parameters after it and the negative bound before it a row.

    The bound is the one for the best responsibilities, in which the entropies and expectations of the assignments
    collapse to Σₙ ln Σₖ ρₙₖ. Responsibilities then law: Bishop 10.46–10.49, 10.58 and 10.60–10.63. `whole` as for
    `mixtures.log_density`.
    """
    law = law_of(params)
    sums = mixtures.expectation(normal_wishart.log_expectations(law), x, weights, whole=whole)
    n = jnp.sum(sums.counts)
    loss = (normal_wishart.kl(law, prior) - sums.log_total) / n
    precision = prior.mean_precision + sums.counts
    means = (prior.mean_precision[:, None] * prior.means + sums.first) / precision[:, None]
    rows, columns = mixtures.triangle(x.shape[1])
    inverse = mixtures.lower_of(normal_wishart.scatter_of(prior.factors)) + sums.second
    inverse += prior.mean_precision[:, None] * prior.means[:, rows] * prior.means[:, columns]
    inverse -= precision[:, None] * means[:, rows] * means[:, columns]
    return Params(
        prior.concentration + sums.counts,
        precision,
        prior.degrees_of_freedom + sums.counts,
        means,
        _positive(inverse, sums.second, x.shape[1]),
    ), loss


def _positive(inverse: jax.Array, second: jax.Array, dim: int) -> jax.Array:
    """Lower triangles [K, D(D+1)/2] of W⁻¹, raised where rounding of the second moments has left a direction nothing.

    Rows on a line have no variance across it, and the difference of two large sums may be below 0 there.
    """
    rows, columns = mixtures.triangle(dim)
    rounding = 16 * jnp.finfo(inverse.dtype).eps * jnp.sum((inverse + second)[:, rows == columns], axis=1)
    pivots = jnp.diagonal(mixtures.cholesky(mixtures.symmetric(inverse, dim)), axis1=-2, axis2=-1) ** 2
    # What is no number is not above either.
    sound = jnp.all(pivots > rounding[:, None], axis=1)
    return inverse + jnp.where(sound, 0, 2 * rounding)[:, None] * jnp.asarray(rows == columns, inverse.dtype)[None]

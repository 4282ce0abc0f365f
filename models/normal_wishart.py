"""Bayesian Gaussian mixtures: Dirichlet × Normal–Wishart laws of their parameters, as priors and as variational q.

π ~ Dir(α); of each component Λ ~ W(W, ν), with E[Λ] = ν W, and μ | Λ ~ N(m, (β Λ)⁻¹). W is kept as a lower triangular A
with W = Aᵀ A, which is the form in which `mixtures` takes precisions.

Two bounds on ln p(X) belong to a q of this form. With q(π) Π q(μₖ, Λₖ) Π q(zₙ) and the best q(z),

    L = Σₙ ln Σₖ exp(E[ln πₖ + ln N(xₙ; μₖ, Λₖ⁻¹)]) − KL(q ‖ p),

and with the assignments z summed out of the model, L' = E[Σₙ ln Σₖ πₖ N(xₙ; μₖ, Λₖ⁻¹)] − KL(q ‖ p) ≥ L by Jensen's
inequality. The KL of the parameters is the same and known; the expectation in L' is not, and is a mean over draws.

References:
  Bishop, Pattern Recognition and Machine Learning, 2006, §10.2 and appendix B.
  Odell and Feiveson, A Numerical Procedure to Generate a Sample Covariance Matrix, 1966 (Bartlett's decomposition).
  Figurnov, Mohamed and Mnih, Implicit Reparameterization Gradients, 2018 (gamma variables).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betainc, digamma, gammaln

from models import mixtures
from models.mixtures import LOG_2PI


class Law(NamedTuple):
    """A law of the parameters of K components."""

    concentration: jax.Array  # α [K]
    mean_precision: jax.Array  # β [K]
    degrees_of_freedom: jax.Array  # ν [K], above D − 1
    means: jax.Array  # m [K, D]
    factors: jax.Array  # A [K, D, D], lower triangular, of precisions W = Aᵀ A


class Draw(NamedTuple):
    """Parameters of a mixture, drawn from a law."""

    log_weights: jax.Array  # [K]
    means: jax.Array  # [K, D]
    whitening: jax.Array  # [K, D, D], lower triangular, of precisions Λ


def prior_of(x: jax.Array, weights: jax.Array | None, n_components: int, settings: Any) -> Law:
    """The prior that rows x [n, D] with weights [n] suggest: about their mean, with their covariance as W⁻¹.

    Args:
      settings: weight_concentration_prior (0: 1/K), mean_precision_prior, degrees_of_freedom_prior (0: D).
    """
    dim = x.shape[1]
    share = (jnp.ones(len(x), x.dtype) if weights is None else weights)[:, None]
    share = share / jnp.sum(share)
    mean = jnp.sum(share * x, axis=0)
    centred = x - mean[None]
    # As scikit-learn has it, over n − 1.
    n = len(x) if weights is None else jnp.sum(weights)
    covariance = jnp.matmul((share * centred).T, centred, precision="highest") * n / (n - 1)
    # Of rows on a line rounding must not leave a variance of 0 across, whose inverse is none.
    ridge = 8 * jnp.finfo(x.dtype).eps * jnp.trace(covariance)
    ridged = covariance + jnp.maximum(ridge, jnp.finfo(x.dtype).tiny) * jnp.eye(dim, dtype=x.dtype)
    factor = mixtures.inverse_lower(mixtures.cholesky(ridged[None]))

    def tiled(value):
        return jnp.full(n_components, value, x.dtype)

    return Law(
        tiled(settings.weight_concentration_prior or 1 / n_components),
        tiled(settings.mean_precision_prior),
        tiled(settings.degrees_of_freedom_prior or dim),
        jnp.tile(mean[None], (n_components, 1)),
        jnp.tile(factor, (n_components, 1, 1)),
    )


def start_of(key: jax.Array, x: jax.Array, weights: jax.Array | None, prior: Law) -> Law:
    """Where methods begin: centres by k-means++, each with an equal share of the rows spread about it evenly."""
    n_components, dim = prior.means.shape
    centres = mixtures.k_means_plus_plus(key, x, n_components, weights)
    variance = mixtures.mean_square_distance(x, centres, weights) / dim
    share = (len(x) if weights is None else jnp.sum(weights)) / n_components
    inverse = scatter_of(prior.factors) + share * variance * jnp.eye(dim, dtype=x.dtype)[None]
    return Law(
        prior.concentration + share,
        prior.mean_precision + share,
        prior.degrees_of_freedom + share,
        centres,
        mixtures.inverse_lower(mixtures.cholesky(inverse)),
    )


def scatter_of(factors: jax.Array) -> jax.Array:
    """W⁻¹ [K, D, D] of factors A [K, D, D]."""
    inverse = mixtures.inverse_lower(factors)
    return jnp.einsum("kij,klj->kil", inverse, inverse, precision="highest")


def _digammas(law: Law) -> jax.Array:
    """Σᵢ ψ((ν + 1 − i)/2), [K]."""
    dim = law.means.shape[1]
    return sum(digamma((law.degrees_of_freedom + 1 - i) / 2) for i in range(1, dim + 1))


def _log_gammas(degrees_of_freedom: jax.Array, dim: int) -> jax.Array:
    """ln Γ_D(ν/2) without its constant, [K]."""
    return sum(gammaln((degrees_of_freedom + 1 - i) / 2) for i in range(1, dim + 1))


def log_expectations(law: Law) -> tuple[jax.Array, jax.Array, jax.Array]:
    """E[ln πₖ + ln N(x; μₖ, Λₖ⁻¹)] in the form that `mixtures` takes: constants, centres, whitening (Bishop 10.46)."""
    dim = law.means.shape[1]
    log_weight = digamma(law.concentration) - digamma(jnp.sum(law.concentration))
    log_determinant = _digammas(law) + dim * np.log(2) + 2 * mixtures.log_determinant(law.factors)
    constant = log_weight + log_determinant / 2 - dim / 2 * LOG_2PI - dim / (2 * law.mean_precision)
    return constant, law.means, jnp.sqrt(law.degrees_of_freedom)[:, None, None] * law.factors


def kl(law: Law, prior: Law) -> jax.Array:
    """KL(q ‖ p) of the parameters in nats, [] (Bishop, appendix B)."""
    dim = law.means.shape[1]
    total, total_prior = jnp.sum(law.concentration), jnp.sum(prior.concentration)
    of_weights = gammaln(total) - gammaln(total_prior)
    of_weights += jnp.sum(gammaln(prior.concentration) - gammaln(law.concentration))
    change = law.concentration - prior.concentration
    of_weights += jnp.sum(change * (digamma(law.concentration) - digamma(total)))

    apart = jnp.einsum("kij,kj->ki", law.factors, law.means - prior.means, precision="highest")
    ratio = prior.mean_precision / law.mean_precision
    square = prior.mean_precision * law.degrees_of_freedom * jnp.sum(apart**2, axis=1)
    of_means = (dim * (ratio - 1 - jnp.log(ratio)) + square) / 2

    nu, nu_prior = law.degrees_of_freedom, prior.degrees_of_freedom
    relative = jnp.einsum("kij,kjl->kil", law.factors, mixtures.inverse_lower(prior.factors), precision="highest")
    log_ratio = 2 * (mixtures.log_determinant(prior.factors) - mixtures.log_determinant(law.factors))
    of_precisions = (nu_prior * log_ratio + nu * (jnp.sum(relative**2, axis=(1, 2)) - dim)) / 2
    of_precisions += _log_gammas(nu_prior, dim) - _log_gammas(nu, dim) + (nu - nu_prior) / 2 * _digammas(law)
    return of_weights + jnp.sum(of_means + of_precisions)


def draw(key: jax.Array, law: Law) -> Draw:
    """One draw of all parameters, differentiable by those of the law.

    Gamma variables by implicit differentiation; Λ = Aᵀ C Cᵀ A with C upper triangular, so that the whitening Cᵀ A is
    lower triangular: squares on C's diagonal are χ² of ν − D + i degrees of freedom, and above it are normal numbers.
    """
    n_components, dim = law.means.shape
    key_gamma, key_below, key_mean = jax.random.split(key, 3)
    dtype = law.means.dtype
    freedom = law.degrees_of_freedom[:, None] - dim + jnp.arange(1, dim + 1, dtype=dtype)[None]
    # All in one: what draws gamma variables and differentiates them takes seconds to compile.
    shapes = jnp.concatenate([law.concentration[:, None], freedom / 2], axis=1)
    log_gammas = jax.random.loggamma(key_gamma, shapes, dtype=dtype)
    log_gamma = log_gammas[:, 0]
    # exp(ln Γ/2): a square root has no derivative at 0, where float32 may put the square.
    diagonal = jnp.exp(0.5 * (log_gammas[:, 1:] + np.log(2)))
    below = jnp.tril(jax.random.normal(key_below, (n_components, dim, dim), dtype), -1)
    bartlett = below + diagonal[:, :, None] * jnp.eye(dim, dtype=dtype)[None]
    whitening = jnp.einsum("kij,kjl->kil", bartlett, law.factors, precision="highest")
    normal = jax.random.normal(key_mean, (n_components, dim), dtype) / jnp.sqrt(law.mean_precision)[:, None]
    apart = jnp.einsum("kij,kj->ki", mixtures.inverse_lower(whitening), normal, precision="highest")
    return Draw(log_gamma - jax.nn.logsumexp(log_gamma), law.means + apart, whitening)


def log_likelihood(drawn: Draw, x: jax.Array, whole: bool = False) -> jax.Array:
    """ln Σₖ πₖ N(x; μₖ, Λₖ⁻¹) of rows x [n, D], [n]; `whole` as for `mixtures.log_density`."""
    constant = mixtures.normal_constant(drawn.log_weights, drawn.whitening)
    return mixtures.log_density(constant, drawn.means, drawn.whitening, x, whole=whole)


class Bounds(NamedTuple):
    """Both lower bounds on ln p(X), over the number of rows: nats a row."""

    with_assignments: jax.Array  # []
    summed_out: jax.Array  # [], a mean over draws
    standard_error: jax.Array  # [] of that


def bounds(key: jax.Array, law: Law, prior: Law, x: jax.Array, weights: jax.Array | None, n_draws: int) -> Bounds:
    """Both bounds that a law q gives for rows x [n, D] with weights [n]; neither constant nor term is left out."""
    weight = jnp.ones(len(x), x.dtype) if weights is None else weights
    n = jnp.sum(weight)
    cost = kl(law, prior)
    best = jnp.sum(weight * mixtures.log_density(*log_expectations(law), x))
    each = jax.lax.map(lambda key: jnp.sum(weight * log_likelihood(draw(key, law), x)), jax.random.split(key, n_draws))
    error = jnp.std(each, ddof=1) / np.sqrt(n_draws)
    return Bounds((best - cost) / n, (jnp.mean(each) - cost) / n, error / n)


def n_components(law: Law, prior: Law, n: Any) -> jax.Array:
    """How many components are left, [] as a float: those that expect at least one of n rows.

    Coordinate ascent makes α the prior's plus the rows that a component expects. Where a law is fitted otherwise, its α
    in all need not be the prior's and n more: they count in that proportion.
    """
    share = law.concentration / jnp.sum(law.concentration)
    expected = share * (n + jnp.sum(prior.concentration)) - prior.concentration
    return jnp.sum((expected >= 1).astype(share.dtype))


def predictive(law: Law) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The mixture of Student's t laws that the next row has (Bishop 10.81).

    Returns:
      Log weights [K], centres [K, D], lower triangular factors [K, D, D] of the precisions L, degrees of freedom [K].
    """
    dim = law.means.shape[1]
    freedom = law.degrees_of_freedom + 1 - dim
    scale = jnp.sqrt(freedom * law.mean_precision / (1 + law.mean_precision))
    log_weights = jnp.log(law.concentration) - jnp.log(jnp.sum(law.concentration))
    return log_weights, law.means, scale[:, None, None] * law.factors, freedom


def predictive_log_density(law: Law, x: jax.Array, whole: bool = False) -> jax.Array:
    """ln of the predictive density of rows x [n, D], [n]; `whole` as for `mixtures.log_density`."""
    log_weights, centres, whitening, freedom = predictive(law)
    dim = x.shape[1]
    constant = log_weights + gammaln((freedom + dim) / 2) - gammaln(freedom / 2)
    constant += mixtures.log_determinant(whitening) - dim / 2 * jnp.log(freedom * np.pi)
    exponent, over = ((freedom + dim) / 2)[:, None], freedom[:, None]

    def student_t(square):
        return -exponent * jnp.log1p(square / over)

    return mixtures.log_density(constant, centres, whitening, x, student_t, whole)


def predictive_draw(key: jax.Array, law: Law, n: int) -> jax.Array:
    """Rows [n, D] of the predictive."""
    log_weights, centres, whitening, freedom = predictive(law)
    key_component, key_normal, key_gamma = jax.random.split(key, 3)
    component = mixtures.draw_components(key_component, log_weights, n)
    half = freedom[component] / 2
    spread = jnp.sqrt(half / jax.random.gamma(key_gamma, half, dtype=half.dtype))
    normal = spread[:, None] * jax.random.normal(key_normal, (n, centres.shape[1]), half.dtype)
    return mixtures.moved(centres, mixtures.inverse_lower(whitening), component, normal)


def predictive_log_masses(law: Law, edges: Any) -> jax.Array:
    """ln of the masses [K, J] of cells between edges [J + 1] under each component of a predictive in one dimension."""
    _, centres, whitening, freedom = predictive(law)
    z = whitening[:, 0] * (jnp.asarray(edges, centres.dtype)[None] - centres)
    below = student_t_cdf(z, freedom[:, None])
    # A cell that rounding leaves without mass, or with less, has next to none.
    mass = jnp.maximum(jnp.diff(below, axis=1), jnp.finfo(below.dtype).tiny)
    return jnp.log(mass / jnp.sum(mass, axis=1, keepdims=True))


def student_t_cdf(t: jax.Array, freedom: jax.Array) -> jax.Array:
    """P(T < t) of Student's t with that many degrees of freedom, of the same rank as t.

    From 40 on by Hill's normal approximation, which is then within 2e-13 (Hill, Algorithm 395: Student's
    t-distribution, 1970): the incomplete beta function there is a quotient of large numbers, and float32 loses its
    fourth digit.
    """
    many = jnp.maximum(freedom, 40.0)
    square = jnp.minimum(t * t, 1e30)
    a = many - 0.5
    b = 48 * a**2
    z_square = a * jnp.log1p(square / many)
    z = jnp.sqrt(z_square)
    correction = (((4 * z_square + 33) * z_square + 240) * z_square + 855) / (10 * b * (b + 0.8 * z_square**2 + 100))
    normal = z + z * (z_square + 3) / b - z * correction
    few = jnp.minimum(freedom, 40.0)
    # Of the small argument: near 1 that of the more usual form has lost its digits.
    inside = betainc(0.5, few / 2, square / (few + square))
    tail = jnp.where(freedom > 40, jax.scipy.special.ndtr(-normal), (1 - inside) / 2)
    return jnp.where(t < 0, tail, 1 - tail)

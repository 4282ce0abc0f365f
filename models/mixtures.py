"""What the families of mixtures share: expectations over data, starts, and drawing.

A mixture's components are ellipsoids: the log density of component k is a constant plus a function of the squared norm
of A_k (x − μ_k), with A_k lower triangular, so that A_kᵀ A_k is its precision. Rows are taken a block at a time, with
components as rows and data as columns, so that what a block needs stays in the cache and the data are contiguous.

References:
  Dempster, Laird and Rubin, Maximum Likelihood from Incomplete Data via the EM Algorithm, 1977.
  Arthur and Vassilvitskii, k-means++: The Advantages of Careful Seeding, 2007.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from core import prng

LOG_2PI = math.log(2 * math.pi)
# Numbers [components, rows] of a block, and the fewest and most rows of one: smaller ones are mostly calls, larger ones
# leave the second-level cache.
_BLOCK_NUMBERS, _FEWEST_ROWS, _MOST_ROWS = 2**15, 128, 2**12
_SAMPLING_ROW = 256
_LOWEST_LOG_SHARE = -80.0


class Sums(NamedTuple):
    """What an expectation over all rows adds up."""

    counts: jax.Array  # [K] Σ r
    first: jax.Array  # [K, D] Σ r x
    second: jax.Array  # [K, D(D+1)/2] Σ r xᵢxⱼ, the lower triangle row by row
    log_total: jax.Array  # [] Σ ln Σₖ exp(log component)


def triangle(dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of a lower triangle, in the order in which this module stores one."""
    return np.tril_indices(dim)


def symmetric(lower: jax.Array, dim: int) -> jax.Array:
    """The symmetric matrices [..., D, D] of lower triangles [..., D(D+1)/2]."""
    rows, columns = triangle(dim)
    place = np.zeros((dim, dim), np.int32)
    place[rows, columns] = place[columns, rows] = np.arange(len(rows))
    return lower[..., place]


def lower_of(matrix: jax.Array) -> jax.Array:
    """The lower triangles [..., D(D+1)/2] of matrices [..., D, D]."""
    rows, columns = triangle(matrix.shape[-1])
    return matrix[..., rows, columns]


def inverse_lower(factor: jax.Array) -> jax.Array:
    """The inverses of lower triangular matrices [K, D, D], by forward substitution."""
    dim = factor.shape[-1]
    rows: list[list[jax.Array]] = []
    nothing = jnp.zeros_like(factor[:, 0, 0])
    for i in range(dim):
        row = []
        for j in range(dim):
            if j > i:
                row.append(nothing)
                continue
            rest = sum((factor[:, i, k] * rows[k][j] for k in range(j, i)), nothing)
            row.append(((i == j) - rest) / factor[:, i, i])
        rows.append(row)
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def cholesky(matrix: jax.Array) -> jax.Array:
    """Lower Cholesky factors of positive definite matrices [K, D, D], element by element: D is small and K is not."""
    dim = matrix.shape[-1]
    nothing = jnp.zeros_like(matrix[:, 0, 0])
    rows: list[list[jax.Array]] = []
    for i in range(dim):
        row: list[jax.Array] = []
        for j in range(i + 1):
            rest = matrix[:, i, j] - sum((row[k] * (row if i == j else rows[j])[k] for k in range(j)), nothing)
            row.append(jnp.sqrt(rest) if i == j else rest / rows[j][j])
        rows.append(row)
    padded = [row + [nothing] * (dim - len(row)) for row in rows]
    return jnp.stack([jnp.stack(row, axis=-1) for row in padded], axis=-2)


def log_determinant(factor: jax.Array) -> jax.Array:
    """ln det of lower triangular matrices [K, D, D]."""
    return jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)


def normal_constant(log_weights: jax.Array, whitening: jax.Array) -> jax.Array:
    """What a Gaussian component's log density is at its mean, plus its log weight, [K]."""
    return log_weights + log_determinant(whitening) - whitening.shape[-1] / 2 * LOG_2PI


def half_square(square: jax.Array) -> jax.Array:
    """The shape of a Gaussian component: −½ of the squared norm."""
    return -square / 2


def _blocks(
    x: jax.Array, weights: jax.Array | None, n_components: int, whole: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Blocks [n_blocks, D, B] of rows x [n, D], and their weights [n_blocks, B]; what fills up the last has none."""
    n, dim = x.shape
    size = min(_MOST_ROWS, max(_FEWEST_ROWS, _BLOCK_NUMBERS // n_components // 64 * 64))
    size = n if whole else min(size, n)
    missing = -n % size
    weights = jnp.ones(n, x.dtype) if weights is None else weights
    padded = jnp.pad(x, ((0, missing), (0, 0)))
    return padded.reshape(-1, size, dim).transpose(0, 2, 1), jnp.pad(weights, (0, missing)).reshape(-1, size)


def _log_components(constant, centres, whitening, shape, columns):
    """Log components [K, B] of columns [D, B]."""
    dim, n_components = len(columns), len(constant)
    offsets = jnp.einsum("kij,kj->ik", whitening, centres, precision="highest").reshape(-1, 1)
    table = jnp.concatenate([whitening.transpose(1, 0, 2).reshape(-1, dim), -offsets], axis=1)
    # Whitened before it is squared: a sum of xᵢxⱼ times precisions would lose a narrow component's digits. And by one
    # product, behind which the compiler does not look: it would else compute all of this again for every use of it.
    ones = jnp.ones_like(columns[:1])
    z = jnp.matmul(table, jnp.concatenate([columns, ones]), precision="highest").reshape(dim, n_components, -1)
    return constant[:, None] + shape(sum(part * part for part in z))


def log_density(
    constant: jax.Array,
    centres: jax.Array,
    whitening: jax.Array,
    x: jax.Array,
    shape: Callable[[jax.Array], jax.Array] = half_square,
    whole: bool = False,
) -> jax.Array:
    """ln Σₖ exp(constantₖ + shape(|Aₖ(x − μₖ)|²)) of rows x [n, D], [n].

    Args:
      constant: [K].
      centres: μ [K, D].
      whitening: A [K, D, D], lower triangular.
      x: [n, D].
      shape: of squared norms [K, B], what each adds.
      whole: all rows are one block, without a loop: to be counted, not to be run.
    """
    columns, _ = _blocks(x, None, len(constant), whole)
    values = jax.lax.map(
        lambda block: jax.nn.logsumexp(_log_components(constant, centres, whitening, shape, block), axis=0), columns
    )
    return values.reshape(-1)[: len(x)]


def nearest(constant: jax.Array, centres: jax.Array, whitening: jax.Array, x: jax.Array) -> jax.Array:
    """The Gaussian component [n] that most probably made each row of x [n, D]."""
    columns, _ = _blocks(x, None, len(constant))
    found = jax.lax.map(
        lambda block: jnp.argmax(_log_components(constant, centres, whitening, half_square, block), axis=0), columns
    )
    return found.reshape(-1)[: len(x)]


def expectation(
    components: tuple[jax.Array, jax.Array, jax.Array],
    x: jax.Array,
    weights: jax.Array | None = None,
    hard: bool = False,
    whole: bool = False,
) -> Sums:
    """The E-step: responsibilities r = exp(log component − ln Σ) of every row, and the sums that an M-step needs.

    Args:
      components: Gaussian ones, their constants [K], centres [K, D] and lower triangular whitening [K, D, D].
      x: rows [n, D].
      weights: of the rows [n]; None: 1.
      hard: the most probable component has all of a row, and `log_total` is its alone; those in a tie share it. For
        components of one weight and whitening 1.
      whole: as for `log_density`.
    """
    constant, centres, whitening = components
    dim = x.shape[1]
    rows, columns = triangle(dim)
    blocks = _blocks(x, weights, len(constant), whole)

    def add(sums, block):
        x, weight = block
        log_each = _log_components(constant, centres, whitening, half_square, x)
        top = jnp.max(log_each, axis=0)
        if hard:
            # Not by the largest one's index, which is found number by number; and with a margin, since the compiler may
            # compute both sides anew and round them differently: a difference x − c by ε|x|, and so half of its square
            # d² by ε|x|d. More than that would make close centres one.
            reach = jnp.sqrt(sum(part * part for part in x))
            unit = 4 * jnp.finfo(x.dtype).eps
            margin = unit * (jnp.abs(top) + reach * jnp.sqrt(2 * jnp.abs(top))) + (unit * reach) ** 2
            each = (log_each >= (top - margin)[None]).astype(x.dtype)
        else:
            each = jnp.exp(log_each - top[None])
        total = jnp.sum(each, axis=0)
        share = weight / total
        # Not the responsibilities are divided, which are many, but the features that they weigh.
        products = [x[i] * x[j] for i, j in zip(rows, columns, strict=True)]
        features = jnp.stack([share, *(share * feature for feature in (*x, *products))])
        found = jax.lax.dot_general(each, features, (((1,), (1,)), ((), ())), precision="highest")
        return sums + found, (top, total)

    n_features = 1 + dim + len(rows)
    found, (top, total) = jax.lax.scan(add, jnp.zeros((len(constant), n_features), x.dtype), blocks)
    # Outside: in a block the compiler would compute all of it again for every one of these logarithms.
    log_total = jnp.sum(blocks[1] * (top if hard else top + jnp.log(total)))
    return Sums(found[:, 0], found[:, 1 : 1 + dim], found[:, 1 + dim :], log_total)


def k_means_plus_plus(key: jax.Array, x: jax.Array, n_centres: int, weights: jax.Array | None = None) -> jax.Array:
    """Rows of x [n, D] as centres [n_centres, D], each drawn by its squared distance to those before it.

    Where all rows are centres already, any row may become one more; rows count as their weights [n] say.
    """
    n, dim = x.shape
    missing = -n % _SAMPLING_ROW
    columns = jnp.pad(x, ((0, missing), (0, 0))).T
    allowed = jnp.pad(jnp.ones(n, x.dtype) if weights is None else weights, (0, missing))
    uniforms = jax.random.uniform(key, (n_centres, 2), x.dtype)

    def draw(mass, uniform):
        # First the row of a table and then the place in it: a running sum over all would take many passes.
        table = mass.reshape(-1, _SAMPLING_ROW)
        row = _inverse_cdf(jnp.sum(table, axis=1), uniform[0])
        return row * _SAMPLING_ROW + _inverse_cdf(table[row], uniform[1])

    def add(i, carry):
        centres, distance = carry
        mass = jnp.where(jnp.sum(distance) > 0, distance, 1) * allowed
        centre = columns[:, draw(mass, uniforms[i])]
        square = jnp.sum((columns - centre[:, None]) ** 2, axis=0) * (allowed > 0)
        distance = jnp.where(i == 0, square, jnp.minimum(distance, square))
        return centres.at[i].set(centre), distance

    start = jnp.zeros((n_centres, dim), x.dtype), jnp.zeros_like(allowed)
    return jax.lax.fori_loop(0, n_centres, add, start)[0]


def _inverse_cdf(mass: jax.Array, uniform: jax.Array) -> jax.Array:
    """The index of an entry drawn with probability proportional to mass [n]."""
    cumulative = jnp.cumsum(mass)
    return jnp.minimum(jnp.sum(cumulative <= uniform * cumulative[-1]), len(mass) - 1)


def mean_square_distance(x: jax.Array, centres: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """The mean over rows x [n, D] of the squared distance to the nearest centre [K, D], []; rows have weights [n]."""
    columns, weights = _blocks(x, weights, len(centres))

    def add(total, block):
        x, weight = block
        square = sum((x[None, i] - centres[:, i, None]) ** 2 for i in range(len(x)))
        return total + jnp.sum(weight * jnp.min(square, axis=0)), None

    return jax.lax.scan(add, jnp.zeros((), x.dtype), (columns, weights))[0] / jnp.sum(weights)


def smallest(losses: jax.Array) -> jax.Array:
    """The index of the smallest of losses [n_init]; one that is no number is larger than all others."""
    return jnp.argmin(jnp.where(jnp.isnan(losses), jnp.inf, losses))


def log_odds_of(log_weights: jax.Array) -> Any:
    """The free numbers of log weights [K]: ln of each weight over the last, [K − 1]; of one component ().

    Not an empty array: XLA gives one another sharding than the rest of a state that is spread over devices.
    """
    return log_weights[:-1] - log_weights[-1] if len(log_weights) > 1 else ()


def log_weights_of(log_odds: Any, dtype: Any) -> jax.Array:
    """The log weights [K] whose free numbers those are."""
    last = jnp.zeros(1, dtype)
    return jax.nn.log_softmax(last if isinstance(log_odds, tuple) else jnp.concatenate([log_odds, last]))


def log_shares(counts: jax.Array, n: Any) -> jax.Array:
    """ln of the shares [K] that counts [K] have of n; of a component without rows a number, too, whose power is 0."""
    return jnp.log(jnp.maximum(counts / n, jnp.exp(jnp.asarray(_LOWEST_LOG_SHARE, counts.dtype))))


def draw_components(key: jax.Array, log_weights: jax.Array, n: int) -> jax.Array:
    """Indices [n] of components with the given log weights [K], which sum to 1."""
    bounds = jnp.cumsum(jnp.exp(log_weights))[:-1]
    return jnp.searchsorted(bounds, jax.random.uniform(key, (n,), log_weights.dtype), side="right")


def draw_normal(
    key: jax.Array, n: int, log_weights: jax.Array, centres: jax.Array, factors: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Rows [n, D] of a mixture of Gaussians with Cholesky factors [K, D, D], and the components [n] they come from."""
    key_component, key_noise = jax.random.split(key)
    component = draw_components(key_component, log_weights, n)
    normal = prng.normal(key_noise, (centres.shape[1], n)).T
    return moved(centres, factors, component, normal), component


def moved(centres: jax.Array, factors: jax.Array, component: jax.Array, z: jax.Array) -> jax.Array:
    """μ + A z of each row's component: rows [n, D] of centres [K, D], factors [K, D, D], components [n] and z [n, D].

    One product with a row of ones: of a product and then a sum the last bit depends on whether the compiler makes one
    operation of them, and that on how many seeds there are.
    """
    table = jnp.concatenate([factors, centres[:, :, None]], axis=2)
    with_one = jnp.pad(z, ((0, 0), (0, 1)), constant_values=1)
    return jnp.einsum("nij,nj->ni", table[component], with_one, precision="highest")


def loss_reference(target: Any) -> tuple[float, str] | None:
    """What the negative mean log-likelihood of a perfect model is, where that is known."""
    if target.entropy is None or not target.comparable:
        return None
    return target.entropy, "entropy of the target"

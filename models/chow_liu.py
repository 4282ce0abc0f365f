"""Chow–Liu tree: of all trees in which a bit depends on one other, the likeliest.

It is the spanning tree of the largest sum of mutual informations between pairs of bits, found by Prim's algorithm
within the compiled program that fits it; tests hold it against SciPy's. A bit's probability of 1 given the other's
value is (c + a)/(m + 2a), where c of m rows with that value have a 1, with a = ½ (Krichevsky and Trofimov): 2n − 1
numbers.

References:
  Chow and Liu, Approximating Discrete Probability Distributions with Dependence Trees, 1968 (eq. 9 and 15).
  Krichevsky and Trofimov, The Performance of Universal Encoding, 1981.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from core.settings import Settings, setting
from models import at_once
from models.base import Model

# The laws of events that it can draw.
LAWS = ("bits",)
_N_ROWS = 2**17


@dataclass(frozen=True)
class Config(Settings, of="CHOW_LIU"):
    """Settings of the Chow–Liu tree."""

    pseudo_count: float = setting(
        0.5, "a: what either value is taken to have before a row is counted", above=0, traced=True
    )


class Params(NamedTuple):
    """Logits of 1, in the order of the tree."""

    root: jax.Array  # [1]
    given: jax.Array  # [n − 1, 2], given that the other bit is 0 or 1


class State(NamedTuple):
    """What is fitted."""

    params: Params
    order: jax.Array  # [n] int32, the bits from the root on: each stands behind the one that it depends on
    parent: jax.Array  # [n] int32, the bit that each of these depends on; the root's own


def build(config: Any, target: Any) -> Model:
    """The model of 2n − 1 parameters; the budget does not apply.

    Args:
      config: the run's configuration; `config.chow_liu` is this family's `Config`.
      target: the distribution to learn; its events are bits.
    """
    a, size = config.chow_liu.pseudo_count, target.event.size

    def init(key, data):
        del key
        both, ones, n = jnp.matmul(data.T, data, precision="highest"), jnp.sum(data, axis=0), len(data)
        order, parent = spanning_tree(mutual_information(both / n, ones / n))
        child, other = order[1:], parent[1:]
        with_one = jnp.stack([ones[child] - both[child, other], both[child, other]], axis=-1)
        rows = jnp.stack([n - ones[other], ones[other]], axis=-1)
        given = jnp.log(with_one + a) - jnp.log(rows - with_one + a)
        root = jnp.log(ones[order[:1]] + a) - jnp.log(n - ones[order[:1]] + a)
        return State(Params(root, given), order, parent)

    def logits(state, x):
        """Of every bit given the one that it depends on, [m, n] in the order of the tree."""
        given = jnp.where(x[:, state.parent[1:]] > 0.5, state.params.given[None, :, 1], state.params.given[None, :, 0])
        return jnp.concatenate([jnp.broadcast_to(state.params.root[None], (len(x), 1)), given], axis=1)

    @jax.jit
    def log_prob(state, x):
        each = logits(state, x)
        return jnp.sum(x[:, state.order] * each - nn.softplus(each), axis=1)

    def sample(key, state, n):
        uniforms = jax.random.uniform(key, (size, n))

        def add(i, x):
            given = state.params.given[jnp.maximum(i - 1, 0)]
            logit = jnp.where(i == 0, state.params.root[0], jnp.where(x[state.parent[i]] > 0.5, given[1], given[0]))
            return x.at[state.order[i]].set((uniforms[i] < nn.sigmoid(logit)).astype(x.dtype))

        return jax.lax.fori_loop(0, size, add, jnp.zeros((size, n))).T

    def sample_mean(key, state, n):
        """What each bit is expected to be given the other bits that were drawn."""
        return nn.sigmoid(logits(state, sample(key, state, n)))[:, jnp.argsort(state.order)]

    return at_once.build(
        "CHOW_LIU",
        2 * size - 1,
        init,
        log_prob,
        width=size,
        sample=sample,
        sample_mean=sample_mean,
        n_data_rows=_N_ROWS,
        rival=True,
    )


def mutual_information(both: jax.Array, ones: jax.Array) -> jax.Array:
    """Between every pair of bits [n, n], in nats.

    Args:
      both: [n, n], the probability that both are 1.
      ones: [n], that each is.
    """
    first, second = ones[:, None], ones[None]
    total = jnp.zeros_like(both)
    for joint, p, q in (
        (both, first, second),
        (first - both, first, 1 - second),
        (second - both, 1 - first, second),
        (1 - first - second + both, 1 - first, 1 - second),
    ):
        known = (joint > 0) & (p * q > 0)
        total += jnp.where(known, joint * jnp.log(jnp.where(known, joint / (p * q), 1)), 0)
    return total


def spanning_tree(weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The spanning tree of the largest sum of weights [n, n], by Prim's algorithm from bit 0 on.

    Returns:
      The bits [n] int32 in the order in which they join, and the bit [n] that each joins; the root's own is itself.
    """
    n = len(weights)

    def join(i, carry):
        order, parent, best, at = carry
        new = jnp.argmax(best).astype(jnp.int32)
        order, parent = order.at[i].set(new), parent.at[i].set(at[new])
        closer = weights[new] > best
        # What has joined, whose best is −∞, stays out.
        best = jnp.where(jnp.isneginf(best), best, jnp.where(closer, weights[new], best)).at[new].set(-jnp.inf)
        return order, parent, best, jnp.where(closer, new, at)

    start = jnp.zeros(n, jnp.int32)
    best = weights[0].at[0].set(-jnp.inf)
    order, parent, _, _ = jax.lax.fori_loop(1, n, join, (start, start, best, start))
    return order, parent

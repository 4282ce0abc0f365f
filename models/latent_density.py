"""What is known of a decoder's distribution: p(x|z), integrated over z ~ N(0, I) on a grid or by fixed draws."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from models import latent, laws
from models.autoencoding import Autoencoder
from models.base import Model

# The spacing of the grid of z that integrates the decoder, for events of one and of two coordinates. Steep decoders
# need a fine one: at 0.1 a trained model's divergence was off by 1e-3 nats; tests hold it to 1e-5.
_Z_SPACING = (1 / 30, 1 / 20)
# All strings take one product of matrices, so that their grid may become finer than others: a decoder of few strings
# turns sharply from one to the next.
_Z_SPACING_OF_BITS, _COARSER_OF_BITS, _FINEST_OF_BITS = 1 / 30, 1 / 2, 6.0
# Where that is too coarse for a density, which then differs from a moved grid's, it is made finer up to twice. On
# 1D_BIMODAL and 2D_RING (20 000 steps, and 8 000) once takes 25 times and 10 times off the mean difference.
_FINER, _FINEST = 1.5, 2.0
# In mid-training a coarser grid is tried first, for probabilities and for densities, which are narrower. On the default
# target, after 100, 2 000 and 6 000 steps, the exact KL is off by less than 2e-9 nats, in a thirtieth of the time.
_COARSER = (1 / 8, 1 / 2)
# A grid over more latents would have too many nodes.
_MOST_LATENTS = 2


def fields(
    law: laws.Law, latent_dim: int, coder: Autoencoder, fineness: float, refined: Callable[[float], Model]
) -> dict[str, Any]:
    """The fields of a `Model` that say how probable events are.

    Args:
      law: of p(x|z).
      latent_dim: the length of z.
      coder: whose decoder it is.
      fineness: of the grid, in units of the spacing that is usual.
      refined: (fineness) -> the same model with another grid.
    """
    if not law.has_scale and law.states is None:
        # Of grey levels neither a grid nor draws from N(0, I) reach the few z that matter: `models.likelihood` has a
        # bound.
        return {"bound": coder.bound}
    integral = _Integral(law, latent_dim, coder)
    rule = integral.rule(fineness)
    if latent_dim > _MOST_LATENTS:
        return {"log_prob": rule["log_prob"], "log_prob_kind": "estimate", "direct": integral.direct}
    coarser, finest = (_COARSER_OF_BITS, _FINEST_OF_BITS) if law.log_mixture else (_COARSER[law.has_scale], _FINEST)
    return {
        **rule,
        "log_prob_kind": "exact",
        "direct": integral.direct,
        "quick": integral.rule(coarser * fineness),
        "finer": (lambda: refined(_FINER * fineness)) if fineness < finest else None,
    }


class _Integral(NamedTuple):
    """ln ∫ p(x|z) N(z; 0, I) dz."""

    law: laws.Law
    latent_dim: int
    coder: Autoencoder

    def rule(self, fineness: float) -> dict[str, Any]:
        """The fields of a model that integrates over z on such a grid."""

        def log_prob(state, x):
            return self.log_prob(state.params, x, 0.0, fineness)

        def log_prob_error(state, x):
            return self.log_prob(state.params, x, 0.5, fineness) - log_prob(state, x)

        return {"log_prob": jax.jit(log_prob), "log_prob_error": jax.jit(log_prob_error)}

    def log_prob(self, params: Any, x: jax.Array, shift: float, fineness: float) -> jax.Array:
        """By the rule whose nodes are moved by that share of their distance along every axis, [n]."""
        law = self.law
        spacing = _Z_SPACING_OF_BITS if law.log_mixture else _Z_SPACING[law.has_scale and law.n_outputs > 1]
        spacing /= fineness
        nodes, log_weights = latent.nodes_of(self.latent_dim, spacing, x.dtype, shift)
        if law.log_mixture:
            return self.of_states(params, nodes, log_weights)[law.states.index(x)]
        return self.of_rows(params, x, nodes, log_weights)

    def of_states(self, params: Any, nodes: jax.Array, log_weights: jax.Array) -> jax.Array:
        """ln q of every state that there is, under the decoder at these nodes."""

        def add(log_sums, block):
            z, log_weight = block
            return jnp.logaddexp(log_sums, self.law.log_mixture(self.coder.outputs(params, z).T, log_weight)), None

        start = jnp.full(self.law.states.n, -jnp.inf, log_weights.dtype)
        return jax.lax.scan(add, start, (nodes, log_weights))[0]

    def of_rows(self, params: Any, x: jax.Array, nodes: jax.Array, log_weights: jax.Array) -> jax.Array:
        """ln q of rows x [n, size], under the decoder at these nodes."""
        # In blocks that stay in the cache, or every row would pull all nodes through memory several times. Decoded in
        # blocks as well: at 10⁷ parameters the hidden layers of all nodes at once would take seven GiB.
        blocks = jax.lax.map(lambda z: self.coder.outputs(params, z), nodes), log_weights

        def of_row(row):
            def add(log_sum, block):
                output, log_weight = block
                each = self.coder.log_likelihood(params, row[None], output) + log_weight
                return jnp.logaddexp(log_sum, jax.nn.logsumexp(each)), None

            return jax.lax.scan(add, jnp.asarray(-jnp.inf, x.dtype), blocks)[0]

        return jax.lax.map(of_row, x, batch_size=64)

    def direct(self, params: Any, x: jax.Array, key: jax.Array) -> jax.Array:
        """By few nodes, which the key moves, [n]."""
        nodes, log_weights = latent.moved_nodes(self.latent_dim, key)
        outputs = self.coder.outputs(params, nodes)
        if not self.law.has_scale:
            return laws.log_mixture_at(self.law, outputs.T, log_weights, x)
        each = self.coder.log_likelihood(params, x[:, None], outputs[None])
        return jax.nn.logsumexp(each + log_weights[None], axis=1)

"""What pictures show of a mixture of Gaussians: its components, which of them has what, and how well it fits."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models import mixtures
from models.base import View
from models.grouped import Positions

# Points of an ellipse, and standard deviations from a component's mean to it.
_N_POINTS, _OUTLINE = 48, 2.0
# Points an axis of the plane at which rows are assigned: fine enough that borders are lines and no stairs.
_FINE = 300


def clustering_view(
    target: Any,
    positions: Positions,
    natural: Callable[[Any], tuple[jax.Array, jax.Array, jax.Array]],
    assigning: Callable[[Any], tuple[jax.Array, jax.Array, jax.Array]],
    log_prob: Callable[[Any, jax.Array], jax.Array],
) -> View:
    """A mixture of Gaussians as a clustering, in data space.

    Args:
      target: what it was trained on.
      positions: where its components lie.
      natural: (state) -> log weights [K], means [K, D] and covariance matrices [K, D, D] of positions.
      assigning: (state) -> constants [K], centres [K, D] and whitening [K, D, D], as `mixtures.nearest` takes them, of
        the components of which each row belongs to the most probable.
      log_prob: (state, events) -> [n] nats.

    Returns:
      The view of kind "clustering" of a State with the `course` of its loss [T], nats, of which `n_done` are known. Its
      arrays: weights [K]; means [K, D]; outlines [K, P, D], two deviations from the mean; `assignment` [G], the number
      of the component that each point of `target.grid()` belongs to, in the plane of `target.grid(300)`; `loss` [T],
      held where there was no more iteration, and `n_iterations`; and of the rows `inertia`, the mean squared distance
      (units of x, squared) to the mean of the component that each belongs to, and `log_likelihood`, their mean in nats.
    """
    codec, decode = target.codec, positions.data

    @jax.jit
    def arrays(state, rows):
        log_weights, means, covariances = natural(state)
        factors = mixtures.cholesky(covariances)
        components = assigning(state)
        dim = means.shape[1]
        angle = np.linspace(0, 2 * np.pi, _N_POINTS, dtype=np.float32)
        circle = jnp.asarray(np.stack([np.cos(angle), np.sin(angle)][:dim], axis=-1))
        outlines = means[:, None] + _OUTLINE * jnp.einsum("kij,pj->kpi", factors, circle, precision="highest")
        _, events = target.grid(plane=_FINE)
        of_rows = mixtures.nearest(*components, positions.middle(rows))
        known = jnp.minimum(jnp.arange(len(state.course)), jnp.maximum(state.n_done - 1, 0))
        return {
            "weights": jnp.exp(log_weights),
            "means": decode(means),
            "outlines": decode(outlines.reshape(-1, dim)).reshape(outlines.shape),
            "assignment": mixtures.nearest(*components, positions.middle(events)).astype(jnp.float32),
            "loss": state.course[known] + codec.log_volume,
            "n_iterations": state.n_done.astype(jnp.float32),
            "inertia": jnp.mean(jnp.sum((decode(positions.middle(rows)) - decode(means)[of_rows]) ** 2, axis=1)),
            "log_likelihood": jnp.mean(log_prob(state, rows)) - codec.log_volume,
        }

    return View("clustering", arrays, needs_rows=True)

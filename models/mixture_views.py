"""What pictures show of a mixture: components, which of them has what part of the data space, and how well it fits."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models import mixtures

# Fresh rows that inertia and likelihood are measured on, and points of an ellipse.
_N_ROWS, _N_POINTS = 8192, 48
_KEY = 20
# Standard deviations from a component's mean to its outline.
_OUTLINE = 2.0


def clustering_view(
    target: Any,
    natural: Callable[[Any], tuple[jax.Array, jax.Array, jax.Array]],
    course: Callable[[Any], tuple[jax.Array, jax.Array]],
    log_prob: Callable[[Any, jax.Array], jax.Array],
) -> Callable[[Any], dict[str, Any]]:
    """The arrays of a mixture of Gaussians as a clustering, in data space.

    Args:
      target: what it was trained on.
      natural: (state) -> log weights [K], means [K, D] and covariance matrices [K, D, D] of positions.
      course: (state) -> a loss an iteration [T], and how many of them have been.
      log_prob: of events.

    Returns:
      (state) -> weights [K]; means [K, D]; outlines [K, P, D], two deviations from the mean; `assignment` [G], the
      number of the most probable component over `target.grid()`; `log_density` [G] there; `loss` [T], in nats a row and
      held where there was no more iteration, and `n_iterations`; and of fresh rows of the target `inertia`, the mean
      squared distance to the mean of the component that each is assigned to, and `log_likelihood`, their mean.
    """
    codec = target.codec
    one_hot = codec.one_hot

    def positions(events):
        return jnp.asarray(mixtures.bin_centres(target), jnp.float32)[jnp.argmax(events, -1)][:, None]

    @jax.jit
    def of_state(state):
        log_weights, means, covariances = natural(state)
        whitening = mixtures.inverse_lower(mixtures.cholesky(covariances))
        components = mixtures.normal_constant(log_weights, whitening), means, whitening
        decode = (lambda x: x) if one_hot else codec.decode
        dim = means.shape[1]
        angle = np.linspace(0, 2 * np.pi, _N_POINTS, dtype=np.float32)
        circle = jnp.asarray(np.stack([np.cos(angle), np.sin(angle)][:dim], axis=-1))
        moved = jnp.einsum("kij,pj->kpi", mixtures.cholesky(covariances), circle, precision="highest")
        outline = means[:, None] + _OUTLINE * moved
        x, events = target.grid()
        rows = codec.encode(target.sample(jax.random.key(_KEY), _N_ROWS))
        at, data = (positions(events), positions(rows)) if one_hot else (events, rows)
        of_row = mixtures.nearest(*components, data)
        losses, n_done = course(state)
        held = jnp.minimum(jnp.arange(len(losses)), jnp.maximum(n_done - 1, 0))
        return {
            "weights": jnp.exp(log_weights),
            "means": decode(means),
            "outlines": decode(outline.reshape(-1, dim)).reshape(outline.shape),
            "x": x,
            "assignment": mixtures.nearest(*components, at).astype(jnp.float32),
            "log_density": log_prob(state, events) - codec.log_volume,
            "loss": losses[held] + codec.log_volume,
            "n_iterations": n_done.astype(jnp.float32),
            "inertia": jnp.mean(jnp.sum((decode(data) - decode(means)[of_row]) ** 2, axis=1)),
            "log_likelihood": jnp.mean(log_prob(state, rows)) - codec.log_volume,
        }

    return of_state

"""Exact divergences and likelihoods of trained models, by enumeration and quadrature; nothing here draws a sample."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cells import Cells
from models.base import Model
from targets import Target

LEAST_MASS = 1e-17  # of a node of a quadrature that is looked at
# Nodes an axis of a quadrature, in units of the target's usual number; it is refined until E_p[ln q] changes by no more
# than this share of the divergence and a tenth of a nat.
# What four times as many leave is below 4e-7 nats: the most that twice as many again changed of mixtures of 267 to 800
# components, trained on 2D_GMM, 1D_QUADMODAL, 2D_SPIRALS and 2D_CHECKERBOARD.
_DENSITIES, _LEAST_CHANGE = (1.0, 2.0, 4.0), 1e-5
_ROWS_AT_ONCE = 2**15


def has_kl_exact(model: Model, target: Target) -> bool:
    """Whether `kl_exact` has a value: both have a density, and of the same kind."""
    return not (model.log_prob is None or target.log_prob is None or (target.discrete and not target.n_bins))


def kl_exact(model: Model, state: Any, target: Target) -> float | None:
    """KL(p ‖ q) = E_p[ln p − ln q] in nats, by enumeration of the bins or by quadrature under the target; float64.

    No sampling is involved: a Monte Carlo error at the values that good models reach is larger than they are. A model
    whose `log_prob_kind` is "estimate" has the error that its file states. None where the target has no density (a
    continuous Poisson, a user's table) or the model none.
    """
    if not has_kl_exact(model, target):
        return None
    if target.n_bins:
        p = target.cell_masses(Cells(target.box, target.n_bins, closed=True))
        x, p = np.eye(target.n_bins)[p > 0], p[p > 0]
        return float(np.sum(p * (np.log(p) - _log_q(model, state, x))))
    _, coarse = _by_quadrature(model, state, target, 0.5)
    for density in _DENSITIES:
        divergence, fine = _by_quadrature(model, state, target, density)
        # What is smooth on the target's scale has converged by now, and models take long for each node; a mixture of
        # many narrow components has edges between them.
        if abs(fine - coarse) <= _LEAST_CHANGE * (0.1 + abs(divergence)):
            break
        coarse = fine
    return divergence


def _by_quadrature(model: Model, state: Any, target: Target, density: float) -> tuple[float, float]:
    """KL(p ‖ q) and E_p[ln q] with so many nodes an axis, in units of the target's usual number."""
    x, weights = target.quadrature(density)
    log_p = target.log_prob(x)
    p = weights * np.exp(log_p)
    # What the other nodes hold is far below rounding even where ln q is −10⁴, as it is in the tails under a mixture of
    # many narrow components.
    x, p, log_p = x[p > LEAST_MASS], p[p > LEAST_MASS], log_p[p > LEAST_MASS]
    if model.log_prob_steps:
        by_steps, masses = _by_steps(Cells(target.box, model.log_prob_steps, closed=False), x, p, target)
        mean = masses @ _log_q(model, state, by_steps)
        return float(p @ log_p - mean), float(mean)
    log_q = _log_q(model, state, x)
    return float(np.sum(p * (log_p - log_q))), float(p @ log_q)


def _log_q(model: Model, state: Any, x: np.ndarray) -> np.ndarray:
    """The model's log density of events x, [n] float64, so many at a time that they do not fill the memory."""
    size = min(len(x), _ROWS_AT_ONCE)
    # All parts are of one size, for which the density is compiled.
    padded = np.concatenate([x, np.repeat(x[-1:], -len(x) % size, axis=0)])
    with jax.enable_x64(True):
        exact_state = jax.tree.map(
            lambda leaf: leaf.astype(np.float64) if np.issubdtype(leaf.dtype, np.floating) else leaf, state
        )
        parts = padded.reshape(-1, size, *x.shape[1:])
        return np.concatenate([np.asarray(model.log_prob(exact_state, jnp.asarray(part))) for part in parts])[: len(x)]


def _by_steps(cells: Cells, x: np.ndarray, p: np.ndarray, target: Target) -> tuple[np.ndarray, np.ndarray]:
    """What takes the mean of a function that is constant within cells: their centres and the target's masses there.

    Outside the box, where the function is smooth, the nodes x [G, D] of a quadrature with masses p [G] remain, scaled
    to hold what the target has there: a rule that does not end where the box does has too much of it or too little.
    """
    n = cells.n_per_axis**target.dim
    masses = target.cell_masses(cells)
    outside = cells.index(x.astype(np.float32)) >= n
    centres = np.stack(np.meshgrid(*cells.centres, indexing="ij"), axis=-1).reshape(n, target.dim)
    beyond = p[outside] * (masses[n:].sum() / p[outside].sum()) if outside.any() else p[outside]
    return np.concatenate([centres, x[outside]]), np.concatenate([masses[:n], beyond])


def has_log_likelihoods(model: Model, target: Target) -> bool:
    """Whether `mean_log_likelihoods` has a value: there are held-out rows and a density."""
    return target.held_out_rows is not None and model.log_prob is not None


def mean_log_likelihoods(model: Model, state: Any, target: Target) -> dict[str, float] | None:
    """Mean ln q of a user's training rows and of the held-out ones, in nats and in the user's units.

    A family that memorises its training rows has the first far above the second. None without held-out rows or density.
    """
    if not has_log_likelihoods(model, target):
        return None
    means = {}
    for part, rows in (("train", target.train_rows), ("held_out", target.held_out_rows)):
        events = target.codec.encode(jnp.asarray(rows, jnp.float32))
        means[part] = float(jnp.mean(model.log_prob(state, events))) - target.codec.log_volume
    return means

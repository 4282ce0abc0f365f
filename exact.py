"""Exact divergences and likelihoods of trained models, by enumeration and quadrature; nothing here draws a sample."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cells import Cells
from models.base import Model
from targets import Target


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
        cells = Cells(target.box, target.n_bins, closed=True)
        p = target.cell_masses(cells)
        x = np.eye(target.n_bins)
        x, p = x[p > 0], p[p > 0]
        log_p = np.log(p)
    else:
        x, weights = target.quadrature()
        log_p = target.log_prob(x)
        p = weights * np.exp(log_p)
        # All the others together hold less than 1e-9 of the mass, and models take long for each.
        x, p, log_p = x[p > 1e-14], p[p > 1e-14], log_p[p > 1e-14]
    with jax.enable_x64(True):
        exact_state = jax.tree.map(
            lambda leaf: leaf.astype(np.float64) if np.issubdtype(leaf.dtype, np.floating) else leaf, state
        )
        log_q = np.asarray(model.log_prob(exact_state, jnp.asarray(x)))
    return float(np.sum(p * (log_p - log_q)))


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

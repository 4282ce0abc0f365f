"""Exact divergences and likelihoods of trained models, of whatever kind; nothing here draws a sample."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kinds.contract import Divergence, Target
from models.base import Model

# What a divergence below 0 may owe to rounding.
_ROUNDING = 1e-9
# What a model's own rule may be off by, as a share of the divergence and a tenth of a nat.
_MOST_RULE_ERROR = 1e-3
# Less of ln q than this changes a probability by less than its second digit.
_SEEN = 1e-2
_LIKELIEST = 16
# Rows of a part of x: a density is compiled for each size, of which there are few.
_SIZES = tuple(2**12 * n for n in (1, 2, 3, 4, 6, 8))


def has_divergence(model: Model, target: Target) -> bool:
    """Whether KL(p ‖ q) has a value without a sample: both have a log_prob, and of the same."""
    return model.log_prob is not None and target.log_prob is not None and target.comparable


def of_masses(p: np.ndarray, log_q: np.ndarray) -> Divergence:
    """Σ p (ln p − ln q) over cells whose masses p [K] are above 0; infinite where a q is 0."""
    return known(float(np.sum(p * (np.log(p) - log_q))), _ROUNDING)


def known(value: float, error: float) -> Divergence:
    """A value that may be off by so much: what lies below 0 by no more is 0, what lies further below is unknown."""
    if math.isnan(value):
        return Divergence(value, "the model's density is not a number everywhere, as beyond the reach of its ln Z")
    if value < -max(error, _ROUNDING):
        return Divergence(math.nan, f"the quadrature gives {value:.2g} nats, and no divergence is negative")
    return Divergence(max(value, 0.0))


def checked(model: Model, state: Any, of: Callable[[Model], Divergence], x: np.ndarray, p: np.ndarray) -> Divergence:
    """A divergence; unknown where the model's own rule is too coarse for its density, and the finest it has as well.

    Args:
      model: the model.
      state: its state.
      of: (model) -> its divergence, by the rule of that one.
      x: events [n, size] at which the rule is looked at.
      p: their weights [n], sum 1.
    """
    found = of(model)
    if model.log_prob_error is None or not math.isfinite(found.value):
        return found
    off = float(p @ np.abs(log_q(model, state, x, (len(x),), model.log_prob_error)))
    if off <= _MOST_RULE_ERROR * (0.1 + found.value):
        return found
    if model.finer is not None:
        return checked(model.finer(), state, of, x, p)
    return Divergence(math.nan, f"the model's own rule is too coarse for its density: it is off by {off:.1g} nats")


def wide(state: Any) -> Any:
    """The state in float64, and what is no float as it is."""
    return jax.tree.map(lambda leaf: leaf.astype(np.float64) if np.issubdtype(leaf.dtype, np.floating) else leaf, state)


def log_q(model: Model, state: Any, x: np.ndarray, sizes: Sequence[int] = _SIZES, function: Any = None) -> np.ndarray:
    """The model's log density of events x, [n] float64, or another function of (state, x), in parts of few sizes."""
    size = next((size for size in sizes if size >= len(x)), sizes[-1])
    padded = np.concatenate([x, np.repeat(x[-1:], -len(x) % size, axis=0)])
    with jax.enable_x64(True):
        exact_state = wide(state)
        parts = padded.reshape(-1, size, *x.shape[1:])
        function = function or model.log_prob
        return np.concatenate([np.asarray(function(exact_state, jnp.asarray(part))) for part in parts])[: len(x)]


def sound_log_q(model: Model, state: Any, x: np.ndarray) -> np.ndarray:
    """`log_q`; by a finer rule, if there is one, where the model's own changes the likeliest events visibly."""
    found = log_q(model, state, x)
    if model.log_prob_error is not None and model.finer is not None:
        likeliest = x[np.argsort(-found)[:_LIKELIEST]]
        off = log_q(model, state, likeliest, (_LIKELIEST,), model.log_prob_error)
        if not np.abs(off).max() <= _SEEN:
            return sound_log_q(model.finer(), state, x)
    return found


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

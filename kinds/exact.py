"""Exact divergences and likelihoods of trained models, by enumeration and quadrature; nothing here draws a sample."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinds import quadrature
from kinds.cells import Cells
from kinds.distribution import Target
from kinds.quadrature import Features
from models.base import Model

# Shares of the divergence and a tenth of a nat: a quadrature is refined until the error that it reports is below the
# first (on a line, and in the plane, where nodes are dear), and its value is unknown where that stays above the second.
# The report is careful: of a GMM, KMEANS, KDE and
# RBM trained on 2D_GMM the divergences were off by 4e-8 nats at most where 2e-6 was reported.
_AIM, _MOST_ERROR = {1: 1e-9, 2: 1e-7}, 1e-4
# What the nodes' own masses may differ from 1, and what a divergence below 0 may owe to rounding.
_MASS_ERROR, _ROUNDING = 1e-7, 1e-9
# What a model's own rule may be off by, as a share of the divergence and a tenth of a nat, and rows to find that out.
_MOST_RULE_ERROR, _RULE_ROWS = 1e-3, 256
# For a model that has a rule of its own, whose nodes it goes through at every node here.
_SLOW_AIM, _MOST_SLOW_NODES = 1e-5, 2**17
# Rows of a part of x: a density is compiled for each size, of which there are few.
_SIZES = tuple(2**12 * n for n in (1, 2, 3, 4, 6, 8))


class Divergence(NamedTuple):
    """KL(p ‖ q), or why it is unknown."""

    value: float  # nats, never below 0; NaN: unknown
    word: str = ""  # where it is unknown: why


def has_kl_exact(model: Model, target: Target) -> bool:
    """Whether `kl_exact` has a value: both have a density, and of the same kind."""
    return not (model.log_prob is None or target.log_prob is None or (target.discrete and not target.n_bins))


def kl_exact(model: Model, state: Any, target: Target) -> float | None:
    """The value of `divergence`, NaN where it is unknown; None where it is not defined."""
    found = divergence(model, state, target)
    return None if found is None else found.value


def divergence(model: Model, state: Any, target: Target) -> Divergence | None:
    """KL(p ‖ q) = E_p[ln p − ln q] in nats, by enumeration of the bins or by quadrature under the target; float64.

    No sampling is involved: a Monte Carlo error at the values that good models reach is larger than they are. A model
    whose `log_prob_kind` is "estimate" has the error that its file states. None where the target has no density (a
    continuous Poisson, a user's table) or the model none. A quadrature knows its error; a value that is not known well
    is unknown, and so is one of a model whose own rule is too coarse for it.
    """
    if not has_kl_exact(model, target):
        return None
    if target.n_bins:
        p = target.cell_masses(Cells(target.box, target.n_bins, closed=True))
        x, p = np.eye(target.n_bins)[p > 0], p[p > 0]
        found = of_masses(p, _log_q(model, state, x, (len(x),)))
    else:
        with np.errstate(invalid="ignore"):
            found = _by_steps(model, state, target) if model.log_prob_steps else _by_quadrature(model, state, target)
        x, p = _rows_under(target)
    if model.log_prob_error is not None and math.isfinite(found.value):
        off = float(p @ np.abs(_log_q(model, state, x, (len(x),), model.log_prob_error)))
        if not off <= _MOST_RULE_ERROR * (0.1 + found.value):
            return Divergence(
                math.nan, f"the model's own rule is too coarse for its density: it is off by {off:.1g} nats"
            )
    return found


def of_masses(p: np.ndarray, log_q: np.ndarray) -> Divergence:
    """Σ p (ln p − ln q) over cells whose masses p [K] are above 0; infinite where a q is 0."""
    return _known(float(np.sum(p * (np.log(p) - log_q))), _ROUNDING)


def _known(value: float, error: float) -> Divergence:
    """A value that may be off by so much: what lies below 0 by no more is 0, what lies further below is unknown."""
    if math.isnan(value):
        return Divergence(value, "the model's density is not a number everywhere, as beyond the reach of its ln Z")
    if value < -max(error, _ROUNDING):
        return Divergence(math.nan, f"the quadrature gives {value:.2g} nats, and no divergence is negative")
    return Divergence(max(value, 0.0))


def _by_quadrature(model: Model, state: Any, target: Target) -> Divergence:
    def surprise(x):
        return target.log_prob(x) - _log_q(model, state, x)

    panels, features = quadrature.whole(target.parts), _features(model, state, target)
    most = quadrature.MOST_NODES if model.log_prob_error is None else _MOST_SLOW_NODES
    found = quadrature.integrate(surprise, target.parts, panels, features, _aim(model, target), most)
    return _checked(found, 1.0) or _known(found.value, found.error)


def _by_steps(model: Model, state: Any, target: Target) -> Divergence:
    """Of a density that is constant within cells: their centres hold the target's exact masses.

    Outside of the box, where the density is smooth, panels remain that end where the box does.
    """
    cells = Cells(target.box, model.log_prob_steps, closed=False)
    n = cells.n_per_axis**target.dim
    masses = target.cell_masses(cells)
    centres = np.stack(np.meshgrid(*cells.centres, indexing="ij"), axis=-1).reshape(n, target.dim)
    inside = float(masses[:n] @ _log_q(model, state, centres))
    panels = quadrature.outside(target.parts, target.box)
    beyond = quadrature.Integral(0.0, 0.0, 0.0, 0)
    if len(panels.part):
        features = _features(model, state, target)
        beyond = quadrature.integrate(
            lambda x: _log_q(model, state, x), target.parts, panels, features, _aim(model, target)
        )
    value = -target.entropy - inside - beyond.value
    return _checked(beyond, float(masses[n:].sum())) or _known(value, beyond.error)


def _aim(model: Model, target: Target) -> Callable[[float], float]:
    share = _AIM[target.dim] if model.log_prob_error is None else _SLOW_AIM
    return lambda value: share * (0.1 + abs(value))


def _checked(found: quadrature.Integral, mass: float) -> Divergence | None:
    """Why an integral is unknown, if it is: of nodes that should hold so much mass."""
    # Without a single node there is no mass.
    if math.isnan(found.mass) or found.error > _MOST_ERROR * (0.1 + abs(found.value)):
        return Divergence(math.nan, "the model is too narrow or too rough for the quadrature, whose nodes are limited")
    if not abs(found.mass - mass) <= _MASS_ERROR:
        return Divergence(
            math.nan, f"the quadrature's nodes hold {found.mass:.6g} of the target's mass, not {mass:.6g}"
        )
    return None


def _features(model: Model, state: Any, target: Target) -> Sequence[Features]:
    """Where the target is known to be narrow, or the model."""
    features = [] if target.modes is None else [Features(target.modes.means, target.modes.covariances, reach=8.0)]
    if model.features is not None:
        with jax.enable_x64(True):
            means, covariances = model.features(_wide(state))
        means = None if means is None else np.asarray(means, np.float64)
        features.append(Features(means, np.asarray(covariances, np.float64)))
    return features


def _rows_under(target: Target) -> tuple[np.ndarray, np.ndarray]:
    """A few rows [n, D] of the target, always the same, and their equal weights [n]."""
    rows = jax.jit(target.sample, static_argnums=1)(jax.random.key(0), _RULE_ROWS)
    return np.asarray(rows, np.float64), np.full(_RULE_ROWS, 1 / _RULE_ROWS)


def _wide(state: Any) -> Any:
    """The state in float64, and what is no float as it is."""
    return jax.tree.map(lambda leaf: leaf.astype(np.float64) if np.issubdtype(leaf.dtype, np.floating) else leaf, state)


def _log_q(model: Model, state: Any, x: np.ndarray, sizes: Sequence[int] = _SIZES, function: Any = None) -> np.ndarray:
    """The model's log density of events x, [n] float64, or another function of (state, x), in parts of few sizes."""
    size = next((size for size in sizes if size >= len(x)), sizes[-1])
    padded = np.concatenate([x, np.repeat(x[-1:], -len(x) % size, axis=0)])
    with jax.enable_x64(True):
        exact_state = _wide(state)
        parts = padded.reshape(-1, size, *x.shape[1:])
        function = function or model.log_prob
        return np.concatenate([np.asarray(function(exact_state, jnp.asarray(part))) for part in parts])[: len(x)]


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

"""The exact divergence of a trained model from a target on a line or in a plane, by quadrature."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from kinds.contract import Divergence, Target
from kinds.exact import checked, has_divergence, known, log_q, wide
from kinds.real import quadrature
from kinds.real.cells import Cells
from kinds.real.quadrature import Features
from models.base import Model

# Shares of the divergence and a tenth of a nat: a quadrature is refined until the error that it reports is below the
# first (on a line, and in the plane, where nodes are dear), and its value is unknown where that stays above the second.
# The report is careful: of a GMM, KMEANS, KDE and
# RBM trained on 2D_GMM the divergences were off by 4e-8 nats at most where 2e-6 was reported.
_AIM, _AIM_IN_PASSING, _MOST_ERROR = {1: 1e-9, 2: 1e-7}, 5e-5, 1e-4
# What the nodes' own masses may differ from 1.
_MASS_ERROR = 1e-7
# Rows that a model's own rule is looked at.
_RULE_ROWS = 256
# For a model that has a rule of its own, whose nodes it goes through at every node here.
_SLOW_AIM, _MOST_SLOW_NODES = 1e-5, 2**17


def divergence(model: Model, state: Any, target: Target, least_share: float = 0.0) -> Divergence | None:
    """KL(p ‖ q) = E_p[ln p − ln q] in nats, by quadrature under the target; float64.

    No sampling is involved: a Monte Carlo error at the values that good models reach is larger than they are. A model
    whose `log_prob_kind` is "estimate" has the error that its file states. None where the target has no density (a
    continuous Poisson, a user's table) or the model none. A quadrature knows its error; a value that is not known well
    is unknown, and so is one of a model whose own rule is too coarse for it.

    Args:
      model: the model.
      state: one of its states.
      target: of the kind `real`.
      least_share: where a rougher value will do, the share of it and of a tenth of a nat that its error may be.
    """
    if not has_divergence(model, target):
        return None
    how = _by_steps if model.log_prob_steps else _by_quadrature
    with np.errstate(invalid="ignore"):
        return checked(model, state, lambda model: how(model, state, target, least_share), *_rows_under(target))


def divergence_in_passing(model: Model, state: Any, target: Target) -> Divergence | None:
    """The same with four digits, for scores in mid-training; None as well where it would take many seconds.

    That is in the plane, of a model that has a rule of its own.
    """
    if target.dim == 2 and model.log_prob_error is not None:
        return None
    return divergence(model, state, target, _AIM_IN_PASSING)


def _by_quadrature(model: Model, state: Any, target: Target, least_share: float) -> Divergence:
    def surprise(x):
        return target.log_prob(x) - log_q(model, state, x)

    panels, features = quadrature.whole(target.truth.parts), _features(model, state, target)
    most = quadrature.MOST_NODES if model.log_prob_error is None else _MOST_SLOW_NODES
    found = quadrature.integrate(surprise, target.truth.parts, panels, features, _aim(model, target, least_share), most)
    return _checked(found, 1.0) or known(found.value, found.error)


def _by_steps(model: Model, state: Any, target: Target, least_share: float) -> Divergence:
    """Of a density that is constant within cells: their centres hold the target's exact masses.

    Outside of the box, where the density is smooth, panels remain that end where the box does.
    """
    if target.entropy is None:
        return Divergence(math.nan, "the target has too many components for the quadrature of its entropy")
    cells = Cells(target.truth.box, model.log_prob_steps, closed=False)
    n = cells.n_per_axis**target.dim
    masses = target.truth.cell_masses(cells)
    centres = np.stack(np.meshgrid(*cells.centres, indexing="ij"), axis=-1).reshape(n, target.dim)
    inside = float(masses[:n] @ log_q(model, state, centres))
    panels = quadrature.outside(target.truth.parts, target.truth.box)
    beyond = quadrature.Integral(0.0, 0.0, 0.0, 0)
    if len(panels.part):
        features = _features(model, state, target)
        beyond = quadrature.integrate(
            lambda x: log_q(model, state, x), target.truth.parts, panels, features, _aim(model, target, least_share)
        )
    value = -target.entropy - inside - beyond.value
    return _checked(beyond, float(masses[n:].sum())) or known(value, beyond.error)


def _aim(model: Model, target: Target, least_share: float) -> Callable[[float], float]:
    share = max(least_share, _AIM[target.dim] if model.log_prob_error is None else _SLOW_AIM)
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
    features = (
        []
        if target.truth.modes is None
        else [Features(target.truth.modes.means, target.truth.modes.covariances, reach=8.0)]
    )
    if model.features is not None:
        with jax.enable_x64(True):
            means, covariances = model.features(wide(state))
        means = None if means is None else np.asarray(means, np.float64)
        features.append(Features(means, np.asarray(covariances, np.float64)))
    return features


def _rows_under(target: Target) -> tuple[np.ndarray, np.ndarray]:
    """A few rows [n, D] of the target, always the same, and their equal weights [n]."""
    rows = jax.jit(target.sample, static_argnums=1)(jax.random.key(0), _RULE_ROWS)
    return np.asarray(rows, np.float64), np.full(_RULE_ROWS, 1 / _RULE_ROWS)

"""Adaptive integrals E_p[f] = Σ ∫ pₖ f over the parts pₖ of a density, on panels that each part has for itself.

A panel is a parallelepiped c + A u, u in [−1, 1]^D. Its rule is the product of Kronrod's 15 nodes an axis; Gauss's
seven among them say how far off it may be, along every axis. Panels are halved along their worst axis until all errors
together are small enough, or the nodes are too many. Nodes see nothing that lies between them: where a narrow feature
is known to be (a component of the density or of the model), panels are halved first, until nodes lie on it.

References:
  Piessens et al., QUADPACK, 1983 (the pair of rules, and the estimate of its error).
  Genz and Malik, An adaptive algorithm for numerical integration over an N-dimensional rectangular region, 1980.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

LEAST_MASS = 1e-17  # of a node that is looked at: what the others hold is far below rounding, even where f is 10⁴
MOST_NODES = 2**22
# A panel whose part holds no more than this where a feature is need not see it: 1e-9 nats, if f is a hundred there.
_UNSEEN_MASS = 1e-11
# A feature whose deviation is this, in a panel's half sides, has nodes within ± 2 deviations.
_SEEN_WIDTH = 0.1
_REACH = 3.0  # deviations to which a feature must be seen across
_FEATURES_AT_ONCE = 2**20

# Kronrod's nodes and weights on [0, 1], from the outside in, and the weights of Gauss's among them (every second one).
_NODES = np.array([0.991455371120812639206854697526329, 0.949107912342758524526189684047851,
                   0.864864423359769072789712788640926, 0.741531185599394439863864773280788,
                   0.586087235467691130294144691693013, 0.405845151377397166906606412076961,
                   0.207784955007898467600689403773245, 0.0])  # fmt: skip
_KRONROD = np.array([0.022935322010529224963732008058970, 0.063092092629978553290700663189204,
                     0.104790010322250183839876322541518, 0.140653259715525918745189590510238,
                     0.169004726639267902826583426598550, 0.190350578064785409913256402421014,
                     0.204432940075298892414161999234649, 0.209482141084727828012999174891714])  # fmt: skip
_GAUSS = np.array([0.0, 0.129484966168869693270611432679082, 0.0, 0.279705391489276667901467771423780,
                   0.0, 0.381830050505118944950369775488975, 0.0, 0.417959183673469387755102040816327])  # fmt: skip
_LINE = np.concatenate([-_NODES, _NODES[-2::-1]])
_FINE, _COARSE = (np.concatenate([half, half[-2::-1]]) for half in (_KRONROD, _GAUSS))


class Parts(NamedTuple):
    """What a density is the sum of: part k lies within centres[k] + axes[k] u, u in [−1, 1]^D."""

    log_density: Callable[[np.ndarray, np.ndarray], np.ndarray]  # (x [n, D], part [n]) -> [n], ln of the part there
    centres: np.ndarray  # [K, D]
    axes: np.ndarray  # [K, D, D], half sides as columns
    n_panels: int  # an axis, so many that the rule resolves a part at first


class Features(NamedTuple):
    """Where a function may be narrow: about these means, or anywhere, as narrow as these covariances say."""

    means: np.ndarray | None  # [F, D]; None: anywhere
    covariances: np.ndarray  # [F, D, D]
    reach: float = 3.0  # deviations to which they must be seen along: far from its mean a ridge may leave a box


class Panels(NamedTuple):
    """Where to integrate."""

    centres: np.ndarray  # [P, D]
    axes: np.ndarray  # [P, D, D], half sides as columns
    part: np.ndarray  # [P] int

    def chosen(self, which: np.ndarray) -> "Panels":
        """Those that a mask or indices name."""
        return Panels(*(field[which] for field in self))


class Integral(NamedTuple):
    """What has been found."""

    value: float  # of ∫ p f
    error: float  # what it may be off by; NaN where f is not finite
    mass: float  # ∫ p by the same nodes
    n_nodes: int


def joined(panels: Sequence[Panels]) -> Panels:
    """All of them."""
    return Panels(*map(np.concatenate, zip(*panels, strict=True)))


def whole(parts: Parts) -> Panels:
    """Panels over all parts, as many an axis as each needs."""
    dim = parts.centres.shape[1]
    axis = (np.arange(parts.n_panels) + 0.5) / parts.n_panels * 2 - 1
    offsets = np.stack(np.meshgrid(*[axis] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    centres = parts.centres[:, None] + np.einsum("kij,pj->kpi", parts.axes, offsets)
    n_each = len(offsets)
    return Panels(
        centres.reshape(-1, dim),
        np.repeat(parts.axes / parts.n_panels, n_each, axis=0),
        np.repeat(np.arange(len(parts.centres)), n_each),
    )


def outside(parts: Parts, box: np.ndarray) -> Panels:
    """Panels with sides along the axes over what lies outside of a box [D, 2]."""
    reach = np.abs(parts.axes).sum(2)
    found = [whole(parts).chosen(np.zeros(0, int))]
    for k, (low, high) in enumerate(zip(parts.centres - reach, parts.centres + reach, strict=True)):
        sides = np.stack([low, high], axis=-1)
        step = np.ptp(sides, axis=1) / parts.n_panels
        for axis, (start, end) in enumerate(box):
            # Below and above the box along this axis, within it along those before.
            for span in ((low[axis], min(high[axis], start)), (max(low[axis], end), high[axis])):
                region = sides.copy()
                region[:axis] = np.clip(sides[:axis], box[:axis, :1], box[:axis, 1:])
                region[axis] = span
                if np.all(region[:, 0] < region[:, 1]):
                    found.append(_divided(region, step, k))
    return joined(found)


def _divided(region: np.ndarray, step: np.ndarray, part: int) -> Panels:
    """Panels over a region [D, 2] that are no longer than `step` [D]."""
    lengths = np.ptp(region, axis=1)
    counts = np.ceil(lengths / step - 1e-9).astype(int).clip(1)
    axes = [
        low + (np.arange(n) + 0.5) / n * length for (low, _), n, length in zip(region, counts, lengths, strict=True)
    ]
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(region))
    half = np.tile(np.diag(lengths / counts / 2), (len(centres), 1, 1))
    return Panels(centres, half, np.full(len(centres), part))


def integrate(
    f: Callable[[np.ndarray], np.ndarray],
    parts: Parts,
    panels: Panels,
    features: Sequence[Features],
    tolerance: Callable[[float], float],
    most_nodes: int = MOST_NODES,
) -> Integral:
    """∫ p f over panels, to `tolerance(value)` or as near to it as the nodes allow; the error says how near.

    Args:
      f: x [n, D] -> [n]; asked for in few large portions.
      parts: of p.
      panels: to begin with.
      features: where f may be narrow.
      tolerance: (value) -> what the error may be.
      most_nodes: that f may be asked at.
    """
    n_each = len(_LINE) ** panels.centres.shape[1]
    panels = _seeing(panels, parts, features, most_nodes // n_each)
    if panels is None:
        return Integral(math.nan, math.inf, math.nan, 0)
    estimates = _estimates(f, parts, panels)
    n_nodes = len(panels.part) * n_each
    while True:
        errors = estimates.errors.sum(axis=1)
        value, error = float(estimates.values.sum()), float(_together(errors)[-1])
        found = Integral(value, error, float(estimates.masses.sum()), n_nodes)
        allowed = tolerance(value)
        if not error > allowed:
            return found
        order = np.argsort(errors)
        # The rest may stay as it is: together it is off by less than half of what is allowed.
        split = order[_together(errors[order]) > allowed / 2]
        if n_nodes + 2 * len(split) * n_each > most_nodes:
            return found
        halves = _halved(panels.chosen(split), estimates.errors[split].argmax(axis=1))
        kept = np.setdiff1d(order, split)
        new = _estimates(f, parts, halves)
        n_nodes += len(halves.part) * n_each
        panels = joined([panels.chosen(kept), halves])
        estimates = _Estimates(*(np.concatenate([a[kept], b]) for a, b in zip(estimates, new, strict=True)))


def _together(errors: np.ndarray) -> np.ndarray:
    """What the first panel, the first two, … are off by together: the sum, or four deviations of random signs."""
    return np.minimum(np.cumsum(errors), 4 * np.sqrt(np.cumsum(errors**2)))


class _Estimates(NamedTuple):
    """Of every panel."""

    values: np.ndarray  # [P]
    errors: np.ndarray  # [P, D], along every axis
    masses: np.ndarray  # [P]


def _estimates(f: Callable, parts: Parts, panels: Panels) -> _Estimates:
    dim, n = panels.centres.shape[1], len(_LINE)
    units = np.stack(np.meshgrid(*[_LINE] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    x = (panels.centres[:, None] + np.einsum("pij,nj->pni", panels.axes, units)).reshape(-1, dim)
    with np.errstate(divide="ignore"):
        log_volumes = np.linalg.slogdet(panels.axes)[1]
    density = np.exp(
        parts.log_density(x, np.repeat(panels.part, len(units))).reshape(-1, n**dim) + log_volumes[:, None]
    )
    fine = np.array(1.0)
    for _ in range(dim):
        fine = np.multiply.outer(fine, _FINE)
    masses = density * fine.ravel()
    looked_at = (masses > LEAST_MASS).ravel()
    values = np.zeros(len(x))
    if looked_at.any():
        values[looked_at] = f(x[looked_at])
    shape = (-1, *[n] * dim)
    integrand = (density * np.where(looked_at, values, 0).reshape(-1, n**dim)).reshape(shape)

    def by(rules):
        total = integrand
        for rule in reversed(rules):
            total = total @ rule
        return total

    value = by([_FINE] * dim)
    coarse = [by([_COARSE if axis == i else _FINE for axis in range(dim)]) for i in range(dim)]
    differences = np.abs(np.stack(coarse, axis=-1) - value[:, None])
    # Kronrod's rule is the better of the two, the more so the smoother the integrand: QUADPACK's estimate, which has a
    # factor of 200 where 20 is careful enough for the few digits wanted here.
    size = np.abs(integrand).reshape(len(value), -1) @ fine.ravel()
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(size[:, None] > 0, differences / size[:, None], 1)
    return _Estimates(value, differences * np.minimum(1, 20 * np.sqrt(20 * share)), masses.sum(axis=1))


def _halved(panels: Panels, along: np.ndarray) -> Panels:
    """Both halves of every panel along the axis [P] that is given for it."""
    rows = np.arange(len(along))
    half = panels.axes[rows, :, along] / 2
    axes = panels.axes.copy()
    axes[rows, :, along] = half
    return joined([Panels(panels.centres + sign * half, axes, panels.part) for sign in (-1, 1)])


def _seeing(panels: Panels, parts: Parts, features: Sequence[Features], limit: int) -> Panels | None:
    """The panels halved until nodes lie on every feature that matters; None where that takes more than the limit."""
    done, pending = [], panels
    while len(pending.part):
        along = _unseen_along(pending, parts, features)
        done.append(pending.chosen(along < 0))
        pending = pending.chosen(along >= 0)
        pending = _halved(pending, along[along >= 0]) if len(pending.part) else pending
        if sum(len(each.part) for each in done) + len(pending.part) > limit:
            return None
    return joined(done)


def _unseen_along(panels: Panels, parts: Parts, features: Sequence[Features]) -> np.ndarray:
    """The axis [P] along which a panel is too long for what it has to see, or −1."""
    n, dim = panels.centres.shape
    worst, along = np.full(n, _SEEN_WIDTH), np.full(n, -1)
    corners = np.stack(np.meshgrid(*[np.linspace(-1, 1, 5)] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    x = panels.centres[:, None] + np.einsum("pij,cj->pci", panels.axes, corners)
    highest = parts.log_density(x.reshape(-1, dim), np.repeat(panels.part, len(corners))).reshape(n, -1).max(axis=1)
    log_volume = np.linalg.slogdet(panels.axes)[1] + highest
    inverse = np.linalg.inv(panels.axes)
    for means, covariances, reach in features:
        size = max(1, _FEATURES_AT_ONCE // n)
        for start in range(0, len(covariances), size):
            each = covariances[start : start + size]
            centres = None if means is None else means[start : start + size]
            width, axis = _narrowness(panels, inverse, log_volume, parts, Features(centres, each, reach))
            narrower = width < worst
            worst, along = np.where(narrower, width, worst), np.where(narrower, axis, along)
    return along


def _narrowness(panels, inverse, log_volume, parts, features):
    """The deviation [P] of the narrowest feature that matters in a panel, in its half sides, and across which axis."""
    n, dim = panels.centres.shape
    means, covariances, along = features
    # [P, F, D, D]: in the panel's own coordinates.
    own = np.einsum("pij,fjk,plk->pfil", inverse, covariances, inverse, optimize=True)
    squares, directions = np.linalg.eigh(own)
    deviations = np.sqrt(np.maximum(squares, 0))
    narrow, across = deviations[..., 0], directions[..., 0]
    reaches = deviations * np.array([_REACH] * (dim - 1) + [along])
    area = np.minimum(1, reaches).prod(axis=-1) * 2**dim
    if means is None:
        matters = np.broadcast_to((log_volume + dim * math.log(2) > math.log(_UNSEEN_MASS))[:, None], narrow.shape)
    else:
        at = np.einsum("pij,pfj->pfi", inverse, means[None] - panels.centres[:, None])
        sides = np.sqrt(np.sum((directions * reaches[..., None, :]) ** 2, axis=-1))
        touches = np.all(np.abs(at) <= 1 + sides, axis=-1)
        touches &= np.abs(np.sum(at * across, axis=-1)) <= np.abs(across).sum(-1) + reaches[..., 0]
        matters = np.zeros(narrow.shape, bool)
        which = np.nonzero(touches & (narrow < _SEEN_WIDTH))
        if len(which[0]):
            log_there = _log_density_on(
                panels, parts, which[0], at[which], reaches[which][:, -1], directions[which][..., -1]
            )
            log_mass = np.maximum(log_there, log_volume[which[0]]) + np.log(np.maximum(area[which], 1e-300))
            matters[which] = log_mass > math.log(_UNSEEN_MASS)
    narrow = np.where(matters, narrow, np.inf)
    best = narrow.argmin(axis=1)
    rows = np.arange(n)
    return narrow[rows, best], np.abs(across[rows, best]).argmax(axis=-1)


def _log_density_on(panels, parts, p, at, reach, ridge):
    """The largest ln of a part's density, by a panel's own volume, on the ridge of a feature that crosses it.

    Args:
      panels: the panels.
      parts: the parts.
      p: [N] numbers of panels.
      at: [N, D] means of features in those panels' coordinates.
      reach: [N] to which they go on along the ridge.
      ridge: [N, D] unit vectors along it.
    """
    middle, half = -np.sum(at * ridge, axis=-1), np.abs(ridge).sum(axis=-1)
    log_volumes = np.linalg.slogdet(panels.axes)[1][p]
    highest = np.full(len(p), -np.inf)
    # From one end of the ridge within the panel to the other.
    for share in np.linspace(-1, 1, 5):
        along = np.clip(middle + share * half, -reach, reach)
        points = panels.centres[p] + np.einsum("nij,nj->ni", panels.axes[p], at + along[:, None] * ridge)
        highest = np.maximum(highest, parts.log_density(points, panels.part[p]))
    return highest + log_volumes

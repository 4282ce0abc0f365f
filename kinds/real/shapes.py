"""Two-dimensional shapes that are no mixtures of a few Gaussians: moons, circles, spirals, a pinwheel, a checkerboard.

Each has its density. A curve with Gaussian noise has p(x) = ∫ N(x; c(u), σ²) du over the curve: in closed form for a
circle, else by a rule in u that is exact to rounding (the integrand is smooth on the scale of σ, and nodes lie closer
than σ/2). Masses of cells are then sums of products of error functions. All shapes are centred at the origin.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from scipy.special import ndtr

from core import prng
from kinds.contract import Target
from kinds.real.cells import Cells, identity
from kinds.real.quadrature import Parts
from kinds.real.truth import Real, real_target

# Products of rows and nodes at a time, in log_prob.
_BLOCK = 2**22
# Panels that integrals begin with, in units of the width of the narrowest feature: fifteen nodes a panel.
_PANEL_WIDTH = 5.0


def moons(name: str) -> Target:
    """Two interleaving half circles of radius 2, ±(2 cos t − 1, 2 sin t − 0.5) for t in [0, π], with noise of σ = 0.2.

    These are scikit-learn's `make_moons(noise=0.1)`, centred and enlarged twofold.
    """
    u, weights = _legendre(150)

    def base(u, xp):
        return 2 * xp.cos(math.pi * u) - 1, 2 * xp.sin(math.pi * u) - 0.5

    return _noisy_curves(name, base, (1.0, -1.0), (u, weights), 0.2, np.array([[-4.0, 4.0], [-2.7, 2.7]]))


def circles(name: str) -> Target:
    """Two circles of radius 1.5 and 3 around the origin, half of the mass on each, with noise of σ = 0.15.

    These are scikit-learn's `make_circles(factor=0.5, noise=0.05)`, enlarged threefold. At distance r from the centre
    a circle of radius R has the density exp(−(r² + R²)/2σ²) I₀(rR/σ²)/2πσ².
    """
    radii, deviation = (3.0, 1.5), 0.15
    # Equal steps of a periodic integrand converge geometrically.
    n = 600
    u, weights = np.arange(n) / n, np.full(n, 1 / n)

    def base(u, xp):
        return xp.cos(2 * math.pi * u), xp.sin(2 * math.pi * u)

    def log_prob(x):
        r = np.linalg.norm(np.asarray(x, np.float64), axis=1)
        each = [
            np.log(scipy.special.i0e(r * radius / deviation**2)) - (r - radius) ** 2 / (2 * deviation**2)
            for radius in radii
        ]
        return scipy.special.logsumexp(each, axis=0) - math.log(2 * math.pi * deviation**2 * len(radii))

    target = _noisy_curves(name, base, radii, (u, weights), deviation, np.array([[-3.75, 3.75]] * 2))
    return target._replace(log_prob=log_prob, log_prob_kind="exact")


def spirals(name: str) -> Target:
    """Two arms ±(t/3)(cos t, sin t), t = 3π√u with u uniform in [0, 1], with noise of σ = 0.1.

    One and a half turns each, out to radius π; the root spreads the mass about evenly along an arm.
    """
    root, weights = _legendre(500)

    def base(u, xp):
        t = 3 * math.pi * xp.sqrt(u)
        return t / 3 * xp.cos(t), t / 3 * xp.sin(t)

    return _noisy_curves(name, base, (1.0, -1.0), (root**2, 2 * root * weights), 0.1, np.array([[-3.75, 3.75]] * 2))


def pinwheel(name: str) -> Target:
    """Five Gaussian blades, 2 (1 + 0.3 a, 0.1 b) with a, b ~ N(0, 1), each turned by 2πk/5 and by ¼ exp(r/2) more.

    The construction of Johnson et al. (Composing graphical models with neural networks, 2016), enlarged twofold, but
    that the angle grows with the distance r from the centre and not with the first coordinate before turning: turning
    by an angle that depends on r alone keeps r and all areas, so the density is that of the blades before it.
    """
    n_blades, size, rate = 5, 2.0, 0.25
    centre, deviations = np.array([1.0, 0.0]), np.array([0.3, 0.1])

    def turned(x, y, angle, xp):
        cosine, sine = xp.cos(angle), xp.sin(angle)
        return cosine * x - sine * y, sine * x + cosine * y

    def sample(key, n):
        key_blade, key_noise = jax.random.split(key)
        blade = jnp.floor(n_blades * jax.random.uniform(key_blade, (n,)))
        noise = prng.normal(key_noise, (2, n))
        x, y = (mean + deviation * row for mean, deviation, row in zip(centre, deviations, noise, strict=True))
        angle = 2 * math.pi / n_blades * blade + rate * jnp.exp(jnp.sqrt(x**2 + y**2))
        return size * jnp.stack(turned(x, y, angle, jnp), axis=-1)

    def log_prob(x):
        x, y = np.asarray(x, np.float64).T / size
        unwound = -rate * np.exp(np.sqrt(x**2 + y**2))
        each = []
        for blade in range(n_blades):
            at = turned(x, y, unwound - 2 * math.pi / n_blades * blade, np)
            scores = [(v - mean) / sigma for v, mean, sigma in zip(at, centre, deviations, strict=True)]
            each.append(-0.5 * (scores[0] ** 2 + scores[1] ** 2))
        normaliser = 2 * math.pi * np.prod(deviations) * size**2 * n_blades
        return scipy.special.logsumexp(each, axis=0) - math.log(normaliser)

    # Turning shears a blade by r·dα/dr: 2 at two deviations from its middle and 5 at four, and is so much narrower.
    return _from_density(name, sample, log_prob, np.array([[-4.25, 4.25]] * 2), scale=0.05, reach=6.0)


def checkerboard(name: str) -> Target:
    """Uniform on eight squares of side 2, those of one colour on a board of 4 × 4 squares over [−4, 4]²."""
    side, n = 2.0, 4
    squares = np.array([(i, j) for i in range(n) for j in range(n) if (i + j) % 2 == 0])
    density = 1 / (len(squares) * side**2)

    def sample(key, rows):
        key_square, key_place = jax.random.split(key)
        square = jnp.floor(len(squares) * jax.random.uniform(key_square, (rows,))).astype(jnp.int32)
        one_hot = jax.nn.one_hot(square, len(squares), axis=0)
        corner = jnp.matmul(jnp.asarray(squares, jnp.float32).T, one_hot, precision="highest")
        # Below one by more than the rounding of a sum: nothing lands in the next square.
        place = jnp.minimum(jax.random.uniform(key_place, (2, rows)), 1 - 2.0**-20)
        return (side * (corner + place) - side * n / 2).T

    def log_prob(x):
        x = np.asarray(x, np.float64)
        i, j = np.minimum(np.floor(x / side + n / 2), n - 1).T
        inside = np.all(np.abs(x) <= side * n / 2, axis=1) & ((i + j) % 2 == 0)
        return np.where(inside, math.log(density), -np.inf)

    def cell_masses(cells):
        bounds = side * (np.arange(n + 1) - n / 2)
        # [cells, squares] shared length, per axis.
        shared = [np.diff(np.clip(bounds[None], edges[:-1, None], edges[1:, None])) for edges in cells.edges]
        dark = np.zeros((n, n))
        dark[tuple(squares.T)] = density
        return _with_rest(shared[0] @ dark @ shared[1].T)

    return real_target(
        name=name,
        codec=identity(2),
        sample=sample,
        log_prob=log_prob,
        log_prob_kind="exact",
        entropy=-math.log(density),
        truth=Real(
            # The KLD's 30 × 30 cells end where the squares do.
            box=np.array([[-5.0, 5.0]] * 2),
            cell_masses=cell_masses,
            parts=Parts(
                lambda x, part: np.full(len(x), math.log(density)),
                side * (squares + 0.5) - side * n / 2,
                np.tile(side / 2 * np.eye(2), (len(squares), 1, 1)),
                n_panels=2,
            ),
            scale=0.05,
        ),
    )


def _noisy_curves(
    name: str,
    base: Callable[[Any, Any], tuple[Any, Any]],
    factors: tuple[float, ...],
    rule: tuple[np.ndarray, np.ndarray],
    deviation: float,
    box: np.ndarray,
) -> Target:
    """Equal shares on copies of one curve, each multiplied by a factor, with Gaussian noise of one σ around them.

    Args:
      name: what pictures call it.
      base: (u, array library) -> x and y of the curve, where u is uniform in [0, 1].
      factors: one a copy.
      rule: of integration over u, its nodes [T] and their weights [T], whose sum is 1.
      deviation: of the noise.
      box: [2, 2].
    """
    u, weights = rule
    points = np.stack(base(u, np), axis=-1)
    curves = _NoisyCurves(
        base,
        factors,
        deviation,
        centres=np.concatenate([factor * points for factor in factors]),
        shares=np.tile(weights / len(factors), len(factors)),
    )
    return real_target(
        name=name,
        codec=identity(2),
        sample=curves.sample,
        log_prob=curves.log_prob,
        log_prob_kind="quadrature",
        entropy=curves.entropy(),
        truth=Real(
            box=box,
            cell_masses=curves.cell_masses,
            parts=_box_parts(curves.log_prob, curves.reach(), _PANEL_WIDTH * deviation),
            scale=deviation,
        ),
    )


class _NoisyCurves(NamedTuple):
    """What is known of such curves: about a mixture of Gaussians whose centres lie on them."""

    base: Callable[[Any, Any], tuple[Any, Any]]  # as of `_noisy_curves`, as the next two
    factors: tuple[float, ...]
    deviation: float
    centres: np.ndarray  # [C, 2], nodes of all copies
    shares: np.ndarray  # [C], their weights

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """Rows [n, 2]."""
        key_curve, key_place, key_noise = jax.random.split(key, 3)
        n_copies = len(self.factors)
        copy = jnp.floor(n_copies * jax.random.uniform(key_curve, (1, n)))
        one_hot = (copy == jnp.arange(n_copies)[:, None]).astype(jnp.float32)
        factor = jnp.matmul(jnp.asarray([self.factors], jnp.float32), one_hot, precision="highest")
        curve = jnp.stack(self.base(jax.random.uniform(key_place, (n,)), jnp))
        return (factor * curve + self.deviation * prng.normal(key_noise, (2, n))).T

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """ln p of rows x [n, 2], [n]."""
        scaled = self.centres / self.deviation
        offsets = np.log(self.shares) - 0.5 * np.sum(scaled**2, axis=1) - math.log(2 * math.pi * self.deviation**2)
        x = np.asarray(x, np.float64) / self.deviation
        found = np.empty(len(x))
        rows = max(1, _BLOCK // len(scaled))
        for start in range(0, len(x), rows):
            part = x[start : start + rows]
            each = part @ scaled.T
            each += offsets
            highest = each.max(axis=1, keepdims=True)
            each -= highest
            np.exp(each, out=each)
            found[start : start + rows] = highest[:, 0] + np.log(each.sum(axis=1)) - 0.5 * np.sum(part**2, axis=1)
        return found

    def cell_masses(self, cells: Cells) -> np.ndarray:
        """As of `Real`."""
        sides = zip(cells.edges, self.centres.T, strict=True)
        below = [ndtr((edges - centre[:, None]) / self.deviation) for edges, centre in sides]
        x, y = (np.maximum(np.diff(values), 0) for values in below)
        return _with_rest((x * self.shares[:, None]).T @ y)

    def entropy(self) -> float:
        """In nats, by a sum over all that `reach` has, at steps of a third of the deviation."""
        axes = [np.linspace(low, high, math.ceil((high - low) / self.deviation * 3) + 1) for low, high in self.reach()]
        at_x, at_y = (
            np.exp(-0.5 * ((axis - centre[:, None]) / self.deviation) ** 2) / (math.sqrt(2 * math.pi) * self.deviation)
            for axis, centre in zip(axes, self.centres.T, strict=True)
        )
        density = (at_x * self.shares[:, None]).T @ at_y
        return float(scipy.special.entr(density).sum() * math.prod(axis[1] - axis[0] for axis in axes))

    def reach(self) -> np.ndarray:
        """The range [2, 2] of both coordinates, to nine deviations."""
        return np.stack([self.centres.min(0) - 9 * self.deviation, self.centres.max(0) + 9 * self.deviation], axis=-1)


def _from_density(
    name: str,
    sample: Callable[[jax.Array, int], jax.Array],
    log_prob: Callable[[np.ndarray], np.ndarray],
    box: np.ndarray,
    scale: float,
    reach: float,
) -> Target:
    """A target whose masses, quadrature and entropy are integrals of an exact density.

    Args:
      name: what pictures call it.
      sample: (key, n) -> [n, 2].
      log_prob: [n, 2] -> [n], nats.
      box: [2, 2].
      scale: the width of its narrowest feature; nodes lie closer than half of it.
      reach: beyond ± this there is no mass to rounding.
    """

    def cell_masses(cells):
        rules = []
        for edges in cells.edges:
            n = max(6, math.ceil(2.5 * (edges[1] - edges[0]) / scale))
            nodes, weights = _legendre(n)
            rules.append(((edges[:-1, None] + np.diff(edges)[:, None] * nodes).ravel(), np.diff(edges)[0] * weights))
        (x, x_weights), (y, y_weights) = rules
        density = np.exp(log_prob(np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)))
        n = cells.n_per_axis
        density = density.reshape(n, len(x_weights), n, len(y_weights))
        return _with_rest(np.einsum("iajb,a,b->ij", density, x_weights, y_weights))

    axis = np.linspace(-reach, reach, math.ceil(2 * reach / (0.6 * scale)) + 1)
    nodes = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    log_p = log_prob(nodes)
    return real_target(
        name=name,
        codec=identity(2),
        sample=sample,
        log_prob=log_prob,
        log_prob_kind="exact",
        entropy=-float(np.sum(np.exp(log_p) * log_p) * (axis[1] - axis[0]) ** 2),
        truth=Real(
            box=box,
            cell_masses=cell_masses,
            parts=_box_parts(log_prob, np.array([[-reach, reach]] * 2), _PANEL_WIDTH * scale),
            scale=scale,
        ),
    )


def _legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss–Legendre on [0, 1]: nodes and weights [n]."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (nodes + 1) / 2, weights / 2


def _box_parts(log_prob: Callable[[np.ndarray], np.ndarray], box: np.ndarray, width: float) -> Parts:
    """A density that is one part over a box [2, 2], with panels about that wide at first."""
    n_panels = math.ceil(np.ptp(box, axis=1).max() / width)
    return Parts(lambda x, part: log_prob(x), box.mean(1)[None], np.diag(np.ptp(box, axis=1) / 2)[None], n_panels)


def _with_rest(masses: np.ndarray) -> np.ndarray:
    """Cells of an axis by an axis as one row, and behind them what is outside."""
    return np.concatenate([masses.ravel(), [max(0.0, 1 - masses.sum())]])

"""Shapes in the plane: their densities against definitions, integrals and samples."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import test_targets
from divergences import kl_exact
from test_targets import SHAPES, draw, gauss_legendre

from kinds.real import quadrature, shapes
from kinds.real.cells import Cells
from models.base import Model

make = test_targets.make


def noisy(curve, weight, low, high, deviation):
    """p(x) of a curve [2] of t with Gaussian noise, by SciPy's adaptive quadrature; both copies ±curve."""

    def density(x):
        def integrand(t):
            gaussians = [np.exp(-np.sum((x - sign * curve(t)) ** 2) / (2 * deviation**2)) for sign in (1, -1)]
            return weight(t) * sum(gaussians) / (4 * math.pi * deviation**2)

        # Where the curve is nearest the integrand is a peak that an adaptive rule may step over.
        t = np.linspace(low, high, 2000)
        nearest = [t[np.argmin(np.sum((x[:, None] - sign * curve(t)) ** 2, axis=0))] for sign in (1, -1)]
        return scipy.integrate.quad(integrand, low, high, points=nearest, limit=500, epsabs=1e-13, epsrel=1e-11)[0]

    return density


DEFINITIONS = {
    "2D_MOONS": noisy(lambda t: np.array([2 * np.cos(t) - 1, 2 * np.sin(t) - 0.5]), lambda t: 1 / math.pi,
                      0, math.pi, 0.2),
    "2D_SPIRALS": noisy(lambda t: np.array([t / 3 * np.cos(t), t / 3 * np.sin(t)]),
                        lambda t: 2 * t / (3 * math.pi) ** 2, 0, 3 * math.pi, 0.1),
    "2D_CIRCLES": lambda x: sum(scipy.stats.rice.pdf(np.hypot(*x), radius / 0.15, scale=0.15)
                                for radius in (1.5, 3)) / (4 * math.pi * np.hypot(*x)),
    "2D_CHECKERBOARD": lambda x: (np.sum(np.floor((x + 4) / 2)) % 2 == 0) / 32 if np.abs(x).max() <= 4 else 0.0,
}  # fmt: skip


@pytest.mark.parametrize("name", DEFINITIONS)
def test_log_prob_is_the_definition(make, name):
    target = make(name)
    near = draw(target, 10).astype(np.float64) + 0.07
    x = np.concatenate([near, np.random.default_rng(0).uniform(-4.4, 4.4, (10, 2))])
    found = target.log_prob(x)
    assert found.dtype == np.float64
    expected = np.array([DEFINITIONS[name](row) for row in x])
    np.testing.assert_allclose(np.exp(found), expected, rtol=1e-9, atol=1e-13)


def test_blades_are_turned_without_changing_areas(make):
    """The definition of Johnson et al. forwards, with automatic derivatives for the change of variables."""
    target = make("2D_PINWHEEL")
    deviations = jnp.array([0.3, 0.1])

    def turned(before, blade):
        angle = 2 * jnp.pi * blade / 5 + 0.25 * jnp.exp(jnp.linalg.norm(before))
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        return 2 * jnp.array([[cosine, -sine], [sine, cosine]]) @ before

    before = jnp.array([1.0, 0.0])[None] + deviations[None] * jax.random.normal(jax.random.key(0), (50, 2))
    with jax.enable_x64(True):
        before = jnp.asarray(np.asarray(before, np.float64))
        for blade in range(5):
            x = jax.vmap(lambda row, blade=blade: turned(row, blade))(before)
            volume = jnp.abs(jnp.linalg.det(jax.vmap(jax.jacfwd(lambda row, blade=blade: turned(row, blade)))(before)))
            scores = (np.asarray(before) - [1.0, 0.0]) / np.asarray(deviations, np.float64)
            own = scipy.stats.norm.pdf(scores).prod(1) / 0.03 / np.asarray(volume) / 5
            # The other blades add what little they have there.
            found = np.exp(target.log_prob(np.asarray(x)))
            assert np.all(found >= own * (1 - 1e-6))
            assert np.median(found / own) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", SHAPES)
def test_density_integrates_to_one_and_to_the_cells_masses(make, name):
    target = make(name)
    # An odd number of cells, so that the checkerboard's edges do not lie on theirs.
    cells = Cells(target.truth.box, 9, closed=False)
    masses = target.truth.cell_masses(cells)
    assert masses.shape == (82,)
    assert np.all(masses >= 0)
    assert masses.sum() == pytest.approx(1, abs=1e-12)
    if name == "2D_CHECKERBOARD":
        # Constant on squares of side 1/90, of which cells and squares are made.
        middles = (np.arange(900) + 0.5) / 90 - 5
        grid = np.stack(np.meshgrid(middles, middles, indexing="ij"), axis=-1).reshape(-1, 2)
        inside = (np.exp(target.log_prob(grid)) / 90**2).reshape(9, 100, 9, 100).sum((1, 3))
        np.testing.assert_allclose(masses[:-1], inside.ravel(), atol=1e-12)
        assert masses[-1] == pytest.approx(0, abs=1e-12)
        return
    rules = [gauss_legendre(low, high, 9 * 3) for low, high in target.truth.box]
    points = np.stack(np.meshgrid(*(x for x, _ in rules), indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(target.log_prob(points)).reshape(len(rules[0][0]), -1) * np.outer(rules[0][1], rules[1][1])
    np.testing.assert_allclose(masses[:-1], density.reshape(9, 36, 9, 36).sum((1, 3)).ravel(), atol=1e-9)
    # All but a thousandth of the mass lies in the box.
    assert masses[-1] < 1e-3
    found = quadrature.integrate(
        target.log_prob, target.truth.parts, quadrature.whole(target.truth.parts), [], lambda value: 1e-8 * abs(value)
    )
    assert found.mass == pytest.approx(1, abs=1e-10)
    assert found.value == pytest.approx(-target.entropy, abs=1e-7)


@pytest.mark.parametrize("name", SHAPES)
def test_halved_cells_hold_the_same(make, name):
    target = make(name)
    masses, halves = (target.truth.cell_masses(Cells(target.truth.box, n, closed=False)) for n in (30, 60))
    merged = halves[:-1].reshape(30, 2, 30, 2).sum((1, 3)).ravel()
    np.testing.assert_allclose(masses, [*merged, halves[-1]], atol=1e-10)


@pytest.mark.parametrize("name", SHAPES)
def test_entropy_is_the_mean_surprise_of_samples(make, name):
    target = make(name)
    surprise = -target.log_prob(draw(target, 20_000).astype(np.float64))
    assert np.all(np.isfinite(surprise))
    # Five standard errors; where the density is level there is nothing to average.
    assert abs(surprise.mean() - target.entropy) <= 5 * surprise.std() / math.sqrt(len(surprise)) + 1e-12


@pytest.mark.parametrize("name", SHAPES)
def test_exact_divergence_from_a_gaussian_is_cross_entropy_less_entropy(make, name):
    """E_p|x|² is known for each: of a curve c with noise E|c|² + 2σ²."""
    target = make(name)
    second = {
        "2D_MOONS": 2**2 + 1 + 0.5**2 - 2 * 2 * 0.5 * 2 / math.pi + 2 * 0.2**2,
        "2D_CIRCLES": (1.5**2 + 3**2) / 2 + 2 * 0.15**2,
        "2D_SPIRALS": math.pi**2 / 2 + 2 * 0.1**2,
        "2D_PINWHEEL": 4 * (1 + 0.3**2 + 0.1**2),
        "2D_CHECKERBOARD": 2 * 4**2 / 3,
    }[name]
    known = Model("KNOWN", 0, 0, *[None] * 5, log_prob_kind="exact",
                  log_prob=lambda state, x: -jnp.sum(x**2, axis=-1) / 8 - jnp.log(8 * jnp.pi))  # fmt: skip
    expected = second / 8 + math.log(8 * math.pi) - target.entropy
    assert kl_exact(known, (), target) == pytest.approx(expected, abs=1e-9)


def test_far_from_a_curve_the_density_is_still_a_number(make):
    for name in ("2D_MOONS", "2D_SPIRALS", "2D_CIRCLES"):
        assert np.all(np.isfinite(make(name).log_prob(np.array([[30.0, -40.0], [0.0, 0.0]]))))


def test_only_what_has_no_closed_form_is_marked_so(make):
    kinds = {name: make(name).log_prob_kind for name in SHAPES}
    assert [name for name, kind in kinds.items() if kind != "exact"] == ["2D_MOONS", "2D_SPIRALS"]
    assert set(kinds.values()) == {"exact", "quadrature"}


def test_the_circles_rule_over_angles_is_their_closed_form():
    """Cells of noisy curves rest on the rule; here both are known."""
    circles = shapes.circles("2D_CIRCLES")
    nodes, weights = gauss_legendre(-3.75, 3.75, 60)
    points = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2)
    total = np.exp(circles.log_prob(points)) @ np.outer(weights, weights).ravel()
    assert circles.truth.cell_masses(Cells(circles.truth.box, 1, closed=False))[0] == pytest.approx(total, abs=1e-12)

"""Statistics of chains against closed forms: autoregressive courses, the spectrum of the moves, frozen chains."""

import jax
import numpy as np
import pytest
import scipy.stats
from arviz_stats.base import array_stats
from conftest import small_config
from test_lattice_moves import LATTICES, cluster_matrix, law, states, sweep_matrix

from kinds.bits.settings import Config
from models import MODELS, build, cluster_spectra, mixing, mixing_views
from models.lattice_spectra import exact_autocorrelations
from models.lattices import neighbours, rectangle
from targets import make_target


def autoregressive(phi, n_chains=64, n=20_000, seed=0):
    """Stationary courses [C, n] with x' = φ x + noise."""
    generator = np.random.default_rng(seed)
    x, found = generator.normal(size=n_chains), np.empty((n_chains, n))
    for i in range(n):
        x = phi * x + np.sqrt(1 - phi**2) * generator.normal(size=n_chains)
        found[:, i] = x
    return found


@pytest.mark.parametrize("phi", [-0.4, 0.0, 0.5, 0.9])
def test_tau_and_ess_of_an_autoregressive_course(phi):
    values, known = autoregressive(phi), (1 + phi) / (1 - phi)
    tau = mixing.tau_of(values)
    assert tau.trusted
    # The window leaves out what is beyond 5 τ: less than e⁻⁵ of it.
    assert tau.value == pytest.approx(known, abs=4 * tau.error + 0.01 * known)
    bulk, tail = mixing.ess_of(values)
    assert bulk == pytest.approx(values.size / known, rel=0.05)
    of_quantiles = [array_stats.ess(values, method="quantile", prob=prob) for prob in (0.05, 0.95)]
    assert tail == pytest.approx(float(min(of_quantiles)))
    # What these are worth by our own window: of whether a value lies below the quantile.
    below = [(values <= np.quantile(values, prob)).astype(float) for prob in (0.05, 0.95)]
    assert tail == pytest.approx(min(values.size / mixing.tau_of(each).value for each in below), rel=0.05)
    assert max(mixing.r_hats(values)) < 1.001


def test_the_error_of_tau_is_that_of_repeated_courses():
    taus = [mixing.tau_of(autoregressive(0.8, 4, 2000, seed)) for seed in range(200)]
    spread, said = np.std([tau.value for tau in taus]), np.mean([tau.error for tau in taus])
    # The deviation of 200 values is known to 1/√400 of itself; four of that.
    assert said == pytest.approx(spread, rel=0.2)


def test_chains_that_are_too_short_are_distrusted():
    assert not mixing.tau_of(autoregressive(0.99, 8, 2000)).trusted
    assert mixing.tau_of(autoregressive(0.5, 8, 2000)).trusted


def test_r_hat_sees_levels_and_widths():
    values = autoregressive(0.3, 8, 1000)
    shifted = values + np.arange(8)[:, None]
    assert mixing.r_hats(shifted)[0] > 1.5
    # Chains of one level and unequal widths: only the folded one sees it.
    wide = values * np.where(np.arange(8) < 4, 1, 4)[:, None]
    bulk, folded = mixing.r_hats(wide)
    assert bulk < 1.01 < 1.1 < folded


def split_r_hat(values):
    """R̂ of halves of chains [C, T] with Gaussian scores of ranks, written down from Vehtari et al. (2021, §3)."""
    half = values.shape[1] // 2
    halves = np.concatenate([values[:, :half], values[:, -half:]])
    z = scipy.stats.norm.ppf((scipy.stats.rankdata(halves).reshape(halves.shape) - 0.375) / (halves.size + 0.25))
    within, between = z.var(1, ddof=1).mean(), half * z.mean(1).var(ddof=1)
    return np.sqrt(((half - 1) / half * within + between / half) / within)


@pytest.mark.parametrize("apart", [0.0, 0.2])
def test_r_hats_are_those_of_their_definition(apart):
    values = autoregressive(0.6, 6, 500) * np.linspace(1, 1.5, 6)[:, None] + apart * np.arange(6)[:, None]
    bulk, folded = mixing.r_hats(values)
    assert bulk == pytest.approx(split_r_hat(values), rel=1e-6)
    assert folded == pytest.approx(split_r_hat(np.abs(values - np.median(values))), rel=1e-6)


def test_burn_in_is_where_chains_agree_for_good():
    values = autoregressive(0.3, 32, 4000) + 30 * np.exp(-np.arange(4000) / 100) * np.linspace(-1, 1, 32)[:, None]
    found = mixing.burn_in(values)
    # The starts differ by less than a tenth of a deviation after 100 ln 300 = 570 sweeps.
    assert 250 < found < 900
    assert mixing.burn_in(values[:, :300]) is None


def test_a_quantity_that_never_moves_is_stuck_and_has_no_ess():
    m = np.repeat(np.where(np.arange(8) % 2, 1.0, -1.0)[:, None], 101, axis=1)
    found = mixing.diagnosed(mixing.Recording({"m": m}, 0.0, 1e-3))
    for name in ("m", "|m|"):
        own = found["quantities"][name]
        assert own["stuck"]
        assert own["ess_bulk"] is own["tau"] is own["r_hat_bulk"] is own["burn_in"] is None
    assert found["sign_flips"] == 0
    assert mixing.times(mixing.Recording({"m": m}, 0.0, 1e-3), found)["ess_per_second"] == {"m": None, "|m|": None}


def test_only_what_does_not_move_is_called_stuck():
    """−1 stands for stuck chains, and 0 for too few sweeps to know."""
    moving = np.random.default_rng(0).normal(size=(4, 9))
    frozen = np.repeat(moving[:, :1], 40, axis=1)
    found = mixing_views.courses(mixing.Recording({"e": moving}, 0.1, 1e-3))
    assert found["per_second e"] == 0
    assert mixing_views.courses(mixing.Recording({"e": frozen}, 0.1, 1e-3))["per_second e"] == -1


def test_a_second_buys_the_worth_of_the_sweeps_that_it_has_room_for():
    values = autoregressive(0.5, 8, 2001)
    # A sweep of all eight chains takes 4 ms: the second half, 1 000 sweeps, takes 4 s.
    recording = mixing.Recording({"e": values}, 0.5, 4e-3)
    found = mixing.diagnosed(recording)
    times = mixing.times(recording, found)
    assert times["seconds_per_sweep"] == pytest.approx(4e-3 / 8)
    assert times["ess_per_second"]["e"] == pytest.approx(mixing.ess_of(values[:, 1001:])[0] / 4)


def test_signs_flip_across_zeros():
    values = np.array([[1.0, 0.0, -1.0, 0.0, -1.0, 1.0]])
    assert mixing.sign_flips(values) == pytest.approx(1000 * 2 / 5)


@pytest.mark.parametrize("metropolis", [False, True])
@pytest.mark.parametrize("name", ["2×3 free", "3×3 torus", "3×3 random signs"])
def test_exact_autocorrelations_are_those_of_the_transition_matrix(name, metropolis):
    lattice = LATTICES[name]
    matrix, p = sweep_matrix(name, metropolis), law(lattice)
    found = exact_autocorrelations(lattice, metropolis, random_order=False)
    values = {"m": (2.0 * states(lattice) - 1).sum(1), "e": -np.log(p)}
    values["|m|"] = np.abs(values["m"])
    for quantity, f in values.items():
        f = f - p @ f
        moved, rho = f, []
        for _ in range(min(20, len(found[quantity]))):
            rho.append(p @ (f * moved) / (p @ f**2))
            moved = matrix @ moved
        np.testing.assert_allclose(found[quantity][: len(rho)], rho, atol=1e-5)


@pytest.mark.parametrize("name", ["2×3 free", "3×3 free", pytest.param("3×3 torus", marks=pytest.mark.slow)])
def test_exact_courses_of_clusters_are_those_of_the_transition_matrix(name):
    lattice = LATTICES[name]
    classes, found = cluster_spectra.transitions(lattice)
    # From each state of a class into every class: by the kernel's own bonds and clusters, over all sets of bonds.
    known = np.stack([np.bincount(classes, row, len(found)) for row in cluster_matrix(lattice)])
    np.testing.assert_allclose(found[classes], known, atol=1e-6)


def test_probabilities_of_cluster_moves_sum_to_1_however_strong_the_coupling():
    for coupling in (0.0, 0.4406868, 20.0):
        _, matrix = cluster_spectra.transitions(rectangle(3, 4, True, coupling))
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-12)
    # Without a coupling every sweep draws all spins anew.
    found = cluster_spectra.exact_autocorrelations(rectangle(3, 4, True, 0.0))
    np.testing.assert_allclose(found["e"][1:], 0, atol=1e-12)


def test_where_clusters_have_no_known_course_none_is_drawn():
    for lattice in (LATTICES["3×3 random signs"], LATTICES["3×3 antiferromagnet"], rectangle(16, 16, True, 0.4)):
        assert set(cluster_spectra.exact_autocorrelations(lattice)) == {"m"}
    assert exact_autocorrelations(rectangle(16, 16, True, 0.4), metropolis=False, random_order=False) == {}


@pytest.mark.parametrize(
    "family", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("GIBBS", "METROPOLIS")), "SWENDSEN_WANG"]
)
def test_exact_courses_of_4_by_4_are_those_of_long_chains(family):
    model = model_of(family, 8000, 4, 4, recorded_sweeps=8000, recorded_chains=64)
    recording = model.record(jax.jit(model.init)(jax.random.key(3), None))
    assert set(recording.autocorrelation) == {"e", "m", "|m|"}
    for name, values in mixing.quantities(recording).items():
        rho, tau = recording.autocorrelation[name], mixing.tau_of(values[:, 500:])
        if abs(rho[-1]) < 1e-3:
            assert tau.value == pytest.approx(2 * rho.sum() - 1, abs=4 * tau.error + 0.01 * tau.value), name
        # By Bartlett a value of ρ is known to √(τ/n) at most.
        error = np.sqrt(tau.value / values[:, 500:].size)
        found = mixing.autocorrelation(values[:, 500:])[: min(len(rho), 50)]
        np.testing.assert_allclose(found, rho[: len(found)], atol=4.5 * error + 1e-4)


def test_random_order_takes_n_moves_a_sweep():
    # Four independent spins at K = 0 under the heat bath: a sweep of four moves leaves a spin alone with probability
    # (3/4)⁴.
    lattice = rectangle(2, 2, False, 0.0)
    found = exact_autocorrelations(lattice, metropolis=False, random_order=True)
    np.testing.assert_allclose(found["m"], 0.75 ** (4 * np.arange(len(found["m"]))), atol=1e-12)


def model_of(family, n_steps, height=3, width=3, **settings):
    config = small_config(
        num_bins=0, target_type="BITS_ISING", bits=Config(height=height, width=width), n_steps=n_steps,
        **{family.lower(): MODELS[family].Config(**settings)},
    )  # fmt: skip
    return build(family, config, make_target(config))


def tau_of_spectrum(matrix, p, f):
    """1 + 2 Σ ρ(t) of a reversible or any matrix: ⟨f (1 + P) (1 − P)⁻¹ f⟩ over the variance, without the constant."""
    f = f - p @ f
    solved = np.linalg.solve(np.eye(len(p)) - matrix + p[None], f)
    return float(2 * (p @ (f * solved)) / (p @ f**2) - 1)


@pytest.mark.parametrize("family", ["GIBBS", "METROPOLIS", pytest.param("SWENDSEN_WANG", marks=pytest.mark.slow)])
def test_tau_of_3_by_3_is_that_of_the_transition_matrix(family):
    lattice = LATTICES["3×3 torus"]
    p = law(lattice)
    of_clusters = family == "SWENDSEN_WANG"
    matrix = cluster_matrix(lattice) if of_clusters else sweep_matrix("3×3 torus", family == "METROPOLIS")
    model = model_of(family, 8000, recorded_sweeps=8000, recorded_chains=64)
    recording = model.record(jax.jit(model.init)(jax.random.key(5), None))
    for name, f in {"e": -np.log(p), "m": (2.0 * states(lattice) - 1).sum(1)}.items():
        known = tau_of_spectrum(matrix, p, f)
        tau = mixing.tau_of(recording.values[name][:, 500:])
        assert tau.trusted
        assert tau.value == pytest.approx(known, abs=4 * tau.error + 0.01 * known), name


@pytest.mark.parametrize("order", ["checkerboard", "random"])
def test_the_acceptance_rate_is_the_exact_one(order):
    lattice = LATTICES["3×3 torus"]
    spins, (places, signs) = 2 * states(lattice) - 1, neighbours(lattice)
    along = 2 * lattice.coupling * spins * (signs * spins[:, places]).sum(-1)
    of_site = np.minimum(np.exp(-along), 1)
    if order == "checkerboard":
        of_site[along == 0] = 0.5
    accepted = of_site.mean(1)
    model = model_of("METROPOLIS", 2000, order=order, recorded_sweeps=2000, recorded_chains=64)
    recording = model.record(jax.jit(model.init)(jax.random.key(4), None))
    p = law(lattice)
    # With τ of the energy, on which it depends: about 4.
    error = np.sqrt(p @ (accepted - p @ accepted) ** 2 * 4 / (64 * 1000))
    assert recording.acceptance == pytest.approx(p @ accepted, abs=4 * error)
    assert mixing.diagnosed(recording)["acceptance"] == recording.acceptance
    if order == "checkerboard":
        assert recording.turned == pytest.approx(recording.acceptance, abs=0.005)
    assert model_of("GIBBS", 8).record(jax.jit(model.init)(jax.random.key(4), None)).acceptance is None


@pytest.mark.parametrize("family", ["GIBBS", "METROPOLIS", "SWENDSEN_WANG"])
def test_long_runs_are_unbiased_at_the_critical_coupling(family):
    model = model_of(family, 4000, 4, 4, recorded_sweeps=4000, recorded_chains=64)
    recording = model.record(jax.jit(model.init)(jax.random.key(2), None))
    values = recording.values["e"][:, 500:]
    error = np.std(values) * np.sqrt(mixing.tau_of(values).value / values.size)
    assert values.mean() == pytest.approx(-1.565624, abs=4 * error)
    sizes = np.abs(recording.values["m"][:, 500:])
    error = np.std(sizes) * np.sqrt(mixing.tau_of(sizes).value / sizes.size)
    assert sizes.mean() == pytest.approx(0.843860, abs=4 * error)

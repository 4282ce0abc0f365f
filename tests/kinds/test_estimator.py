"""The KLD of samples against what is exact, and the quadrature behind that, on trained models of each family."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import NUMBERS, small_config
from divergences import kl_exact

import metrics
from benchmark.engine.intervals import advance
from benchmark.engine.records import Feed, streams
from kinds.real.cells import score_cells
from models import MODELS, latent, latent_density, vae
from models.boltzmann_density import log_partition_gaussian
from targets import make_target

# Of 200 the quantiles below would be the second outermost draw, which is as often too near as not.
N_MULTINOMIALS = 2000
N_SAMPLES = 4_000
KINDS = {
    "binned": dict(target_type="1D_TRIMODAL", num_bins=12),
    "1-D": dict(target_type="1D_QUADMODAL", num_bins=0, kld_cells=24),
    "2-D": dict(target_type="2D_MIX_GAUSS", num_bins=0, kld_cells=10),
}
# With bins more would leave nothing to tell a model from the target by.
STEPS = {"binned": 150, "1-D": 3_000, "2-D": 3_000}
SETTINGS = dict(
    **dict(parameter_budget=200, hidden_layers=1, batch_size=64),
    **dict(vae=vae.Config(learn_sigma=True)),
)


def built(name, kind):
    config = small_config(**KINDS[kind], **SETTINGS)
    target = make_target(config)
    return config, target, MODELS[name].build(config, target)


# What has a density, of which there is something to know but from samples.
CASES = [(name, kind) for name, kind in itertools.product(NUMBERS, KINDS) if built(name, kind)[2].log_prob]

# One training a case, shared by its tests on one worker; compiled as shipped, since quadrature takes long otherwise.
pytestmark = [pytest.mark.shipped_compilation, pytest.mark.slow]
each_case = pytest.mark.parametrize(
    ("name", "kind"), [pytest.param(*case, marks=pytest.mark.xdist_group(f"{case}")) for case in CASES]
)
TRAINED = {}


def trained(name, kind):
    if (name, kind) not in TRAINED:
        config, target, model = built(name, kind)
        feed = Feed(lambda key, n: target.codec.encode(target.sample(key, n)), None, config.batch_size)
        keys = jax.tree.map(lambda leaf: leaf[0], streams(3, 1))

        @jax.jit
        def run(keys):
            state = model.init(keys.key_init, feed.rows_for_init(keys.key_data, None))
            state, _, _ = advance(model, feed)(state, keys, None, 0, STEPS[kind])
            return state, target.codec.decode(model.sample(keys.key_eval, state, N_SAMPLES))

        state, x = run(keys)
        TRAINED[name, kind] = config, target, model, jax.tree.map(np.asarray, state), np.asarray(x)
    return TRAINED[name, kind]


def log_q(model, state, target, x):
    """The model's log density of data x [m, D], in float64."""
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: leaf.astype(np.float64) if leaf.dtype == np.float32 else leaf, state)
        events = jnp.eye(target.event.size) if x is None else jnp.asarray(x)
        return np.asarray(model.log_prob(wide, events)) - target.codec.log_volume


def cell_masses(model, state, target, cells):
    """The model's own: enumerated with bins, else Gauss–Legendre over every cell, and what is left outside."""
    if target.kind == "bins":
        return np.exp(log_q(model, state, target, None))
    # Mixtures of many components have narrow ones.
    nodes, weights = np.polynomial.legendre.leggauss(8 if target.dim == 2 else 64)
    per_axis = []
    for axis, edges in enumerate(cells.edges):
        if model.log_prob_steps:
            # A piece ends wherever the density jumps.
            jumps = np.linspace(*target.truth.box[axis], model.log_prob_steps + 1, dtype=np.float32)
            edges = np.union1d(edges, np.clip(jumps, edges[0], edges[-1]))
        half = np.diff(edges)[:, None] / 2
        per_axis.append((((edges[1:] + edges[:-1])[:, None] / 2 + half * nodes).ravel(), (half * weights).ravel()))
    points = np.stack(np.meshgrid(*(x for x, _ in per_axis), indexing="ij"), axis=-1).reshape(-1, target.dim)
    volume = functools.reduce(np.multiply.outer, [w for _, w in per_axis]).ravel()
    index = cells.index(points.astype(np.float32))
    masses = np.bincount(index, volume * np.exp(log_q(model, state, target, points)), minlength=cells.n_cells)
    if target.dim == 1:
        # What lies outside is below or above: integrated well into the tails.
        for cell, (low, high) in enumerate(
            ((-9.0, cells.edges[0][0]), (cells.edges[0][-1], 9.0)), start=cells.n_per_axis
        ):
            x, w = np.polynomial.legendre.leggauss(200)
            x = low + (high - low) * (x + 1) / 2
            masses[cell] = np.sum(w * (high - low) / 2 * np.exp(log_q(model, state, target, x[:, None])))
    else:
        masses[-1] = max(0.0, 1 - masses.sum())
    return masses


@each_case
def test_the_models_own_samples_score_as_draws_from_its_exact_masses(name, kind):
    config, target, model, state, x = trained(name, kind)
    cells = score_cells(target.truth, config.kld_cells)
    p, q = target.truth.cell_masses(cells), cell_masses(model, state, target, cells)
    assert q.sum() == pytest.approx(1, abs=1e-4)
    draws = np.random.default_rng(0).multinomial(N_SAMPLES, q / q.sum(), size=N_MULTINOMIALS)
    low, high = np.quantile(metrics.kld(p, draws, config.kld_epsilon), (0.005, 0.995))
    assert low <= metrics.kld(p, metrics.cell_counts(cells.index(x), cells.n_cells), config.kld_epsilon) <= high
    # And the range is narrow enough to tell it from the target or, where it is as good as that, from a cell beside it.
    generator = np.random.default_rng(1)
    others = [generator.multinomial(N_SAMPLES, masses) for masses in (p, np.roll(q / q.sum(), 1))]
    assert not np.all([low <= metrics.kld(p, counts, config.kld_epsilon) <= high for counts in others])


@each_case
def test_cells_never_tell_more_than_the_density(name, kind):
    config, target, model, state, _ = trained(name, kind)
    exact = kl_exact(model, state, target)
    cells = score_cells(target.truth, config.kld_cells)
    q = cell_masses(model, state, target, cells)
    of_cells = metrics.kld(target.truth.cell_masses(cells), q / q.sum(), 0.0)
    # Data processing: merging outcomes can only lose divergence. With bins nothing is merged.
    assert 0 < of_cells <= exact + 1e-6
    if target.kind == "bins":
        assert of_cells == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.xdist_group(f"('VAE', '{kind}')")) for kind in KINDS]
)
def test_the_quadrature_over_the_latent_has_converged(kind, monkeypatch):
    config, target, _, state, _ = trained("VAE", kind)

    def with_grid(reach, factor):
        monkeypatch.setattr(latent, "REACH", reach)
        monkeypatch.setattr(latent_density, "_Z_SPACING", tuple(factor * spacing for spacing in spacings))
        return kl_exact(vae.build(config, target), state, target)

    spacings, reach = latent_density._Z_SPACING, latent.REACH
    shipped = with_grid(reach, 1)
    assert with_grid(reach, 0.5) == pytest.approx(shipped, abs=1e-5)
    assert with_grid(reach + 2, 1) == pytest.approx(shipped, abs=1e-5)
    # A test that can fail: a coarser grid in a smaller disc is off by more, or knows that it is.
    coarse = with_grid(1.0, 3)
    assert math.isnan(coarse) or abs(coarse - shipped) > 1e-5


@pytest.mark.xdist_group("('VAE', '1-D')")
def test_a_rule_that_is_too_coarse_is_made_finer(monkeypatch):
    config, target, _, state, _ = trained("VAE", "1-D")
    shipped = kl_exact(vae.build(config, target), state, target)
    monkeypatch.setattr(latent_density, "_Z_SPACING", tuple(20 * spacing for spacing in latent_density._Z_SPACING))
    monkeypatch.setattr(latent_density, "_FINEST", 0.0)
    assert math.isnan(kl_exact(vae.build(config, target), state, target))
    # With as many steps as it takes it is known, as well as is promised.
    monkeypatch.setattr(latent_density, "_FINEST", 100.0)
    assert kl_exact(vae.build(config, target), state, target) == pytest.approx(shipped, abs=1e-3 * (0.1 + shipped))


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.xdist_group(f"('RBM', '{kind}')")) for kind in ("1-D", "2-D")]
)
def test_the_quadrature_of_the_partition_function_has_converged(kind):
    _, _, _, state, _ = trained("RBM", kind)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), state.average)
        shipped = float(log_partition_gaussian(params))
        assert float(log_partition_gaussian(params, nodes_per_sigma=8)) == pytest.approx(shipped, abs=1e-9)
        assert float(log_partition_gaussian(params, left_out=1e-15)) == pytest.approx(shipped, abs=1e-9)
        # Over a box that leaves out some of its mass the model would look better than it is.
        assert float(log_partition_gaussian(params, left_out=1e-2)) < shipped - 1e-6


@pytest.mark.parametrize(
    ("name", "kind"),
    [pytest.param(*case, marks=pytest.mark.xdist_group(f"{case}")) for case in CASES if case[1] != "binned"],
)
def test_the_quadrature_under_the_target_resolves_a_trained_model(name, kind):
    _, target, model, state, _ = trained(name, kind)
    shipped = kl_exact(model, state, target)
    # Twice as many panels, at other places, over a tenth more of every component.
    parts = target.truth.parts
    finer = parts._replace(axes=parts.axes * 1.1, n_panels=2 * parts.n_panels + 1)
    assert kl_exact(model, state, target._replace(truth=target.truth._replace(parts=finer))) == pytest.approx(
        shipped, abs=2e-6
    )

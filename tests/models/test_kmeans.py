"""k-means against scikit-learn, and as the limit of EM; float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans
from test_gmm import rows
from threadpoolctl import threadpool_limits

from models import gmm, kmeans, mixtures
from targets import make_target

K = 6


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def started(x):
    centres = mixtures.k_means_plus_plus(jax.random.key(2), x, K)
    return kmeans.Params(jnp.zeros(K - 1), centres, jnp.ones(1))


def test_lloyds_iterations_are_scikit_learns():
    x = rows()
    params = started(jnp.asarray(x))
    # Threads that wait for each other take longer than one.
    with threadpool_limits(1):
        reference = KMeans(K, init=np.asarray(params.centres), n_init=1, algorithm="lloyd", tol=0).fit(x)
    step = jax.jit(lambda params: kmeans.lloyd_step(params, jnp.asarray(x), None, 1e-12))
    inertias = []
    for _ in range(40):
        params, inertia = step(params)
        inertias.append(float(inertia))
    np.testing.assert_allclose(params.centres, reference.cluster_centers_, atol=1e-12)
    assert inertias[-1] == pytest.approx(reference.inertia_ / len(x), rel=1e-12)
    assert np.diff(inertias).max() <= 1e-14
    # What the balls are made of.
    log_weights, _, covariances = kmeans.natural(params)
    np.testing.assert_allclose(np.exp(log_weights), np.bincount(reference.labels_) / len(x), rtol=1e-12)
    np.testing.assert_allclose(covariances, np.tile(inertias[-1] / 2 * np.eye(2), (K, 1, 1)), rtol=1e-10)


def test_variance_belongs_to_the_centres_of_the_same_step():
    x = jnp.asarray(rows())
    params = started(x)
    labels = np.argmin(np.sum((x[:, None] - params.centres[None]) ** 2, -1), axis=1)
    params, _ = kmeans.lloyd_step(params, x, None, 1e-12)
    about = np.mean(np.sum((x - params.centres[labels]) ** 2, -1))
    assert float(params.variance[0]) == pytest.approx(about / 2, rel=1e-12)


def test_em_assigns_as_k_means_does_where_the_variance_goes_to_nothing():
    x = jnp.asarray(rows())
    start = started(x)
    expected = kmeans.lloyd_step(start, x, None, 1e-12)[0].centres
    labels = np.argmin(np.sum((x[:, None] - start.centres[None]) ** 2, -1), axis=1)
    apart = []
    for deviation in (1.0, 0.1, 1e-3):
        covariances = jnp.tile(deviation**2 * jnp.eye(2)[None], (K, 1, 1))
        params = gmm.from_natural(jnp.log(jnp.arange(1.0, K + 1) / 21), start.centres, covariances, "spherical")
        apart.append(float(jnp.abs(gmm.em_step(params, x, "spherical", 1e-12)[0].means - expected).max()))
    assert apart[0] > apart[1] > apart[2]
    # A row so near a border that unequal weights still move it would lie within σ² ln 6 / distance, 1e-6, of it.
    assert apart[2] < 1e-12
    np.testing.assert_array_equal(mixtures.nearest(*gmm.gaussians(params, "spherical"), x), labels)


def test_a_centre_without_rows_stays():
    x = jnp.asarray(rows())
    params = started(x)
    params = params._replace(centres=params.centres.at[1].set(99.0))
    after, _ = kmeans.lloyd_step(params, x, None, 1e-12)
    np.testing.assert_array_equal(after.centres[1], params.centres[1])
    assert all(np.all(np.isfinite(leaf)) for leaf in after)


def test_close_centres_keep_their_rows_apart_in_float32():
    """Against float64, in which nothing is in doubt: 3 000 centres, closer to each other than most margins."""
    rng = np.random.default_rng(0)
    modes = rng.choice([-2.0, 0.0, 2.0], size=(16_384, 1))
    x = (modes + 0.35 * rng.normal(size=modes.shape)).astype(np.float32)
    start = rng.permutation(x)[:3000]
    courses = []
    for dtype, wide in ((np.float32, False), (np.float64, True)):
        with jax.enable_x64(wide):
            points = jnp.asarray(x, dtype)
            params = kmeans.Params(jnp.zeros(2999, dtype), jnp.asarray(start, dtype), jnp.ones(1, dtype))
            step = jax.jit(lambda params, points=points: kmeans.lloyd_step(params, points, None, 1e-12))
            inertias = []
            for _ in range(8):
                params, inertia = step(params)
                inertias.append(float(inertia))
        courses.append(inertias)
    # A distance d of about 5e-4 is off by ε|x| ≈ 2e-7, its square by a thousandth.
    np.testing.assert_allclose(*courses, rtol=1e-3)


def test_a_centre_that_is_a_row_has_it():
    with jax.enable_x64(False):
        x = jnp.linspace(-3, 3, 257)[:, None] * jnp.array([[1.0, 0.3]])
        params = kmeans.Params(jnp.zeros(256), x, jnp.ones(1))
        counts, inertia, _ = jax.jit(kmeans.assign)(params, x)
    np.testing.assert_allclose(counts, 1, rtol=1e-6)
    assert float(inertia) < 1e-12


def test_the_picture_shows_nearest_centres(make_config):
    with jax.enable_x64(False):
        config = make_config(target_type="2D_GMM", num_bins=0, parameter_budget=18)
        target = make_target(config)
        model = kmeans.build(config, target)
        data = target.sample(jax.random.key(0), 2000)
        state = model.init(jax.random.key(1), data)
        for _ in range(5):
            state, _ = jax.jit(model.step)(state, data, ())
        rows = target.sample(jax.random.key(2), 1000)
        arrays = model.views["gmm_vs_kmeans"].arrays(state, rows)
    centres = np.asarray(state.params.centres, np.float64)
    # Shares differ, so that the balls' densities would assign otherwise.
    assert np.ptp(np.asarray(arrays["weights"])) > 0.02

    def squares(x):
        return ((np.asarray(x, np.float64)[:, None] - centres) ** 2).sum(-1)

    np.testing.assert_array_equal(arrays["assignment"], np.argmin(squares(target.grid(300)[0]), axis=1))
    assert float(arrays["inertia"]) == pytest.approx(squares(rows).min(1).mean(), rel=1e-5)

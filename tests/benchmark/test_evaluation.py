import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from sklearn.datasets import load_iris

import metrics
from kinds.exact import mean_log_likelihoods
from kinds.real import judging
from kinds.real.cells import score_cells
from kinds.real.judging import N_FLOOR_DRAWS, make_judge
from models import MODELS
from targets import make_target

BETA = scipy.stats.beta(2, 5, loc=-2.5, scale=5)
N_NUMPY = 400


def judged(make_config, **fields):
    config = make_config(**fields)
    target = make_target(config)
    return config, target, make_judge(target, config)


def kld_by_hand(p, q, epsilon):
    q = (q + epsilon) / (1 + len(p) * epsilon)
    return sum(p[i] * np.log(p[i] / q[i]) for i in range(len(p)) if p[i] > 0)


def assert_same_mean(floor, values):
    """Two estimates of one mean from independent draws: within five standard errors of their difference."""
    error = values.std() * np.sqrt(1 / len(values) + 1 / N_FLOOR_DRAWS)
    assert abs(floor.mean - values.mean()) < 5 * error
    # The ends are quantiles of 200 draws: each lies where 0 to 7.5 % of the true law are further out (five errors).
    low, high = (scipy.stats.percentileofscore(values, end) / 100 for end in (floor.low, floor.high))
    assert low < 0.08
    assert high > 0.92
    assert floor.low < floor.mean < floor.high


def test_floor_of_a_continuous_target_is_that_of_an_independent_monte_carlo(make_config):
    n = 400
    config, _, judge = judged(make_config, target_type="1D_BETA", num_bins=0, n_eval_samples=n)
    edges = np.linspace(-2.5, 2.5, 51)
    p = np.append(np.diff(BETA.cdf(edges)), [0, 0])
    quantiles = BETA.ppf((np.arange(n) + 0.5) / n)
    x = BETA.rvs((N_NUMPY, n), random_state=np.random.default_rng(0))
    klds = [kld_by_hand(p, np.append(np.histogram(row, edges)[0] / n, [0, 0]), config.kld_epsilon) for row in x]
    assert_same_mean(judge.floors["kld"], np.array(klds))
    assert_same_mean(judge.floors["wasserstein"], np.abs(np.sort(x) - quantiles).mean(-1))


def test_floor_with_bins_is_that_of_an_independent_monte_carlo(make_config):
    n, n_bins = 400, 8
    config, _, judge = judged(make_config, target_type="1D_BETA", num_bins=n_bins, n_eval_samples=n)
    centres = -2.5 + (np.arange(n_bins) + 0.5) * 5 / n_bins
    p = np.diff(BETA.cdf(np.linspace(-2.5, 2.5, n_bins + 1)))
    np.testing.assert_allclose(judge.masses, p, atol=1e-12)
    generator = np.random.default_rng(1)
    counts = generator.multinomial(n, p, size=N_NUMPY)
    assert_same_mean(judge.floors["kld"], np.array([kld_by_hand(p, c / n, config.kld_epsilon) for c in counts]))
    cells = np.floor((BETA.ppf((np.arange(n) + 0.5) / n) + 2.5) / 5 * n_bins).astype(int)
    x = np.stack([np.repeat(centres, c) for c in counts])
    assert_same_mean(judge.floors["wasserstein"], np.abs(x - centres[cells]).mean(-1))


def test_floor_in_2d_is_that_of_an_independent_monte_carlo(make_config):
    n = 300
    config, _, judge = judged(make_config, target_type="2D_MIX_GAUSS", num_bins=0, n_eval_samples=n, kld_cells=6)
    generator = np.random.default_rng(2)

    def rows(m):
        return generator.choice([-1.5, 1.5], (m, 2)) + 0.5 * generator.normal(size=(m, 2))

    edges = np.linspace(-3.5, 3.5, 7)
    side = np.diff(scipy.stats.norm.cdf(edges[:, None], [-1.5, 1.5], 0.5).mean(-1))
    p = np.append(np.outer(side, side).ravel(), 1 - side.sum() ** 2)
    angles = np.pi * (np.arange(64) + 0.5) / 64
    axes = np.stack([np.cos(angles), np.sin(angles)])
    # A reference of NumPy's own; both are large enough for their noise, about 0.01, to vanish beside a draw's.
    reference = np.quantile(rows(100_000) @ axes, (np.arange(n) + 0.5) / n, axis=0)
    klds, distances = [], []
    for _ in range(N_NUMPY):
        x = rows(n)
        inside = np.histogram2d(*x.T, bins=(edges, edges))[0].ravel() / n
        klds.append(kld_by_hand(p, np.append(inside, 1 - inside.sum()), config.kld_epsilon))
        distances.append(np.abs(np.sort(x @ axes, axis=0) - reference).mean())
    assert_same_mean(judge.floors["kld"], np.array(klds))
    assert_same_mean(judge.floors["wasserstein"], np.array(distances))


def test_kld_floor_is_half_a_cell_a_sample_where_all_cells_are_filled(make_config):
    """2n·KL(P ‖ Q̂) tends to χ² with K − 1 degrees of freedom, hence a mean of (K − 1)/2n."""
    n, n_bins = 20_000, 10
    _, _, judge = judged(make_config, target_type="1D_QUADMODAL", num_bins=n_bins, n_eval_samples=n)
    # The next order is (Σ 1/pᵢ − 1)·O(1/n²): below 1 % of the first where every cell expects 100 samples or more.
    assert judge.masses.min() * n > 100
    expected = (n_bins - 1) / (2 * n)
    # A χ² of K − 1 degrees has deviation √(2(K − 1)); the mean of 200 draws then 3.3 % of itself. Five of those.
    error = np.sqrt(2 / (n_bins - 1) / N_FLOOR_DRAWS)
    assert judge.floors["kld"].mean == pytest.approx(expected, rel=5 * error + 0.01)
    low, high = scipy.stats.chi2(n_bins - 1).ppf((0.025, 0.975)) / (2 * n)
    assert judge.floors["kld"].low == pytest.approx(low, rel=0.4)
    assert judge.floors["kld"].high == pytest.approx(high, rel=0.25)


def test_a_floor_keeps_what_a_median_over_seeds_needs(make_config):
    """With cells that are seldom filled an empty one costs ln(1/ε) of its mass: the mean lies above the median."""
    _, target, judge = judged(make_config, target_type="1D_TRIMODAL", num_bins=20, n_eval_samples=1000)
    floor = judge.floors["kld"]
    scores = [judge.scorer.score(judge.perfect(i)[0])["kld"] for i in range(N_FLOOR_DRAWS)]
    assert target.event.size == 20
    assert floor.median == pytest.approx(np.median(scores))
    assert floor.mean == pytest.approx(np.mean(scores))
    assert floor.median < floor.mean
    np.testing.assert_allclose(floor.quantiles, np.quantile(scores, np.linspace(0, 1, 41)))
    assert floor.quantiles[20] == pytest.approx(floor.median)
    assert list(floor) == [floor.median, *np.quantile(scores, (0.025, 0.975))]


def test_more_samples_have_a_lower_floor(make_config):
    few, many = (
        judged(make_config, target_type="1D_POISSON", num_bins=8, n_eval_samples=n)[2].floors for n in (100, 1600)
    )
    for metric in ("kld", "wasserstein"):
        assert many[metric].high < few[metric].mean


def test_a_floor_is_fixed_by_the_seed(make_config):
    fields = dict(target_type="1D_BETA", num_bins=8, n_eval_samples=50)
    first = judged(make_config, **fields)[2].floors
    assert judged(make_config, num_seeds=1, batch_size=3, **fields)[2].floors == first
    assert judged(make_config, seed=43, **fields)[2].floors != first


@pytest.mark.parametrize(
    "fields",
    [
        dict(target_type="1D_TRIMODAL", num_bins=0),
        dict(target_type="1D_TRIMODAL", num_bins=0, kld_cells=7, kld_epsilon=1e-3),
        dict(target_type="1D_TRIMODAL", num_bins=9),
        dict(target_type="2D_GMM", num_bins=0),
    ],
    ids=str,
)
def test_the_scorer_measures_what_numpy_recomputes(fields, make_config, monkeypatch):
    n = 250
    monkeypatch.setattr(judging, "N_REFERENCE_ROWS", 10_000)
    config, target, judge = judged(make_config, n_eval_samples=n, **fields)
    generator = np.random.default_rng(3)
    # Two seeds of a model that is off, some of it outside the box.
    x = (1.3 * np.asarray(target.sample(jax.random.key(4), 2 * n)) + 0.2).reshape(2, n, target.dim)
    x[:, 0] = generator.normal(0, 50, (2, target.dim))
    x = np.stack([np.asarray(target.as_compared(jnp.asarray(rows))) for rows in x])
    scores = [judge.scorer.score(rows) for rows in x]

    cells = score_cells(target.truth, config.kld_cells)
    axes = metrics.directions(target.dim)
    for seed, rows in enumerate(x):
        inside = np.histogramdd(rows, bins=cells.edges)[0].ravel()
        if cells.closed:
            outside = []
        elif target.dim == 1:
            outside = [np.sum(rows < cells.box[0, 0]), np.sum(rows > cells.box[0, 1])]
        else:
            outside = [n - inside.sum()]
        q = np.append(inside, outside) / n
        assert scores[seed]["kld"] == pytest.approx(kld_by_hand(judge.masses, q, config.kld_epsilon), rel=1e-9)
        projected = np.sort(rows @ axes.T, axis=0).T
        if target.dim == 1:
            exact = target.truth.quantile((np.arange(n) + 0.5) / n)[:, None]
            reference = np.asarray(target.as_compared(jnp.asarray(exact, jnp.float32))).T
        else:
            reference = judge.quantiles
        assert scores[seed]["wasserstein"] == pytest.approx(np.abs(projected - reference).mean(), rel=1e-5)
    assert tuple(scores[0]) == judge.scorer.metrics == ("kld", "wasserstein")


def test_the_2d_reference_does_not_change_with_the_runs_seed(make_config, monkeypatch):
    monkeypatch.setattr(judging, "N_REFERENCE_ROWS", 20_000)
    fields = dict(target_type="2D_MIX_GAUSS", num_bins=0, n_eval_samples=100)
    one, other = (judged(make_config, seed=seed, **fields)[2].quantiles for seed in (1, 2))
    np.testing.assert_array_equal(one, other)
    # Its quantiles are the law's: along θ the mixture has deviation √(1.5² + 0.5²) whatever the direction.
    axes = metrics.directions(2)
    law = scipy.stats.norm(0, 0.5)
    means = axes @ np.array([(a, b) for a in (-1.5, 1.5) for b in (-1.5, 1.5)]).T
    levels = law.cdf(np.asarray(one)[:, :, None] - means[:, None, :]).mean(-1)
    # 20 000 rows: the empirical CDF is within 0.0191 of the law but once in a million (Dvoretzky–Kiefer–Wolfowitz).
    assert np.abs(levels - metrics.mid_ranks(100)).max() < 0.0191


@pytest.mark.parametrize(("decode", "soft"), [("hard", False), ("soft", True)])
def test_soft_decoding_is_asked_for_and_marked(decode, soft, make_config):
    _, _, judge = judged(make_config, target_type="1D_BETA", num_bins=8, decode=decode, n_eval_samples=20)
    assert judge.scorer.soft == soft
    half = jnp.asarray([[0.5, 0, 0, 0, 0, 0, 0, 0.5 - 1e-3]])
    decoded = float(judge.scorer.decode(half)[0, 0])
    assert decoded == pytest.approx(-1e-3 * 2.1875 if soft else -2.1875, abs=1e-5)


def test_soft_decoding_means_nothing_without_bins(make_config):
    _, _, judge = judged(make_config, target_type="1D_BETA", num_bins=0, decode="soft", n_eval_samples=20)
    assert not judge.scorer.soft


@pytest.fixture
def iris_file(tmp_path):
    def write(columns):
        path = tmp_path / f"iris{columns}.npy"
        np.save(path, load_iris().data[:, 2 : 2 + columns])
        return str(path)

    return write


@pytest.mark.parametrize(("columns", "num_bins"), [(1, 0), (1, 12), (2, 0)])
def test_custom_has_a_floor(columns, num_bins, iris_file, make_config):
    _, target, judge = judged(
        make_config, target_type="CUSTOM", custom_file=iris_file(columns), num_bins=num_bins, n_eval_samples=150
    )
    for floor in judge.floors.values():
        assert np.all(np.isfinite([*floor]))
        assert 0 < floor.low < floor.mean < floor.high
    # What scores meet is the held-out part, whatever families train on.
    held_out = target.as_compared(jnp.asarray(target.held_out_rows, jnp.float32))
    cells = score_cells(target.truth, 0)
    np.testing.assert_allclose(
        judge.masses, np.bincount(cells.index(held_out.astype(np.float32)), minlength=cells.n_cells) / 45, atol=1e-12
    )
    assert (judge.discretisation_error is None) == (num_bins == 0)


def test_custom_floor_is_that_of_an_independent_resampling(iris_file, make_config):
    n, n_bins = 150, 11
    config, target, judge = judged(
        make_config, target_type="CUSTOM", custom_file=iris_file(1), num_bins=n_bins, n_eval_samples=n
    )
    table = load_iris().data[:, 2].astype(np.float32)
    edges = score_cells(target.truth, 0).edges[0]
    # Off the edges, so that float32 rounding does not choose a row's side.
    assert np.abs(table[:, None] - edges[1:-1]).min() > 1e-5
    cell = np.clip(np.searchsorted(edges, table, side="right") - 1, 0, n_bins - 1)
    centres = (edges[1:] + edges[:-1]) / 2
    generator = np.random.default_rng(5)
    klds, distances = [], []
    for _ in range(N_NUMPY):
        order = generator.permutation(150)
        train, held_out = cell[order[:105]], cell[order[105:]]
        drawn = generator.choice(train, n)
        shares = [np.bincount(part, minlength=n_bins) / len(part) for part in (held_out, drawn)]
        klds.append(kld_by_hand(*shares, config.kld_epsilon))
        # 150 levels of 45 rows: the same inverse of the empirical CDF.
        quantiles = np.quantile(centres[held_out], (np.arange(n) + 0.5) / n, method="inverted_cdf")
        distances.append(np.abs(np.sort(centres[drawn]) - quantiles).mean())
    assert_same_mean(judge.floors["kld"], np.array(klds))
    assert_same_mean(judge.floors["wasserstein"], np.array(distances))


def test_mean_log_likelihoods_are_in_the_users_units(iris_file, make_config):
    """A standard normal of the standardised rows is N(mean, deviation²) of the rows."""
    config = make_config(target_type="CUSTOM", custom_file=iris_file(2), num_bins=0)
    target = make_target(config)
    model = (
        MODELS["VAE"]
        .build(config, target)
        ._replace(log_prob=lambda state, x: -0.5 * jnp.sum(x**2, axis=-1) - x.shape[-1] / 2 * np.log(2 * np.pi))
    )
    means = mean_log_likelihoods(model, None, target)
    mean, deviation = target.train_rows.mean(0), target.train_rows.std(0)
    for part, rows in (("train", target.train_rows), ("held_out", target.held_out_rows)):
        expected = scipy.stats.norm.logpdf(rows, mean, deviation).sum(-1).mean()
        assert means[part] == pytest.approx(expected, rel=1e-5)
    assert mean_log_likelihoods(model._replace(log_prob=None), None, target) is None


def test_no_mean_log_likelihoods_without_a_table(make_config):
    config = make_config()
    target = make_target(config)
    assert mean_log_likelihoods(MODELS["RBM"].build(config, target), None, target) is None


@pytest.mark.parametrize("fields", [
    dict(target_type="1D_BETA", num_bins=8), dict(target_type="1D_BETA", num_bins=0),
    dict(target_type="2D_MIX_GAUSS", num_bins=0),
], ids=["bins", "line", "plane"])  # fmt: skip
def test_what_pictures_need_of_a_sample_is_its_share_in_every_cell(make_config, fields):
    config, target, judge = judged(make_config, n_eval_samples=300, **fields)
    x = judge.perfect(0)[0]
    kept = judge.scorer.kept(x)
    assert kept.sum() == pytest.approx(1)
    cells = score_cells(target.truth, config.kld_cells)
    expected = np.histogramdd(x, cells.edges)[0].ravel() / len(x)
    np.testing.assert_allclose(kept[: len(expected)], expected, atol=1e-12)
    lost = judge.scorer.kept(np.full_like(x, np.nan))
    assert lost.shape == kept.shape
    assert np.isnan(lost).all()

"""What scores images: distances and shares against exact answers, and the judge's floors."""

import jax
import numpy as np
import pytest
import scipy.linalg
from conftest import small_config

from kinds.images import features, judging, scores
from kinds.images.settings import Config
from targets import make_target

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(70, 5)), RNG.normal(size=(90, 5)) @ RNG.normal(size=(5, 5)) + 0.5


def test_the_frechet_distance_is_its_formula():
    a, b = np.cov(X.T), np.cov(Y.T)
    expected = ((X.mean(0) - Y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    assert scores.frechet(X, Y) == pytest.approx(expected, rel=1e-10)
    assert scores.frechet(X, X) == pytest.approx(0, abs=1e-10)
    # A shift adds its squared length, and a factor s multiplies every deviation: (s − 1)² of each variance.
    assert scores.frechet(X, X + np.array([1, 2, 0, 0, 0])) == pytest.approx(5, rel=1e-10)
    assert scores.frechet(X, 3 * (X - X.mean(0)) + X.mean(0)) == pytest.approx(4 * np.trace(a), rel=1e-10)


def test_the_floor_in_closed_form_is_what_normal_samples_score():
    n, deviations = 400, np.array([2.0, 1.0, 0.5, 0.1])
    values = [
        scores.frechet(generator.normal(size=(n, 4)) * deviations, generator.normal(size=(n, 4)) * deviations)
        for generator in map(np.random.default_rng, range(300))
    ]
    # Of features with exactly this covariance.
    root = np.linalg.inv(np.linalg.cholesky(np.cov(X[:, :4].T)))
    rows = (X[:, :4] @ root.T) * deviations
    closed = scores.frechet_floor(rows, n)
    lam = deviations**2
    by_hand = (3 * lam.sum() + sum(a * b / (a + b) for i, a in enumerate(lam) for j, b in enumerate(lam) if i != j)) / n
    assert closed == pytest.approx(by_hand, rel=1e-10)
    # Five standard errors, and the next order in 1/n.
    assert np.mean(values) == pytest.approx(closed, abs=5 * np.std(values) / np.sqrt(300) + closed / n * 10)


def test_the_kernel_distance_is_the_full_u_statistic():
    def k(a, b):
        return (a @ b / 5 + 1) ** 3

    expected = np.mean([k(a, b) for i, a in enumerate(X) for j, b in enumerate(X) if i != j])
    expected += np.mean([k(a, b) for i, a in enumerate(Y) for j, b in enumerate(Y) if i != j])
    expected -= 2 * np.mean([k(a, b) for a in X for b in Y])
    # float32: the largest kernels are some hundreds.
    assert scores.kernel(X, Y) == pytest.approx(expected, rel=1e-4)


def test_the_kernel_distance_of_one_distribution_is_0_on_average():
    values = [scores.kernel(*np.split(np.random.default_rng(i).normal(size=(200, 6)), 2)) for i in range(200)]
    assert np.mean(values) == pytest.approx(0, abs=5 * np.std(values) / np.sqrt(200))
    assert min(values) < 0 < max(values)


def by_loops(real, fake, k):
    """Precision, recall, density and coverage, word by word."""

    def radius(rows, i):
        return sorted(np.linalg.norm(rows - rows[i], axis=1))[k]

    def within(centres, x):
        return [np.linalg.norm(centres[i] - x) <= radius(centres, i) for i in range(len(centres))]

    hits = np.array([within(real, x) for x in fake])
    recall = np.mean([any(within(fake, x)) for x in real])
    return hits.any(1).mean(), recall, hits.sum() / (k * len(fake)), hits.any(0).mean()


@pytest.mark.parametrize("k", [3, 5])
def test_shares_of_neighbours_are_their_definitions(k):
    precision, recall, density, coverage = by_loops(X, Y, k)
    assert scores.precision_recall(X, Y, k) == pytest.approx((precision, recall), abs=1e-12)
    assert scores.density_coverage(X, Y, k) == pytest.approx((density, coverage), abs=1e-12)


def test_density_and_coverage_of_one_distribution_are_what_is_expected():
    found = []
    for i in range(40):
        real, fake = np.split(np.random.default_rng(i).normal(size=(600, 3)), 2)
        found.append(scores.density_coverage(real, fake))
    density, coverage = np.transpose(found)
    assert density.mean() == pytest.approx(1, abs=5 * density.std() / np.sqrt(40))
    expected = scores.expected_coverage(300, 300)
    assert expected == pytest.approx(0.969, abs=1e-3)
    assert coverage.mean() == pytest.approx(expected, abs=5 * coverage.std() / np.sqrt(40))


def test_the_nearest_row():
    which, distance = scores.nearest(Y[:7], X)
    apart = np.linalg.norm(Y[:7, None] - X[None], axis=2)
    np.testing.assert_array_equal(which, apart.argmin(1))
    np.testing.assert_allclose(distance, apart.min(1), rtol=1e-5)


@pytest.fixture(scope="module")
def digits():
    config = small_config(target_type="IMAGE_DIGITS", num_bins=0, n_eval_samples=5_000)
    target = make_target(config)
    return config, target, judging.make_judge(target, config)


def test_the_classifier_is_good_and_always_the_same(digits):
    config, target, _ = digits
    # Compiled as the second time: what the module shares is compiled with every optimisation.
    features._made.cache_clear()
    found = features.features_of(target, config)
    assert found.accuracy > 0.95
    features._made.cache_clear()
    again = features.features_of(target, config)
    np.testing.assert_array_equal(found.of(target.held_out_rows), again.of(target.held_out_rows))
    own = found.of(target.train_rows)
    assert np.abs(own.mean(0)).max() < 1e-4
    assert own.var(0).mean() == pytest.approx(1, rel=1e-4)
    traced = np.asarray(found.trace(target.held_out_rows[:5]))
    np.testing.assert_allclose(traced, found.of(target.held_out_rows[:5]), rtol=1e-4, atol=1e-4)


def test_weights_are_kept_and_damaged_ones_made_anew(digits, tmp_path, monkeypatch):
    config, target, _ = digits
    monkeypatch.setattr(features, "_kept_at", lambda digest: tmp_path / "kept.npz")
    features._made.cache_clear()
    first = features.features_of(target, config).of(target.held_out_rows)
    kept = (tmp_path / "kept.npz").read_bytes()
    monkeypatch.setattr(features, "fit", None)  # is not called
    features._made.cache_clear()
    np.testing.assert_array_equal(features.features_of(target, config).of(target.held_out_rows), first)
    monkeypatch.undo()
    monkeypatch.setattr(features, "_kept_at", lambda digest: tmp_path / "kept.npz")
    (tmp_path / "kept.npz").write_bytes(kept[: len(kept) // 2])
    features._made.cache_clear()
    np.testing.assert_array_equal(features.features_of(target, config).of(target.held_out_rows), first)
    assert (tmp_path / "kept.npz").read_bytes() == kept


def test_without_labels_features_have_weights_at_random(tmp_path):
    np.save(tmp_path / "own.npy", RNG.random((60, 8, 8)))
    config = small_config(target_type="IMAGE_CUSTOM", num_bins=0, images=Config(file=str(tmp_path / "own.npy")))
    target = make_target(config)
    judge = judging.make_judge(target, config)
    assert judge.compared.features.accuracy is None
    assert judge.labels["kd_clf"] == "KD-clf (n = 18, random features)"
    closing = judging.make_closing(target, config, judge)
    assert "class_kld" not in closing.floors
    assert closing.score(target.train_rows[:18]).keys() == closing.floors.keys()


def test_as_many_are_scored_as_are_held_out(digits):
    config, target, judge = digits
    assert judge.scorer.n_samples == judging.n_scored(target, config) == 539
    assert judging.make_judge(target, config, 100).scorer.n_samples == 100
    assert judge.scorer.kept(target.train_rows).shape == (64, 64)


def test_the_floor_is_what_a_fresh_split_scores(digits):
    _, target, judge = digits
    x, held_out = judge.perfect(3)
    assert len(x) == len(held_out) == 539
    known = {row.tobytes() for row in np.concatenate([target.train_rows, target.held_out_rows])}
    assert {row.tobytes() for row in np.concatenate([x, held_out])} <= known
    # Images are compared with others than themselves (a few digits occur twice in the data).
    assert len({row.tobytes() for row in x} & {row.tobytes() for row in held_out}) < 5
    for name in ("kd_clf", "fd_clf"):
        floor = judge.floors[name]
        assert floor.low < floor.median < floor.high
    # An unbiased estimate is 0 on average: five standard errors of a mean of 100 draws, whose range is about 4σ.
    kd = judge.floors["kd_clf"]
    assert abs(kd.mean) < 5 * (kd.high - kd.low) / 4 / np.sqrt(judging.N_FLOOR_DRAWS)
    # Features are no normal variables, but near enough for the formula to have the size.
    assert judge.marks["fd_clf"]["closed-form floor"] == pytest.approx(judge.floors["fd_clf"].mean, rel=0.5)


def test_what_is_wrong_with_images_is_seen(digits):
    config, target, judge = digits
    closing = judging.make_closing(target, config, judge)
    real = target.train_rows[:539]
    good = judge.scorer.score(real) | closing.score(real)
    blurred = real.reshape(-1, 8, 8)
    blurred = ((blurred + np.roll(blurred, 1, 1) + np.roll(blurred, 1, 2)) / 3).reshape(-1, 64)
    ones = target.train_rows[target.truth.train_labels == 1]
    collapsed = np.resize(ones, (539, 64))
    for spoilt in (blurred, collapsed):
        scored = judge.scorer.score(spoilt) | closing.score(spoilt)
        for name in ("kd_clf", "fd_clf", "sliced_wasserstein"):
            assert scored[name] > judge.floors.get(name, closing.floors.get(name)).high
        assert scored["knn_coverage"] < closing.floors["knn_coverage"].low
    # What has one class of ten lacks nine: −Σ p ln ε of these, about nine tenths of 23 nats.
    assert closing.score(collapsed)["class_kld"] > 15
    assert good["class_kld"] <= closing.floors["class_kld"].high * 2


def test_repeated_rows_are_told_from_new_ones(digits):
    _, target, _ = digits
    parts = {"train": target.train_rows[:539], "held_out": target.held_out_rows}
    repeated = judging.distances(target.train_rows[:539], parts)
    assert repeated["train"] < 1e-3 < repeated["held_out"]


@pytest.mark.slow
def test_scores_of_fresh_images():
    config = small_config(target_type="IMAGE_SHAPES_RGBD", num_bins=0, n_eval_samples=60)
    target = make_target(config)
    judge = judging.make_judge(target, config)
    assert judge.scorer.n_samples == 60
    x, held_out = judge.perfect(0)
    assert held_out is None
    assert x.shape == (60, 4096)
    fresh = np.asarray(target.sample(jax.random.key(5), 60))
    assert judge.scorer.score(fresh)["kd_clf"] < 3 * judge.floors["kd_clf"].high
    # Five standard errors above chance, of three shapes and 2 000 images.
    assert judge.compared.features.accuracy > 1 / 3 + 5 * np.sqrt(2 / 9 / 2_000)

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import metrics
from kinds.real import cells as codecs
from kinds.real.cells import Cells
from kinds.real.judging import make_judge
from targets import make_target

BOX_1D = np.array([[-2.0, 3.0]])
BOX_2D = np.array([[-2.0, 3.0], [0.0, 1.0]])
# The next float32 beyond: what is just outside must not be taken for the edge.
ABOVE, BELOW = (float(np.nextafter(np.float32(edge), np.float32(to))) for edge, to in ((3, 9), (-2, -9)))


def index(cells, rows):
    return np.asarray(cells.index(jnp.asarray(rows, jnp.float32).reshape(len(rows), -1))).tolist()


def test_edges_and_centres():
    cells = Cells(BOX_2D, 5, closed=False)
    np.testing.assert_allclose(cells.edges, [[-2, -1, 0, 1, 2, 3], [0, 0.2, 0.4, 0.6, 0.8, 1]])
    np.testing.assert_allclose(cells.centres, [[-1.5, -0.5, 0.5, 1.5, 2.5], [0.1, 0.3, 0.5, 0.7, 0.9]])


@pytest.mark.parametrize(
    ("box", "closed", "n_cells"),
    [(BOX_1D, False, 5 + 2), (BOX_1D, True, 5), (BOX_2D, False, 25 + 1), (BOX_2D, True, 25)],
)
def test_two_overflow_cells_in_1d_and_one_in_2d(box, closed, n_cells):
    assert Cells(box, 5, closed).n_cells == n_cells


def test_inner_edges_belong_to_the_cell_above_and_the_box_has_both_its_ends():
    x = [-2.0, -1.5, -1.0, -0.5, 2.0, 2.5, 3.0]
    for closed in (False, True):
        assert index(Cells(BOX_1D, 5, closed), x) == [0, 0, 1, 1, 4, 4, 4]


@pytest.mark.parametrize("scale", [1.0, 0.1, 1e-3, 1e3])
def test_rounding_moves_nothing_over_the_ends_of_the_box(scale):
    """(x − low)/(high − low)·n can round up to n for x just below high."""
    box = BOX_1D * scale / 3
    low, high = np.float32(box[0])
    x = [low, np.nextafter(low, high), np.nextafter(high, low), high]
    assert index(Cells(box, 7, closed=False), x) == [0, 0, 6, 6]


def test_what_lies_outside_is_counted_apart_or_in_the_end_cells():
    below = [BELOW, -3.0, -1e4, -1e30, -3e38, -np.inf]
    above = [ABOVE, 4.0, 1e4, 1e30, 3e38, np.inf]
    assert index(Cells(BOX_1D, 5, closed=False), below) == [5] * 6
    assert index(Cells(BOX_1D, 5, closed=False), above) == [6] * 6
    assert index(Cells(BOX_1D, 5, closed=True), below) == [0] * 6
    assert index(Cells(BOX_1D, 5, closed=True), above) == [4] * 6


def test_2d_cells_are_row_major_with_one_overflow_cell_on_all_sides():
    cells = Cells(BOX_2D, 5, closed=False)
    assert index(cells, [[-2, 0], [-2, 0.99], [-0.5, 0.5], [2.9, 0.1], [3, 1]]) == [0, 4, 5 + 2, 20, 24]
    outside = [[-2.1, 0.5], [3.1, 0.5], [0, -0.1], [0, 1.1], [-9, 9], [1e30, 0.5], [0.5, -1e30], [np.inf, -np.inf]]
    assert index(cells, outside) == [25] * 8
    clipped = index(cells._replace(closed=True), outside)
    assert clipped == [0 * 5 + 2, 4 * 5 + 2, 2 * 5, 2 * 5 + 4, 4, 4 * 5 + 2, 2 * 5, 4 * 5]


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("box", [BOX_1D, BOX_2D])
def test_no_sample_is_lost_whatever_it_is(box, closed):
    cells = Cells(box, 7, closed)
    x = np.random.default_rng(0).normal(0, 4, (3000, len(box))).astype(np.float32)
    # Not-a-number has no cell; it must still be a valid index, since the engine counts before it knows.
    x[:6, 0] = [np.inf, -np.inf, np.nan, 1e30, -1e30, 3e38]
    position = np.asarray(cells.index(jnp.asarray(x)))
    assert position.min() >= 0
    assert position.max() < cells.n_cells
    counts = np.asarray(metrics.cell_counts(cells.index(jnp.asarray(x)), cells.n_cells))
    assert counts.sum() == 3000
    np.testing.assert_array_equal(counts, np.bincount(position, minlength=cells.n_cells))


@pytest.mark.parametrize("box", [BOX_1D, BOX_2D])
def test_counts_are_numpys(box):
    cells = Cells(box, 7, closed=False)
    x = np.random.default_rng(1).normal(0.5, 1, (5000, len(box))).astype(np.float32)
    expected = np.histogramdd(x, bins=cells.edges)[0].ravel()
    counts = np.asarray(metrics.cell_counts(cells.index(jnp.asarray(x)), cells.n_cells))
    np.testing.assert_array_equal(counts[: expected.size], expected)
    if len(box) == 1:
        assert counts[-2:].tolist() == [(x < -2).sum(), (x > 3).sum()]
    else:
        assert counts[-1] == 5000 - expected.sum()


def test_encode_gives_one_hot_rows_of_the_cell():
    cells = Cells(BOX_1D, 5, closed=True)
    codec = codecs.binning(cells)
    x = jnp.asarray([[-9.0], [-2.0], [-0.4], [3.0], [1e30]])
    events = codec.encode(x)
    assert codec.event.law.name == "category"
    assert (codec.event.size,) == codec.event.shape == events.shape[1:]
    np.testing.assert_array_equal(events, np.eye(5)[[0, 0, 1, 4, 4]])


@pytest.mark.parametrize("n_bins", [2, 5, 20, 97])
@pytest.mark.parametrize("box", [BOX_1D, np.array([[-4.5, 5.5]]), np.array([[1e-3, 1.1e-3]])])
def test_encode_undoes_decode_and_decode_gives_centres(box, n_bins):
    cells = Cells(box, n_bins, closed=True)
    codec = codecs.binning(cells)
    rows = jnp.eye(n_bins)
    np.testing.assert_allclose(codec.decode(rows), cells.centres[0][:, None], rtol=1e-6, atol=1e-7 * np.abs(box).max())
    np.testing.assert_array_equal(codec.encode(codec.decode(rows)), rows)
    x = jnp.asarray(np.random.default_rng(2).uniform(*box[0], (200, 1)), jnp.float32)
    once = codec.decode(codec.encode(x))
    np.testing.assert_array_equal(codec.decode(codec.encode(once)), once)
    # Nothing inside the box moves further than half a cell.
    assert np.abs(once - x).max() <= np.ptp(box) / n_bins / 2 * (1 + 1e-3)


def test_decode_takes_the_largest_entry_and_decode_mean_the_expectation():
    cells = Cells(BOX_1D, 5, closed=True)
    codec = codecs.binning(cells)
    events = jnp.asarray([[0.1, 0.2, 0.4, 0.3, 0.0], [0.5, 0.0, 0.0, 0.0, 0.5]])
    np.testing.assert_allclose(codec.decode(events), [[0.5], [-1.5]], atol=1e-6)
    np.testing.assert_allclose(codec.decode_mean(events), [[-0.15 - 0.1 + 0.2 + 0.45], [0.5]], atol=1e-6)
    np.testing.assert_allclose(codec.decode_mean(jnp.eye(5)), codec.decode(jnp.eye(5)), atol=1e-6)


def test_as_compared_bins_only_where_there_are_bins(make_config):
    x = jnp.asarray([[-9.0], [0.1], [9.0]])
    binned = make_target(make_config(target_type="1D_BETA", num_bins=10))
    np.testing.assert_allclose(binned.as_compared(x), [[-2.25], [0.25], [2.25]], atol=1e-6)
    continuous = make_target(make_config(target_type="1D_BETA", num_bins=0))
    np.testing.assert_array_equal(continuous.as_compared(x), x)


@pytest.mark.parametrize("name", ["1D_QUADMODAL", "1D_BETA", "1D_POISSON"])
def test_a_perfect_binned_sampler_scores_within_the_binned_floor(name, make_config):
    """Categories drawn by NumPy with the exact masses, through the scorer that families meet."""
    n, n_draws = 1000, 60
    config = make_config(target_type=name, num_bins=12, n_eval_samples=n)
    target = make_target(config)
    judge = make_judge(target, config)
    generator = np.random.default_rng(3)
    rows = jnp.eye(12)
    draws = [judge.scorer.decode(rows[generator.choice(12, n, p=judge.masses)]) for _ in range(n_draws)]
    scores = [judge.scorer.score(np.asarray(x)) for x in draws]
    for metric, floor in judge.floors.items():
        values = np.array([score[metric] for score in scores])
        # The floor's range holds 95 % of its draws, so also of these: within five standard errors of that share.
        inside = np.mean((floor.low <= values) & (values <= floor.high))
        assert inside > 0.95 - 5 * np.sqrt(0.95 * 0.05 / n_draws)
        # Both means are known from their draws; five of the standard errors of their difference.
        assert abs(values.mean() - floor.mean) < 5 * values.std() * np.sqrt(1 / n_draws + 1 / 200)


def test_discretisation_error_is_the_integral_of_the_distance_to_the_centres(make_config):
    config = make_config(target_type="1D_BETA", num_bins=8)
    judge = make_judge(make_target(config), config)
    law = scipy.stats.beta(2, 5, loc=-2.5, scale=5)
    x = -2.5 + (np.arange(80_000) + 0.5) * 5 / 80_000
    centres = -2.5 + (np.floor((x + 2.5) / 0.625) + 0.5) * 0.625
    exact = np.sum(law.pdf(x) * np.abs(x - centres)) * 5 / 80_000
    # 10⁵ mid-ranks integrate to about 1e-6, and centres are float32.
    assert judge.discretisation_error == pytest.approx(exact, abs=5e-6)


def test_discretisation_error_where_nothing_moves_but_the_tail(make_config):
    config = make_config(target_type="1D_POISSON", num_bins=9)
    judge = make_judge(make_target(config), config)
    law = scipy.stats.poisson(4, loc=-4)
    beyond = np.arange(5, 60)
    assert judge.discretisation_error == pytest.approx(np.sum(law.pmf(beyond) * (beyond - 4)), abs=2e-4)


def test_no_discretisation_error_without_bins(make_config):
    config = make_config(target_type="1D_BETA", num_bins=0)
    assert make_judge(make_target(config), config).discretisation_error is None

"""The pictures over a sweep show what the arrays say, at every size; a power law is found where there is one."""

import itertools

import numpy as np
import pytest
import scipy.stats
import test_plotting
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.colors import to_hex
from test_plotting import BOMB, collisions, level_lines, opened, texts

from benchmark.pictures.views import leaderboard, scaling
from benchmark.pictures.views.boards import Board, Course, Level, Panel
from benchmark.pictures.views.leaderboard import number
from core import power_law, wording
from core.drawing import figures, scenes

no_warnings, shown = test_plotting.no_warnings, test_plotting.shown
NAMES, EXTERNAL = [f"FAMILY{i}" for i in range(10)], ["QCBM", "another-circuit-born-machine"]
COLOURS = scenes.family_colours(NAMES, EXTERNAL)
ROWS = [f"1D_QUADMODAL, {bins} bins" for bins in range(20, 34)] + ["2D_MIX_GAUSS, continuous"]
BUDGETS = np.array([100, 310, 1000, 3100, 10000])
FLOOR = (0.004, 0.002, 0.007)


def board_of(n_rows, names, externals=(), pooled=""):
    ratio = np.exp(np.random.default_rng(0).normal(1, 1.4, (n_rows, len(names))))
    count, none = np.ones(ratio.shape, int), np.zeros(ratio.shape, int)
    reach = np.full(ratio.shape, 1.7)
    return Board(ROWS[-n_rows:], names, externals, ratio, reach, count, none, 4 * count, none.copy(), pooled)


def panel_of(row, names, levels=(), slope=-0.7, n_seeds=5, budgets=BUDGETS):
    rng = np.random.default_rng(len(row))
    courses = {}
    for i, name in enumerate(names):
        median = FLOOR[0] + 0.1 * (i + 1) * (budgets / 100) ** slope
        courses[name] = Course(budgets + i, [m * rng.uniform(0.9, 1.1, n_seeds) for m in median])
    return Panel(row, courses, {name: Level(0.02 * (i + 1)) for i, name in enumerate(levels)}, FLOOR)


def words_of(ax):
    """Everything that stands around a panel: its name, its exponents, the numbers at its ticks."""
    legend = ax.get_legend()
    around = [ax._left_title, *(legend.get_texts() if legend else ())]
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if low <= tick.get_loc() <= high:
                around += [label for label in (tick.label1, tick.label2) if label.get_visible()]
    return [word for word in around if word.get_text().strip()]


def clashes(fig):
    """Words around panels that overlap each other, or leave the picture."""
    words = [word for ax in fig.axes for word in words_of(ax)] + [fig._suptitle]
    boxes = [(word.get_text(), word.get_window_extent()) for word in words]
    found = [f"{a} × {b}" for i, (a, one) in enumerate(boxes) for b, two in boxes[:i] if one.padded(-1).overlaps(two)]
    frame = fig.bbox.padded(1)
    return found + [a for a, box in boxes if not (frame.contains(*box.min) and frame.contains(*box.max))]


@pytest.mark.parametrize(("n_rows", "n_names"), [(1, 1), (1, 10), (7, 3), (15, 1), (15, 10)])
@pytest.mark.parametrize("external", [[], EXTERNAL])
def test_leaderboard(tmp_path, n_rows, n_names, external, shown):
    names = [*NAMES[: n_names - len(external) if n_names > 2 else n_names], *external]
    board = board_of(n_rows, names, external, pooled="5 PARAMETER_BUDGET × 2 SEED")
    leaderboard.leaderboard(tmp_path / "l.png", board, COLOURS, "KLD relative to the floor · 20000 steps")
    opened(tmp_path / "l.png")
    fig = shown[0]
    ax = fig.axes[0]
    assert clashes(fig) == []
    assert collisions(fig) == []
    assert [text.get_text() for text in ax.texts] == [wording.multiple(value) for value in board.ratio.ravel()]
    weights = [text.get_fontweight() for text in ax.texts]
    assert weights == ["bold" if value <= 1.7 else "normal" for value in board.ratio.ravel()]
    labels = ax.get_xticklabels()
    assert [label.get_color() for label in labels] == [COLOURS[name] for name in names]
    # Every number stays in its cell.
    cells = ax.transData.transform([(1, 1), (0, 0)])
    room = np.abs(cells[0] - cells[1])
    for text in ax.texts:
        assert text.get_window_extent().width < room[0] - 4
        assert text.get_window_extent().height < room[1] - 2


def test_numbers_can_be_read_on_their_colours(tmp_path, shown):
    board = board_of(7, NAMES[:3])
    board = board._replace(ratio=np.geomspace(0.5, 1e5, 21).reshape(7, 3))
    leaderboard.leaderboard(tmp_path / "l.png", board, COLOURS, BOMB)
    ax = shown[0].axes[0]
    mesh = next(each for each in ax.collections if isinstance(each, QuadMesh))

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
        return np.dot(linear, (0.2126, 0.7152, 0.0722))

    shades = mesh.to_rgba(mesh.get_array().ravel())
    for text, shade in zip(ax.texts, shades, strict=True):
        ink = (1, 1, 1) if text.get_color() == "white" else (0.1, 0.1, 0.1)
        bright, dark = sorted([luminance(ink), luminance(shade)], reverse=True)
        # The guideline for large letters asks for 3.
        assert (bright + 0.05) / (dark + 0.05) > 3, text.get_text()
    # Better is lighter, without a break.
    brightness = [luminance(shade) for shade in shades]
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(brightness))


def test_what_has_no_score_is_said(tmp_path, shown):
    board = board_of(2, NAMES[:2])
    board.ratio[0] = np.inf, np.nan
    leaderboard.leaderboard(tmp_path / "l.png", board, COLOURS, "title")
    (note,) = [text for text in texts(shown[0]) if "bold:" in text]
    assert [text.get_text() for text in shown[0].axes[0].texts][:2] == ["∞", "none"]
    assert "∞: diverged" in note.replace("\n", " ")
    assert "none: no sample to score" in note.replace("\n", " ")


def test_what_has_diverged_is_said_beside_the_number(tmp_path, shown):
    board = board_of(2, NAMES[:2], pooled="5 budgets")
    board.ratio[0] = 19.0, np.inf
    board.count[:], board.n_seeds[:] = 5, 20
    board.lost[0], board.lost_seeds[0] = (2, 3), (6, 12)
    board.lost_seeds[1, 0] = 1
    leaderboard.leaderboard(tmp_path / "l.png", board, COLOURS, "title")
    words = [text.get_text() for text in shown[0].axes[0].texts]
    own = [wording.multiple(value) for value in board.ratio[1]]
    assert words == ["19.0", "2/5 cells ∞", "∞", "3/5 cells ∞", own[0], "1/20 seeds ∞", own[1]]
    assert "∞: diverged" in " ".join(texts(shown[0]))
    assert board.losses == [["2 of 5 cells", "3 of 5 cells"], ["1 of 20 seeds", ""]]
    height = np.ptp(shown[0].axes[0].transData.transform([(0, 0), (0, 1)])[:, 1])
    boxes = [text.get_window_extent() for text in shown[0].axes[0].texts[:2]]
    assert not boxes[0].overlaps(boxes[1])
    assert boxes[0].y1 - boxes[1].y0 < height - 2


def test_the_range_of_a_budget_with_a_lost_seed_reaches_the_top(tmp_path, shown):
    klds = [np.array([0.1, 0.2, 0.3]), np.array([0.05, 0.06, np.inf])]
    panel = Panel("T", {"FAMILY0": Course(BUDGETS[:2], klds)}, {}, FLOOR)
    scaling.budget_scaling(tmp_path / "b.png", [panel], COLOURS, "title")
    ax = shown[0].axes[0]
    bars = next(each for each in ax.collections if isinstance(each, LineCollection)).get_segments()
    assert [bar[:, 1].tolist() for bar in bars[:1]] == [[0.1, 0.3]]
    assert bars[1][0, 1] == 0.05
    assert bars[1][1, 1] > ax.get_ylim()[1]


def test_footers_do_not_break_at_a_hanging_separator(tmp_path, shown):
    board = board_of(2, NAMES[:2], EXTERNAL[:0], pooled="5 budgets × 2 values of SEED × 12 values of GAN.learning_rate")
    board.ratio[0] = np.inf, np.nan
    leaderboard.leaderboard(tmp_path / "l.png", board, COLOURS, " · ".join(["KLD relative to the floor"] * 4))
    lines = [line for text in texts(shown[0]) for line in text.split("\n")]
    assert any(" · " in line for line in lines)
    assert not [line for line in lines if line.strip().startswith("·") or line.strip().endswith("·")]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_board_without_any_score(tmp_path, value, shown):
    board = board_of(1, NAMES[:1])
    board.ratio[:] = value
    leaderboard.leaderboard(tmp_path / "l.png", board, COLOURS, "title")
    opened(tmp_path / "l.png")


def test_numbers_are_short():
    values = [0.0, 0.00012, 0.0021, 0.1, 0.46, 1, 2.04, 9.96, 17.3, 342.2, 12345, None, np.inf]
    assert [number(value) for value in values] == [
        "0.0", "1.2e-4", "0.0021", "0.10", "0.46", "1.0", "2.0", "10", "17", "342", "1.2e4", "diverged", "diverged",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("n_panels", "n_names", "external"), [(1, 1, []), (2, 3, EXTERNAL), (4, 6, EXTERNAL), (7, 3, []), (15, 10, [])]
)
def test_budget_scaling(tmp_path, n_panels, n_names, external, shown):
    panels = [panel_of(row, NAMES[:n_names], external) for row in ROWS[-n_panels:]]
    scaling.budget_scaling(
        tmp_path / "b.png", panels, COLOURS, "KLD against parameters · 20000 steps", notes=["medians also over 2 SEED"]
    )
    opened(tmp_path / "b.png")
    fig = shown[0]
    assert len(fig.axes) == n_panels
    assert clashes(fig) == []
    assert collisions(fig) == []
    for ax, panel in zip(fig.axes, panels, strict=True):
        assert ax.get_xlim() == fig.axes[0].get_xlim()
        assert ax.get_ylim() == fig.axes[0].get_ylim()
        assert level_lines(ax) | {COLOURS[name]: each.score for name, each in panel.levels.items()} == level_lines(ax)
        (floor,) = [line for line in ax.lines if line.get_color() == figures.FLOOR_COLOUR]
        assert floor.get_ydata()[0] == panel.floor[0]
        for name, course in panel.courses.items():
            (dots,) = [line.get_xydata() for line in ax.lines if line.get_marker() == "o" and colour_of(line) == name]
            np.testing.assert_allclose(dots, np.column_stack([course.x, course.medians]))
    for legend in (ax.get_legend() for ax in fig.axes):
        assert len(legend.get_texts()) == n_names
        assert legend.get_window_extent().x1 <= fig.bbox.x1


def colour_of(line):
    return next((name for name, colour in COLOURS.items() if colour == to_hex(line.get_color()).upper()), None)


@pytest.mark.parametrize("values", [[np.inf, 0.1, 0.05], [0.0, 0.0, 0.0], [np.inf] * 3, [1e5, 1e-9, 1]])
@pytest.mark.parametrize("n_budgets", [1, 3])
def test_budget_scaling_of_odd_scores(tmp_path, values, n_budgets, shown):
    course = Course(BUDGETS[:n_budgets], [np.array([value, value]) for value in values[:n_budgets]])
    scaling.budget_scaling(tmp_path / "b.png", [Panel("T", {"FAMILY0": course}, {}, FLOOR)], COLOURS, BOMB)
    lost = 2 * sum(np.isinf(values[:n_budgets]))
    assert (f"FAMILY0 ({lost} seeds diverged)" if lost else "FAMILY0") in texts(shown[0])


def test_no_exponent_where_none_fits(tmp_path, shown):
    rng = np.random.default_rng(1)
    flat = Panel("T", {"FAMILY0": Course(BUDGETS, [rng.uniform(0.1, 0.2, 3) for _ in BUDGETS])}, {}, FLOOR)
    scaling.budget_scaling(tmp_path / "b.png", [flat], COLOURS, "title")
    (reason,) = shown[0].axes[0].get_legend().get_texts()
    assert reason.get_text() == "FAMILY0: no exponent, flat"
    assert not any("dashed" in text for text in texts(shown[0]))
    few = flat._replace(courses={"FAMILY0": Course(BUDGETS[:3], flat.courses["FAMILY0"].scores[:3])})
    scaling.budget_scaling(tmp_path / "b.png", [few, few], COLOURS, "title")
    assert shown[1].axes[0].get_legend() is None
    assert "an exponent needs four budgets" in " ".join(texts(shown[1]))


def test_what_is_fitted_is_drawn(tmp_path, shown):
    exact = 8.0 / BUDGETS
    course = Course(BUDGETS, [np.full(3, FLOOR[0] + value) for value in exact], [np.full(3, value) for value in exact])
    scaling.budget_scaling(tmp_path / "b.png", [Panel("T", {"FAMILY0": course}, {}, FLOOR)], COLOURS, "title")
    ax = shown[0].axes[0]
    (hollow,) = [line for line in ax.lines if line.get_marker() == "D"]
    np.testing.assert_allclose(hollow.get_xydata(), np.column_stack([BUDGETS, exact]))
    law = max((line for line in ax.lines if line.is_dashed()), key=lambda line: len(line.get_xdata()))
    # The curve goes through what it was fitted to, and not through the KLD with its floor.
    np.testing.assert_allclose(law.get_ydata(), 8.0 / law.get_xdata(), rtol=1e-6)
    assert "FAMILY0: exact a = −1.000 ± < 0.001, 5 of 5 budgets" in texts(shown[0])
    assert ax.get_ylim()[0] < exact.min()
    # Without it the curve ends in the floor's line.
    course = Course(1.0 * BUDGETS, [np.full(3, FLOOR[0] + value) for value in exact])
    scaling.budget_scaling(tmp_path / "b.png", [Panel("T", {"FAMILY0": course}, {}, FLOOR)], COLOURS, "title")
    law = max((line for line in shown[1].axes[0].lines if line.is_dashed()), key=lambda line: len(line.get_xdata()))
    np.testing.assert_allclose(law.get_ydata(), FLOOR[0] + 8.0 / law.get_xdata(), rtol=1e-5)


EXACT = (0.0, 0.0, 0.0)


def rival_panel(names, rivals, slope=-0.7):
    return panel_of("T", names, slope=slope)._replace(floor=EXACT, rivals=rivals, label="exact KL (nats)")


@pytest.mark.parametrize("setting", ["", "GAN.learning_rate"])
@pytest.mark.parametrize("n_panels", [1, 4])
def test_without_a_floor_there_is_no_band_and_rivals_are_lines_with_names(tmp_path, setting, n_panels, shown):
    rivals = {"FAMILY7": 0.66, "FAMILY8": 0.66, "FAMILY9": 0.02}
    panels = [rival_panel(NAMES[:3], rivals)] * n_panels
    scaling.budget_scaling(tmp_path / "b.png", panels, COLOURS, "exact KL", setting=setting)
    fig = shown[0]
    for ax in fig.axes:
        assert {colour: y for colour, y in level_lines(ax).items() if colour in map(COLOURS.get, rivals)} == {
            COLOURS[name]: value for name, value in rivals.items()
        }
        assert not any(line.get_color() == figures.FLOOR_COLOUR for line in ax.lines)
        # Lines of the same height share their words.
        assert {text.get_text() for text in ax.texts} == {"FAMILY9", "FAMILY7, FAMILY8"}
    said = " ".join(texts(fig))
    assert "floor" not in said
    assert "dotted: the smallest that a trivial model can have" in said
    assert ("the fit of exact KL = c × parametersᵃ" in said) == (not setting)
    assert collisions(fig) == clashes(fig) == []


def test_a_rival_that_is_perfect_is_no_line_of_a_log_axis(tmp_path, shown):
    panel = rival_panel(NAMES[:1], {"FAMILY8": 0.0, "FAMILY9": 0.02})
    scaling.budget_scaling(tmp_path / "b.png", [panel], COLOURS, "exact KL")
    assert [text.get_text() for text in shown[0].axes[0].texts] == ["FAMILY9"]


@pytest.mark.parametrize("others", [0, 2])
def test_a_family_without_parameters_is_a_line_and_one_of_one_size_a_point(tmp_path, others, shown):
    panel = rival_panel(NAMES[:others], {})
    courses = {"FAMILY8": Course(np.array([0.0]), [np.array([0.7, 0.7])]),
               "FAMILY9": Course(np.array([15.0]), [np.array([0.02, 0.021])])}  # fmt: skip
    scaling.budget_scaling(tmp_path / "b.png", [panel._replace(courses=panel.courses | courses)], COLOURS, "exact KL")
    ax = shown[0].axes[0]
    assert level_lines(ax)[COLOURS["FAMILY8"]] == 0.7
    (dot,) = [line.get_xydata() for line in ax.lines if line.get_marker() == "o" and colour_of(line) == "FAMILY9"]
    assert dot.tolist() == [[15.0, pytest.approx(0.0205)]]
    assert 0 < ax.get_xlim()[0] < 15
    assert "FAMILY8 (no parameters)" in texts(shown[0])
    # Neither has an exponent, nor a reason why there is none.
    assert not any(text.startswith(("FAMILY8:", "FAMILY9:")) for text in texts(shown[0]))
    assert collisions(shown[0]) == []


@pytest.mark.parametrize("setting", ["", "GAN.learning_rate"])
def test_what_comes_from_elsewhere_stands_at_its_declared_size(tmp_path, setting, shown):
    panel = panel_of("T", NAMES[:1])._replace(levels={"QCBM": Level(0.05, 20_000), EXTERNAL[1]: Level(0.2)})
    scaling.budget_scaling(tmp_path / "b.png", [panel], COLOURS, "title", setting=setting)
    ax = shown[0].axes[0]
    points = [line.get_xydata().tolist() for line in ax.lines if colour_of(line) == "QCBM"]
    assert level_lines(ax)[COLOURS[EXTERNAL[1]]] == 0.2
    if setting:
        # Its size is no value of that setting.
        assert level_lines(ax)[COLOURS["QCBM"]] == 0.05
    else:
        assert points == [[[20_000, 0.05]]]
        assert ax.get_xlim()[1] > 20_000


@pytest.mark.parametrize(
    ("values", "scale"),
    [([1e-4, 1e-3, 1e-2], "log"), ([1, 2, 10], "linear"), ([0, 0.9, 0.99], "linear"), ([-1, 20], "linear")],
)
def test_another_setting_has_the_axis_that_it_needs(tmp_path, values, scale, shown):
    x = np.array(values)
    courses = {name: Course(x, [np.array([0.1, 0.2])] * len(x)) for name in NAMES[:2]}
    panel = Panel("T", courses, {}, FLOOR)
    scaling.budget_scaling(tmp_path / "b.png", [panel], COLOURS, "title", setting="GAN.r1_penalty")
    ax = shown[0].axes[0]
    assert (ax.get_xscale(), ax.get_xlabel(), ax.get_legend()) == (scale, "GAN.r1_penalty", None)
    assert ax.get_xlim()[0] < x.min()
    assert x.max() < ax.get_xlim()[1]
    assert collisions(shown[0]) == []


@pytest.mark.parametrize("slope", [-1.5, -0.5])
@pytest.mark.parametrize("floor", [0.0, 0.004])
def test_an_exact_power_law_is_found_exactly(slope, floor):
    law = power_law.fit(BUDGETS, floor + 3.0 * BUDGETS.astype(float) ** slope, floor, floor)
    assert law.slope == pytest.approx(slope, rel=1e-6)
    assert law.factor == pytest.approx(3.0, rel=1e-4)
    assert law.error == pytest.approx(0, abs=1e-5)
    assert law.n_budgets == 5


# What a perfect model scores over 20 well-filled cells with n samples: χ² with 19 degrees of freedom over 2n; and a
# model whose divergence is d: the non-central one with 2nd (Wilks' theorem under a near alternative).
CELLS, N_SAMPLES = 20, 5000
PERFECT = scipy.stats.chi2(CELLS - 1, scale=1 / (2 * N_SAMPLES))


def scored(rng, divergences, n_seeds, spread=0.3):
    """Medians over seeds of what the histograms say, where the seeds' divergences differ by `spread` in logarithm."""
    true = np.asarray(divergences)[:, None] * np.exp(rng.normal(0, spread, (len(divergences), n_seeds)))
    scores = rng.noncentral_chisquare(CELLS - 1, 2 * N_SAMPLES * true) / (2 * N_SAMPLES)
    return np.median(scores, axis=1)


N_TRIALS = 400


@pytest.mark.parametrize("n_budgets", [3, 4, 5])
@pytest.mark.parametrize("level", [0.0, 0.002, 0.05])
@pytest.mark.parametrize("n_seeds", [1, 4])
def test_what_does_not_depend_on_the_size_is_seldom_a_power_law(n_budgets, level, n_seeds):
    rng = np.random.default_rng([n_budgets, int(level * 1000), n_seeds])
    floor, high = PERFECT.median(), PERFECT.ppf(0.975)
    laws = [
        power_law.fit(BUDGETS[:n_budgets], scored(rng, np.full(n_budgets, level), n_seeds), floor, high)
        for _ in range(N_TRIALS)
    ]
    # Of a 95 % interval one side lies off zero in 2.5 %. Four standard errors of a binomial share.
    most = 0.025 + 4 * np.sqrt(0.025 * 0.975 / N_TRIALS)
    assert np.mean([not isinstance(law, str) for law in laws]) <= (most if n_budgets > 3 else 0)


@pytest.mark.parametrize("slope", [-0.7, -1.0])
@pytest.mark.parametrize("first", [0.03, 0.3])
@pytest.mark.parametrize(("n_budgets", "n_seeds"), [(4, 4), (5, 1), (5, 4), (5, 8)])
def test_the_interval_holds_the_true_exponent_as_often_as_it_says(slope, first, n_budgets, n_seeds):
    rng = np.random.default_rng([int(-10 * slope), int(first * 100), n_budgets, n_seeds])
    sizes = BUDGETS[:n_budgets]
    floor, high = PERFECT.median(), PERFECT.ppf(0.975)
    laws = [
        power_law.fit(sizes, scored(rng, first * (sizes / 100) ** slope, n_seeds), floor, high) for _ in range(N_TRIALS)
    ]
    printed = [law for law in laws if not isinstance(law, str)]
    # The share of what is printed, where much is printed at all: what is not cannot mislead.
    assert len(printed) > 0.6 * N_TRIALS
    covered = np.mean([abs(law.slope - slope) <= law.error for law in printed])
    # The medians of noise that is not normal in logarithm, at two or three degrees of freedom, cost up to 2 %.
    assert covered > 0.95 - 0.02 - 4 * np.sqrt(0.95 * 0.05 / len(printed))
    assert np.median([law.slope for law in printed]) == pytest.approx(slope, abs=0.06)


def test_an_interval_is_not_wider_than_it_need_be():
    rng = np.random.default_rng(0)
    x = np.log(BUDGETS)
    laws = [power_law.fit(BUDGETS, np.exp(6 - 0.8 * x + rng.normal(0, 0.1, 5))) for _ in range(N_TRIALS)]
    covered = np.mean([abs(law.slope + 0.8) <= law.error for law in laws])
    # With normal noise and no floor the interval is exact.
    assert abs(covered - 0.95) < 4 * np.sqrt(0.95 * 0.05 / N_TRIALS)


def test_an_interval_is_not_rounded_over_zero():
    pairs = [(-0.58, 0.02), (-0.1512, 0.1488), (-0.7, 0.004), (-1.0, 0.0)]
    assert [scaling._with_error(*pair) for pair in pairs] == [
        "−0.58 ± 0.02", "−0.151 ± 0.149", "−0.700 ± 0.004", "−1.000 ± < 0.001",
    ]  # fmt: skip


def test_what_has_no_exponent():
    kld = FLOOR[0] + 8.0 / BUDGETS
    floor, high = FLOOR[0], FLOOR[2]
    assert (kld <= high).sum() == 2
    law = power_law.fit(BUDGETS, kld, floor, high)
    np.testing.assert_array_equal(law.n_params, BUDGETS)
    # One that has diverged is left out, and of what remains two alone lie above the floor's range.
    assert power_law.fit(BUDGETS, np.where(BUDGETS == 100, np.inf, kld), floor, high) == power_law.AT_FLOOR
    left = power_law.fit(BUDGETS, np.where(BUDGETS == 10000, np.inf, kld), floor, high)
    assert (left.n_params.tolist(), left.n_budgets) == ([100, 310, 1000, 3100], 5)
    assert power_law.fit(BUDGETS[:3], 8.0 / BUDGETS[:3]) == power_law.FEW
    assert power_law.fit([100, 100, 310, 1000], [1.0, 0.9, 0.5, 0.2]) == power_law.FEW
    assert power_law.fit(BUDGETS, np.full(5, 0.1), floor, high) == power_law.FLAT
    assert power_law.fit(BUDGETS, 0.001 * BUDGETS, floor, high) == power_law.RISING
    assert power_law.fit(BUDGETS, [0.1, 0.9, 0.02, 0.8, 0.05], floor, high) == power_law.WIDE
    assert power_law.fit(BUDGETS, np.zeros(5), floor, high) == power_law.FEW


@pytest.mark.parametrize("units", [["nats", "nats", "nats"], [None, "nats", None]])
def test_rows_whose_floor_is_zero_have_the_score_itself_on_a_scale_of_their_own(tmp_path, units, shown):
    board = board_of(3, NAMES[:4])._replace(units=units, metric="exact KL")
    board.ratio[1], board.reach[1] = (0.002, 0.5, 7.0, np.inf), 0.0
    leaderboard.leaderboard(tmp_path / "l.png", board, COLOURS, "title")
    fig = shown[0]
    assert clashes(fig) == []
    assert collisions(fig) == []
    ax = fig.axes[0]
    assert [text.get_text() for text in ax.texts][4:8] == ["0.00200", "0.500", "7.00", "∞"]
    assert {text.get_fontweight() for text in ax.texts[4:8]} == {"normal"}
    labels = [bar.get_ylabel() for bar in ax.child_axes]
    assert labels == (["exact KL (nats)"] if None not in units else ["exact KL / floor", "nats"])
    low, high = ax.child_axes[-1].get_ylim()
    assert low <= 0.002 < 7 <= high
    # Better is lighter in either sort of rows.
    mesh = next(each for each in ax.collections if isinstance(each, QuadMesh))
    shades = mesh.to_rgba(mesh.get_array()[1])[:, :3].mean(-1)
    assert all(a > b for a, b in itertools.pairwise(shades[:3]))
    assert ("(nats)" in ax.get_yticklabels()[1].get_text()) == (None in units)

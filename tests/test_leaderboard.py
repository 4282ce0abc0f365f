"""The pictures over a sweep show what the arrays say, at every size; a power law is found where there is one."""

import itertools

import numpy as np
import pytest
import test_plotting
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex
from test_plotting import BOMB, collisions, level_lines, opened, texts

import leaderboard
import power_law
import scenes
from leaderboard import Board, Course, Panel, number

no_warnings, shown = test_plotting.no_warnings, test_plotting.shown
NAMES, EXTERNAL = [f"FAMILY{i}" for i in range(10)], ["QCBM", "another-circuit-born-machine"]
COLOURS = scenes.family_colours(NAMES, EXTERNAL)
ROWS = [f"1D_QUADMODAL, {bins} bins" for bins in range(20, 34)] + ["2D_MIX_GAUSS, continuous"]
BUDGETS = np.array([100, 310, 1000, 3100, 10000])
FLOOR = (0.004, 0.002, 0.007)


def board_of(n_rows, names, externals=(), pooled=""):
    ratio = np.exp(np.random.default_rng(0).normal(1, 1.4, (n_rows, len(names))))
    return Board(ROWS[-n_rows:], names, externals, ratio, np.full(ratio.shape, 1.7), np.ones(ratio.shape, int), pooled)


def panel_of(row, names, levels=(), slope=-0.7, n_seeds=5, budgets=BUDGETS):
    rng = np.random.default_rng(len(row))
    courses = {}
    for i, name in enumerate(names):
        median = FLOOR[0] + 0.1 * (i + 1) * (budgets / 100) ** slope
        courses[name] = Course(budgets + i, [m * rng.uniform(0.9, 1.1, n_seeds) for m in median])
    return Panel(row, courses, {name: 0.02 * (i + 1) for i, name in enumerate(levels)}, FLOOR)


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
    assert [text.get_text() for text in ax.texts] == [number(value) for value in board.ratio.ravel()]
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
    leaderboard.budget_scaling(
        tmp_path / "b.png", panels, COLOURS, "KLD against parameters · 20000 steps", note="2 SEED"
    )
    opened(tmp_path / "b.png")
    fig = shown[0]
    assert len(fig.axes) == n_panels
    assert clashes(fig) == []
    assert collisions(fig) == []
    for ax, panel in zip(fig.axes, panels, strict=True):
        assert ax.get_xlim() == fig.axes[0].get_xlim()
        assert ax.get_ylim() == fig.axes[0].get_ylim()
        assert level_lines(ax) | {COLOURS[name]: level for name, level in panel.levels.items()} == level_lines(ax)
        for name, course in panel.courses.items():
            dots = [line.get_xydata()[0] for line in ax.lines if line.get_marker() == "o" and colour_of(line) == name]
            np.testing.assert_allclose(dots, np.column_stack([course.n_params, course.medians]))
    for legend in (ax.get_legend() for ax in fig.axes):
        assert len(legend.get_texts()) == n_names
        assert legend.get_window_extent().x1 <= fig.bbox.x1


def colour_of(line):
    return next((name for name, colour in COLOURS.items() if colour == to_hex(line.get_color()).upper()), None)


@pytest.mark.parametrize("values", [[np.inf, 0.1, 0.05], [0.0, 0.0, 0.0], [np.inf] * 3, [1e5, 1e-9, 1]])
@pytest.mark.parametrize("n_budgets", [1, 3])
def test_budget_scaling_of_odd_scores(tmp_path, values, n_budgets, shown):
    course = Course(BUDGETS[:n_budgets], [np.array([value, value]) for value in values[:n_budgets]])
    leaderboard.budget_scaling(tmp_path / "b.png", [Panel("T", {"FAMILY0": course}, {}, FLOOR)], COLOURS, BOMB)
    lost = 2 * sum(np.isinf(values[:n_budgets]))
    assert (f"FAMILY0 ({lost} seeds diverged)" if lost else "FAMILY0") in texts(shown[0])


def test_no_exponent_where_none_fits(tmp_path, shown):
    rng = np.random.default_rng(1)
    flat = Panel("T", {"FAMILY0": Course(BUDGETS, [rng.uniform(0.1, 0.2, 3) for _ in BUDGETS])}, {}, FLOOR)
    leaderboard.budget_scaling(tmp_path / "b.png", [flat], COLOURS, "title")
    assert shown[0].axes[0].get_legend() is None
    assert not any("dashed" in text for text in texts(shown[0]))


@pytest.mark.parametrize("slope", [-1.5, -0.5, 0.3])
def test_an_exact_power_law_is_found_exactly(slope):
    law = power_law.fit(BUDGETS, FLOOR[0] + 3.0 * BUDGETS.astype(float) ** slope, (FLOOR[0], 0.0, 0.0))
    assert law.slope == pytest.approx(slope, rel=1e-9)
    assert law.factor == pytest.approx(3.0, rel=1e-6)
    assert law.error == pytest.approx(0, abs=1e-9)


def test_the_error_is_the_deviation_of_the_slope_over_repetitions():
    rng = np.random.default_rng(0)
    sigma, x = 0.2, np.log(BUDGETS)
    laws = [
        power_law.fit(BUDGETS, 1.0 + np.exp(6 - 0.8 * x + rng.normal(0, sigma, 5)), (1.0, 1.0, 1.0)) for _ in range(400)
    ]
    exact = sigma / np.sqrt(np.sum((x - x.mean()) ** 2))
    slopes, errors = (np.array([getattr(law, part) for law in laws]) for part in ("slope", "error"))
    # Five standard errors of a mean over 400, and of a mean of variances with 3 degrees of freedom.
    assert abs(slopes.mean() + 0.8) < 5 * exact / 20
    assert abs(np.mean(errors**2) / exact**2 - 1) < 5 * np.sqrt(2 / 3) / 20


def test_noise_is_no_power_law():
    rng = np.random.default_rng(0)
    found = [power_law.fit(BUDGETS, rng.uniform(0.1, 0.2, 5), FLOOR) for _ in range(200)]
    # Of pure noise at five sizes R² ≥ 0.9 in 1.4 %, by the distribution of a correlation at 3 degrees of freedom.
    assert sum(law is not None for law in found) < 12


def test_what_lies_in_the_floor_takes_no_part():
    kld = FLOOR[0] + 8.0 / BUDGETS
    inside = kld <= FLOOR[2]
    assert inside.sum() == 2
    law = power_law.fit(BUDGETS, kld, FLOOR)
    np.testing.assert_array_equal(law.n_params, BUDGETS[~inside])
    assert power_law.fit(BUDGETS, np.where(BUDGETS == 100, np.inf, kld), FLOOR) is None
    assert power_law.fit(BUDGETS[:2], kld[:2], FLOOR) is None
    assert power_law.fit([100, 100, 310], [1.0, 0.9, 0.5], FLOOR) is None
    assert power_law.fit(BUDGETS, np.full(5, 0.1), FLOOR) is None

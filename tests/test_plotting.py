"""Pictures are whole, readable and of one size; what they show is what the arrays say."""

import warnings

import numpy as np
import pytest
from conftest import quick_if
from matplotlib.text import Text
from PIL import Image

import plotting
from core.drawing import contours, courses, figures, scales, scenes
from core.drawing.animation import LAST_FRAME_MS
from core.drawing.scenes import Curve, Frame, LossPicture, MetricPicture
from kinds.real import outlines
from kinds.real.cells import Cells, row_masses
from kinds.real.pictured import DiscriminatorPicture, LatentPicture, TargetPicture
from kinds.real.views import family_pictures, latent_pictures

NAMES = ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K"]
COLOURS = scenes.family_colours(NAMES)
BOMB = "$\\frac{ 100 $ and \\alpha_{"
KINDS = ["1-D", "binned", "2-D", "table"]


@pytest.fixture(autouse=True)
def no_warnings():
    """A layout that did not fit, a glyph without a font and an empty median are all told as warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def make_target(kind):
    dim = 2 if kind in ("2-D", "table") else 1
    n = {"1-D": 50, "binned": 20, "2-D": 30, "table": 12}[kind]
    box = np.array([[-3.0, 3.0]] * dim)
    edges = [np.linspace(-3, 3, n + 1)] * dim
    exact = kind in ("1-D", "2-D")
    axes = [np.linspace(-3, 3, 200 if dim == 1 else 40) if exact else (edges[0][1:] + edges[0][:-1]) / 2] * dim

    def density(points):
        one = np.exp(-(points**2) / 2) / np.sqrt(2 * np.pi)
        return one if dim == 1 else one[:, None] * one[None, :]

    masses = density((edges[0][1:] + edges[0][:-1]) / 2) * (6 / n) ** dim
    return TargetPicture(
        name="TARGET",
        box=box,
        edges=edges,
        masses=masses / masses.sum(),
        closed=kind == "binned",
        axes=axes,
        density=density(axes[0]) if exact else None,
        binned=kind == "binned",
    )


def draws(target, families, n=500, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(n, target.dim)) for name in families}


def shares_of(x, target):
    """The shares of a sample in the target's cells, and behind them those outside; all NaN of one that is."""
    box = np.array([[edges[0], edges[-1]] for edges in target.edges])
    cells = Cells(box, len(target.edges[0]) - 1, target.closed)
    return np.full(cells.n_cells, np.nan) if np.isnan(x).all() else row_masses(x, cells)


def frame_of(target, samples, *args, **more):
    return Frame({name: shares_of(x, target) for name, x in samples.items()}, *args, **more)


def course_of(n_seeds=3, n_evaluations=11, seed=0):
    rng = np.random.default_rng(seed)
    steps = np.linspace(0, 1000, n_evaluations)
    return Curve(steps, np.exp(-steps / 300) + rng.uniform(0.01, 0.02, (n_seeds, n_evaluations)))


def metric_curves(families, **sizes):
    return {name: {"kld": course_of(**sizes), "wasserstein": course_of(**sizes)} for name in families}


AXES = {"kld": "KLD (nats)", "wasserstein": "W₁ (units of x)"}


def pictured(floors, externals=None):
    """The two metrics as axes."""
    scores = {name: {entry: of.get(name) for entry, of in (externals or {}).items()} for name in AXES}
    return {name: MetricPicture(label, floors.get(name), scores[name]) for name, label in AXES.items()}


def losses(curves, references=None, units=None, of_the_last=None):
    """Losses of families without more than these."""
    said = [(each or {}) for each in (references, units, of_the_last)]
    return {
        family: LossPicture(fields, said[0].get(family), said[1].get(family, {}), said[2].get(family, ()))
        for family, fields in curves.items()
    }


def opened(path, inches=None):
    """The picture's pixels; it must be a whole PNG, not empty, and of the size asked for."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        image.load()
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.std() > 5
    if inches is not None:
        assert pixels.shape[1::-1] == tuple(round(side * figures.DPI) for side in inches)
    # Nothing that is drawn may run over the border.
    for border in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert border.min() > 200
    return pixels


@pytest.fixture
def shown(monkeypatch):
    """The figures as they are when they are rendered."""
    rendered = []
    render = figures.render
    monkeypatch.setattr(figures, "render", lambda fig: (rendered.append(fig), render(fig))[1])
    return rendered


def texts(fig):
    return [text.get_text() for text in fig.findobj(Text)]


def test_colours_are_distinct_and_independent_of_the_selection():
    assert len(set(COLOURS.values())) == 11
    assert figures.TARGET_COLOUR not in COLOURS.values()
    assert [scenes.family_colours(NAMES[:k])["A"] for k in (1, 5, 11)] == [COLOURS["A"]] * 3
    rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in COLOURS.values()], float)
    apart = np.linalg.norm(rgb[:, None] - rgb[None], axis=-1)[np.triu_indices(11, 1)]
    assert apart.min() > 45


@pytest.mark.parametrize(
    ("kind", "n_families"),
    [
        quick_if(case in [("1-D", 6), ("binned", 11), ("2-D", 3), ("table", 3)], *case)
        for case in [
            *(("1-D", n) for n in (1, 3, 6)),
            *(("2-D", n) for n in (1, 3, 7)),
            *(("binned", 1), ("binned", 11), ("table", 3)),
        ]
    ],
)
def test_comparison_and_timeline(tmp_path, kind, n_families):
    target, families = make_target(kind), NAMES[:n_families]
    scores = dict.fromkeys(families, "KLD 0.0021   W₁ 0.013")
    samples = {i: draws(target, families, seed=i) for i in (5, 50, 100)}
    # A frame that scores worse in every way must not be drawn on another canvas.
    samples[5][families[0]][:] = np.nan
    samples[50][families[0]][:] *= 0.01
    frames = {f"t_{i}.png": frame_of(target, x, scores, f"{i} % · step {i} 000") for i, x in samples.items()}
    plotting.timeline(tmp_path / "t.gif", target, frames, COLOURS, BOMB)
    sizes = {opened(tmp_path / name).shape for name in frames}
    assert len(sizes) == 1
    with Image.open(tmp_path / "t.gif") as animation:
        assert animation.n_frames == 3
        assert animation.size == sizes.pop()[1::-1]
        durations = []
        for i in range(3):
            animation.seek(i)
            durations.append(animation.info["duration"])
        last = np.asarray(animation.convert("RGB")).astype(int)
    still = opened(tmp_path / [*frames][-1]).astype(int)
    assert np.abs(last - still).mean() < 2
    for colour in ["#FFFFFF", *(COLOURS[family] for family in families)]:
        exact = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        same = (still == exact).all(axis=-1)
        assert same.any()
        assert np.abs(last[same] - exact).max() <= 4
    assert durations == [200, 200, LAST_FRAME_MS]
    assert {path.name for path in tmp_path.iterdir()} == {"t.gif", *frames}


def test_shares_of_held_out_rows_are_not_called_exact(tmp_path, shown):
    target, families = make_target("binned")._replace(empirical=True), NAMES[:1]
    frames = {"0.png": frame_of(target, draws(target, families), {"A": "KLD 0.1"}, "100 %")}
    plotting.timeline(tmp_path / "t.gif", target, frames, COLOURS, BOMB)
    words = [text for fig in shown for text in texts(fig)]
    assert "target: share of the held-out rows" in words
    assert not any("exact" in text for text in words)


def test_external_samples_follow_every_family_in_colour():
    both = scenes.family_colours(NAMES[:3], ["mine", "yours"])
    assert list(both.items())[:3] == list(COLOURS.items())[:3]
    assert [both["mine"], both["yours"]] == [COLOURS["D"], COLOURS["E"]]
    # More than the palette holds are still told apart.
    assert len(set(scenes.family_colours(NAMES, NAMES + [name.lower() for name in NAMES]).values())) == 22


def test_the_animation_is_small_and_shows_every_frame(tmp_path):
    target, families = make_target("1-D"), NAMES[:3]
    frames = {}
    for i in range(20):
        scores = dict.fromkeys(families, f"KLD 0.0{i}")
        frames[f"{i}.png"] = frame_of(target, draws(target, families, 5000, i), scores, f"{i} %")
    plotting.timeline(tmp_path / "t.gif", target, frames, COLOURS, "title")
    assert (tmp_path / "t.gif").stat().st_size < 400_000
    with Image.open(tmp_path / "t.gif") as animation:
        for i, name in enumerate(frames):
            animation.seek(i)
            pixels = np.asarray(animation.convert("RGB")).astype(int)
            assert np.abs(pixels - opened(tmp_path / name)).mean() < 1


@pytest.mark.parametrize("kind", KINDS)
def test_comparison_hist(tmp_path, kind):
    target = make_target(kind)
    plotting.comparison_hist(
        tmp_path / "c.png", target, frame_of(target, draws(target, ["A"]), {"A": BOMB}), COLOURS, BOMB
    )
    opened(tmp_path / "c.png")


def test_a_low_plane_keeps_its_size_below_a_title_of_several_lines(tmp_path, shown):
    target = make_target("2-D")
    box = np.array([[-4.0, 4.0], [-1.6, 1.6]])
    edges = [np.linspace(*side, len(each)) for side, each in zip(box, target.edges, strict=True)]
    axes = [np.linspace(*side, len(each)) for side, each in zip(box, target.axes, strict=True)]
    target = target._replace(box=box, edges=edges, axes=axes)
    title = " · ".join(["2D_MOONS", "1606 parameters", "2 seeds", "N_EVALUATIONS = 2", "the better of both seeds"] * 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for each in ("2D_MOONS", title):
            plotting.comparison_hist(
                tmp_path / "c.png", target, frame_of(target, draws(target, ["A"]), {"A": "KLD 0.1"}), COLOURS, each
            )
    short, long = shown
    assert long._suptitle.get_text().count("\n") >= 2
    for ax, same in zip(long.axes, short.axes, strict=True):
        width, usual = (a.get_position().width * fig.get_figwidth() for a, fig in ((ax, long), (same, short)))
        assert width == pytest.approx(usual, rel=0.05)
    assert collisions(long) == []


@pytest.mark.parametrize("kind", KINDS)
def test_frames_show_their_own_samples(tmp_path, kind, monkeypatch):
    target = make_target(kind)
    frames = {f"{i}.png": frame_of(target, draws(target, ["A"], seed=i), {"A": f"KLD {i}"}, f"{i} %") for i in (1, 2)}
    seen = []
    render = figures.render

    def look(fig):
        ax = fig.axes[1]
        values = ax.patches[0].get_data().values if target.dim == 1 else ax.collections[0].get_array().T
        seen.append((values.copy(), texts(fig)))
        return render(fig)

    monkeypatch.setattr(figures, "render", look)
    plotting.timeline(tmp_path / "t.gif", target, frames, COLOURS, "title")
    for (values, words), frame in zip(seen, frames.values(), strict=True):
        np.testing.assert_allclose(np.ravel(values), np.ravel(outlines.cell_heights(frame.kept["A"], target)[0]))
        assert any(frame.label in word for word in words)
        assert any(frame.scores["A"] in word for word in words)


@pytest.mark.parametrize("n_families", [1, 3, 7, 11])
def test_metrics_comparison(tmp_path, n_families, shown):
    floors = {"kld": (0.004, 0.002, 0.006), "wasserstein": (0.011, 0.0, 0.02)}
    plotting.metrics_comparison(tmp_path / "m.png", metric_curves(NAMES[:n_families]), pictured(floors), COLOURS, BOMB)
    opened(tmp_path / "m.png", (12.5, 5.4 if n_families <= 5 else 6.6))
    assert collisions(shown[0]) == []
    for ax in shown[0].axes:
        drawn = {(line.get_color(), line.get_marker()) for line in ax.lines}
        assert {(COLOURS[name], scenes.marker_of(COLOURS[name])) for name in NAMES[:n_families]} <= drawn


@pytest.mark.parametrize("sizes", [{"n_evaluations": 2}, {"n_seeds": 1}])
@pytest.mark.parametrize("values", ["as they are", "zero", "tiny", "some diverged", "all diverged"])
def test_metrics_comparison_of_odd_values(tmp_path, sizes, values, shown):
    curves = metric_curves(["A", "B"], **sizes)
    kld = curves["A"]["kld"].values
    if values in ("zero", "tiny"):
        kld[:] = 0.0 if values == "zero" else 1e-9
    if values.endswith("diverged"):
        kld[: 1 if values.startswith("some") else None, 1:] = np.nan
    floors = {"kld": (0.004, 0.002, 0.006), "wasserstein": (0.0, 0.0, 0.0)}
    plotting.metrics_comparison(tmp_path / "m.png", curves, pictured(floors), COLOURS, "title")
    opened(tmp_path / "m.png")
    if values.endswith("diverged"):
        n_lost = 1 if values.startswith("some") else len(kld)
        note = "diverged" if len(kld) == 1 else f"{n_lost} of {len(kld)} seeds diverged"
        assert f"A ({note})" in texts(shown[0])
        assert "B" in texts(shown[0])


def level_lines(ax):
    """The heights of the dashed lines across a panel, by colour."""
    across = [line for line in ax.lines if line.is_dashed() and len(line.get_xdata()) == 2]
    return {line.get_color(): line.get_ydata()[0] for line in across}


def test_metrics_comparison_shows_external_scores_as_levels(tmp_path, shown):
    externals = {"mine": {"kld": 5.0, "wasserstein": 0.3}, "yours": {"kld": 0.0, "wasserstein": np.inf},
                 "nobody's": {"kld": None}}  # fmt: skip
    colours = scenes.family_colours(["A"], list(externals))
    floors = {"kld": (0.004, 0.002, 0.006)}
    plotting.metrics_comparison(tmp_path / "m.png", metric_curves(["A"]), pictured(floors, externals), colours, "title")
    opened(tmp_path / "m.png", (12.5, 5.4))
    left, right = shown[0].axes
    assert level_lines(left) == {colours["mine"]: 5.0, colours["yours"]: left.get_ylim()[0]}
    assert level_lines(right) == {colours["mine"]: 0.3}
    assert left.get_ylim()[1] > 5
    for entry in ("mine (external)", "yours (external, no W₁)", "nobody's (external, no score)"):
        assert entry in texts(shown[0])
    assert collisions(shown[0]) == []


def test_the_dashboard_marks_who_loses_to_a_rival(tmp_path, shown):
    curves = metric_curves(NAMES)
    remarks = dict.fromkeys(NAMES[:7], "▼ loses to HISTOGRAM")
    plotting.metrics_comparison(tmp_path / "m.png", curves, pictured({}), COLOURS, "title", remarks=remarks)
    words = texts(shown[0])
    assert "A ▼ loses to HISTOGRAM" in words
    assert "H" in words
    assert collisions(shown[0]) == []


def numbers(low, high):
    """What a log axis with these limits says, from the lowest up."""
    ax = figures.new(4, 4, "").add_subplot()
    ax.set(yscale="log", ylim=(low, high))
    scales.log_ticks(ax.yaxis)
    said = {}
    for places, formatter in (
        (ax.yaxis.get_majorticklocs(), ax.yaxis.get_major_formatter()),
        (ax.yaxis.get_minorticklocs(), ax.yaxis.get_minor_formatter()),
    ):
        said |= dict(zip(places, formatter.format_ticks(places), strict=True))
    return [text for place, text in sorted(said.items()) if text and low <= place <= high]


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e11])
@pytest.mark.parametrize("ratio", [2.25, 4, 7, 30, 1e3, 1e7])
def test_no_log_axis_is_left_without_numbers(scale, ratio):
    for low in np.geomspace(1, 9.9, 12):
        said = numbers(scale * low, scale * low * ratio)
        assert 2 <= len(said) <= 10
        assert len(set(said)) == len(said)


def test_numbers_on_log_axes():
    assert numbers(1e-4, 20) == ["10⁻⁴", "0.001", "0.01", "0.1", "1", "10"]
    assert numbers(1.1, 40) == ["2", "5", "10", "20"]
    assert numbers(1e11, 3e12) == ["10¹¹", "2·10¹¹", "5·10¹¹", "10¹²", "2·10¹²"]
    assert numbers(2.1e-5, 4.9e-5) == ["3·10⁻⁵", "4·10⁻⁵"]


def test_a_median_of_diverged_seeds_leaves_the_panel(tmp_path, shown):
    curves = metric_curves(["A"], n_seeds=3)
    curves["A"]["kld"].values[:2, 5:] = np.nan
    plotting.metrics_comparison(tmp_path / "m.png", curves, pictured({}), COLOURS, "title")
    left, right = shown[0].axes
    y = left.lines[0].get_ydata()
    assert (y[:5] < left.get_ylim()[1]).all()
    assert (y[5:] > left.get_ylim()[1]).all()
    assert (right.lines[0].get_ydata() < right.get_ylim()[1]).all()


def test_course_counts_a_diverged_seed_as_infinite():
    values = np.array([[1.0, 1.0, 1.0], [2.0, np.nan, np.inf], [4.0, 4.0, np.nan]])
    median, low, high = courses.course(values)
    np.testing.assert_array_equal(median, [2, 4, np.inf])
    np.testing.assert_array_equal(low, [1, 1, 1])
    np.testing.assert_array_equal(high, [4, 4, 1])
    np.testing.assert_array_equal(courses.course(values, diverged_is_infinite=False)[0], [2, 2.5, 1])
    np.testing.assert_array_equal(courses.course(np.full((2, 1), np.nan))[0], [np.inf])
    assert np.isnan(courses.course(np.full((2, 1), np.nan), diverged_is_infinite=False)).all()


def test_last_finite_marks_where_seeds_left():
    values = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, np.nan], [np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(courses.last_finite(Curve(np.array([0, 10, 20]), values)), [[10, 5]])


@pytest.mark.parametrize("kind", ["1-D", "2-D"])
def test_open_cells_integrate_to_the_share_inside(kind):
    target = make_target(kind)
    samples = np.random.default_rng(0).normal(0, 2, (4000, target.dim))
    samples[:100] = np.nan
    heights, inside = outlines.cell_heights(shares_of(samples, target), target)
    area = np.prod([edges[1] - edges[0] for edges in target.edges])
    expected = np.mean(((samples >= -3) & (samples < 3)).all(axis=1))
    assert heights.sum() * area == pytest.approx(expected, abs=1e-12)
    assert inside == pytest.approx(expected, abs=1e-12)
    reference, *_ = np.histogramdd(samples[100:], bins=target.edges)
    np.testing.assert_allclose(heights * area * 4000, reference, atol=1e-9)


def test_closed_cells_lose_nothing():
    target = make_target("binned")
    ends = np.array([[-1e9], [-3.0], [2.999], [3.0], [np.inf]])
    heights, inside = outlines.cell_heights(shares_of(ends, target), target)
    assert inside == 1
    np.testing.assert_allclose(heights, [0.4, *[0] * 18, 0.6])


def test_contours_enclose_the_shares_they_name():
    density = make_target("2-D").density
    for share, level in zip((0.9, 0.5, 0.1), contours.enclosing_levels(density, (0.9, 0.5, 0.1)), strict=True):
        assert density[density >= level].sum() / density.sum() == pytest.approx(share, abs=0.02)


def test_what_a_panel_cannot_show_is_said(tmp_path, shown):
    target = make_target("1-D")
    samples = {"A": np.full((100, 1), 0.05), "B": np.full((100, 1), 50.0), "C": np.full((100, 1), np.nan)}
    plotting.comparison_hist(tmp_path / "c.png", target, frame_of(target, samples, {}), COLOURS, "title")
    words = " ".join(texts(shown[0]))
    assert "peak 8.3 cut" in words
    assert words.count("no sample inside the box") == 1
    assert words.split().count("diverged") == 1
    limits = {ax.get_ylim() for ax in shown[0].axes}
    assert len(limits) == 1
    assert limits.pop()[1] < 1


@pytest.mark.parametrize("n_families", [1, 7, 11])
def test_loss_curves(tmp_path, n_families, shown):
    curves = {name: {"loss": course_of(), "a_rather_long_field_name": course_of(), "kl": course_of()}
              for name in NAMES[:n_families]}  # fmt: skip
    for fields in curves.values():
        for curve in fields.values():
            curve.values[:, 0] = np.nan  # nothing has been reported before the first step
    plotting.loss_curves(
        tmp_path / "l.png", losses(curves, references={"A": (0.5, "entropy of the target")}), COLOURS, BOMB
    )
    opened(tmp_path / "l.png")
    assert not any("diverged" in text for text in texts(shown[0]))


def test_loss_curves_say_what_is_not_in_nats(tmp_path, shown):
    curves = {"A": {"loss": course_of(), "a_b": course_of()}, "B": {"loss": course_of()}}
    plotting.loss_curves(tmp_path / "l.png", losses(curves, units={"A": {"a_b": "squared distance"}}), COLOURS, "title")
    words = texts(shown[0])
    assert words.count("nats, mean over the interval") == 2
    assert words.count("loss") == 2
    assert "a b (squared distance)" in words
    assert collisions(shown[0]) == []


def test_losses_of_an_intervals_end_are_no_means(tmp_path, shown):
    curves = {name: {"loss": course_of(), "inertia": course_of()} for name in "ABC"}
    ends = {"A": ("loss", "inertia"), "B": ("inertia",)}
    plotting.loss_curves(tmp_path / "l.png", losses(curves, of_the_last=ends), COLOURS, "title")
    assert [ax.get_ylabel() for ax in shown[0].axes[:3]] == [
        "nats, end of the interval",
        "nats, mean over the interval",
        "nats, mean over the interval",
    ]


def test_what_is_not_trained_has_no_losses(tmp_path, shown):
    curves = {"A": {"loss": course_of()}, "B": {}}
    plotting.loss_curves(tmp_path / "l.png", losses(curves, units={"A": {"loss": "a unit"}}), COLOURS, "title")
    words = texts(shown[0])
    assert words.count("nothing to train") == 1
    assert words.count("loss (a unit)") == 1
    assert words.count("mean over the interval") == 1
    assert collisions(shown[0]) == []


def test_loss_curves_note_diverged_seeds(tmp_path, shown):
    curves = {"A": {"loss": course_of()}, "B": {"loss": course_of()}}
    curves["A"]["loss"].values[0, 4:] = np.nan
    curves["B"]["loss"].values[:] = np.nan
    plotting.loss_curves(tmp_path / "l.png", losses(curves), COLOURS, BOMB)
    assert "1 of 3 seeds diverged" in texts(shown[0])
    assert "3 of 3 seeds diverged" in texts(shown[0])
    assert [[text.get_text() for text in ax.texts].count("diverged") for ax in shown[0].axes] == [0, 1]
    assert collisions(shown[0]) == []


@pytest.mark.parametrize("n_lost", [1, 3])
def test_what_runs_away_does_not_flatten_the_rest(tmp_path, n_lost, shown):
    curve = course_of()
    curve.values[:n_lost, 1:4] = [1.0, 1e20, -1e35]
    curve.values[:n_lost, 4:] = np.nan
    others = course_of(seed=1)
    plotting.loss_curves(
        tmp_path / "l.png", losses({"A": {"loss": curve}}, references={"A": (0.5, "reference")}), COLOURS, "title"
    )
    low, high = shown[0].axes[0].get_ylim()
    assert -5 < low < 0.01
    assert 1 < high < 5
    opened(tmp_path / "l.png")
    curves = {"A": {"kld": others, "wasserstein": curve._replace(values=np.abs(curve.values))}}
    plotting.metrics_comparison(tmp_path / "m.png", curves, pictured({}), COLOURS, "title")
    low, high = shown[1].axes[1].get_ylim()
    assert low < scales.steady(curve).min()
    assert 1 < high < 300
    opened(tmp_path / "m.png")
    # Where it was last seen is marked, at the edge.
    (marks,) = [line for line in shown[1].axes[1].lines if line.get_marker() == "X"]
    np.testing.assert_array_equal(marks.get_xydata(), [[300, high]] * n_lost)


@pytest.mark.parametrize("kind", KINDS)
def test_a_family_that_has_diverged_is_named_where_its_data_would_be(tmp_path, kind, shown):
    target = make_target(kind)
    nothing = np.full([len(axis) for axis in target.axes], np.nan)
    curves = {"d_real": course_of(), "d_fake": course_of()}
    family_pictures.discriminator(
        tmp_path / "d.png", DiscriminatorPicture(curves, 0.45, nothing), target, COLOURS["A"], BOMB
    )
    for energy in (np.zeros_like(nothing), None):
        family_pictures.energy_landscape(
            tmp_path / "e.png", nothing, target._replace(energy=energy), COLOURS["A"], BOMB
        )
    samples = draws(target, ["A", "B"])
    samples["A"][:] = np.nan
    plotting.comparison_hist(
        tmp_path / "c.png",
        target,
        frame_of(target, samples, {"A": "3 of 4 seeds diverged"}, remarks={"B": "1 of 4 seeds diverged"}),
        COLOURS,
        BOMB,
    )
    for fig, places in zip(shown, ([0, 1], [1, 0], [1], [0, 1, 0]), strict=True):
        said = [[text.get_text() for text in ax.texts].count("diverged") for ax in fig.axes]
        assert said == (places[: len(said)] if fig is not shown[1] or target.dim == 2 else [1])
        assert collisions(fig) == []
    heads = [ax.texts[0].get_text() for ax in shown[-1].axes]
    assert heads[1:] == ["3 of 4 seeds diverged\n ", "\n1 of 4 seeds diverged"]
    for name in ("d.png", "e.png", "c.png"):
        opened(tmp_path / name)


def latents(target, n_latents=2, mean=None):
    """What z decodes to: z itself unless it is said."""
    z = np.linspace(-3, 3, 31)
    if mean is None:
        mean = np.stack(np.meshgrid(*[z] * n_latents), axis=-1)
        mean = np.concatenate([mean, 0 * mean], axis=-1)[..., : target.dim]
    few, p = None, None
    if target.binned:
        few = np.linspace(-3, 3, 7 if n_latents == 2 else 31)
        centres = target.axes[0]
        p = np.exp(-20 * (few[:, None] - centres) ** 2)
        p = np.broadcast_to(p / p.sum(-1, keepdims=True), (len(few),) * n_latents + (len(centres),))
    return LatentPicture(z, mean, 0.7, few, p)


MODES = np.array([[-2.0, 0.0], [0.0, 0.0], [2.5, 0.0]]), np.tile(0.01 * np.eye(2), (3, 1, 1))


def with_modes(target):
    means, covariances = MODES
    return target._replace(modes=(means[:, : target.dim], covariances[:, : target.dim, : target.dim]))


@pytest.mark.parametrize("n_latents", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_latent_sweep_of_what_has_diverged(kind, n_latents, tmp_path, shown):
    target = make_target(kind)
    said = latents(target, n_latents)
    said = said._replace(mean=np.full_like(said.mean, np.nan))
    latent_pictures.latent_sweep(tmp_path / "z.png", said, target, BOMB)
    opened(tmp_path / "z.png")
    panels = 1 if kind == "1-D" else 2
    assert texts(shown[0]).count("diverged") == panels
    assert not any("nats" in text or "on the target's range" in text for text in texts(shown[0]))
    assert collisions(shown[0]) == []


def test_a_frame_says_from_when_on_nothing_was_drawn(tmp_path, monkeypatch):
    target = make_target("1-D")
    frames = {
        "1.png": frame_of(target, draws(target, ["A"]), {}),
        "2.png": frame_of(target, {"A": np.full((500, 1), np.nan)}, {}),
    }
    said = []
    render = figures.render
    monkeypatch.setattr(figures, "render", lambda fig: (said.append("diverged" in texts(fig)), render(fig))[1])
    plotting.timeline(tmp_path / "t.gif", target, frames, COLOURS, "title")
    assert said == [False, True]


@pytest.mark.parametrize("kind", KINDS)
def test_discriminator(tmp_path, kind):
    target = make_target(kind)
    d_map = np.random.default_rng(0).uniform(0.2, 0.8, [len(axis) for axis in target.axes])
    curves = {"d_real": course_of(), "d_fake": course_of()}
    family_pictures.discriminator(
        tmp_path / "d.png", DiscriminatorPicture(curves, 0.45, d_map), target, COLOURS["A"], BOMB
    )
    opened(tmp_path / "d.png", (12.5, 5.4))


@pytest.mark.parametrize(("real", "fake"), [(0.4501, 0.4499), (0.7, 0.2), (0.45, np.nan)])
def test_discriminator_lines_can_be_told_from_the_equilibrium(tmp_path, shown, real, fake):
    target = make_target("1-D")
    curves = {f"d_{name}": Curve(np.arange(1, 12), np.full((3, 11), d)) for name, d in (("real", real), ("fake", fake))}
    d_map = np.full(200, 0.45)
    family_pictures.discriminator(
        tmp_path / "d.png", DiscriminatorPicture(curves, 0.45, d_map), target, COLOURS["A"], "title"
    )
    low, high = shown[0].axes[0].get_ylim()
    least, most = np.nanmin([0.45, real, fake]), np.nanmax([0.45, real, fake])
    assert low < least <= most < high
    assert high - low == pytest.approx(max(0.1, 1.16 * (most - least)))
    black, coloured = shown[0].axes[0].lines[:2]
    assert black.get_linewidth() > coloured.get_linewidth()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exact", ["exact", "infinite somewhere", "none"])
def test_energy_landscape(tmp_path, kind, exact, shown):
    target = make_target(kind)
    energy = sum(axis**2 for axis in np.meshgrid(*target.axes, indexing="ij")) * 5.0
    target_energy = None if exact == "none" else energy * 0.8 + 1
    if exact.startswith("infinite"):
        target_energy[:4] = np.inf
    target = target._replace(energy=target_energy)
    family_pictures.energy_landscape(tmp_path / "e.png", energy, target, COLOURS["A"], BOMB)
    opened(tmp_path / "e.png")
    assert any("cut 12 nats" in text for text in texts(shown[0]))
    assert ("target: −ln p(x)" in texts(shown[0])) == (exact != "none")


@pytest.mark.parametrize("has_modes", [False, True])
@pytest.mark.parametrize("n_latents", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_latent_sweep(kind, n_latents, has_modes, tmp_path, shown):
    target = make_target(kind)
    target = with_modes(target) if has_modes else target
    latent_pictures.latent_sweep(tmp_path / "z.png", latents(target, n_latents), target, BOMB)
    opened(tmp_path / "z.png", (6.6 if kind == "1-D" else 12.2, 6.1))
    said = "rate 0.70 nats" + (" · within 2σ it reaches 2 of 3 modes" if has_modes else "")
    assert said in texts(shown[0])
    assert collisions(shown[0]) == []


def test_colours_of_a_latent_sweep_are_on_the_target_s_range(tmp_path, shown):
    target = make_target("1-D")
    flat = latents(target)
    flat = flat._replace(mean=flat.mean * 0.005, rate=0.012)
    latent_pictures.latent_sweep(tmp_path / "z.png", flat, target, "title")
    (mesh,) = [each for each in shown[0].axes[0].collections if each.get_array() is not None]
    assert (mesh.norm.vmin, mesh.norm.vmax) == (-3, 3)
    assert "posterior collapse: rate 0.012 nats" in texts(shown[0])


def test_modes_that_a_code_reaches_are_those_near_decoded_means_within_two_deviations():
    target = with_modes(make_target("2-D"))
    z = np.linspace(-3, 3, 31)
    # Decoded means are z: the mode at 2.5 lies beyond the disc, and 0.29 from one is near, 0.31 is not.
    for offset, expected in ((0.0, 2), (0.29, 2), (0.31, 0)):
        mean = np.stack(np.meshgrid(z, 0 * z + offset), axis=-1)
        assert latent_pictures.modes_reached(latents(target, mean=mean), target) == expected
    # With bins it is where most of p(x|z) lies: not in the middle of two others.
    target = with_modes(make_target("binned"))
    centres = target.axes[0]
    few = np.linspace(-3, 3, 7)
    for at, expected in ((0.0, 1), (2.5, 1), ((-2.0, 2.5), 0)):
        p = np.zeros(len(centres))
        for each in np.ravel(at):
            p[np.abs(centres - each).argmin()] += 1 / np.size(at)
        said = latents(target)._replace(few=few, probabilities=np.broadcast_to(p, (7, 7, len(centres))))
        assert latent_pictures.modes_reached(said, target) == expected


def test_a_failed_write_leaves_the_old_picture_and_no_temporary_file(tmp_path, monkeypatch):
    path = tmp_path / "m.png"
    path.write_bytes(b"old")

    def fail(self, file, *args, **kwargs):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        plotting.metrics_comparison(path, metric_curves(["A"]), pictured({}), COLOURS, "title")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def collisions(fig):
    """Pairs of titles, notes, labels and legend entries that overlap, and those that leave the figure."""
    words = [fig._suptitle, *(word for legend in fig.legends for word in (legend.get_title(), *legend.get_texts()))]
    for ax in fig.axes:
        words += [ax.title, ax._left_title, *ax.texts, ax.xaxis.label, ax.yaxis.label]
        for child in ax.child_axes:
            words.append(child.yaxis.label)
    boxes = [(word.get_text(), word.get_window_extent()) for word in words if word.get_text().strip()]
    found = [f"{a} × {b}" for i, (a, one) in enumerate(boxes) for b, two in boxes[:i] if one.padded(-1).overlaps(two)]
    frame = fig.bbox.padded(1)
    return found + [a for a, box in boxes if not (frame.contains(*box.min) and frame.contains(*box.max))]


@pytest.mark.parametrize(("kind", "n_families"), [("1-D", 3), ("binned", 6), ("2-D", 1), ("2-D", 3), ("table", 6)])
def test_texts_neither_collide_nor_leave_the_picture(tmp_path, kind, n_families, shown):
    target, families = make_target(kind), NAMES[:n_families]
    scores = dict.fromkeys(families, "KLD 0.0021   sliced W₁ 0.0134")
    samples = draws(target, families)
    samples["A"] *= 0.01
    plotting.comparison_hist(
        tmp_path / "c.png", target, frame_of(target, samples, scores), COLOURS, "a title of some words " * 6
    )
    assert collisions(shown[0]) == []
    # The title keeps its distance, which a layout of square panels only has once it is settled.
    names = [ax._left_title.get_window_extent().y1 for ax in shown[0].axes]
    assert shown[0]._suptitle.get_window_extent().y0 - max(names) > 15


@pytest.mark.parametrize(("kind", "n_families", "external"), [
    ("1-D", 3, []), ("binned", 3, ["my-QCBM-300"]), ("2-D", 3, []), ("2-D", 1, ["my-QCBM-300"]),
    ("1-D", 4, ["my-QCBM-300", "another-circuit-born-machine"]),
    ("2-D", 4, ["my-QCBM-300", "a name that is longer than any panel can be wide"]),
])  # fmt: skip
def test_the_floor_stands_where_scores_stand(tmp_path, kind, n_families, external, shown):
    target, families = make_target(kind)._replace(name="2D_MIX_GAUSS"), NAMES[:n_families]
    floor = "floor: KLD 0.0019   sliced W₁ 0.0230"
    colours = scenes.family_colours(NAMES, external)
    scores = dict.fromkeys([*families, *external], "KLD 0.0021   sliced W₁ 0.0134")
    samples = draws(target, families)
    samples["A"] *= 0.01
    heights = dict.fromkeys(external, target.masses.ravel())
    plotting.comparison_hist(
        tmp_path / "c.png",
        target,
        frame_of(target, samples, scores, masses=heights),
        colours,
        "title",
        floors_text=floor,
    )
    plotting.timeline(
        tmp_path / "t.gif",
        target,
        {"f.png": frame_of(target, samples, scores, "5 %")},
        colours,
        "title",
        floors_text=floor,
    )
    for fig, n_panels in zip(shown, (1 + len(families) + len(external), 1 + len(families)), strict=True):
        assert len(fig.axes) == n_panels
        assert collisions(fig) == []
        heads = [ax.texts[0] for ax in fig.axes]
        assert heads[0].get_text().split("\n")[0] == floor
        assert len({(head.get_fontsize(), head.get_text().count("\n")) for head in heads}) == 1
        assert heads[0].get_fontsize() >= 9
        assert fig.axes[0]._left_title.get_text() == "target: 2D_MIX_GAUSS"


def test_many_scores_stand_in_two_lines(tmp_path, shown):
    target, families = make_target("1-D")._replace(name="TARGET"), NAMES[:3]
    many = "error of E 0.0087   error of |m| 0.0094   error of C 0.1087   error of χ 0.3824"
    in_lines = "error of E 0.0087   error of |m| 0.0094\nerror of C 0.1087   error of χ 0.3824"
    frame = frame_of(target, draws(target, families), dict.fromkeys(families, many) | {"C": "diverged at step 3"})
    plotting.comparison_hist(tmp_path / "c.png", target, frame, COLOURS, "title", floors_text=f"floor: {many}")
    first, second, *_, last = (ax.texts[0] for ax in shown[0].axes)
    assert first.get_text().startswith(f"floor: {in_lines}")
    assert second.get_text().startswith(in_lines)
    assert last.get_text().startswith("diverged at step 3")
    assert first.get_fontsize() >= 9
    assert collisions(shown[0]) == []


@pytest.mark.parametrize(("floor", "lowest"), [((0.004, 0.002, 0.006), 2e-4), (None, 1e-7)])
def test_a_score_that_is_small_by_chance_does_not_stretch_its_axis(tmp_path, floor, lowest, shown):
    curves = {"A": {"kld": Curve(np.array([0, 50, 100]), np.array([[1.0, 1e-7, 0.004]]))}}
    metrics = {"kld": MetricPicture("KLD", floor, {}, False)}
    plotting.metrics_comparison(tmp_path / "m.png", curves, metrics, COLOURS, "title")
    low, _ = shown[0].axes[0].get_ylim()
    assert lowest / 2 < low <= lowest


@pytest.mark.parametrize(
    ("reference", "label", "said"),
    [(-163.94, "loss + 163.9", "exact: −163.9"), (163.94, "loss − 163.9", "exact: 163.9")],
)
def test_a_reference_has_one_sign(tmp_path, reference, label, said, shown):
    one = losses({"A": {"loss": course_of()}}, references={"A": (reference, "exact")})
    plotting.loss_curves(tmp_path / "l.png", one, COLOURS, "title")
    assert {label, said} <= set(texts(shown[0]))


@pytest.mark.parametrize("kind", KINDS)
def test_known_masses_are_drawn_as_they_are(tmp_path, kind, shown):
    target = make_target(kind)
    masses = np.random.default_rng(0).dirichlet(np.ones(target.masses.size))
    samples = draws(target, ["A"])
    # What lies outside the box comes after the cells.
    plotting.comparison_hist(
        tmp_path / "c.png",
        target,
        frame_of(target, samples, {"B": "KLD 1.2"}, masses={"B": np.append(0.9 * masses, 0.1)}),
        COLOURS,
        "title",
    )
    last = shown[0].axes[-1]
    values = last.patches[0].get_data().values if target.dim == 1 else last.collections[0].get_array().T
    area = 1.0 if target.binned else np.prod([edges[1] - edges[0] for edges in target.edges])
    np.testing.assert_allclose(np.ravel(values) * area, 0.9 * masses)
    assert last._left_title.get_text() == "B"
    assert last.texts[0].get_text().startswith("KLD 1.2\n10 % outside")
    assert any("samples, but exact probabilities of B" in text for text in texts(shown[0]))
    assert collisions(shown[0]) == []


@pytest.mark.parametrize("kind", ["binned", "2-D"])
def test_known_masses_need_no_samples_beside_them(tmp_path, kind, shown):
    target = make_target(kind)
    plotting.comparison_hist(
        tmp_path / "c.png",
        target,
        frame_of(target, {}, {}, masses={"B": target.masses}),
        COLOURS,
        "title",
        floors_text="floor: KLD 0.0019",
    )
    opened(tmp_path / "c.png")
    assert [ax._left_title.get_text() for ax in shown[0].axes] == ["target: TARGET", "B"]
    assert not any("samples" in text for text in texts(shown[0]))
    assert collisions(shown[0]) == []


@pytest.mark.parametrize("n_families", [1, 3, 6, 11])
def test_the_dashboard_has_room_for_every_name(tmp_path, n_families, shown):
    curves = {f"{name}_OF_SOME_LENGTH": metrics for name, metrics in metric_curves(NAMES[:n_families]).items()}
    for metrics in curves.values():
        metrics["kld"].values[0, 5:] = np.nan
    colours = scenes.family_colours(list(curves))
    plotting.metrics_comparison(tmp_path / "m.png", curves, pictured({"kld": (0.004, 0.002, 0.006)}), colours, "title")
    assert collisions(shown[0]) == []
    lowest = min(ax.get_tightbbox().y0 for ax in shown[0].axes)
    assert shown[0].legends[0].get_window_extent().y1 <= lowest + 1


def test_titles_break_between_their_parts(tmp_path, shown):
    z = np.linspace(-3, 3, 5)
    title = "VAE · 1D_POISSON · 14 bins · 1600 parameters · 4 seeds · the seed of median KLD"
    said = LatentPicture(z, z[:, None, None] + np.zeros((5, 5, 1)), 0.5)
    latent_pictures.latent_sweep(tmp_path / "z.png", said, make_target("1-D"), title)
    first, second = shown[0]._suptitle.get_text().split("\n")
    # No separator is left hanging where a line ends.
    assert f"{first} · {second}" == title


def test_long_titles_are_broken_and_stay_inside(tmp_path, shown):
    title = "a rather long title of many words " * 8
    plotting.metrics_comparison(tmp_path / "m.png", metric_curves(["A"]), pictured({}), COLOURS, title)
    fig = shown[0]
    box = fig._suptitle.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= fig.bbox.x1
    assert box.y0 >= max(ax.get_window_extent().y1 for ax in fig.axes)


def contour_words(tmp_path, shown, target):
    plotting.comparison_hist(
        tmp_path / "c.png", target, frame_of(target, draws(target, ["A"]), {"A": "KLD 1"}), COLOURS, "title"
    )
    assert collisions(shown[-1]) == []
    return [text for text in texts(shown[-1]) if text.startswith("contour")]


def test_narrow_and_level_targets_have_one_contour(tmp_path, shown):
    target = make_target("2-D")
    assert contour_words(tmp_path, shown, target) == ["contours: 90, 50, 10 % of the target"]
    fine = [np.linspace(-3, 3, 300)] * 2
    one = np.exp(-0.5 * (fine[0] / 0.05) ** 2)
    narrow = target._replace(density_axes=fine, density=one[:, None] * one[None, :])
    assert contour_words(tmp_path, shown, narrow) == ["contour: 90 % of the target"]
    # The line is where the target is, on the axes that belong to the density.
    (line,) = [path for path in shown[-1].axes[0].collections[-1].get_paths() if len(path.vertices)]
    radius = np.linalg.norm(line.vertices, axis=1)
    # A disc of a share s of a round Gaussian has the radius σ √(−2 ln(1 − s)).
    np.testing.assert_allclose(radius, 0.05 * np.sqrt(-2 * np.log(0.1)), atol=0.01)
    level = np.where(np.abs(fine[0]) < 1, 1.0, 0.0)
    square = target._replace(density_axes=fine, density=level[:, None] * level[None, :])
    assert contour_words(tmp_path, shown, square) == ["contour: edge of the target"]
    (line,) = [path for path in shown[-1].axes[0].collections[-1].get_paths() if len(path.vertices)]
    np.testing.assert_allclose(np.abs(line.vertices).max(axis=1), 1, atol=0.02)


@pytest.mark.parametrize(("n", "second_line"), [(20_000, 0.0), (500, 0.4)])
def test_a_flat_plane_takes_less_room(tmp_path, shown, n, second_line):
    square = make_target("2-D")
    flat = square._replace(box=np.array([[-3.0, 3.0], [-2.0, 2.0]]))
    for target in (square, flat):
        samples = draws(target, NAMES[:4], n)
        plotting.comparison_hist(tmp_path / "c.png", target, frame_of(target, samples, {}), COLOURS, "title")
        assert collisions(shown[-1]) == []
    # Of so few points the fullest cell is cut, and a second line in each head says so.
    assert any("cut" in text for text in texts(shown[-1])) == bool(second_line)
    heights = [fig.get_figheight() for fig in shown]
    # Two rows of panels, each two thirds as high, with room for the second line.
    assert heights[0] - heights[1] == pytest.approx(2 * (2.9 / 3 - second_line))


def exact_picture(**more):
    return MetricPicture("exact KL (nats)", None, {}, True, **more)


def test_what_needs_no_sample_has_a_panel_of_its_own_below_the_others(tmp_path, shown):
    curves = metric_curves(["A", "B", "C"])
    for family in "AB":
        curves[family]["kl_exact"] = course_of()
    metrics = pictured({"kld": (0.004, 0.002, 0.006)}) | {"kl_exact": exact_picture(estimates=["A"])}
    plotting.metrics_comparison(tmp_path / "m.png", curves, metrics, COLOURS, "title")
    left, right, below = shown[0].axes
    assert [ax.get_ylabel() for ax in (left, right, below)] == ["KLD (nats)", "W₁ (units of x)", "exact KL (nats)"]
    places = [ax.get_position() for ax in (left, right, below)]
    assert places[2].y1 < min(places[0].y0, places[1].y0)
    assert places[2].x0 == pytest.approx(places[0].x0, abs=0.01)
    assert places[2].x1 == pytest.approx(places[1].x1, abs=0.01)
    assert {line.get_color() for line in below.lines} == {COLOURS["A"], COLOURS["B"]}
    words = texts(shown[0])
    assert {"A (exact KL ≈)", "B", "C (no exact KL)"} <= {*words}
    assert collisions(shown[0]) == []


def test_steps_that_grow_have_a_logarithmic_axis_that_begins_with_0(tmp_path, shown):
    steps = np.array([0, 1, 2, 3, 5, 10, 30, 100, 1000, 20_000])
    rng = np.random.default_rng(0)
    growing = Curve(steps, rng.uniform(1, 2, (3, len(steps))))
    curves = {"A": {"kld": growing, "wasserstein": course_of()}}
    plotting.metrics_comparison(tmp_path / "m.png", curves, pictured({}), COLOURS, "title")
    left, right = shown[0].axes
    assert [left.get_xscale(), right.get_xscale()] == ["symlog", "linear"]
    assert left.get_xlim()[0] < 0 < 20_000 < left.get_xlim()[1]
    labels = [label.get_text() for label in left.get_xticklabels() if label.get_text()]
    assert labels[:6] == ["0", "1", "10", "100", "1\u2009000", "10\u2009000"]
    places = [scales.share_of_width(left, step) for step in (0, 1, 10, 100, 1000)]
    np.testing.assert_allclose(np.diff(places[1:]), places[2] - places[1], rtol=0.05)
    assert 0 < places[0] < places[1]


def test_a_loss_is_drawn_as_its_distance_from_that_of_a_perfect_model(tmp_path, shown):
    curve, other = course_of(), course_of(seed=1)
    said = {"A": {"loss": curve, "rate": other}, "B": {"loss": curve}}
    plotting.loss_curves(
        tmp_path / "l.png", losses(said, references={"A": (0.5, "entropy of the target")}), COLOURS, "title"
    )
    with_reference, without = shown[0].axes
    assert [ax.get_yscale() for ax in (with_reference, without)] == ["symlog", "linear"]
    lines = {line.get_label(): line.get_ydata() for line in with_reference.lines}
    np.testing.assert_allclose(lines["loss − 0.5"], np.median(curve.values, axis=0) - 0.5)
    np.testing.assert_allclose(lines["rate"], np.median(other.values, axis=0))
    assert set(lines["entropy of the target: 0.5"]) == {0.0}
    low, high = with_reference.get_ylim()
    assert low < min(lines["loss − 0.5"]) < 0 < max(lines["rate"]) < high
    assert all(tick == 0 or abs(tick) >= 1e-3 for tick in with_reference.get_yticks())
    np.testing.assert_allclose(without.lines[0].get_ydata(), np.median(curve.values, axis=0))
    assert collisions(shown[0]) == []


@pytest.mark.parametrize(("lowest", "scale"), [(0.5, "linear"), (0.02, "log")])
def test_a_metric_that_hardly_moves_has_a_linear_axis_from_zero(tmp_path, lowest, scale, shown):
    steps = np.array([0, 50, 100])
    curves = {"A": {"tv": Curve(steps, np.array([[1.0, 0.8, lowest]]))}}
    metrics = {"tv": MetricPicture("exact total variation", None, {}, True)}
    plotting.metrics_comparison(tmp_path / "m.png", curves, metrics, COLOURS, "title")
    (ax,) = shown[0].axes
    low, high = ax.get_ylim()
    assert ax.get_yscale() == scale
    assert high > 1
    assert (low == 0) == (scale == "linear")


def test_what_is_estimated_or_missing_is_said_once(tmp_path, shown):
    steps = np.array([0, 50, 100])
    course = Curve(steps, np.array([[1.0, 0.1, 0.01]]))
    curves = {"A": {"kld": course, "kl": course, "tv": course}, "B": {"kld": course}}
    exact = {
        name: MetricPicture(label, None, {}, True, ("A",)) for name, label in (("kl", "exact KL (nats)"), ("tv", "TV"))
    }
    metrics = {"kld": MetricPicture("KLD (nats)", None), **exact}
    plotting.metrics_comparison(tmp_path / "m.png", curves, metrics, COLOURS, "title")
    assert {"A (exact KL and TV ≈)", "B (no exact KL and TV)"} <= {*texts(shown[0])}


@pytest.mark.parametrize(("top", "scale"), [(1.0, "log"), (0.012, "linear")])
def test_rivals_that_were_not_trained_are_lines_with_names(tmp_path, top, scale, shown):
    course = Curve(np.array([0, 50, 100]), np.array([[top, 0.011, 0.01]]))
    # Two at one height, and one close below, which has its name below its line.
    known = {"I": top, "J": top, "K": 0.9 * top if scale == "log" else 0.011}
    metrics = {"kl": exact_picture(rivals=known), "tv": exact_picture()}
    curves = {"A": {"kl": course, "tv": course}}
    plotting.metrics_comparison(tmp_path / "m.png", curves, metrics, COLOURS, "title")
    left, right = shown[0].axes
    assert left.get_yscale() == scale
    assert {colour: y for colour, y in level_lines(left).items() if colour != COLOURS["A"]} == {
        COLOURS[name]: value for name, value in known.items()
    }
    assert level_lines(right) == {}
    names = {text.get_text(): text.get_va() for text in left.texts if text.get_text() in ("I, J", "K")}
    assert names["I, J"] == "bottom"
    assert names["K"] == ("top" if scale == "log" else "bottom")
    assert any("dotted: the smallest that a trivial model can have" in words for words in texts(shown[0]))
    assert collisions(shown[0]) == []

"""What a score costs and what it depends on is drawn as the arrays say, whatever is missing."""

import numpy as np
import pytest
import test_plotting
from test_plotting import collisions, course_of, level_lines, opened, texts

from benchmark.pictures.views.costs import _way, cost_quality
from benchmark.pictures.views.sensitivity import kld_sensitivity
from core.drawing import figures, scenes
from core.drawing.scenes import CostPicture, Curve, MetricPicture, Sensitivity

no_warnings, shown = test_plotting.no_warnings, test_plotting.shown
NAMES, EXTERNAL = ["GAN", "VAE", "RBM"], ["my-QCBM-300", "another-circuit-born-machine"]
COLOURS = scenes.family_colours(NAMES, EXTERNAL)
FLOOR = (0.004, 0.002, 0.006)


def cost_of(seconds=10.0, operations=1e12, **sizes):
    course = course_of(**sizes)
    return CostPicture(seconds, operations, course.values[:, -1], course)


def costs(n=3, **sizes):
    return {name: cost_of(10.0 * 3**i, 1e12 / 2**i, **sizes) for i, name in enumerate(NAMES[:n])}


def lines_of(ax, colour, marker):
    return [line for line in ax.lines if line.get_color() == colour and line.get_marker() == marker]


def ends_of(ax, name):
    """The family's own marker where its training ends; that of the first family is also every seed's."""
    return lines_of(ax, COLOURS[name], scenes.marker_of(COLOURS[name]))


def draw_costs(tmp_path, points, externals=None, floor=FLOOR):
    cost_quality(
        tmp_path / "c.png",
        points,
        MetricPicture("KLD (nats)", floor, externals or {}),
        COLOURS,
        "title of a run · 4 seeds",
    )
    return opened(tmp_path / "c.png")


@pytest.mark.parametrize("others", [0, 2])
def test_what_is_not_trained_is_a_level_over_all_costs(tmp_path, others, shown):
    points = {name: cost._replace(seconds=0.0, operations=0.0) if i == 0 else cost
              for i, (name, cost) in enumerate(costs(1 + others).items())}  # fmt: skip
    draw_costs(tmp_path, points)
    fig, name = shown[0], NAMES[0]
    assert len(fig.axes) == (2 if others else 1)
    for ax in fig.axes:
        (level,) = [line for line in ax.lines if line.get_color() == COLOURS[name]]
        np.testing.assert_allclose(level.get_ydata(), np.median(points[name].score))
    assert f"{name} (nothing to train)" in texts(fig)
    assert collisions(fig) == []


@pytest.mark.parametrize("n_families", [1, 3])
@pytest.mark.parametrize("external", [[], EXTERNAL])
@pytest.mark.parametrize("sizes", [{}, {"n_seeds": 1}, {"n_evaluations": 2}])
def test_cost_quality(tmp_path, n_families, external, sizes, shown):
    points = costs(n_families, **sizes)
    draw_costs(tmp_path, points, {name: 0.1 * 30**i for i, name in enumerate(external)})
    fig = shown[0]
    assert fig.get_figwidth() == 12.5
    assert collisions(fig) == []
    for ax, field in zip(fig.axes, ("seconds", "operations"), strict=True):
        assert level_lines(ax) | {COLOURS[name]: 0.1 * 30**i for i, name in enumerate(external)} == level_lines(ax)
        for name, cost in points.items():
            total = getattr(cost, field)
            median = ends_of(ax, name)[0]
            np.testing.assert_allclose(median.get_xydata(), [[total, np.median(cost.score)]])
            way = next(line for line in lines_of(ax, COLOURS[name], "None") if not line.is_dashed())
            np.testing.assert_allclose(way.get_xdata(), total * cost.course.steps[1:] / 1000)
            np.testing.assert_allclose(way.get_ydata(), np.median(cost.course.values, axis=0)[1:])
            low, high = ax.get_xlim()
            assert low < way.get_xdata().min() <= total < high
    for name in external:
        assert f"{name} (cost unknown)" in texts(fig)


def test_a_score_that_is_an_estimate_says_so(tmp_path, shown):
    metric = MetricPicture("exact KL (nats)", None, {}, True, ("GAN",))
    cost_quality(tmp_path / "c.png", costs(), metric, COLOURS, "title")
    assert "GAN (exact KL ≈)" in texts(shown[0])
    assert sum("≈" in text for text in texts(shown[0])) == 1


@pytest.mark.parametrize("n_families", [7, 11])
def test_many_families_have_room(tmp_path, n_families, shown):
    names = [f"FAMILY_{i}" for i in range(n_families)]
    colours = scenes.family_colours(names)
    points = {name: cost_of(10.0 * 1.3**i, 1e12 / 1.5**i) for i, name in enumerate(names)}
    remarks = dict.fromkeys(names[:5], "▼ loses to HISTOGRAM")
    cost_quality(tmp_path / "c.png", points, MetricPicture("KLD (nats)", FLOOR, {}), colours, "title", remarks=remarks)
    for cells in ((10, 30, 100), (20,)):
        grid = sensitivity(cells=cells, chosen=(cells[0], 1e-10))
        values = grid.families["GAN"]
        grid = grid._replace(families={name: values * (1 + 0.1 * i) for i, name in enumerate(names)})
        kld_sensitivity(tmp_path / "s.png", grid, colours, "title")
    for fig in shown:
        assert collisions(fig) == []
        assert set(names) <= {text.get_text().split(" ")[0] for text in fig.legends[0].get_texts()}
        # Below all data.
        lowest = min(ax.get_tightbbox().y0 for ax in fig.axes)
        assert fig.legends[0].get_window_extent().y1 <= lowest + 1


def test_every_seed_is_drawn_beside_the_median(tmp_path, shown):
    points = costs()
    draw_costs(tmp_path, points)
    for name, cost in points.items():
        median, seeds = ends_of(shown[0].axes[0], name)[0], lines_of(shown[0].axes[0], COLOURS[name], "o")[-1]
        np.testing.assert_array_equal(seeds.get_ydata(), cost.score)
        place = [line.get_transform().transform(line.get_xydata())[0, 0] for line in (median, seeds)]
        assert 5 < place[1] - place[0] < 25
        assert seeds.get_markersize() < median.get_markersize()


def test_the_same_cost_is_marked_where_lines_can_be_compared(tmp_path, shown):
    draw_costs(tmp_path, costs())
    assert level_lines(shown[0].axes[0]) == {figures.TARGET_COLOUR: 0}
    cheapest = [ax.lines[-1].get_xdata()[0] for ax in shown[0].axes]
    assert cheapest == [10.0, 0.25e12]
    draw_costs(tmp_path, {name: cost._replace(course=None) for name, cost in costs().items()})
    words = texts(shown[1])
    assert "equal cost: what the cheapest took" in texts(shown[0])
    assert not any("equal cost" in word or "the way" in word for word in words)


def test_diverged_seeds_are_counted_and_diverged_families_named(tmp_path, shown):
    points = costs()
    points["GAN"] = points["GAN"]._replace(score=np.full(3, np.nan))
    points["VAE"] = points["VAE"]._replace(score=np.array([0.1, np.inf, np.nan]))
    points["RBM"] = points["RBM"]._replace(score=np.array([0.1, 0.2, np.nan]))
    draw_costs(tmp_path, points)
    words = texts(shown[0])
    for name, lost in zip(NAMES, (3, 2, 1), strict=True):
        assert f"{name} ({lost} of 3 seeds diverged)" in words
    assert "the median seed has diverged" in words
    for ax in shown[0].axes:
        assert not [line for line in ax.lines if line.get_color() == COLOURS["GAN"]]
        (lost,) = lines_of(ax, COLOURS["VAE"], "^")
        assert lost.get_ydata() == ax.get_ylim()[1]
        assert lines_of(ax, COLOURS["VAE"], "o")[0].get_ydata() == [0.1]
        assert ends_of(ax, "RBM")[0].get_ydata() == [0.2]
    assert collisions(shown[0]) == []


def test_who_loses_to_a_rival_is_marked_beside_its_cost(tmp_path, shown):
    remarks = {"VAE": "▼ loses to HISTOGRAM", EXTERNAL[0]: "▼ loses to HISTOGRAM and KDE"}
    cost_quality(
        tmp_path / "c.png",
        costs(),
        MetricPicture("KLD (nats)", FLOOR, {EXTERNAL[0]: 9.0}),
        COLOURS,
        "title",
        remarks=remarks,
    )
    assert {"GAN", "VAE ▼ loses to HISTOGRAM"} <= set(texts(shown[0]))
    assert f"{EXTERNAL[0]} (cost unknown) ▼ loses to HISTOGRAM and KDE" in texts(shown[0])
    assert collisions(shown[0]) == []


def test_unknown_costs_are_said(tmp_path, shown):
    points = costs()
    points["GAN"] = points["GAN"]._replace(operations=None)
    points["VAE"] = points["VAE"]._replace(seconds=float("nan"))
    draw_costs(tmp_path, points, {EXTERNAL[0]: None, EXTERNAL[1]: np.inf})
    assert {"GAN (operations unknown)", "VAE (time unknown)", *(f"{name} (no KLD)" for name in EXTERNAL)} <= set(
        texts(shown[0])
    )
    left, right = shown[0].axes
    assert not ends_of(left, "VAE")
    assert not ends_of(right, "GAN")
    assert ends_of(left, "GAN")
    draw_costs(tmp_path, {name: cost._replace(operations=None) for name, cost in points.items()})
    (only,) = shown[1].axes
    assert only.get_xlabel() == "training wall time / number of seeds (s)"
    assert collisions(shown[1]) == []


@pytest.mark.parametrize("floor", [None, (0.0, 0.0, 0.0), FLOOR])
@pytest.mark.parametrize("kld", [0.0, -1e-3, 1e-9, 20.0, np.nan])
def test_cost_quality_of_odd_scores(tmp_path, floor, kld, shown):
    values = np.full(2, kld)
    points = {"GAN": CostPicture(1e-3, 1e15, values, Curve(np.array([0, 1]), np.array([[1.0, kld]] * 2)))}
    draw_costs(tmp_path, points, floor=floor)
    words = texts(shown[0])
    assert ("the median is no more than 0" in words) == (kld <= 0)
    assert ("all families have diverged" in words) == np.isnan(kld)
    assert collisions(shown[0]) == []


def sensitivity(
    cells=(8, 16, 32, 64, 128, 256), epsilons=(1e-12, 1e-10, 1e-3), external=(), n_seeds=3, chosen=(64, 1e-10)
):
    rng = np.random.default_rng(0)
    cells, epsilons = np.array(cells), np.array(epsilons)
    floor = cells[:, None] / 2000 * (1 - np.log10(epsilons)[None] / 10)
    families = {name: floor + rng.uniform(0.01, 0.02, (n_seeds, *floor.shape)) for name in NAMES}
    families |= dict.fromkeys(external, floor[None] + 0.5)
    return Sensitivity(cells, epsilons, families, np.stack([floor, 0.5 * floor, 2 * floor]), chosen, external)


@pytest.mark.parametrize("grid", [
    sensitivity(),
    sensitivity(external=EXTERNAL, epsilons=(1e-12, 1e-10, 1e-6, 1e-3)),
    sensitivity(epsilons=(1e-10,)),
    sensitivity(epsilons=(1e-10, 1e-3), n_seeds=1),
    sensitivity(cells=(5, 20, 10), chosen=(20, 1e-10)),
    sensitivity(cells=(10, 16, 20, 25, 32, 40, 50, 64, 100, 1000), chosen=(48, 1e-10)),
], ids=["plain", "externals", "one epsilon", "one seed", "unsorted", "crowded"])  # fmt: skip
def test_kld_sensitivity(tmp_path, grid, shown):
    kld_sensitivity(tmp_path / "s.png", grid, COLOURS, "title of a run", cells_label="cells an axis")
    opened(tmp_path / "s.png")
    fig = shown[0]
    assert collisions(fig) == []
    order = np.argsort(grid.cells)
    assert len(fig.axes) == len(grid.epsilons)
    assert len({ax.get_ylim() for ax in fig.axes}) == 1
    for e, ax in enumerate(fig.axes):
        assert ax.get_xlabel() == "cells an axis"
        drawn = {line.get_color(): line for line in ax.lines}
        for name, values in grid.families.items():
            line = drawn[COLOURS[name]]
            np.testing.assert_allclose(line.get_xdata(), grid.cells[order])
            np.testing.assert_allclose(line.get_ydata(), np.median(values[:, order, e], axis=0))
            assert line.is_dashed() == (name in grid.externals)
        np.testing.assert_allclose(drawn[figures.FLOOR_COLOUR].get_ydata(), grid.floor[0, order, e])
        assert set(grid.cells) <= set(ax.xaxis.get_majorticklocs())
        numbers = [label for label in ax.get_xticklabels() if label.get_text()]
        assert str(grid.chosen[0]) in [label.get_text() for label in numbers]
        boxes = [label.get_window_extent() for label in numbers]
        assert not any(one.overlaps(two) for i, one in enumerate(boxes) for two in boxes[:i])
        own = grid.epsilons[e] == grid.chosen[1]
        assert ("(this run)" in ax._left_title.get_text()) == own
        assert (ax._left_title.get_fontweight() == "bold") == own == ax.spines["top"].get_visible()
        marks = [line for line in ax.lines if line.get_color() == figures.TARGET_COLOUR]
        assert [line.get_xdata()[0] for line in marks] == [grid.chosen[0]] * bool(own)
    for name in grid.externals:
        assert f"{name} (external)" in texts(fig)


def test_external_samples_alone_and_a_long_label(tmp_path, shown):
    grid = sensitivity(epsilons=(1e-12, 1e-10, 1e-6, 1e-3), external=EXTERNAL)
    grid = grid._replace(families={name: grid.families[name] for name in EXTERNAL})
    label = "cells that the bins are merged into"
    kld_sensitivity(tmp_path / "s.png", grid, COLOURS, "title", cells_label=label)
    assert collisions(shown[0]) == []
    assert {ax.get_xlabel().replace("\n", " ") for ax in shown[0].axes} == {label}
    assert not any("seeds" in text for text in texts(shown[0]))


def test_one_number_of_cells_is_drawn_as_points_beside_each_other(tmp_path, shown):
    grid = sensitivity(cells=(20,), chosen=(20, 1e-10), external=EXTERNAL[:1])
    kld_sensitivity(tmp_path / "s.png", grid, COLOURS, "title")
    assert collisions(shown[0]) == []
    for e, ax in enumerate(shown[0].axes):
        places = [ends_of(ax, name)[0].get_xdata()[0] for name in NAMES]
        assert len(set(places)) == 3
        assert ax.get_xlim()[0] < min(places) < max(places) < ax.get_xlim()[1]
        assert level_lines(ax)[COLOURS[EXTERNAL[0]]] == grid.families[EXTERNAL[0]][0, 0, e]


@pytest.mark.parametrize("cells", [(20,), (8, 16, 32)])
@pytest.mark.parametrize("values", ["zero", "some diverged", "all diverged"])
def test_kld_sensitivity_of_odd_values(tmp_path, cells, values, shown):
    grid = sensitivity(cells=cells, chosen=(cells[0], 1e-10), external=EXTERNAL[:1])
    if values == "zero":
        grid.floor[:] = 0
        for scores in grid.families.values():
            scores[:] = 0
    else:
        grid.families["GAN"][: 2 if values.startswith("some") else None] = np.nan
        grid.families[EXTERNAL[0]][:] = np.inf
    kld_sensitivity(tmp_path / "s.png", grid, COLOURS, "title")
    opened(tmp_path / "s.png")
    assert collisions(shown[0]) == []
    if values != "zero":
        assert f"GAN ({2 if values.startswith('some') else 3} of 3 seeds diverged)" in texts(shown[0])
        assert f"{EXTERNAL[0]} (external, no KLD)" in texts(shown[0])


def test_what_stops_early_has_cost_all_by_then():
    curve = scenes.Curve(np.array([0, 10, 20, 30, 40]), np.array([[5.0, 4, 3, 2, 1]]))
    np.testing.assert_array_equal(_way(curve, None)[0], [0.25, 0.5, 0.75, 1])
    # What costs no more is no way: its end is where the marker is.
    np.testing.assert_array_equal(_way(curve, 20), [[0.5, 1], [4, 1]])
    np.testing.assert_array_equal(_way(curve, 4), [[1], [1]])

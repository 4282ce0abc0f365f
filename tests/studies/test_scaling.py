"""How cost grows: knees of exact curves, the list of points, results that are taken up again, and large densities."""

import functools
import json
import math
import re

import jax
import jax.numpy as jnp
import pytest

from core.drawing import figures
from models import MODELS
from studies.speed import scaling, scaling_chart, scaling_points
from studies.speed.knees import FACTOR, knee
from targets import make_target


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_knee_of_a_flat_part_and_a_power(power):
    x = [10.0**i for i in range(7)]
    # Flat up to 10³, then a power: twice the level is reached at 10³ · 2^(1/power), exactly on a straight segment.
    found = knee(x, [3 * max(1.0, value / 1000) ** power for value in x])
    assert found.flat == 3
    assert math.isclose(found.x, 1000 * FACTOR ** (1 / power), rel_tol=1e-12)
    assert math.isclose(found.exponent, power, rel_tol=1e-12)


def test_knee_at_a_point_is_that_point():
    found = knee([1, 2, 4, 8], [1, 1, 2, 4])
    assert math.isclose(found.x, 4)
    # The point itself counts among those beyond.
    assert math.isclose(found.exponent, 1)


def test_no_knee_below_twice_the_flat_level():
    assert knee([1, 10, 100], [1, 1.5, 1.99]) == (1, None, None)


def test_one_slow_point_is_no_knee():
    assert knee([1, 10, 100, 1000], [1, 5, 1, 1.5]) == (1, None, None)
    assert 100 < knee([1, 10, 100, 1000], [1, 5, 1, 4]).x < 1000


def test_a_curve_that_falls_first_is_measured_from_its_lowest_point():
    found = knee([1, 10, 100, 1000], [5, 1, 1, 8])
    assert found.flat == 1
    # ln 2 is a third of ln 8.
    assert math.isclose(found.x, 100 * 10 ** (1 / 3), rel_tol=1e-12)
    assert found.exponent is None


@pytest.mark.parametrize(("x", "y"), [([], []), ([1, 1], [1, 2]), ([2, 1], [1, 2]), ([0, 1], [1, 2]), ([1, 2], [0, 1]),
                                      ([1, 2], [1])])  # fmt: skip
def test_what_is_no_curve(x, y):
    with pytest.raises(ValueError, match="rising positive x"):
        knee(x, y)


def test_points_are_named_once_and_shared():
    points = scaling_points.points()
    keys = [point.key for point in points]
    assert len(set(keys)) == len(keys)
    # The default configuration is on the axes of budget and batch, for the RBM also on that of k.
    default = scaling_points.step_point("RBM")
    on = [name for name in scaling_points.AXES if default in scaling_points.axis_points(name, "RBM")]
    assert {"budget", "batch", "k"} <= set(on)
    assert "bins" not in on


def test_quick_points_are_some_of_all():
    assert set(scaling_points.points(quick=True)) < set(scaling_points.points())
    assert not any(point.kind == "run" for point in scaling_points.points(quick=True))


def test_axes_rise_and_reach_what_is_promised():
    for axis in scaling_points.AXES.values():
        assert list(axis.values) == sorted(set(axis.values))
    assert (scaling_points.AXES["budget"].values[0], scaling_points.AXES["budget"].values[-1]) == (10**2, 10**7)
    assert scaling_points.AXES["k"].families == ("RBM",)


def test_every_step_can_be_configured():
    from studies.speed.scaling_worker import built

    # The smallest budget and the most bins are where a family may not fit.
    for family in scaling_points.FAMILIES:
        for name in ("budget", "bins"):
            for point in (scaling_points.axis_points(name, family)[0], scaling_points.axis_points(name, family)[-1]):
                config, _, model, _ = built({"family": family, "constants": dict(point.constants)})
                assert config.parameter_budget == dict(point.constants)["PARAMETER_BUDGET"]
                assert abs(model.n_params - config.parameter_budget) < 0.3 * config.parameter_budget
    config, _, _, _ = built({"family": "RBM", "constants": {"K": 20}})
    assert config.rbm.k == 20


def test_what_was_measured_is_not_measured_again():
    first, second, third = scaling_points.points()[:3]
    results = scaling.merged({}, first, {"seconds": [1.0]}, quick=False)
    results = scaling.merged(results, second, {"failed": "took more than 1 s"}, quick=False)
    results = scaling.merged(results, third, {"seconds": [2.0]}, quick=True)
    # What failed is tried again; a quick look is enough for another one and no more.
    assert scaling.missing([first, second, third], results, quick=True) == [second]
    assert scaling.missing([first, second, third], results, quick=False) == [second, third]
    assert scaling.missing([first, second], {}, quick=True) == [first, second]


def test_merging_keeps_the_rest_and_replaces_what_was(tmp_path):
    first, second = scaling_points.points()[:2]
    results = scaling.merged({"machine": "m"}, first, {"failed": "x"}, quick=True)
    before = json.dumps(results)
    both = scaling.merged(results, second, {"median_seconds": 2.0}, quick=False)
    both = scaling.merged(both, first, {"median_seconds": 1.0}, quick=False)
    assert json.dumps(results) == before
    assert both["machine"] == "m"
    assert "failed" not in both["points"][first.key]
    assert {key: entry["median_seconds"] for key, entry in both["points"].items()} == {first.key: 1.0, second.key: 2.0}
    path = tmp_path / "scaling.json"
    scaling.write(path, both)
    assert json.loads(path.read_text()) == both
    assert [file.name for file in tmp_path.iterdir()] == ["scaling.json"]


def synthetic():
    """Results of every point: time and memory flat up to 10⁴ parameters or 4 seeds, then in proportion."""
    results = {"machine": "a machine", "cores": 2, "baseline_bytes": 2**28}
    for point in scaling_points.points():
        constants = dict(point.constants)
        if point.kind == "step":
            growth = max(1.0, constants["PARAMETER_BUDGET"] / 10**4) * max(1.0, constants["NUM_SEEDS"] / 4)
            found = {"seconds": [1e-5 * growth] * 3, "median_seconds": 1e-5 * growth}
            found |= {"device_bytes": 2**20 * growth, "process_bytes": 2**28 + 2**24 * growth}
        elif point.kind == "train":
            found = {"process_bytes": 2**29}
        else:
            found = {"peak_memory_bytes": 3 * 2**30, "seconds": 60.0}
        results = scaling.merged(results, point, found, quick=False)
    return results


def test_knees_rates_and_tables_of_known_results():
    results = synthetic()
    found = scaling_points.knees(results)
    for quantity in scaling_points.QUANTITIES:
        for family in scaling_points.FAMILIES:
            # Between 10⁴ and 3.1·10⁴, and between 4 and 8 seeds, the curve is its own power: no interpolation error.
            assert math.isclose(found["budget"][quantity][family]["x"], 2e4, rel_tol=1e-9)
            assert math.isclose(found["seeds"][quantity][family]["x"], 8, rel_tol=1e-9)
            assert found["batch"][quantity][family]["x"] is None
    assert math.isclose(scaling_points.seed_rates(results, "GAN")[64], 64 / (1e-5 * 16))
    text = scaling.markdown(results | {"knees": found})
    assert "| parameters | GAN | 10 µs, 20 000, 1.00 | 1 MiB, 20 000, 1.00 | 16 MiB, 20 000, 1.00 |" in text
    assert "| RBM | 100 000 | 200 000 | 400 000 | 400 000 | 400 000 | 400 000 | 400 000 |" in text
    assert "| GAN, VAE, RBM | 4 | 3 GiB | 60 s |" in text


def names_of_panels(monkeypatch, folder, results):
    """Draws and gives the names of both pictures' panels."""
    drawn, save = {}, figures.save

    def spy(fig, path):
        drawn[path.name] = [ax.get_title(loc="left") for ax in fig.axes]
        save(fig, path)

    monkeypatch.setattr(figures, "save", spy)
    scaling_chart.draw(
        folder / "scaling.png", folder / "memory.png", results | {"knees": scaling_points.knees(results)}
    )
    assert {path.name for path in folder.iterdir()} == set(drawn)
    return drawn


def test_pictures_of_all_and_of_partial_results(tmp_path, monkeypatch):
    results = synthetic()
    axes = ["budget", "batch", "seeds", "bins, at 10 000 parameters", "CD steps"]
    assert names_of_panels(monkeypatch, tmp_path, results) == {
        "scaling.png": [*axes, "throughput against seeds"],
        "memory.png": [*axes, "length of the training", "10⁷ parameters"],
    }
    # What has not been measured leaves no empty panel.
    kept = scaling_points.axis_points("budget", "GAN")[:2]
    results["points"] = {point.key: results["points"][point.key] for point in (*kept, scaling_points.run_points()[0])}
    (tmp_path / "scaling.png").unlink()
    drawn = names_of_panels(monkeypatch, tmp_path, results)
    assert drawn == {"scaling.png": ["budget"], "memory.png": ["budget", "10⁷ parameters"]}


class Measured:
    """Stands in for the processes that measure: synthetic results, and Ctrl-C after `until` points."""

    def __init__(self):
        self.points, self.until, self.known = [], math.inf, synthetic()["points"]

    def __call__(self, point, quick):
        if len(self.points) >= self.until:
            raise KeyboardInterrupt
        self.points.append(point)
        found = self.known[point.key]
        return {key: found[key] for key in found if key not in ("kind", "families", "constants", "quick")}


@pytest.fixture
def measured(monkeypatch, tmp_path):
    stand_in = Measured()
    monkeypatch.setattr(scaling, "measure", stand_in)
    monkeypatch.setattr(scaling, "ask", lambda order: {"machine": "this machine", "process_bytes": 2**28})
    monkeypatch.setattr(scaling_chart, "draw", lambda *args: None)
    monkeypatch.setattr(scaling, "HERE", tmp_path)
    monkeypatch.setattr(scaling, "QUICK", tmp_path / "quick")
    return stand_in


def test_a_quick_look_has_a_folder_of_its_own_and_says_what_is_kept(measured, tmp_path, capsys):
    assert scaling.main(["--quick"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["quick"]
    n = len(scaling_points.points(quick=True))
    assert len(measured.points) == n
    assert "kept" not in capsys.readouterr().out
    assert scaling.main(["--quick"]) == 0
    assert len(measured.points) == n
    assert f"all {n} points are kept from an earlier run; --fresh measures again" in capsys.readouterr().out


def test_what_is_measured_before_ctrl_c_is_kept(measured, tmp_path, capsys):
    measured.until = 2
    assert scaling.main(["--only", "train"]) == 130
    assert f"interrupted: 2 of 9 points are kept in {tmp_path / 'scaling.json'}" in capsys.readouterr().out
    measured.until = math.inf
    assert scaling.main(["--only", "train"]) == 0
    assert measured.points == scaling_points.train_points()


def test_what_is_measured_again_leaves_the_rest(measured, tmp_path, capsys):
    path = tmp_path / "scaling.json"
    before = synthetic() | {"machine": "this machine", "cores": scaling_points.CORES}
    scaling.write(path, before)
    measured.known = {
        key: entry | {"peak_memory_bytes": 2**30, "seconds": 9.0} for key, entry in measured.known.items()
    }
    measured.until = 1
    assert scaling.main(["--only", "run", "--fresh"]) == 130
    assert "interrupted: 1 of 4 points are measured again in" in capsys.readouterr().out
    found = json.loads(path.read_text())["points"]
    first, *others = [point.key for point in scaling_points.run_points()]
    assert found[first]["peak_memory_bytes"] == 2**30
    assert {key: found[key] for key in others} == {key: before["points"][key] for key in others}
    measured.until = math.inf
    assert scaling.main(["--only", "run", "--fresh"]) == 0
    found = json.loads(path.read_text())["points"]
    assert {found[key]["peak_memory_bytes"] for key in (first, *others)} == {2**30}
    assert set(found) == set(before["points"])


@pytest.mark.parametrize("other", [{"machine": "another machine"}, {"cores": scaling_points.CORES + 1}])
def test_what_another_machine_has_measured_stays_as_it_is(other, measured, tmp_path, capsys):
    path = tmp_path / "scaling.json"
    scaling.write(path, synthetic() | {"machine": "this machine", "cores": scaling_points.CORES} | other)
    before = path.read_bytes()
    assert scaling.main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"was measured on .*, and this is this machine .*: --out FOLDER .*, --fresh ", line)
    assert path.read_bytes() == before
    assert scaling.main(["--only", "run", "--out", str(tmp_path / "mine")]) == 0
    assert path.read_bytes() == before
    assert scaling.main(["--only", "run", "--fresh"]) == 0
    assert json.loads(path.read_text())["machine"] == "this machine"


def test_spread_of_timings():
    first, second, third = scaling_points.points()[:3]
    results = scaling.merged({}, first, {"failed": "x"}, quick=False)
    assert scaling.spread(results) is None
    results = scaling.merged(results, second, {"seconds": [1.0, 1.5, 2.0], "median_seconds": 1.5}, quick=False)
    results = scaling.merged(results, third, {"seconds": [2.0, 2.0, 2.0], "median_seconds": 2.0}, quick=False)
    # The mean of 2/3 and 0.
    assert math.isclose(scaling.spread(results), 1 / 3)


def test_texts():
    assert [scaling.seconds_text(value) for value in (2.0, 0.0123, 3.456e-6)] == ["2 s", "12.3 ms", "3.46 µs"]
    assert [scaling.bytes_text(value) for value in (3 * 2**30, 1.5 * 2**20, 2**9)] == ["3 GiB", "1.5 MiB", "0.5 KiB"]
    assert [scaling.number_text(value) for value in (8, 21.4, 1234, 65_432)] == ["8", "21", "1 200", "65 000"]


@pytest.mark.parametrize("name", scaling_points.FAMILIES)
def test_density_of_ten_million_parameters_takes_little_memory(name, make_config):
    config = make_config(parameter_budget=10**7)
    target = make_target(config)
    model = MODELS[name].build(config, target)
    data = jax.ShapeDtypeStruct((16, config.num_bins), jnp.float32)
    state = jax.eval_shape(model.init, jax.eval_shape(functools.partial(jax.random.key, 0)), data)
    events = jax.ShapeDtypeStruct((config.num_bins, config.num_bins), jnp.float32)
    sizes = jax.jit(model.log_prob).lower(state, events).compile().memory_analysis()
    # Twice that in float64, in which the exact divergence is computed; 4 GiB is what a whole run may take.
    assert sizes.temp_size_in_bytes < 2**28

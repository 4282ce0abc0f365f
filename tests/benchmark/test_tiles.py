"""The pictures of a sweep's cells side by side: which cells, which of their pictures, and that heads can be read."""

import json

import numpy as np
import pytest
import test_plotting
from html_checks import checked
from PIL import Image
from report_schema import made_report
from test_plotting import collisions, opened, texts

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.asked.command_line import read
from benchmark.files import results
from benchmark.pictures.pictures import HISTOGRAM
from benchmark.pictures.views import tiles
from benchmark.sweeps import cell_runs, sweep_merge
from benchmark.sweeps.sweep_plan import make_plan
from benchmark.sweeps.sweep_tiles import tiles_of
from core import storage

no_warnings, shown = test_plotting.no_warnings, test_plotting.shown


def made(folder, *words, own=("rbm_energy_landscape.png", "gan_discriminator.png"), without=()):
    """A sweep whose cells have pictures: the comparison's grey is the cell's number, and so is the RBM's own; the
    GAN's is the same in all."""
    args = ["--models", "RBM", "--num-seeds", "2", "--out-dir", str(folder), "--sweep", *words]
    plan = make_plan(read(vars(script), args, ""))
    for i, cell in enumerate(plan.cells):
        place = folder / cell.name
        place.mkdir(parents=True)
        names = [HISTOGRAM, "timeline_100pct.png", "loss_curves.png", *own] if i not in without else []
        for name in names:
            grey = 7 if name.startswith("gan") else 10 * i
            Image.new("RGB", (60, 30 if name == HISTOGRAM else 20), (grey,) * 3).save(place / name)
        report = made_report(cell.config, files=[*names, results.METRICS_FILE])
        storage.write_whole(place / results.METRICS_FILE, results.json_bytes(report))
    return plan, [(cell, sweep_merge.read(cell)) for cell in plan.cells]


def greys(found):
    return [[int(image[0, 0, 0]) for image in run.images] for run in found.runs]


def test_cells_that_differ_in_the_setting_alone_are_shown_in_the_order_of_its_values(tmp_path):
    plan, reports = made(tmp_path, "N_STEPS=400,200,1000", "NUM_BINS=6,8")
    found = tiles_of(plan, reports, "N_STEPS")
    assert [run.head for run in found.runs] == ["N_STEPS = 400", "N_STEPS = 200", "N_STEPS = 1000"]
    # Of the first number of bins: every other cell.
    assert greys(found) == [[0], [20], [40]]
    assert found.notes == ["NUM_BINS = 6"]
    assert greys(tiles_of(plan, reports, "NUM_BINS")) == [[0], [10]]


def test_a_familys_own_setting_has_its_own_pictures_and_no_other_familys(tmp_path):
    plan, reports = made(tmp_path, "RBM.k=1,10")
    assert greys(tiles_of(plan, reports, "RBM.k")) == [[0, 0], [10, 10]]
    assert all(image.shape[:2] == (20, 60) for run in tiles_of(plan, reports, "RBM.k").runs for image in run.images[1:])


def test_values_that_are_missing_are_counted(tmp_path):
    plan, reports = made(tmp_path, "N_STEPS=200,400,1000", without=[1])
    found = tiles_of(plan, reports, "N_STEPS")
    assert greys(found) == [[0], [20]]
    assert found.notes == ["2 of 3 values"]
    # The values that most cells have are shown beside each other.
    plan, reports = made(tmp_path / "other", "N_STEPS=200,400,1000", "NUM_BINS=6,8", without=[0])
    assert greys(tiles_of(plan, reports, "N_STEPS")) == [[10], [30], [50]]


def test_of_many_values_nine_are_shown_the_first_and_the_last_among_them(tmp_path):
    plan, reports = made(tmp_path, "N_STEPS=" + ",".join(str(200 * i) for i in range(1, 18)))
    found = tiles_of(plan, reports, "N_STEPS")
    assert [run.head for run in found.runs] == [f"N_STEPS = {200 * i}" for i in range(1, 18, 2)]
    assert found.notes == ["9 of 17 values"]


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a"], ids=["empty", "cut", "another kind"])
def test_a_picture_that_cannot_be_read_is_left_out(tmp_path, content):
    plan, reports = made(tmp_path, "N_STEPS=200,400,1000")
    (tmp_path / plan.cells[0].name / HISTOGRAM).write_bytes(content)
    assert greys(tiles_of(plan, reports, "N_STEPS")) == [[10], [20]]
    (tmp_path / plan.cells[1].name / HISTOGRAM).write_bytes(content)
    assert tiles_of(plan, reports, "N_STEPS") is None


def test_a_merge_draws_them_and_removes_what_it_no_longer_draws(tmp_path):
    plan, _ = made(tmp_path, "N_STEPS=200,400", "SEED=1,2", "RBM.k=1,10")
    merged = cell_runs.merge(plan)
    names = {name for name in merged.files if name.endswith("_pictures.png")}
    # Draws of the same are no setting.
    assert names == {"sweep_N_STEPS_pictures.png", "sweep_RBM.k_pictures.png"}
    for name in names:
        opened(tmp_path / name)
    page = checked(tmp_path / "index.html")
    assert names <= {image["src"] for image in page.images}
    for cell in plan.cells:
        (tmp_path / cell.name / results.METRICS_FILE).unlink()
    assert not {*cell_runs.merge(plan).files} & names
    assert not list(tmp_path.glob("*_pictures.png"))


def test_cells_without_pictures_have_none_beside_each_other(tmp_path):
    plan, reports = made(tmp_path, "N_STEPS=200,400", without=[0, 1])
    assert tiles_of(plan, reports, "N_STEPS") is None
    assert "sweep_N_STEPS_pictures.png" not in sweep_merge.merge(plan).files
    assert json.loads((tmp_path / plan.cells[0].name / results.METRICS_FILE).read_text())["files"] == ["metrics.json"]


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
def test_heads_stand_over_their_pictures(tmp_path, shown, n):
    images = [np.full((300, 900, 3), 200, np.uint8), np.full((400, 900, 3), 90, np.uint8)]
    runs = [tiles.Tile(f"VAE.free_bits = {i / 7:.12f}", images) for i in range(n)]
    tiles.tiles(tmp_path / "t.png", runs, "What VAE.free_bits changes · 4 seeds", ["NUM_BINS = 6"])
    fig = shown[-1]
    assert collisions(fig) == []
    heads = [ax for ax in fig.axes if ax.get_title(loc="left")]
    assert len(heads) == n
    assert len([ax for ax in fig.axes if ax.images]) == 2 * n
    assert "NUM_BINS = 6" in texts(fig)
    for ax in fig.axes:
        for image in ax.images:
            # Neither stretched nor cut.
            box = ax.get_window_extent()
            height, width = image.get_array().shape[:2]
            assert box.height / box.width == pytest.approx(height / width, rel=0.01)

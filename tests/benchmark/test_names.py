"""Names that users choose break no picture, table, archive or terminal, and lead nowhere else."""

import csv
import json
import os
import re
import zipfile

import numpy as np
import pytest
import test_plotting
from test_leaderboard import board_of, clashes
from test_plotting import collisions, draws, frame_of, make_target, metric_curves, opened, pictured, texts

import generative_models_GAN_VAE_RBM_benchmarks as script
import plotting
from benchmark.asked import external
from benchmark.files import results
from benchmark.pictures.views import costs, leaderboard, sensitivity
from core import storage
from core.drawing import figures, lettering, scenes
from core.drawing.scenes import CostPicture, MetricPicture
from core.errors import UserError

no_warnings, shown = test_plotting.no_warnings, test_plotting.shown
LONGEST = external.LONGEST_NAME
NAMES = {
    "mathtext": "$\\frac{",
    "formula": "=SUM(1) %s {0} \\n \\alpha_{ $x^{2$",
    "under": "_QCBM",
    "hebrew": "מעגל קוונטי 300",
    "arabic": "دائرة كمومية",
    "boxes": "量子🎲" * 6,
    "accents": "Q" + "\u0301" * (LONGEST - 1),
    "wide": "W" * LONGEST,
    "long": "another circuit born machine of many qubits and of some depth"[:LONGEST],
}
FLOORS = {"kld": (0.004, 0.002, 0.006), "wasserstein": (0.011, 0.01, 0.02)}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_any_visible_name_may_be_chosen(name):
    external.check_entries([(name, "a.npy", 1)])


@pytest.mark.parametrize("names", [list(NAMES.values()), [NAMES["wide"]]], ids=len)
def test_every_picture_survives_every_name(tmp_path, names, shown):
    """Nothing overlaps or leaves the picture, nobody is warned, and every name is there."""
    colours = scenes.family_colours(["A"], names)
    scores = {name: {"kld": 0.01 * (j + 1), "wasserstein": 0.02} for j, name in enumerate(names)}
    plotting.metrics_comparison(tmp_path / "0.png", metric_curves(["A"]), pictured(FLOORS, scores), colours, "title")
    points = {"A": CostPicture(1.0, 1e9, np.array([0.1, 0.2]))}
    levels = {name: each["kld"] for name, each in scores.items()}
    costs.cost_quality(tmp_path / "1.png", points, MetricPicture("KLD (nats)", FLOORS["kld"], levels), colours, "title")
    klds = {name: np.full((1, 2, 2), 0.01 * (j + 1)) for j, name in enumerate(["A", *names])}
    settings = (np.array([10, 20]), np.array([1e-10, 1e-6]))
    grid = scenes.Sensitivity(*settings, klds, np.full((3, 2, 2), 0.004), (20, 1e-10), names)
    sensitivity.kld_sensitivity(tmp_path / "2.png", grid, colours, "title")
    for fig in shown:
        # No two have become one, and none is left out.
        assert len(fig.legends[0].get_texts()) >= len(names) + 2

    target = make_target("binned")
    some = names[:3]
    plotting.comparison_hist(
        tmp_path / "3.png",
        target,
        frame_of(
            target,
            draws(target, ["A", *some]),
            dict.fromkeys(some, "KLD 1"),
            masses=dict.fromkeys(names[3:], target.masses),
        ),
        colours,
        "title",
    )
    heads = [ax._left_title.get_text() for ax in shown[3].axes[2:]]
    assert [head[:4] for head in heads] == [lettering.drawable(name, weight="bold")[:4] for name in names]
    board = board_of(2, ["A", *names], names)._replace(rows=[names[0], "1D_BETA, 20 bins, " + "x" * 300], key=names)
    leaderboard.leaderboard(tmp_path / "4.png", board, colours, "title")
    assert clashes(shown[4]) == []
    for i, fig in enumerate(shown):
        opened(tmp_path / f"{i}.png")
        assert collisions(fig) == []


def test_what_the_font_lacks_is_a_box_and_what_cannot_be_seen_an_escape():
    assert lettering.drawable("QCBM ≈ 1 500₁⁻²") == "QCBM ≈ 1 500₁⁻²"
    assert lettering.drawable("量子 α") == "□□ α"
    assert lettering.drawable("a\u202eb\x1b[31m\u200b") == "a\\u202eb\\x1b[31m\\u200b"
    # One letter and its accent are one where there is such a letter.
    assert lettering.drawable("e\u0301") == "é"
    # As many as languages have; of more, as many.
    assert lettering.drawable("q\u0323\u0302\u0301u\u0301") == "q\u0323\u0302\u0301ú"
    assert lettering.drawable("q" + "\u0301" * 20 + "u") == "q\u0301\u0301\u0301u"
    assert lettering.drawable("two\nlines") == "two\nlines"


def test_a_legend_longer_than_its_picture_makes_room(tmp_path, shown):
    names = [f"a circuit of many qubits, number {i}" for i in range(40)]
    colours = scenes.family_colours(["A"], names)
    scores = {name: {"kld": 0.01, "wasserstein": 0.02} for name in names}
    plotting.metrics_comparison(tmp_path / "m.png", metric_curves(["A"]), pictured(FLOORS, scores), colours, "title")
    fig = shown[0]
    assert collisions(fig) == []
    assert fig.legends[0].get_window_extent().y1 <= min(ax.get_tightbbox().y0 for ax in fig.axes) + 1
    # As high as panels are without it, or nearly.
    assert min(ax.get_window_extent().height for ax in fig.axes) > 2 * figures.DPI
    assert len([text for text in texts(fig) if text.endswith("(external)")]) == 40


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["../up"], "must be a word or more of visible letters, without a slash"),
        (["..\\up"], "without a slash"),
        (["a\\..\\..\\up"], "without a slash"),
        ([".."], "without a slash"),
        (["C:\\up"], "without a slash"),
        (["a\u200bb"], "visible letters"),
        (["a\x1b[31m"], "visible letters"),
        (["a\u202eb"], "visible letters"),
        (["\udcff"], "visible letters"),
        (["x" * 61], "has 61 letters: at most 60 have room in tables and pictures; such as 'xxx"),
        # What one name in an archive would stand for, or the eye could not tell.
        (["GAN.npy"], "'GAN.npy' is taken"),
        (["target.npy"], "is taken"),
        (["QCBM", "QCBM.npy"], "'QCBM.npy' is taken"),
        (["QCBM", "QCBM "], "is taken"),
        (["two words", "two  words"], "is taken"),
        (["\u00e9", "e\u0301"], "is taken"),
    ],
)
def test_a_name_that_leads_elsewhere_or_looks_like_another_is_refused(names, message):
    with pytest.raises(UserError, match=re.escape(message)):
        external.check_entries([(name, "a.npy", 1) for name in names])


ODD = ["two\nlines\x1b]0;owned\x07.csv", os.fsdecode(b"=\xff\xfe $\\frac{\xe2\x80\xae.csv")]


@pytest.mark.slow
def test_a_sweep_whose_every_name_is_odd(tmp_path, monkeypatch, capfd):
    """Files, folder and entries: what is written can be read by anybody, and what is printed directs no terminal."""
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(ODD):
        np.savetxt(name, np.random.default_rng(i).normal(size=60))
    names = [NAMES["mathtext"], "=A1", NAMES["hebrew"]]
    folder = os.path.join("a folder\nof two lines \x1b[31m", os.fsdecode(b"na\xefve e\xcc\x81"))
    args = ["--target-type", "CUSTOM", "--num-bins", "0", "--no-sweep-pictures", "--n-eval-samples", "60"]
    args += ["--out-dir", folder, "--sweep", f"CUSTOM_FILE={','.join(ODD)}"]
    args += ["--models", "--external-samples", *(word for name in names for word in (name, ODD[0], "3"))]
    assert script.main(args) == 0
    said = capfd.readouterr()
    # Lines are drawn over, and nothing else that directs a terminal is printed.
    assert not set(said.out + said.err) & {"\x1b", "\x07", "\u202e", "\udcff"}
    assert "two\\nlines\\x1b]0;owned\\x07.csv" in said.out
    assert "in a folder\\nof two lines \\x1b[31m/na\\udcefve " in said.out
    assert "Warning" not in said.err
    # Nothing has been written elsewhere.
    assert set(os.listdir(tmp_path)) == {*ODD, "a folder\nof two lines \x1b[31m"}
    out = tmp_path / folder
    state = json.loads((out / "sweep.json").read_bytes().decode("utf-8"), parse_constant=pytest.fail)
    assert state["sweep"]["CUSTOM_FILE"] == ODD
    with open(out / "leaderboard.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    files = ["two\nlines\\x1b]0;owned\\x07.csv", "'=\\udcff\\udcfe $\\frac{\\u202e.csv"]
    assert [row["CUSTOM_FILE"] for row in rows] == [name for name in files for _ in names]
    assert [row["family"] for row in rows] == [names[0], "'=A1", names[2]] * 2
    assert all(float(row["kld"]) >= 0 for row in rows)
    opened(out / "leaderboard.png")
    for cell, custom_file in zip(state["cells"], ODD, strict=True):
        assert re.fullmatch(r"CUSTOM_FILE=[\w.-]+", cell, re.ASCII)
        report = json.loads((out / cell / "metrics.json").read_bytes().decode("utf-8"), parse_constant=pytest.fail)
        assert set(report["files"]) | {"log.txt"} == set(os.listdir(out / cell))
        assert report["config"]["custom_file"] == custom_file
        assert report["config"]["out_dir"] == os.path.join(folder, cell)
        assert list(report["external"]) == names
        with np.load(out / cell / "samples.npz") as samples:
            assert set(samples) == {"target", *names}
        with zipfile.ZipFile(out / cell / "samples.npz") as archive:
            archive.extractall(tmp_path / "unpacked")
        assert len(os.listdir(tmp_path / "unpacked")) == len(names) + 1
    # What has run is found again under names that hold such bytes.
    assert script.main(args) == 0
    assert "2 of them are finished already" in capfd.readouterr().out


def test_a_folder_that_leads_nowhere_is_refused(here, refusal):
    (here / "dangling").symlink_to("nowhere")
    (here / "circle").symlink_to("circle")
    before = sorted(os.listdir(here))
    for path, link in (("dangling", "dangling"), ("circle/below", "circle"), ("dangling/below", "dangling")):
        why = re.escape(f"OUT_DIR {path!r} cannot be written ('{link}' is a link that leads nowhere): name a folder")
        with pytest.raises(UserError, match=why):
            storage.open_folder(path)
    assert sorted(os.listdir(here)) == before
    line = refusal("--out-dir", "dangling/\x1b[31m\n")
    assert line.startswith(r"OUT_DIR 'dangling/\x1b[31m\n' cannot be written ")


def test_a_folder_too_deep_for_the_names_in_it_is_refused_at_once(here):
    depth = 4080 - len(str(here))
    path = "/".join(["x" * 99] * (depth // 100))
    # There is room for a short name only.
    with pytest.raises(UserError, match="cannot be written \\(File name too long\\)"):
        storage.open_folder(f"{path}/{'y' * (depth - len(path) - 1)}")
    assert os.listdir(here) == []


def test_a_list_of_files_that_somebody_edited_ends_no_run(tmp_path):
    for listed in (["a\0b", "\ud800", "..", ".", "", 3, None, ["x"]], "metrics.json", 5, None, {"metrics.json": 1}):
        (tmp_path / "metrics.json").write_text(json.dumps({"files": listed}))
        results.remove_previous(tmp_path, keep=())
        assert os.listdir(tmp_path) == ["metrics.json"]

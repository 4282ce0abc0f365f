"""The script from end to end: what it writes, that the numbers agree with the samples, and what it leaves alone."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import html_checks
import jax
import numpy as np
import pytest
import report_schema
from conftest import NUMBERS, quick_if
from PIL import Image
from scipy import stats
from sklearn.datasets import load_iris

import generative_models_GAN_VAE_RBM_benchmarks as script
import metrics
from benchmark.asked.command_line import parse
from benchmark.pictures import pictures
from benchmark.run import one_run
from kinds.real import closing, judging
from kinds.real.cells import score_cells
from kinds.registry import kind_of
from models import MODELS, generated, latent_density
from targets import TARGETS, make_target

SMALL = (
    "--n-steps 20 --n-evaluations 4 --snapshot-percent 50 --num-seeds 2 --n-eval-samples 300 --batch-size 16 "
    "--parameter-budget 120 --hidden-layers 1"
)
FIXED_FILES = {
    "metrics_comparison.png",
    "classical_benchmark_comparison_hist.png",
    "loss_curves.png",
    "cost_quality.png",
    "kld_sensitivity.png",
    "timeline_050pct.png",
    "timeline_100pct.png",
    "timeline.gif",
    "metrics.json",
    "metrics.csv",
    "summary.csv",
    "index.html",
    "samples.npz",
    "parameters.npz",
}
WITHOUT_TRAINING = {
    "classical_benchmark_comparison_hist.png",
    "kld_sensitivity.png",
    "metrics.json",
    "metrics.csv",
    "summary.csv",
    "index.html",
    "samples.npz",
    "parameters.npz",
}


def family_files(*families):
    """The pictures that families of any config offer: their names do not depend on it."""
    config = parse(vars(script), [], "")
    target = make_target(config)
    return {f"{picture}.png" for family in families for picture in MODELS[family].build(config, target).views}


# Every target as its users would run it: in 1-D with bins and without, the tables of one and of two columns.
CASES = [
    *((name, "--num-bins", str(bins)) for name in TARGETS if name.startswith("1D") for bins in (0, 12)),
    ("2D_MIX_GAUSS", "--num-bins", "0"),
    ("2D_GMM", "--num-bins", "0"),
    ("CUSTOM", "--num-bins", "0", "--custom-file", "petal_length.csv"),
    ("CUSTOM", "--num-bins", "12", "--custom-file", "petal_length.csv"),
    ("CUSTOM", "--num-bins", "0", "--custom-file", "petal_length_width.npy"),
]
# All families at once with bins and in 2-D, else one in turn, hence each in 1-D: a run is mostly compilation.
ALL_FAMILIES = {1, 11}
# One of every kind of events and of tables; `make test-all` takes all targets, and all families at once.
QUICK = {0, 7, 12, 13, 14}


@pytest.fixture(autouse=True)
def _rough_quadrature(monkeypatch):
    """Fewer nodes and draws behind what other tests hold to its exact value: here it only has to be written."""
    monkeypatch.setattr(latent_density, "_Z_SPACING", (0.25, 0.25))
    monkeypatch.setattr(generated, "_Z_DRAWS", 2**12)
    monkeypatch.setattr(closing, "N_HOST_DRAWS", 3)


@pytest.fixture
def iris(tmp_path, monkeypatch):
    """The petal columns of the iris table as files in the working directory."""
    petals = load_iris().data[:, 2:]
    np.savetxt(tmp_path / "petal_length.csv", petals[:, 0], fmt="%.1f")
    np.save(tmp_path / "petal_length_width.npy", petals)
    monkeypatch.chdir(tmp_path)
    return petals


def arguments(case, families, out_dir="out"):
    return ["--target-type", *case, *SMALL.split(), "--models", *families, "--out-dir", str(out_dir)]


@pytest.mark.parametrize(
    "number",
    [quick_if(n in QUICK, n, id=" ".join(case[::2])) for n, case in enumerate(CASES)],
)
def test_a_run_writes_every_file_and_its_numbers_follow_from_its_samples(number, iris, tmp_path):
    families = NUMBERS if number in ALL_FAMILIES else [NUMBERS[number % len(NUMBERS)]]
    args = arguments(CASES[number], families)
    assert script.main(args) == 0

    out = tmp_path / "out"
    # Bins have exact probabilities; the held-out rows of a table have none.
    is_exact = CASES[number][2] == "12" and CASES[number][0] != "CUSTOM"
    expected = FIXED_FILES | family_files(*families) | ({"target.csv"} if is_exact else set())
    assert {path.name for path in out.iterdir()} == expected
    report = json.loads((out / "metrics.json").read_text())
    assert set(report["files"]) == expected
    assert {*html_checks.checked(out / "index.html").links} >= expected
    for name in expected:
        if name.endswith((".png", ".gif")):
            Image.open(out / name).verify()

    assert report["schema"] == 1
    closing = {"mmd2", "classifier_accuracy"}
    closing |= {"wasserstein_exact"} if report["target"]["dim"] == 2 else set()
    closing |= {"modes_covered", "high_quality"} if "MIX" in CASES[number][0] or "MODAL" in CASES[number][0] else set()
    closing |= {"modes_covered", "high_quality"} if CASES[number][0] == "2D_GMM" else set()
    exact = any(model["final"]["kl_exact"] for model in report["models"].values())
    assert set(report["floor"]) == {"kld", "wasserstein"} | closing | ({"kl_exact"} if exact else set())
    assert {name for name in report["metric_seconds"] if name != "modes"} <= closing
    config = parse(vars(script), args, "")
    target = make_target(config)
    cells = score_cells(target.truth, config.kld_cells)
    masses = target.truth.cell_masses(cells)
    directions = metrics.directions(target.dim)
    quantiles = judging.make_judge(target, config).quantiles
    assert list(report["models"]) == families
    with np.load(out / "samples.npz") as samples, np.load(out / "parameters.npz") as parameters:
        reference = samples["target"].astype(float)
        assert len(reference) == (45 if target.name == "CUSTOM" else 300)
        reference_error = np.mean(
            [stats.wasserstein_distance(q, reference @ axis) for q, axis in zip(quantiles, directions, strict=True)]
        )
        for family in families:
            model = report["models"][family]
            x = samples[family]
            assert x.shape == (2, 300, target.dim)
            for seed in range(2):
                counts = np.bincount(np.asarray(cells.index(x[seed])), minlength=cells.n_cells)
                recomputed = float(metrics.kld(masses, counts, config.kld_epsilon))
                assert model["final"]["kld"]["seeds"][seed] == pytest.approx(recomputed, rel=1e-9, abs=1e-12)
                # Against draws of the target the distance differs from the one against its exact quantiles by no more
                # than those draws' own distance from them: the triangle inequality.
                two_sample = np.mean(
                    [stats.wasserstein_distance(x[seed] @ axis, reference @ axis) for axis in directions]
                )
                assert abs(model["final"]["wasserstein"]["seeds"][seed] - two_sample) <= reference_error + 1e-5
            assert model["final"]["kld"]["median"] == pytest.approx(np.median(model["final"]["kld"]["seeds"]))
            assert [seed[-1] for seed in model["history"]["kld"]] == model["final"]["kld"]["seeds"]
            assert model["history"]["step"] == [0, *config.scored_steps]
            built = MODELS[family].build(config, target)
            is_trained = built.max_steps != 0
            assert ("loss" in model["history"]) == is_trained
            if is_trained:
                assert model["history"]["loss"][0][0] is None
                assert len(model["history"]["loss"][1]) == 1 + len(config.scored_steps)
            assert model["diverged_at_step"] == [None, None]
            assert list(model["final"]) == list(kind_of(target).reported)
            for name, summary in model["final"].items():
                assert (summary is None) == (
                    name not in {"kld", "wasserstein", *closing, "kl_exact"}
                ) or name == "kl_exact"
                assert summary is None or (len(summary["seeds"]) == 2 and None not in summary["seeds"]), name
            if built.batches_per_step is not None and is_trained:
                assert model["rows_per_step"] == built.batches_per_step * config.batch_size
            elif target.train_rows is None:
                assert model["rows_per_step"] == (built.n_rows_used or built.n_data_rows)
            assert model["operations_per_step"] >= model["n_params"] * config.batch_size * is_trained
            assert model["samples_per_second"] > 0
            assert model["memory_bytes"] > 4 * model["n_params"]
            n_sets = 1 + (getattr(getattr(config, family.lower()), "average", 0) > 0)
            for part, times in ((f"{family}/average/", n_sets - 1), (f"{family}/", n_sets)):
                sizes = [parameters[name][0].size for name in parameters if name.startswith(part)]
                assert sum(sizes) == model["n_params"] * times

    rows = list(csv.DictReader((out / "metrics.csv").open()))
    last = [row for row in rows if row["quantity"] == "kld" and row["step"] == "20" and row["model"] == families[0]]
    assert [float(row["value"]) for row in last] == report["models"][families[0]]["final"]["kld"]["seeds"]
    summary = list(csv.DictReader((out / "summary.csv").open()))
    assert {row["model"] for row in summary} == set(families)
    for row in summary:
        final, floor = report["models"][row["model"]]["final"][row["metric"]], report["floor"].get(row["metric"])
        for name in ("median", "low", "high"):
            assert row[name] == ("" if final[name] is None else repr(final[name]))
            assert row[f"floor_{name}"] == ("" if floor is None else repr(floor[name]))
        assert (int(row["parameters"]), int(row["seeds"])) == (report["models"][row["model"]]["n_params"], 2)
    scored = [final is not None for model in report["models"].values() for final in model["final"].values()]
    assert len(summary) == sum(scored)
    assert report["config"]["target_type"] == CASES[number][0]
    if target.name == "CUSTOM":
        assert report["target"]["split"]["n_train"] == 105
        assert report["target"]["split"]["n_held_out"] == 45


def test_the_next_run_removes_the_last_one_s_files_and_no_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case = ("1D_BIMODAL", "--num-bins", "8")
    assert script.main(arguments(case, ["RBM"])) == 0
    (tmp_path / "out" / "notes.png").write_bytes(b"mine")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *FIXED_FILES, *family_files("RBM"), "notes.png", "target.csv"
    }  # fmt: skip
    np.savetxt("uniform.csv", np.full(8, 1 / 8))
    assert script.main([*arguments(case, []), "--external-probabilities", "uniform", "uniform.csv", "7"]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == WITHOUT_TRAINING | {"notes.png", "target.csv"}


def test_the_same_command_gives_the_same_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("one", "two"):
        assert script.main(arguments(CASES[0], ["GAN"], folder)) == 0
    one, two = (np.load(tmp_path / folder / "samples.npz") for folder in ("one", "two"))
    with one, two:
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])
    one, two = (json.loads((tmp_path / folder / "metrics.json").read_text()) for folder in ("one", "two"))
    assert one["floor"] == two["floor"]
    assert one["models"]["GAN"]["final"] == two["models"]["GAN"]["final"]
    assert one["models"]["GAN"]["final"]["classifier_accuracy"] is not None


def test_soft_decoding_is_marked_and_lands_between_the_cells(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case = ("1D_TRIMODAL", "--num-bins", "8", "--decode", "soft")
    assert script.main(arguments(case, ["VAE"])) == 0
    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert report["config"]["decode"] == "soft"
    target = make_target(parse(vars(script), arguments(case, ["VAE"]), ""))
    centres = score_cells(target.truth, 0).centres[0]
    with np.load(tmp_path / "out" / "samples.npz") as samples:
        distance = np.abs(samples["VAE"].reshape(-1, 1) - centres[None]).min(axis=1)
    # Hard decoding would put every sample on a centre, to rounding.
    assert np.median(distance) > 1e-3 * (centres[1] - centres[0])


def test_a_fixed_training_set_is_shown_beside_as_many_rows_held_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    case = ("1D_BIMODAL", "--num-bins", "0", "--n-samples-train", "50")
    assert script.main(arguments(case, ["VAE"])) == 0
    said = capsys.readouterr().out
    assert "50 to train on, 50 held out" in said
    assert "W₁ to held-out rows" in said
    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert report["target"]["split"]["n_held_out"] == 50
    (first, _) = report["models"]["VAE"]["memorisation"]
    assert set(first) == {"train", "held_out"}
    assert set(report["models"]["VAE"]["log_likelihood"][0]) == {"train", "held_out"}


def test_external_entries_are_scored_alone_without_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = parse(vars(script), ["--num-bins", "6"], "")
    target = make_target(config)
    np.save("samples.npy", np.asarray(target.sample(jax.random.key(3), 500)))
    np.savetxt("few.csv", np.asarray(target.sample(jax.random.key(4), 100)))
    np.save("masses.npy", target.truth.cell_masses(score_cells(target.truth, 0)))
    entries = ["--external-samples", "QCBM", "samples.npy", "120", "few", "few.csv", "None"]
    entries += ["--external-probabilities", "exact", "masses.npy", "120", "--num-bins", "6"]
    args = ["--models", "--n-eval-samples", "300", "--out-dir", "out", *entries]
    assert script.main(args) == 0
    said = capsys.readouterr().out
    for words in ("few: 100 rows in its file, scored at n = 100", "as many drawn at random", "external, n = 300"):
        assert words in said
    out = tmp_path / "out"
    report = json.loads((out / "metrics.json").read_text())
    assert report["models"] == {}
    assert list(report["external"]) == ["QCBM", "few", "exact"]
    assert report["external"]["exact"]["final"]["kl_exact"]["median"] == pytest.approx(0, abs=1e-12)
    assert report["external"]["few"]["floor"]["kld"]["mean"] > 2 * report["floor"]["kld"]["mean"]
    assert {path.name for path in out.iterdir()} == WITHOUT_TRAINING | {"target.csv"}
    page = html_checks.checked(out / "index.html")
    assert "How close do samples from elsewhere come to 1D_TRIMODAL?" in page.text
    assert {"QCBM", "few", "exact", "floor at n = 100"} <= {*page.cells}
    assert said.endswith("\nopen out/index.html in a browser\n")
    with np.load(out / "samples.npz") as samples:
        assert samples["QCBM"].shape == (1, 300, 1)


def test_a_familys_samples_score_the_same_when_they_come_from_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case = ("2D_MIX_GAUSS", "--num-bins", "0")
    assert script.main(arguments(case, ["HISTOGRAM"])) == 0
    with np.load(tmp_path / "out" / "samples.npz") as samples:
        np.save("copy.npy", samples["HISTOGRAM"][0])
    assert script.main([*arguments(case, ["HISTOGRAM"], "again"), "--external-samples", "copy", "copy.npy", "120"]) == 0
    report = json.loads((tmp_path / "again" / "metrics.json").read_text())
    final, copied = report["models"]["HISTOGRAM"]["final"], report["external"]["copy"]["final"]
    assert set(final) == set(copied)
    for name in (
        "kld",
        "wasserstein",
        "wasserstein_exact",
        "mmd2",
        "classifier_accuracy",
        "modes_covered",
        "high_quality",
    ):
        # The file's rows are shuffled: sums are rounded otherwise, and the classifier's folds are others, whose two
        # accuracies differ by less than five standard deviations of the null at 300 rows.
        tolerance = 5 * 0.5 / 300**0.5 if name == "classifier_accuracy" else 1e-9
        assert copied[name]["seeds"][0] == pytest.approx(final[name]["seeds"][0], rel=1e-6, abs=tolerance)


def test_importing_the_script_does_nothing():
    code = (
        "import sys, generative_models_GAN_VAE_RBM_benchmarks\nprint('jax' in sys.modules, 'matplotlib' in sys.modules)"
    )
    root = Path(script.__file__).parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
    assert done.stderr == ""


def test_the_script_runs_as_a_program_from_another_folder_without_a_display(tmp_path):
    done = subprocess.run(
        [sys.executable, script.__file__, *arguments(("1D_BIMODAL", "--num-bins", "8"), ["RBM"], "a folder")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith("device: ")
    for word in ("compiling", "RBM", "floor", "KLD", "W₁", "a folder/"):
        assert word in done.stdout
    assert report_schema.checked(tmp_path / "a folder")["target"]["name"] == "1D_BIMODAL"


def test_two_cpu_devices_are_what_the_tests_run_on():
    assert len(jax.local_devices()) == 2


@pytest.mark.filterwarnings("error:Explicitly requested dtype")
def test_a_density_that_was_asked_for_in_float64_is_there_in_float32(monkeypatch, tmp_path):
    """After the exact divergence the likelihood of a single held-out row: JAX warned of bins indexed in 64 bits."""
    monkeypatch.setattr(one_run.studio, "Studio", lambda: None)
    case = ("1D_TRIMODAL", "--num-bins", "20", "--n-samples-train", "1")
    assert script.main(arguments(case, ["HISTOGRAM"], tmp_path / "out")) == 0


def test_what_shows_scores_of_the_end_is_drawn_when_they_are_known(here, monkeypatch):
    seen, drawings = [], pictures.closing_drawings

    def closing_drawings(folder, outcome, note):
        seen.append(outcome)
        return drawings(folder, outcome, note)

    monkeypatch.setattr(pictures, "closing_drawings", closing_drawings)
    assert script.main([*SMALL.split(), "--models", "HISTOGRAM", "--out-dir", "out"]) == 0
    (outcome,) = seen
    assert outcome.closing is not None
    report = json.loads((here / "out" / "metrics.json").read_text())
    exact = report["models"]["HISTOGRAM"]["final"]["kl_exact"]["median"]
    assert np.median(outcome.assessments[0].scores["kl_exact"]) == exact
    assert (here / "out" / pictures.HISTOGRAM).exists()


def test_a_run_is_told_how_it_began(here, monkeypatch):
    begun = []
    monkeypatch.setattr(one_run, "execute", lambda job, folder, started: begun.append(started) or {"models": {}})
    for words in ([], ["--fresh"]):
        assert script.main([*SMALL.split(), "--models", "HISTOGRAM", "--out-dir", "out", *words]) == 0
        assert begun[-1].args[-1] == (words or ["out"])[-1]
    assert [started.fresh for started in begun] == [False, True]

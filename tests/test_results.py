"""What is written for programs, on hand-made runs: nothing is trained here."""

import dataclasses
import json
import subprocess

import jax
import numpy as np
import pytest

import console
import pictures
import plotting
import results
from errors import UserError
from evaluation import make_judge
from models import MODELS
from targets import make_target
from training import Evaluation, Run

STEPS = [0, 4, 8]
KLD = np.array([[0.9, 0.5, 0.4], [0.9, 0.3, 0.1], [0.9, 0.4, 0.3], [0.9, np.nan, np.nan]])


def hand_made(config, name="RBM"):
    """Four seeds of an initialised family whose scores are given; the last seed diverged at step 3."""
    target = make_target(config)
    model = MODELS[name].build(config, target)
    state = model.init(jax.random.key(0), target.codec.encode(target.sample(jax.random.key(1), 50)))
    state = jax.tree.map(np.asarray, state)
    info = {field: np.arange(4.0) for field in ("loss", "reconstruction_error")}
    evaluations = [
        Evaluation(
            step,
            {"kld": KLD[:, e], "wasserstein": 2 * KLD[:, e]},
            info if e else None,
            np.full((4, config.n_eval_samples, target.dim), float(step)) if e else None,
        )
        for e, step in enumerate(STEPS)
    ]
    run = Run(model, [state] * 4, evaluations, [None, None, None, 3], train_seconds=2.0, compile_seconds=1.0)
    return target, make_judge(target, config), run


@pytest.fixture
def made(make_config):
    config = make_config(target_type="1D_TRIMODAL", num_bins=6, num_seeds=4, parameter_budget=60, models=("RBM",))
    return config, *hand_made(config)


def test_report_is_schema_1_and_says_what_was_measured(made):
    config, target, judge, run = made
    exact, likelihood = {"RBM": [0.1, 0.3, 0.2, np.nan]}, {"RBM": [{"train": -1.0, "held_out": -2.0}] * 4}
    report = results.report(config, target, judge, [run], exact, likelihood, {"git": "abc"}, ["b.png", "a.png"])
    read = json.loads(results.json_bytes(report))
    assert set(read) == {"schema", "files", "config", "provenance", "target", "floor", "models"}
    assert read["schema"] == 1
    assert read["files"] == ["a.png", "b.png"]
    assert read["provenance"] == {"git": "abc"}
    assert read["config"]["rbm"] == dataclasses.asdict(config.rbm)
    assert read["target"]["entropy"] == pytest.approx(float(-(judge.masses * np.log(judge.masses)).sum()))
    assert read["target"]["discretisation_error"] == judge.discretisation_error
    assert read["floor"] == {name: floor._asdict() for name, floor in judge.floors.items()}
    model = read["models"]["RBM"]
    assert set(model) == {
        "n_params",
        "width",
        "train_seconds",
        "compile_seconds",
        "seed_steps_per_second",
        "history",
        "final",
        "log_likelihood",
        "diverged_at_step",
    }
    assert model["seed_steps_per_second"] == 4 * config.n_steps / 2.0
    assert model["log_likelihood"] == likelihood["RBM"]
    assert model["diverged_at_step"] == [None, None, None, 3]
    # Of 0.1, 0.3, 0.4 and +∞ the median is 0.35: leaving the lost seed out would make it 0.3.
    assert model["final"]["kld"] == {
        "median": pytest.approx(0.35),
        "low": 0.1,
        "high": None,
        "seeds": [0.4, 0.1, 0.3, None],
    }
    assert model["final"]["kl_exact"]["median"] == pytest.approx(0.25)
    assert model["history"]["step"] == STEPS
    assert model["history"]["kld"][3] == [0.9, None, None]
    assert model["history"]["loss"][2] == [None, 2.0, 2.0]


def test_a_family_without_a_density_has_no_exact_divergence(made):
    config, target, judge, run = made
    report = results.report(config, target, judge, [run], {"RBM": [None] * 4}, {}, {}, [])
    assert report["models"]["RBM"]["final"]["kl_exact"] is None


def test_dirty_ignores_the_output_folder_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "__file__", str(tmp_path / "results.py"))

    def git(*words):
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        subprocess.run(("git", "-C", str(tmp_path), *identity, *words), check=True, capture_output=True)

    (tmp_path / "results.py").write_text("")
    git("init")
    git("add", "-A")
    git("commit", "-m", "first")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.json").write_text("{}")
    origin = results.provenance(["--out-dir", "a folder"], str(tmp_path / "out"), "now")
    assert origin["dirty"] is False
    assert len(origin["git"]) == 40
    assert origin["command"].endswith("--out-dir 'a folder'")
    (tmp_path / "results.py").write_text("changed")
    assert results.provenance([], str(tmp_path / "out"), "now")["dirty"] is True


def test_only_listed_files_inside_the_folder_are_removed(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("old.png", "kept.png", "mine.png"):
        (folder / name).write_text("")
    (tmp_path / "outside.txt").write_text("")
    listed = ["old.png", "kept.png", "../outside.txt", str(tmp_path / "outside.txt"), 3]
    (folder / "metrics.json").write_text(json.dumps({"files": listed}))
    results.remove_previous(folder, keep=["kept.png"])
    assert {path.name for path in folder.iterdir()} == {"kept.png", "mine.png", "metrics.json"}
    assert (tmp_path / "outside.txt").exists()


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="cannot be written"):
        results.open_folder(str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "mine"


def test_pictures_show_the_middle_seed(made):
    *_, run = made
    # 0.1, 0.3, 0.4, +∞: the two in the middle are seeds 2 and 0.
    assert pictures.median_seed(run) == 2


def test_every_frame_holds_the_samples_of_its_step(made, tmp_path, monkeypatch):
    config, target, judge, run = made
    drawn, energies = {}, []

    def keep(folder, gif, frames, *rest):
        drawn.update({name: samples["RBM"] for name, _, samples, _ in frames})

    monkeypatch.setattr(plotting, "timeline", keep)
    monkeypatch.setattr(plotting, "energy_landscape", lambda *args: energies.append(args))
    pictures.draw(tmp_path, config, target, judge, [run])
    assert {name: float(x.mean()) for name, x in drawn.items()} == {
        "timeline_050pct.png": 4.0,
        "timeline_100pct.png": 8.0,
    }
    _, _, energy, target_energy, *_ = energies[0]
    np.testing.assert_allclose(np.exp(-target_energy), judge.masses)
    assert np.exp(-energy).sum() == pytest.approx(1, abs=1e-5)


def test_the_final_table_names_the_diverged_and_the_floor(made, capsys):
    _, _, judge, run = made
    console.final_table([run], judge, {"RBM": [0.1, 0.3, 0.2, np.nan]})
    table = capsys.readouterr().out.splitlines()
    (row,) = (line for line in table if line.startswith("RBM"))
    assert "0.3500 (0.1000 – diverged)" in row
    assert "0.2500" in row
    assert row.endswith("3 of 4 seeds; 1 diverged at step 3")
    (floor,) = (line for line in table if line.startswith("floor"))
    assert f"{judge.floors['kld'].mean:.4f}" in floor
    assert floor.split()[-1] == "0"

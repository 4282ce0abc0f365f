"""What is written for programs, on hand-made runs: nothing is trained here."""

import dataclasses
import json
import os
import subprocess

import jax
import numpy as np
import pytest
import report_schema
from report_schema import made_report

import plotting
from benchmark.engine.records import Cost, Evaluation, Run
from benchmark.files import exports, results
from benchmark.pictures import context, pictures
from benchmark.scoring import assessment
from benchmark.scoring.assessment import Assessment
from benchmark.scoring.outcome import Outcome
from benchmark.terminal import tables
from core import places, storage
from core.errors import UserError
from kinds.contract import Closing, Floor
from kinds.real.cells import score_cells
from kinds.real.judging import make_judge
from kinds.real.views import family_pictures
from kinds.registry import KINDS
from models import MODELS
from targets import make_target

STEPS = [0, 4, 8]
KLD = np.array([[0.9, 0.5, 0.4], [0.9, 0.3, 0.1], [0.9, 0.4, 0.3], [0.9, np.nan, np.nan]])


def hand_made(config, name="RBM"):
    """Four seeds of an initialised family whose scores are given; the last seed diverged at step 3."""
    target = make_target(config)
    model = MODELS[name].build(config, target)
    state = model.init(jax.random.key(0), target.codec.encode(target.sample(jax.random.key(1), 50)))
    state = jax.tree.map(np.asarray, state)
    info = {field: np.arange(4.0) for field in ("loss", "reconstruction_error")}
    judge = make_judge(target, config)
    evaluations = []
    for e, step in enumerate(STEPS):
        samples = np.full((4, config.n_eval_samples, target.dim), sample_at(step))
        samples[[0, 1, 3]] += 1
        kept = np.stack([judge.scorer.kept(x) for x in samples])
        own = {"kld": KLD[:, e], "wasserstein": 2 * KLD[:, e]}
        evaluations.append(Evaluation(step, own, info if e else None, kept, samples if e == 2 else None))
    run = Run(
        model,
        [state] * 4,
        evaluations,
        [None, None, None, 3],
        train_seconds=2.0,
        compile_seconds=1.0,
        sample_seconds=0.5,
    )
    return target, judge, run


def sample_at(step):
    """What every row of the middle seed's sample is at a step."""
    return float(step) - 6


@pytest.fixture
def made(make_config):
    config = make_config(target_type="1D_TRIMODAL", num_bins=6, num_seeds=4, parameter_budget=60, models=("RBM",))
    return config, *hand_made(config)


def assessed(judge, run, **scores):
    """What the end of a run would say of the hand-made one."""
    last = {name: list(values) for name, values in run.evaluations[-1].metrics.items()}
    return Assessment(
        name=run.model.name,
        n_params=run.model.n_params,
        n_samples=judge.scorer.n_samples,
        samples=run.evaluations[-1].samples,
        masses=None,
        scores={**last, "kl_exact": [0.1, 0.3, 0.2, np.nan], "modes_covered": [3, 2, 3, np.nan], **scores},
        floors=judge.floors,
        diverged_at_step=run.diverged_at_step,
        log_likelihood=[{"train": -1.0, "held_out": -2.0}] * 4,
        memorisation=[{"train": 0.1, "held_out": 0.2}] * 4,
    )


COST = Cost(operations_per_step=1000.0, rows_per_step=16, memory_bytes=2**20)
CLOSING = Closing(lambda x: {}, {"modes_covered": Floor(3.0, 2.0, 3.0, 3.0)}, {"modes": 0.5})


def outcome_of(config, target, judge, run, entries):
    costs = {run.model.name: results.cost_of(run, COST, config.n_eval_samples)}
    return Outcome(config, target, judge, [run], entries, costs, CLOSING)


def reported(config, target, judge, run, entries, files=()):
    outcome = outcome_of(config, target, judge, run, entries)
    origin = made_report(config)["provenance"]
    names = [*files, results.METRICS_FILE]
    content = results.report(outcome, origin, names)
    return report_schema.check(results.json_bytes(content))


def test_report_is_schema_1_and_says_what_was_measured(made):
    config, target, judge, run = made
    read = reported(config, target, judge, run, [assessed(judge, run)], ["b.png", "a.png"])
    assert set(read) == {
        "schema",
        "partial",
        "files",
        "config",
        "provenance",
        "target",
        "floor",
        "metric_seconds",
        "models",
        "external",
    }
    assert read["schema"] == 1
    assert read["files"] == ["a.png", "b.png", results.METRICS_FILE]
    assert read["provenance"] == made_report(config)["provenance"]
    assert read["config"]["rbm"] == dataclasses.asdict(config.rbm)
    assert read["target"]["entropy"] == pytest.approx(float(-(judge.masses * np.log(judge.masses)).sum()))
    assert read["target"]["discretisation_error"] == judge.discretisation_error
    floors = judge.floors | CLOSING.floors | {"kl_exact": Floor(0.0, 0.0, 0.0, 0.0)}
    assert set(read["floor"]) == set(floors)
    for name, floor in floors.items():
        assert [read["floor"][name][part] for part in ("median", "low", "high")] == list(floor)
        assert read["floor"][name]["median"] == floor.median
        assert tuple(read["floor"][name].get("quantiles", ())) == floor.quantiles
    assert len(read["floor"]["kld"]["quantiles"]) == 41
    assert "quantiles" not in read["floor"]["kl_exact"]
    assert read["external"] == {}
    model = read["models"]["RBM"]
    assert set(model) == {
        "n_params",
        "width",
        "operations_per_step",
        "rows_per_step",
        "memory_bytes",
        "train_seconds",
        "compile_seconds",
        "samples_per_second",
        "seed_steps_per_second",
        "history",
        "final",
        "log_prob_kind",
        "log_likelihood",
        "memorisation",
        "diverged_at_step",
    }
    assert model["operations_per_step"] == 1000
    assert model["seed_steps_per_second"] == (3 * config.n_steps + 3) / 2.0
    assert model["samples_per_second"] == 4 * config.n_eval_samples / 0.5
    assert model["log_likelihood"] == [{"train": -1.0, "held_out": -2.0}] * 4
    assert model["diverged_at_step"] == [None, None, None, 3]
    assert set(model["final"]) == set(KINDS["bins"].reported)
    # Of 0.1, 0.3, 0.4 and +∞ the median is 0.35: leaving the lost seed out would make it 0.3.
    assert model["final"]["kld"] == {
        "median": pytest.approx(0.35),
        "low": 0.1,
        "high": None,
        "seeds": [0.4, 0.1, 0.3, None],
    }
    assert model["final"]["kl_exact"]["median"] == pytest.approx(0.25)
    # Where more is better the lost seed is below all others.
    assert model["final"]["modes_covered"] == {"median": 2.5, "low": None, "high": 3.0, "seeds": [3, 2, 3, None]}
    assert model["final"]["wasserstein_exact"] is None
    assert model["history"]["step"] == STEPS
    assert model["history"]["kld"][3] == [0.9, None, None]
    assert model["history"]["loss"][2] == [None, 2.0, 2.0]


def test_a_family_without_a_density_has_no_exact_divergence(made):
    config, target, judge, run = made
    read = reported(config, target, judge, run, [assessed(judge, run, kl_exact=None)])
    assert read["models"]["RBM"]["final"]["kl_exact"] is None


def test_external_entries_have_the_shape_of_a_familys_final(made):
    config, target, judge, run = made
    config = dataclasses.replace(config, external_samples=(("QCBM", "qcbm.npy", None),))
    entry = assessed(judge, run)._replace(
        name="QCBM",
        n_params=None,
        n_samples=70,
        scores={"kld": [0.3], "wasserstein": [0.2], "kl_exact": [np.inf]},
        floors=judge.floors | {"kl_exact": Floor(0.0, 0.0, 0.0, 0.0)},
        memorisation=(),
        external=True,
    )
    read = reported(config, target, judge, run, [assessed(judge, run), entry])
    external = read["external"]["QCBM"]
    assert set(external["final"]) == set(read["models"]["RBM"]["final"])
    assert external["final"]["kld"] == {"median": 0.3, "low": 0.3, "high": 0.3, "seeds": [0.3]}
    assert external["final"]["kl_exact"]["median"] is None
    assert (external["n_params"], external["n_samples"]) == (None, 70)
    assert external["floor"]["kld"] == read["floor"]["kld"]


def test_parameters_hold_what_was_trained_and_what_was_scored(made, tmp_path):
    *_, run = made
    exports.write_parameters(tmp_path / "parameters.npz", [run])
    with np.load(tmp_path / "parameters.npz") as arrays:
        names = set(arrays.files)
    trained = {name for name in names if "/average/" not in name}
    assert trained
    assert {name.replace("RBM/average/", "RBM/") for name in names - trained} == trained


def test_a_fixed_training_set_is_recorded(make_config):
    config = make_config(target_type="1D_BETA", num_bins=0, n_samples_train=30, num_seeds=4, parameter_budget=60,
                         models=("RBM",))  # fmt: skip
    target, judge, run = hand_made(config)
    read = reported(config, target, judge, run, [assessed(judge, run)])
    split = read["target"]["split"]
    assert (split["n_train"], split["n_held_out"], split["seed"]) == (30, 30, config.seed)
    assert split["mean"] == pytest.approx(target.train_rows.mean(0).tolist())


def test_dirty_ignores_the_output_folder_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "ROOT", tmp_path)

    def git(*words):
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        subprocess.run(("git", "-C", str(tmp_path), *identity, *words), check=True, capture_output=True)

    (tmp_path / "results.py").write_text("")
    git("init")
    git("add", "-A")
    git("commit", "-m", "first")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.json").write_text("{}")
    origin = results.provenance(["--out-dir", "a folder"], str(tmp_path / "out"), "now", {})
    assert origin["dirty"] is False
    assert len(origin["git"]) == 40
    assert origin["command"].endswith("--out-dir 'a folder'")
    (tmp_path / "results.py").write_text("changed")
    assert results.provenance([], str(tmp_path / "out"), "now", {})["dirty"] is True


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


def test_a_list_of_files_that_never_ends_is_not_read(tmp_path):
    for make in (lambda path: os.mkfifo(path), lambda path: path.symlink_to("/dev/zero")):
        make(tmp_path / "metrics.json")
        results.remove_previous(tmp_path, keep=[])
        (tmp_path / "metrics.json").unlink()
    (tmp_path / "old.png").touch()
    content = json.dumps({"files": ["old.png"]}).encode()
    (tmp_path / "metrics.json").write_bytes(content.ljust(2**26 + 1))
    results.remove_previous(tmp_path, keep=[])
    assert (tmp_path / "old.png").exists()


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="cannot be written"):
        storage.open_folder(str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "mine"


def test_pictures_show_the_middle_seed(made):
    *_, run = made
    # 0.1, 0.3, 0.4, +∞: the two in the middle are seeds 2 and 0.
    assert context.median_seed(run, "kld") == 2
    # By another metric another one is.
    last = run.evaluations[-1]
    other = last._replace(metrics=last.metrics | {"wasserstein": np.array([0.1, 0.2, 0.3, np.inf])})
    assert context.median_seed(run._replace(evaluations=[other]), "wasserstein") == 1


def test_every_frame_holds_the_samples_of_its_step(made, tmp_path, monkeypatch):
    config, target, judge, run = made
    drawn, energies, cells = {}, [], score_cells(target.truth, config.kld_cells)

    def keep(path, scene, frames, *rest, **more):
        drawn.update({name: frame.kept["RBM"] for name, frame in frames.items()})

    monkeypatch.setattr(plotting, "timeline", keep)
    monkeypatch.setattr(family_pictures, "energy_landscape", lambda *args: energies.append(args))
    outcome = outcome_of(config, target, judge, run, [assessed(judge, run)])
    grid = outcome.kind.sensitivity(assessment.scored(outcome.assessments), config, target, judge)
    for drawing in pictures.drawings(tmp_path, outcome, grid):
        pictures.draw(drawing)
    # All rows are in one bin.
    assert {name: cells.centres[0][shares == 1].tolist() for name, shares in drawn.items()} == {
        name: [min(cells.centres[0], key=lambda x, step=step: abs(x - sample_at(step)))]
        for name, step in (("step 0", 0), ("timeline_050pct.png", 4), ("timeline_100pct.png", 8))
    }
    _, energy, scene, *_ = energies[0]
    np.testing.assert_allclose(np.exp(-scene.energy), judge.masses)
    assert np.exp(-energy).sum() == pytest.approx(1, abs=1e-5)


def test_the_final_table_names_the_diverged_and_the_floor(made, capsys):
    config, target, judge, run = made
    tables.show(tables.final_rows(outcome_of(config, target, judge, run, [assessed(judge, run)])))
    table = capsys.readouterr().out.splitlines()
    (row,) = (line for line in table if line.startswith("RBM"))
    assert "0.3500 (0.1000 – diverged)" in row
    assert "0.2500" in row
    assert row.endswith("3 of 4 seeds; 1 diverged at step 3")
    (floor,) = (line for line in table if line.startswith("floor"))
    assert f"{judge.floors['kld'].median:.4f}" in floor
    assert floor.split()[-1] == "0"


def test_the_final_table_marks_who_loses_to_a_rival(made, capsys):
    config, target, judge, run = made
    floor = judge.floors["kld"].high
    families = [
        assessed(judge, run)._replace(name=name, scores={"kld": [value] * 4, "wasserstein": [0.1] * 4}, rival=rival)
        for name, value, rival in (("GOOD", floor, False), ("BAD", 3 * floor, False), ("TRIVIAL", 2 * floor, True))
    ]
    tables.show(tables.final_rows(outcome_of(config, target, judge, run, families)))
    head, _, good, bad, trivial, _ = capsys.readouterr().out.splitlines()
    assert head.endswith("remark")
    assert [line.endswith("▼ loses to TRIVIAL by KLD") for line in (good, bad, trivial)] == [False, True, False]
    tables.show(tables.final_rows(outcome_of(config, target, judge, run, families[:2])))
    in_line = capsys.readouterr().out
    assert "remark" not in in_line
    assert "  W₁ (units of x)" in in_line
    plane = judge._replace(labels=judge.labels | {"wasserstein": "sliced W₁ (units of x)"})
    tables.show(tables.final_rows(outcome_of(config, target, plane, run, families[:2])))
    assert "  sliced W₁ (units of x)" in capsys.readouterr().out


def test_tables_show_external_entries_with_their_own_floor(made, capsys):
    config, target, judge, run = made
    own = {name: dataclasses.replace(floor, median=9.5) for name, floor in judge.floors.items()}
    few = assessed(judge, run)._replace(
        name="QCBM", n_params=None, n_samples=70, scores={"kld": [0.3], "wasserstein": [0.25]}, floors=own,
        diverged_at_step=[None], external=True
    )  # fmt: skip
    exact = few._replace(name="EXACT", n_samples=None, samples=None, masses=np.ones(6) / 6, floors={},
                         scores={"kl_exact": [np.inf], "wasserstein": [0.5]})  # fmt: skip
    tables.show(tables.final_rows(outcome_of(config, target, judge, run, [assessed(judge, run), few, exact])))
    table = capsys.readouterr().out.splitlines()
    rows = {line.split("  ")[0]: line for line in table}
    assert "external, n = 70" in rows["QCBM"]
    assert "?" in rows["QCBM"]
    assert "9.5000" in rows["floor at n = 70"]
    assert "infinite (exact)" in rows["EXACT"]
    assert "probabilities" in rows["EXACT"]


def test_what_cannot_be_computed_is_not_called_diverged(made, capsys):
    config, target, judge, run = made
    unknown = assessed(judge, run, kld=[0.1] * 4, kl_exact=[np.nan] * 4)._replace(diverged_at_step=[None] * 4)
    tables.show(tables.final_rows(outcome_of(config, target, judge, run, [unknown])))
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("RBM"))
    assert "unknown (unknown – unknown)" in row
    assert "diverged" not in row.split("unknown")[1]


def test_a_lost_seed_does_not_hide_the_others_likelihood():
    assert tables._nats([np.nan, -1.0, -1.1, -1.2]) == "-1.150"
    assert tables._nats([np.nan, np.nan, -1.1]) == "diverged"


def test_costs_and_held_out_rows_have_their_tables(made, capsys):
    config, _, judge, run = made
    tables.show(tables.cost_rows({"RBM": results.cost_of(run, COST, config.n_eval_samples)}))
    row = capsys.readouterr().out.splitlines()[-1]
    for value in ("1 k", "16", "2.0 s", "1.0 s", "512", "1.0 MiB"):
        assert value in row
    still = COST._replace(operations_per_step=0.0, rows_per_step=2**17)
    tables.show(tables.cost_rows({"RBM": results.cost_of(run, still, config.n_eval_samples)}))
    assert "131 k in all" in capsys.readouterr().out.splitlines()[-1]
    tables.show(tables.held_out_rows([assessed(judge, run)], KINDS["real"], {"train": 0.0, "held_out": 0.5}))
    table = capsys.readouterr().out.splitlines()
    assert table[0].split("  ")[0].strip() == ""
    assert table[-2].split()[1:] == ["0.1000", "-1.000", "0.2000", "-2.000"]
    assert table[-1].split()[-2:] == ["0", "0.5000"]
    tables.show(tables.held_out_rows([assessed(judge, run)], KINDS["real"], None))
    assert not capsys.readouterr().out


def test_the_comparison_says_the_exact_divergence_of_families(made, tmp_path):
    config, target, judge, run = made
    family = assessed(judge, run)
    external = family._replace(name="QCBM", external=True, samples=family.samples[:1], diverged_at_step=[None],
                               scores={name: values[:1] for name, values in family.scores.items()})  # fmt: skip
    call, *_ = pictures.closing_drawings(tmp_path, outcome_of(config, target, judge, run, [family, external]))
    # The median where a diverged seed counts as the worst.
    assert call.args[2].remarks["RBM"].startswith("exact KL 0.2500 · 1 of 4 seeds diverged")
    assert "exact" not in call.args[2].remarks["QCBM"]
    # What rests on an estimated density says so, as in the tables.
    call, *_ = pictures.closing_drawings(
        tmp_path, outcome_of(config, target, judge, run, [family._replace(estimated=True)])
    )
    assert call.args[2].remarks["RBM"].startswith("exact KL ≈ 0.2500 · ")
    # And where it is followed, and stands among the scores.
    followed = judge._replace(floors={**judge.floors, "kl_exact": Floor(0.0, 0.0, 0.0, 0.0)})
    outcome = outcome_of(config, target, followed, run, [family._replace(estimated=True)])
    call, *_ = pictures.closing_drawings(tmp_path, outcome)
    assert call.args[2].scores["RBM"].endswith("exact KL ≈ 0.2500")
    assert call.args[2].scores["RBM"].count("≈") == 1
    (row, *_) = tables.final_rows(outcome)
    assert [heading for heading, words in row.items() if words.startswith("≈ ")] == ["exact KL (nats)"]
    unknown = family._replace(scores=family.scores | {"kl_exact": None})
    call, *_ = pictures.closing_drawings(tmp_path, outcome_of(config, target, judge, run, [unknown]))
    assert "exact" not in call.args[2].remarks["RBM"]

"""Sweeps: which cells there are, that a finished one is not run again, and that nothing is lost."""

import contextlib
import csv
import dataclasses
import functools
import io
import json
import os
import string
import threading
import time
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from conftest import tree
from html_checks import checked
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from report_schema import made_report

import generative_models_GAN_VAE_RBM_benchmarks as script
import metrics
from benchmark.asked import command_line
from benchmark.asked import config as configuration
from benchmark.engine import devices
from benchmark.files import archive, locks, results
from benchmark.pictures.views import leaderboard, scaling
from benchmark.run import checks, one_run, parts
from benchmark.sweeps import cell_runs, sweep_boards, sweep_merge, sweep_pictures, sweep_scores
from benchmark.sweeps.sweep_plan import cell_name, make_plan
from benchmark.terminal import console, streams
from core import storage
from core.errors import UserError
from kinds.contract import Floor
from kinds.real.judging import floor_of
from models import MODELS

SMALL = dict(
    MODELS=("RBM",),
    NUM_BINS=4,
    N_STEPS=8,
    N_EVALUATIONS=2,
    SNAPSHOT_PERCENT=50,
    NUM_SEEDS=2,
    N_EVAL_SAMPLES=64,
    BATCH_SIZE=16,
    PARAMETER_BUDGET=60,
)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """The config block as somebody edited it: what is swept must not stand on the command line as well."""
    for name, value in SMALL.items():
        monkeypatch.setattr(script, name, value)


def plan_of(*words, out_dir="out", **constants):
    args = ["--out-dir", str(out_dir), *words]
    return make_plan(command_line.read({**vars(script), **constants}, args, ""))


def run(*words, out_dir="out"):
    return script.main(["--out-dir", str(out_dir), *words])


def png():
    """A picture of two points, as bytes."""
    file = io.BytesIO()
    Image.new("RGB", (2, 1)).save(file, "png")
    return file.getvalue()


A_PICTURE = png()
DRAWN = {(leaderboard, "leaderboard"): leaderboard.leaderboard, (scaling, "budget_scaling"): scaling.budget_scaling}


@pytest.fixture
def begun():
    """How those that ran had begun, in order."""
    return []


@pytest.fixture
def executed(here, monkeypatch, begun):
    """Stands in for training and drawing: results are there at once. Gives the folders of those that ran, in order."""
    folders = []

    def execute(job, folder, started, *, with_pictures, trained):
        del trained
        folders.append(folder.name)
        begun.append(started)
        assert folder.parent == started.root
        files = [results.METRICS_FILE] + ["picture.png"] * with_pictures
        report = made_report(job.config, files=files, klds=[0.01, 0.03, np.nan])
        # That one last: where it is, all is.
        for name in reversed(files):
            storage.write_whole(folder / name, results.json_bytes(report))

    def draw(path, *args, **more):
        storage.write_whole(path, A_PICTURE)

    monkeypatch.setattr(script, "NUM_SEEDS", 3)
    monkeypatch.setattr(one_run, "execute", execute)
    for module, name in DRAWN:
        monkeypatch.setattr(module, name, draw)
    return folders


@pytest.fixture
def refused(refusal):
    """The line with which a sweep is refused."""
    return lambda *words: refusal("--out-dir", "out", *words)


def test_cells_are_the_product_of_the_lists_the_last_one_fastest():
    plan = plan_of("--sweep", "PARAMETER_BUDGET=60,310", "TARGET_TYPE=1D_BETA,1D_BIMODAL", out_dir="a/b")
    assert [cell.name for cell in plan.cells] == [
        "PARAMETER_BUDGET=60,TARGET_TYPE=1D_BETA",
        "PARAMETER_BUDGET=60,TARGET_TYPE=1D_BIMODAL",
        "PARAMETER_BUDGET=310,TARGET_TYPE=1D_BETA",
        "PARAMETER_BUDGET=310,TARGET_TYPE=1D_BIMODAL",
    ]
    single = command_line.parse(vars(script), ["--parameter-budget", "310", "--target-type", "1D_BETA"], "")
    cell = plan.cells[2]
    assert type(cell.config) is configuration.BenchmarkConfig
    assert cell.config.out_dir == str(Path("a/b", cell.name))
    assert dataclasses.replace(cell.config, out_dir=single.out_dir) == single
    described = {n for n in configuration.sweepable() if "." not in n}
    assert set(plan.constants) == described - set(plan.swept)


def test_any_constant_may_be_swept_in_the_config_block():
    block = {
        "MODELS": (("RBM",), ["RBM", "VAE"]),
        "MIXTURE_WEIGHTS": ((0.25, 0.25, 0.25, 0.25), (0.1, 0.2, 0.3, 0.4)),
        "SEED": range(2),
        "RBM": ({"k": 2}, {}),
        "RBM.learning_rate": (1e-3, 2e-3),
    }
    plan = plan_of(SWEEP=block)
    assert len(plan.cells) == 2**5
    last = plan.cells[-1].config
    assert list(last.models) == ["RBM", "VAE"]
    assert last.mixture_weights == (0.1, 0.2, 0.3, 0.4)
    assert (last.seed, last.rbm.k, last.rbm.learning_rate) == (1, 0, 2e-3)
    assert plan.cells[0].config.rbm.k == 2
    assert ",MODELS=RBM," in plan.cells[0].name
    assert ",MODELS=RBM+VAE," in plan.cells[-1].name
    assert "learning_rate" not in plan.constants.get("RBM", {})


@pytest.mark.parametrize("name", list(configuration.sweepable()))
def test_every_sweepable_name_takes_the_value_that_it_has(name):
    single = configuration.from_constants(vars(script))
    family, _, setting = name.partition(".")
    value = getattr(getattr(single, family.lower()), setting) if setting else vars(script).get(name, {})
    models = {} if name == "MODELS" else {"MODELS": (family if family in MODELS else "RBM",)}
    (cell,) = make_plan(command_line.read({**vars(script), **models, "SWEEP": {name: (value,)}}, [], "")).cells
    whole = dataclasses.replace(single, **{key.lower(): each for key, each in models.items()})
    assert dataclasses.replace(cell.config, out_dir=single.out_dir) == whole


def test_words_are_data_of_their_constants_types():
    sweep_ = "KLD_EPSILON=1e-6", "VAE.learn_sigma=True,False", "RBM.algorithm=PCD", "RBM.k=3", "CUSTOM_FILE=a b.csv"
    values = plan_of("--models", "RBM", "VAE", "--sweep", *sweep_).cells[0].values
    assert list(values.values()) == [1e-6, True, "PCD", 3, "a b.csv"]
    assert [type(value) for value in values.values()] == [float, bool, str, int, str]


def test_numpy_s_numbers_are_numbers():
    block = {
        "RBM.learning_rate": np.geomspace(1e-4, 1e-2, 3),
        "PARAMETER_BUDGET": tuple(np.array([60, 70])),
        "MIXTURE_MEANS": (np.zeros((4, 2)),),
        "SEED": np.arange(2),
    }
    plain = {name: np.asarray(values).tolist() for name, values in block.items()}
    plan = plan_of(SWEEP=block)
    assert plan.cells == plan_of(SWEEP=plain).cells
    assert "RBM.learning_rate=0.0001" in plan.cells[0].name
    assert {type(value) for cell in plan.cells for value in cell.values.values()} == {int, float, list}


def test_cells_are_found_again_in_whichever_order_constants_are_listed():
    plans = [plan_of("--sweep", *words) for words in (("SEED=1,2", "RBM.k=1,2"), ("RBM.k=2,1", "SEED=1,2"))]
    assert {cell.name: cell.config for cell in plans[0].cells} == {cell.name: cell.config for cell in plans[1].cells}
    assert [list(plan.swept) for plan in plans] == [["SEED", "RBM.k"], ["RBM.k", "SEED"]]
    assert [cell.values["SEED"] for cell in plans[0].cells] == [1, 1, 2, 2]


def test_an_option_that_the_sweep_varies_is_refused_for_a_family_as_a_whole():
    with pytest.raises(UserError, match=r"^--rbm\.k sets what the sweep varies \(RBM\)"):
        plan_of("--rbm.k", "3", SWEEP={"RBM": ({"sigma": 0.5},)})
    assert len(plan_of("--rbm.k", "3", "--sweep", "RBM.sigma=0.5,1").cells) == 2


def test_a_swept_constant_need_not_fit_where_it_stands():
    plan = plan_of("--target-type", "2D_GMM", "--sweep", "NUM_BINS=0")
    assert plan.cells[0].config.num_bins == 0
    # Learning σ leaves no β but 1.
    assert len(plan_of("--models", "VAE", "--sweep", "VAE.learn_sigma=True", "VAE.beta=0,1").cells) == 2


def test_the_command_line_s_sweep_replaces_the_block_s():
    block = {"SEED": (1, 2)}
    assert len(plan_of(SWEEP=block).cells) == 2
    assert [cell.name for cell in plan_of("--sweep", "PARAMETER_BUDGET=70", SWEEP=block).cells] == [
        "PARAMETER_BUDGET=70"
    ]
    command = command_line.read({**vars(script), "SWEEP": block}, ["--sweep"], "")
    assert not command.sweep
    assert type(command.config) is configuration.BenchmarkConfig


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple))


@settings(deadline=None, max_examples=80)
@given(st.dictionaries(st.sampled_from(list(configuration.sweepable())), VALUES, min_size=1, max_size=6))
def test_names_are_safe_whatever_the_values(values):
    name = cell_name(values)
    assert name == cell_name(values)
    assert set(name) <= set(string.ascii_letters + string.digits + "_.+-=,")
    assert name[0].isalpha()
    assert name[-1] != "."
    assert 0 < len(name) <= 100
    assert (Path("out") / name).parent == Path("out")


@settings(deadline=None, max_examples=80)
@given(VALUES, VALUES)
def test_other_values_have_other_names(one, two):
    names = [cell_name({"CUSTOM_FILE": value}) for value in (one, two)]
    plain = [json.dumps(value) for value in (one, two)]
    if plain[0] == plain[1]:
        assert names[0] == names[1]
    # A number and the word for it never stand in one list: a constant takes either.
    elif type(one) is type(two):
        assert names[0] != names[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["SEDE=1"], ["SWEEP's 'SEDE' is unknown: choose from TARGET_TYPE, ", "did you mean SEED?"]),
        (["GAN.learning_rat=1"], ["choose from GAN.learning_rate, GAN.", "did you mean GAN.learning_rate?"]),
        (["SEED="], ["SWEEP's list for SEED is empty"]),
        (["SEED"], ["--sweep 'SEED' needs values: write SEED=value,value"]),
        (["SEED=1,2", "SEED=3"], ["--sweep names SEED twice"]),
        (["SEED=1,1"], ["two cells with the name SEED=1: list every value once"]),
        (["RBM.sigma=1,1.0"], ["two cells with the name RBM.sigma=1.0"]),
        (["SEED=1,x"], ["--sweep SEED: 'x' must be a whole number"]),
        (["SEED=__import__('os').getpid()"], ["must be a whole number"]),
        (["SEED=1e1"], ["'1e1' must be a whole number; the nearest valid choice is 10"]),
        (["RBM.sigma=wide"], ["'wide' must be a number, such as 0.001"]),
        (["RBM.algorithm=pcd"], ["'pcd' is unknown: choose from auto, CD, PCD; did you mean PCD?"]),
        (["VAE.learn_sigma=yes"], ["'yes' must be True or False"]),
        (["MODELS=RBM"], ["MODELS: its values are tuples, which only SWEEP in the config block can list"]),
        (["GAN=1"], ["GAN: its values are dicts"]),
        (["OUT_DIR=x"], ["SWEEP cannot vary OUT_DIR"]),
        (["COMPILATION_CACHE=on,off"], ["SWEEP cannot vary COMPILATION_CACHE: no result depends on it"]),
        (["CUSTOM_FILE=A.csv,a.csv"], ["the cells CUSTOM_FILE=A.csv and CUSTOM_FILE=a.csv, ", "differ only in case"]),
        (["VAE.beta=0,-0.0"], ["two cells with the name VAE.beta=0.0"]),
        (["SEED=" + "9" * 5000], ["--sweep SEED: '99999999999999999999'… has more than 300 letters"]),
        (["SEED=1,2", "--seed", "7"], ["--seed sets what the sweep varies (SEED): leave one of the two out"]),
        (["NUM_BINS=4,5", "--num_bins=4"], ["--num-bins sets what the sweep varies (NUM_BINS)"]),
        (["RBM.k=1,2", "--rbm.k", "1"], ["--rbm.k sets what the sweep varies (RBM.k)"]),
        (["SEED=1", "--sweep-pictures", "False"], ["--sweep-pictures takes no False: write --no-sweep-pictures"]),
        (["SEED=1", "--vae.learn-sigma", "False"], ["takes no False: write --vae.no-learn-sigma"]),
        (["SWEEP_PICTURES=True"], ["SWEEP cannot vary SWEEP_PICTURES: no result depends on it; set it for all cells"]),
        (["LAUNCHER=local,slurm"], ["SWEEP cannot vary LAUNCHER: no result depends on it"]),
        (["SLURM.cpus=1,2"], ["SWEEP cannot vary SLURM: no result depends on it"]),
        (["SWEEP=1"], ["SWEEP cannot vary SWEEP: it is the sweep"]),
        (["RBM.k=1,2", "--models", "GAN"], ["SWEEP varies RBM.k, but MODELS = GAN trains no RBM: ", "leave RBM.k out"]),
        (["SEED=1,-1"], ["cell SEED=-1: SEED = -1 must be at least 0; the nearest valid choice is 0"]),
        (["PARAMETER_BUDGET=60,2"], ["cell PARAMETER_BUDGET=2: RBM: PARAMETER_BUDGET = 2 ", "smallest that works"]),
        (["TARGET_TYPE=1D_BETA,2D_GMM"], ["cell TARGET_TYPE=2D_GMM: NUM_BINS = 4 needs a 1-D target", "NUM_BINS = 0"]),
        (["CUSTOM_FILE=no.csv", "TARGET_TYPE=CUSTOM"], ["cell CUSTOM_FILE=no.csv,", "'no.csv' is not a file"]),
        (["RBM.sigma=nan"], ["cell RBM.sigma=nan: RBM.sigma = nan must be"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_a_sweep_that_cannot_be_run_is_refused_in_one_line(refused, words, said):
    line = refused("--sweep", *words)
    for part in said:
        assert part in line


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (5, "SWEEP = 5 must be a dict of lists"),
        (
            {"VAE": ({"beta": 1.0}, {})},
            "SWEEP varies VAE, but MODELS = RBM trains no VAE: its values would all run the",
        ),
        ({"SEED": 3}, "SWEEP['SEED'] = 3 must be a list: write (3,)"),
        ({"TARGET_TYPE": "1D_BETA"}, "must be a list: write ('1D_BETA',)"),
        ({"SEED": ()}, "SWEEP's list for SEED is empty"),
        ({3: (1,)}, "SWEEP's '3' is unknown"),
        ({"SEED": (1, None)}, "SEED = None must be a whole number"),
        ({"MODELS": ("RBM",)}, "cell MODELS=RBM: MODELS = 'RBM' must name at least one family"),
        ({"MIXTURE_WEIGHTS": ((1, 2),), "TARGET_TYPE": ("2D_GMM",), "NUM_BINS": (0,)}, "2D_GMM has 2 weights"),
        ({"RBM": ({3: 1, "k": 2},)}, "RBM's setting"),
        ({"SEED": {2, 1}}, "SWEEP['SEED'] must be a list, and is a set, which has no order: write [1, 2]"),
        ({"SEED": iter((1, 2))}, "SWEEP['SEED'] must be a list, and is a tuple_iterator, which can be read only once"),
        ({"SEED": {"a": 1}}, "SWEEP['SEED'] must be a list, and is a dict: write its values as a list, [1]"),
        ({"SEED": np.array(3)}, "SWEEP['SEED'] = 3 must be a list: write (3,)"),
        ({"SEED": (1, np.int64(1))}, "two cells with the name SEED=1: list every value once"),
        ({"RBM.sigma": (0.5, np.float64(0.5))}, "two cells with the name RBM.sigma=0.5"),
        ({"VAE.beta": (0.0, -0.0)}, "two cells with the name VAE.beta=0.0"),
        ({"RBM": ({"k": 2}, {"k": np.int64(2)})}, "two cells with the name RBM="),
        ({"MIXTURE_WEIGHTS": ((1, 0, 0, 0), (1.0, 0, 0, 0))}, "two cells with the name MIXTURE_WEIGHTS="),
        ({"SEED": (10**5000,)}, "SWEEP['SEED'] has a whole number of more than 300 digits"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, dict) else str(value)[:40],
)
def test_an_edited_sweep_that_cannot_be_run(refused, monkeypatch, block, said):
    monkeypatch.setattr(script, "SWEEP", block)
    assert said in refused()


def test_a_cell_records_its_command_and_a_picture_what_its_medians_are_over(executed, begun, here, monkeypatch):
    drawn = []

    def draw(path, *args, **more):
        path.write_bytes(A_PICTURE)
        drawn.append((path.name, more))

    monkeypatch.setattr(scaling, "budget_scaling", draw)
    args = ["--out-dir", "out", "--sweep", "PARAMETER_BUDGET=60,310", "SEED=1,2"]
    assert script.main(args) == 0
    assert [started.args for started in begun] == [args] * 4
    assert drawn == [("budget_scaling.png", {"setting": "", "notes": ["medians also over 2 values of SEED"]})]


def test_a_finished_cell_is_never_run_again_and_a_missing_one_alone(executed, here, capsys):
    words = "--sweep", "SEED=1,2,3"
    assert run(*words) == 0
    assert executed == ["SEED=1", "SEED=2", "SEED=3"]
    assert capsys.readouterr().out.endswith("\nopen out/index.html in a browser\n")
    assert json.loads((here / "out/sweep.json").read_text())["state"] == "finished"
    assert set(os.listdir(here / "out")) == {
        "SEED=1",
        "SEED=2",
        "SEED=3",
        "sweep.json",
        "leaderboard.csv",
        "leaderboard.tex",
        "leaderboard.png",
        "index.html",
    }
    before = tree(here / "out")
    # Whether compiled programs are kept is not part of what a cell is.
    assert run(*words, "--compilation-cache", "off") == 0
    assert len(executed) == 3
    after = tree(here / "out")
    cells = [path for path in before if "SEED=" in path]
    assert {path: after[path] for path in cells} == {path: before[path] for path in cells}

    (here / "out/SEED=2/metrics.json").unlink()
    capsys.readouterr()
    assert run(*words) == 0
    assert executed[3:] == ["SEED=2"]
    assert "2 of them are finished already" in capsys.readouterr().out
    after = tree(here / "out")
    kept = [path for path in cells if "SEED=2" not in path]
    assert {path: after[path] for path in kept} == {path: before[path] for path in kept}


def test_an_interrupted_sweep_continues(executed, here, monkeypatch, capsys):
    whole, words = one_run.execute, ("--sweep", "SEED=1,2,3", "PARAMETER_BUDGET=60,70")

    def until(job, *rest, **more):
        if (job.config.seed, job.config.parameter_budget) == (2, 60):
            raise KeyboardInterrupt
        whole(job, *rest, **more)

    monkeypatch.setattr(one_run, "execute", until)
    assert run(*words) == 130
    told = "interrupted: 2 of 6 cells finished; the same command continues\nopen out/index.html in a browser\n"
    assert capsys.readouterr().out.endswith(told)
    page = checked(here / "out/index.html")
    assert "2 of 6 cells have finished." in page.text
    assert "4 of 6 cells have not finished yet." in page.text
    assert page.cells.count("not finished") == 4
    assert json.loads((here / "out/sweep.json").read_text())["state"] == "unfinished"
    assert len((here / "out/leaderboard.csv").read_text().splitlines()) == 1 + 2
    monkeypatch.setattr(one_run, "execute", whole)
    assert run(*words) == 0
    assert executed.count("PARAMETER_BUDGET=60,SEED=1") == 1
    assert len(executed) == 6
    assert json.loads((here / "out/sweep.json").read_text())["files"] == [
        "budget_scaling.png",
        "index.html",
        "leaderboard.csv",
        "leaderboard.png",
        "leaderboard.tex",
    ]


def test_a_cell_that_fails_loses_no_other_and_is_tried_again(executed, here, monkeypatch, capsys):
    whole, words = one_run.execute, ("--sweep", "SEED=1,2,3")

    def failing(job, *rest, **more):
        if job.config.seed == 1:
            raise ZeroDivisionError("of a\nkind")
        if job.config.seed == 2:
            raise UserError("gone")
        whole(job, *rest, **more)

    monkeypatch.setattr(one_run, "execute", failing)
    assert run(*words) == 1
    said = capsys.readouterr().out
    assert "failed: cell SEED=1: ZeroDivisionError: of a kind   (out/SEED=1/error.txt)\n" in said
    assert "failed: cell SEED=2: gone   (out/SEED=2/error.txt)\n" in said
    line = (
        "leaderboard.csv, leaderboard.tex, leaderboard.png, index.html and sweep.json in out/, over 1 of 3 cells; "
        "missing: SEED=1 SEED=2; 2 of them "
    )
    assert f"{line}failed (error.txt in their folders)\n" in said
    text = (here / "out/SEED=1/error.txt").read_text()
    assert text.startswith("Traceback")
    assert "ZeroDivisionError: of a\nkind" in text
    page = checked(here / "out/index.html")
    assert "1 of 3 cells have finished.\n" in page.text
    assert "Failed: SEED=1, SEED=2." in page.text
    assert {"SEED=1/error.txt", "SEED=2/error.txt", "SEED=3/metrics.json"} <= {unquote(link) for link in page.links}
    assert executed == ["SEED=3"]
    assert [row["SEED"] for row in csv.DictReader((here / "out/leaderboard.csv").open())] == ["3"]
    monkeypatch.setattr(one_run, "execute", whole)
    assert run(*words) == 0
    assert executed[1:] == ["SEED=1", "SEED=2"]
    assert not list((here / "out").glob("*/error.txt"))
    page = checked(here / "out/index.html")
    assert "3 of 3 cells have finished." in page.text
    assert "ailed" not in page.text


def test_merging_alone_runs_nothing(executed, here, refused, capfd):
    words = "--sweep", "SEED=1,2,3"
    assert "none of the 3 cells of this sweep has finished in OUT_DIR 'out'; run it first" in refused(*words, "--merge")
    assert run(*words) == 0
    (here / "out/SEED=2/metrics.json").unlink()
    (here / "out/leaderboard.csv").unlink()
    capfd.readouterr()
    content = []
    for _ in range(2):
        assert run(*words, "--merge") == 0
        assert "in out/, over 2 of 3 cells; missing: SEED=2\n" in capfd.readouterr().out
        content.append({path: path.read_bytes() for path in (here / "out").iterdir() if path.is_file()})
    assert content[0] == content[1]
    assert {path.name for path in content[0]} == {
        *("leaderboard.csv", "leaderboard.tex", "leaderboard.png", "index.html", "sweep.json")
    }
    assert len(executed) == 3
    for path in (here / "out").glob("*/metrics.json"):
        path.unlink()
    (here / "out/SEED=1/error.txt").write_text("Traceback")
    assert "(1 failed: see error.txt in its folder)" in refused(*words, "--merge")
    assert "--merge needs a sweep" in refused("--merge")


def test_a_family_that_has_lost_all_seeds_of_a_cell_is_a_warning_and_with_strict_an_error(executed, here, capfd):
    words = "--sweep", "SEED=1,2,3"
    assert run(*words, "--strict") == 0
    assert capfd.readouterr().err == ""
    for seed, at_steps in ((2, [4, 4, 1500]), (3, [None, 7, 7])):
        path = here / f"out/SEED={seed}/metrics.json"
        report = json.loads(path.read_text())
        report["models"]["RBM"]["diverged_at_step"] = at_steps
        report["models"]["RBM"]["final"]["kld"]["median"] = None
        path.write_text(json.dumps(report))
    warning = "warning: cell SEED=2: RBM: all 3 seeds have diverged (seeds 0, 1 at step 4; seed 2 at step 1 500)\n"
    for more, code in (([], 0), (["--strict"], 1), (["--merge"], 0), (["--merge", "--strict"], 1)):
        assert run(*words, *more) == code
        assert capfd.readouterr().err == warning
    # Nothing has been run again for it.
    assert len(executed) == 3


def unfinished(here):
    """What is left of a sweep that somebody stopped after its first cell."""
    run("--sweep", "SEED=1,2")
    (here / "out/SEED=2/metrics.json").unlink()
    path = here / "out/sweep.json"
    path.write_text(path.read_text().replace('"finished"', '"unfinished"'))


@pytest.mark.parametrize(
    ("words", "how"),
    [
        (["PARAMETER_BUDGET=60"], "of SEED, not PARAMETER_BUDGET"),
        (["SEED=1,2", "--n-steps", "16"], "N_STEPS = 8, not 16"),
        (["SEED=1,2", "--models", "RBM", "VAE"], "MODELS = ['RBM'], not ['RBM', 'VAE']"),
    ],
)
def test_the_unfinished_results_of_a_different_sweep_are_kept(executed, here, refused, capfd, words, how):
    unfinished(here)
    capfd.readouterr()
    line = refused("--sweep", *words)
    assert f"OUT_DIR 'out' holds a different sweep ({how}), of which 1 of 2 cells are finished" in line
    command = f"generative_models_GAN_VAE_RBM_benchmarks.py --out-dir out --sweep {' '.join(words)} --fresh"
    assert "finish that one, name another OUT_DIR, or give it up with --fresh: " in line
    assert line.endswith(command)
    assert len(executed) == 2
    assert run("--sweep", *words, "--fresh") == 0
    assert (here / "out/SEED=1/metrics.json").exists()


def test_an_unfinished_sweep_of_an_older_version_is_told_by_the_constant_that_it_lacks(executed, here, refused, capfd):
    unfinished(here)
    path = here / "out/sweep.json"
    record = json.loads(path.read_text())
    del record["constants"]["EVALUATION_SPACING"]
    path.write_text(json.dumps(record))
    capfd.readouterr()
    line = refused("--sweep", "SEED=1,2")
    assert "EVALUATION_SPACING = " in line
    assert "of SEED, not SEED" not in line


def test_cells_of_another_configuration_are_not_counted_as_finished(executed, here, refused, capfd):
    unfinished(here)
    # The second cell is there, but of another run: whoever made it, it is not the sweep's.
    assert run("--sweep", "SEED=2", "--n-steps", "16", out_dir="other") == 0
    (here / "other/SEED=2/metrics.json").rename(here / "out/SEED=2/metrics.json")
    capfd.readouterr()
    assert "of which 1 of 2 cells are finished" in refused("--sweep", "SEED=1,2", "--n-steps", "32")


def test_finished_results_of_another_configuration_are_replaced_only_when_told_to(
    executed, here, refused, capfd, monkeypatch
):
    words, more = ("--sweep", "SEED=1,2,3"), ("--n-steps", "16", "--rbm.k", "2")
    assert run(*words) == 0
    capfd.readouterr()
    line = refused(*words, *more)
    assert line == (
        "OUT_DIR 'out' holds results of another configuration in 3 of this sweep's 3 cells (N_STEPS = 8, not 16; "
        "RBM.k = 0, not 2): name another OUT_DIR, or replace them with --fresh: "
        + command_line.again(["--out-dir", "out", *words, *more], "--fresh")
    )
    assert "in 1 of this sweep's 2 cells (N_STEPS" in refused("--sweep", "SEED=3,4", *more)
    assert "in this sweep's cell (N_STEPS" in refused("--sweep", "SEED=3", *more)
    # Of other names nothing is lost.
    assert run("--sweep", "SEED=4,5", *more) == 0
    assert (
        "3 cells of other sweeps have results there, too, which stay and are not among these: SEED=1 SEED=2 SEED=3\n"
        in (capfd.readouterr().out)
    )
    assert run(*words) == 0
    assert len(executed) == 5

    whole = one_run.execute

    def until(job, *rest, **kwargs):
        if job.config.seed == 2:
            raise KeyboardInterrupt
        whole(job, *rest, **kwargs)

    monkeypatch.setattr(one_run, "execute", until)
    assert run(*words, *more, "--fresh") == 130
    assert "3 of them hold finished results of another configuration, to be replaced\n" in capfd.readouterr().out
    assert executed[5:] == ["SEED=1"]
    monkeypatch.setattr(one_run, "execute", whole)
    # It has been told already.
    assert run(*words, *more) == 0
    assert executed[6:] == ["SEED=2", "SEED=3"]
    assert run(*words, *more, "--fresh") == 0
    assert len(executed) == 8


def test_a_sweep_of_one_cell_is_a_single_run(executed, here):
    for steps in ("8", "16"):
        assert run("--sweep", "SEED=1", "--n-steps", steps) == 0
    assert executed == ["SEED=1", "SEED=1"]
    assert json.loads((here / "out/SEED=1/metrics.json").read_text())["config"]["n_steps"] == 16


def test_lists_may_grow_and_shrink_while_a_sweep_is_unfinished(executed, here, capsys):
    unfinished(here)
    assert run("--sweep", "SEED=3,1") == 0
    assert executed[2:] == ["SEED=3"]
    assert [row["SEED"] for row in csv.DictReader((here / "out/leaderboard.csv").open())] == ["3", "1"]
    assert run("--sweep", "SEED=1,2,3,4") == 0
    assert executed[3:] == ["SEED=2", "SEED=4"]
    capsys.readouterr()
    assert run("--sweep", "SEED=2") == 0
    said = capsys.readouterr().out
    assert "in out/, over its only cell\n3 cells of other sweeps have results there, too" in said
    assert len(executed) == 5


def test_merging_alone_leaves_what_the_folder_is_used_for(executed, here, capsys):
    assert run("--sweep", "SEED=1,2") == 0
    before = json.loads((here / "out/sweep.json").read_text())
    capsys.readouterr()
    missing = "over 2 of 8 cells; missing: SEED=7 SEED=8 SEED=9 SEED=10 SEED=11 and 1 more"
    for values, line in (("1,2,7,8,9,10,11,12", missing), ("2", "over its only cell")):
        assert run("--sweep", f"SEED={values}", "--merge") == 0
        assert line in capsys.readouterr().out
        assert json.loads((here / "out/sweep.json").read_text()) == before
    assert [row["SEED"] for row in csv.DictReader((here / "out/leaderboard.csv").open())] == ["2"]
    # It can be merged with other constants as well: that loses nothing either.
    assert run("--sweep", "PARAMETER_BUDGET=70,80", out_dir="out") == 0
    assert run("--sweep", "SEED=1,2", "--merge") == 0
    assert json.loads((here / "out/sweep.json").read_text())["sweep"] == {"PARAMETER_BUDGET": [70, 80]}
    # An unfinished one is finished by a merge that finds all its cells.
    unfinished_record = json.loads((here / "out/sweep.json").read_text()) | {"state": "unfinished"}
    (here / "out/sweep.json").write_text(json.dumps(unfinished_record))
    assert run("--sweep", "PARAMETER_BUDGET=70,80", "--merge") == 0
    assert json.loads((here / "out/sweep.json").read_text())["state"] == "finished"


def test_a_task_merges_what_was_last_sent(executed, here):
    command = command_line.read(vars(script), ["--out-dir", "out", "--sweep", "SEED=1,2"], "")
    plan = make_plan(command)
    assert cell_runs.as_recorded(command, plan) is plan
    block = {
        "MODELS": (("RBM",), ("RBM", "VAE")),
        "VAE": ({"beta": 0.5}, {}),
        "RBM.learning_rate": np.geomspace(1e-4, 1, 3),
    }
    first = command_line.read(
        {**vars(script), "SWEEP": {**block, "MODELS": (("RBM", "VAE"),)}}, ["--out-dir", "out"], ""
    )
    last = plan_of(SWEEP=block)
    cell_runs.begin(last)
    # Tuples and arrays come back as lists.
    found = cell_runs.as_recorded(first, make_plan(first))
    assert [cell.name for cell in found.cells] == [cell.name for cell in last.cells]
    assert all(results.differences(results.without_places(one.config), results.without_places(two.config)) == []
               for one, two in zip(found.cells, last.cells, strict=True))  # fmt: skip
    # Of other constants they are nobody else's.
    assert cell_runs.as_recorded(command, plan) is plan


def test_the_same_sweep_in_another_order_continues(executed, here):
    unfinished(here)
    assert run("--sweep", "SEED=2,1") == 0
    assert executed == ["SEED=1", "SEED=2", "SEED=2"]


def test_a_different_sweep_without_results_has_nothing_to_lose(executed, here):
    unfinished(here)
    (here / "out/SEED=1/metrics.json").unlink()
    assert run("--sweep", "SEED=5") == 0


def test_a_finished_sweep_is_extended_and_only_its_own_pictures_go(executed, here):
    assert run("--sweep", "PARAMETER_BUDGET=60,70") == 0
    (here / "out/notes.png").write_bytes(b"mine")
    assert (here / "out/budget_scaling.png").exists()
    assert run("--sweep", "PARAMETER_BUDGET=60,70,80") == 0
    assert executed == [f"PARAMETER_BUDGET={budget}" for budget in (60, 70, 80)]
    # Another sweep of the same names: what is there is another run, and is run anew if that is asked for.
    assert run("--sweep", "PARAMETER_BUDGET=60", "--n-steps", "16", "--fresh") == 0
    assert executed[3:] == ["PARAMETER_BUDGET=60"]
    names = {f"PARAMETER_BUDGET={budget}" for budget in (60, 70, 80)}
    own = {"sweep.json", "leaderboard.csv", "leaderboard.tex", "leaderboard.png", "index.html"}
    assert set(os.listdir(here / "out")) == {*names, "notes.png", *own}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"schema": 1}',
        '{"schema": 1, "state": "finished", "constants": {}, "sweep": {}, "files": [], "cells": [[]]}',
        '{"schema": 1, "state": "finished", "constants": [], "sweep": {}, "files": [], "cells": []}',
        '{"schema": 1, "state": "finished", "constants": {}, "sweep": 3, "files": [], "cells": []}',
        "[" * 100_000,
    ],
    ids=lambda content: content[-30:],
)
def test_a_record_that_is_none_is_kept(here, refused, content):
    (here / "out").mkdir()
    (here / "out/sweep.json").write_text(content)
    assert "'out/sweep.json' is not what a sweep writes" in refused("--sweep", "SEED=1")


def test_a_file_where_a_cell_goes_is_kept(here, refused):
    (here / "out").mkdir()
    (here / "out/SEED=2").write_text("mine")
    assert "cell SEED=2: 'out/SEED=2' is a file" in refused("--sweep", "SEED=1,2")


def test_a_link_to_nothing_where_a_cell_goes(here, capfd):
    (here / "out").mkdir()
    (here / "out/SEED=2").symlink_to("nowhere")
    assert run("--sweep", "SEED=1,2") == 2
    assert "cell SEED=2: 'out/SEED=2' is a link to nothing; remove it" in capfd.readouterr().err


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"config": 3}', '{"config": {}, "schema": 1}', "[" * 100_000],
    ids=lambda content: content[-30:],
)
def test_broken_results_are_no_results(executed, here, content):
    (here / "out/SEED=1").mkdir(parents=True)
    (here / "out/SEED=1/metrics.json").write_text(content)
    np.savez(here / "out/SEED=1/seeds-0-1.npz", about=np.array("[" * 100_000))
    assert run("--sweep", "SEED=1") == 0
    assert executed == ["SEED=1"]


@pytest.mark.parametrize("entry", ["models", "external", "floor", "provenance", "files", "schema"])
def test_results_that_were_cut_are_no_results(executed, here, entry):
    (cell,) = plan_of("--sweep", "SEED=1").cells
    cell_runs.run_cell(cell, [], with_pictures=True)
    path = here / "out/SEED=1/metrics.json"
    report = json.loads(path.read_text())
    for value in (3, [None], {"RBM": {}}, None):
        path.write_text(json.dumps(report | {entry: value}))
        assert not cell_runs.is_finished(cell)
    del report[entry]
    path.write_text(json.dumps(report))
    assert run("--sweep", "SEED=1") == 0
    assert executed == ["SEED=1", "SEED=1"]


def test_cells_draw_their_pictures_unless_told_not_to(executed, here):
    for words, drawn in (([], True), (["--no-sweep-pictures"], False)):
        assert run("--sweep", "SEED=1", *words, out_dir=str(drawn)) == 0
        files = json.loads((here / str(drawn) / "SEED=1/metrics.json").read_text())["files"]
        assert ("picture.png" in files) == drawn


def test_merging_tolerates_missing_cells_and_says_how_many(executed, here, monkeypatch):
    for (module, name), draw in DRAWN.items():
        monkeypatch.setattr(module, name, draw)
    words = "--sweep", "PARAMETER_BUDGET=60,70,80", "SEED=1,2"
    assert run(*words) == 0
    plan = plan_of(*words)
    whole = (here / "out/leaderboard.csv").read_bytes()
    cell_runs.merge(plan)
    assert (here / "out/leaderboard.csv").read_bytes() == whole
    (here / "out/PARAMETER_BUDGET=60,SEED=2/metrics.json").unlink()
    merged = cell_runs.merge(plan)
    assert merged.missing == ["PARAMETER_BUDGET=60,SEED=2"]
    assert json.loads((here / "out/sweep.json").read_text())["state"] == "unfinished"
    rows = list(csv.DictReader((here / "out/leaderboard.csv").open()))
    assert [(row["PARAMETER_BUDGET"], row["SEED"]) for row in rows] == [
        ("60", "1"), ("70", "1"), ("70", "2"), ("80", "1"), ("80", "2"),
    ]  # fmt: skip
    assert rows[0]["kld_over_floor"] == "3.0"
    assert (rows[0]["kld_high"], rows[0]["kl_exact"], rows[0]["diverged"]) == ("", "", "1")
    for cell in plan.cells:
        (here / cell.config.out_dir / "metrics.json").unlink(missing_ok=True)
    merged = cell_runs.merge(plan)
    assert (len(merged.missing), merged.files) == (6, ["leaderboard.csv", "leaderboard.tex", "index.html"])
    assert not (here / "out/leaderboard.png").exists()
    # Somebody's own: no sweep has written it.
    (here / "out/leaderboard.png").write_bytes(b"mine")
    cell_runs.merge(plan)
    assert (here / "out/leaderboard.png").read_bytes() == b"mine"


def single_run(monkeypatch, *words):
    """The program without a sweep, into `single`; and without its pictures, which take the most of its time."""
    with monkeypatch.context() as patch:
        patch.setattr(one_run, "execute", functools.partial(one_run.execute, with_pictures=False))
        assert run(*words, out_dir="single") == 0


def test_a_cell_is_the_single_run_with_its_settings(here, monkeypatch):
    """The whole program, trained: cells one after the other in one process change nothing in each other."""
    assert run("--sweep", "TARGET_TYPE=1D_BETA,1D_BIMODAL", "--no-sweep-pictures") == 0
    single_run(monkeypatch, "--target-type", "1D_BIMODAL")
    cell, single = here / "out/TARGET_TYPE=1D_BIMODAL", here / "single"
    assert {path.name for path in cell.iterdir()} == {*results.FILES, "target.csv", "index.html", "log.txt"}
    for file in ("samples.npz", "parameters.npz"):
        with np.load(cell / file) as one, np.load(single / file) as two:
            assert set(one) == set(two)
            for name in one:
                np.testing.assert_array_equal(one[name], two[name])
    reports = [json.loads((folder / "metrics.json").read_text()) for folder in (cell, single)]
    assert reports[0]["models"]["RBM"]["final"] == reports[1]["models"]["RBM"]["final"]
    rows = {row["target"]: row for row in csv.DictReader((here / "out/leaderboard.csv").open())}
    final, floor = reports[0]["models"]["RBM"]["final"], reports[0]["floor"]
    row = rows["1D_BIMODAL"]
    assert float(row["kld"]) == final["kld"]["median"]
    assert float(row["kld_over_floor"]) == pytest.approx(final["kld"]["median"] / floor["kld"]["median"])
    assert float(row["kld_floor_median"]) == floor["kld"]["median"]
    assert float(row["kl_exact"]) == final["kl_exact"]["median"]
    assert float(row["wasserstein_floor"]) == floor["wasserstein"]["mean"]
    assert (row["bins"], row["family"], row["kind"], row["seeds"], row["diverged"]) == ("4", "RBM", "trained", "2", "0")


def score_of(plan, cell, klds, *, floor, n_params=100, exact=None):
    lost = [None if np.isfinite(value) else 4 for value in klds]
    final = {"kld": metrics.summarise(klds), "wasserstein": None, "kl_exact": exact and metrics.summarise(exact)}
    model = {"n_params": n_params, "width": 6, "train_seconds": 1.0, "diverged_at_step": lost, "final": final}
    report = {"models": {"RBM": model}, "external": {}, "floor": {"kld": dataclasses.asdict(floor)}}
    return sweep_scores.scores_of(plan, cell, report)


PERFECT = np.random.default_rng(0).gamma(9.5, 1e-4, 200)


def test_a_board_is_the_median_over_all_cells_of_medians_over_medians():
    plan = plan_of("--sweep", "PARAMETER_BUDGET=60,70,80")
    floor = floor_of(PERFECT, 41)
    klds = [[1e-3, 2e-3, np.inf], [3e-3, 4e-3, 50e-3], [np.inf, np.inf, 1e-3]]
    scores = [
        score for cell, own in zip(plan.cells, klds, strict=True) for score in score_of(plan, cell, own, floor=floor)
    ]
    board = sweep_boards.board_of(plan, scores)
    assert board.ratio.tolist() == [[pytest.approx(4e-3 / np.median(PERFECT))]]
    assert (board.count[0, 0], board.lost[0, 0], board.n_seeds[0, 0], board.lost_seeds[0, 0]) == (3, 1, 9, 3)
    assert board.losses == [["1 of 3 cells"]]
    assert board.pooled == "3 budgets"
    assert board.metric == "KLD"
    other = scores[0]._replace(kind=scores[0].kind._replace(main="wasserstein"))
    assert sweep_boards.metric_of([scores[0], other]) == "score"
    # Of two cells, one of them infinite, so is the median: the first alone would not be.
    assert np.isinf(sweep_boards.board_of(plan, [scores[0], scores[2]]).ratio).all()
    assert sweep_boards.board_of(plan, scores[:1]).ratio[0, 0] == pytest.approx(2e-3 / np.median(PERFECT))


@pytest.mark.parametrize(
    ("n_cells", "n_seeds", "swept"), [(1, 1, "SEED"), (1, 8, "SEED"), (3, 4, "SEED"), (3, 4, "PARAMETER_BUDGET")]
)
def test_a_perfect_model_is_bold_as_often_as_it_says(monkeypatch, n_cells, n_seeds, swept):
    # A quarter of the draws: a quantile of 1 000 lies within half a percent of its level, the test below within six.
    monkeypatch.setattr(sweep_boards, "_N_PERFECT", 1000)
    plan = plan_of("--sweep", f"{swept}=60,70,80")
    # Of one SEED all cells are scored with the same random numbers, hence a perfect model the same.
    n_apart = n_cells if swept == "SEED" else 1
    rng = np.random.default_rng([n_apart, n_seeds])
    n_trials, bold, ratios = 120, 0, []
    for _ in range(n_trials):
        # A floor with a tail, and with the noise of its own 200 draws.
        floor = floor_of(rng.gamma(9.5, 1e-4, 200) + 5e-3 * (rng.random(200) < 0.1), 41)
        cells = plan.cells[:n_cells]
        perfect = rng.gamma(9.5, 1e-4, (n_apart, n_seeds)) + 5e-3 * (rng.random((n_apart, n_seeds)) < 0.1)
        perfect = np.repeat(perfect, n_cells // n_apart, axis=0)
        scores = [s for cell, own in zip(cells, perfect, strict=True) for s in score_of(plan, cell, own, floor=floor)]
        board = sweep_boards.board_of(plan, scores)
        bold += board.ratio[0, 0] <= board.reach[0, 0]
        ratios.append(board.ratio[0, 0])
    # 97.5 %, four standard errors; and a percent for the 41 quantiles that stand for the law.
    assert abs(bold / n_trials - 0.975) < 4 * np.sqrt(0.975 * 0.025 / n_trials) + 0.01
    # 1 is what a perfect model shows in the middle: of a median over n draws of deviation 0.33 five standard errors.
    assert abs(np.median(ratios) - 1) < 5 * 1.25**2 * 0.4 / np.sqrt(n_apart * n_seeds * n_trials) + 0.01


def test_panels_stand_at_the_parameters_that_were_used():
    plan = plan_of("--sweep", "PARAMETER_BUDGET=60,70", "SEED=1,2")
    floor = floor_of(PERFECT, 41)
    scores = [
        score
        for cell in plan.cells
        for score in score_of(
            plan, cell, [1.0, 2.0], floor=floor, n_params=cell.config.parameter_budget - 7, exact=[0.5, 0.6]
        )
    ]
    (panel,) = sweep_boards.panels_of(scores)
    assert panel.courses["RBM"].x.tolist() == [53, 63]
    assert [values.tolist() for values in panel.courses["RBM"].scores] == [[1.0, 2.0] * 2] * 2
    assert [values.tolist() for values in panel.courses["RBM"].exact] == [[0.5, 0.6] * 2] * 2
    assert panel.floor == (floor.median, floor.low, floor.high)
    # Where one cell has no exact divergence there is no course of it.
    scores[0] = scores[0]._replace(final=scores[0].final | {"kl_exact": None})
    assert sweep_boards.panels_of(scores)[0].courses["RBM"].exact is None


BITS = ("--target-type", "BITS_GAUSSIAN", "--num-bins", "0")


def bits_scores(plan, values, sizes):
    """Scores of families on strings of bits, name -> [cells][seeds] exact KL and -> [cells] parameters."""
    rivals = {"UNIFORM": 0.7, "PRODUCT": 0.6, "CHOW_LIU": 0.02}
    rivals = {name: {"kl_exact": value, "n_params": 1} for name, value in rivals.items()}
    zero = dict.fromkeys(("mean", "low", "high", "median"), 0.0)
    scores = []
    for i, cell in enumerate(plan.cells):
        models = {
            name: {
                "n_params": sizes[name][i],
                "width": 1,
                "train_seconds": 1.0,
                "diverged_at_step": [None] * len(own[i]),
                "final": {"kl_exact": metrics.summarise(own[i])},
            }
            for name, own in values.items()
        }
        report = {"models": models, "external": {}, "floor": {"kl_exact": zero}, "target": {"rivals": rivals}}
        scores += sweep_scores.scores_of(plan, cell, report)
    return scores


def test_a_metric_without_a_floor_has_the_targets_rivals_beside_it():
    plan = plan_of("--sweep", "PARAMETER_BUDGET=60,70,80", "--models", "RBM", "CHOW_LIU", *BITS)
    values = {"RBM": [[0.3, 0.2], [0.1, 0.2], [0.05, 0.1]], "CHOW_LIU": [[0.021, 0.022]] * 3}
    scores = bits_scores(plan, values, {"RBM": [58, 69, 80], "CHOW_LIU": [15] * 3})
    (panel,) = sweep_boards.panels_of(scores)
    assert (panel.floor, panel.has_floor, panel.label) == ((0.0, 0.0, 0.0), False, "exact KL (nats)")
    # The metric is the exact divergence itself, which is not drawn twice; nor is a rival that was trained.
    assert panel.courses["RBM"].exact is None
    assert panel.rivals == {"UNIFORM": 0.7, "PRODUCT": 0.6}
    assert panel.courses["RBM"].x.tolist() == [58, 69, 80]
    # A family of one size has one place, with the seeds of all budgets.
    assert panel.courses["CHOW_LIU"].x.tolist() == [15]
    assert panel.courses["CHOW_LIU"].scores[0].tolist() == [0.021, 0.022] * 3


@pytest.mark.parametrize(
    ("words", "known"), [((), True), (("--decode", "soft"), False), (("--num-bins", "0"), False)], ids=str
)
def test_the_exact_divergence_stands_beside_samples_of_the_same_model_and_cells(words, known):
    plan = plan_of("--sweep", "SEED=1", *words)
    (score,) = score_of(plan, plan.cells[0], [1.0, 2.0], floor=floor_of(PERFECT, 41), exact=[0.5, 0.6])
    assert score.exact.tolist() == ([0.5, 0.6] if known else [])


def test_what_tells_rows_columns_sizes_and_draws_apart_is_no_setting():
    apart = {"TARGET_TYPE": ("1D_BETA", "1D_BIMODAL"), "NUM_BINS": (6, 8), "MODELS": (("GAN",), ("VAE",))}
    plan = plan_of(SWEEP=apart | {"PARAMETER_BUDGET": (60, 70), "SEED": (1, 2), "N_STEPS": (8, 16)})
    assert sweep_pictures.settings_of(plan) == (["N_STEPS"], [])
    assert sweep_boards.pooled(plan) == "2 budgets × 2 values of SEED × 2 values of N_STEPS"


def test_another_setting_has_panels_of_the_families_that_depend_on_it():
    plan = plan_of("--sweep", "RBM.learning_rate=1e-3,1e-2", "N_STEPS=8,16", "SEED=1,2", SWEEP={})
    scores = []
    for cell in plan.cells:
        rate, n_steps = cell.values["RBM.learning_rate"], cell.values["N_STEPS"]
        (score,) = score_of(plan, cell, [rate, n_steps], floor=floor_of(PERFECT, 41))
        scores += [score, score._replace(name="VAE")]
    (panel,) = sweep_boards.panels_of(scores, "RBM.learning_rate")
    assert list(panel.courses) == ["RBM"]
    assert panel.courses["RBM"].x.tolist() == [1e-3, 1e-2]
    assert [sorted(klds) for klds in panel.courses["RBM"].scores] == [
        [rate] * 4 + [8, 8, 16, 16] for rate in (1e-3, 1e-2)
    ]
    (panel,) = sweep_boards.panels_of(scores, "N_STEPS")
    assert list(panel.courses) == ["VAE", "RBM"]
    assert panel.courses["VAE"].x.tolist() == [8, 16]


def test_pictures_against_every_numeric_setting(executed, here, capsys):
    lists = ("RBM.learning_rate=1e-3,1e-2", "RBM.algorithm=CD,PCD", "SEED=1,2")
    assert run("--sweep", *lists) == 0
    assert "no picture against RBM.algorithm: leaderboard.csv has every cell" in capsys.readouterr().out
    name = "sweep_RBM.learning_rate.png"
    assert (here / "out" / name).exists()
    assert name in json.loads((here / "out/sweep.json").read_text())["files"]
    (here / "out/sweep_mine.png").write_bytes(b"mine")
    assert run("--sweep", "SEED=1,2") == 0
    assert not (here / "out" / name).exists()
    assert (here / "out/sweep_mine.png").exists()
    assert "no picture" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("N_EVAL_SAMPLES=64,5000", ["n = 64", "n = 5\u2009000"]),
        ("KLD_CELLS=4,8", ["4 cells", "8 cells"]),
        ("KLD_EPSILON=1e-6,0.5", ["ε = 1e-6", "ε = 0.5"]),
        ("DECODE=hard,soft", ["hard", "soft"]),
        ("N_SAMPLES_TRAIN=0,100", ["0 rows", "100 rows"]),
    ],
)
def test_floors_of_different_settings_are_not_pooled(words, named):
    plan = plan_of("--sweep", "PARAMETER_BUDGET=60,70", words)
    floors = dict(zip(named, (floor_of(PERFECT, 41), floor_of(10 * PERFECT, 41)), strict=True))
    values = list(plan.swept[words.partition("=")[0]])
    scores = []
    for cell in plan.cells:
        floor = list(floors.values())[values.index(list(cell.values.values())[1])]
        scores += score_of(plan, cell, [1e-2, 2e-2], floor=floor)
    panels = sweep_boards.panels_of(scores)
    assert [panel.row for panel in panels] == [f"1D_TRIMODAL, 4 bins, {name}" for name in named]
    assert [panel.floor[0] for panel in panels] == [floor.median for floor in floors.values()]
    board = sweep_boards.board_of(plan, scores)
    assert board.ratio[0, 0] == pytest.approx(10 * board.ratio[1, 0])
    assert board.pooled == "2 budgets"


def test_what_has_no_short_name_has_a_number_and_a_key():
    weights = ((0.25, 0.25, 0.25, 0.25), (0.1, 0.2, 0.3, 0.4))
    plan = plan_of("--target-type", "2D_GMM", "--num-bins", "0", SWEEP={"MIXTURE_WEIGHTS": weights})
    scores = [s for cell in plan.cells for s in score_of(plan, cell, [0.1], floor=floor_of(PERFECT, 41))]
    board = sweep_boards.board_of(plan, scores)
    assert board.rows == ["2D_GMM, continuous, weights #1", "2D_GMM, continuous, weights #2"]
    assert board.key == ["weights #1: [0.25, 0.25, 0.25, 0.25]", "weights #2: [0.1, 0.2, 0.3, 0.4]"]


def test_cells_of_before_medians_were_kept_are_merged():
    plan = plan_of("--sweep", "SEED=1")
    (score,) = score_of(plan, plan.cells[0], [0.1], floor=floor_of(PERFECT))
    old = {"kld": {"mean": 0.1, "low": 0.05, "high": 0.2}}
    board = sweep_boards.board_of(plan, [score._replace(floors=old)])
    assert board.ratio[0, 0] == 1
    assert 1 < board.reach[0, 0] < 3


def test_what_a_spreadsheet_would_run_is_text():
    plan = plan_of("--sweep", "SEED=1")
    summary = {"median": 0.1, "low": 0.1, "high": 0.1, "seeds": [0.1]}
    floor = {"kld": {"mean": 0.1, "low": 0.0, "high": 0.2}}
    names = ["=1+1", "+1", "-1", "@SUM(A1)", "a,b", 'say "no"', "two\nlines", "\t=1"]
    entry = {"n_params": None, "n_samples": 9, "final": {"kld": summary}, "floor": floor}
    report = {"models": {}, "external": dict.fromkeys(names, entry)}
    text = sweep_scores.csv_bytes(plan, sweep_scores.scores_of(plan, plan.cells[0], report)).decode()
    families = [row["family"] for row in csv.DictReader(text.splitlines(keepends=True))]
    assert families == ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "a,b", 'say "no"', "two\nlines", "'\t=1"]


def test_a_cell_s_error_names_it(here):
    plan = plan_of("--sweep", "TARGET_TYPE=CUSTOM", "--custom-file", "gone.csv")
    with pytest.raises(UserError, match=r"^cell TARGET_TYPE=CUSTOM: .*'gone\.csv' is not a file"):
        cell_runs.run_cell(plan.cells[0], [], with_pictures=False)
    assert not os.listdir(here)


def part_of(cell, first, last):
    """Stands in for trained seeds."""
    folder = Path(cell.config.out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    about = {"schema": parts.SCHEMA, "config": results.without_places(cell.config)}
    archive.write(folder / f"seeds-{first}-{last}.npz", about, [])


def test_trained_seeds_of_a_different_sweep_are_kept(executed, here, refused, capfd):
    plan = plan_of("--sweep", "SEED=1,2")
    cell_runs.begin(plan)
    part_of(plan.cells[0], 0, 0)
    line = refused("--sweep", "SEED=1,2", "--n-steps", "16")
    assert "of which 0 of 2 cells are finished and 1 has trained seeds: finish that one" in line
    assert "this sweep's only cell has not finished" in refused("--sweep", "SEED=1", "--merge")
    # Nor are they where nothing says which sweep they are of.
    (here / "out/sweep.json").unlink()
    for swept in ("SEED=1,2", "SEED=1"):
        assert "cell" in (line := refused("--sweep", swept, "--n-steps", "16"))
        assert "(N_STEPS = 8, not 16): name another OUT_DIR, or replace them with --fresh" in line
    assert run("--sweep", "SEED=1,2", "--n-steps", "16", "--fresh") == 0
    assert not parts.files_in(here / "out/SEED=1")


def test_a_run_here_uses_the_seeds_that_tasks_have_trained(here, monkeypatch):
    words = ("--sweep", "SEED=1", "--num-seeds", "3", "--no-sweep-pictures")
    plan = plan_of(*words)
    (cell,) = plan.cells
    cell_runs.begin(plan)
    outcome = cell_runs.attempt(cell, [], with_pictures=False, seeds=range(1, 2), process="a task that was killed")
    assert outcome == (None, None)
    train, ranges = one_run.train_seeds, []

    def noted(job, seeds, folder):
        ranges.append(seeds)
        return train(job, seeds, folder)

    monkeypatch.setattr(one_run, "train_seeds", noted)
    (here / cell.config.out_dir / ".joining").write_text("a task that was killed")
    assert run(*words) == 0
    assert ranges == [range(0, 1), range(2, 3)]
    assert {path.name for path in (here / cell.config.out_dir).iterdir()} == {
        *results.FILES,
        "target.csv",
        "index.html",
        "log.txt",
    }
    single_run(monkeypatch, "--num-seeds", "3", "--seed", "1")
    with np.load(here / cell.config.out_dir / "samples.npz") as one, np.load(here / "single/samples.npz") as two:
        np.testing.assert_array_equal(one["RBM"], two["RBM"])


def test_a_second_process_is_told_who_runs_the_sweep(executed, here, refused, capfd):
    assert run("--sweep", "SEED=1,2") == 0
    capfd.readouterr()
    with locks.held("out"):
        before = tree(here)
        assert f"OUT_DIR 'out' is in use by process {os.getpid()} on " in refused("--sweep", "SEED=1,2,3")
        # Looking at what there is disturbs nobody.
        assert run("--sweep", "SEED=1,2", "--merge") == 0
        assert set(tree(here)) == set(before)
    assert executed == ["SEED=1", "SEED=2"]


def test_a_cell_that_another_process_finishes_or_runs_is_left_alone(executed, here, monkeypatch):
    (cell,) = plan_of("--sweep", "SEED=1").cells
    cell_runs.run_cell(cell, [], with_pictures=True)
    path, whole = here / cell.config.out_dir / "metrics.json", checks.check
    content = path.read_bytes()
    path.unlink()

    def check(config):
        path.write_bytes(content)
        return whole(config)

    monkeypatch.setattr(checks, "check", check)
    assert cell_runs.run_cell(cell, [], with_pictures=True) == json.loads(content)
    assert len(executed) == 1
    assert (path.read_bytes(), (path.parent / "picture.png").exists()) == (content, True)
    path.unlink()
    monkeypatch.setattr(checks, "check", whole)
    with locks.held(cell.config.out_dir):
        outcome = cell_runs.attempt(cell, [], with_pictures=True)
        assert outcome.report is None
        assert outcome.error.startswith("cell SEED=1: OUT_DIR ")
    # It has not failed.
    assert not cell_runs.has_failed(cell)
    assert len(executed) == 1


def test_a_cell_whose_results_are_gone_at_its_end_has_failed(executed, here, monkeypatch, capsys):
    monkeypatch.setattr(one_run, "execute", lambda *args, **more: None)
    assert run("--sweep", "SEED=1") == 1
    assert "failed: cell SEED=1: its results in 'out/SEED=1' are not whole" in capsys.readouterr().out


def test_a_cell_without_one_of_its_files_is_not_finished(executed, here):
    assert run("--sweep", "SEED=1,2") == 0
    (here / "out/SEED=2/picture.png").unlink()
    assert run("--sweep", "SEED=1,2") == 0
    assert executed == ["SEED=1", "SEED=2", "SEED=2"]


def other(value):
    """A value that is another one, whether or not it could be run."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    return (*value, *value, 1)


CONSTANTS = [constant.name for constant in dataclasses.fields(configuration.BenchmarkConfig)]


@pytest.mark.parametrize("name", [name for name in CONSTANTS if name not in ("out_dir", "compilation_cache")])
def test_a_cell_with_any_other_value_is_another_cell(executed, here, name):
    (cell,) = plan_of("--sweep", "SEED=1").cells
    cell_runs.run_cell(cell, [], with_pictures=True)
    part_of(cell, 0, 1)
    folder = here / cell.config.out_dir
    assert cell_runs.is_finished(cell)
    assert parts.seeds_in(folder, cell.config) == {0, 1}
    value = getattr(cell.config, name)
    changed = []
    if dataclasses.is_dataclass(value):
        for setting in dataclasses.fields(value):
            copy = object.__new__(type(value))
            vars(copy).update(vars(value) | {setting.name: other(getattr(value, setting.name))})
            changed.append(copy)
    else:
        changed.append(other(value))
    for each in changed:
        # As it is: no check may keep a value from being changed.
        config = object.__new__(type(cell.config))
        vars(config).update(vars(cell.config) | {name: each})
        assert sweep_merge.read(cell._replace(config=config)) is None
        assert not parts.seeds_in(folder, config)


def test_where_it_is_written_is_no_part_of_a_cell(executed, here):
    (cell,) = plan_of("--sweep", "SEED=1").cells
    cell_runs.run_cell(cell, [], with_pictures=True)
    config = dataclasses.replace(cell.config, out_dir=f"./{cell.config.out_dir}", compilation_cache="off")
    assert cell_runs.is_finished(cell._replace(config=config))


def test_what_a_cell_prints_is_kept(executed, here, monkeypatch, capsys):
    whole = one_run.execute

    def telling(*args, **more):
        console.say("compiled programs are not kept: others can write to it")
        with console.waiting("scoring"):
            pass
        whole(*args, **more)

    monkeypatch.setattr(one_run, "execute", telling)
    assert run("--sweep", "SEED=1") == 0
    assert "compiled programs" not in capsys.readouterr().out
    lines = (here / "out/SEED=1/log.txt").read_text().splitlines()
    assert lines == ["compiled programs are not kept: others can write to it", "scoring … 00:00"]


def test_checking_many_cells_builds_each_thing_once(here, monkeypatch):
    built, build = [], checks.build
    monkeypatch.setattr(checks, "build", lambda name, *rest: built.append(name) or build(name, *rest))
    words = "SEED=1,2,3", "RBM.learning_rate=1e-3,2e-3", "N_STEPS=8,16", "KLD_EPSILON=1e-6,1e-9"
    cell_runs.check(plan_of("--sweep", *words).cells)
    assert built == ["RBM"]
    cell_runs.check(plan_of("--sweep", "RBM.k=1,2", "NUM_BINS=4,5", "PARAMETER_BUDGET=60,70").cells)
    assert len(built) == 1 + 8
    # The seed decides which rows of a table are trained on, and so whether they can be.
    rows = np.zeros(40)
    rows[0] = 1
    np.savetxt("rows.csv", rows)
    words = ("--target-type", "CUSTOM", "--custom-file", "rows.csv", "--sweep", "SEED=" + ",".join(map(str, range(9))))
    with pytest.raises(UserError, match="is the same in every training row"):
        cell_runs.check(plan_of(*words).cells)


@pytest.mark.parametrize("first", [True, False])
def test_ctrl_c_is_no_traceback(executed, here, monkeypatch, capsys, first):
    def stop(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(*((cell_runs, "check") if first else (one_run, "execute")), stop)
    assert run("--sweep", "SEED=1,2") == 130
    assert "interrupted: 0 of 2 cells finished; the same command continues\n" in capsys.readouterr().out
    assert os.path.exists("out") != first


def test_what_takes_long_is_seen_and_what_does_not_is_not(monkeypatch, capsys):
    with console.waiting_if_long("checking 60 cells"):
        pass
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(console, "_HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr(console, "_LOG_SECONDS", 0.0)
    shown = threading.Event()

    class Screen(io.StringIO):
        def write(self, text):
            shown.set()
            return super().write(text)

    with contextlib.redirect_stdout(Screen()) as screen, console.waiting_if_long("checking 60 cells"):
        assert shown.wait(30)
    assert "checking 60 cells … 00:0" in screen.getvalue()


def test_a_log_has_a_line_now_and_then_and_a_terminal_a_bar(monkeypatch):
    monkeypatch.setattr(console, "_HEARTBEAT_SECONDS", 0.005)

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    written = {}
    for kind in (io.StringIO, Terminal):
        with contextlib.redirect_stdout(kind()) as stream, console.sweep_bar(2, 0) as bar:
            for name in ("SEED=1", "SEED=2"):
                bar.begin(name)
                time.sleep(0.05)
                bar.end(f"{name}   done")
        written[kind] = stream.getvalue()
    *lines, last = written[io.StringIO].splitlines()
    assert lines == ["SEED=1   done", "SEED=2   done"]
    assert last.startswith("cells 100%|")
    assert "\r" not in written[io.StringIO]
    # Drawn anew at least where a cell begins and ends.
    assert written[Terminal].count("\r") >= 4


def test_what_takes_long_is_seen_in_a_log_as_well(monkeypatch):
    clock, stream = [0], io.StringIO()
    monkeypatch.setattr(streams, "monotonic", lambda: clock[0])
    lines = streams.Lines(stream, 30)
    for clock[0] in range(100):
        lines.write(f"\rscoring … {clock[0]}")
    # As a bar is cleared for a line above it.
    lines.write("\r             \r")
    lines.write("SEED=1\n")
    lines.write("\rscoring … done\r\n")
    assert stream.getvalue().splitlines() == [
        "scoring … 30", "scoring … 60", "scoring … 90", "SEED=1", "scoring … done",
    ]  # fmt: skip


def test_a_sweep_says_that_compiled_programs_are_not_kept(executed, here, monkeypatch, capsys):
    monkeypatch.setattr(devices, "use_compilation_cache", lambda: "others can write to it")
    line = "compiled programs are not kept: others can write to it\n"
    for words, times in (([], 1), ([], 0), (["--compilation-cache", "off"], 0)):
        assert run("--sweep", "SEED=1", *words) == 0
        assert capsys.readouterr().out.count(line) == times


def test_the_head_of_the_table_does_not_depend_on_what_has_finished():
    plan = plan_of("--sweep", "SEED=1,2", SWEEP={})
    (head,) = sweep_scores.csv_bytes(plan, []).decode().splitlines()
    (score,) = score_of(plan, plan.cells[0], [1.0], floor=floor_of(PERFECT, 41))
    assert sweep_scores.csv_bytes(plan, [score]).decode().splitlines()[0] == head
    assert {"kld_over_floor", "kl_exact", "wasserstein_floor"} <= set(head.split(","))


def test_a_row_whose_floor_is_zero_has_the_median_itself():
    """Beside multiples of a floor, each in words that say which it is."""
    plan = plan_of("--sweep", "SEED=1,2")
    (exact,) = score_of(plan, plan.cells[0], [1e-2, 2e-2, 3e-2], floor=Floor(0.0, 0.0, 0.0, 0.0))
    exact = exact._replace(row="BITS")
    (perfect,) = score_of(plan, plan.cells[0], [0.0], floor=Floor(0.0, 0.0, 0.0, 0.0))
    (sampled,) = score_of(plan, plan.cells[1], [4e-3], floor=floor_of(PERFECT, 41))
    board = sweep_boards.board_of(plan, [exact, sampled, perfect._replace(row="BITS", name="VAE")])
    assert board.rows == ["BITS", sampled.row]
    assert board.names == ["VAE", "RBM"]
    assert board.units == ["nats", None]
    assert board.ratio[0].tolist() == [0.0, 2e-2]
    # None of these is told from a perfect model but the one that is perfect.
    assert (board.ratio[0] <= board.reach[0]).tolist() == [True, False]
    assert sweep_boards.board_texts(board) == [
        ["0.00 nats", "0.0200 nats"],
        ["none", f"{4e-3 / np.median(PERFECT):.2f} ×"],
    ]
    assert board.heading == "KLD / floor or KLD (nats)"
    assert sweep_boards.board_of(plan, [exact]).heading == "KLD (nats)"
    assert sweep_boards.board_of(plan, [sampled]).heading == "KLD / floor"

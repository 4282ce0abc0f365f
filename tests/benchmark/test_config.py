import dataclasses
import itertools
import json
import math
import os
import pickle
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Literal, get_origin, get_type_hints

import jax
import numpy as np
import pytest
from conftest import NUMBERS
from sklearn.datasets import load_iris

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.asked import command_line, constants, reference
from benchmark.asked import config as configuration
from benchmark.asked.command_line import parse, read
from benchmark.asked.config import from_constants
from benchmark.asked.constants import Constants
from benchmark.asked.resources import Slurm
from benchmark.run import one_run
from core.errors import UserError
from core.settings import About, about
from models import MODELS
from targets import TARGETS

CONSTANTS = vars(script)
OF_A_SWEEP = {"SWEEP", "SWEEP_PICTURES", "LAUNCHER", "SLURM"}
HERE = Path(script.__file__).parent


@pytest.fixture
def rejected(capfd, tmp_path, monkeypatch):
    """Runs the script with arguments it must refuse and returns the one line that it says."""

    def train(*args, **more):
        raise AssertionError("it is not refused: it would train now, for as long as the defaults take")

    monkeypatch.setattr(one_run, "compile_all", train)
    # The devices are those of conftest.py, whichever test comes first.
    jax.devices()

    def run(*args, out_dir=None):
        folder = tmp_path / "results" if out_dir is None else out_dir
        with warnings.catch_warnings():
            # A warning would be a second line on stderr.
            warnings.simplefilter("error")
            code = script.main(["--out-dir", str(folder), *map(str, args)])
        said = capfd.readouterr()
        assert code == 2
        assert said.out == ""
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        assert said.err.endswith("\n")
        assert "Traceback" not in said.err
        if out_dir is None:
            assert not folder.exists()
        return said.err.removesuffix("\n")

    return run


# What is typed, and what the line must name: the value, what is allowed, the nearest valid choice.
BAD_COMMANDS = [
    ("--target-type 1D_TRIMODL", "'1D_TRIMODL'", "1D_BIMODAL, 1D_TRIMODAL", "did you mean 1D_TRIMODAL?"),
    ("--target-type 2d_gmm", "'2d_gmm'", ", 2D_GMM, ", "did you mean 2D_GMM?"),
    ("--target-type ''", "''", ", ".join(TARGETS)),
    ("--models GAN VEA", "'VEA'", ", ".join(MODELS), "did you mean VAE?"),
    ("--models", "MODELS = ()", ", ".join(MODELS)),
    ("--models VAE VAE RBM", "VAE VAE RBM", "choose VAE RBM"),
    ("--decode sofd", "'sofd'", "hard, soft", "did you mean soft?"),
    ("--n-stps 100", "--n-stps", "did you mean --n-steps?"),
    ("--n-stps=100", "--n-stps", "did you mean --n-steps?"),
    ("--gan.learning-rat 1e-3", "--gan.learning-rat", "did you mean --gan.learning-rate?"),
    ("--svm.c 1", "--svm.c", "--help"),
    ("stray", "stray", "--help"),
    ("--n-steps", "--n-steps needs a value"),
    ("--parameter-budget 20", "PARAMETER_BUDGET = 20 ", "GAN: ", "the smallest that works is 84"),
    ("--parameter-budget 2 --models RBM", "PARAMETER_BUDGET = 2 ", "RBM: ", "the smallest that works is 41"),
    ("--n-steps 1e3", "'1e3'", "whole number", "nearest valid choice is 1000"),
    ("--n-steps 99.5", "'99.5'", "whole number", "nearest valid choice is 100"),
    ("--n-steps many", "'many'", "whole number"),
    ("--external-samples QCBM qcbm.npy", "['QCBM', 'qcbm.npy']", "number of parameters or None", "QCBM qcbm.npy 120"),
    ("--n-steps inf", "'inf'", "whole number"),
    ("--kld-epsilon small", "'small'", "a number"),
    ("--kld-epsilon 0", "KLD_EPSILON = 0.0", "above 0 and below 1"),
    ("--kld-epsilon nan", "KLD_EPSILON = nan", "above 0 and below 1"),
    ("--kld-epsilon 1", "KLD_EPSILON = 1.0", "above 0 and below 1"),
    ("--num-bins 1", "NUM_BINS = 1", "0 (continuous) or at least 2"),
    ("--target-type 2D_GMM", "NUM_BINS = 20", "2D_GMM", "set NUM_BINS = 0"),
    ("--target-type 2D_MIX_GAUSS --num-bins 5", "NUM_BINS = 5", "2D_MIX_GAUSS", "set NUM_BINS = 0"),
    ("--evaluation-spacing linear --n-evaluations 39", "N_EVALUATIONS = 39", "N_STEPS = 20000", "that does is 40"),
    ("--evaluation-spacing linear --n-steps 100 --n-evaluations 300", "N_EVALUATIONS = 300", "that does is 100"),
    ("--n-steps 100 --n-evaluations 300", "N_EVALUATIONS = 300", "N_STEPS = 100", "the most that works is 100"),
    ("--n-steps 10 --n-evaluations 4", "SNAPSHOT_PERCENT = 5 ", "N_STEPS = 10", "nearest that works is 10"),
    ("--evaluation-spacing lin", "--evaluation-spacing 'lin'", "choose from log, linear"),
    ("--snapshot-percent 7", "SNAPSHOT_PERCENT = 7", "divide 100", "is 5"),
    ("--snapshot-percent 200", "SNAPSHOT_PERCENT = 200", "divide 100", "is 100"),
    ("--evaluation-spacing linear --snapshot-percent 1", "SNAPSHOT_PERCENT = 1 ", "N_EVALUATIONS = 40", "works is 5"),
    (
        "--evaluation-spacing linear --n-steps 60 --n-evaluations 30",
        "SNAPSHOT_PERCENT = 5 ",
        "nearest that works is 10",
    ),
    ("--seed 4294967296", "SEED = 4294967296", "at most 2147483647", "nearest valid choice is 2147483647"),
    ("--out-dir ''", "OUT_DIR is empty", "results_classical_benchmarks"),
    ("--num-bins 0 --target-type CUSTOM", "CUSTOM_FILE is empty", ".npy or .csv"),
    ("--num-bins 0 --target-type 2D_GMM --mixture-weights 0.3 0.3 0.3 0.3", "sum to 1.2", "[0.25, 0.25, 0.25, 0.25]"),
    ("--num-bins 0 --target-type 2D_GMM --mixture-weights 0.5 0.5", "2 weights, 4 means"),
    (
        "--num-bins 0 --target-type 2D_GMM --mixture-weights 1 --mixture-means 0 0 --mixture-covariances 1 2 2 1",
        "MIXTURE_COVARIANCES[0] = [[1.0, 2.0], [2.0, 1.0]]",
        "positive definite",
        "[[1.0, 0.0], [0.0, 1.0]]",
    ),
    ("--mixture-means 1 2 3", "'1', '2', '3'", "--mixture-means"),
    ("--rbm.algorithm PDC", "'PDC'", "auto, CD, PCD", "did you mean PCD?"),
    ("--vae.reconstruction l2", "'l2'", "auto, squared_error, cross_entropy"),
    ("--vae.reconstruction cross_entropy --num-bins 0", "'cross_entropy'", "NUM_BINS > 0", "'squared_error'"),
    ("--vae.learn-sigma True", "True", "--help"),
    ("--vae.learn-sigma --vae.beta 0.5", "VAE.beta = 0.5", "must be 1"),
    ("--gan.label-smoothing 1.1", "GAN.label_smoothing = 1.1", "at most 1", "nearest valid choice is 1"),
    ("--rbm.k -1", "RBM.k = -1", "at least 0", "nearest valid choice is 0"),
]
WHOLE = {each.name: about(each).low for each in dataclasses.fields(Constants) if isinstance(about(each).low, int)}
COUNTS = [name for name, low in WHOLE.items() if low == 1]
SIZES = [name for name, low in WHOLE.items() if low == 0]


@pytest.mark.parametrize(("command", *["named"]), [(row[0], row[1:]) for row in BAD_COMMANDS])
def test_a_bad_command_is_refused_in_one_line(rejected, command, named):
    line = rejected(*shlex.split(command))
    for words in named:
        assert words in line


@pytest.mark.parametrize(
    ("command", "field", "value"),
    [
        ("--n_steps 8 --n_evaluations=2 --snapshot-percent 50", "n_steps", 8),
        ("--kld-epsilon=1e-3", "kld_epsilon", 1e-3),
        (
            "--target-type 2D_GMM --num-bins 0 --mixture-means -1 2 -3e-1 4 5 6 7 8",
            "mixture_means",
            ((-1, 2), (-0.3, 4), (5, 6), (7, 8)),
        ),
        ("--models=GAN,RBM", "models", ("GAN", "RBM")),
        ("--vae.no-learn-sigma --num-bins 0", "num_bins", 0),
        ("--external-samples A a.npy None B b.npy 3", "external_samples", (("A", "a.npy", None), ("B", "b.npy", 3))),
        ("--seed 1 --seed 2", "seed", 2),
        ("--out-dir=a=b", "out_dir", "a=b"),
    ],
)
def test_words_of_every_form_are_read(command, field, value):
    assert getattr(parse(CONSTANTS, shlex.split(command), ""), field) == value


@pytest.mark.parametrize(
    ("command", "option", "said"),
    [
        ("--custom-file good.csv", "--custom-file", 'only with CUSTOM: set TARGET_TYPE = "CUSTOM", or leave it out'),
        ("--mixture-weights 0.1 0.2 0.3 0.4", "--mixture-weights", 'only with 2D_GMM: set TARGET_TYPE = "2D_GMM"'),
        ("--decode soft --num-bins 0", "--decode", "only with bins: set NUM_BINS, or leave it out"),
        (
            "--gan.latent-dim 3 --models RBM",
            "--gan.latent-dim",
            "no effect without GAN: add it to MODELS, which are RBM",
        ),
        ("--rbm.no-learn-sigma", "--rbm.learn-sigma", "only if continuous: choose a target on a line"),
        ("--vae.learn-sigma", "--vae.learn-sigma", 'only with squared_error: set VAE.reconstruction = "squared_error"'),
        ("--gan.gumbel_temperature=1 --num-bins 0", "--gan.gumbel-temperature", "only with bins or bits"),
        ("--gan.latent-dim 3 --models RBM --sweep SEED=1,2", "--gan.latent-dim", "no effect without GAN"),
    ],
)
def test_what_has_no_effect_is_refused_on_the_command_line(rejected, command, option, said):
    line = rejected(*shlex.split(command))
    assert line.startswith(f"error: {option} has ")
    assert said in line


def test_what_has_an_effect_in_some_runs_of_a_sweep_is_not_refused():
    words = ["--decode", "soft", "--num-bins", "0", "--sweep", "TARGET_TYPE=1D_BETA,1D_BIMODAL"]
    assert command_line.read(CONSTANTS, words, "").config.decode == "soft"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("--n-steps 5 stray", "unknown option stray"),
        ("--fresh stray", "unknown option stray"),
        ("-5", "unknown option -5"),
        ("--sweep-pictures False", "--sweep-pictures takes no False: write --no-sweep-pictures"),
        ("--decode", "--decode needs a value, as in --decode hard"),
        ("--mixture-covariances 1 2 3", "groups of 4 numbers, such as 0.5 0.5 0.5 0.5"),
        ("--external-samples A a.npy many", "such as QCBM qcbm.npy 120"),
        ("--mixture-weights 0.5 half", "'half' must be a number"),
    ],
)
def test_words_that_no_option_takes_are_named(rejected, command, said):
    assert said in rejected(*shlex.split(command))


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in COUNTS for value in (0, -3)])
def test_counts_begin_at_one(rejected, name, value):
    line = rejected(f"--{name.replace('_', '-')}", value)
    assert line.startswith(f"error: {name.upper()} = {value} must be at least 1; the nearest valid choice is 1")


@pytest.mark.parametrize("name", SIZES)
def test_sizes_begin_at_zero(rejected, name):
    line = rejected(f"--{name.replace('_', '-')}", -1)
    assert line == f"error: {name.upper()} = -1 must be at least 0; the nearest valid choice is 0"


@pytest.mark.parametrize("target_type", ["1D_BETA", "2D_GMM"])
@pytest.mark.parametrize("family", NUMBERS)
def test_the_smallest_budget_that_is_named_works(family, target_type, make_config):
    from targets import make_target

    fields = dict(target_type=target_type, num_bins=0)
    target = make_target(make_config(**fields))
    try:
        model = MODELS[family].build(make_config(parameter_budget=1, **fields), target)
    except UserError as error:
        smallest = int(re.search(r"the smallest that works is (\d+)$", str(error))[1])
        model = MODELS[family].build(make_config(parameter_budget=smallest, **fields), target)
        assert model.n_params == smallest > 1
    # There are no fewer than one.
    assert model.n_params >= model.width >= 1


@pytest.mark.parametrize("n_evaluations", [1, 2, 3, 7, 10, 40, 100, 101])
@pytest.mark.parametrize("percent", [1, 3, 5, 30, 60, 99, 100, 1000])
def test_the_snapshot_percent_that_is_named_works(percent, n_evaluations):
    of_time = {"N_EVALUATIONS": n_evaluations, "N_STEPS": n_evaluations * 10, "EVALUATION_SPACING": "linear"}
    constants = {**CONSTANTS, **of_time}
    try:
        config = from_constants({**constants, "SNAPSHOT_PERCENT": percent})
    except UserError as error:
        config = from_constants({**constants, "SNAPSHOT_PERCENT": int(str(error).rsplit(" ", 1)[1])})
    interval = config.n_steps // config.n_evaluations
    assert list(config.snapshot_steps)[-1] == 100
    assert config.snapshot_steps[100] == config.n_steps
    assert all(step % interval == 0 for step in config.snapshot_steps.values())
    assert all(step * 100 == config.n_steps * percent for percent, step in config.snapshot_steps.items())
    assert config.scored_steps == list(range(interval, config.n_steps + 1, interval))


@pytest.mark.parametrize("n_steps", [1, 7, 20, 99, 20_000])
@pytest.mark.parametrize("percent", [1, 3, 5, 30, 100])
def test_the_snapshot_percent_that_is_named_works_at_growing_steps(percent, n_steps):
    constants = {**CONSTANTS, "N_EVALUATIONS": 1, "N_STEPS": n_steps}
    try:
        config = from_constants({**constants, "SNAPSHOT_PERCENT": percent})
    except UserError as error:
        config = from_constants({**constants, "SNAPSHOT_PERCENT": int(str(error).rsplit(" ", 1)[1])})
    steps = list(config.snapshot_steps.values())
    assert config.scored_steps == steps == sorted(set(steps))
    assert steps[-1] == n_steps
    assert all(0 <= n_steps * percent / 100 - step < 1 <= step for percent, step in config.snapshot_steps.items())


@pytest.mark.parametrize("n_steps", [1, 2, 8, 41, 100, 20_000])
def test_growing_steps_are_as_many_as_asked_for_and_each_grows_by_about_the_same_factor(n_steps):
    for n in sorted({1, 2, 3, 7, 40, n_steps // 2, min(n_steps, 500), min(n_steps, 2000)} & {*range(1, n_steps + 1)}):
        steps = from_constants(
            {**CONSTANTS, "N_STEPS": n_steps, "N_EVALUATIONS": n, "SNAPSHOT_PERCENT": 100}
        ).scored_steps
        assert len(steps) == n
        assert steps[-1] == n_steps
        assert all(step < later for step, later in itertools.pairwise([0, *steps]))
        # Every step up to where a whole number is less than the factor; from there on the factor is kept, as far as
        # whole numbers can keep it: each is within one step of where the factor puts it.
        single = next((i for i, step in enumerate(steps) if step != i + 1), n)
        for i in range(max(single, 1), n):
            factor = (n_steps / steps[i - 1]) ** (1 / (n - i))
            assert abs(steps[i] - factor * steps[i - 1]) <= 1


def test_the_default_scores_and_shows_early_steps_as_well():
    config = from_constants(CONSTANTS)
    assert config.scored_steps[:10] == [1, 2, 3, 4, 5, 6, 8, 10, 13, 16]
    assert {*config.snapshot_steps.values()} == {*range(1000, 20_001, 1000)} <= {*config.scored_steps}
    early = [step for step in config.scored_steps if step < 1000]
    assert config.shown_steps == [0, *early, *range(1000, 20_001, 1000)]


@pytest.mark.parametrize("n_steps", [1, 7, 12, 97, 20_000])
@pytest.mark.parametrize("n_evaluations", [2, 5, 30, 11, 19_999])
def test_the_number_of_evaluations_that_is_named_divides_and_is_nearest(n_steps, n_evaluations):
    constants = {**CONSTANTS, "N_STEPS": n_steps, "SNAPSHOT_PERCENT": 100, "EVALUATION_SPACING": "linear"}
    divisors = [d for d in range(1, n_steps + 1) if n_steps % d == 0]
    if n_evaluations in divisors:
        assert from_constants({**constants, "N_EVALUATIONS": n_evaluations}).n_evaluations == n_evaluations
        return
    with pytest.raises(UserError) as error:
        from_constants({**constants, "N_EVALUATIONS": n_evaluations})
    nearest, steps = map(
        int, re.search(r"that does is (\d+), and the nearest N_STEPS is (\d+)$", str(error.value)).groups()
    )
    assert nearest in divisors
    assert abs(nearest - n_evaluations) == min(abs(d - n_evaluations) for d in divisors)
    assert steps % n_evaluations == 0
    assert abs(steps - n_steps) <= n_evaluations / 2 or steps == n_evaluations


def test_a_process_says_one_line_and_exits_with_2(tmp_path):
    """The whole program: nothing is printed at import, on exit or by a warning."""
    blank = tmp_path / "blank.csv"
    blank.write_text("\n\n")
    done = subprocess.run(
        [sys.executable, script.__file__, "--target-type", "CUSTOM", "--custom-file", blank, "--out-dir", "results"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: CUSTOM_FILE '.*blank\.csv' has no rows: at least 20 are needed\n", done.stderr)
    assert os.listdir(tmp_path) == ["blank.csv"]


def test_importing_the_script_has_no_side_effects():
    done = subprocess.run(
        [sys.executable, "-c", "import sys, generative_models_GAN_VAE_RBM_benchmarks; print('jax' in sys.modules)"],
        capture_output=True,
        text=True,
        cwd=HERE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")


def test_help_lists_every_constant_setting_and_choice(capfd):
    with pytest.raises(SystemExit) as stop:
        script.main(["--help"])
    assert stop.value.code in (0, None)
    text = capfd.readouterr().out
    constants = [name for name in CONSTANTS if name.isupper() and name not in (*configuration.OWN, "SLURM")]
    for name in [*constants, "MERGE"]:
        # A switch is listed with its opposite.
        assert re.search(rf"--{name.lower().replace('_', '-')}[ ,]", text)
    for name, kind in {"SLURM": Slurm, **configuration.OWN}.items():
        for setting in dataclasses.fields(kind):
            option = setting.name.replace("_", "-")
            assert re.search(rf"--{name.lower().replace('_', '-')}\.{option}[ ,]", text)
    for choice in (*TARGETS, *MODELS, "hard", "soft"):
        assert choice in text


def test_every_constant_of_the_script_is_a_field_and_the_other_way_round():
    # The last ones say which runs there are and where, and are no part of any of them.
    names = {name for name in CONSTANTS if name.isupper()} - OF_A_SWEEP
    constants = {name.lower() for name in (*names, *configuration.OWN)}
    assert constants == {constant.name for constant in dataclasses.fields(configuration.BenchmarkConfig)}


BLOCK = Path(script.__file__).read_text(encoding="utf-8").partition("\ndef main")[0]


def test_every_constant_stands_on_a_line_with_what_its_field_says():
    for field in dataclasses.fields(Constants):
        name = field.name.upper()
        (comment,) = re.findall(rf"^{name} = .*?  # (.+)$", BLOCK, re.MULTILINE)
        assert comment == reference.comment_of(about(field)), name


@pytest.mark.parametrize("family", [name for name in MODELS if name in CONSTANTS])
def test_settings_of_the_block_say_what_their_fields_say(family):
    (lines,) = re.findall(rf"^{family} = dict\(\n(.*?)^\)", BLOCK, re.MULTILINE | re.DOTALL)
    comments = dict(re.findall(r"^    (\w+)=.*?,  # (.+)$", lines, re.MULTILINE))
    fields = dataclasses.fields(MODELS[family].Config)
    assert comments == {field.name: reference.comment_of(about(field)) for field in fields}


def test_no_line_of_the_block_is_longer_than_a_hundred_columns():
    assert [line for line in BLOCK.partition('"""\n\nimport')[2].splitlines() if len(line) > 100] == []


def test_the_block_names_every_target_and_every_family():
    for name in (*TARGETS, *MODELS):
        assert re.search(rf"^#.*\b{name}\b", BLOCK, re.MULTILINE), name


def test_the_constants_of_the_block_are_the_defaults():
    for field in dataclasses.fields(Constants):
        value = CONSTANTS[field.name.upper()]
        assert (tuple(value) if value == {} else value) == field.default
    for name, kind in {"SLURM": Slurm, **configuration.OWN}.items():
        assert CONSTANTS.get(name, {}).items() <= dataclasses.asdict(kind()).items()
    # The three families of the suite's name have all their settings there.
    whole = [name for name in MODELS if name in CONSTANTS]
    for name in whole:
        assert len(CONSTANTS[name]) == len(dataclasses.fields(MODELS[name].Config))
    assert whole == ["GAN", "VAE", "RBM"]


@pytest.mark.parametrize("document", reference.tables())
def test_the_tables_of_constants_in_the_documents_are_those_of_the_fields(document):
    text = (HERE / document).read_text(encoding="utf-8")
    assert reference.written(text, reference.tables()[document]) == text, "run python3 -m benchmark.asked.reference"


def test_a_document_without_a_place_for_its_table_is_refused():
    with pytest.raises(ValueError, match="there must be one line"):
        reference.written("nothing", {"all constants": ""})


def test_what_affects_scores_or_the_target_keeps_rows_of_a_board_apart():
    """All but what names the row anyway, what scores do not depend on, and entries, which have rows of their own."""
    others = {
        "target_type",
        "num_bins",
        "n_evaluations",
        "evaluation_spacing",
        "external_samples",
        "external_probabilities",
    }
    apart = {*constants.affecting("target"), *constants.affecting("score")} - others
    assert {name.lower() for name in constants.rows_of_board()} == apart


def test_a_range_in_words():
    words = [About("m", low=1).range, About("m", above=0, below=1).range, About("m", low=0, high=2**24).range]
    assert words == ["at least 1", "above 0 and below 1", "at least 0 and at most 16777216"]


def test_constants_become_the_configuration():
    config = from_constants(CONSTANTS)
    assert config == parse(CONSTANTS, [], "")
    for name, value in CONSTANTS.items():
        if name.isupper() and name not in OF_A_SWEEP:
            field = getattr(config, name.lower())
            if name.startswith("EXTERNAL"):
                field = {entry[0]: entry[1:] for entry in field}
            if name in configuration.OWN:
                # A line may leave out what has its default.
                field = {each: getattr(field, each) for each in value}
            assert field == value


def test_a_family_without_a_line_has_its_defaults():
    assert from_constants({k: v for k, v in CONSTANTS.items() if k != "GAN"}).gan == MODELS["GAN"].Config()


def test_the_command_line_overrides_and_leaves_the_rest():
    command = (
        "--target-type 1D_BETA --num-bins 0 --n-steps 2000 --num-seeds 2 --models GAN VAE --gan.learning-rate 3e-3"
    )
    config = parse(CONSTANTS, [*command.split(), "--out-dir", "a folder", "--vae.learn-sigma"], "")
    default = from_constants(CONSTANTS)
    assert config == dataclasses.replace(
        default,
        target_type="1D_BETA",
        num_bins=0,
        n_steps=2000,
        num_seeds=2,
        models=("GAN", "VAE"),
        out_dir="a folder",
        gan=dataclasses.replace(default.gan, learning_rate=3e-3),
        vae=dataclasses.replace(default.vae, learn_sigma=True),
    )


def test_the_command_line_sets_a_mixture():
    command = "--mixture-weights 0.5 0.5 --mixture-means 0 1 2 3 --mixture-covariances 1 0 0 1 2 .5 .5 2"
    config = parse(CONSTANTS, [*command.split(), "--target-type", "2D_GMM", "--num-bins", "0"], "")
    assert config.mixture_weights == (0.5, 0.5)
    assert config.mixture_means == ((0, 1), (2, 3))
    assert config.mixture_covariances == (((1, 0), (0, 1)), ((2, 0.5), (0.5, 2)))


def test_the_configuration_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        from_constants(CONSTANTS).seed = 1


def test_lists_are_as_good_as_tuples():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = parse({**CONSTANTS, "MODELS": ["RBM", "GAN"], "MIXTURE_WEIGHTS": [0.25] * 4}, [], "")
    assert list(config.models) == ["RBM", "GAN"]
    json.dumps(dataclasses.asdict(config))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (dict(TARGET_TYPE=5), r"^TARGET_TYPE '5' is unknown: choose from 1D_BIMODAL, "),
        (dict(TARGET_TYPE="1D_POISON"), r"did you mean 1D_POISSON\?$"),
        (dict(MODELS="GAN"), r"^MODELS = 'GAN' must name at least one family: choose from GAN, VAE, RBM"),
        (dict(MODELS=()), r"^MODELS = \(\) must name at least one family"),
        (dict(MODELS=("GAN", "rbm")), r"^MODELS 'rbm' is unknown: .*did you mean RBM\?$"),
        (dict(MODELS=(["GAN"],)), r"is unknown: choose from GAN, VAE, RBM"),
        (dict(N_STEPS=20_000.0), r"^N_STEPS = 20000.0 must be a whole number; the nearest valid choice is 20000$"),
        (dict(N_STEPS=math.nan), r"^N_STEPS = nan must be a whole number$"),
        (dict(N_STEPS=math.inf), r"^N_STEPS = inf must be a whole number$"),
        (dict(N_STEPS=10**400), r"at most 2147483647; the nearest valid choice is 2147483647$"),
        (dict(N_STEPS="20000"), r"^N_STEPS = '20000' must be a whole number$"),
        (dict(N_STEPS=None), r"^N_STEPS = None must be a whole number$"),
        (dict(NUM_SEEDS=True), r"^NUM_SEEDS = True must be a whole number$"),
        (dict(KLD_EPSILON="1e-10"), r"^KLD_EPSILON = '1e-10' must be above 0 and below 1$"),
        (dict(KLD_EPSILON=True), r"^KLD_EPSILON = True must be above 0 and below 1$"),
        (dict(KLD_EPSILON=10**400), r"must be above 0 and below 1$"),
        (dict(DECODE=None), r"^DECODE 'None' is unknown: choose from hard, soft$"),
        (dict(OUT_DIR=None), r"^OUT_DIR = None must be a path in quotes$"),
        (dict(OUT_DIR=""), r"^OUT_DIR is empty: name a folder"),
        (dict(CUSTOM_FILE=3), r"^CUSTOM_FILE = 3 must be a path in quotes$"),
        (dict(GAN=None), r"^GAN = None must be a dict of settings, such as GAN = dict\(learning_rate=0\.0009\)$"),
        (dict(KMEANS=5), r"^KMEANS = 5 must be a dict of settings, such as KMEANS = dict\(n_init=3\)$"),
        (dict(MODELS="GMM"), r"must name at least one family: .*; a tuple of one has a comma, MODELS = \('GMM',\)$"),
        (dict(MODELS=[]), r"^MODELS = \[\] must name at least one family: choose from "),
        (dict(MODELS={}), r"^MODELS = \{\} must name at least one family: choose from "),
        (dict(MODELS=("GMM,",)), r"^MODELS 'GMM,' is unknown: .*did you mean GMM\?$"),
        (dict(MODELS=("GMM,KMEANS",)), r"^MODELS 'GMM,KMEANS' are several names: separate them, as in GMM KMEANS$"),
        (dict(GAN=[("k", 1)]), r"must be a dict of settings"),
        (dict(GAN=dict(learning_rat=1)), r"^GAN's setting 'learning_rat' is unknown: .*did you mean learning_rate\?$"),
        (dict(RBM=dict(beta=1.0)), r"^RBM's setting 'beta' is unknown: choose from learning_rate, algorithm, k, "),
        (dict(GAN=dict(learning_rate="1e-3")), r"^GAN\.learning_rate = '1e-3' must be at least 0$"),
        (dict(GAN=dict(latent_dim=2.5)), r"^GAN\.latent_dim = 2\.5 must be a whole number; .* is 2$"),
        (dict(RBM=dict(k=True)), r"^RBM\.k = True must be a whole number$"),
        (
            dict(RBM=dict(algorithm="pcd")),
            r"^RBM\.algorithm 'pcd' is unknown: choose from auto, CD, PCD; did you mean PCD\?$",
        ),
        (dict(VAE=dict(reconstruction="mse")), r"^VAE\.reconstruction 'mse' is unknown: choose from auto, "),
        (dict(VAE=dict(learn_sigma="no")), r"^VAE\.learn_sigma = 'no' must be True or False$"),
        (dict(VAE=dict(learn_sigma=True, beta=0.1)), r"^VAE\.beta = 0\.1 must be 1 \(or 0"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_edited_line_that_cannot_be_run(edit, message):
    with pytest.raises(UserError, match=message) as error:
        from_constants({**CONSTANTS, **edit})
    assert "\n" not in str(error.value)


def test_a_number_too_long_for_python_to_write(rejected, monkeypatch):
    monkeypatch.setattr(script, "SEED", 10**5000)
    assert "SEED = a number of thousands of digits must be at least 0 and at most 2147483647" in rejected()


def test_an_edited_line_is_refused_by_the_script_too(rejected, monkeypatch):
    monkeypatch.setattr(script, "N_STEPS", 0)
    assert rejected() == "error: N_STEPS = 0 must be at least 1; the nearest valid choice is 1"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MIXTURE_WEIGHTS", "abc", "MIXTURE_WEIGHTS = 'abc' must hold a number for every component"),
        ("MIXTURE_MEANS", [[0, 0], [1]], "MIXTURE_MEANS = [[0, 0], [1]] must hold 2 numbers for every component"),
        ("MIXTURE_COVARIANCES", None, "MIXTURE_COVARIANCES = None must hold 2×2 numbers for every component"),
        ("MIXTURE_WEIGHTS", [1, 2], "2D_GMM has 2 weights, 4 means and 4 covariances: give as many of each"),
    ],
)
def test_an_edited_mixture_that_cannot_be_run(rejected, monkeypatch, name, value, message):
    monkeypatch.setattr(script, name, value)
    assert rejected("--target-type", "2D_GMM", "--num-bins", "0") == f"error: {message}"
    if "must hold" in message:
        # Also where it is not used, as it is written down with the results.
        assert rejected("--target-type", "1D_BETA") == f"error: {message}"


def test_a_misspelt_constant_is_named_as_it_was_typed():
    constants = {name: value for name, value in CONSTANTS.items() if name != "BATCH_SIZE"}
    with pytest.raises(UserError, match=r"^BATCH_SIZE is missing from the config block$"):
        from_constants(constants)
    unknown = r"^the config block's 'BATCHSIZE' is unknown: choose from .*; did you mean BATCH_SIZE\?$"
    for others in (constants, CONSTANTS):
        with pytest.raises(UserError, match=unknown):
            from_constants({**others, "BATCHSIZE": 128})


def test_names_with_a_leading_underscore_are_the_user_s():
    assert from_constants({**CONSTANTS, "_R": 3, "_BATCH_SIZE": "half"}) == from_constants(CONSTANTS)


@pytest.mark.parametrize(
    "words",
    ["--models GAN,VAE", "--models GAN VAE", "--models=GAN,VAE", "--models GAN, VAE", "--models GAN , VAE,"],
)
def test_families_stand_apart_by_commas_or_blanks(words):
    assert parse(CONSTANTS, [*words.split(), "--seed", "1"], "").models == ("GAN", "VAE")


@pytest.mark.parametrize(
    "words",
    [
        "--sweep SEED=1,2 VAE.beta=0.5,1.0",
        "--sweep SEED=1 2 VAE.beta=0.5 1.0",
        "--sweep SEED=1, 2 VAE.beta=0.5 , 1.0",
        "--sweep=SEED=1,2 VAE.beta=0.5, 1.0,",
    ],
)
def test_values_of_a_sweep_stand_apart_by_commas_or_blanks(words):
    asked = read(CONSTANTS, [*words.split(), "--n-steps", "40"], "")
    assert tuple(asked.sweep) == ("SEED=1,2", "VAE.beta=0.5,1.0")
    assert asked.config.n_steps == 40


def ranged_settings():
    for name, family in MODELS.items():
        kinds = get_type_hints(family.Config)
        for setting, kind in kinds.items():
            if kind in (int, float):
                yield name, setting


# What every setting that is a number must refuse. A rate, a width or a count below zero means nothing, nor does NaN.
@pytest.mark.parametrize("value", [-1, -1e-9, math.nan, math.inf, -math.inf, "1", None, True])
@pytest.mark.parametrize(("family", "setting"), list(ranged_settings()))
def test_numbers_of_a_family_are_finite_and_not_negative(family, setting, value):
    with pytest.raises(UserError, match=rf"^{family}\.{setting} = "):
        MODELS[family].Config(**{setting: value})


# Just outside and just inside of the range that the comment beside the setting gives.
EDGES = {
    ("GAN", "learning_rate"): ([-1e-9], [0, 1e-9, 10]),
    ("GAN", "discriminator_learning_rate"): ([], [0, 1e-3]),
    ("GAN", "adam_b1"): ([1, 1.5], [0, 0.999]),
    ("GAN", "latent_dim"): ([-1], [0, 1, 500]),
    ("GAN", "label_smoothing"): ([0, 1.0001], [0.5, 1]),
    ("GAN", "gumbel_temperature"): ([-0.1], [0, 0.1, 5]),
    ("GAN", "weight_decay"): ([-0.1], [0, 0.2]),
    ("WGAN_GP", "weight_decay"): ([-0.1], [0, 0.2]),
    ("GAN", "r1_penalty"): ([], [0, 10]),
    ("GAN", "average"): ([1], [0, 0.999]),
    ("VAE", "average"): ([1], [0, 0.999]),
    ("VAE", "learning_rate"): ([0], [1e-9, 10]),
    ("VAE", "latent_dim"): ([-1], [0, 500]),
    ("VAE", "beta"): ([], [0, 4]),
    ("WGAN", "clip"): ([0], [1e-3, 10]),
    ("WGAN", "n_critic"): ([0], [1, 20]),
    ("WGAN", "average"): ([1], [0, 0.999]),
    ("WGAN_GP", "penalty"): ([0], [0.1, 10]),
    ("WGAN_GP", "critic_learning_rate"): ([-1e-9], [0, 1e-9, 10]),
    ("WGAN_GP", "adam_b2"): ([1], [0, 0.999]),
    ("WGAN_GP", "n_critic"): ([0], [1, 20]),
    ("HISTOGRAM", "pseudo_count"): ([0], [1e-3, 1]),
    ("VAE", "free_bits"): ([-0.1], [0, 5]),
    ("VAE", "warm_up"): ([-1], [0, 10_000]),
    ("GMM", "n_components"): ([-1, 2**20 + 1], [0, 1, 2**20]),
    ("KMEANS", "n_components"): ([-1, 2**20 + 1], [0, 1, 2**20]),
    ("VBGMM", "n_components"): ([-1, 2**20 + 1], [0, 1, 2**20]),
    ("RBM", "weight_scale"): ([-1], [0, 0.2]),
    ("RBM", "average"): ([1], [0, 0.999]),
    ("RBM", "learning_rate"): ([0], [1e-9, 10]),
    ("RBM", "k"): ([-1], [0, 1, 50]),
    ("RBM", "sigma"): ([0], [0.01, 2]),
    ("RBM", "sample_steps"): ([0], [1, 10_000]),
    ("RBM", "sample_steps_training"): ([0], [1, 10_000]),
}


@pytest.mark.parametrize(("family", "setting"), list(EDGES))
def test_ranges_of_a_family_end_where_they_should(family, setting):
    outside, inside = EDGES[family, setting]
    for value in outside:
        with pytest.raises(UserError, match=rf"^{family}\.{setting} = "):
            MODELS[family].Config(**{setting: value})
    for value in inside:
        assert getattr(MODELS[family].Config(**{setting: value}), setting) == value


@pytest.mark.parametrize("family", MODELS)
def test_every_other_setting_is_a_choice_or_a_switch(family):
    for setting, kind in get_type_hints(MODELS[family].Config).items():
        if kind not in (int, float):
            assert kind is bool or get_origin(kind) is Literal
            with pytest.raises(UserError, match=rf"{family}\.{setting} "):
                from_constants({**CONSTANTS, family: {setting: "neither"}})


class Planted:
    """Unpickling this makes a folder."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def custom(rejected, tmp_path):
    """Runs the script on a file with the given content (bytes, text or an array) and returns what it says."""

    def run(name, content=None):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content)
        elif content is not None:
            with open(path, "wb") as file:
                np.save(file, content, allow_pickle=True)
        line = rejected("--target-type", "CUSTOM", "--num-bins", "0", "--custom-file", path)
        assert repr(str(path)) in line
        return line

    return run


ROWS = np.arange(60.0).reshape(30, 2)


def with_entry(value, row):
    rows = ROWS.copy()
    rows[row, 1] = value
    return rows


def as_csv(rows):
    return "\n".join(",".join(map(str, row)) for row in rows.tolist()) + "\n"


def test_a_missing_file_names_the_nearest_there_is(custom, tmp_path):
    np.save(tmp_path / "measured.npy", ROWS)
    assert custom("mesured.npy").endswith("mesured.npy' is not a file; did you mean measured.npy?")
    assert custom("quite/elsewhere.npy").endswith("is not a file")
    assert custom("x" * 300 + ".npy").endswith("is not a file")
    assert "is not a file but a folder" in custom(".")


@pytest.mark.parametrize("name", ["rows.npy", "rows.csv"])
def test_an_empty_file(custom, name):
    assert "is empty: it needs rows of 1 or 2 numbers" in custom(name, b"")


@pytest.mark.parametrize("content", ["\n\n", "# only a comment\n", np.empty((0, 2)), np.empty(0)], ids=repr)
def test_a_file_without_rows(custom, content):
    name = "rows.csv" if isinstance(content, str) else "rows.npy"
    assert "has no rows: at least 20 are needed" in custom(name, content)


def test_text_names_its_row(custom):
    line = custom("rows.csv", as_csv(ROWS).replace("8.0,9.0", "8.0,nine"))
    assert "line 5, column 2: 'nine' is not a number" in line
    assert "line 1, column 1: 'length' is not a number" in custom("rows.csv", "length,1\n" + as_csv(ROWS))
    assert "line 2 has 1 column, and those before it 2" in custom("rows.csv", "1,2\n3\n" * 20)
    assert "is UTF-16 text: save it as UTF-8" in custom("rows.csv", b"\xff\xfe1\x00\n\x00")
    assert "it needs real numbers" in custom("rows.npy", np.array([["1", "2"]] * 30))
    assert "it needs real numbers" in custom("rows.npy", ROWS + 1j)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("suffix", ["npy", "csv"])
def test_what_is_not_finite_names_its_row(custom, value, suffix):
    rows = with_entry(value, 6)
    line = custom(f"rows.{suffix}", rows if suffix == "npy" else as_csv(rows))
    place = "row" if suffix == "npy" else "line"
    assert f"{place} 7 holds [12.0, {value}]; every entry must be a finite number" in line


@pytest.mark.parametrize("shape", [(30, 3), (30, 0), (5, 3, 2), ()])
def test_more_than_two_columns(custom, shape):
    line = custom("rows.npy", np.zeros(shape))
    said = "×".join(map(str, shape)) or "of a single number"
    assert f"has shape {said}: it needs rows of 1 or 2 columns" in line


def test_three_columns_of_text(custom):
    assert "has shape 30×3: it needs rows of 1 or 2 columns" in custom("rows.csv", "1,2,3\n" * 30)


def test_pickled_objects_are_never_unpickled(custom, tmp_path):
    marker = tmp_path / "unpickled"
    planted = np.array([Planted(marker)] * 30, dtype=object)
    assert "holds pickled objects, which are never loaded" in custom("rows.npy", planted)
    assert "it is not what numpy.save writes" in custom("rows.npy", pickle.dumps(Planted(marker)))
    assert "is not UTF-8 text" in custom("rows.csv", pickle.dumps(Planted(marker)))
    assert not marker.exists()
    # The trap itself works: whoever loads it makes the folder.
    pickle.loads(pickle.dumps(Planted(marker)))
    assert marker.exists()


def test_an_archive_is_no_array_whatever_its_name(custom, tmp_path):
    np.savez(tmp_path / "rows.npz", ROWS)
    archive = (tmp_path / "rows.npz").read_bytes()
    assert "it is not what numpy.save writes" in custom("rows.npy", archive)
    assert "it is not what numpy.save writes" in custom("rows.npy", archive[:40])


def test_a_truncated_array(custom, tmp_path):
    np.save(tmp_path / "whole.npy", ROWS)
    assert "cannot be read as numbers" in custom("rows.npy", (tmp_path / "whole.npy").read_bytes()[:-8])
    assert "cannot be read as numbers" in custom("rows.npy", (tmp_path / "whole.npy").read_bytes()[:20])


@pytest.mark.parametrize(
    "content", [ROWS[:19], ROWS[:1], ROWS[:19, 0], as_csv(ROWS[:19]), "1,2"], ids=lambda c: str(len(c))
)
def test_fewer_than_twenty_rows(custom, content):
    n_rows = content.count("\n") or 1 if isinstance(content, str) else len(content)
    line = custom("rows.csv" if isinstance(content, str) else "rows.npy", content)
    assert f"has {n_rows} rows: at least 20 are needed" in line


@pytest.mark.parametrize("name", ["rows.txt", "rows", "rows.npz"])
def test_another_suffix(custom, name):
    assert "is neither .npy nor .csv: choose one of the two" in custom(name, as_csv(ROWS))


def test_bins_for_a_table_of_two_columns(rejected, tmp_path):
    path = tmp_path / "iris.npy"
    np.save(path, load_iris().data[:, 2:4])
    line = rejected("--target-type", "CUSTOM", "--custom-file", path)
    assert "NUM_BINS = 20 needs a 1-D target, but CUSTOM has 2 columns; set NUM_BINS = 0" in line


def test_a_fixed_training_set_for_a_table(rejected, tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, ROWS[:, :1])
    line = rejected("--target-type", "CUSTOM", "--custom-file", path, "--n-samples-train", "10")
    assert "N_SAMPLES_TRAIN = 10" in line
    assert "set N_SAMPLES_TRAIN = 0" in line


@pytest.mark.parametrize("command", ["--num-bins 1", "--parameter-budget 3", "--target-type CUSTOM", "--n-stps 3"])
def test_an_output_folder_that_exists_is_left_as_it_was(rejected, tmp_path, command):
    folder = tmp_path / "earlier"
    folder.mkdir()
    (folder / "metrics.json").write_text('{"files": ["old.png"]}')
    (folder / "old.png").write_bytes(b"a picture")
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    changed = folder.stat().st_mtime_ns
    rejected(*command.split(), out_dir=folder)
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before
    assert folder.stat().st_mtime_ns == changed


def test_an_output_folder_that_is_a_file(rejected, tmp_path):
    file = tmp_path / "results"
    file.write_text("mine")
    for path in (file, file / "below"):
        line = rejected(out_dir=path)
        assert f"OUT_DIR {str(path)!r} cannot be written" in line
        assert "results_classical_benchmarks" in line
    assert file.read_text() == "mine"


def test_an_output_folder_that_cannot_be_made(rejected):
    assert "OUT_DIR '/proc/results' cannot be written" in rejected(out_dir="/proc/results")


def test_nothing_is_made_on_the_way_to_a_folder_that_cannot_be(rejected, tmp_path):
    rejected(out_dir=tmp_path / "made" / ("x" * 300))
    assert not (tmp_path / "made").exists()


def test_a_second_line_of_names_gets_its_remedy(custom):
    line = custom("rows.csv", "x\ncm\n" + "1.0\n2.0\n" * 20)
    assert "line 2, column 1: 'cm' is not a number" in line
    assert line.endswith("a .csv has numbers between commas, and at most one line of names above them")


@pytest.mark.parametrize("scale", [1e39, 1e-42])
def test_numbers_beyond_float32_are_refused(custom, scale):
    line = custom("rows.npy", np.random.default_rng(0).normal(size=(40, 1)) * scale)
    assert "beyond float32's reach; divide it by" in line

"""N_EPOCHS: as many steps as so many passes over a fixed training set take."""

import json

import numpy as np
import pytest
from conftest import small_config

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.asked import command_line
from benchmark.run.checks import with_epochs
from benchmark.sweeps import sweep_plan
from core.errors import UserError


def test_steps_are_those_of_so_many_passes():
    fields = dict(num_bins=0, target_type="1D_BETA", batch_size=16, evaluation_spacing="log")
    config = small_config(n_epochs=10, n_samples_train=40, **fields)
    # 10 passes over 40 rows are 25 minibatches of 16.
    assert with_epochs(config).n_steps == 25
    assert with_epochs(small_config(n_samples_train=40, **fields)).n_steps == 8


def test_a_data_set_has_its_training_rows():
    config = small_config(target_type="IMAGE_DIGITS", num_bins=0, n_epochs=20, batch_size=128, evaluation_spacing="log")
    assert with_epochs(config).n_steps == round(20 * 1258 / 128)


def test_without_a_training_set_there_are_no_passes():
    with pytest.raises(
        UserError, match="N_EPOCHS = 2 has no meaning for 1D_BETA, whose rows are drawn afresh: set N_ST"
    ):
        with_epochs(small_config(num_bins=0, target_type="1D_BETA", n_epochs=2))


def test_fewer_steps_than_scores_are_refused(refusal):
    line = refusal("--target-type", "1D_BETA", "--num-bins", "0", "--n-samples-train", "20", "--n-epochs", "1")
    assert line == "N_EVALUATIONS = 40 are more than N_STEPS = 1; the most that works is 1"


def test_every_cell_of_a_sweep_has_its_own_steps():
    words = "--num-bins 0 --target-type 1D_BETA --n-samples-train 400 --sweep"
    command = command_line.read(vars(script), [*words.split(), "N_EPOCHS=4,8", "BATCH_SIZE=16,32"], "")
    cells = sweep_plan.make_plan(command).cells
    assert [cell.config.n_steps for cell in cells] == [100, 50, 200, 100]


def test_a_sweep_has_steps_or_passes(refusal):
    words = "--num-bins 0 --target-type 1D_BETA --n-samples-train 4000 --n-epochs 30 --sweep N_STEPS=100,200"
    line = refusal(*words.split())
    assert line == "cell N_STEPS=100: N_STEPS has no effect with N_EPOCHS: leave one of the two out"
    line = refusal("--target-type", "1D_BETA", "--n-epochs", "3", "--sweep", "SEED=1,2")
    assert line.startswith("cell SEED=1: N_EPOCHS = 3 has no meaning for 1D_BETA, whose rows are drawn afresh")


def test_a_run_says_how_many_steps_it_has_taken(here):
    np.save(here / "rows.npy", np.random.default_rng(0).normal(size=(40, 1)))
    command = (
        "--num-bins 0 --target-type CUSTOM --custom-file rows.npy --models VAE --parameter-budget 60 --hidden-layers 1 "
        "--batch-size 14 --n-epochs 5 --n-evaluations 2 --snapshot-percent 50 --num-seeds 1 --n-eval-samples 50"
    )
    assert script.main([*command.split(), "--out-dir", "out"]) == 0
    report = json.loads((here / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert (report["config"]["n_epochs"], report["config"]["n_steps"]) == (5, 10)
    assert report["models"]["VAE"]["history"]["step"][-1] == 10

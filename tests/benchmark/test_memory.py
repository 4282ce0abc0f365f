"""Sizes beyond all memory: one line, before anything has been made of them or as soon as there is no room."""

import jax
import numpy as np
import pytest

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.engine import memory
from benchmark.run import checks
from core import prng
from core.errors import UserError

GIB = 2**30


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (dict(num_bins=0, kld_cells=2**31 - 1), "KLD_CELLS = 2147483647 needs at least 32 GiB of memory, and this "),
        (
            dict(num_bins=0, target_type="2D_GMM", kld_cells=2**16),
            "64 GiB of memory, and this machine has 8 GiB: 23170",
        ),
        (
            dict(num_bins=2**31 - 1, models=(), external_samples=(("A", "a.npy", 1),)),
            "NUM_BINS = 2147483647 needs at least 32 GiB",
        ),
        # A family is asked for the probability of every bin.
        (
            dict(num_bins=65536),
            "NUM_BINS = 65536 needs at least 64 GiB of memory, and this machine has 8 GiB: 23170 is",
        ),
        (dict(batch_size=2**31 - 1, target_type="2D_GMM", num_bins=0), "BATCH_SIZE = 2147483647 needs at least 16 GiB"),
        (dict(n_eval_samples=2**31 - 1), "40 GiB of memory, and this machine has 8 GiB: 429496729 is the most that"),
        (dict(n_samples_train=2**31 - 1), "N_SAMPLES_TRAIN = 2147483647 needs at least 16 GiB"),
        (dict(num_seeds=2**31 - 1), "NUM_SEEDS = 2147483647 needs at least "),
    ],
)
def test_sizes_beyond_this_machine_are_refused(make_config, monkeypatch, fields, said):
    monkeypatch.setattr(memory, "physical", lambda: 8 * GIB)
    with pytest.raises(UserError) as error:
        checks.check(make_config(**{"models": ("RBM",), **fields}))
    assert said in str(error.value)
    # The nearest that is said to fit is not refused for the same.
    name, value = str(error.value).split()[0], int(str(error.value).partition("GiB: ")[2].split()[0])
    memory.check(make_config(**{"models": ("RBM",), **fields, name.lower(): value}))
    monkeypatch.setattr(memory, "physical", lambda: None)
    memory.check(make_config(**fields))


@pytest.mark.parametrize("family", ["VAE", "GAN", "RBM", "BBVI"])
def test_a_budget_beyond_this_machine_is_refused_before_anything_is_made(refusal, monkeypatch, family):
    def build(*args):
        raise AssertionError("a model is made")

    monkeypatch.setattr(checks, "build", build)
    monkeypatch.setattr(memory, "physical", lambda: 24 * 2**30)
    line = refusal("--models", family, "--parameter-budget", "2000000000", "--num-seeds", "1")
    assert line.startswith("PARAMETER_BUDGET = 2000000000 needs at least 29.8 GiB of memory")


def test_weights_count_as_soon_as_they_are_known(make_config, monkeypatch):
    monkeypatch.setattr(memory, "physical", lambda: 8 * GIB)
    config = make_config(models=("RBM",), num_seeds=4)
    memory.check(config, 2**28)
    with pytest.raises(UserError, match=r"^NUM_SEEDS = 4 needs at least 10 GiB .* 8 GiB: 3 is the most"):
        memory.check(config, 5 * 2**27)
    with pytest.raises(UserError, match=r"^PARAMETER_BUDGET = \d+ needs at least 16 GiB"):
        memory.check(config, 2**32)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (MemoryError(), "it is used up"),
        (MemoryError("Unable to allocate 16.0 GiB"), "Unable to allocate 16.0 GiB"),
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nmore"),
            "allocating 9 bytes.",
        ),
        (jax.errors.JaxRuntimeError("INTERNAL: Error: Out of memory allocating 9 bytes."), "allocating 9 bytes."),
    ],
)
def test_memory_that_runs_out_is_one_line(refusal, monkeypatch, error, why):
    def make_target(config):
        raise error

    monkeypatch.setattr(checks, "make_target", make_target)
    line = refusal("--models", "RBM")
    assert line.startswith("this needs more memory than there is (")
    assert f"{why}): lower N_EVAL_SAMPLES, " in line


def test_an_array_of_more_entries_than_can_be_counted_is_one_line(refusal, monkeypatch):
    """What a batch of two thousand million rows asks for."""

    def make_target(config):
        words = jax.jit(lambda key: jax.random.bits(prng.unrolled(key), (2**33,)))
        words.lower(jax.random.key(0))

    monkeypatch.setattr(checks, "make_target", make_target)
    assert "more memory than there is (" in refusal("--models", "RBM")


@pytest.mark.parametrize("error", [jax.errors.JaxRuntimeError("INTERNAL: a bug"), OverflowError("a bug")])
def test_no_other_error_is_taken_for_one(monkeypatch, here, error):
    def make_target(config):
        raise error

    monkeypatch.setattr(checks, "make_target", make_target)
    with pytest.raises(type(error), match="a bug"):
        script.main(["--models", "RBM"])


def test_the_machine_s_memory_is_known_here():
    assert memory.physical() > 2**28
    assert np.iinfo(np.int64).max > memory.physical()

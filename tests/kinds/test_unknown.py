"""What is not known of a divergence is a word in the table and null in metrics.json; rounding below 0 is 0."""

import numpy as np
import pytest
from report_schema import checked

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.asked import command_line
from benchmark.run import checks, one_run
from kinds import exact
from kinds.real import exact as real_exact

WORDS = (
    "--target-type 1D_BIMODAL --num-bins 0 --models GMM --parameter-budget 6 --n-steps 4 --n-evaluations 2 "
    "--snapshot-percent 50 --num-seeds 2 --n-eval-samples 64"
)


def test_an_unknown_divergence_is_a_word_with_its_reason(here, monkeypatch, capsys):
    # No quadrature holds the target's mass to less than nothing.
    monkeypatch.setattr(real_exact, "_MASS_ERROR", -1.0)
    words = [*WORDS.split(), "--out-dir", "out"]
    (here / "out").mkdir()
    job = checks.check(command_line.parse(vars(script), words, ""))
    one_run.execute(job, here / "out", one_run.Started.now(words), with_pictures=False)
    model = checked(here / "out")["models"]["GMM"]
    assert model["final"]["kl_exact"]["seeds"] == [None, None]
    assert all("of the target's mass" in why for why in model["kl_exact_unknown"])
    said = capsys.readouterr().out
    assert "GMM: exact KL unknown (" in said
    assert any(line.startswith("GMM") and "unknown" in line.split("(")[-1] for line in said.splitlines()), said
    assert "nan" not in said.lower().split()


@pytest.mark.parametrize("seed", range(20))
def test_equal_masses_have_no_divergence_at_all(seed):
    p = np.random.default_rng(seed).dirichlet(np.ones(7))
    found = exact.of_masses(p, np.log(p * (1 + 1e-16)))
    assert (found.value, found.word, np.signbit(found.value)) == (0.0, "", False)


def test_a_mass_of_nothing_where_the_target_has_some_is_infinitely_far():
    assert exact.of_masses(np.array([0.5, 0.5]), np.array([0.0, -np.inf])).value == np.inf

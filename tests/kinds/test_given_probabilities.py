"""A target on a line by the probabilities of its bins: exact in everything."""

import jax
import numpy as np
import pytest
import scipy.stats

import generative_models_GAN_VAE_RBM_benchmarks as script
from core.errors import UserError
from targets import make_target

P = np.array([0.0, 0.5, 0.125, 0.25, 0.0, 0.125])


def target_of(make_config, tmp_path, p, **fields):
    np.savetxt(tmp_path / "p.csv", p, fmt="%.17g")
    return make_target(
        make_config(
            **{"target_type": "1D_PROBABILITIES", "num_bins": len(p), "models": (), **fields},
            custom_probabilities=str(tmp_path / "p.csv"),
            external_samples=(("X", "x.npy", None),),
        )
    )


def test_masses_entropy_and_positions_are_exact(make_config, tmp_path):
    target = target_of(make_config, tmp_path, P)
    cells = target.truth.fixed
    assert target.truth.cell_masses(cells).tolist() == P.tolist()
    assert cells.centres[0].tolist() == [0, 1, 2, 3, 4, 5]
    assert target.entropy == pytest.approx(scipy.stats.entropy(P), abs=1e-15)
    assert np.exp(target.log_prob(np.arange(6.0)[:, None])) == pytest.approx(P, abs=1e-15)


@pytest.mark.parametrize("p", [P, np.random.default_rng(0).dirichlet(np.full(500, 0.1))], ids=["6", "500"])
def test_draws_have_these_probabilities(make_config, tmp_path, p):
    target = target_of(make_config, tmp_path, p)
    n = 200_000
    x = np.asarray(jax.jit(target.sample, static_argnums=1)(jax.random.key(1), n))[:, 0]
    counts = np.bincount(x.astype(int), minlength=len(p))
    assert len(counts) == len(p)
    assert counts[p == 0].sum() == 0
    often = p * n >= 5
    observed = np.append(counts[often], counts[~often].sum())
    expected = n * np.append(p[often], p[~often].sum())
    observed, expected = observed[expected > 0], expected[expected > 0]
    # One test in 10⁴ would fail of itself; the key is fixed.
    assert scipy.stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-4


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_bins": 0}, r"needs bins, but NUM_BINS = 0; set NUM_BINS to how many probabilities the file has$"),
        ({"num_bins": 5}, r"holds 6 numbers in 6 rows: it needs NUM_BINS = 5 probabilities, one a row$"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(make_config, tmp_path, fields, said):
    with pytest.raises(UserError, match=said):
        target_of(make_config, tmp_path, P, **fields)


def test_a_whole_run_scores_exactly(here):
    """A histogram of many rows comes as close as its rows say; binning moves nothing."""
    np.save(here / "p.npy", P)
    words = ["--target-type", "1D_PROBABILITIES", "--custom-probabilities", "p.npy", "--num-bins", "6",
             "--models", "HISTOGRAM", "--num-seeds", "1", "--n-steps", "2", "--n-evaluations", "1",
             "--snapshot-percent", "100", "--n-eval-samples", "200", "--out-dir", "out"]  # fmt: skip
    assert script.main(words) == 0
    lines = (here / "out/target.csv").read_text().splitlines()
    assert lines == ["bin_centre,probability", *(f"{float(i)!r},{value!r}" for i, value in enumerate(P.tolist()))]
    assert script.main(["--replay", "out/metrics.json", "--out-dir", "again"]) == 0

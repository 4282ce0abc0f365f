"""Ising lattices beyond enumeration: their judge, what cannot be asked for, and samplers against Kaufman's energies."""

import json

import jax
import numpy as np
import pytest
from conftest import small_config

import generative_models_GAN_VAE_RBM_benchmarks as script
from core.errors import UserError
from kinds.bits import ising
from kinds.bits.ising_views import slope_of
from kinds.bits.settings import Config
from kinds.lattices.kind import make_judge
from kinds.lattices.truth import observed, sums_of
from models import build, lattice_moves, lattice_scans, mixing
from models.lattices import rectangle
from targets import kind_asked, make_target

WAYS = {
    "GIBBS": lambda lattice: lattice_moves.checkerboard(lattice, metropolis=False),
    "METROPOLIS": lambda lattice: lattice_moves.checkerboard(lattice, metropolis=True),
    "SWENDSEN_WANG": lattice_moves.clusters,
}


def config_of(height, width, **fields):
    bits = {name: fields.pop(name) for name in ("coupling", "boundary", "coupling_seed") if name in fields}
    return small_config(num_bins=0, target_type="BITS_ISING", bits=Config(height=height, width=width, **bits), **fields)


def test_twenty_sites_are_enumerated_and_more_are_not():
    assert kind_asked(config_of(4, 5)).name == "bits"
    assert kind_asked(config_of(3, 7)).name == "lattices"
    assert kind_asked(small_config(num_bins=0, target_type="BITS_BARS_STRIPES")).name == "bits"


@pytest.mark.parametrize("family", WAYS)
@pytest.mark.parametrize("side", [16, pytest.param(32, marks=pytest.mark.slow)])
def test_energies_are_kaufmans(family, side):
    # Off K_c, where an error of the moves would show as soon, and τ is short enough to be known.
    coupling, n, before = 0.42, 3000 if side == 16 else 6000, 600
    if family == "SWENDSEN_WANG":
        n, before = 400, 60
    lattice = rectangle(side, side, True, coupling)
    follow = lattice_scans.follower(lattice, WAYS[family](lattice), coupling, n)
    words = jax.random.bits(jax.random.key(1), (side, side, 2), np.uint32)
    words, _, _ = follow(words, jax.random.key_data(jax.random.key(2)), before)
    _, energy, _ = follow(words, jax.random.key_data(jax.random.key(3)), n)
    values = energy.T.astype(float)
    tau = mixing.tau_of(values)
    assert tau.trusted
    error = values.std() * np.sqrt(tau.value / values.size)
    known, capacity = ising.energy_and_heat_capacity(side, side, coupling)
    assert values.mean() == pytest.approx(known, abs=4 * error)
    # A variance of n independent values is known to √(2/n) of itself.
    assert coupling**2 * values.var() == pytest.approx(capacity, rel=4 * np.sqrt(2 * tau.value / values.size))


@pytest.mark.slow
@pytest.mark.parametrize("family", WAYS)
def test_long_runs_of_large_lattices_are_unbiased_at_the_critical_coupling(family):
    n, before = (1500, 100) if family == "SWENDSEN_WANG" else (10_000, 2000)
    lattice = rectangle(16, 16, True, ising.CRITICAL)
    follow = lattice_scans.follower(lattice, WAYS[family](lattice), ising.CRITICAL, n)
    words = jax.random.bits(jax.random.key(4), (16, 16, 2), np.uint32)
    words, _, _ = follow(words, jax.random.key_data(jax.random.key(5)), before)
    _, energy, magnetisation = follow(words, jax.random.key_data(jax.random.key(6)), n)
    tau = mixing.tau_of(energy.T.astype(float))
    assert tau.trusted
    known, _ = ising.energy_and_heat_capacity(16, 16, ising.CRITICAL)
    assert energy.mean() == pytest.approx(known, abs=4 * energy.std() * np.sqrt(tau.value / energy.size))
    # Both signs of m are alike likely: the chains are independent, whatever their own memory.
    of_chains = magnetisation.mean(0)
    assert of_chains.mean() == pytest.approx(0, abs=4 * of_chains.std(ddof=1) / 8)


def test_perfect_rows_have_the_exact_averages():
    target = make_target(config_of(8, 8))
    truth = target.truth
    e, m = sums_of(np.asarray(target.sample(jax.random.key(0), 2000)), truth.lattice)
    found = observed(e, m, truth.lattice)
    # Of 2 000 rows that are nearly independent, and come from as many.
    assert found.energy == pytest.approx(truth.expected.energy, abs=4 * 1.5 * e.std() / 64 / np.sqrt(2000))
    assert found.heat_capacity == pytest.approx(truth.expected.heat_capacity, rel=0.15)
    # That of the pool's rows if they were independent; 64 chains tell it to a tenth, and some memory is left.
    independent = np.abs(m / 64).std() / np.sqrt(len(truth.pool))
    assert 0.7 * independent < truth.errors.magnetisation < 1.6 * independent
    assert truth.errors.energy == truth.errors.heat_capacity == 0
    # At K_c on 8 × 8 by the same conventions as on 4 × 4: between the value there and the limit 0.
    assert 0.6 < truth.expected.magnetisation < 0.843860


def test_averages_are_those_of_their_definitions():
    energy, magnetisation = np.array([-8.0, -4.0, 0.0]), np.array([4.0, -2.0, 0.0])
    found = observed(energy, magnetisation, rectangle(2, 2, False, 0.5))
    # Four sites: the variance of E is 16, and that of |M| is 4.
    assert found == pytest.approx((-1.0, 0.5, 0.5**2 * 16 / 4, 0.5 * 4 / 4))


def test_a_recording_knows_the_exact_averages():
    config = config_of(4, 4)
    model = build("GIBBS", config, make_target(config))
    exact = model.record(model.init(jax.random.key(0), None)).exact
    assert exact["m"] == 0
    # At K_c, by enumeration.
    assert exact["e"] == pytest.approx(-1.565624, abs=1e-6)
    assert exact["|m|"] == pytest.approx(0.843860, abs=1e-6)


def test_a_judge_sees_what_is_off():
    config = config_of(6, 6, n_eval_samples=400)
    target = make_target(config)
    judge = make_judge(target, config)
    perfect = judge.scorer.score(judge.perfect(500)[0])
    ordered = judge.scorer.score(np.ones((400, 36)))
    for name, floor in judge.floors.items():
        assert perfect[name] < 3 * floor.high
        assert ordered[name] > floor.high
    kept = judge.scorer.keep(np.ones((4, 36)))
    assert kept[-1] == kept.sum() == 1
    np.testing.assert_allclose(judge.masses, judge.masses[::-1])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (dict(boundary="free"), r'BITS.boundary = "free" has no exact energy on 6 × 6 .* at most 20'),
        (dict(coupling_seed=3), r"BITS.coupling_seed = 3 has no exact energy"),
        (dict(coupling=0.0), r"BITS.coupling = 0 has no exact energy .* above 0"),
        (dict(coupling=4.0), r"BITS.coupling = 4 freezes .* at most 3"),
        (dict(n_samples_train=40), r"N_SAMPLES_TRAIN needs at most 20 sites"),
    ],
)
def test_what_has_no_exact_answer_is_refused(fields, said):
    with pytest.raises(UserError, match=said):
        make_target(config_of(6, 6, **fields))


@pytest.mark.parametrize("family", WAYS)
def test_samplers_need_a_lattice(family):
    config = small_config(num_bins=0, target_type="BITS_PARITY")
    with pytest.raises(UserError, match=r"moves the spins of a lattice, and BITS_PARITY has none"):
        build(family, config, make_target(config))
    config = small_config(num_bins=6)
    with pytest.raises(UserError, match=r"'bits' or 'spins'"):
        build(family, config, make_target(config))


def test_metropolis_needs_a_coupling_on_a_checkerboard():
    config = config_of(4, 4, coupling=0.0)
    with pytest.raises(UserError, match=r"BITS.coupling = 0 .* METROPOLIS.order = 'random'"):
        build("METROPOLIS", config, make_target(config))


def test_a_slope_is_found_with_its_interval():
    side = np.array([6.0, 8, 12, 16, 24])
    generator, slopes = np.random.default_rng(0), []
    for _ in range(200):
        tau = 0.3 * side**2.1 * np.exp(0.05 * generator.normal(size=5))
        slopes.append(slope_of(side, tau, 0.05 * tau))
    covered = [abs(z - 2.1) <= interval for z, interval, _ in slopes]
    assert np.mean(covered) > 0.9
    assert slope_of(side[:2], side[:2], side[:2]) is None


def test_chains_are_the_sample_and_repeat_where_they_are_few():
    from models import MODELS

    config = config_of(4, 4, gibbs=MODELS["GIBBS"].Config(n_chains=20, start="up"))
    model = build("GIBBS", config, make_target(config))
    state = model.init(jax.random.key(0), None)
    rows = np.asarray(model.sample(jax.random.key(1), state, 70))
    assert (rows == 1).all()
    state, info = jax.jit(model.step)(state, None, model.noise(jax.random.key(2)))
    rows = np.asarray(model.sample(jax.random.key(1), state, 70))
    # Twenty chains are asked for, and a word has 32.
    np.testing.assert_array_equal(rows[32:64], rows[:32])
    assert len(np.unique(rows[:32], axis=0)) > 10
    assert float(info.turned) == pytest.approx(1 - rows[:32].mean(), abs=1e-6)
    assert float(info.magnetisation) == pytest.approx(np.abs(2 * rows[:32].mean(1) - 1).mean(), abs=1e-6)


PICTURES = {
    *("mcmc_traces.png", "mcmc_autocorrelation.png", "mcmc_mixing.png", "ising_temperature.png"),
    *("ising_critical_slowing.png", "ising_states.png"),
}


@pytest.mark.slow
@pytest.mark.parametrize("side", [4, 6])
def test_a_run_draws_and_reports_all(here, side):
    words = ["--num-bins", "0", "--target-type", "BITS_ISING", "--bits.height", str(side), "--bits.width", str(side)]
    words += ["--models", "GIBBS", "METROPOLIS", "SWENDSEN_WANG", "--n-steps", "64", "--n-evaluations", "4"]
    words += ["--num-seeds", "2", "--n-eval-samples", "64", "--out-dir", "out"]
    assert script.main(words) == 0
    report = json.loads((here / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert set(report["files"]) >= PICTURES
    assert report["target"].get("kind") == ("bits" if side == 4 else "lattices")
    page = (here / "out" / "index.html").read_text(encoding="utf-8")
    for name in PICTURES:
        assert (here / "out" / name).stat().st_size > 1000
        assert name in page
    for model in report["models"].values():
        assert [each["sweeps"] for each in model["sampling"]] == [64, 64]
        assert set(model["sampling"][0]["quantities"]) == {"e", "m", "|m|"}
        assert model["sampling_times"][0]["seconds_per_sweep"] > 0
        first, second = (each["quantities"]["e"]["mean"] for each in model["sampling"])
        assert first != second


@pytest.mark.slow
def test_chains_of_an_rbm_stand_beside_its_exact_samples(here):
    words = [
        "--num-bins",
        "0",
        "--target-type",
        "BITS_ISING",
        "--models",
        "RBM",
        "--n-steps",
        "400",
        "--num-seeds",
        "1",
    ]
    words += ["--n-evaluations", "2", "--n-eval-samples", "200", "--parameter-budget", "100", "--out-dir", "out"]
    assert script.main(words) == 0
    report = json.loads((here / "out" / "metrics.json").read_text(encoding="utf-8"))
    (found,) = report["models"]["RBM"]["sampling"]
    assert {"mcmc_traces.png", "mcmc_autocorrelation.png", "mcmc_mixing.png"} <= set(report["files"])
    energy = found["quantities"]["e"]
    values = energy["mean"], energy["exact"]
    assert values[0] == pytest.approx(values[1], abs=0.1 * abs(values[1]))


@pytest.mark.slow
def test_a_sweep_over_sizes_goes_beyond_enumeration_and_is_replayed(here):
    words = ["--num-bins", "0", "--target-type", "BITS_ISING", "--models", "METROPOLIS", "SWENDSEN_WANG"]
    words += ["--n-steps", "16", "--num-seeds", "1", "--n-evaluations", "2", "--n-eval-samples", "64"]
    words += ["--snapshot-percent", "50", "--bits.width", "4", "--out-dir", "out"]
    assert script.main([*words, "--no-sweep-pictures", "--sweep", "BITS.height=4,6"]) == 0
    record = json.loads((here / "out" / "sweep.json").read_text(encoding="utf-8"))
    assert record["state"] == "finished"
    # The boards have rows of both kinds, each over its own floor.
    table = next((here / "out").glob("*.csv")).read_text(encoding="utf-8")
    assert table.count("SWENDSEN_WANG") == 2
    assert script.main(["--replay", "out/BITS.height=6/metrics.json", "--out-dir", "again"]) == 0
    found = json.loads((here / "again" / "replay.json").read_text(encoding="utf-8"))
    assert found["same"]


@pytest.mark.slow
def test_a_sweep_of_couplings_has_a_board(here):
    words = ["--num-bins", "0", "--target-type", "BITS_ISING", "--models", "GIBBS", "SWENDSEN_WANG", "--n-steps", "16"]
    words += ["--num-seeds", "1", "--n-evaluations", "2", "--n-eval-samples", "64", "--out-dir", "out"]
    words += ["--snapshot-percent", "50"]
    assert script.main([*words, "--no-sweep-pictures", "--sweep", "BITS.coupling=0.2,0.4"]) == 0
    record = json.loads((here / "out" / "sweep.json").read_text(encoding="utf-8"))
    assert record["state"] == "finished"
    assert "leaderboard.png" in record["files"]
    table = next((here / "out").glob("*.csv")).read_text(encoding="utf-8")
    assert "kld_over_floor" in table.splitlines()[0]
    assert table.count("GIBBS") == 2

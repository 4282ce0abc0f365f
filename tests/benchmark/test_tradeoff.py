"""A family's own picture over a sweep: what it is drawn from, and that it can be read."""

import json

import numpy as np
import pytest
import test_plotting
from report_schema import made_report
from test_plotting import collisions, opened, texts

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.asked.command_line import read
from benchmark.files import results
from benchmark.pictures.views import tradeoff
from benchmark.sweeps import sweep_boards, sweep_merge
from benchmark.sweeps.sweep_plan import make_plan
from core import storage
from core.errors import UserError
from models import MODELS, sweeps

no_warnings, shown = test_plotting.no_warnings, test_plotting.shown
BETAS = (0.1, 1.0, 4.0)


def finished(folder, *words):
    """A sweep whose cells have results: rates that fall with β and distortions that rise, the last seed lost at 4."""
    args = ["--models", "VAE", "--num-seeds", "3", "--num-bins", "0", "--out-dir", str(folder), "--no-sweep-pictures"]
    plan = make_plan(read(vars(script), [*args, *words], ""))
    for cell in plan.cells:
        report = json.loads(results.json_bytes(made_report(cell.config)))
        beta, model = cell.values["VAE.beta"], report["models"]["VAE"]
        lost = None if beta == 4.0 else 3.0
        for field, end in (("rate", 2.0 - beta / 4), ("distortion", 0.5 + beta)):
            before = [None, *[1.0] * (len(cell.config.scored_steps) - 1)]
            model["history"][field] = [[*before, end], [*before, end + 0.01], [*before, lost]]
        model["final"]["kl_exact"] = model["final"]["kld"]
        report["floor"]["kl_exact"] = report["floor"]["kld"]
        report["target"]["entropy"] = 1.5
        (folder / cell.name).mkdir(parents=True)
        storage.write_whole(folder / cell.name / results.METRICS_FILE, results.json_bytes(report))
    return plan


def test_a_point_is_what_two_fields_have_come_to(tmp_path, shown):
    plan = finished(tmp_path, "--sweep", "VAE.beta=4,0.1,1", "TARGET_TYPE=1D_BETA,1D_BIMODAL")
    merged = sweep_merge.merge(plan)
    assert "vae_rate_distortion.png" in merged.files
    opened(tmp_path / "vae_rate_distortion.png")
    (view,) = MODELS["VAE"].SWEEP_VIEWS.values()
    panels = sweep_boards.tradeoffs_of(plan, [(cell, sweep_merge.read(cell)) for cell in plan.cells], "VAE", view)
    assert [panel.row for panel in panels] == ["1D_BETA, continuous", "1D_BIMODAL, continuous"]
    for panel in panels:
        assert panel.values == [0.1, 1.0, 4.0]
        np.testing.assert_allclose(panel.x, [[1.975, 1.985, 3.0], [1.75, 1.76, 3.0], [1.0, 1.01, np.nan]])
        np.testing.assert_allclose(panel.y, [[0.6, 0.61, 3.0], [1.5, 1.51, 3.0], [4.5, 4.51, np.nan]])
        assert panel.bound == 1.5
    fig = shown[-1]
    assert collisions(fig) == []
    assert [text for text in texts(fig) if text in ("0.1", "1", "4")]
    assert any("entropy of the target" in text for text in texts(fig))
    # What has no bound has no line: here a family without an exact divergence.
    for panel in panels:
        tradeoff.tradeoff(tmp_path / "t.png", [panel._replace(bound=None)], (*view.labels, "no"), "#0072B2", "title")
        assert not any(text == "no" for text in texts(shown[-1]))


def test_one_value_of_the_setting_is_no_curve(tmp_path):
    plan = finished(tmp_path, "--sweep", "VAE.beta=1", "SEED=1,2")
    assert "vae_rate_distortion.png" not in sweep_merge.merge(plan).files


def test_lost_seeds_are_said_and_not_drawn(tmp_path, shown):
    nan = np.full(2, np.nan)
    points = [np.array([1.0, 1.1]), nan, np.array([0.5, np.nan])]
    panel = tradeoff.Panel("1D_BETA", BETAS, points, points, None)
    gone = tradeoff.Panel("2D_GMM", BETAS, [nan] * 3, [nan] * 3, 1.0)
    tradeoff.tradeoff(tmp_path / "t.png", [panel, gone], ("β", "rate", "distortion", "bound"), "#0072B2", "title")
    said = texts(shown[-1])
    assert "diverged: β = 1" in said
    assert "diverged" in said
    assert collisions(shown[-1]) == []


@pytest.mark.parametrize("name", ["BETA_VAE", "beta_vae"])
def test_a_sweep_asked_for_as_a_family_says_how(name):
    with pytest.raises(
        UserError,
        match=r"set MODELS = \('VAE',\), VAE.free_bits = 0 and SWEEP = \{'VAE.beta': \(0.1, 0.25, 0.5, 1.0, 2",
    ):
        read({**vars(script), "MODELS": (name,)}, [], "")


def test_it_says_so_on_the_command_line():
    with pytest.raises(UserError, match=r"write --models VAE --vae.free-bits 0 --sweep VAE.beta=0.1,") as refused:
        read(vars(script), ["--models", "GAN", "BETA_VAE"], "")
    # And what it says can be run.
    command = read(vars(script), str(refused.value).partition("write ")[2].split(), "")
    assert command.config.vae.free_bits == 0
    assert len(make_plan(command).cells) == len(sweeps()["BETA_VAE"][1].values)

"""A new kind of events is one package and one line: a copy of the program learns angles on a circle."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

import targets
from core.errors import UserError
from core.places import ROOT, SCRIPT
from kinds import registry
from models import MODELS, build
from tests.kinds.circle import kind as circle

FAMILIES = [name for name, family in MODELS.items() if family.LAWS is None]
QUICK = [
    *("--num-bins", "0", "--n-steps", "60", "--n-evaluations", "4", "--snapshot-percent", "50", "--num-seeds", "2"),
    *("--n-eval-samples", "400", "--hidden-layers", "1"),
]


@pytest.mark.parametrize("make", circle.KIND.targets.values(), ids=[*circle.KIND.targets])
def test_what_is_exact_about_the_targets(make, make_config):
    target = make(None)
    total, _ = scipy.integrate.quad(lambda x: np.exp(target.log_prob(np.array([[x]]))[0]), -np.pi, np.pi, limit=200)
    assert total == pytest.approx(1, abs=1e-9)
    judge = circle.make_judge(target, make_config(num_bins=0, n_eval_samples=500))
    n = 40_000
    shares = circle.counts_of(np.asarray(target.sample(jax.random.key(0), n))) / n
    # Five standard errors of a share of n draws.
    assert np.all(np.abs(shares - judge.masses) < 5 * np.sqrt(judge.masses * (1 - judge.masses) / n))


def test_the_law_has_the_density_that_it_draws_from():
    law, outputs = circle.direction(), jnp.array([[3.0, 1.0]])
    events = circle.points(jnp.asarray(circle.nodes()[:, None]))
    density = np.exp(np.asarray(law.log_prob(outputs, events, jnp.float32(-0.2)), np.float64))
    assert density.mean() * 2 * np.pi == pytest.approx(1, abs=1e-5)
    n = 40_000
    rows = law.draw_rows(jax.random.key(1), jnp.tile(outputs, (n, 1)), -0.2)
    shares = circle.counts_of(np.asarray(circle.angles(rows))) / n
    edges = np.linspace(-np.pi, np.pi, circle.N_CELLS + 1)
    p = np.diff(np.interp(edges, circle.nodes(), np.cumsum(density) / density.sum()))
    # Five standard errors, and what the distribution function's nodes leave of an arc.
    assert np.all(np.abs(shares - p) < 5 * np.sqrt(p * (1 - p) / n) + 1 / circle.N_NODES)


def test_the_divergence_is_that_of_known_densities(make_config):
    target, uniform = circle.von_mises(None), scipy.stats.uniform(-np.pi, 2 * np.pi)

    class Model:
        log_prob_error = None

        @staticmethod
        def log_prob(state, events):
            return jnp.full(len(events), uniform.logpdf(0))

    found = circle.divergence(Model, jnp.zeros(1), target)
    assert found.value == pytest.approx(np.log(2 * np.pi) - target.entropy, abs=1e-7)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in FAMILIES])
def test_families_that_cannot_draw_such_events_say_so(name, make_config):
    target = circle.von_mises(None)
    said = f"^{name} draws events of the law .* have 'direction'; GAN, VAE, WGAN, WGAN_GP can draw them$"
    with pytest.raises(UserError, match=said):
        build(name, make_config(num_bins=0), target)


def test_bins_are_refused_where_a_kind_has_none(monkeypatch):
    monkeypatch.setitem(registry.KINDS, "circle", circle.KIND)
    for name, make in circle.KIND.targets.items():
        monkeypatch.setitem(targets.TARGETS, name, make)
    asked = types.SimpleNamespace(target_type="CIRCLE_VON_MISES", num_bins=0)
    assert targets.kind_asked(asked) is circle.KIND
    asked.num_bins = 20
    with pytest.raises(UserError, match=r"^NUM_BINS = 20 has no meaning for CIRCLE_VON_MISES; set NUM_BINS = 0$"):
        targets.kind_asked(asked)


@pytest.mark.parametrize(("name", "num_bins"), [("GMM", 6), ("KDE", 6), ("HISTOGRAM", 0), ("KDE", 0)])
def test_families_that_divide_a_range_need_one(name, num_bins, make_config):
    config = make_config(target_type="1D_TRIMODAL", num_bins=num_bins)
    target = targets.make_target(config)
    without = target.codec._replace(event=target.event._replace(box=None))
    with pytest.raises(
        UserError, match=r"it divides a range, and events of the law '(normal|category)' have none here"
    ):
        build(name, config, target._replace(codec=without))


def call(place, *words):
    return subprocess.run([sys.executable, *words], cwd=place, capture_output=True, text=True)


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the program with the package and the line."""
    place = tmp_path_factory.mktemp("copy") / "program"
    shutil.copytree(ROOT, place, ignore=shutil.ignore_patterns(".*", "__pycache__", "results_*", "tests"))
    shutil.copytree(ROOT / "tests" / "kinds" / "circle", place / "kinds" / "circle")
    registry = place / "kinds" / "registry.py"
    text = registry.read_text(encoding="utf-8")
    text = text.replace("from kinds.contract", "from kinds.circle.kind import KIND as CIRCLE\nfrom kinds.contract", 1)
    assert "(REAL, BINS, BITS, LATTICES, IMAGES)" in text
    registry.write_text(
        text.replace("(REAL, BINS, BITS, LATTICES, IMAGES)", "(REAL, BINS, BITS, LATTICES, IMAGES, CIRCLE)"),
        encoding="utf-8",
    )
    return place


@pytest.mark.slow
@pytest.mark.parametrize("name", circle.KIND.targets)
def test_it_is_trained_scored_drawn_swept_and_replayed(extended, name):
    asked = [SCRIPT.name, *QUICK, "--target-type", name]
    small = ("--parameter-budget", "300")
    done = call(extended, *asked, *small, "--models", *FAMILIES, "--out-dir", "out", "--fresh")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads((extended / "out" / "metrics.json").read_text())
    assert report["target"]["name"] == name
    assert {*report["floor"]} >= {"kld"}
    for family in FAMILIES:
        final = report["models"][family]["final"]
        assert final["kld"]["median"] > 0
        assert (final["kl_exact"] is None) == (family != "VAE")
    # Or what hinders it: a decoder's direction turns fast where its outputs are near 0.
    vae = report["models"]["VAE"]
    assert all(
        value > 0 if value is not None else "too coarse" in why
        for value, why in zip(vae["final"]["kl_exact"]["seeds"], vae.get("kl_exact_unknown", [None] * 2), strict=True)
    )
    files = {*report["files"]}
    assert {"metrics_comparison.png", "timeline.gif", "vae_latent_manifold_sweep.png", "gan_discriminator.png"} <= files
    # What this kind does not draw is not promised.
    assert not files & {"critic_vs_wasserstein.png", "kld_sensitivity.png"}
    assert files <= {path.name for path in (extended / "out").iterdir()}
    again = call(extended, SCRIPT.name, "--replay", "out/metrics.json", "--out-dir", "again", "--fresh")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "bit for bit" in again.stdout
    swept = ("--models", "VAE", "--sweep", "PARAMETER_BUDGET=100,300", "--no-sweep-pictures", "--out-dir", "sweep")
    done = call(extended, *asked, *swept, "--fresh")
    assert (done.returncode, done.stderr) == (0, "")
    assert (extended / "sweep" / "budget_scaling.png").is_file()
    head = (extended / "sweep" / "leaderboard.csv").read_text().splitlines()[0]
    assert "kld_over_floor" in head
    assert "wasserstein" not in head


@pytest.mark.slow
def test_it_goes_on_from_a_checkpoint(extended):
    asked = [SCRIPT.name, *QUICK, "--target-type", "CIRCLE_VON_MISES", "--models", "VAE", "--n-steps", "40000",
             "--n-evaluations", "40"]  # fmt: skip
    process = subprocess.Popen([sys.executable, *asked, "--out-dir", "cut"], cwd=extended, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)  # fmt: skip
    folder = extended / "cut"
    until = time.monotonic() + 240
    while not any(folder.rglob("*.npz")) and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    done = call(extended, *asked, "--out-dir", "cut")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "continuing the run" in done.stdout


@pytest.mark.slow
def test_bins_are_refused_in_one_line(extended):
    done = call(extended, SCRIPT.name, "--target-type", "CIRCLE_VON_MISES", "--models", "VAE", "--out-dir", "none")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: NUM_BINS = 20 has no meaning for CIRCLE_VON_MISES; set NUM_BINS = 0\n"
    assert not (extended / "none").exists()

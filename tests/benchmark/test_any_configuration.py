"""Configurations drawn at random, valid and not: each runs to a whole metrics.json, or is refused in one line."""

import contextlib
import io
import json
import shutil
import tempfile
from pathlib import Path

import pytest
from conftest import drawn, is_searching
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.run import one_run
from benchmark.terminal import console
from kinds.real import closing, judging, sensitivity
from models import MODELS, generated, latent_density
from targets import TARGETS

# What runs in an instant, by option; of each family, some settings.
SMALL = {
    "--target-type": st.sampled_from([name for name in TARGETS if not name.endswith("CUSTOM")]),
    "--num-bins": st.sampled_from(["0", "2", "5"]),
    "--parameter-budget": st.sampled_from(["60", "100"]),
    "--n-steps": st.sampled_from(["4", "8"]),
    "--n-evaluations": st.sampled_from(["2", "4"]),
    "--snapshot-percent": st.sampled_from(["50", "100"]),
    "--num-seeds": st.sampled_from(["1", "2", "3"]),
    "--seed": st.integers(0, 2**31 - 1).map(str),
    "--models": st.lists(st.sampled_from(list(MODELS)), min_size=1, max_size=2, unique=True),
    "--hidden-layers": st.sampled_from(["1", "2"]),
    "--batch-size": st.sampled_from(["1", "7", "16"]),
    "--n-eval-samples": st.sampled_from(["20", "33"]),
    "--kld-cells": st.sampled_from(["0", "1", "7"]),
    "--kld-epsilon": st.sampled_from(["1e-10", "0.5"]),
    "--decode": st.sampled_from(["hard", "soft"]),
    "--n-samples-train": st.sampled_from(["0", "1", "30"]),
    "--gan.latent-dim": st.sampled_from(["1", "3"]),
    "--gan.r1-penalty": st.sampled_from(["0", "2.0"]),
    "--gan.average": st.sampled_from(["0", "0.999"]),
    "--vae.latent-dim": st.sampled_from(["1", "2"]),
    "--vae.reconstruction": st.sampled_from(["auto", "squared_error", "cross_entropy"]),
    "--vae.beta": st.sampled_from(["0", "0.3"]),
    "--rbm.algorithm": st.sampled_from(["CD", "PCD"]),
    "--rbm.k": st.sampled_from(["1", "2"]),
}


def _is_large(text):
    """Whether it is a number that would run, and long."""
    try:
        return float(text) > 9
    except ValueError:
        return False


# What may stand anywhere.
WILD = st.one_of(
    st.sampled_from(["", "-1", "0", "1e400", "nan", "inf", "0x10", "٣", "true", "None", "--", "-", "a b", "🜁"]),
    st.sampled_from([str(2**31), str(2**63), "9" * 5000, "1.5", "1e-320", "-0.0", "${HOME}", "__import__('os')", "\n"]),
    st.text(max_size=6).filter(lambda text: not _is_large(text)),
)


@st.composite
def command_lines(draw):
    chosen = draw(st.lists(st.sampled_from(list(SMALL)), unique=True, max_size=8))
    words = {option: draw(SMALL[option]) for option in chosen}
    for option in draw(st.lists(st.sampled_from(list(SMALL)), unique=True, max_size=1)):
        words[option] = draw(WILD)
    # What has no effect is refused, nearly always where nothing else chooses.
    return with_effect({**DEFAULTS, **words}, draw)


def with_effect(words, draw):
    """The options without those of families that are not trained; now and then all of them."""
    if draw(st.integers(0, 9)) == 0:
        return words
    models = words["--models"]
    return {
        option: value
        for option, value in words.items()
        if "." not in option or option[2:].partition(".")[0].upper() in models
    }


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(latent_density, "_Z_SPACING", (0.5, 0.5))
    monkeypatch.setattr(generated, "_Z_DRAWS", 2**8)
    monkeypatch.setattr(closing, "N_HOST_DRAWS", 2)
    monkeypatch.setattr(judging, "N_FLOOR_DRAWS", 4)
    monkeypatch.setattr(sensitivity, "N_FLOOR_DRAWS", 2)
    monkeypatch.setattr(console, "_HEARTBEAT_SECONDS", 100)
    if not is_searching():
        # Pictures are most of the time; the examples of the other profile draw them.
        monkeypatch.setattr(one_run.studio, "Studio", lambda: None)


DEFAULTS = {
    "--n-steps": "4", "--n-evaluations": "2", "--snapshot-percent": "100", "--num-seeds": "1", "--models": ["RBM"],
    "--parameter-budget": "60", "--n-eval-samples": "20", "--batch-size": "4", "--hidden-layers": "1",
    "--num-bins": "5",
    "--gmm.n-rows": "300", "--kmeans.n-rows": "300", "--vbgmm.n-rows": "300", "--bbvi.n-rows": "300",
}  # fmt: skip


@pytest.mark.slow
@given(chosen=command_lines())
@settings(drawn(), suppress_health_check=list(HealthCheck))
def test_every_configuration_runs_or_is_refused_in_one_line(chosen):
    words = []
    for option, value in chosen.items():
        words += [option, *(value if isinstance(value, list) else [value])]
    out = Path(tempfile.mkdtemp(prefix="drawn"))
    said, wrong = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(wrong):
            code = script.main([*words, "--out-dir", str(out / "out")])
        if code == 0:
            report = json.loads((out / "out" / "metrics.json").read_text())
            assert {path.name for path in (out / "out").iterdir()} == set(report["files"])
        else:
            assert code == 2
            lines = wrong.getvalue().splitlines()
            assert len(lines) == 1
            assert lines[0].startswith("error: ")
            assert said.getvalue() == ""
            assert not list(out.iterdir())
    finally:
        shutil.rmtree(out)

"""The study of images: what it runs, and the tables of what it has run."""

import json

from core import places
from models import drawing
from studies import images
from targets import TARGETS


def cell(value, likelihood=None):
    summary = {"median": value, "low": value - 0.1, "high": value + 0.1, "seeds": [value]}
    floor = {"mean": 0.5, "median": 0.25, "low": -0.125, "high": 0.75}
    final, floors = (dict.fromkeys(images.METRICS, each) for each in (summary, floor))
    return {"n_params": 7, "final": final, "floor": floors, "likelihood": likelihood}


def test_its_families_draw_images_and_its_targets_exist():
    assert set(images.FAMILIES) <= set(drawing("pixels"))
    assert {case.target for case in images.CASES.values()} <= set(TARGETS)


def test_a_table_has_every_family_and_real_images():
    known = {"nats": -97.7, "low": -99.9, "high": -95.5, "how": "lower bound", "of": "bits"}
    lost = cell(1.0)
    lost["final"] = {key: {"median": None, "low": None, "high": None, "seeds": [None]} for key in images.METRICS}
    text = images.tables({"DIGITS 20000": {"VAE": cell(2.0, known), "GAN": lost}})
    lines = [[part.strip() for part in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert text.startswith("**DIGITS, 20000 parameters, 10000 steps**")
    assert [line[0] for line in (lines[0], *lines[2:])] == ["family", "GAN", "VAE", "real images"]
    assert set(lines[2][2:-1]) == {"diverged"}
    assert lines[2][-1] == "unknown"
    assert lines[3][2] == "2 (1.9 – 2.1)"
    assert lines[3][-1] == "−97.7 (−99.9 … −95.5; lower bound)"
    assert lines[4][2] == "0.25 (−0.125 – 0.75)"


def test_the_table_in_the_repository_is_that_of_its_numbers():
    results = json.loads(images.OUTPUT.with_suffix(".json").read_text(encoding="utf-8"))
    text = images.OUTPUT.with_suffix(".md").read_text(encoding="utf-8")
    assert images.tables(results).rstrip() == text.rstrip()
    shown = (places.ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for line in filter(None, text.splitlines()):
        assert line in shown

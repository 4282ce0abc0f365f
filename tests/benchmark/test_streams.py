"""Streams in the place of the terminal's: what becomes of them when that one is gone."""

import gc
import io
import os
import sys

import numpy as np
import pytest

from benchmark.engine.records import Evaluation
from benchmark.terminal import console, streams


@pytest.mark.parametrize(
    "made",
    [streams.Tolerant, lambda stream: streams.Copied(stream, io.StringIO()), lambda stream: streams.Lines(stream, 1.0)],
    ids=["tolerant", "copied", "lines"],
)
def test_a_forgotten_stream_does_not_touch_one_that_is_closed(made, monkeypatch):
    said = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    # A text file complains of a flush after its end; a StringIO does not.
    inner = io.TextIOWrapper(io.BytesIO())
    outer = made(inner)
    outer.write("a line\n")
    inner.close()
    outer.close()
    del outer
    gc.collect()
    assert said == []


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no such terminals")
@pytest.mark.parametrize("size", [(0, 0), (24, 60)])
def test_a_terminal_without_a_size_shows_progress(size, monkeypatch):
    termios = pytest.importorskip("termios")
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, size)
    with open(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        with console.waiting("looking at it …"):
            pass
        said = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "looking at it …" in said


def medians(**scores):
    evaluation = Evaluation(4, {name: np.array(values) for name, values in scores.items()}, None, None)
    return console._medians(evaluation)


def test_the_line_of_a_family_leaves_out_what_is_not_known_at_a_step():
    nan = np.nan
    assert medians(kld=[0.5, 0.5], kl_exact=[nan, nan]) == {"kld": "0.5000"}
    assert medians(kld=[0.5, 0.5], kl_exact=[0.25, 0.25]) == {"kld": "0.5000", "kl_exact": "0.2500"}
    # A seed without any score has diverged; one without an exact score is not known.
    assert medians(kld=[nan, nan], kl_exact=[nan, nan]) == {"kld": "diverged", "kl_exact": "diverged"}
    assert medians(kld=[0.5, nan], kl_exact=[0.25, nan]) == {"kld": "diverged", "kl_exact": "diverged"}
    assert medians(kld=[0.5, 0.5], kl_exact=[0.25, nan]) == {"kld": "0.5000", "kl_exact": "unknown"}

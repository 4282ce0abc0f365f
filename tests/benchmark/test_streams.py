"""Streams in the place of the terminal's: what becomes of them when that one is gone."""

import gc
import io
import sys

import pytest

from benchmark.terminal import streams


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

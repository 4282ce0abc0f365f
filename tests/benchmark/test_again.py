"""The command that a refusal names."""

import shlex

import pytest

from benchmark.asked import command_line
from core import places


def test_it_is_the_same_command_with_one_more_option():
    words = shlex.split(command_line.again(["--out-dir", "my results", "--n-steps", "5"], "--fresh"))
    assert words[1:] == [places.SCRIPT.name, "--out-dir", "my results", "--n-steps", "5", "--fresh"]


def test_through_make_it_is_that_of_make(monkeypatch):
    monkeypatch.setenv("MAKELEVEL", "1")
    line = command_line.again(["--out-dir", "my results"], "--fresh")
    assert line == "make run ARGS=\"--out-dir 'my results' --fresh\""
    assert command_line.again([], "--fresh") == 'make run ARGS="--fresh"'


@pytest.mark.parametrize("path", ["$HOME", 'a"b', "a`b", "a\\b"])
def test_what_make_would_read_otherwise_is_not_sent_through_it(monkeypatch, path):
    monkeypatch.setenv("MAKELEVEL", "1")
    line = command_line.again(["--out-dir", path], "--fresh")
    assert shlex.split(line)[1:] == [places.SCRIPT.name, "--out-dir", path, "--fresh"]

"""Files that are there whole or not at all."""

import os

import pytest

from core import storage


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "a.txt"
    storage.write_whole(path, b"first")
    with pytest.raises(TypeError), storage.written_whole(path) as file:
        file.writelines([b"second", None])
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_is_staged_comes_together_and_the_last_one_last(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "mine.txt").write_text("mine")
    seen, replace = [], os.replace

    def noted(source, to):
        seen.append(os.path.basename(to))
        replace(source, to)

    monkeypatch.setattr(os, "replace", noted)
    names = ["a.txt", "c.txt", "b.txt"]
    with storage.staged(tmp_path, names, lambda: seen.append("before the last")) as staging:
        for name in ("b.txt", "c.txt", "a.txt", "half.txt"):
            (staging / name).write_text(name)
        assert (tmp_path / "a.txt").read_text() == "old"
        assert not (tmp_path / "b.txt").exists()
    assert seen == ["a.txt", "c.txt", "before the last", "b.txt"]
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.txt", "c.txt", "mine.txt"]
    assert (tmp_path / "a.txt").read_text() == "a.txt"


def test_what_is_staged_goes_again_where_the_block_fails(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(OSError), storage.staged(tmp_path, ["a.txt"], lambda: None) as staging:
        os.rename(staging / "b.txt", staging / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_a_killed_process_has_left_is_removed(tmp_path):
    (tmp_path / ".hidden").write_text("mine")
    (tmp_path / "x.unfinished").write_text("mine")
    abandoned = storage.replaced_by(tmp_path / "a.txt")
    abandoned.__enter__().write_text("half")
    staging = storage.staged(tmp_path, ["a.txt"], lambda: None)
    (staging.__enter__() / "b.txt").write_text("half")
    assert len(os.listdir(tmp_path)) == 4
    storage.remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".hidden", "x.unfinished"]


def test_where_a_file_cannot_go_it_is_known_before_or_said(tmp_path, monkeypatch):
    (tmp_path / "b.txt").mkdir()
    (tmp_path / "a.txt").write_text("old")

    def exchange():
        with storage.staged(tmp_path, ["a.txt", "b.txt"], lambda: None) as staging:
            (staging / "a.txt").write_text("new")
            (staging / "b.txt").write_text("new")

    with pytest.raises(IsADirectoryError):
        exchange()
    assert (tmp_path / "a.txt").read_text() == "old"
    (tmp_path / "b.txt").rmdir()
    replace = os.replace

    def refusing(source, to):
        if to.name == "b.txt":
            raise PermissionError(13, "Permission denied")
        replace(source, to)

    monkeypatch.setattr(os, "replace", refusing)
    with pytest.raises(storage.HalfReplaced, match="Permission denied"):
        exchange()
    assert (tmp_path / "a.txt").read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]

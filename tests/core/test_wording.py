"""Text that somebody else has chosen, where it is printed or written."""

import csv
import io
import json
import math
import subprocess
import sys
import unicodedata

import pytest
from conftest import drawn
from hypothesis import given
from hypothesis import strategies as st

from benchmark.files import results
from benchmark.terminal import console
from core import places, wording
from core.errors import UserError

# Lone surrogates among them: so Python holds bytes of a path that are no text.
TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
ESCAPES = [("two\nlines", r"two\nlines"), ("\x1b[31m", r"\x1b[31m"), ("a\u202eb", r"a\u202eb"), ("\udcff", r"\udcff"),
           ("\u200b", r"\u200b"), ("\r\t\x00", r"\r\t\x00"), ("\u2028", r"\u2028")]  # fmt: skip


@pytest.mark.parametrize(("text", "shown"), ESCAPES)
def test_what_cannot_be_seen_is_escaped(text, shown):
    assert wording.visible(text) == shown
    assert str(UserError(f"x {text} y")) == f"x {shown} y"


@pytest.mark.parametrize(("names", "said"), [("A", "A"), ("AB", "A and B"), ("ABC", "A, B and C")])
def test_names_are_listed(names, said):
    assert wording.listed(names) == said


def test_a_multiple_has_the_same_digits_everywhere():
    values = [0.00012, 0.0021, 0.9868, 1, 11.512, 99.96, 342.2, 12345]
    expected = ["1.2e-4", "0.00210", "0.987", "1.00", "11.5", "100", "342", "1.2e4"]
    assert [wording.multiple(value) for value in values] == expected


@pytest.mark.parametrize("text", ["QCBM", "$\\frac{", "1\u2009500", "Größe", "שלום", "量子", "e\u0301", "\\n"])
def test_what_can_be_seen_stays(text):
    assert wording.visible(text) == text


@drawn(100)
@given(TEXT, st.integers(1, 400))
def test_a_refusal_is_one_line_whatever_it_quotes(text, times):
    line = str(UserError(text * times))
    assert not {unicodedata.category(letter) for letter in line} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert len(line) <= wording.LONGEST_LINE
    line.encode()
    # Named once more by whoever passes it on.
    assert str(UserError(line)) == line


def test_of_a_long_refusal_both_ends_are_left():
    line = str(UserError(f"OUT_DIR {'x' * 5000} cannot be written: name another"))
    assert line.startswith("OUT_DIR xxx")
    assert line.endswith("xxx cannot be written: name another")
    assert len(line) == wording.LONGEST_LINE


@drawn(100)
@given(st.lists(TEXT | st.floats() | st.integers(), min_size=1, max_size=5))
def test_a_table_for_spreadsheets_has_no_formulas_and_keeps_its_cells(values):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([wording.cell(value) for value in [1, *values]])
    (row,) = csv.reader(io.StringIO(text.getvalue().encode().decode(), newline=""))
    for value, said in zip(values, row[1:], strict=True):
        if isinstance(value, str):
            assert not said.lstrip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠"))
            plain = wording.visible(value, keep="\n\t")
            assert said in (plain, f"'{plain}")
        else:
            # Numbers stay numbers, negative ones too.
            assert type(value)(said) == value or math.isnan(value)


@drawn(100)
@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXT,
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4)))  # fmt: skip
def test_json_is_valid_whatever_it_holds(content):
    def refuse(word):
        raise AssertionError(word)

    written = results.json_bytes(content).decode("utf-8")
    # Read back as it was: a lone surrogate is its own escape, and two that belong together are one letter.
    whole = json.loads(json.dumps(results.plain(content)))
    assert json.loads(written, parse_constant=refuse) == whole


def test_what_is_printed_directs_no_terminal(capsys):
    console.say("4 files in out\x1b]0;owned\x07\udcff/\nbelow")
    assert capsys.readouterr().out == "4 files in out\\x1b]0;owned\\x07\\udcff/\nbelow\n"


def test_a_terminal_without_greek_letters_ends_no_run():
    code = "from benchmark.terminal import console; console.prepare(); console.say('KLD ≈ 1 α')"
    place = places.ROOT
    environment = {"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], cwd=place, env=environment, capture_output=True, check=True)
    assert done.stdout == b"KLD \\u2248 1 \\u03b1\n"


def test_the_log_of_a_cell_holds_what_was_printed(tmp_path, capsys):
    console.prepare()
    (tmp_path / "precious.txt").write_text("precious")
    (tmp_path / "log.txt").symlink_to("precious.txt")
    with console.copied_to(tmp_path / "log.txt"):
        print("a \udcff b")
    assert capsys.readouterr().out == "a \\udcff b\n"
    assert (tmp_path / "precious.txt").read_text() == "precious"
    assert (tmp_path / "log.txt").read_text(encoding="utf-8") == "a \\udcff b\n"

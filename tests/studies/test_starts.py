"""Fresh processes come to their end; which cases there are, and what is counted of them."""

import collections
import json
import sys

import jax
import pytest
from conftest import BITS, NUMBERS

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.asked import command_line
from benchmark.run import checks
from models import MODELS, drawing
from studies import starts
from studies.starts import Start


def test_a_quarter_is_the_default_and_the_others_take_turns():
    n_others = len(starts.cases()) - 1
    names = list(starts.order(4 * n_others))
    counts = collections.Counter(names)
    assert counts.pop(starts.DEFAULT) == n_others
    # Every family on every kind of target that it can draw, equally often.
    assert set(counts) == set(starts.cases()) - {starts.DEFAULT}
    for family in MODELS:
        assert (f"{family}, bits" in counts) == (family in BITS)
        assert (f"{family}, table" in counts) == (f"{family}, bins" in counts) == (family in NUMBERS)
        assert (f"{family}, images" in counts) == (family in drawing("pixels"))
        assert sum(name.startswith(f"{family}, ") for name in counts) >= 1
    assert set(counts.values()) == {3}
    # A few processes have seen every kind.
    assert {name.partition(", ")[2] for name in names[:20]} == {"", *starts.KINDS}


@pytest.mark.parametrize("kind", starts.KINDS)
def test_no_case_is_refused(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    starts.write_table(tmp_path)
    events = starts.KINDS[kind]
    words = ["--models", *events.families, *events.words, *starts.SHORT, "--out-dir", "out"]
    checks.check(command_line.parse(vars(script), words, ""))


def test_every_case_may_run_equally_often(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(starts, "measure", lambda *how: asked.append(how) or [Start("a", 1.0, 0)])
    monkeypatch.setattr(starts.storage, "write_whole", lambda *kept: None)
    assert starts.main(["--each", "3", "--jobs", "1"]) == 0
    ((n, jobs, names),) = asked
    assert (n, jobs) == (3 * len(starts.cases()), 1)
    assert set(collections.Counter(starts.order(n, names)).values()) == {3}
    assert "'late': 0" in capsys.readouterr().out


def test_what_is_counted():
    found = starts.figures(
        [Start("a", s, 0) for s in (10.0, 11.0, 34.0)] + [Start("b", 300.0, None), Start("c", 5.0, 1)]
    )
    assert starts.totals(found) == {"processes": 5, "standing": 1, "failed": 1, "late": 1}
    a = {"processes": 3, "standing": 0, "failed": 0, "late": 1, "median_seconds": 11.0, "longest_seconds": 34.0}
    assert found["a"] == a


def test_new_cases_join_those_that_are_counted(monkeypatch, tmp_path):
    versions = f"Python {sys.version.split()[0]}, JAX {jax.__version__}"
    first, *others = starts.cases()
    old = starts.figures([Start(first, 9.0, 0)])
    results = tmp_path / "starts.json"
    results.write_text(json.dumps({versions: {"cases": old, "jobs": 1, "cores": 1}}))
    monkeypatch.setattr(starts, "RESULTS", results)
    monkeypatch.setattr(starts, "measure", lambda n, jobs, names: [Start(name, 1.0, 0) for name in names])
    assert starts.main(["--each", "1", "--new"]) == 0
    kept = json.loads(results.read_text())[versions]["cases"]
    assert set(kept) == {first, *others}
    assert kept[first] == old[first]
    assert starts.totals(kept)["processes"] == len(others) + 1


def test_the_table_of_the_docs_is_that_of_the_results():
    table = starts.markdown(json.loads(starts.RESULTS.read_text()))
    assert table.count("| Python 3.") >= 1
    assert table in (starts.ROOT / "docs" / "reproducibility.md").read_text()


def test_a_process_that_stands_is_stopped_and_said_so(tmp_path, monkeypatch):
    script = tmp_path / "stands.py"
    script.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(starts, "SCRIPT", script)
    stopped = starts.start(starts.DEFAULT, tmp_path, limit=0.5)
    assert stopped.exit_code is None
    assert 0.5 <= stopped.seconds < 30


@pytest.mark.slow
def test_a_tenth_of_the_study_comes_to_its_end(capsys):
    found = starts.totals(starts.figures(starts.measure(20, jobs=1)))
    # Five of them are the default families; a case that runs once cannot be late.
    expected = {"processes": 20, "standing": 0, "late": 0, "failed": 0}
    assert found == expected, (sys.version, capsys.readouterr().out)

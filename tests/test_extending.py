"""docs/extending.md is followed to the letter in a copy of the program: its family and its target work."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from core.places import ROOT, SCRIPT

pytestmark = pytest.mark.slow
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
QUICK = "--n-steps 40 --n-evaluations 4 --snapshot-percent 50 --num-seeds 2 --n-eval-samples 300"


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the program with what the page says."""
    place = tmp_path_factory.mktemp("copy") / "program"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "results_*")
    shutil.copytree(ROOT, place, ignore=ignored)
    family, entry, target = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (place / "models" / "sgmm.py").write_text(family)
    change(place / "models" / "__init__.py", "rbm, vae, vbgmm", "rbm, sgmm, vae, vbgmm")
    change(place / "models" / "__init__.py", '    "GAN": gan,\n', f'    "GAN": gan,\n{entry}')
    change(place / "kinds" / "real" / "targets.py", "\n}\n\nPLANES", f"\n{target}}}\n\nPLANES")
    change(place / SCRIPT.name, "# BBVI are there.", "# BBVI and SGMM are there.")
    change(place / SCRIPT.name, " or CUSTOM.", ", CUSTOM or\n# 1D_PENTAMODAL.")
    done = call(place, "-m", "benchmark.asked.reference")
    assert done.returncode == 0, done.stderr
    return place


def change(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new), encoding="utf-8")


def call(place, *words):
    return subprocess.run([sys.executable, *words], cwd=place, capture_output=True, text=True)


@pytest.mark.parametrize("words", ["--target-type 1D_PENTAMODAL", "--target-type 1D_PENTAMODAL --num-bins 0",
                                   "--target-type 2D_MOONS --num-bins 0"])  # fmt: skip
def test_the_family_and_the_target_run(extended, words):
    out = extended / "out"
    asked = [SCRIPT.name, *QUICK.split(), *words.split()]
    faster = ("--sgmm.learning-rate", "0.05")
    done = call(extended, *asked, *faster, "--models", "SGMM", "HISTOGRAM", "--out-dir", "out")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads((out / "metrics.json").read_text())
    history = report["models"]["SGMM"]["history"]["loss"]
    # The first entry is that of the start, where there is no loss yet.
    assert all(series[-1] < series[1] for series in history)
    assert report["models"]["SGMM"]["final"]["kl_exact"]["median"] >= 0
    assert call(extended, SCRIPT.name, "--replay", "out/metrics.json", "--out-dir", "again").returncode == 0
    swept = ("--models", "SGMM", "--sweep", "SGMM.learning_rate=0.01,0.02", "--no-sweep-pictures", "--out-dir", "sweep")
    assert call(extended, *asked, *swept, "--fresh").returncode == 0
    assert (extended / "sweep" / "sweep_SGMM.learning_rate.png").is_file()


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["tests/models/test_contract.py"], "SGMM"),
        (["tests/kinds/test_targets.py"], "PENTAMODAL"),
        (["tests/benchmark/test_config.py", "tests/core/test_colours.py"], "SGMM or block or tables or colours"),
    ],
)
def test_the_tests_take_them_in_without_being_told(extended, files, chosen):
    done = call(extended, "-m", "pytest", "-o", "addopts=", "-q", *files, "-k", chosen)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout

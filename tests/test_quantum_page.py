"""docs/quantum.md: its files come from its script, its commands run, and its numbers of the circuit are those."""

import json
import re
import runpy
import shlex
from pathlib import Path

import pytest

import generative_models_GAN_VAE_RBM_benchmarks as script

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = (DOCS / "quantum.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"```bash\npython3 \S+ (.+)\n```", PAGE)
SHORT = ["--num-seeds", "1", "--n-evaluations", "1", "--snapshot-percent", "100"]


def test_the_files_are_those_of_the_script_and_of_the_page(tmp_path):
    runpy.run_path(str(DOCS / "quantum_counts.py"))["main"](tmp_path)
    counts, p = ("quantum_counts.json", "quantum_probabilities.json")
    shipped, made = (json.loads((folder / counts).read_text()) for folder in (DOCS, tmp_path))
    assert sum(made.values()) == sum(shipped.values()) == 2000
    assert json.loads(re.search(r"```json\n(.+)\n```", PAGE)[1]) == shipped
    masses, again = (json.loads((folder / p).read_text()) for folder in (DOCS, tmp_path))
    # Another SciPy may end the training a little elsewhere.
    assert again == pytest.approx(masses, abs=1e-3)
    # The counts are draws of these: five standard deviations.
    for word, mass in masses.items():
        assert abs(shipped.get(word, 0) - 2000 * mass) <= 5 * (2000 * mass * (1 - mass)) ** 0.5 + 1e-3


@pytest.mark.parametrize("command", COMMANDS, ids=["alone", "sweep"])
def test_the_commands_run_and_the_page_has_the_circuit_s_own_numbers(here, command):
    """With fewer steps and seeds: what comes from elsewhere does not depend on these."""
    words = [word.replace("docs/", f"{DOCS}/") for word in shlex.split(command)]
    if "--n-steps" in words:
        words[words.index("--n-steps") + 1] = "4"
    assert script.main([*words, *(SHORT if "--n-steps" in words else [])]) == 0
    out = here / words[words.index("--out-dir") + 1]
    report = json.loads(next(out.rglob("metrics.json")).read_text())
    if "--sweep" in words:
        assert {path.name for path in out.iterdir()} >= {"leaderboard.csv", "leaderboard.tex", "leaderboard.png"}
    for name, metrics in (("QCBM", ("kld", "mmd2")), ("QCBM exact", ("kl_exact", "tv_exact", "mmd2"))):
        final = report["external"][name]["final"]
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| *{name}* | 16 |"))
        assert [cell.strip() for cell in row.split("|")[3:-1]] == [
            f"{final[metric]['median']:.2g}" if metric in metrics else "none"
            for metric in ("kl_exact", "tv_exact", "kld", "mmd2")
        ]
    for name, rival in report["target"]["rivals"].items():
        assert f"| {name}, at best | {rival['n_params']} | {rival['kl_exact']:.2g} |" in PAGE

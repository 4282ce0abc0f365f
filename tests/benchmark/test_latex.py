"""leaderboard.tex: what stands in its tables, in a form that LaTeX reads."""

import dataclasses
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

import generative_models_GAN_VAE_RBM_benchmarks as script
import metrics
from benchmark.asked import command_line
from benchmark.sweeps import sweep_latex, sweep_scores
from benchmark.sweeps.sweep_plan import make_plan
from kinds.contract import Floor, floor_of

PERFECT = np.random.default_rng(0).gamma(9.5, 1e-4, 200)


def tables_of(text):
    """Rows of cells of every tabular, and where rules stand; the test fails where columns do not match."""
    assert text.count(r"\begin{table}") == text.count(r"\end{table}")
    found = []
    for columns, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL):
        lines = body.splitlines()
        assert (lines[0], lines[-1]) == (r"\toprule", r"\bottomrule")
        rows = [line.removesuffix(r" \\").split(" & ") for line in lines if not re.fullmatch(r"\\\w+", line)]
        assert {len(row) for row in rows} == {len(columns)}
        assert all(line.endswith(r"\\") or re.fullmatch(r"\\\w+", line) for line in lines)
        found.append(rows)
    for line in text.splitlines()[1:]:
        assert line.count("{") - line.count(r"\{") == line.count("}") - line.count(r"\}")
        assert len(re.findall(r"(?<!\\)\$", line)) % 2 == 0
    return found


def plan_of(*words):
    return make_plan(command_line.read(vars(script), list(words), description=""))


def report_of(final, floor, rivals, **external):
    model = {"n_params": 1234, "width": 6, "train_seconds": 1.0, "diverged_at_step": [None, None], "final": final}
    floors = {name: dataclasses.asdict(each) for name, each in floor.items()}
    entries = {name: {"n_params": n, "final": own, "floor": floors} for name, (n, own) in external.items()}
    target = {"rivals": rivals} if rivals else {}
    return {"models": {"RBM": model}, "external": entries, "floor": floors, "target": target}


def test_a_target_with_exact_probabilities_has_rivals_in_closed_form():
    plan = plan_of("--target-type", "BITS_PARITY", "--num-bins", "0", "--models", "RBM", "--sweep", "SEED=1,2")
    final = {"kl_exact": metrics.summarise([2e-5, 0.5]), "tv_exact": metrics.summarise([0.1, 0.3]),
             "kld": metrics.summarise([0.01, 0.02]), "mmd2": metrics.summarise([-0.002, 0.004])}  # fmt: skip
    zero = Floor(0.0, 0.0, 0.0, 0.0)
    floor = {"kl_exact": zero, "tv_exact": zero, "kld": floor_of(PERFECT), "mmd2": Floor(0.0, -0.001, 0.002, 1e-4)}
    samples = {"kl_exact": None, "tv_exact": None, "kld": metrics.summarise([0.5]), "mmd2": None}
    rivals = {"CHOW_LIU": {"kl_exact": 0.6931, "n_params": 23}}
    report = report_of(final, floor, rivals, **{"Q_1 & 50%": (None, samples)})
    reports = [(plan.cells[0], report), (plan.cells[1], None)]
    text = sweep_latex.tex_bytes(plan, sweep_scores.scores_of(plan, plan.cells[0], report), reports).decode()
    (rows,) = tables_of(text)
    assert rows == [
        ["model", "parameters", "exact KL (nats)", "exact TV", "KLD (nats)", "MMD$^2$"],
        ["RBM", r"1\,234", r"$0.25$ ($2.0\cdot10^{-5}$--$0.50$)", "$0.20$ ($0.10$--$0.30$)",
         "$0.015$ ($0.010$--$0.020$)", "$0.0010$ ($-0.0020$--$0.0040$)"],
        [r"\emph{Q\_1 \& 50\%}", "--", "--", "--", "$0.50$", "--"],
        rows[3],
        ["CHOW\\_LIU, at best", "23", "$0.69$", "--", "--", "--"],
    ]  # fmt: skip
    assert rows[3][:4] == ["floor: samples of the target", "", "0", "0"]
    assert r"\caption{BITS\_PARITY, 12 bits: " in text


def test_a_continuous_target_has_multiples_of_the_floor():
    plan = plan_of("--num-bins", "0", "--models", "RBM", "--sweep", "N_STEPS=100,200")
    final = {"kld": metrics.summarise([4e-3, np.inf, 4e-3]), "wasserstein": metrics.summarise([0.1])}
    report = report_of(final, {"kld": floor_of(PERFECT, 41), "wasserstein": Floor(0.05, 0.01, 0.1, 0.05)}, None)
    reports = [(cell, report) for cell in plan.cells]
    scores = [score for cell, own in reports for score in sweep_scores.scores_of(plan, cell, own)]
    (rows,) = tables_of(sweep_latex.tex_bytes(plan, scores, reports).decode())
    assert rows[0] == ["model", "parameters", r"N\_STEPS", "KLD (nats)", "W$_1$ (units of x)", "KLD / floor"]
    assert [row[2] for row in rows[1:3]] == ["100", "200"]
    assert rows[1][3] == r"$0.0040$ ($0.0040$--$\infty$)"
    assert rows[1][5] == f"${4e-3 / np.median(PERFECT):.1f}$"
    assert rows[3][5] == "$1.0$"


@pytest.mark.parametrize(
    ("text", "said"),
    [("a_b", r"a\_b"), ("\\input{x}", r"\textbackslash{}input\{x\}"), ("50 % of $5 & #1 ~ ^", r"50 \% of \$5 \& \#1 "
      r"\textasciitilde{} \textasciicircum{}"), ("two\nlines", r"two\textbackslash{}nlines"), ("K = βJ, 4 × 4", r"K = "
      r"$\beta$J, 4 $\times$ 4")],
)  # fmt: skip
def test_names_of_others_are_text(text, said):
    assert sweep_latex.escaped(text) == said


def test_a_sweep_writes_its_tables(here):
    """Over targets of both sorts; compiled where there is a LaTeX."""
    words = ["--sweep", "TARGET_TYPE=1D_BETA,BITS_PARITY", "--num-bins", "0", "--bits.n", "4", "--models", "RBM",
             "--parameter-budget", "40", "--n-steps", "4", "--n-evaluations", "1", "--snapshot-percent", "100",
             "--num-seeds", "1", "--n-eval-samples", "64", "--no-sweep-pictures", "--out-dir", "out"]  # fmt: skip
    assert script.main(words) == 0
    text = (here / "out/leaderboard.tex").read_text(encoding="utf-8")
    beta, parity = tables_of(text)
    assert (beta[0][-1], parity[0][2]) == ("KLD / floor", "exact KL (nats)")
    assert [row[:2] for row in parity[-3:]] == [
        ["UNIFORM, at best", "0"], ["PRODUCT, at best", "4"], [r"CHOW\_LIU, at best", "7"],
    ]  # fmt: skip
    assert all(row[2] == "$0.69$" for row in parity[-3:])
    report = json.loads((here / "out/TARGET_TYPE=BITS_PARITY/metrics.json").read_text())
    assert parity[1][2] == sweep_latex._number(report["models"]["RBM"]["final"]["kl_exact"]["median"])
    if shutil.which("pdflatex"):
        document = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{leaderboard}\end{document}"
        (here / "out/t.tex").write_text(document)
        subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t"], cwd=here / "out", check=True)


def test_an_entry_from_elsewhere_stands_once_with_a_floor_of_its_own():
    plan = plan_of("--target-type", "BITS_PARITY", "--num-bins", "0", "--models", "RBM",
                   "--sweep", "PARAMETER_BUDGET=60,70")  # fmt: skip
    final = {name: metrics.summarise([0.5, 0.6]) for name in ("kl_exact", "tv_exact", "kld", "mmd2")}
    samples = final | {"kl_exact": None, "tv_exact": None}
    report = report_of(final, {"kld": floor_of(PERFECT)}, None, A=(7, samples), B=(8, samples))
    report["external"]["B"]["floor"] = {"kld": dataclasses.asdict(floor_of(2 * PERFECT))}
    reports = [(cell, report) for cell in plan.cells]
    scores = [score for cell, own in reports for score in sweep_scores.scores_of(plan, cell, own)]
    scores[0] = scores[0]._replace(n_params=58)
    (rows,) = tables_of(sweep_latex.tex_bytes(plan, scores, reports).decode())
    assert [row[0] for row in rows[1:]] == [
        "RBM", "RBM", r"\emph{A}", r"\emph{B}", "floor: samples of the target", "floor of B",
    ]  # fmt: skip
    assert rows[-1][4] != rows[-2][4]

r"""leaderboard.tex: the scores of a sweep as tables for a paper, one a target, in the form of the package booktabs."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmark.asked.constants import telling
from benchmark.pictures.views.leaderboard import number
from benchmark.sweeps.sweep_plan import Cell, Plan
from benchmark.sweeps.sweep_scores import OF_TARGETS, Score, short_of, thin_of
from core import wording
from metrics import METRICS

TEX_FILE = "leaderboard.tex"
_MISSING = "--"
_ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "₁": "$_1$", "₂": "$_2$", "²": "$^2$", "³": "$^3$", "×": r"$\times$", "±": r"$\pm$", "≈": r"$\approx$",
    "∞": r"$\infty$", "−": "$-$", "–": "--", "…": r"\dots{}", "·": r"$\cdot$", "½": r"$\frac12$",
    "ε": r"$\varepsilon$", "μ": r"$\mu$", "σ": r"$\sigma$", "β": r"$\beta$", "\u2009": r"\,",
}  # fmt: skip
_EXPONENT = re.compile(r"(-?[\d.]+)e(-?)(\d+)")


def escaped(text: str) -> str:
    """Text as LaTeX prints it, in one line."""
    return "".join(_ESCAPES.get(letter, letter) for letter in wording.visible(text, keep="\u2009"))


def tex_bytes(plan: Plan, scores: Sequence[Score], reports: Sequence[tuple[Cell, Mapping[str, Any] | None]]) -> bytes:
    """A table of every target.

    Args:
      plan: of the sweep.
      scores: of all its cells.
      reports: every cell with its metrics.json; None: not finished.
    """
    rivals = {cell.name: report["target"].get("rivals", {}) for cell, report in reports if report is not None}
    blocks = [r"% \usepackage{booktabs} in the preamble; then \input{leaderboard}"]
    for row in dict.fromkeys(score.row for score in scores):
        here = [score for score in scores if score.row == row]
        blocks.append(_table(plan, row, here, rivals[here[0].cell.name]))
    return ("\n\n".join(blocks) + "\n").encode()


def _table(plan: Plan, row: str, scores: Sequence[Score], rivals: Mapping[str, Mapping[str, Any]]) -> str:
    """One target: its entries, the floor, and what trivial models reach in closed form."""
    kind = scores[0].kind
    has_scale = any(score.has_scale for score in scores)
    beside = [name for name in _beside(plan) if len({repr(score.cell.values[name]) for score in scores}) > 1]
    metrics = [name for name in kind.printed if any(score.final.get(name) or name in score.floors for score in scores)]
    multiple = [f"{METRICS[kind.main].label} / floor"] if has_scale else []
    heads = ["model", "parameters", *beside, *(METRICS[name].label_with_unit for name in metrics), *multiple]
    lines = [[escaped(head) for head in heads], None]
    # What comes from elsewhere is the same in cells that differ in what it does not depend on.
    entries = [_line(plan, score, beside, metrics, has_scale) for score in sorted(scores, key=lambda s: s.external)]
    lines += [line for i, line in enumerate(entries) if line not in entries[:i]]
    blank = [""] * len(beside)
    lines.append(None)
    for name, floors in _floors(scores, metrics).items():
        own = [_floor(floors.get(metric)) for metric in metrics]
        lines.append([name, "", *blank, *own, *(["$1.0$"] if has_scale else [])])
    if rivals:
        lines.append(None)
    for name, rival in rivals.items():
        own = [_number(rival[kind.exact]) if metric == kind.exact else _MISSING for metric in metrics]
        best = f"{escaped(name)}, at best"
        lines.append([best, str(rival["n_params"]), *blank, *own, *([_MISSING] if has_scale else [])])
    body = [r"\midrule" if cells is None else " & ".join(cells) + r" \\" for cells in lines]
    columns = "lr" + "l" * len(beside) + "r" * (len(heads) - 2 - len(beside))
    top = [r"\begin{table}", r"\centering", rf"\caption{{{_caption(row)}}}", rf"\begin{{tabular}}{{{columns}}}"]
    return "\n".join([*top, r"\toprule", *body, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def _floors(scores: Sequence[Score], metrics: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Name of a row -> the floors in it: that of the families, and of entries that are scored at another n."""
    trained = [score for score in scores if not score.external]
    found = {"floor: samples of the target": (trained or list(scores))[0].floors}
    for score in scores:
        known = [[floors.get(metric) for metric in metrics] for floors in found.values()]
        # Exact probabilities have floors of 0 alone.
        is_sample = any(floor["low"] < floor["high"] for floor in score.floors.values())
        if score.external and is_sample and [score.floors.get(metric) for metric in metrics] not in known:
            found[f"floor of {escaped(score.name)}"] = score.floors
    return found


def _caption(row: str) -> str:
    return f"{escaped(row)}: median over the seeds, in brackets their range."


def _beside(plan: Plan) -> list[str]:
    """The swept constants that neither the row, the family nor its parameters tell."""
    told = {*telling("row", "column", "size"), *OF_TARGETS}
    return [name for name, values in plan.swept.items() if name not in told and len(values) > 1]


def _line(plan: Plan, score: Score, beside: Sequence[str], metrics: Sequence[str], has_scale: bool) -> list[str]:
    size = _MISSING if score.n_params is None else escaped(thin_of(score.n_params))
    name = rf"\emph{{{escaped(score.name)}}}" if score.external else escaped(score.name)
    values = [escaped(str(short_of(plan.swept[each], score.cell.values[each]))) for each in beside]
    ratio = score.over_floor
    multiple = [_MISSING if np.isnan(ratio) else _number(ratio if np.isfinite(ratio) else None)]
    return [name, size, *values, *(_summary(score.final.get(metric)) for metric in metrics),
            *(multiple if has_scale else [])]  # fmt: skip


def _summary(summary: Mapping[str, Any] | None) -> str:
    """The median and the range, of one seed its value; a dash where it is not defined."""
    if summary is None:
        return _MISSING
    if len(summary["seeds"]) == 1:
        return _number(summary["median"])
    return f"{_number(summary['median'])} ({_number(summary['low'])}--{_number(summary['high'])})"


def _floor(floor: Mapping[str, Any] | None) -> str:
    if floor is None:
        return _MISSING
    middle = floor.get("median", floor["mean"])
    if floor["low"] == floor["high"]:
        return _number(middle)
    return f"{_number(middle)} ({_number(floor['low'])}--{_number(floor['high'])})"


def _number(value: float | None) -> str:
    """In few digits, with a power of ten as LaTeX has it; what is not finite has diverged or is infinite."""
    if value is None:
        return r"$\infty$"
    if value == 0:
        return "0"
    text = number(abs(value))
    found = _EXPONENT.fullmatch(text)
    if found:
        text = rf"{found[1]}\cdot10^{{{found[2]}{int(found[3])}}}"
    return f"${'-' if value < 0 else ''}{text}$"

"""What the pictures of a sweep show: boards, panels against a setting, trade-offs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmark.asked.constants import telling
from benchmark.files import results
from benchmark.pictures.views import tradeoff
from benchmark.pictures.views.boards import Board, Course, Level, Panel
from benchmark.sweeps.sweep_plan import Cell, Plan
from benchmark.sweeps.sweep_scores import OF_TARGETS, Score, middle_of, quantiles_of, scores_of, short_of
from core import wording
from metrics import METRICS
from models import MODELS
from models.base import SweepView
from targets import kind_asked

BUDGET = "PARAMETER_BUDGET"
_N_PERFECT = 4000  # simulated results of a perfect model behind what is bold
_LONGEST_KEY = 60


def board_of(plan: Plan, scores: Sequence[Score]) -> Board:
    """Targets × families: the median over a target's cells of the median of the main metric over its floor's.

    Where the floor of a target is 0, as of an exact divergence, its row has the median itself.
    """
    rows, names = list(dict.fromkeys(score.row for score in scores)), in_order(scores)
    shape = (len(rows), len(names))
    ratio, reach = np.full(shape, np.nan), np.full(shape, np.nan)
    count, lost, n_seeds, lost_seeds = (np.zeros(shape, int) for _ in range(4))
    perfect = _Perfect()
    units = _units(scores)
    for i, row in enumerate(rows):
        absolute = units[row] is not None
        for j, name in enumerate(names):
            here = [score for score in scores if (score.row, score.name) == (row, name)]
            here = [score for score in here if not np.isnan(score.on_board(absolute))]
            if here:
                values, klds = [each.on_board(absolute) for each in here], np.concatenate([each.main for each in here])
                count[i, j], n_seeds[i, j] = len(here), len(klds)
                lost[i, j], lost_seeds[i, j] = np.isinf(values).sum(), np.isinf(klds).sum()
                ratio[i, j] = np.median(values)
                # A perfect model scores 0 where that is the floor.
                reach[i, j] = 0.0 if absolute else perfect.reach(here)
    external = [name for name, from_elsewhere in names.items() if from_elsewhere]
    losses = (lost, n_seeds, lost_seeds)
    words = (pooled(plan), _key(plan), metric_of(scores))
    return Board(rows, list(names), external, ratio, reach, count, *losses, *words, list(units.values()))


def _units(scores: Sequence[Score]) -> dict[str, str | None]:
    """Row -> the unit of its main metric where no score has a floor above 0; None for multiples of the floor."""
    units: dict[str, str | None] = {score.row: METRICS[score.kind.main].unit for score in scores}
    return units | {score.row: None for score in scores if score.has_scale}


def metric_of(scores: Sequence[Score]) -> str:
    """What the main metric of a sweep's targets is called; of targets that have several, "score"."""
    labels = {METRICS[score.kind.main].label for score in scores}
    return labels.pop() if len(labels) == 1 else "score"


def board_texts(board: Board) -> list[list[str]]:
    """A board's numbers [T][F] as words: as the picture has them, with × or their unit, and what has diverged."""

    def text(value, loss, unit):
        number = f"{wording.multiple(value)} {'×' if unit is None else unit}".strip()
        words = "none" if np.isnan(value) else number if np.isfinite(value) else "diverged"
        return f"{words} ({loss}{' diverged' if np.isfinite(value) else ''})" if loss else words

    units = board.units or [None] * len(board.rows)
    return [
        [text(*each, unit) for each in zip(values, losses, strict=True)]
        for values, losses, unit in zip(board.ratio, board.losses, units, strict=True)
    ]


class _Perfect:
    """What the board would show of a model that is the target itself."""

    def __init__(self):
        self._generator = np.random.default_rng(0)
        self._middles: dict[tuple[float, ...], np.ndarray] = {}
        self._reaches: dict[tuple[Any, ...], float] = {}

    def reach(self, scores: Sequence[Score]) -> float:
        """The 97.5 % quantile of the median over cells of the median over seeds, relative to the floor's.

        Seeds are drawn from the floor's own quantiles, and so is the floor's median anew: it is one of few draws. Cells
        of one SEED are scored with the same random numbers, so that a perfect model scores the same in all of them.
        """
        roots = [score.cell.config.seed for score in scores]
        groups = [sorted(set(roots)).index(root) for root in roots]
        cells = tuple(
            (quantiles_of(score.main_floor), len(score.main), group, score.kind.n_floor_draws)
            for score, group in zip(scores, groups, strict=True)
        )
        if cells not in self._reaches:
            most = max(n_seeds for _, n_seeds, *_ in cells)
            levels = {group: self._generator.random((_N_PERFECT, most)) for group in sorted(set(groups))}
            ratios = []
            for quantiles, n_seeds, group, n_draws in cells:
                if quantiles not in self._middles:
                    drawn = self._generator.random((_N_PERFECT, n_draws))
                    self._middles[quantiles] = _medians(quantiles, drawn)
                ratios.append(_medians(quantiles, levels[group][:, :n_seeds]) / self._middles[quantiles])
            self._reaches[cells] = float(np.quantile(np.median(ratios, axis=0), 0.975))
        return self._reaches[cells]


def _medians(quantiles: tuple[float, ...], levels: np.ndarray) -> np.ndarray:
    """Medians [M] of the values [M, n] at these levels of a distribution."""
    return np.median(np.interp(levels, np.linspace(0, 1, len(quantiles)), quantiles), axis=1)


def panels_of(scores: Sequence[Score], setting: str = BUDGET) -> list[Panel]:
    """A panel for every target: KLD against the parameters used, or a setting; all seeds of one value together.

    A family's own setting has a course of that family alone: no other depends on it.
    """
    owner = setting.partition(".")[0] if "." in setting else None
    panels = []
    for row in dict.fromkeys(score.row for score in scores):
        here = [score for score in scores if score.row == row and len(score.main)]
        courses, levels = {}, {}
        for name, external in in_order(here).items():
            own = [score for score in here if score.name == name]
            if external:
                kld = float(np.median([np.median(score.main) for score in own]))
                levels[name] = Level(kld, own[0].n_params)
                continue
            if owner not in (None, name):
                continue
            courses[name] = _course(own, setting)
        trained = [score.main_floor for score in here if not score.external]
        if courses:
            parts = [(middle_of(each), each["low"], each["high"]) for each in trained]
            floor, kind = tuple(np.median(parts, axis=0).tolist()), here[0].kind
            rivals = here[0].rivals if kind.main == kind.exact else {}
            untrained = {name: value for name, value in rivals.items() if name not in courses}
            panels.append(Panel(row, courses, levels, floor, METRICS[kind.main].label_with_unit, untrained))
    return panels


def _course(own: Sequence[Score], setting: str) -> Course:
    """One family's scores on one target, by the values of a setting or by the parameters that were used."""
    groups: dict[float, list[Score]] = {}
    for value in sorted({score.cell.values[setting] for score in own}):
        group = [score for score in own if score.cell.values[setting] == value]
        at = float(np.median([score.n_params for score in group])) if setting == BUDGET else value
        # A family of one size has one place, whatever the budget.
        groups.setdefault(at, []).extend(group)
    scores = [np.concatenate([score.main for score in group]) for group in groups.values()]
    exact = [np.concatenate([score.exact for score in group]) for group in groups.values()]
    known = all(len(one) == len(other) for one, other in zip(exact, scores, strict=True))
    kind = own[0].kind
    return Course(np.array([*groups]), scores, exact if known and kind.main != kind.exact else None)


def tradeoffs_of(
    plan: Plan, reports: Sequence[tuple[Cell, Mapping[str, Any] | None]], family: str, view: SweepView
) -> list[tradeoff.Panel]:
    """A panel for every target: what two fields of a family's Info have come to at every value of a setting.

    They are means over the last interval. The bound is the entropy, where the family's exact KL says that both are of
    one kind.
    """
    found: dict[str, dict[float, list[np.ndarray]]] = {}
    bounds: dict[str, float | None] = {}
    for cell, report in reports:
        model = (report or {"models": {}})["models"].get(family)
        if model is None or not {view.x, view.y} <= set(model["history"]):
            continue
        last = [[seed[-1] for seed in model["history"][field]] for field in (view.x, view.y)]
        row = scores_of(plan, cell, report)[0].row
        found.setdefault(row, {}).setdefault(cell.values[f"{family}.{view.setting}"], []).append(np.array(last, float))
        bounds[row] = (
            report["target"]["entropy"] if model["final"].get(kind_asked(cell.config).exact) is not None else None
        )
    panels = []
    for row, by_value in found.items():
        values = sorted(by_value)
        both = [np.concatenate(by_value[value], axis=1) for value in values]
        panels.append(tradeoff.Panel(row, values, [xy[0] for xy in both], [xy[1] for xy in both], bounds[row]))
    return panels


def in_order(scores: Sequence[Score]) -> dict[str, bool]:
    """Families as they are registered, then external entries as they come -> whether they are external."""
    found = {score.name: score.external for score in scores}
    return {name: False for name in MODELS if name in found} | {name: True for name in found if found[name]}


def pooled(plan: Plan, without: str = "") -> str:
    """What the cells of one target differ in, such as "5 PARAMETER_BUDGET × 2 SEED"; empty for one cell a target."""
    ignored = (*telling("row", "column"), *OF_TARGETS, without)
    lengths = {name: len(values) for name, values in plan.swept.items() if name not in ignored}
    return " × ".join(
        f"{n} budgets" if name == BUDGET else f"{n} values of {name}" for name, n in lengths.items() if n > 1
    )


def _key(plan: Plan) -> list[str]:
    """What the numbers of `_short` stand for."""
    entries = []
    for name, pattern in OF_TARGETS.items():
        values = plan.swept.get(name, ())
        for value in values if len(values) > 1 else ():
            if not isinstance(value, str | int | float):
                text = json.dumps(results.plain(value), default=repr)
                text = text if len(text) <= _LONGEST_KEY else f"{text[: _LONGEST_KEY - 1]}…"
                entries.append(f"{pattern.format(short_of(values, value))}: {text}")
    return entries

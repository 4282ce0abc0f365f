"""From the metrics.json of a sweep's cells to the files over all of them."""

import csv
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmark.asked.constants import rows_of_board
from benchmark.files import results
from benchmark.pictures.views import leaderboard, tradeoff
from benchmark.pictures.views.leaderboard import Board, Course, Level, Panel
from benchmark.sweeps.sweep_plan import Cell, Plan
from core import storage, trust, wording
from core.drawing import scenes
from kinds.contract import Kind
from metrics import METRICS
from models import MODELS
from models.base import SweepView
from targets import kind_asked

CSV_FILE = "leaderboard.csv"
BOARD_FILE = "leaderboard.png"
SCALING_FILE = "budget_scaling.png"
# Family, picture, and what it shows of the family where that setting is swept.
_VIEWS = [
    (family, f"{name}.png", view)
    for family, module in MODELS.items()
    for name, view in getattr(module, "SWEEP_VIEWS", {}).items()
]
BUDGET = "PARAMETER_BUDGET"
# What else is swept and numeric has a picture of its own: not what tells rows or columns apart, nor a draw's number.
_PICTURE_OF = "sweep_{}.png"
_NO_SETTING = (BUDGET, "SEED", "TARGET_TYPE", "NUM_BINS", "MODELS")
# Where these are swept, equal names are other distributions, or have other floors: no row may mix them.
_OF_TARGETS = rows_of_board()
_N_PERFECT = 4000  # simulated results of a perfect model behind what is bold
_LONGEST_KEY = 60


class Score(NamedTuple):
    """What one family or external entry has come to in one cell."""

    cell: Cell
    target: str  # its name
    bins: int  # 0: continuous
    kind: Kind  # of its target
    row: str  # what tells this target from the sweep's others, such as "1D_BETA, 20 bins"
    name: str
    external: bool
    n_params: int | None
    width: int | None
    final: Mapping[str, Mapping[str, Any] | None]  # metric -> median, low, high, seeds; None: not defined
    floors: Mapping[str, Mapping[str, float]]  # metric -> mean, low, high, at its own number of rows
    train_seconds: float | None
    n_diverged: int
    exact_unknown: bool = False  # of a seed

    @property
    def main(self) -> np.ndarray:
        """The main metric of every seed [S], infinite where it has diverged; empty where it is not defined."""
        seeds = (self.final.get(self.kind.main) or {"seeds": []})["seeds"]
        return np.array([np.inf if value is None else value for value in seeds], np.float64)

    @property
    def main_floor(self) -> Mapping[str, Any] | None:
        """The floor of the same."""
        return self.floors.get(self.kind.main)

    @property
    def exact(self) -> np.ndarray:
        """The exact divergence of every seed [S], over the cells of the main metric; empty where that is unknown."""
        summary = self.final.get(self.kind.exact)
        # Of a continuous target it is that of densities, which cells partly hide; a soft sample is another model's.
        if not summary or self.exact_unknown or not self.bins or self.cell.config.decode != "hard":
            return np.array([])
        return np.array([np.inf if value is None else value for value in summary["seeds"]], np.float64)

    @property
    def over_floor(self) -> float:
        """The main metric's median over the floor's; NaN where either is missing, infinite where it has diverged."""
        floor = self.main_floor
        if not len(self.main) or not floor or not _middle(floor):
            return np.nan
        return float(np.median(self.main)) / _middle(floor)


class Merged(NamedTuple):
    """What a merge has written."""

    files: Sequence[str]  # in the sweep's folder
    missing: Sequence[str]  # cells that have not finished, by name
    board: Board
    lost: Sequence[tuple[Cell, str, Sequence[int]]] = ()  # families that have lost all their seeds of a cell, and where
    unpictured: Sequence[str] = ()  # swept settings against which nothing can be drawn


def read(cell: Cell) -> dict[str, Any] | None:
    """A cell's metrics.json; None unless it is there, of this cell's configuration, and whole with all it lists."""
    folder = Path(cell.config.out_dir)
    try:
        report = json.loads(trust.read_whole(folder / results.METRICS_FILE))
        own = json.loads(results.json_bytes(results.without_places(cell.config)))
        same = results.without_places(report["config"]) == own and report.get("partial") is None
        if not same or report["schema"] != results.SCHEMA or not set(report["files"]) <= set(os.listdir(folder)):
            return None
        # What somebody edited must be found here, and not by the first picture that reads it.
        line_of(cell, report)
        _entries(report, kind_asked(cell.config))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return report


def merge(plan: Plan, earlier: Sequence[str] = ()) -> Merged:
    """Writes `leaderboard.csv`, and as pictures the leaderboard and, of several budgets, what they bring.

    The same files follow from the same cells, however often and by whichever process.

    Args:
      plan: the sweep; cells that have not finished are left out.
      earlier: what the last merge wrote: of it goes what this one does not write.
    """
    reports = [(cell, read(cell)) for cell in plan.cells]
    scores = [score for cell, report in reports if report is not None for score in scores_of(plan, cell, report)]
    missing = [cell.name for cell, report in reports if report is None]
    folder = Path(plan.out_dir)
    storage.write_whole(folder / CSV_FILE, csv_bytes(plan, scores))
    files = [CSV_FILE]
    names = _in_order(scores)
    colours = scenes.family_colours(list(MODELS), [name for name, external in names.items() if external])
    shared = _shared(plan, len(missing), any(not external for external in names.values()))
    board = board_of(plan, scores)
    if board.rows:
        leaderboard.leaderboard(folder / BOARD_FILE, board, colours, f"KLD relative to the floor{shared}")
        files.append(BOARD_FILE)
    numeric, others = settings_of(plan)
    for setting in [BUDGET, *numeric] if len(plan.swept.get(BUDGET, ())) > 1 else numeric:
        if panels := panels_of(scores, setting):
            of_budget = setting == BUDGET
            words = "parameters" if of_budget else setting
            name = SCALING_FILE if of_budget else _PICTURE_OF.format(setting)
            leaderboard.budget_scaling(folder / name, panels, colours, f"KLD against {words}{shared}",
                                       setting="" if of_budget else setting, note=_pooled(plan, without=setting),
                                       key=board.key)  # fmt: skip
            files.append(name)
    for family, picture, view in _VIEWS:
        setting = f"{family}.{view.setting}"
        shown = tradeoffs_of(plan, reports, family, view) if len(plan.swept.get(setting, ())) > 1 else []
        if shown:
            labels = view.labels
            bound = f"{view.x} + {view.y} = entropy of the target, the least there can be"
            title = f"{family} · {labels[1].partition(' (')[0]} and {labels[2].partition(' (')[0]}{shared}"
            note = _pooled(plan, without=setting)
            tradeoff.tradeoff(folder / picture, shown, labels, bound, colours[family], title, note=note, key=board.key)
            files.append(picture)
    for name in {name for name in earlier if is_merged(name)} - set(files):
        (folder / name).unlink(missing_ok=True)
    lost = [
        (cell, name, report["models"][name]["diverged_at_step"])
        for cell, report in reports
        if report is not None
        for name in results.lost_families(report)
    ]
    return Merged(files, missing, board, lost, others)


def is_merged(name: str) -> bool:
    """Whether a file's name is of those that a merge writes."""
    own = re.fullmatch(re.escape(_PICTURE_OF).replace(r"\{\}", r"[\w.]+"), name, re.ASCII)
    return own is not None or name in (CSV_FILE, BOARD_FILE, SCALING_FILE, *(picture for _, picture, _ in _VIEWS))


def settings_of(plan: Plan) -> tuple[list[str], list[str]]:
    """What has a picture of its own besides the budget, and what has none since its values are no numbers."""
    swept = [name for name, values in plan.swept.items() if len(values) > 1]
    swept = [name for name in swept if name not in (*_NO_SETTING, *_OF_TARGETS)]
    numeric = [name for name in swept if all(_is_number(value) for value in plan.swept[name])]
    return numeric, [name for name in swept if name not in numeric]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def scores_of(plan: Plan, cell: Cell, report: Mapping[str, Any]) -> list[Score]:
    """A cell's families and external entries, out of its metrics.json."""
    config = cell.config
    row = f"{config.target_type}, {f'{config.num_bins} bins' if config.num_bins else 'continuous'}"
    own = [
        pattern.format(_short(plan.swept[name], cell.values[name]))
        for name, pattern in _OF_TARGETS.items()
        if len(plan.swept.get(name, ())) > 1
    ]
    place = (cell, config.target_type, config.num_bins, kind_asked(config), ", ".join([row, *own]))
    return [Score(*place, *entry) for entry in _entries(report, place[3])]


def _entries(report: Mapping[str, Any], kind: Kind) -> list[tuple[Any, ...]]:
    """What a Score says of each entry, from its name on."""
    entries = []
    for name, model in report["models"].items():
        lost = sum(step is not None for step in model["diverged_at_step"])
        size = (model["n_params"], model["width"])
        entries.append((name, False, *size, model["final"], report["floor"], model["train_seconds"], lost,
                        f"{kind.exact}_unknown" in model))  # fmt: skip
    for name, entry in report["external"].items():
        entries.append((name, True, entry["n_params"], None, entry["final"], entry["floor"], None, 0))
    return entries


def csv_bytes(plan: Plan, scores: Sequence[Score]) -> bytes:
    """The table of all scores: one row a cell and family or external entry; empty where there is no number.

    Text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    kinds = list(dict.fromkeys((score.kind.main, score.kind.exact, score.kind.followed) for score in scores))
    of_kinds = list(dict.fromkeys(name for kind in kinds for name in _columns(*kind)))
    names = ("target", "bins", "family", "kind", "n_params", "width", "seeds", *of_kinds, "train_seconds", "diverged")
    writer.writerow(["cell", *plan.swept, *names])
    for score in scores:
        n_seeds = max((len(summary["seeds"]) for summary in score.final.values() if summary), default=0)
        row = [score.cell.name, *(_words(score.cell.values[name]) for name in plan.swept)]
        row += [score.target, score.bins, score.name, "external" if score.external else "trained"]
        row += [score.n_params, score.width, n_seeds]
        own = dict(zip(_columns(score.kind.main, score.kind.exact, score.kind.followed), _values(score), strict=True))
        row += [*(own.get(name) for name in of_kinds), score.train_seconds, score.n_diverged]
        writer.writerow([wording.cell(value) for value in row])
    return text.getvalue().encode()


def _columns(main: str, exact: str, followed: Sequence[str]) -> list[str]:
    """What the table of all scores has of one kind."""
    of_main = [main, f"{main}_low", f"{main}_high", f"{main}_floor", f"{main}_floor_median", f"{main}_over_floor"]
    others = [name for name in followed if name != main]
    return [*of_main, exact, *(column for name in others for column in (name, f"{name}_floor"))]


def _values(score: Score) -> list[Any]:
    """The values of `_columns`; None where there is no number."""
    kind, ratio = score.kind, score.over_floor
    summary = score.final.get(kind.main) or {}
    middle = _middle(score.main_floor) if score.main_floor else None
    exact = _median(score, kind.exact)
    values = [*(summary.get(part) for part in ("median", "low", "high")), _floor(score, kind.main), middle]
    values += [ratio if np.isfinite(ratio) else None, "unknown" if exact is None and score.exact_unknown else exact]
    others = [name for name in kind.followed if name != kind.main]
    return values + [value for name in others for value in (_median(score, name), _floor(score, name))]


def board_of(plan: Plan, scores: Sequence[Score]) -> Board:
    """Targets × families: the median over a target's cells of the median of the main metric over its floor's."""
    rows, names = list(dict.fromkeys(score.row for score in scores)), _in_order(scores)
    shape = (len(rows), len(names))
    ratio, reach = np.full(shape, np.nan), np.full(shape, np.nan)
    count, lost, n_seeds, lost_seeds = (np.zeros(shape, int) for _ in range(4))
    perfect = _Perfect()
    for i, row in enumerate(rows):
        for j, name in enumerate(names):
            here = [score for score in scores if (score.row, score.name) == (row, name)]
            here = [score for score in here if not np.isnan(score.over_floor)]
            if here:
                values, klds = [score.over_floor for score in here], np.concatenate([score.main for score in here])
                count[i, j], n_seeds[i, j] = len(here), len(klds)
                lost[i, j], lost_seeds[i, j] = np.isinf(values).sum(), np.isinf(klds).sum()
                ratio[i, j] = np.median(values)
                reach[i, j] = perfect.reach(here)
    external = [name for name, from_elsewhere in names.items() if from_elsewhere]
    losses = (lost, n_seeds, lost_seeds)
    return Board(rows, list(names), external, ratio, reach, count, *losses, _pooled(plan), _key(plan))


def board_texts(board: Board) -> list[list[str]]:
    """A board's numbers [T][F] as words: multiples of the floor as the picture has them, and what has diverged."""

    def text(value, loss):
        words = "none" if np.isnan(value) else f"{wording.multiple(value)} ×" if np.isfinite(value) else "diverged"
        return f"{words} ({loss}{' diverged' if np.isfinite(value) else ''})" if loss else words

    return [list(map(text, *each)) for each in zip(board.ratio, board.losses, strict=True)]


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
            (_quantiles(score.main_floor), len(score.main), group, score.kind.n_floor_draws)
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
        for name, external in _in_order(here).items():
            own = [score for score in here if score.name == name]
            if external:
                kld = float(np.median([np.median(score.main) for score in own]))
                levels[name] = Level(kld, own[0].n_params)
                continue
            if owner not in (None, name):
                continue
            values = sorted({score.cell.values[setting] for score in own})
            groups = [[score for score in own if score.cell.values[setting] == value] for value in values]
            if setting == BUDGET:
                values = [float(np.median([score.n_params for score in group])) for group in groups]
            klds = [np.concatenate([score.main for score in group]) for group in groups]
            exact = [np.concatenate([score.exact for score in group]) for group in groups]
            known = all(len(one) == len(other) for one, other in zip(exact, klds, strict=True))
            courses[name] = Course(np.array(values), klds, exact if known else None)
        trained = [score.main_floor for score in here if not score.external]
        if courses:
            parts = [(_middle(each), each["low"], each["high"]) for each in trained]
            panels.append(Panel(row, courses, levels, tuple(np.median(parts, axis=0).tolist())))
    return panels


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
        bounds[row] = report["target"]["entropy"] if model["final"][kind_asked(cell.config).exact] is not None else None
    panels = []
    for row, by_value in found.items():
        values = sorted(by_value)
        both = [np.concatenate(by_value[value], axis=1) for value in values]
        panels.append(tradeoff.Panel(row, values, [xy[0] for xy in both], [xy[1] for xy in both], bounds[row]))
    return panels


def line_of(cell: Cell, report: Mapping[str, Any]) -> str:
    """A finished cell in one line: its families' main metric beside the floor."""
    main = kind_asked(cell.config).main
    entries = {name: model["final"][main] for name, model in (report["models"] | report["external"]).items()}
    parts = [f"{name} {leaderboard.number(summary['median'])}" for name, summary in entries.items() if summary]
    floor = f"floor {leaderboard.number(_middle(report['floor'][main]))}"
    seconds = f"{report['provenance']['seconds']:.0f} s"
    lost = {name: model["diverged_at_step"] for name, model in report["models"].items()}
    notes = [f"{name} {text}" for name, at_steps in lost.items() if (text := _lost_of(at_steps))]
    return "   ".join([f"{cell.name}   {METRICS[main].label}: {'   '.join([*parts, floor])}", *notes, seconds])


def _lost_of(at_steps: Sequence[int | None]) -> str:
    """Such as "1 of 4 seeds diverged"; empty where none has."""
    n_lost = sum(step is not None for step in at_steps)
    return f"{n_lost} of {len(at_steps)} seeds diverged" if n_lost else ""


def _in_order(scores: Sequence[Score]) -> dict[str, bool]:
    """Families as they are registered, then external entries as they come -> whether they are external."""
    found = {score.name: score.external for score in scores}
    return {name: False for name in MODELS if name in found} | {name: True for name in found if found[name]}


def _pooled(plan: Plan, without: str = "") -> str:
    """What the cells of one target differ in, such as "5 PARAMETER_BUDGET × 2 SEED"; empty for one cell a target."""
    ignored = ("TARGET_TYPE", "NUM_BINS", "MODELS", *_OF_TARGETS, without)
    lengths = {name: len(values) for name, values in plan.swept.items() if name not in ignored}
    return " × ".join(
        f"{n} budgets" if name == BUDGET else f"{n} values of {name}" for name, n in lengths.items() if n > 1
    )


def _short(values: Sequence[Any], value: Any) -> str:
    """A swept value for a row's name: a number of its own where it is not one word."""
    if isinstance(value, str):
        names = [Path(each).name for each in values]
        return wording.visible(Path(value).name if len(set(names)) == len(names) else value)
    if isinstance(value, int | float):
        return (
            re.sub(r"e([-+])0*", r"e\1", f"{value:g}").replace("e+", "e") if isinstance(value, float) else _thin(value)
        )
    return f"#{list(values).index(value) + 1}"


def _key(plan: Plan) -> list[str]:
    """What the numbers of `_short` stand for."""
    entries = []
    for name, pattern in _OF_TARGETS.items():
        values = plan.swept.get(name, ())
        for value in values if len(values) > 1 else ():
            if not isinstance(value, str | int | float):
                text = json.dumps(results.plain(value), default=repr)
                text = text if len(text) <= _LONGEST_KEY else f"{text[: _LONGEST_KEY - 1]}…"
                entries.append(f"{pattern.format(_short(values, value))}: {text}")
    return entries


def _thin(value: Any) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{value:,}".replace(",", "\u2009") if isinstance(value, int) else str(value)


def _shared(plan: Plan, n_missing: int, trained: bool) -> str:
    """The settings that stand in a title because all cells have them."""
    units = {BUDGET: "parameters", "N_STEPS": "steps", "NUM_SEEDS": "seeds a cell"} if trained else {}
    parts = [f"{_thin(plan.constants[name])} {unit}" for name, unit in units.items() if name in plan.constants]
    parts = [part.replace("1 seeds", "1 seed") if part.startswith("1 ") else part for part in parts]
    missing = [f"{n_missing} of {len(plan.cells)} cells missing"] if n_missing else []
    return "".join(f" · {part}" for part in [*parts, *missing])


def _median(score: Score, metric: str) -> float | None:
    return (score.final.get(metric) or {}).get("median")


def _floor(score: Score, metric: str) -> float | None:
    return (score.floors.get(metric) or {}).get("mean")


def _middle(floor: Mapping[str, Any]) -> float:
    """A floor's median; of a cell that was finished before medians were kept, its mean."""
    return floor.get("median", floor["mean"])


def _quantiles(floor: Mapping[str, Any]) -> tuple[float, ...]:
    """A floor's quantiles at equal steps from 0 to 1; of such an old cell, what it has instead."""
    return tuple(floor.get("quantiles") or (floor["low"], _middle(floor), floor["high"]))


def _words(value: Any) -> Any:
    """A swept value as it may stand in a table."""
    return value if isinstance(value, str | int | float) else json.dumps(results.plain(value), default=repr)

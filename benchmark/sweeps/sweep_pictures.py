"""The pictures over all cells of a sweep, and what its page says of each."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.asked.constants import telling
from benchmark.pictures.views import leaderboard, scaling, tradeoff
from benchmark.pictures.views.boards import Board
from benchmark.pictures.views.tiles import tiles
from benchmark.sweeps.sweep_boards import BUDGET, in_order, panels_of, pooled, tradeoffs_of
from benchmark.sweeps.sweep_plan import Cell, Plan
from benchmark.sweeps.sweep_scores import OF_TARGETS, Score, thin_of
from benchmark.sweeps.sweep_tiles import tiles_of
from core.captions import Caption
from core.drawing import scenes
from models import MODELS

BOARD_FILE = "leaderboard.png"
SCALING_FILE = "budget_scaling.png"
# Family, picture, and what it shows of the family where that setting is swept.
_VIEWS = [
    (family, f"{name}.png", view)
    for family, module in MODELS.items()
    for name, view in getattr(module, "SWEEP_VIEWS", {}).items()
]
# What else is swept and numeric has a picture of its own: not what tells rows or columns apart, nor a draw's number.
_PICTURE_OF = "sweep_{}.png"
# And every swept setting, where cells have pictures, one that lays these side by side.
_TILES_OF = "sweep_{}_pictures.png"
_NO_SETTING = telling("row", "column", "size", "draw")
_BOARD = (
    "The median {0} of every family on every target as a multiple of the floor's median: 1.0 is the middle of what "
    "perfect models show, and bold numbers are no larger than in 97.5 % of perfect models."
)
_ITSELF = "The median {0} of every family on every target: a perfect model has 0."
_AGAINST = "The {0} of every family against {1}, all seeds of a value together, their median and range: {2}."
_AT_FLOOR = "points within the grey band of the floor cannot be told from a perfect model"
_TO_ZERO = "a perfect model has 0, and a family above a dotted line is worse than that trivial model at its best"
_TILES = (
    "The same pictures of the cells that differ in {0} alone, in the order of its values: look for what changes from "
    "one to the next."
)


class Content(NamedTuple):
    """What the pictures are drawn from."""

    plan: Plan
    reports: Sequence[tuple[Cell, Mapping[str, Any] | None]]  # every cell with its metrics.json; None: not finished
    scores: Sequence[Score]
    board: Board

    @property
    def folder(self) -> Path:
        """The sweep's."""
        return Path(self.plan.out_dir)

    @property
    def shared(self) -> str:
        """The settings that stand in a title because all cells have them."""
        n_missing = sum(report is None for _, report in self.reports)
        return _shared(self.plan, n_missing, any(not score.external for score in self.scores))

    def notes(self, setting: str) -> list[str]:
        """What a reader of a picture against a setting has to know."""
        others = pooled(self.plan, without=setting)
        return [*([f"medians also over {others}"] if others else []), *self.board.key]


def draw(content: Content) -> dict[str, Caption]:
    """Draws all of them into the sweep's folder.

    Returns:
      File name -> caption of what was drawn, in reading order.
    """
    external = [name for name, is_external in in_order(content.scores).items() if is_external]
    colours = scenes.family_colours(list(MODELS), external)
    drawn = _board(content, colours) | _against_settings(content, colours) | _of_families(content, colours)
    return drawn | _side_by_side(content)


def _board(content: Content, colours: Mapping[str, str]) -> dict[str, Caption]:
    board = content.board
    if not board.rows:
        return {}
    title = f"{board.metric}{'' if all(board.absolute) else ' relative to the floor'}{content.shared}"
    leaderboard.leaderboard(content.folder / BOARD_FILE, board, colours, title)
    return {BOARD_FILE: Caption("Leaderboard", (_ITSELF if all(board.absolute) else _BOARD).format(board.metric))}


def _against_settings(content: Content, colours: Mapping[str, str]) -> dict[str, Caption]:
    plan, metric, drawn = content.plan, content.board.metric, {}
    numeric, _ = settings_of(plan)
    for setting in [BUDGET, *numeric] if len(plan.swept.get(BUDGET, ())) > 1 else numeric:
        panels = panels_of(content.scores, setting)
        if not panels:
            continue
        of_budget = setting == BUDGET
        words = "parameters" if of_budget else setting
        name = SCALING_FILE if of_budget else _PICTURE_OF.format(setting)
        scaling.budget_scaling(
            content.folder / name,
            panels,
            colours,
            f"{metric} against {words}{content.shared}",
            setting="" if of_budget else setting,
            notes=content.notes(setting),
        )
        end = _AT_FLOOR if all(panel.has_floor for panel in panels) else _TO_ZERO
        drawn[name] = Caption(f"Scores against {words}", _AGAINST.format(metric, words, end))
    return drawn


def _of_families(content: Content, colours: Mapping[str, str]) -> dict[str, Caption]:
    """What a sweep of one of a family's settings shows of that family."""
    plan, drawn = content.plan, {}
    for family, picture, view in _VIEWS:
        setting = f"{family}.{view.setting}"
        shown = tradeoffs_of(plan, content.reports, family, view) if len(plan.swept.get(setting, ())) > 1 else []
        if shown:
            labels = (*view.labels, f"{view.x} + {view.y} = entropy of the target, the least there can be")
            title = f"{family} · {labels[1].partition(' (')[0]} and {labels[2].partition(' (')[0]}{content.shared}"
            tradeoff.tradeoff(content.folder / picture, shown, labels, colours[family], title, content.notes(setting))
            drawn[picture] = view.caption or Caption(picture, "")
    return drawn


def _side_by_side(content: Content) -> dict[str, Caption]:
    """Pictures of the cells themselves, in the order of a setting's values."""
    drawn, draws = {}, telling("draw")
    for setting, values in content.plan.swept.items():
        shown = tiles_of(content.plan, content.reports, setting) if len(values) > 1 and setting not in draws else None
        if shown is None:
            continue
        name = _TILES_OF.format(setting)
        tiles(content.folder / name, shown.runs, f"What {setting} changes{content.shared}", shown.notes)
        drawn[name] = Caption(f"What {setting} changes", _TILES.format(setting))
    return drawn


def is_drawn(name: str) -> bool:
    """Whether a file's name is of those that `draw` writes."""
    own = re.fullmatch(re.escape(_PICTURE_OF).replace(r"\{\}", r"[\w.]+"), name, re.ASCII)
    return own is not None or name in (BOARD_FILE, SCALING_FILE, *(picture for _, picture, _ in _VIEWS))


def settings_of(plan: Plan) -> tuple[list[str], list[str]]:
    """What has a picture of its own besides the budget, and what has none since its values are no numbers."""
    swept = [name for name, values in plan.swept.items() if len(values) > 1]
    swept = [name for name in swept if name not in (*_NO_SETTING, *OF_TARGETS)]
    numeric = [name for name in swept if all(_is_number(value) for value in plan.swept[name])]
    return numeric, [name for name in swept if name not in numeric]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shared(plan: Plan, n_missing: int, trained: bool) -> str:
    """The settings that stand in a title because all cells have them."""
    units = {BUDGET: "parameters", "N_STEPS": "steps", "NUM_SEEDS": "seeds a cell"} if trained else {}
    parts = [f"{thin_of(plan.constants[name])} {unit}" for name, unit in units.items() if name in plan.constants]
    parts = [part.replace("1 seeds", "1 seed") if part.startswith("1 ") else part for part in parts]
    missing = [f"{n_missing} of {len(plan.cells)} cells missing"] if n_missing else []
    return "".join(f" · {part}" for part in [*parts, *missing])

"""The colours of a leaderboard: what they mean for multiples of a floor, and for scores whose floor is 0."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm

from benchmark.pictures.views.boards import Board
from core.drawing import scales

_WORST = 1000.0  # floors; what is above would leave all others one colour
_LEAST_SHARE = 1e-4  # of the largest value: what is below has one colour


def notes(board: Board) -> list[str]:
    """What stands below a board."""
    what, absolute = f"the seeds' median {board.metric} at the last step", np.array(board.absolute)
    of_values = "a perfect model has 0"
    of_multiples = "divided by the floor's median"
    if absolute.any() and not absolute.all():
        notes = [f"{what}: in rows without a unit {of_multiples}; in the others itself, where {of_values}"]
    else:
        notes = [f"{what}, {of_values if absolute.any() else of_multiples}"]
    if (board.count > 1).any():
        fewest, most = (f(board.count[board.count > 0], default=1) for f in (_least, _largest))
        cells = f"{most} cells" if fewest == most else f"{fewest} to {most} cells"
        notes.append(f"each number: the median of {cells}{f' ({board.pooled})' if board.pooled else ''}")
    marks = {
        "bold: no larger than in 97.5 % of perfect models with as many seeds": not absolute.all(),
        "∞: diverged": np.isinf(board.ratio[~absolute]).any() or board.lost_seeds.any(),
        "∞: diverged, or without probability for some string": np.isinf(board.ratio[absolute]).any(),
        "none: no sample to score": np.isnan(board.ratio[~absolute]).any(),
        "none: no probabilities": np.isnan(board.ratio[absolute]).any(),
        "italic: samples from elsewhere": board.externals,
    }
    return [*notes, *(note for note, there in marks.items() if there), *board.key]


class Scale(NamedTuple):
    """The colours of the rows of one sort."""

    norm: LogNorm
    label: str
    values: np.ndarray  # all their numbers, flat


def on_one_scale(board: Board) -> tuple[np.ndarray, LogNorm, list[Scale]]:
    """What is drawn [T, F], NaN where there is nothing; its norm; and what the same colours mean for rows of each sort.

    Multiples of the floor have colours from 1 on. Other values take the same colours over decades of their own.
    """
    absolute = np.array(board.absolute)
    shown = np.maximum(board.ratio, 1e-12)
    multiples, values = board.ratio[~absolute].ravel(), board.ratio[absolute].ravel()
    norm = LogNorm(1.0, float(np.clip(multiples[np.isfinite(multiples)].max(initial=0.0), 10, _WORST)))
    found = [Scale(norm, f"{board.metric} / floor", multiples)] if len(multiples) else []
    if len(values):
        positive = values[np.isfinite(values) & (values > 0)]
        top = 10.0 ** np.ceil(np.log10(positive.max(initial=1e-3)))
        low = 10.0 ** np.floor(np.log10(np.clip(positive.min(initial=top / 10), _LEAST_SHARE * top, top / 10)))
        label = " or ".join(dict.fromkeys(unit for unit in board.units if unit)) or board.metric
        found.append(Scale(LogNorm(low, top), f"{board.metric} ({label})" if all(absolute) else label, values))
        with np.errstate(over="ignore"):
            shown[absolute] = norm.vmax ** (np.log(shown[absolute] / low) / np.log(top / low))
    shown = np.where(np.isinf(board.ratio), norm.vmax * 2, shown)
    return shown, norm, found


def colour_bar(fig: Any, place: Axes, scale: Scale, colour_map: Any, high: float) -> None:
    """What the colours mean, with an arrow where a number lies beyond; `high` inches of board beside it."""
    below, above = bool((scale.values < scale.norm.vmin).any()), bool((scale.values > scale.norm.vmax).any())
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    bar = fig.colorbar(ScalarMappable(scale.norm, colour_map), cax=place, extend=extend[below, above],
                       extendfrac=min(0.1, 0.14 / high))  # fmt: skip
    bar.set_label(scale.label)
    bar.outline.set_visible(False)
    scales.log_ticks(bar.ax.yaxis)


def row_names(board: Board) -> list[str]:
    """The rows; where multiples of a floor and other numbers stand in one board, with the unit of these."""
    if all(board.absolute) or not any(board.absolute):
        return list(board.rows)
    return [f"{row} ({unit})" if unit else row for row, unit in zip(board.rows, board.units, strict=True)]


def _least(values: np.ndarray, default: int) -> int:
    return int(values.min()) if values.size else default


def _largest(values: np.ndarray, default: int) -> int:
    return int(values.max()) if values.size else default

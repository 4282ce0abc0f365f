"""Which pictures of a sweep's cells are laid side by side, to show what a setting does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from benchmark.pictures.pictures import HISTOGRAM
from benchmark.pictures.reading import is_own_view
from benchmark.pictures.views.tiles import Tile
from benchmark.sweeps.sweep_plan import Cell, Plan
from benchmark.sweeps.sweep_scores import words_of
from models import MODELS

_MOST_VALUES = 9  # in one picture; of more, so many at equal distances


class Tiles(NamedTuple):
    """What one picture shows."""

    runs: Sequence[Tile]
    notes: Sequence[str]


def tiles_of(plan: Plan, reports: Sequence[tuple[Cell, Mapping[str, Any] | None]], setting: str) -> Tiles | None:
    """The cells that differ in one setting alone, with the pictures that show it; None: fewer than two have any.

    Every tile has the comparison of samples. Of a family's own setting it also has what families show of themselves,
    as far as that differs: other families are the same in all of these cells.
    """
    groups: dict[str, list[tuple[Cell, Mapping[str, Any]]]] = {}
    for cell, report in reports:
        if report is not None and HISTOGRAM in report["files"]:
            groups.setdefault(_others(cell, setting), []).append((cell, report))
    # Of groups of one size, the first.
    others, cells = max(groups.items(), key=lambda group: len(group[1]), default=("", []))
    n_values = len(cells)
    if n_values > _MOST_VALUES:
        cells = [cells[i] for i in np.linspace(0, n_values - 1, _MOST_VALUES).round().astype(int)]
    shown = _pictures(cells, setting)
    runs = []
    for cell, _ in cells:
        images = _images(cell, shown)
        if images:
            runs.append(Tile(f"{setting} = {words_of(cell.values[setting])}", images))
    if len(runs) < 2:
        return None
    notes = [others] if others else []
    if n_values > len(runs) or len(plan.swept[setting]) > len(runs):
        notes.append(f"{len(runs)} of {len(plan.swept[setting])} values")
    return Tiles(runs, notes)


def _others(cell: Cell, setting: str) -> str:
    """A cell's values of what else is swept, in words."""
    return ", ".join(f"{name} = {words_of(value)}" for name, value in cell.values.items() if name != setting)


def _pictures(cells: Sequence[tuple[Cell, Mapping[str, Any]]], setting: str) -> list[str]:
    """The names of the pictures that every tile has."""
    if setting.partition(".")[0] not in MODELS:
        return [HISTOGRAM]
    everywhere = set.intersection(*({*filter(is_own_view, report["files"])} for _, report in cells)) if cells else set()
    differing = [name for name in sorted(everywhere) if len({_content(cell, name) for cell, _ in cells}) > 1]
    return [HISTOGRAM, *differing]


def _content(cell: Cell, name: str) -> bytes:
    try:
        return (Path(cell.config.out_dir) / name).read_bytes()
    except OSError:
        return b""


def _images(cell: Cell, names: Sequence[str]) -> list[np.ndarray]:
    """A cell's pictures as arrays; none where one of them cannot be read any more."""
    try:
        images = []
        for name in names:
            with Image.open(Path(cell.config.out_dir) / name, formats=("PNG",)) as image:
                images.append(np.asarray(image.convert("RGB")))
        return images
    except (OSError, ValueError, Image.DecompressionBombError):
        return []

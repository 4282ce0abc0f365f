"""How far the KLD can be trusted: the same samples over other cells and with another ε, beside the floor of each."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import metrics
from kinds.contract import Judge, Scored, Target, floor_of
from kinds.real.cells import Cells, score_cells
from kinds.real.judging import N_FLOOR_DRAWS

EPSILONS = (1e-12, 1e-10, 1e-6, 1e-3)
CELLS_1D, CELLS_2D = (10, 20, 50, 100, 200), (10, 20, 30, 50, 100)  # an axis


class Sensitivity(NamedTuple):
    """KLDs over a grid of C cell counts and E values of ε."""

    cells: list[int]  # an axis; where cells cannot be split, how many they are merged into
    epsilons: list[float]
    entries: Mapping[str, np.ndarray]  # name -> [S, C, E] nats, NaN for a diverged seed
    floor: np.ndarray  # [3, C, E]: median, low, high
    chosen: tuple[int, float]  # the run's own
    label: str  # of what there are so many


def sensitivity(scored: Sequence[Scored], config: Any, target: Target, judge: Judge) -> Sensitivity:
    """Scores the stored samples, and those of the target itself, over the whole grid.

    Bins, and the cells of whole numbers, cannot be split: there fewer cells are neighbours merged.
    """
    own = score_cells(target.truth, config.kld_cells)
    merged = target.truth.fixed is not None
    if merged:
        counts = sorted({own.n_per_axis, *(n for n in (own.n_per_axis // 2, own.n_per_axis // 4) if n > 1)})
    else:
        counts = sorted({*(CELLS_1D if target.dim == 1 else CELLS_2D), own.n_per_axis})
    epsilons = sorted({*EPSILONS, config.kld_epsilon})
    held_out = None
    if target.empirical:
        held_out = np.asarray(target.as_compared(jnp.asarray(target.held_out_rows, jnp.float32)))
    draws = [judge.perfect(i) for i in range(N_FLOOR_DRAWS)]
    entries: dict[str, list] = {entry.name: [] for entry in scored}
    floors = []
    for n_per_axis in counts:
        count, exact = _partition(own, n_per_axis, merged, target)
        masses = exact if held_out is None else _shares(count(held_out))

        def klds(counted, masses=masses):
            return [float(metrics.kld(masses, counted, epsilon)) for epsilon in epsilons]

        for entry in scored:
            pairs = zip(entry.lost, entry.samples, strict=True)
            entries[entry.name].append([[np.nan] * len(epsilons) if lost else klds(count(x)) for lost, x in pairs])
        perfect = [klds(count(x)) if rows is None else klds(count(x), _shares(count(rows))) for x, rows in draws]
        floors.append(np.array([tuple(floor_of(column)) for column in np.transpose(perfect)]).T)
    return Sensitivity(
        cells=counts,
        epsilons=epsilons,
        entries={name: np.moveaxis(np.array(values), 1, 0) for name, values in entries.items()},
        floor=np.moveaxis(np.array(floors), 1, 0),
        chosen=(own.n_per_axis, config.kld_epsilon),
        label=_label(target),
    )


def _label(target: Target) -> str:
    """What the grid has so many of."""
    if target.truth.fixed:
        return f"cells that the {'bins' if target.truth.fixed.closed else 'numbers'} are merged into"
    return "cells" if target.dim == 1 else "cells an axis"


def _partition(own: Cells, n_per_axis: int, merged: bool, target: Target) -> tuple[Any, np.ndarray]:
    """One column of the grid: what counts rows [n, D] over its cells, and the target's exact masses there."""
    if not merged:
        cells = Cells(target.truth.box, n_per_axis, closed=False)
        return lambda rows: metrics.cell_counts(cells.index(rows), cells.n_cells), target.truth.cell_masses(cells)
    # Overflow cells, which come last, stay what they are.
    of_cell = np.arange(own.n_cells) - own.n_per_axis + n_per_axis
    of_cell[: own.n_per_axis] = np.arange(own.n_per_axis) * n_per_axis // own.n_per_axis
    n_cells = own.n_cells - own.n_per_axis + n_per_axis

    def count(rows):
        return metrics.cell_counts(of_cell[own.index(rows)], n_cells)

    return count, np.bincount(of_cell, target.truth.cell_masses(own), minlength=n_cells)


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / counts.sum()

"""What boards and panels of a sweep hold, as plain numbers."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from core import power_law
from core.power_law import PowerLaw


class Board(NamedTuple):
    """Scores of T targets × F families."""

    rows: Sequence[str]  # [T] targets, such as "1D_BETA, 20 bins"
    names: Sequence[str]  # [F] families, then what comes from elsewhere
    externals: Collection[str]  # those of the names
    ratio: np.ndarray  # [T, F] the main metric's median over the floor's, or the median itself in a row of `units`;
    # NaN: there is none; infinite: diverged
    reach: np.ndarray  # [T, F] below it lies the same number of a perfect model with as many seeds, in 97.5 %
    count: np.ndarray  # [T, F] cells behind each
    lost: np.ndarray  # [T, F] of these, the cells whose median seed has diverged
    n_seeds: np.ndarray  # [T, F] seeds behind each
    lost_seeds: np.ndarray  # [T, F] of these, the seeds that have diverged
    pooled: str  # what the cells of one target differ in, such as "5 budgets"; empty: one cell a target
    key: Sequence[str] = ()  # what short names in rows stand for, such as "weights #1: [0.5, 0.5]"
    metric: str = "KLD"  # what the main metric is called
    # [T] the unit of a row's numbers, such as "nats", where the floor is 0; None: they are multiples of the floor;
    # empty: all are.
    units: Sequence[str | None] = ()

    @property
    def absolute(self) -> list[bool]:
        """[T] whether a row's numbers are the metric itself, and no multiples of a floor."""
        return [unit is not None for unit in self.units] or [False] * len(self.rows)

    @property
    def heading(self) -> str:
        """What its numbers are."""
        units = [unit for unit in dict.fromkeys(self.units) if unit is not None]
        itself = " or ".join(f"{self.metric} ({unit})" if unit else self.metric for unit in units)
        relative = f"{self.metric} / floor"
        return itself if units and all(self.absolute) else f"{relative} or {itself}" if units else relative

    def loss(self, i: int, j: int, of: str = " of ") -> str:
        """What has diverged behind a number, such as "2 of 5 cells"; empty if nothing has."""
        if self.count[i, j] > 1 and self.lost[i, j]:
            return f"{self.lost[i, j]}{of}{self.count[i, j]} cells"
        return f"{self.lost_seeds[i, j]}{of}{self.n_seeds[i, j]} seeds" if self.lost_seeds[i, j] else ""

    @property
    def losses(self) -> list[list[str]]:
        """[T][F] the same of all."""
        rows, names = self.ratio.shape
        return [[self.loss(i, j) for j in range(names)] for i in range(rows)]


class Course(NamedTuple):
    """One family's main metric at B budgets, or at B values of another setting."""

    x: np.ndarray  # [B] parameters used, or the setting's values
    scores: Sequence[np.ndarray]  # [B] arrays of the main metric, one number a seed, infinite where it has diverged
    exact: Sequence[np.ndarray] | None = None  # [B] likewise, the exact divergence over its own cells

    @property
    def medians(self) -> np.ndarray:
        """[B] nats."""
        return np.array([np.median(values) for values in self.scores])

    def law(self, floor: float, high: float) -> PowerLaw | str:
        """How the exact divergence falls, which has no floor, or the main metric; or why that is not known."""
        if self.exact is None:
            return power_law.fit(self.x, self.medians, floor, high)
        return power_law.fit(self.x, self.exact_medians)

    @property
    def exact_medians(self) -> np.ndarray:
        """[B] nats; empty where the exact divergence is not known."""
        return np.array([np.median(values) for values in self.exact or ()])


class Level(NamedTuple):
    """What comes from elsewhere and has no budget."""

    score: float  # of the main metric
    n_params: float | None = None  # as declared


class Panel(NamedTuple):
    """One target's families at several budgets, or at several values of another setting."""

    row: str  # the target
    courses: Mapping[str, Course]
    levels: Mapping[str, Level]
    floor: tuple[float, float, float]  # median, low and high that samples of the target itself score
    label: str = "KLD (nats)"  # what the axis says
    rivals: Mapping[str, float] = {}  # trivial models that were not trained -> the smallest score that each can have

    @property
    def has_floor(self) -> bool:
        """Whether samples of the target score above 0, as they do unless the metric needs no sample."""
        return max(self.floor) > 0

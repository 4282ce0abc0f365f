"""How steady losses are, from what was logged: their range, how much of their movement goes back, their trend."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.stats

from kinds.contract import Ended


class Steadiness(NamedTuple):
    """One loss of one family; every number is [S], NaN of a seed that has diverged."""

    family: str
    colour: str
    field: str
    first: np.ndarray
    last: np.ndarray
    range: np.ndarray  # the largest minus the smallest
    oscillation: (
        np.ndarray
    )  # 1 − |last − first| / Σ |change|: 0: it only rises, or only falls; 1: it ends where it began
    trend: np.ndarray  # Kendall's τ with the step: −1: it always falls; 1: it always rises


def of_courses(entries: Sequence[Ended]) -> list[Steadiness]:
    """Every loss of every family, over all intervals between scores."""
    return [
        Steadiness(entry.name, entry.colour, field, *_of(curve.steps, np.asarray(curve.values, np.float64)))
        for entry in entries
        for field, curve in entry.courses.items()
        if len(curve.steps) > 1
    ]


def _of(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, ...]:
    """The five numbers of values [S, E]."""
    moved = np.abs(np.diff(values, axis=1)).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        back = np.where(moved > 0, 1 - np.abs(values[:, -1] - values[:, 0]) / moved, 0.0)
    back = np.where(np.isnan(moved), np.nan, back)
    return values[:, 0], values[:, -1], np.ptp(values, axis=1), back, np.array([_tau(steps, row) for row in values])


def _tau(steps: np.ndarray, row: np.ndarray) -> float:
    if np.isnan(row).any():
        return np.nan
    if np.ptp(row) == 0:
        return 0.0
    return float(scipy.stats.kendalltau(steps, row).statistic)


def median(values: np.ndarray) -> float:
    """Over seeds that have not diverged; NaN where all have."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(np.nanmedian(values))


def rows_of(found: Sequence[Steadiness]) -> list[dict[str, str]]:
    """The table: medians over seeds."""

    def text(values):
        value = median(values)
        return "diverged" if np.isnan(value) else f"{value:.3g}".replace("-", "−")

    return [
        {
            "": each.family,
            "loss": each.field.replace("_", " "),
            "first": text(each.first),
            "last": text(each.last),
            "range": text(each.range),
            "oscillation": text(each.oscillation),
            "trend": text(each.trend),
        }
        for each in found
    ]


def report_of(found: Sequence[Steadiness]) -> dict[str, Mapping[str, Any]]:
    """The same as numbers, of every seed: family -> loss -> name -> [S]."""
    report: dict[str, dict[str, Any]] = {}
    for each in found:
        numbers = ("first", "last", "range", "oscillation", "trend")
        report.setdefault(each.family, {})[each.field] = {name: getattr(each, name) for name in numbers}
    return report

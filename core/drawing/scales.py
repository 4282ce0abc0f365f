"""How axes are scaled, limited and ticked."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter


def energy_limits(energies: Sequence[np.ndarray], span: float) -> tuple[float, float, bool]:
    """Low and high to show, and whether something lies above them.

    The last energy is the target's, where it is given; what lies `span` above its lowest value is cut.
    """
    finite = [values[np.isfinite(values)] for values in energies]
    if not any(len(values) for values in finite):
        return 0.0, span, True
    low = min(values.min() for values in finite if len(values))
    base = finite[-1].min() if len(finite[-1]) else low
    highest = max(np.max(values, initial=-np.inf, where=~np.isnan(values)) for values in energies)
    high = min(base + span, max(values.max() for values in finite if len(values)))
    margin = 0.04 * max(high - low, 1e-3)
    return low - margin, high + margin, bool(highest > high + margin)


def without_start(curve: Any) -> Any:
    """A curve without the points before training, where nothing has been reported yet and nothing has diverged."""
    kept = (np.asarray(curve.steps) > 0) | np.isfinite(curve.values).any(axis=0)
    return curve._replace(steps=np.asarray(curve.steps)[kept], values=np.asarray(curve.values)[:, kept])


def log_limits(courses: Sequence[Sequence[np.ndarray]], floor: tuple[float, ...] | None) -> tuple[float, float]:
    """Low and high that show all that a log scale can show."""
    values = np.concatenate([np.ravel(v) for three in courses for v in three] + [np.ravel(floor or ())])
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return 1e-3, 1.0
    return float(values.min()) / 1.5, float(values.max()) * 1.5


def steady(curve: Any) -> np.ndarray:
    """What an axis has to show of a curve [S, E]: seeds that do not diverge or, without one, where the others begin."""
    values = np.asarray(curve.values, np.float64)
    finite = np.isfinite(values)
    whole = finite.all(axis=1)
    if whole.any():
        return values[whole].ravel()
    return np.concatenate([row[known][:1] for row, known in zip(values, finite, strict=True)])


def robust_limits(ax: Axes, courses: Sequence[np.ndarray], reference: float | None, *, narrowest: float = 0.0) -> None:
    """Lets a short transient at the start leave the panel where it would flatten all that follows.

    Args:
      courses: what to show, [E] each.
      reference: always shown.
      narrowest: the least distance between the limits, so that noise is not blown up.
    """

    def span(arrays):
        values = np.concatenate(
            [np.ravel(values) for values in arrays] + [[np.nan if reference is None else reference]]
        )
        values = values[np.isfinite(values)]
        return (values.min(), values.max()) if len(values) else (0.0, 1.0)

    low, high = span(courses)
    later = span([values[len(values) // 10 :] for values in courses])
    if high - low > 4 * (later[1] - later[0]) > 0:
        low, high = later
    margin = max(0.08 * (high - low), (narrowest - (high - low)) / 2) or 0.5
    ax.set_ylim(low - margin, high + margin)
    if max(abs(low), abs(high)) >= 1e5:
        # Else their power of ten would stand over the axis, where the panel's head is.
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))


def probability_limits(ax: Axes, arrays: Sequence[np.ndarray], equilibrium: float) -> None:
    """All of [0, 1], and more where a critic's values leave it."""
    values = np.concatenate([np.ravel(values) for values in arrays] + [[0.0, 1.0, equilibrium]])
    values = values[np.isfinite(values)]
    ax.set_ylim(values.min() - 0.02, values.max() + 0.02)


def log_ticks(axis: Axis) -> None:
    """Decades as 0.01, 1, 10⁻⁵; on a short axis also what is between, or it could be left with one number."""

    def label(value, _):
        exponent = int(np.floor(np.log10(value) + 1e-9))
        if value >= 1e5 or value < 0.9e-3:
            mantissa = value / 10.0**exponent
            power = f"10{str(exponent).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
            return power if abs(mantissa - 1) < 1e-6 else f"{mantissa:.2g}·{power}"
        return f"{value:g}"

    low, high = axis.get_view_interval()
    narrow = high / low < 100
    between = (1.5, *range(2, 10)) if high / low < 6 else (2, 5) if narrow else range(2, 10)
    axis.set_major_locator(LogLocator(numticks=8))
    axis.set_minor_locator(LogLocator(subs=between, numticks=99))
    axis.set_major_formatter(FuncFormatter(label))
    axis.set_minor_formatter(FuncFormatter(label) if narrow else NullFormatter())
    # Their marks are 1.5 points shorter, and yet all numbers stand on one line.
    axis.set_tick_params(which="minor", pad=5)


def round_ticks(*axes: Any) -> None:
    """Ticks at round numbers, few enough for a small panel."""
    for axis in axes:
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], min_n_ticks=3))


def step_axis(ax: Axes, curves: Iterable[Any]) -> None:
    """Makes the lower axis that of the training steps, of all that these curves have: also those of nothing."""
    ax.set_xlabel("training step")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace(",", "\u2009")))
    steps = np.concatenate([np.asarray(curve.steps, np.float64) for curve in curves] or [[0.0]])
    margin = 0.02 * np.ptp(steps) or 0.5
    ax.set_xlim(steps.min() - margin, steps.max() + margin)

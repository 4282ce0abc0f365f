"""How axes are scaled, limited and ticked."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator


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


def not_far_below(low: float, floor: Sequence[float] | None) -> float:
    """The lower end of a log scale without what lies more than a decade below a floor's range: it got there by chance.

    Args:
      low: that shows all.
      floor: its mean, low and high; None: there is none.
    """
    return low if floor is None else max(low, floor[1] / 10)


def steady(curve: Any) -> np.ndarray:
    """What an axis has to show of a curve [S, E]: seeds that do not diverge or, without one, where the others begin."""
    values = np.asarray(curve.values, np.float64)
    finite = np.isfinite(values)
    whole = finite.all(axis=1)
    if whole.any():
        return values[whole].ravel()
    return np.concatenate([row[known][:1] for row, known in zip(values, finite, strict=True)])


def full_limits(ax: Axes, courses: Sequence[np.ndarray], reference: float, *, narrowest: float) -> None:
    """Limits that show all of the courses [E] and the reference, at least `narrowest` apart."""
    values = np.concatenate([*map(np.ravel, courses), [reference]])
    values = values[np.isfinite(values)]
    low, high = values.min(), values.max()
    margin = max(0.08 * (high - low), (narrowest - (high - low)) / 2)
    ax.set_ylim(low - margin, high + margin)


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
        # Otherwise Matplotlib prints the power of ten over the panel's title.
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


def root_axis(axis: Axis, top: float) -> None:
    """Makes a vertical axis from 0 to `top` that of square roots, with ticks at round numbers that have room."""
    axis.axes.set_yscale("function", functions=(lambda v: np.sqrt(np.maximum(v, 0)), np.square))
    round_numbers = [digit * 10.0**power for power in range(-12, 12) for digit in (1, 2, 5)]
    ticks = [top]
    for value in reversed([value for value in round_numbers if value <= top]):
        if np.sqrt(ticks[-1]) - np.sqrt(value) > 0.1 * np.sqrt(top) and np.sqrt(value) > 0.07 * np.sqrt(top):
            ticks.append(value)
    axis.set_major_locator(FixedLocator([0.0, *ticks[:0:-1]]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def step_axis(ax: Axes, curves: Iterable[Any]) -> None:
    """Makes the lower axis that of the training steps, of all that these curves have: also those of nothing.

    Steps at growing distances are drawn on a logarithmic axis, which begins with step 0.
    """
    ax.set_xlabel("training step")
    steps = np.unique(np.concatenate([np.asarray(curve.steps, np.float64) for curve in curves] or [[0.0]]))
    thousands = FuncFormatter(lambda value, _: f"{value:,.0f}".replace(",", "\u2009"))
    if _grow(steps):
        ax.set_xscale("symlog", linthresh=1, linscale=0.4)
        decades = 10 ** np.arange(np.ceil(np.log10(steps[-1])) + 1)
        ax.xaxis.set_major_locator(FixedLocator([0, *decades]))
        ax.xaxis.set_minor_locator(FixedLocator([digit * decade for decade in decades for digit in range(2, 10)]))
        ax.set_xlim(-0.15, 1.2 * steps[-1])
    else:
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        margin = 0.02 * np.ptp(steps) or 0.5
        ax.set_xlim(steps.min() - margin, steps.max() + margin)
    ax.xaxis.set_major_formatter(thousands)
    ax.xaxis.set_minor_formatter(NullFormatter())


def share_of_width(ax: Axes, value: float) -> float:
    """Where on the lower axis a value lies, from 0 at its left end to 1, whatever its scale."""
    return float(ax.transAxes.inverted().transform(ax.transData.transform((value, 0.0)))[0])


def distance_axis(ax: Axes, courses: Sequence[np.ndarray], least: float) -> None:
    """Makes the axis of what may lie on both sides of 0 logarithmic either way, and linear within `least` of it.

    Args:
      ax: the panel.
      courses: what to show, [E] each.
      least: above 0.
    """
    values = np.concatenate([np.ravel(course) for course in courses] or [np.zeros(1)])
    values = values[np.isfinite(values)]
    low, high = min(np.min(values, initial=0.0), 0.0), max(np.max(values, initial=0.0), least)
    low = 1.6 * low if low < -least / 2 else -least
    ax.set_yscale("symlog", linthresh=least, linscale=0.6)
    ax.set_ylim(low, 1.6 * high)
    decades = least * 10.0 ** np.arange(0, 40)
    ax.yaxis.set_major_locator(FixedLocator([*-decades[decades <= -low][::-1], 0, *decades[decades <= 1.6 * high]]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}".replace("-", "−")))
    ax.yaxis.set_minor_locator(NullLocator())


def _grow(steps: np.ndarray) -> bool:
    """Whether distances between steps grow, by much more than rounding makes them differ."""
    apart = np.diff(steps)
    return len(apart) > 2 and bool(apart[-1] > 3 * apart[0])

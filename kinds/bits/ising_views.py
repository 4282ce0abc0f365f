"""Pictures of the Ising model by its samplers: against temperature, critical slowing down, and snapshots.

Drawn from arrays alone, with the conventions of `plotting` for `path`, `title` and the look. Exact curves are Kaufman's
of the same finite torus, and Onsager's of the infinite one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from core.drawing import figures, scales, scenes
from core.drawing.figures import TARGET_COLOUR
from core.drawing.scenes import Contribution
from kinds.bits import ising
from kinds.bits.settings import MOST_BITS

_LABELS = {
    "|m|": "|m|",
    "e": "energy a site E/N",
    "C": "heat capacity C/N",
    "χ": "susceptibility χ/N",
}
_APART = 0.03  # samplers of one temperature, in J
_FINITE = {"color": TARGET_COLOUR, "lw": 2.0, "zorder": 2}
_INFINITE = {"color": "#808080", "lw": 1.6, "ls": (0, (5, 2)), "zorder": 1.5}


@figures.styled
def temperature(path: str | Path, parts: Mapping[str, Contribution], scene: Any, floors: Any, title: str) -> None:
    """Draws |m|, E, C and χ of every family against T = 1/K over the exact curves; bars are two standard errors."""
    del scene, floors
    first = next(iter(parts.values())).arrays
    height, width = (int(side) for side in first["side"])
    low, high = first["T"].min() - 0.15, first["T"].max() + 0.15
    fine = np.linspace(low, high, 200)
    finite, source = _finite_curves(height, width, 1 / fine)
    infinite = np.array([ising.onsager(1 / t) for t in fine]).T
    fig = figures.new(12.5, 9.2, title)
    for ax, name in zip(fig.subplots(2, 2).ravel(), _LABELS, strict=True):
        ax.axvline(1 / ising.CRITICAL, color="#B0B0B0", lw=1.0, ls=":", zorder=1)
        top = 0.0
        for i, part in enumerate(parts.values()):
            mean, error = part.arrays[name]
            # Side by side, or the last would hide the others.
            shift = _APART * (i - (len(parts) - 1) / 2)
            ax.errorbar(part.arrays["T"] + shift, mean, 2 * error, ls="none", color=part.colour, zorder=3,
                        elinewidth=1.4, **figures.dots(part.colour))  # fmt: skip
            top = max(top, np.nanmax(mean + 2 * error, initial=0.0))
        if name in finite:
            ax.plot(fine, finite[name], **_FINITE)
            top = max(top, finite[name].max())
        else:
            figures.header(ax, "", f"no exact curve of {height} × {width} sites is known", TARGET_COLOUR)
        of_infinite = {"e": 0, "C": 1, "|m|": 2}.get(name)
        if of_infinite is not None:
            ax.plot(fine, infinite[of_infinite], **_INFINITE)
        ax.set(xlabel="temperature T = 1/K (J)", ylabel=_LABELS[name], xlim=(low, high))
        if name != "e":
            ax.set_ylim(0, 1.08 if name == "|m|" else 1.12 * top)
        scales.round_ticks(ax.xaxis, ax.yaxis)
    entries = {family: _marker(part.colour) for family, part in parts.items()}
    entries |= {
        f"exact, {height} × {width} ({source})": Line2D([], [], **_FINITE),
        "exact, infinite (Onsager, Yang)": Line2D([], [], **_INFINITE),
        "T_c": Line2D([], [], color="#B0B0B0", ls=":"),
    }
    figures.figure_legend(
        fig,
        entries,
        "bars: two standard errors of independent chains, which start with all spins up"
        + (f" · samplers of one temperature stand {_APART} apart" if len(parts) > 1 else ""),
    )
    figures.save(fig, path)


def _marker(colour: str) -> Line2D:
    return Line2D([], [], color=colour, lw=0, **figures.dots(colour))


def _finite_curves(height: int, width: int, couplings: np.ndarray) -> tuple[dict[str, np.ndarray], str]:
    """Exact averages a site of a torus at every coupling, those that are known, and where they come from."""
    n = height * width
    if n <= MOST_BITS:
        found = ising.averages(*ising.levels(height, width), couplings)
        return {name: each / n for name, each in zip(("e", "C", "|m|", "χ"), found, strict=True)}, "all states"
    found = np.array([ising.energy_and_heat_capacity(height, width, k) for k in couplings]).T / n
    return {"e": found[0], "C": found[1]}, "Kaufman"


@figures.styled
def slowing(path: str | Path, parts: Mapping[str, Contribution], scene: Any, floors: Any, title: str) -> None:
    """Draws τ of |m| at K_c against the side of the lattice, with the slope z of every family and its interval."""
    del scene, floors
    fig = figures.new(9.5, 6.6, title)
    ax = fig.subplots()
    entries, sides = {}, [6.0]
    for family, part in parts.items():
        side, tau, error, _, trusted = part.arrays["tau"]
        if not len(side) or np.isnan(tau).any():
            entries[f"{family}: nothing known"] = _marker(part.colour)
            continue
        sides.extend(side)
        ax.errorbar(
            side, tau, 2 * error, ls="none", color=part.colour, zorder=3, elinewidth=1.4, **figures.dots(part.colour)
        )
        for x, y, sure in zip(side, tau, trusted, strict=True):
            if not sure:
                ax.annotate("?", (x, y), xytext=(7, 5), textcoords="offset points", color=part.colour, fontsize=13)
        fit = slope_of(side, tau, error)
        if fit is None:
            entries[family] = _marker(part.colour)
            continue
        z, interval, level = fit
        line = np.geomspace(side.min(), side.max(), 20)
        ax.plot(line, np.exp(level) * line**z, color=part.colour, lw=1.8, ls=scenes.dash_of(part.colour))
        entries[f"{family}: z = {z:.2f} ± {interval:.2f}"] = _marker(part.colour)
    ax.set(xscale="log", yscale="log", xlabel="side L of the lattice", ylabel="τ of |m| at K_c (sweeps)")
    ticks = sorted({int(side) for side in sides})
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    scales.log_ticks(ax.yaxis)
    heading = "τ ∝ L^z; ± is a 95 % interval; ?: the chains are shorter than 50 τ"
    figures.figure_legend(fig, entries, heading)
    figures.save(fig, path)


def slope_of(side: np.ndarray, tau: np.ndarray, error: np.ndarray) -> tuple[float, float, float] | None:
    """z of τ = A L^z by weighted least squares in logarithms, half its 95 % interval, and ln A; None of two sizes.

    The interval is widened where the points scatter more than their errors say, as a pure power is only the limit of
    large sizes.
    """
    if len(side) < 3:
        return None
    x, y, weight = np.log(side), np.log(tau), tau / np.maximum(error, 1e-9)
    design = np.stack([x, np.ones_like(x)], axis=1) * weight[:, None]
    covariance = np.linalg.inv(design.T @ design)
    z, level = covariance @ design.T @ (y * weight)
    scatter = float((((y - z * x - level) * weight) ** 2).sum() / (len(x) - 2))
    return float(z), float(1.96 * np.sqrt(covariance[0, 0] * max(scatter, 1.0))), float(level)


@figures.styled
def states(path: str | Path, parts: Mapping[str, Contribution], scene: Any, floors: Any, title: str) -> None:
    """Draws a chain's spins below, at and above T_c after the same number of sweeps, a row for every family."""
    del scene, floors
    side = 3.1
    fig = figures.new(3 * side + 1.0, len(parts) * (side + 0.35) + 1.5, title)
    axes = fig.subplots(len(parts), 3, squeeze=False)
    first = next(iter(parts.values())).arrays
    for row, (family, part) in zip(axes, parts.items(), strict=True):
        for ax, image, t, where in zip(row, part.arrays["states"], first["T"], ("below", "at", "above"), strict=True):
            ax.imshow(image, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
            m = float(2 * image.mean() - 1)
            head = family if where == "below" else ""
            line = f"T = {t:.3g}, {where} T_c · m = {m:+.2f}".replace("-", "−")
            figures.header(ax, head, line, part.colour)
    n = first["states"].shape[-1]
    figures.figure_legend(
        fig, {}, f"{n} × {n} sites, {int(first['sweeps'])} sweeps after a random start; black: spin up"
    )
    figures.save(fig, path)

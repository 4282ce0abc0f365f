"""Pictures of Markov chains on strings of bits: traces, autocorrelations, and how long chains take to mix.

Drawn from arrays alone, with the conventions of `plotting` for `path`, `title` and the look.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from core.drawing import figures, scales
from core.drawing.courses import course
from core.drawing.figures import DIVERGED, TARGET_COLOUR
from core.drawing.scenes import Contribution
from metrics import METRICS
from models.mixing import MIXED

_NAMES = {"e": "energy a site e", "m": "magnetisation m", "|m|": "|m|"}
_EXACT = {"color": TARGET_COLOUR, "lw": 1.6, "ls": (0, (4, 1.6)), "zorder": 4}
_DASHES = {"e": "-", "|m|": "--", "m": ":"}
_SHOWN = 600  # sweeps of a trace: beyond, nothing new is seen


@figures.styled
def traces(path: str | Path, parts: Mapping[str, Contribution], scene: Any, floors: Any, title: str) -> None:
    """Draws four chains of every family from their start on, the running mean of all, and the exact mean."""
    del scene, floors
    names = ("e", "m")
    fig = figures.new(13.0, 2.5 * len(parts) + 1.6, title)
    axes = fig.subplots(len(parts), len(names), squeeze=False, sharex=True)
    for row, (family, part) in zip(axes, parts.items(), strict=True):
        for ax, name in zip(row, names, strict=True):
            figures.header(ax, family if name == "e" else "", "", part.colour)
            ax.set_ylabel(_NAMES[name] if name != "e" or _of_lattice(part) else "free energy a bit (nats)")
            chains = part.arrays[f"trace {name}"][:, : _SHOWN + 1]
            if np.isnan(chains).any():
                figures.words_in(ax, DIVERGED, part.colour)
                continue
            for shade, chain in zip((0.35, 0.5, 0.7, 0.9), chains, strict=False):
                ax.plot(np.arange(len(chain)), chain, color=part.colour, lw=0.7, alpha=shade, zorder=2)
            mean = part.arrays[f"mean {name}"][: _SHOWN + 1]
            ax.plot(np.arange(len(mean)), mean, color="white", lw=3.6, zorder=3)
            ax.plot(np.arange(len(mean)), mean, color=TARGET_COLOUR, lw=1.8, zorder=3.5)
            if f"exact {name}" in part.arrays:
                ax.axhline(float(part.arrays[f"exact {name}"]), **_EXACT)
            if name == "m":
                ax.set_ylim(-1.05, 1.05)
            scales.round_ticks(ax.xaxis, ax.yaxis)
    # Energies of one lattice can be compared.
    alike = [ax for ax, part in zip(axes[:, 0], parts.values(), strict=True) if _of_lattice(part)]
    for ax in alike:
        ax.set_ylim(min(each.dataLim.y0 for each in alike) - 0.1, max(each.dataLim.y1 for each in alike) + 0.1)
    for ax in axes[-1]:
        ax.set_xlabel("sweep")
    entries = {
        "four chains": Line2D([], [], color="#808080", lw=1),
        "running mean of all chains": Line2D([], [], color=TARGET_COLOUR, lw=1.8),
    }
    if any(name.startswith("exact") for part in parts.values() for name in part.arrays):
        known = "exact mean" if len(alike) == len(parts) else "exact mean; of a trained model that of its exact samples"
        entries[known] = Line2D([], [], **_EXACT)
    figures.figure_legend(fig, entries)
    figures.save(fig, path)


def _of_lattice(part: Contribution) -> bool:
    """Whether the chains are those of the target's own lattice and not of a trained model."""
    return part.arrays["of_steps"] == 1


@figures.styled
def autocorrelation(path: str | Path, parts: Mapping[str, Contribution], scene: Any, floors: Any, title: str) -> None:
    """Draws ρ(t) of the energy, m and |m| of every family, with τ in the legend and exact courses where known."""
    del scene, floors
    fig = figures.new(14.5, 5.6, title)
    exact = False
    for ax, name in zip(fig.subplots(1, len(_NAMES)), _NAMES, strict=True):
        handles, longest = [], 4.0
        for family, part in parts.items():
            words, colour = _tau_words(part, name), part.colour
            handles.append(Line2D([], [], color=colour, lw=2.2, label=f"{family}: {words}"))
            rho = part.arrays.get(f"rho {name}")
            if rho is None or np.isnan(rho).any():
                continue
            ax.plot(np.arange(len(rho)), rho, color=colour, lw=2.0, zorder=3)
            longest = max(longest, len(rho) / 2)
            if f"exact {name}" in part.arrays:
                known = part.arrays[f"exact {name}"]
                ax.plot(np.arange(len(known)), known, **_EXACT)
                exact = True
        ax.axhline(0, color="#606060", lw=0.8)
        ax.set(xlabel="lag t (sweeps)", xlim=(0, longest), ylim=(-0.15, 1.02))
        figures.header(ax, _NAMES[name], "", TARGET_COLOUR)
        figures.legend_below(ax, 4.6, handles)
        scales.round_ticks(ax.xaxis)
    fig.axes[0].set_ylabel("autocorrelation ρ(t)")
    notes = ["τ = 1 + 2 Σ ρ, in sweeps, with one standard error", "(?): the chains are shorter than 50 τ"]
    entries = {"exact, from the moves themselves": Line2D([], [], **_EXACT)} if exact else {}
    figures.figure_legend(fig, entries, " · ".join(notes))
    figures.save(fig, path)


def _tau_words(part: Contribution, name: str) -> str:
    """Such as "τ = 3.2 ± 0.1"."""
    if f"stuck {name}" in part.arrays:
        return "stuck: no chain moves"
    tau = part.arrays.get(f"tau {name}")
    if tau is None or np.isnan(tau).any():
        return DIVERGED if tau is not None else "not recorded"
    value, error, trusted = tau
    known = part.arrays.get(f"exact {name}")
    # An exact course that was cut before it had died away has no sum.
    of_known = f", exact {2 * known.sum() - 1:.3g}" if known is not None and abs(known[-1]) < 1e-3 else ""
    return f"τ = {_with_error(value, error)}{'' if trusted else ' (?)'}{of_known}"


def _with_error(value: float, error: float) -> str:
    """Two digits of the error that count, and as many of the value: "987 ± 350" becomes "990 ± 350"."""
    digits = 1 - math.floor(math.log10(error))
    # Rounding may carry into the next power of ten.
    digits = 1 - math.floor(math.log10(round(error, digits)))
    return " ± ".join(f"{round(each, digits):.{max(digits, 0)}f}" for each in (value, error))


@figures.styled
def mixing(
    path: str | Path,
    parts: Mapping[str, Contribution],
    scene: Any,
    floors: Mapping[str, Sequence[float]],
    title: str,
) -> None:
    """Draws how the score of samples falls with the sweeps (left), R̂ of windows (middle), ESS per second (right)."""
    del scene
    fig = figures.new(15.5, 5.6, title)
    left, middle, right = fig.subplots(1, 3, width_ratios=(1, 1, 0.9))
    _scores(left, {family: part for family, part in parts.items() if _of_lattice(part)}, floors)
    top = _windows(middle, parts)
    middle.set(xscale="log", xlabel="sweep t", ylabel="R̂ − 1 of the sweeps t to 2 t", ylim=(3e-4, max(3.0, top)))
    scales.log_ticks(middle.xaxis)
    scales.log_ticks(middle.yaxis)
    _per_second(right, parts)
    figures.header(left, "score of the chains' states", "", TARGET_COLOUR)
    figures.header(middle, "agreement of the chains", "", TARGET_COLOUR)
    figures.header(right, "worth of a second", "", TARGET_COLOUR)
    entries = {family: Line2D([], [], color=part.colour, lw=2.2) for family, part in parts.items()}
    entries |= figures.floor_entry() | {
        f"R̂ = {MIXED}: mixed below": Line2D([], [], color=TARGET_COLOUR, lw=1.2, ls=":")
    }
    entries |= {name: Line2D([], [], color="#808080", lw=1.8, ls=dash) for name, dash in _DASHES.items()}
    figures.figure_legend(fig, entries)
    figures.save(fig, path)


def _scores(ax: Axes, parts: Mapping[str, Contribution], floors: Mapping[str, Sequence[float]]) -> None:
    """The first metric that all have, against the sweep; families whose training steps are no sweeps are not there."""
    ax.set_xlabel("sweep")
    name = next((name for name in floors if all(name in part.scores for part in parts.values())), None)
    if not parts or name is None:
        figures.words_in(ax, "steps are no sweeps", TARGET_COLOUR)
        return
    floor = floors[name]
    lowest = min(np.nanmin(np.where(part.scores[name].values > 0, part.scores[name].values, np.nan))
                 for part in parts.values())  # fmt: skip
    low = scales.not_far_below(min(lowest, floor[1]) / 1.5, floor)
    figures.floor_band(ax, floor, low)
    for part in parts.values():
        curve = part.scores[name]
        figures.band(ax, curve.steps, course(curve.values), part.colour, "", lw=2.2)
    ax.set_yscale("log")
    ax.set_ylim(bottom=low)
    ax.set_ylabel(METRICS[name].label_with_unit)
    scales.log_ticks(ax.yaxis)
    scales.step_axis(ax, [part.scores[name] for part in parts.values()])
    ax.set_xlabel("sweep")


def _windows(ax: Axes, parts: Mapping[str, Contribution]) -> float:
    """R̂ − 1 of windows of every quantity; returns the largest."""
    top = 0.0
    for part in parts.values():
        for name, dash in _DASHES.items():
            found = part.arrays.get(f"r_hat {name}")
            if found is None or not found.size or np.isnan(found).any():
                continue
            sweeps, values = found
            ax.plot(sweeps, np.maximum(values - 1, 4e-4), color=part.colour, ls=dash, lw=1.8)
            top = max(top, 1.5 * float(values.max() - 1))
    ax.axhline(MIXED - 1, color=TARGET_COLOUR, lw=1.2, ls=":")
    ax.set_yscale("log")
    return top


def _per_second(ax: Axes, parts: Mapping[str, Contribution]) -> None:
    """Bars of ESS per second of every quantity."""
    names, wide = ("e", "|m|", "m"), 0.8 / len(parts)
    for i, part in enumerate(parts.values()):
        for j, name in enumerate(names):
            value = float(part.arrays.get(f"per_second {name}", np.array(np.nan)))
            if value > 0:
                ax.bar(j + (i + 0.5) * wide - 0.4, value, wide * 0.9, color=part.colour, zorder=2)
            else:
                word = "stuck" if value < 0 else "–"
                ax.text(j + (i + 0.5) * wide - 0.4, 1, word, rotation=90, ha="center", va="bottom", color=part.colour)
    ax.set(yscale="log", ylabel="ESS per second (bulk)")
    ax.set_xticks(range(len(names)), names)
    scales.log_ticks(ax.yaxis)
    ax.grid(False, axis="x")

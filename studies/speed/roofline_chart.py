"""The picture of the roofline: every step under the machine's roofs, and what bounds the RBM's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from core.drawing import figures, scales, scenes
from studies.speed import roofs
from studies.speed.work import WORKS

_MARKERS = {"small": "o", "binned": "s", "large": "D"}
_SHORT = {"small": "310 parameters", "binned": "1 600 parameters", "large": "10⁶ parameters, batch 1 024"}
_GREY = "#606060"
_BARS = ("thin", "random", "exponentials", "product", "cache", "memory")


@figures.styled
def draw(path: Path, results: Mapping[str, Any]) -> None:
    """Draws Gflop/s against operations a byte, and the share of every roof that the RBM attains.

    Args:
      path: the PNG.
      results: the content of `roofline.json`.
    """
    colours = scenes.family_colours(roofs.FAMILIES)
    fig = figures.new(14.5, 6.8, "Roofline of one training step, a seed on every core")
    left, right = fig.subplots(1, 2, width_ratios=(1.15, 1))
    _roofs(left, results, colours)
    _shares(right, results, colours["RBM"])
    entries = {family: Line2D([], [], color=colours[family], lw=5) for family in roofs.FAMILIES}
    entries |= {
        _SHORT[name]: Line2D([], [], color=_GREY, marker=marker, ls="none", ms=8) for name, marker in _MARKERS.items()
    }
    heading = (
        "left: bytes count whatever holds them: what fits the caches is not bound by the memory's line, even near it "
        "· right: each roof was measured alone; the sum exceeds 100 % where a core overlaps the three "
        f"· medians over the rounds · {results['machine']}"
    )
    figures.figure_legend(fig, entries, heading)
    figures.save(fig, path)


def _roofs(ax: Axes, results: Mapping[str, Any], colours: Mapping[str, str]) -> None:
    machine = roofs.roofs_of(results)
    peak, x = machine["product"], np.geomspace(0.05, 300, 200)
    # Beside their lines, on the side where no point can be.
    for name, words, at, shift, ha in (
        ("cache", "second-level cache", 0.6, (-8, 0), "right"),
        ("memory", "memory (for what no cache holds)", 0.13, (10, -8), "left"),
    ):
        dashes = "-" if name == "cache" else (0, (5, 3))
        ax.plot(x, np.minimum(peak, x * machine[name]) / 1e9, color=_GREY, lw=1.6, ls=dashes, zorder=1)
        ax.annotate(f"{words}\n{machine[name] / 1e9:.0f} GB/s", (at, at * machine[name] / 1e9), shift, fontsize=10.5,
                    textcoords="offset points", color=_GREY, ha=ha, va="center", linespacing=1.1)  # fmt: skip
    ax.annotate(f"matrix product {peak / 1e9:.0f} Gflop/s", (300, peak / 1e9), (0, 5), textcoords="offset points",
                fontsize=10.5, color=_GREY, ha="right", va="bottom")  # fmt: skip
    lowest = peak / 1e9
    for name, of_work in results["points"].items():
        for family, point in of_work.items():
            counts, rate = point["counts"], roofs.median(point["rounds"], "step")
            speed = counts["operations"] * rate / 1e9
            lowest = min(lowest, speed)
            ax.plot(counts["operations"] / counts["kernel_bytes"], speed, _MARKERS[name], color=colours[family], ms=11,
                    mec="white", mew=1.2, zorder=3)  # fmt: skip
    ax.set(xscale="log", yscale="log", xlim=(0.05, 300), ylim=(min(lowest, 10) / 2, peak / 1e9 * 2.2))
    ax.set(xlabel="operations a byte that kernels read and write", ylabel="Gflop/s")
    ax.set_title("arithmetic and bytes", loc="left", fontweight="bold")
    scales.log_ticks(ax.xaxis)
    scales.log_ticks(ax.yaxis)


def _shares(ax: Axes, results: Mapping[str, Any], colour: str) -> None:
    """The RBM's share of every roof, a marker a work; those above the line add up to the step's time."""
    works = [name for name in WORKS if "RBM" in results["points"].get(name, {})]
    for i, roof in enumerate(("sum", *_BARS)):
        for k, name in enumerate(works):
            values = [row[roof] for row in results["points"][name]["RBM"]["shares"] if roof in row]
            y = i + 0.24 * (k - (len(works) - 1) / 2)
            if not values:
                continue
            middle = float(np.median(values))
            ax.plot([0, 100 * middle], [y, y], color=colour, lw=5, alpha=0.45 if i else 0.9, solid_capstyle="butt")
            ax.plot(100 * middle, y, _MARKERS[name], color=colour, ms=8, mec="white", zorder=3)
            ax.annotate(f"{100 * middle:.0f} %", (100 * middle, y), (8, 0), textcoords="offset points", fontsize=10,
                        va="center")  # fmt: skip
    labels = ["these three, added", *(roofs.NAMES[roof] for roof in _BARS)]
    ax.axhline(3.5, color=_GREY, lw=1, ls=(0, (4, 3)))
    ax.axvline(100, color=_GREY, lw=1.2, zorder=1)
    ax.set_yticks(range(len(labels)), labels)
    ax.invert_yaxis()
    ax.set(xlim=(0, 125), xlabel="% of what the machine could do in that time")
    ax.grid(axis="y", visible=False)
    ax.set_title("what bounds the RBM", loc="left", fontweight="bold")

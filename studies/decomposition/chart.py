"""The picture: a bar for every family, cut where its loss comes from."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from core.drawing import figures
from models import MODELS
from studies.decomposition.record import Shares, number, rows, shares

# Told apart by colour-blind readers, and in grey by their hatches.
PARTS = {
    "capacity": ("what its networks cannot do", "#004488", ""),
    "objective": ("what its own loss, taken far, adds", "#DDAA33", "//"),
    "optimiser": ("what the default training adds", "#BB5566", ".."),
}
_MOST_COLUMNS = 4
_PANEL_WIDTH, _PANEL_HEIGHT = 3.6, 3.3  # inches


def pieces(found: Shares) -> tuple[list[float], bool] | None:
    """Each part of PARTS as a share of the default's loss, sum 1, and whether training further ends higher.

    Where it does, all above the capacity is the objective's. None: the default has no value, or no loss.
    """
    if found.total is None or found.total <= 0:
        return None
    capacity = min(found.capacity / found.total, 1.0)
    # Medians of differences need not add up to the median of the sum: the bar has their ratio.
    objective = math.inf if found.objective is None else max(found.objective, 0.0)
    worse = found.optimiser is None or found.optimiser < 0
    if worse:
        return [capacity, 1 - capacity, 0.0], True
    above = objective + found.optimiser
    share = objective / above if above > 0 else 0.0
    return [capacity, (1 - capacity) * share, (1 - capacity) * (1 - share)], False


@figures.styled
def draw(path: Path, results: Mapping[str, Any]) -> None:
    """Draws a panel for every target and budget; nothing where nothing has been measured.

    Args:
      path: the PNG.
      results: as `record.read` has them.
    """
    panels: dict[tuple[str, str, str], list[tuple[str, Mapping[str, Any]]]] = {}
    for target, budget, family, entry in rows(results):
        panels.setdefault((target, budget, entry["unit"]), []).append((family, entry))
    if not panels:
        return
    columns = min(_MOST_COLUMNS, len(panels))
    n_rows = -(-len(panels) // columns)
    title = "Where the loss of the default training comes from"
    fig = figures.new(max(columns * _PANEL_WIDTH, 8.0), n_rows * _PANEL_HEIGHT + 1.1, title)
    axes = fig.subplots(n_rows, columns, squeeze=False).ravel()
    for ax in axes[len(panels) :]:
        ax.remove()
    for i, (ax, ((target, budget, unit), families)) in enumerate(zip(axes, panels.items(), strict=False)):
        _panel(ax, families)
        what = "exact KL, nats" if unit == "nats" else f"sliced W₁, {unit}"
        figures.header(ax, target, f"{budget} parameters · {what}", "#1A1A1A")
        ax.set_ylabel("share of the loss" if i % columns == 0 else "")
    handles = {
        f"{name}: {words}": Patch(facecolor=colour, hatch=hatch, edgecolor="white")
        for name, (words, colour, hatch) in PARTS.items()
    }
    heading = "Over a bar: where the default training ends, median of four seeds; ▲: training further ends higher"
    figures.figure_legend(fig, handles, heading)
    figures.save(fig, path)


def _panel(ax: Axes, families: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    known = [name for name in MODELS if name in dict(families)]
    by_name = dict(families)
    for x, name in enumerate(known):
        found = shares(by_name[name])
        cut = pieces(found)
        if cut is None:
            ax.annotate(number(found.total), (x, 0.02), ha="center", rotation=90, fontsize=9, color="#606060")
            continue
        bottom = 0.0
        for height, (_, colour, hatch) in zip(cut[0], PARTS.values(), strict=True):
            ax.bar(x, height, bottom=bottom, width=0.72, color=colour, hatch=hatch, edgecolor="white", lw=0.6, zorder=3)
            bottom += height
        mark = " ▲" if cut[1] else ""
        ax.annotate(f"{number(found.total)}{mark}", (x, 1.02), ha="center", va="bottom", fontsize=9, color="#303030")
    short = [name.replace("_", "\n") for name in known]
    ax.set(xlim=(-0.6, max(len(known), 3) - 0.4), ylim=(0, 1.14), xticks=range(len(known)))
    ax.set_xticklabels(short, fontsize=8.5 if len(known) > 4 else 10)
    ax.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    ax.grid(axis="x", visible=False)

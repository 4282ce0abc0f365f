"""Lines of what trivial models can come to at best, beside the scores of families."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

WORDS = "dotted: the smallest that a trivial model can have"
_RIVAL_DASH = (0, (1, 1.6))
_APART, _SAME = 0.05, 0.012  # of the axis: names of lines that are closer would overlap; lines would


def lines(ax: Axes, rivals: Mapping[str, float], colours: Mapping[str, str]) -> None:
    """Dotted lines with their names at the right end; of two that are close the lower one has its name below."""
    low, high = ax.get_ylim()
    if ax.get_yscale() == "log":
        low, high = np.log((low, high))
    drawn = {name: value for name, value in rivals.items() if value > 0}
    for name, value in drawn.items():
        ax.axhline(value, color=colours[name], lw=1.8, ls=_RIVAL_DASH, zorder=2.6)
    scale = np.log if ax.get_yscale() == "log" else float
    places = {name: (scale(value) - low) / (high - low) for name, value in drawn.items()}
    for names, is_below in _together(places):
        ax.annotate(", ".join(names), (1, drawn[names[0]]), xytext=(-2, -2 if is_below else 2),
                    xycoords=ax.get_yaxis_transform(), textcoords="offset points", ha="right",
                    va="top" if is_below else "bottom", fontsize=9, color=colours[names[0]], zorder=4,
                    bbox={"fc": "white", "ec": "none", "alpha": 0.75, "pad": 0.6})  # fmt: skip


def _together(places: Mapping[str, float]) -> list[tuple[list[str], bool]]:
    """Names that share their words, from the top down, and whether these stand below the line.

    Args:
      places: where on the axis each line is, as a share of its height.
    """
    ordered = sorted(places, key=lambda name: -places[name])
    groups: list[tuple[list[str], bool]] = []
    for i, name in enumerate(ordered):
        above = places[groups[-1][0][0]] - places[name] if groups else np.inf
        following = places[name] - places[ordered[i + 1]] if i + 1 < len(ordered) else np.inf
        squeezed = above < _APART and (groups[-1][1] or following < 2 * _APART)
        if above < _SAME or squeezed:
            groups[-1][0].append(name)
        else:
            groups.append(([name], bool(above < _APART)))
    return groups

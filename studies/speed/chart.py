"""The picture of a comparison: how many times faster the suite trains than other ways."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.lines import Line2D

from core.drawing import figures, scales, scenes
from core.wording import multiple
from studies.speed.work import WORKS

_MARKERS = {"strong": "o", "tutorial": "s", "torch": "D"}
_FAMILIES = ("GAN", "VAE", "RBM")


@figures.styled
def draw(path: Path, results: Mapping[str, Any], titles: Mapping[str, str], ways: Mapping[str, str]) -> None:
    """Draws a panel for every work: the ratio of the suite's rate to each other way's, median and range over rounds.

    Args:
      path: the PNG.
      results: what `compare` found.
      titles: work -> its title.
      ways: way -> what to call it.
    """
    works = [name for name in titles if name in results["comparison"]]
    colours = scenes.family_colours(_FAMILIES)
    fig = figures.new(4.2 * len(works), 5.6, "Seed-steps a second of this suite over those of other ways")
    panels = fig.subplots(1, len(works), sharey=True, squeeze=False)[0]
    top = 1.0
    for ax, name in zip(panels, works, strict=True):
        for i, family in enumerate(_FAMILIES):
            if family not in results["comparison"][name]:
                why = "not in this work:\nsee the roofline" if family not in WORKS[name].families else "not measured"
                ax.annotate(why, (i, 1.25), ha="center", va="bottom", fontsize=10, color="#606060")
                continue
            ratios = results["comparison"][name][family]["ratios"]
            for k, way in enumerate(way for way in _MARKERS if way in ratios):
                x, values = i + 0.27 * (k - 1), ratios[way]
                middle = statistics.median(values)
                top = max(top, max(values))
                ax.vlines(x, min(values), max(values), color=colours[family], lw=2.4, zorder=3)
                ax.plot(x, middle, _MARKERS[way], color=colours[family], ms=9, mec="white", zorder=4)
                ax.annotate(
                    multiple(middle), (x, max(values)), (0, 7), textcoords="offset points", ha="center", fontsize=10
                )
        ax.axhline(1, color="#606060", lw=1.2, ls=(0, (4, 3)), zorder=1)
        ax.set(xlim=(-0.6, len(_FAMILIES) - 0.4), yscale="log", xticks=range(len(_FAMILIES)), xticklabels=_FAMILIES)
        ax.set_title(titles[name].replace(" · ", "\n", 1), fontsize=11)
    panels[0].set_ylabel("times as fast")
    panels[0].set_ylim(0.7, top * 1.6)
    scales.log_ticks(panels[0].yaxis)
    entries = {
        ways[way]: Line2D([], [], color="#606060", marker=marker, ls="none", ms=8) for way, marker in _MARKERS.items()
    }
    figures.figure_legend(fig, entries, f"median and range over the rounds · {results['machine']}")
    figures.save(fig, path)

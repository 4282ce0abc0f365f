"""Pictures of this kind's own at the end of a run: sheets of images, steadiness of losses, anomalies.

Drawn from arrays alone, with the conventions of `plotting` for `path`, `title` and the look.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from core.drawing import figures, scales, scenes
from core.drawing.figures import DIVERGED, FLOOR_COLOUR, TARGET_COLOUR
from kinds.images import mosaics
from kinds.images.anomalies import N_SHOWN, Found
from kinds.images.endings import AnomaliesPicture, Sheet
from kinds.images.stability import Steadiness
from kinds.images.truth import has_depth

_WIDTH = 11.0  # inches
_HEAD = 0.42  # inches over a strip
_MOST_HEIGHT = 6.0  # of a strip


@figures.styled
def sheet(path: str | Path, said: Sheet, title: str) -> None:
    """Draws strips of images below each other, all images of one size."""
    wide = 2 if has_depth(said.shape) else 1
    heights = []
    for strip in said.strips:
        n = strip.columns if strip.rows is None else len(strip.rows)
        lines = -(-n // strip.columns)
        aspect = lines * said.shape[0] / (strip.columns * said.shape[1] * wide)
        heights.append(min(_MOST_HEIGHT, (_WIDTH - 0.4) * aspect) + _HEAD)
    fig = figures.new(_WIDTH + (1.0 if wide == 2 else 0), sum(heights) + 1.3, title)
    axes = np.ravel(fig.subplots(len(said.strips), 1, squeeze=False, gridspec_kw={"height_ratios": heights}))
    for ax, strip in zip(axes, said.strips, strict=True):
        size = int(np.prod(said.shape))
        rows = np.ones((strip.columns, size), np.float32) if strip.rows is None else strip.rows
        mosaics.show(ax, rows, said.shape, strip.columns)
        colour = strip.colour or TARGET_COLOUR
        figures.header(ax, strip.name, "", colour)
        ax.set_title(strip.note, loc="right", fontsize=10.5, color="#404040")
        if strip.rows is None:
            figures.words_in(ax, DIVERGED, colour)
    mosaics.depth_bar(axes[0], said.shape, said.depth_scale)
    words = said.words
    if wide == 2:
        words += f" · on the right of every image: its {'depth' if said.depth_scale else 'last channel'}"
    figures.figure_legend(fig, {}, words)
    figures.save(fig, path)


@figures.styled
def steadiness(path: str | Path, found: Sequence[Steadiness], title: str) -> None:
    """Draws range, oscillation and trend of every loss: the median over seeds as a point, their range as a line."""
    fig = figures.new(12.5, 0.36 * max(len(found), 3) + 2.6, title)
    panels = fig.subplots(1, 3, sharey=True)
    heads = (("range", "largest minus smallest value", "log"),
             ("oscillation", "0: only one way · 1: ends where it began", "linear"),
             ("trend", "−1: always falls · 1: always rises", "linear"))  # fmt: skip
    for ax, (name, words, scale) in zip(panels, heads, strict=True):
        for i, each in enumerate(found):
            values = getattr(each, name)
            values = values[np.isfinite(values)]
            if not len(values):
                ax.annotate(DIVERGED, (0.5, i), xycoords=ax.get_yaxis_transform(), ha="center", va="center",
                            color=each.colour, fontsize=10)  # fmt: skip
                continue
            ax.plot([values.min(), values.max()], [i, i], color=each.colour, lw=3, alpha=0.4, solid_capstyle="round")
            ax.plot(np.median(values), i, marker=scenes.marker_of(each.colour), color=each.colour, ms=8, mec="white")
        positive = [v for each in found for v in getattr(each, name) if np.isfinite(v) and v > 0]
        if scale == "log" and positive:
            ax.set_xscale("log")
            ax.set_xlim(min(positive) / 1.6, max(positive) * 1.6)
            scales.log_ticks(ax.xaxis)
        elif scale == "linear":
            ax.set_xlim((-0.05, 1.05) if name == "oscillation" else (-1.1, 1.1))
        ax.set_xlabel(words)
        figures.header(ax, name, "", TARGET_COLOUR)
    labels = [f"{each.family}: {each.field.replace('_', ' ')}" for each in found]
    panels[0].set_yticks(range(len(found)), labels)
    panels[0].set_ylim(len(found) - 0.4, -0.6)
    for label, each in zip(panels[0].get_yticklabels(), found, strict=True):
        label.set_color(each.colour)
    n_seeds = max((len(each.range) for each in found), default=1)
    heading = f"point: median over {n_seeds} seeds · line: their range" if n_seeds > 1 else "one seed"
    figures.figure_legend(fig, {}, f"{heading} · of what was logged at every score, in the loss's own units")
    figures.save(fig, path)


@figures.styled
def anomalies(path: str | Path, said: AnomaliesPicture, title: str) -> None:
    """Draws the areas under the ROC curve, the scores of every family, and the images with extreme scores."""
    found = said.found.found
    families = [each for each in found if not each.baseline]
    columns = max(1, min(3, len(families)))
    lines = -(-len(families) // columns)
    high = 0.32 * len(found) + 0.9
    fig = figures.new(13.0, high + 3.9 * lines + 1.7, title)
    # Apart, as the long names above would take their room from the panels below.
    parts = fig.subfigures(2 if families else 1, 1, height_ratios=[high, 3.9 * lines] if families else None)
    above, *below = np.ravel(parts)
    _areas(above.subplots(), found, said)
    ratios = {"height_ratios": [2.3, 1] * lines}
    axes = below[0].subplots(2 * lines, columns, squeeze=False, gridspec_kw=ratios) if below else None
    for i, each in enumerate(families):
        line, column = divmod(i, columns)
        _histogram(axes[2 * line, column], each, said.colours[each.name])
        _extremes(axes[2 * line + 1, column], each, said)
        if i == columns - 1:
            mosaics.depth_bar(axes[1, column], said.shape, said.depth_scale)
    for empty in range(len(families), columns * lines):
        line, column = divmod(empty, columns)
        axes[2 * line, column].remove()
        axes[2 * line + 1, column].remove()
    entries = {
        "held-out images": Patch(fc=FLOOR_COLOUR, alpha=0.6),
        "anomalies": Patch(fc="none", ec=TARGET_COLOUR, lw=2),
    }
    figures.figure_legend(fig, entries, f"{said.words} · images with a frame are anomalies")
    figures.save(fig, path)


def _areas(ax: Axes, found: Sequence[Found], said: AnomaliesPicture) -> None:
    ordered = sorted(found, key=lambda each: -each.auroc)
    for i, each in enumerate(ordered):
        colour = FLOOR_COLOUR if each.baseline else said.colours[each.name]
        marker = "|" if each.baseline else scenes.marker_of(colour)
        ax.plot([each.low, each.high], [i, i], color=colour, lw=3, alpha=0.45, solid_capstyle="round")
        ax.plot(each.auroc, i, marker=marker, color=colour, ms=12 if each.baseline else 9, mec=colour, mew=2)
        ax.annotate(f"{each.auroc:.3f}", (1.005, i), xycoords=ax.get_yaxis_transform(), va="center", fontsize=10,
                    annotation_clip=False)  # fmt: skip
    ax.axvline(0.5, color=FLOOR_COLOUR, lw=1.2, ls=":")
    labels = [f"{each.name}: {each.how}" + (" (baseline)" if each.baseline else "") for each in ordered]
    ax.set_yticks(range(len(ordered)), labels)
    for label, each in zip(ax.get_yticklabels(), ordered, strict=True):
        label.set_color("#505050" if each.baseline else said.colours[each.name])
    ax.set(ylim=(len(ordered) - 0.4, -0.6), xlim=(min(0.4, *(each.low for each in found)) - 0.02, 1.0))
    ax.set_xlabel("area under the ROC curve, with its 95 % interval; 0.5 is chance")


def _histogram(ax: Axes, each: Found, colour: str) -> None:
    both = np.concatenate([each.normal, each.anomalous])
    low, high = np.quantile(both, (0.0, 0.99))
    edges = np.linspace(low, max(high, low + 1e-9), 31)
    for values, style in ((each.normal, {"color": FLOOR_COLOUR, "alpha": 0.6, "fill": True}),
                          (each.anomalous, {"color": colour, "lw": 2})):  # fmt: skip
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
        ax.stairs(counts / len(values), edges, **style)
    figures.header(ax, each.name, f"{each.how}, AUROC {each.auroc:.3f}", colour)
    ax.set_xlabel("score")
    ax.set_ylabel("share")
    scales.round_ticks(ax.xaxis, ax.yaxis)


def _extremes(ax: Axes, each: Found, said: AnomaliesPicture) -> None:
    """Above the images with the highest scores, below those with the lowest; anomalies have a dark frame."""
    scored = np.concatenate([each.normal, each.anomalous])
    n = N_SHOWN // 2 if has_depth(said.shape) else N_SHOWN
    order = np.argsort(scored, kind="stable")
    chosen = np.concatenate([order[::-1][:n], order[:n]])
    mosaics.show(ax, said.found.rows[chosen], said.shape, n)
    width = said.shape[1] * (2 if has_depth(said.shape) else 1) + mosaics.gap_of(said.shape) * (
        1 if has_depth(said.shape) else 0
    )
    beside = mosaics.gap_of(said.shape) * (3 if has_depth(said.shape) else 1)
    for i, row in enumerate(chosen):
        if row >= len(each.normal):
            left = i % n * (width + beside) - 0.5
            top = i // n * (said.shape[0] + mosaics.gap_of(said.shape)) - 0.5
            ax.add_artist(_frame(left, top, width, said.shape[0], said.colours[each.name]))
    ax.set_ylabel("lowest  highest", fontsize=9.5)


def _frame(left: float, top: float, width: float, height: float, colour: str) -> Line2D:
    x = [left, left + width, left + width, left, left]
    y = [top, top, top + height, top + height, top]
    return Line2D(x, y, color=colour, lw=2.2, clip_on=False, zorder=5)

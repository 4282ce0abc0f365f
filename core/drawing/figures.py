"""What pictures are built from: the look, figures that are written whole or not at all, legends, ticks and limits.

Pictures are drawn on an Agg canvas without pyplot, which would bring a display backend and global state.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation
from PIL import Image

from core import storage
from core.drawing import scenes
from core.drawing.lettering import drawable, fitted, shortened, text_width, wrapped
from core.drawing.scales import round_ticks, share_of_width, without_start

TARGET_COLOUR = "#1A1A1A"
FLOOR_COLOUR = "#8C8C8C"
MARK_COLOUR = "#505050"  # of a level that is known besides a floor
DENSITY_MAP = "viridis"
DIVERGED = "diverged"  # what stands where a model's data would be
DPI = 120
_LINE = 1.25  # from one line of text to the next, by its size
LONGEST_HEAD = 32  # letters over a panel; a longer name is cut
EXTERNAL_DASH = (0, (6, 2.5))  # of lines for samples that no family here has made

STYLE = {
    # Names and titles come from users: a `$` in them is a dollar.
    "text.parse_math": False,
    "text.usetex": False,
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.labelsize": 12,
    "figure.titlesize": 15,
    "legend.fontsize": 11.5,
    "legend.title_fontsize": 11,
    "legend.frameon": False,
    # Room for a dash on both sides of a marker.
    "legend.handlelength": 3.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "axes.edgecolor": "#606060",
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
}
# All of Matplotlib's own, so that a user's matplotlibrc changes no picture; which backend there is changes none anyway.
_LOOK = {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"} | STYLE
styled = matplotlib.rc_context(_LOOK)


def new(width: float, height: float, title: str) -> Figure:
    """An empty figure of that many inches, with its title."""
    fig = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(fig)
    # On the left, so that a frame's changing label does not shift the words before it.
    fig.suptitle("", x=0.012, ha="left", fontweight="bold")
    set_title(fig, title)
    return fig


def set_title(fig: Figure, title: str) -> None:
    """Exchanges the words above the whole picture."""
    text = fig._suptitle
    text.set_text(wrapped(drawable(title, weight="bold"), fig.get_figwidth(), text.get_fontsize()))


def further_title_lines(fig: Figure) -> float:
    """The height in inches that the title takes beyond its first line."""
    text = fig._suptitle
    return text.get_text().count("\n") * _LINE * text.get_fontsize() / 72


def grid(n: int, side: float, title: str, flat: bool) -> tuple[Figure, list[Axes], int]:
    """A figure of n panels, in one row up to four and then in a grid, and the number of its columns.

    Panels are about `side` inches high; `flat` ones are wider, others are square with room for a colour bar.
    """
    columns = n if n <= 4 else 3 if n <= 6 else 4
    rows = -(-n // columns)
    width = side * (max(1.12, 1.5 - 0.1 * columns) if flat else 1.05)
    fig = new(max(columns * width + (0.8 if flat else 1.9), 8.0), rows * (side + (0.75 if flat else 0.95)) + 1.1, title)
    panels = list(np.ravel(fig.subplots(rows, columns, squeeze=False)))
    for ax in panels[n:]:
        ax.remove()
    return fig, panels[:n], columns


def header(ax: Axes, name: str, line: str, colour: str) -> Any:
    """A panel's name with a smaller line under it; returns that line."""
    lines = line.count("\n") + 1 if line else 0
    name = shortened(drawable(name, weight="bold"), LONGEST_HEAD, matplotlib.rcParams["axes.titlesize"])
    ax.set_title(name, loc="left", color=colour, fontweight="bold", pad=6 + 15 * lines)
    return ax.annotate(line, (0, 1), xytext=(0, 5), xycoords="axes fraction", textcoords="offset points", fontsize=11,
                       va="bottom", ha="left", color="#404040")  # fmt: skip


def fit_heads(heads: Sequence[tuple[Any, Sequence[str]]]) -> None:
    """Shrinks the words over panels, all alike, where one would run into its neighbour's or out of the picture.

    Args:
      heads: a text that stands at its panel's left edge, and all that it is going to say. The layout is settled.
    """
    rooms = []
    for text, _ in heads:
        text.axes.apply_aspect()
    boxes = [text.axes.get_window_extent() for text, _ in heads]
    for (text, _), box in zip(heads, boxes, strict=True):
        beside = [other.x0 - 10 for other in boxes if other.x0 > box.x0 + 1 and abs(other.y0 - box.y0) < 1]
        rooms.append(min([text.figure.bbox.x1 - 2, *beside]) - box.x0)
    # Not at once: letters are set to whole pixels, so that a width is not proportional to the size.
    for _ in range(8):
        scale = min(room / _widest(text, words) for (text, words), room in zip(heads, rooms, strict=True))
        if scale >= 1 or heads[0][0].get_fontsize() < 6:
            break
        for text, _ in heads:
            text.set_fontsize(max(0.8, min(scale, 0.98)) * text.get_fontsize())


def outer_labels(ax: Axes, i: int, n: int, columns: int, x: str, y: str) -> None:
    """Labels only the left and lower sides of a grid, whose last row may be shorter."""
    below, beside = i + columns >= n, i % columns == 0
    ax.set(xlabel=x if below else "", ylabel=y if beside else "")
    ax.tick_params(which="both", labelbottom=below, labelleft=beside, left=beside)


def plane(ax: Axes, box: np.ndarray) -> None:
    """Makes a panel a map of the two coordinates."""
    ax.set(xlim=box[0], ylim=box[1], xlabel="x₁", ylabel="x₂")
    spans = np.ptp(box, axis=1)
    if spans.max() <= 1.5 * spans.min():
        ax.set_aspect("equal")
    else:
        ax.set_box_aspect(1)
    round_ticks(ax.xaxis, ax.yaxis)
    ax.grid(False)


def colour_bar(ax: Axes, mesh: Any, label: str, extend: str = "neither") -> Any:
    """A colour bar beside a panel and of its height, which a bar of its own place in the layout would not keep."""
    bar = ax.figure.colorbar(mesh, cax=ax.inset_axes((1.03, 0, 0.05, 1)), extend=extend)
    bar.set_label(label)
    bar.outline.set_visible(False)
    return bar


def band(ax: Axes, steps: np.ndarray, three: Sequence[np.ndarray], colour: Any, label: str, **style: Any) -> None:
    """Draws a `course`: the median as a line, the range pale behind it; `shade` is how opaque that is."""
    median, low, high = three
    ax.fill_between(steps, low, high, color=colour, alpha=style.pop("shade", 0.18), lw=0, zorder=2)
    dots = {"marker": "o", "ms": 4} if len(steps) < 4 else {}
    ax.plot(steps, median, color=colour, label=label, **{**dots, **style})


def line_of(colour: str, n_points: int, n_families: int) -> dict[str, Any]:
    """How `band` draws a family's line where it meets others: its dash, its marker here and there, and a shade that
    many of them do not make opaque.

    Args:
      colour: the family's.
      n_points: of the line.
      n_families: in the panel.
    """
    every = max(1, n_points // 6)
    # Not all at the same points, where lines that lie upon each other would hide their markers.
    first = scenes.place_of(colour) * every // len(scenes.PALETTE) % every
    return {
        "ls": scenes.dash_of(colour),
        "markevery": (first, every),
        "shade": min(0.18, 0.8 / n_families),
        **dots(colour),
    }


def entry_of(colour: str) -> Line2D:
    """What a legend shows of `line_of`."""
    return Line2D([], [], color=colour, lw=2.2, ls=scenes.dash_of(colour), **dots(colour))


def dots(colour: str) -> dict[str, Any]:
    """The marker of a family's colour, of such a size that all look alike large."""
    marker = scenes.marker_of(colour)
    return {"marker": marker, "ms": 9 if marker in "*P" else 7, "mec": "white", "mew": 0.7}


def floor_band(ax: Axes, floor: Sequence[float], low: float) -> None:
    """Draws a floor's median as a grey line over its range, which is cut at `low`: a log axis has no zero."""
    middle, floor_low, floor_high = floor
    ax.axhspan(max(floor_low, low), max(floor_high, low), color=FLOOR_COLOUR, alpha=0.28, lw=0, zorder=1)
    ax.axhline(middle, color=FLOOR_COLOUR, lw=1.5, zorder=1.5)


def floor_entry() -> dict[str, Any]:
    """What a legend says of `floor_band`."""
    line = Line2D([], [], color=FLOOR_COLOUR, lw=1.5)
    return {"floor: samples of the target itself": (Patch(fc=FLOOR_COLOUR, alpha=0.35), line)}


def external_line(ax: Axes, value: float, colour: str, low: float) -> None:
    """A dashed level; zero runs along `low`, the bottom of a log axis."""
    ax.axhline(max(value, low), color=colour, lw=2, ls=EXTERNAL_DASH, zorder=2.8)


def external_entry(colour: str) -> Line2D:
    """What a legend shows of `external_line`."""
    return Line2D([], [], color=colour, lw=2, ls=EXTERNAL_DASH)


def words_in(ax: Axes, words: str, colour: str, x: float = 0.5) -> Any:
    """Large words in a panel where there is no data, in its middle or at a share `x` of its width; returns them."""
    box = {"fc": "white", "ec": "none", "pad": 5}
    text = ax.text(x, 0.5, words, transform=ax.transAxes, ha="center", va="center", fontsize=17, fontweight="bold",
                   color=colour, bbox=box, zorder=6)  # fmt: skip
    text.set_in_layout(False)
    return text


def words_after(ax: Axes, curves: Sequence[Any], colour: str) -> None:
    """Says what has become of a family where its curves, of the same steps, end for all seeds; if there is room."""
    known = np.isfinite(np.concatenate([curve.values for curve in curves])).any(axis=0)
    share = share_of_width(ax, np.asarray(curves[0].steps)[known].max()) if known.any() else 0.0
    if not known[-1] and share < 0.5:
        words_in(ax, DIVERGED, colour, (1 + share) / 2)


def unseen_note(heights: np.ndarray, inside: float, top: float, expected: float) -> str:
    """What a panel cannot show of a sample, where that is more than what it cannot show of the target."""
    if inside == 0 and heights.max() == 0:
        return "no sample inside the box"
    parts = [f"{100 * (1 - inside):.2g} % outside"] if inside < expected - 0.01 else []
    if heights.max() > top:
        parts.append(f"peak {heights.max():.2g} cut")
    return " · ".join(parts)


def diverged_note(curves: Iterable[Any]) -> str:
    """How many seeds a family has lost, to stand behind its name; empty if none, or if it has no curves."""
    values = [without_start(curve).values for curve in curves]
    lost, n_seeds = max((((~np.isfinite(v)).any(axis=1).sum(), len(v)) for v in values), default=(0, 1))
    return f" ({lost_seeds(lost, n_seeds)})" if lost else ""


def lost_seeds(lost: int, n_seeds: int) -> str:
    """Such as "1 of 4 seeds diverged"."""
    return f"{lost} of {n_seeds} seeds diverged" if n_seeds > 1 else DIVERGED


def remarked(label: str, remark: str | None) -> str:
    """A legend's label with what there is to say of it."""
    return f"{label} {remark}" if remark else label


def figure_legend(fig: Figure, entries: Mapping[str, Any], heading: str | None = None) -> None:
    """A legend of label → handle under all panels; the picture grows with one that is long."""
    width, size = fig.get_figwidth(), matplotlib.rcParams["legend.fontsize"]
    labels = [fitted(drawable(label), width - 6 * size / 72, size) for label in entries]
    # Before version 3.10 Matplotlib leaves out what begins with an underscore.
    labels = [f"\u2009{label}" if label.startswith("_") else label for label in labels]
    columns = _legend_columns(labels, width)
    if heading:
        heading = wrapped(drawable(heading), width, matplotlib.rcParams["legend.title_fontsize"], bold=False)
    rows = np.array_split([label.count("\n") + 1 for label in labels], columns)
    lines = max((sum(column) for column in rows), default=0) + (heading or "").count("\n")
    fig.set_figheight(fig.get_figheight() + max(0.0, lines * 1.6 * size / 72 - 0.4 * fig.get_figheight()))
    legend = fig.legend([*entries.values()], labels, loc="outside lower center", ncols=columns, title=heading)
    legend.get_title().set_multialignment("center")


def legend_below(ax: Axes, width: float, handles: Sequence[Any] = ()) -> None:
    """A panel's own legend under its axis label, whatever the panel's height; `width` inches are its room."""
    handles = list(handles) or ax.get_legend_handles_labels()[0]
    columns = _legend_columns([handle.get_label() for handle in handles], width)
    shifted = ax.transAxes + ScaledTranslation(0, -44 / 72, ax.figure.dpi_scale_trans)
    ax.legend(handles=handles, ncols=columns, loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=shifted,
              borderaxespad=0)  # fmt: skip


def settle(fig: Figure) -> None:
    """Solves the layout for good: repeatedly, as margins are first measured on panels that are not yet square."""
    places = [ax.get_window_extent().bounds for ax in fig.axes]
    for _ in range(6):
        fig.get_layout_engine().execute(fig)
        before, places = places, [ax.get_window_extent().bounds for ax in fig.axes]
        if np.allclose(before, places, atol=0.5):
            break
    fig.set_layout_engine("none")


def render(fig: Figure) -> Image.Image:
    """The pixels of a figure."""
    fig.canvas.draw()
    return Image.fromarray(np.asarray(fig.canvas.buffer_rgba())).convert("RGB")


def save(fig: Figure, path: str | Path) -> None:
    """Lays a figure out and writes it as a PNG."""
    settle(fig)
    save_image(render(fig), path)


def save_image(image: Image.Image, path: str | Path) -> None:
    """Writes pixels as a PNG."""
    with storage.replaced_by(path) as temporary:
        image.save(temporary, "PNG", compress_level=4, dpi=(DPI, DPI))


def _legend_columns(labels: Sequence[str], width: float) -> int:
    """How many columns of a legend fit into `width` inches; a legend fills its columns one after the other."""
    size = matplotlib.rcParams["legend.fontsize"]
    widths = []
    for label in labels:
        usual, measured = 0.58 * max(map(len, label.split("\n"))) * size / 72, text_width(label, size)
        # Of words like ours the guess is as good as the measure.
        widths.append((measured if measured > 1.1 * usual else usual) + 5.5 * size / 72)
    for columns in range(len(labels), 1, -1):
        if sum(column.max() for column in np.array_split(widths, columns)) <= width:
            return columns
    return 1


def _widest(text: Any, words: Iterable[str]) -> float:
    """The pixels across that a text takes when it says the widest of `words`."""
    before, widths = text.get_text(), [1.0]
    for word in words:
        text.set_text(word)
        widths.append(text.get_window_extent().width)
    text.set_text(before)
    return max(widths)

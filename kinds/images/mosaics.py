"""Images side by side, as one array of colours: grey or RGB, and beside it a further channel as a map of colours."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from core.drawing import figures
from core.drawing.figures import DENSITY_MAP
from kinds.images.truth import has_depth, n_colours

_PAPER = 255


def gap_of(shape: tuple[int, int, int]) -> int:
    """Pixels between images, about a tenth of one."""
    return max(1, round(shape[0] / 12))


def coloured(rows: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Rows [n, D] as colours [n, H, W or more, 3] uint8: a further channel stands on the right of its image."""
    images = np.clip(np.nan_to_num(rows), 0, 1).reshape(-1, *shape)
    n = n_colours(shape)
    colour = np.repeat(images[..., :1], 3, axis=-1) if n == 1 else images[..., :3]
    parts = [np.round(255 * colour).astype(np.uint8)]
    if has_depth(shape):
        of_depth = matplotlib.colormaps[DENSITY_MAP](images[..., n])[..., :3]
        paper = np.full((len(images), shape[0], gap_of(shape), 3), _PAPER, np.uint8)
        parts += [paper, np.round(255 * of_depth).astype(np.uint8)]
    return np.concatenate(parts, axis=2)


def mosaic(rows: np.ndarray, shape: tuple[int, int, int], columns: int) -> np.ndarray:
    """Rows [n, D] in lines of so many images, as one array of colours [h, w, 3] uint8."""
    tiles = coloured(rows, shape)
    n, height, width, _ = tiles.shape
    lines = -(-n // columns)
    below = gap_of(shape)
    # What stands beside an image is nearer than the next image.
    beside = below * (3 if has_depth(shape) else 1)
    sheet = np.full((lines * (height + below) - below, columns * (width + beside) - beside, 3), _PAPER, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (height + below), i % columns * (width + beside)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def show(ax: Axes, rows: np.ndarray, shape: tuple[int, int, int], columns: int) -> object:
    """Draws a mosaic that fills a panel; returns what can be given other data."""
    drawn = ax.imshow(mosaic(rows, shape, columns), interpolation="nearest", aspect="equal")
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return drawn


def square_columns(n: int, shape: tuple[int, int, int]) -> int:
    """Images a line, so that n of them fill about a square."""
    wide = 2 if has_depth(shape) else 1
    return max(1, round(np.sqrt(n * shape[0] / (shape[1] * wide))))


def depth_bar(ax: Axes, shape: tuple[int, int, int], depth_scale: float | None) -> None:
    """A bar of what the colours of the further channel mean, beside a panel; nothing where there is none."""
    if has_depth(shape):
        label = "depth (lengths)" if depth_scale else f"channel {shape[2]}"
        mappable = ScalarMappable(Normalize(0, depth_scale or 1), DENSITY_MAP)
        figures.colour_bar(ax, mappable, label)

"""An animation of pictures that differ little: one palette, and only what changes."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from core import storage
from core.drawing.figures import DENSITY_MAP, FLOOR_COLOUR, TARGET_COLOUR

FRAME_MS, LAST_FRAME_MS = 200, 2500


def save_gif(images: Sequence[Image.Image], shades: Sequence[str], path: str | Path) -> None:
    """Writes one animation of all images; `shades` are colours that must not change."""
    palette = _shared_palette(images, shades)
    indexed = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    durations = [FRAME_MS] * (len(indexed) - 1) + [LAST_FRAME_MS]
    # Optimised, a frame holds only the pixels that changed, the others transparent: 0.15 MB instead of 0.52 for 20
    # frames of four 1-D panels, without loss.
    more = {"append_images": indexed[1:], "duration": durations, "loop": 0, "optimize": True}
    with storage.replaced_by(path) as temporary:
        indexed[0].save(temporary, "GIF", save_all=True, **more)


def _shared_palette(images: Sequence[Image.Image], shades: Sequence[str]) -> Image.Image:
    """One palette for all frames, or the same colour would flicker from frame to frame.

    What carries meaning (paper, ink, the families, the density map) keeps its exact colour; the rest is adapted.
    """
    fixed = [to_rgb(str(grey)) for grey in np.linspace(0, 1, 18)]
    for shade in (*shades, FLOOR_COLOUR):
        fixed += [tuple(1 - share * (1 - c) for c in to_rgb(shade)) for share in (1, 0.6, 0.3)]
    fixed += [tuple(colour[:3]) for colour in matplotlib.colormaps[DENSITY_MAP](np.linspace(0, 1, 64))]
    fixed = np.round(255 * np.array([to_rgb(TARGET_COLOUR), *fixed])).astype(int)
    chosen = [images[i] for i in sorted({0, len(images) // 2, len(images) - 1})]
    sheet = Image.fromarray(np.concatenate([np.asarray(image)[::2, ::2] for image in chosen]))
    # One of the 256 is left for transparency.
    adapted = sheet.quantize(255 - len(fixed), method=Image.Quantize.MEDIANCUT).getpalette()
    adapted = np.reshape(adapted, (-1, 3))
    # Pillow looks colours up in steps of four, so that an adapted near-white would win over white itself.
    apart = np.abs(adapted[:, None] - fixed[None]).max(axis=-1).min(axis=1) > 8
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate([fixed, adapted[apart]])[:255].ravel().tolist())
    return palette

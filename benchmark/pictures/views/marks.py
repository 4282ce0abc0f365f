"""What several pictures of scores mark and say alike."""

import numpy as np

from core.drawing import figures
from core.drawing.figures import TARGET_COLOUR

# The line that marks a setting or a cost with which others are compared.
THIS = {"color": TARGET_COLOUR, "ls": (0, (1, 2)), "lw": 1.4, "zorder": 1.8}


def named(name: str, values: np.ndarray, note: str) -> str:
    """A name for the legend with a note and the number of its seeds [S, …] that have diverged."""
    lost = (~np.isfinite(np.asarray(values, np.float64))).reshape(len(values), -1).any(axis=1)
    diverged = figures.lost_seeds(lost.sum(), len(lost)) if lost.any() else ""
    notes = ", ".join(filter(None, (note, diverged)))
    return f"{name} ({notes})" if notes else name

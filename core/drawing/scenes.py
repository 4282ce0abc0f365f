"""What pictures show, as plain arrays, and the colours they show it in.

Nothing here draws: who puts a picture together need not wait for the drawing library, and what is put together can be
sent to another process.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

# Okabe and Ito's palette without black (the target) and yellow (unreadable on white), then three of Paul Tol's, a
# brown and a violet, for eleven in all.
PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00",
    "#56B4E9", "#332288", "#882255", "#999933", "#6B4A2B", "#9933FF",
)  # fmt: skip
# So many colours cannot all be told apart without colour vision: lines differ in their dashes as well, and points in
# their shapes. "^", "v" and "X" say that something lies outside or has diverged.
_DASHES = ("-", "-", "-", (0, (4, 1.4)), (0, (7, 1.4, 1.4, 1.4)), (0, (1.3, 1.1)))
_MARKERS = ("o", "s", "D", "P", "p", "*", "<", ">", "d", "h", "8")


# Draws of the target's events that views with `needs_rows` are given, and that pictures name.
N_VIEW_ROWS = 2_000


class Curve(NamedTuple):
    """One quantity's course over training, all seeds."""

    steps: np.ndarray  # [E]
    values: np.ndarray  # [S, E], NaN where a seed has diverged


class Contribution(NamedTuple):
    """What one family shows in a picture that several may share."""

    arrays: Mapping[str, np.ndarray]  # from its view, of the seed that is shown; all NaN where that one has diverged
    curves: Mapping[str, Curve]  # the view's fields of Info, each value of the interval that ends at its step
    scores: Mapping[str, Curve]  # every followed metric, from step 0 on
    colour: str
    diverged: bool  # that seed has
    seed: int = 0  # which one it is


class Frame(NamedTuple):
    """What every family shows beside the target at one moment, with what stands over its panel."""

    # What the kind's `Scorer.keep` leaves of a sample, such as its shares [K] in the cells; all NaN of a model that has
    # diverged.
    kept: Mapping[str, np.ndarray]
    scores: Mapping[str, str]  # one ready line for the panel's head
    label: str = ""  # what the title ends with, such as "5 %, step 1 000"
    # Of whatever is known as probabilities instead of samples the mass of every cell [K], in the order of the target's.
    # Overflow behind them is not drawn. These panels come last.
    masses: Mapping[str, np.ndarray] = {}
    remarks: Mapping[str, str] = {}  # what stands under the scores, such as "1 of 4 seeds diverged"
    in_animation_alone: bool = False  # it has no file of its own


class MetricPicture(NamedTuple):
    """One metric as an axis: its name, and the levels on it that are no family's."""

    label: str  # with its unit, such as "KLD (nats)"
    floor: (
        tuple[float, float, float] | None
    )  # mean, low and high that samples of the target itself score; None: unknown
    externals: Mapping[str, float | None] = {}  # what samples from elsewhere score; None: they have no score
    exact: bool = False  # it needs no sample
    estimates: Collection[str] = ()  # families whose value is an estimate all the same
    rivals: Mapping[str, float] = {}  # trivial models that were not trained -> the smallest value that each can have
    marks: Mapping[str, float] = {}  # words -> a level that is known besides


class LossPicture(NamedTuple):
    """What one family minimises and reports."""

    curves: Mapping[str, Curve]  # by field of its Info; empty where it is not trained
    reference: tuple[float, str] | None = None  # a value to compare `loss` with, and what it is
    units: Mapping[str, str] = {}  # of the fields that are not in nats
    of_the_last: Collection[str] = ()  # fields of an interval's last step, where the others are means over it


class CostPicture(NamedTuple):
    """What a family's training takes and what it comes to, all seeds."""

    seconds: float  # one seed's whole training
    operations: float | None  # floating-point operations of the same; None: unknown
    score: np.ndarray  # [S], the main metric at the end, not finite where a seed has diverged
    course: Curve | None = None  # the same on the way there; all steps cost the same, and the last is the end
    n_steps: int | None = None  # after which steps cost nothing, as there are none; None: the last of the course


class Sensitivity(NamedTuple):
    """The main metric at the end at other settings of its estimator."""

    cells: np.ndarray  # [C] numbers of cells
    epsilons: np.ndarray  # [E]
    families: Mapping[str, np.ndarray]  # [S, C, E] nats, not finite where a seed has diverged; S may differ
    floor: np.ndarray  # [3, C, E] median, low and high that samples of the target itself score
    chosen: tuple[int, float]  # the run's own number of cells and ε
    externals: Collection[str] = ()  # those of the families whose samples come from elsewhere
    alike: Sequence[Sequence[float]] = ()  # [E] other ε with the same values, which are not drawn


def family_colours(names: Sequence[str], externals: Sequence[str] = ()) -> dict[str, str]:
    """One colour a family by its position among all registered `names`, so that selecting fewer changes none.

    Args:
      names: every registered family, selected or not.
      externals: the names of samples from elsewhere; they take the colours that follow.
    """
    return {name: _palette_colour(i) for i, name in enumerate(dict.fromkeys([*names, *externals]))}


def place_of(colour: str) -> int:
    """Which of all families' colours it is; 0 for any other colour."""
    return _PLACES.get(colour, 0)


def dash_of(colour: str) -> Any:
    """The line style, as Matplotlib takes it, that goes with a family's colour; solid for any other colour."""
    place = place_of(colour)
    return _DASHES[place if place < 3 else 3 + place % 3]


def marker_of(colour: str) -> str:
    """The marker that goes with a family's colour; a circle for any other colour."""
    return _MARKERS[place_of(colour) % len(_MARKERS)]


def _palette_colour(i: int) -> str:
    """The palette's colours, and then the same once more, darker."""
    darker = 0.62 ** (i // len(PALETTE))
    channels = bytes.fromhex(PALETTE[i % len(PALETTE)][1:])
    return "#" + "".join(f"{round(darker * channel):02X}" for channel in channels)


# Of a colour, the position that it has been given for.
_PLACES = {_palette_colour(i): i for i in range(8 * len(PALETTE))}

"""What pictures show of a target over strings of bits, as plain arrays that can be sent to another process."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from core.captions import Caption
from core.drawing.scenes import Curve
from kinds.bits.truth import Bits, rows_of, shown
from kinds.contract import Judge, Showing, Target
from kinds.manifolds import manifold_of

_VIEWS = "kinds.bits.views"


class BitsPicture(NamedTuple):
    """What pictures show of a target; K strings of all 2ⁿ, the likeliest first."""

    name: str
    strings: np.ndarray  # [K, n] of zeros and ones
    masses: np.ndarray  # [K + 1], the exact probability of each, and of all others together
    lattice: tuple[int, int] | None  # rows and columns of a string, where it is a lattice
    valid: np.ndarray | None  # [K] bool, whether each is a right string; None: the target has no such set
    n_states: int
    empirical: bool = False  # the masses are shares of strings held out

    panels = "kinds.bits.panels.BitPanels"

    @property
    def energy(self) -> np.ndarray:
        """−ln p [K], infinite where there is no probability."""
        with np.errstate(divide="ignore"):
            return -np.log(self.masses[:-1])

    @property
    def words(self) -> str:
        """What an axis over the strings says."""
        if len(self.strings) == self.n_states:
            return f"all {self.n_states} strings, the likeliest first"
        return f"the {len(self.strings)} likeliest strings of {self.n_states:,}".replace(",", " ")


class DiscriminatorPicture(NamedTuple):
    """What a discriminator says."""

    curves: Mapping[str, Curve]  # `d_real` and `d_fake`, the mean D on the target's strings and on generated ones
    equilibrium: float
    d: np.ndarray  # [K], of the strings that are shown; all NaN of a model that has diverged


def scene_of(target: Target, judge: Judge, config: Any) -> BitsPicture:
    """The target in the form that its pictures take."""
    del config
    truth: Bits = target.truth
    chosen = shown(truth)
    return BitsPicture(
        name=target.name,
        strings=rows_of(chosen, truth.n),
        masses=judge.masses,
        lattice=truth.lattice,
        valid=None if truth.valid is None else truth.valid[chosen],
        n_states=2**truth.n,
        empirical=target.empirical,
    )


def _latent_sweep(arrays: Mapping[str, np.ndarray], curves: Mapping[str, Curve], scene: BitsPicture, colour: str):
    del curves, colour
    return manifold_of(arrays), scene


def _discriminator(arrays: Mapping[str, np.ndarray], curves: Mapping[str, Curve], scene: BitsPicture, colour: str):
    return DiscriminatorPicture(curves, float(arrays["equilibrium"]), np.asarray(arrays["d"])), scene, colour


def _energy(arrays: Mapping[str, np.ndarray], curves: Mapping[str, Curve], scene: BitsPicture, colour: str):
    del curves
    return np.asarray(arrays["energy"]), scene, colour


_CHAINS = "kinds.bits.chain_views"
_ISING = "kinds.bits.ising_views"

# Of Markov chains, and of the Ising model by them. Families share each.
CHAIN_VIEWS = {
    "traces": Showing(
        f"{_CHAINS}.traces",
        caption=Caption(
            "Traces of the chains",
            "Energy and magnetisation of four chains from their start on, and the running mean of all chains: until "
            "they wander about one level they remember their start, and a magnetisation that keeps its sign has not "
            "mixed.",
        ),
    ),
    "autocorrelation": Showing(
        f"{_CHAINS}.autocorrelation",
        caption=Caption(
            "Autocorrelation",
            "How much a chain remembers after t sweeps: τ sweeps are worth one independent value, and dashed lines "
            "are exact, from the moves themselves.",
        ),
    ),
    "mixing": Showing(
        f"{_CHAINS}.mixing",
        caption=Caption(
            "Mixing",
            "How soon samples of the chains are as good as samples of the target (left), when chains agree with each "
            "other (middle), and how many independent values a second buys (right).",
        ),
    ),
    "temperature": Showing(
        f"{_ISING}.temperature",
        caption=Caption(
            "Against temperature",
            "Magnetisation, energy, heat capacity and susceptibility by every sampler over the exact curves of this "
            "lattice and of the infinite one: points off the solid line are chains that were too short.",
        ),
        instead="eight temperatures",
    ),
    "slowing": Showing(
        f"{_ISING}.slowing",
        caption=Caption(
            "Critical slowing down",
            "The autocorrelation time of |m| at the critical coupling against the side of the lattice: the slope is "
            "the dynamic exponent z, near 2 for local moves and far below for clusters.",
        ),
        instead="five sizes, torus, K_c",
    ),
    "states": Showing(
        f"{_ISING}.states",
        caption=Caption(
            "Snapshots",
            "Spins of one chain below, at and above the critical temperature after the same number of sweeps: ordered, "
            "clusters of every size, and noise, where local moves may still be on their way below T_c.",
        ),
        instead="64 × 64, torus, three temperatures",
    ),
}

VIEWS = CHAIN_VIEWS | {
    "latent_sweep": Showing(
        f"{_VIEWS}.manifold",
        _latent_sweep,
        "mean",
        caption=Caption(
            "Latent map",
            "The probability of every bit at a grid of z: patterns that turn into one another show a code in use, "
            "and one grey image everywhere shows posterior collapse.",
        ),
    ),
    "discriminator": Showing(
        f"{_VIEWS}.discriminator",
        _discriminator,
        "d",
        caption=Caption(
            "Discriminator",
            "The mean output of the discriminator on real and on generated strings, and D of the likeliest strings at "
            "the end: where D is high the generator makes too few of them.",
        ),
    ),
    "energy": Showing(
        f"{_VIEWS}.energies",
        _energy,
        "energy",
        caption=Caption(
            "Energies",
            "The energy −ln q of the likeliest strings beside −ln p of the target: points above the bars are strings "
            "that the model makes too rarely.",
        ),
    ),
}

"""What the pictures of this kind's own show at the end of a run: the likeliest strings, and correlations of pairs."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from core.captions import Caption
from kinds.bits.hamming import spin_moments
from kinds.bits.rivals import moments
from kinds.bits.truth import Bits, numbers_of, rows_of, shown
from kinds.contract import Ended, Ending, Picture

N_PATTERNS = 8  # strings of the target and of every entry
_VIEWS = "kinds.bits.closing_views"


class Patterns(NamedTuple):
    """The k likeliest strings of the target or of an entry, the likeliest first."""

    name: str
    colour: str | None  # None: that of the target
    strings: np.ndarray  # [k, n] of zeros and ones
    p: np.ndarray  # [k], the target's probability of each
    q: np.ndarray | None  # [k], the entry's own; None: of the target itself
    valid: np.ndarray | None  # [k] bool; None: the target has no set of valid strings
    note: str  # how q is known, and how much of the sample is valid
    about: bool = False  # q is an estimate
    diverged: bool = False


class Correlations(NamedTuple):
    """Covariances of the spins s = 2x − 1 of every pair of bits; 0 on the diagonal, which is no pair."""

    target: np.ndarray  # [n, n]
    errors: Mapping[str, np.ndarray]  # entry -> [n, n], its covariances minus the target's; all NaN: it has diverged
    colours: Mapping[str, str]
    floor: float | None  # the median over samples of the target itself of the largest error; None: unknown


def patterns_of(ending: Ending) -> tuple:
    """What `closing_views.patterns` takes between the path and the title."""
    target = ending.target
    truth: Bits = target.truth
    likeliest = shown(truth)[:N_PATTERNS]
    likeliest = likeliest[np.isfinite(truth.log_p[likeliest])]
    # Where nothing is wrong there is nothing to tell apart.
    valid = None if truth.valid is None or truth.valid.all() else truth.valid
    n_strings = f"{len(truth.support):,}".replace(",", "\u2009")
    first = _patterns(f"target: {target.name}", None, likeliest, None, truth, valid)
    rows = [first._replace(note=f"{n_strings} strings have a probability above 0")]
    rows += [_of_entry(entry, truth, valid) for entry in ending.entries]
    return rows, truth.lattice, target.empirical


def correlations_of(ending: Ending) -> tuple[Correlations]:
    """What `closing_views.correlations` takes between the path and the title."""
    truth: Bits = ending.target.truth
    _, target = spin_moments(*moments(truth.p, truth.n))
    errors = {entry.name: _covariances(entry, truth.n) - target for entry in ending.entries}
    colours = {entry.name: entry.colour for entry in ending.entries}
    floor = ending.floors.get("pair_error")
    return (Correlations(target, errors, colours, None if floor is None else floor.median),)


def _of_entry(entry: Ended, truth: Bits, valid: np.ndarray | None) -> Patterns:
    if entry.diverged:
        nothing = np.empty(0, int)
        return _patterns(entry.name, entry.colour, nothing, np.empty(0), truth, valid)._replace(diverged=True)
    if entry.masses is not None:
        numbers = np.flatnonzero(entry.masses)
        q, how = entry.masses[numbers], "q: exact"
        right = None if valid is None else float(entry.masses[valid].sum())
    else:
        drawn = numbers_of(entry.x)
        numbers, counts = np.unique(drawn, return_counts=True)
        q, how = counts / len(drawn), "q: share of its sample"
        right = None if valid is None else float(valid[drawn].mean())
        if entry.log_q is not None:
            q = np.exp(entry.log_q(rows_of(numbers, truth.n, np.float64)))
            how = "q: estimate" if entry.estimated else "q: exact"
    order = np.argsort(-q, kind="stable")[:N_PATTERNS]
    note = how if right is None else f"{how} · {100 * right:.3g} % {'' if entry.x is None else 'of its sample '}valid"
    found = _patterns(entry.name, entry.colour, numbers[order], q[order], truth, valid)
    return found._replace(note=note, about=entry.log_q is not None and entry.estimated)


def _patterns(name, colour, numbers, q, truth: Bits, valid: np.ndarray | None) -> Patterns:
    own = None if valid is None else valid[numbers]
    return Patterns(name, colour, rows_of(numbers, truth.n), truth.p[numbers], q, own, "")


def _covariances(entry: Ended, n: int) -> np.ndarray:
    if entry.diverged:
        return np.full((n, n), np.nan)
    if entry.masses is not None:
        return spin_moments(*moments(entry.masses, n))[1]
    x = np.asarray(entry.x, np.float64)
    both = x.T @ x / len(x)
    return spin_moments(np.diagonal(both), both)[1]


PICTURES = {
    "bits_patterns.png": Picture(
        f"{_VIEWS}.patterns",
        patterns_of,
        Caption(
            "The likeliest strings",
            "The likeliest strings of the target and of every family, with the target's probability p and the family's "
            "own q: a family that has learned the target shows strings of the target, with q near p.",
        ),
    ),
    "bits_correlations.png": Picture(
        f"{_VIEWS}.correlations",
        correlations_of,
        Caption(
            "Correlations of pairs",
            "The covariance of every pair of bits under the target, and by how much that of every family's samples is "
            "off, on one scale: a pattern that looks like the target's, in the other colour, is a correlation that the "
            "family does not have.",
        ),
    ),
}

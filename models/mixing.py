"""How well Markov chains mix: what their quantities say from the start on, by ArviZ's statistics and Sokal's window.

τ is 1 + 2 Σ ρ(t) over the lags t ≥ 1, in sweeps: N successive values are worth N/τ independent ones. For an
autoregressive course of first order with factor φ it is (1 + φ)/(1 − φ).

References:
  Sokal, Monte Carlo Methods in Statistical Mechanics, 1996 (§3: the window, and the error of τ).
  Vehtari, Gelman, Simpson, Carpenter and Bürkner, Rank-Normalization, Folding, and Localization: An Improved R̂, 2021.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

WINDOW = 5  # a window is at least so many times τ
FEWEST = 50  # chains shorter than so many times τ say little about it
MIXED = 1.01  # chains with an R̂ below are taken to agree
ABSOLUTE = "|m|"


class Recording(NamedTuple):
    """What chains have done from their start on; C chains, T sweeps."""

    values: Mapping[str, np.ndarray]  # quantity -> [C, T + 1] float64, the first of the start
    turned: float  # share of the spins, or bits, that a sweep turns, of the second half
    seconds: float  # of a sweep of all chains
    exact: Mapping[str, float] = {}  # quantity -> its mean under the law that the chains are to reach, where known
    of_steps: bool = True  # a sweep is a training step of the run, so that its scores are those of the chains
    autocorrelation: Mapping[str, np.ndarray] = {}  # quantity -> [L], exact, where known; the first is 1
    acceptance: float | None = None  # share of the proposed moves that are accepted; None: none is ever rejected


class Tau(NamedTuple):
    """An autocorrelation time."""

    value: float  # sweeps
    error: float  # one standard error
    window: int  # lags that were summed
    trusted: bool  # the chains are long enough


def autocorrelation(values: np.ndarray) -> np.ndarray:
    """ρ(t) [T] of chains [C, T] around their common mean: autocovariances averaged over the chains, over that at 0.

    Args:
      values: not all equal.
    """
    n = values.shape[1]
    centred = values - values.mean()
    spectrum = np.fft.rfft(centred, 2 * n)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2)[:, :n].mean(0) / (n - np.arange(n))
    return covariance / covariance[0]


def tau_of(values: np.ndarray) -> Tau:
    """τ of chains [C, T] by the smallest window M ≥ 5 τ(M); its variance is 2 (2 M + 1)/(C T) of its square."""
    rho = autocorrelation(values)
    running = 2 * np.cumsum(rho) - 1
    # Values that alternate have a τ below 1, which a window of one lag or two would not see.
    wide = np.arange(len(rho)) >= WINDOW * np.maximum(running, 1)
    window = int(np.argmax(wide)) if wide.any() else len(rho) - 1
    value = max(float(running[window]), 1e-3)
    error = value * np.sqrt(2 * (2 * window + 1) / values.size)
    return Tau(value, float(error), window, bool(wide.any() and values.shape[1] >= FEWEST * value))


def stuck(values: np.ndarray) -> bool:
    """Whether no chain [C, T] of a quantity has ever moved: there is nothing to estimate then."""
    return bool((values == values[:, :1]).all())


def r_hats(values: np.ndarray) -> tuple[float, float]:
    """The rank-normalised split R̂ of chains [C, T], of the bulk and folded; NaN where it is not defined."""
    if np.ptp(values) == 0 or values.shape[1] < 4:
        return np.nan, np.nan
    with np.errstate(all="ignore"):
        return tuple(float(_arviz().rhat(values, method=method)) for method in ("z_scale", "folded"))


def ess_of(values: np.ndarray) -> tuple[float, float]:
    """The effective sample size of chains [C, T], of the bulk and of the tails (the 5 % and 95 % quantiles)."""
    bulk = _arviz().ess(values, method="bulk")
    tail = _arviz().ess(values, method="tail", prob=(0.05, 0.95))
    return float(bulk), float(tail)


def _arviz() -> Any:
    # Imported where chains are looked at: it takes as long as a small run, and most runs have none.
    from arviz_stats.base import array_stats

    return array_stats


def course_of(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sweeps t [G] and the larger R̂ [G] of the sweeps after t up to 2 t, where it is defined."""
    most = (values.shape[1] - 1) // 2
    starts = np.unique(np.geomspace(4, max(most, 4), 24).astype(int))
    found = [(t, max(r_hats(values[:, t + 1 : 2 * t + 1]))) for t in starts if t <= most]
    known = [each for each in found if np.isfinite(each[1])]
    return np.array([t for t, _ in known], int), np.array([value for _, value in known], float)


def burn_in(values: np.ndarray) -> int | None:
    """The sweep from which on R̂ stays below 1.01; None: it never does."""
    sweeps, course = course_of(values)
    above = np.flatnonzero(course >= MIXED)
    first = above[-1] + 1 if len(above) else 0
    return int(sweeps[first]) if first < len(sweeps) else None


def sign_flips(values: np.ndarray) -> float:
    """How often a chain [C, T] changes its sign, per 1 000 sweeps; zeros count as the sign before."""
    signs = np.sign(values)
    # Each zero takes the last sign that there was.
    place = np.maximum.accumulate(np.where(signs != 0, np.arange(signs.shape[1])[None], 0), axis=1)
    signs = np.take_along_axis(signs, place, axis=1)
    flips = (signs[:, 1:] * signs[:, :-1] < 0).sum(1).mean()
    return float(1000 * flips / max(signs.shape[1] - 1, 1))


def quantities(recording: Recording) -> dict[str, np.ndarray]:
    """All that is followed, [C, T + 1] each: with the magnetisation its size, which hides its sign."""
    found = dict(recording.values)
    if "m" in found:
        found[ABSOLUTE] = np.abs(found["m"])
    return found


def kept_half(values: np.ndarray) -> np.ndarray:
    """The second half of the chains: the first is left to the start."""
    return values[:, (values.shape[1] + 1) // 2 :]


def diagnosed(recording: Recording) -> dict[str, Any]:
    """What a report says of the chains, without any time on a clock: plain numbers, None where one is not defined."""
    values = next(iter(recording.values.values()))
    found: dict[str, Any] = {
        "chains": len(values),
        "sweeps": values.shape[1] - 1,
        "turned": recording.turned,
        "acceptance": recording.acceptance,
        "sign_flips": sign_flips(recording.values["m"]) if "m" in recording.values else None,
        "quantities": {name: _of_quantity(each) for name, each in quantities(recording).items()},
    }
    for name, exact in recording.exact.items():
        found["quantities"][name]["exact"] = exact
    return found


def _of_quantity(values: np.ndarray) -> dict[str, Any]:
    half = kept_half(values)
    found: dict[str, Any] = {"mean": float(half.mean()), "stuck": stuck(half), "exact": None}
    names = ("r_hat_bulk", "r_hat_folded", "ess_bulk", "ess_tail", "tau", "tau_error")
    found |= dict.fromkeys((*names, "tau_trusted", "burn_in"))
    if found["stuck"] or half.shape[1] < 8:
        return found
    with np.errstate(all="ignore"):
        numbers = [*r_hats(half), *ess_of(half)]
    tau = tau_of(half)
    numbers += [tau.value, tau.error]
    found |= {name: value if np.isfinite(value) else None for name, value in zip(names, numbers, strict=True)}
    return found | {"tau_trusted": tau.trusted, "burn_in": burn_in(values)}


def times(recording: Recording, diagnostics: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds of a sweep of one chain, and the bulk ESS that a second buys, by quantity."""
    n = diagnostics["chains"] * (diagnostics["sweeps"] // 2)
    seconds = recording.seconds / diagnostics["chains"]
    per_second = {
        name: each["ess_bulk"] / (n * seconds) if each["ess_bulk"] and seconds else None
        for name, each in diagnostics["quantities"].items()
    }
    return {"seconds_per_sweep": seconds, "ess_per_second": per_second}


def once_a_state(record: Callable[[Any], Recording]) -> Callable[[Any], Recording]:
    """Records every state once, as pictures and the report ask for the same."""
    known: dict[bytes, Recording] = {}

    def recorded(state):
        # By content: with averaged weights each call makes a state of its own.
        parts = jax.tree.leaves((state.params, getattr(state, "key_data", ())))
        content = b"".join(np.asarray(leaf).tobytes() for leaf in parts)
        if content not in known:
            known[content] = record(state)
        return known[content]

    return recorded

"""What pictures show of Markov chains: traces, autocorrelations, and how long they take to mix."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from models import mixing
from models.base import View
from models.mixing import Recording

TRACES = 4  # chains whose course is shown
_MOST_LAGS = 400


def views_of(record: Callable[[Any], Recording]) -> dict[str, View]:
    """The three pictures of chains, which families share."""

    def shown(arrays):
        return lambda state: arrays(record(state))

    return {
        "mcmc_traces": View("traces", shown(traces)),
        "mcmc_autocorrelation": View("autocorrelation", shown(autocorrelations)),
        "mcmc_mixing": View("mixing", shown(courses)),
    }


def traces(recording: Recording) -> dict[str, np.ndarray]:
    """A few chains of every quantity [4, T + 1] and the running mean of all [T + 1]; exact means where known."""
    found = {"of_steps": np.array(float(recording.of_steps))}
    for name, values in recording.values.items():
        found[f"trace {name}"] = values[:TRACES]
        means = values.mean(0)
        found[f"mean {name}"] = np.cumsum(means) / np.arange(1, len(means) + 1)
    return found | _exact(recording)


def autocorrelations(recording: Recording) -> dict[str, np.ndarray]:
    """ρ [L] of every quantity that moves with τ, its error and whether it is trusted; exact courses where known."""
    found: dict[str, np.ndarray] = {}
    for name, values in mixing.quantities(recording).items():
        half = mixing.kept_half(values)
        if mixing.stuck(half) or half.shape[1] < 2:
            found[f"stuck {name}"] = np.array(1.0)
            continue
        tau = mixing.tau_of(half)
        found[f"rho {name}"] = mixing.autocorrelation(half)[: min(2 * tau.window + 8, _MOST_LAGS)]
        found[f"tau {name}"] = np.array([tau.value, tau.error, float(tau.trusted)])
    for name, values in recording.autocorrelation.items():
        found[f"exact {name}"] = values
    return found


def courses(recording: Recording) -> dict[str, np.ndarray]:
    """R̂ of windows [2, G], sweep and value, of every quantity; ESS a second by τ and time (−1: stuck, 0: unknown)."""
    found: dict[str, np.ndarray] = {"of_steps": np.array(float(recording.of_steps))}
    diagnostics = mixing.diagnosed(recording)
    for name, values in mixing.quantities(recording).items():
        sweeps, course = mixing.course_of(values)
        found[f"r_hat {name}"] = np.stack([sweeps.astype(float), course])
        burn_in = diagnostics["quantities"][name]["burn_in"]
        found[f"burn_in {name}"] = np.array(-1.0 if burn_in is None else float(burn_in))
    for name, value in mixing.times(recording, diagnostics)["ess_per_second"].items():
        # Chains that do not move are worth nothing; of a few sweeps nobody knows what they are worth.
        unknown = -1.0 if diagnostics["quantities"][name]["stuck"] else 0.0
        found[f"per_second {name}"] = np.array(unknown if value is None else value)
    return found


def _exact(recording: Recording) -> Mapping[str, np.ndarray]:
    return {f"exact {name}": np.array(value) for name, value in recording.exact.items()}

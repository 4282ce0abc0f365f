"""The registry of kinds. A new kind is one package beside this module and one line in KINDS."""

from typing import Any

from kinds.bins.kind import KIND as BINS
from kinds.contract import Divergence, Kind, Target
from kinds.real.kind import KIND as REAL

KINDS: dict[str, Kind] = {kind.name: kind for kind in (REAL, BINS)}


def kind_of(target: Target) -> Kind:
    """The kind that a target's events are of."""
    return KINDS[target.kind]


def divergence(model: Any, state: Any, target: Target) -> Divergence | None:
    """KL(p ‖ q) of a trained model without a sample, or why it is unknown; None where it is not defined."""
    return kind_of(target).divergence(model, state, target)


def kl_exact(model: Any, state: Any, target: Target) -> float | None:
    """The value of `divergence`, NaN where it is unknown; None where it is not defined."""
    found = divergence(model, state, target)
    return None if found is None else found.value

"""The exact divergence of a model from a target, by whatever the target's kind has for it."""

from typing import Any

from kinds.contract import Divergence, Target
from kinds.registry import kind_of


def divergence(model: Any, state: Any, target: Target) -> Divergence | None:
    """KL(p ‖ q), or why it is unknown; None where it is not defined."""
    return kind_of(target).divergence(model, state, target)


def kl_exact(model: Any, state: Any, target: Target) -> float | None:
    """The value of `divergence`, NaN where it is unknown; None where it is not defined."""
    found = divergence(model, state, target)
    return None if found is None else found.value

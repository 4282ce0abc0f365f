"""The registry of kinds. A new kind is one package beside this module and one line in KINDS."""

from kinds.bins.kind import KIND as BINS
from kinds.contract import Kind, Target
from kinds.real.kind import KIND as REAL

KINDS: dict[str, Kind] = {kind.name: kind for kind in (REAL, BINS)}


def kind_of(target: Target) -> Kind:
    """The kind that a target's events are of."""
    return KINDS[target.kind]

"""The registry of kinds. A new kind is one package beside this module and one line in KINDS."""

from kinds.bins.kind import KIND as BINS
from kinds.bits.kind import KIND as BITS
from kinds.contract import Kind, Target
from kinds.images.kind import KIND as IMAGES
from kinds.lattices.kind import KIND as LATTICES
from kinds.real.kind import KIND as REAL

KINDS: dict[str, Kind] = {kind.name: kind for kind in (REAL, BINS, BITS, LATTICES, IMAGES)}


# The settings of kinds by their names in the config block.
SETTINGS: dict[str, type] = {
    kind.settings.label("").rstrip("."): kind.settings for kind in KINDS.values() if kind.settings
}


def kind_of(target: Target) -> Kind:
    """The kind that a target's events are of."""
    return KINDS[target.kind]

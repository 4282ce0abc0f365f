"""Metropolis sampling of an Ising lattice: every spin is turned with probability min(1, exp(−K ΔE)).

It turns spins more often than the heat bath and mixes somewhat faster. On a checkerboard a spin without a field turns
with probability ½ (`models.lattice_moves` says why). It has no parameter and needs no training: a step is one sweep.

Reference: Metropolis, Rosenbluth, Rosenbluth, Teller and Teller, Equation of State Calculations, 1953.
"""

from dataclasses import dataclass
from typing import Any

from core.errors import UserError
from models import lattice_chains
from models.base import Model

LAWS, NEEDS_LATTICE = lattice_chains.LAWS, True
_WEAKEST = 0.01  # |K| below which nearly every spin turns in every sweep


@dataclass(frozen=True)
class Config(lattice_chains.LocalSettings, of="METROPOLIS"):
    """Settings of Metropolis sampling."""


def build(config: Any, target: Any) -> Model:
    """The sampler; the budget does not apply.

    Raises:
      UserError: the target's events have no lattice, or a coupling so weak that all spins turn in every sweep.
    """
    lattice = lattice_chains.lattice_of("METROPOLIS", target)
    if config.metropolis.order != "random" and abs(lattice.coupling) < _WEAKEST:
        raise UserError(
            f"at BITS.coupling = {lattice.coupling:g} a checkerboard sweep turns nearly every spin: take at least "
            f"{_WEAKEST} in size, or set METROPOLIS.order = 'random'"
        )
    return lattice_chains.build_local("METROPOLIS", config, target, metropolis=True)

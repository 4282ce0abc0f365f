"""Swendsen and Wang's cluster moves on an Ising lattice: whole clusters of aligned spins are turned at once.

Every bond whose spins it aligns is kept with probability 1 − exp(−2|K|), and each cluster of kept bonds is turned with
probability ½. Where local moves slow down at K_c, as the square of the side, clusters hardly do. It has no parameter
and needs no training: a step is one sweep.

Reference: Swendsen and Wang, Nonuniversal Critical Dynamics in Monte Carlo Simulations, 1987.
"""

from dataclasses import dataclass
from typing import Any

from models import cluster_spectra, lattice_chains, lattice_moves
from models.base import Model

LAWS, NEEDS_LATTICE = lattice_chains.LAWS, True


@dataclass(frozen=True)
class Config(lattice_chains.ChainSettings, of="SWENDSEN_WANG"):
    """Settings of cluster moves."""


def build(config: Any, target: Any) -> Model:
    """The sampler; the budget does not apply.

    Raises:
      UserError: the target's events have no lattice.
    """
    return lattice_chains.build(
        "SWENDSEN_WANG", config, target, lattice_moves.clusters, cluster_spectra.exact_autocorrelations
    )

"""Gibbs sampling of an Ising lattice: every spin drawn anew from its law given its neighbours (heat bath).

P(sᵢ = 1 | others) = 1/(1 + exp(−2 K Σⱼ Jᵢⱼ sⱼ)), site by site. It has no parameter and needs no training: a step is one
sweep of all chains, and the chains are the sample.

References:
  Glauber, Time-Dependent Statistics of the Ising Model, 1963.
  Geman and Geman, Stochastic Relaxation, Gibbs Distributions, and the Bayesian Restoration of Images, 1984.
"""

from dataclasses import dataclass
from typing import Any

from models import lattice_chains, lattice_moves, lattice_spectra
from models.base import Model

LAWS, NEEDS_LATTICE = lattice_chains.LAWS, True


@dataclass(frozen=True)
class Config(lattice_chains.LocalSettings, of="GIBBS"):
    """Settings of Gibbs sampling."""


def build(config: Any, target: Any) -> Model:
    """The sampler; the budget does not apply.

    Raises:
      UserError: the target's events have no lattice.
    """
    at_random = config.gibbs.order == "random"
    of_order = lattice_moves.random_order if at_random else lattice_moves.checkerboard
    return lattice_chains.build(
        "GIBBS",
        config,
        target,
        lambda lattice: of_order(lattice, metropolis=False),
        lambda lattice: lattice_spectra.exact_autocorrelations(lattice, False, at_random),
    )

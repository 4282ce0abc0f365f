"""Gibbs sampling of an Ising lattice: every spin drawn anew from its law given its neighbours (heat bath).

P(sᵢ = 1 | others) = 1/(1 + exp(−2 K Σⱼ Jᵢⱼ sⱼ)), site by site. It has no parameter and needs no training: a step is one
sweep of all chains, and the chains are the sample.

References:
  Glauber, Time-Dependent Statistics of the Ising Model, 1963.
  Geman and Geman, Stochastic Relaxation, Gibbs Distributions, and the Bayesian Restoration of Images, 1984.
"""

from dataclasses import dataclass
from typing import Any

from models import lattice_chains
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
    return lattice_chains.build_local("GIBBS", config, target, metropolis=False)

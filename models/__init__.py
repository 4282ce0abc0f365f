"""The registry of families. A new family is one file here and one line in MODELS."""

import dataclasses
from typing import Any

from core.errors import UserError
from core.settings import traced
from models import (
    bbvi,
    bernoulli_mixture,
    chow_liu,
    gan,
    gibbs,
    gmm,
    histogram,
    kde,
    kmeans,
    metropolis,
    ppca,
    product,
    rbm,
    swendsen_wang,
    uniform,
    vae,
    vae_gan,
    vbgmm,
    wgan,
    wgan_gp,
)
from models.base import Model, SweepView, is_on

MODELS = {
    "GAN": gan,
    "VAE": vae,
    "RBM": rbm,
    "WGAN": wgan,
    "WGAN_GP": wgan_gp,
    "HISTOGRAM": histogram,
    "KDE": kde,
    "GMM": gmm,
    "KMEANS": kmeans,
    "VBGMM": vbgmm,
    "BBVI": bbvi,
    "BERNOULLI_MIXTURE": bernoulli_mixture,
    "UNIFORM": uniform,
    "PRODUCT": product,
    "CHOW_LIU": chow_liu,
    "PPCA": ppca,
    "GIBBS": gibbs,
    "METROPOLIS": metropolis,
    "SWENDSEN_WANG": swendsen_wang,
    "VAE_GAN": vae_gan,
}


def sweeps() -> dict[str, tuple[str, SweepView]]:
    """What goes by a family's name elsewhere and is a sweep here -> the family whose, and which."""
    return {
        view.known_as: (name, view)
        for name, family in MODELS.items()
        for view in getattr(family, "SWEEP_VIEWS", {}).values()
    }


def drawing(law: str, lattice: bool = False) -> list[str]:
    """The families that can draw events of a law, by its name; with a lattice those that need one, too."""
    able = [name for name, family in MODELS.items() if family.LAWS is None or law in family.LAWS]
    return [name for name in able if lattice or not getattr(MODELS[name], "NEEDS_LATTICE", False)]


def build(name: str, config: Any, target: Any) -> Model:
    """A family's model; training takes its traced settings as arguments, so that runs share programs.

    Args:
      name: of the family.
      config: the run's configuration.
      target: the distribution to learn.

    Raises:
      UserError: the family cannot be built for this configuration.
    """
    family, law = MODELS[name], target.event.law.name
    settings = getattr(config, name.lower()).for_law(law)
    if name not in drawing(law, lattice=True):
        raise UserError(
            f"{name} draws events of the law {' or '.join(map(repr, family.LAWS))}, but those of {target.name} have "
            f"{law!r}; {', '.join(drawing(law, target.event.lattice is not None))} can draw them"
        )

    def with_numbers(numbers):
        own = dataclasses.replace(settings, **numbers)
        return family.build(dataclasses.replace(config, **{name.lower(): own}), target)

    # Off is another program.
    numbers = {n: getattr(settings, n) for n in traced(family.Config) if is_on(getattr(settings, n))}
    return with_numbers({})._replace(numbers=numbers, with_numbers=with_numbers)

"""The work that every way does: the same architecture, batch, optimiser and losses on fresh draws of the target.

Plain numbers without JAX, since a PyTorch process reads them too.
"""

import dataclasses

from core import places

ROOT = places.ROOT


@dataclasses.dataclass(frozen=True)
class Work:
    """One piece of work, with the suite's constants of the same names."""

    title: str
    families: tuple[str, ...]
    target_type: str
    num_bins: int
    parameter_budget: int
    hidden_layers: int
    batch_size: int
    block: int  # updates of one timed call of the suite; the others take a share of it


WORKS = {
    "small": Work("2D_GMM · 310 parameters", ("GAN", "VAE", "RBM"), "2D_GMM", 0, 310, 1, 128, 2_000),
    "binned": Work(
        "1D_TRIMODAL, 20 bins · 1 600 parameters", ("GAN", "VAE", "RBM"), "1D_TRIMODAL", 20, 1600, 2, 128, 2_000
    ),
    "large": Work(
        "1D_TRIMODAL, 20 bins · 10⁶ parameters · batch 1 024", ("GAN", "VAE"), "1D_TRIMODAL", 20, 10**6, 2, 1024, 10
    ),
}
# Beside the simple loops alone: no PyTorch, no roofline.
BITS = {
    "bits": Work("BITS_ISING, 4 × 4 · 1 000 parameters", ("GAN", "VAE", "RBM"), "BITS_ISING", 0, 1000, 2, 128, 2_000)
}
ALL = {**WORKS, **BITS}


def config_of(work: Work, family: str, settings: dict | None = None):
    """The suite's configuration for a piece of work."""
    import generative_models_GAN_VAE_RBM_benchmarks as script
    from benchmark.asked.config import from_constants
    from models import MODELS

    constants = {name: value for name, value in vars(script).items() if name.isupper()}
    constants |= {
        name.upper(): getattr(work, name)
        for name in ("target_type", "num_bins", "parameter_budget", "hidden_layers", "batch_size")
    }
    constants["MODELS"] = (family,)
    # The other ways know no default of it that depends on the event.
    latent = {"latent_dim": MODELS[family].LATENT_DIMS[0]} if hasattr(MODELS[family], "LATENT_DIMS") else {}
    constants[family] = {**constants[family], **latent, **(settings or {})}
    return from_constants(constants)

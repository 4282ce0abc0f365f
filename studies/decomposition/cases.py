"""What is decomposed: targets, budgets, families, and the configuration of each."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.asked.config import from_constants
from kinds.real.targets import LINES, OF_FILES

N_BINS = 20
N_SEEDS = 4
BUDGETS = (310, 1600)
BITS_BUDGETS = (300,)  # as the study of bit strings has it


class Case(NamedTuple):
    """One target as it is asked for."""

    name: str  # in tables
    constants: Mapping[str, Any]  # upper-case name -> value, where it differs from the config block
    budgets: tuple[int, ...]
    families: tuple[str, ...]


_OF_BITS = ("GAN", "WGAN_GP", "VAE", "RBM", "BERNOULLI_MIXTURE")
_OF_NUMBERS = ("GAN", "WGAN", "WGAN_GP", "VAE", "RBM", "GMM")


def _bits(name: str, target_type: str, **settings: Any) -> Case:
    bits = {**script.BITS, **settings}
    return Case(name, {"TARGET_TYPE": target_type, "NUM_BINS": 0, "BITS": bits}, BITS_BUDGETS, _OF_BITS)


def _numbers(name: str, target_type: str, n_bins: int = 0) -> Case:
    return Case(name, {"TARGET_TYPE": target_type, "NUM_BINS": n_bins}, BUDGETS, _OF_NUMBERS)


_LINES = [name for name in LINES if name not in OF_FILES]
# A Poisson target has no density: it exists with bins alone.
CASES = (
    _bits("bars and stripes 4 × 4", "BITS_BARS_STRIPES"),
    _numbers(f"1D_TRIMODAL, {N_BINS} bins", "1D_TRIMODAL", N_BINS),
    _bits("cardinality 6 of 12", "BITS_CARDINALITY"),
    _bits("Gaussian, 8 bits", "BITS_GAUSSIAN", n=8),
    _bits("log-normal, 3 bits", "BITS_LOGNORMAL", n=3),
    _bits("Ising 4 × 4 at K_c", "BITS_ISING"),
    *(_numbers(f"{name}, {N_BINS} bins", name, N_BINS) for name in _LINES if name != "1D_TRIMODAL"),
    *(_numbers(f"{name}, continuous", name) for name in _LINES if name != "1D_POISSON"),
    *(_numbers(name, name) for name in ("2D_GMM", "2D_RING", "2D_MOONS")),
)


def configured(case: Case, budget: int) -> Any:
    """The configuration of a case at a budget: the config block's but for the target and the budget."""
    constants = {**vars(script), **case.constants, "PARAMETER_BUDGET": budget, "NUM_SEEDS": N_SEEDS}
    return dataclasses.replace(from_constants(constants))


def slug(case: Case, budget: int) -> str:
    """A name for files."""
    return "".join(c if c.isalnum() else "_" for c in f"{case.name} {budget}")

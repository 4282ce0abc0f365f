"""What samplers of an Ising lattice share: their settings, and the model that their moves make. It has no parameter.

The State is the chains, a training step is one sweep of all of them, and a sample is what the chains are at that
moment. A sample of as many rows as there are chains has independent rows whose law is that of a chain after so many
sweeps: its scores show how long the chains take to forget their start.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from core import prng
from core.errors import UserError
from core.settings import Settings, setting
from models import lattice_moves, lattice_scans, lattice_spectra, mixing
from models.base import Model
from models.lattice_moves import Moves
from models.lattices import WORD, Lattice, energy_and_magnetisation, unpacked
from models.mixing_views import views_of

# The laws of events that they can draw.
LAWS = ("bits", "spins")


@dataclass(frozen=True)
class ChainSettings(Settings):
    """Settings of all samplers of a lattice."""

    n_chains: int = setting(0, "chains at once, in steps of 32; 0: one for every row of a score", low=0)
    start: Literal["random", "up"] = setting("random", "spins that chains start with")
    recorded_chains: int = setting(32, "chains of their own behind the diagnostics, in steps of 32", low=1)
    recorded_sweeps: int = setting(2000, "sweeps of these, at most N_STEPS", low=8)


@dataclass(frozen=True)
class LocalSettings(ChainSettings):
    """Those of local moves."""

    order: Literal["checkerboard", "random"] = setting("checkerboard", "in which a sweep takes the sites")


class State(NamedTuple):
    """What training carries."""

    params: tuple[()]
    words: jax.Array  # [height, width, W] uint32, 32 chains a word
    key_data: jax.Array  # [2] uint32, of the recording


class Info(NamedTuple):
    """Scalars of a sweep."""

    loss: jax.Array  # mean of K E over the chains: −ln of the unnormalised probability, in nats
    turned: jax.Array  # share of the spins that differ after the sweep
    magnetisation: jax.Array  # mean |m| of the chains


def lattice_of(name: str, target: Any) -> Lattice:
    """The lattice of a target's events.

    Raises:
      UserError: they have none.
    """
    if target.event.lattice is None:
        raise UserError(
            f"{name} moves the spins of a lattice, and {target.name} has none: set TARGET_TYPE = BITS_ISING"
        )
    return target.event.lattice


def build_local(name: str, config: Any, target: Any, metropolis: bool) -> Model:
    """The model of a sampler that moves one site at a time, in the order that its `LocalSettings` ask for.

    Args:
      name: of the family.
      config: the run's configuration.
      target: with a lattice.
      metropolis: by Metropolis's rule; otherwise by the heat bath.
    """
    at_random = getattr(config, name.lower()).order == "random"
    of_order = lattice_moves.random_order if at_random else lattice_moves.checkerboard
    return build(
        name,
        config,
        target,
        lambda lattice: of_order(lattice, metropolis),
        lambda lattice: lattice_spectra.exact_autocorrelations(lattice, metropolis, at_random),
    )


def build(
    name: str,
    config: Any,
    target: Any,
    moves_of: Callable[[Lattice], Moves],
    exact: Callable[[Lattice], dict[str, np.ndarray]],
) -> Model:
    """The model of a sampler.

    Args:
      name: of the family.
      config: the run's configuration; the family's own settings are a `ChainSettings`.
      target: with a lattice.
      moves_of: (lattice) -> the moves of a sweep.
      exact: (lattice) -> exact ρ(t) of these moves by quantity, of those that it knows.
    """
    settings, lattice = getattr(config, name.lower()), lattice_of(name, target)
    moves, coupling = moves_of(lattice), abs(lattice.coupling)
    n_words = -(-(settings.n_chains or config.n_eval_samples) // WORD)

    def init(key, data):
        del data
        words = started(settings.start, key, lattice, n_words)
        return State((), words, jax.random.key_data(jax.random.fold_in(key, 1)))

    def step(state, batch, noise):
        del batch
        words = moves.sweep(state.words, noise, coupling)
        energy, magnetisation = energy_and_magnetisation(lattice, words)
        info = Info(
            lattice.coupling * jnp.mean(energy.astype(jnp.float32)),
            turned_share(state.words, words),
            jnp.mean(jnp.abs(magnetisation).astype(jnp.float32)) / lattice.n_sites,
        )
        return state._replace(words=words), info

    def sample(key, state, n):
        del key
        rows = unpacked(state.words).reshape(lattice.n_sites, -1).T.astype(jnp.float32)
        # Fewer chains than rows stand there several times.
        return rows[np.arange(n) % len(rows)]

    record = mixing.once_a_state(_recorder(lattice, moves, settings, config.n_steps, exact))
    scans = lattice_scans.views_of(lattice, moves_of, config.n_steps) if lattice.torus and lattice.alike else {}
    return Model(
        name=name,
        n_params=0,
        width=0,
        init=init,
        noise=lambda key: moves.noise(key, n_words),
        step=step,
        sample=sample,
        sample_mean=sample,
        n_data_rows=1,
        views={**views_of(record), **scans},
        info_units={"turned": "share of spins", "magnetisation": "mean |m|"},
        loss_reference=None if lattice.mean_energy is None else (lattice.coupling * lattice.mean_energy, "exact"),
        record=record,
    )


def started(start: str, key: jax.Array, lattice: Lattice, n_words: int) -> jax.Array:
    """Words [height, width, W] of chains before their first sweep."""
    shape = (lattice.height, lattice.width, n_words)
    return jnp.full(shape, 0xFFFFFFFF, np.uint32) if start == "up" else jax.random.bits(key, shape, np.uint32)


def turned_share(before: jax.Array, after: jax.Array) -> jax.Array:
    """The share of spins that differ, [] float32."""
    return jnp.mean(jax.lax.population_count(before ^ after).astype(np.float32)) / WORD


def _recorder(lattice: Lattice, moves: Moves, settings: Any, n_steps: int, exact: Callable) -> Callable:
    """(state) -> a Recording of chains of their own, from their start on; the sweeps are timed without compilation."""
    n_words = -(-settings.recorded_chains // WORD)
    n_sweeps = min(settings.recorded_sweeps, n_steps)
    # The same for all seeds.
    known_courses = functools.cache(lambda: exact(lattice))

    def accepted(words):
        return moves.acceptance(words, abs(lattice.coupling)) if moves.acceptance else jnp.float32(1)

    @jax.jit
    def run(key_data):
        key_start, key_sweeps = jax.random.split(prng.unrolled(key_data))
        words = started(settings.start, key_start, lattice, n_words)

        def sweep(words, i):
            new = moves.sweep(words, moves.noise(jax.random.fold_in(key_sweeps, i), n_words), abs(lattice.coupling))
            moved = turned_share(words, new), accepted(new)
            return new, (*energy_and_magnetisation(lattice, new), *moved)

        _, (energy, magnetisation, *moved) = jax.lax.scan(sweep, words, jnp.arange(n_sweeps))
        first = energy_and_magnetisation(lattice, words)
        return *(jnp.concatenate([a[None], b]) for a, b in zip(first, (energy, magnetisation), strict=True)), *moved

    def record(state):
        compiled = run.lower(state.key_data).compile()
        begun = time.perf_counter()
        energy, magnetisation, *moved = jax.device_get(compiled(state.key_data))
        seconds = (time.perf_counter() - begun) / n_sweeps
        values = {"e": energy.T / lattice.n_sites, "m": magnetisation.T / lattice.n_sites}
        # A state and its mirror image are alike likely.
        known = {"m": 0.0}
        for quantity, mean in (("e", lattice.mean_energy), (mixing.ABSOLUTE, lattice.mean_size)):
            if mean is not None:
                known[quantity] = mean / lattice.n_sites
        turned, acceptance = (float(mixing.kept_half(each[None]).mean()) for each in moved)
        return mixing.Recording(
            values, turned, seconds, known,
            autocorrelation=known_courses(), acceptance=acceptance if moves.acceptance else None,
        )  # fmt: skip

    return record

"""What is known of a distribution over strings of bits: everything, by enumeration.

A string of n bits is a row [n] of zeros and ones, and has a number: the binary one whose most significant digit is its
first bit, bit 0. Of a lattice bits are row-major. `models.laws.bit_states` says the same in JAX.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from kinds.contract import Codec, Target
from models.laws import Event, bits

MOST_SHOWN = 48  # strings that a panel shows, and the rest of the probability beside them
_ALL_SHOWN = 64


class Bits(NamedTuple):
    """The truth of targets of the kind `bits`; S strings have probability above 0."""

    n: int
    log_p: np.ndarray  # [2ⁿ] float64, −∞ where there is no probability
    lattice: tuple[int, int] | None = None  # rows and columns, where there are some
    valid: np.ndarray | None = (
        None  # [2ⁿ] bool, the strings that the target holds to be right; None: it has no such set
    )
    energy: np.ndarray | None = None  # [2ⁿ], in units of |J|
    words: str = ""  # what titles and tables say of its variant

    @property
    def p(self) -> np.ndarray:
        """[2ⁿ] probabilities."""
        return np.exp(self.log_p)

    @property
    def support(self) -> np.ndarray:
        """[S] numbers of the strings that have a probability, in order."""
        return np.flatnonzero(np.isfinite(self.log_p))


def shown(truth: Bits) -> np.ndarray:
    """The numbers of the strings that panels show, the likeliest first: all up to 64 of them, otherwise 48."""
    order = np.argsort(-truth.log_p, kind="stable")
    return order if len(order) <= _ALL_SHOWN else order[:MOST_SHOWN]


def numbers_of(rows: np.ndarray) -> np.ndarray:
    """Rows [m, n] of zeros and ones -> their numbers [m]."""
    rows = np.asarray(rows) > 0.5
    return rows @ (1 << np.arange(rows.shape[1] - 1, -1, -1, dtype=np.int64))


def rows_of(numbers: np.ndarray, n: int, dtype: Any = np.float32) -> np.ndarray:
    """Numbers [m] -> rows [m, n] of zeros and ones."""
    return (np.asarray(numbers)[:, None] >> np.arange(n - 1, -1, -1) & 1).astype(dtype)


def bits_target(name: str, log_p: np.ndarray, **known: Any) -> Target:
    """A target of the kind `bits`.

    Args:
      name: of the target.
      log_p: [2ⁿ] nats, of all strings up to a constant.
      known: other fields of a `Bits`; of a `Target` those named `train_rows`, `held_out_rows` and `empirical`; and
        `moves`, the lattice of an Ising model.
    """
    log_p = log_p - scipy.special.logsumexp(log_p)
    # What float64 cannot hold has no probability.
    log_p = np.where(np.exp(log_p) > 0, log_p, -np.inf)
    n = int(np.log2(len(log_p)))
    of_target = {field: known.pop(field) for field in ("train_rows", "held_out_rows", "empirical") if field in known}
    moves = known.pop("moves", None)
    truth = Bits(n, log_p, **known)

    def log_prob(x):
        return log_p[numbers_of(x)]

    def grid(plane=100):
        del plane
        rows = jnp.asarray(rows_of(shown(truth), n))
        return rows, rows

    return Target(
        name=name,
        kind="bits",
        dim=n,
        codec=_same(Event(n, truth.lattice or (n,), bits(n), lattice=moves)),
        sample=sampler(truth),
        truth=truth,
        log_prob=log_prob,
        log_prob_kind="exact",
        entropy=float(scipy.special.entr(truth.p).sum()),
        grid=grid,
        **of_target,
    )


def _same(event: Event) -> Codec:
    return Codec(event, lambda x: x, lambda x: x, lambda x: x)


def sampler(truth: Bits) -> Callable[[jax.Array, int], jax.Array]:
    """(key, n) -> rows [n, bits], drawn by inversion: first a group of strings of like probability, then one of it.

    Within a group probabilities are shares of its own, so that float32 has digits for the rarest as well.
    """
    support = truth.support
    support = support[np.argsort(-truth.log_p[support], kind="stable")]
    size = 1 << (max(1, int(np.ceil(np.log2(len(support))))) + 1) // 2
    missing = -len(support) % size
    strings = np.pad(support, (0, missing), mode="edge").reshape(-1, size).astype(np.int32)
    mass = np.pad(truth.p[support], (0, missing)).reshape(-1, size)
    total = mass.sum(1)
    groups = np.cumsum(total)[:-1] / total.sum()
    within = (np.cumsum(mass, axis=1)[:, :-1] / total[:, None]).astype(np.float32)
    states = bits(truth.n).states

    def sample(key, n):
        u = jax.random.uniform(key, (2, n))
        group = jnp.searchsorted(jnp.asarray(groups, jnp.float32), u[0], side="right")
        # Not beyond what is only there to fill the last group.
        place = jnp.sum(u[1][:, None] >= jnp.asarray(within)[group], axis=1)
        return states.event(jnp.asarray(strings)[group, place])

    return sample

"""Spin updates a second on 64 × 64 sites with 64 chains, in turn with NumPy and C, and what clusters buy at K_c.

    python3 -m studies.speed.lattice [--rounds 5]

All three make checkerboard sweeps of the heat bath. NumPy draws float32 numbers by PCG64 for all spins of a colour; the
C loop, where there is a `cc`, draws by xorshift128+ and looks thresholds up. They take turns, so that all meet the same
load; a ratio is the median over rounds of times of one round.
"""

import argparse
import ctypes
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from core import prng
from kinds.bits.ising import CRITICAL
from models import mixing
from models.lattice_moves import Moves, checkerboard, clusters
from models.lattice_scans import follower
from models.lattices import WORD, rectangle

SIDE, CHAINS = 64, 64
_SWEEPS = {"JAX": 100, "NumPy": 10, "C": 20}
_C = r"""
#include <stdint.h>
static inline uint64_t next(uint64_t *s) {
    uint64_t a = s[0], b = s[1];
    s[0] = b; a ^= a << 23; s[1] = a ^ b ^ (a >> 17) ^ (b >> 26);
    return s[1] + b;
}
void sweeps(int8_t *spins, int side, int chains, int n, const uint32_t *level, uint64_t *state) {
    for (int t = 0; t < n; t++) for (int c = 0; c < chains; c++) {
        int8_t *s = spins + (long)c * side * side;
        for (int colour = 0; colour < 2; colour++) for (int i = 0; i < side; i++) {
            int8_t *row = s + i * side, *up = s + (i + side - 1) % side * side, *down = s + (i + 1) % side * side;
            for (int j = (i + colour) & 1; j < side; j += 2) {
                int field = up[j] + down[j] + row[(j + side - 1) % side] + row[(j + 1) % side];
                row[j] = (uint32_t)(next(state) >> 32) < level[field / 2 + 2] ? 1 : -1;
            }
        }
    }
}
"""


def of_jax() -> Callable[[int], None]:
    """(sweeps) -> nothing: the program's own."""
    lattice = rectangle(SIDE, SIDE, True, CRITICAL)
    moves = checkerboard(lattice, metropolis=False)

    @jax.jit
    def run(words, n):
        key = prng.unrolled(jax.random.key(0))

        def sweep(i, words):
            noise = moves.noise(jax.random.fold_in(key, i), CHAINS // WORD)
            # Written out before it is used, as in training: fused with its use the hash is computed again and again.
            return moves.sweep(words, jax.lax.optimization_barrier(noise), CRITICAL)

        return jax.lax.fori_loop(0, n, sweep, words)

    words = jnp.zeros((SIDE, SIDE, CHAINS // WORD), jnp.uint32)
    return lambda n: jax.block_until_ready(run(words, n))


def of_numpy() -> Callable[[int], None]:
    """The same on int8 spins [side, side, chains], a colour at once by masks."""
    generator = np.random.default_rng(0)
    spins = np.ones((SIDE, SIDE, CHAINS), np.int8)
    even = (np.indices((SIDE, SIDE)).sum(0) % 2 == 0)[..., None]
    levels = (1 / (1 + np.exp(-2 * CRITICAL * np.arange(-4, 5)))).astype(np.float32)

    def run(n):
        nonlocal spins
        for _ in range(n):
            u = generator.random(spins.shape, np.float32)
            for mask in (even, ~even):
                field = sum(np.roll(spins, shift, axis) for axis in (0, 1) for shift in (1, -1))
                spins = np.where(mask, np.where(u < levels[field + 4], np.int8(1), np.int8(-1)), spins)

    return run


def of_c() -> Callable[[int], None] | None:
    """The same in C on one core; None without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "sweeps.c", Path(folder) / "sweeps.so"
        source.write_text(_C)
        subprocess.run([compiler, "-O3", "-march=native", "-shared", "-fPIC", source, "-o", library], check=True)
        function = ctypes.CDLL(str(library)).sweeps
    spins, state = np.ones((CHAINS, SIDE, SIDE), np.int8), np.array([1, 2], np.uint64)
    levels = np.round(2.0**32 / (1 + np.exp(-2 * CRITICAL * np.arange(-4, 5, 2)))).astype(np.uint32)

    def run(n):
        function(*(ctypes.c_void_p(spins.ctypes.data), SIDE, CHAINS, n), ctypes.c_void_p(levels.ctypes.data),
                 ctypes.c_void_p(state.ctypes.data))  # fmt: skip

    return run


def in_turn(rounds: int) -> dict[str, np.ndarray]:
    """Seconds a sweep of all chains [rounds] of each."""
    ways = {"JAX": of_jax(), "NumPy": of_numpy(), "C": of_c()}
    ways = {name: run for name, run in ways.items() if run is not None}
    seconds = {name: [] for name in ways}
    for name, run in ways.items():
        run(_SWEEPS[name])
    for _ in range(rounds):
        for name, run in ways.items():
            begun = time.perf_counter()
            run(_SWEEPS[name])
            seconds[name].append((time.perf_counter() - begun) / _SWEEPS[name])
    return {name: np.array(each) for name, each in seconds.items()}


def ess_a_second(moves_of: Callable[..., Moves], n_sweeps: int, side: int = 32) -> dict[str, float]:
    """Independent values of E and |m| a second of 64 chains at K_c, by τ and the time of a sweep."""
    lattice = rectangle(side, side, True, CRITICAL)
    follow = follower(lattice, moves_of(lattice), CRITICAL, n_sweeps)
    words, key = jnp.full((side, side, CHAINS // WORD), 0xFFFFFFFF, jnp.uint32), jax.random.key_data(jax.random.key(1))
    words, _, _ = follow(words, key, max(n_sweeps // 5, 1))
    begun = time.perf_counter()
    _, energy, magnetisation = follow(words, key + np.uint32(1), n_sweeps)
    seconds = time.perf_counter() - begun
    values = {"E": energy.T.astype(float), "|m|": np.abs(magnetisation.T.astype(float))}
    return {name: each.size / mixing.tau_of(each).value / seconds for name, each in values.items()}


def main(args: list[str] | None = None) -> int:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="times that each takes its turn (default 5)")
    rounds = parser.parse_args(args).rounds
    found = in_turn(rounds)
    n = SIDE * SIDE * CHAINS
    for name, seconds in found.items():
        ratio = np.median(seconds / found["JAX"])
        print(f"{name:6} {n / np.median(seconds) / 1e6:8.0f} million spin updates a second, {ratio:.2f} × JAX's time")
    ways = {
        "GIBBS": (lambda lattice: checkerboard(lattice, metropolis=False), 20_000),
        "METROPOLIS": (lambda lattice: checkerboard(lattice, metropolis=True), 20_000),
        "SWENDSEN_WANG": (clusters, 1000),
    }
    for name, (moves_of, n_sweeps) in ways.items():
        words = ", ".join(f"{quantity} {value:.0f}" for quantity, value in ess_a_second(moves_of, n_sweeps).items())
        print(f"{name:14} independent values a second on 32 × 32 at K_c: {words}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

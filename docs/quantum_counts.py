"""Makes `quantum_counts.json` and `quantum_probabilities.json`: a small circuit, trained and measured with NumPy alone.

Four qubits learn the bars and stripes of 2 × 2: four layers of rotations about y, controlled-Z gates between
neighbours, 16 parameters. They are trained on the exact divergence; then 2000 shots are drawn. Qubit 0 is the first
bit of a string.

    python3 docs/quantum_counts.py [folder]
"""

import json
import sys
from pathlib import Path

import numpy as np
import scipy.optimize

N, LAYERS, SHOTS, SEED = 4, 4, 2000, 1
PATTERNS = ("0000", "0011", "0101", "1010", "1100", "1111")


def probabilities(angles: np.ndarray) -> np.ndarray:
    """Of all strings [2ⁿ], after rotations by angles [layers, n]."""
    state = np.zeros((2,) * N)
    state[(0,) * N] = 1
    for layer in angles.reshape(-1, N):
        for qubit, angle in enumerate(layer):
            c, s = np.cos(angle / 2), np.sin(angle / 2)
            state = np.moveaxis(np.tensordot([[c, -s], [s, c]], state, axes=(1, qubit)), 0, qubit)
        for qubit in range(N):
            both = [slice(None)] * N
            both[qubit] = both[(qubit + 1) % N] = 1
            state[tuple(both)] *= -1
    return state.ravel() ** 2


def divergence(angles: np.ndarray) -> float:
    """KL(target ‖ circuit) in nats."""
    chosen = probabilities(angles)[[int(word, 2) for word in PATTERNS]]
    return -float(np.mean(np.log(len(PATTERNS) * np.maximum(chosen, 1e-12))))


def main(folder: Path) -> None:
    """Trains from one random start, as an experiment would, and writes what it measures."""
    generator = np.random.default_rng(SEED)
    start = generator.uniform(-np.pi, np.pi, LAYERS * N)
    p = probabilities(scipy.optimize.minimize(divergence, start, method="L-BFGS-B", options={"maxiter": 60}).x)
    counts = generator.multinomial(SHOTS, p / p.sum())
    words = [format(number, f"0{N}b") for number in range(2**N)]
    of_counts = {word: int(count) for word, count in zip(words, counts, strict=True) if count}
    of_masses = {word: round(float(each), 9) for word, each in zip(words, p / p.sum(), strict=True)}
    (folder / "quantum_counts.json").write_text(json.dumps(of_counts, indent=1) + "\n")
    (folder / "quantum_probabilities.json").write_text(json.dumps(of_masses, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)

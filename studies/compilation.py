"""Why a hash reads its counters from memory: how long XLA compiles Threefry otherwise, on the JAX that is installed.

    python3 -m studies.compilation                 # both forms at 4 to 20 rounds, each in a fresh process
    python3 -m studies.compilation --limit 30      # seconds after which a process is stopped; 60 unless said

The program is the smallest that shows it: a key with a number folded in is split, and one half gives uniform numbers.
In the form "counter of the loop" each hash makes its counters from the index of the loop that it runs in; in the form
"from memory" they come out of an array (`prng._hash`). With jaxlib 0.11 and 0.12 the first form takes exponentially
long in the number of rounds. LLVM's loop vectoriser asks whether only the first lane of a truncated loop index is used
(`narrowInductionTruncates`, `vputils::onlyFirstLaneUsed`): it asks each use, and each use of those, and remembers no
answer. A round of Threefry uses its words twice.

A process that stands still can be looked at with `gdb -p PID -batch -ex "thread apply all bt"`.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence

from core import places

ROOT = places.ROOT
FORMS = ("counter of the loop", "from memory")
ROUNDS = (4, 8, 12, 16, 20)


def compile_once(form: str, n_rounds: int) -> float:
    """Seconds that the program takes to compile in this process, with so many of the 20 rounds."""
    import jax

    from core import prng

    if form == "counter of the loop":
        jax.lax.optimization_barrier = lambda values: values
    key_of = jax.random.wrap_key_data

    def program(key):
        first, _ = jax.random.split(jax.random.fold_in(prng.unrolled(key), 3))
        return jax.random.uniform(first, (1000,))

    prng._N_ROUNDS = n_rounds
    lowered = jax.jit(program).lower(key_of(jax.numpy.zeros(2, "uint32"), impl="threefry2x32"))
    started = time.perf_counter()
    lowered.compile()
    return time.perf_counter() - started


def measure(form: str, n_rounds: int, limit: float) -> float | None:
    """The same in a fresh process; None where it has not ended after `limit` seconds."""
    command = [sys.executable, "-m", "studies.compilation", "--once", form, str(n_rounds)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=True)
    except subprocess.TimeoutExpired:
        return None
    return float(done.stdout.split()[-1])


def main(args: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 where the form that ships has not ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds after which a process is stopped")
    parser.add_argument("--once", nargs=2, metavar=("FORM", "ROUNDS"), help="compile in this process and print seconds")
    options = parser.parse_args(args)
    if options.once:
        form, n_rounds = options.once
        print(compile_once(form, int(n_rounds)))
        return 0
    import jax
    import jaxlib

    print(f"Python {sys.version.split()[0]}, JAX {jax.__version__}, jaxlib {jaxlib.__version__}")
    failed = False
    for form in FORMS:
        for n_rounds in ROUNDS:
            seconds = measure(form, n_rounds, options.limit)
            failed |= seconds is None and form == FORMS[1]
            said = f"not ended after {options.limit:.0f} s" if seconds is None else f"{seconds:.2f} s"
            print(f"{form}, {n_rounds:2d} rounds: {said}", flush=True)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())

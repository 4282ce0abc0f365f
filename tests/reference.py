"""A short run whose numbers are committed, so that other versions of Python and JAX can be compared with them.

`python tests/reference.py` (with the tests' requirements) writes them anew, of the version that it runs on: needed
after a change to what a run computes, and only then.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("reference.json")
WORDS = (  # noqa: SIM905
    "--target-type 1D_BIMODAL --num-bins 0 --n-steps 20 --n-evaluations 4 --snapshot-percent 50 --num-seeds 2 "
    "--evaluation-spacing linear "
    "--n-eval-samples 300 --batch-size 16 --parameter-budget 100 --hidden-layers 1 --models GAN VAE RBM"
).split()


def numbers(folder):
    """What a finished run has in common with one of another version: target, floors, losses, trained weights."""
    report = json.loads((folder / "metrics.json").read_text())
    scores = ("step", "kld", "wasserstein", "kl_exact")
    with np.load(folder / "parameters.npz") as file:
        weights = {name: file[name].tolist() for name in file}
    return {
        "versions": {name: report["provenance"]["versions"][name] for name in ("python", "jax")},
        "target": report["target"],
        "floor": {name: report["floor"][name] for name in ("kld", "wasserstein")},
        "losses": {
            f"{family}/{name}": series
            for family, about in report["models"].items()
            for name, series in about["history"].items()
            if name not in scores
        },
        "weights": weights,
    }


def main():
    """Runs and writes."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    import generative_models_GAN_VAE_RBM_benchmarks as script

    with tempfile.TemporaryDirectory() as folder:
        if code := script.main([*WORDS, "--out-dir", folder]):
            raise SystemExit(code)
        FILE.write_text(json.dumps(numbers(Path(folder)), indent=1) + "\n")


if __name__ == "__main__":
    main()

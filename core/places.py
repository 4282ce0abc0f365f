"""Where the program's own files lie, whichever folder a module is in."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "generative_models_GAN_VAE_RBM_benchmarks.py"
SCHEMA = ROOT / "benchmark" / "files" / "metrics.schema.json"
REQUIREMENTS = ROOT / "requirements.txt"
# What a run is made of; `studies` and `tests` are not.
PACKAGES = ("core", "kinds", "models", "benchmark")


def program() -> list[Path]:
    """Every module that a run may import, sorted; the script with the constants is not among them."""
    found = [path for path in ROOT.glob("*.py") if path != SCRIPT]
    found += [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return sorted(found)

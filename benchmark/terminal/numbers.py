"""How scores are written: numbers, counts, and what stands where there is none."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

import metrics
from benchmark.scoring.assessment import Assessment

# From here on a number is told by its power of ten: what is on its way to divergence has thirty digits.
LONG = 1e5


def origin(entry: Assessment) -> str:
    """Of an external entry, how many rows it has; empty for a family."""
    if entry.masses is not None:
        return "probabilities"
    return f"external, n = {entry.n_samples}" if entry.external else ""


def medians_text(entry: Assessment, names: Sequence[str], estimates: Collection[str] = ()) -> str:
    """One line of an entry's median scores, ≈ before those that are estimates; a word for what is no number."""
    medians = {name: metrics.summarise(entry.scores[name])["median"] for name in names}
    words = {name: score_text(median, missing(entry, name)) for name, median in medians.items()}
    return score_line({name: about(name, estimates) + word for name, word in words.items()})


def scores_text(values: Mapping[str, float | None], estimates: Collection[str] = ()) -> str:
    """One line of scores, such as "KLD 0.0021   exact KL ≈ 0.013"."""
    return score_line({name: about(name, estimates) + score_text(value) for name, value in values.items()})


def about(name: str, estimates: Collection[str]) -> str:
    """What stands before a score that is an estimate."""
    return "≈ " if name in estimates else ""


def diverged(at_steps: Sequence[int | None]) -> str:
    """Such as "3 of 4 seeds; 1 diverged at step 1 500"; empty when none did."""
    steps = sorted(step for step in at_steps if step is not None)
    if not steps:
        return ""
    where = ", ".join(map(thousands, steps))
    return f"{len(at_steps) - len(steps)} of {len(at_steps)} seeds; {len(steps)} diverged at step {where}"


def divergence(name: str, at_steps: Sequence[int | None]) -> str:
    """Such as "GAN: 3 of 4 seeds have diverged (seeds 0, 2 at step 17; seed 1 at step 1 500)"; empty when none has."""
    seeds: dict[int, list[str]] = {}
    for seed, step in enumerate(at_steps):
        if step is not None:
            seeds.setdefault(step, []).append(str(seed))
    if not seeds:
        return ""
    n, n_lost = len(at_steps), sum(map(len, seeds.values()))
    some = f"{n_lost} of {n} seeds {'has' if n_lost == 1 else 'have'}"
    what = some if n_lost < n else f"all {n} seeds have" if n > 1 else "its only seed has"
    where = "; ".join(
        f"seed{'s' if len(own) > 1 else ''} {', '.join(own)} at step {thousands(step)}"
        for step, own in sorted(seeds.items())
    )
    return f"{name}: {what} diverged ({where})"


def thousands(number: int) -> str:
    """A whole number such as 1 500."""
    return f"{number:,}".replace(",", " ")


def missing(entry: Assessment, name: str) -> str:
    """What stands for a score of an entry's that is no number: "diverged", "unknown" or "infinite"."""
    values = entry.scores[name]
    whole = [value for value, at in zip(values, entry.diverged_at_step, strict=True) if at is None]
    if np.isnan(whole).any():
        return "unknown"
    # An empty cell under exact probabilities.
    return "infinite" if np.isinf(whole).any() else "diverged"


def score_text(value: float | None, missing: str = "diverged") -> str:
    """A score in four digits after the point, in two where it is small or large; or what stands for none."""
    if value is None or not np.isfinite(value):
        return missing
    return f"{value:.4f}" if 1e-3 <= abs(value) < LONG else f"{value:.2g}"


def score_line(scores: Mapping[str, str]) -> str:
    """Scores that are written already, each behind its metric's name."""
    return "   ".join(f"{metrics.METRICS[name].label} {score}" for name, score in scores.items())


def value_text(value: float | None, name: str, missing: str = "diverged") -> str:
    """A metric's value; a count without decimals."""
    return f"{value + 0.0:g}" if metrics.METRICS[name].is_count and value is not None else score_text(value, missing)


def median_of(values: Sequence[float]) -> float | None:
    """The median over seeds; None where a diverged one is in the middle."""
    return metrics.summarise(values)["median"]

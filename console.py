"""Everything that is printed."""

import contextlib
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

import metrics
from evaluation import Floor, Judge
from models.base import Model
from training import Evaluation, Run

# A long compilation or a slow score must not look like a hang.
_HEARTBEAT_SECONDS = 1.0


def say(text: str) -> None:
    """Prints a line at once, whether or not the output is a terminal."""
    print(text, flush=True)


def widths(models: Sequence[Model], budget: int) -> None:
    """The table of what the budget bought."""
    rows = [(model.name, model.width, model.n_params, f"{model.n_params - budget:+d}") for model in models]
    say(tabulate(rows, ("family", "width", "parameters", "off budget"), tablefmt="simple"))


class FamilyBar:
    """The line of one family: its steps, with the current scores."""

    def __init__(self, bar: tqdm):
        self._bar = bar

    def update(self, evaluation: Evaluation) -> None:
        """Moves the bar to an evaluation's step."""
        scores = {name: _score(_median(values)) for name, values in evaluation.metrics.items()}
        self._bar.set_postfix_str(_score_line(scores), refresh=False)
        self._bar.update(evaluation.step - self._bar.n)


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """A line that counts the seconds of its block."""
    with _beating(text, None, "{desc} {elapsed}"):
        yield


@contextlib.contextmanager
def family_bar(name: str, n_steps: int) -> Iterator[FamilyBar]:
    """A family's bar that keeps its clock moving while its block computes."""
    layout = "{desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]{postfix}"
    with _beating(f"{name:<8}", n_steps, layout) as bar:
        yield FamilyBar(bar)


@contextlib.contextmanager
def _beating(text: str, total: int | None, layout: str) -> Iterator[tqdm]:
    done = threading.Event()
    with tqdm(desc=text, total=total, bar_format=layout, file=sys.stdout, mininterval=0.5, dynamic_ncols=True) as bar:

        def beat():
            while not done.wait(_HEARTBEAT_SECONDS):
                bar.refresh()

        heart = threading.Thread(target=beat, daemon=True)
        heart.start()
        try:
            yield bar
        finally:
            done.set()
            heart.join()


def final_table(runs: Sequence[Run], judge: Judge, kl_exact: Mapping[str, Sequence[float | None]]) -> None:
    """Family, parameters, scores with their spread over seeds, the exact divergence if there is one, and the floor."""
    rows = []
    for run in runs:
        row = {"family": run.model.name, "parameters": run.model.n_params}
        for name, values in run.evaluations[-1].metrics.items():
            row[f"{METRIC_NAMES[name]} (range)"] = _with_range(metrics.summarise(values))
        exact = kl_exact[run.model.name]
        row["exact KL"] = "none" if None in exact else _score(_median(exact))
        row["seeds"] = diverged(run.diverged_at_step) or str(len(run.states))
        rows.append(row)
    floors = {f"{METRIC_NAMES[name]} (range)": _floor(floor) for name, floor in judge.floors.items()}
    known = any(None not in exact for exact in kl_exact.values())
    rows.append({"family": "floor", **floors, "exact KL": "0" if known else "none"})
    say(tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True))


def likelihood_table(log_likelihoods: Mapping[str, Sequence[Mapping[str, float] | None]]) -> None:
    """Mean ln q of training rows beside held-out ones, medians over seeds."""
    rows = [
        (name, *(_nats([seed[part] for seed in seeds]) for part in ("train", "held_out")))
        for name, seeds in log_likelihoods.items()
        if seeds and seeds[0]
    ]
    if rows:
        say(tabulate(rows, ("family", "ln q of training rows (nats)", "of held-out rows"), disable_numparse=True))


METRIC_NAMES = {"kld": "KLD", "wasserstein": "W₁"}


def scores_text(values: Mapping[str, float | None]) -> str:
    """One line of scores, such as "KLD 0.0021   W₁ 0.013"."""
    return _score_line({name: _score(value) for name, value in values.items()})


def diverged(at_steps: Sequence[int | None]) -> str:
    """Such as "3 of 4 seeds; 1 diverged at step 1 500"; empty when none did."""
    steps = sorted(step for step in at_steps if step is not None)
    if not steps:
        return ""
    where = ", ".join(f"{step:,}".replace(",", " ") for step in steps)
    return f"{len(at_steps) - len(steps)} of {len(at_steps)} seeds; {len(steps)} diverged at step {where}"


def _nats(values: Sequence[float]) -> str:
    median = np.median(values)
    return f"{median:.3f}" if np.isfinite(median) else "diverged"


def _median(values: Sequence[float]) -> float | None:
    return metrics.summarise(values)["median"]


def _score(value: float | None) -> str:
    return "diverged" if value is None or not np.isfinite(value) else f"{value:.2g}" if value < 1e-3 else f"{value:.4f}"


def _score_line(scores: Mapping[str, str]) -> str:
    return "   ".join(f"{METRIC_NAMES[name]} {score}" for name, score in scores.items())


def _with_range(summary: Mapping) -> str:
    return f"{_score(summary['median'])} ({_score(summary['low'])} – {_score(summary['high'])})"


def _floor(floor: Floor) -> str:
    return f"{_score(floor.mean)} ({_score(floor.low)} – {_score(floor.high)})"

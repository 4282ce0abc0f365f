"""Everything that is printed."""

import contextlib
import io
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

import metrics
from benchmark.engine.training import Evaluation, being_compiled
from benchmark.scoring.assessment import Assessment, losses_to_rivals
from benchmark.scoring.outcome import Outcome
from benchmark.terminal import streams
from core import wording
from kinds.contract import Floor
from models.base import Model

# A long compilation or a slow score must not look like a hang.
_HEARTBEAT_SECONDS = 1.0
# Nor fill a file that somebody keeps what is printed in.
_LOG_SECONDS = 30.0
# A compilation that takes longer says so, and again after as long.
_LONG_COMPILATION_SECONDS = 120.0
# From here on a number is told by its power of ten: what is on its way to divergence has thirty digits.
_LONG = 1e5
_MOST_ROWS = 20  # of the table of what a replay found


def prepare() -> None:
    """Makes sure that nothing printed can end the run: an output that knows no Greek letters gets their escapes."""
    for stream in (sys.stdout, sys.stderr):
        # Who calls main() may have put something else there.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Prints a line or a table at once, whether or not the output is a terminal; names in it cannot direct one."""
    print(wording.visible(text, keep="\n"), flush=True)


def warn(text: str) -> None:
    """Says where errors go what does not stop the run, above any bar that is being drawn."""
    tqdm.write(f"warning: {text}", file=sys.stderr)


@contextlib.contextmanager
def tolerant_output() -> Iterator[None]:
    """For a block that goes on where what it prints cannot be written: a pipe's reader is gone, or a disk is full."""
    with (
        contextlib.redirect_stdout(streams.Tolerant(sys.stdout)),
        contextlib.redirect_stderr(streams.Tolerant(sys.stderr)),
    ):
        yield


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
def compiling(names: Sequence[str]) -> Iterator[None]:
    """A line that counts the seconds of its block, which compiles families; where it takes long it says at what it is.

    Args:
      names: of the families.
    """
    done = threading.Event()
    began = time.monotonic()

    def tell():
        while not done.wait(_LONG_COMPILATION_SECONDS):
            seconds = time.monotonic() - began
            warn(f"still compiling after {seconds:.0f} s: {', '.join(being_compiled()) or ', '.join(names)}")

    telling = threading.Thread(target=tell, daemon=True)
    telling.start()
    try:
        with waiting(f"compiling {', '.join(names)} …"):
            yield
    finally:
        done.set()
        telling.join()


@contextlib.contextmanager
def waiting_if_long(text: str) -> Iterator[None]:
    """A line as `waiting` shows it, but only once its block has taken a while."""
    done = threading.Event()

    def show():
        if not done.wait(_HEARTBEAT_SECONDS):
            with waiting(text):
                done.wait()

    shown = threading.Thread(target=show, daemon=True)
    shown.start()
    try:
        yield
    finally:
        done.set()
        shown.join()


@contextlib.contextmanager
def copied_to(path: Path) -> Iterator[None]:
    """Writes to a file as well what its block prints: of a line that was drawn over and over, the last state."""
    # A new one: the name may be a link to somebody's file.
    path.unlink(missing_ok=True)
    with (
        open(path, "x", encoding="utf-8", errors="backslashreplace") as file,
        contextlib.redirect_stdout(streams.Copied(sys.stdout, file)),
    ):
        yield


@contextlib.contextmanager
def family_bar(name: str, n_steps: int) -> Iterator[FamilyBar]:
    """A family's bar that keeps its clock moving while its block computes."""
    layout = "{desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]{postfix}"
    with _beating(f"{name:<8}", n_steps, layout) as bar:
        yield FamilyBar(bar)


class SweepBar:
    """The line of a sweep: its cells, with the time left, and above it a line for every cell that is finished."""

    def __init__(self, bar: tqdm):
        self._bar = bar

    def begin(self, name: str) -> None:
        """Names the cell that runs."""
        self._bar.set_postfix_str(name)

    def end(self, text: str) -> None:
        """Counts a cell as finished and prints a line of it."""
        self._bar.write(wording.one_line(text), file=self._bar.fp)
        self._bar.update()


@contextlib.contextmanager
def sweep_bar(n_cells: int, n_finished: int) -> Iterator[SweepBar]:
    """A bar over cells that keeps its clock moving while its block computes, and what the block prints out of sight."""
    layout = "{desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]{postfix}"
    with _beating("cells", n_cells, layout, n_finished) as bar, contextlib.redirect_stdout(io.StringIO()):
        yield SweepBar(bar)
        bar.set_postfix_str("")


@contextlib.contextmanager
def _beating(text: str, total: int | None, layout: str, initial: int = 0) -> Iterator[tqdm]:
    done = threading.Event()
    stream = sys.stdout if sys.stdout.isatty() else streams.Lines(sys.stdout, _LOG_SECONDS)
    look = {"bar_format": layout, "file": stream, "mininterval": 0.5, "dynamic_ncols": True}
    # A sweep's bar and what its cells print are two streams: neither stands below the other.
    look["position"] = 0
    with tqdm(desc=text, total=total, initial=initial, **look) as bar:

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


def final_table(outcome: Outcome) -> None:
    """The metrics that were followed, and the exact divergence, with their spread over seeds; and the floor."""
    judge, kind, assessments = outcome.judge, outcome.kind, outcome.assessments
    rows, remarks = [], losses_to_rivals(assessments, kind, judge.floors[kind.main])
    headings = {**judge.labels, kind.exact: metrics.METRICS[kind.exact].label_with_unit}
    for entry in assessments:
        row = {"": entry.name, "parameters": "?" if entry.n_params is None else entry.n_params}
        for name, heading in headings.items():
            row[heading] = _summary(entry, name, name == kind.exact and entry.estimated)
        row["seeds"] = diverged(entry.diverged_at_step) or origin(entry) or str(len(entry.diverged_at_step))
        rows.append(row | ({"remark": remarks.get(entry.name, "")} if remarks else {}))
    known = any(entry.scores.get(kind.exact) is not None for entry in assessments)
    rows += _floor_rows(assessments, judge.floors, headings, {headings[kind.exact]: "0" if known else "none"})
    say(tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True))
    for line in unknown_divergences(assessments):
        say(line)


def closing_table(outcome: Outcome) -> None:
    """The metrics that are computed once, with their floors."""
    floors, assessments = outcome.closing.floors, outcome.assessments
    headings = {name: metrics.METRICS[name].label_with_unit for name in floors}
    rows = [
        {"": entry.name, **{heading: _summary(entry, name) for name, heading in headings.items()}}
        for entry in assessments
        if any(entry.scores.get(name) is not None for name in floors)
    ]
    if rows:
        rows += _floor_rows(assessments, floors, headings, {})
        say(tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True))


def held_out_table(assessments: Sequence[Assessment], repeated: Mapping[str, float] | None) -> None:
    """Training rows beside held-out ones: distances for everything, mean ln q where there is a density.

    Args:
      assessments: of families and external entries.
      repeated: the distances of a model that repeats its training rows; None where data were drawn afresh.
    """
    if repeated is None:
        return
    rows = []
    for entry in assessments:
        if entry.memorisation:
            row = {"": entry.name}
            for part in ("train", "held_out"):
                words = part.replace("_", "-")
                row[f"W₁ to {words} rows"] = _score(_median([seed[part] for seed in entry.memorisation]))
                if entry.log_likelihood and entry.log_likelihood[0]:
                    row[f"ln q of {words} rows"] = _nats([seed[part] for seed in entry.log_likelihood])
            rows.append(row)
    repeating = {f"W₁ to {part.replace('_', '-')} rows": _score(value) for part, value in repeated.items()}
    rows.append({"": "repeating the training rows", **repeating})
    say(tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True))


def board_table(rows: Sequence[str], names: Sequence[str], texts: Sequence[Sequence[str]]) -> None:
    """KLDs as multiples of their floors, as words [T][F], of targets and families."""
    lines = [(row, *own) for row, own in zip(rows, texts, strict=True)]
    if lines:
        say(tabulate(lines, ("KLD / floor", *names), tablefmt="simple", disable_numparse=True))


def cost_table(costs: Mapping[str, Mapping[str, float | None]]) -> None:
    """What every family took."""
    rows = [
        {
            "": name,
            "parameters": cost["n_params"],
            "operations a step": _count(cost["operations_per_step"]),
            # A family that is not trained has seen its rows at once.
            "rows a step": f"{_count(cost['rows_per_step'])}{'' if cost['operations_per_step'] != 0 else ' in all'}",
            "training, all seeds": f"{cost['train_seconds']:.1f} s",
            "compiling": f"{cost['compile_seconds']:.1f} s",
            "samples a second": _count(cost["samples_per_second"]),
            "memory a device": "?" if cost["memory_bytes"] is None else f"{cost['memory_bytes'] / 2**20:.1f} MiB",
        }
        for name, cost in costs.items()
    ]
    if rows:
        say(tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True))


def replay_tables(found: Mapping[str, Any]) -> None:
    """What a replay has found (the content of its replay.json): that all is the same, or what is not and why."""
    numbers, arrays = f"{found['numbers']:,}".replace(",", " "), found["arrays"]
    if found["same"]:
        and_arrays = f" and {arrays} {'array' if arrays == 1 else 'arrays'}" if arrays is not None else ""
        alone = "" if arrays is not None else f"; there is no samples.npz beside {found['original']} to compare"
        say(f"replayed: all {numbers} numbers{and_arrays} are the same, bit for bit{alone}")
        return
    rows = [
        (each["where"], f"{each['n_differing']} of {each['n']}", _share(each["largest"]))
        for each in found["differences"][:_MOST_ROWS]
    ]
    say(tabulate(rows, ("where", "differing", "largest relative difference"), tablefmt="simple", disable_numparse=True))
    if len(found["differences"]) > _MOST_ROWS:
        say(f"… and {len(found['differences']) - _MOST_ROWS} more, all in replay.json")
    of_arrays = f" and {found['arrays_differing']} of {arrays} arrays" if arrays is not None else ""
    say(f"replayed: {found['numbers_differing']} of {numbers} numbers{of_arrays} differ from {found['original']}")
    if not found["explanations"]:
        say("nothing that is recorded of the program, its libraries, input and machine has changed")
        return
    rows = [(each["what"], *(_fact(each[side]) for side in ("original", "replay"))) for each in found["explanations"]]
    say(tabulate(rows, ("what may explain it", "then", "now"), tablefmt="simple", disable_numparse=True))


def origin(entry: Assessment) -> str:
    """Of an external entry, how many rows it has; empty for a family."""
    if entry.masses is not None:
        return "probabilities"
    return f"external, n = {entry.n_samples}" if entry.external else ""


def medians_text(entry: Assessment, names: Sequence[str]) -> str:
    """One line of an entry's median scores; a word for what is no number."""
    medians = {name: metrics.summarise(entry.scores[name])["median"] for name in names}
    return _score_line({name: _score(median, missing(entry, name)) for name, median in medians.items()})


def scores_text(values: Mapping[str, float | None]) -> str:
    """One line of scores, such as "KLD 0.0021   W₁ 0.013"."""
    return _score_line({name: _score(value) for name, value in values.items()})


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


def _floor_rows(
    assessments: Sequence[Assessment], floors: Mapping[str, Floor], headings: Mapping[str, str], more: Mapping[str, str]
) -> list[dict[str, str]]:
    """The floor, and one for every other number of rows that something was scored at."""
    rows = [{"": "floor", **{headings[name]: _floor(floor, name) for name, floor in floors.items()}, **more}]
    seen = {entry.n_samples: entry.floors for entry in assessments if entry.external and entry.n_samples is not None}
    for n, own in seen.items():
        if own[next(iter(floors))] != floors[next(iter(floors))]:
            rows.append({"": f"floor at n = {n}", **{headings[name]: _floor(own[name], name) for name in floors}})
    return rows


def missing(entry: Assessment, name: str) -> str:
    """What stands for a score of an entry's that is no number: "diverged", "unknown" or "infinite"."""
    values = entry.scores[name]
    whole = [value for value, at in zip(values, entry.diverged_at_step, strict=True) if at is None]
    if np.isnan(whole).any():
        return "unknown"
    # An empty cell under exact probabilities.
    return "infinite" if np.isinf(whole).any() else "diverged"


def unknown_divergences(assessments: Sequence[Assessment]) -> list[str]:
    """Such as "GMM: exact KL unknown (seed 1: the quadrature …)", for every family that has one."""
    lines = []
    for entry in assessments:
        whys: dict[str, list[int]] = {}
        for seed, why in enumerate(entry.unknown):
            if why:
                whys.setdefault(why, []).append(seed)
        if whys:
            said = "; ".join(
                f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}: {why}"
                for why, seeds in whys.items()
            )
            lines.append(f"{entry.name}: exact KL unknown ({said})")
    return lines


def _summary(entry: Assessment, name: str, estimated: bool = False) -> str:
    values = entry.scores.get(name)
    if values is None:
        return "none"
    summary = metrics.summarise(values, metrics.METRICS[name].higher_is_better)
    median, low, high = (_value(summary[part], name, missing(entry, name)) for part in ("median", "low", "high"))
    approximate = "≈ " if estimated else ""
    if entry.masses is not None:
        return f"{median} (exact)"
    return approximate + (median if len(values) == 1 else f"{median} ({low} – {high})")


def _count(value: float | None) -> str:
    """A large number in three digits with its prefix."""
    if value is None:
        return "?"
    for factor, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= factor:
            return f"{value / factor:.3g}{prefix}"
    return f"{value:.3g}"


def _share(value: float | None) -> str:
    return "another form" if value is None else f"{value:.1e}"


def _fact(value: Any) -> str:
    return "–" if value is None else str(value)


def _nats(values: Sequence[float]) -> str:
    median = metrics.summarise(values, higher_is_better=True)["median"]
    return "diverged" if median is None else f"{median:.3f}" if abs(median) < _LONG else f"{median:.2g}"


def _median(values: Sequence[float]) -> float | None:
    return metrics.summarise(values)["median"]


def _score(value: float | None, missing: str = "diverged") -> str:
    if value is None or not np.isfinite(value):
        return missing
    return f"{value:.4f}" if 1e-3 <= abs(value) < _LONG else f"{value:.2g}"


def _score_line(scores: Mapping[str, str]) -> str:
    return "   ".join(f"{metrics.METRICS[name].label} {score}" for name, score in scores.items())


def _floor(floor: Floor, name: str) -> str:
    mean, low, high = (_value(value, name) for value in floor)
    return f"{mean} ({low} – {high})"


def _value(value: float | None, name: str, missing: str = "diverged") -> str:
    """A metric's value; a count without decimals."""
    return f"{value + 0.0:g}" if metrics.METRICS[name].is_count and value is not None else _score(value, missing)

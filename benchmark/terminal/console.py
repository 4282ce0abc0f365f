"""Everything that is printed."""

import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from benchmark.engine.programs import at_work
from benchmark.engine.records import Evaluation
from benchmark.terminal import streams
from benchmark.terminal.numbers import median_of, score_line, score_text
from core import wording
from models.base import Model

# A long compilation or a slow score must not look like a hang.
_HEARTBEAT_SECONDS = 1.0
# Nor fill a file that somebody keeps what is printed in.
_LOG_SECONDS = 30.0
# What takes longer, as a compilation may, says at what it is, and again after as long.
_LONG_SECONDS = 120.0


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
        self._bar.set_postfix_str(score_line(_medians(evaluation)), refresh=False)
        self._bar.update(evaluation.step - self._bar.n)


def _medians(evaluation: Evaluation) -> dict[str, str]:
    """Name of a score -> its median over the seeds, of those that are known at this step for any seed."""
    unknown = {name: np.isnan(values) for name, values in evaluation.metrics.items()}
    lost = np.logical_and.reduce(list(unknown.values()))  # a seed without any score has diverged
    words = {}
    for name, values in evaluation.metrics.items():
        if lost.all() or not unknown[name].all():
            word = "unknown" if unknown[name][~lost].any() else "diverged"
            words[name] = score_text(median_of(values), word)
    return words


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """A line that counts the seconds of its block; where the block takes long, lines on stderr say at what it is."""
    with named_if_long(text), _beating(f"{text} …", None, "{desc} {elapsed}"):
        yield


@contextlib.contextmanager
def named_if_long(text: str) -> Iterator[None]:
    """For a block that may take minutes: every two of them a line on stderr says what it is, and what is at work."""
    done = threading.Event()
    began = time.monotonic()

    def tell():
        while not done.wait(_LONG_SECONDS):
            at = f", at {', '.join(at_work())}" if at_work() else ""
            warn(f"{text}: still going on after {time.monotonic() - began:.0f} s{at}")

    telling = threading.Thread(target=tell, daemon=True)
    telling.start()
    try:
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


def _is_without_size() -> bool:
    """Whether the output is a terminal that says it has no lines or no columns."""
    with contextlib.suppress(OSError, ValueError):
        return 0 in os.get_terminal_size(sys.stdout.fileno())
    return False


@contextlib.contextmanager
def _beating(text: str, total: int | None, layout: str, initial: int = 0) -> Iterator[tqdm]:
    done = threading.Event()
    stream = sys.stdout if sys.stdout.isatty() else streams.Lines(sys.stdout, _LOG_SECONDS)
    look = {"bar_format": layout, "file": stream, "mininterval": 0.5, "dynamic_ncols": True}
    if _is_without_size():
        # As some consoles in editors are: what fits into it is nothing.
        look |= {"dynamic_ncols": False, "ncols": 80, "nrows": 24}
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

"""One run from configuration to files: config → target → width → model → training → metrics → results → pictures."""

import contextlib
import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmark.engine import devices
from benchmark.engine.records import Cost, Run
from benchmark.files import checkpoint, exports, results
from benchmark.pages import layout, run_page
from benchmark.pictures import context, pictures, studio
from benchmark.run.checks import Job
from benchmark.run.fitting import compile_all, feed_of, fit
from benchmark.scoring import assessment
from benchmark.scoring.closing import close
from benchmark.scoring.outcome import Outcome
from benchmark.terminal import console, tables
from core import interruption, storage, wording
from core.errors import OutputError
from kinds.contract import Judge
from kinds.registry import kind_of


class Started(NamedTuple):
    """When and by which command a run began."""

    clock: float  # seconds, of time.perf_counter
    utc: str
    args: Sequence[str]  # the command line, for the record
    fresh: bool = False  # whether to start over where an unfinished run could be continued
    # The folder of all that the program writes, which a checkout does not count as a change; None: the run's own.
    root: Path | None = None

    @classmethod
    def now(cls, args: Sequence[str]) -> "Started":
        """This moment."""
        return cls(time.perf_counter(), datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), args)


class Further(NamedTuple):
    """One more file that a run writes."""

    content: Callable[[Mapping[str, Any], Path], bytes]  # (report, folder of the other files) -> what it holds
    note: Callable[[bytes], str]  # (content) -> what the run's page says of it


class Trained(NamedTuple):
    """What training has come to."""

    runs: Sequence[Run]
    costs: Mapping[str, Cost]  # per family
    seconds: float  # that other processes took for it
    peak_memory_bytes: int | None  # of the largest of them


def keep_compiled(config: Any) -> None:
    """Has compiled programs kept for the next run where the configuration asks for it, and says why where they are not.

    Args:
      config: of a run, or what every run of a sweep shares.
    """
    no_cache = devices.use_compilation_cache() if config.compilation_cache == "on" else None
    if no_cache:
        console.say(f"compiled programs are not kept: {no_cache}")


def execute(
    job: Job,
    folder: Path,
    started: Started,
    *,
    with_pictures: bool = True,
    trained: Trained | None = None,
    further: Mapping[str, Further] | None = None,
) -> Mapping[str, Any]:
    """Trains, scores, and writes everything of one run, which takes its place in the folder together.

    Args:
      job: from `check`.
      folder: where to write; it exists, and no other process is in it.
      started: when this process began with it, and how.
      with_pictures: False leaves the pictures out.
      trained: what other processes have trained of this run, all its seeds; None: nothing.
      further: more files to write, by name.

    Returns:
      The content of `metrics.json`.

    Raises:
      Interrupted: a signal has ended the run early; partial results are there if anything had been trained.
      UserError: the folder holds an unfinished run that this one cannot continue; nothing has changed then.
      OutputError: the results cannot be written; nothing has changed but that progress may have been kept.
    """
    config, models = job.config, job.models
    progress = checkpoint.open_in(folder, job, fresh=started.fresh)
    if trained is None:
        # Where several processes train, another one may be writing.
        storage.remove_leftovers(folder)
    drawing = studio.Studio() if with_pictures else None
    begun = progress.started if progress.resumed else started.utc
    origin = results.provenance(started.args, started.root or folder, begun, job.inputs)
    console.say(f"device: {origin['device']}{devices.precision_note()}")
    keep_compiled(config)
    _introduce(job, progress)
    judge = _judge_of(job)
    files = _Files(folder, drawing, origin, started, progress, further or {})
    families = []
    if trained is None and models:
        families = compile_all(models, feed_of(job), judge, config, range(config.num_seeds), progress)
    # From here on there is something to lose.
    with interruption.deferred() if families else contextlib.nullcontext():
        if trained is None:
            trained = Trained(*fit(families, config, progress), 0.0, None)
        steps = {run.model.name: run.evaluations[-1].step for run in trained.runs}
        partial = None
        if trained.runs and steps != dict.fromkeys(config.models, config.n_steps):
            partial = {"signal": interruption.requested().name, "steps": steps}
        # What other processes have trained is kept by them.
        with interruption.kept_by(progress.keep) if families else contextlib.nullcontext():
            report = _write(job, judge, trained, partial, files)
    _say_what_is_there(report, files, partial)
    return report


def _write(
    job: Job, judge: Judge, trained: Trained, partial: Mapping[str, Any] | None, files: "_Files"
) -> dict[str, Any]:
    """Scores what was trained and writes everything; returns the report. What cannot be written is kept."""
    try:
        report = _close(job, judge, trained, partial, files)
        if partial is None:
            files.progress.remove()
        return report
    except BaseException as error:
        # What was trained must not be lost to a picture that cannot be drawn.
        files.progress.write()
        if isinstance(error, OSError):
            raise OutputError(_unwritten(error, files.folder, files.progress, bool(trained.runs))) from error
        raise


def _say_what_is_there(report: Mapping[str, Any], files: "_Files", partial: Mapping[str, Any] | None) -> None:
    """Says what has been written, and raises Interrupted if a signal has asked for the end."""
    origin, progress = files.origin, files.progress
    peak = f" and {origin['peak_memory_bytes'] / 2**30:.2f} GiB at most" if origin["peak_memory_bytes"] else ""
    console.say(
        f"{len(report['files'])} files in {wording.visible(str(files.folder))}/ after {origin['seconds']:.0f} s{peak}"
    )
    if partial:
        on = "the same command, without --fresh, goes on from there" if progress.is_kept else "it could not be kept"
        console.say(f"interrupted ({partial['signal']}): these are partial results, marked as such; {on}")
        raise interruption.Interrupted("told")
    if interruption.requested():
        console.say("the run had come to its end by then: its results are whole")
        raise interruption.Interrupted("told")


def page_line(folder: str | Path) -> str:
    """The last line of what a run or a sweep prints: it names its page."""
    return f"open {wording.visible(str(folder))}/{layout.FILE} in a browser"


def _unwritten(error: OSError, folder: Path, progress: checkpoint.Checkpoint, trained: bool) -> str:
    """Why results are not where they belong, and what there is instead."""
    place, why = repr(str(folder)), error.strerror or type(error).__name__
    kept = "what was trained is lost, as it could not be kept either"
    if not trained:
        kept = "nothing was trained, so that nothing is lost"
    elif progress.is_kept:
        kept = "what was trained is kept, and the same command goes on from there"
    if isinstance(error, storage.HalfReplaced):
        return (
            f"not all results could be put into {place} ({why}), where some of them are now beside older ones; {kept}"
        )
    return f"the results cannot be written to {place} ({why}): what was there before is unchanged; {kept}"


def _introduce(job: Job, progress: checkpoint.Checkpoint) -> None:
    """Says what is about to be trained and scored."""
    config, target, models, entries, _ = job
    if progress.resumed:
        at = ", ".join(f"{name} from step {step}" for name, step in progress.steps().items())
        console.say(f"continuing the run begun at {progress.started}: {at} (--fresh starts over)")
    steps = f", {config.n_steps} steps" if models else ""
    console.say(f"target: {context.title(config, target)}{steps}")
    if target.train_rows is not None:
        use = "for every score" if target.empirical else "to see what is memorised; scores are exact of the target"
        console.say(f"rows: {len(target.train_rows)} to train on, {len(target.held_out_rows)} held out {use}")
    for entry in entries:
        if entry.rows is not None and entry.n_in_file != kind_of(target).n_scored(target, config):
            how = "as many drawn at random" if entry.n_in_file > len(entry.rows) else "with a floor of its own"
            console.say(f"{entry.name}: {entry.n_in_file} rows in its file, scored at n = {len(entry.rows)}, {how}")
        if entry.outside > 0.1:
            console.say(
                f"{entry.name}: {entry.outside:.0%} of its rows lie outside the target's range {entry.span}; "
                "rows are positions x, not numbers of bins"
            )
    for note in (*target.notes, *(note for entry in entries for note in entry.notes)):
        console.say(note)
    if models:
        console.widths(models, config.parameter_budget)


def _judge_of(job: Job) -> Judge:
    """What scores the run, with its floors."""
    with console.waiting("floor: scoring samples of the target itself"):
        judge = kind_of(job.target).judge(job.target, job.config)
    if judge.discretisation_error is not None:
        console.say(f"binning moves the target by W₁ = {judge.discretisation_error:.4f} (units of x)")
    return judge


def _close(
    job: Job, judge: Judge, trained: Trained, partial: Mapping[str, Any] | None, files: "_Files"
) -> dict[str, Any]:
    """Scores what was trained, and writes and prints everything; fills in what the origin lacks. Returns the report."""
    config, target, _, entries, _ = job
    runs = trained.runs
    costs = {
        run.model.name: results.cost_of(run, trained.costs[run.model.name], judge.scorer.n_samples) for run in runs
    }
    kind = kind_of(target)
    drawn = pictures.names(config, runs, kind) if files.drawing else []
    states = kind.states(target)
    own = [name for name in results.FILES if name != results.METRICS_FILE]
    own += [] if states is None else [results.TARGET_FILE]
    names = [*drawn, *own, *files.further, layout.FILE, results.METRICS_FILE]

    def before_last():
        results.remove_previous(files.folder, keep=names)

    with storage.staged(files.folder, names, before_last) as staging:
        with console.waiting("exact divergences and the metrics of the end"):
            judges = assessment.judges_of(entries, config, target, judge)
            assessments = assessment.assess(runs, entries, target, judge, judges)
            outcome = Outcome(config, target, judge, runs, assessments, costs, None, partial)
            if files.drawing:
                scored = assessment.scored(assessments)
                grid = kind.sensitivity(scored, config, target, judge) if kind.sensitivity else None
                files.drawing.draw(pictures.drawings(staging, outcome, grid, _partial_note(partial, config)))
            outcome = pictures.with_further(close(outcome, judges))
            if files.drawing:
                files.drawing.draw(pictures.closing_drawings(staging, outcome, _partial_note(partial, config)))
        shown = tables.of_run(outcome, assessment.memoriser(target))
        tables.run_tables(shown, outcome)
        rows = _target_rows(target, config)
        exports.write_samples(staging / results.SAMPLES_FILE, rows, outcome.assessments, states)
        if states is not None:
            (staging / results.TARGET_FILE).write_bytes(exports.target_bytes(states))
        exports.write_parameters(staging / results.PARAMETERS_FILE, runs)
        if files.drawing:
            with console.waiting("drawing the pictures"):
                files.drawing.finish()
        _complete(files, trained)
        report = results.report(outcome, files.origin, names)
        (staging / results.CSV_FILE).write_bytes(exports.csv_bytes(report))
        (staging / results.SUMMARY_FILE).write_bytes(exports.summary_bytes(report))
        notes = []
        for name, further in files.further.items():
            content = further.content(report, staging)
            (staging / name).write_bytes(content)
            notes.append(further.note(content))
        (staging / layout.FILE).write_bytes(run_page.page(staging, outcome, results.plain(report), shown, notes))
        storage.write_whole(staging / results.METRICS_FILE, results.json_bytes(report))
    return report


class _Files(NamedTuple):
    """Where one run writes, and with what."""

    folder: Path
    drawing: studio.Studio | None  # None: no pictures
    origin: dict[str, Any]  # from `results.provenance`; what it lacks is filled in at the end
    started: Started
    progress: checkpoint.Checkpoint
    further: Mapping[str, Further]


def _complete(files: _Files, trained: Trained) -> None:
    """Fills in what is known when all is done: how long it took, and how much memory."""
    origin, progress = files.origin, files.progress
    origin["seconds"] = time.perf_counter() - files.started.clock + progress.earlier_seconds + trained.seconds
    peaks = (results.peak_memory(), trained.peak_memory_bytes)
    origin["peak_memory_bytes"] = max((peak for peak in peaks if peak is not None), default=None)
    origin |= {"run": progress.run, "resumed": progress.resumed}
    origin["checkpoints"] = {"written": progress.n_written, "seconds": progress.seconds_writing}


def _partial_note(partial: Mapping[str, Any] | None, config: Any) -> str:
    """What every picture of an interrupted run says first."""
    if partial is None:
        return ""
    shares = (f"{name} {partial['steps'].get(name, 0) / config.n_steps:.0%}" for name in config.models)
    return f"PARTIAL RUN ({', '.join(shares)} of the training) · "


def train_seeds(job: Job, seeds: range, folder: Path) -> tuple[list[Run], dict[str, Cost]]:
    """Trains some of a run's seeds, bit for bit as `execute` trains all of them.

    Args:
      job: from `check`, with at least one family.
      seeds: their numbers, consecutive.
      folder: where to keep the progress meanwhile.

    Returns:
      A Run of these seeds for every family, and what each took.

    Raises:
      Interrupted: a signal has ended it; what there was by then is kept.
      UserError: the folder holds unfinished training of these seeds that this cannot continue.
    """
    progress = checkpoint.open_in(folder, job, seeds=seeds)
    judge = kind_of(job.target).judge(job.target, job.config)
    families = compile_all(job.models, feed_of(job), judge, job.config, seeds, progress)
    with interruption.deferred():
        runs, costs = fit(families, job.config, progress)
    interruption.check()
    return runs, costs


def _target_rows(target: Any, config: Any) -> np.ndarray:
    """Rows of the target as they are compared: drawn afresh, or the held-out ones of a user's table."""
    if target.empirical:
        rows = jnp.asarray(target.held_out_rows, jnp.float32)
    else:
        key = jax.random.fold_in(jax.random.key(config.seed), 2**31 + 2)
        rows = jax.jit(target.sample, static_argnums=1)(key, kind_of(target).n_scored(target, config))
    return np.asarray(target.as_compared(rows))

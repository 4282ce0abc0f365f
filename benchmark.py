"""One run from configuration to files: config → target → width → model → training → metrics → results → pictures."""

import contextlib
import dataclasses
import datetime
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import assessment
import config as configuration
import console
import devices
import evaluation
import external
import locks
import pictures
import results
from errors import UserError
from evaluation import Judge
from models import MODELS, build, is_on
from models.base import Model
from sensitivity import sensitivity
from studio import Studio
from targets import Target, make_target
from training import Feed, Run, prepare, step_cost, train

# What a target, a model or an entry is built from has none of these; and a target none of those.
_NO_ERRORS = {"n_steps", "n_evaluations", "snapshot_percent", "num_seeds", "kld_epsilon", "decode", "out_dir",
              "compilation_cache"}  # fmt: skip
_NO_TARGET = {"models", "parameter_budget", "hidden_layers", "batch_size", "n_eval_samples", "external_samples",
              "external_probabilities"}  # fmt: skip


class Started(NamedTuple):
    """When a run began."""

    clock: float  # seconds, of time.perf_counter
    utc: str

    @classmethod
    def now(cls) -> "Started":
        """This moment."""
        return cls(time.perf_counter(), datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))


class Job(NamedTuple):
    """One run that has been checked."""

    config: Any
    target: Target
    models: Sequence[Model]
    entries: Sequence[external.External]


class Trained(NamedTuple):
    """What training has come to."""

    runs: Sequence[Run]
    costs: Mapping[str, Mapping[str, Any]]  # per family, from `results.cost_of`
    seconds: float  # that other processes took for it
    peak_memory_bytes: int | None  # of the largest of them


def run(constants: Mapping[str, Any], args: Sequence[str] | None, description: str) -> int:
    """Runs the benchmark that the constants and the command line ask for.

    Args:
      constants: the config block, upper-case names.
      args: command-line arguments; None: those of the process.
      description: the head of --help.

    Returns:
      The exit code: 0, or 2 for input that cannot be run; then nothing on disk has changed.
    """
    args = sys.argv[1:] if args is None else args
    started = Started.now()
    with contextlib.ExitStack() as stack:
        try:
            command = configuration.read(constants, args, description)
            devices.use_every_core()
            if command.config.compilation_cache == "on":
                # JAX asks only before it first compiles, which checking a run does.
                devices.use_compilation_cache()
            if command.sweep:
                # Its cells come back to this module.
                import sweep

                return sweep.run(command, args, constants)
            job = check(command.config)
            folder = stack.enter_context(locks.held(job.config.out_dir))
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        execute(job, folder, started, args)
    return 0


def check(config: Any) -> Job:
    """Builds and reads all that can be wrong with a run, without training anything or writing to disk.

    Raises:
      UserError: it cannot be run.
    """
    target = make_target(config)
    models = [_build(name, config, target) for name in config.models]
    return Job(config, target, models, external.load(config, target))


def check_like(config: Any, known: dict[str, Any]) -> None:
    """What `check` proves, without building again what it has been proved with.

    Args:
      config: of a run.
      known: what earlier calls have built, by what that depends on; this one adds its own.

    Raises:
      UserError: it cannot be run.
    """
    fields = {name: getattr(config, name) for name in vars(config) if name not in _NO_ERRORS}
    if config.target_type != "CUSTOM":
        # The seed decides how a table is split, but nothing about what can be wrong with an exact target.
        del fields["seed"]
    of_target = {name: value for name, value in fields.items() if name.upper() not in MODELS and name not in _NO_TARGET}
    key = repr(("target", of_target))
    if key not in known:
        known[key] = make_target(config)
    target = known[key]
    for name in config.models:
        own = dataclasses.asdict(getattr(config, name.lower()))
        # Training takes these as arguments: only whether they are on decides what is built.
        own |= {number: is_on(own[number]) for number in MODELS[name].TRACEABLE}
        sizes = (config.parameter_budget, config.hidden_layers, config.batch_size)
        of_model = repr((name, key, sizes, own))
        if of_model not in known:
            known[of_model] = _build(name, config, target).width
    of_entries = repr(("external", key, config.external_samples, config.external_probabilities, config.n_eval_samples))
    if of_entries not in known:
        known[of_entries] = len(external.load(config, target))


def execute(
    job: Job,
    folder: Path,
    started: Started,
    args: Sequence[str],
    *,
    with_pictures: bool = True,
    root: Path | None = None,
    trained: Trained | None = None,
) -> None:
    """Trains, scores, and writes everything of one run; `metrics.json` last, so that where it is, all is.

    Args:
      job: from `check`.
      folder: where to write; it exists.
      started: when the run began.
      args: the command line, for the record.
      with_pictures: False leaves the pictures out.
      root: the folder of all that the program writes, which a checkout does not count as a change; None: `folder`.
      trained: what other processes have trained of this run, all its seeds; None: nothing.
    """
    config, target, models, entries = job
    studio = Studio() if with_pictures else None
    origin = results.provenance(args, root or folder, started.utc)
    console.say(f"device: {origin['device']}")
    no_cache = devices.use_compilation_cache() if config.compilation_cache == "on" else None
    if no_cache:
        console.say(f"compiled programs are not kept: {no_cache}")
    steps = f", {config.n_steps} steps" if models else ""
    console.say(f"target: {pictures.title(config, target)}{steps}")
    if target.train_rows is not None:
        use = "for every score" if target.empirical else "to see what is memorised; scores are exact of the target"
        console.say(f"rows: {len(target.train_rows)} to train on, {len(target.held_out_rows)} held out {use}")
    for entry in entries:
        if entry.rows is not None and entry.n_in_file != config.n_eval_samples:
            how = "as many drawn at random" if entry.n_in_file > len(entry.rows) else "with a floor of its own"
            console.say(f"{entry.name}: {entry.n_in_file} rows in its file, scored at n = {len(entry.rows)}, {how}")
        if entry.outside > 0.1:
            span = " × ".join(f"[{low:.4g}, {high:.4g}]" for low, high in target.box)
            console.say(
                f"{entry.name}: {entry.outside:.0%} of its rows lie outside the target's range {span}; "
                "rows are positions x, not numbers of bins"
            )
    if models:
        console.widths(models, config.parameter_budget)
    with console.waiting("floor: scoring samples of the target itself …"):
        judge = evaluation.make_judge(target, config)
    if judge.discretisation_error is not None:
        console.say(f"binning moves the target by W₁ = {judge.discretisation_error:.4f} (units of x)")
    runs, costs = [], {}
    if trained is not None:
        runs, costs = trained.runs, trained.costs
    elif models:
        runs, costs = _train(models, feed_of(job), judge, config, range(config.num_seeds))
    drawn = pictures.names(config, runs) if with_pictures else []
    with console.waiting("exact divergences and the metrics of the end …"):
        judges = assessment.judges_of(entries, config, target, judge)
        assessments = assessment.assess(runs, entries, target, judge, judges)
        if studio:
            grid = sensitivity(assessments, config, target, judge)
            studio.draw(pictures.drawings(folder, config, target, judge, runs, assessments, costs, grid))
        assessments, closing = assessment.close(assessments, runs, config, target, judge, judges)
    console.final_table(assessments, judge)
    console.closing_table(assessments, closing.floors)
    console.held_out_table(assessments, assessment.memoriser(target))
    console.cost_table(costs)

    files = [*drawn, *results.FILES]
    # Before the pictures are waited for: what was trained must not be lost to one that cannot be drawn.
    results.write_whole(folder / results.SAMPLES_FILE, results.samples_bytes(_target_rows(target, config), assessments))
    results.write_whole(folder / results.PARAMETERS_FILE, results.parameters_bytes(runs))
    if studio:
        with console.waiting("drawing the pictures …"):
            studio.finish()
    origin["seconds"] = time.perf_counter() - started.clock
    origin["peak_memory_bytes"] = results.peak_memory()
    if trained is not None:
        origin["seconds"] += trained.seconds
        peaks = (origin["peak_memory_bytes"], trained.peak_memory_bytes)
        origin["peak_memory_bytes"] = max((peak for peak in peaks if peak is not None), default=None)
    more = {"floors": closing.floors, "metric_seconds": closing.seconds}
    report = results.report(config, target, judge, runs, assessments, costs, origin, files, more)
    results.write_whole(folder / results.CSV_FILE, results.csv_bytes(report))
    results.remove_previous(folder, keep=files)
    results.write_whole(folder / results.METRICS_FILE, results.json_bytes(report))
    begin = f"; begin with {pictures.DASHBOARD}" if runs and drawn else ""
    peak = f" and {origin['peak_memory_bytes'] / 2**30:.2f} GiB at most" if origin["peak_memory_bytes"] else ""
    console.say(f"{len(files)} files in {folder}/ after {origin['seconds']:.0f} s{peak}{begin}")


def train_seeds(job: Job, seeds: range) -> tuple[list[Run], dict[str, dict]]:
    """Trains some of a run's seeds, bit for bit as `execute` trains all of them.

    Args:
      job: from `check`, with at least one family.
      seeds: their numbers, consecutive.

    Returns:
      A Run of these seeds for every family, and what each took.
    """
    judge = evaluation.make_judge(job.target, job.config)
    return _train(job.models, feed_of(job), judge, job.config, seeds)


def feed_of(job: Job) -> Feed:
    """The events that a run's families train on."""
    target, rows = job.target, None
    if target.train_rows is not None:
        rows = target.codec.encode(jnp.asarray(target.train_rows, jnp.float32))
    return Feed(lambda key, n: target.codec.encode(target.sample(key, n)), rows, job.config.batch_size)


def _train(
    models: Sequence[Model], feed: Feed, judge: Judge, config: Any, seeds: range
) -> tuple[list[Run], dict[str, dict]]:
    """Trains these seeds of every family; returns the runs and what each took."""
    # Compilation uses one core: side by side it takes half the time, and it is over before anything is timed.
    names = ", ".join(model.name for model in models)
    with console.waiting(f"compiling {names} …"), ThreadPoolExecutor() as pool:
        programs = list(
            pool.map(
                lambda model: prepare(
                    model,
                    feed,
                    judge.scorer,
                    n_steps=config.n_steps,
                    n_evaluations=config.n_evaluations,
                    n_seeds=len(seeds),
                    seed=config.seed,
                    first_seed=seeds.start,
                ),
                models,
            )
        )
        step_costs = list(pool.map(lambda program: step_cost(program.model, feed, program.advance), programs))
    runs, costs = [], {}
    for program, cost in zip(programs, step_costs, strict=True):
        name = program.model.name
        with console.family_bar(name, config.n_steps) as bar:
            snapshot_steps = frozenset(config.snapshot_steps.values())
            run = train(program, snapshot_steps=snapshot_steps, on_evaluation=bar.update)
        runs.append(run)
        costs[name] = results.cost_of(run, cost, config.n_eval_samples)
    return runs, costs


def _build(name: str, config: Any, target: Any) -> Any:
    try:
        return build(name, config, target)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def _target_rows(target: Any, config: Any) -> np.ndarray:
    """Rows of the target as they are compared: drawn afresh, or the held-out ones of a user's table."""
    if target.empirical:
        rows = jnp.asarray(target.held_out_rows, jnp.float32)
    else:
        key = jax.random.fold_in(jax.random.key(config.seed), 2**31 + 2)
        rows = jax.jit(target.sample, static_argnums=1)(key, config.n_eval_samples)
    return np.asarray(target.as_compared(rows))

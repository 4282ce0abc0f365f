"""What one command becomes: a run, a replay or a sweep; and its exit code, whatever happens."""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from benchmark.asked import command_line
from benchmark.engine import devices, memory
from benchmark.files import locks, results
from benchmark.pictures import studio
from benchmark.run import checks, one_run
from benchmark.sweeps import sweep
from benchmark.terminal import console, numbers
from core import interruption
from core.errors import KeptError, OutputError, UserError


def run(constants: Mapping[str, Any], args: Sequence[str] | None, description: str) -> int:
    """Runs the benchmark that the constants and the command line ask for.

    Args:
      constants: the config block, upper-case names.
      args: command-line arguments; None: those of the process.
      description: the head of --help.

    Returns:
      The exit code: 0; 1 where the results cannot be written, where a replay has come to other numbers, or with
      --strict where a family has lost all its seeds to divergence; 2 for input that cannot be run, and nothing on disk
      has changed then, but that progress is kept where memory was used up late; 130 or 143 where a signal has ended the
      run early.
    """
    args = sys.argv[1:] if args is None else args
    started = one_run.Started.now(args)
    console.prepare()
    with console.tolerant_output(), _ended_by_signals(), devices.in_float32(), contextlib.ExitStack() as stack:
        try:
            original = None
            if command_line.asks_for_replay(args):
                # Nothing else needs the library that it checks its file with.
                from benchmark.run import replay

                original = stack.enter_context(replay.opened(constants, args, description))
                command = command_line.Command(original.config, fresh=original.fresh, strict=original.strict)
            else:
                command = command_line.read(constants, args, description)
            devices.use_every_core()
            devices.check()
            if command.config.compilation_cache == "on":
                # JAX asks only before it first compiles, which checking a run does.
                devices.use_compilation_cache()
            if command.sweep:
                return sweep.run(command, args, constants)
            started = started._replace(fresh=command.fresh)
            job = checks.check(checks.with_epochs(command.config))
            folder = stack.enter_context(locks.held(job.config.out_dir))
            if original is not None:
                report, code = replay.run(original, job, folder, started)
            else:
                report, code = one_run.execute(job, folder, started), 0
        except UserError as error:
            more = f": {command_line.again(args, '--fresh')}" if isinstance(error, KeptError) else ""
            print(f"error: {error}{more}", file=sys.stderr)
            return 2
        except OutputError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except interruption.Interrupted as stop:
            if stop.args:
                console.say(one_run.page_line(folder))
            else:
                console.say(interruption.last_words())
            return interruption.exit_code()
        except OSError as error:
            place = f" ({error.filename})" if error.filename else ""
            print(f"error: {error.strerror or type(error).__name__}{place}", file=sys.stderr)
            return 1
        except (MemoryError, OverflowError, jax.errors.JaxRuntimeError) as error:
            line = memory.exhausted(error)
            if line is None:
                raise
            print(f"error: {line}", file=sys.stderr)
            return 2
        for name, model in report["models"].items():
            lost = numbers.divergence(name, model["diverged_at_step"])
            if lost:
                console.warn(lost)
        console.say(one_run.page_line(folder))
    return 1 if command.strict and results.lost_families(report) else code


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """For all of a run: hears signals, and leaves no process behind that draws for one that is to end."""

    def words():
        name = interruption.requested().name
        if interruption.kept():
            return f"interrupted ({name}): all that was trained is kept; the same command, without --fresh, goes on"
        return f"interrupted ({name}) before anything new could be kept: older files are unchanged"

    with interruption.handled(), interruption.ending_with(words):
        try:
            yield
        finally:
            if interruption.requested():
                studio.leave()

"""What the config block and the command line ask for together."""

import contextlib
import dataclasses
import io
import os
import shlex
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from benchmark.asked import words
from benchmark.asked.config import OWN, BenchmarkConfig, check_kind, fields_of, settings_of, sweepable
from benchmark.asked.constants import Constants, check_choice, check_no_sweep
from benchmark.asked.many_runs import MANY_RUNS
from benchmark.asked.resources import LAUNCHERS, Slurm
from core import places
from core.errors import UserError
from core.settings import Settings, about, checked_later, described, setting
from models import MODELS, sweeps


class Command(NamedTuple):
    """What the config block and the command line ask for together."""

    config: Any  # a run, or what every run of a sweep shares: then nobody has checked it as a whole
    sweep: Mapping[str, Any] | Sequence[str] = ()  # the dict of the config block, or "NAME=value,value" words
    sweep_pictures: bool = True  # whether every run of a sweep draws its own
    launcher: str = "local"  # where the runs of a sweep take place: one of LAUNCHERS
    slurm: Slurm = Slurm()  # what each task asks for there
    merge: bool = False  # write the files over all runs and run nothing
    fresh: bool = False  # give up what unfinished runs have left; of a sweep also finished ones of other constants
    strict: bool = False  # a family that has lost all its seeds makes the exit code 1


FURTHER = {
    **MANY_RUNS,
    "merge": (
        bool,
        setting(False, "write the files over all finished runs of a sweep, and run nothing"),
    ),
    "fresh": (
        bool,
        setting(False, "give up what an unfinished run has left; in a sweep also finished runs of other constants"),
    ),
    "strict": (bool, setting(False, "exit with code 1, and not 0, where all seeds of a family have diverged")),
    "replay": (
        str,
        setting(
            "",
            "run what this metrics.json records again and compare; "
            "beside it only --out-dir, --fresh and --strict may be given",
        ),
    ),
}
_CommandLine = dataclasses.make_dataclass(
    "_CommandLine",
    [(name, *each) for name, each in FURTHER.items()],
    bases=(BenchmarkConfig,),
    frozen=True,
    namespace={"__doc__": BenchmarkConfig.__doc__ + described({name: each for name, (_, each) in FURTHER.items()})},
)


def read(constants: Mapping[str, Any], args: Sequence[str], description: str) -> Command:
    """What is asked for: the constants, overridden by command-line arguments.

    Raises:
      UserError: anything that cannot be run, as one line; of a sweep only what has nothing to do with its runs.
      SystemExit: with code 0 after --help.
    """
    sweep, pictures = constants.get("SWEEP", {}), constants.get("SWEEP_PICTURES", True)
    if not isinstance(sweep, Mapping):
        raise UserError(f'SWEEP = {sweep!r} must be a dict of lists, such as {{"PARAMETER_BUDGET": (310, 1000)}}')
    check_kind("SWEEP_PICTURES", pictures, bool)
    where = {
        "launcher": constants.get("LAUNCHER", "local"),
        "slurm": settings_of("SLURM", constants.get("SLURM", {}), Slurm, "cpus=4"),
    }
    check_choice("LAUNCHER", where["launcher"], LAUNCHERS)
    listed = tuple(f"{name}={_listed(values)}" for name, values in sweep.items())
    with checked_later():
        default = _CommandLine(**fields_of(constants), sweep=listed, sweep_pictures=pictures, **where)
    line = command_line(_CommandLine, default, args, description)
    names = [constant.name for constant in dataclasses.fields(BenchmarkConfig)]
    fields = {name: getattr(line, name) for name in names}
    # Words cannot hold every value that a dict can: those of the command line only take its place if they differ.
    asked = sweep if line.sweep == listed else line.sweep
    if not asked and line.merge:
        raise UserError("--merge needs a sweep: name the one whose cells are to be merged, as SWEEP or with --sweep")
    if not asked and line.launcher != "local":
        raise UserError(
            f'LAUNCHER = {line.launcher!r} sends the cells of a sweep: name one, such as SWEEP = {{"SEED": (42,)}} for '
            'a single run, or set LAUNCHER = "local"'
        )
    _check_once(asked, args)
    config = line if asked else BenchmarkConfig(**fields)
    _check_effect(config, asked, args)
    own = line.merge, line.fresh, line.strict
    return Command(config, asked, line.sweep_pictures, line.launcher, line.slurm, *own)


def asks_for_replay(args: Sequence[str]) -> bool:
    """Whether a command line is for `replay.opened` and not for `read`."""
    return any(word.partition("=")[0] == "--replay" for word in args) and not {"-h", "--help"} & set(args)


def command_line(kind: Any, default: Any, args: Sequence[str], description: str) -> Any:
    """A dataclass's values, overridden by command-line arguments.

    Raises:
      UserError: arguments that cannot be read, as one line.
      SystemExit: with code 0 after --help.
    """
    args = words.apart(args)
    for i, word in enumerate(args):
        if word in sweeps() and "--models" in args[:i]:
            check_no_sweep(word)
    words.check(kind, args)
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings(), checked_later():
            # tyro warns of a list where the annotation says tuple; what cannot be run is refused by name.
            warnings.simplefilter("ignore")
            line = tyro.cli(kind, default=default, args=list(args), description=description)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(f"the command line cannot be read; {words.HELP}") from None
    # Every run is checked by itself, when it is known: a constant of a sweep need not fit the others as it stands.
    for name in vars(line):
        settings = getattr(line, name)
        if isinstance(settings, Settings):
            settings.check()
    return line


def _check_once(sweep: Mapping[str, Any] | Sequence[str], args: Sequence[str]) -> None:
    """Raises a UserError where the command line sets what a sweep varies: one of the two would go unnoticed."""
    options = {word.partition("=")[0].removeprefix("--").replace("_", "-") for word in args if word.startswith("--")}
    for entry in sweep:
        name = str(entry).partition("=")[0]
        if name in sweepable():
            # A family's line is all its settings.
            own = [each for each in sweepable() if each == name or (name in OWN and each.startswith(f"{name}."))]
            given = [option for option in map(words.option_of, own) if option.removeprefix("--") in options]
            if given:
                raise UserError(f"{given[0]} sets what the sweep varies ({name}): leave one of the two out")


def _check_effect(config: Any, sweep: Mapping[str, Any] | Sequence[str], args: Sequence[str]) -> None:
    """Raises a UserError where the command line sets what has no effect: its user expects another result.

    A constant that a sweep varies may give it an effect in some of the runs: then nobody can say.
    """
    given = {word.partition("=")[0].replace("_", "-").replace(".no-", ".") for word in args if word.startswith("--")}
    varied = {str(entry).partition("=")[0].partition(".")[0] for entry in sweep}
    if varied & {"MODELS", "TARGET_TYPE", "NUM_BINS"}:
        return
    asked = {words.option_of(each.name): (None, each) for each in dataclasses.fields(Constants)}
    for name, own in OWN.items():
        asked |= {words.option_of(f"{name}.{each.name}"): (name, each) for each in dataclasses.fields(own)}
    for option in sorted(given & set(asked)):
        name, each = asked[option]
        if name in MODELS and name not in config.models:
            raise UserError(
                f"{option} has no effect without {name}: add it to MODELS, which are "
                f"{', '.join(config.models) or 'none'}, or leave it out"
            )
        needs = about(each).needs
        if needs and name not in varied and not needs.holds(config):
            raise UserError(f"{option} has an effect only {needs}: {needs.remedy}, or leave it out")


# What double quotes in a shell, or make, would take for something else.
_UNQUOTABLE = set('"$`\\!')


def again(args: Sequence[str], option: str) -> str:
    """The same command with one more option, as one types it: through make where it came from there."""
    words = shlex.join([*args, option])
    if os.environ.get("MAKELEVEL") and not _UNQUOTABLE & set(words):
        return f'make run ARGS="{words}"'
    return f"{shlex.quote(_short(sys.executable))} {places.SCRIPT.name} {words}"


def _short(path: str) -> str:
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path


def options() -> list[str]:
    """Every option of the command line."""
    return ["--help", *words.options_of(_CommandLine)]


def parse(constants: Mapping[str, Any], args: Sequence[str], description: str) -> BenchmarkConfig:
    """The configuration of a single run: `read` where nothing is swept."""
    return read(constants, args, description).config


def _listed(values: Any) -> str:
    try:
        return ",".join(map(str, values)) if isinstance(values, list | tuple | range) else str(values)
    except ValueError:
        # Python writes no number of more than 4 300 digits; the sweep refuses it by name.
        return "…"

"""One validated object out of the config block's constants and the command line."""

import contextlib
import dataclasses
import inspect
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import tyro

from benchmark.asked.external import check_entries
from benchmark.asked.resources import LAUNCHERS, Slurm
from core.errors import UserError, check_path, check_range, check_whole, nearest_choice, unknown_choice
from models import MODELS, sweeps
from targets import TARGETS, mixture_constants


@dataclass(frozen=True)
class _Constants:
    # tyro shows these comments as the help of the command line.
    target_type: Literal[tuple(TARGETS)]  # the distribution to learn
    parameter_budget: int  # trainable weights a family may have
    num_bins: int  # one-hot cells in 1-D; 0: continuous
    snapshot_percent: int  # of the steps between two timeline pictures; divides 100
    n_steps: int  # training steps, one minibatch each
    n_evaluations: int  # scores during training, at equal distances; divides n_steps
    batch_size: int  # rows of a minibatch
    num_seeds: int  # independent repetitions of every family
    seed: int  # root of all randomness
    models: tuple[Literal[tuple(MODELS)], ...]  # families to train
    hidden_layers: int  # in every multilayer perceptron
    n_eval_samples: int  # draws from a model for one score
    kld_cells: int  # histogram cells an axis; 0: 50 in 1-D, 30 in 2-D
    kld_epsilon: float  # what an empty cell is taken to hold
    decode: Literal["hard", "soft"]  # with bins: score the drawn cell, or the expected position
    compilation_cache: Literal["off", "on"]  # keep compiled programs in a folder of the user's for the next run
    n_samples_train: int  # size of a fixed training set; 0: fresh draws every step
    out_dir: str  # where everything is written
    custom_file: str  # .npy or .csv of 1 or 2 columns for CUSTOM
    external_samples: tuple[tuple[str, str, int | None], ...]  # name, file of rows, parameters it took (or None), …
    external_probabilities: tuple[tuple[str, str, int | None], ...]  # name, file of cell probabilities, parameters, …
    mixture_weights: tuple[float, ...]  # of the components of 2D_GMM, sum 1
    mixture_means: tuple[tuple[float, float], ...]  # of the components of 2D_GMM
    mixture_covariances: tuple[tuple[tuple[float, float], tuple[float, float]], ...]  # of the components of 2D_GMM

    def __post_init__(self):
        """Checks every value that can be judged without a file or a model.

        Raises:
          UserError: the first value that cannot be run.
        """
        _check_choice("TARGET_TYPE", self.target_type, TARGETS)
        # Whatever the target: every constant is written down with the results.
        mixture_constants(self)
        _check_choice("DECODE", self.decode, ("hard", "soft"))
        _check_choice("COMPILATION_CACHE", self.compilation_cache, ("off", "on"))
        external = self.external_samples + self.external_probabilities
        if not isinstance(self.models, tuple | list) or not (self.models or external):
            alone = ", or name EXTERNAL_SAMPLES to score alone" if self.models == () else ""
            if isinstance(self.models, str) and self.models in MODELS:
                alone = f"; a tuple of one has a comma, MODELS = ({self.models!r},)"
            raise UserError(
                f"MODELS = {self.models!r} must name at least one family: choose from {', '.join(MODELS)}{alone}"
            )
        for name in self.models:
            _check_no_sweep(name)
            several = name.split(",") if isinstance(name, str) else []
            if len(several) > 1 and set(several) <= {*MODELS}:
                raise UserError(f"MODELS {name!r} are several names: separate them, as in {' '.join(several)}")
            _check_choice("MODELS", name, MODELS)
        if len(set(self.models)) < len(self.models):
            unique = " ".join(dict.fromkeys(self.models))
            raise UserError(f"MODELS = {' '.join(self.models)} names a family twice: choose {unique}")
        check_entries(external)
        if self.external_probabilities and not self.num_bins:
            raise UserError("EXTERNAL_PROBABILITIES are those of NUM_BINS cells, but NUM_BINS = 0; set NUM_BINS")
        for name, low in _LOWEST.items():
            value = getattr(self, name)
            check_whole(name.upper(), value)
            check_range(name.upper(), value, low=low, high=_HIGHEST if value > _HIGHEST else None)
        check_range("KLD_EPSILON", self.kld_epsilon, above=0, below=1)
        for name in ("out_dir", "custom_file"):
            check_path(name.upper(), getattr(self, name))
        if not self.out_dir:
            raise UserError("OUT_DIR is empty: name a folder, such as results_classical_benchmarks")
        if self.num_bins == 1:
            raise UserError("NUM_BINS = 1 leaves nothing to learn: choose 0 (continuous) or at least 2")
        if self.num_bins and self.target_type.startswith("2D"):
            raise UserError(
                f"NUM_BINS = {self.num_bins} needs a 1-D target, but TARGET_TYPE = {self.target_type}; set NUM_BINS = 0"
            )
        if self.n_steps % self.n_evaluations:
            raise UserError(
                f"N_EVALUATIONS = {self.n_evaluations} does not divide N_STEPS = {self.n_steps}; "
                f"the nearest that does is {_nearest_divisor(self.n_steps, self.n_evaluations)}, and the nearest "
                f"N_STEPS is {max(1, round(self.n_steps / self.n_evaluations)) * self.n_evaluations}"
            )
        on_evaluations = [p for p in range(1, 101) if 100 % p == 0 and self.n_evaluations % (100 // p) == 0]
        nearest = min(on_evaluations, key=lambda p: abs(p - self.snapshot_percent))
        if 100 % self.snapshot_percent:
            raise UserError(
                f"SNAPSHOT_PERCENT = {self.snapshot_percent} does not divide 100; "
                f"the nearest that does and falls on evaluations is {nearest}"
            )
        if nearest != self.snapshot_percent:
            raise UserError(
                f"SNAPSHOT_PERCENT = {self.snapshot_percent} asks for {100 // self.snapshot_percent} snapshots, not "
                f"all of which fall on the N_EVALUATIONS = {self.n_evaluations}; the nearest that works is {nearest}"
            )

    @property
    def snapshot_steps(self) -> dict[int, int]:
        """Percent of the training -> step, for every snapshot."""
        return {p: self.n_steps * p // 100 for p in range(self.snapshot_percent, 101, self.snapshot_percent)}


# Steps and sizes are int32 on the devices.
_HIGHEST = 2**31 - 1
_LOWEST = {
    "parameter_budget": 1,
    "num_bins": 0,
    "snapshot_percent": 1,
    "n_steps": 1,
    "n_evaluations": 1,
    "batch_size": 1,
    "num_seeds": 1,
    "seed": 0,
    "hidden_layers": 1,
    "n_eval_samples": 20,  # the classifier's folds need some
    "kld_cells": 0,
    "n_samples_train": 0,
}


_EXTERNAL = ("external_samples", "external_probabilities")


def _described() -> str:
    """The docstring that tyro takes --help from: a class made on the fly has no source whose comments it could read."""
    comments = re.findall(r"^    (\w+): .*?  # (.*)$", inspect.getsource(_Constants), re.MULTILINE)
    return "Everything that defines a run.\n\nAttributes:\n" + "".join(
        f"    {name}: {text}\n" for name, text in comments
    )


# The constants and, for every registered family, its own settings under its lower-case name.
BenchmarkConfig = dataclasses.make_dataclass(
    "BenchmarkConfig",
    [(name.lower(), family.Config, field(default_factory=family.Config)) for name, family in MODELS.items()],
    bases=(_Constants,),
    frozen=True,
    namespace={"__doc__": _described()},
)


# What decides which runs there are and where, and is no part of any of them.
_OF_A_SWEEP = ("SWEEP", "SWEEP_PICTURES", "LAUNCHER", "SLURM")


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


def _check_later(command: Any) -> None:
    # Every run is checked by itself, when it is known: tyro would break the line of an error. And of a sweep a constant
    # need not fit the others as it stands.
    del command


_CommandLine = dataclasses.make_dataclass(
    "_CommandLine",
    [
        ("sweep", tuple[str, ...], ()),
        ("sweep_pictures", bool, True),
        ("launcher", Literal[LAUNCHERS], "local"),
        ("slurm", Slurm, field(default_factory=Slurm)),
        ("merge", bool, False),
        ("fresh", bool, False),
        ("strict", bool, False),
        ("replay", str, ""),
    ],
    bases=(BenchmarkConfig,),
    frozen=True,
    namespace={
        "__post_init__": _check_later,
        "__doc__": BenchmarkConfig.__doc__
        + "    sweep: NAME=value,value … of any constants or settings: all combinations are run\n"
        + "    sweep_pictures: whether every run of a sweep draws its own pictures\n"
        + "    launcher: where the runs of a sweep take place: here, or as a job array on a cluster\n"
        + "    slurm: what each task of the job array asks for\n"
        + "    merge: write the files over all runs of a sweep from those that have finished, and run nothing\n"
        + "    fresh: give up what an unfinished run has left; in a sweep also finished runs of other constants\n"
        + "    strict: exit with code 1, and not 0, where all seeds of a family have diverged\n"
        + "    replay: run what this metrics.json records again and compare; beside it only --out-dir, --fresh and "
        "--strict may be given\n",
    },
)


def from_constants(constants: Mapping[str, Any]) -> BenchmarkConfig:
    """Builds the configuration from upper-case names; a family without a line of its own has its defaults.

    Raises:
      UserError: a constant is missing, or a value cannot be run.
    """
    return BenchmarkConfig(**_fields(constants))


def read(constants: Mapping[str, Any], args: Sequence[str], description: str) -> Command:
    """What is asked for: the constants, overridden by command-line arguments.

    Raises:
      UserError: anything that cannot be run, as one line; of a sweep only what has nothing to do with its runs.
      SystemExit: with code 0 after --help.
    """
    sweep, pictures = constants.get("SWEEP", {}), constants.get("SWEEP_PICTURES", True)
    if not isinstance(sweep, Mapping):
        raise UserError(f'SWEEP = {sweep!r} must be a dict of lists, such as {{"PARAMETER_BUDGET": (310, 1000)}}')
    _check_kind("SWEEP_PICTURES", pictures, bool)
    where = {
        "launcher": constants.get("LAUNCHER", "local"),
        "slurm": _settings("SLURM", constants.get("SLURM", {}), Slurm, "cpus=4"),
    }
    _check_choice("LAUNCHER", where["launcher"], LAUNCHERS)
    words = tuple(f"{name}={_listed(values)}" for name, values in sweep.items())
    default = _CommandLine(**_fields(constants), sweep=words, sweep_pictures=pictures, **where)
    line = command_line(_CommandLine, default, args, description)
    names = [constant.name for constant in dataclasses.fields(BenchmarkConfig)]
    fields = {name: getattr(line, name) for name in names}
    # Words cannot hold every value that a dict can: those of the command line only take its place if they differ.
    asked = sweep if line.sweep == words else line.sweep
    if not asked and line.merge:
        raise UserError("--merge needs a sweep: name the one whose cells are to be merged, as SWEEP or with --sweep")
    if not asked and line.launcher != "local":
        raise UserError(
            f'LAUNCHER = {line.launcher!r} sends the cells of a sweep: name one, such as SWEEP = {{"SEED": (42,)}} for '
            'a single run, or set LAUNCHER = "local"'
        )
    _check_once(asked, args)
    config = line if asked else BenchmarkConfig(**fields)
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
    args = _apart(args)
    for i, word in enumerate(args):
        if word in sweeps() and "--models" in args[:i]:
            _check_no_sweep(word)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), warnings.catch_warnings():
            # tyro warns of a list where the annotation says tuple; what cannot be run is refused by name.
            warnings.simplefilter("ignore")
            return tyro.cli(kind, default=default, args=list(args), description=description)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(_one_line(said.getvalue(), args)) from None


def _apart(args: Sequence[str]) -> list[str]:
    """The arguments with lists as the parser takes them, whether commas or blanks are between their entries.

    Families of --models become words of their own; values of --sweep become one word with their constant.
    """
    words: list[str] = []
    option = ""
    for word in args:
        if word.startswith("--"):
            option, equals, first = word.partition("=")
            if option not in ("--models", "--sweep") or not equals:
                words.append(word)
                continue
            words.append(option)
            word = first
        if option == "--models":
            words += [name for name in word.split(",") if name] if word else [word]
        elif option == "--sweep" and words[-1] != option and "=" not in word:
            words[-1] = f"{words[-1].rstrip(',')},{word.strip(',')}".rstrip(",")
        else:
            words.append(word)
    return words


def _check_once(sweep: Mapping[str, Any] | Sequence[str], args: Sequence[str]) -> None:
    """Raises a UserError where the command line sets what a sweep varies: one of the two would go unnoticed."""
    options = {word.partition("=")[0].removeprefix("--").replace("_", "-") for word in args if word.startswith("--")}
    for entry in sweep:
        name = str(entry).partition("=")[0]
        if name in sweepable():
            # A family's line is all its settings.
            own = [each for each in sweepable() if each == name or (name in MODELS and each.startswith(f"{name}."))]
            given = [option for option in map(_option, own) if option.removeprefix("--") in options]
            if given:
                raise UserError(f"{given[0]} sets what the sweep varies ({name}): leave one of the two out")


def _option(name: str) -> str:
    """A constant's or setting's option of the command line."""
    return f"--{name.lower().replace('_', '-')}"


def parse(constants: Mapping[str, Any], args: Sequence[str], description: str) -> BenchmarkConfig:
    """The configuration of a single run: `read` where nothing is swept."""
    return read(constants, args, description).config


def sweepable() -> dict[str, Any]:
    """Every name that a sweep may vary -> the type of its values; a family's whole line is a Mapping."""
    hints = get_type_hints(_Constants)
    kinds = {constant.name.upper(): hints[constant.name] for constant in dataclasses.fields(_Constants)}
    # Every run has a folder of its own in it; and no result depends on whether compiled programs are kept.
    for name in ("OUT_DIR", "COMPILATION_CACHE"):
        del kinds[name]
    for name, family in MODELS.items():
        kinds[name] = Mapping
        kinds |= {f"{name}.{setting}": kind for setting, kind in get_type_hints(family.Config).items()}
    return kinds


def with_values(shared: Any, values: Mapping[str, Any], out_dir: str) -> BenchmarkConfig:
    """One run of a sweep: the fields of `shared` with some constants replaced.

    Args:
      shared: the `config` of a Command.
      values: names among `sweepable()` -> what the config block might say there.
      out_dir: the run's folder.

    Raises:
      UserError: a value cannot be run, by itself or with the others.
    """
    fields = {constant.name: getattr(shared, constant.name) for constant in dataclasses.fields(BenchmarkConfig)}
    fields["out_dir"] = out_dir
    settings: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        family, _, setting = name.partition(".")
        if setting:
            _check_kind(name, value, get_type_hints(MODELS[family].Config)[setting])
            settings.setdefault(family, {})[setting] = value
        elif name in MODELS:
            fields[name.lower()] = _family(name, value)
        else:
            fields[name.lower()] = _triples(name, value) if name.lower() in _EXTERNAL else value
    # At once, as two settings may fit each other and not what they replace.
    for family, replaced in settings.items():
        fields[family.lower()] = dataclasses.replace(fields[family.lower()], **replaced)
    return BenchmarkConfig(**fields)


def _listed(values: Any) -> str:
    try:
        return ",".join(map(str, values)) if isinstance(values, list | tuple | range) else str(values)
    except ValueError:
        # Python writes no number of more than 4 300 digits; the sweep refuses it by name.
        return "…"


def _fields(constants: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a BenchmarkConfig out of upper-case names."""
    values = {}
    known = {constant.name.upper() for constant in dataclasses.fields(_Constants)} | {*MODELS, *_OF_A_SWEEP}
    # Unknown names first: a misspelt constant is missing as well, and what was typed is what its user looks for.
    for name in constants:
        # A leading underscore marks the user's own helpers.
        if name.isupper() and name not in known and not name.startswith("_"):
            raise unknown_choice("the config block's", name, sorted(known))
    for constant in dataclasses.fields(_Constants):
        if constant.name.upper() not in constants:
            raise UserError(f"{constant.name.upper()} is missing from the config block")
        value = constants[constant.name.upper()]
        values[constant.name] = _triples(constant.name.upper(), value) if constant.name in _EXTERNAL else value
    return values | {name.lower(): _family(name, constants.get(name, {})) for name in MODELS}


def _family(name: str, settings: Any) -> Any:
    """A family's Config out of the settings that a line of the config block names."""
    first = dataclasses.fields(MODELS[name].Config)[0]
    return _settings(name, settings, MODELS[name].Config, f"{first.name}={first.default!r}")


def _settings(name: str, settings: Any, kind: Any, example: str) -> Any:
    """A dataclass of settings out of those that a line of the config block names."""
    kinds = get_type_hints(kind)
    if not isinstance(settings, Mapping):
        raise UserError(f"{name} = {settings!r} must be a dict of settings, such as {name} = dict({example})")
    for setting, value in settings.items():
        if setting not in kinds:
            raise unknown_choice(f"{name}'s setting", str(setting), kinds)
        _check_kind(f"{name}.{setting}", value, kinds[setting])
    return kind(**settings)


def _one_line(box: str, args: Sequence[str]) -> str:
    """The message inside tyro's box, with the nearest valid choice."""
    lines = [line.strip("│ ").strip() for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    message = []
    for line in lines:
        if re.fullmatch("─+", line):
            break
        message.append(line)
    text = re.sub(r"^Error parsing \w[\w.-]*: (?=[A-Z])", "", " ".join(message))
    unknown = re.match(r"Unrecognized options: ([^,]*)", text)
    if unknown:
        # The typed word is the value of an option that takes none, or a misspelt option.
        word = unknown[1].split("=")[0]
        if word in ("True", "False") and word in args[1:]:
            option = args[args.index(word, 1) - 1]
            family, dot, setting = option.removeprefix("--").rpartition(".")
            no = f"--{family}{dot}no-{setting}"
            return f"{option} takes no {word}: write {option if word == 'True' else no}; --help lists all options"
        return f"unknown option {word}{nearest_choice(word, options())}; --help lists all of them"
    choice = re.match(r"invalid choice '(.*)' for argument '(.*)'\. Expected one of \((.*)\)\.", text)
    if choice:
        allowed = [option.strip().strip("'") for option in choice[3].split(",") if option.strip()]
        return str(unknown_choice(choice[2], choice[1], allowed))
    value = re.match(r"Error parsing (--\S+): invalid literal for int\(\) with base 10: '(.*)'", text)
    if value:
        nearest = ""
        with contextlib.suppress(ValueError, OverflowError):
            nearest = f"; the nearest valid choice is {round(float(value[2]))}"
        return f"{value[1]} {value[2]!r} must be a whole number{nearest}"
    value = re.match(r"Error parsing (--\S+): could not convert string to float: '(.*)'", text)
    if value:
        return f"{value[1]} {value[2]!r} must be a number, such as 0.001"
    value = re.match(r"Error parsing (--external-\S+): Could not find valid parse for arguments: (.*)", text)
    if value:
        return (
            f"{value[1]} {value[2]} must be entries of a name, a file and a number of parameters or None, such as "
            "QCBM qcbm.npy 120"
        )
    return text or "the command line cannot be read; --help lists all options"


def options() -> list[str]:
    """Every option of the command line."""
    names = [constant.name for constant in dataclasses.fields(_Constants)] + [name.lower() for name in _OF_A_SWEEP]
    found = ["--help", "--merge", "--fresh", "--strict", "--replay"]
    found += [f"--{name.replace('_', '-')}" for name in names if name != "slurm"]
    for name, kind in {"slurm": Slurm, **{name: family.Config for name, family in MODELS.items()}}.items():
        for setting in dataclasses.fields(kind):
            found.append(f"--{name.lower().replace('_', '-')}.{setting.name.replace('_', '-')}")
    return found


def _check_choice(what: str, value: Any, choices: Any) -> None:
    if value not in list(choices):
        raise unknown_choice(what, str(value), choices)


def _check_no_sweep(name: Any) -> None:
    """Raises a UserError that says how, where a family is asked for that is a sweep of another one's setting."""
    if isinstance(name, str) and name.upper() in sweeps():
        setting, values = sweeps()[name.upper()]
        family, words = setting.partition(".")[0], ",".join(map(str, values))
        raise UserError(
            f"MODELS {name!r} is the {family} with other settings: set MODELS = ({family!r},) and "
            f"SWEEP = {{{setting!r}: {values}}}, or write --models {family} --sweep {setting}={words}"
        )


def _triples(what: str, entries: Any) -> tuple[tuple[str, str, int | None], ...]:
    """The form that the command line can override, of a dict name -> (file, parameters)."""
    if isinstance(entries, Mapping) and all(isinstance(e, tuple | list) and len(e) == 2 for e in entries.values()):
        return tuple((name, *entry) for name, entry in entries.items())
    raise UserError(
        f'{what} = {entries!r} must be a dict of (file, parameters or None), such as {{"QCBM": ("qcbm.npy", 120)}}'
    )


def _check_kind(what: str, value: Any, kind: Any) -> None:
    """What tyro does for the command line and nobody does for an edited line: its type; ranges are the family's."""
    if get_origin(kind) is Literal:
        _check_choice(what, value, get_args(kind))
    elif kind is bool and not isinstance(value, bool):
        raise UserError(f"{what} = {value!r} must be True or False")
    elif kind is int:
        check_whole(what, value)


def _nearest_divisor(n: int, value: int) -> int:
    divisors = {d for i in range(1, int(n**0.5) + 1) if n % i == 0 for d in (i, n // i)}
    return min(divisors, key=lambda d: (abs(d - value), d))

"""Constants as fields of dataclasses: what each means, may be, is measured in and affects is said once, in its field.

    @dataclass(frozen=True)
    class Config(Settings, of="GAN"):
        latent_dim: int = setting(16, "length of z", low=1)

Range checks, `--help`, the table of constants and the comments of the config block all come from there.
"""

import contextlib
import contextvars
import dataclasses
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from core.errors import check_range, check_whole

# Numbers of steps and rows are int32 on the devices.
HIGHEST = 2**31 - 1
_KEY = "about"


class Need(NamedTuple):
    """What a constant needs to have an effect."""

    words: str  # such as "with bins"
    holds: Callable[[Any], bool]  # of a run's configuration
    remedy: str  # how to meet it

    def __str__(self):
        """The words."""
        return self.words


WITH_BINS = Need("with bins", lambda config: config.num_bins > 0, "set NUM_BINS")
CONTINUOUS = Need(
    "if continuous",
    lambda config: config.continuous,
    "choose a target on a line or in a plane with NUM_BINS = 0",
)
COUNTED = Need(
    "with bins or bits", lambda config: not config.continuous, "set NUM_BINS, or choose a target of bit strings"
)


class About(NamedTuple):
    """What is said of one constant."""

    meaning: str  # a few words: what stands beside it in the config block
    low: float | None = None  # the least value
    high: float | None = None  # the largest one
    above: float | None = None  # what it must exceed
    below: float | None = None  # what it must stay under
    unit: str = ""
    affects: tuple[str, ...] = ("training",)  # "target", "score", "training", "pictures" or "nothing"
    needs: Need | None = None  # where it has an effect; None: everywhere
    traced: bool = False  # whether training takes it as an argument, so that runs that differ in it share a program
    row: str = ""  # how a leaderboard names its value, where results of other values are not comparable
    fixed: str = ""  # why no sweep can vary it; empty: one can
    stands_for: Mapping[str, Any] = {}  # law of the events -> what the default stands for there; "": elsewhere
    told: str = ""  # what its values tell apart in tables of a sweep: "row", "column", "size" or "draw"

    @property
    def range(self) -> str:
        """Which values are allowed, in words; empty: all of the type. The largest number of all is not worth a word."""
        said = (
            ("at least", self.low),
            ("above", self.above),
            ("at most", None if self.high == HIGHEST else self.high),
            ("below", self.below),
        )
        return " and ".join(f"{words} {bound}" for words, bound in said if bound is not None)


def setting(default: Any, meaning: str, **about: Any) -> Any:
    """A dataclass's field with its default and what else there is to say: the fields of `About`."""
    return dataclasses.field(default=default, metadata={_KEY: About(meaning, **about)})


def about(field: dataclasses.Field) -> About:
    """What is said of a field that `setting` has made."""
    return field.metadata[_KEY]


_LATER = contextvars.ContextVar("later", default=False)


@contextlib.contextmanager
def checked_later() -> Iterator[None]:
    """Within it nothing is checked when it is made: a library that makes settings would break the line of an error."""
    token = _LATER.set(True)
    try:
        yield
    finally:
        _LATER.reset(token)


class Settings:
    """Base of dataclasses whose fields are made by `setting`: checks ranges, and has their meanings in its docstring.

    Whoever subclasses it says by which name users know it: `of="GAN"`, so that a message reads "GAN.latent_dim = 0 must
    be at least 1"; with `of=""` the fields are constants by themselves, such as N_STEPS.
    """

    _of = ""

    def __init_subclass__(cls, of: str | None = None, **more: Any):
        """Adds the meanings of the fields to the docstring, where the command line's help looks for them."""
        super().__init_subclass__(**more)
        if of is not None:
            cls._of = of
            fields = {**getattr(cls, "__dataclass_fields__", {}), **vars(cls)}
            fields = {name: value for name, value in fields.items() if isinstance(value, dataclasses.Field)}
            cls.__doc__ = f"{cls.__doc__}\n\nAttributes:\n{described(fields)}"

    def __post_init__(self):
        """Checks what is made, unless that has to wait."""
        if not _LATER.get():
            self.check()

    def check(self) -> None:
        """Checks that every number is in its range; a subclass adds what else can be wrong.

        Raises:
          UserError: the first that is not.
        """
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            said = field.metadata.get(_KEY)
            if said is None or not said.range:
                continue
            what, value = self.label(field.name), getattr(self, field.name)
            if hints[field.name] is int:
                check_whole(what, value)
            bounds = {name: getattr(said, name) for name in ("low", "high", "above", "below")}
            # The largest number of all is named only to whoever exceeds it.
            if bounds["high"] == HIGHEST and value <= HIGHEST:
                bounds["high"] = None
            check_range(what, value, **bounds)

    def for_law(self, law: str) -> "Settings":
        """These settings with every default that stands for another value replaced by the one of that law."""
        found = {}
        for field in dataclasses.fields(self):
            said = about(field).stands_for
            value = getattr(self, field.name)
            # A traced number is one that was asked for, and cannot be compared.
            if said and isinstance(value, type(field.default)) and value == field.default:
                found[field.name] = said.get(law, said[""])
        return dataclasses.replace(self, **found) if found else self

    @classmethod
    def label(cls, name: str) -> str:
        """A field as users write it."""
        return f"{cls._of}.{name}" if cls._of else name.upper()


def described(fields: typing.Mapping[str, dataclasses.Field]) -> str:
    """Lines of a docstring that say what fields mean, for the command line's help."""
    return "".join(f"    {name}: {help_of(about(field))}\n" for name, field in fields.items())


def help_of(said: About) -> str:
    """What --help says of a constant: its meaning, range, unit and where it has an effect."""
    where = "" if said.needs is None else str(said.needs)
    return "; ".join(filter(None, (said.meaning, said.range, said.unit and f"in {said.unit}", where)))


def traced(kind: Any) -> tuple[str, ...]:
    """The names of a dataclass's settings that training takes as arguments.

    `average` is never one: the rate 1 − average is nearly 0, and only four digits of it would be left in float32.
    """
    return tuple(field.name for field in dataclasses.fields(kind) if about(field).traced)

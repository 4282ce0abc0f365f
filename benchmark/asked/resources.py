"""What a sweep asks a cluster for."""

import re
import shlex
from dataclasses import dataclass

from core.errors import UserError, check_range, check_whole

LAUNCHERS = ("local", "slurm")
_LOWEST = {"time_minutes": 1, "cpus": 1, "mem_gb": 0, "gpus": 0, "cells_per_task": 1, "seeds_per_task": 0}


@dataclass(frozen=True)
class Slurm:
    """One task of a sweep's job array: its resources, and how much of the sweep it does."""

    partition: str = ""  # where tasks run; empty: the cluster's default
    account: str = ""  # that pays; empty: your default
    time_minutes: int = 60  # limit of a task
    cpus: int = 4  # cores of a task
    mem_gb: int = 8  # memory of a task; 0: the partition's default
    gpus: int = 0  # GPUs of a task
    cells_per_task: int = 1  # cells that a task runs, one after the other
    seeds_per_task: int = 0  # seeds of a cell that a task trains, so that several share a cell; 0: all
    options: str = ""  # more of sbatch's, such as "--qos=long --nice=100"

    def __post_init__(self):
        """Checks what can be judged without a cluster.

        Raises:
          UserError: the first value that cannot be asked for.
        """
        for name, low in _LOWEST.items():
            check_whole(f"SLURM.{name}", getattr(self, name))
            check_range(f"SLURM.{name}", getattr(self, name), low=low)
        for name in ("partition", "account"):
            value = getattr(self, name)
            if not isinstance(value, str) or not re.fullmatch(r"[\w.,+-]*", value):
                raise UserError(f"SLURM.{name} = {value!r} must be a name as the cluster knows it, or empty")
        if not isinstance(self.options, str):
            raise UserError(f'SLURM.options = {self.options!r} must be text, such as "--qos=long --nice=100"')
        self.more()

    def more(self) -> dict[str, str | bool]:
        """The further options by name, without their dashes.

        Raises:
          UserError: a word that is none.
        """
        try:
            words = shlex.split(self.options)
        except ValueError as error:
            raise UserError(f"SLURM.options = {self.options!r} cannot be read: {error}") from None
        found: dict[str, str | bool] = {}
        for word in words:
            name, equals, value = word.removeprefix("--").partition("=")
            if not word.startswith("--") or not re.fullmatch(r"[a-z][a-z-]*", name) or not value.isprintable():
                raise UserError(f"SLURM.options: {word!r} must have the form --name=value or --name")
            found[name] = value if equals else True
        return found

    def as_options(self) -> list[str]:
        """All that a task asks for, as sbatch takes it."""
        asked = {"partition": self.partition, "account": self.account, "time": self.time_minutes}
        asked |= {
            "cpus-per-task": self.cpus,
            "mem": f"{self.mem_gb}G" if self.mem_gb else "",
            "gpus-per-node": self.gpus,
        }
        asked = {name: value for name, value in asked.items() if value}
        return [f"--{name}" if value is True else f"--{name}={value}" for name, value in (asked | self.more()).items()]

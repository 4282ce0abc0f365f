"""What a sweep asks a cluster for."""

import re
import shlex
from dataclasses import dataclass

from core.errors import UserError
from core.settings import Settings, setting

LAUNCHERS = ("local", "slurm")
_NOWHERE = ("nothing",)


@dataclass(frozen=True)
class Slurm(Settings, of="SLURM"):
    """One task of a sweep's job array: its resources, and how much of the sweep it does."""

    partition: str = setting("", "where tasks run; empty: the cluster's default", affects=_NOWHERE)
    account: str = setting("", "that pays; empty: your default", affects=_NOWHERE)
    time_minutes: int = setting(60, "limit of a task", low=1, unit="minutes", affects=_NOWHERE)
    cpus: int = setting(4, "cores of a task", low=1, affects=_NOWHERE)
    mem_gb: int = setting(8, "memory of a task; 0: the partition's default", low=0, unit="GiB", affects=_NOWHERE)
    gpus: int = setting(0, "GPUs of a task", low=0, affects=_NOWHERE)
    cells_per_task: int = setting(1, "cells that a task runs, one after the other", low=1, affects=_NOWHERE)
    seeds_per_task: int = setting(
        0, "seeds that a task trains, so that several share a cell; 0: all", low=0, affects=_NOWHERE
    )
    options: str = setting("", "more of the options of sbatch, such as --qos=long", affects=_NOWHERE)

    def check(self):
        """Checks what can be judged without a cluster.

        Raises:
          UserError: the first value that cannot be asked for.
        """
        super().check()
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

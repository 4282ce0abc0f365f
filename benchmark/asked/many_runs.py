"""The constants that decide which runs there are, and where: they are no part of any run."""

from typing import Any, Literal

from benchmark.asked.resources import LAUNCHERS, Slurm
from core.settings import setting

SAME_RESULTS = "no result depends on it; set it for all cells"
# Name -> its type and its field, as for `dataclasses.make_dataclass`.
MANY_RUNS: dict[str, tuple[Any, Any]] = {
    "sweep": (
        tuple[str, ...],
        setting((), "NAME=value,value … of constants or settings: all combinations are run", fixed="it is the sweep"),
    ),
    "sweep_pictures": (bool, setting(True, "whether every run of a sweep draws its own pictures", fixed=SAME_RESULTS)),
    "launcher": (
        Literal[LAUNCHERS],
        setting(
            "local",
            "where the runs of a sweep take place: here, or as a job array on a cluster",
            fixed=SAME_RESULTS,
        ),
    ),
    "slurm": (
        Slurm,
        setting(Slurm(), "what a task of a sweep's job array asks for, and how much it does", fixed=SAME_RESULTS),
    ),
}

"""The machine a run computes on: its cores, its name, and where compiled programs are kept between runs."""

import contextlib
import hashlib
import os
import platform
import stat
import sys
from pathlib import Path

import jax

# What compiles faster than this is compiled again: reading it back would take as long.
_MIN_COMPILE_SECONDS = 0.1


def use_every_core() -> None:
    """One JAX device a core, so that seeds train side by side; possible only before JAX is first used.

    In a Slurm job these are the cores that it asked for: not every cluster binds a job to them.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    with contextlib.suppress(KeyError, ValueError):
        cores = max(1, min(cores, int(os.environ["SLURM_CPUS_PER_TASK"])))
    # A program that called main() after using JAX keeps the devices it has.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", cores)


def use_compilation_cache() -> str | None:
    """Keeps compiled programs in a folder of the user's alone, and takes them from there.

    A compiled program is machine code that a later run executes: whoever can write to the folder can run what he likes
    as this user. So the folder is private, and one that others can write to, or own, is not used. Processors of another
    make share nothing: they need not know the instructions.

    Returns:
      Why there is no cache, or None where there is one. A folder that JAX has been given otherwise stays.
    """
    if jax.config.jax_compilation_cache_dir:
        return None
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    make = hashlib.sha256(f"{processor()} {jax.__version__}".encode()).hexdigest()[:12]
    folder = base / "classical-generative-benchmarks" / make
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        for place in (folder.parent, folder):
            status = place.lstat()
            if not stat.S_ISDIR(status.st_mode):
                return f"{place} is not a folder"
            if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
                return f"others can write to {place}"
    except OSError as error:
        return f"{folder} cannot be used ({error.strerror})"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _MIN_COMPILE_SECONDS)
    return None


def device_name() -> str:
    """The devices that JAX computes on, in words."""
    devices = jax.local_devices()
    name = devices[0].device_kind
    if devices[0].platform == "cpu":
        name = f"{processor()}, {os.cpu_count()} cores"
    return f"{len(devices)} × {devices[0].platform} ({name})"


def processor() -> str:
    """The processor's own name: platform.processor() is empty on most Linux systems."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine() or sys.platform

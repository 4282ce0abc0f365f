"""The machine a run computes on: its cores, its name, and where compiled programs are kept between runs."""

import contextlib
import hashlib
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import platformdirs
from threadpoolctl import threadpool_info

from core import trust
from core.errors import UserError

# What compiles faster than this is compiled again: reading it back would take as long.
_MIN_COMPILE_SECONDS = 0.1
# What decides how sums and products are rounded: vectors of how many numbers, and whether with fused multiply-adds.
_INSTRUCTIONS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "amx_tile", "asimd", "sve", "sve2")
# The settings of JAX, and the variables that other libraries read, on which a result can depend.
_FLAGS = ("default_matmul_precision", "default_prng_impl", "disable_jit", "disable_most_optimizations", "enable_x64",
          "random_seed_offset", "threefry_partitionable", "use_high_dynamic_range_gumbel")  # fmt: skip
_VARIABLES = ("GLIBC_TUNABLES", "MKL_NUM_THREADS", "NPY_DISABLE_CPU_FEATURES", "NVIDIA_TF32_OVERRIDE",
              "OMP_NUM_THREADS", "OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "XLA_FLAGS")  # fmt: skip


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


def check() -> None:
    """Proves that there is a device to compute on.

    Raises:
      UserError: there is none of the kind that JAX_PLATFORMS asks for, or none that works.
    """
    try:
        jax.devices()
        return
    except (RuntimeError, AssertionError) as error:
        # Where a plug-in is missing it says nothing.
        why = str(error).partition("\n")[0]
    asked = jax.config.jax_platforms
    there = "cpu"
    try:
        jax.config.update("jax_platforms", None)
        there = ", ".join(sorted({device.platform for device in jax.devices()}))
    except (RuntimeError, AssertionError):
        asked = None
    finally:
        jax.config.update("jax_platforms", asked)
    if asked:
        raise UserError(
            f"JAX_PLATFORMS = {asked!r} asks for a device that JAX does not find; it finds {there}: set "
            "JAX_PLATFORMS to that, or unset it (a GPU needs JAX's plug-in: docs/speed.md)"
        )
    raise UserError(f"JAX finds no device that it can compute on ({why}): JAX_PLATFORMS=cpu leaves all others alone")


_without_x64 = False


@contextlib.contextmanager
def in_float32() -> Iterator[None]:
    """For a block in which numbers have 32 bits where nothing else is said, whatever JAX_ENABLE_X64 says.

    So they are tuned, tested and kept; what needs 64 bits takes them by itself.
    """
    global _without_x64
    before = jax.config.jax_enable_x64
    if before:
        jax.config.update("jax_enable_x64", False)
        _without_x64 = True
    try:
        yield
    finally:
        if before:
            jax.config.update("jax_enable_x64", True)
            _without_x64 = False


def precision_note() -> str:
    """What is to be said beside the device where `in_float32` has overruled a setting; empty elsewhere."""
    return "; JAX_ENABLE_X64 is set off: everything is trained in float32" if _without_x64 else ""


def use_compilation_cache() -> str | None:
    """Keeps compiled programs in a folder of the user's alone, and takes them from there.

    A compiled program is machine code that a later run executes: whoever can write to the folder, or put another in its
    place, can run what he likes as this user. So all the way to it has to be the user's or root's, and everything in
    it. Processors of another make share nothing: they need not know the instructions.

    Returns:
      Why there is no cache, or None where there is one. A folder that JAX has been given otherwise stays.
    """
    if jax.config.jax_compilation_cache_dir:
        return None
    try:
        base = platformdirs.user_cache_path("classical-generative-benchmarks", appauthor=False)
    except RuntimeError:
        return "there is no home folder to keep them in"
    make = hashlib.sha256(f"{processor()} {jax.__version__}".encode()).hexdigest()[:12]
    folder = base / make
    try:
        why_not = trust.make_private(folder)
        for place in (folder.parent, folder):
            if why_not is None and place.is_symlink():
                why_not = f"{place} is not a folder but a link"
        why_not = why_not or trust.foreign_file(folder)
    except OSError as error:
        return f"{folder} cannot be used ({error.strerror})"
    if why_not:
        return why_not
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


def environment() -> dict[str, Any]:
    """What besides the program, its libraries and its input decides the last bits of a result."""
    libraries = {
        f"{each['internal_api']} {each['version']} {each.get('architecture')}, {each['num_threads']} threads"
        for each in threadpool_info()
        if each["user_api"] == "blas"
    }
    present = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return {
        "n_devices": jax.local_device_count(),
        "system": " ".join((platform.system(), platform.machine(), *platform.libc_ver())).strip(),
        "instructions": " ".join(name for name in _INSTRUCTIONS if name in present),
        "blas": "; ".join(sorted(libraries)),
        "flags": {name: _plain(jax.config.values.get(f"jax_{name}")) for name in _FLAGS},
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def processor() -> str:
    """The processor's own name: platform.processor() is empty on most Linux systems."""
    return _cpuinfo("model name") or platform.processor() or platform.machine() or sys.platform


def _cpuinfo(field: str) -> str:
    """What Linux says of its first processor; empty elsewhere."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == field:
                return value.strip()
    return ""


def _plain(setting: Any) -> Any:
    return setting if setting is None or isinstance(setting, bool | int | str) else str(setting)

"""Compiled programs, which runs of the same shapes share, and what the compiler is told."""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from typing import Any

import jax

# What XLA leaves off by default and training is faster with: the widest vectors of the processor, and one thread a
# device, since every core has a device of its own and a tiny product is done before a second thread has woken up.
_CPU_OPTIONS = {
    "xla_cpu_prefer_vector_width": 512,
    "xla_cpu_multi_thread_eigen": False,
    "xla_cpu_copy_insertion_use_region_analysis": True,
    # Families are compiled side by side: parts of a program of their own would only get in each other's way.
    "xla_cpu_parallel_codegen_split_count": 1,
}
# For programs that run once, or are only analysed.
_CPU_OPTIONS_ONCE = {**_CPU_OPTIONS, "xla_backend_optimization_level": 0}


def memory_bytes(compiled: Any) -> int | None:
    """What a compiled program takes on one device: arguments, results, temporaries; None where it does not say."""
    with contextlib.suppress(AttributeError, NotImplementedError):
        sizes = compiled.memory_analysis()
        held = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
        return held + sizes.temp_size_in_bytes
    return None


class _Compiled:
    """A compiled program with its first argument filled in."""

    def __init__(self, executable: Any, first: Any, out_info: Any):
        self._executable, self._first = executable, first
        self.out_info = out_info  # the result's shapes
        self.memory_analysis, self.cost_analysis = executable.memory_analysis, executable.cost_analysis

    def __call__(self, *args: Any) -> Any:
        return self._executable(self._first, *args)


# What was compiled last, by its text: runs of a sweep that differ in a seed or a learning rate have the same programs.
_MOST_KEPT = 32
_kept: dict[str, Any] = {}
_asked_for: set[str] = set()  # of them, since `forget_unused`
_kept_lock = threading.Lock()
# What is being compiled at this moment, by thread: the family and its program.
_at_work: dict[int, str] = {}


def at_work() -> list[str]:
    """What is being compiled, or compiled and computed, at this moment, such as "GAN (training)"."""
    return sorted(_at_work.copy().values())


@contextlib.contextmanager
def working_on(name: str, what: str) -> Iterator[None]:
    """For a block that may compile for long: meanwhile `at_work` names it."""
    _at_work[threading.get_ident()] = f"{name} ({what})"
    try:
        yield
    finally:
        del _at_work[threading.get_ident()]


def compile_shared(lowered: Any, first: Any, once: bool = False) -> _Compiled:
    """Compiles, unless the same has been compiled before."""
    # Arguments that a program does not use are not in its text, nor what the compiler is told not to do.
    own = (lowered.args_info, once, jax.local_devices(), jax.config.values["jax_disable_most_optimizations"])
    text = f"{lowered.as_text()} {own}"
    key = hashlib.sha256(text.encode()).hexdigest()
    with _kept_lock:
        _asked_for.add(key)
        executable = _kept.pop(key, None)
    if executable is None:
        executable = lowered.compile(compiler_options=options(once))
    with _kept_lock:
        _kept[key] = executable
        while len(_kept) > _MOST_KEPT:
            del _kept[next(iter(_kept))]
    return _Compiled(executable, first, lowered.out_info)


def forget_unused() -> None:
    """Lets go of compiled programs that nothing has asked for since the last call.

    Called before every run: those of the last one are left. A program may take 50 MB, and a sweep over budgets has
    others in every cell.
    """
    with _kept_lock:
        for key in _kept.keys() - _asked_for:
            del _kept[key]
        _asked_for.clear()


def options(once: bool = False) -> dict[str, Any] | None:
    """The compiler's, for a program that runs often or once."""
    if jax.local_devices()[0].platform != "cpu":
        return None
    return _CPU_OPTIONS_ONCE if once else _CPU_OPTIONS

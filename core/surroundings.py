"""What a run finds around it: libraries, standard streams, variables of the environment.

Looked at before any library is read; nothing here needs one.
"""

import contextlib
import importlib.util
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator

from core import places

# Distributions whose module has another name.
_MODULES = {"arviz-stats": "arviz_stats", "pillow": "PIL", "scikit-learn": "sklearn"}
_STREAMS = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))
# What reads XLA_FLAGS, and ends the process where they are wrong.
_READ_FLAGS = "from jaxlib import _jax; _jax.CompileOptions()"
_FLAGS_SECONDS = 60
_LOOK = "matplotlibrc"
_LONGEST = 300  # letters of what somebody else has written


def check() -> str | None:
    """Makes the surroundings what a run needs, as far as that can be done.

    Returns:
      What is in the way of any run, in one line; None where nothing is.
    """
    _open_streams()
    if os.environ.get("HOME") == "":
        # An empty one would lead to the root of the file system; without any, the system's list of users says where.
        del os.environ["HOME"]
    return _missing() or _wrong_flags() or _wrong_programs() or _wrong_look() or _wrong_jax()


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


@contextlib.contextmanager
def without_display() -> Iterator[None]:
    """For a block that draws pictures into files alone, whatever backend MPLBACKEND asks for.

    Matplotlib cannot be imported where it does not know that one, as that of a notebook outside of it. The user's
    `matplotlibrc` changes no picture, and so nothing is said about its faults.
    """
    hush_matplotlib()
    new = "matplotlib" not in sys.modules
    # Processes that draw for this one have them as well.
    wanted = {"MATPLOTLIBRC": os.devnull}
    if new and os.environ.get("MPLBACKEND"):
        wanted["MPLBACKEND"] = "agg"
    asked = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in asked.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if new and "matplotlib" in sys.modules:
            # The notebook that has called this goes on with its own look and backend, as far as they can be read.
            matplotlib = sys.modules["matplotlib"]
            with contextlib.suppress(Exception):
                look = matplotlib.rc_params()
                matplotlib.rcParams.update({name: look[name] for name in look if name != "backend"})
            if asked.get("MPLBACKEND"):
                with contextlib.suppress(ValueError):
                    matplotlib.rcParams["backend"] = asked["MPLBACKEND"]


def hush_matplotlib() -> None:
    """Lets Matplotlib say errors alone, in this process: not where it keeps its fonts, nor what a matplotlibrc has."""
    logging.getLogger("matplotlib").addFilter(_is_error)


def _open_streams() -> None:
    """Gives standard streams that are closed to what swallows everything: a file would get their number otherwise."""
    for number, name, mode in _STREAMS:
        try:
            os.fstat(number)
        except OSError:
            # It gets the lowest number that is free: this one.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _missing() -> str | None:
    """Names the requirements that this Python does not have."""
    with contextlib.suppress(OSError):
        names = re.findall(r"^[\w.-]+", places.REQUIREMENTS.read_text(), re.MULTILINE)
        missing = [name for name in names if importlib.util.find_spec(_MODULES.get(name, name)) is None]
        if missing:
            what = "what it needs" if len(missing) == len(names) else ", ".join(missing)
            return (
                f"{sys.executable} does not have {what}: start with `make run`, which installs everything, or first "
                f"run `{sys.executable} -m pip install -r requirements.txt`"
            )
    return None


def _wrong_flags() -> str | None:
    """Says what is wrong with XLA_FLAGS, which is tried in another process: the library ends the one that reads it."""
    flags = os.environ.get("XLA_FLAGS", "")
    if not flags.strip():
        return None
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        tried = subprocess.run(
            [sys.executable, "-c", _READ_FLAGS],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_FLAGS_SECONDS,
            text=True,
            errors="replace",
        )
        # Another version of the library may have no such name; a signal that ends the other ends this one as well.
        if tried.returncode != 0 and "Traceback (most recent call last)" not in tried.stderr:
            # Such as "F1126 20:28:45.127797    5578 parse_flags_from_env.cc:234] Unknown flag in XLA_FLAGS: --x".
            why = next(iter(re.findall(r"^[EF]\d+ .*?\] *(.*)$", tried.stderr, re.MULTILINE)), "they cannot be read")
            why = why.strip().rstrip(".")[:_LONGEST]
            return f"XLA_FLAGS = {flags[:_LONGEST]!r} cannot be used ({why}): correct it, or unset XLA_FLAGS"
    return None


def _wrong_programs() -> str | None:
    """Says why the folder that JAX is told to keep programs in cannot be used; JAX makes one that is not there."""
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR", "")
    if not folder or "://" in folder:  # JAX reads and writes the storage of a cloud by itself
        return None
    place = os.path.abspath(folder)
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    if os.path.isdir(place) and os.access(place, os.R_OK | os.W_OK | os.X_OK):
        return None
    return (
        f"JAX_COMPILATION_CACHE_DIR = {folder[:_LONGEST]!r} cannot be used ({place} is no folder that can be written): "
        "give it one, or unset JAX_COMPILATION_CACHE_DIR"
    )


def _wrong_look() -> str | None:
    """Says that the working folder has a file of Matplotlib's that it cannot read, before which it reads no other."""
    if not os.path.isfile(_LOOK):
        return None
    try:
        with open(_LOOK, encoding="utf-8") as file:
            file.read()
    except UnicodeDecodeError as error:
        return f"{_LOOK} in the working folder is not text in UTF-8 ({error.reason}): save it as such, or remove it"
    except OSError as error:
        return (
            f"{_LOOK} in the working folder cannot be read ({error.strerror}): give yourself the right to, or remove it"
        )
    return None


def _wrong_jax() -> str | None:
    """Says which of its own variables JAX refuses."""
    try:
        import jax
    except ValueError as error:
        return f"JAX refuses its settings ({error}): correct or unset what the environment sets"
    del jax
    return None

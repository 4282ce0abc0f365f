"""Streams that stand in the place of the terminal: tolerant ones, ones that a file follows, and ones of whole lines."""

import atexit
import contextlib
import io
import os
import sys
from time import monotonic
from typing import Any, TextIO


class _Beside(io.TextIOBase):
    """A stream in the place of another one, which belongs to somebody else."""

    def close(self) -> None:
        # Python closes what is forgotten, and the other stream may have been closed by then: from 3.13 on it says so.
        pass


class Tolerant(_Beside):
    """A stream that is written to as far as that is possible."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    @property
    def encoding(self) -> str:
        return self._stream.encoding

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


class Copied(_Beside):
    """A stream that a file follows line by line."""

    encoding = "utf-8"

    def __init__(self, stream: TextIO, file: TextIO):
        self._stream, self._file, self._line = stream, file, ""

    def write(self, text: str) -> int:
        self._stream.write(text)
        *whole, self._line = (self._line + text).split("\n")
        # A disk that is full must not end the run at a line that it prints.
        with contextlib.suppress(OSError):
            for line in whole:
                self._file.write(line.rstrip("\r ").rpartition("\r")[2].rstrip() + "\n")
            if whole:
                self._file.flush()
        # What is drawn over needs no more than its last state.
        self._line = self._line[max(0, self._line.rfind("\r")) :]
        return len(text)

    def flush(self) -> None:
        self._stream.flush()


class Lines(_Beside):
    """A stream for what is drawn over and over, where it goes to a file or a pipe.

    Of every line it writes the last state, and of one that takes long the present state every so many seconds.
    """

    def __init__(self, stream: TextIO, seconds: float):
        self._stream, self._seconds, self._line = stream, seconds, ""
        self._last = monotonic()

    @property
    def encoding(self) -> str:
        return self._stream.encoding or "utf-8"

    def write(self, text: str) -> int:
        *whole, last = text.split("\n")
        for part in whole:
            line = self._after(part.rstrip("\r")).rstrip()
            self._line = ""
            # Clearing a bar leaves nothing to be seen.
            if line:
                self._stream.write(line + "\n")
        self._line = self._after(last)
        if self._line.strip() and monotonic() - self._last >= self._seconds:
            self._stream.write(self._line.rstrip() + "\n")
            self._line, self._last = "", monotonic()
        if whole or not self._line:
            self._stream.flush()
        return len(text)

    def _after(self, text: str) -> str:
        """What stands in the line after some more of it, without what was drawn over."""
        return (self._line + text).rpartition("\r")[2]

    def flush(self) -> None:
        self._stream.flush()


@atexit.register
def let_go() -> None:
    """Gives up what the terminal's streams hold and cannot write, such as to a pipe whose reader is gone.

    Python tries once more at its end, complains, and ends with code 120 whatever the run's own is.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except (AttributeError, ValueError):
            # There is none, or it is closed.
            pass

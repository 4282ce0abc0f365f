"""Ctrl-C and SIGTERM: the first asks the run to come to an end, the second ends the process.

While something is at work that can be kept (`deferred`), the first only leaves a note, which the training loop looks at
after every interval; elsewhere it is raised. A thread of its own reads the signals, so that a second one is heard while
the main thread is inside a long computation.
"""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

# Some programs send a signal to a process and once more to its group, or once more a little later; people do not press
# keys as fast.
_ONE_SECONDS = {signal.SIGINT: 0.5}
_ONE_SECONDS_ELSE = 5.0


class Interrupted(KeyboardInterrupt):
    """A signal has asked the process to end; with an argument where the user has been told what became of it."""


class _State:
    """What has been asked for. There is one, as a process has one set of signals."""

    def __init__(self):
        self.signal: signal.Signals | None = None
        self.heard_at = 0.0
        self.deferring = False
        self.raised = False


_state = _State()


def requested() -> signal.Signals | None:
    """The signal that has asked the process to end, if one has."""
    return _state.signal


def exit_code() -> int:
    """What the process should return: 0, or what shells make of the signal (130, 143)."""
    return 0 if _state.signal is None else 128 + _state.signal


def check() -> None:
    """Raises Interrupted if the process has been asked to end."""
    if _state.signal is not None:
        raise Interrupted


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """For a block that looks at `requested` itself and ends soon then; within another such it changes nothing."""
    if _state.deferring:
        yield
        return
    check()
    _state.deferring = True
    try:
        yield
    finally:
        _state.deferring = False


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Handles the signals within a block, which is over with what they asked for when it ends.

    Outside the main thread, where Python hears none, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = [signal.SIGINT, signal.SIGTERM]
    # Slurm's own warning before a time limit, as submitit asks for it.
    if hasattr(signal, "SIGUSR2"):
        signals.append(signal.SIGUSR2)
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    # What is ignored, as in the background of a shell, or handled by others than Python stays so.
    signals = [number for number in signals if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, _raise) for number in signals}
    earlier = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    listener = threading.Thread(target=_listen, args=(reading, set(signals)), daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(earlier)
        for number, handler in before.items():
            signal.signal(number, handler)
        writing.close()
        listener.join()
        reading.close()
        _state.__init__()


def _raise(number: int, frame: object) -> None:
    del frame
    _note(number)
    if not _state.deferring and not _state.raised:
        # Not again while what the first one has raised is on its way.
        _state.raised = True
        raise Interrupted


def _note(number: int) -> bool:
    """Whether this is the first signal."""
    if _state.signal is not None:
        return False
    _state.heard_at = time.monotonic()
    _state.signal = signal.Signals(number)
    return True


def _say(line: str) -> None:
    """Writes to stderr without a lock that the main thread may have been interrupted with, as in a progress bar."""
    # Who read it may be gone.
    with contextlib.suppress(OSError):
        # On a terminal a progress bar has left the cursor in its line.
        os.write(2, f"{chr(10) * os.isatty(2)}{line}".encode())


def _listen(reading: socket.socket, signals: set[int]) -> None:
    """Hears every signal at once, whatever the main thread does."""
    told = False
    while byte := reading.recv(1):
        number = byte[0]
        if number not in signals:
            continue
        _note(number)
        if not told:
            told = True
            if _state.deferring:
                again = "Ctrl-C again" if number == signal.SIGINT else "a second signal, later,"
                name = signal.Signals(number).name
                _say(f"{name}: ending soon, with what there is by then; {again} stops at once\n")
        elif time.monotonic() - _state.heard_at > _ONE_SECONDS.get(number, _ONE_SECONDS_ELSE):
            # Not even what is being written is waited for: every file is there whole or not at all.
            os._exit(128 + number)

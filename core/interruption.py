"""Ctrl-C and SIGTERM: the first asks the run to come to an end, the second ends the process.

While something is at work that can be kept (`deferred`), the first only leaves a note, which the training loop looks at
after every interval. Once all is trained (`kept_by`), the training is kept at once. There and elsewhere nothing can be
lost: where the main thread does not come to its end in a few seconds, as inside a compilation, the process ends without
it. A thread of its own reads the signals, so that they are heard whatever the main thread does.
"""

import atexit
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator

# Some programs send a signal to a process and once more to its group, or once more a little later; people do not press
# keys as fast.
_ONE_SECONDS = {signal.SIGINT: 0.5}
_ONE_SECONDS_ELSE = 5.0
# The main thread has these to end where there is nothing to keep, and then its clean-up has those: together below five.
_SECONDS_TO_END = 3.0
_SECONDS_TO_CLEAN = 0.7
# A process that has come to its exit so soon after a signal does so for its sake.
_SECONDS_TO_EXIT = 5.0


class Interrupted(KeyboardInterrupt):
    """A signal has asked the process to end; with an argument where the user has been told what became of it."""


class _State:
    """What has been asked for. There is one, as a process has one set of signals."""

    def __init__(self):
        self.signal: signal.Signals | None = None
        self.heard_at = 0.0
        self.deferring = False
        self.raised = False
        self.keep: Callable[[], bool] | None = None  # within `kept_by`
        self.kept = False  # the process ends within `kept_by`, and there is nothing to lose any more
        self.over = threading.Event()  # set where the block that handles signals has ended


_state = _State()
# What `cleaned_up` and `ending_with` have asked for, and threads that nobody waits for any more.
_clean_ups: list[Callable[[], object]] = []
_last_words: list[Callable[[], str]] = []
_left: list[threading.Thread] = []
_left_code = 128 + signal.SIGINT
_raised_until = 0.0  # when a block ended whose signal was raised, and so long after it
_owned = False  # the process has nobody else in it
_undisturbed = threading.Lock()


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
    # In this order: whoever hears a signal sees that it is deferred, or this sees the signal.
    _state.deferring = True
    try:
        check()
        yield
    finally:
        _state.deferring = False


@contextlib.contextmanager
def kept_by(keep: Callable[[], bool]) -> Iterator[None]:
    """For the part of a deferred block that may compute for long and looks at no signal.

    A first signal that comes in it ends the process within five seconds, unless the part comes to its end before.

    Args:
      keep: keeps what there is, called by another thread; returns whether that is all. If not, the part goes on.
    """
    _state.keep = keep
    try:
        yield
    finally:
        _state.keep = None


def kept() -> bool:
    """Whether a signal has had everything kept that an unfinished block has come to."""
    return _state.kept


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """For a short block, as one that exchanges files: a first signal does not end the process inside it."""
    with _undisturbed:
        yield


@contextlib.contextmanager
def cleaned_up(clean_up: Callable[[], object]) -> Iterator[None]:
    """For a block that leaves something to undo, also where a signal ends the process inside it.

    Args:
      clean_up: called at the end of the block, by another thread where the block itself does not live to see it.
    """
    _clean_ups.append(clean_up)
    try:
        yield
    finally:
        _clean_ups.remove(clean_up)
        clean_up()


@contextlib.contextmanager
def ending_with(words: Callable[[], str]) -> Iterator[None]:
    """For a block that has its own line to print where a signal ends the process.

    Args:
      words: gives the line.
    """
    _last_words.append(words)
    try:
        yield
    finally:
        _last_words.remove(words)


def last_words() -> str:
    """The line that a signal ends the process with."""
    return _last_words[-1]() if _last_words else ""


def leave(threads: Iterable[threading.Thread]) -> None:
    """Leaves threads alone that compute what nobody needs any more; the process does not wait for them to end."""
    global _left_code
    _left.extend(thread for thread in threads if thread.is_alive())
    _left_code = exit_code() or _left_code


def own_process() -> None:
    """Says that the process runs nothing but this program: a signal may end it at its exit, whatever is going on.

    Some versions of JAX let a signal raise an exception in the main thread while a thread of the compiler goes on, for
    whose end the library would wait. In a process of somebody else, who has called this program, it does wait.
    """
    global _owned
    _owned = True


@atexit.register
def _end_without_them() -> None:
    """Ends the process where its usual end would pull down the libraries that a thread is still inside."""
    if any(thread.is_alive() for thread in _left) or (_owned and time.monotonic() < _raised_until):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(_left_code)


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Handles the signals within a block, which is over with what they asked for when it ends.

    Outside the main thread, where Python hears none, it does nothing.
    """
    global _left_code, _raised_until
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
        _state.over.set()
        writing.close()
        listener.join()
        reading.close()
        if _state.raised:
            _left_code, _raised_until = exit_code(), time.monotonic() + _SECONDS_TO_EXIT
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


def _say(line: str, descriptor: int = 2) -> None:
    """Writes without a lock that the main thread may have been interrupted with, as in a progress bar."""
    # Who read it may be gone.
    with contextlib.suppress(OSError):
        # On a terminal a progress bar has left the cursor in its line.
        os.write(descriptor, f"{chr(10) * os.isatty(descriptor)}{line}\n".encode(errors="backslashreplace"))


def _end_for(number: int, over: threading.Event, keep: Callable[[], bool] | None) -> None:
    """Ends the process unless the main thread does, or there is something to keep that cannot be kept."""
    if keep is not None and not keep():
        return
    # An exchange of files takes an instant: where it takes longer it is the last thing that the main thread does.
    if over.wait(_SECONDS_TO_END) or not _undisturbed.acquire(timeout=_SECONDS_TO_CLEAN):
        return
    try:
        # Once the part that looks at no signal is over, the main thread ends by itself.
        if keep is None or _state.keep is keep:
            _state.kept = keep is not None
            _end_now(number, over)
    finally:
        _undisturbed.release()


def _end_now(number: int, over: threading.Event) -> None:
    """Undoes and says what there is to, and ends the process unless the main thread has come to its end meanwhile."""

    def clean_up():
        for each in reversed(_clean_ups):
            with contextlib.suppress(Exception):
                each()
        with contextlib.suppress(Exception):
            _say(last_words(), 1)

    # A file system or a reader that has stopped is not waited for.
    cleaning = threading.Thread(target=clean_up, daemon=True)
    cleaning.start()
    cleaning.join(_SECONDS_TO_CLEAN)
    if not over.is_set():
        os._exit(128 + number)


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
            keep = _state.keep
            if _state.deferring:
                again = "Ctrl-C again" if number == signal.SIGINT else "a second signal, later,"
                name = signal.Signals(number).name
                _say(f"{name}: ending soon, with what there is by then; {again} stops at once")
            if not _state.deferring or keep:
                ending = threading.Thread(target=_end_for, args=(number, _state.over, keep), daemon=True)
                ending.start()
        elif time.monotonic() - _state.heard_at > _ONE_SECONDS.get(number, _ONE_SECONDS_ELSE):
            # Not even what is being written is waited for: every file is there whole or not at all.
            os._exit(128 + number)

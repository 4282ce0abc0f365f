"""A second process that draws pictures while this one goes on computing.

Drawing is Python on one core, and so is much of what is computed after training: on two cores both take the time of
the longer. The process imports the drawing library while this one compiles, and serves all runs of a sweep.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from typing import Any

import loky

from benchmark.pictures import pictures
from benchmark.pictures.context import Drawing
from core import surroundings

_IDLE_SECONDS = 600  # after which an unused process ends
_pool: Any = None  # the last one


class Studio:
    """Draws in the order of submission; what has not been begun when `finish` is called, two processes share."""

    def __init__(self):
        # Unlike a spawned one of the standard library it does not run the caller's script again.
        global _pool
        with _no_word_of_leaks():
            self._pool = _pool = loky.get_reusable_executor(
                max_workers=1, timeout=_IDLE_SECONDS, initializer=_prepare, initargs=(os.getpid(),)
            )
            # It begins on the first call, whatever that is.
            self._pool.submit(_nothing)
        self._begun: list[tuple[Drawing, Future[Any]]] = []

    def draw(self, drawings: Sequence[Drawing]) -> None:
        """Begins to draw, and returns at once."""
        for drawing in drawings:
            try:
                future = self._pool.submit(pictures.draw, drawing)
            except BrokenExecutor:
                # The process is no more: `finish` draws it here.
                future = Future()
            self._begun.append((drawing, future))

    def finish(self) -> None:
        """Waits until everything is drawn, and helps.

        Raises:
          Exception: what the first drawing that failed raised, after all the others are done.
        """
        failed: list[BaseException] = []

        def here(drawing):
            try:
                pictures.draw(drawing)
            except Exception as error:
                failed.append(error)

        for drawing, future in reversed(self._begun):
            if future.cancel():
                here(drawing)
        for drawing, future in self._begun:
            error = None if future.cancelled() else future.exception()
            if isinstance(error, BrokenExecutor):
                here(drawing)
            elif error is not None:
                failed.append(error)
        self._begun = []
        if failed:
            raise failed[0]


def leave() -> None:
    """Ends the process at once, whatever it does: nobody wants its pictures any more."""
    if _pool is not None:
        _pool.shutdown(wait=False, kill_workers=True)


@contextlib.contextmanager
def _no_word_of_leaks() -> Iterator[None]:
    """Keeps the process that outlives a killed one, and removes its semaphores, from warning that it had to.

    It takes the filters of this one's command line, and is started within the block.
    """
    quiet = "ignore:resource_tracker"
    sys.warnoptions.append(quiet)
    try:
        yield
    finally:
        sys.warnoptions.remove(quiet)


def _prepare(parent: int) -> None:
    # Ctrl-C reaches every process of a terminal; this one ends when nobody needs it any more.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    surroundings.hush_matplotlib()
    import plotting
    from benchmark.pictures.views import costs, sensitivity
    from kinds.real import panels
    from kinds.real.views import family_pictures, latent_pictures

    del costs, family_pictures, latent_pictures, panels, plotting, sensitivity


def _nothing() -> None:
    pass


def _end_with(parent: int) -> None:
    """Ends this process when the one that started it was killed, be it before this one had begun to look."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)

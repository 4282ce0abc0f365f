"""A second process that draws pictures while this one goes on computing.

Drawing is Python on one core, and so is much of what is computed after training: on two cores both take the time of
the longer. The process imports the drawing library while this one compiles, and serves all runs of a sweep.
"""

import signal
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import loky

import pictures
from pictures import Drawing

_IDLE_SECONDS = 600  # after which an unused process ends


class Studio:
    """Draws in the order of submission; what has not been begun when `finish` is called, two processes share."""

    def __init__(self):
        # Unlike a spawned one of the standard library it does not run the caller's script again.
        self._pool = loky.get_reusable_executor(max_workers=1, timeout=_IDLE_SECONDS, initializer=_prepare)
        # It begins on the first call, whatever that is.
        self._pool.submit(_nothing)
        self._begun: list[tuple[Drawing, Future[Any]]] = []

    def draw(self, drawings: Sequence[Drawing]) -> None:
        """Begins to draw, and returns at once."""
        self._begun += [(drawing, self._pool.submit(pictures.draw, drawing)) for drawing in drawings]

    def finish(self) -> None:
        """Waits until everything is drawn, and helps.

        Raises:
          Exception: what the first drawing that failed raised, after all the others are done.
        """
        failed = []
        for drawing, future in reversed(self._begun):
            if future.cancel():
                try:
                    pictures.draw(drawing)
                except Exception as error:
                    failed.append(error)
        for _, future in self._begun:
            if not future.cancelled() and future.exception() is not None:
                failed.append(future.exception())
        self._begun = []
        if failed:
            raise failed[0]


def _prepare() -> None:
    # Ctrl-C reaches every process of a terminal; this one ends when nobody needs it any more.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import plotting
    import scorecards

    del plotting, scorecards


def _nothing() -> None:
    pass

"""Work in threads that a signal need not wait for: inside a compilation a thread hears nothing."""

import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from core import interruption

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


def in_threads(function: Callable[[_Given], _Made], items: Sequence[_Given]) -> list[_Made]:
    """Calls a function with every item, several at once.

    Returns:
      The results, in the order of the items.

    Raises:
      Exception: what the first call that failed has raised, once all have ended.
      KeyboardInterrupt: a signal; the calls that have begun are left alone, and no other begins.
    """
    waiting: queue.SimpleQueue[tuple[Future[_Made], _Given]] = queue.SimpleQueue()
    results: list[Future[_Made]] = [Future() for _ in items]
    for each in zip(results, items, strict=True):
        waiting.put(each)

    def work():
        while True:
            try:
                result, item = waiting.get_nowait()
            except queue.Empty:
                return
            if not result.set_running_or_notify_cancel():
                continue
            try:
                result.set_result(function(item))
            except BaseException as error:
                result.set_exception(error)

    # As many as a pool of the standard library has; of that one's threads every process waits for the end.
    n = min(len(items), (os.cpu_count() or 1) + 4)
    threads = [threading.Thread(target=work, daemon=True) for _ in range(n)]
    try:
        for thread in threads:
            thread.start()
        for result in results:
            result.exception()
    except BaseException:
        for result in results:
            result.cancel()
        interruption.leave(threads)
        raise
    return [result.result() for result in results]

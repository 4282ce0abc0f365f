"""How long the metrics of the end take, some of which run side by side."""

import threading
import time
from collections.abc import Callable
from typing import Any


class Stopwatch:
    """Wall time by name, in seconds, summed over calls from any thread."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def timed(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """What the function returns; its time is added to that of the name."""
        started = time.perf_counter()
        value = function(*args)
        with self._lock:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        return value

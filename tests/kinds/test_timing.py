"""Wall times by name, from several threads."""

import threading
import time

from kinds.timing import Stopwatch


def test_times_of_a_name_are_summed_over_threads_and_values_come_back():
    watch, found = Stopwatch(), []

    def work():
        found.append(watch.timed("slept", lambda seconds: time.sleep(seconds) or seconds, 0.05))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert watch.timed("other", max, 1, 2) == 2
    assert found == [0.05] * 4
    # Each has slept at least so long, whichever ran beside it.
    assert watch.seconds["slept"] >= 0.2
    assert set(watch.seconds) == {"slept", "other"}

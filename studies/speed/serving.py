"""How a process that times something speaks with the one that asks."""

import json
import sys
import time


def serve(run, per_update, facts):
    """Warms up, says what is ready, and times on demand."""
    run(3)
    print("ready", json.dumps(facts | {"per_update": per_update}), flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        run(int(line))
        print(time.perf_counter() - started, flush=True)

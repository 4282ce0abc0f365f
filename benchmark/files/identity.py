"""What tells a run from others: its configuration, its input, and the program that trains it."""

import functools
import hashlib
import json
from typing import Any

import numpy as np

from benchmark.files import results
from core import places

SCHEMA = 1


def identity_of(config: Any, seeds: range | None) -> dict[str, Any]:
    """What a checkpoint must agree with: the configuration, the seeds (None: all), the program and its libraries."""
    seeds = seeds or range(config.num_seeds)
    return {
        "schema": SCHEMA,
        "config": json.loads(results.json_bytes(results.without_places(config))),
        "seeds": [seeds.start, seeds.stop],
        "program": {"its files": program(), **results.versions()},
    }


@functools.cache
def program() -> str:
    """A digest of every file of the program but the one with the constants, which are compared by themselves."""
    found = hashlib.sha256()
    for path in places.program():
        found.update(f"{path.relative_to(places.ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()


def digest(*tables: np.ndarray | None) -> str:
    """Of the rows that training sees."""
    found = hashlib.sha256()
    for rows in tables:
        found.update(b"" if rows is None else np.ascontiguousarray(rows).tobytes())
    return found.hexdigest()

"""What the searches for default settings share: how trials are drawn, and the command line."""

import argparse
import itertools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

SEED = 2026  # of the trials, and of what they are trained on and with

# Family -> what draws each setting of a trial, and the values of what is compiled in.
Space = Mapping[str, tuple[Mapping[str, Callable[[np.random.Generator], Any]], Mapping[str, tuple]]]


class Search(NamedTuple):
    """A search, as the command line runs it."""

    about: str  # one line
    space: Space
    of_family: Callable[[str], dict[str, Any]]  # what it finds, to be written as JSON
    table: Callable[[dict[str, Any]], str]  # (what was found, by family) -> Markdown
    file: Path


def uniform(low: float, high: float) -> Callable[[np.random.Generator], float]:
    """A setting between two numbers, evenly in its logarithm."""
    return lambda generator: float(np.exp(generator.uniform(np.log(low), np.log(high))))


def one_of(*values: Any) -> Callable[[np.random.Generator], Any]:
    """A setting among a few."""
    return lambda generator: values[generator.integers(len(values))]


def drawn(space: Space, family: str, n_trials: int) -> list[dict[str, Any]]:
    """The settings of every trial of a family: every combination of what is compiled in as often as every other."""
    numbers, compiled_in = space[family]
    combinations = [dict(zip(compiled_in, values, strict=True)) for values in itertools.product(*compiled_in.values())]
    generator = np.random.default_rng([SEED, list(space).index(family)])
    return [
        {name: draw(generator) for name, draw in numbers.items()} | combinations[i % len(combinations)]
        for i in range(n_trials)
    ]


def command(search: Search) -> None:
    """Searches, or shows what a search found."""
    parser = argparse.ArgumentParser(description=search.about)
    parser.add_argument("--families", nargs="+", choices=list(search.space), default=list(search.space))
    parser.add_argument("--show", action="store_true", help="print the table of the last search and stop")
    chosen = parser.parse_args()
    results = json.loads(search.file.read_text()) if search.file.exists() else {}
    if not chosen.show:
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
        for family in chosen.families:
            results[family] = search.of_family(family)
            search.file.write_text(json.dumps(results, indent=1) + "\n")
    print(search.table({family: results[family] for family in search.space if family in results}))

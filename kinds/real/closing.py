"""What scores samples once, when training is over."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import metrics
from kinds.contract import Closing, Floor, Judge, Target, floor_of
from kinds.real import sample_metrics
from kinds.real.judging import N_FLOOR_DRAWS
from kinds.timing import Stopwatch

N_ROWS = 2_000  # rows of a sample and of the target that the metrics below compare
N_HOST_DRAWS = 20  # behind their floors


def make_closing(target: Target, config: Any, judge: Judge) -> Closing:
    """Builds the scorer of the metrics that are computed once, with its floors (20 draws)."""
    held_out = target.held_out_rows if target.empirical else None
    n_rows = min(N_ROWS, judge.scorer.n_samples, N_ROWS if held_out is None else len(held_out))
    if held_out is None:
        key_reference = jax.random.fold_in(jax.random.key(config.seed), 2**31 + 3)
        rows = jax.jit(target.sample, static_argnums=1)(key_reference, n_rows)
    else:
        rows = jnp.asarray(held_out, jnp.float32)
    reference = np.asarray(target.as_compared(rows))[:n_rows]
    bandwidth = sample_metrics.median_distance(reference)
    reference_term = sample_metrics.mean_kernel(reference, bandwidth)
    watch = Stopwatch()
    timed = watch.timed

    def score_against(x, rows):
        scores = {}
        if target.dim == 2:
            scores["wasserstein_exact"] = timed("wasserstein_exact", sample_metrics.wasserstein_exact, x[:n_rows], rows)
        known = reference_term if rows is reference else None
        scores["mmd2"] = timed("mmd2", sample_metrics.mmd2, x[:n_rows], rows, bandwidth, known)
        if target.truth.modes is not None:
            # Cheap enough for all rows.
            covered, high_quality = timed("modes", sample_metrics.mode_statistics, x, target.truth.modes)
            scores |= {"modes_covered": covered, "high_quality": high_quality}
        return scores

    def accuracy(x, rows):
        return timed("classifier_accuracy", sample_metrics.classifier_accuracy, x[:n_rows], rows)

    def perfect_scores(i):
        # Other draws than those behind the floors of the KLD.
        x, rows = judge.perfect(N_FLOOR_DRAWS + i)
        rows = reference if rows is None else rows[:n_rows]
        scores = score_against(x, rows)
        # Between independent samples the null is known; of a table's rows, which repeat, it has to be measured.
        return scores | {"classifier_accuracy": accuracy(x, rows)} if target.empirical else scores

    with ThreadPoolExecutor() as pool:
        draws = list(pool.map(perfect_scores, range(N_HOST_DRAWS)))
    floors = {name: floor_of([draw[name] for draw in draws]) for name in draws[0]}
    null = sample_metrics.cross_validated_null(n_rows)
    # It is symmetric: its mean is its median.
    floors.setdefault("classifier_accuracy", Floor(*null, median=null[0]))
    # In the order of every table.
    floors = {name: floors[name] for name in metrics.METRICS if name in floors}
    return Closing(
        score=lambda x: score_against(x, reference) | {"classifier_accuracy": accuracy(x, reference)},
        floors=floors,
        seconds=watch.seconds,
    )

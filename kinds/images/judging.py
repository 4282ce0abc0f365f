"""What scores images: distances of features during training, and what the samples lack or repeat at the end.

A sample of n images is compared with n real ones: held-out images, or fresh ones where there are as many as one likes.
The floor is what real images score: of a data set those of a fresh split, and of fresh images others than those that
are compared with.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

import metrics
from kinds.contract import Closing, Judge, Scorer, Target, floor_of
from kinds.images import scores
from kinds.images.features import Features, features_of
from kinds.images.truth import Images
from kinds.timing import Stopwatch

N_ROWS = 2_000  # images of a sample and as many real ones
N_KEPT = 64  # images that pictures need of a sample
N_FLOOR_DRAWS = 100
N_FLOOR_QUANTILES = 41
N_CLOSING_DRAWS = 20
_N_POOL = 6_000  # fresh images that floors draw from, three samples
_N_NEAREST, _N_REPEATED = 1_000, 5_000  # images whose nearest rows are looked for, and rows that may be these
FD, KD = "fd_clf", "kd_clf"


class Reference(NamedTuple):
    """What samples are compared with."""

    features: Features
    rows: np.ndarray  # [n, D]
    values: np.ndarray  # [n, F] their features
    pool: np.ndarray  # [P, D] real images that floors draw from
    pool_values: np.ndarray  # [P, F]
    n_train: int | None  # of the pool those that a split trains on; None: the pool is fresh

    def drawn(self, i: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Floor draw i: the numbers in the pool of a perfect sample [n], and of what it is compared with [n].

        The second is None where that is always the same.
        """
        generator = np.random.default_rng([seed, 1, i])
        if self.n_train is None:
            return generator.choice(len(self.pool), n, replace=False), None
        order = generator.permutation(len(self.pool))
        return order[:n], order[self.n_train : self.n_train + n]


def n_scored(target: Target, config: Any) -> int:
    """Images of a sample: no more than there are held out, as n on both sides have to be the same."""
    n = min(config.n_eval_samples, N_ROWS)
    return n if target.held_out_rows is None or not target.empirical else min(n, len(target.held_out_rows))


def reference_of(target: Target, config: Any) -> Reference:
    """The real images of a run, with their features."""
    features, n = features_of(target, config), n_scored(target, config)
    if target.empirical:
        rows, n_train = target.held_out_rows[:n], len(target.train_rows)
        pool = np.concatenate([target.train_rows, target.held_out_rows])
    else:
        key = jax.random.fold_in(jax.random.key(config.seed), 2**31 + 3)
        drawn = np.asarray(jax.jit(target.sample, static_argnums=1)(key, n + _N_POOL))
        rows, pool, n_train = drawn[:n], drawn[n:], None
    return Reference(features, rows, features.of(rows), pool, features.of(pool), n_train)


def make_judge(target: Target, config: Any, n_samples: int | None = None) -> Judge:
    """Fréchet and kernel distance of features, with their floors.

    Args:
      target: of this kind.
      config: the run's configuration.
      n_samples: images of a sample; None: as many as are scored.
    """
    reference = reference_of(target, config)
    n = min(n_samples or len(reference.rows), len(reference.rows))

    def score(values, real):
        return {KD: scores.kernel(values, real), FD: scores.frechet(values, real)}

    def score_perfect(i):
        chosen, held_out = reference.drawn(i, n, config.seed)
        real = reference.values[:n] if held_out is None else reference.pool_values[held_out]
        return score(reference.pool_values[chosen], real)

    def perfect(i):
        chosen, held_out = reference.drawn(i, n, config.seed)
        return reference.pool[chosen], None if held_out is None else reference.pool[held_out]

    draws = [score_perfect(i) for i in range(N_FLOOR_DRAWS)]
    closed = scores.frechet_floor(reference.pool_values, n)
    of_what = "" if reference.features.accuracy is not None else ", random features"
    scorer = Scorer(
        n,
        target.codec.decode,
        False,
        (KD, FD),
        lambda x: score(reference.features.of(x[:n]), reference.values[:n]),
        keep=lambda x: np.asarray(x[:N_KEPT], np.float32),
        fixed_draws=True,
    )
    return Judge(
        scorer,
        {name: floor_of([draw[name] for draw in draws], N_FLOOR_QUANTILES) for name in (KD, FD)},
        {name: f"{metrics.METRICS[name].label} (n = {n}{of_what})" for name in (KD, FD)},
        perfect,
        marks={FD: {"closed-form floor": closed}},
        compared=reference,
    )


def make_closing(target: Target, config: Any, judge: Judge) -> Closing:
    """Class frequencies, precision and recall, density and coverage, and the sliced distance of pixels."""
    reference: Reference = judge.compared
    truth: Images = target.truth
    n, features = judge.scorer.n_samples, reference.features
    axes, levels = scores.directions(target.dim), metrics.mid_ranks(n)
    watch = Stopwatch()
    timed = watch.timed

    def class_kld(x, real):
        real, own = (metrics.cell_counts(features.classes(rows), len(truth.names)) for rows in (real, x))
        return float(metrics.kld(real / real.sum(), own, config.kld_epsilon))

    def sliced(x, real):
        return metrics.wasserstein(x, metrics.projected_quantiles(real, axes, levels), axes)

    def against(x, values, real, real_values):
        found = {}
        if features.classes is not None:
            found["class_kld"] = timed("class_kld", class_kld, x, real)
        precision, recall = timed("knn_precision", scores.precision_recall, real_values, values)
        density, coverage = timed("density", scores.density_coverage, real_values, values)
        found |= {"knn_precision": precision, "knn_recall": recall, "density": density, "knn_coverage": coverage}
        return found | {"sliced_wasserstein": timed("sliced_wasserstein", sliced, x, real)}

    def score(x):
        x = x[:n]
        return against(x, features.of(x), reference.rows[:n], reference.values[:n])

    def score_perfect(i):
        # Other draws than those behind the floors of what is followed.
        chosen, held_out = reference.drawn(N_FLOOR_DRAWS + i, n, config.seed)
        real, real_values = reference.rows[:n], reference.values[:n]
        if held_out is not None:
            real, real_values = reference.pool[held_out], reference.pool_values[held_out]
        return against(reference.pool[chosen], reference.pool_values[chosen], real, real_values)

    draws = [score_perfect(i) for i in range(N_CLOSING_DRAWS)]
    floors = {name: floor_of([draw[name] for draw in draws]) for name in metrics.METRICS if name in draws[0]}
    return Closing(score, floors, watch.seconds)


def distances(x: np.ndarray, parts: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The mean distance of images [n, D] to the nearest row of every part, over at most 1 000 of them."""
    shown = x[:_N_NEAREST]
    return {part: float(scores.nearest(shown, rows[:_N_REPEATED])[1].mean()) for part, rows in parts.items()}


def seen(target: Target, config: Any) -> dict[str, Any]:
    """What a table says of how images are compared: their number, the real ones, the features and expected values."""
    n = n_scored(target, config)
    real = "held-out images" if target.empirical else "fresh images"
    return {
        "n": n,
        "reference": f"{n} {real}",
        "features": features_of(target, config).words,
        "expected_density": 1.0,
        "expected_coverage": scores.expected_coverage(n, n),
    }

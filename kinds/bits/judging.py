"""What scores strings of bits: exactly where a model has probabilities, by the histogram of a sample everywhere.

A sample of m strings leaves most of 2ⁿ states empty, and its histogram's KLD says little where 2ⁿ is far above m: it
stands beside the exact divergence, and its floor says how much is the sample's own.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import metrics
from kinds.bits import generalisation
from kinds.bits.hamming import mmd2_to, spin_moments
from kinds.bits.rivals import moments
from kinds.bits.truth import Bits, numbers_of, rows_of, shown
from kinds.contract import Closing, Divergence, Floor, Judge, Scorer, Target, floor_of, fresh_rows
from kinds.exact import checked, has_divergence, log_q
from kinds.exact import of_masses as masses_divergence

N_FLOOR_DRAWS = 200
N_FLOOR_QUANTILES = 41
N_CLOSING_DRAWS = 50  # behind the floors of what is scored once
_EXACT = Floor(0.0, 0.0, 0.0, 0.0)


def shown_masses(masses: np.ndarray, truth: Bits) -> np.ndarray:
    """Masses [2ⁿ] as panels show them: those of the strings of `shown`, and the sum of the others [K + 1]."""
    chosen, others = shown(truth), np.ones(len(masses), bool)
    others[chosen] = False
    # Not 1 minus the others, which leaves 1e-16 where there is nothing.
    return np.append(masses[chosen], masses[others].sum())


def make_judge(target: Target, config: Any, n_samples: int | None = None) -> Judge:
    """The exact divergence and total variation, and the KLD of a histogram with its floor.

    Args:
      target: of this kind.
      config: the run's configuration.
      n_samples: strings of a sample; None: config.n_eval_samples.
    """
    truth: Bits = target.truth
    n = n_samples or config.n_eval_samples

    def counts_of(x):
        return metrics.cell_counts(numbers_of(x), 2**truth.n)

    def score_against(x, p):
        return {"kld": float(metrics.kld(p, counts_of(x), config.kld_epsilon))}

    if target.empirical:
        # A split of its own a draw: which strings were held out is part of what a perfect score depends on.
        table = np.concatenate([target.train_rows, target.held_out_rows])

        def split(i):
            generator = np.random.default_rng([config.seed, 1, i])
            train, held_out = np.split(generator.permutation(table), [len(target.train_rows)])
            return generator, train, held_out

        def perfect(i):
            generator, train, held_out = split(i)
            return train[generator.integers(len(train), size=n)], held_out

        repeated = [_repeated(*map(counts_of, split(i)[1:]), config.kld_epsilon) for i in range(N_FLOOR_DRAWS)]
        exact_floors = {name: floor_of([each[name] for each in repeated], N_FLOOR_QUANTILES) for name in repeated[0]}
    else:
        exact_floors = {"kl_exact": _EXACT, "tv_exact": _EXACT}

        fresh = fresh_rows(target, config.seed, n)

        def perfect(i):
            return fresh(i), None

    def score_perfect(i):
        x, held_out = perfect(i)
        return score_against(x, truth.p if held_out is None else counts_of(held_out) / len(held_out))["kld"]

    floor = floor_of([score_perfect(i) for i in range(N_FLOOR_DRAWS)], N_FLOOR_QUANTILES)
    scorer = Scorer(
        n,
        target.codec.decode,
        False,
        ("kld",),
        lambda x: score_against(x, truth.p),
        keep=lambda x: shown_masses(counts_of(x) / len(x), truth),
        exact_metrics=("kl_exact", "tv_exact"),
        exact=lambda model, state: exact_scores(model, state, target),
    )
    return Judge(
        scorer,
        {**exact_floors, "kld": floor},
        {"kl_exact": "exact KL (nats)", "tv_exact": "exact total variation", "kld": "KLD of samples (nats)"},
        perfect,
        masses=shown_masses(truth.p, truth),
        shown=lambda masses: shown_masses(masses, truth),
    )


def _repeated(train: np.ndarray, held_out: np.ndarray, epsilon: float) -> dict[str, float]:
    """The exact scores of a model with the frequencies of the training strings, against those that are held out.

    Args:
      train: counts [2ⁿ].
      held_out: counts [2ⁿ].
      epsilon: what a string that is not among the training strings is taken to have: otherwise nothing were finite.
    """
    p, q = held_out / held_out.sum(), train / train.sum()
    return {"kl_exact": float(metrics.kld(p, train, epsilon)), "tv_exact": float(np.abs(p - q).sum()) / 2}


def exact_scores(model: Any, state: Any, target: Target) -> Mapping[str, float]:
    """KL(p ‖ q) and total variation of a trained model, without a sample; empty where it has no probabilities."""
    if not has_divergence(model, target):
        return {}
    truth: Bits = target.truth
    found, log_masses = _divergence(model, state, truth)
    known = not np.isnan(found.value)
    return {"kl_exact": found.value, "tv_exact": total_variation(truth, np.exp(log_masses)) if known else np.nan}


def divergence(model: Any, state: Any, target: Target) -> Divergence | None:
    """KL(p ‖ q) in nats by enumeration of the strings that p has; None where it is not defined."""
    if not has_divergence(model, target):
        return None
    return _divergence(model, state, target.truth)[0]


def total_variation(truth: Bits, q: np.ndarray) -> float:
    """½ Σ |p − q| over all strings, of masses q [S] of those that p has: the others have what these leave of 1."""
    p = truth.p[truth.support]
    return float(np.abs(p - q).sum() + max(1 - q.sum(), 0.0)) / 2


def _log_masses(model: Any, state: Any, truth: Bits) -> np.ndarray:
    rows = rows_of(truth.support, truth.n, np.float64)
    # Families have all strings at once.
    return log_q(model, state, rows, (len(rows),))


def _divergence(model: Any, state: Any, truth: Bits) -> tuple[Divergence, np.ndarray]:
    """The divergence, and ln q [S] by the rule that was fine enough for it."""
    p, log_masses = truth.p[truth.support], None

    def of(other):
        nonlocal log_masses
        log_masses = _log_masses(other, state, truth)
        return masses_divergence(p, log_masses)

    # Where a rule may be too coarse it is looked at where most of the probability is.
    most = np.argsort(-p, kind="stable")[:4096]
    rows = rows_of(truth.support[most], truth.n, np.float64)
    return checked(model, state, of, rows, p[most] / p[most].sum()), log_masses


def make_closing(target: Target, config: Any, judge: Judge) -> Closing:
    """MMD² by the Hamming distance, errors of moments, and on a target with a valid set what is made of it."""
    truth: Bits = target.truth
    generalise = generalisation.scorer(target)
    seconds: dict[str, float] = {}

    def shares_of(x):
        return metrics.cell_counts(numbers_of(x), 2**truth.n) / len(x)

    def against(p):
        mmd2, error = mmd2_to(p, truth.n), moment_errors(p, truth.n)

        def score(x):
            shares = shares_of(x)
            return {"mmd2": mmd2(shares, len(x)), **error(shares), **generalise(x)}

        return score

    score = against(truth.p)

    def score_perfect(i):
        x, held_out = judge.perfect(N_FLOOR_DRAWS + i)
        return score(x) if held_out is None else against(shares_of(held_out))(x)

    draws = [score_perfect(i) for i in range(N_CLOSING_DRAWS)]
    # A ratio is not defined in a draw that has nothing new.
    known = {name: [draw[name] for draw in draws if not np.isnan(draw[name])] for name in draws[0]}
    floors = {name: floor_of(known[name]) for name in metrics.METRICS if known.get(name)}
    return Closing(lambda x: {name: value for name, value in score(x).items() if name in floors}, floors, seconds)


def moment_errors(p: np.ndarray, n: int) -> Callable[[np.ndarray], dict[str, float]]:
    """(shares [2ⁿ]) -> the largest error of a spin's mean, and of a pair's covariance, of masses p [2ⁿ]."""
    means, covariances = spin_moments(*moments(p, n))

    def errors(shares):
        own_means, own_covariances = spin_moments(*moments(shares, n))
        return {
            "mean_error": float(np.abs(own_means - means).max()),
            "pair_error": float(np.abs(own_covariances - covariances).max()),
        }

    return errors


def of_masses(q: np.ndarray, target: Target, judge: Judge) -> dict[str, float | None]:
    """Scores of exact probabilities q [2ⁿ]: no sample. Against strings held out nothing is exact but the counting."""
    truth: Bits = target.truth
    on_support = q[truth.support]
    with np.errstate(divide="ignore"):
        exact = masses_divergence(truth.p[truth.support], np.log(on_support)).value
    return {
        "kl_exact": exact,
        "tv_exact": total_variation(truth, on_support),
        "mmd2": mmd2_to(truth.p, truth.n)(q, None),
        **moment_errors(truth.p, truth.n)(q),
        **{name: None if np.isnan(value) else value for name, value in generalisation.of_masses(q, target).items()},
    }

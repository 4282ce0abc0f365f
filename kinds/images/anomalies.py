"""How well models find images of classes that they have not been trained on, beside baselines without any generator.

A model that codes images scores them by what its code loses, a generator by the nearest image that it can make
(`inversion`), and a model with a density by −ln q. The area under the ROC curve (AUROC) is the probability that an
anomaly has a higher score than a held-out image.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinds.contract import Ended, Ending
from kinds.images import inversion, scores
from kinds.images.judging import Reference
from kinds.images.truth import Images

N_ROWS = 250  # held-out images, and anomalies
N_BOOTSTRAP = 1_000
N_SHOWN = 10  # images with the highest scores, and with the lowest
_N_FITTED, _N_MIXED = 5_000, 2_000  # training rows behind baselines, and behind the mixture
_N_COMPONENTS = 10
_MOST_AXES = 20
BASELINES = ("mean image", "PPCA", "nearest row", "mixture likelihood")


class Found(NamedTuple):
    """One way of scoring, with all of its scores."""

    name: str  # of the family or baseline
    how: str  # what is scored
    normal: np.ndarray  # [n] of held-out images
    anomalous: np.ndarray  # [m]
    auroc: float
    low: float  # 95 % bootstrap interval
    high: float
    baseline: bool


class Anomalies(NamedTuple):
    """All ways of scoring, and the images that are scored."""

    found: Sequence[Found]
    rows: np.ndarray  # [n + m, D]: held-out images, then anomalies


def auroc(normal: np.ndarray, anomalous: np.ndarray) -> tuple[float, float, float]:
    """The area under the ROC curve with its 95 % bootstrap interval; ties count half.

    Args:
      normal: scores [n].
      anomalous: scores [m].
    """
    wins = (anomalous[:, None] > normal[None]) + 0.5 * (anomalous[:, None] == normal[None])
    generator = np.random.default_rng(0)
    weights = [
        generator.multinomial(len(each), np.full(len(each), 1 / len(each)), N_BOOTSTRAP) / len(each)
        for each in (anomalous, normal)
    ]
    drawn = np.einsum("bi,ij,bj->b", weights[0], wins, weights[1], optimize=True)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(wins.mean()), float(low), float(high)


def find(ending: Ending) -> Anomalies | None:
    """All scores of held-out images and of anomalies; None where no class is kept out of training."""
    target, truth = ending.target, ending.target.truth
    if truth.anomalies is None:
        return None
    reference: Reference = ending.judge.compared
    rng = np.random.default_rng([ending.config.seed, 3])
    # Not the rows that samples are compared with alone: held-out ones, or fresh ones.
    normal = reference.rows if target.held_out_rows is None else target.held_out_rows
    chosen = [rng.permutation(each)[:N_ROWS] for each in (normal, truth.anomalies)]
    rows, n = np.concatenate(chosen), len(chosen[0])
    found = []
    for entry in ending.entries:
        for how, values in _of_model(entry, rows, reference).items():
            found.append(_found(entry.name, how, values, n, False))
    train = target.train_rows if target.train_rows is not None else reference.pool
    for name, (how, values) in _baselines(train, rows).items():
        found.append(_found(name, how, values, n, True))
    return Anomalies(found, rows)


def _found(name: str, how: str, values: np.ndarray, n: int, baseline: bool) -> Found:
    # What is not finite is further than all else.
    values = np.nan_to_num(np.asarray(values, np.float64), nan=1e30, posinf=1e30, neginf=-1e30)
    return Found(name, how, values[:n], values[n:], *auroc(values[:n], values[n:]), baseline)


def _of_model(entry: Ended, rows: np.ndarray, reference: Reference) -> Mapping[str, np.ndarray]:
    """How -> scores [n + m] of a family's middle seed; empty of what has diverged or came from elsewhere."""
    model, found = entry.model, {}
    if model is None:
        return found
    if model.reconstruct is not None:
        found["lost by its code"] = inversion.coded_images(model, entry.state, rows, reference.features)[1]
    elif model.decode is not None:
        found["to its nearest image"] = inversion.nearest_images(model, entry.state, rows, reference.features)[1]
    if model.log_prob is not None:
        about = "≈ " if model.log_prob_kind == "estimate" else ""
        found[f"{about}−ln q"] = -np.asarray(model.log_prob(entry.state, jnp.asarray(rows)))
    elif model.bound is not None:
        found["−bound of ln q"] = -np.asarray(model.bound(jax.random.key(0), entry.state, jnp.asarray(rows)))
    return found


def _baselines(train: np.ndarray, rows: np.ndarray) -> dict[str, tuple[str, np.ndarray]]:
    """Name -> what is scored, and scores [n + m], of four ways that need no generator."""
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    fitted = train[:_N_FITTED].astype(np.float64)
    n_axes = min(_MOST_AXES, fitted.shape[1] - 1, len(fitted) - 1)
    pca = PCA(n_axes, random_state=0).fit(fitted)
    mixture = GaussianMixture(_N_COMPONENTS, covariance_type="diag", reg_covar=1e-3, random_state=0)
    mixture.fit(fitted[:_N_MIXED])
    return {
        "mean image": ("L₁ from it", np.abs(rows - fitted.mean(0)[None]).sum(1)),
        "PPCA": (f"−ln p, {n_axes} axes", -pca.score_samples(rows)),
        "nearest row": ("L₂ to it", scores.nearest(rows, train[:_N_FITTED])[1]),
        "mixture likelihood": (f"−ln p, {_N_COMPONENTS} Gaussians", -mixture.score_samples(rows)),
    }


def rows_of(anomalies: Anomalies, truth: Images) -> list[dict[str, str]]:
    """The table: every family's and baseline's area, the best first."""
    del truth
    ordered = sorted(anomalies.found, key=lambda each: -each.auroc)
    return [
        {
            "": each.name,
            "score": each.how,
            "AUROC": f"{each.auroc:.3f} ({each.low:.3f} – {each.high:.3f})",
            "kind": "baseline" if each.baseline else "family",
        }
        for each in ordered
    ]


def report_of(anomalies: Anomalies) -> list[dict[str, Any]]:
    """The same as numbers."""
    return [
        {
            "name": each.name,
            "score": each.how,
            "baseline": each.baseline,
            "auroc": each.auroc,
            "low": each.low,
            "high": each.high,
            "n_held_out": len(each.normal),
            "n_anomalies": len(each.anomalous),
        }
        for each in anomalies.found
    ]

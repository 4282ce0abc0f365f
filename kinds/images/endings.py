"""What the pictures and tables of this kind's own show at the end of a run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from core.captions import Caption
from kinds.contract import Ended, Ending, Further, Picture
from kinds.images import anomalies, inversion, likelihoods, scores, stability
from kinds.images.anomalies import Anomalies
from kinds.images.judging import Reference, seen
from kinds.images.truth import Images, has_depth
from models.base import Model

_VIEWS = "kinds.images.closing_views"
N_LINE = 16  # images a line; of those with depth half as many
_N_FRESH = 2_000  # fresh images among which the nearest is looked for, where there are no training rows
_MOST_LATENTS, _REACH = 8, 2.5  # latents that are traversed, and how far


class Strip(NamedTuple):
    """A few lines of images with a name over them."""

    name: str
    colour: str | None  # None: that of the target
    note: str
    rows: np.ndarray | None  # [n, D]; None: the family has diverged
    columns: int


class Sheet(NamedTuple):
    """Strips below each other."""

    strips: Sequence[Strip]
    shape: tuple[int, int, int]
    depth_scale: float | None
    words: str  # what stands below


class AnomaliesPicture(NamedTuple):
    """All ways of scoring anomalies, with the images that are scored."""

    found: Anomalies
    colours: Mapping[str, str]
    shape: tuple[int, int, int]
    depth_scale: float | None
    words: str


class Shared(NamedTuple):
    """What several pictures and tables are made from."""

    steadiness: Sequence[stability.Steadiness]
    anomalies: Anomalies | None


def further(ending: Ending) -> Further:
    """How images were compared, how steady losses were, how likely held-out images are, how anomalies were found."""
    found, steady = anomalies.find(ending), stability.of_courses(ending.entries)
    compared = seen(ending.target, ending.config)
    tables = {
        "How images are compared": [
            {
                "images": f"{compared['n']} of a sample and {compared['reference']}",
                "features": compared["features"],
                "expected density, coverage": f"1, {compared['expected_coverage']:.3f}",
                "FD-clf of real images by formula": f"{_closed(ending):.4g}",
            }
        ]
    }
    report: dict[str, Any] = {"compared": compared | {"fd_floor_closed": _closed(ending)}}
    if steady:
        tables["Steadiness of losses (medians over seeds)"] = stability.rows_of(steady)
        report["losses"] = stability.report_of(steady)
    known = likelihoods.find(ending)
    if known:
        tables[likelihoods.caption(known)] = likelihoods.rows_of(known)
        report["likelihoods"] = likelihoods.report_of(known)
    if found is not None:
        tables[f"Anomalies: {_anomaly_words(ending)}"] = anomalies.rows_of(found, ending.target.truth)
        report["anomalies"] = anomalies.report_of(found)
    return Further(tables, report, Shared(steady, found))


def _closed(ending: Ending) -> float:
    return next(iter(ending.judge.marks["fd_clf"].values()))


def _anomaly_words(ending: Ending) -> str:
    truth: Images = ending.target.truth
    return f"images of {', '.join(truth.anomaly_names)}, which no family has seen, among held-out images of the others"


def _sheet(ending: Ending, strips: Sequence[Strip], words: str) -> tuple[Sheet]:
    truth: Images = ending.target.truth
    return (Sheet(strips, truth.shape, truth.depth_scale, words),)


def _a_line(ending: Ending) -> int:
    return N_LINE // 2 if has_depth(ending.target.truth.shape) else N_LINE


def _trained_on(ending: Ending, n: int) -> np.ndarray:
    """n rows that families train on, or fresh ones."""
    target = ending.target
    if target.train_rows is not None:
        return target.train_rows[:n]
    key = jax.random.fold_in(jax.random.key(ending.config.seed), 2**31 + 8)
    return np.asarray(jax.jit(target.sample, static_argnums=1)(key, n))


def _strip_of(entry: Ended, rows: np.ndarray | None, columns: int, note: str = "") -> Strip:
    return Strip(entry.name, entry.colour, note, rows, columns)


def samples_of(ending: Ending) -> tuple[Sheet]:
    """Training rows, and two lines of every entry's sample."""
    columns = _a_line(ending)
    real = Strip("training rows", None, "", _trained_on(ending, 2 * columns), columns)
    strips = [real, *(_strip_of(entry, None if entry.x is None else entry.x[: 2 * columns], columns)
                      for entry in ending.entries)]  # fmt: skip
    return _sheet(ending, strips, "the first images of each, none is chosen")


def reconstructions_of(ending: Ending) -> tuple[Sheet]:
    """Real images, and what every family's code leaves of them, or the nearest images that a generator has."""
    reference: Reference = ending.judge.compared
    columns = _a_line(ending)
    real = reference.rows[:columns]
    strips = [Strip("real images", None, "no family has seen them", real, columns)]
    for entry in ending.entries:
        model = entry.model
        if model is None:
            if entry.diverged:
                strips.append(_strip_of(entry, None, columns))
        elif model.reconstruct is not None:
            images, lost = inversion.coded_images(model, entry.state, real, reference.features)
            strips.append(_strip_of(entry, images, columns, f"through its code: score {np.median(lost):.3g}"))
        elif model.decode is not None:
            images, lost = inversion.nearest_images(model, entry.state, real, reference.features)
            strips.append(_strip_of(entry, images, columns, f"nearest that it makes: score {np.median(lost):.3g}"))
    words = f"score: {1 - inversion.LAMBDA:g} × L₁ of pixels + {inversion.LAMBDA:g} × L₁ of features, median"
    return _sheet(ending, strips, words)


def interpolation_of(ending: Ending) -> tuple[Sheet]:
    """Images between two z: codes of real images where a family codes them, otherwise draws."""
    columns, n_lines = _a_line(ending), 3
    reference: Reference = ending.judge.compared
    strips = []
    for entry in ending.entries:
        if entry.model is None or entry.model.decode is None:
            continue
        if entry.model.encode is not None:
            ends = np.asarray(entry.model.encode(entry.state, jnp.asarray(reference.rows[: 2 * n_lines])))
            note, between = "between the codes of two real images", _straight
        else:
            ends = np.asarray(jax.random.normal(jax.random.key(1), (2 * n_lines, entry.model.latent_dim)))
            note, between = "between two draws of z, along the sphere", _round
        z = np.concatenate([between(*pair, columns) for pair in ends.reshape(n_lines, 2, -1)])
        strips.append(_strip_of(entry, _decoded(entry, z), columns, note))
    return _sheet(ending, strips, "every line leads from one z to another in equal steps")


def traversal_of(ending: Ending) -> tuple[Sheet]:
    """One latent at a time moved about the code of a real image."""
    columns = _a_line(ending)
    reference: Reference = ending.judge.compared
    strips = []
    for entry in ending.entries:
        if entry.model is None or entry.model.encode is None:
            continue
        codes = np.asarray(entry.model.encode(entry.state, jnp.asarray(reference.rows)))
        # Those that tell images apart most.
        order = np.argsort(-codes.var(0), kind="stable")[:_MOST_LATENTS]
        lines = []
        for axis in order:
            z = np.repeat(codes[:1], columns, axis=0)
            z[:, axis] = np.linspace(-_REACH, _REACH, columns)
            lines.append(z)
        which = ", ".join(f"z{axis + 1}" for axis in order)
        note = f"lines: {which}, each from −{_REACH:g} to {_REACH:g}"
        strips.append(_strip_of(entry, _decoded(entry, np.concatenate(lines)), columns, note))
    return _sheet(ending, strips, "the other latents are those of the first held-out image")


def neighbours_of(ending: Ending) -> tuple[Sheet]:
    """Samples, and below each the nearest real image."""
    columns, target = _a_line(ending), ending.target
    real = _trained_on(ending, _N_FRESH) if target.train_rows is None else target.train_rows
    strips = []
    for entry in ending.entries:
        if entry.x is None:
            strips.append(_strip_of(entry, None, columns))
            continue
        x = entry.x[:columns]
        which, distance = scores.nearest(x, real)
        note = f"median distance {np.median(distance):.3g}"
        strips.append(_strip_of(entry, np.concatenate([x, real[which]]), columns, note))
    beside = "training row" if target.train_rows is not None else f"of {_N_FRESH:,} fresh images".replace(",", " ")
    return _sheet(ending, strips, f"above: a sample; below: its nearest {beside}, by L₂ of pixels")


def stability_of(ending: Ending) -> tuple[Sequence[stability.Steadiness]]:
    """Every loss."""
    return (ending.shared.steadiness,)


def anomalies_of(ending: Ending) -> tuple[AnomaliesPicture]:
    """All ways of scoring."""
    truth: Images = ending.target.truth
    colours = {entry.name: entry.colour for entry in ending.entries}
    return (AnomaliesPicture(ending.shared.anomalies, colours, truth.shape, truth.depth_scale, _anomaly_words(ending)),)


def _decoded(entry: Ended, z: np.ndarray) -> np.ndarray:
    return np.asarray(entry.model.decode(entry.state, jnp.asarray(z, jnp.float32)))


def _straight(a: np.ndarray, b: np.ndarray, n: int) -> np.ndarray:
    t = np.linspace(0, 1, n)[:, None]
    return (1 - t) * a[None] + t * b[None]


def _round(a: np.ndarray, b: np.ndarray, n: int) -> np.ndarray:
    """Between draws of N(0, I): straight lines would pass where hardly any z lies."""
    t = np.linspace(0, 1, n)[:, None]
    cosine = np.clip(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12), -1, 1)
    angle = np.arccos(cosine)
    if np.sin(angle) < 1e-6:
        return _straight(a, b, n)
    return (np.sin((1 - t) * angle) * a[None] + np.sin(t * angle) * b[None]) / np.sin(angle)


def _some(has: Callable[[Model], bool]) -> Callable[[Any, Sequence[Model]], bool]:
    return lambda config, models: any(map(has, models))


PICTURES = {
    "image_samples.png": Picture(
        f"{_VIEWS}.sheet",
        samples_of,
        Caption(
            "Samples",
            "Training rows and samples of every family: look for images that no training row resembles, for the same "
            "image again and again, and for classes that are missing.",
        ),
    ),
    "image_reconstructions.png": Picture(
        f"{_VIEWS}.sheet",
        reconstructions_of,
        Caption(
            "Reconstructions",
            "Held-out images and what each family makes of them: what is lost is what it cannot say.",
        ),
        _some(lambda model: model.reconstruct is not None or model.decode is not None),
    ),
    "image_interpolation.png": Picture(
        f"{_VIEWS}.sheet",
        interpolation_of,
        Caption(
            "Interpolation",
            "Images between two z: a good code leads through images that could be real.",
        ),
        _some(lambda model: model.decode is not None),
    ),
    "image_traversal.png": Picture(
        f"{_VIEWS}.sheet",
        traversal_of,
        Caption(
            "Latent traversal",
            "One latent at a time: a line that changes nothing is a latent that is not used.",
        ),
        _some(lambda model: model.encode is not None),
    ),
    "image_neighbours.png": Picture(
        f"{_VIEWS}.sheet",
        neighbours_of,
        Caption(
            "Nearest rows",
            "Samples above the real images that are nearest to them: pairs that are alike are rows learnt by heart.",
        ),
    ),
    "image_anomalies.png": Picture(
        f"{_VIEWS}.anomalies",
        anomalies_of,
        Caption(
            "Anomalies",
            "How well every family and four baselines tell images of unseen classes from held-out ones: above the "
            "areas under the ROC curve with 95 % intervals, below the scores, and the images with the highest and the "
            "lowest.",
        ),
        lambda config, models: bool(config.images.anomaly_labels),
    ),
    "loss_stability.png": Picture(
        f"{_VIEWS}.steadiness",
        stability_of,
        Caption(
            "Steadiness of losses",
            "The range of every loss, how much of its movement goes back, and its trend: a loss that falls steadily "
            "has no oscillation and the trend −1.",
        ),
        _some(lambda model: model.max_steps != 0),
    ),
}

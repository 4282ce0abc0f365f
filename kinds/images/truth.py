"""What is known of a distribution over images.

An image of H × W pixels and C channels is a row [H·W·C] of numbers in [0, 1], row-major: first the top row of pixels
from left to right, of each pixel first its first channel.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from core.errors import UserError
from kinds.contract import Codec, Target
from kinds.files import MIN_ROWS, count_of, split_rows
from models.laws import Event, pixels


class Images(NamedTuple):
    """The truth of targets of the kind `images`; K classes are learnt, 0 to K − 1 in the order of their labels."""

    shape: tuple[int, int, int]  # H, W, C
    names: tuple[str, ...] = ()  # [K], of the classes; (): there are no labels
    train_labels: np.ndarray | None = None  # [N] class of every training row
    held_out_labels: np.ndarray | None = None  # [M]
    draw: Callable[[jax.Array, int], tuple[jax.Array, jax.Array]] | None = None  # (key, n) -> fresh rows [n, D] and
    # their classes [n]; None: there are no fresh rows
    anomalies: np.ndarray | None = None  # [A, D], of classes that are kept out of training
    anomaly_names: tuple[str, ...] = ()
    depth_scale: float | None = None  # lengths that 1 stands for in the last channel; None: there is no depth
    words: str = ""  # what titles and tables say of it


class Labelled(NamedTuple):
    """Images with their labels, as files have them."""

    rows: np.ndarray  # [N, D] float32 in [0, 1]
    labels: np.ndarray | None  # [N] int, from 0 to the number of names; None: there are none
    names: tuple[str, ...]  # of all labels
    shape: tuple[int, int, int]


def n_colours(shape: tuple[int, int, int]) -> int:
    """Channels that make a colour: three of RGB, otherwise one."""
    return 3 if shape[2] >= 3 else 1


def has_depth(shape: tuple[int, int, int]) -> bool:
    """Whether there is a channel beside the colour."""
    return shape[2] > n_colours(shape)


def images_target(name: str, truth: Images, sample: Callable[[jax.Array, int], jax.Array], **fields: Any) -> Target:
    """A target of the kind `images`.

    Args:
      name: of the target.
      truth: what is known of it.
      sample: (key, n) -> rows [n, D].
      fields: others of a `Target`.
    """
    size = int(np.prod(truth.shape))
    event = Event(size, truth.shape, pixels(size))
    codec = Codec(event, lambda x: x, lambda x: x, lambda x: x)
    return Target(name=name, kind="images", dim=size, codec=codec, sample=sample, truth=truth, **fields)


def target_of_rows(name: str, found: Labelled, config: Any, words: str = "", notes: Sequence[str] = ()) -> Target:
    """A target of images that there are: 70 % of them train, 30 % are held out and compared with, as the seed says.

    Raises:
      UserError: labels are asked for that there are none of, too few images are left, or N_SAMPLES_TRAIN is set.
    """
    if config.n_samples_train > 0:
        raise UserError(
            f"N_SAMPLES_TRAIN = {config.n_samples_train} has no meaning with {name}, 70 % of whose images are the "
            "training set; set N_SAMPLES_TRAIN = 0"
        )
    settings = config.images
    if found.labels is None and (settings.labels or settings.anomaly_labels):
        which = "labels" if settings.labels else "anomaly_labels"
        raise UserError(f"IMAGES.{which} = {getattr(settings, which)} needs labels, and {name} has none here; set ()")
    kept, anomalies = chosen_labels(len(found.names), config)
    normal = np.ones(len(found.rows), bool) if found.labels is None else np.isin(found.labels, kept)
    if normal.sum() < MIN_ROWS:
        raise UserError(f"{name} has {int(normal.sum())} images to learn: at least {MIN_ROWS} are needed")
    train, held_out = split_rows(np.flatnonzero(normal), config.seed)
    classes = None if found.labels is None else np.searchsorted(kept, found.labels)
    truth = Images(
        shape=found.shape,
        names=tuple(found.names[label] for label in kept) if found.names else (),
        train_labels=None if classes is None else classes[train],
        held_out_labels=None if classes is None else classes[held_out],
        anomalies=found.rows[np.isin(found.labels, anomalies)] if anomalies else None,
        anomaly_names=tuple(found.names[label] for label in anomalies),
        words=", ".join(filter(None, (words, words_of_labels(config)))),
    )
    train_rows = found.rows[train]

    def sample(key, n):
        # Not a constant of the program that is compiled: that would hold a copy of all rows.
        return jnp.asarray(train_rows)[jax.random.randint(key, (n,), 0, len(train_rows))]

    size = " × ".join(map(str, found.shape))
    note = f"{name}: {count_of(len(train) + len(held_out))} images of {size}"
    if anomalies:
        note += f", and {count_of(len(truth.anomalies))} of the classes {', '.join(truth.anomaly_names)} kept apart"
    return images_target(
        name, truth, sample, train_rows=train_rows, held_out_rows=found.rows[held_out], empirical=True,
        notes=(note, *notes),
    )  # fmt: skip


def chosen_labels(n_labels: int, config: Any) -> tuple[list[int], list[int]]:
    """The labels that are learnt and those that are anomalies, sorted, out of 0 to n_labels − 1.

    Raises:
      UserError: one is none of these, is named twice or in both, or none is left to learn.
    """
    settings = config.images
    for which in ("labels", "anomaly_labels"):
        chosen = getattr(settings, which)
        for label in chosen if n_labels else ():
            if label >= n_labels:
                raise UserError(
                    f"IMAGES.{which} = {chosen}: {config.target_type} has no label {label}; its labels are 0 to "
                    f"{n_labels - 1}, and the nearest is {n_labels - 1}"
                )
    anomalies = sorted(settings.anomaly_labels)
    kept = sorted(settings.labels) or [label for label in range(n_labels) if label not in anomalies]
    if n_labels and not kept:
        raise UserError(f"IMAGES.anomaly_labels = {settings.anomaly_labels} leave no class to learn; leave one out")
    return kept, anomalies


def check_labels(config: Any) -> None:
    """Proves what can be said of labels before anything is read.

    Raises:
      UserError: a label is no whole number from 0 on, is named twice, or stands in both settings.
    """
    settings = config.images
    for which in ("labels", "anomaly_labels"):
        chosen = getattr(settings, which)
        if not isinstance(chosen, tuple | list):
            raise UserError(f"IMAGES.{which} = {chosen!r} must be a tuple of labels, such as (0, 1)")
        for label in chosen:
            if isinstance(label, bool) or not isinstance(label, int) or label < 0:
                raise UserError(f"IMAGES.{which} = {chosen!r}: {label!r} must be a whole number of at least 0")
        if len(set(chosen)) < len(chosen):
            raise UserError(f"IMAGES.{which} = {chosen!r} names a label twice: choose {tuple(dict.fromkeys(chosen))}")
    both = sorted({*settings.labels} & {*settings.anomaly_labels})
    if both:
        raise UserError(
            f"label {both[0]} stands in IMAGES.labels = {settings.labels} and in IMAGES.anomaly_labels = "
            f"{settings.anomaly_labels}: leave it out of one"
        )


def words_of_labels(config: Any) -> str:
    """What titles say of the classes that are learnt; empty: all."""
    parts = []
    for words, chosen in (("labels", config.images.labels), ("without", config.images.anomaly_labels)):
        if chosen:
            parts.append(f"{words} {', '.join(map(str, chosen))}")
    return ", ".join(parts)

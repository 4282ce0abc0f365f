"""Targets over images: scikit-learn's digits, MNIST, Fashion-MNIST, rendered shapes with their depth, a user's own."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from core.errors import UserError
from kinds.contract import Target
from kinds.images import fetching, reading, rendering
from kinds.images.settings import DATA_SETS
from kinds.images.truth import (
    Images,
    Labelled,
    check_labels,
    chosen_labels,
    images_target,
    target_of_rows,
    words_of_labels,
)

_DIGIT_LEVELS = 16
_N_ANOMALIES = 1_000  # of rendered shapes, of which there are as many as one likes
# Numbers of an image, where the name tells.
_SIZES = {"IMAGE_DIGITS": 64, "IMAGE_MNIST": 784, "IMAGE_FASHION_MNIST": 784, "IMAGE_SHAPES_RGBD": 4096}


def _digits(config: Any) -> Target:
    """1 797 digits of 8 × 8 pixels in 17 levels.

    Reference: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, 1998.
    """
    # Its import takes as long as all others together.
    from sklearn.datasets import load_digits

    found = load_digits()
    rows = (found.data / _DIGIT_LEVELS).astype(np.float32)
    return target_of_rows("IMAGE_DIGITS", Labelled(rows, found.target, tuple("0123456789"), (8, 8, 1)), config)


def _data_set(name: str) -> Callable[[Any], Target]:
    def make(config):
        found, notes = fetching.load(name, config.images.folder)
        return target_of_rows(name, found, config, notes=notes)

    return make


def _custom(config: Any) -> Target:
    return target_of_rows("IMAGE_CUSTOM", reading.load(config.images.file, "IMAGES.file"), config)


def _shapes(config: Any) -> Target:
    """Boxes, cylinders and spheres: fresh images as many as one likes."""
    import jax

    kept, anomalies = (tuple(chosen) for chosen in chosen_labels(len(rendering.NAMES), config))

    def draw(key, n):
        return rendering.draw(key, n, kept)

    def sample(key, n):
        return draw(key, n)[0]

    others = None
    if anomalies:
        key_anomalies = jax.random.fold_in(jax.random.key(config.seed), 2**31 + 5)
        others = np.asarray(jax.jit(rendering.draw, static_argnums=(1, 2))(key_anomalies, _N_ANOMALIES, anomalies)[0])
    truth = Images(
        shape=(rendering.SIDE, rendering.SIDE, 4),
        names=tuple(rendering.NAMES[i] for i in kept),
        draw=draw,
        anomalies=others,
        anomaly_names=tuple(rendering.NAMES[i] for i in anomalies),
        depth_scale=rendering.WALL,
        words=words_of_labels(config),
    )
    return images_target("IMAGE_SHAPES_RGBD", truth, sample)


TARGETS: dict[str, Callable[[Any], Target]] = {
    "IMAGE_DIGITS": _digits,
    "IMAGE_MNIST": _data_set("IMAGE_MNIST"),
    "IMAGE_FASHION_MNIST": _data_set("IMAGE_FASHION_MNIST"),
    "IMAGE_SHAPES_RGBD": _shapes,
    "IMAGE_CUSTOM": _custom,
}


def check(config: Any) -> None:
    """Proves that the settings fit each other and the target that is asked for.

    Raises:
      UserError: the first that does not.
    """
    check_labels(config)
    if config.target_type == "IMAGE_CUSTOM" and not config.images.file:
        raise UserError("TARGET_TYPE = IMAGE_CUSTOM needs a file or a folder: set IMAGES.file")


def files(config: Any) -> Mapping[str, str]:
    """Path -> what names it, of every file that a target is made of."""
    if config.target_type in DATA_SETS:
        found = fetching.files_of(config.target_type, config.images.folder)
        return {str(path): "IMAGES.folder:" for path in found.values() if path is not None}
    if config.target_type == "IMAGE_CUSTOM":
        return reading.files(config.images.file, "IMAGES.file")
    return {}


def n_columns(config: Any) -> int:
    """Numbers of an image, before a file is read; of a user's own at least."""
    return _SIZES.get(config.target_type, reading.SHORTEST**2)


def words(config: Any) -> str:
    """What a board's row says behind the target's name."""
    return words_of_labels(config)

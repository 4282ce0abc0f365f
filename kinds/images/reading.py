"""Images of a user's: arrays, archives of arrays, and folders of PNG or JPEG; measured before they are loaded.

An array is [n, H, W] or [n, H, W, C] of bytes, or of numbers from 0 to 1. An archive has it as `images`, or as its
only array, and may have `labels` [n]. A folder has pictures of one size; those in folders inside of it are labelled by
these.
"""

import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from core import trust
from core.errors import UserError, check_path
from core.wording import cut
from kinds.contract import Target
from kinds.files import MAX_BYTES, Table, array_of, check_is_file, count_of, too_many
from kinds.images.truth import Labelled

ENDINGS = (".npy", ".npz")
PICTURES = (".png", ".jpg", ".jpeg")
SHORTEST, LONGEST, MOST_CHANNELS = 8, 64, 4  # pixels a side, and channels
MOST_NUMBERS = 100_000_000
MOST_PICTURES = 50_000
_MODES = {"1": "L", "L": "L", "I;16": "L", "LA": "L"}  # of a picture, as it is read; any other is RGB


class _Place(NamedTuple):
    """What messages call a file."""

    path: str
    what: str

    def __str__(self):
        return f"{self.what} {self.path!r}"


def load(path: str, what: str) -> Labelled:
    """The images of a file or a folder.

    Args:
      path: of either.
      what: what names it, for messages.

    Raises:
      UserError: it cannot be read, is too large, or holds anything but images of one size.
    """
    check_path(what, path)
    if os.path.isdir(path):
        return _of_folder(_Place(path, what))
    check_is_file(path, what, ENDINGS)
    place = _Place(path, what)
    images, labels = _arrays(place)
    shape = _shape_of(images.shape, place)
    names = ()
    if labels is not None:
        labels = _labels(labels, len(images), place)
        names = tuple(map(str, range(int(labels.max()) + 1)))
    return Labelled(_in_unit(images, place).reshape(len(images), -1), labels, names, shape)


def read_samples(path: str, what: str, target: Target, config: Any) -> Table:
    """Reads images from elsewhere: rows [n, D] float32 in [0, 1], and what is to be said of them.

    An array may also be [n, D] with D numbers an image.

    Raises:
      UserError: they cannot be read, or are not of the target's size.
    """
    del config
    check_is_file(path, what, ENDINGS)
    place, shape = _Place(path, what), target.truth.shape
    images, _ = _arrays(place)
    sizes = [shape, (target.dim,)] + ([shape[:2]] if shape[2] == 1 else [])
    if images.shape[1:] not in sizes:
        own, wanted = (" × ".join(map(str, each)) or "(none)" for each in (images.shape[1:], shape))
        raise UserError(f"{place} has images of {own} numbers, but those of {target.name} have {wanted}")
    rows = _in_unit(images, place).reshape(len(images), -1)
    return Table(rows, (f"{place}: {count_of(len(rows))} images of {' × '.join(map(str, shape))}",))


def files(path: str, what: str) -> dict[str, str]:
    """Path -> what names it, of every file that `load` reads."""
    if not os.path.isdir(path):
        return {path: what}
    return {str(picture): what for picture, _ in _pictures(_Place(path, what))[0]}


def _arrays(place: _Place) -> tuple[np.ndarray, np.ndarray | None]:
    """The images of a file as they are written there, and their labels if it has some."""
    try:
        with trust.opened(place.path) as file:
            size = trust.size_of(file)
            if size == 0:
                raise UserError(f"{place} is empty: it needs images")
            if size > MAX_BYTES:
                raise UserError(f"{place} has {size >> 20} MiB: at most {MAX_BYTES >> 20} are read")
            if place.path.lower().endswith(".npy"):
                return array_of(file, size, str(place), lambda shape: _check_axes(shape, place), MOST_NUMBERS), None
        trust.check_archive(place.path)
        with np.load(place.path, allow_pickle=False) as archive:
            return _of_archive(archive, place)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        if "is compressed" in reason:
            reason += "; save it with numpy.savez, not numpy.savez_compressed"
        raise UserError(f"{place} cannot be read: {reason}") from None


def _of_archive(archive: Any, place: _Place) -> tuple[np.ndarray, np.ndarray | None]:
    others = [name for name in archive.files if name != "labels"]
    name = "images" if "images" in others else others[0] if len(others) == 1 else None
    if name is None:
        there = cut(", ".join(archive.files), 60) or "nothing"
        raise UserError(f"{place} holds {there}: it needs an array `images`, and may have one `labels`")
    images = archive[name]
    if images.dtype.kind not in "fiub":
        raise UserError(f"{place} holds {cut(str(images.dtype), 60)} entries: it needs real numbers")
    _check_axes(images.shape, place)
    if images.size > MOST_NUMBERS:
        raise too_many(str(place), images.size, MOST_NUMBERS)
    return images, archive["labels"] if "labels" in archive.files else None


def _check_axes(shape: tuple[int, ...], place: _Place) -> None:
    if len(shape) not in (2, 3, 4) or 0 in shape:
        text = cut(" × ".join(map(str, shape)), 60) or "of a single number"
        raise UserError(f"{place} has the shape {text}: it needs images [n, H, W] or [n, H, W, C]")


def _shape_of(shape: tuple[int, ...], place: _Place) -> tuple[int, int, int]:
    """H, W and C of an array of images."""
    if len(shape) == 2:
        raise UserError(f"{place} has the shape {shape[0]} × {shape[1]}: it needs images [n, H, W] or [n, H, W, C]")
    height, width, channels = *shape[1:3], shape[3] if len(shape) == 4 else 1
    if not (SHORTEST <= height <= LONGEST and SHORTEST <= width <= LONGEST):
        near = " × ".join(str(min(max(side, SHORTEST), LONGEST)) for side in (height, width))
        raise UserError(
            f"{place} has images of {height} × {width} pixels: a side has {SHORTEST} to {LONGEST}; resize them, such "
            f"as to {near}"
        )
    if channels > MOST_CHANNELS:
        raise UserError(
            f"{place} has images of {channels} channels: they have 1 to {MOST_CHANNELS}, along the last axis"
        )
    return height, width, channels


def _in_unit(images: np.ndarray, place: _Place) -> np.ndarray:
    """The numbers in [0, 1], float32; bytes are divided by 255."""
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    wrong = ~np.isfinite(images) if images.dtype.kind == "f" else np.zeros(images.shape, bool)
    if wrong.any():
        raise UserError(f"{place}: image {_first(wrong)} holds a number that is not finite")
    wrong = (images < 0) | (images > 1)
    if wrong.any():
        first = _first(wrong)
        value = images[first - 1][wrong[first - 1]].flat[0]
        raise UserError(
            f"{place}: image {first} holds {value:g}: numbers are from 0 to 1, or bytes (uint8) from 0 to 255"
        )
    return images.astype(np.float32)


def _first(wrong: np.ndarray) -> int:
    """Which image is the first with a mark, counted from 1."""
    return int(np.argmax(wrong.reshape(len(wrong), -1).any(axis=1))) + 1


def _labels(labels: np.ndarray, n: int, place: _Place) -> np.ndarray:
    if labels.shape != (n,):
        own = " × ".join(map(str, labels.shape)) or "a single number"
        raise UserError(f"{place} has labels of the shape {own} for {count_of(n)} images: it needs one a picture")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > 999:
        wrong = labels[0] if labels.dtype.kind not in "iu" else labels.min() if labels.min() < 0 else labels.max()
        raise UserError(f"{place} has the label {wrong}: labels are whole numbers from 0 to 999")
    return labels.astype(int)


def _pictures(place: _Place) -> tuple[list[tuple[Path, int | None]], tuple[str, ...]]:
    """The pictures of a folder, sorted, each with its label if it has one; and the names of the labels."""
    folder = Path(place.path)

    def within(inside):
        found = (path for path in inside.iterdir() if path.suffix.lower() in PICTURES and path.is_file())
        return sorted(found, key=lambda path: path.name)

    try:
        own = within(folder)
        inside = [(path, within(path)) for path in sorted(folder.iterdir()) if path.is_dir()]
    except OSError as error:
        raise UserError(f"{place} cannot be read: {error.strerror}") from None
    classes = [(path, pictures) for path, pictures in inside if pictures]
    n = len(own) + sum(len(pictures) for _, pictures in classes)
    if not n:
        raise UserError(f"{place} has no pictures: it needs files that end in {', '.join(PICTURES)}")
    if n > MOST_PICTURES:
        raise UserError(f"{place} has {count_of(n)} pictures: at most {count_of(MOST_PICTURES)} are read")
    if own and classes:
        raise UserError(
            f"{place} has pictures beside folders of pictures, such as {own[0].name!r} beside {classes[0][0].name!r}: "
            "put all of them into folders, which are the labels, or none"
        )
    labelled = [(picture, i) for i, (_, pictures) in enumerate(classes) for picture in pictures]
    return [(picture, None) for picture in own] or labelled, tuple(path.name for path, _ in classes)


def _of_folder(place: _Place) -> Labelled:
    found, names = _pictures(place)
    images, shape, mode = None, None, None
    for i, (path, _) in enumerate(found):
        image = _picture(path, place, mode)
        if images is None:
            shape, mode = _shape_of((1, *image.shape), place), "L" if image.ndim == 2 else "RGB"
            if len(found) * image.size > MOST_NUMBERS:
                n = count_of(len(found) * image.size)
                raise UserError(f"{place} has {n} numbers: at most {count_of(MOST_NUMBERS)} are read")
            images = np.empty((len(found), *image.shape), np.uint8)
        if image.shape != images.shape[1:]:
            sizes = [" × ".join(map(str, each[:2])) for each in (image.shape, images.shape[1:])]
            raise UserError(
                f"{place}: {path.name!r} has {sizes[0]} pixels, and {found[0][0].name!r} has {sizes[1]}; all need the "
                "same size"
            )
        images[i] = image
    labels = np.array([label for _, label in found]) if names else None
    return Labelled(images.reshape(len(images), -1).astype(np.float32) / np.float32(255), labels, names, shape)


def _picture(path: Path, place: _Place, mode: str | None) -> np.ndarray:
    """One picture [H, W] of grey levels or [H, W, 3], uint8; its size is looked at before it is unpacked."""
    from PIL import Image, UnidentifiedImageError

    try:
        # A picture that claims to be huge is refused below, and not warned of.
        with trust.opened(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(file, formats=("PNG", "JPEG"))
            _shape_of((1, image.height, image.width), _Place(str(path), f"{place.what}:"))
            return np.asarray(image.convert(mode or _MODES.get(image.mode, "RGB")))
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"{place}: {path.name!r} is neither a PNG nor a JPEG, or is damaged") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(f"{place}: {path.name!r} cannot be read: {reason}") from None

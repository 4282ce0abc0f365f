"""The files of MNIST and Fashion-MNIST: where they are, and where they come from if they are not there yet.

References:
  LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document Recognition, 1998 (MNIST).
  Xiao, Rasul and Vollgraf, Fashion-MNIST, 2017.
"""

import contextlib
import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import platformdirs

from core.errors import UserError, check_path
from kinds.files import count_of
from kinds.images import idx
from kinds.images.truth import Labelled

PARTS = ("train", "t10k")
_SECONDS = 30


class Source(NamedTuple):
    """A data set in IDX files."""

    folder: str  # of the private ones
    address: str  # that the files' names are added to
    hashes: dict[str, str]  # file name -> SHA-256 of what is fetched
    names: tuple[str, ...]  # of the labels


def _named(images: str, labels: str, test_images: str, test_labels: str) -> dict[str, str]:
    return {
        "train-images-idx3-ubyte.gz": images,
        "train-labels-idx1-ubyte.gz": labels,
        "t10k-images-idx3-ubyte.gz": test_images,
        "t10k-labels-idx1-ubyte.gz": test_labels,
    }


SOURCES = {
    "IMAGE_MNIST": Source(
        "mnist",
        "http://yann.lecun.com/exdb/mnist/",
        _named(
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        tuple("0123456789"),
    ),
    "IMAGE_FASHION_MNIST": Source(
        "fashion-mnist",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        _named(
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
        ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
}


def folder_of(name: str, folder: str) -> Path:
    """Where the files of a data set lie: in the user's folder or, where none is named, in a private one.

    Raises:
      UserError: the user has no home, or the path is none.
    """
    if folder:
        check_path("IMAGES.folder", folder)
        return Path(folder)
    try:
        base = platformdirs.user_cache_path("classical-generative-benchmarks-data", appauthor=False)
    except RuntimeError:
        raise UserError(f"there is no home folder to keep {name} in: set IMAGES.folder") from None
    return base / SOURCES[name].folder


def files_of(name: str, folder: str) -> dict[str, Path | None]:
    """File name, as fetched -> where it lies, perhaps unpacked or with a dot before "idx"; None: it is missing."""
    place, found = folder_of(name, folder), {}
    for file in SOURCES[name].hashes:
        plain = file.removesuffix(".gz")
        dotted = plain.replace("-idx", ".idx")
        there = [place / each for each in (file, plain, f"{dotted}.gz", dotted) if (place / each).is_file()]
        found[file] = there[0] if there else None
    return found


def load(name: str, folder: str) -> tuple[Labelled, tuple[str, ...]]:
    """All images of a data set with their labels, fetched first where files are missing; and what is to be said.

    Raises:
      UserError: files are missing and cannot be fetched, cannot be read, or do not fit each other.
    """
    source, notes = SOURCES[name], ()
    missing = [file for file, path in files_of(name, folder).items() if path is None]
    if missing:
        _fetch(name, missing, folder)
        notes = (f"{name}: fetched {', '.join(missing)} from {source.address} into {folder_of(name, folder)}",)
    paths = files_of(name, folder)
    rows, labels, shape = [], [], None
    for part in PARTS:
        images_path, labels_path = paths[f"{part}-images-idx3-ubyte.gz"], paths[f"{part}-labels-idx1-ubyte.gz"]
        images, own = idx.read(images_path, "IMAGES.folder:", 3), idx.read(labels_path, "IMAGES.folder:", 1)
        if len(images) != len(own):
            raise UserError(
                f"{str(images_path)!r} has {count_of(len(images))} images, but {str(labels_path)!r} has "
                f"{count_of(len(own))} labels: both need the same number"
            )
        if own.max() >= len(source.names):
            raise UserError(f"{str(labels_path)!r} has the label {own.max()}: labels are 0 to {len(source.names) - 1}")
        if images.shape[1:] != (28, 28):
            size = " × ".join(map(str, images.shape[1:]))
            raise UserError(f"{str(images_path)!r} has images of {size}: those of {name} have 28 × 28 pixels")
        shape = (28, 28, 1)
        rows.append(images.reshape(len(images), -1))
        labels.append(own)
    numbers = np.concatenate(rows).astype(np.float32)
    numbers /= 255
    return Labelled(numbers, np.concatenate(labels).astype(int), source.names, shape), notes


def _fetch(name: str, missing: list[str], folder: str) -> None:
    """Fetches the files that are missing; a file whose content is another one than it should be is not kept."""
    import pooch

    source, place = SOURCES[name], folder_of(name, folder)
    # What it says of every file stands in the note.
    pooch.get_logger().setLevel(logging.ERROR)
    try:
        for file in missing:
            pooch.retrieve(
                f"{source.address}{file}",
                known_hash=f"sha256:{source.hashes[file]}",
                fname=file,
                path=place,
                downloader=pooch.HTTPDownloader(timeout=_SECONDS),
            )
    except (OSError, ValueError) as error:
        with contextlib.suppress(OSError):
            place.rmdir()
        other = isinstance(error, ValueError)
        why = "what comes from there has another content" if other else "they cannot be fetched"
        raise UserError(
            f"{name}: {why}; put {', '.join(missing)} from {source.address} into {str(place)!r}, or set IMAGES.folder "
            "to the folder that has them"
        ) from None

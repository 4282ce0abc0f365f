"""IDX files, the form of MNIST: four bytes that say what follows, the lengths of all axes, and one byte a number.

Read without trusting them: a compressed file is unpacked no further than its own head says it should reach.
"""

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from core import trust
from core.errors import UserError
from kinds.files import count_of

MOST_NUMBERS = 250_000_000
_GZIP = b"\x1f\x8b"
_BYTES = 8  # the code of whole numbers from 0 to 255


def read(path: str | Path, what: str, n_axes: int) -> np.ndarray:
    """The array of an IDX file of bytes, gzipped or not.

    Args:
      path: of the file.
      what: what names it, for messages.
      n_axes: 3 of images [n, H, W], 1 of labels [n].

    Returns:
      uint8.

    Raises:
      UserError: it cannot be read, is damaged, cut, longer than its head says, or holds something else.
    """
    place = f"{what} {str(path)!r}"
    try:
        with trust.opened(path) as file:
            packed = file.read(2) == _GZIP
            file.seek(0)
            return _content(gzip.GzipFile(fileobj=file) if packed else file, place, n_axes)
    except UserError:
        raise
    except EOFError:
        raise UserError(f"{place} is cut: its compressed content ends too soon; get it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{place} is damaged ({error}); get it again") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{place} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _content(file: BinaryIO, place: str, n_axes: int) -> np.ndarray:
    head = file.read(4)
    wanted = bytes((0, 0, _BYTES, n_axes))
    if head != wanted:
        raise UserError(
            f"{place} begins with the bytes {head.hex(' ') or '(none)'}: an IDX file of "
            f"{'images' if n_axes == 3 else 'labels'} begins with {wanted.hex(' ')}"
        )
    lengths = file.read(4 * n_axes)
    if len(lengths) < 4 * n_axes:
        raise UserError(f"{place} is cut: it ends within its head; get it again")
    shape = tuple(int(length) for length in np.frombuffer(lengths, ">u4"))
    n = math.prod(shape)
    if not n:
        raise UserError(f"{place} says that it has the shape {' × '.join(map(str, shape))}: it holds nothing")
    if n > MOST_NUMBERS:
        raise UserError(f"{place} says that it has {count_of(n)} numbers: at most {count_of(MOST_NUMBERS)} are read")
    content = file.read(n)
    if len(content) < n:
        raise UserError(
            f"{place} is cut: its head promises {count_of(n)} numbers, and {count_of(len(content))} follow; get it "
            "again"
        )
    if file.read(1):
        raise UserError(f"{place} has more than the {count_of(n)} numbers that its head promises; get it again")
    return np.frombuffer(content, np.uint8).reshape(shape)

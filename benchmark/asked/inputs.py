"""The files of a user's that a run reads, and what tells whether they are still the same."""

import hashlib
import os
from typing import Any

from core import trust
from core.errors import UserError
from kinds.files import MAX_BYTES
from targets import kind_asked

_CHUNK_BYTES = 2**20


def named_in(config: Any) -> dict[str, str]:
    """Path -> what names it, of every file that a run with this configuration reads."""
    files = dict(kind_asked(config).files(config))
    for constant in ("external_samples", "external_probabilities"):
        files |= {path: f"{constant.upper()}[{name!r}]" for name, path, _ in getattr(config, constant)}
    return files


def fingerprints(config: Any) -> dict[str, str]:
    """Path, as the configuration writes it -> SHA-256 of the content, of every file that a run reads.

    Raises:
      UserError: one cannot be read, or is larger than what a run reads.
    """
    found = {}
    for path, what in named_in(config).items():
        # A pipe would be waited for; and os.path never raises where a name is none.
        if not os.path.isfile(path):
            raise UserError(f"{what} {path!r} is not a file")
        try:
            found[path] = _digest(path)
        except (OSError, ValueError) as error:
            raise UserError(f"{what} {path!r} cannot be read ({getattr(error, 'strerror', None) or error})") from None
    return found


def _digest(path: str) -> str:
    """SHA-256 of a file that is small enough to be read: what a replay names nobody has measured before."""
    with trust.opened(path) as file:
        digest, n_bytes, size = hashlib.sha256(), 0, trust.size_of(file)
        while size <= MAX_BYTES and n_bytes <= MAX_BYTES and (chunk := file.read(_CHUNK_BYTES)):
            digest.update(chunk)
            # Not every file says its size.
            n_bytes += len(chunk)
    if max(size, n_bytes) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES >> 20} MiB")
    return digest.hexdigest()

"""The files of a user's that a run reads, and what tells whether they are still the same."""

import hashlib
import os
from typing import Any

from errors import UserError


def named_in(config: Any) -> dict[str, str]:
    """Path -> what names it, of every file that a run with this configuration reads."""
    files = {config.custom_file: "CUSTOM_FILE"} if config.target_type == "CUSTOM" else {}
    for constant in ("external_samples", "external_probabilities"):
        files |= {path: f"{constant.upper()}[{name!r}]" for name, path, _ in getattr(config, constant)}
    return files


def fingerprints(config: Any) -> dict[str, str]:
    """Path, as the configuration writes it -> SHA-256 of the content, of every file that a run reads.

    Raises:
      UserError: one cannot be read.
    """
    found = {}
    for path, what in named_in(config).items():
        # A pipe would be waited for; and os.path never raises where a name is none.
        if not os.path.isfile(path):
            raise UserError(f"{what} {path!r} is not a file")
        try:
            with open(path, "rb") as file:
                found[path] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise UserError(f"{what} {path!r} cannot be read ({error.strerror})") from None
    return found

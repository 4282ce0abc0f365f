"""What a page says of a picture; it stands where the picture's function, view or kind is declared."""

from typing import NamedTuple


class Caption(NamedTuple):
    """A picture in words."""

    title: str  # a few words: its heading, and the beginning of its alternative text
    sentence: str  # one: what it shows and what to look for

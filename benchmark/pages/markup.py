"""HTML as a tree of elements: what is written is balanced and escaped, whatever text it holds.

The tree is the standard library's; names of samples, paths and values of a command line are text in it like any other.
"""

from collections.abc import Iterable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from core import wording

Child = Element | str | None


def tag(name: str, /, *children: Child, **attributes: str) -> Element:
    """An element with its attributes and children; None is no child.

    An underscore at the end of an attribute's name is left out (`class_`), and one within it is a hyphen
    (`aria_label`). Letters that cannot be seen are escaped visibly, such as \\x1b, in text and in attributes.
    """
    own = {key.rstrip("_").replace("_", "-"): wording.visible(value) for key, value in attributes.items()}
    element = Element(name, own)
    return add(element, children)


def add(element: Element, children: Iterable[Child]) -> Element:
    """Appends children to an element, and returns it."""
    for child in children:
        if isinstance(child, str):
            text = wording.visible(child, keep="\n")
            if len(element):
                element[-1].tail = (element[-1].tail or "") + text
            else:
                element.text = (element.text or "") + text
        elif child is not None:
            element.append(child)
    return element


def document(root: Element) -> bytes:
    """A whole HTML document in UTF-8, a block a line."""
    ElementTree.indent(root, " ")
    text = ElementTree.tostring(root, encoding="unicode", method="html")
    return f"<!DOCTYPE html>\n{text}\n".encode()

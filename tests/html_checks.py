"""Strict checks of an HTML page, by the standard library's parser: what a test may take for a valid page."""

import itertools
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
# Which elements may stand directly in these, as far as pages here use them.
CHILDREN = {
    "html": {"head", "body"},
    "head": {"meta", "link", "title", "style"},
    "table": {"caption", "thead", "tbody"},
    "thead": {"tr"},
    "tbody": {"tr"},
    "tr": {"th", "td"},
    "picture": {"source", "img"},
}
# And what no paragraph can hold: a browser would end the paragraph there.
BLOCKS = {"p", "div", "table", "section", "figure", "h1", "h2", "h3", "details", "main", "header", "nav"}
SCRIPTS = {"script", "iframe", "object", "embed", "form", "base"}


class Page(HTMLParser):
    """A page as it was read: faults, the text of elements, and what it names."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.headings: list[tuple[int, str]] = []
        self.cells: list[str] = []
        self.text = ""
        self._open: list[str] = []
        if not text.startswith("<!DOCTYPE html>\n<html lang="):
            self.faults.append("it does not begin as HTML5 with a language")
        self.feed(text)
        self.close()
        self.faults += [f"<{name}> is not closed" for name in self._open]
        self.faults += [f"id {name!r} twice" for name in {name for name in self.ids if self.ids.count(name) > 1}]

    def handle_starttag(self, tag, attrs):
        """Checks an element, its place and its attributes."""
        own = dict(attrs)
        parent = self._open[-1] if self._open else None
        if tag not in CHILDREN.get(parent, {tag}):
            self.faults.append(f"<{tag}> in <{parent}>")
        if "p" in self._open and tag in BLOCKS:
            self.faults.append(f"<{tag}> in a paragraph")
        if "a" in self._open and tag == "a":
            self.faults.append("a link in a link")
        if len(own) < len(attrs):
            self.faults.append(f"an attribute of <{tag}> twice")
        if tag in SCRIPTS or any(name.startswith("on") for name in own):
            self.faults.append(f"<{tag}> runs or embeds something")
        self.ids += [own["id"]] if "id" in own else []
        self.links += [own[name] for name in ("href", "src", "srcset") if name in own]
        if tag == "img":
            self.images.append(own)
        if tag in ("h1", "h2", "h3"):
            self.headings.append((int(tag[1]), ""))
        if tag in ("td", "th"):
            self.cells.append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        """Checks that the element that was opened last is closed."""
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes another element")

    def handle_data(self, data):
        """Keeps the text."""
        if "style" in self._open:
            return
        self.text += data
        if self._open and self._open[-1] in ("h1", "h2", "h3"):
            level, words = self.headings[-1]
            self.headings[-1] = (level, words + data)
        if "td" in self._open or "th" in self._open:
            self.cells[-1] += data


def checked(path: Path) -> Page:
    """A page that is valid, whose pictures and files are there, and that takes nothing from a network."""
    page = Page(path.read_text(encoding="utf-8"))
    assert page.faults == []
    for image in page.images:
        assert image.get("alt", "").strip(), image
        assert int(image["width"]) > 0, image
        assert int(image["height"]) > 0, image
    for link in page.links:
        parts = urlsplit(link)
        if link == "data:,":
            continue
        assert (parts.scheme, parts.netloc, parts.query) == ("", "", ""), link
        if parts.path:
            assert not parts.path.startswith("/"), link
            assert (path.parent / unquote(parts.path)).is_file(), link
        if parts.fragment:
            assert parts.fragment in page.ids, link
    levels = [level for level, _ in page.headings]
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels)), page.headings
    return page

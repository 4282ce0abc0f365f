"""What the pages of runs and of sweeps are built from: sections, tables, pictures, links; and how they look.

A page needs no script and no network. Its pictures and files are links to what lies beside it, so that the folder can
be moved, sent or published as a whole.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote
from xml.etree.ElementTree import Element

from PIL import Image

from benchmark.pages.markup import Child, add, document, tag
from core.captions import Caption

FILE = "index.html"
_STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; color: #1a1a1a; background: #fff;
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0.5rem 0; }
h2 { font-size: 1.3rem; border-bottom: 1px solid #c8c8c8; margin: 2.5rem 0 0.8rem; padding-bottom: 0.2rem; }
h3 { font-size: 1.05rem; margin: 0 0 0.3rem; }
a { color: #0b57a4; }
nav a { display: inline-block; padding: 0.4rem 0.9rem 0.4rem 0; }
.note { border-left: 0.35rem solid #b45309; background: #fff7ed; padding: 0.5rem 0.8rem; margin: 0.6rem 0; }
.wide { overflow-x: auto; margin: 0.6rem 0 1.4rem; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
caption { text-align: left; font-weight: 600; padding: 0.3rem 0; }
th, td { text-align: left; vertical-align: top; padding: 0.3rem 0.9rem 0.3rem 0; border-bottom: 1px solid #dedede; }
.numbers th, .numbers td { white-space: nowrap; }
.facts th { overflow-wrap: normal; }
figure { margin: 0 0 2.2rem; }
figure .wide { margin: 0; }
figure img { display: block; width: 100%; height: auto; }
figure .paper { display: none; }
figcaption { max-width: 60rem; margin-bottom: 0.5rem; }
details { margin: -1.6rem 0 2.2rem; }
summary { cursor: pointer; padding: 0.4rem 0; }
.steps a { display: inline-block; padding: 0.4rem 0.9rem 0.4rem 0; }
@media screen and (max-width: 45rem) {
  figure img { width: 45rem; }
  .facts thead { display: none; }
  .facts, .facts caption, .facts tbody, .facts tr, .facts th, .facts td { display: block; border: 0; padding: 0; }
  .facts tr { border-bottom: 1px solid #dedede; padding: 0.4rem 0; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, details, picture { display: none; }
  figure .paper { display: block; }
  .wide { overflow: visible; }
  .numbers th, .numbers td { white-space: normal; }
  table { font-size: 8pt; }
  tr, figure, .note { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; }
  figure img { max-height: 22cm; object-fit: contain; object-position: left; }
}
"""


def page(title: str, introduction: Sequence[Child], sections: Mapping[str, Sequence[Child]]) -> bytes:
    """A whole page.

    Args:
      title: of the page.
      introduction: what stands below the title.
      sections: heading -> content, in their order; those without content are left out.
    """
    shown = {heading: [child for child in content if child is not None] for heading, content in sections.items()}
    shown = {heading: content for heading, content in shown.items() if content}
    links = [tag("a", heading, href=f"#{_id(heading)}") for heading in shown]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        # Otherwise a browser asks the network for one.
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        _style(),
    )
    main = tag("main")
    for heading, content in shown.items():
        add(main, [tag("section", tag("h2", heading, id=_id(heading)), *content)])
    header = tag("header", tag("h1", title), *introduction, tag("nav", *_spaced(links), aria_label="Sections"))
    return document(tag("html", head, tag("body", header, main), lang="en"))


def paragraph(*children: Child) -> Element:
    """A paragraph of text."""
    return tag("p", *children)


def note(*children: Child) -> Element:
    """What a reader must not miss."""
    return tag("p", *children, class_="note")


def link(place: str, text: str) -> Element:
    """A link to a file or a folder beside the page, by its path there."""
    return tag("a", text, href=quote(place))


def numbers(caption: str, rows: Sequence[Mapping[str, Child]]) -> Element:
    """A table: a dict a row, its keys the headings. It is moved to the side where the screen is too narrow."""
    headings = list(dict.fromkeys(heading for row in rows for heading in row))
    head = tag("tr", *(tag("th", heading, scope="col") if heading else tag("td") for heading in headings))
    table = tag("table", tag("caption", caption), tag("thead", head), class_="numbers")
    add(table, [tag("tbody", *(_row(row, headings) for row in rows))])
    return _wide(table, caption)


def facts(caption: str, rows: Sequence[Sequence[Child]], headings: Sequence[str]) -> Element:
    """A table of names and what is said of them, whose words are broken where the screen is narrow."""
    head = tag("tr", *(tag("th", heading, scope="col") for heading in headings))
    body = tag("tbody", *(_row(dict(enumerate(row)), list(range(len(row)))) for row in rows))
    return _wide(tag("table", tag("caption", caption), tag("thead", head), body, class_="facts"), caption)


def figure(folder: Path, name: str, caption: Caption, subject: str, still: str | None = None) -> Element:
    """A picture with its heading and its sentence; it leads to the file in its full size.

    Args:
      folder: that has the file now.
      name: of the file, beside the page.
      caption: of the picture.
      subject: what it is about; its alternative text ends with that.
      still: another file, which stands for an animation on paper and for readers who have asked for less motion.
    """
    with Image.open(folder / name) as image:
        width, height = image.size
    # The size keeps its place on the page until it is there.
    size = {"width": str(width), "height": str(height)}
    alt = f"{caption.title}: {subject}"
    pictures = [tag("img", src=quote(name), alt=alt, **size)]
    if still is not None:
        instead = tag("source", media="(prefers-reduced-motion: reduce)", srcset=quote(still))
        # Browsers print the source that they have shown: paper has a picture of its own.
        on_paper = tag("img", src=quote(still), alt=alt, class_="paper", loading="lazy", **size)
        pictures = [tag("picture", instead, *pictures), on_paper]
    words = [tag("h3", caption.title), caption.sentence or None]
    shown = _wide(tag("a", *pictures, href=quote(name)), caption.title)
    return tag("figure", tag("figcaption", *words), shown)


def steps(summary: str, links: Sequence[Element]) -> Element:
    """Links that are shown when they are asked for."""
    return tag("details", tag("summary", summary), tag("p", *_spaced(links), class_="steps"))


def _row(row: Mapping, headings: Sequence) -> Element:
    cells = []
    for i, heading in enumerate(headings):
        words = row.get(heading, "")
        cells.append(tag("td", words) if i else tag("th", words, scope="row"))
    return tag("tr", *cells)


def _wide(content: Element, label: str) -> Element:
    """What may be wider than the screen, and is then moved by a finger, a wheel or the arrow keys."""
    return tag("div", content, class_="wide", tabindex="0", role="region", aria_label=label)


def _style() -> Element:
    element = tag("style")
    element.text = _STYLE
    return element


def _spaced(links: Sequence[Element]) -> list[Child]:
    return [child for each in links for child in (each, " ")]


def _id(heading: str) -> str:
    return heading.lower().replace(" ", "-")

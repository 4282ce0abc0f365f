"""The page of a run: valid HTML that shows what the run has written, on screens and on paper."""

import functools
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import html_checks
import pytest
from conftest import drawn
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.pages import layout
from benchmark.pages.markup import document, tag
from benchmark.run import one_run
from benchmark.terminal import tables
from core import wording
from core.captions import Caption
from kinds.registry import KINDS
from models import MODELS

WORDS = (
    "--n-steps 20 --n-evaluations 4 --snapshot-percent 50 --num-seeds 2 --n-eval-samples 300 --batch-size 16 "
    "--parameter-budget 120 --hidden-layers 1 --num-bins 12"
)
EVIL = "<img src=x onerror=alert(1)>&amp;'\"\u202e.csv"


def arguments(target, *words, out_dir="out"):
    return [*WORDS.split(), "--out-dir", out_dir, "--target-type", target, "--models", *words]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of three families on a table with an evil name: its folder, and the tables that it has printed."""
    printed = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("pages"))
        Path(EVIL).write_text("\n".join(f"{i % 7}.5" for i in range(60)))
        patch.setattr(tables, "run_tables", lambda found, outcome: printed.append(found))
        assert script.main(arguments("CUSTOM", "GMM", "KMEANS", "GAN", "--custom-file", EVIL)) == 0
        yield Path("out").absolute(), *printed


@pytest.fixture(scope="module")
def page(run):
    """Its page, read and checked."""
    return html_checks.checked(run[0] / layout.FILE)


def test_the_page_shows_every_table_that_the_run_prints(run, page):
    _, printed = run
    assert len(printed) == 4
    words = [word for rows in printed.values() for row in rows for word in row.values()]
    assert len(words) > 50
    assert {*words} <= {*page.cells}
    for rows in printed.values():
        headings = list(dict.fromkeys(heading for row in rows for heading in row))
        whole = [*headings, *(row.get(heading, "") for row in rows for heading in headings)]
        assert any(page.cells[i : i + len(whole)] == whole for i in range(len(page.cells))), headings


def test_pictures_come_in_reading_order_with_one_sentence_each(run, page):
    folder, _ = run
    assert [image["src"] for image in page.images if image.get("class") != "paper"] == [
        "metrics_comparison.png",
        "classical_benchmark_comparison_hist.png",
        "timeline.gif",
        "gmm_vs_kmeans.png",
        "gan_discriminator.png",
        "loss_curves.png",
        "cost_quality.png",
        "kld_sensitivity.png",
    ]
    assert all(image["alt"].endswith(": CUSTOM, GMM, KMEANS, GAN") for image in page.images)
    for image in page.images:
        with Image.open(folder / image["src"]) as picture:
            assert picture.size == (int(image["width"]), int(image["height"]))
    # On paper and without motion the last snapshot stands for the animation.
    assert [image["src"] for image in page.images if image.get("class") == "paper"] == ["timeline_100pct.png"]
    text = (folder / layout.FILE).read_text()
    assert '<source media="(prefers-reduced-motion: reduce)" srcset="timeline_100pct.png">' in text
    titles = [words for level, words in page.headings if level == 3]
    assert titles[3:5] == ["Clusters of GMM and KMEANS", "Discriminator of GAN"]
    assert KINDS["bins"].views["clustering"].caption.sentence in page.text


def test_the_page_says_how_the_run_can_be_had_again(run, page):
    report = json.loads((run[0] / "metrics.json").read_text())
    origin = report["provenance"]
    for words in (origin["started"], origin["device"], f"jax {origin['versions']['jax']}", *origin["inputs"].values()):
        assert words in page.text
    assert {*report["files"]} <= {*page.links}
    cells = page.cells
    assert cells[cells.index("N_STEPS") + 1] == "20"
    assert cells[cells.index("GMM.n_init") + 1] == str(report["config"]["gmm"]["n_init"])
    assert "VAE.beta" not in cells
    assert "The settings of families that were not trained (VAE, RBM, " in page.text


def test_names_of_files_are_text_and_nothing_else(run, page):
    text = (run[0] / layout.FILE).read_text(encoding="utf-8")
    seen = wording.visible(EVIL)
    assert seen != EVIL
    assert "<img src=x" not in text
    assert html.escape(seen, quote=False) in text
    assert any(seen in cell for cell in page.cells)
    assert not [image for image in page.images if image["src"] == "x"]


def test_a_run_without_pictures_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(one_run, "execute", functools.partial(one_run.execute, with_pictures=False))
    assert script.main(arguments("1D_BETA", "GMM", out_dir="<b>")) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "open <b>/index.html in a browser"
    page = html_checks.checked(tmp_path / "<b>" / layout.FILE)
    assert page.images == []
    assert "This run was asked to draw no pictures." in page.text


@drawn()
@given(st.text(st.characters(codec=None)))
def test_any_text_is_escaped_and_comes_back(text):
    class Read(HTMLParser):
        words, title = "", None

        def handle_starttag(self, name, attrs):
            if name == "p":
                self.title = dict(attrs)["title"]

        def handle_data(self, data):
            self.words += data

    content = document(tag("html", tag("body", tag("p", text, title=text)), lang="en")).decode()
    read = Read()
    read.feed(content)
    read.close()
    assert read.title == wording.visible(text)
    # The tree's own line breaks stand between blocks.
    assert read.words.strip("\n ") == wording.visible(text, keep="\n").strip("\n ")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", content)


def caption_names():
    """Every caption that is declared, by where it is."""
    views = {f"{kind}.{view}": showing.caption for kind in KINDS for view, showing in KINDS[kind].views.items()}
    swept = {
        f"{family}.{name}": view.caption
        for family, module in MODELS.items()
        for name, view in getattr(module, "SWEEP_VIEWS", {}).items()
    }
    return views | swept


@pytest.mark.parametrize("name", caption_names())
def test_every_view_has_a_caption_of_one_sentence(name):
    caption = caption_names()[name]
    assert isinstance(caption, Caption)
    assert caption.title[0].isupper()
    assert re.fullmatch(r"[A-Z][^.!?]*\.", caption.sentence), caption.sentence


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<p><b>x</p></b>", "closes another"),
        ("<p>x", "not closed"),
        ("<p id='a'></p><p id='a'></p>", "twice"),
        ("<table><p></p></table>", "<p> in <table>"),
        ("<p><div></div></p>", "in a paragraph"),
        ("<a><a></a></a>", "a link in a link"),
        ("<script></script>", "runs or embeds"),
        ("<p onclick='x'></p>", "runs or embeds"),
    ],
)
def test_the_checks_find_what_they_are_for(text, fault):
    whole = f"<!DOCTYPE html>\n<html lang='en'><head><title>t</title></head><body>{text}</body></html>"
    assert any(fault in found for found in html_checks.Page(whole).faults)
    assert html_checks.Page(whole.replace(text, "<p>x</p>")).faults == []


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium to show the page in: apt-get install chromium (Debian) brings one"
)
# Shows the page in a frame, as no window is as narrow as a telephone; and says, as its own title, what came of it.
FRAME = """<!DOCTYPE html><title>none</title><iframe src="index.html" style="width: WIDTHpx; height: 900px; border: 0"
></iframe><script>addEventListener('load', () => {
  const shown = document.querySelector('iframe').contentDocument, all = [...shown.images];
  document.title = JSON.stringify({
    mode: shown.compatMode, width: shown.defaultView.innerWidth, needed: shown.documentElement.scrollWidth,
    tags: [...shown.querySelectorAll('*')].map(each => each.localName),
    missing: all.filter(each => each.className != 'paper' && !each.naturalWidth).map(each => each.src),
    widths: all.map(each => each.getBoundingClientRect().width) }) })</script>"""


def browse(folder, tmp_path, *words):
    """What Chromium prints of a page."""
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={tmp_path}/profile")
    program = [CHROMIUM, *flags, "--virtual-time-budget=10000", *words]
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_browser
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_the_page_without_repairing_it_or_moving_it_aside(run, tmp_path, width):
    folder, _ = run
    # Beside the page that it shows.
    shutil.copytree(folder, tmp_path / "shown")
    (tmp_path / "shown" / "frame.html").write_text(FRAME.replace("WIDTH", str(width)), encoding="utf-8")
    words = ("--allow-file-access-from-files", "--window-size=1300,1000", "--dump-dom", "frame.html")
    shown = browse(tmp_path / "shown", tmp_path, *words)
    said = json.loads(html.unescape(re.search(r"<title>(\{.*?\})</title>", shown)[1]))
    assert said["mode"] == "CSS1Compat"
    assert said["width"] == width
    assert said["needed"] <= width
    assert said["missing"] == []
    # On a telephone a picture is moved aside within its own place: at its width nobody could read it.
    assert max(said["widths"]) >= 700

    class Tags(HTMLParser):
        names = ()

        def handle_starttag(self, name, attrs):
            self.names += (name,)

    read = Tags()
    read.feed((folder / layout.FILE).read_text(encoding="utf-8"))
    assert said["tags"] == [*read.names]


@needs_browser
def test_the_page_can_be_printed(run, tmp_path):
    browse(run[0], tmp_path, f"--print-to-pdf={tmp_path}/page.pdf", layout.FILE)
    content = (tmp_path / "page.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) >= 3

"""Links, headings, paths and tests that the documents name exist, and every page can be reached from the README."""

import collections
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", ROOT / "studies" / "speed" / "README.md", *PAGES]
MOST_LINES, MOST_COLUMNS = 200, 120
ENDS = ("median", "low", "high")

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
# Names in backticks that may be files: no blanks, and nothing that stands for something else.
_PATH = re.compile(r"[\w.][\w./{},-]*")
_BRACES = re.compile(r"(.*)\{(.+)\}(.*)")


def without_fences(text):
    return _FENCE.sub("", text)


def links(text):
    """Targets of all links and pictures within the repository, without those in code."""
    found = _LINK.findall(_CODE.sub("", without_fences(text)))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchor(heading):
    """A heading's anchor, as GitHub makes it."""
    shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
    return re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")


def anchors(text):
    """The anchors of all headings; the second heading of the same name ends in -1, and so on."""
    count, found = collections.Counter(), set()
    for name in map(anchor, _HEADING.findall(without_fences(text))):
        found.add(f"{name}-{count[name]}" if count[name] else name)
        count[name] += 1
    return found


def goal(document, link):
    """The file that a link in a document leads to, and the anchor in it ("" for none)."""
    name, _, within = link.partition("#")
    return ((document.parent / name).resolve() if name else document), within


def leads_nowhere(document, link):
    file, within = goal(document, link)
    if not file.exists():
        return True
    return bool(within) and (file.suffix != ".md" or within not in anchors(file.read_text(encoding="utf-8")))


def paths(text):
    """What looks like a file or folder of the repository among the words in backticks."""
    top = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()}
    for word in _CODE.findall(without_fences(text)):
        if not _PATH.fullmatch(word) or word.strip("/") in ignored:
            continue
        braces = _BRACES.fullmatch(word)
        names = [word] if not braces else [f"{braces[1]}{each}{braces[3]}" for each in braces[2].split(",")]
        for name in names:
            if name.endswith((".py", ".md")) or ("/" in name and name.partition("/")[0] in top):
                yield name


def exists(document, name):
    if "/" in name:
        return (ROOT / name).exists() or (document.parent / name).exists()
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return (ROOT / name).exists() or any(next(folder.rglob(name), None) for folder in folders)


def wrong(find, is_wrong):
    """Document and finding, for everything that `find` finds in a document's text and `is_wrong` refuses."""
    return [
        f"{document.relative_to(ROOT)}: {found}"
        for document in DOCUMENTS
        for found in find(document.read_text(encoding="utf-8"))
        if is_wrong(document, found)
    ]


def test_links_and_paths_are_found():
    text = (
        "# A `b`: c (d)\n## E\n## E\n[x](docs/y.md#z) ![p](q.png) `[n](o)` [w](https://example.org)\n```\n[f](g)\n```\n"
    )
    assert links(text) == ["docs/y.md#z", "q.png"]
    assert anchors(text) == {"a-b-c-d", "e", "e-1"}
    assert list(paths("`tests/{a,b}.py` `x.py` `tests/` `OUT_DIR/x` `tests/a.py b`")) == [
        *("tests/a.py", "tests/b.py", "x.py", "tests/")
    ]


def test_what_leads_nowhere_is_seen():
    assert leads_nowhere(README, "docs/no-such-page.md")
    assert leads_nowhere(README, "docs/README.md#no-such-heading")
    assert not leads_nowhere(README, "docs/README.md#documentation")
    assert not exists(README, "no_such_module.py")
    assert not exists(README, "tests/no_such_test.py")


def test_links_lead_to_files_and_headings():
    assert wrong(links, leads_nowhere) == []


def test_every_page_can_be_reached_from_the_readme():
    reached, ahead = set(), [README]
    while ahead:
        file = ahead.pop()
        if file not in reached and file.is_file():
            reached.add(file)
            if file.suffix == ".md":
                ahead += [goal(file, link)[0] for link in links(file.read_text(encoding="utf-8"))]
    files = [path for path in (ROOT / "docs").rglob("*") if path.is_file()]
    assert [path.name for path in files if path not in reached] == []


def test_readme_is_short():
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES
    assert [line for line in lines if len(line) > MOST_COLUMNS] == []


def test_paths_that_are_named_exist():
    assert wrong(paths, lambda document, name: not exists(document, name)) == []


def test_tests_that_are_named_exist():
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert wrong(lambda text: re.findall(r"\btest_\w+\.py", text), lambda _, name: name not in there) == []


def test_the_table_of_the_readme_has_the_numbers_of_the_recorded_run():
    report = json.loads((ROOT / "results_classical_benchmarks/default_run/metrics.json").read_text())
    names = ("kld", "wasserstein", "kl_exact")

    def near(text, value):
        """Whether a number is rounded as it stands there."""
        digits = text.replace(".", "").lstrip("0").partition("e")[0]
        return float(text) == float(f"{value:.{len(digits)}g}")

    rows = {
        line.split("|")[1].strip(): re.findall(r"[\d.]+(?:e-\d+)?", line.partition("|")[2].partition("|")[2])
        for line in README.read_text(encoding="utf-8").splitlines()
        if re.match(r"\| (GAN|VAE|RBM|\*floor.*) \|.*\(", line)
    }
    assert len(rows) == 4
    for name, cells in rows.items():
        if name in report["models"]:
            model = report["models"][name]
            expected = [model["n_params"], *(model["final"][each][end] for each in names for end in ENDS)]
        else:
            # The exact divergence of the target to itself is 0.
            expected = [*(report["floor"][each][end] for each in names[:2] for end in ENDS), 0]
        assert len(cells) == len(expected), name
        for text, value in zip(cells, expected, strict=True):
            assert near(text, value) if value else float(text) == 0, (name, text, value)

"""Tables from anywhere: what can be read is read exactly, what cannot gets one line, and no claim is believed."""

import contextlib
import dataclasses
import io
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import tracemalloc
import unicodedata
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import drawn
from hypothesis import event, given
from hypothesis import strategies as st

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.asked import external
from benchmark.asked.config import from_constants
from benchmark.run import checks
from core import places
from core.errors import UserError
from kinds import files as file_limits
from kinds.real import csv_tables, tables
from targets import make_target

GIB = 2**30
REAL = ["<f8", ">f8", "<f4", "<f2", ">f2", "<i8", ">i4", "|u1", "<u8", "|b1"]
OTHER = ["<c16", "<c8", "<U4", "|S3", "<M8[s]", "<m8[D]", "|V5"]
UNSEEN = ["zwei\nZeilen", "\x1b[31mred", "\u202eyp", os.fsdecode(b"\xff\xfe")]
NAMES = ["rows", "two words", "Größe", "e\u0301", "$\\frac{", "=1+1", "-x", "~", "#", "%s", "שלום", "量子", "x" * 200]
NAMES += ["'", '"', "$(touch x)", "*", *UNSEEN]
SMALL = dict(N_STEPS=8, N_EVALUATIONS=2, SNAPSHOT_PERCENT=50, BATCH_SIZE=16, NUM_SEEDS=2, N_EVAL_SAMPLES=64, MODELS=())
CONSTANTS = {name: value for name, value in vars(script).items() if name.isupper()} | SMALL


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def headed(header, payload=b"", version=(1, 0), length=None):
    """A .npy file whose header is this text."""
    encoded = header.encode("utf-8", "surrogatepass")
    code, most = ("<H", 2**16 - 1) if version == (1, 0) else ("<L", 2**32 - 1)
    claimed = struct.pack(code, min(len(encoded) if length is None else length, most))
    return b"\x93NUMPY" + bytes(version) + claimed + encoded + payload


def as_csv(rows, separator=",", end="\n"):
    return end.join(separator.join(map(repr, row)) for row in rows.tolist()) + end


@st.composite
def numbers(draw, dtypes, shapes=((0,), (0, 1), (0, 2), (0, 2), (0, 3), (2, 0), (0, 1, 1), (), (0, -1))):
    """An array as somebody might save it: often a table, sometimes with an entry or of a shape that no table has."""
    n = draw(st.integers(0, 60))
    # So many rows stand where there is a 0, and a 0 where there is a −1.
    shape = [n if length == 0 else max(length, 0) for length in draw(st.sampled_from(shapes))]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    with warnings.catch_warnings():
        # Not every number has its place in every dtype.
        warnings.simplefilter("ignore")
        values = rng.normal(size=shape) * 10.0 ** draw(st.sampled_from([0, 0, 0, 2, -3, 17, -17, 40, -40, 300, -300]))
        array = np.asarray(values).astype(draw(st.sampled_from(dtypes)))
    if array.size and array.dtype.kind == "f" and draw(st.integers(0, 4)) == 0:
        array.flat[draw(st.integers(0, array.size - 1))] = draw(st.sampled_from([np.nan, np.inf, -np.inf, 0, -0.0]))
    return np.asfortranarray(array) if draw(st.booleans()) else array


@st.composite
def made_up_headers(draw):
    """What no numpy.save has written, though it may look like it."""
    lengths = st.integers(-(2**70), 2**70) | st.integers(-2, 60) | st.booleans() | st.sampled_from([10**11, 10**400])
    shape = draw(st.lists(lengths, max_size=4).map(tuple) | st.sampled_from(["()", None, [30], 30, "(30,", (30.0,)]))
    words = ["|O", "f8", "<f16", "<i3", "|V0", "<U0", "float", "f8,f8", "(2,2)f8", "numpy.float64", None, 3, []]
    records = [[("a", "<f8")], [("a", "|O")], ("<f8", (2,)), [("a", [("b", "<f4")])], {"names": ["a"]}]
    descr = draw(st.sampled_from([*REAL, *OTHER, *words, *records]) | st.text(max_size=8))
    header = repr({"descr": descr, "fortran_order": draw(st.sampled_from([False, True, 1, None])), "shape": shape})
    cut = draw(st.none() | st.none() | st.integers(0, len(header)))
    version = draw(st.sampled_from([(1, 0), (1, 0), (2, 0), (3, 0), (4, 0), (0, 0)]))
    length = draw(st.none() | st.none() | st.sampled_from([0, 1, 2**16 - 1, 2**32 - 1]))
    return headed(header[:cut] + "\n", draw(st.binary(max_size=600)), version, length)


@st.composite
def lines_of_text(draw):
    """What somebody may have exported, or typed."""
    odd = [
        "",
        " ",
        "nan",
        "inf",
        "1e999",
        "0x10",
        "1_0",
        "1,5",
        "#",
        '"1"',
        "None",
        "1" * 400,
        "1\x002",
        "\ufeff1",
        "١",
    ]
    words = st.floats().map(repr) | st.integers().map(str) | st.text(max_size=6) | st.sampled_from(odd)
    one = st.lists(words, max_size=3).map(draw(st.sampled_from([",", ";", "\t", " ", ", "])).join)
    text = draw(st.sampled_from(["\n", "\r\n", "\r", "\n\n"])).join(draw(st.lists(one, max_size=40)))
    with contextlib.suppress(UnicodeEncodeError):
        return text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"])))
    return text.encode()


@st.composite
def damaged(draw, content):
    """Some bytes changed, or the end missing, or something added."""
    content = bytearray(content)
    for _ in range(draw(st.integers(0, 4)) if content else 0):
        # The header is where it hurts.
        last = min(len(content), draw(st.sampled_from([12, 128, len(content)]))) - 1
        content[draw(st.integers(0, last))] = draw(st.integers(0, 255))
    kept = draw(st.just(len(content)) | st.integers(0, len(content)))
    return bytes(content[:kept]) + draw(st.binary(max_size=20))


@st.composite
def files(draw):
    """A file: its name, its content, and the rows in it where somebody has saved a table and nobody has touched it."""
    kind = draw(st.sampled_from(["table", "table", "csv", "array", "header", "text", "archive", "pickle", "noise"]))
    ending = ".csv" if kind in ("csv", "text") else ".npy"
    rows = None
    if kind == "table":
        rows = draw(numbers(REAL))
        content = npy(rows)
    elif kind == "csv":
        rows = draw(numbers(["<f8"], [(0, 1), (0, 2)]))
        text = as_csv(rows, end=draw(st.sampled_from(["\n", "\r\n"])))
        content = text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig"])))
    elif kind == "array":
        array = draw(numbers(OTHER))
        content = npy(array.astype(object) if draw(st.booleans()) else array)
    elif kind == "header":
        content = draw(made_up_headers())
    elif kind == "text":
        content = draw(lines_of_text())
    elif kind == "archive":
        buffer = io.BytesIO()
        draw(st.sampled_from([np.savez, np.savez_compressed]))(buffer, rows=np.zeros(draw(st.integers(0, 10**5))))
        content = buffer.getvalue()
    elif kind == "pickle":
        content = pickle.dumps(draw(numbers(REAL)))
    else:
        content = draw(st.binary(max_size=300))
    if draw(st.integers(0, 3)) == 0:
        rows, content = None, draw(damaged(content))
    if draw(st.integers(0, 5)) == 0:
        rows, ending = None, draw(st.sampled_from([".npy", ".csv", ".npz", ".txt", "", ".NPY", ".npy.gz", ".csv "]))
    return draw(st.sampled_from(NAMES)) + ending, content, rows


def said(function, *args):
    """What a function returns, or else its one line; a warning would be another line, and is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return function(*args), None
        except UserError as error:
            line = str(error)
    assert line
    assert not {unicodedata.category(letter) for letter in line} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert len(line) <= 1000
    return None, line


@drawn()
@given(files(), st.sampled_from([0, 5]))
def test_any_file_gives_finite_rows_or_one_line(file, n_bins):
    name, content, rows = file
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, name)
        Path(path).write_bytes(content)
        tracemalloc.start()
        read, line = said(tables.read_rows, path, "CUSTOM_FILE")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        event("read" if line is None else "refused")
        # Whatever it claims: that is what files of less than a megabyte may take.
        assert peak < 2**23
        if line is None:
            assert read.dtype == np.float64
            assert read.ndim == 2
            assert read.shape[1] in (1, 2)
            assert len(read)
            assert np.isfinite(read).all()
        else:
            assert line.startswith("CUSTOM_FILE ")
        if rows is not None:
            table = rows.ndim == 1 or (rows.ndim == 2 and rows.shape[1] in (1, 2))
            assert (line is None) == bool(table and len(rows) and np.isfinite(rows.astype(np.float64)).all())
            if line is None:
                np.testing.assert_array_equal(read, rows.reshape(len(rows), -1).astype(np.float64))
        entry = {"E": (path, 3)}
        for constants in (
            {"TARGET_TYPE": "CUSTOM", "CUSTOM_FILE": path, "NUM_BINS": n_bins, "EXTERNAL_SAMPLES": entry},
            {"TARGET_TYPE": "1D_BETA", "NUM_BINS": n_bins, "EXTERNAL_SAMPLES": entry},
            {"TARGET_TYPE": "2D_GMM", "NUM_BINS": 0, "EXTERNAL_SAMPLES": entry},
            {"TARGET_TYPE": "1D_BETA", "NUM_BINS": 5, "EXTERNAL_PROBABILITIES": entry},
        ):
            job, refused = said(checks.check, from_constants(CONSTANTS | constants))
            assert line is None or refused is not None
            for each in job.entries if job else ():
                assert np.isfinite(each.rows if each.masses is None else each.masses).all()


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("columns", [None, 1, 2])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_dtype_of_real_numbers_is_read_exactly(tmp_path, dtype, columns, order):
    shape = (30,) if columns is None else (30, columns)
    rows = np.random.default_rng(0).integers(0, 2 if dtype == "|b1" else 100, shape).astype(dtype, order=order)
    np.save(tmp_path / "rows.npy", rows)
    read = tables.read_rows(str(tmp_path / "rows.npy"), "CUSTOM_FILE")
    np.testing.assert_array_equal(read, rows.reshape(30, -1).astype(np.float64))


@pytest.mark.parametrize(
    "rows", [np.full((30, 2), 1e308), np.r_[np.linspace(0, 1, 29), 1e300], np.linspace(0, 1e-300, 40)], ids=range(3)
)
def test_numbers_at_the_ends_of_float64_are_refused_and_not_warned_of(tmp_path, rows):
    """Also where the one that is out of reach is among the rows held out."""
    np.save(tmp_path / "rows.npy", rows)
    own = {"TARGET_TYPE": "CUSTOM", "CUSTOM_FILE": str(tmp_path / "rows.npy"), "NUM_BINS": 0, "MODELS": ("RBM",)}
    config = from_constants(CONSTANTS | own)
    for seed in range(6):
        job, line = said(make_target, dataclasses.replace(config, seed=seed))
        assert job is None
        assert "beyond float32's reach" in line or "is the same in every training row" in line


def test_probabilities_beyond_all_numbers_are_refused_and_not_warned_of(tmp_path):
    np.save(tmp_path / "p.npy", np.full(5, 1e308))
    config = from_constants(CONSTANTS | {"NUM_BINS": 5, "EXTERNAL_PROBABILITIES": {"E": (str(tmp_path / "p.npy"), 1)}})
    assert "the probabilities sum to inf, not 1" in said(external.load, config, make_target(config))[1]


# It may take 400 MiB beyond what Python and its libraries take.
CHILD = """
import resource, sys
from kinds import files as file_limits
from kinds.real import csv_tables, tables
from core.errors import UserError
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 400 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[1:]:
    try:
        print(tables.read_rows(path, "CUSTOM_FILE").shape)
    except UserError as error:
        print(str(error).removeprefix(f"CUSTOM_FILE {path!r}").lstrip(": "))
"""


def test_nothing_is_loaded_before_its_size_is_known(tmp_path):
    """Claims of any size, zip bombs, endless lines, and what never ends: one line each, at once, in little memory."""
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (12500000000,)}\n"
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("rows.npy", bytes(2 * 10**7))
    expected = {}

    def add(name, line, start=None, size=0):
        path = tmp_path / name
        if start is not None:
            with open(path, "wb") as file:
                file.write(start)
                # Holes, which take no room on the disk.
                file.truncate(max(size, len(start)))
        expected[str(path)] = line

    promise = (
        "cannot be read as numbers: its header promises 100 000 000 000 bytes of numbers, but 8 follow; save it again"
    )
    add("claims.npy", promise, headed(header, bytes(8)))
    add("holds.npy", "has 95 367 MiB: at most 512 are read; keep one row in 187", headed(header), 100 * 10**9)
    many = headed(header.replace("12500000000,", "20000000, 2"))
    add("many.npy", "has 40 000 000 numbers: at most 10 000 000 are read; keep one row in 4", many, 400 * 10**6)
    other = "cannot be read as numbers: it is not what numpy.save writes"
    add("header.npy", other, b"\x93NUMPY\x02\x00\xff\xff\xff\xff", GIB // 2)
    add("bomb.npy", other, bomb.getvalue())
    add("bomb.npz", "is neither .npy nor .csv: choose one of the two", bomb.getvalue())
    add("huge.csv", "has 10 240 MiB: at most 512 are read; keep one row in 20", b"1.0\n" * 100, 10 * GIB)
    long = "has more than 4096 letters; a row is 1 or 2 numbers on its line"
    add("line.csv", f"line 1 {long}", b"", GIB // 2)
    add("late.csv", f"line 101 {long}", b"1.0\n" * 100, GIB // 2)
    add("wide.csv", "has shape 30×2000: it needs rows of 1 or 2 columns", (b"1," * 1999 + b"1\n") * 30)
    add("good.csv", "(30, 2)", b"1.5,2\n" * 30)
    (tmp_path / "folder.npy").mkdir()
    add("folder.npy", "is not a file but a folder: name a .npy or .csv file in it")
    device = "is not a file but a pipe or a device: write its rows to a .npy or .csv file"
    os.mkfifo(tmp_path / "pipe.csv")
    add("pipe.csv", device)
    (tmp_path / "endless.csv").symlink_to("/dev/zero")
    add("endless.csv", device)
    (tmp_path / "dangling.npy").symlink_to("nowhere")
    (tmp_path / "circle.npy").symlink_to("circle.npy")
    for name in ("dangling.npy", "circle.npy"):
        add(name, "is not a file but a link that leads nowhere: name the file itself")

    command = [sys.executable, "-c", CHILD, *expected]
    place = places.ROOT
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=100)
    assert done.stderr == ""
    assert dict(zip(expected, done.stdout.splitlines(), strict=True)) == expected


def test_a_pipe_that_comes_between_two_looks_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.npy")
    monkeypatch.setattr(os.path, "isfile", lambda path: True)
    assert said(tables.read_rows, str(tmp_path / "pipe.npy"), "X")[1].endswith("it is not a regular file")


@pytest.mark.parametrize("columns", [1, 2])
def test_at_most_so_many_numbers_are_read(tmp_path, columns, monkeypatch):
    monkeypatch.setattr(file_limits, "MAX_NUMBERS", 60)
    rows = np.arange(60.0).reshape(-1, columns)
    more = np.r_[rows, rows[:1]]
    for name, has in (("rows.npy", f"{more.size} numbers"), ("rows.csv", "too many numbers")):
        keep = "one row in 2" if name == "rows.npy" else "fewer rows"
        for each, expected in ((rows, None), (more, f" has {has}: at most 60 are read; keep {keep}")):
            (tmp_path / name).write_bytes(npy(each) if name == "rows.npy" else as_csv(each).encode())
            read, line = said(tables.read_rows, str(tmp_path / name), "X")
            if expected is None:
                np.testing.assert_array_equal(read, rows)
            else:
                assert line.endswith(expected)


def test_a_line_may_be_as_long_as_it_must(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["1".ljust(csv_tables.MAX_LINE - 1)] * 20))
    assert tables.read_rows(str(path), "X").shape == (20, 1)
    path.write_text("\n".join(["1".ljust(csv_tables.MAX_LINE + 1)] * 20))
    assert "line 1 has more than 4096 letters" in said(tables.read_rows, str(path), "X")[1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", ["here", "link", "whole path"])
def test_any_name_of_a_file_will_do(here, name, how):
    rows = np.arange(40.0).reshape(20, 2)
    (here / "elsewhere").mkdir()
    for ending in (".npy", ".csv"):
        # A ~ at the beginning is the shell's.
        path = f"./{name}{ending}" if how == "here" and name == "~" else f"{name}{ending}"
        path = path if how == "here" else str(here / path)
        if how == "link":
            os.symlink(here / "elsewhere" / f"rows{ending}", path)
        Path(path).write_bytes(npy(rows) if ending == ".npy" else as_csv(rows).encode())
        np.testing.assert_array_equal(tables.read_rows(path, "CUSTOM_FILE"), rows)


@pytest.mark.parametrize("name", UNSEEN)
def test_any_name_of_no_file_is_refused_in_one_line(refusal, name):
    line = refusal("--num-bins", "0", "--target-type", "CUSTOM", "--custom-file", f"{name}.npy")
    assert line == f"CUSTOM_FILE {f'{name}.npy'!r} is not a file"
    line = refusal("--models", "--external-samples", "E", f"{name}.csv", "3")
    assert line == f"EXTERNAL_SAMPLES['E'] {f'{name}.csv'!r} is not a file"


def test_what_lies_beside_a_missing_file_is_named_in_the_same_line(here):
    (here / "mea\nsured\x1b[31m.npy").touch()
    _, line = said(tables.read_rows, "measured.npy", "X")
    assert line.endswith(r"'measured.npy' is not a file; did you mean mea\nsured\x1b[31m.npy?")


def test_a_path_of_the_shell_is_named_as_it_would_be(refusal, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    written = "begins with ~, which only a shell replaces: write '/home/me/a.npy', or './~/a.npy' for that very name"
    assert refusal("--target-type", "CUSTOM", "--custom-file", "~/a.npy") == f"CUSTOM_FILE = '~/a.npy' {written}"
    assert refusal("--external-samples", "E", "~/a.npy", "3") == f"external 'E': file = '~/a.npy' {written}"
    assert refusal("--out-dir", "~/a.npy") == f"OUT_DIR = '~/a.npy' {written}"
    assert refusal("--out-dir", "~/a.npy", "--sweep", "SEED=1,2") == f"OUT_DIR = '~/a.npy' {written}"
    assert refusal("--out-dir", "~no body").endswith("write './~no body' for that very name")


def test_a_long_path_is_named_as_it_is(refusal):
    """Not as a box of the command line's help breaks it."""
    path = f"~/{'x' * 150}  {'y ' * 50}.npy"
    assert f"external 'E': file = {path!r} begins with ~" in refusal("--external-samples", "E", path, "3")


@pytest.mark.parametrize("letter", ["\0", "\ud800"])
@pytest.mark.parametrize("constant", ["OUT_DIR", "CUSTOM_FILE", "EXTERNAL_SAMPLES"])
def test_what_no_path_can_hold_is_refused(constant, letter):
    value = f"a{letter}/b.npy"
    given = {"E": (value, 1)} if constant == "EXTERNAL_SAMPLES" else value
    with pytest.raises(UserError, match="has a letter that no path can have: name another"):
        from_constants(CONSTANTS | {"MODELS": ("RBM",), constant: given})
    with pytest.raises(UserError, match="has a letter that no path can have"):
        tables.read_rows(value, "CUSTOM_FILE")

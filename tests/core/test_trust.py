"""What is measured before it is loaded: archives, headers, and files that are none."""

import contextlib
import io
import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from conftest import drawn
from hypothesis import given
from hypothesis import strategies as st

from core import trust

ARRAYS = {"about": np.array('{"a": 1}'), "GAN/state/0": np.arange(24.0).reshape(2, 3, 4), "none": np.empty((0, 3)),
          "one": np.float32(3), "words": np.array(["a", "bc"]), "mask": np.array([True, False])}  # fmt: skip


def archive(save=np.savez, **arrays):
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


def packed(*members, **more):
    """An archive of members given as (name, content)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **more) as file:
        for name, content in members:
            file.writestr(name, content)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def claiming(shape, descr="<f8"):
    """The header of an array that is not there."""
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.fixture
def check(tmp_path):
    def check(content):
        path = tmp_path / "a.npz"
        path.write_bytes(content)
        trust.check_archive(path)

    return check


def test_what_numpy_stores_can_be_loaded(check):
    check(archive(**ARRAYS))
    check(archive())
    check(archive(fortran=np.asfortranarray(np.ones((3, 4)))))
    check(archive(**{str(i): np.zeros(1) for i in range(2000)}))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (archive(np.savez_compressed, bomb=np.zeros(10**6)), "'bomb.npy' is compressed"),
        (packed(("a.npy", claiming((10**10,)))), "claims more numbers than it holds"),
        (packed(("a.npy", claiming((10**18, 10**18)))), "claims more numbers than it holds"),
        # Entries without a size.
        (packed(("a.npy", claiming((10**12,), "|V0"))), "claims more numbers than it holds"),
        (packed(("a.npy", claiming((10**12,), "<U0"))), "claims more numbers than it holds"),
        (packed(("a.npy", claiming((-1,)))), "not what numpy.save writes"),
        (packed(("a.npy", npy(np.array([{}, None], object)))), "holds pickled objects"),
        (packed(("a.npy", b"text")), "not what numpy.save writes"),
        (packed(("a.npy", b"\x93NUMPY\x02\x00" + b"\xff" * 4)), "not what numpy.save writes"),
        (packed(("a.npy", b"\x93NUMPY\x03\x00" + b"\xff" * 4)), "not what numpy.save writes"),
        (archive(**ARRAYS)[:-30], "not a whole archive"),
        (archive(**ARRAYS)[:50], "not a whole archive"),
        (b"", "not a whole archive"),
        (b"PK\x03\x04" + bytes(1000), "not a whole archive"),
        (npy(np.zeros(3)), "not a whole archive"),
    ],
    ids=range(15),
)
def test_what_would_take_more_than_its_file_is_refused(check, content, why):
    with pytest.raises(ValueError, match=why):
        check(content)


def test_members_that_share_their_bytes_are_refused(check):
    """Thousands of members that are all the same megabyte: each fits the file, and all together do not."""
    whole = archive(a=np.zeros(1000))
    start = whole.index(b"PK\x01\x02")
    end = whole.index(b"PK\x05\x06")
    entry = whole[start:end]
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 50, 50, 50 * len(entry), start, 0)
    with pytest.raises(ValueError, match="its members are larger than the file"):
        check(whole[:start] + 50 * entry + tail)


def test_a_table_of_contents_is_not_read_whatever_its_size(tmp_path):
    path = tmp_path / "a.npz"
    size = 3 * 10**9
    with open(path, "wb") as file:
        file.truncate(size)
        file.seek(0, 2)
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, size, 0, 0))
    tracemalloc.start()
    with pytest.raises(ValueError, match="table of contents is too long"):
        trust.check_archive(path)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


@drawn(60)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=6), st.floats(0, 1) | st.just(1))
def test_what_passes_is_loaded_in_as_much_memory_as_it_takes(tmp_path_factory, changes, kept):
    content = bytearray(archive(**ARRAYS))
    for place, change in changes:
        content[min(int(place * len(content)), len(content) - 1)] ^= change
    path = tmp_path_factory.getbasetemp() / "changed.npz"
    path.write_bytes(content[: int(kept * len(content))])
    tracemalloc.start()
    try:
        with contextlib.suppress(ValueError, zipfile.BadZipFile):
            trust.check_archive(path)
            with np.load(path) as file:
                dict(file)
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()


def test_what_one_would_wait_for_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(ValueError, match="not a regular file"):
        trust.check_archive(tmp_path / "pipe.npz")
    with pytest.raises(ValueError, match="not a regular file"), trust.opened("/dev/zero"):
        raise AssertionError("opened")
    with pytest.raises(OSError), trust.opened(tmp_path):
        raise AssertionError("opened")


@pytest.mark.parametrize(
    "text",
    [
        "{[]: 1}",
        "(" * 5000,
        "[" * 9000,
        "1if 2else 3",
        "9" * 5000,
        "'\ud800'",
        "\x00",
        "__import__('os').getpid()",
        "{'descr': 'O'*3}",
        "{'descr': '\\d', 'shape': (), 'fortran_order': 0}",
        "{'descr': 3, 'shape': (1,), 'fortran_order': False}",
        "{'descr': [('a',)], 'shape': (), 'fortran_order': False}",
        "{'descr': ('<f8', (9,)*40), 'shape': (1,), 'fortran_order': False}",
    ],
    ids=range(13),
)
def test_a_header_that_is_no_header_is_refused_in_one_way(text, recwarn):
    encoded = text.encode("utf-8", "surrogatepass")
    content = b"\x93NUMPY\x02\x00" + struct.pack("<L", len(encoded)) + encoded
    with pytest.raises(ValueError, match=r"^it is not what numpy\.save writes"):
        trust.read_header(io.BytesIO(content))
    assert not recwarn.list

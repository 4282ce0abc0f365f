"""Targets over images and the files that they are made of: what is read, what is split, every refusal in one line."""

import functools
import gzip
import hashlib
import http.server
import threading

import jax
import numpy as np
import pytest
from conftest import small_config
from PIL import Image

from benchmark.asked import inputs
from core.errors import UserError
from kinds.images import fetching, idx, reading
from kinds.images.settings import Config
from targets import make_target

RNG = np.random.default_rng(0)


def config_of(name="IMAGE_DIGITS", **settings):
    return small_config(target_type=name, num_bins=0, images=Config(**settings))


def make(name="IMAGE_DIGITS", **settings):
    return make_target(config_of(name, **settings))


def write_idx(path, array, code=8):
    head = bytes((0, 0, code, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    content = head + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_data_set(folder, n=40, ending=".gz", dotted=False, **replaced):
    """The four files of MNIST, small."""
    arrays = {}
    for i, part in enumerate(("train", "t10k")):
        arrays[f"{part}-images-idx3-ubyte"] = np.random.default_rng(i).integers(0, 256, (n, 28, 28))
        arrays[f"{part}-labels-idx1-ubyte"] = np.arange(n) % 10
    for name, array in (arrays | replaced).items():
        write_idx(folder / f"{name.replace('-idx', '.idx') if dotted else name}{ending}", array)
    return arrays


def test_digits_are_split_as_a_table_is():
    target = make()
    assert target.event.shape == (8, 8, 1)
    assert target.event.law.name == "pixels"
    assert (len(target.train_rows), len(target.held_out_rows)) == (1258, 539)
    assert target.empirical
    assert target.entropy is target.log_prob is None
    levels = np.unique(target.train_rows * 16)
    np.testing.assert_array_equal(levels, np.arange(17))
    assert target.train_rows.dtype == np.float32
    truth = target.truth
    assert len(truth.train_labels) == 1258
    assert truth.names == tuple("0123456789")
    rows = np.asarray(target.sample(jax.random.key(0), 50))
    known = {row.tobytes() for row in target.train_rows}
    assert {row.tobytes() for row in rows} <= known


def test_labels_stay_with_their_images():
    from sklearn.datasets import load_digits

    found = load_digits()
    label_of = {
        (image / 16).astype(np.float32).tobytes(): label for image, label in zip(found.data, found.target, strict=True)
    }
    target = make()
    for rows, labels in (
        (target.train_rows, target.truth.train_labels),
        (target.held_out_rows, target.truth.held_out_labels),
    ):
        assert [label_of[row.tobytes()] for row in rows] == labels.tolist()


def test_labels_keep_classes_and_anomalies_are_kept_apart():
    whole, target = make(), make(labels=(7, 1), anomaly_labels=(4,))
    assert target.truth.names == ("1", "7")
    assert set(target.truth.train_labels) == {0, 1}
    assert target.truth.anomaly_names == ("4",)
    n_fours = (whole.truth.train_labels == 4).sum() + (whole.truth.held_out_labels == 4).sum()
    assert len(target.truth.anomalies) == n_fours
    learnt = {row.tobytes() for row in np.concatenate([target.train_rows, target.held_out_rows])}
    assert not learnt & {row.tobytes() for row in target.truth.anomalies}
    # Without `labels` all others are learnt.
    rest = make(anomaly_labels=(0, 9))
    assert rest.truth.names == tuple("12345678")
    assert rest.truth.words == "without 0, 9"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (dict(labels=(0, 10)), r"IMAGES.labels = \(0, 10\): IMAGE_DIGITS has no label 10; its labels are 0 to 9"),
        (dict(anomaly_labels=(12,)), r"IMAGES.anomaly_labels = \(12,\): IMAGE_DIGITS has no label 12"),
        (dict(labels=(1, 2), anomaly_labels=(2,)), r"label 2 stands in IMAGES.labels = .* leave it out of one"),
        (dict(labels=(1, 1)), r"IMAGES.labels = \(1, 1\) names a label twice: choose \(1,\)"),
        (dict(labels=(-1,)), r"IMAGES.labels = \(-1,\): -1 must be a whole number of at least 0"),
        (dict(labels=("a",)), r"IMAGES.labels = \('a',\): 'a' must be a whole number"),
        (dict(labels=3), r"IMAGES.labels = 3 must be a tuple of labels, such as \(0, 1\)"),
        (dict(anomaly_labels=tuple(range(10))), r"IMAGES.anomaly_labels = .* leave no class to learn; leave one out"),
    ],
)
def test_wrong_labels_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        make(**settings)


def test_a_training_set_of_another_size_is_refused():
    with pytest.raises(UserError, match=r"^N_SAMPLES_TRAIN = 100 has no meaning with IMAGE_DIGITS, 70 % of whose"):
        make_target(small_config(target_type="IMAGE_DIGITS", num_bins=0, n_samples_train=100))


def test_bins_are_refused(refusal):
    assert refusal("--target-type", "IMAGE_DIGITS") == "NUM_BINS = 20 has no meaning for IMAGE_DIGITS; set NUM_BINS = 0"


def test_shapes_are_fresh_and_anomalies_are_of_other_shapes():
    target = make("IMAGE_SHAPES_RGBD", anomaly_labels=(2,))
    assert target.event.shape == (32, 32, 4)
    assert target.train_rows is None
    assert target.truth.names == ("box", "cylinder")
    assert target.truth.anomaly_names == ("sphere",)
    first, second = (np.asarray(target.sample(jax.random.key(i), 30)) for i in range(2))
    assert not {row.tobytes() for row in first} & {row.tobytes() for row in second}
    rows, which = target.truth.draw(jax.random.key(0), 30)
    np.testing.assert_array_equal(rows, first)
    assert set(np.asarray(which)) == {0, 1}
    assert len(target.truth.anomalies) == 1_000
    with pytest.raises(UserError, match="IMAGE_SHAPES_RGBD has no label 3; its labels are 0 to 2"):
        make("IMAGE_SHAPES_RGBD", labels=(3,))


def test_shapes_may_have_a_fixed_training_set():
    config = small_config(target_type="IMAGE_SHAPES_RGBD", num_bins=0, n_samples_train=30)
    target = make_target(config)
    assert target.train_rows.shape == target.held_out_rows.shape == (30, 4096)
    assert not target.empirical


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("name", ["IMAGE_MNIST", "IMAGE_FASHION_MNIST"])
def test_data_sets_are_read_from_idx_files(tmp_path, ending, dotted, name):
    arrays = write_data_set(tmp_path, ending=ending, dotted=dotted)
    target = make(name, folder=str(tmp_path))
    assert target.event.shape == (28, 28, 1)
    images = np.concatenate([arrays["train-images-idx3-ubyte"], arrays["t10k-images-idx3-ubyte"]]).reshape(80, -1)
    expected = {(image.astype(np.float32) / np.float32(255)).tobytes() for image in images}
    assert {row.tobytes() for row in np.concatenate([target.train_rows, target.held_out_rows])} == expected
    assert len(target.train_rows) == 56
    named = inputs.named_in(config_of(name, folder=str(tmp_path)))
    assert len(inputs.fingerprints(config_of(name, folder=str(tmp_path)))) == len(named) == 4


IMAGES = np.arange(3 * 4 * 4).reshape(3, 4, 4) % 256


def damaged(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def cut(path, n):
    path.write_bytes(path.read_bytes()[:n])


IDX = {
    "empty": (lambda path: path.write_bytes(b""), "begins with the bytes (none): an IDX file of images begins with"),
    "of another kind": (lambda path: path.write_bytes(b"\x89PNG" + b"0" * 50), "begins with the bytes 89 50 4e 47"),
    "of labels": (lambda path: write_idx(path, np.arange(5)), "begins with the bytes 00 00 08 01"),
    "of floats": (lambda path: write_idx(path, IMAGES, code=13), "begins with the bytes 00 00 0d 03"),
    "cut in its head": (lambda path: cut(write_idx(path, IMAGES), 9), "is cut: it ends within its head"),
    "cut": (lambda path: cut(write_idx(path, IMAGES), 40), "its head promises 48 numbers, and 24 follow; get it again"),
    "too long": (
        lambda path: path.write_bytes(write_idx(path, IMAGES).read_bytes() + b"0"),
        "has more than the 48 numbers that its head promises",
    ),
    "of nothing": (lambda path: write_idx(path, np.zeros((0, 4, 4))), "says that it has the shape 0 × 4 × 4"),
    "of a huge shape": (
        lambda path: path.write_bytes(bytes((0, 0, 8, 3)) + b"\xff" * 12),
        "numbers: at most 250 000 000 are read",
    ),
}


@pytest.mark.parametrize(("write", "words"), IDX.values(), ids=IDX)
def test_wrong_idx_files_are_refused(tmp_path, write, words):
    path = tmp_path / "images"
    write(path)
    with pytest.raises(UserError) as refused:
        idx.read(path, "IMAGES.folder:", 3)
    assert words in str(refused.value)
    assert str(refused.value).startswith(f"IMAGES.folder: {str(path)!r} ")


@pytest.mark.parametrize("spoil", [damaged, lambda path: cut(path, 60)], ids=["damaged", "cut"])
def test_damaged_compressed_files_are_refused(tmp_path, spoil):
    path = write_idx(tmp_path / "images.gz", np.random.default_rng(0).integers(0, 256, (3, 20, 20)))
    spoil(path)
    with pytest.raises(UserError, match=r"(is damaged \(|is cut: its compressed content ends too soon).*get it again$"):
        idx.read(path, "IMAGES.folder:", 3)


def test_a_compressed_file_is_unpacked_no_further_than_its_head_says(tmp_path):
    path = tmp_path / "bomb.gz"
    head = bytes((0, 0, 8, 3)) + np.array((1, 2, 2), ">u4").tobytes()
    path.write_bytes(gzip.compress(head + bytes(10**8)))
    with pytest.raises(UserError, match="has more than the 4 numbers"):
        idx.read(path, "IMAGES.folder:", 3)


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        (
            "train-labels-idx1-ubyte",
            np.arange(39) % 10,
            "has 40 images, but .* has 39 labels: both need the same number",
        ),
        ("train-labels-idx1-ubyte", np.arange(40) % 11, "has the label 10: labels are 0 to 9"),
        ("t10k-images-idx3-ubyte", np.zeros((40, 27, 28)), "has images of 27 × 28: those of IMAGE_MNIST have 28 × 28"),
    ],
)
def test_files_that_do_not_fit_each_other_are_refused(tmp_path, name, array, words):
    write_data_set(tmp_path, **{name: array})
    with pytest.raises(UserError, match=words):
        make("IMAGE_MNIST", folder=str(tmp_path))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A small MNIST that a server on this machine has."""
    there = tmp_path / "there"
    there.mkdir()
    write_data_set(there)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(there)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    source = fetching.SOURCES["IMAGE_MNIST"]
    hashes = {name: hashlib.sha256((there / name).read_bytes()).hexdigest() for name in source.hashes}
    address = f"http://127.0.0.1:{server.server_address[1]}/"
    monkeypatch.setitem(fetching.SOURCES, "IMAGE_MNIST", source._replace(address=address, hashes=hashes))
    yield there
    server.shutdown()
    server.server_close()


def test_missing_files_are_fetched_once(served, tmp_path):
    target = make("IMAGE_MNIST", folder=str(tmp_path / "here"))
    assert "fetched train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz" in target.notes[-1]
    (served / "train-images-idx3-ubyte.gz").unlink()
    assert len(make("IMAGE_MNIST", folder=str(tmp_path / "here")).notes) == 1


def test_what_has_another_content_is_not_kept(served, tmp_path):
    write_data_set(served, n=30)
    with pytest.raises(UserError, match="IMAGE_MNIST: what comes from there has another content; put train-images"):
        make("IMAGE_MNIST", folder=str(tmp_path / "here"))
    assert not (tmp_path / "here").exists()


def test_without_a_network_one_line_says_what_to_put_where(tmp_path, monkeypatch):
    nowhere = fetching.SOURCES["IMAGE_MNIST"]._replace(address="http://127.0.0.1:9/")
    monkeypatch.setitem(fetching.SOURCES, "IMAGE_MNIST", nowhere)
    with pytest.raises(UserError) as refused:
        make("IMAGE_MNIST", folder=str(tmp_path / "here"))
    names = ", ".join(nowhere.hashes)
    assert str(refused.value) == (
        f"IMAGE_MNIST: they cannot be fetched; put {names} from http://127.0.0.1:9/ into {str(tmp_path / 'here')!r}, "
        "or set IMAGES.folder to the folder that has them"
    )
    assert not (tmp_path / "here").exists()


def custom(path):
    return make("IMAGE_CUSTOM", file=str(path))


def test_arrays_of_bytes_and_of_numbers_are_the_same(tmp_path):
    images = RNG.integers(0, 256, (30, 9, 12), dtype=np.uint8)
    np.save(tmp_path / "bytes.npy", images)
    np.save(tmp_path / "numbers.npy", images.astype(np.float64) / 255)
    first, second = (custom(tmp_path / name) for name in ("bytes.npy", "numbers.npy"))
    assert first.event.shape == (9, 12, 1)
    np.testing.assert_allclose(first.train_rows, second.train_rows, rtol=1e-6)
    assert first.truth.train_labels is None


def test_archives_have_labels(tmp_path):
    images, labels = RNG.random((40, 8, 8, 3)), np.arange(40) % 3
    np.savez(tmp_path / "own.npz", images=images, labels=labels)
    target = custom(tmp_path / "own.npz")
    assert target.event.shape == (8, 8, 3)
    assert target.truth.names == ("0", "1", "2")
    assert inputs.fingerprints(config_of("IMAGE_CUSTOM", file=str(tmp_path / "own.npz")))


@pytest.mark.parametrize(("mode", "channels", "ending"), [("L", 1, "png"), ("RGB", 3, "png"), ("RGB", 3, "jpg")])
def test_folders_of_pictures(tmp_path, mode, channels, ending):
    shape = (10, 8) if channels == 1 else (10, 8, 3)
    arrays = RNG.integers(0, 256, (24, *shape), dtype=np.uint8)
    for i, array in enumerate(arrays):
        folder = tmp_path / f"class {i % 2}"
        folder.mkdir(exist_ok=True)
        Image.fromarray(array, mode).save(folder / f"{i:02d}.{ending}")
    target = custom(tmp_path)
    assert target.event.shape == (10, 8, channels)
    assert target.truth.names == ("class 0", "class 1")
    if ending == "png":
        rows = {row.tobytes() for row in np.concatenate([target.train_rows, target.held_out_rows])}
        assert rows == {(array.reshape(-1) / np.float32(255)).astype(np.float32).tobytes() for array in arrays}
    assert len(inputs.fingerprints(config_of("IMAGE_CUSTOM", file=str(tmp_path)))) == 24


def of_array(array):
    return lambda path: np.save(path / "own.npy", array)


def of_archive(**arrays):
    return lambda path: np.savez(path / "own.npz", **arrays)


def of_pictures(*sizes, extra=None):
    def write(path):
        for i, size in enumerate(sizes):
            Image.new("L", size).save(path / f"{i}.png")
        if extra:
            extra(path)

    return write


GOOD = np.zeros((30, 8, 8))
CUSTOM = {
    "a table": (of_array(np.zeros((30, 64))), "has the shape 30 × 64: it needs images [n, H, W] or [n, H, W, C]"),
    "a line": (of_array(np.zeros(30)), "has the shape 30: it needs images"),
    "small": (
        of_array(np.zeros((30, 4, 8))),
        "has images of 4 × 8 pixels: a side has 8 to 64; resize them, such as to 8 × 8",
    ),
    "large": (of_array(np.zeros((2, 65, 64), np.uint8)), "such as to 64 × 64"),
    "of many channels": (
        of_array(np.zeros((2, 8, 8, 5))),
        "has images of 5 channels: they have 1 to 4, along the last",
    ),
    "above 1": (of_array(GOOD + 2), "image 1 holds 2: numbers are from 0 to 1, or bytes (uint8) from 0 to 255"),
    "not finite": (of_array(np.where(np.arange(30)[:, None, None] == 4, np.nan, GOOD)), "image 5 holds a number that"),
    "few": (of_array(GOOD[:10]), "IMAGE_CUSTOM has 10 images to learn: at least 20 are needed"),
    "objects": (of_array(np.array([None] * 30)), "it holds pickled objects, which are never loaded"),
    "complex": (of_array(GOOD + 1j), "holds complex128 entries: it needs real numbers"),
    "text": (lambda path: (path / "own.npy").write_text("no array"), "it is not what numpy.save writes"),
    "empty": (lambda path: (path / "own.npy").write_bytes(b""), "is empty: it needs images"),
    "two arrays": (of_archive(a=GOOD, b=GOOD), "holds a, b: it needs an array `images`, and may have one `labels`"),
    "few labels": (of_archive(images=GOOD, labels=np.arange(29)), "has labels of the shape 29 for 30 images"),
    "labels below 0": (of_archive(images=GOOD, labels=np.arange(30) - 1), "has the label -1: labels are whole numbers"),
    "labels of text": (
        of_archive(images=GOOD, labels=np.array(["a"] * 30)),
        "has the label a: labels are whole numbers",
    ),
    "compressed": (
        lambda path: np.savez_compressed(path / "own.npz", images=GOOD),
        "save it with numpy.savez, not numpy.savez_compressed",
    ),
    "cut archive": (
        lambda path: (np.savez(path / "own.npz", images=GOOD), cut(path / "own.npz", 900)),
        "cannot be read: it is not a whole archive",
    ),
}
PICTURES = {
    "no pictures": (lambda path: None, "has no pictures: it needs files that end in .png, .jpg, .jpeg"),
    "of two sizes": (
        of_pictures((8, 8), (9, 8)),
        "'1.png' has 8 × 9 pixels, and '0.png' has 8 × 8; all need the same size",
    ),
    "large": (of_pictures((100, 100)), "has images of 100 × 100 pixels: a side has 8 to 64"),
    "broken": (lambda path: (path / "a.png").write_bytes(b"no picture"), "'a.png' is neither a PNG nor a JPEG"),
    "cut": (
        of_pictures((60, 60), extra=lambda path: cut(path / "0.png", 60)),
        "'0.png' cannot be read:",
    ),
    "mixed": (
        of_pictures(
            (8, 8), extra=lambda path: ((path / "in").mkdir(), Image.new("L", (8, 8)).save(path / "in" / "a.png"))
        ),
        "has pictures beside folders of pictures, such as '0.png' beside 'in'",
    ),
}


@pytest.mark.parametrize(("write", "words"), CUSTOM.values(), ids=CUSTOM)
def test_wrong_arrays_are_refused(tmp_path, write, words):
    write(tmp_path)
    (path,) = tmp_path.iterdir()
    with pytest.raises(UserError) as refused:
        custom(path)
    assert words in str(refused.value)


@pytest.mark.parametrize(("write", "words"), PICTURES.values(), ids=PICTURES)
def test_wrong_folders_are_refused(tmp_path, write, words):
    write(tmp_path)
    with pytest.raises(UserError) as refused:
        custom(tmp_path)
    assert words in str(refused.value)


def test_a_missing_file_is_named(tmp_path):
    (tmp_path / "images.npz").write_bytes(b"")
    with pytest.raises(UserError, match=r"is not a file; did you mean images.npz\?$"):
        custom(tmp_path / "image.npz")
    with pytest.raises(UserError, match=r"TARGET_TYPE = IMAGE_CUSTOM needs a file or a folder: set IMAGES.file"):
        make("IMAGE_CUSTOM")


def test_labels_that_a_file_has_not_are_refused(tmp_path):
    np.save(tmp_path / "own.npy", GOOD)
    with pytest.raises(UserError, match=r"^IMAGES.labels = \(1,\) needs labels, and IMAGE_CUSTOM has none here; set"):
        make("IMAGE_CUSTOM", file=str(tmp_path / "own.npy"), labels=(1,))


@pytest.mark.parametrize("shape", [(25, 64), (25, 8, 8), (25, 8, 8, 1)])
def test_samples_from_elsewhere(tmp_path, shape):
    rows = RNG.random(shape)
    np.save(tmp_path / "samples.npy", rows)
    target = make()
    read = reading.read_samples(str(tmp_path / "samples.npy"), "EXTERNAL_SAMPLES['A']", target, config_of())
    np.testing.assert_allclose(read.rows, rows.reshape(25, 64), rtol=1e-6)
    np.save(tmp_path / "other.npy", RNG.random((25, 9, 8)))
    with pytest.raises(UserError, match="has images of 9 × 8 numbers, but those of IMAGE_DIGITS have 8 × 8 × 1"):
        reading.read_samples(str(tmp_path / "other.npy"), "EXTERNAL_SAMPLES['A']", target, config_of())

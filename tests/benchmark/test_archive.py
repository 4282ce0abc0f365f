"""Training written to a file is read back as it was, and no byte of the file can change unnoticed."""

import hashlib
import os
import zipfile
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmark.engine.records import Cost, Evaluation, Feed, Run
from benchmark.files import archive
from models.base import Model

COST = Cost(12.5, 16, None)


class State(NamedTuple):
    params: dict
    key: jax.Array  # a typed one, as a family may carry
    count: np.ndarray


def init(key, data):
    return State({"w": jnp.zeros((2, 3)), "b": jnp.zeros(())}, key, jnp.zeros((), jnp.int32))


MODEL = Model("TOY", 7, 1, init, None, None, None, None)
FEED = Feed(lambda key, n: jnp.zeros((n, 1)), None, 4)


def state(seed):
    generator = np.random.default_rng(seed)
    weights = {"w": generator.normal(size=(2, 3)).astype(np.float32), "b": np.float32(seed)}
    return State(weights, jax.random.key(seed), np.int32(seed))


@pytest.fixture
def run():
    values = {"kld": np.array([0.1, np.nan])}
    evaluations = [
        Evaluation(0, values, None, None),
        Evaluation(
            4,
            values,
            {"loss": np.array([1.5, np.inf], np.float32)},
            np.array([[0.2, 0.8], [np.nan, np.nan]]),
            np.ones((2, 5, 1), np.float32),
        ),
    ]
    return Run(MODEL, [state(1), state(2)], evaluations, [None, 3], 1.5, 2.5, 0.25)


@pytest.fixture
def path(run, tmp_path):
    path = tmp_path / "TOY.npz"
    archive.write(path, {"schema": 1, "name": "ü$"}, [archive.entry_of(run, COST)])
    return path


def test_what_is_read_is_what_was_written(path, run):
    found = archive.read(path)
    assert (found.about["schema"], found.about["name"]) == (1, "ü$")
    assert (found.families(), found.last_step("TOY")) == (["TOY"], 4)
    about = found.about["families"]["TOY"]
    assert Cost(**about["cost"]) == COST
    again = archive.run_of(MODEL, FEED, about, found.arrays("TOY"))
    assert again._replace(states=None, evaluations=None) == run._replace(states=None, evaluations=None)
    for one, other in zip(again.states, run.states, strict=True):
        np.testing.assert_array_equal(one.params["w"], other.params["w"])
        assert one.params["b"] == other.params["b"]
        assert one.count == other.count
        # As a key it draws what it would have drawn.
        assert jax.random.uniform(one.key) == jax.random.uniform(other.key)
    for one, other in zip(again.evaluations, run.evaluations, strict=True):
        assert one.step == other.step
        np.testing.assert_equal(one.metrics, other.metrics)
        np.testing.assert_equal(one.info, other.info)
        np.testing.assert_equal(one.kept, other.kept)
        np.testing.assert_equal(one.samples, other.samples)
    # Whoever wants to look inside needs no program of ours.
    with np.load(path) as file:
        assert {"TOY/kept/4", "TOY/samples/4"} <= set(file.files)


def test_no_flipped_byte_goes_unnoticed(path):
    content = path.read_bytes()
    positions = np.random.default_rng(0).choice(len(content), 200, replace=False)
    for i in [0, len(content) - 1, *positions]:
        for mask in (1, 255):
            changed = bytearray(content)
            changed[i] ^= mask
            path.write_bytes(changed)
            with pytest.raises(archive.Broken):
                archive.read(path)


@pytest.mark.parametrize("length", [0, 1, 71, 72, 200, -1, -72])
def test_what_is_cut_off_is_noticed(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(archive.Broken):
        archive.read(path)


def test_a_packed_archive_is_refused_before_it_is_unpacked(tmp_path):
    """Whoever makes a checksum for it as well."""
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("about.npy", bytes(10**7))
    seal(path)
    with pytest.raises(archive.Broken, match="compressed"):
        archive.read(path)


def test_arrays_of_another_model_are_refused(path):
    found = archive.read(path)
    other = MODEL._replace(init=lambda key, data: init(key, data)._replace(count=jnp.zeros((2,), jnp.int32)))
    with pytest.raises(archive.Broken, match="state"):
        archive.run_of(other, FEED, found.about["families"]["TOY"], found.arrays("TOY"))
    with pytest.raises(archive.Broken, match="missing"):
        archive.state_leaves([jax.ShapeDtypeStruct((), jnp.float32)], {})


def seal(path):
    content = path.read_bytes()
    path.write_bytes(content + b"sha256 " + hashlib.sha256(content).hexdigest().encode() + b"\n")


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_never_ends_is_not_read(tmp_path, kind):
    path = tmp_path / "TOY.npz"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    with pytest.raises(archive.Broken, match="not a regular file"):
        archive.read(path)

"""What images are compared by: 64 features of a small network of convolutions.

Where there are labels the network is a classifier, trained once a target on the training rows; its features are what
its last hidden layer takes. Otherwise it is one with weights at random, always the same. Either way features are
shifted and scaled together, so that over the training rows their mean is 0 and their mean variance 1.

A convolution is a product with the matrix of all patches, and so is its gradient but for a sum of slices.
"""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from core import storage, trust
from kinds.contract import Target
from kinds.images.truth import Images

N_FEATURES = 64
_CHANNELS = 16, 32
_SMALL = 12  # pixels a side, up to which the first convolution keeps the size
_N_STEPS, _BATCH, _RATE = 800, 128, 2e-3
_N_DRAWN = 6_000  # rows of a target that has as many as one likes
_N_SCALED = 5_000  # rows behind the scale
_N_TESTED = 2_000  # rows behind the accuracy
_AT_ONCE = 1_000
_VERSION = 2  # of what is kept: another network, or another training, has another


class Features(NamedTuple):
    """What a target's images are compared by."""

    of: Callable[[np.ndarray], np.ndarray]  # rows [n, D] -> [n, 64] float32
    trace: Callable[[jax.Array], jax.Array]  # the same of few rows, to differentiate
    classes: Callable[[np.ndarray], np.ndarray] | None  # rows [n, D] -> the class of each [n]; None: no labels
    accuracy: float | None  # of the classifier on held-out rows

    @property
    def words(self) -> str:
        """What it is."""
        if self.accuracy is None:
            return f"{N_FEATURES} features of a network with random weights"
        return f"{N_FEATURES} features of a classifier (accuracy {self.accuracy:.3f} on held-out images)"


def features_of(target: Target, config: Any) -> Features:
    """The features of a target; trained if that has to be, and kept beside compiled programs for the next run.

    Args:
      target: of this kind.
      config: the run's configuration.
    """
    truth: Images = target.truth
    train, labels, held_out, held_out_labels = _rows(target, config)
    digest = hashlib.sha256(repr((_VERSION, jax.__version__, truth.shape, len(truth.names))).encode())
    digest.update(train.tobytes())
    digest.update(b"" if labels is None else labels.tobytes())
    return _made(digest.hexdigest(), truth.shape, len(truth.names), _Data(train, labels, held_out, held_out_labels))


class _Data:
    """Rows and labels, as an argument that a cache does not look at."""

    def __init__(self, *arrays):
        self.train, self.labels, self.held_out, self.held_out_labels = arrays

    def __hash__(self):
        return 0

    def __eq__(self, other):
        return isinstance(other, _Data)


def _rows(target: Target, config: Any) -> tuple[np.ndarray, ...]:
    """Training rows and held-out ones with their classes."""
    truth: Images = target.truth
    if truth.draw is None:
        return target.train_rows, truth.train_labels, target.held_out_rows, truth.held_out_labels
    key = jax.random.fold_in(jax.random.key(config.seed), 2**31 + 6)
    rows, labels = map(np.asarray, jax.jit(truth.draw, static_argnums=1)(key, _N_DRAWN + _N_TESTED))
    return rows[:_N_DRAWN], labels[:_N_DRAWN], rows[_N_DRAWN:], labels[_N_DRAWN:]


@functools.lru_cache(maxsize=4)
def _made(digest: str, shape: tuple[int, int, int], n_classes: int, data: _Data) -> Features:
    path = _kept_at(digest)
    params = _read(path, shape, n_classes)
    if params is None:
        params = init(jax.random.key(0), shape, max(n_classes, 1))
        # Channels that hardly vary, such as a depth, would otherwise be learnt late.
        seen = data.train[:_N_SCALED].reshape(-1, shape[2])
        params |= {"centre": jnp.asarray(seen.mean(0)), "spread": jnp.asarray(seen.std(0) + 1e-3)}
        if data.labels is not None:
            params = fit(params, shape, data.train, data.labels)
        own = _all(jax.jit(lambda x: apply(params, x, shape)[0]), data.train[:_N_SCALED])
        params |= {"mean": own.mean(0), "scale": np.sqrt(own.var(0).mean(), dtype=np.float32)}
        params = {name: np.asarray(value, np.float32) for name, value in params.items()}
        if path is not None:
            with storage.replaced_by(path) as temporary:
                storage.write_npz(temporary, params.items())

    def trace(x):
        return (apply(params, x, shape)[0] - params["mean"][None]) / params["scale"]

    of = functools.partial(_all, jax.jit(trace))
    if data.labels is None:
        return Features(of, trace, None, None)
    logits = jax.jit(lambda x: apply(params, x, shape)[1])

    def classes(rows):
        return _all(logits, rows).argmax(axis=1)

    tested = slice(0, _N_TESTED)
    right = classes(data.held_out[tested]) == data.held_out_labels[tested]
    return Features(of, trace, classes, float(right.mean()))


def init(key: jax.Array, shape: tuple[int, int, int], n_classes: int) -> dict[str, jax.Array]:
    """Weights of the network, normal with variance 2 over the number of inputs (He et al. 2015)."""
    height, width, channels = shape
    sizes = []
    for i, n in enumerate(_CHANNELS):
        stride = _stride(i, shape)
        height, width = -(-height // stride), -(-width // stride)
        sizes.append((9 * channels, n))
        channels = n
    sizes += [(height * width * channels, N_FEATURES), (N_FEATURES, n_classes)]
    params = {"centre": jnp.zeros(shape[2]), "spread": jnp.ones(shape[2])}
    for i, (n_in, n_out) in enumerate(sizes):
        params[f"weights{i}"] = jax.random.normal(jax.random.fold_in(key, i), (n_in, n_out)) * np.sqrt(2 / n_in).astype(
            np.float32
        )
        params[f"bias{i}"] = jnp.zeros(n_out)
    return params


def apply(params: dict[str, Any], x: jax.Array, shape: tuple[int, int, int]) -> tuple[jax.Array, jax.Array]:
    """Features [n, 64], before they are scaled, and logits [n, K] of rows [n, D]."""
    centre, spread = (jax.lax.stop_gradient(params[name]) for name in ("centre", "spread"))
    images = (x.reshape(-1, *shape) - centre[None, None, None]) / spread[None, None, None]
    for i in range(len(_CHANNELS)):
        patches = _patches(images, _stride(i, shape))
        images = jax.nn.relu(patches @ params[f"weights{i}"] + params[f"bias{i}"][None, None, None])
    flat = images.reshape(len(images), -1)
    features = flat @ params["weights2"] + params["bias2"][None]
    return features, jax.nn.relu(features) @ params["weights3"] + params["bias3"][None]


def fit(params: dict[str, Any], shape: tuple[int, int, int], rows: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Trains the classifier by Adam, with a rate that falls to 0 as a cosine."""
    optimiser = optax.adam(optax.cosine_decay_schedule(_RATE, _N_STEPS))

    def loss(params, x, y):
        logits = apply(params, x, shape)[1]
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y))

    @jax.jit
    def train(params, rows, labels):
        def step(carry, key):
            params, opt_state = carry
            chosen = jax.random.randint(key, (_BATCH,), 0, len(rows))
            gradient = jax.grad(loss)(params, rows[chosen], labels[chosen])
            updates, opt_state = optimiser.update(gradient, opt_state)
            return (optax.apply_updates(params, updates), opt_state), None

        keys = jax.random.split(jax.random.key(1), _N_STEPS)
        return jax.lax.scan(step, (params, optimiser.init(params)), keys)[0][0]

    return train(params, jnp.asarray(rows), jnp.asarray(labels, jnp.int32))


def _stride(i: int, shape: tuple[int, int, int]) -> int:
    """The stride of convolution i."""
    return 1 if i == 0 and max(shape[:2]) <= _SMALL else 2


def _patches(images: jax.Array, stride: int) -> jax.Array:
    """All patches of 3 × 3 pixels of images [n, H, W, C], [n, H', W', 9 C], with zeros around."""
    _, height, width, _ = images.shape
    rows, columns = -(-height // stride), -(-width // stride)
    padded = jnp.pad(images, ((0, 0), (1, 1 + height % 2), (1, 1 + width % 2), (0, 0)))
    cut = [
        padded[:, i : i + stride * (rows - 1) + 1 : stride, j : j + stride * (columns - 1) + 1 : stride]
        for i in range(3)
        for j in range(3)
    ]
    return jnp.concatenate(cut, axis=-1)


def _all(function: Callable[[jax.Array], jax.Array], rows: np.ndarray) -> np.ndarray:
    """A compiled function of all rows, in parts of one size: no program a number of rows."""
    rows = np.asarray(rows, np.float32)
    missing = -len(rows) % _AT_ONCE
    padded = np.concatenate([rows, np.zeros((missing, rows.shape[1]), np.float32)])
    parts = [np.asarray(function(part)) for part in np.split(padded, len(padded) // _AT_ONCE)]
    return np.concatenate(parts)[: len(rows)]


def _kept_at(digest: str) -> Path | None:
    """The file of a target's weights, in the folder of compiled programs; None: nothing is kept, or not in private."""
    base = jax.config.jax_compilation_cache_dir
    if not base:
        return None
    folder = Path(base).absolute() / "features"
    try:
        if trust.make_private(folder) is not None or trust.foreign_file(folder) is not None:
            return None
    except OSError:
        return None
    return folder / f"{digest[:32]}.npz"


def _read(path: Path | None, shape: tuple[int, int, int], n_classes: int) -> dict[str, np.ndarray] | None:
    """Weights that are kept; None: there are none, or others than these."""
    if path is None or not path.is_file():
        return None
    try:
        trust.check_archive(path)
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    except (OSError, ValueError):
        return None
    wanted = jax.eval_shape(lambda: init(jax.random.key(0), shape, max(n_classes, 1)))
    shapes = {name: leaf.shape for name, leaf in wanted.items()} | {"mean": (N_FEATURES,), "scale": ()}
    same = {name: value.shape for name, value in found.items()} == shapes
    return found if same and all(np.isfinite(value).all() for value in found.values()) else None

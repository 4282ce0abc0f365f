"""The z whose image is nearest to a given one, by descent from several starts.

Reference: Schlegl et al., Unsupervised Anomaly Detection with Generative Adversarial Networks to Guide Marker
Discovery, 2017 (the score and its λ).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kinds.images.features import Features

LAMBDA = 0.1  # the weight of features in a score
N_STARTS, N_STEPS = 4, 120
_N_CANDIDATES = 256  # draws of z, of which every image's descent starts at the nearest
_RATE = 0.05


def score(x: jax.Array, image: jax.Array, features: Features) -> jax.Array:
    """(1 − λ) ‖x − y‖₁ + λ ‖f(x) − f(y)‖₁ of rows x and y [n, D], [n]."""
    pixels = jnp.sum(jnp.abs(x - image), axis=1)
    return (1 - LAMBDA) * pixels + LAMBDA * jnp.sum(jnp.abs(features.trace(x) - features.trace(image)), axis=1)


def nearest_images(model: Any, state: Any, x: np.ndarray, features: Features) -> tuple[np.ndarray, np.ndarray]:
    """The model's image that is nearest to every row by `score`, as far as a descent finds it.

    Adam descends from the four of 256 draws of z whose images are nearest; the best of the ends is taken.

    Args:
      model: with `decode`.
      state: of it.
      x: [n, D].
      features: f.

    Returns:
      The images [n, D] and their scores [n].
    """

    @jax.jit
    def search(state, x):
        candidates = jax.random.normal(jax.random.key(0), (_N_CANDIDATES, model.latent_dim))
        images = model.decode(state, candidates)
        apart = jnp.sum(jnp.abs(x[:, None] - images[None]), axis=2)
        first = candidates[jax.lax.top_k(-apart, N_STARTS)[1]].reshape(-1, model.latent_dim)
        wanted = jnp.repeat(x, N_STARTS, axis=0)
        optimiser = optax.adam(optax.cosine_decay_schedule(_RATE, N_STEPS))

        def total(z):
            found = score(wanted, model.decode(state, z), features)
            return jnp.sum(found), found

        def step(carry, _):
            z, opt_state = carry
            update, opt_state = optimiser.update(jax.grad(lambda z: total(z)[0])(z), opt_state)
            return (optax.apply_updates(z, update), opt_state), None

        last = jax.lax.scan(step, (first, optimiser.init(first)), None, N_STEPS)[0][0]
        # A descent may end above its start.
        both = jnp.stack([first, last])
        scores = jnp.stack([total(first)[1], total(last)[1]])
        z = jnp.where((scores[0] < scores[1])[:, None], both[0], both[1]).reshape(len(x), N_STARTS, -1)
        scores = jnp.min(scores, axis=0).reshape(len(x), N_STARTS)
        best = jnp.take_along_axis(z, jnp.argmin(scores, axis=1)[:, None, None], axis=1)[:, 0]
        return model.decode(state, best), jnp.min(scores, axis=1)

    parts = [search(state, jnp.asarray(part)) for part in _parts(x)]
    images, scores = (np.concatenate([np.asarray(part) for part in each]) for each in zip(*parts, strict=True))
    return images[: len(x)], scores[: len(x)]


def _parts(x: np.ndarray, size: int = 50) -> list[np.ndarray]:
    """The rows in parts of one size, the last filled up with its last row."""
    missing = -len(x) % size
    padded = np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]).astype(np.float32)
    return np.split(padded, len(padded) // size)


def coded_images(model: Any, state: Any, x: np.ndarray, features: Features) -> tuple[np.ndarray, np.ndarray]:
    """The same of a model that codes images itself: x once through its code, and the scores."""

    @jax.jit
    def through(state, x):
        image = model.reconstruct(state, x)
        return image, score(x, image, features)

    images, scores = through(state, jnp.asarray(x, jnp.float32))
    return np.asarray(images), np.asarray(scores)

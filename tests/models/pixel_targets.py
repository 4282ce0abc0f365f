"""Images made by hand for tests of families: two blobs at random places and of random brightness."""

import jax
import jax.numpy as jnp
import numpy as np

from kinds.contract import Codec, Target
from models.laws import Event, pixels


def blobs(shape=(8, 8, 1), n_rows=0, name="BLOBS"):
    """A target of images [H, W, C] that are drawn afresh, or with so many fixed rows and as many held out."""
    height, width, channels = shape
    size = height * width * channels
    y, x = (np.arange(n) / n for n in (height, width))

    def sample(key, n):
        places = jax.random.uniform(key, (n, 2, 3), minval=0.2, maxval=0.8)
        down = jnp.exp(-((y[None, None] - places[:, :, 0, None]) ** 2) / 0.02)
        along = jnp.exp(-((x[None, None] - places[:, :, 1, None]) ** 2) / 0.02)
        image = jnp.einsum("nky,nkx,nk->nyx", down, along, places[:, :, 2])
        shades = jnp.linspace(0.5, 1.0, channels)
        return jnp.clip(image[..., None] * shades[None, None, None], 0, 1).reshape(n, size).astype(jnp.float32)

    codec = Codec(Event(size, shape, pixels(size)), lambda rows: rows, lambda rows: rows, lambda rows: rows)
    train = held_out = None
    if n_rows:
        train, held_out = np.split(np.asarray(sample(jax.random.key(7), 2 * n_rows)), 2)
    return Target(
        name=name,
        kind="images",
        dim=size,
        codec=codec,
        sample=sample,
        truth=None,
        comparable=False,
        train_rows=train,
        held_out_rows=held_out,
        empirical=bool(n_rows),
    )

"""Convolutions of stride 2 with kernels of 4 × 4, their transposes, batch and spectral normalisation.

Arrays are [channels, height, width, n], with the n rows of a minibatch along the contiguous axis, as `models.networks`
has its columns. A kernel is [a, 4, 4, b], and one trilinear form has all three operations as its derivatives:

    T(y, K, x) = Σ y[a, i, j, n] K[a, k, l, b] x[b, 2i + k − 1, 2j + l − 1, n],

`down` is ∂T/∂y, a convolution with one pixel of zeros around x; `up` is ∂T/∂x, its transpose; `kernel_gradient` is
∂T/∂K. Each has the others for its derivatives, as often as one likes: nothing is scattered. On a CPU `down` is one
product of the kernel and 16 stacked slices. `up` is one with the 16 taps, of which a pixel adds up four; where that
product leaves the cache, four with 2 × 2 slices, one for every parity of a pixel's place. On other devices the
compiler's own convolution is used.

References:
  Ioffe and Szegedy, Batch Normalization, 2015 (algorithm 1).
  Miyato, Kataoka, Koyama and Yoshida, Spectral Normalization for Generative Adversarial Networks, 2018 (§2.1, eq. 8).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

_TAPS = 4
# What is added to a variance before its root is taken.
_EPSILON = 1e-5
# A matrix is squared so often before its largest singular value is read off: the 64th power of its square.
_SQUARINGS = 6
# The largest product with all taps at once. On a core of an AMD EPYC `up` then takes 0.8 ms where four products take
# 1.0 (18 channels of 7 × 7 to 9, 128 rows), 0.3 against 2.5 to a single channel of 28 × 28, and 1.4 against 34 to four
# of 32 × 32; beyond the cache, from 128 channels of 7 × 7 to 64, it is 17 against 8. Few channels leave no choice.
_COLUMN_BYTES, _FEW = 2**23, 4
# (tap, place) in an image with a row of zeros on both sides that a pixel of even place takes, and one of odd place.
_OF_PARITY = ((1, 1), (3, 0)), ((0, 2), (2, 1))


@jax.custom_vjp
def down(kernel: jax.Array, x: jax.Array) -> jax.Array:
    """Maps x [b, 2h, 2w, n] to [a, h, w, n] by a kernel [a, 4, 4, b]."""
    if not _on_cpu():
        return jax.lax.conv_general_dilated(
            x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("CHWN", "OHWI", "CHWN")
        )
    _, height, width, n = x.shape
    return (kernel.reshape(len(kernel), -1) @ _patches(x)).reshape(-1, height // 2, width // 2, n)


@jax.custom_vjp
def up(kernel: jax.Array, y: jax.Array) -> jax.Array:
    """Maps y [a, h, w, n] to [b, 2h, 2w, n] by a kernel [a, 4, 4, b]: the transpose of `down`."""
    if not _on_cpu():
        flipped = kernel[:, ::-1, ::-1]
        return jax.lax.conv_general_dilated(
            y, flipped, (1, 1), ((2, 2), (2, 2)), (2, 2), dimension_numbers=("CHWN", "IHWO", "CHWN")
        )
    n_out, (_, height, width, n) = kernel.shape[-1], y.shape
    columns = 4 * _TAPS**2 * n_out * height * width * n
    phase = _phase_of_columns if columns <= _COLUMN_BYTES or n_out <= _FEW else _phase_of_slices
    of_phase = phase(kernel, y)
    rows = [jnp.stack([of_phase(above, left) for left in _OF_PARITY], axis=3) for above in _OF_PARITY]
    return jnp.stack(rows, axis=2).reshape(n_out, 2 * height, 2 * width, n)


@jax.custom_vjp
def kernel_gradient(y: jax.Array, x: jax.Array) -> jax.Array:
    """Σ over places and rows of y [a, h, w, n] times what each saw of x [b, 2h, 2w, n]: [a, 4, 4, b]."""
    if not _on_cpu():
        return jax.lax.conv_general_dilated(
            x, y, (1, 1), ((1, 1), (1, 1)), rhs_dilation=(2, 2), dimension_numbers=("NHWC", "OHWI", "NHWC")
        ).transpose(3, 1, 2, 0)
    return (y.reshape(len(y), -1) @ _patches(x).T).reshape(len(y), _TAPS, _TAPS, len(x))


def _phase_of_slices(kernel, y):
    """Pixels of one parity [b, h, w, n], a product of four taps of the kernel with as many slices."""
    padded = jnp.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)))

    def phase(vertical, horizontal):
        pairs = [(above, left) for above in vertical for left in horizontal]
        table = jnp.concatenate([kernel[:, k, m] for (k, _), (m, _) in pairs])
        seen = jnp.stack([padded[:, i : i + y.shape[1], j : j + y.shape[2]] for (_, i), (_, j) in pairs])
        return (table.T @ seen.reshape(len(table), -1)).reshape(-1, *y.shape[1:])

    return phase


def _phase_of_columns(kernel, y):
    """The same as a sum of four slices of the product with all taps at once."""
    columns = (kernel.reshape(len(y), -1).T @ y.reshape(len(y), -1)).reshape(*kernel.shape[1:], *y.shape[1:])
    padded = jnp.pad(columns, ((0, 0), (0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))

    def phase(vertical, horizontal):
        return sum(padded[k, m, :, i : i + y.shape[1], j : j + y.shape[2]] for k, i in vertical for m, j in horizontal)

    return phase


def _patches(x: jax.Array) -> jax.Array:
    """What every place of an output sees of x [b, 2h, 2w, n], [16 b, h w n]."""
    _, height, width, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    seen = [padded[:, k : k + height : 2, m : m + width : 2] for k in range(_TAPS) for m in range(_TAPS)]
    return jnp.stack(seen).reshape(_TAPS**2 * len(x), -1)


def _on_cpu() -> bool:
    return jax.local_devices()[0].platform == "cpu"


down.defvjp(lambda k, x: (down(k, x), (k, x)), lambda kept, g: (kernel_gradient(g, kept[1]), up(kept[0], g)))
up.defvjp(lambda k, y: (up(k, y), (k, y)), lambda kept, g: (kernel_gradient(kept[1], g), down(kept[0], g)))
kernel_gradient.defvjp(lambda y, x: (kernel_gradient(y, x), (y, x)), lambda kept, g: (down(g, kept[1]), up(g, kept[0])))


class BatchNorm(nn.Module):
    """Every channel without its mean and over its deviation, times a scale and plus a shift, which are trained.

    Mean and deviation are those of the rows that are given, unless the collection "statistics" has some: `settled`
    makes it. They are no weights, and no budget counts them.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps x [c, h, w, n] to the same shape."""
        scale = self.param("scale", lambda key, shape: 1 + 0.02 * jax.random.normal(key, shape), (len(x),))
        shift = self.param("shift", nn.initializers.zeros_init(), (len(x),))
        if self.has_variable("statistics", "mean"):
            mean, variance = (self.get_variable("statistics", name) for name in ("mean", "variance"))
        else:
            mean = jnp.mean(x, axis=(1, 2, 3))
            variance = jnp.mean((x - mean[:, None, None, None]) ** 2, axis=(1, 2, 3))
            if self.is_mutable_collection("statistics") and not self.is_initializing():
                self.put_variable("statistics", "mean", mean)
                self.put_variable("statistics", "variance", variance)
        factor = scale * jax.lax.rsqrt(variance + _EPSILON)
        return x * factor[:, None, None, None] + (shift - mean * factor)[:, None, None, None]


def settled(network: nn.Module, variables: dict, x: jax.Array) -> dict:
    """The variables of a network with the statistics of its batch normalisation fixed: those of these columns x.

    What a row becomes then depends on no other row. The statistics belong to the very weights that are given: those of
    an average of weights are neither the last step's nor an average of statistics.
    """
    return {**variables, **network.apply(variables, x, mutable=["statistics"])[1]}


def spectrally_normalised(kernel: jax.Array) -> jax.Array:
    """A kernel over its largest singular value, as the matrix [a, rest]; the vectors that find it count as constants.

    They are found anew from the kernel, and a State needs none. The 64th power of K Kᵀ leaves of another singular value
    σ₂ a share of (σ₂/σ₁)¹²⁸.
    """
    matrix = kernel.reshape(len(kernel), -1)
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    fixed = jax.lax.stop_gradient(matrix)
    power = fixed @ fixed.T
    for _ in range(_SQUARINGS):
        power /= jnp.trace(power) + jnp.finfo(kernel.dtype).tiny
        power = power @ power
    # Its columns are multiples of one vector: the longest is the best known.
    u = _unit(power[:, jnp.argmax(jnp.diagonal(power))])
    v = _unit(fixed.T @ u)
    return kernel / (u @ matrix @ v)


def _unit(vector: jax.Array) -> jax.Array:
    return vector / (jnp.sqrt(jnp.sum(vector**2)) + jnp.finfo(vector.dtype).tiny)

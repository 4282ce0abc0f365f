"""Networks for images, after DCGAN: convolutions of stride 2 whose width is the number of channels.

The small end of a network has about 4 × 4 places, and at least two convolutions lead to it or from it: 2 × 2 places of
an image of 8 × 8, 7 × 7 of 28 × 28, 4 × 4 of 32 × 32 and 64 × 64. The width is the number of channels beside the image,
and every further layer towards the small end has twice as many. Sides that cannot be halved so often are filled up with
zeros, and cut off where an image is made.

The budget counts kernels, biases, and the scales and shifts of batch normalisation. Its means and deviations are no
weights. In training they are those of the minibatch; outside of it those of 1 024 fixed z under the very weights that
are asked (`models.convolutions.settled`), and so a State has none.

Columns are [n_inputs, n] and flat images [height width channels, n], as `models.networks` has them; within a network
arrays are [channels, height, width, n].

References:
  Radford, Metz and Chintala, Unsupervised Representation Learning with Deep Convolutional GANs, 2016 (§3 and §4).
  Isola, Zhu, Zhou and Efros, Image-to-Image Translation with Conditional Adversarial Networks, 2017 (§3.2, patches).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from models.convolutions import BatchNorm, down, spectrally_normalised, up

_SMALL_END, _FEWEST_LAYERS = 4, 2
_DEVIATION = 0.02  # of first weights behind which a batch is normalised
_SLOPE = 0.2  # of LeakyReLU


def n_layers(shape: tuple[int, ...]) -> int:
    """Convolutions between an image [height, width, channels] and the small end of its networks."""
    return max(_FEWEST_LAYERS, int(math.log2(max(1, min(shape[:2]) / _SMALL_END))))


def _ends(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Convolutions, and the height and width of the small end."""
    depth = n_layers(shape)
    return depth, *(-(-side // 2**depth) for side in shape[:2])


class _Affine(nn.Module):
    """A convolution or an affine layer: the kernel, spectrally normalised where that is asked for, and the bias."""

    shape: tuple[int, ...]  # of the kernel
    fan_in: float
    normalised: bool  # a batch is normalised behind it: no bias then, and DCGAN's start
    gain: float = 1.0
    bias: int = 0  # numbers of it; 0: none
    spectral: bool = False

    @nn.compact
    def __call__(self) -> tuple[jax.Array, Any]:
        deviation = _DEVIATION if self.normalised else math.sqrt(self.gain / self.fan_in)
        kernel = self.param("kernel", nn.initializers.normal(deviation), self.shape)
        kernel = spectrally_normalised(kernel) if self.spectral else kernel
        has_bias = self.bias and not self.normalised
        return kernel, self.param("bias", nn.initializers.zeros_init(), (self.bias,)) if has_bias else 0.0


def _planes(bias: Any) -> Any:
    # Weights on the host are arrays of NumPy.
    return bias if isinstance(bias, float) else bias[:, None, None, None]


class ToImage(nn.Module):
    """From a vector to an image: a generator, or a decoder."""

    width: int
    shape: tuple[int, int, int]
    n_outputs: int  # a multiple of the number of pixels
    batch_norm: bool

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Maps z [n_inputs, n] to [n_outputs, n], rows, columns and channels of an image in this order."""
        depth, *end = _ends(self.shape)
        height, width, _ = self.shape
        n_out = self.n_outputs // (height * width)
        channels = [self.width * 2**i for i in range(depth - 1, -1, -1)]
        kernel, bias = _Affine(
            (channels[0], *end, len(z)), len(z), self.batch_norm, gain=2.0, bias=channels[0], name="Project"
        )()
        x = (kernel.reshape(-1, len(z)) @ z).reshape(channels[0], *end, -1) + _planes(bias)
        for i, (n_from, n_to) in enumerate(zip(channels, [*channels[1:], n_out], strict=True)):
            x = nn.relu(BatchNorm(name=f"Norm_{i}")(x) if self.batch_norm else x)
            is_last = i == depth - 1
            # A pixel sees a quarter of the taps.
            layer = _Affine(
                (n_from, 4, 4, n_to),
                4 * n_from,
                self.batch_norm and not is_last,
                gain=1.0 if is_last else 2.0,
                bias=n_to,
                name=f"Up_{i}",
            )
            kernel, bias = layer()
            x = up(kernel, x) + _planes(bias)
        return jnp.moveaxis(x[:, :height, :width], 0, 2).reshape(self.n_outputs, -1)


class FromImage(nn.Module):
    """From an image to a few numbers: a discriminator, a critic or an encoder."""

    width: int
    shape: tuple[int, int, int]
    n_outputs: int
    batch_norm: bool
    spectral_norm: bool = False
    output_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps flat images [height width channels, n] of grey levels in [0, 1] to [n_outputs, n]."""
        x = convolved(self, x)
        kernel, bias = _Affine(
            (self.n_outputs, *x.shape[:3]),
            math.prod(x.shape[:3]),
            normalised=False,
            bias=self.n_outputs if self.output_bias else 0,
            spectral=self.spectral_norm,
            name="Head",
        )()
        out = kernel.reshape(self.n_outputs, -1) @ x.reshape(-1, x.shape[-1])
        return out + (bias[:, None] if self.output_bias else 0.0)


class Patches(nn.Module):
    """A PatchGAN's critic: one number for every patch of an image.

    Its convolutions are those of `FromImage` but for the last, so that a number sees a part of the image alone: 10 × 10
    pixels of 28 × 28.
    """

    width: int
    shape: tuple[int, int, int]
    batch_norm: bool
    spectral_norm: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps flat images [height width channels, n] of grey levels in [0, 1] to [patches, n]."""
        x = convolved(self, x, leave_out=1)
        kernel, bias = _Affine(
            (1, 4, 4, len(x)), 16 * len(x), normalised=False, bias=1, spectral=self.spectral_norm, name="Head"
        )()
        return (down(kernel, x) + _planes(bias)).reshape(-1, x.shape[-1])


def convolved(network: Any, x: jax.Array, leave_out: int = 0) -> jax.Array:
    """What a network's convolutions make of flat images, [channels, h, w, n]; DCGAN's first one is not normalised."""
    depth, *end = _ends(network.shape)
    height, width, n_in = network.shape
    # Grey levels around 0, so that the edges' zeros are a middle grey.
    x = jnp.moveaxis((2 * x - 1).reshape(height, width, n_in, -1), 2, 0)
    missing = [side * 2**depth - own for side, own in zip(end, (height, width), strict=True)]
    x = jnp.pad(x, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
    for i in range(depth - leave_out):
        n_to, has_norm = network.width * 2**i, network.batch_norm and i > 0
        kernel, bias = _Affine(
            (n_to, 4, 4, len(x)),
            16 * len(x),
            has_norm,
            gain=2 / (1 + _SLOPE**2),
            bias=n_to,
            spectral=network.spectral_norm,
            name=f"Down_{i}",
        )()
        x = down(kernel, x) + _planes(bias)
        x = nn.leaky_relu(BatchNorm(name=f"Norm_{i}")(x) if has_norm else x, _SLOPE)
        # Kept only where `apply` is asked for "intermediates".
        network.sow("intermediates", "features", x)
    return x

"""JAX's Threefry streams and normal numbers from them, written so that a CPU computes them fast.

Small models are bound by their random numbers. JAX's own lowering for CPUs loops over the rounds of the hash with all
numbers in memory in between, and by default it takes a hash for every 32 bits. Here the 20 rounds are unrolled, so that
they stay in registers, and each hash gives 64 bits: key for key those of `jax.threefry_partitionable(False)`. Normal
numbers come in pairs from a logarithm and short polynomials, where the inverse error function takes longer polynomials.

References:
  Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, 2011 (Threefry-2x32-20).
  Box and Muller, A Note on the Generation of Random Normal Deviates, 1958.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl

_MANY = 4096  # normal numbers of one key
_ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)
_N_ROUNDS = 20


def _hash(key: jax.Array, low: jax.Array, high: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Threefry-2x32 in 20 rounds of counters (low, high) under a key [2], all uint32."""
    # The counters come from memory and not from the loop that hashes them. LLVM of JAX 0.11 and 0.12 asks each use of a
    # loop's counter, and each use of those, and remembers no answer. A round uses its words twice, so that compilation
    # takes exponentially long in the number of rounds (`onlyFirstLaneUsed` in its loop vectoriser).
    low, high = jax.lax.optimization_barrier((low, high))
    # Operations of `lax`, since those of `jnp` take ten times as long to trace, and each is traced thousands of times.
    add, xor = jax.lax.add, jax.lax.bitwise_xor
    first, second = (jax.lax.index_in_dim(key, i, keepdims=False) for i in range(2))
    keys = first, second, xor(xor(first, second), np.uint32(0x1BD11BDA))

    def inject(x, k):
        return add(x, jax.lax.broadcast(k, x.shape) if x.shape else k)

    x, y = inject(low, keys[0]), inject(high, keys[1])
    for i in range(_N_ROUNDS // 4):
        for rotation in _ROTATIONS[i % 2]:
            x = add(x, y)
            left, right = np.uint32(rotation), np.uint32(32 - rotation)
            y = xor(x, jax.lax.bitwise_or(jax.lax.shift_left(y, left), jax.lax.shift_right_logical(y, right)))
        x, y = inject(x, keys[(i + 1) % 3]), add(inject(y, keys[(i + 2) % 3]), np.uint32(i + 1))
    return x, y


def _words(key: jax.Array, n: int) -> jax.Array:
    """The first n words [n] of a key's stream: the halves of the counters' hashes, one half after the other."""
    half = -(-n // 2)
    low = jax.lax.iota(np.uint32, half)
    high = low + np.uint32(half)
    if n % 2:
        # An odd stream is filled up with a zero.
        high = jnp.where(low == half - 1, np.uint32(0), high)
    return jnp.concatenate(_hash(key, low, high))[:n]


def _seed(seed: jax.Array) -> jax.Array:
    # Of 32 bits: keys here are made of other keys.
    return jnp.stack([jnp.uint32(0), seed.astype(np.uint32)])


def _split(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return _words(key, 2 * math.prod(shape)).reshape(*shape, 2)


def _fold_in(key: jax.Array, data: jax.Array) -> jax.Array:
    return jnp.stack(_hash(key, jnp.uint32(0), data.astype(np.uint32)))


def _random_bits(key: jax.Array, bit_width: int, shape: tuple[int, ...]) -> jax.Array:
    if bit_width != 32:
        # As JAX draws them: nothing here needs them fast.
        with jax.threefry_partitionable(False):
            return jax.random.bits(jax.random.wrap_key_data(key), shape, f"uint{bit_width}")
    return _words(key, math.prod(shape)).reshape(shape)


_UNROLLED = define_prng_impl(
    key_shape=(2,), seed=_seed, split=_split, random_bits=_random_bits, fold_in=_fold_in, name="threefry2x32_unrolled"
)


def unrolled(key: jax.Array) -> jax.Array:
    """A Threefry key, typed, as one with which the functions of `jax.random` draw fast."""
    return jax.random.wrap_key_data(jax.random.key_data(key), impl=_UNROLLED)


def normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal numbers, float32, of either kind of key; none is beyond √(2·24 ln 2) = 5.77 (P = 8e-9)."""
    n = math.prod(shape)
    half = -(-n // 2)
    low = jax.lax.iota(np.uint32, half)
    x, y = _hash(jax.random.key_data(key), low, low + np.uint32(half))
    # 24 bits in (0, 1], all that float32 holds evenly.
    uniform = ((x >> np.uint32(8)).astype(np.int32).astype(np.float32) + 1) * np.float32(2**-24)
    radius = jnp.sqrt(-2 * jnp.log(uniform))
    # An angle within an eighth of a turn of one of the four directions, which the lowest two bits choose. The
    # polynomials are those of the Cephes library for float32, right to one unit in the last place there.
    angle = (y >> np.uint32(8)).astype(np.int32).astype(np.float32) * np.float32(math.pi / 2 * 2**-24)
    angle = angle + np.float32(math.pi / 2 * 2**-25 - math.pi / 4)
    square = angle * angle
    sine = ((-1.9515295891e-4 * square + 8.3321608736e-3) * square - 1.6666654611e-1) * square * angle + angle
    cosine = (2.443315711809948e-5 * square - 1.388731625493765e-3) * square + 4.166664568298827e-2
    cosine = cosine * square * square - square / 2 + 1
    direction = y & np.uint32(3)
    is_odd = (direction & np.uint32(1)) == 1
    first = jnp.where(is_odd, sine, cosine) * jnp.where((direction == 1) | (direction == 2), -radius, radius)
    second = jnp.where(is_odd, cosine, sine) * jnp.where(direction >= 2, -radius, radius)
    if n < _MANY:
        return jnp.concatenate([first, second])[:n].reshape(shape)
    # XLA computes a large concatenation number by number; a select is vectorised.
    row = jax.lax.broadcasted_iota(np.int32, (2, half), 0)
    return jnp.where(row == 0, first[None], second[None]).reshape(-1)[:n].reshape(shape)

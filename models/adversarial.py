"""What adversarial families share: a generator, a network that judges its events, and draws through both.

The generator maps z ~ N(0, I) to an event; the judge, a discriminator or a critic, gives an event one number. With bins
the generator's outputs are logits of a category. Its own update draws by straight-through Gumbel-softmax: the one-hot
argmax of logits + g forwards, the softmax at temperature τ backwards. The argmax has the distribution softmax(logits),
from which everything else is drawn: it samples what it was trained to be. On bit strings the outputs are logits of the
bits, and each bit is drawn likewise.

References:
  Jang, Gu and Poole, Categorical Reparameterization with Gumbel-Softmax, 2017 (§2.2, straight-through).
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.special
import scipy.stats
from flax import linen as nn

from budget import solve_width
from core import prng
from models.architectures import applied, networks_for
from models.base import count_params, is_on, packing
from models.laws import log_mixture_at

_Z_DRAWS, _Z_AT_ONCE = 2**18, 4096  # behind a state's probability
# In mid-training the points of a scrambled Sobol sequence take their place. On the default target, after 100, 2 000 and
# 6 000 steps, the exact KL of four scramblings was off by 0.1 %, 2 % and 3 % at most, and that of three sets of all the
# draws, which take 25 times as long, by 0.1 %, 1 % and 2 %.
_Z_POINTS = 2**14
# Of 2²⁰ states so many would take minutes: at least so few z, and at most so many pairs of a state and a z.
_FEWEST_Z, _MOST_PAIRS = 2**11, 2**34
# Points whose probabilities are differentiated, moved at random each time, and how near to an edge, in float32, one may
# come.
_Z_DIRECT, _Z_MARGIN = 2**10, 1e-6
_QUICK = 16  # times fewer pairs in mid-training


class Norms(NamedTuple):
    """What is normalised in the judge; of a generator of images every batch is."""

    batch: bool = False  # of images: the batch, real rows and generated ones each by themselves
    spectral: bool = False  # the kernels, by their largest singular values


NO_NORMS = Norms()


class Pair(NamedTuple):
    """A generator and a judge of one hidden width, sized together for a budget. Arrays have features first."""

    n_params: int
    width: int
    init_params: Callable[[jax.Array], tuple[Any, Any]]  # (key) -> parameters of the generator and of the judge
    pack: tuple[Callable, Callable]  # of either, as `models.base.packing`
    unpack: tuple[Callable, Callable]
    generate: Callable[..., jax.Array]  # (params, z [latent_dim, n], the law's noise) -> events [event_dim, n]
    generate_with_gradient: Callable[..., jax.Array]  # (params, z, gradient noise) -> the same, to differentiate
    judge: Callable[..., jax.Array]  # (params, events [event_dim, n]) -> [n]
    sample: Callable[..., jax.Array]  # (key, generator's params, n) -> [n, event_dim]
    sample_mean: Callable[..., jax.Array]  # (key, generator's params, n) -> [n, event_dim]: E[event | z]
    latent_dim: int
    decode: Callable[..., jax.Array]  # (generator's params, z [n, latent_dim]) -> [n, event_dim]: E[event | z]
    log_prob: Callable[..., jax.Array] | None  # (generator's params, events [n, size]) -> [n] in nats; None where
    # events have no probabilities
    log_prob_quick: Callable[..., jax.Array] | None  # the same by fewer z, which are spread more evenly
    direct: (
        Callable[..., jax.Array] | None
    )  # (generator's params, events, key) -> the same by the fewest, for gradients

    def updated(self, i: int, optimiser: optax.GradientTransformation, params: Any, gradient: Any, opt_state: Any):
        """Network i (0: the generator, 1: the judge) after an update of its own, and its optimiser's state."""
        packed = self.pack[i](params)
        updates, opt_state = optimiser.update(self.pack[i](gradient), opt_state, packed)
        return self.unpack[i](optax.apply_updates(packed, updates)), opt_state


def shrinking(optimiser: optax.GradientTransformation, rate: Any, decay: Any) -> optax.GradientTransformation:
    """The optimiser, whose every step also takes rate · decay of each weight off (AdamW); with 0 nothing more.

    A generator of few units drives the logits of its bits as far as it can, and the exact KL then grows with every
    string that it does not reach. Shrinking keeps them finite.

    Args:
      optimiser: of the generator.
      rate: its learning rate.
      decay: the share of the rate.

    References:
      Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019 (algorithm 2).
    """
    if not is_on(decay):
        return optimiser
    return optax.chain(optimiser, optax.add_decayed_weights(-rate * decay))


def build_pair(
    config: Any,
    target: Any,
    latent_dim: int,
    gumbel_temperature: float,
    *,
    judge_bias: bool = True,
    norms: Norms = NO_NORMS,
) -> Pair:
    """Sizes a generator and a judge for the budget.

    Args:
      config: the run's configuration.
      target: the distribution to learn; its event is what is generated.
      latent_dim: the length of z.
      gumbel_temperature: τ, of events that have probabilities.
      judge_bias: whether the judge's output has a bias; where only differences of outputs count it would do nothing.
      norms: of the judge.

    Returns:
      The pair. Where events have probabilities `log_prob` averages the generator's over M fixed z: an "estimate", whose
      KL(p ‖ q) has a standard error of at most about √(2 KL/M) and a bias of about K/2M nats for K states that are not
      nearly empty. M is 2¹⁸, and for more than 2¹⁶ strings of n bits 2³⁴⁻ⁿ. Events with a density have no `log_prob`.

    Raises:
      UserError: the budget is below the smallest pair for these events.
    """
    event_dim, law = target.event.size, target.event.law

    makers = networks_for(target.event, config.hidden_layers, nn.leaky_relu)

    def networks(width):
        return (
            makers.to_event(width, law.n_outputs, batch_norm=True),
            makers.from_event(width, 1, norms.batch, norms.spectral, judge_bias),
        )

    def init_params(key, nets):
        key_generator, key_judge = jax.random.split(key)
        return (
            nets[0].init(key_generator, jnp.zeros((latent_dim, 1))),
            nets[1].init(key_judge, jnp.zeros((event_dim, 1))),
        )

    def shapes(width):
        return jax.eval_shape(functools.partial(init_params, nets=networks(width)), jax.random.key(0))

    def count(width):
        return count_params(shapes(width))

    width = solve_width(count, config.parameter_budget)
    generator, judge = nets = networks(width)
    pack, unpack = zip(*map(packing, shapes(width)), strict=True)
    # Outside of training an event depends on its own z alone.
    outputs_of = applied(generator, makers, latent_dim)

    def generate(params, z, noise):
        return law.draw(generator.apply(params, z), noise)

    def generate_with_gradient(params, z, noise):
        return law.draw_with_gradient(generator.apply(params, z), noise, gumbel_temperature)

    def sample(key, params, n):
        key_z, key_draw = jax.random.split(key)
        z = prng.normal(key_z, (latent_dim, n))
        return law.draw(outputs_of(params, z), law.noise(key_draw, (n,))).T

    def decode(params, z):
        return law.mean(outputs_of(params, z.T).T)

    def sample_mean(key, params, n):
        return law.mean(outputs_of(params, prng.normal(key, (latent_dim, n))).T)

    def log_prob_by(params, x, z):
        z = z.astype(jax.tree.leaves(params)[0].dtype)
        means = jax.lax.map(lambda block: jnp.mean(law.mean(generator.apply(params, block), axis=0), 1), z)
        # Zero times the −∞ of a bin that underflows must stay zero.
        return jnp.sum(jnp.where(x > 0, x * jnp.log(jnp.mean(means, axis=0))[None], 0), axis=-1)

    def log_prob_of_states(params, x, z):
        dtype = jax.tree.leaves(params)[0].dtype

        def add(log_sums, block):
            each = law.log_mixture(generator.apply(params, block.astype(dtype)), jnp.zeros(block.shape[1], dtype))
            return jnp.logaddexp(log_sums, each), None

        log_sums, _ = jax.lax.scan(add, jnp.full(law.states.n, -jnp.inf, dtype), z)
        return log_sums[law.states.index(x)] - math.log(z.shape[0] * z.shape[2])

    def fewer(n_z, n_pairs):
        """So many z, or as few as the number of states leaves room for."""
        return n_z if law.states is None else min(n_z, max(_FEWEST_Z, n_pairs // law.states.n))

    by_z = log_prob_by if law.unit_vectors else log_prob_of_states if law.log_mixture else None
    by_points = None if by_z is None else jax.jit(by_z)

    @jax.jit
    def log_prob(params, x):
        n_z = fewer(_Z_DRAWS, _MOST_PAIRS)
        n = min(n_z, _Z_AT_ONCE)
        return by_z(params, x, jax.random.normal(jax.random.key(0), (n_z // n, latent_dim, n), jnp.float32))

    def log_prob_quick(params, x):
        points = _latent_points(latent_dim)
        n = fewer(_Z_POINTS, _MOST_PAIRS // _QUICK)
        # The first 2ᵏ points of the sequence are spread evenly, too.
        return by_points(params, x, points[: max(1, n // _Z_AT_ONCE), :, : min(n, _Z_AT_ONCE)])

    def direct(params, x, key):
        points = scipy.stats.qmc.Sobol(latent_dim, rng=np.random.default_rng(0)).random(_Z_DIRECT).astype(np.float32)
        uniform = (points + jax.random.uniform(key, (1, latent_dim))) % 1
        z = jax.scipy.special.ndtri(jnp.clip(uniform, _Z_MARGIN, 1 - _Z_MARGIN)).T
        outputs = generator.apply(params, z)
        log_weights = jnp.full(_Z_DIRECT, -math.log(_Z_DIRECT))
        return log_mixture_at(law, outputs, log_weights, x)

    has_points = by_z is not None and latent_dim <= scipy.stats.qmc.Sobol.MAXDIM
    return Pair(
        n_params=count(width),
        width=width,
        init_params=functools.partial(init_params, nets=nets),
        pack=pack,
        unpack=unpack,
        generate=generate,
        generate_with_gradient=generate_with_gradient,
        judge=lambda params, events: judge.apply(params, events)[0],
        sample=sample,
        sample_mean=sample_mean,
        latent_dim=latent_dim,
        decode=decode,
        log_prob=log_prob if by_z else None,
        log_prob_quick=log_prob_quick if has_points else None,
        direct=direct if has_points else None,
    )


@functools.cache
def _latent_points(latent_dim: int) -> np.ndarray:
    """Points of N(0, I) that are spread evenly, always the same: [blocks, latent_dim, _Z_AT_ONCE] float32."""
    engine = scipy.stats.qmc.Sobol(latent_dim, rng=np.random.default_rng(0))
    uniform = engine.random(_Z_POINTS)
    # A scrambled point may lie on the edge, where the normal quantile is infinite.
    margin = 0.5 / 2**32
    points = scipy.special.ndtri(np.clip(uniform, margin, 1 - margin)).astype(np.float32)
    return points.reshape(-1, _Z_AT_ONCE, latent_dim).swapaxes(1, 2)


def sampling(pair: Pair) -> dict[str, Any]:
    """The fields of a `Model` that draw from a pair's generator, whose weights are a State's `params.generator`."""

    def log_prob(state, x):
        return pair.log_prob(state.params.generator, x)

    def log_prob_quick(state, x):
        return pair.log_prob_quick(state.params.generator, x)

    def direct(params, x, key):
        return pair.direct(params.generator, x, key)

    return {
        "sample": lambda key, state, n: pair.sample(key, state.params.generator, n),
        "sample_mean": lambda key, state, n: pair.sample_mean(key, state.params.generator, n),
        "latent_dim": pair.latent_dim,
        "decode": lambda state, z: pair.decode(state.params.generator, z),
        "log_prob": log_prob if pair.log_prob else None,
        "log_prob_kind": "estimate" if pair.log_prob else None,
        "direct": direct if pair.direct else None,
        "quick": {"log_prob": log_prob_quick} if pair.log_prob_quick else {},
    }

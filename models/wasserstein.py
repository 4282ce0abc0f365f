"""What the Wasserstein GANs share: a critic that is trained n times a step, and the generator that follows it.

Of all functions f with slope at most 1 the largest difference of means is the Wasserstein-1 distance (Kantorovich and
Rubinstein),

    W₁(p, q) = sup_{‖f‖_Lip ≤ 1} E_p[f(x)] − E_q[f(x)],

so a critic f that minimises L_C = E_z[f(G(z))] − E_p[f(x)] under a bound on its slope estimates the distance that its
generator minimises, L_G = −E_z[f(G(z))]. Families differ in how they bound the slope.

One-hot rows are √2 apart, all of them: with bins the distance is √2 · total variation.

References:
  Arjovsky, Chintala and Bottou, Wasserstein GAN, 2017 (eq. 2 and 3, algorithm 1).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from core import prng
from models.adversarial import build_pair, sampling
from models.base import Model, View, averaged


class Networks(NamedTuple):
    """One entry per network; the params, the optimiser states and the optimisers come in this form."""

    generator: Any
    critic: Any


class State(NamedTuple):
    """What training carries."""

    params: Networks
    opt_state: Networks


class Noise(NamedTuple):
    """The randomness of one step: of its n_critic critic updates, and of the generator's."""

    z_critic: jax.Array  # [n_critic, latent_dim, B] float32
    z_generator: jax.Array  # [latent_dim, B] float32
    draw_critic: jax.Array  # [n_critic, r, B] float32, what a draw of the event's law takes
    draw_generator: jax.Array  # [q, B] float32, what the same with a gradient takes
    mixing: jax.Array  # [n_critic, 1, B] float32, uniform: where between a row and a generated one slopes are measured


class Info(NamedTuple):
    """Scalars of one step."""

    loss: jax.Array  # the critic's, with its penalty, at the last of its updates
    generator_loss: jax.Array
    critic_distance: jax.Array  # the critic's estimate of W₁(p, q), in units of x; with bins of √2 · total variation
    largest_slope: jax.Array  # of the critic, at target rows, generated ones and between; with bins from bin to bin


class Rows(NamedTuple):
    """What one update of a critic sees, [event_dim, B] each."""

    real: jax.Array
    fake: jax.Array
    between: jax.Array  # at random places on the lines between the two


class Bound(NamedTuple):
    """How a family keeps its critic's slope bounded."""

    penalty: Callable[[jax.Array], jax.Array] | None  # (slopes [B] between the rows) -> a term of the loss; None: none
    after_update: Callable[[Any], Any]  # (critic's params) -> the same within the bound
    normalised: bool  # whether the estimate is divided by the largest slope that is measured


def build(name: str, config: Any, target: Any, settings: Any, optimisers: Networks, bound: Bound) -> Model:
    """Sizes a Wasserstein GAN for the budget: generator and critic share one hidden width.

    Args:
      name: of the family.
      config: the run's configuration.
      target: the distribution to learn; its event is what the model draws.
      settings: has `latent_dim`, `n_critic`, `gumbel_temperature` and `average`.
      optimisers: of both networks.
      bound: on the critic's slope.

    Returns:
      The model. The critic's estimate is in the target's own units, also where events are standardised.

    Raises:
      UserError: the budget is below the smallest pair for these events.
    """
    event_dim, law = target.event.size, target.event.law
    pair = build_pair(config, target, settings.latent_dim, settings.gumbel_temperature, judge_bias=False)
    n_critic = settings.n_critic
    unit, stretch = _units(target.codec)

    def init(key, data):
        del data
        params = Networks(*pair.init_params(key))
        opt_state = (o.init(pack(net)) for o, pack, net in zip(optimisers, pair.pack, params, strict=True))
        return State(params, Networks(*opt_state))

    def noise(key):
        key_z, key_draw, key_gradient, key_mixing = jax.random.split(key, 4)
        n = config.batch_size
        z = prng.normal(key_z, (n_critic + 1, settings.latent_dim, n))
        drawn, drawn_generator = law.noise(key_draw, (n_critic, n)), law.gradient_noise(key_gradient, n)
        return Noise(z[:-1], z[-1], drawn, drawn_generator, jax.random.uniform(key_mixing, (n_critic, 1, n)))

    def slopes(params, events):
        """‖∇f‖ at events [event_dim, n], [n]; times `unit` the distances are then those of data space."""
        gradient = jax.grad(lambda x: pair.judge(params, x).sum())(events)
        return norms(gradient if stretch is None else gradient / stretch[:, None])

    def difference(params, rows):
        return jnp.mean(pair.judge(params, rows.real)) - jnp.mean(pair.judge(params, rows.fake))

    def critic_objective(params, rows):
        penalty = 0.0 if bound.penalty is None else bound.penalty(slopes(params, rows.between))
        return penalty - difference(params, rows)

    def largest_slope(params, rows):
        if law.unit_vectors:
            # Between the only events that there are.
            values = pair.judge(params, jnp.eye(event_dim))
            return (jnp.max(values) - jnp.min(values)) / math.sqrt(2)
        return jnp.max(slopes(params, jnp.concatenate(rows, axis=1)))

    def generator_objective(params, params_critic, z, drawn):
        return -jnp.mean(pair.judge(params_critic, pair.generate_with_gradient(params, z, drawn)))

    def step_with(unroll):
        def step(state, batch, noise):
            generator = state.params.generator
            batches = batch[None] if n_critic == 1 else batch

            def critic_update(carry, drawn):
                _, critic, opt_state = carry
                batch, z, noise_draw, mixing = drawn
                real, fake = batch.T, pair.generate(generator, z, noise_draw)
                rows = Rows(real, fake, fake + mixing * (real - fake))
                loss, gradient = jax.value_and_grad(critic_objective)(critic, rows)
                after, opt_state = pair.updated(1, optimisers.critic, critic, gradient, opt_state)
                return (critic, bound.after_update(after), opt_state), (loss, rows)

            drawn = batches, noise.z_critic, noise.draw_critic, noise.mixing
            start = state.params.critic, state.params.critic, state.opt_state.critic
            (before, critic, opt_critic), (losses, rows) = jax.lax.scan(critic_update, start, drawn, unroll=unroll)
            # Of rows that the critic has not seen: those of its last update, before that.
            last = Rows(*(each[-1] for each in rows))
            slope = largest_slope(before, last)
            distance = unit * difference(before, last) / (slope if bound.normalised else 1.0)
            loss_generator, gradient = jax.value_and_grad(generator_objective)(
                generator, critic, noise.z_generator, noise.draw_generator
            )
            generator, opt_generator = pair.updated(
                0, optimisers.generator, generator, gradient, state.opt_state.generator
            )
            info = Info(losses[-1], loss_generator, distance, slope)
            return State(Networks(generator, critic), Networks(opt_generator, opt_critic)), info

        return step

    model = Model(
        name=name,
        n_params=pair.n_params,
        width=pair.width,
        init=init,
        noise=noise,
        step=step_with(n_critic),
        step_counted=step_with(n_critic),
        **sampling(pair),
        views={"critic_vs_wasserstein": View("critic", info_fields=("critic_distance", "largest_slope"))},
        info_units=dict.fromkeys(("loss", "generator_loss"), "output of the critic"),
        batches_per_step=n_critic,
    )
    return averaged(model, settings.average)


def norms(gradient: jax.Array) -> jax.Array:
    """The Euclidean norms [n] of columns [D, n]; where one is 0 its derivative is, too."""
    square = jnp.sum(gradient**2, axis=0)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def _units(codec: Any) -> tuple[float, jax.Array | None]:
    """What a distance between events is to be multiplied by, after their coordinates have been by [D] (None: by 1)."""
    if not codec.affine:
        return 1.0, None
    event_dim = codec.event.size
    unit = math.exp(codec.log_volume / event_dim)
    with jax.ensure_compile_time_eval():
        ends = codec.decode(jnp.stack([jnp.zeros(event_dim), jnp.ones(event_dim)]))
        scales = ends[1] - ends[0]
        return unit, None if jnp.all(scales == scales[0]) else scales / unit

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
from models.adversarial import Pair, build_pair, sampling
from models.base import Model, View, averaged
from models.sizing import Update


class Networks(NamedTuple):
    """One entry per network; weights, optimisers, their states and updates come in this form."""

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
    law, n_critic = target.event.law, settings.n_critic
    pair = build_pair(config, target, settings.latent_dim, settings.gumbel_temperature, judge_bias=False)
    updates = Networks(*pair.updates(optimisers))
    critic = _Critic(pair, bound, target.event.size, *_units(target.codec))

    def init(key, data):
        del data
        params = Networks(*pair.sized.init_params(key))
        return State(params, Networks(*(update.init(net) for update, net in zip(updates, params, strict=True))))

    def noise(key):
        key_z, key_draw, key_gradient, key_mixing = jax.random.split(key, 4)
        n = config.batch_size
        z = prng.normal(key_z, (n_critic + 1, settings.latent_dim, n))
        drawn, drawn_generator = law.noise(key_draw, (n_critic, n)), law.gradient_noise(key_gradient, n)
        return Noise(z[:-1], z[-1], drawn, drawn_generator, jax.random.uniform(key_mixing, (n_critic, 1, n)))

    def generator_objective(params, params_critic, z, drawn):
        return -jnp.mean(pair.judge(params_critic, pair.generate_with_gradient(params, z, drawn)))

    def step(state, batch, noise):
        generator, batches = state.params.generator, batch[None] if n_critic == 1 else batch
        trained = _trained(critic, updates.critic, state, batches, noise)
        loss, gradient = jax.value_and_grad(generator_objective)(
            generator, trained.params, noise.z_generator, noise.draw_generator
        )
        generator, opt_generator = updates.generator.applied(generator, gradient, state.opt_state.generator)
        info = Info(trained.loss, loss, trained.distance, trained.slope)
        return State(Networks(generator, trained.params), Networks(opt_generator, trained.opt_state)), info

    model = Model(
        name=name,
        n_params=pair.sized.n_params,
        width=pair.sized.width,
        init=init,
        noise=noise,
        step=step,
        step_counted=step,
        **sampling(pair),
        views={"critic_vs_wasserstein": View("critic", info_fields=("critic_distance", "largest_slope"))},
        info_units=dict.fromkeys(("loss", "generator_loss"), "output of the critic"),
        batches_per_step=n_critic,
    )
    return averaged(model, settings.average)


class _Critic(NamedTuple):
    """What is asked of a critic f, as functions of its parameters."""

    pair: Pair
    bound: Bound
    event_dim: int
    unit: float  # as `_units` gives both
    stretch: jax.Array | None

    def objective(self, params: Any, rows: Rows) -> jax.Array:
        """L_C with the penalty."""
        penalty = 0.0 if self.bound.penalty is None else self.bound.penalty(self.slopes(params, rows.between))
        return penalty - self.difference(params, rows)

    def difference(self, params: Any, rows: Rows) -> jax.Array:
        """E_p[f(x)] − E_z[f(G(z))]."""
        return jnp.mean(self.pair.judge(params, rows.real)) - jnp.mean(self.pair.judge(params, rows.fake))

    def slopes(self, params: Any, events: jax.Array) -> jax.Array:
        """‖∇f‖ at events [event_dim, n], [n]; times `unit` the distances are then those of data space."""
        gradient = jax.grad(lambda x: self.pair.judge(params, x).sum())(events)
        return norms(gradient if self.stretch is None else gradient / self.stretch[:, None])

    def largest_slope(self, params: Any, rows: Rows) -> jax.Array:
        """The largest that is found; with bins between the only events that there are."""
        if self.pair.law.unit_vectors:
            values = self.pair.judge(params, jnp.eye(self.event_dim))
            return (jnp.max(values) - jnp.min(values)) / math.sqrt(2)
        return jnp.max(self.slopes(params, jnp.concatenate(rows, axis=1)))

    def distance(self, params: Any, rows: Rows, slope: jax.Array) -> jax.Array:
        """The estimate of W₁(p, q), with the largest slope."""
        return self.unit * self.difference(params, rows) / (slope if self.bound.normalised else 1.0)


class _Trained(NamedTuple):
    """A critic after its updates of one step."""

    params: Any
    opt_state: Any
    loss: jax.Array  # at the last of them
    distance: jax.Array
    slope: jax.Array  # the largest


def _trained(critic: _Critic, update: Update, state: State, batches: jax.Array, noise: Noise) -> _Trained:
    """The critic's updates of one step, each with a minibatch of its own of batches [n_critic, B, event_dim]."""
    pair, generator = critic.pair, state.params.generator

    def updated(carry, drawn):
        _, params, opt_state = carry
        batch, z, noise_draw, mixing = drawn
        real, fake = batch.T, pair.generate(generator, z, noise_draw)
        rows = Rows(real, fake, fake + mixing * (real - fake))
        loss, gradient = jax.value_and_grad(critic.objective)(params, rows)
        after, opt_state = update.applied(params, gradient, opt_state)
        return (params, critic.bound.after_update(after), opt_state), (loss, rows)

    drawn = batches, noise.z_critic, noise.draw_critic, noise.mixing
    start = state.params.critic, state.params.critic, state.opt_state.critic
    (before, params, opt_state), (losses, rows) = jax.lax.scan(updated, start, drawn, unroll=len(batches))
    # Of rows that the critic has not seen: those of its last update, before that.
    last = Rows(*(each[-1] for each in rows))
    slope = critic.largest_slope(before, last)
    return _Trained(params, opt_state, losses[-1], critic.distance(before, last, slope), slope)


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

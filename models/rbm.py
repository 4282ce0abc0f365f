"""Restricted Boltzmann machine with Gaussian or softmax visible units and binary hidden ones.

Gaussian visibles, one σ a visible unit:

    E(v, h) = Σᵢ (vᵢ − b_vᵢ)²/2σᵢ² − Σᵢⱼ vᵢ Wᵢⱼ hⱼ/σᵢ² − b_hᵀh,
    P(hⱼ = 1 | v) = sigmoid((v/σ²) W + b_h)ⱼ,    P(v | h) = N(b_v + W h, diag σ²),
    F(v) = Σᵢ (vᵢ − b_vᵢ)²/2σᵢ² − Σⱼ softplus((v/σ²) W + b_h)ⱼ.

The marginal is a mixture of 2^H Gaussians centred on b_v + W h. With σ = 1 the conditionals are the textbook ones.
With bins the visible layer is one softmax unit: E(v, h) = −b_vᵀv − vᵀWh − b_hᵀh on one-hot v, whose states can all be
enumerated, so samples are drawn exactly from softmax(−F).

The gradient of −ln p is ∇F(data) less ∇F(model), the model's part taken from Gibbs chains of k sweeps that start at
the data (CD) or go on from the last step's (PCD).

References:
  Hinton, Training Products of Experts by Minimizing Contrastive Divergence, 2002 (CD).
  Tieleman, Training RBMs using Approximations to the Likelihood Gradient, 2008 (PCD).
  Cho, Ilin and Raiko, Improved Learning of Gaussian-Bernoulli RBMs, 2011 (eq. 3 – 6: this energy, σ as ln σ²).
  Salakhutdinov, Mnih and Hinton, RBMs for Collaborative Filtering, 2007 (§2.1, softmax visibles).
"""

import functools
import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from budget import solve_width
from core import prng
from core.settings import WITHOUT_BINS, Settings, setting
from models import visibles
from models.base import Model, View, averaged, count_params, packing
from models.visibles import Visible

# Chains are independent, so they run in groups whose hidden layer stays in the cache: twice as fast as all at once for
# 5 000 chains of 799 hidden units on an idle CPU, and ten times on a busy one, whose cache others use too.
_CHAINS_AT_ONCE = 128
# From so many bytes of an array [H, B] on, a step on a CPU takes the hidden units in parts of so many bytes: the few
# arrays of a part stay in the second-level cache, where whole ones travel to memory and back. On a core with 1 MiB of
# it that is 1.0 times as fast at 0.2 MiB, 1.1 at 0.7, 1.6 at 2.3 and 2.0 at 23. Parts of 64 to 384 KiB do alike, but a
# product over 32 units, which 128 KiB would be at 1 024 rows, takes twice as long as one over 64.
_PARTS_FROM_BYTES = 2**20
_PART_BYTES = 2**17
_FEWEST_AT_ONCE = 64
_FLOAT_BYTES = 4
# Factors 1 + e^-|x| ≤ 2 whose product float32 holds.
_FACTORS = 64
_MOST_NODES = 2**22  # of the quadrature of Z


# The law of an event -> the visible layer that draws it.
LAWS = {"normal": visibles.GAUSSIAN, "category": visibles.SOFTMAX}


@dataclass(frozen=True)
class Config(Settings, of="RBM"):
    """Settings of the RBM."""

    learning_rate: float = setting(2e-3, "of Adam", above=0, traced=True)
    algorithm: Literal["CD", "PCD"] = setting(
        "CD", "chains of the negative phase start at the data, or (PCD) where they stood"
    )
    k: int = setting(1, "Gibbs sweeps of the negative phase a step", low=1)
    sigma: float = setting(
        0.25, "σ of the visibles at the start", above=0, unit="units of the events", needs=WITHOUT_BINS, traced=True
    )
    learn_sigma: bool = setting(True, "train ln σ, one a visible unit", needs=WITHOUT_BINS)
    weight_scale: float = setting(
        0.01, "standard deviation of the weights at the start", above=0, unit="units of the events", traced=True
    )
    average: float = setting(0.9999, "decay of the averaged weights that sample; 0: off", low=0, below=1)
    sample_steps: int = setting(1000, "Gibbs sweeps before a chain counts as a sample, for the final score", low=1)
    sample_steps_training: int = setting(100, "the same for scores in mid-training", low=1)


class Params(NamedTuple):
    """Trainable weights; V visible units, H hidden ones."""

    weights: jax.Array  # [V, H] float32
    visible_bias: jax.Array  # [V] float32
    hidden_bias: jax.Array  # [H] float32
    log_sigma: Any  # [V] float32 when σ is learned, else ()


class State(NamedTuple):
    """What training carries."""

    params: Params
    opt_state: Any
    chains: Any  # [B, V] float32, the persistent visible states; () with CD


class Noise(NamedTuple):
    """The randomness of one step's k Gibbs sweeps."""

    hidden: jax.Array  # [k, H, B] float32, uniform; or, to be drawn in parts, Threefry keys [k, 2] uint32
    visible: jax.Array  # Gaussian visibles: [k, V, B] normal; softmax: [k, 1, B] uniform


class Info(NamedTuple):
    """Scalars of one step."""

    loss: jax.Array  # mean F(data) − mean F(model), in nats
    reconstruction_error: jax.Array  # mean squared distance of the batch to E[v|h] of its own hidden probabilities


def build(config: Any, target: Any) -> Model:
    """Sizes the RBM for the budget: its width is the number of hidden units.

    Args:
      config: the run's configuration; `config.rbm` is this family's `Config`. Hidden layers do not apply.
      target: the distribution to learn; its event is what the model draws.

    Returns:
      The model. `log_prob` enumerates the visible states with bins and integrates them numerically without.

    Raises:
      UserError: the budget is below the smallest RBM for these events.
    """
    settings: Config = config.rbm
    codec, n_visible = target.codec, target.event.size
    visible = LAWS[target.event.law.name]
    learn_sigma = settings.learn_sigma and visible.has_sigma

    def init_params(key, width):
        return Params(
            weights=settings.weight_scale * jax.random.normal(key, (n_visible, width)),
            visible_bias=jnp.zeros(n_visible),
            hidden_bias=jnp.zeros(width),
            log_sigma=jnp.full(n_visible, jnp.log(settings.sigma)) if learn_sigma else (),
        )

    def shapes(width):
        return jax.eval_shape(functools.partial(init_params, width=width), jax.random.key(0))

    def count(width):
        return count_params(shapes(width))

    width = solve_width(count, config.parameter_budget)
    # An accelerator has no such cache, and would idle between the parts.
    on_cpu = jax.local_devices()[0].platform == "cpu"
    in_parts = on_cpu and _FLOAT_BYTES * width * config.batch_size >= _PARTS_FROM_BYTES
    pack, unpack = packing(shapes(width))
    optimiser = optax.adam(settings.learning_rate)

    def units(params):
        """The parameters with ln σ filled in where it is fixed."""
        return params if learn_sigma else params._replace(log_sigma=jnp.full(n_visible, jnp.log(settings.sigma)))

    def init(key, data):
        params = init_params(key, width)
        if visible.has_sigma:
            params = params._replace(visible_bias=jnp.mean(data, axis=0))
        # Different data rows, so that the chains start spread over the modes.
        chains = jnp.resize(data, (config.batch_size, n_visible)) if settings.algorithm == "PCD" else ()
        return State(params, optimiser.init(pack(params)), chains)

    def noise(key):
        key_hidden, key_visible = jax.random.split(key)
        if in_parts:
            hidden = jax.random.key_data(jax.random.split(key_hidden, settings.k))
        else:
            hidden = jax.random.uniform(key_hidden, (settings.k, width, config.batch_size))
        return Noise(hidden, visible.noise(key_visible, (settings.k, n_visible, config.batch_size)))

    def objective(params, events, chains):
        params = units(params)
        return jnp.mean(free_energy(visible, params, events)) - jnp.mean(free_energy(visible, params, chains))

    def step_at_once(state, batch, noise):
        params, events = units(state.params), batch.T
        chains = state.chains.T if settings.algorithm == "PCD" else events
        for of_hidden, of_visible in zip(noise.hidden, noise.visible, strict=True):
            chains = sweep(visible, params, chains, of_hidden, of_visible)
        loss, gradient = jax.value_and_grad(objective)(state.params, events, chains)
        mean = visible_mean(visible, params, nn.sigmoid(hidden_input(visible, params, events)))
        return updated(state, gradient, chains), Info(loss, jnp.mean(jnp.sum((events - mean) ** 2, axis=0)))

    def updated(state, gradient, chains):
        updates, opt_state = optimiser.update(pack(gradient), state.opt_state)
        new_params = unpack(optax.apply_updates(pack(state.params), updates))
        return State(new_params, opt_state, chains.T if settings.algorithm == "PCD" else ())

    def step_in_parts(state, batch, noise):
        """The same update without an array of all hidden units and rows."""
        params, events, n = units(state.params), batch.T, len(batch)
        n_at_once = units_at_once(width, n)
        is_cd = settings.algorithm == "CD"

        def over(v, **what):
            return over_hidden_units(params, visible.scaled(params, v), n_at_once, **what)

        none = jnp.zeros_like(params.weights), jnp.zeros_like(params.hidden_bias)
        # Under CD the first sweep starts where the gradient's first half is taken.
        data = over(events, key=noise.hidden[0] if is_cd else None, gradient=none, share=1 / n)
        chains = events if is_cd else state.chains.T
        for i, (key, of_visible) in enumerate(zip(noise.hidden, noise.visible, strict=True)):
            field = data.field if is_cd and i == 0 else over(chains, key=key).field
            chains = visible.draw(params, field + params.visible_bias[:, None], of_visible)
        model = over(chains, gradient=data.gradient, share=-1 / n)

        def visible_objective(visible_bias, log_sigma):
            """Its gradient is that of the objective, whose other part's by the visibles is known."""
            params = units(state.params._replace(visible_bias=visible_bias, log_sigma=log_sigma))
            total = 0.0
            for sign, v, half in ((1, events, data), (-1, chains, model)):
                through_hidden = jnp.sum(half.d_scaled * visible.scaled(params, v))
                total += sign * jnp.mean(visible.energy(params, v)) + through_hidden
            return total

        d_visible = jax.grad(visible_objective, argnums=(0, 1))(state.params.visible_bias, state.params.log_sigma)
        gradient = Params(model.gradient[0], d_visible[0], model.gradient[1], d_visible[1])
        loss = jnp.mean(visible.energy(params, events) - data.softplus)
        loss -= jnp.mean(visible.energy(params, chains) - model.softplus)
        # The derivative of −F's mean by what the hidden units see is W E[h | v]/n.
        linear = params.visible_bias[:, None] - n * data.d_scaled
        mean = visible.mean(linear)
        return updated(state, gradient, chains), Info(loss, jnp.mean(jnp.sum((events - mean) ** 2, axis=0)))

    def step_counted(state, batch, noise):
        # Which numbers they are does not change the count, and any that are given cost nothing.
        hidden = jnp.broadcast_to(noise.visible[:, :1], (settings.k, width, len(batch)))
        return step_at_once(state, batch, Noise(hidden, noise.visible))

    def state_log_probs(params):
        states = visible.states(n_visible, dtype=params.weights.dtype)
        return nn.log_softmax(-free_energy(visible, params, states.T))

    def gibbs(key, params, n, n_sweeps):
        n_chains = min(n, _CHAINS_AT_ONCE)

        def chains_of(key):
            key_start, key_sweeps = jax.random.split(key)
            start = jax.random.normal(key_start, (n_visible, n_chains))
            v = params.visible_bias[:, None] + jnp.exp(params.log_sigma)[:, None] * start

            def swept(v, i):
                key_hidden, key_visible = jax.random.split(jax.random.fold_in(key_sweeps, i))
                hidden = jax.random.uniform(key_hidden, (width, n_chains))
                (drawn,) = visible.noise(key_visible, (1, n_visible, n_chains))
                return sweep(visible, params, v, hidden, drawn), None

            return jax.lax.scan(swept, v, jnp.arange(n_sweeps))[0].T

        groups = jax.lax.map(chains_of, jax.random.split(key, -(-n // n_chains)))
        return groups.reshape(-1, n_visible)[:n]

    def sampler(n_sweeps):
        def sample(key, state, n):
            params = units(state.params)
            if visible.states:
                drawn = jax.random.categorical(key, state_log_probs(params), shape=(n,))
                return visible.states(n_visible)[drawn]
            return gibbs(key, params, n, n_sweeps)

        return sample

    def sample_mean(key, state, n):
        key_visible, key_hidden = jax.random.split(key)
        params = units(state.params)
        v = sampler(settings.sample_steps)(key_visible, state, n).T
        on = jax.random.bernoulli(key_hidden, nn.sigmoid(hidden_input(visible, params, v)))
        return visible_mean(visible, params, on.astype(v.dtype)).T

    @jax.jit
    def enumerated_log_prob(params, x):
        return x @ state_log_probs(params)

    def log_prob(state, x):
        params = units(state.params)
        if visible.states:
            return enumerated_log_prob(params, x)
        return -_free_energies(params, x) - log_partition_gaussian(params)

    def energy_view(state):
        """−ln q over the box: the free energy plus ln Z, in data space."""
        x, events = target.grid()
        return {"x": x, "energy": codec.log_volume - log_prob(state, events)}

    def features(state):
        # Of 2^H Gaussians of one width nobody knows where they are.
        return None, jnp.diag(jnp.exp(2 * units(state.params).log_sigma))[None]

    model = Model(
        name="RBM",
        n_params=count(width),
        width=width,
        init=init,
        noise=noise,
        step=step_in_parts if in_parts else step_at_once,
        step_counted=step_counted if in_parts else None,
        sample=sampler(settings.sample_steps),
        sample_mean=sample_mean,
        sample_quick=None if visible.states else sampler(settings.sample_steps_training),
        log_prob=log_prob,
        log_prob_kind="exact",
        features=features,
        views={"rbm_energy_landscape": View("energy", energy_view)},
        info_units={"reconstruction_error": "squared distance"},
        loss_reference=(0.0, "equilibrium"),
    )
    return averaged(model, settings.average)


def hidden_input(visible: Visible, params: Params, v: jax.Array) -> jax.Array:
    """The logits of P(h = 1 | v), [H, n], of visible columns v [V, n]."""
    return params.weights.T @ visible.scaled(params, v) + params.hidden_bias[:, None]


def visible_mean(visible: Visible, params: Params, h: jax.Array) -> jax.Array:
    """E[v | h], [V, n], of hidden columns h [H, n]."""
    return visible.mean(params.weights @ h + params.visible_bias[:, None])


def free_energy(visible: Visible, params: Params, v: jax.Array) -> jax.Array:
    """F(v) [n] of columns v [V, n]: −ln of the unnormalised density or probability."""
    return visible.energy(params, v) - sum_softplus(hidden_input(visible, params, v))


def sweep(visible: Visible, params: Params, v: jax.Array, hidden: jax.Array, drawn: jax.Array) -> jax.Array:
    """One Gibbs sweep v -> h -> v [V, n], with uniforms [H, n] for h and the visible layer's own noise for v."""
    h = (hidden < nn.sigmoid(hidden_input(visible, params, v))).astype(v.dtype)
    return visible.draw(params, params.weights @ h + params.visible_bias[:, None], drawn)


@jax.custom_jvp
def sum_softplus(x: jax.Array) -> jax.Array:
    """Σⱼ ln(1 + e^xⱼ) of columns x [H, n], [n]: Σ max(x, 0) + ln Π (1 + e^-|x|), a logarithm for 64 units."""
    return _sum_softplus_of(x, 1 + jnp.exp(-jnp.abs(x)))


def _sum_softplus_of(x: jax.Array, factors: jax.Array) -> jax.Array:
    """The same where the factors 1 + e^-|x| are known."""
    missing = -len(x) % min(_FACTORS, len(x))
    groups = jnp.pad(factors, ((0, missing), (0, 0)), constant_values=1).reshape(-1, min(_FACTORS, len(x)), x.shape[1])
    return jnp.sum(jnp.maximum(x, 0), axis=0) + jnp.sum(jnp.log(jnp.prod(groups, axis=1)), axis=0)


@sum_softplus.defjvp
def _sum_softplus_jvp(primals, tangents):
    # The sigmoid that the Gibbs sweeps need as well: it is computed once.
    (x,), (dx,) = primals, tangents
    return sum_softplus(x), jnp.sum(nn.sigmoid(x) * dx, axis=0)


class Sums(NamedTuple):
    """What one pass over the hidden units has summed up; fields that nobody asked for stay as they were."""

    field: jax.Array  # [V, n]: W h of hidden states that were drawn
    softplus: jax.Array  # [n]: Σⱼ softplus
    d_scaled: jax.Array  # [V, n]: the derivative of −share Σ softplus by what the hidden units see
    gradient: Any  # its derivatives by the weights [V, H] and the hidden biases [H], added to those given


def units_at_once(n_hidden: int, n: int) -> int:
    """Hidden units of one part of a step with n rows."""
    return min(n_hidden, max(_FEWEST_AT_ONCE, _PART_BYTES // (_FLOAT_BYTES * n)))


def over_hidden_units(
    params: Params,
    scaled: jax.Array,
    n_at_once: int,
    key: jax.Array | None = None,
    gradient: tuple[jax.Array, jax.Array] | None = None,
    share: float = 0.0,
) -> Sums:
    """Everything that a step needs of the hidden units, which are independent given v, a few at a time.

    Args:
      params: the weights.
      scaled: what hidden units see, [V, n], from `Visible.scaled`.
      n_at_once: hidden units of a part; the last one may be smaller.
      key: [2] uint32, to draw hidden states with; None: none are drawn.
      gradient: derivatives by weights and hidden biases so far; None: none are wanted.
      share: what a column's free energy counts in them.
    """
    n_hidden, n = len(params.hidden_bias), scaled.shape[1]

    def part(sums, i, size):
        start = i * n_at_once
        cut = functools.partial(jax.lax.dynamic_slice_in_dim, start_index=start, slice_size=size)
        weights, bias = cut(params.weights, axis=1), cut(params.hidden_bias)

        x = weights.T @ scaled + bias[:, None]
        # One exponential for both: XLA would take one for each.
        small = jnp.exp(-jnp.abs(x))
        on = jnp.where(x < 0, small, 1) / (1 + small)
        if key is not None:
            h = (part_uniforms(key, i, (size, n)) < on).astype(scaled.dtype)
            sums = sums._replace(field=sums.field + weights @ h)
        if gradient is not None:
            put = functools.partial(jax.lax.dynamic_update_slice_in_dim, start_index=start)
            d_weights, d_bias = sums.gradient
            sums = sums._replace(
                softplus=sums.softplus + _sum_softplus_of(x, 1 + small),
                d_scaled=sums.d_scaled - share * (weights @ on),
                gradient=(
                    put(d_weights, cut(d_weights, axis=1) - share * (scaled @ on.T), axis=1),
                    put(d_bias, cut(d_bias) - share * on.sum(1), axis=0),
                ),
            )
        return sums

    sums = Sums(jnp.zeros_like(scaled), jnp.zeros(n, scaled.dtype), jnp.zeros_like(scaled), gradient)
    n_whole, rest = divmod(n_hidden, n_at_once)
    sums = jax.lax.fori_loop(0, n_whole, lambda i, sums: part(sums, i, n_at_once), sums)
    return part(sums, n_whole, rest) if rest else sums


def part_uniforms(key: jax.Array, i: jax.Array | int, shape: tuple[int, ...]) -> jax.Array:
    """The uniforms [h, n] of the i-th part of a sweep's hidden units, whose Threefry key is [2] uint32."""
    key = jax.random.fold_in(prng.unrolled(key), i)
    # As of several keys: XLA would else fuse the hash with what reads its numbers, at 4.2 ns a number instead of 0.6.
    return jax.vmap(lambda key: jax.random.uniform(key, shape))(key[None])[0]


def log_partition_gaussian(params: Params, nodes_per_sigma: int = 4, margin: float = 8.0) -> jax.Array:
    """ln Z by the trapezoid rule over the model's own reach, b_v + [Σⱼ min(W, 0), Σⱼ max(W, 0)] ± 8 σ.

    The reach holds every component's centre, whatever the data are: a box around the data alone would miss mass that
    the model puts elsewhere, and flatter it. The rule converges faster than any power for a mixture of Gaussians.
    Not for tracing: the number of nodes depends on the weights. NaN where they are not finite, or would take more than
    four million nodes.
    """
    sigma = jnp.exp(params.log_sigma)
    low = params.visible_bias + jnp.minimum(params.weights, 0).sum(1) - margin * sigma
    high = params.visible_bias + jnp.maximum(params.weights, 0).sum(1) + margin * sigma
    if not jnp.all((high - low) / sigma < _MOST_NODES / nodes_per_sigma):
        return jnp.full((), jnp.nan)
    # Rounded up so that models of similar reach share a compilation.
    n_nodes = [-(-int(n) // 64) * 64 for n in jnp.ceil((high - low) / sigma * nodes_per_sigma) + 1]
    if math.prod(n_nodes) > _MOST_NODES:
        return jnp.full((), jnp.nan)
    axes = [jnp.linspace(*span) for span in zip(low, high, n_nodes, strict=True)]
    grid = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    return jax.nn.logsumexp(-_free_energies(params, grid)) + sum(jnp.log(axis[1] - axis[0]) for axis in axes)


@jax.jit
def _free_energies(params: Params, v: jax.Array) -> jax.Array:
    """F(v) with Gaussian visibles of many rows [n, V] without holding [n, H] at once."""
    return jax.lax.map(lambda row: free_energy(visibles.GAUSSIAN, params, row[:, None])[0], v, batch_size=4096)

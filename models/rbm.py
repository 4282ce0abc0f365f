"""Restricted Boltzmann machine with Gaussian, softmax or binary visible units and binary hidden ones.

Gaussian visibles, one σ a visible unit:

    E(v, h) = Σᵢ (vᵢ − b_vᵢ)²/2σᵢ² − Σᵢⱼ vᵢ Wᵢⱼ hⱼ/σᵢ² − b_hᵀh,
    P(hⱼ = 1 | v) = sigmoid((v/σ²) W + b_h)ⱼ,    P(v | h) = N(b_v + W h, diag σ²),
    F(v) = Σᵢ (vᵢ − b_vᵢ)²/2σᵢ² − Σⱼ softplus((v/σ²) W + b_h)ⱼ.

The marginal is a mixture of 2^H Gaussians centred on b_v + W h. With σ = 1 the conditionals are the textbook ones.
With bins the visible layer is one softmax unit: E(v, h) = −b_vᵀv − vᵀWh − b_hᵀh on one-hot v, whose states can all be
enumerated, so samples are drawn exactly from softmax(−F). On bit strings the same energy has a binary unit for every
bit, P(vᵢ = 1 | h) = sigmoid((b_v + W h)ᵢ), whose states are enumerated as well (`models.boltzmann_states`). With
Gaussian visibles samples are drawn exactly, too (`models.boltzmann_density`), or by Gibbs chains.

Images have a binary unit for every pixel, and a grey level is the probability of a 1: hidden units see it as it is.
Their states cannot be counted. Samples come from Gibbs chains of 0 and 1 and are the E[v | h] of the last hidden state;
ln Z is exact where there are at most 20 hidden units.

The gradient of −ln p is ∇F(data) less ∇F(model), the model's part taken from Gibbs chains of k sweeps that start at
the data (CD) or go on from the last step's (PCD).

References:
  Hinton, Training Products of Experts by Minimizing Contrastive Divergence, 2002 (CD).
  Tieleman, Training RBMs using Approximations to the Likelihood Gradient, 2008 (PCD).
  Cho, Ilin and Raiko, Improved Learning of Gaussian-Bernoulli RBMs, 2011 (eq. 3 – 6: this energy, σ as ln σ²).
  Salakhutdinov, Mnih and Hinton, RBMs for Collaborative Filtering, 2007 (§2.1, softmax visibles).
"""

import functools
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from budget import solve_width
from core.settings import CONTINUOUS, Need, Settings, setting
from models import boltzmann_images, mixing
from models.base import Model, View, averaged, count_params, is_on, packing
from models.boltzmann import (
    FLOAT_BYTES,
    Params,
    free_energy,
    hidden_input,
    over_hidden_units,
    sweep,
    units_at_once,
    visible_mean,
)
from models.boltzmann_layers import LAYERS
from models.mixing_views import views_of

# Chains are independent, so they run in groups whose hidden layer stays in the cache: twice as fast as all at once for
# 5 000 chains of 799 hidden units on an idle CPU, and ten times on a busy one, whose cache others use too.
_CHAINS_AT_ONCE = 128
# From so many bytes of an array [H, B] on, a step on a CPU takes the hidden units in parts of so many bytes: the few
# arrays of a part stay in the second-level cache, where whole ones travel to memory and back. On a core with 1 MiB of
# it that is 1.0 times as fast at 0.2 MiB, 1.1 at 0.7, 1.6 at 2.3 and 2.0 at 23. Parts of 64 to 384 KiB do alike, but a
# product over 32 units, which 128 KiB would be at 1 024 rows, takes twice as long as one over 64.
_PARTS_FROM_BYTES = 2**20


# The laws of events that it can draw.
LAWS = LAYERS
_GIBBS = Need(
    "with gibbs or images",
    lambda config: config.rbm.sampler == "gibbs" or (config.law in LAWS and LAWS[config.law].most_units == 0),
    'set RBM.sampler = "gibbs"',
)


@dataclass(frozen=True)
class Config(Settings, of="RBM"):
    """Settings of the RBM."""

    learning_rate: float = setting(2e-3, "of Adam", above=0, traced=True)
    algorithm: Literal["auto", "CD", "PCD"] = setting(
        "auto", "chains start at the data (CD) or go on (PCD); auto: PCD for bits, images"
    )
    k: int = setting(0, "Gibbs sweeps of the negative phase a step; 0: 5 (bits, images), 1", low=0)
    sigma: float = setting(
        0.25, "σ of the visibles at the start", above=0, unit="units of the events", needs=CONTINUOUS, traced=True
    )
    learn_sigma: bool = setting(True, "train ln σ, one a visible unit", needs=CONTINUOUS)
    weight_scale: float = setting(
        0.0,
        "deviation of first weights; 0: 0.1 (line, bits), 0.02 (plane), 0.01",
        low=0,
        unit="units of the events",
        traced=True,
    )
    average: float = setting(0.9999, "decay of the averaged weights that sample; 0: off", low=0, below=1)
    sampler: Literal["exact", "gibbs"] = setting(
        "exact", "samples come from the known density, or from Gibbs chains", needs=CONTINUOUS
    )
    sample_steps: int = setting(1000, "Gibbs sweeps before a sample for the final score", low=1, needs=_GIBBS)
    sample_steps_training: int = setting(100, "the same for scores in mid-training", low=1, needs=_GIBBS)


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
      The model. `log_prob` enumerates the states of bins and of bits, and integrates over rows of numbers.

    Raises:
      UserError: the budget is below the smallest RBM for these events.
    """
    settings: Config = config.rbm
    codec, n_visible = target.codec, target.event.size
    layer = LAWS[target.event.law.name]
    visible = layer.visible
    k = settings.k or layer.k
    is_cd = (layer.algorithm if settings.algorithm == "auto" else settings.algorithm) == "CD"
    learn_sigma = settings.learn_sigma and visible.has_sigma
    weight_scale = settings.weight_scale if is_on(settings.weight_scale) else visible.weight_scale(n_visible)
    exactly = layer.most_units is None or (settings.sampler == "exact" and n_visible <= layer.most_units)

    def init_params(key, width):
        return Params(
            weights=weight_scale * jax.random.normal(key, (n_visible, width)),
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
    in_parts = on_cpu and FLOAT_BYTES * width * config.batch_size >= _PARTS_FROM_BYTES
    pack, unpack = packing(shapes(width))
    optimiser = optax.adam(settings.learning_rate)

    def units(params):
        """The parameters with ln σ filled in where it is fixed."""
        return params if learn_sigma else params._replace(log_sigma=jnp.full(n_visible, jnp.log(settings.sigma)))

    def init(key, data):
        params = init_params(key, width)
        if visible.first_bias:
            params = params._replace(visible_bias=visible.first_bias(data))
        if visible.starts_at_rows:
            # Hidden units that begin alike stay alike: each switches where a row of its own lies.
            rows = data[jax.random.randint(jax.random.fold_in(key, 1), (width,), 0, len(data))]
            seen = visible.scaled(units(params), rows.T)
            params = params._replace(hidden_bias=-jnp.sum(params.weights * seen, axis=0))
        # Different data rows, so that the chains start spread over the modes.
        chains = jnp.resize(data, (config.batch_size, n_visible)) if not is_cd else ()
        return State(params, optimiser.init(pack(params)), chains)

    def noise(key):
        key_hidden, key_visible = jax.random.split(key)
        if in_parts:
            hidden = jax.random.key_data(jax.random.split(key_hidden, k))
        else:
            hidden = jax.random.uniform(key_hidden, (k, width, config.batch_size))
        return Noise(hidden, visible.noise(key_visible, (k, n_visible, config.batch_size)))

    def objective(params, events, chains):
        params = units(params)
        return jnp.mean(free_energy(visible, params, events)) - jnp.mean(free_energy(visible, params, chains))

    def step_at_once(state, batch, noise):
        params, events = units(state.params), batch.T
        chains = events if is_cd else state.chains.T
        for of_hidden, of_visible in zip(noise.hidden, noise.visible, strict=True):
            chains = sweep(visible, params, chains, of_hidden, of_visible)
        loss, gradient = jax.value_and_grad(objective)(state.params, events, chains)
        mean = visible_mean(visible, params, nn.sigmoid(hidden_input(visible, params, events)))
        return updated(state, gradient, chains), Info(loss, jnp.mean(jnp.sum((events - mean) ** 2, axis=0)))

    def updated(state, gradient, chains):
        updates, opt_state = optimiser.update(pack(gradient), state.opt_state)
        new_params = unpack(optax.apply_updates(pack(state.params), updates))
        return State(new_params, opt_state, chains.T if not is_cd else ())

    def step_in_parts(state, batch, noise):
        """The same update without an array of all hidden units and rows."""
        params, events, n = units(state.params), batch.T, len(batch)
        n_at_once = units_at_once(width, n)

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
        hidden = jnp.broadcast_to(noise.visible[:, :1], (k, width, len(batch)))
        return step_at_once(state, batch, Noise(hidden, noise.visible))

    def gibbs(key, params, n, n_sweeps):
        n_chains = min(n, _CHAINS_AT_ONCE)

        def chains_of(key):
            key_start, key_sweeps = jax.random.split(key)
            v = layer.chain_start(key_start, params, (n_visible, n_chains))

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
            if exactly:
                return layer.sample(key, params, n)
            if layer.shows_mean:
                key, key_hidden = jax.random.split(key)
                return mean_given_hidden(key_hidden, params, gibbs(key, params, n, n_sweeps))
            return gibbs(key, params, n, n_sweeps)

        return sample

    def sample_mean(key, state, n):
        key_visible, key_hidden = jax.random.split(key)
        params = units(state.params)
        if layer.shows_mean:
            return sampler(settings.sample_steps)(key, state, n)
        return mean_given_hidden(key_hidden, params, sampler(settings.sample_steps)(key_visible, state, n))

    def mean_given_hidden(key, params, v):
        """E[v | h] of hidden states that are drawn given rows v, [n, V]."""
        on = jax.random.bernoulli(key, nn.sigmoid(hidden_input(visible, params, v.T)))
        return visible_mean(visible, params, on.astype(v.dtype)).T

    def direct(params, x, key):
        return layer.direct(units(params), x, key, target.event.box)

    log_prob_of = layer.log_prob if layer.most_units else jax.jit(layer.log_prob)
    knows_z = layer.most_hidden is None or width <= layer.most_hidden

    def log_prob(state, x):
        return log_prob_of(units(state.params), x)

    annealed = boltzmann_images.annealed(visible, gibbs, settings.sample_steps)
    filters = boltzmann_images.filters_of(visible)

    def energy_view(state):
        """−ln q over the box: the free energy plus ln Z, in data space."""
        x, events = target.grid()
        return {"x": x, "energy": codec.log_volume - log_prob(state, events)}

    def reconstruct(state, x):
        params = units(state.params)
        return visible_mean(visible, params, nn.sigmoid(hidden_input(visible, params, x.T))).T

    def features(state):
        # Of 2^H Gaussians of one width nobody knows where they are.
        return None, jnp.diag(jnp.exp(2 * units(state.params).log_sigma))[None]

    record, views = (
        None,
        {
            "rbm_energy_landscape": View("energy", energy_view),
            "rbm_filters": View("filters", lambda state, rows: filters(units(state.params), rows), needs_rows=True),
        },
    )
    views = {name: view for name, view in views.items() if name == layer.view}
    if layer.recorder:
        recorded = layer.recorder(config.n_steps)
        record = mixing.once_a_state(lambda state: recorded(state.params))
        views |= views_of(record)

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
        sample_quick=None if exactly else sampler(settings.sample_steps_training),
        log_prob=log_prob if knows_z else None,
        log_prob_kind="exact" if knows_z else None,
        direct=direct if layer.direct else None,
        unnormalised=None if knows_z else lambda key, state, x: annealed(key, units(state.params), x),
        features=features,
        reconstruct=reconstruct,
        views=views,
        record=record,
        info_units={"reconstruction_error": "squared distance"},
        loss_reference=(0.0, "equilibrium"),
    )
    return averaged(model, settings.average)

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

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from core.settings import CONTINUOUS, Need, Settings, setting
from models import boltzmann_images, mixing
from models.base import Model, View, averaged, is_on
from models.boltzmann import FLOAT_BYTES, Params
from models.boltzmann_layers import LAYERS, Layer
from models.boltzmann_samples import Sampler
from models.boltzmann_steps import Descent, Sigma, State
from models.mixing_views import views_of
from models.sizing import Sized, sized, update_of
from models.visibles import Visible

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
    n_visible, n_rows = target.event.size, config.batch_size
    layer = LAWS[target.event.law.name]
    sigma = Sigma(settings.sigma, settings.learn_sigma and layer.visible.has_sigma)
    machine = _machine_of(config, layer, sigma, n_visible)
    algorithm = layer.algorithm if settings.algorithm == "auto" else settings.algorithm
    update = update_of(optax.adam(settings.learning_rate), machine.shapes)
    descent = Descent(layer.visible, sigma, update, settings.k or layer.k, is_cd=algorithm == "CD")
    # An accelerator has no such cache, and would idle between the parts.
    on_cpu = jax.local_devices()[0].platform == "cpu"
    in_parts = on_cpu and FLOAT_BYTES * machine.width * n_rows >= _PARTS_FROM_BYTES
    exactly = layer.most_units is None or (settings.sampler == "exact" and n_visible <= layer.most_units)
    samples = Sampler(layer, exactly)

    def init(key, data):
        params = _placed(machine.init_params(key), jax.random.fold_in(key, 1), data, layer.visible, sigma)
        # Different data rows, so that the chains start spread over the modes.
        chains = () if descent.is_cd else jnp.resize(data, (n_rows, n_visible))
        return State(params, update.init(params), chains)

    def noise(key):
        return descent.noise(key, (n_visible, machine.width, n_rows), in_parts)

    def sampler(n_sweeps):
        return lambda key, state, n: samples.sample(key, sigma.filled(state.params), n, n_sweeps)

    def sample_mean(key, state, n):
        return samples.mean(key, sigma.filled(state.params), n, settings.sample_steps)

    def features(state):
        # Of 2^H Gaussians of one width nobody knows where they are.
        return None, jnp.diag(jnp.exp(2 * sigma.filled(state.params).log_sigma))[None]

    density = _density(settings, target, machine.width, samples, sigma)
    record = _record(config, layer)
    model = Model(
        name="RBM",
        n_params=machine.n_params,
        width=machine.width,
        init=init,
        noise=noise,
        step=descent.in_parts if in_parts else descent.at_once,
        step_counted=descent.counted if in_parts else None,
        sample=sampler(settings.sample_steps),
        sample_mean=sample_mean,
        sample_quick=None if exactly else sampler(settings.sample_steps_training),
        **density,
        features=features,
        reconstruct=lambda state, x: samples.reconstruct(sigma.filled(state.params), x),
        views=_view(target, layer, sigma, density["log_prob"]) | (views_of(record) if record else {}),
        record=record,
        info_units={"reconstruction_error": "squared distance"},
        loss_reference=(0.0, "equilibrium"),
    )
    return averaged(model, settings.average)


def _machine_of(config: Any, layer: Layer, sigma: Sigma, n_visible: int) -> Sized:
    """The machine whose number of hidden units is closest to the budget."""
    scale = config.rbm.weight_scale
    scale = scale if is_on(scale) else layer.visible.weight_scale(n_visible)

    def init_params(key, width):
        return Params(
            weights=scale * jax.random.normal(key, (n_visible, width)),
            visible_bias=jnp.zeros(n_visible),
            hidden_bias=jnp.zeros(width),
            log_sigma=sigma.first(n_visible),
        )

    return sized(lambda width: width, init_params, config.parameter_budget)


def _placed(params: Params, key: jax.Array, data: jax.Array, visible: Visible, sigma: Sigma) -> Params:
    """The first parameters, with biases that suit rows of data [n, V]."""
    if visible.first_bias:
        params = params._replace(visible_bias=visible.first_bias(data))
    if visible.starts_at_rows:
        # Hidden units that begin alike stay alike: each switches where a row of its own lies.
        rows = data[jax.random.randint(key, params.hidden_bias.shape, 0, len(data))]
        seen = visible.scaled(sigma.filled(params), rows.T)
        params = params._replace(hidden_bias=-jnp.sum(params.weights * seen, axis=0))
    return params


def _density(settings: Config, target: Any, n_hidden: int, samples: Sampler, sigma: Sigma) -> dict[str, Any]:
    """The fields of a `Model` that say how probable events are: exactly where ln Z is known."""
    layer = samples.layer
    log_prob_of = layer.log_prob if layer.most_units else jax.jit(layer.log_prob)
    annealed = boltzmann_images.annealed(layer.visible, samples.gibbs, settings.sample_steps)

    def log_prob(state, x):
        return log_prob_of(sigma.filled(state.params), x)

    def unnormalised(key, state, x):
        return annealed(key, sigma.filled(state.params), x)

    def direct(params, x, key):
        return layer.direct(sigma.filled(params), x, key, target.event.box)

    knows_z = layer.most_hidden is None or n_hidden <= layer.most_hidden
    return {
        "log_prob": log_prob if knows_z else None,
        "log_prob_kind": "exact" if knows_z else None,
        "unnormalised": None if knows_z else unnormalised,
        "direct": direct if layer.direct else None,
    }


def _view(target: Any, layer: Layer, sigma: Sigma, log_prob: Callable[..., jax.Array] | None) -> dict[str, View]:
    """The picture that shows such a machine."""
    filters = boltzmann_images.filters_of(layer.visible)

    def energy(state):
        """−ln q over the box: the free energy plus ln Z, in data space."""
        x, events = target.grid()
        return {"x": x, "energy": target.codec.log_volume - log_prob(state, events)}

    views = {
        "rbm_energy_landscape": View("energy", energy),
        "rbm_filters": View("filters", lambda state, rows: filters(sigma.filled(state.params), rows), needs_rows=True),
    }
    return {layer.view: views[layer.view]}


def _record(config: Any, layer: Layer) -> Callable[[Any], Any] | None:
    """(state) -> a recording of Gibbs chains, where the layer has one."""
    if layer.recorder is None:
        return None
    recorded = layer.recorder(config.n_steps)
    return mixing.once_a_state(lambda state: recorded(state.params))

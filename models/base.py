"""The contract between a family of generative models and everything that trains, scores and draws it."""

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from core.captions import Caption

# Scalars up to which many small arrays are handled as one vector: below, each array costs its call and not its content.
_MOST_PACKED = 2**15


class View(NamedTuple):
    """What a picture of a family's own shows, as arrays of one trained state."""

    kind: str  # what `pictures` draws it as. Where that is one of its SHARED kinds, families that show it under one
    # picture name share the picture
    arrays: Callable[..., dict] | None = None  # (state) -> dict of arrays in data space; None: curves alone are shown
    info_fields: tuple[str, ...] = ()  # fields of Info that this picture shows over training; not among the losses then
    needs_rows: bool = False  # `arrays` takes (state, rows), a fixed draw of the target's events [n, size]


class SweepView(NamedTuple):
    """What a sweep of one of a family's settings shows of it: a field of Info at the end against another one.

    A family file may have some as `SWEEP_VIEWS`: file name of a picture, without its ending -> what it shows.
    """

    setting: str  # of the family's Config
    x: str  # a field of Info
    y: str  # another one; where the exact KL is defined their sum cannot be below the target's entropy
    labels: tuple[str, str, str]  # what the setting, x and y are called
    known_as: str  # what the sweep goes by elsewhere, as if it were a family
    values: tuple[float, ...]  # that it is usually swept over
    beside: Mapping[str, float] = {}  # other settings of the Config, without which the sweep does not show it
    caption: Caption | None = None  # what the page of a sweep says of the picture; None: nothing beside its name


class Model(NamedTuple):
    """One family, sized for a budget and a target: pure functions that close over its networks.

    A family is one file with a frozen `Config` of defaults and `build(config, target) -> Model`, where `config` is the
    run's whole configuration (`config.parameter_budget`, `config.hidden_layers`, `config.batch_size`, and the family's
    own settings under its lower-case name) and `target` says what an event looks like (`target.event`).

    Float settings with `traced=True` are those that `build` takes as traced numbers, too. It may have
    `SWEEP_VIEWS`, pictures of its own over the cells of a sweep, and `NEEDS_LATTICE` where it draws no events but those
    that have one.

    `State` is a NamedTuple with the pytree of trainable weights as `params`; `Info` is a NamedTuple of
    scalars whose first field is `loss`, in nats.
    """

    name: str
    n_params: int  # every trainable weight of the family, counted on the initialised parameters
    width: int  # the solved hidden width
    init: Callable[..., Any]  # (key, data[n, size]) -> State
    noise: Callable[..., Any]  # (key) -> Noise: all randomness of one training step
    step: Callable[..., Any]  # (state, batch, noise) -> (State, Info): deterministic, one update
    sample: Callable[..., jax.Array]  # (key, state, n) -> [n, size], from the model's own distribution
    sample_mean: Callable[..., jax.Array]  # (key, state, n) -> [n, size]: E[event | latent], what soft decoding reads
    sample_quick: Callable[..., jax.Array] | None = (
        None  # a cheaper `sample` for scores in mid-training; None: `sample`
    )
    log_prob: Callable[..., jax.Array] | None = None  # (state, x[n, size]) -> [n] in nats
    log_prob_kind: str | None = None  # "exact", "estimate" or None
    measure: str | None = None  # "density": that of events whose law has probabilities; None: as the law has it
    # (key, state, x[n, size]) -> [n] nats that ln q exceeds in expectation, where log_prob is None; None: unknown
    bound: Callable[..., jax.Array] | None = None
    # (key, state, x[n, size]) -> ln q up to ln Z [n], and two `models.likelihood.LogZ`; None: it has log_prob, or none
    unnormalised: Callable[..., Any] | None = None
    # (params, x[n, size], key) -> [n] nats: the same of the family's own weights, quick enough to be differentiated by
    # them a thousand times: by few nodes, which the key moves; None: nobody has said how
    direct: Callable[..., jax.Array] | None = None
    # (state) -> means [K, D], or None for anywhere, and covariances [K, D, D] of what the density is made of, in units
    # of the events: where it may be narrow; None: unknown
    features: Callable[..., tuple[Any, jax.Array]] | None = None
    # (state, x[n, size]) -> [n] nats: by what `log_prob` changes with another rule as fine as its own; None: it rests
    # on none
    log_prob_error: Callable[..., jax.Array] | None = None
    # () -> the same model with a finer rule, for states whose density its own is too coarse for; None: there is none
    finer: Callable[[], "Model"] | None = None
    # Fields of the same model with a cheaper rule for its density, for scores in mid-training, such as `log_prob` and
    # the `log_prob_error` of that one; where it is too coarse for a state the model's own rule is asked. Empty: it is
    # cheap itself
    quick: Mapping[str, Callable[..., jax.Array]] = {}
    # `log_prob` is constant within each of so many equal cells an axis of the target's box, and no quadrature converges
    # where it jumps; None: it is smooth
    log_prob_steps: int | None = None
    last_fields: tuple[str, ...] = ()  # of Info, those of which an interval's last step is shown and not its mean: what
    # only converges, or counts
    views: Mapping[str, View] = {}  # file name of a picture, without its ending -> what it shows
    info_units: Mapping[str, str] = {}  # of the fields of Info that are neither nats nor shown in a view
    loss_reference: tuple[float, str] | None = None  # what a perfect model's loss would be, and what to call it
    batches_per_step: int | None = 1  # minibatches a step consumes; above 1 they are stacked; None: the whole data set
    n_data_rows: int | None = None  # of that data set, where there is none but fresh draws; None: the engine decides
    n_rows_used: int | None = None  # rows that a step computes with; None: all that it is given
    step_counted: Callable[..., Any] | None = None  # an update of the same operations without a loop, whose body the
    # compiler counts once; None: `step` has no loop
    # (state) -> a `models.mixing.Recording` of Markov chains that are to reach the model; None: it has none
    record: Callable[[Any], Any] | None = None
    rival: bool = False  # a trivial model that every other should beat
    latent_dim: int = 0  # numbers of z that `decode` takes; their distribution is N(0, I)
    decode: Callable[..., jax.Array] | None = None  # (state, z[n, latent_dim]) -> [n, size]: E[event | z]
    encode: Callable[..., jax.Array] | None = None  # (state, x[n, size]) -> [n, latent_dim]: the mean of q(z | x)
    # (state, x[n, size]) -> [n, size]: events once through the model's code; None: it has none
    reconstruct: Callable[..., jax.Array] | None = None
    max_steps: int | None = None  # training stops there and the last value is held; 0: nothing to train
    numbers: Mapping[str, float] = {}  # settings that compiled programs take as arguments, from `models.build`
    with_numbers: Callable[..., "Model"] | None = None  # (numbers, traced or not) -> this model with those instead

    def in_passing(self) -> "Model":
        """This model with its cheaper rule, if it has one."""
        return self._replace(**self.quick, finer=lambda: self) if self.quick else self

    def steps_until(self, step: int) -> int:
        """How many steps a seed has taken when training is at `step`: those beyond `max_steps` are none."""
        return step if self.max_steps is None else min(step, self.max_steps)


def count_params(params: Any) -> int:
    """The number of scalars in a pytree of arrays (or of shapes, as `jax.eval_shape` returns)."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def packing(shapes: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """What makes one vector of a small pytree of floats, and what undoes it; for a large one both change nothing.

    Optimisers work on either form. A pytree of a dozen tiny arrays takes a dozen calls an operation, a vector one.

    Args:
      shapes: the pytree, of arrays or of their shapes.
    """
    if count_params(shapes) > _MOST_PACKED:
        return (lambda tree: tree), (lambda tree: tree)
    leaves, structure = jax.tree.flatten(shapes)
    ends = list(itertools.accumulate(leaf.size for leaf in leaves))

    def unpack(vector):
        # On the host nothing needs to be compiled.
        cut = vector.__getitem__ if isinstance(vector, np.ndarray) else functools.partial(_cut, vector)
        parts = [cut(slice(end - leaf.size, end)).reshape(leaf.shape) for leaf, end in zip(leaves, ends, strict=True)]
        return jax.tree.unflatten(structure, parts)

    return (lambda tree: ravel_pytree(tree)[0]), unpack


def _cut(vector: jax.Array, span: slice) -> jax.Array:
    return jax.lax.slice(vector, (span.start,), (span.stop,))


def is_on(setting: Any) -> bool:
    """Whether a setting that is off at 0 is on; a traced one is, since it cannot choose what is compiled."""
    return isinstance(setting, jax.core.Tracer) or setting != 0


class AveragedState(NamedTuple):
    """What training carries when a model is scored with averaged weights."""

    packed_average: Any  # the exponential moving average of the weights, as `packing` packs them
    inner: Any  # the family's own State
    n_updates: jax.Array  # [] int32

    @property
    def params(self) -> Any:
        """The weights being trained."""
        return self.inner.params

    @property
    def average(self) -> Any:
        """Their average, in the same form."""
        return packing(self.inner.params)[1](self.packed_average)


def weights_of(state: Any) -> Any:
    """The weights that a State samples with: their average where there is one."""
    return state.average if isinstance(state, AveragedState) else state.params


def with_weights(state: Any, params: Any) -> Any:
    """The State as it would be with other weights, its average among them."""
    if isinstance(state, AveragedState):
        return state._replace(packed_average=packing(params)[0](params), inner=with_weights(state.inner, params))
    return state._replace(params=params)


def watched(state: Any) -> list[jax.Array]:
    """The arrays of a State that tell whether its training has diverged: weights, in floating point.

    A weight that is not finite leaves none to its average in the same step: an average speaks for both. An optimiser's
    state is not asked, as nothing is drawn from it: what is not finite there makes the next update so, and with it the
    weights, or, as a second moment that has overflowed, makes it zero.
    """
    weights = state.packed_average if isinstance(state, AveragedState) else state.params
    return [leaf for leaf in jax.tree.leaves(weights) if jnp.issubdtype(leaf.dtype, jnp.floating)]


def without_optimiser(state: Any) -> Any:
    """A State without what only training needs: of a large model that is half of it."""
    if isinstance(state, AveragedState):
        return state._replace(inner=without_optimiser(state.inner))
    return state._replace(opt_state=()) if "opt_state" in getattr(state, "_fields", ()) else state


def averaged(model: Model, decay: float) -> Model:
    """The model with everything but its training done by an exponential moving average of its weights.

    With a constant learning rate the weights keep jittering about an optimum; their average does not (Polyak and
    Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992). After t updates the decay is at most
    (1 + t)/(10 + t), so that the average forgets where training began and scores in mid-training do not lag behind.

    Args:
      model: a family's model, whose State has `params`.
      decay: in [0, 1); 0 leaves the model as it is.
    """
    if not is_on(decay):
        return model

    def init(key, data):
        inner = model.init(key, data)
        return AveragedState(packing(inner.params)[0](inner.params), inner, jnp.zeros((), jnp.int32))

    def averaging(step):
        def step_and_average(state, batch, noise):
            inner, info = step(state.inner, batch, noise)
            t = state.n_updates + 1
            rate = jnp.maximum(1 - decay, 9 / (10 + t))
            packed = packing(inner.params)[0](inner.params)
            average = jax.tree.map(lambda old, new: old + rate * (new - old), state.packed_average, packed)
            return AveragedState(average, inner, t), info

        return step_and_average

    def with_average(function):
        if function is None:
            return None

        @functools.wraps(function)
        def of_average(*args):
            return function(
                *(arg.inner._replace(params=arg.average) if isinstance(arg, AveragedState) else arg for arg in args)
            )

        return of_average

    return model._replace(
        init=init,
        step=averaging(model.step),
        step_counted=model.step_counted and averaging(model.step_counted),
        sample=with_average(model.sample),
        sample_mean=with_average(model.sample_mean),
        sample_quick=with_average(model.sample_quick),
        log_prob=with_average(model.log_prob),
        decode=with_average(model.decode),
        encode=with_average(model.encode),
        reconstruct=with_average(model.reconstruct),
        bound=with_average(model.bound),
        unnormalised=with_average(model.unnormalised),
        features=with_average(model.features),
        log_prob_error=with_average(model.log_prob_error),
        quick={name: with_average(function) for name, function in model.quick.items()},
        views={name: view._replace(arrays=with_average(view.arrays)) for name, view in model.views.items()},
        record=with_average(model.record),
    )

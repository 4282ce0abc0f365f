"""The contract between a family of generative models and everything that trains, scores and draws it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax


class View(NamedTuple):
    """What a picture of a family's own shows, as arrays of one trained state."""

    kind: str  # what `pictures` draws it as: "latent_sweep", "discriminator" or "energy"
    arrays: Callable[..., dict]  # (state) -> dict of arrays in data space
    info_fields: tuple[str, ...] = ()  # fields of Info that this picture shows over training; not among the losses then


class Model(NamedTuple):
    """One family, sized for a budget and a target: pure functions that close over its networks.

    A family is one file with a frozen `Config` of defaults and `build(config, target) -> Model`, where `config` is the
    run's whole configuration (`config.parameter_budget`, `config.hidden_layers`, `config.batch_size`, and the family's
    own settings under its lower-case name) and `target` says what an event looks like (`target.codec`).

    `State` is a NamedTuple whose first field `params` is the pytree of trainable weights; `Info` is a NamedTuple of
    scalars whose first field is `loss`, in nats.
    """

    name: str
    n_params: int  # every trainable weight of the family, counted on the initialised parameters
    width: int  # the solved hidden width
    init: Callable[..., Any]  # (key, data[n, *event]) -> State
    noise: Callable[..., Any]  # (key) -> Noise: all randomness of one training step
    step: Callable[..., Any]  # (state, batch, noise) -> (State, Info): deterministic, one update
    sample: Callable[..., jax.Array]  # (key, state, n) -> [n, *event], from the model's own distribution
    sample_mean: Callable[..., jax.Array]  # (key, state, n) -> [n, *event]: E[event | latent], what soft decoding reads
    sample_quick: Callable[..., jax.Array] | None = (
        None  # a cheaper `sample` for scores in mid-training; None: `sample`
    )
    log_prob: Callable[..., jax.Array] | None = None  # (state, x[n, *event]) -> [n] in nats
    log_prob_kind: str | None = None  # "exact", "estimate" or None
    views: Mapping[str, View] = {}  # file name of a picture, without its ending -> what it shows
    info_units: Mapping[str, str] = {}  # of the fields of Info that are neither nats nor shown in a view
    loss_reference: tuple[float, str] | None = None  # what a perfect model's loss would be, and what to call it
    batches_per_step: int | None = 1  # minibatches a step consumes; above 1 they are stacked; None: the whole data set
    max_steps: int | None = None  # training stops there and the last value is held; 0: nothing to train


def count_params(params: Any) -> int:
    """The number of scalars in a pytree of arrays (or of shapes, as `jax.eval_shape` returns)."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))

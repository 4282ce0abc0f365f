"""Fits of a mixture from several starts, which take their iterations side by side: the best one is the model."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from models import grouped, mixtures
from models.base import Model
from models.mixture_views import clustering_view


class State(NamedTuple):
    """What training carries."""

    params: Any  # of the best start
    starts: Any  # the same of all, [n_init, …]
    course: jax.Array  # [max_iter] the best start's loss before every iteration; 0 where none has been
    n_done: jax.Array  # [] int32

    def followed_by(self, params: Any, starts: Any, loss: jax.Array) -> "State":
        """After an iteration, before which the best start's loss was that."""
        return State(params, starts, self.course.at[self.n_done].set(loss), self.n_done + 1)


def begun(start: Callable[[jax.Array], Any], key: jax.Array, settings: Any, dtype: Any) -> State:
    """The State before training.

    Args:
      start: (key) -> the parameters of one start.
      key: for all of them.
      settings: the family's own, with `n_init` and `max_iter`.
      dtype: of the course.
    """
    starts = jax.lax.map(start, jax.random.split(key, settings.n_init))
    return State(at(starts, 0), starts, jnp.zeros(settings.max_iter, dtype), jnp.int32(0))


def at(starts: Any, i: Any) -> Any:
    """The parameters of one start."""
    return jax.tree.map(lambda leaf: leaf[i], starts)


def each(function: Callable[[Any], Any], starts: Any, whole: bool) -> Any:
    """A function of one start's parameters, of all of them; `whole`: without a loop, to be counted."""
    return jax.vmap(function)(starts) if whole else jax.lax.map(function, starts)


class Fit(NamedTuple):
    """What a family of mixtures brings, by functions of its parameters."""

    name: str
    width: int  # components
    n_params: int
    mixture: grouped.OfEvents
    natural: Callable[[Any], tuple[jax.Array, ...]]  # -> log weights [K], means [K, D] and covariances [K, D, D]
    assigning: Callable[[Any], tuple[jax.Array, ...]]  # -> as `clustering_view` takes it
    init: Callable[..., State]  # (key, data)
    step: Callable[..., Any]  # (whole, state, batch, noise) -> (state, Info); `whole` as for `each`
    last_fields: tuple[str, ...]


def model_of(fit: Fit, target: Any, positions: grouped.Positions, settings: Any) -> Model:
    """The model of such a family.

    Args:
      fit: what it brings.
      target: what it is trained on.
      positions: where its components lie.
      settings: its own, with `n_rows` and `max_iter`.
    """
    drawing = grouped.drawing(fit.mixture, lambda state: state.params)

    def noise(key):
        del key
        return ()

    def natural(state):
        return fit.natural(state.params)

    def assigning(state):
        return fit.assigning(state.params)

    return Model(
        name=fit.name,
        n_params=fit.n_params,
        width=fit.width,
        init=fit.init,
        noise=noise,
        step=functools.partial(fit.step, False),
        step_counted=functools.partial(fit.step, True),
        **drawing,
        features=lambda state: natural(state)[1:],
        views={"gmm_vs_kmeans": clustering_view(target, positions, natural, assigning, drawing["log_prob"])},
        loss_reference=mixtures.loss_reference(target),
        batches_per_step=None,
        n_data_rows=settings.n_rows,
        max_steps=settings.max_iter,
        last_fields=fit.last_fields,
    )

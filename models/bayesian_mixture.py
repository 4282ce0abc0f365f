"""What both ways to fit a Bayesian Gaussian mixture share: its model of the data, and how their bounds are followed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from core.errors import UserError
from core.settings import Settings, setting
from models import grouped, mixtures, normal_wishart
from models.base import Model, View
from models.normal_wishart import Law

# The steps before which both bounds are evaluated: each a quarter more than the last.
MARKS = np.unique(np.round(1.25 ** np.arange(76)).astype(np.int64) - 1).astype(np.int32)


class Shared(NamedTuple):
    """The parts of a family that its way of fitting does not change."""

    width: int  # components
    positions: grouped.Positions  # where they lie
    followed: Callable[[Any, Law, jax.Array, jax.Array], jax.Array]  # (state, q, events, seeds) -> the state's course,
    # with both bounds of q if this is a step before which they are evaluated
    model: Model  # without init, noise and step


@dataclass(frozen=True)
class SharedSettings(Settings):
    """What both ways of fitting are told: the priors, and how much they draw."""

    weight_concentration_prior: float = setting(0.0, "α₀ of every component; 0: 1/K", low=0)
    mean_precision_prior: float = setting(1.0, "β₀", above=0)
    degrees_of_freedom_prior: float = setting(0.0, "ν₀; 0: the number of coordinates", low=0)
    n_draws: int = setting(8, "of the parameters, for the bound without assignments", low=2)
    n_components: int = setting(0, "components; 0: as many as PARAMETER_BUDGET makes", low=0, high=2**20)
    n_rows: int = setting(32_768, "size of the data set where there is none but fresh draws", low=2, high=2**23)


def shared_parts(family: str, config: Any, target: Any, settings: Any, law_of: Callable[[Any], Law]) -> Shared:
    """Sizes the mixture and closes what samples and scores it over the law of its parameters.

    Args:
      family: its name.
      config: the run's configuration.
      target: the distribution to learn.
      settings: the family's own.
      law_of: (state) -> the law q of the parameters.

    Raises:
      UserError: as `vbgmm.build`.
    """
    positions = grouped.positions(target)
    dim = positions.dim

    def count(n_components):
        return n_components * (3 + dim + dim * (dim + 1) // 2)

    width = grouped.n_components(config, target, count, "components", settings, fewest=dim + 1)
    freedom = settings.degrees_of_freedom_prior
    if freedom and freedom <= dim - 1:
        raise UserError(
            f"{family}.degrees_of_freedom_prior = {freedom:g} must be above {dim - 1} in {dim} dimensions; "
            f"the nearest whole number is {dim}"
        )

    def features(state):
        _, centres, whitening, _ = normal_wishart.predictive(law_of(state))
        factors = mixtures.inverse_lower(whitening)
        return centres, jnp.matmul(factors, factors.transpose(0, 2, 1), precision="highest")

    model = Model(
        name=family,
        n_params=count(width),
        width=width,
        init=None,
        noise=None,
        step=None,
        **grouped.drawing(positions.mixture(_PREDICTIVE), law_of),
        features=features,
        views={"variational_elbo": _bounds_view(target.codec)},
        batches_per_step=None,
        n_data_rows=settings.n_rows,
    )
    return Shared(width, positions, _following(positions, settings.n_draws), model)


# The posterior predictive, by functions of the law of the parameters.
_PREDICTIVE = grouped.Mixture(
    log_weights=lambda law: normal_wishart.predictive(law)[0],
    centres=lambda law: law.means,
    log_masses=normal_wishart.predictive_log_masses,
    draw=normal_wishart.predictive_draw,
    log_density=normal_wishart.predictive_log_density,
)


def _following(positions: grouped.Positions, n_draws: int) -> Callable[[Any, Law, jax.Array, jax.Array], jax.Array]:
    """`Shared.followed`, with so many draws for the bound without assignments."""

    # One seed after the other where several are side by side: a batch of them would evaluate the bounds at every step.
    @jax.custom_batching.sequential_vmap
    def course_with(n_done, course, law, prior, events, seeds):
        marks = jnp.asarray(MARKS)
        place = jnp.minimum(jnp.searchsorted(marks, n_done), len(MARKS) - 1)

        def evaluated():
            x, weights = positions.weighted(events)
            found = normal_wishart.bounds(key_of(seeds), law, prior, x, weights, n_draws)
            return course.at[place].set(jnp.stack(found))

        return jax.lax.cond(marks[place] == n_done, evaluated, lambda: course)

    def followed(state, law, events, seeds):
        return course_with(state.n_done, state.course, law, state.prior, events, seeds)

    return followed


def _bounds_view(codec: Any) -> View:
    """Both bounds at the marks that training has come to, nats a row."""

    def arrays(state):
        known = jnp.searchsorted(jnp.asarray(MARKS), state.n_done, side="left")
        place = jnp.minimum(jnp.arange(len(MARKS)), jnp.maximum(known - 1, 0))
        return {
            "step": jnp.asarray(MARKS, jnp.float32)[place],
            "with_assignments": state.course[place, 0] - codec.log_volume,
            "summed_out": state.course[place, 1] - codec.log_volume,
            "standard_error": state.course[place, 2],
        }

    return View("bounds", arrays, info_fields=("components",))


def seeds(key: jax.Array) -> jax.Array:
    """What `key_of` makes a key of, [2]: a noise is made of numbers, and gamma variables take as many as they need."""
    return jax.random.uniform(key, (2,))


def key_of(seeds: jax.Array) -> jax.Array:
    """A key out of two uniform numbers of 23 random bits each."""
    return jax.random.wrap_key_data((seeds * 2**23).astype(jnp.uint32))


def no_course(dtype: Any) -> jax.Array:
    """The course before training, [M, 3]."""
    return jnp.zeros((len(MARKS), 3), dtype)

"""Networks of the width that a budget asks for, and how an optimiser changes their weights."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from budget import solve_width
from models.base import count_params, packing


class Sized(NamedTuple):
    """Networks of one width."""

    width: int
    networks: Any  # as `of_width` makes them
    shapes: Any  # of the weights
    init_params: Callable[[jax.Array], Any]  # (key) -> the weights at the start

    @property
    def n_params(self) -> int:
        """How many weights there are."""
        return count_params(self.shapes)


def sized(of_width: Callable[[int], Any], init_params: Callable[[jax.Array, Any], Any], budget: int) -> Sized:
    """Networks of the width whose number of weights is closest to a budget.

    Args:
      of_width: (width) -> networks.
      init_params: (key, networks) -> their weights at the start.
      budget: parameters.

    Raises:
      UserError: the budget is below the smallest networks.
    """

    def at(width):
        networks = of_width(width)

        def init(key):
            return init_params(key, networks)

        return Sized(width, networks, jax.eval_shape(init, jax.random.key(0)), init)

    return at(solve_width(lambda width: at(width).n_params, budget))


class Update(NamedTuple):
    """How an optimiser changes weights, which it has in the form that `packing` gives them."""

    optimiser: optax.GradientTransformation
    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]

    def init(self, weights: Any) -> Any:
        """The optimiser's state at the start."""
        return self.optimiser.init(self.pack(weights))

    def applied(self, weights: Any, gradient: Any, opt_state: Any) -> tuple[Any, Any]:
        """The weights after an update, and the optimiser's state."""
        packed = self.pack(weights)
        updates, opt_state = self.optimiser.update(self.pack(gradient), opt_state, packed)
        return self.unpack(optax.apply_updates(packed, updates)), opt_state


def update_of(optimiser: optax.GradientTransformation, shapes: Any) -> Update:
    """An optimiser for weights of these shapes."""
    return Update(optimiser, *packing(shapes))

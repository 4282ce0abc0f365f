import functools
import sys

import jax
import jax.numpy as jnp
import pytest
from conftest import NUMBERS, quick_if
from hypothesis import given, settings
from hypothesis import strategies as st

from budget import solve_width
from core.errors import UserError
from models import MODELS
from models.base import count_params
from targets import make_target

EVENTS = {
    "1-D": dict(target_type="1D_BETA", num_bins=0),
    "binned": dict(target_type="1D_BETA", num_bins=20),
    "2-D": dict(target_type="2D_MIX_GAUSS", num_bins=0),
}


def brute_force(count, budget):
    """The closest of all widths, the smaller of two: counts grow, so nothing beyond the first too large can win."""
    last = 1
    while count(last) < budget:
        last += 1
    return min(range(1, last + 1), key=lambda width: (abs(count(width) - budget), width))


@settings(derandomize=True, deadline=None, max_examples=300)
@given(a=st.integers(0, 12), b=st.integers(1, 60), c=st.integers(0, 80), above=st.integers(0, 4000))
def test_width_is_the_closest_of_all(a, b, c, above):
    def count(width):
        return a * width**2 + b * width + c

    budget = count(1) + above
    assert solve_width(count, budget) == brute_force(count, budget)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(b=st.integers(1, 9), above=st.integers(0, 4000))
def test_half_a_square_is_counted_exactly(b, above):
    """N(H) can be whole with a = ½, as for a triangular matrix."""

    def count(width):
        return width * (width + 1) // 2 + b * width

    budget = count(1) + above
    assert solve_width(count, budget) == brute_force(count, budget)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(a=st.integers(0, 9), b=st.integers(1, 9), width=st.integers(1, 10**9), off=st.integers(-3, 3))
def test_budgets_beyond_the_floats_are_exact(a, b, width, off):
    def count(width):
        return a * width**2 + b * width

    budget = max(count(1), count(width) + off)
    found = solve_width(count, budget)
    around = range(max(1, width - 3), width + 4)
    assert found == min(around, key=lambda other: (abs(count(other) - budget), other))


@pytest.mark.parametrize(
    ("count", "budget", "width"),
    [
        (lambda width: 4 * width + 1, 11, 2),  # 9 and 13 are both two away
        (lambda width: 2 * width**2 + 4 * width, 23, 2),  # 16 and 30 are both seven away
        (lambda width: 2 * width**2 + 4 * width, 24, 3),
    ],
)
def test_a_tie_goes_to_the_smaller(count, budget, width):
    assert solve_width(count, budget) == width


def test_the_smallest_budget_works_and_one_less_names_it():
    def count(width):
        return 3 * width**2 + 5 * width + 7

    assert solve_width(count, 15) == 1
    with pytest.raises(UserError, match=r"PARAMETER_BUDGET = 14 is too small: the smallest that works is 15$"):
        solve_width(count, 14)


# Layers, a large budget, kind of events. The quick tests take every family thrice, so that each of these is met.
SOLVED = [(*depth, kind) for depth in [(1, 311), (2, 1600), (3, 2047)] for kind in EVENTS]


@pytest.mark.parametrize(
    ("hidden_layers", "large", "kind"), [quick_if(i in (1, 3, 8), *case) for i, case in enumerate(SOLVED)]
)
@pytest.mark.parametrize("family", NUMBERS)
def test_families_get_the_width_whose_leaves_are_closest(family, hidden_layers, large, kind, make_config, monkeypatch):
    events = EVENTS[kind]
    config = make_config(hidden_layers=hidden_layers, **events)
    target = make_target(config)
    data = jnp.zeros((config.batch_size, target.event.size))

    def build(budget):
        return MODELS[family].build(make_config(hidden_layers=hidden_layers, parameter_budget=budget, **events), target)

    def leaves(model):
        return count_params(jax.eval_shape(model.init, jax.random.key(0), data).params)

    @functools.cache
    def leaves_at(width):
        """Not what the family reports of itself, but what it initialises when it is told a width."""
        with monkeypatch.context() as patch:
            # In the family's file, or in one that it shares with others.
            for module in [each for name, each in sys.modules.items() if name.startswith("models.")]:
                if hasattr(module, "solve_width"):
                    patch.setattr(module, "solve_width", lambda count, budget: width)
            return leaves(build(1))

    smallest = leaves_at(1)
    with pytest.raises(UserError, match=rf"(smallest that works|nearest valid choice) is {smallest}$"):
        build(smallest - 1)
    for budget in (smallest, large):
        model = build(budget)
        assert model.n_params == leaves(model) == leaves_at(model.width)
        # Counts grow with the width, so what is closest among the neighbours is closest of all.
        around = range(max(1, model.width - 1), model.width + 2)
        # Or do not, where a family has no use for more.
        counts = [leaves_at(width) for width in around]
        assert [*dict.fromkeys(counts)] == sorted(set(counts))
        assert model.width == min(around, key=lambda width: (abs(leaves_at(width) - budget), width))

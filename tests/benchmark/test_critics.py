"""The picture of what critics estimate beside what is measured."""

import math

import numpy as np
import pytest
import test_plotting
from test_plotting import collisions, make_target, opened, texts

from core.drawing import scenes
from kinds.real.views import critics

no_warnings, shown = test_plotting.no_warnings, test_plotting.shown
STEPS = np.arange(11) * 100


def part(name, factor, colour, n_seeds=3, lost=()):
    """A critic that says `factor` times what is measured."""
    measured = np.exp(-STEPS / 300)[None] * np.linspace(0.9, 1.1, n_seeds)[:, None]
    estimate = factor * measured[:, 1:]
    for seed in lost:
        estimate[seed, 4:] = measured[seed, 5:] = np.nan
    curves = {"critic_distance": scenes.Curve(STEPS[1:], estimate)}
    scores = {name: scenes.Curve(STEPS, measured)}
    return scenes.Contribution(arrays={}, curves=curves, scores=scores, colour=colour, diverged=0 in lost)


@pytest.mark.parametrize(
    ("kind", "name", "words", "factor"),
    [
        ("1-D", "wasserstein", "W₁", 1.0),
        ("2-D", "wasserstein", "π/2 · sliced W₁", math.pi / 2),
        ("binned", "total_variation", "√2 · total variation", math.sqrt(2)),
    ],
)
@pytest.mark.parametrize("lost", [(), (0, 1, 2)])
def test_estimate_and_measure_share_an_axis(tmp_path, shown, kind, name, words, factor, lost):
    parts = {"WGAN": part(name, 0.5, "#E69F00"), "WGAN_GP": part(name, 1.02 * factor, "#56B4E9", lost=lost)}
    floors = {name: (0.02, 0.01, 0.04)}
    critics.critic_vs_wasserstein(tmp_path / "c.png", parts, make_target(kind), floors, "WGAN and WGAN_GP · title")
    opened(tmp_path / "c.png")
    (fig,) = shown
    assert collisions(fig) == []
    left, right = fig.axes
    # The second family's points, median measured 1: on the line.
    drawn = [line for line in right.lines if line.get_linestyle() == "None"]
    assert len(drawn) == 2
    x, y = drawn[1].get_data()
    finite = np.isfinite(x)
    assert finite.sum() == 10 * 3 - 6 * len(lost)
    np.testing.assert_allclose(y[finite], 1.02 * x[finite])
    assert max(x[finite]) == pytest.approx(1.1 * factor * math.exp(-1 / 3), rel=0.25)
    legend = texts(fig)
    assert f"WGAN: {words}" in legend
    assert "WGAN: its critic's estimate; r = 1.00" in legend
    assert any(text.startswith(f"measured: {words}") for text in legend)
    assert left.get_ylabel() == ("distance of one-hot rows" if kind == "binned" else "units of x")


def test_correlation_is_over_the_steps_that_both_have():
    measured = scenes.Curve(np.array([0, 2, 4, 6]), np.array([[9.0, 1.0, 2.0, 3.0]]))
    estimate = scenes.Curve(np.array([1, 2, 3, 4, 5, 6]), np.array([[7.0, 3.0, 7.0, 2.0, 7.0, 1.0]]))
    np.testing.assert_allclose(critics.correlation(measured, estimate), [-1.0])
    flat = estimate._replace(values=np.ones((1, 6)))
    assert np.isnan(critics.correlation(measured, flat)).all()

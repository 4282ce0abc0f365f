"""The pictures of fitted mixtures show the mixtures that were fitted."""

import numpy as np
import pytest
import scipy.stats
import test_plotting
from test_plotting import collisions, make_target, opened, texts

from core.drawing import scenes
from kinds.real.views import mixture_pictures

no_warnings, shown = test_plotting.no_warnings, test_plotting.shown
COLOURS = {"GMM": "#882255", "KMEANS": "#999933"}
N_ITERATIONS = 12


def fitted(target, name, n_components, diverged=False):
    """A mixture of so many components that are even over the box, a tenth as wide, as a clustering of its points."""
    low, high = target.box[:, 0], target.box[:, 1]
    share = (np.arange(n_components) + 0.5) / n_components
    means = low + share[:, None] * (high - low)
    deviation = 0.1 * (high - low).max()
    angle = np.linspace(0, 2 * np.pi, 9)
    outlines = means[:, None] + 2 * deviation * np.stack([np.cos(angle), np.sin(angle)][: target.dim], -1)
    points = np.stack(np.meshgrid(*target.axes, indexing="ij"), -1).reshape(-1, target.dim)
    arrays = {
        "weights": np.full(n_components, 1 / n_components),
        "means": means,
        "outlines": outlines,
        "assignment": np.argmin(((points[:, None] - means) ** 2).sum(-1), axis=1).astype(float),
        "loss": 2 - 0.5 * np.minimum(np.arange(20), N_ITERATIONS - 1) / N_ITERATIONS,
        "n_iterations": np.float64(N_ITERATIONS),
        "inertia": np.float64(0.25),
        "log_likelihood": np.float64(-1.5),
    }
    if diverged:
        arrays = {key: np.full_like(value, np.nan) for key, value in arrays.items()}
    part = scenes.Contribution(arrays, curves={}, scores={}, colour=COLOURS[name], diverged=diverged)
    return part, means[:, 0], deviation


@pytest.mark.parametrize("n_components", [3, 61])
@pytest.mark.parametrize("kind", ["binned", "1-D", "2-D"])
def test_components_are_drawn_as_what_they_are(tmp_path, shown, kind, n_components):
    target = make_target(kind)
    (gmm, means, deviation), (kmeans, *_) = fitted(target, "GMM", n_components), fitted(target, "KMEANS", 2)
    mixture_pictures.clustering(tmp_path / "c.png", {"GMM": gmm, "KMEANS": kmeans}, target, {}, "GMM and KMEANS")
    opened(tmp_path / "c.png")
    (fig,) = shown
    assert collisions(fig) == []
    left, _, right = fig.axes[:3]
    line = f"{n_components} components, on 2 000 draws of the target:\ninertia 0.25, log-likelihood −1.500 nats"
    assert line in "\n".join(texts(fig))
    for line in right.lines[:2]:
        x, y = line.get_data()
        np.testing.assert_array_equal(x, np.arange(N_ITERATIONS))
        np.testing.assert_allclose(y, 0.5 * x / N_ITERATIONS - 2)
    if kind == "2-D":
        assert sum(line.get_color() == gmm.colour for line in left.lines) == n_components
        return
    law = scipy.stats.norm(means, deviation)
    if kind == "binned":
        (patch,) = (patch for patch in left.patches if patch.get_fill())
        heights, edges, _ = patch.get_data()
        below = law.cdf(edges[1:-1, None]).mean(1)
        np.testing.assert_allclose(heights, np.diff([0, *below, 1]), atol=1e-12)
    else:
        (curve,) = (line for line in left.lines if line.get_color() == gmm.colour and line.get_linewidth() > 2)
        x, y = curve.get_data()
        # A mean over a piece is the density in its middle but for a 24th of its curvature.
        curvature = 1 / (deviation**3 * np.sqrt(2 * np.pi))
        np.testing.assert_allclose(y, law.pdf(x[:, None]).mean(1), atol=np.diff(x)[0] ** 2 / 24 * curvature)
    ticks = [lines for lines in left.collections if len(lines.get_segments()) == n_components]
    # Many, and those within bins, are ticks; else each has its curve.
    assert len(ticks) == (kind == "binned" or n_components > 60)
    if not ticks:
        assert sum(line.get_color() == gmm.colour for line in left.lines) == n_components + 1


@pytest.mark.parametrize("kind", ["binned", "1-D", "2-D"])
def test_what_has_diverged_is_said(tmp_path, shown, kind):
    target = make_target(kind)
    parts = {name: fitted(target, name, 3, diverged=name == "GMM")[0] for name in COLOURS}
    mixture_pictures.clustering(tmp_path / "c.png", parts, target, {}, "GMM and KMEANS")
    (fig,) = shown
    assert collisions(fig) == []
    assert any("diverged" in text for text in texts(fig))


def test_bounds_stand_at_their_steps(tmp_path, shown):
    steps = np.array([0, 1, 3, 9, 9, 9.0])
    arrays = {
        "step": steps,
        "with_assignments": -3 + 0.1 * np.log1p(steps),
        "summed_out": -2.9 + 0.1 * np.log1p(steps),
        "standard_error": np.full(6, 0.01),
    }
    left = {"components": scenes.Curve(np.array([5, 10]), np.array([[9.0, 8.0], [7.0, 4.0]]))}
    parts = {
        name: scenes.Contribution(arrays, curves=left, scores={}, colour=colour, diverged=name == "KMEANS", seed=1)
        for name, colour in COLOURS.items()
    }
    mixture_pictures.bounds(tmp_path / "b.png", parts, make_target("1-D"), {}, "bounds")
    opened(tmp_path / "b.png")
    (fig,) = shown
    assert collisions(fig) == []
    dashed, solid = fig.axes[0].lines[:2]
    for line, key in ((dashed, "with_assignments"), (solid, "summed_out")):
        x, y = line.get_data()
        np.testing.assert_array_equal(x, 1 + steps[:4])
        np.testing.assert_array_equal(y, arrays[key][:4])
    assert "GMM: 4 components left" in texts(fig)

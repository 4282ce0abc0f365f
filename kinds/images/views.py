"""What families show of themselves on images: a map of two latents, filters and chains.

Drawn from arrays alone, with the conventions of `plotting` for `path`, `title` and the look.
"""

from pathlib import Path

import numpy as np

from core.drawing import figures
from core.drawing.figures import DIVERGED, TARGET_COLOUR
from kinds.images import mosaics
from kinds.images.pictured import FiltersPicture, ImagesPicture
from kinds.manifolds import ManifoldPicture

COLLAPSED = 0.1  # nats: below this rate the code says next to nothing about an image


@figures.styled
def manifold(path: str | Path, said: ManifoldPicture, scene: ImagesPicture, title: str) -> None:
    """Draws what a grid of z decodes to."""
    two, n = said.mean.ndim == 3, len(said.z)
    fig = figures.new(8.6, 7.4 if two else 2.6, title)
    ax = fig.subplots()
    # Upwards z₂ grows.
    rows = (said.mean[::-1] if two else said.mean).reshape(-1, said.mean.shape[-1])
    drawn = mosaics.show(ax, rows, scene.shape, n)
    height, width = drawn.get_array().shape[:2]
    words = [f"{value + 0.0:.3g}".replace("-", "−") for value in np.round(said.z, 3)]
    places = np.array([0, n // 2, n - 1])
    ax.set_xticks((places + 0.5) * width / n, [words[i] for i in places])
    ax.set_xlabel("z₁")
    if two:
        ax.set_yticks((n - 0.5 - places) * height / n, [words[i] for i in places])
        ax.set_ylabel("z₂")
    mosaics.depth_bar(ax, scene.shape, scene.depth_scale)
    lost = bool(np.isnan(said.mean).all())
    said_of = (
        f"posterior collapse: rate {said.rate:.2g} nats" if said.rate < COLLAPSED else f"rate {said.rate:.2f} nats"
    )
    said_of += f" · z₁ and z₂ of {said.more + 2}, the others at 0" if said.more else ""
    figures.header(ax, "", "" if lost else said_of, TARGET_COLOUR)
    if lost:
        figures.words_in(ax, DIVERGED, TARGET_COLOUR)
    figures.save(fig, path)


@figures.styled
def filters(path: str | Path, said: FiltersPicture, scene: ImagesPicture, colour: str, title: str) -> None:
    """Draws the weights of hidden units (left), and chains that begin at real images (right), a chain a column."""
    fig = figures.new(13.0, 6.6, title)
    left, right = fig.subplots(1, 2, gridspec_kw={"width_ratios": (1, 1.25)})
    reach = max(float(np.abs(said.weights).max()), 1e-12)
    columns = mosaics.square_columns(len(said.weights), scene.shape)
    mosaics.show(left, 0.5 + said.weights / (2 * reach), scene.shape, columns)
    few = f"the {len(said.weights)} largest of {said.n_hidden} hidden units" if said.n_hidden > len(said.weights) else (
        f"all {said.n_hidden} hidden units")  # fmt: skip
    figures.header(left, "filters", f"{few} · grey: 0, white: +{reach:.2g}, black: −{reach:.2g}", colour)
    n_times, n_chains = said.chains.shape[:2]
    lost = bool(np.isnan(said.chains).all())
    drawn = mosaics.show(right, said.chains.reshape(n_times * n_chains, -1), scene.shape, n_chains)
    height = drawn.get_array().shape[0]
    words = ["real image" if n == 0 else f"{n:,} sweep{'s' if n > 1 else ''}".replace(",", " ") for n in said.sweeps]
    right.set_yticks((np.arange(n_times) + 0.5) * height / n_times, words)
    figures.header(right, "chains", "" if lost else "E[v | h] of Gibbs chains, one a column", colour)
    if lost:
        figures.words_in(right, DIVERGED, colour)
    for ax in (left, right):
        ax.set_anchor("N")
    mosaics.depth_bar(right, scene.shape, scene.depth_scale)
    figures.save(fig, path)

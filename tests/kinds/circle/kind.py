"""The kind of events that are angles: points of the unit circle to families, angles in [−π, π) to scores and pictures.

The law of an event is a wrapped normal variable around the direction of a network's two outputs.

Reference: Mardia and Jupp, Directional Statistics, 2000 (§3.5.7, the wrapped normal; §3.5.4, the von Mises law).
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

import metrics
from kinds.contract import Closing, Codec, Divergence, Judge, Kind, Scorer, Target, floor_of, fresh_rows
from kinds.exact import checked, has_divergence, known, log_q
from kinds.real.pictured import TargetPicture
from kinds.real.scene import VIEWS
from models.laws import Event, Law

N_CELLS, N_NODES, N_FLOOR_DRAWS = 40, 4096, 60
_TURNS = 2 * math.pi * np.arange(-3, 4)  # of a deviation below 2 these hold all but 1e-20


class Truth(NamedTuple):
    """What only this kind reads."""

    density: np.ndarray  # [N_NODES], at equal steps from −π on: the trapezoid rule is exact to rounding


def nodes() -> np.ndarray:
    """[N_NODES] angles."""
    return -math.pi + 2 * math.pi * np.arange(N_NODES) / N_NODES


def direction() -> Law:
    """A wrapped normal variable around the direction of two outputs."""

    def unit(outputs, axis):
        return outputs / jnp.sqrt(jnp.sum(outputs**2, axis=axis, keepdims=True) + 1e-12)

    def log_prob(outputs, events, log_scale, axis=-1):
        (x, y), (a, b) = (jnp.split(each, 2, axis=axis) for each in (unit(outputs, axis), events))
        turned = jnp.squeeze(jnp.arctan2(x * b - y * a, x * a + y * b), axis)
        each = jnp.stack([-((turned + turn) ** 2) / 2 * jnp.exp(-2 * log_scale) for turn in _TURNS])
        return jax.nn.logsumexp(each, axis=0) - log_scale - 0.5 * math.log(2 * math.pi)

    def draw_rows(key, outputs, log_scale):
        angle = jnp.arctan2(outputs[:, 1:], outputs[:, :1])
        return points(angle + jnp.exp(log_scale) * jax.random.normal(key, angle.shape))

    return Law(
        name="direction",
        n_outputs=2,
        has_scale=True,
        noise=lambda key, shape: jnp.zeros((*shape[:-1], 0, shape[-1])),
        draw=lambda outputs, noise: unit(outputs, 0),
        gradient_noise=lambda key, n: jnp.zeros((0, n)),
        draw_with_gradient=lambda outputs, noise, temperature: unit(outputs, 0),
        mean=lambda outputs, axis=-1: unit(outputs, axis),
        log_prob=log_prob,
        draw_rows=draw_rows,
        nearest=lambda points: unit(points, -1),
    )


def points(angles: jax.Array) -> jax.Array:
    """[n, 1] -> [n, 2], on the unit circle."""
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


def angles(events: jax.Array) -> jax.Array:
    """[n, 2] -> [n, 1]."""
    return jnp.arctan2(events[:, 1:], events[:, :1])


def circle_target(name: str, sample: Any, log_prob: Any) -> Target:
    """A target of this kind.

    Args:
      name: of the target.
      sample: (key, n) -> angles [n, 1].
      log_prob: angles [n] -> [n], on the host.
    """
    density = np.exp(log_prob(nodes()))
    codec = Codec(Event(2, (2,), direction()), points, angles, angles)

    def grid(plane=100):
        x = jnp.asarray(nodes()[:: N_NODES // 256, None], jnp.float32)
        return x, points(x)

    return Target(
        name=name,
        kind="circle",
        dim=1,
        codec=codec,
        sample=lambda key, n: angles(points(sample(key, n))),
        truth=Truth(density),
        log_prob=lambda x: log_prob(x[:, 0]),
        log_prob_kind="exact",
        entropy=float(scipy.special.entr(density).mean() * 2 * math.pi),
        grid=grid,
    )


def wrapped_normal(config: Any) -> Target:
    """Two wrapped normals of deviation 0.4 around ± 1.8: the arc between them crosses the cut at π."""
    del config
    deviation, centres = 0.4, np.array([-1.8, 1.8])

    def sample(key, n):
        key_side, key_normal = jax.random.split(key)
        side = jnp.where(jax.random.bernoulli(key_side, shape=(n, 1)), 1.8, -1.8)
        return side + deviation * jax.random.normal(key_normal, (n, 1))

    def log_prob(x):
        z = (x[:, None, None] - centres[:, None] + _TURNS) / deviation
        return scipy.special.logsumexp(-(z**2) / 2, axis=(1, 2)) - math.log(2 * deviation * math.sqrt(2 * math.pi))

    return circle_target("CIRCLE_WRAPPED_NORMAL", sample, log_prob)


def von_mises(config: Any) -> Target:
    """The law of density e^(κ cos x) / 2π I₀(κ) around 0, with κ = 2; drawn by inversion."""
    del config
    kappa = 2.0

    def log_prob(x):
        return kappa * np.cos(x) - math.log(2 * math.pi * scipy.special.i0(kappa))

    table = np.cumsum(np.exp(log_prob(nodes()))) / N_NODES * 2 * math.pi

    def sample(key, n):
        u = jax.random.uniform(key, (n, 1))
        return jnp.interp(u, jnp.asarray(table, jnp.float32), jnp.asarray(nodes() + math.pi / N_NODES, jnp.float32))

    return circle_target("CIRCLE_VON_MISES", sample, log_prob)


def counts_of(x: np.ndarray) -> np.ndarray:
    """How many of angles [n, 1] are in each of the equal arcs, [N_CELLS]."""
    index = np.floor((np.asarray(x[:, 0], np.float64) + math.pi) / (2 * math.pi) * N_CELLS).astype(int)
    return np.bincount(index % N_CELLS, minlength=N_CELLS)


def make_judge(target: Target, config: Any, n_samples: int | None = None) -> Judge:
    """The KLD over equal arcs, with its floor."""
    n = n_samples or config.n_eval_samples
    masses = _arc_masses(target)

    def score(x):
        return {"kld": float(metrics.kld(masses, counts_of(x), config.kld_epsilon))}

    fresh = fresh_rows(target, config.seed, n)

    def perfect(i):
        return fresh(i), None

    floor = floor_of([score(perfect(i)[0])["kld"] for i in range(N_FLOOR_DRAWS)], 41)
    scorer = Scorer(n, target.codec.decode, False, ("kld",), score, keep=lambda x: counts_of(x) / len(x))
    return Judge(scorer, {"kld": floor}, {"kld": "KLD (nats)"}, perfect, masses=masses)


def _arc_masses(target: Target) -> np.ndarray:
    """The exact mass of every arc, [N_CELLS], by Gauss–Legendre."""
    x, weights = np.polynomial.legendre.leggauss(32)
    edges = np.linspace(-math.pi, math.pi, N_CELLS + 1)
    half = np.diff(edges)[:, None] / 2
    at = edges[:-1, None] + half * (x + 1)
    masses = (np.exp(target.log_prob(at.reshape(-1, 1))).reshape(at.shape) * half * weights).sum(1)
    return masses / masses.sum()


def divergence(model: Any, state: Any, target: Target) -> Divergence | None:
    """KL(p ‖ q) in nats, by the trapezoid rule around the circle; None where it is not defined."""
    if not has_divergence(model, target):
        return None
    # A few: both densities are as smooth as their narrowest deviation.
    x, density = nodes()[:: N_NODES // 256], target.truth.density[:: N_NODES // 256]
    events, p = np.stack([np.cos(x), np.sin(x)], axis=-1), density / density.sum()

    def of(model):
        return known(float(p @ (np.log(density) - log_q(model, state, events, (len(x),)))), 1e-9)

    return checked(model, state, of, events[::8], p[::8] / p[::8].sum())


def distances(x: np.ndarray, parts: Mapping[str, np.ndarray]) -> dict[str, float]:
    """How far apart the mean points of a sample and of every part are, in units of the radius."""
    mean = {part: np.exp(1j * rows[:, 0]).mean() for part, rows in parts.items()}
    return {part: float(abs(np.exp(1j * x[:, 0]).mean() - each)) for part, each in mean.items()}


def scene_of(target: Target, judge: Judge, config: Any) -> TargetPicture:
    """A circle is drawn as the line that it is cut to at π."""
    del config
    axis = nodes()[:: N_NODES // 256]
    edges = np.linspace(-math.pi, math.pi, N_CELLS + 1)
    return TargetPicture(
        name=target.name,
        box=np.array([[-math.pi, math.pi]]),
        edges=[edges],
        masses=judge.masses,
        closed=True,
        axes=[axis],
        density=np.exp(target.log_prob(axis[:, None])),
        binned=False,
    )


KIND = Kind(
    name="circle",
    settings=None,
    continuous=True,
    law="direction",
    files=lambda config: {},
    read_samples=None,
    read_probabilities=None,
    reported=("kld", "kl_exact"),
    targets={"CIRCLE_WRAPPED_NORMAL": wrapped_normal, "CIRCLE_VON_MISES": von_mises},
    check=lambda config: None,
    n_columns=lambda config: 1,
    main="kld",
    followed=("kld",),
    printed=("kld",),
    exact="kl_exact",
    n_floor_draws=N_FLOOR_DRAWS,
    judge=make_judge,
    closing=lambda target, config, judge: Closing(lambda x: {}, {}, {}),
    has_divergence=has_divergence,
    divergence=divergence,
    distances=distances,
    of_masses=None,
    sensitivity=None,
    scene=scene_of,
    words=lambda target, config: "",
    outside=None,
    exact_is_scored=lambda config: False,
    row=lambda config: "",
    distance="|Δ mean|",
    with_bins="",
    adapt=lambda target, config: target,
    states=lambda target: None,
    describe=lambda target: {"kind": "circle"},
    views={name: VIEWS[name] for name in ("latent_sweep", "discriminator")},
)

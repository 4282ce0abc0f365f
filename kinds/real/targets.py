"""Targets on a line and in a plane: named ones, an edited mixture, a user's table."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats

from core.errors import UserError
from kinds.contract import Target
from kinds.files import MIN_ROWS, split_rows
from kinds.real import shapes
from kinds.real.cells import identity, row_masses, standardising, units
from kinds.real.mixtures import even_mixture, gaussian_mixture
from kinds.real.quadrature import Parts
from kinds.real.tables import check_columns, notes_of, read_masses, read_table
from kinds.real.truth import Modes, Real, masses_from_cdf, real_target

POISSON_RATE = 4
_MOST_UNIT_CELLS = 256  # that whole numbers of a table get
# What a component's deviation is at least, as a share of where it lies: some hundred steps of float32.
_NARROWEST = 1e-5
# Mixture of the 2D_GMM that the box of ±3.5 belongs to; users edit theirs in the config block.
DEFAULT_MIXTURE = (
    (0.25, 0.25, 0.25, 0.25),
    ((1.5, 1.5), (1.5, -1.5), (-1.5, 1.5), (-1.5, -1.5)),
    (((0.5, 0.4), (0.4, 0.5)), ((0.5, -0.4), (-0.4, 0.5)), ((0.5, 0.0), (0.0, 0.5)), ((0.2, 0.0), (0.0, 0.8))),
)


def _beta(name: str) -> Target:
    high, alpha, beta = 2.5, 2, 5
    low = -high
    law = scipy.stats.beta(alpha, beta, loc=low, scale=high - low)

    def sample(key, n):
        # With whole shapes a beta variable is a ratio of Erlang ones: no rejection loop inside compiled training.
        exponentials = -jnp.log1p(-jax.random.uniform(key, (n, alpha + beta)))
        ratio = exponentials[:, :alpha].sum(-1) / exponentials.sum(-1)
        return (low + (high - low) * ratio)[:, None]

    # An integrand may be infinite at an end, where no node lies.
    parts = Parts(lambda x, part: law.logpdf(x[:, 0]), np.zeros((1, 1)), np.full((1, 1, 1), high), n_panels=8)
    return _of_law(name, law, sample, box=np.array([[low, high]]), parts=parts)


def _poisson(name: str, n_cells: int) -> Target:
    law = scipy.stats.poisson(POISSON_RATE, loc=-POISSON_RATE)
    lowest = -POISSON_RATE
    n_cells = n_cells or int(law.ppf(0.999)) - lowest + 1
    box = np.array([[lowest - 0.5, lowest - 0.5 + n_cells]])
    # Inversion on a float32 uniform: what lies beyond the table has less mass than one step of it, 2⁻²⁴.
    table = jnp.asarray(law.cdf(lowest + np.arange(40)), jnp.float32)

    def sample(key, n):
        u = jax.random.uniform(key, (n, 1))
        return (lowest + jnp.sum(u >= table[None], axis=-1, keepdims=True)).astype(jnp.float32)

    return _of_law(name, law, sample, box=box, fixed=units(box))


def _given_probabilities(config: Any) -> Target:
    """The probabilities of a file, at the whole numbers 0 … NUM_BINS − 1: each is the centre of a bin."""
    p = read_masses(config.custom_probabilities, "CUSTOM_PROBABILITIES", config)
    n = len(p)
    # The end of every bin in units of 2⁻³², so that rare bins are not lost to the steps of float32.
    ends = jnp.asarray(np.minimum(np.round(np.cumsum(p)[:-1] * 2.0**32), 2.0**32 - 1).astype(np.uint32))
    # Rounding may let the sum of all but the last reach 1 before the last bin that has mass.
    last = int(np.flatnonzero(p)[-1])

    def sample(key, n_rows):
        place = jnp.searchsorted(ends, jax.random.bits(key, (n_rows, 1), jnp.uint32), side="right")
        return jnp.minimum(place, last).astype(jnp.float32)

    box = np.array([[-0.5, n - 0.5]])
    law = scipy.stats.rv_discrete(values=(np.arange(n), p))()
    target = _of_law("1D_PROBABILITIES", law, sample, box=box, fixed=units(box))
    # To the last digit: a difference of two sums has fewer.
    return target._replace(
        entropy=float(scipy.special.entr(p).sum()), truth=target.truth._replace(cell_masses=lambda cells: p)
    )


def _of_law(name: str, law: Any, sample: Callable, **truth: Any) -> Target:
    """A target on a line by its law.

    Args:
      name: of the target.
      law: a distribution of `scipy.stats`; one of whole numbers has probabilities where families have densities.
      sample: (key, n) -> [n, 1].
      truth: fields of a `Real` that the law does not give.
    """
    discrete = isinstance(law.dist, scipy.stats.rv_discrete)
    log_prob = law.logpmf if discrete else law.logpdf
    return real_target(
        name=name,
        codec=identity(1),
        sample=sample,
        log_prob=lambda x: log_prob(x[:, 0]),
        log_prob_kind="exact",
        entropy=float(law.entropy()),
        comparable=not discrete,
        truth=Real(cell_masses=lambda cells: masses_from_cdf(law.cdf, cells), cdf=law.cdf, quantile=law.ppf, **truth),
    )


def _ring(name: str) -> Target:
    """Eight Gaussians of σ = 0.1 at equal distances on a circle of radius 2."""
    angles = 2 * np.pi * np.arange(8) / 8
    means = 2 * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    return even_mixture(name, means, 0.1, np.array([[-2.5, 2.5]] * 2))


def _grid(name: str) -> Target:
    """25 Gaussians of σ = 0.05 at {−4, −2, 0, 2, 4}² (Lin et al., PacGAN: The Power of Two Samples in GANs, 2018).

    Every mode lies where four of the KLD's 30 × 30 cells meet, so that all look alike.
    """
    means = list(itertools.product((-4, -2, 0, 2, 4), repeat=2))
    return even_mixture(name, means, 0.05, np.array([[-5.0, 5.0]] * 2))


def _numbers(what: str, values: Any, entry: tuple[int, ...]) -> np.ndarray:
    """The constant as [M, *entry] float64."""
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        array = None
    if array is None or array.ndim != 1 + len(entry) or array.shape[1:] != entry:
        one = "a number" if not entry else "×".join(map(str, entry)) + " numbers"
        raise UserError(f"{what} = {values!r} must hold {one} for every component")
    return array


def mixture_constants(config: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The edited mixture's weights [M], means [M', 2] and covariances [M'', 2, 2], float64.

    Raises:
      UserError: one of them does not hold numbers of that shape.
    """
    return tuple(
        _numbers(f"MIXTURE_{what}", getattr(config, f"mixture_{what.lower()}"), entry)
        for what, entry in (("WEIGHTS", ()), ("MEANS", (2,)), ("COVARIANCES", (2, 2)))
    )


def _edited_mixture(config: Any) -> Target:
    weights, means, covariances = mixture_constants(config)
    n = len(weights)
    if not n or len(means) != n or len(covariances) != n:
        raise UserError(
            f"2D_GMM has {n} weights, {len(means)} means and {len(covariances)} covariances: give as many of each"
        )
    for what, values in (("WEIGHTS", weights), ("MEANS", means), ("COVARIANCES", covariances)):
        if not np.all(np.isfinite(values)):
            raise UserError(f"MIXTURE_{what} must be finite numbers, but holds {values.tolist()}")
    if np.any(weights <= 0) or not math.isclose(weights.sum(), 1, abs_tol=1e-6):
        shares = np.abs(weights) if np.all(weights) else np.ones(n)
        nearest = np.round(shares / shares.sum(), 9).tolist()
        raise UserError(
            f"MIXTURE_WEIGHTS = {weights.tolist()} sum to {weights.sum():g}: they must be positive and sum to 1, "
            f"such as {nearest}"
        )
    # What matrix products make is symmetric but for rounding.
    even = (covariances + covariances.transpose(0, 2, 1)) / 2
    rounded = np.abs(covariances - even).max(axis=(1, 2)) <= 1e-12 * np.abs(covariances).max(axis=(1, 2))
    covariances = np.where(rounded[:, None, None], even, covariances)
    for i, covariance in enumerate(covariances):
        smallest, largest = np.linalg.eigvalsh(covariance)
        # Below this share a covariance is singular to the rounding of its own eigenvalues.
        if covariance[0, 1] != covariance[1, 0] or smallest <= 1e-9 * largest:
            variances = np.abs(np.diag(covariance))
            nearest = np.diag(np.where(variances == 0, 1, variances)).tolist()
            raise UserError(
                f"MIXTURE_COVARIANCES[{i}] = {covariance.tolist()} is not symmetric and positive definite; "
                f"the nearest choice without correlation is {nearest}"
            )
    _check_reach(means, covariances)
    box = np.array([[-3.5, 3.5]] * 2)
    if not all(map(np.array_equal, (weights, means, covariances), DEFAULT_MIXTURE)):
        margins = 4 * np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
        box = np.stack([(means - margins).min(0), (means + margins).max(0)], axis=-1)
    return gaussian_mixture("2D_GMM", Modes(weights / weights.sum(), means, covariances), box)


def _check_reach(means: np.ndarray, covariances: np.ndarray) -> None:
    """Proves that float32 can tell the rows of every component apart.

    Raises:
      UserError: the first component that is too narrow for where it lies.
    """
    deviations = np.sqrt(np.linalg.eigvalsh(covariances)[:, 0])
    for i, (mean, deviation) in enumerate(zip(means, deviations, strict=True)):
        if deviation < _NARROWEST * np.abs(mean).max():
            least = _NARROWEST * np.abs(mean).max()
            raise UserError(
                f"MIXTURE_MEANS[{i}] = {mean.tolist()} with a deviation of {deviation:.3g} is beyond float32's reach: "
                f"move the mixture nearer to 0, or give that component a deviation of at least {least:.3g}"
            )


def _custom(config: Any) -> Target:
    table = read_table(config.custom_file, "CUSTOM_FILE")
    rows = table.rows
    if len(rows) < MIN_ROWS:
        raise UserError(f"CUSTOM_FILE {config.custom_file!r} has {len(rows)} rows: at least {MIN_ROWS} are needed")
    if config.n_samples_train > 0:
        raise UserError(
            f"N_SAMPLES_TRAIN = {config.n_samples_train} has no meaning with TARGET_TYPE = CUSTOM, "
            "whose training set is 70 % of the file; set N_SAMPLES_TRAIN = 0"
        )
    train, held_out = split_rows(rows, config.seed)
    check_columns(rows, train, f"CUSTOM_FILE {config.custom_file!r}")
    device_rows = jnp.asarray(train, jnp.float32)

    def sample(key, n):
        return device_rows[jax.random.randint(key, (n,), 0, len(train))]

    place, whole = f"CUSTOM_FILE {config.custom_file!r}", _whole_numbers(train)
    box = _range(train, whole, config)
    notes = [*notes_of(table, place), *_notes_of_range(train, box, whole, place)]
    return real_target(
        name="CUSTOM",
        codec=standardising(train.mean(0), train.std(0)),
        sample=sample,
        truth=Real(
            box=box,
            cell_masses=lambda cells: row_masses(held_out, cells),
            fixed=units(box) if whole.all() and train.shape[1] == 1 else None,
        ),
        train_rows=train,
        held_out_rows=held_out,
        empirical=True,
        notes=tuple(notes),
    )


def _whole_numbers(rows: np.ndarray) -> np.ndarray:
    """Whether a column [D] holds whole numbers, so few that each can have a cell of its own."""
    few = np.ptp(rows, axis=0) < _MOST_UNIT_CELLS
    return few & np.all(rows == np.round(rows), axis=0)


def _range(rows: np.ndarray, whole: np.ndarray, config: Any) -> np.ndarray:
    """The box [D, 2] of a table: cells are centred on whole numbers, and on the outermost rows of other columns.

    Half of an atom at the edge of a range would count as outside of it. Bins need no such margin: the end ones take
    what lies outside.
    """
    low, high = rows.min(0), rows.max(0)
    n_cells = config.kld_cells or (50 if rows.shape[1] == 1 else 30)
    margin = 0.0 if config.num_bins or n_cells < 2 else (high - low) / (2 * (n_cells - 1))
    margin = np.where(whole, 0.5, margin)
    return np.stack([low - margin, high + margin], axis=-1)


def _notes_of_range(rows: np.ndarray, box: np.ndarray, whole: np.ndarray, place: str) -> list[str]:
    """What is to be said of it: that a few far rows decide it, and that whole numbers have cells of their own."""
    notes = []
    for i, (column, (low, high)) in enumerate(zip(rows.T, box, strict=True), 1):
        start, end = np.quantile(column, (0.005, 0.995))
        if whole[i - 1]:
            notes.append(f"{place}: column {i} holds whole numbers from {column.min():g} to {column.max():g}; each is "
                         "the middle of a unit of the range")  # fmt: skip
        elif end - start < 0.25 * (high - low):
            notes.append(
                f"{place}: a few far rows decide the range of column {i}: 99 % of its rows lie from {start:.3g} to "
                f"{end:.3g}, in less than a quarter of it, where the KLD sees little; leave the far rows out, or raise "
                "KLD_CELLS"
            )
    return notes


LINES: dict[str, Callable[[Any], Target]] = {
    "1D_BIMODAL": lambda config: even_mixture("1D_BIMODAL", [[-1.5], [1.5]], 0.4),
    "1D_TRIMODAL": lambda config: even_mixture("1D_TRIMODAL", [[-2], [0], [2]], 0.35),
    "1D_QUADMODAL": lambda config: even_mixture("1D_QUADMODAL", [[-2.5], [-0.8], [0.8], [2.5]], 0.3),
    "1D_BETA": lambda config: _beta("1D_BETA"),
    "1D_POISSON": lambda config: _poisson("1D_POISSON", config.num_bins or config.kld_cells),
    "1D_PROBABILITIES": _given_probabilities,
}

PLANES: dict[str, Callable[[Any], Target]] = {
    "2D_MIX_GAUSS": lambda config: even_mixture(
        "2D_MIX_GAUSS", list(itertools.product((1.5, -1.5), repeat=2)), 0.5, np.array([[-3.5, 3.5]] * 2)
    ),
    "2D_GMM": _edited_mixture,
    "2D_RING": lambda config: _ring("2D_RING"),
    "2D_GRID": lambda config: _grid("2D_GRID"),
    "2D_MOONS": lambda config: shapes.moons("2D_MOONS"),
    "2D_CIRCLES": lambda config: shapes.circles("2D_CIRCLES"),
    "2D_SPIRALS": lambda config: shapes.spirals("2D_SPIRALS"),
    "2D_PINWHEEL": lambda config: shapes.pinwheel("2D_PINWHEEL"),
    "2D_CHECKERBOARD": lambda config: shapes.checkerboard("2D_CHECKERBOARD"),
}

# Each entry makes a target from the run's configuration.
TARGETS: dict[str, Callable[[Any], Target]] = {
    **LINES,
    **PLANES,
    "CUSTOM": _custom,
}


# Those that are made of a user's file, and the constant that names it.
OF_FILES = {"CUSTOM": "custom_file", "1D_PROBABILITIES": "custom_probabilities"}


def n_columns(config: Any) -> int:
    """Numbers of a row, before a table is read: at least 1."""
    return 2 if config.target_type in PLANES else 1


def files(config: Any) -> dict[str, str]:
    """Path -> what names it, of the file that a target is made of."""
    name = OF_FILES.get(config.target_type)
    return {getattr(config, name): name.upper()} if name else {}


def check(config: Any) -> None:
    """Proves that bins are asked of a line alone, and of probabilities always.

    Raises:
      UserError: of a plane, or no bins or no file for probabilities.
    """
    if config.target_type == "1D_PROBABILITIES":
        if not config.num_bins:
            raise UserError("TARGET_TYPE = 1D_PROBABILITIES needs bins, but NUM_BINS = 0; set NUM_BINS to how many "
                            "probabilities the file has")  # fmt: skip
        if not config.custom_probabilities:
            raise UserError("TARGET_TYPE = 1D_PROBABILITIES needs a file: set CUSTOM_PROBABILITIES")
    if config.num_bins and config.target_type in PLANES:
        raise UserError(
            f"NUM_BINS = {config.num_bins} needs a 1-D target, but TARGET_TYPE = {config.target_type}; set NUM_BINS = 0"
        )

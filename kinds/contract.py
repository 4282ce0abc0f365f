"""The contract of kinds: what a target is, what judges samples of it, and what a kind of events brings along.

A kind is a package beside this module and one line in `kinds.registry`. Families see an `Event` and its `Law` alone;
scoring, reports and pictures see what is stated here; everything else is its kind's own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

import metrics
from core.captions import Caption
from core.drawing.scenes import Curve
from models.base import Model
from models.laws import Event as Event
from models.laws import Law as Law


class Codec(NamedTuple):
    """Between data space [n, D], where every score and picture lives, and the events [n, size] that families see."""

    event: Event
    encode: Callable[[jax.Array], jax.Array]  # [n, D] -> [n, size]
    decode: Callable[[jax.Array], jax.Array]  # [n, size] -> [n, D]; with bins the centre of the largest entry
    decode_mean: Callable[[jax.Array], jax.Array]  # the same for expected events; with bins Σ pᵢ cᵢ
    log_volume: float = 0.0  # ln |∂ data / ∂ event|: the log density of data is that of the event minus this
    affine: bool = False  # data are events times a number a coordinate, plus another one
    compared: Callable[[jax.Array], jax.Array] | None = None  # [n, D] -> [n, D], encoded and decoded, where events lose
    # something of the data, as bins do not know where in them a row was; None: they lose nothing


class Target(NamedTuple):
    """A distribution in data space, with what is known exactly about it. Exact quantities are float64 on the host."""

    name: str
    kind: str  # of `kinds.registry.KINDS`
    dim: int  # D, numbers of a row
    codec: Codec
    sample: Callable[[jax.Array, int], jax.Array]  # (key, n) -> [n, D]
    truth: Any  # what only its kind reads
    log_prob: Callable[[np.ndarray], np.ndarray] | None = None  # [n, D] -> [n], nats; −∞ where there is no mass
    log_prob_kind: str | None = None  # "exact", "quadrature" (to rounding, over a curve) or None without log_prob
    entropy: float | None = None  # nats: differential, or of the probabilities where there are some
    comparable: bool = True  # log_prob and entropy are of what families have the log_prob of; False: probabilities,
    # where families have densities
    grid: Callable[..., tuple[jax.Array, jax.Array]] | None = (
        None  # (plane=100: points an axis of a plane) -> points to
    )
    # show in data space [G, D], and the events there
    train_rows: np.ndarray | None = None  # [N, D]: a fixed training set; None: fresh draws
    held_out_rows: np.ndarray | None = None  # [M, D]: beside train_rows, rows that no family trains on
    empirical: bool = False  # nothing is known but its rows, and the held-out ones are what is compared with
    notes: tuple[str, ...] = ()  # what is to be said of how it was read

    @property
    def event(self) -> Event:
        """What families see."""
        return self.codec.event

    def as_compared(self, x: jax.Array) -> jax.Array:
        """Rows [n, D] as every score sees them: where events lose something encoded and decoded, like their samples."""
        return x if self.codec.compared is None else self.codec.compared(x)


class Scorer(NamedTuple):
    """How a sample is scored during training."""

    n_samples: int
    decode: Callable[[jax.Array], jax.Array]  # events -> [n, D] in data space
    soft: bool  # decode expected events instead of drawn ones
    metrics: tuple[str, ...]
    score: Callable[[np.ndarray], Mapping[str, float]]  # x [n, D], finite, on the host -> metric name -> value
    # x [n, D], finite -> the little that pictures need of a sample, as floating-point numbers: a snapshot is no more.
    keep: Callable[[np.ndarray], np.ndarray] = lambda x: x
    # Samples of all evaluations are drawn with the same random numbers, so that pictures show one z as it changes.
    fixed_draws: bool = False
    # Scores that need no sample, such as the exact divergence: their names, and (model, State of one seed on the host)
    # -> name -> value. What it leaves out is unknown (NaN), as for a family without a density; None: there are none.
    exact_metrics: tuple[str, ...] = ()
    exact: Callable[[Model, Any], Mapping[str, float]] | None = None
    # At how many evaluations after the first these are known: evenly spread, with the last among them; None: at all.
    n_exact: int | None = None

    @property
    def followed(self) -> tuple[str, ...]:
        """The names of all scores that an evaluation has."""
        return (*self.metrics, *self.exact_metrics)

    def exact_at(self, n_evaluations: int) -> frozenset[int]:
        """The numbers of the evaluations, 0 to n_evaluations, at which the exact scores are known."""
        if self.exact is None:
            return frozenset()
        n = min(self.n_exact or n_evaluations, n_evaluations)
        return frozenset(n_evaluations * i // n for i in range(n + 1))

    def kept(self, x: np.ndarray) -> np.ndarray:
        """What pictures need of a sample [n, D]; all NaN where the sample is not finite."""
        if np.isfinite(x).all():
            return self.keep(x)
        return np.full_like(self.keep(np.zeros_like(x)), np.nan)


@dataclass(frozen=True)
class Floor:
    """What samples of the target itself score on the same estimator.

    Unpacked it is the three numbers that tables and pictures show: median, low and high.
    """

    mean: float
    low: float  # 2.5 % quantile over draws
    high: float  # 97.5 % quantile
    median: float  # below the mean where a cell that stays empty now and then costs much
    quantiles: tuple[float, ...] = ()  # at equal steps from 0 to 1, of what is drawn often enough to have them

    def __iter__(self) -> Iterator[float]:
        """What tables and pictures show."""
        return iter((self.median, self.low, self.high))


def with_divergence(
    judge: "Judge",
    target: Target,
    name: str,
    divergence: Callable[..., "Divergence | None"],
    n_exact: int | None = None,
) -> "Judge":
    """A judge that follows the divergence as well.

    Args:
      judge: of samples.
      target: that it judges them by.
      name: of the divergence among the metrics, a `Kind.exact`.
      divergence: a `Kind.divergence`, or a quicker one.
      n_exact: as `Scorer` has it.
    """

    def exact(model, state):
        found = divergence(model, state, target)
        return {} if found is None else {name: found.value}

    scorer = judge.scorer._replace(exact_metrics=(name,), exact=exact, n_exact=n_exact)
    return judge._replace(scorer=scorer, labels={**judge.labels, name: metrics.METRICS[name].label_with_unit})


def floor_of(values: Any, n_quantiles: int = 0) -> Floor:
    """Mean, 95 % range and median of what perfect samples scored, and if asked for so many of their quantiles."""
    low, high = np.quantile(values, (0.025, 0.975))
    quantiles = np.quantile(values, np.linspace(0, 1, n_quantiles)).tolist()
    return Floor(float(np.mean(values)), float(low), float(high), float(np.median(values)), tuple(quantiles))


def fresh_rows(target: Target, seed: int, n: int) -> Callable[[int], np.ndarray]:
    """(i) -> the rows [n, D] of floor draw i, fresh ones of the target as they are compared; the seed decides them."""

    @jax.jit
    def draw(i):
        key_floor = jax.random.fold_in(jax.random.key(seed), 2**31 + 1)
        return target.as_compared(target.sample(jax.random.fold_in(key_floor, i), n))

    return lambda i: np.asarray(draw(i))


class Judge(NamedTuple):
    """Everything that scores samples of one size of one target during training."""

    scorer: Scorer
    floors: Mapping[str, Floor]  # of every metric that is followed
    labels: Mapping[str, str]  # what an axis says of each, with its unit
    perfect: Callable[[int], tuple[np.ndarray, np.ndarray | None]]  # floor draw i: what a perfect model would sample
    # [n, D], and the rows to compare it with where these are redrawn as well (a table's held-out part)
    of_shares: Callable[[np.ndarray], float] | None = None  # shares of cells [K] -> the main metric of such a sample
    masses: np.ndarray | None = (
        None  # [K] float64, the target's exact probabilities as `Scorer.keep` has those of samples
    )
    shown: Callable[[np.ndarray], np.ndarray] = lambda masses: masses  # exact probabilities from elsewhere -> the same
    quantiles: np.ndarray | None = None  # [L, n] float32, the target's along every direction
    discretisation_error: float | None = None  # W₁(target, binned target); None without bins
    # Metric -> words -> a level that is known of it besides its floor, such as what a formula says of that.
    marks: Mapping[str, Mapping[str, float]] = {}
    compared: Any = None  # what samples are compared with, as its own kind's `closing` takes it


class Closing(NamedTuple):
    """What scores samples beyond the metrics that are followed during training."""

    score: Callable[[np.ndarray], dict[str, float]]  # x [n, D] -> metric name -> value
    floors: Mapping[str, Floor]
    seconds: Mapping[str, float]  # per metric, summed over all samples scored so far, some side by side: it grows


class Divergence(NamedTuple):
    """KL(p ‖ q), or why it is unknown."""

    value: float  # nats, never below 0; NaN: unknown
    word: str = ""  # where it is unknown: why


class States(NamedTuple):
    """All that a target with exact probabilities can give."""

    name: str  # what one is called, as the head of a column
    labels: Sequence[str | float]  # [K], in the order of their numbers
    masses: np.ndarray  # [K] float64, sum 1


class Scored(NamedTuple):
    """One entry's samples as `Kind.sensitivity` takes them."""

    name: str
    samples: np.ndarray  # [S, n, D]
    lost: Sequence[bool]  # [S], of seeds that have diverged


class Showing(NamedTuple):
    """What draws one kind of view that families have of themselves."""

    # module.function. Where several families may share a picture, of (path, contributions, scene, floors, title): a
    # `core.drawing.scenes.Contribution` of every family, and per followed metric the floor's three numbers.
    function: str
    # (arrays, curves, scene, colour) -> what it takes between the path and the title, of a view that shows one family
    # alone; None: several may share it.
    arguments: Callable[..., tuple] | None = None
    # Which of that one's arrays nothing is shown of where training has diverged.
    of_model: str = ""
    # Name -> (what `Scorer.keep` gives, judge) -> another score that the contributions have the course of.
    further: Mapping[str, Callable[..., float]] = {}
    # What the page of a run says of the picture; None: nothing beside its name.
    caption: Caption | None = None
    # What titles say in place of the target's own size and settings, of a view that shows something else; "": nothing.
    instead: str = ""


class Ended(NamedTuple):
    """One entry at the end of a run, as a kind's own pictures take it: a family's middle seed, or what is external."""

    name: str
    colour: str
    x: np.ndarray | None = None  # [m, D], its last sample; None: there is none, as it has diverged or is probabilities
    masses: np.ndarray | None = None  # [K], of an external entry given as exact probabilities
    # Events [m, size] -> ln q [m] in nats, float64; None: the entry has no density that is known, or has diverged.
    log_q: Callable[[np.ndarray], np.ndarray] | None = None
    estimated: bool = False  # log_q is an estimate
    diverged: bool = False
    model: Model | None = None  # of a family, with the State of that seed; None where that has diverged
    state: Any = None
    courses: Mapping[str, Curve] = {}  # of a family the fields of its Info, all seeds


class Ending(NamedTuple):
    """What a kind's own pictures and tables are made from, when all is scored."""

    target: Target
    floors: Mapping[str, Floor]  # of every metric, also of those of the end
    entries: Sequence[Ended]  # in the order of tables
    config: Any = None  # of the run
    judge: Judge | None = None  # of the run
    shared: Any = None  # what `Kind.further` has computed


class Further(NamedTuple):
    """What a kind makes of the end of a run beside scores."""

    tables: Mapping[str, Sequence[Mapping[str, str]]]  # caption -> rows, heading -> words
    report: Mapping[str, Any]  # the same as numbers, for the report
    shared: Any  # what pictures are made from


class Picture(NamedTuple):
    """A picture of a kind's own, which shows the target and every entry at the end of a run."""

    function: str  # module.function of (path, what `arguments` gives, title)
    arguments: Callable[[Ending], tuple]  # plain arrays, which can be sent to another process
    caption: Caption
    # (config, models) -> whether a run of these has it.
    wanted: Callable[[Any, Sequence[Model]], bool] = lambda config, models: True


class Kind(NamedTuple):
    """One kind of events. Functions of a target are given one of this kind."""

    name: str

    # Its own settings: a line of the config block, and the field of the same name, lower-case, in a configuration.
    settings: type | None
    # Its targets: name -> what makes one from the run's configuration.
    targets: Mapping[str, Callable[[Any], Target]]
    # (config) -> raises a UserError for what no such target can have.
    check: Callable[[Any], None]
    # (config) -> numbers of a row, as far as they are known before a file is read.
    n_columns: Callable[[Any], int]
    # The kind that NUM_BINS makes of it; empty: NUM_BINS is refused.
    with_bins: str
    # (the target that an entry has made, config) -> the target of this kind.
    adapt: Callable[[Target, Any], Target]

    # Whether its events have densities, and not probabilities.
    continuous: bool
    # (config) -> path -> what names it, of the files that its targets are made of.
    files: Callable[[Any], Mapping[str, str]]

    # The name of its events' law, by which families know what they can draw.
    law: str

    # The metric that ranks seeds, meets rivals and fills boards; one of `followed`, which are scored during training.
    main: str
    followed: tuple[str, ...]
    # Names of all that it scores by, in METRICS: what a report has of every entry, null where one is not defined.
    reported: tuple[str, ...]
    # Those of them that a table in a paper has.
    printed: tuple[str, ...]
    # The metric that `divergence` gives, and whether it is that of what is scored: (config) -> it is over the cells of
    # the main metric, and of the model whose samples are.
    exact: str
    exact_is_scored: Callable[[Any], bool]
    # Perfect samples behind the floors of what is followed.
    n_floor_draws: int

    # (target, config, n_samples=None) -> what scores samples of that size.
    judge: Callable[..., Judge]
    # (target, config, judge) -> what scores them once, at the end.
    closing: Callable[..., Closing]
    # (model, target) -> whether `divergence` is defined.
    has_divergence: Callable[[Any, Target], bool]
    # (model, state, target) -> KL(p ‖ q) without any sample.
    divergence: Callable[..., Divergence | None]
    # (x [n, D], parts as compared) -> how far the sample is from each, such as the training rows; its name in tables.
    distances: Callable[..., dict[str, float]]
    distance: str
    # (path, what, target, config) -> a `kinds.files.Table` of rows [m, D] from elsewhere; `what` names the file.
    read_samples: Callable[..., Any]
    # (path, what, target, config) -> a `kinds.files.Masses` of exact probabilities from elsewhere; None: it takes none.
    read_probabilities: Callable[..., Any] | None
    # (masses, target, judge) -> scores of exact probabilities, None where one is not defined; None: it takes none.
    of_masses: Callable[..., Mapping[str, float | None]] | None
    # (entries, config, target, judge) -> the main metric at other settings of its estimator, as
    # `kinds.real.sensitivity` has it; None: it has none.
    sensitivity: Callable[..., Any] | None
    # (rows [n, D], target) -> the share of rows outside of its range, and the range in words; None: there is none.
    outside: Callable[..., tuple[float, str]] | None

    # (target, judge, config) -> what pictures show of a target: plain arrays, and `panels`, the name of the class that
    # draws them.
    scene: Callable[..., Any]
    # Kind of a family's view -> what draws it; views of other kinds are left out.
    views: Mapping[str, Showing]
    # (target, config) -> what titles say of it besides its name.
    words: Callable[[Target, Any], str]
    # (config) -> what a board's row says behind the target's name.
    row: Callable[[Any], str]
    # (target) -> its States; None where they are not finitely many, or their probabilities are not exact.
    states: Callable[[Target], States | None]
    # (target) -> what the report says of it besides. A kind other than `real` and `bins` says its `kind` there: the
    # schema asks for less of a report that does.
    describe: Callable[[Target], Mapping[str, Any]]
    # (target, config) -> rows of a sample that scores take.
    n_scored: Callable[[Target, Any], int] = lambda target, config: config.n_eval_samples
    # (ending) -> what it makes of the end beside scores; None: nothing.
    further: Callable[[Ending], Further] | None = None
    # File name -> a picture of its own, beside those that all kinds have.
    pictures: Mapping[str, Picture] = {}
    # One of `followed` that takes the place of `main` where a family has no density, as a sampler; empty: none does.
    of_samples: str = ""
    # (config) -> the kind, by its name, that takes the place of this one for what the configuration asks; empty: none.
    instead: Callable[[Any], str] = lambda config: ""

    def ranking(self, all_known: bool) -> "Kind":
        """This kind with a main metric that every entry has: `main` itself where it is known of all."""
        return self if all_known or not self.of_samples else self._replace(main=self.of_samples)

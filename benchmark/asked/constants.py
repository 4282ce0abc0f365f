"""The constants of a run, each said once: default, meaning, range, unit, and what it affects.

What sweeps may vary, what a leaderboard's row depends on, `--help`, the comments of the config block and
`docs/constants.md` are all read from these fields.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from benchmark.asked import moments
from benchmark.asked.external import check_entries
from benchmark.asked.many_runs import SAME_RESULTS
from core.errors import UserError, check_path, unknown_choice
from core.settings import COUNTED, HIGHEST, WITH_BINS, Need, Settings, about, setting
from kinds.real.targets import mixture_constants
from kinds.registry import SETTINGS
from models import MODELS, sweeps
from targets import TARGETS, kind_asked

Entries = tuple[tuple[str, str, int | None], ...]
_COUNT = dict(low=1, high=HIGHEST)
_SIZE = dict(low=0, high=HIGHEST)
_OF_TARGET = dict(affects=("target",))
_OF_SCORE = dict(affects=("score",))
_CUSTOM = Need("with CUSTOM", lambda config: config.target_type == "CUSTOM", 'set TARGET_TYPE = "CUSTOM"')
_PROBABILITIES = Need(
    "with 1D_PROBABILITIES",
    lambda config: config.target_type == "1D_PROBABILITIES",
    'set TARGET_TYPE = "1D_PROBABILITIES"',
)
_GMM = Need("with 2D_GMM", lambda config: config.target_type == "2D_GMM", 'set TARGET_TYPE = "2D_GMM"')
_OF_COMPONENTS = dict(_OF_TARGET, needs=_GMM)


@dataclass(frozen=True)
class Constants(Settings, of=""):
    """Everything that defines a run."""

    target_type: Literal[tuple(TARGETS)] = setting("1D_TRIMODAL", "the distribution to learn", told="row", **_OF_TARGET)
    num_bins: int = setting(20, "one-hot cells of a target on a line; 0: continuous", told="row", **_SIZE, **_OF_TARGET)
    n_samples_train: int = setting(
        0, "rows of a fixed training set, and as many held out; 0: fresh draws", row="{} rows", **_SIZE, **_OF_TARGET
    )
    custom_file: str = setting(
        "", ".npy or .csv of 1 or 2 columns, 20 rows or more", row="{}", needs=_CUSTOM, **_OF_TARGET
    )
    custom_probabilities: str = setting(
        "", "file of NUM_BINS probabilities, one a row", row="{}", needs=_PROBABILITIES, **_OF_TARGET
    )
    mixture_weights: tuple[float, ...] = setting(
        (0.25, 0.25, 0.25, 0.25), "of components, sum 1", row="weights {}", **_OF_COMPONENTS
    )
    mixture_means: tuple[tuple[float, float], ...] = setting(
        ((1.5, 1.5), (1.5, -1.5), (-1.5, 1.5), (-1.5, -1.5)), "of components", row="means {}", **_OF_COMPONENTS
    )
    mixture_covariances: tuple[tuple[tuple[float, float], tuple[float, float]], ...] = setting(
        (((0.5, 0.4), (0.4, 0.5)), ((0.5, -0.4), (-0.4, 0.5)), ((0.5, 0.0), (0.0, 0.5)), ((0.2, 0.0), (0.0, 0.8))),
        "of components, symmetric and positive definite",
        row="covariances {}",
        **_OF_COMPONENTS,
    )
    models: tuple[Literal[tuple(MODELS)], ...] = setting(
        ("GAN", "VAE", "RBM"), "families to train; (): none", told="column"
    )
    parameter_budget: int = setting(
        1600, "trainable weights of a family, all its networks together", told="size", **_COUNT
    )
    hidden_layers: int = setting(2, "hidden layers of every multilayer perceptron", **_COUNT)
    n_steps: int = setting(20_000, "training steps, one minibatch each", **_COUNT)
    n_epochs: int = setting(0, "steps of so many passes over a fixed training set; 0: N_STEPS", **_SIZE)
    batch_size: int = setting(128, "rows of a minibatch", **_COUNT)
    num_seeds: int = setting(4, "independent repetitions of every family", **_COUNT)
    seed: int = setting(42, "root of all randomness", told="draw", **_SIZE)
    n_evaluations: int = setting(40, "scores during training; every snapshot has one besides", **_COUNT, **_OF_SCORE)
    evaluation_spacing: Literal[moments.SPACINGS] = setting(
        "log", "scores at growing steps, or linear: at equal distances", **_OF_SCORE
    )
    # The classifier's folds need some rows.
    n_eval_samples: int = setting(
        5_000, "draws from a model for one score", low=20, high=HIGHEST, row="n = {}", **_OF_SCORE
    )
    # Where a continuous Poisson target ends depends on them.
    kld_cells: int = setting(
        0,
        "histogram cells an axis; 0: 50 on a line, 30 in a plane",
        row="{} cells",
        affects=("target", "score"),
        **_SIZE,
    )
    kld_epsilon: float = setting(
        1e-10, "what an empty cell is taken to hold", above=0, below=1, row="ε = {}", **_OF_SCORE
    )
    decode: Literal["hard", "soft"] = setting(
        "hard", "score the drawn cell, or soft: the expected position", needs=WITH_BINS, row="{}", **_OF_SCORE
    )
    snapshot_percent: int = setting(
        5, "% of the training between two timeline pictures; divides 100", affects=("pictures",), **_COUNT
    )
    out_dir: str = setting(
        "results_classical_benchmarks",
        "folder that everything is written to",
        affects=("nothing",),
        fixed="it holds a folder for every cell",
    )
    compilation_cache: Literal["off", "on"] = setting(
        "on",
        "keep compiled programs in a private folder: the next run starts sooner",
        affects=("nothing",),
        fixed=SAME_RESULTS,
    )
    external_samples: Entries = setting(
        (), "scored beside the families: name, file of rows, parameters or None", **_OF_SCORE
    )
    external_probabilities: Entries = setting(
        (), "name, file of probabilities, parameters or None", needs=COUNTED, **_OF_SCORE
    )

    def check(self):
        """Checks every value that can be judged without a file or a model.

        Raises:
          UserError: the first value that cannot be run.
        """
        check_choice("TARGET_TYPE", self.target_type, TARGETS)
        # Whatever the target: every constant is written down with the results.
        mixture_constants(self)
        check_choice("DECODE", self.decode, ("hard", "soft"))
        check_choice("COMPILATION_CACHE", self.compilation_cache, ("off", "on"))
        external = self.external_samples + self.external_probabilities
        _check_models(self.models, bool(external))
        check_entries(external)
        if self.external_probabilities and not kind_asked(self).read_probabilities:
            raise UserError(
                "EXTERNAL_PROBABILITIES are those of NUM_BINS cells or of bit strings, but NUM_BINS = 0; set NUM_BINS"
            )
        super().check()
        for name in ("out_dir", "custom_file", "custom_probabilities"):
            check_path(name.upper(), getattr(self, name))
        if not self.out_dir:
            raise UserError("OUT_DIR is empty: name a folder, such as results_classical_benchmarks")
        if self.num_bins == 1:
            raise UserError("NUM_BINS = 1 leaves nothing to learn: choose 0 (continuous) or at least 2")
        kind_asked(self).check(self)
        check_choice("EVALUATION_SPACING", self.evaluation_spacing, moments.SPACINGS)
        moments.check(self.n_steps, self.n_evaluations, self.evaluation_spacing, self.snapshot_percent)

    @property
    def continuous(self) -> bool:
        """Whether the target has a density, and not probabilities."""
        return kind_asked(self).continuous

    @property
    def law(self) -> str:
        """The law of the target's events, by its name."""
        return kind_asked(self).law

    @property
    def snapshot_steps(self) -> dict[int, int]:
        """Percent of the training -> step, for every snapshot."""
        return moments.snapshot_steps(self.n_steps, self.snapshot_percent)

    @property
    def scored_steps(self) -> list[int]:
        """The steps after which everything is scored, besides step 0."""
        return moments.scored_steps(self.n_steps, self.n_evaluations, self.evaluation_spacing, self.snapshot_percent)

    @property
    def shown_steps(self) -> list[int]:
        """The steps that the animation shows: 0, what is scored before the first snapshot, and the snapshots."""
        snapshots = [*self.snapshot_steps.values()]
        return [0, *(step for step in self.scored_steps if step < snapshots[0]), *snapshots]


def affecting(what: str) -> list[str]:
    """The names of the constants that affect "target", "score", "training", "pictures" or "nothing"."""
    return [field.name for field in dataclasses.fields(Constants) if what in about(field).affects]


def telling(*what: str) -> list[str]:
    """The constants, as users write them, whose values tell a sweep's rows, columns, sizes or draws apart."""
    own = [field.name.upper() for field in dataclasses.fields(Constants) if about(field).told in what]
    of_kinds = [
        f"{name}.{field.name}"
        for name, settings in SETTINGS.items()
        for field in dataclasses.fields(settings)
        if about(field).told in what
    ]
    return own + of_kinds


def rows_of_board() -> dict[str, str]:
    """The constants that results of one leaderboard row must share -> how the row names a value where it is swept."""
    return {field.name.upper(): about(field).row for field in dataclasses.fields(Constants) if about(field).row}


def check_choice(what: str, value: Any, choices: Iterable[str]) -> None:
    """Raises a UserError with the nearest choice unless the value is among them."""
    if value not in list(choices):
        raise unknown_choice(what, str(value), choices)


def check_no_sweep(name: Any) -> None:
    """Raises a UserError that says how, where a family is asked for that is a sweep of another one's setting."""
    if isinstance(name, str) and name.upper() in sweeps():
        family, view = sweeps()[name.upper()]
        setting, words = f"{family}.{view.setting}", ",".join(map(str, view.values))
        beside = "".join(f", {family}.{each} = {value:g}" for each, value in view.beside.items())
        options = "".join(
            f" --{family.lower()}.{each.replace('_', '-')} {value:g}" for each, value in view.beside.items()
        )
        raise UserError(
            f"MODELS {name!r} is the {family} with other settings: set MODELS = ({family!r},){beside} and "
            f"SWEEP = {{{setting!r}: {view.values}}}, or write --models {family}{options} --sweep {setting}={words}"
        )


def _check_models(models: Any, external: bool) -> None:
    if not isinstance(models, tuple | list) or not (models or external):
        alone = ", or name EXTERNAL_SAMPLES to score alone" if models == () else ""
        if isinstance(models, str) and models in MODELS:
            alone = f"; a tuple of one has a comma, MODELS = ({models!r},)"
        raise UserError(f"MODELS = {models!r} must name at least one family: choose from {', '.join(MODELS)}{alone}")
    for name in models:
        check_no_sweep(name)
        several = name.split(",") if isinstance(name, str) else []
        if len(several) > 1 and set(several) <= {*MODELS}:
            raise UserError(f"MODELS {name!r} are several names: separate them, as in {' '.join(several)}")
        check_choice("MODELS", name, MODELS)
    if len(set(models)) < len(models):
        unique = " ".join(dict.fromkeys(models))
        raise UserError(f"MODELS = {' '.join(models)} names a family twice: choose {unique}")

"""What a run is, and what is proved of it before anything is trained or written."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmark.asked import external, inputs
from benchmark.asked.constants import affecting
from benchmark.engine import memory
from core.errors import UserError
from core.settings import traced
from kinds.contract import Target
from kinds.registry import SETTINGS
from models import MODELS, build, is_on
from models.base import Model
from targets import kind_asked, make_target


class Job(NamedTuple):
    """One run that has been checked."""

    config: Any
    target: Target
    models: Sequence[Model]
    entries: Sequence[external.External]
    inputs: Mapping[str, str]  # from `inputs.fingerprints`


def with_epochs(config: Any) -> Any:
    """The configuration with N_STEPS as N_EPOCHS asks for, where it does: that depends on the rows of the target.

    Raises:
      UserError: the target has no fixed training set, or the steps do not go with the rest.
    """
    if not config.n_epochs:
        return config
    target = make_target(config)
    if target.train_rows is None:
        raise UserError(
            f"N_EPOCHS = {config.n_epochs} has no meaning for {config.target_type}, whose rows are drawn afresh: set "
            "N_STEPS, or N_SAMPLES_TRAIN for a fixed training set"
        )
    n_steps = max(1, round(config.n_epochs * len(target.train_rows) / config.batch_size))
    return dataclasses.replace(config, n_steps=n_steps)


def check(config: Any) -> Job:
    """Builds and reads all that can be wrong with a run, without training anything or writing to disk.

    Raises:
      UserError: it cannot be run.
    """
    # Before anything is made, by the budget: weights, their gradient, and the two moments of Adam.
    n_trained = sum(hasattr(getattr(config, name.lower()), "learning_rate") for name in config.models)
    memory.check(config, 4 * n_trained * config.parameter_budget)
    target = make_target(config)
    models = [_build(name, config, target) for name in config.models]
    memory.check(config, sum(model.n_params for model in models))
    return Job(config, target, models, external.load(config, target), inputs.fingerprints(config))


def check_like(config: Any, known: dict[str, Any]) -> None:
    """What `check` proves, without building again what it has been proved with.

    Args:
      config: of a run.
      known: what earlier calls have built, by what that depends on; this one adds its own.

    Raises:
      UserError: it cannot be run.
    """
    of_target = {name: getattr(config, name) for name in (*affecting("target"), *map(str.lower, SETTINGS))}
    if kind_asked(config).files(config):
        # It decides how a table is split, but nothing about what can be wrong with an exact target.
        of_target["seed"] = config.seed
    key = repr(("target", of_target))
    if key not in known:
        known[key] = make_target(config)
    target = known[key]
    for name in config.models:
        own = dataclasses.asdict(getattr(config, name.lower()))
        # Training takes these as arguments: only whether they are on decides what is built.
        own |= {number: is_on(own[number]) for number in traced(MODELS[name].Config)}
        sizes = (config.parameter_budget, config.hidden_layers, config.batch_size)
        of_model = repr((name, key, sizes, own))
        if of_model not in known:
            known[of_model] = _build(name, config, target).width
    of_entries = repr(("external", key, config.external_samples, config.external_probabilities, config.n_eval_samples))
    if of_entries not in known:
        known[of_entries] = len(external.load(config, target))


def _build(name: str, config: Any, target: Any) -> Any:
    try:
        return build(name, config, target)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None

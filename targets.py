"""The registry of target distributions, each with everything about it that is known exactly."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from core.errors import UserError, unknown_choice
from kinds import registry
from kinds.bins.kind import with_bins as with_bins
from kinds.contract import Kind
from kinds.contract import Target as Target
from kinds.real.mixtures import gaussian_mixture as gaussian_mixture
from kinds.real.mixtures import sample_mixture as sample_mixture
from kinds.real.truth import Modes as Modes

# Every target by its name in the config block; each entry makes one from the run's configuration.
# Two kinds may share a name, and `Kind.instead` says which is asked for: here the first stands for both.
TARGETS: dict[str, Callable[[Any], Target]] = {
    name: make for kind in reversed(registry.KINDS.values()) for name, make in kind.targets.items()
}
TARGETS = {name: TARGETS[name] for kind in registry.KINDS.values() for name in kind.targets}


def kind_asked(config: Any) -> Kind:
    """The kind of events that a configuration asks for, before its target is made.

    Raises:
      UserError: an unknown name, or bins of what has none.
    """
    if config.target_type not in TARGETS:
        raise unknown_choice("TARGET_TYPE", config.target_type, TARGETS)
    kind = next(kind for kind in registry.KINDS.values() if config.target_type in kind.targets)
    if not config.num_bins:
        instead = kind.instead(config)
        return registry.KINDS[instead] if instead else kind
    if not kind.with_bins:
        raise UserError(f"NUM_BINS = {config.num_bins} has no meaning for {config.target_type}; set NUM_BINS = 0")
    return registry.KINDS[kind.with_bins]


def make_target(config: Any) -> Target:
    """Builds the target that `config.target_type` names, with the codec that `config.num_bins` asks for.

    Raises:
      UserError: an unknown name, bins in 2-D, an unusable mixture, or a CUSTOM file that cannot be used.
    """
    kind = kind_asked(config)
    kind.check(config)
    target = kind.adapt(kind.targets.get(config.target_type, TARGETS[config.target_type])(config), config)
    if config.n_samples_train > 0 and target.train_rows is None:
        key_set = jax.random.fold_in(jax.random.key(config.seed), 2**31)
        rows = np.asarray(jax.jit(target.sample, static_argnums=1)(key_set, 2 * config.n_samples_train))
        train, held_out = np.split(rows, 2)
        target = target._replace(train_rows=train, held_out_rows=held_out)
    return target

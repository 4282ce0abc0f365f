"""The kind of events that are one of several bins: closed cells of a line, seen by families as one-hot rows."""

from typing import Any

import numpy as np
import scipy.special

from core.errors import UserError
from kinds.contract import Divergence, Judge, States, Target, with_divergence
from kinds.exact import checked, has_divergence, log_q
from kinds.exact import of_masses as masses_divergence
from kinds.real import tables
from kinds.real.cells import Cells, binning
from kinds.real.judging import make_judge as samples_judge
from kinds.real.kind import KIND as REAL
from kinds.real.scene import total_variation
from kinds.real.truth import grid_over


def with_bins(target: Target, n_bins: int) -> Target:
    """A target of the kind `real` as one whose events are one-hot rows over n_bins closed cells of its box.

    Raises:
      UserError: it has two coordinates.
    """
    if target.dim != 1:
        raise UserError(
            f"NUM_BINS = {n_bins} needs a 1-D target, but {target.name} has {target.dim} columns; set NUM_BINS = 0"
        )
    cells = Cells(target.truth.box, n_bins, closed=True)
    codec = binning(cells)

    def axes(plane):
        del plane
        return cells.centres

    # CUSTOM has no entropy of its own, with bins or without.
    masses = None if target.empirical else target.truth.cell_masses(cells)
    return target._replace(
        kind="bins",
        codec=codec,
        truth=target.truth._replace(fixed=cells, axes=axes),
        comparable=True,
        grid=grid_over(axes, codec),
        entropy=None if masses is None else float(scipy.special.entr(masses).sum()),
    )


def divergence(model: Any, state: Any, target: Target) -> Divergence | None:
    """KL(p ‖ q) in nats by enumeration of the bins; None where it is not defined."""
    if not has_divergence(model, target):
        return None
    p = target.truth.cell_masses(target.truth.fixed)
    x, p = np.eye(len(p))[p > 0], p[p > 0]
    return checked(model, state, lambda model: masses_divergence(p, log_q(model, state, x, (len(x),))), x, p)


def make_judge(target: Target, config: Any, n_samples: int | None = None) -> Judge:
    """That of a line, with the exact divergence at every evaluation: bins are few.

    Args:
      target: of this kind.
      config: the run's configuration.
      n_samples: rows of a sample; None: config.n_eval_samples.
    """
    return with_divergence(samples_judge(target, config, n_samples), target, "kl_exact", divergence)


def of_masses(q: np.ndarray, target: Target, judge: Judge) -> dict[str, float | None]:
    """Scores of exact probabilities q [K]: no sample. Against held-out rows nothing is exact but how it is counted."""
    p = judge.masses
    width = float(np.ptp(target.truth.box)) / target.event.size
    scores = {"wasserstein": float(np.abs(np.cumsum(p - q)).sum() * width), "kl_exact": None}
    if target.empirical:
        return scores | {"kld": judge.of_shares(q)}
    with np.errstate(divide="ignore"):
        return scores | {"kl_exact": masses_divergence(p[p > 0], np.log(q[p > 0])).value}


def words(target: Target, config: Any) -> str:
    """Such as "20 bins · soft decode"."""
    return f"{target.event.size} bins" + (" · soft decode" if config.decode == "soft" else "")


def states(target: Target) -> States | None:
    """Every bin by the position of its centre; a table has no exact probabilities."""
    if target.empirical:
        return None
    cells = target.truth.fixed
    return States("bin_centre", cells.centres[0].tolist(), target.truth.cell_masses(cells))


# Cells, scores and pictures are those of a line.
KIND = REAL._replace(
    name="bins",
    continuous=False,
    law="category",
    read_probabilities=tables.read_probabilities,
    targets={},
    with_bins="",
    adapt=lambda target, config: with_bins(target, config.num_bins),
    judge=make_judge,
    divergence=divergence,
    of_masses=of_masses,
    words=words,
    printed=("kl_exact", "kld", "wasserstein", "mmd2"),
    states=states,
    # A soft sample is another model's.
    exact_is_scored=lambda config: config.decode == "hard",
    row=lambda config: f"{config.num_bins} bins",
    # All one-hot rows are √2 apart: what a critic estimates is a total variation.
    views=REAL.views | {"critic": REAL.views["critic"]._replace(further={"total_variation": total_variation})},
)

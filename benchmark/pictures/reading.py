"""The pictures of a run in the order in which a reader needs them, and what is said of each."""

import re

from benchmark.pictures.own_views import views_of
from benchmark.pictures.pictures import COSTS, DASHBOARD, HISTOGRAM, LOSSES, SENSITIVITY, TIMELINE_GIF, timeline_name
from benchmark.scoring.outcome import Outcome
from core import wording
from core.captions import Caption
from kinds.registry import KINDS
from metrics import METRICS


def captions(outcome: Outcome) -> dict[str, Caption]:
    """File name -> caption of every picture that a run can have but the snapshots of the timeline, in reading order."""
    kind = outcome.kind
    *others, last_one = (METRICS[name].label for name in kind.followed)
    followed = " and ".join(filter(None, (", ".join(others), last_one)))
    main = METRICS[kind.main].label
    dashboard = Caption(
        "Scores during the training",
        f"{followed} of every family against the training step, the median over the seeds as a line and their range as "
        "a band: a line inside the grey floor band cannot be told from a perfect model with this many samples.",
    )
    comparison = Caption(
        "The samples beside the target",
        "The target and the final samples of every family on one scale: look for parts of the target that are missing, "
        "and for samples where the target has nothing.",
    )
    timeline = Caption(
        "Timeline",
        "The same comparison at every snapshot of the training: it shows what each family learns first.",
    )
    losses = Caption(
        "Losses",
        "The losses of every family against the training step: they differ in kind, so that they cannot be compared "
        "between families.",
    )
    costs = Caption(
        "Cost and quality",
        f"The {main} of every family against the time and the operations that its training took: equal parameters are "
        "not equal compute.",
    )
    sensitivity = Caption(
        "The score and its estimator",
        f"The {main} of the final samples and of the floor at other settings of its estimator: a line that keeps its "
        "distance from the floor shows an error of the model, and lines that move together show an effect of the "
        "estimator.",
    )
    first = {DASHBOARD: dashboard, HISTOGRAM: comparison, TIMELINE_GIF: timeline}
    own = {name: each.caption for name, each in kind.pictures.items()}
    last = {LOSSES: losses, COSTS: costs, SENSITIVITY: sensitivity}
    return first | own | _of_views(outcome) | last


def is_own_view(name: str) -> bool:
    """Whether a file of a run is a picture of what families show of themselves."""
    snapshot = re.escape(timeline_name(0)).replace("000", r"\d{3}")
    of_kinds = {name for kind in KINDS.values() for name in kind.pictures}
    shared = {DASHBOARD, HISTOGRAM, LOSSES, COSTS, SENSITIVITY, *of_kinds}
    return name.endswith(".png") and name not in shared and re.fullmatch(snapshot, name) is None


def _of_views(outcome: Outcome) -> dict[str, Caption]:
    """What families show of themselves, with the names of those that contribute."""
    found = {}
    for picture, parts in views_of(outcome.runs, outcome.kind).items():
        own = outcome.kind.views[parts[0][1].kind].caption or Caption(picture.replace("_", " "), "")
        families = wording.listed(run.model.name for run, _ in parts)
        found[f"{picture}.png"] = own._replace(title=f"{own.title} of {families}")
    return found

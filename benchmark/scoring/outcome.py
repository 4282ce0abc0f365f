"""What a run has come to: the one record that scoring, the report and the pictures pass on."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmark.engine.records import Run
from benchmark.scoring.assessment import Assessment, losses_to_rivals
from kinds.contract import Closing, Ending, Further, Judge, Kind, Target
from kinds.registry import kind_of


class Outcome(NamedTuple):
    """A run that has been trained and scored."""

    config: Any
    target: Target
    judge: Judge
    runs: Sequence[Run]  # of the families
    assessments: Sequence[Assessment]  # of the families and of what came from elsewhere
    costs: Mapping[str, Mapping[str, Any]]  # per family, from `results.cost_of`
    closing: Closing | None = None  # what scored the metrics of the end; None: they are still to be scored
    partial: Mapping[str, Any] | None = None  # of a run that was interrupted, by what and the step that each family had
    # come to; None: it is whole
    ending: Ending | None = None  # what the kind's own pictures are made from, where they share something
    further: Further | None = None  # what the kind makes of the end beside scores; None: nothing

    @property
    def kind(self) -> Kind:
        """Of its target, with a main metric that every family has."""
        kind = kind_of(self.target)
        return kind.ranking(
            all(kind.main != kind.exact or kind.has_divergence(run.model, self.target) for run in self.runs)
        )

    def estimates(self, entry: Assessment) -> frozenset[str]:
        """The scores of an entry that need no sample and yet rest on a density that is itself an estimate."""
        return frozenset((self.kind.exact, *self.judge.scorer.exact_metrics)) if entry.estimated else frozenset()

    def losses_to_rivals(self) -> dict[str, str]:
        """What is worse than a trivial model, and the remark that says so: see `assessment.losses_to_rivals`."""
        exactly = self.kind.exact_is_scored(self.config)
        return losses_to_rivals(self.assessments, self.kind, self.judge.floors[self.kind.main], exactly)

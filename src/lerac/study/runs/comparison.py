"""The regimes of an experiment side by side: what was measured, warnings and verdicts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lerac.study.metrics import Metric
from lerac.study.plan.experiment import Experiment
from lerac.study.plan.study import Study
from lerac.study.plan.tuning import Tuned
from lerac.study.recipes.recipe import Recipe
from lerac.study.runs.own import warnings_of
from lerac.study.statistics.analysis import Analysis, Cell
from lerac.study.statistics.outcomes import Origin, Outcome
from lerac.study.statistics.summary import Summary

__all__ = ["UNPUBLISHED", "Comparison", "compare", "kind_of"]

UNPUBLISHED = "not the published files"


@dataclass(frozen=True)
class Comparison:
    """The regimes of one experiment, side by side.

    Args:
        experiment: which.
        outcomes: of its runs.
        analysis: of the whole study, on the test split.
        tuned: what was taken from a tuning, if its regimes were.
    """

    experiment: Experiment
    outcomes: Sequence[Outcome]
    analysis: Analysis
    tuned: Tuned | None = None

    @property
    def metric(self) -> Metric:
        """What networks are judged by."""
        return self.experiment.metric

    @property
    def baseline(self) -> str | None:
        """The regime with which the others are compared."""
        return self.analysis.baseline

    @property
    def not_paired(self) -> str | None:
        """Why runs are not compared seed by seed; None if they are."""
        return self.analysis.not_paired.get(self.experiment.name)

    @property
    def changed(self) -> Sequence[str]:
        """Settings that were changed on the command line, as `key=value`."""
        return self.experiment.changed if isinstance(self.experiment, Recipe) else ()

    @property
    def origins(self) -> dict[Origin | None, int]:
        """What the runs that were begun were trained on, and how many on each; None of those that do not say it."""
        return Counter(outcome.origin for outcome in self.outcomes if outcome.environments)

    @property
    def warnings(self) -> list[str]:
        """What must be known before any of its numbers is believed."""
        warnings, origins = list(self.experiment.warnings), [origin for origin in self.origins if origin]
        if len({origin.sha256 for origin in origins}) > 1:
            found = ", ".join(f"{n} on {origin.short}" for origin, n in self.origins.items() if origin)
            warnings.append(
                f"The runs were trained on different data ({found}), so differences between them may be of the data."
            )
        if UNPUBLISHED in self.differs and not (isinstance(self.experiment, Recipe) and self.experiment.data.sample):
            warnings.append(f"The data is {UNPUBLISHED} of its name: the numbers say nothing about those.")
        warnings += warnings_of(self.experiment, self.outcomes)
        if self.tuned:
            compared = {one.regime for one in self.outcomes}
            warnings += [
                f"{regime} was chosen on an edge: {'; '.join(edges)}. A better one may lie beyond."
                for regime, edges in self.tuned.edges.items()
                if regime in compared
            ]
        return [*warnings, *self.analysis.warnings.get(self.experiment.name, ())]

    @property
    def differs(self) -> list[str]:
        """Why published numbers are of another experiment, as far as anybody can tell; empty if nothing is known."""
        differs = [f"settings changed ({', '.join(self.changed)})"] if self.changed else []
        return [*differs, UNPUBLISHED] if any(one and one.published is False for one in self.origins) else differs

    @property
    def beside(self) -> list[str]:
        """What must be said where published numbers stand beside these: a sentence, or nothing."""
        if not self.differs or not any(summary.regime in self.experiment.published for summary in self.test):
            return []
        return [f"Paper: of another experiment than here: {'; '.join(self.differs)}."]

    @property
    def cells(self) -> list[Cell]:
        """The statistics of every regime."""
        return self.analysis.of(self.experiment.name)

    @property
    def test(self) -> list[Summary]:
        """Summaries of the metric on the test split, in the metric's own unit."""
        return [cell.summary for cell in self.cells]

    @property
    def reach(self) -> str:
        """How large a difference so many seeds can show, in a sentence; empty where nothing is compared."""
        outlooks = [cell.outlook for cell in self.cells if cell.outlook]
        if self.analysis.comparisons == 0:
            return ""
        if not outlooks:
            return f"No interval can be given yet: that takes two seeds of {self.baseline} and of another regime."
        seeds = _span([str(n) for n in sorted(outlook.n for outlook in outlooks)])
        kind = "seeds of each regime, not paired" if self.not_paired else "paired seeds"
        size = _span([self.metric.number(d) for d in sorted(outlook.detectable for outlook in outlooks)])
        return (
            f"With {seeds} {kind}, a true difference to {self.baseline} of {self.metric.apart(size)} is "
            f"shown with {self.analysis.power:.0%} power; a smaller one can go unseen."
        )

    @property
    def verdicts(self) -> list[str]:
        """A sentence per regime, the baseline's last: of it, only what is wrong with it."""
        if self.baseline is None:
            return list(self.analysis.notes)
        cells = sorted(self.cells, key=lambda cell: cell.regime == self.baseline)
        return [cell.verdict for cell in cells if cell.verdict]


def compare(study: Study, outcomes: Sequence[Outcome], analysis: Analysis) -> list[Comparison]:
    """Put the regimes of every experiment of a study side by side.

    Args:
        study: that was asked for.
        outcomes: of all its runs.
        analysis: of these outcomes.
    """
    return [
        Comparison(experiment, [one for one in outcomes if one.experiment == experiment.name], analysis, study.tuned)
        for experiment in study.experiments
    ]


def kind_of(comparisons: Sequence[Comparison]) -> str:
    """Say what the experiments are called: `recipe` if all of them are recipes, else `experiment`."""
    return "recipe" if all(isinstance(one.experiment, Recipe) for one in comparisons) else "experiment"


def _span(rising: Sequence[str]) -> str:
    return rising[0] if rising[0] == rising[-1] else f"{rising[0]} to {rising[-1]}"

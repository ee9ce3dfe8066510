"""The regimes of an experiment side by side: what was measured, warnings and verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass

from lerac.study.data.tasks import metric_of
from lerac.study.metrics import Metric
from lerac.study.plan.study import Study
from lerac.study.recipes.recipe import Recipe
from lerac.study.statistics.analysis import Analysis, Cell
from lerac.study.statistics.outcomes import Outcome
from lerac.study.statistics.summary import Summary

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """The regimes of one recipe, side by side.

    Args:
        recipe: which recipe.
        outcomes: of its runs.
        analysis: of the whole study, on the test split.
    """

    recipe: Recipe
    outcomes: Sequence[Outcome]
    analysis: Analysis

    @property
    def metric(self) -> Metric:
        """What networks are judged by."""
        return metric_of(self.recipe.dataset)

    @property
    def baseline(self) -> str | None:
        """The regime with which the others are compared."""
        return self.analysis.baseline

    @property
    def cells(self) -> list[Cell]:
        """The statistics of every regime."""
        return self.analysis.of(self.recipe.name)

    @property
    def test(self) -> list[Summary]:
        """Summaries of the metric on the test split, in the metric's own unit."""
        return [cell.summary for cell in self.cells]

    @property
    def warnings(self) -> list[str]:
        """What must be known before any of the numbers is believed."""
        data, warnings = self.recipe.data, []
        if data.sample:
            warnings.append(f"Trained on a generated sample: the numbers say nothing about {self.recipe.dataset}.")
        if data.validation == "test":
            warnings.append("Epochs were chosen on the test split itself, so its numbers are too good in every regime.")
        return warnings

    @property
    def reach(self) -> str:
        """How large a difference so many seeds can show, in a sentence; empty where nothing is compared."""
        outlooks = [cell.outlook for cell in self.cells if cell.outlook]
        if self.analysis.comparisons == 0:
            return ""
        if not outlooks:
            return f"No interval can be given yet: that takes two seeds of {self.baseline} and of another regime."
        seeds = _span([str(n) for n in sorted(outlook.n for outlook in outlooks)])
        size = _span([self.metric.number(d) for d in sorted(outlook.detectable for outlook in outlooks)])
        return (
            f"With {seeds} paired seeds, a true difference to {self.baseline} of {self.metric.apart(size)} is "
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
    """Put the regimes of every recipe of a study side by side.

    Args:
        study: that was asked for.
        outcomes: of all its runs.
        analysis: of these outcomes.
    """
    return [
        Comparison(recipe, [one for one in outcomes if one.experiment == recipe.name], analysis)
        for recipe in study.recipes
    ]


def _span(rising: Sequence[str]) -> str:
    return rising[0] if rising[0] == rising[-1] else f"{rising[0]} to {rising[-1]}"

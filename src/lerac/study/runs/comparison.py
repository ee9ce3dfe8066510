"""The regimes of a recipe side by side: what was measured, warnings and verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass

from lerac.study.metrics import Metric, metric_of
from lerac.study.plan.study import Study
from lerac.study.recipes.recipe import Recipe
from lerac.study.runs.folder import Result
from lerac.study.statistics import Analysis, Cell, Summary, summarise

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """The regimes of one recipe, side by side.

    Args:
        recipe: which recipe.
        results: its runs.
        analysis: of the whole study, on the test split.
        validation: summaries of the metric on the validation split in the chosen epochs.
    """

    recipe: Recipe
    results: Sequence[Result]
    analysis: Analysis
    validation: Sequence[Summary]

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
        """Summaries of the metric on the test split: accuracy, a share in [0, 1], or mean absolute error."""
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
        seeds = _span([outlook.n for outlook in outlooks], 0)
        size = _span([self.metric.factor * outlook.detectable for outlook in outlooks], 2)
        return (
            f"With {seeds} paired seeds, a true difference to {self.baseline} of {size} {self.metric.difference} is "
            f"shown with {self.analysis.power:.0%} power; a smaller one can go unseen."
        )

    @property
    def verdicts(self) -> list[str]:
        """A sentence per regime, the baseline's last: of it, only what is wrong with it."""
        if self.baseline is None:
            return list(self.analysis.notes)
        cells = sorted(self.cells, key=lambda cell: cell.regime == self.baseline)
        return [cell.verdict for cell in cells if cell.verdict]

    def failed(self, regime: str) -> tuple[int, ...]:
        """Give the seeds whose last attempt was stopped by an error and that have not ended since."""
        return tuple(r.run.seed for r in self.results if r.run.regime == regime and r.error and r.status is None)


def compare(study: Study, results: Sequence[Result], analysis: Analysis) -> list[Comparison]:
    """Put the regimes of every recipe of a study side by side.

    Args:
        study: that was asked for.
        results: of all its runs.
        analysis: of these results.
    """
    comparisons = []
    for recipe in study.recipes:
        own = [result for result in results if result.run.recipe == recipe.name]
        measured: dict[str, dict[int, float | None]] = {regime: {} for regime in study.regimes}
        for result in own:
            measured[result.run.regime][result.run.seed] = result.value("validation", result.metric.name)
        comparisons.append(Comparison(recipe, own, analysis, summarise(measured)))
    return comparisons


def _span(values: Sequence[float], digits: int) -> str:
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"

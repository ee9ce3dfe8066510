"""The regimes of a recipe side by side: summaries, warnings and verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass

from lerac.study.folder import Result
from lerac.study.metrics import Metric, metric_of
from lerac.study.plan import Study
from lerac.study.recipe import Recipe
from lerac.study.statistics import BASELINE, CONFIDENCE, Summary, summarise, verdict

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """The regimes of one recipe, side by side.

    Args:
        recipe: which recipe.
        results: its runs.
        test: summaries of the metric on the test split: accuracy, a share in [0, 1], or mean absolute error.
        validation: of the metric on the validation split in the chosen epochs.
    """

    recipe: Recipe
    results: Sequence[Result]
    test: Sequence[Summary]
    validation: Sequence[Summary]

    @property
    def metric(self) -> Metric:
        """What networks are judged by."""
        return metric_of(self.recipe.dataset)

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
    def uncertainty(self) -> str:
        """How far the differences to the baseline are known: half the widths of their intervals, in a sentence."""
        known = [d for s in self.test if (d := s.difference) and d.low is not None and d.high is not None]
        if not known:
            return f"No interval can be given yet: that takes two seeds of {BASELINE} and of another regime."
        factor, unit = self.metric.factor, self.metric.difference
        halves = [factor * (d.high - d.low) / 2 for d in known if d.low is not None and d.high is not None]
        pairs, reach = _span([d.n for d in known], 0), _span(halves, 2)
        return (
            f"With {pairs} paired seeds, the {CONFIDENCE:.0%} intervals of the mean differences to {BASELINE} reach "
            f"{reach} {unit} to either side: a true difference smaller than that can go unseen here."
        )

    @property
    def verdicts(self) -> list[str]:
        """A sentence per regime; about the baseline only what is wrong with it."""
        sentences = [verdict(s, metric=self.metric) for s in self.test if s.regime != BASELINE]
        base = next((s for s in self.test if s.regime == BASELINE), None)
        if base is None:
            return [f"No comparison: {BASELINE} is not among the regimes."]
        if base.missing:
            seeds = ", ".join(map(str, base.missing))
            sentences.append(f"{BASELINE} itself has not ended on seeds {seeds}; no regime is compared on these.")
        if base.diverged:
            seeds = ", ".join(map(str, base.diverged))
            sentences.append(f"{BASELINE} itself diverged on seeds {seeds}; no regime is compared on these.")
        return sentences

    def failed(self, regime: str) -> tuple[int, ...]:
        """Give the seeds whose last attempt was stopped by an error and that have not ended since."""
        return tuple(r.run.seed for r in self.results if r.run.regime == regime and r.error and r.status is None)


def compare(study: Study, results: Sequence[Result]) -> list[Comparison]:
    """Summarise every recipe of a study."""
    comparisons = []
    for recipe in study.recipes:
        own = [result for result in results if result.run.recipe == recipe.name]
        test, validation = (_summaries(study, own, split) for split in ("test", "validation"))
        comparisons.append(Comparison(recipe, own, test, validation))
    return comparisons


def _summaries(study: Study, results: Sequence[Result], split: str) -> list[Summary]:
    measured: dict[str, dict[int, float | None]] = {regime: {} for regime in study.regimes}
    for result in results:
        measured[result.run.regime][result.run.seed] = result.value(split, result.metric.name)
    return summarise(measured)


def _span(values: Sequence[float], digits: int) -> str:
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"

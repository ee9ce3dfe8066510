"""What a study shows: means, paired differences with intervals, and a verdict in plain words."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean, stdev

from lerac.study.metrics import ACCURACY, Metric

__all__ = ["BASELINE", "CONFIDENCE", "Difference", "Summary", "summarise", "verdict"]

BASELINE = "conventional"
CONFIDENCE = 0.95
FEWEST = 5  # seeds for a verdict: an interval from fewer rests on its assumptions alone
ROUNDING = 1e-9  # shares that differ by less are equal but for rounding


@dataclass(frozen=True)
class Difference:
    """Regime minus baseline over the seeds that both have.

    Args:
        by_seed: seed → difference.
        mean: of the differences.
        low: lower end of the interval; None below two seeds.
        high: upper end.
    """

    by_seed: Mapping[int, float]
    mean: float
    low: float | None
    high: float | None

    @property
    def n(self) -> int:
        """How many pairs."""
        return len(self.by_seed)


@dataclass(frozen=True)
class Summary:
    """One regime of one recipe.

    Args:
        regime: canonical text.
        values: seed → what was measured, of the runs that reached their end.
        diverged: seeds whose loss was not finite; they are in no mean.
        missing: seeds that have not ended.
        difference: to the baseline; None for the baseline itself, or without a common seed.
    """

    regime: str
    values: Mapping[int, float]
    diverged: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    difference: Difference | None = field(default=None)

    @property
    def n(self) -> int:
        """How many values."""
        return len(self.values)

    @property
    def mean(self) -> float | None:
        """Mean of the values; None without any."""
        return fmean(self.values.values()) if self.values else None

    @property
    def sd(self) -> float | None:
        """Standard deviation of the values (n − 1 in the denominator); None below two."""
        return stdev(self.values.values()) if self.n > 1 else None


def summarise(measured: Mapping[str, Mapping[int, float | None]], baseline: str = BASELINE) -> list[Summary]:
    """Summarise the regimes of one recipe, in the given order.

    Args:
        measured: regime → seed → value; NaN if the run diverged, None if it has not ended.
        baseline: the regime to which the others are compared, seed by seed.
    """
    finite = {
        regime: {seed: v for seed, v in by_seed.items() if v is not None and not math.isnan(v)}
        for regime, by_seed in measured.items()
    }
    reference = finite.get(baseline, {})
    return [
        Summary(
            regime,
            finite[regime],
            diverged=tuple(seed for seed, v in by_seed.items() if v is not None and math.isnan(v)),
            missing=tuple(seed for seed, v in by_seed.items() if v is None),
            difference=None if regime == baseline else paired_difference(finite[regime], reference),
        )
        for regime, by_seed in measured.items()
    ]


def paired_difference(values: Mapping[int, float], reference: Mapping[int, float]) -> Difference | None:
    """Compare seed by seed: mean difference with Student's t interval, or None without a common seed.

    Split, noise, initial weights and data order of a seed are common to all regimes, so their share of the
    spread cancels. With equal differences in all seeds the interval has no width.
    """
    by_seed = {seed: values[seed] - reference[seed] for seed in values if seed in reference}
    if not by_seed:
        return None
    differences = list(by_seed.values())
    mean = fmean(differences)
    if len(differences) == 1:
        return Difference(by_seed, mean, None, None)
    error = stdev(differences) / math.sqrt(len(differences))
    from scipy import stats  # here, because it takes long to load

    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, df=len(differences) - 1)) * error
    return Difference(by_seed, mean, mean - reach, mean + reach)


def verdict(summary: Summary, baseline: str = BASELINE, metric: Metric = ACCURACY) -> str:
    """Say in one sentence what is shown about a regime.

    Args:
        summary: of the regime.
        baseline: that it was compared with.
        metric: what the values are.
    """
    difference = summary.difference
    if difference is None:
        return f"{summary.regime}: nothing to compare with {baseline}.{_caveat(summary)}"
    factor = metric.factor
    size = f"{factor * difference.mean:+.2f} {metric.difference}"
    if difference.low is None or difference.high is None or difference.n < FEWEST:
        text = f"{summary.regime}: {size} compared with {baseline} on {_seeds(difference.n)}, too few for a verdict."
        return text + _caveat(summary)
    if difference.high - difference.low < ROUNDING:
        text = (
            f"{summary.regime}: {size} on each of {_seeds(difference.n)}; differences without spread give no interval."
        )
        return text + _caveat(summary)
    evidence = f"{size} [{factor * difference.low:+.2f}, {factor * difference.high:+.2f}], n = {difference.n} seeds."
    if difference.low > 0 or difference.high < 0:
        better = metric.better(difference.mean, than=0)
        text = f"{summary.regime} is {'better' if better else 'worse'} than {baseline}: {evidence}"
    else:
        text = f"{summary.regime}: no difference to {baseline} shown: {evidence}"
    return text + _caveat(summary)


def _seeds(n: int) -> str:
    return "1 seed" if n == 1 else f"{n} seeds"


def _caveat(summary: Summary) -> str:
    caveats = []
    if summary.diverged:
        seeds = ", ".join(map(str, summary.diverged))
        caveats.append(f" Not counted, because their loss was not finite: seeds {seeds}.")
    if summary.missing:
        caveats.append(f" Not ended yet: {_seeds(len(summary.missing))}.")
    return "".join(caveats)

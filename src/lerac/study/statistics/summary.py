"""What was measured: mean and spread of each regime, its paired difference to a baseline, and runs that diverged."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import fmean, stdev
from typing import Any

from lerac.study.statistics.pairing.student import CONFIDENCE, ROUNDING, student_interval

__all__ = ["BASELINE", "BySeed", "Difference", "Failures", "Summary", "failures", "paired_difference", "summarise"]

BASELINE = "conventional"

BySeed = Mapping[int, float | None]
"""Seed → what was measured: NaN if the run diverged, None if it has not ended."""


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
    def paired(self) -> bool:
        """Whether it is of runs with equal seeds; of others, see `pairing.welch`."""
        return True

    @property
    def n(self) -> int:
        """How many pairs."""
        return len(self.by_seed)

    @property
    def sd(self) -> float | None:
        """Standard deviation of the differences (n − 1 in the denominator); None below two."""
        return stdev(self.by_seed.values()) if self.n > 1 else None

    @property
    def spread(self) -> bool:
        """Whether the differences differ by more than rounding."""
        return self.n > 1 and max(self.by_seed.values()) - min(self.by_seed.values()) >= ROUNDING

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain types."""
        numbers = {"n": self.n, "mean": self.mean, "sd": self.sd, "low": self.low, "high": self.high}
        return {**numbers, "by_seed": dict(self.by_seed)}


Compare = Callable[[Mapping[int, float], Mapping[int, float]], Difference | None]
"""From what was measured of a regime and of the baseline, seed by seed, to their difference, if there is any."""


@dataclass(frozen=True)
class Summary:
    """One regime of one experiment.

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

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain types."""
        return {
            "regime": self.regime,
            "n": self.n,
            "mean": self.mean,
            "sd": self.sd,
            "values": dict(self.values),
            "diverged": list(self.diverged),
            "missing": list(self.missing),
            "difference": self.difference and self.difference.as_dict(),
        }


def summarise(
    measured: Mapping[str, BySeed], baseline: str | None = BASELINE, compare: Compare | None = None
) -> list[Summary]:
    """Summarise the regimes of one experiment, in the given order.

    Args:
        measured: regime → what was measured.
        baseline: the regime to which the others are compared; None for no comparison.
        compare: how; None: seed by seed.
    """
    compare = compare or paired_difference
    finite = {
        regime: {seed: v for seed, v in by_seed.items() if v is not None and not math.isnan(v)}
        for regime, by_seed in measured.items()
    }
    reference = {} if baseline is None else finite.get(baseline, {})
    return [
        Summary(
            regime,
            finite[regime],
            diverged=tuple(seed for seed, v in by_seed.items() if v is not None and math.isnan(v)),
            missing=tuple(seed for seed, v in by_seed.items() if v is None),
            difference=None if regime == baseline else compare(finite[regime], reference),
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
    if len(differences) == 1:
        return Difference(by_seed, differences[0], None, None)
    mean, low, high = map(float, student_interval(differences))
    return Difference(by_seed, mean, low, high)


@dataclass(frozen=True)
class Failures:
    """How many of a regime's runs diverged.

    Args:
        diverged: runs whose loss was not finite.
        ended: runs that have ended, these included.
        low: lower end of the rate's interval (Clopper and Pearson: exact, never too short); None if none ended.
        high: upper end.
        p: of the exact McNemar test against the baseline, over the seeds that ended in both; of runs that are not
            paired, of Fisher's exact test. None for the baseline, without such runs, or if none of them diverged.
    """

    diverged: int
    ended: int
    low: float | None
    high: float | None
    p: float | None

    @property
    def rate(self) -> float | None:
        """Share of the ended runs that diverged; None if none ended."""
        return self.diverged / self.ended if self.ended else None

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain types."""
        return {**asdict(self), "rate": self.rate}


def failures(summary: Summary, baseline: Summary | None = None, *, paired: bool = True) -> Failures:
    """Count the runs of a regime that diverged, and compare them with the baseline's, if there is one."""
    diverged, ended = len(summary.diverged), len(summary.diverged) + summary.n
    test = _compared if paired else _compared_unpaired
    p = None if baseline is None else test(_diverged(summary), _diverged(baseline))
    if not ended:
        return Failures(diverged, ended, None, None, p)
    from statsmodels.stats.proportion import proportion_confint  # here, because it takes long to load

    low, high = proportion_confint(diverged, ended, alpha=1 - CONFIDENCE, method="beta")
    return Failures(diverged, ended, float(low), float(high), p)


def _diverged(summary: Summary) -> dict[int, bool]:
    return dict.fromkeys(summary.values, False) | dict.fromkeys(summary.diverged, True)


def _compared(one: Mapping[int, bool], other: Mapping[int, bool]) -> float | None:
    pairs = [(one[seed], other[seed]) for seed in one if seed in other]
    if not any(a or b for a, b in pairs):
        return None
    from statsmodels.stats.contingency_tables import mcnemar

    table = [[pairs.count((a, b)) for b in (True, False)] for a in (True, False)]
    return float(mcnemar(table, exact=True).pvalue)


def _compared_unpaired(one: Mapping[int, bool], other: Mapping[int, bool]) -> float | None:
    if not one or not other or not any((*one.values(), *other.values())):
        return None
    import numpy as np
    from scipy import stats

    counts = np.array([[sum(own.values()), len(own) - sum(own.values())] for own in (one, other)])
    return float(stats.fisher_exact(counts).pvalue)

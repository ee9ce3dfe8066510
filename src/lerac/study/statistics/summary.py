"""What was measured: mean and spread of each regime, and its paired difference to a baseline."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from lerac.study.statistics.student import ROUNDING, student_interval

__all__ = ["BASELINE", "Difference", "Summary", "paired_difference", "summarise"]

BASELINE = "conventional"


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


def summarise(measured: Mapping[str, Mapping[int, float | None]], baseline: str | None = BASELINE) -> list[Summary]:
    """Summarise the regimes of one recipe, in the given order.

    Args:
        measured: regime → seed → value; NaN if the run diverged, None if it has not ended.
        baseline: the regime to which the others are compared, seed by seed; None for no comparison.
    """
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
    if len(differences) == 1:
        return Difference(by_seed, differences[0], None, None)
    mean, low, high = map(float, student_interval(differences))
    return Difference(by_seed, mean, low, high)

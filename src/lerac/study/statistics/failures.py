"""Runs that diverged, counted as the failures that they are."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lerac.study.statistics.student import CONFIDENCE
from lerac.study.statistics.summary import Summary

__all__ = ["Failures", "failures"]


@dataclass(frozen=True)
class Failures:
    """How many of a regime's runs diverged.

    Args:
        diverged: runs whose loss was not finite.
        ended: runs that have ended, these included.
        low: lower end of the rate's interval (Clopper and Pearson: exact, never too short); None if none ended.
        high: upper end.
        p: of the exact McNemar test against the baseline, over the seeds that ended in both; None for the
            baseline, without such seeds, or if neither diverged on any of them.
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


def failures(summary: Summary, baseline: Summary | None = None) -> Failures:
    """Count the runs of a regime that diverged, and compare them seed by seed with the baseline's, if there is one."""
    diverged, ended = len(summary.diverged), len(summary.diverged) + summary.n
    p = None if baseline is None else _compared(_diverged(summary), _diverged(baseline))
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

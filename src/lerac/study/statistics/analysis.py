"""What an analysis holds: every recipe × regime against the baseline, and the recipes together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lerac.study.metrics import Metric
from lerac.study.statistics.evidence import Evidence
from lerac.study.statistics.exact_tests import ALPHA
from lerac.study.statistics.failures import Failures
from lerac.study.statistics.improvement import Improvement
from lerac.study.statistics.networks import Disagreement
from lerac.study.statistics.outlook import Outlook
from lerac.study.statistics.pooling import Estimate, PooledDifference
from lerac.study.statistics.student import CONFIDENCE
from lerac.study.statistics.summary import Summary
from lerac.study.statistics.verdicts import p_text

__all__ = ["Analysis", "Cell", "Pooled"]


@dataclass(frozen=True)
class Cell:
    """One regime of one recipe; what compares is None for the baseline, and without anything to compare.

    Args:
        recipe: MODEL/DATASET.
        metric: what the values are; multiply them by `metric.factor` to show them.
        summary: mean, standard deviation, values, and the paired difference with its interval.
        failures: runs that diverged.
        evidence: t-test and exact tests, each with its p adjusted by Holm over `Analysis.comparisons`.
        improvement: how often a run is better than one of the baseline.
        outlook: what so many seeds can show, and how many a claim needs.
        networks: McNemar's test of each seed's two networks, where predictions are kept.
        verdict: in plain words; of the baseline, what is wrong with it, or None.
    """

    recipe: str
    metric: Metric
    summary: Summary
    failures: Failures
    evidence: Evidence | None
    improvement: Improvement | None
    outlook: Outlook | None
    networks: tuple[Disagreement, ...]
    verdict: str | None

    @property
    def regime(self) -> str:
        """Canonical text of the regime."""
        return self.summary.regime

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain types, values in the metric's own unit."""
        return {
            "recipe": self.recipe,
            "metric": self.metric.name,
            **self.summary.as_dict(),
            "failures": self.failures.as_dict(),
            "evidence": self.evidence and self.evidence.as_dict(),
            "improvement": self.improvement and self.improvement.as_dict(),
            "outlook": self.outlook and self.outlook.as_dict(),
            "networks": [network.as_dict() for network in self.networks],
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Pooled:
    """One regime over all recipes with the same metric.

    Args:
        regime: canonical text.
        metric: of all of them.
        recipes: that are pooled, two or more.
        left_out: recipes of this metric without a pair of runs.
        difference: mean and interquartile mean of all paired differences; its test is adjusted over the pooled rows.
        improvement: mean over the recipes of the probability of improvement.
    """

    regime: str
    metric: Metric
    recipes: tuple[str, ...]
    left_out: tuple[str, ...]
    difference: PooledDifference
    improvement: Improvement | None

    def text(self) -> str:
        """Say it in a sentence."""
        found, test = self.difference, self.difference.test
        text = (
            f"{self.regime} over {len(self.recipes)} recipes, {self.metric.title}: mean difference "
            f"{self._shown(found.mean)} {self.metric.difference}, interquartile mean {self._shown(found.iqm)}, "
            f"n = {test.n} pairs of runs, sign-flip test {p_text(test.p)}"
        )
        if test.adjusted is not None and test.adjusted != test.p:
            text += f", after Holm {p_text(test.adjusted)}"
        left_out = f" Without {', '.join(self.left_out)}: no pair of runs yet." if self.left_out else ""
        return f"{text}.{left_out}"

    def _shown(self, estimate: Estimate) -> str:
        factor = self.metric.factor
        if estimate.low is None or estimate.high is None:
            return f"{factor * estimate.value:+.2f}"
        return f"{factor * estimate.value:+.2f} [{factor * estimate.low:+.2f}, {factor * estimate.high:+.2f}]"

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain types, values in the metric's own unit."""
        return {
            "regime": self.regime,
            "metric": self.metric.name,
            "recipes": list(self.recipes),
            "left_out": list(self.left_out),
            "difference": self.difference.as_dict(),
            "improvement": self.improvement and self.improvement.as_dict(),
        }


@dataclass(frozen=True)
class Analysis:
    """The statistics of a study, in the order of its recipes and regimes.

    Args:
        baseline: with which regimes are compared; None if there is none.
        comparisons: recipes × regimes but the baseline: the family over which p is adjusted.
        cells: one per recipe and regime, the baseline's too.
        pooled: one per metric with two recipes or more, and regime.
        notes: sentences that hold for the whole study, such as what so few seeds cannot show.
        claims: metric name → difference that is to be shown, in the metric's own unit.
        power: with which it is to be shown.
    """

    baseline: str | None
    comparisons: int
    cells: tuple[Cell, ...]
    pooled: tuple[Pooled, ...]
    notes: tuple[str, ...]
    claims: Mapping[str, float]
    power: float

    def of(self, recipe: str) -> list[Cell]:
        """Give the cells of one recipe."""
        return [cell for cell in self.cells if cell.recipe == recipe]

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain types, for JSON: no NaN in it."""
        return {
            "baseline": self.baseline,
            "confidence": CONFIDENCE,
            "alpha": ALPHA,
            "comparisons": self.comparisons,
            "claims": dict(self.claims),
            "power": self.power,
            "cells": [cell.as_dict() for cell in self.cells],
            "pooled": [row.as_dict() for row in self.pooled],
            "notes": list(self.notes),
        }

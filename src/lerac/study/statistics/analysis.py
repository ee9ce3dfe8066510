"""What an analysis holds: every recipe × regime against the baseline, and the recipes together."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lerac.study.metrics import Metric
from lerac.study.statistics.exact_tests import ALPHA, Evidence
from lerac.study.statistics.networks import Disagreement
from lerac.study.statistics.pairing.student import CONFIDENCE
from lerac.study.statistics.pooling import Estimate, Improvement, PooledDifference
from lerac.study.statistics.seeds_needed import Outlook
from lerac.study.statistics.summary import Failures, Summary
from lerac.study.statistics.verdicts import p_text

__all__ = ["Analysis", "Cell", "Pooled"]


@dataclass(frozen=True)
class Cell:
    """One regime of one experiment; what compares is None for the baseline, and without anything to compare.

    Args:
        experiment: that it belongs to: recipes are called MODEL/DATASET.
        metric: what the values are; `metric.number` writes them.
        summary: mean, standard deviation, values, and the paired difference with its interval.
        failures: runs that diverged.
        evidence: t-test and exact tests, each with its p adjusted by Holm over `Analysis.comparisons`.
        improvement: how often a run is better than one of the baseline.
        outlook: what so many seeds can show, and how many a claim needs.
        networks: McNemar's test of each seed's two networks, where predictions are kept.
        verdict: in plain words; of the baseline, what is wrong with it, or None.
        validation: summary of the metric on the validation split, in the chosen epochs.
        failed: seeds whose last attempt was stopped by an error, and that have not ended since.
    """

    experiment: str
    metric: Metric
    summary: Summary
    failures: Failures
    evidence: Evidence | None
    improvement: Improvement | None
    outlook: Outlook | None
    networks: tuple[Disagreement, ...]
    verdict: str | None
    validation: Summary
    failed: tuple[int, ...]

    @property
    def regime(self) -> str:
        """Canonical text of the regime."""
        return self.summary.regime

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain types, values in the metric's own unit."""
        return {
            "recipe": self.experiment,
            "metric": self.metric.name,
            **self.summary.as_dict(),
            "failures": self.failures.as_dict(),
            "evidence": self.evidence and self.evidence.as_dict(),
            "improvement": self.improvement and self.improvement.as_dict(),
            "outlook": self.outlook and self.outlook.as_dict(),
            "networks": [asdict(network) for network in self.networks],
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Pooled:
    """One regime over all experiments with the same metric.

    Args:
        regime: canonical text.
        metric: of all of them.
        experiments: that are pooled, two or more.
        left_out: experiments of this metric without a pair of runs.
        not_paired: experiments of this metric whose runs are not paired: they have no paired differences.
        difference: mean and interquartile mean of all paired differences; its test is adjusted over the pooled rows.
        improvement: mean over the experiments of the probability of improvement.
    """

    regime: str
    metric: Metric
    experiments: tuple[str, ...]
    left_out: tuple[str, ...]
    difference: PooledDifference
    improvement: Improvement | None
    not_paired: tuple[str, ...] = ()

    def text(self, what: str = "recipes") -> str:
        """Say it in a sentence; `what` is what the experiments are called."""
        found, test = self.difference, self.difference.test
        text = (
            f"{self.regime} over {len(self.experiments)} {what}, {self.metric.title}: mean difference "
            f"{self.metric.apart(self._shown(found.mean))}, interquartile mean {self._shown(found.iqm)}, "
            f"n = {test.n} pairs of runs, sign-flip test {p_text(test.p)}"
        )
        if test.adjusted is not None and test.adjusted != test.p:
            text += f", after Holm {p_text(test.adjusted)}"
        left_out = f" Without {', '.join(self.left_out)}: no pair of runs yet." if self.left_out else ""
        not_paired = f" Without {', '.join(self.not_paired)}: not paired." if self.not_paired else ""
        return f"{text}.{left_out}{not_paired}"

    def _shown(self, estimate: Estimate) -> str:
        change = self.metric.change
        if estimate.low is None or estimate.high is None:
            return change(estimate.value)
        return f"{change(estimate.value)} [{change(estimate.low)}, {change(estimate.high)}]"

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain types, values in the metric's own unit."""
        return {
            "regime": self.regime,
            "metric": self.metric.name,
            "recipes": list(self.experiments),
            "left_out": list(self.left_out),
            "not_paired": list(self.not_paired),
            "difference": self.difference.as_dict(),
            "improvement": self.improvement and self.improvement.as_dict(),
        }


@dataclass(frozen=True)
class Analysis:
    """The statistics of a study, in the order of its experiments and regimes.

    Args:
        baseline: with which regimes are compared; None if there is none.
        comparisons: experiments × regimes but the baseline: the family over which p is adjusted.
        cells: one per experiment and regime, the baseline's too.
        pooled: one per metric with two experiments or more, and regime.
        notes: sentences that hold for the whole study, such as what so few seeds cannot show.
        claims: metric name → difference that is to be shown, in the metric's own unit.
        power: with which it is to be shown.
        not_paired: experiment → why its runs are not compared seed by seed; of those that are, nothing.
        warnings: experiment → sentences about what its numbers cannot show; of those without any, nothing.
    """

    baseline: str | None
    comparisons: int
    cells: tuple[Cell, ...]
    pooled: tuple[Pooled, ...]
    notes: tuple[str, ...]
    claims: Mapping[str, float]
    power: float
    not_paired: Mapping[str, str] = field(default_factory=dict)
    warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, experiment: str) -> list[Cell]:
        """Give the cells of one experiment."""
        return [cell for cell in self.cells if cell.experiment == experiment]

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
            "not_paired": dict(self.not_paired),
        }

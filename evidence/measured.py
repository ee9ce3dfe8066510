"""The tables of the evidence: what was measured, paired differences, and the tests of the protocol."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Literal

from lerac.study.recipes.regimes import parse_regime
from lerac.study.statistics import Difference, holm, paired_difference
from questions import RESULTS, read_chosen

__all__ = [
    "LEVEL",
    "OF_INTEREST",
    "Answer",
    "Values",
    "canonical",
    "compared",
    "failed",
    "hypotheses",
    "read",
    "read_as_written",
    "sign_flip_p",
]

Values = Mapping[str, Mapping[int, float]]
"""Regime → seed → points of accuracy."""

CHANCE = 10.0  # points, what a run whose loss is not finite counts as
OF_INTEREST = 0.25  # points, the smallest difference that matters
LEVEL = 0.05
FLIPS = 100_000
CLAIMS = {
    "H1": ("conventional", "LeRaC is better than conventional training", ""),
    "H2": ("warmup-exponential", "LeRaC is better than the exponential warm-up", "it is more than a warm-up"),
    "H3": ("lerac-reversed", "LeRaC is better than reversed LeRaC", "the direction matters"),
    "H4": ("lerac-shuffled", "LeRaC is better than shuffled LeRaC", "the order matters"),
    "H5": ("cbs", "LeRaC is better than CBS", ""),
}
"""Hypothesis → what LeRaC is compared with, the claim, and what it would mean."""


@dataclass(frozen=True)
class Answer:
    """A hypothesis and what came out.

    Args:
        name: H1 to H5.
        other: the regime that LeRaC is compared with.
        claim: in words.
        meaning: what the claim would show, if it says more than itself.
        difference: LeRaC minus the other regime, in points, over the seeds that both have.
        p: of the sign-flip test, two-sided.
        adjusted: by Holm over the hypotheses.
    """

    name: str
    other: str
    claim: str
    meaning: str
    difference: Difference
    p: float
    adjusted: float

    @property
    def verdict(self) -> Literal["supported", "supported, but too small to matter here", "refuted", "undecided"]:
        """What the protocol calls it."""
        low, high = self.difference.low, self.difference.high
        if low is None or high is None:
            raise ValueError(f"{self.name}: an interval needs two seeds")
        if self.adjusted < LEVEL and self.difference.mean > 0:
            return "supported" if high >= OF_INTEREST else "supported, but too small to matter here"
        return "refuted" if self.adjusted < LEVEL or high < OF_INTEREST else "undecided"


def read(study: str, *, split: str = "test", results: Path = RESULTS) -> Values:
    """Read the accuracies of a study, in points; a run that failed counts as chance."""
    return {
        regime: {seed: CHANCE if isnan(value) else value for seed, value in of_seeds.items()}
        for regime, of_seeds in read_as_written(results / f"{study}.csv", split=split).items()
    }


def failed(study: str, *, results: Path = RESULTS) -> dict[str, list[int]]:
    """List the seeds of each regime whose loss was not finite."""
    return {
        regime: [seed for seed, value in of_seeds.items() if isnan(value)]
        for regime, of_seeds in read_as_written(results / f"{study}.csv").items()
    }


def read_as_written(table: Path, *, split: str = "test") -> Values:
    """Read the accuracies of a table, in points; NaN for a run that failed."""
    values: dict[str, dict[int, float]] = {}
    with table.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if (row["split"], row["metric"]) == (split, "accuracy"):
                values.setdefault(row["regime"], {})[int(row["seed"])] = 100 * float(row["value"])
    return values


def hypotheses() -> list[Answer]:
    """Test what the protocol asks for."""
    values = {**read("primary"), **read("primary-controls")}
    chosen = {name.removeprefix("tuning-"): canonical(regime) for name, regime in read_chosen().items()}
    differences = [_difference(values, chosen["lerac"], chosen[other]) for other, _, _ in CLAIMS.values()]
    ps = [sign_flip_p(list(difference.by_seed.values())) for difference in differences]
    return [
        Answer(name, other, claim, meaning, difference, p, 1.0 if adjusted is None else adjusted)
        for (name, (other, claim, meaning)), difference, p, adjusted in zip(
            CLAIMS.items(), differences, ps, holm(ps), strict=True
        )
    ]


def compared(values: Values, baseline: str) -> dict[str, Difference]:
    """Give each regime's difference to a baseline, in points."""
    return {regime: _difference(values, regime, baseline) for regime in values if regime != baseline}


def sign_flip_p(differences: Sequence[float]) -> float:
    """Give the two-sided p of the mean under random signs, by 100,000 seeded flips or all where there are fewer."""
    import numpy as np
    from scipy import stats

    found = stats.permutation_test(
        (np.round(differences, 9),),
        lambda sample, axis: np.round(np.sum(sample, axis=axis), 9),  # equal sums are equal in spite of rounding
        permutation_type="samples",
        vectorized=True,
        n_resamples=FLIPS,
        rng=np.random.default_rng(0),
        batch=1000,
    )
    return float(found.pvalue)


def canonical(regime: str) -> str:
    """Write a regime as tables do."""
    return str(parse_regime(regime))


def _difference(values: Values, regime: str, baseline: str) -> Difference:
    difference = paired_difference(values[regime], values[baseline])
    if difference is None:
        raise ValueError(f"{regime} and {baseline} have no seed in common")
    return difference

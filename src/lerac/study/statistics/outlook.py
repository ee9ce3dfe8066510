"""What the seeds of a comparison can show, and how many the claim needs."""

from dataclasses import dataclass
from typing import Any

from lerac.study.metrics import Metric
from lerac.study.statistics.seeds_needed import MOST_SEEDS, POWER, SeedsNeeded, detectable_difference, seeds_needed
from lerac.study.statistics.student import ROUNDING
from lerac.study.statistics.summary import Difference
from lerac.study.statistics.verdicts import seeds_text

__all__ = ["Outlook", "outlook"]


@dataclass(frozen=True)
class Outlook:
    """How far a comparison's seeds reach, by the spread that was measured.

    Args:
        n: pairs that there are.
        sd: of their differences.
        power: with which a difference is to be shown.
        detectable: smallest true difference that n pairs show with this power.
        claimed: whether `needed` is of a claim; else of a difference as large as the one measured.
        needed: seeds; None if the mean difference is 0.
    """

    n: int
    sd: float
    power: float
    detectable: float
    claimed: bool
    needed: SeedsNeeded | None

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain types."""
        return {
            "n": self.n,
            "sd": self.sd,
            "power": self.power,
            "detectable": self.detectable,
            "claimed": self.claimed,
            "needed": self.needed and self.needed.as_dict(),
        }

    def text(self, metric: Metric) -> str:
        """Say it in a sentence or two."""
        factor, unit = metric.factor, metric.difference
        text = (
            f"With {seeds_text(self.n)} and a standard deviation of {factor * self.sd:.2f} {unit}, "
            f"a true difference of {factor * self.detectable:.2f} {unit} is shown with {self.power:.0%} power."
        )
        if self.needed is None:
            return text
        which = "claimed" if self.claimed else "measured"
        size = f"A difference of {factor * self.needed.difference:.2f} {unit}, as {which}, needs"
        if self.needed.n is None or self.needed.by_t is None:
            return f"{text} {size} more than {MOST_SEEDS:,} seeds."
        exact = f" ({self.needed.by_t} by the t-test)" if self.needed.by_exact > self.needed.by_t else ""
        return f"{text} {size} {seeds_text(self.needed.n)}{exact}."


def outlook(
    difference: Difference, comparisons: int, claim: float | None = None, power: float = POWER
) -> Outlook | None:
    """Compute how far a comparison reaches; None below two pairs or without spread.

    Args:
        difference: measured.
        comparisons: in the study.
        claim: difference that is to be shown; None for one as large as measured. The latter is as uncertain
            as the measurement: it says how far the study is, and is no plan for a new one.
        power: in (0.05, 1).

    Raises:
        ValueError: if claim or power is out of its range, see `seeds_needed`.
    """
    sd = difference.sd
    if sd is None or not difference.spread:
        return None
    size = difference.mean if claim is None else claim
    needed = None
    if claim is not None or abs(size) >= ROUNDING:
        needed = seeds_needed(size, sd, power=power, comparisons=comparisons)
    detectable = detectable_difference(difference.n, sd, power=power, comparisons=comparisons)
    return Outlook(difference.n, sd, power, detectable, claim is not None, needed)

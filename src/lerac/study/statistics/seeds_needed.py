"""How many seeds a claim needs, and what the seeds that there are can show."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from lerac.study.metrics import Metric
from lerac.study.statistics.exact_tests import ALPHA, fewest_seeds
from lerac.study.statistics.pairing.student import ROUNDING
from lerac.study.statistics.pairing.welch import UnpairedDifference
from lerac.study.statistics.summary import Difference
from lerac.study.statistics.verdicts import seeds_text

__all__ = ["MOST_SEEDS", "POWER", "Outlook", "SeedsNeeded", "detectable_difference", "outlook", "seeds_needed"]

POWER = 0.8
MOST_SEEDS = 1_000_000


@dataclass(frozen=True)
class SeedsNeeded:
    """Seeds to show a difference.

    Args:
        difference: that is to be shown, above 0, in the unit of the metric.
        sd: standard deviation of the paired differences, as assumed; where runs are not paired, of the difference of
            two runs, one of each regime.
        power: chance to show it if it is there.
        alpha: chance to show one that is not there; already divided by the number of comparisons.
        by_t: seeds with which the paired t-test, or Welch's, has this power; None if more than a million.
        by_exact: fewest seeds with which an exact test can reach alpha at all.
    """

    difference: float
    sd: float
    power: float
    alpha: float
    by_t: int | None
    by_exact: int

    @property
    def n(self) -> int | None:
        """Seeds that are enough for both; None if more than a million."""
        return None if self.by_t is None else max(self.by_t, self.by_exact)

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain types."""
        return {**asdict(self), "n": self.n}


def seeds_needed(
    difference: float,
    sd: float,
    *,
    power: float = POWER,
    alpha: float = ALPHA,
    comparisons: int = 1,
    freedom: float | None = None,
) -> SeedsNeeded:
    """Give the seeds with which a difference is shown with the given power.

    The fewest n for which the two-sided paired t-test at alpha / comparisons (Holm's first step, which holds whatever
    the other comparisons show) has the power, by `statsmodels.stats.power.TTestPower`, effect size |difference| / sd.

    Args:
        difference: to be shown, not 0, in the unit of the metric.
        sd: of the paired differences, above 0, in the same unit; itself an estimate, uncertain by about
            1 / √(2 (n − 1)) of itself if it comes from n seeds.
        power: in (alpha, 1).
        alpha: in (0, 1).
        comparisons: in the study, 1 or more.
        freedom: where runs are not paired: degrees of freedom that a further seed adds, from 1 to 2, see
            `UnpairedDifference.freedom`; sd is then that of the difference of two runs, one of each regime.

    Raises:
        ValueError: if an argument is out of its range.
    """
    _check(sd, power, alpha, comparisons)
    exact = fewest_seeds(alpha, comparisons, paired=freedom is None)
    if not math.isfinite(difference) or difference == 0:
        raise ValueError(f"difference {difference}: a finite number other than 0 was expected; 0 cannot be shown")
    level = alpha / comparisons

    def enough(n: int) -> bool:
        return _power(abs(difference) / sd, n, level, freedom) >= power

    high = 2
    while high < MOST_SEEDS and not enough(high):
        high = min(2 * high, MOST_SEEDS)
    low = max(2, high // 2)  # too few, or the answer
    if not enough(high):
        return SeedsNeeded(abs(difference), sd, power, level, None, exact)
    while low < high:  # the power grows with n
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return SeedsNeeded(abs(difference), sd, power, level, high, exact)


def detectable_difference(
    n: int,
    sd: float,
    *,
    power: float = POWER,
    alpha: float = ALPHA,
    comparisons: int = 1,
    freedom: float | None = None,
) -> float:
    """Give the smallest true difference that n seeds show with the given power, in the unit of sd.

    Raises:
        ValueError: if an argument is out of its range, see `seeds_needed`; n is 2 or more.
    """
    _check(sd, power, alpha, comparisons)
    if n < 2:
        raise ValueError(f"n = {n}: a paired t-test needs two seeds or more")
    from scipy import optimize

    level = alpha / comparisons
    most = 1.0
    while _power(most, n, level, freedom) < power:
        most *= 2
    return sd * float(optimize.brentq(lambda effect: _power(effect, n, level, freedom) - power, 0.0, most))


@dataclass(frozen=True)
class Outlook:
    """How far a comparison's seeds reach, by the spread that was measured.

    Args:
        n: pairs that there are; where runs are not paired, runs of the regime that has fewer.
        sd: of their differences, or of the difference of two runs, one of each regime.
        power: with which a difference is to be shown.
        detectable: smallest true difference that n pairs show with this power.
        claimed: whether `needed` is of a claim; else of a difference as large as the one measured.
        needed: seeds; None if the mean difference is 0.
        paired: whether runs are compared seed by seed.
    """

    n: int
    sd: float
    power: float
    detectable: float
    claimed: bool
    needed: SeedsNeeded | None
    paired: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain types."""
        return {**asdict(self), "needed": self.needed and self.needed.as_dict()}

    def text(self, metric: Metric) -> str:
        """Say it in a sentence or two."""
        sd, detectable = (metric.apart(metric.number(size)) for size in (self.sd, self.detectable))
        each = "" if self.paired else " of each regime, not paired,"
        text = (
            f"With {seeds_text(self.n)}{each} and a standard deviation of {sd}, a true difference of {detectable} is "
            f"shown with {self.power:.0%} power."
        )
        if self.needed is None:
            return text
        which = "claimed" if self.claimed else "measured"
        size = f"A difference of {metric.apart(metric.number(self.needed.difference))}, as {which}, needs"
        if self.needed.n is None or self.needed.by_t is None:
            return f"{text} {size} more than {MOST_SEEDS:,} seeds."
        exact = f" ({self.needed.by_t} by the t-test)" if self.needed.by_exact > self.needed.by_t else ""
        return f"{text} {size} {seeds_text(self.needed.n)}{'' if self.paired else ' of each regime'}{exact}."


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
    if sd is None or sd < ROUNDING or not difference.spread:
        return None
    freedom = difference.freedom if isinstance(difference, UnpairedDifference) else None
    size = difference.mean if claim is None else claim
    needed = None
    if claim is not None or abs(size) >= ROUNDING:
        needed = seeds_needed(size, sd, power=power, comparisons=comparisons, freedom=freedom)
    detectable = detectable_difference(difference.n, sd, power=power, comparisons=comparisons, freedom=freedom)
    return Outlook(difference.n, sd, power, detectable, claim is not None, needed, difference.paired)


def _power(effect: float, n: int, alpha: float, freedom: float | None) -> float:
    """Chance that the two-sided test shows the difference, with its own sign: one side of it, at half of alpha."""
    from scipy import stats
    from statsmodels.stats.power import TTestPower  # here, because it takes long to load

    df = n - 1 if freedom is None else freedom * (n - 1)
    power = float(TTestPower().power(effect, nobs=n, alpha=alpha / 2, df=df, alternative="larger"))
    if math.isnan(power):  # far out, at single points, scipy's noncentral t has no value; the normal is as good there
        return float(stats.norm.sf(stats.t.ppf(1 - alpha / 2, df) - effect * math.sqrt(n)))
    return power


def _check(sd: float, power: float, alpha: float, comparisons: int) -> None:
    if not (math.isfinite(sd) and sd >= ROUNDING):
        raise ValueError(f"sd {sd}: a finite number above 0 was expected; without spread no power can be computed")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha {alpha}: a probability between 0 and 1 was expected, such as 0.05")
    if not alpha < power < 1:
        raise ValueError(f"power {power}: a probability between alpha ({alpha}) and 1 was expected, such as 0.8")
    if comparisons < 1:
        raise ValueError(f"{comparisons} comparisons: one or more were expected")

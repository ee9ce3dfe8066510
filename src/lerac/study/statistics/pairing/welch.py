"""Welch's t for the difference of two means: what is compared where runs are not paired."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, variance
from typing import TYPE_CHECKING, Any

from lerac.study.statistics.pairing.student import CONFIDENCE, ROUNDING
from lerac.study.statistics.summary import Difference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["UnpairedDifference", "unpaired_difference", "welch_interval", "welch_p"]


@dataclass(frozen=True)
class UnpairedDifference(Difference):
    """Mean of the regime minus mean of the baseline, over all runs of each; there are no differences seed by seed.

    Args:
        values: of the regime's runs.
        reference: of the baseline's.
    """

    values: tuple[float, ...] = ()
    reference: tuple[float, ...] = ()

    @property
    def paired(self) -> bool:
        """No: `by_seed` is empty."""
        return False

    @property
    def n(self) -> int:
        """How many runs the regime that has fewer has."""
        return min(len(self.values), len(self.reference))

    @property
    def sd(self) -> float | None:
        """Standard deviation of the difference of two runs, one of each regime; None below two of each."""
        return sum(self._variances) ** 0.5 if self.n > 1 else None

    @property
    def spread(self) -> bool:
        """Whether the runs of a regime differ by more than rounding."""
        return self.n > 1 and any(max(own) - min(own) >= ROUNDING for own in (self.values, self.reference))

    @property
    def freedom(self) -> float:
        """Degrees of freedom that a further run of each adds: 2 if both spread alike, 1 if only one of them does."""
        one, other = self._variances
        share = one / (one + other)
        return 1 / (share**2 + (1 - share) ** 2)

    @property
    def _variances(self) -> tuple[float, float]:
        return variance(self.values), variance(self.reference)

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain types; `runs` of the regime and of the baseline."""
        return {**super().as_dict(), "paired": False, "runs": [len(self.values), len(self.reference)]}


def unpaired_difference(values: Mapping[int, float], reference: Mapping[int, float]) -> UnpairedDifference | None:
    """Compare means, with Welch's interval; seeds do not matter. None without a run of each.

    With fewer than two runs of either there is no interval; without spread it has no width.
    """
    if not values or not reference:
        return None
    own, theirs = tuple(values.values()), tuple(reference.values())
    if min(len(own), len(theirs)) < 2:
        return UnpairedDifference({}, fmean(own) - fmean(theirs), None, None, own, theirs)
    mean, low, high = map(float, welch_interval(own, theirs))
    return UnpairedDifference({}, mean, low, high, own, theirs)


def welch_interval(
    values: "ArrayLike", reference: "ArrayLike", confidence: float = CONFIDENCE
) -> tuple["NDArray[np.float64]", "NDArray[np.float64]", "NDArray[np.float64]"]:
    """Give the difference of two means and both ends of its interval (Welch 1947), as `scipy.stats.ttest_ind` does.

    Args:
        values: (…, n), n of at least 2; the last axis is the runs.
        reference: (…, m), m of at least 2.
        confidence: share of intervals that hold the true difference if values are normal, in (0, 1); nearly.

    Returns:
        Difference, lower and upper end, each of shape (…).

    Raises:
        ValueError: below two values of either, or a confidence that is no share.
    """
    mean, error, freedom = _difference(values, reference)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence}: a share between 0 and 1 was expected, such as 0.95")
    from scipy import stats  # here, because it takes long to load

    reach = stats.t.ppf((1 + confidence) / 2, df=freedom) * error
    return mean, mean - reach, mean + reach


def welch_p(values: "ArrayLike", reference: "ArrayLike") -> "NDArray[np.float64]":
    """Give the two-sided p of Welch's t-test: below 1 − confidence just where the interval excludes 0.

    Args:
        values: (…, n), n of at least 2.
        reference: (…, m), m of at least 2.

    Returns:
        Shape (…): NaN where neither has spread.

    Raises:
        ValueError: below two values of either.
    """
    import numpy as np
    from scipy import stats

    mean, error, freedom = _difference(values, reference)
    ranges = [np.ptp(np.asarray(own, dtype=np.float64), axis=-1) for own in (values, reference)]
    spread = np.maximum(*ranges) >= ROUNDING
    t = np.divide(np.abs(mean), error, out=np.full_like(mean, np.nan), where=spread)
    return np.asarray(2 * stats.t.sf(t, df=freedom))


def _difference(values: "ArrayLike", reference: "ArrayLike") -> tuple[Any, Any, Any]:
    """Give the difference of the means, its standard error and its degrees of freedom (Welch and Satterthwaite)."""
    import numpy as np

    both = [np.asarray(own, dtype=np.float64) for own in (values, reference)]
    n, m = (own.shape[-1] if own.ndim else 1 for own in both)
    if min(n, m) < 2:
        raise ValueError(f"{n} and {m} runs: an interval of the difference of means needs two or more of each regime")
    one, other = (own.var(axis=-1, ddof=1) / own.shape[-1] for own in both)
    squared = np.asarray(one + other)
    share = np.divide(one, squared, out=np.zeros_like(squared), where=squared > 0)
    freedom = 1 / (share**2 / (n - 1) + (1 - share) ** 2 / (m - 1))
    return np.asarray(both[0].mean(axis=-1) - both[1].mean(axis=-1)), np.sqrt(squared), freedom

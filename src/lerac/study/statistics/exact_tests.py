"""What speaks for a difference: exact tests, the smallest p that they can reach, Student's p, Holm's correction."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from lerac.study.statistics.student import CONFIDENCE, DIGITS, student_p
from lerac.study.statistics.summary import Difference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "ALPHA",
    "FLIPS",
    "Evidence",
    "ExactTest",
    "fewest_seeds",
    "gather",
    "holm",
    "sign_flip_test",
    "smallest_p",
    "wilcoxon_test",
]

ALPHA = round(1 - CONFIDENCE, 10)
FLIPS = 2**15  # all sign flips of up to 15 differences; of more, this many drawn at random
SEED = 0  # of everything that is drawn, so that the same results give the same report
WILCOXON_TABLE = 50  # differences up to which scipy's recurrence gives the exact distribution at once


@dataclass(frozen=True)
class ExactTest:
    """A two-sided test that assumes of differences only that, without an effect, each is as likely as its negative.

    Args:
        p: the probability, without an effect, of a result at least as extreme.
        n: differences, zeros included.
        method: `exact` (all sign flips), or `random flips` (the result itself counted among them, so p is never 0).
        flips: how many sign flips p is computed from; of `exact`, 2**n.
        adjusted: by Holm over the comparisons of the study; None where there is no family.
    """

    p: float
    n: int
    method: str
    flips: int
    adjusted: float | None = None


def sign_flip_test(differences: Sequence[float]) -> ExactTest:
    """Test the mean of paired differences by flipping their signs (Fisher's randomisation test).

    Under the hypothesis that the two regimes of a seed are exchangeable, every one of the 2**n sign patterns is equally
    likely; p is the share whose mean is at least as far from 0 as the one measured (`scipy.stats.permutation_test`).
    Zeros keep their value under a flip and stay in. Differences equal but for rounding are made equal first.

    Raises:
        ValueError: below one difference, or one that is not finite.
    """
    return _flip(_rounded(differences))


def wilcoxon_test(differences: Sequence[float]) -> ExactTest:
    """Test paired differences by Wilcoxon's signed ranks.

    Zeros are ranked with the others and then count for neither side (Pratt 1959); ties get their average rank. Without
    either, up to 50 differences, p is from the exact distribution (`scipy.stats.wilcoxon`), which holds without ties;
    otherwise from flipping the signs of the ranks that there are, all flips or random ones as in `sign_flip_test`.

    Raises:
        ValueError: below one difference, or one that is not finite.
    """
    import numpy as np
    from scipy import stats

    values = _rounded(differences)
    distances = np.abs(values)
    if 1 < len(values) <= WILCOXON_TABLE and distances.all() and len(np.unique(distances)) == len(values):
        found = stats.wilcoxon(values, method="exact")
        return ExactTest(float(found.pvalue), len(values), "exact", 2 ** len(values))
    return _flip(np.sign(values) * stats.rankdata(distances))


def smallest_p(n: int) -> float:
    """Give the smallest two-sided p that an exact test can reach with n pairs: 2 / 2**n, all of them on one side.

    >>> smallest_p(5), smallest_p(6)
    (0.0625, 0.03125)
    """
    return min(1.0, 2.0 ** (1 - n))


def fewest_seeds(alpha: float = ALPHA, comparisons: int = 1) -> int:
    """Give the fewest pairs with which an exact test can reach alpha, as the smallest p of a family of comparisons.

    Holm multiplies the smallest p by the number of comparisons, so comparisons · 2 / 2**n ≤ alpha is needed.

    >>> fewest_seeds(), fewest_seeds(comparisons=12)
    (6, 9)

    Raises:
        ValueError: if alpha is not between 0 and 1, or there is no comparison.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha {alpha}: a probability between 0 and 1 was expected, such as 0.05")
    if comparisons < 1:
        raise ValueError(f"{comparisons} comparisons: one or more were expected")
    return math.ceil(1 + math.log2(comparisons / alpha))


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Adjust p for the number of comparisons (Holm 1979), in the given order.

    Where every comparison with an adjusted p of at most alpha is called a difference, the chance that any of these
    calls is wrong is at most alpha, whatever the dependence. A comparison without p, because runs are missing or
    differences have no spread, counts as one with p = 1: it was asked for, and must not make the others look better.

    Raises:
        ValueError: if a p is no probability.
    """
    if wrong := [p for p in ps if p is not None and not 0 <= p <= 1]:
        raise ValueError(f"p {wrong[0]}: a probability from 0 to 1, or None, was expected")
    if len(ps) == 1 or all(p is None for p in ps):
        return list(ps)
    values, adjusted, reached = [1.0 if p is None else float(p) for p in ps], list(ps), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        reached = max(reached, (len(values) - rank) * values[place])
        adjusted[place] = None if ps[place] is None else min(reached, 1.0)
    return adjusted


@dataclass(frozen=True)
class Evidence:
    """The tests of one paired difference.

    Args:
        p: of the paired t-test, the partner of the interval; None below two pairs or without spread.
        adjusted: p by Holm over all comparisons of the study.
        comparisons: how many these are.
        sign_flip: exact test of the mean; its own p's are adjusted among themselves.
        wilcoxon: exact test of the signed ranks, likewise.
    """

    p: float | None
    adjusted: float | None
    comparisons: int
    sign_flip: ExactTest
    wilcoxon: ExactTest

    @property
    def smallest(self) -> float:
        """The smallest p that an exact test can reach with so many pairs, before any adjustment."""
        return smallest_p(self.sign_flip.n)

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain types."""
        return {
            "p": self.p,
            "adjusted": self.adjusted,
            "comparisons": self.comparisons,
            "smallest_exact_p": self.smallest,
            "sign_flip": asdict(self.sign_flip),
            "wilcoxon": asdict(self.wilcoxon),
        }


def gather(differences: Sequence[Difference | None]) -> list[Evidence | None]:
    """Test every comparison of a study, in the given order, and adjust for their number.

    Args:
        differences: one per comparison that was asked for; None, as long as it has no pair, counts among them.
    """
    values = [None if one is None else list(one.by_seed.values()) for one in differences]
    student = [
        float(student_p(v)) if v and one and one.spread else None for v, one in zip(values, differences, strict=True)
    ]
    flips = _adjusted([None if v is None else sign_flip_test(v) for v in values])
    ranks = _adjusted([None if v is None else wilcoxon_test(v) for v in values])
    return [
        None if flip is None or rank is None else Evidence(p, adjusted, len(differences), flip, rank)
        for p, adjusted, flip, rank in zip(student, holm(student), flips, ranks, strict=True)
    ]


def _rounded(differences: Sequence[float]) -> "NDArray[np.float64]":
    import numpy as np

    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"differences {differences}: one or more finite numbers were expected")
    return np.round(values, DIGITS)


def _flip(values: "NDArray[np.float64]") -> ExactTest:
    import numpy as np
    from scipy import stats

    n = len(values)
    exact = 2**n <= FLIPS
    method, flips = ("exact", 2**n) if exact else ("random flips", FLIPS)
    if n == 1 or not values.any():  # one flip, or none that changes anything: scipy refuses a single difference
        return ExactTest(1.0, n, method, flips)
    found = stats.permutation_test(
        (values,),
        # Rounded, or sums that are equal but for rounding would count as less extreme than the one measured.
        lambda sample, axis: np.round(np.sum(sample, axis=axis), DIGITS),
        permutation_type="samples",
        vectorized=True,
        n_resamples=FLIPS,
        rng=np.random.default_rng(SEED),
    )
    return ExactTest(float(found.pvalue), n, method, flips)


def _adjusted(tests: Sequence[ExactTest | None]) -> list[ExactTest | None]:
    adjusted = holm([None if test is None else test.p for test in tests])
    return [None if test is None else replace(test, adjusted=p) for test, p in zip(tests, adjusted, strict=True)]

"""What speaks for a difference: exact tests, the smallest p that they can reach, Student's p, Holm's correction."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, combinations, count
from typing import TYPE_CHECKING, Any

from lerac.study.statistics.pairing.student import CONFIDENCE, DIGITS, student_p
from lerac.study.statistics.pairing.welch import UnpairedDifference, welch_p
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
    "label_test",
    "sign_flip_test",
    "smallest_p",
    "wilcoxon_test",
]

ALPHA = round(1 - CONFIDENCE, 10)
FLIPS = 2**15  # all sign flips of up to 15 differences; of more, this many drawn at random
LABELLINGS = 2**18  # all of up to 10 runs of each of two regimes; of more, FLIPS drawn at random
CHUNK = 2**10  # random exchanges at a time, to bound the memory
SEED = 0  # of everything that is drawn, so that the same results give the same report
WILCOXON_TABLE = 50  # differences up to which scipy's recurrence gives the exact distribution at once


@dataclass(frozen=True)
class ExactTest:
    """A two-sided test that assumes only that, without an effect, results are as likely after an exchange as before.

    What is exchanged are the two runs of a seed, which flips the sign of their difference, or any two runs of two
    regimes that are not paired, their labels.

    Args:
        p: the probability, without an effect, of a result at least as extreme.
        n: differences, zeros included; where runs are not paired, runs of both regimes.
        method: `exact` (all exchanges), or `random flips` or `random labels` (the result itself counted among them, so
            p is never 0).
        flips: how many exchanges p is computed from; of `exact`, all: 2**n sign flips.
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


def label_test(values: Sequence[float], reference: Sequence[float]) -> ExactTest:
    """Test the difference of two means by exchanging the labels of runs (Fisher's and Pitman's permutation test).

    Under the hypothesis that all runs of both regimes are exchangeable, every division into groups of these sizes is
    equally likely; p is twice the share of those whose difference is at least as far on the side of the one measured.
    All divisions up to 2**18, as of 10 runs of each; of more, 2**15 random ones (`scipy.stats.permutation_test`).
    Sums equal but for rounding are equal.

    Raises:
        ValueError: below one value of either, or one that is not finite.
    """
    import numpy as np
    from scipy import stats

    own, theirs = _rounded(values), _rounded(reference)
    pooled, n = np.concatenate([own, theirs]), len(own) + len(theirs)
    if (divisions := math.comb(n, len(own))) > LABELLINGS:
        found = stats.permutation_test(
            (own, theirs),
            lambda one, other, axis: np.round(np.mean(one, axis=axis) - np.mean(other, axis=axis), DIGITS),
            permutation_type="independent",
            vectorized=True,
            n_resamples=FLIPS,
            batch=CHUNK,
            rng=np.random.default_rng(SEED),
        )
        return ExactTest(float(found.pvalue), n, "random labels", FLIPS)
    chosen = np.fromiter(chain.from_iterable(combinations(range(n), len(own))), dtype=np.intp).reshape(divisions, -1)
    sums = np.round(pooled[chosen].sum(axis=1), DIGITS)  # of equal sizes: ordered as the differences of means are
    side = min((sums >= sums[0]).mean(), (sums <= sums[0]).mean())  # the first division is the one measured
    return ExactTest(min(1.0, 2 * float(side)), n, "exact", divisions)


def smallest_p(n: int, *, paired: bool = True) -> float:
    """Give the smallest two-sided p that an exact test can reach with n pairs: 2 / 2**n, all of them on one side.

    Where runs are not paired, with n of each regime: 2 / (2n over n), all of one regime above all of the other.

    >>> smallest_p(5), smallest_p(6), smallest_p(3, paired=False)
    (0.0625, 0.03125, 0.1)
    """
    return min(1.0, 2.0 ** (1 - n) if paired else 2 / math.comb(2 * n, n))


def fewest_seeds(alpha: float = ALPHA, comparisons: int = 1, *, paired: bool = True) -> int:
    """Give the fewest pairs with which an exact test can reach alpha, as the smallest p of a family of comparisons.

    Holm multiplies the smallest p by the number of comparisons, so comparisons · 2 / 2**n ≤ alpha is needed; where runs
    are not paired, that of 2 / (2n over n), n being the seeds of each regime.

    >>> fewest_seeds(), fewest_seeds(comparisons=12), fewest_seeds(paired=False)
    (6, 9, 4)

    Raises:
        ValueError: if alpha is not between 0 and 1, or there is no comparison.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha {alpha}: a probability between 0 and 1 was expected, such as 0.05")
    if comparisons < 1:
        raise ValueError(f"{comparisons} comparisons: one or more were expected")
    if paired:
        return math.ceil(1 + math.log2(comparisons / alpha))
    return next(n for n in count(1) if comparisons * smallest_p(n, paired=False) <= alpha)


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
    """The tests of one difference.

    Args:
        p: of the paired t-test, or Welch's where runs are not paired: the partner of the interval; None below two
            pairs, or two runs of each, or without spread.
        adjusted: p by Holm over all comparisons of the study.
        comparisons: how many these are.
        exact: test of the mean, by sign flips or by labels; its own p's are adjusted among themselves.
        wilcoxon: exact test of the signed ranks, likewise; None where runs are not paired.
    """

    p: float | None
    adjusted: float | None
    comparisons: int
    exact: ExactTest
    wilcoxon: ExactTest | None

    @property
    def sign_flip(self) -> ExactTest | None:
        """The exact test of paired differences."""
        return None if self.wilcoxon is None else self.exact

    @property
    def labels(self) -> ExactTest | None:
        """The exact test where runs are not paired."""
        return self.exact if self.wilcoxon is None else None

    @property
    def smallest(self) -> float:
        """The smallest p that an exact test can reach with so many runs, before any adjustment."""
        return min(1.0, 2 / self.exact.flips) if self.wilcoxon is None else smallest_p(self.exact.n)

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain types."""
        tests = {"labels": self.labels} if self.labels else {"sign_flip": self.sign_flip, "wilcoxon": self.wilcoxon}
        return {
            "p": self.p,
            "adjusted": self.adjusted,
            "comparisons": self.comparisons,
            "smallest_exact_p": self.smallest,
            **{name: test and asdict(test) for name, test in tests.items()},
        }


def gather(differences: Sequence[Difference | None]) -> list[Evidence | None]:
    """Test every comparison of a study, in the given order, and adjust for their number.

    Args:
        differences: one per comparison that was asked for; None, as long as it has no pair, counts among them.
    """
    student = [_p(one) for one in differences]
    means = _adjusted([None if one is None else _of_mean(one) for one in differences])
    ranks = _adjusted(
        [wilcoxon_test(list(one.by_seed.values())) if one is not None and one.paired else None for one in differences]
    )
    return [
        None if exact is None else Evidence(p, adjusted, len(differences), exact, rank)
        for p, adjusted, exact, rank in zip(student, holm(student), means, ranks, strict=True)
    ]


def _p(difference: Difference | None) -> float | None:
    if difference is None or not difference.spread:
        return None
    if isinstance(difference, UnpairedDifference):
        return float(welch_p(difference.values, difference.reference))
    return float(student_p(list(difference.by_seed.values())))


def _of_mean(difference: Difference) -> ExactTest:
    if isinstance(difference, UnpairedDifference):
        return label_test(difference.values, difference.reference)
    return sign_flip_test(list(difference.by_seed.values()))


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

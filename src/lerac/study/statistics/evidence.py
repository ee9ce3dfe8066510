"""What speaks for a difference: Student's p and two exact tests, adjusted for the number of comparisons."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lerac.study.statistics.exact_tests import ExactTest, holm, sign_flip_test, smallest_p, wilcoxon_test
from lerac.study.statistics.student import student_p
from lerac.study.statistics.summary import Difference

__all__ = ["Evidence", "gather"]


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
            "sign_flip": self.sign_flip.as_dict(),
            "wilcoxon": self.wilcoxon.as_dict(),
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


def _adjusted(tests: Sequence[ExactTest | None]) -> list[ExactTest | None]:
    adjusted = holm([None if test is None else test.p for test in tests])
    return [None if test is None else replace(test, adjusted=p) for test, p in zip(tests, adjusted, strict=True)]

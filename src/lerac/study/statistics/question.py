"""What the statistics of a study are to answer: compared with which regime, and which difference is to be shown."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lerac.study.errors import StudyError
from lerac.study.metrics import Metric
from lerac.study.statistics.exact_tests import ALPHA
from lerac.study.statistics.seeds_needed import POWER
from lerac.study.statistics.whole_study import choose_baseline

__all__ = ["Question", "request_question"]


@dataclass(frozen=True)
class Question:
    """What is asked of the statistics.

    Args:
        baseline: canonical text of the regime with which the others are compared; None for `conventional`, if it is
            among the regimes.
        claims: metric name → smallest difference that is to be shown, in the metric's own unit.
        power: with which it is to be shown, in (0.05, 1).
    """

    baseline: str | None
    claims: Mapping[str, float]
    power: float


def request_question(
    regimes: Sequence[str],
    metrics: Iterable[Metric],
    baseline: str | None = None,
    claims: Sequence[str] = (),
    power: float = POWER,
) -> Question:
    """Read the words of the command line.

    Args:
        regimes: of the study, as canonical text.
        metrics: that the study measures.
        baseline: canonical text of a regime.
        claims: `1`, or `accuracy=1`, in the unit that is shown: 1 point of accuracy, 1 year of age.
        power: see `Question`.

    Raises:
        StudyError: if the baseline is not among the study's regimes, a claim is not a positive number or of a metric
            that the study does not measure, or the power is out of its range.
    """
    asked = None if baseline is None else choose_baseline(regimes, baseline)
    known = {metric.name: metric for metric in metrics}
    read: dict[str, float] = {}
    for text in claims:
        metric, size = _claim(text, known)
        if metric.name in read:
            raise StudyError(f"--claim {text}: the claim about {metric.name} is given twice")
        read[metric.name] = size / metric.scale
    if not ALPHA < power < 1:
        raise StudyError(f"--power {power:g}: a probability between {ALPHA} and 1 was expected, such as {POWER}")
    return Question(asked, read, power)


def _claim(text: str, metrics: Mapping[str, Metric]) -> tuple[Metric, float]:
    name, _, number = text.rpartition("=")
    measured = ", ".join(metrics)
    if name and name not in metrics:
        raise StudyError(f"--claim {text}: the study measures {measured}")
    if not name and len(metrics) > 1:
        raise StudyError(f"--claim {text}: the study measures {measured}; say which, like {next(iter(metrics))}={text}")
    metric = metrics[name] if name else next(iter(metrics.values()))
    try:
        size = float(number)
    except ValueError:
        size = math.nan
    if not 0 < size < math.inf:
        of = f" of {metric.difference}" if metric.difference else ""
        raise StudyError(f"--claim {text}: a number{of} above 0 was expected, like 1 or {metric.name}=1")
    return metric, size

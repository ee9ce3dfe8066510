"""What the statistics of a study are to answer: compared with which regime, and which difference is to be shown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lerac.study.errors import StudyError
from lerac.study.metrics import Metric, metric_of
from lerac.study.plan.study import Study
from lerac.study.recipes.regimes import parse_regime
from lerac.study.statistics import ALPHA, POWER, choose_baseline

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
    study: Study, baseline: str | None = None, claims: Sequence[str] = (), power: float = POWER
) -> Question:
    """Read the words of the command line.

    Args:
        study: that is asked about.
        baseline: a regime, options in brackets.
        claims: `1`, or `accuracy=1`, in the unit that is shown: 1 point of accuracy, 1 year of age.
        power: see `Question`.

    Raises:
        StudyError: if the baseline is not among the study's regimes, a claim is not a positive number or of a metric
            that the study does not measure, or the power is out of its range.
    """
    asked = None if baseline is None else choose_baseline(study.regimes, str(parse_regime(baseline)))
    metrics = {(metric := metric_of(recipe.dataset)).name: metric for recipe in study.recipes}
    read: dict[str, float] = {}
    for text in claims:
        metric, size = _claim(text, metrics)
        if metric.name in read:
            raise StudyError(f"--claim {text}: the claim about {metric.name} is given twice")
        read[metric.name] = size / metric.factor
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
        raise StudyError(
            f"--claim {text}: a number of {metric.difference} above 0 was expected, like 1 or {metric.name}=1"
        )
    return metric, size

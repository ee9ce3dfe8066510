"""Which of several configurations is chosen, and what the best of fewer of them is to be expected to reach."""

import math
from collections.abc import Sequence

from lerac.study.metrics import Metric
from lerac.study.statistics.summary import Summary

__all__ = ["best", "expected_best"]


def best(summaries: Sequence[Summary], metric: Metric) -> Summary | None:
    """Give the configuration with the best mean; of equals the first.

    One of which a run diverged is the worst, so that it is never chosen; nor is one of which a run has not ended.

    Returns:
        None if there is none that can be chosen.
    """
    chosen: Summary | None = None
    for one in summaries:
        if one.mean is None or one.diverged or one.missing:
            continue
        if chosen is None or chosen.mean is None or metric.better(one.mean, chosen.mean):
            chosen = one
    return chosen


def expected_best(summaries: Sequence[Summary], metric: Metric) -> list[float]:
    """Give the expected best mean of n of the configurations, for n = 1 … N, by the unbiased estimator.

    It is the mean of the best over all choices of n of the N, see Tang et al., "Showing your work doesn't always work",
    ACL 2020 (arXiv 2004.13705). A configuration of which a run diverged counts with the worst mean of the others.

    Returns:
        N values; none while runs are missing, or if all configurations diverged.
    """
    if any(one.missing or not (one.n or one.diverged) for one in summaries):
        return []
    means = [None if one.diverged else one.mean for one in summaries]
    finite = sorted((mean for mean in means if mean is not None), reverse=metric.goal == "min")  # from worst to best
    if not finite:
        return []
    values, count = [finite[0]] * (len(means) - len(finite)) + finite, len(means)
    return [
        math.fsum(math.comb(i, n - 1) * value for i, value in enumerate(values)) / math.comb(count, n)
        for n in range(1, count + 1)
    ]

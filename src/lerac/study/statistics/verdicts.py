"""What a comparison shows, in plain words that agree with its interval, its p and the exact test."""

from collections.abc import Iterable

from lerac.study.metrics import ACCURACY, Metric
from lerac.study.statistics.exact_tests import ALPHA, Evidence, fewest_seeds
from lerac.study.statistics.pairing.student import ROUNDING
from lerac.study.statistics.pairing.welch import UnpairedDifference
from lerac.study.statistics.summary import BASELINE, Difference, Summary

__all__ = ["about_baseline", "about_seeds", "p_number", "p_text", "seed_ranges", "seeds_text", "verdict"]

FEWEST = 5  # seeds for a verdict: an interval from fewer rests on its assumptions alone


def verdict(
    summary: Summary, baseline: str = BASELINE, metric: Metric = ACCURACY, evidence: Evidence | None = None
) -> str:
    """Say in a sentence or two what is shown about a regime.

    With evidence, a regime is called better or worse if the t-test's p, adjusted by Holm over all comparisons of the
    study, is at most 0.05. The text says so where the interval alone would have said more, and whether the exact
    sign-flip test, which needs no normal differences, confirms a difference, does not, or cannot with so few seeds.
    Where runs are not paired it says so, and the tests are Welch's and that of labels.
    Without evidence the interval alone decides.

    Args:
        summary: of the regime.
        baseline: that it was compared with.
        metric: what the values are.
        evidence: from `gather` over the whole study.
    """
    difference = summary.difference
    if difference is None:
        return f"{summary.regime}: nothing to compare with {baseline}.{_caveat(summary)}"
    size = metric.apart(metric.change(difference.mean))
    if difference.low is None or difference.high is None or difference.n < FEWEST:
        text = f"{summary.regime}: {size} compared with {baseline} on {_n_text(difference)}, too few for a verdict."
        return text + _caveat(summary)
    if difference.high - difference.low < ROUNDING:
        text = f"{summary.regime}: {size}{_without_spread(difference)}"
        return f"{text}; differences without spread give no interval.{_caveat(summary)}"
    numbers = f"{size} [{metric.change(difference.low)}, {metric.change(difference.high)}], n = {_n_text(difference)}"
    apart = difference.low > 0 or difference.high < 0
    shown = apart and (evidence is None or evidence.adjusted is None or evidence.adjusted <= ALPHA)
    if shown:
        better = metric.better(difference.mean, than=0)
        text = f"{summary.regime} is {'better' if better else 'worse'} than {baseline}: {numbers}"
    else:
        text = f"{summary.regime}: no difference to {baseline} shown: {numbers}"
    return text + _weighed(difference, evidence, apart=apart, shown=shown) + _caveat(summary)


def about_baseline(summary: Summary) -> str | None:
    """Say what is wrong with the baseline itself, or None."""
    wrong = []
    if summary.missing:
        wrong.append(f"has not ended on seeds {seed_ranges(summary.missing)}")
    if summary.diverged:
        wrong.append(f"diverged on seeds {seed_ranges(summary.diverged)}")
    if not wrong:
        return None
    return f"{summary.regime} itself {' and '.join(wrong)}; no regime is compared on these."


def about_seeds(summaries: Iterable[Summary]) -> str | None:
    """Ask whether the seed is used, where all runs of a regime came to the very same; else None."""
    equal = [one.regime for one in summaries if one.n > 1 and len(set(one.values.values())) == 1]
    return f"{', '.join(equal)}: equal values for all seeds; is the seed used?" if equal else None


def p_text(p: float) -> str:
    """Write a p with two significant digits, such as `p = 0.031`, or `p < 0.0001`."""
    number = p_number(p)
    return f"p {number}" if number.startswith("<") else f"p = {number}"


def p_number(p: float) -> str:
    """Write a p with two significant digits and without its name, such as `0.031`, or `< 0.0001`."""
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def seeds_text(n: int) -> str:
    """Write a number of seeds."""
    return "1 seed" if n == 1 else f"{n} seeds"


def seed_ranges(seeds: Iterable[int]) -> str:
    """Write seeds in order, three or more that follow one another as a range.

    >>> seed_ranges([4, 9, 7, 8, 0, 3])
    '0, 3, 4, 7-9'
    """
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def _weighed(difference: Difference, evidence: Evidence | None, *, apart: bool, shown: bool) -> str:
    """End the sentence with p, and say how it goes together with interval and exact test."""
    if evidence is None or evidence.p is None or evidence.adjusted is None:
        return "."
    text = f", {p_text(evidence.p)}"
    if evidence.comparisons > 1:
        text += f", after Holm over {evidence.comparisons} comparisons {p_text(evidence.adjusted)}"
    if apart and not shown:
        return f"{text}. The interval excludes 0 only if this comparison is looked at alone."
    return f"{text}.{_exact(difference, evidence)}" if shown else f"{text}."


def _n_text(difference: Difference) -> str:
    if isinstance(difference, UnpairedDifference):
        return f"{len(difference.values)} and {len(difference.reference)} runs, not paired"
    return seeds_text(difference.n)


def _without_spread(difference: Difference) -> str:
    if isinstance(difference, UnpairedDifference):
        return f" from {_n_text(difference)} and without spread in either regime"
    return f" on each of {seeds_text(difference.n)}"


def _exact(difference: Difference, evidence: Evidence) -> str:
    exact = evidence.exact.p if evidence.exact.adjusted is None else evidence.exact.adjusted
    test, normal = ("sign-flip test", "differences") if difference.paired else ("permutation test of labels", "values")
    if exact <= ALPHA:
        return f" The exact {test} confirms it: {p_text(exact)}."
    if evidence.comparisons * evidence.smallest > ALPHA:
        among = f" and {evidence.comparisons} comparisons" if evidence.comparisons > 1 else ""
        least = min(1.0, evidence.comparisons * evidence.smallest)
        fewest = seeds_text(fewest_seeds(comparisons=evidence.comparisons, paired=difference.paired))
        return (
            f" This rests on normal {normal}: with {seeds_text(difference.n)}{among} no exact test can go below "
            f"{p_text(least)}; {fewest} could."
        )
    return f" The exact {test}, which needs no normal {normal}, does not confirm it: {p_text(exact)}."


def _caveat(summary: Summary) -> str:
    caveats = []
    if summary.diverged:
        seeds = seed_ranges(summary.diverged)
        caveats.append(f" Diverged: {len(summary.diverged)} of {len(summary.diverged) + summary.n} runs.")
        caveats.append(f" Not counted, because their loss was not finite: seeds {seeds}.")
    if summary.missing:
        caveats.append(f" Not ended yet: {seeds_text(len(summary.missing))}.")
    return "".join(caveats)

"""What a study looks like on a terminal, 80 columns wide, and as JSON."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lerac.study.metrics import ACCURACY, Metric
from lerac.study.runs.comparison import Comparison, kind_of
from lerac.study.runs.estimate import Pace
from lerac.study.statistics.analysis import Analysis
from lerac.study.statistics.exact_tests import Evidence
from lerac.study.statistics.outcomes import Outcome
from lerac.study.statistics.pairing.student import CONFIDENCE
from lerac.study.statistics.summary import BASELINE, Summary
from lerac.study.statistics.verdicts import p_number

__all__ = [
    "plan_json",
    "print_comparison",
    "print_plan",
    "print_study",
    "print_summaries",
    "study_json",
    "summary_json",
]

LONGEST = len(BASELINE)  # signs of a baseline's name for which a heading has room

PUBLISHED = (
    "paper: mean and standard deviation of 5 runs, as its first version reports them. The authors' code, where it has "
    "the experiment, selects the epoch on the test data, so that its numbers are too good."
)


def print_plan(
    console: Console, outcomes: Sequence[Outcome], pace: Pace, side_by_side: int | None, *, as_json: bool
) -> None:
    """Print every run and how far it is, and how long the rest takes if epochs have been trained that tell.

    Args:
        console: where to.
        outcomes: of all runs.
        pace: made from them.
        side_by_side: how many runs would be trained at a time, if that is known.
        as_json: print JSON instead, with the `seconds_left` of every run, null if nothing tells.
    """
    if as_json:
        print(json.dumps(plan_json(outcomes, pace), indent=2))
        return
    for one in outcomes:
        console.print(f"{one}: {state(one)}", markup=False, highlight=False, soft_wrap=True)
    left = {one.folder: one for one in outcomes if not one.ended}.values()
    console.print(f"{len(outcomes)} runs, {len(left)} to train{_time(pace, list(left), side_by_side)}")


def plan_json(outcomes: Sequence[Outcome], pace: Pace) -> list[dict[str, Any]]:
    """Give every run and how far it is as plain types; arguments as for `print_plan`."""
    return [
        {
            "recipe": one.experiment,
            "regime": one.regime,
            "seed": one.seed,
            "folder": one.folder,
            "state": state(one),
            "seconds_left": pace.left(one),
        }
        for one in outcomes
    ]


def _time(pace: Pace, left: Sequence[Outcome], side_by_side: int | None) -> str:
    seconds = [pace.left(one) for one in left]
    known = [one for one in seconds if one is not None]
    if not left or len(known) < len(seconds):
        return ""
    together = f", {_rounded(max(*known, sum(known) / side_by_side))} side by side" if side_by_side else ""
    return f": about {_rounded(sum(known))} of training{together}"


def _rounded(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def state(outcome: Outcome) -> str:
    """Say in a word or two how far a run is."""
    if outcome.state:
        return outcome.state
    if outcome.history:
        of = "" if outcome.planned is None else f" of {outcome.planned}"
        return f"continues after epoch {len(outcome.history)}{of}"
    return "to train"


def print_study(console: Console, comparisons: Sequence[Comparison], analysis: Analysis) -> None:
    """Print every recipe, what all recipes show together, and what holds for the whole study."""
    for comparison in comparisons:
        print_comparison(console, comparison)
        console.print()
    sentences = [row.text(f"{kind_of(comparisons)}s") for row in analysis.pooled]
    if analysis.baseline is not None:  # else the notes are the verdict
        sentences += analysis.notes
    for sentence in sentences:
        console.print(sentence, markup=False, highlight=False)
    if sentences:
        console.print()


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print table and verdict of one recipe, with the paper's numbers where we know them."""
    metric, published = comparison.metric, comparison.experiment.published
    print_summaries(
        console,
        f"test {metric.title}",
        comparison.test,
        metric,
        title=comparison.experiment.name,
        published=published,
        baseline=comparison.baseline,
        evidence={cell.regime: cell.evidence for cell in comparison.cells if cell.evidence},
    )
    claimed = [
        f"{cell.regime}: {cell.outlook.text(metric)}"
        for cell in comparison.cells
        if cell.outlook and cell.outlook.claimed
    ]
    remark = [PUBLISHED] if any(summary.regime in published for summary in comparison.test) else []
    if (others := getattr(comparison.experiment, "reported", None)) is not None:  # a recipe's
        remark.append(f"Reported by others: {others.score:g} {metric.unit}, {others.source}.")
    budget = [f"Tuned: {comparison.tuned.told}."] if comparison.tuned else []
    for sentence in [*budget, *comparison.warnings, *comparison.verdicts, *claimed, *remark, *comparison.beside]:
        console.print(sentence, markup=False, highlight=False)


def print_summaries(
    console: Console,
    what: str,
    summaries: Sequence[Summary],
    metric: Metric = ACCURACY,
    *,
    title: str | None = None,
    published: Mapping[str, Sequence[float]] = {},
    baseline: str | None = BASELINE,
    evidence: Mapping[str, Evidence] = {},
) -> None:
    """Print a table of means and paired differences, and an empty line.

    Args:
        console: where to.
        what: was measured.
        summaries: a row each.
        metric: how the values are printed.
        title: of the table; by default what was measured.
        published: regime → mean and standard deviation that the paper reports, as they are printed; a column, if one of
            the regimes has them.
        baseline: with which the others are compared; None for no comparison.
        evidence: regime → its tests, of which p is a column if there are any: the t-test's, adjusted by Holm.
    """
    unit = f", {metric.unit}" if metric.unit else ""
    table = Table(title=escape(title or what), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("regime", overflow="fold")
    beside = any(summary.regime in published for summary in summaries)
    heading = f"{what}{unit}" if title else f"mean{unit}"
    if beside and any(summary.diverged for summary in summaries):  # crowded
        heading = heading.replace(" ", "\n", 1)
    table.add_column(escape(heading), justify="right", no_wrap=True)
    if baseline is not None:
        named = baseline if len(baseline) <= LONGEST else "baseline"
        table.add_column(f"− {named} [{CONFIDENCE:.0%}]".replace("[", r"\["), justify="right", no_wrap=True)
    if evidence:
        several = any(found.comparisons > 1 for found in evidence.values())
        table.add_column("p (Holm)" if several else "p", justify="right")
    table.add_column("n", justify="right", min_width=min(8, max(len(_count(summary)) for summary in summaries)))
    if beside:
        table.add_column("paper", justify="right", no_wrap=True)
    for summary in summaries:
        row = [escape(summary.regime), _mean(summary, metric)]
        row += [] if baseline is None else [_difference(summary, metric)]
        row += [_p(evidence.get(summary.regime))] if evidence else []
        row.append(_count(summary))
        if beside:
            row.append(" ± ".join(f"{number:.2f}" for number in published.get(summary.regime, ())) or "–")
        table.add_row(*row)
    console.print(table)
    console.print()


def study_json(comparisons: Sequence[Comparison], analysis: Analysis) -> dict[str, Any]:
    """Give the table of every recipe, and all statistics (`analysis`, see docs/statistics.md), as plain types.

    Accuracies and mAP are shares in [0, 1], errors of ages in years. `published` is what the paper reports, None where
    it does not or we do not know it; `baseline` is None where nothing is compared. `analysis` says in `not_paired` of
    which experiments differences are those of means, and why.
    """
    return {"recipes": [_comparison_json(comparison) for comparison in comparisons], "analysis": analysis.as_dict()}


def _comparison_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "recipe": comparison.experiment.name,
        "baseline": comparison.baseline,
        "confidence": CONFIDENCE,
        "regimes": [
            summary_json(summary) | {"published": _published(comparison, summary)} for summary in comparison.test
        ],
        "verdicts": comparison.verdicts,
        "metric": comparison.metric.name,
        "warnings": [*comparison.warnings, *comparison.beside],
        **({"tuned": comparison.tuned.model_dump(exclude_none=True)} if comparison.tuned else {}),
    }


def summary_json(summary: Summary) -> dict[str, Any]:
    """Give a row of a table as plain types."""
    difference = summary.difference
    return {
        "regime": summary.regime,
        "n": summary.n,
        "mean": summary.mean,
        "sd": summary.sd,
        "diverged": list(summary.diverged),
        "missing": list(summary.missing),
        "difference": difference and {key: getattr(difference, key) for key in ("n", "mean", "low", "high")},
    }


def _published(comparison: Comparison, summary: Summary) -> dict[str, float] | None:
    if (numbers := comparison.experiment.published.get(summary.regime)) is None:
        return None
    mean, spread = (number / comparison.metric.scale for number in numbers)
    return {"mean": mean, "sd": spread}


def _mean(summary: Summary, metric: Metric) -> str:
    if summary.mean is None:
        return "–"
    mean = metric.number(summary.mean)
    return mean if summary.sd is None else f"{mean} ± {metric.number(summary.sd)}"


def _difference(summary: Summary, metric: Metric) -> str:
    difference = summary.difference
    if difference is None:
        return "–"
    mean = metric.change(difference.mean)
    if difference.low is None or difference.high is None:
        return mean
    return rf"{mean} \[{metric.change(difference.low)}, {metric.change(difference.high)}]"


def _p(evidence: Evidence | None) -> str:
    return "–" if evidence is None or evidence.adjusted is None else p_number(evidence.adjusted)


def _count(summary: Summary) -> str:
    return f"{summary.n}, {len(summary.diverged)} diverged" if summary.diverged else str(summary.n)

"""What a study looks like on a terminal, 80 columns wide, and as JSON."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from lerac.study.folder import Result
from lerac.study.statistics import BASELINE, CONFIDENCE, Summary

if TYPE_CHECKING:
    from lerac.study.report import Comparison

__all__ = ["comparison_json", "print_comparison", "print_plan"]


def print_plan(console: Console, results: Sequence[Result], *, as_json: bool) -> None:
    """Print every run and how far it is."""
    if as_json:
        runs = [
            {
                "recipe": r.run.recipe,
                "regime": r.run.regime,
                "seed": r.run.seed,
                "folder": r.run.folder,
                "state": state(r),
            }
            for r in results
        ]
        print(json.dumps(runs, indent=2))
        return
    for result in results:
        console.print(f"{result.run}: {state(result)}", markup=False, highlight=False, soft_wrap=True)
    left = sum(result.status is None for result in results)
    console.print(f"{len(results)} runs, {left} to train")


def state(result: Result) -> str:
    """Say in a word or two how far a run is."""
    if result.status:
        return str(result.status["state"])
    if result.history:
        return f"continues after epoch {len(result.history)} of {result.run.settings['training']['epochs']}"
    return "to train"


def print_comparison(console: Console, comparison: "Comparison") -> None:
    """Print table and verdict of one recipe."""
    table = Table(title=comparison.recipe.name, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("regime", overflow="fold")
    table.add_column("test accuracy, %", justify="right", no_wrap=True)
    table.add_column(f"− {BASELINE} [{CONFIDENCE:.0%}]".replace("[", r"\["), justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for summary in comparison.test:
        table.add_row(summary.regime, _mean(summary), _difference(summary), _count(summary))
    console.print(table)
    console.print()
    for sentence in comparison.verdicts:
        console.print(sentence, markup=False, highlight=False)


def comparison_json(comparison: "Comparison") -> dict[str, Any]:
    """Give the table of one recipe as plain types; accuracies are shares in [0, 1]."""
    return {
        "recipe": comparison.recipe.name,
        "baseline": BASELINE,
        "confidence": CONFIDENCE,
        "regimes": [
            {
                "regime": s.regime,
                "n": s.n,
                "mean": s.mean,
                "sd": s.sd,
                "diverged": list(s.diverged),
                "missing": list(s.missing),
                "difference": s.difference
                and {
                    "n": s.difference.n,
                    "mean": s.difference.mean,
                    "low": s.difference.low,
                    "high": s.difference.high,
                },
            }
            for s in comparison.test
        ],
        "verdicts": comparison.verdicts,
    }


def _mean(summary: Summary) -> str:
    if summary.mean is None:
        return "–"
    return (
        f"{100 * summary.mean:.2f} ± {100 * summary.sd:.2f}" if summary.sd is not None else f"{100 * summary.mean:.2f}"
    )


def _difference(summary: Summary) -> str:
    difference = summary.difference
    if difference is None:
        return "–"
    mean = f"{100 * difference.mean:+.2f}"
    if difference.low is None or difference.high is None:
        return mean
    return rf"{mean} \[{100 * difference.low:+.2f}, {100 * difference.high:+.2f}]"


def _count(summary: Summary) -> str:
    return f"{summary.n}, {len(summary.diverged)} diverged" if summary.diverged else str(summary.n)

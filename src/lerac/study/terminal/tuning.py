"""What a tuning looks like on a terminal, and as JSON: its budget beforehand, and what was chosen."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lerac.study.plan.study import Study
from lerac.study.plan.tuning import Tuning
from lerac.study.runs.estimate import Pace
from lerac.study.runs.tuning import Choice, Tried
from lerac.study.statistics.outcomes import Outcome
from lerac.study.statistics.verdicts import seed_ranges
from lerac.study.terminal.study import plan_json, print_plan

__all__ = ["budget_of", "print_budget", "print_tuning", "print_tuning_plan", "tuning_json"]


def budget_of(study: Study) -> str:
    """Say what every regime is given, and what that comes to."""
    if (tuning := study.tuning) is None:
        return ""
    seeds, regimes = len(study.seeds), len(tuning.tried)
    each, epochs = tuning.configs * seeds, tuning.epochs
    length = "" if epochs is None else f" × {epochs} epochs"
    total = "" if epochs is None else f", {regimes * each * epochs} epochs"
    return (
        f"{tuning.configs} configurations × {seeds} seeds{length} for each of {regimes} regimes: {each} runs each, "
        f"{regimes * each} runs{total} in all"
    )


def print_budget(console: Console, study: Study) -> None:
    """Print budget and axes, before the first run."""
    if study.tuning is None:
        return
    _say(console, f"{', '.join(study.tuning.tried)}: {budget_of(study)}; seeds {seed_ranges(study.seeds)}")
    for text in _axes(study.tuning):
        _say(console, f"  {text}")


def print_tuning_plan(
    console: Console, study: Study, outcomes: Sequence[Outcome], pace: Pace, side_by_side: int | None, *, as_json: bool
) -> None:
    """Print the budget and every run, and how far it is; arguments as for `print_plan`."""
    if as_json:
        print(json.dumps({**_budget_json(study), "runs": plan_json(outcomes, pace)}, indent=2))
        return
    print_budget(console, study)
    print_plan(console, outcomes, pace, side_by_side, as_json=False)


def print_tuning(console: Console, tried: Tried) -> None:
    """Print what was chosen for every regime, and what must be known of that."""
    metric = tried.metric
    table = Table(
        title=escape(f"{tried.study.experiments[0].name}, tuned"),
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    table.add_column("chosen", overflow="fold")
    table.add_column(escape(f"validation {metric.heading}"), justify="right")
    table.add_column("tried", justify="right")
    table.add_column("diverged", justify="right")
    for choice in tried.choices:
        diverged = sum(bool(one.diverged) for one in choice.configurations)
        table.add_row(escape(_chosen(choice)), _mean(choice, tried), str(tried.tuning.configs), str(diverged))
    console.print(table)
    console.print()
    _say(console, f"{budget_of(tried.study)}; seeds {seed_ranges(tried.study.seeds)}.")
    for sentence in tried.warnings:
        _say(console, sentence)


def tuning_json(tried: Tried) -> dict[str, Any]:
    """Give budget, axes and, of every regime, all configurations and what was chosen, as plain types."""
    return {
        **_budget_json(tried.study),
        "metric": tried.metric.name,
        "goal": tried.metric.goal,
        "missing": tried.missing,
        "warnings": tried.warnings,
        "regimes": [
            {
                "regime": one.regime,
                "chosen": one.chosen and one.chosen.regime,
                "validation": one.chosen and one.chosen.mean,
                "edges": list(one.edges),
                "best_of": list(one.best_of),
                "configurations": [
                    {key: value for key, value in c.as_dict().items() if key != "difference"}
                    for c in one.configurations
                ],
            }
            for one in tried.choices
        ],
    }


def _budget_json(study: Study) -> dict[str, Any]:
    tuning = study.tuning
    assert tuning is not None
    return {
        "recipe": study.experiments[0].name,
        "configs": tuning.configs,
        "seeds": study.seeds,
        "epochs": tuning.epochs,
        "runs_each": tuning.configs * len(study.seeds),
        "runs_total": len(tuning.regimes) * len(study.seeds),
        "axes": {name: axis.model_dump(exclude_none=True) for name, axis in tuning.axes.items()},
        "tried": tuning.tried,
    }


def _axes(tuning: Tuning) -> list[str]:
    return [
        f"{option}: {axis.words}"
        + (f" ({axis.low:g}..{axis.high:g} epochs)" if option in ("k", "every") and axis.listed is None else "")
        for option, axis in tuning.axes.items()
    ]


def _chosen(choice: Choice) -> str:
    if choice.chosen is not None:
        return choice.chosen.regime
    return f"{choice.regime}: {f'{choice.missing} runs have not ended' if choice.missing else 'none, all diverged'}"


def _mean(choice: Choice, tried: Tried) -> str:
    if choice.chosen is None or choice.chosen.mean is None:
        return "–"
    mean, sd = choice.chosen.mean, choice.chosen.sd
    return tried.metric.number(mean) + ("" if sd is None else f" ± {tried.metric.number(sd)}")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)

"""The page of a tuning: its budget, what was tried, what was chosen. Nothing of it is of test data."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from rich.console import Console

from lerac.study.figures.style import colours
from lerac.study.figures.tuning import axis_figure, best_of_figure
from lerac.study.files import write_text
from lerac.study.report.commands import Where, tuning_commands
from lerac.study.report.page import embedded, environments_of, templates
from lerac.study.report.pictures import colour_rules, inline_svg, variable
from lerac.study.runs.tuning import Tried
from lerac.study.statistics.verdicts import seed_ranges
from lerac.study.terminal.tuning import budget_of, print_tuning, tuning_json

__all__ = ["ToldTuning", "tell_tuning"]


@dataclass(frozen=True)
class ToldTuning:
    """What a tuning has shown; `print` it, or hand `folder` to a comparison.

    Args:
        report: path of the page.
        tried: what came out.
    """

    report: Path
    tried: Tried

    @property
    def folder(self) -> Path:
        """Of the tuning."""
        return self.tried.folders[0]

    @property
    def chosen(self) -> dict[str, str]:
        """Regime as it was asked for → the configuration that was chosen, of those that have one."""
        return {one.regime: one.chosen.regime for one in self.tried.choices if one.chosen}

    def show(self, *, as_json: bool = False) -> None:
        """Print it as `lerac tune` does."""
        if as_json:
            print(json.dumps({"report": str(self.report), **tuning_json(self.tried)}, indent=2))
            return
        self._print(Console())

    def _print(self, console: Console) -> None:
        print_tuning(console, self.tried)
        console.print(f"report: {self.report}", markup=False, highlight=False, soft_wrap=True)

    def __str__(self) -> str:
        console = Console(width=80)
        with console.capture() as captured:
            self._print(console)
        return captured.get().rstrip()


def tell_tuning(where: Where, tried: Tried) -> ToldTuning:
    """Write the page of a tuning."""
    page, outcomes = where.out / "report.html", tried.outcomes
    pictures = dict(_pictures(tried))
    shown = colours([choice.regime for choice in tried.choices])
    legend = {regime: variable(colour) for regime, colour in shown.items()}
    text = (
        templates()
        .get_template("tuning.html.j2")
        .render(
            tried=tried,
            study=tried.study,
            tuning=tried.tuning,
            metric=tried.metric,
            name=tried.study.experiments[0].name,
            budget=budget_of(tried.study),
            seeds=seed_ranges(tried.study.seeds),
            pictures=pictures,
            legend=legend,
            colours=colour_rules([*pictures.values(), *legend.values()]),
            ended=sum(one.ended for one in outcomes),
            total=len(outcomes),
            failures=[one for one in outcomes if one.error or one.diverged],
            environments=environments_of(outcomes),
            seconds=sum(one.seconds or 0 for one in outcomes),
            commands=tuning_commands(tried.study, where),
            data=embedded(outcomes),
        )
    )
    write_text(page, text)
    return ToldTuning(page, tried)


def _pictures(tried: Tried) -> Iterator[tuple[str, Markup]]:
    """Give the pictures by name: `best` if there is one, and one for each axis of which anything is known."""
    title = f"validation {tried.metric.title}"
    if any(choice.best_of for choice in tried.choices):
        last = ", ".join(
            f"{choice.regime} {tried.metric.number(choice.best_of[-1])}" for choice in tried.choices if choice.best_of
        )
        yield "best", inline_svg(best_of_figure(tried), "best-of", f"Expected best {title} of n; of all: {last}")
    if any(one.n for choice in tried.choices for one in choice.configurations):
        for option in tried.tuning.axes:
            text = f"{title.capitalize()} of every configuration against {option}"
            yield option, inline_svg(axis_figure(tried, option), f"axis-{option}", text)

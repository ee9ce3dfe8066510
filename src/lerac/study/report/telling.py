"""What a study has shown, computed once for all: the page, the tables, and the words."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from rich.console import Console

from lerac.study.plan.command import CommandExperiment
from lerac.study.plan.own import OwnExperiment
from lerac.study.plan.study import Study
from lerac.study.recipes.regimes import parse_regime
from lerac.study.report.commands import Where
from lerac.study.report.page import write_report
from lerac.study.report.tables import table_rows, write_summary
from lerac.study.runs.comparison import Comparison, compare
from lerac.study.runs.own import readable
from lerac.study.statistics.analysis import Analysis
from lerac.study.statistics.outcomes import Outcome
from lerac.study.statistics.question import Question, request_question
from lerac.study.statistics.whole_study import analyse
from lerac.study.terminal.study import print_study, study_json

__all__ = ["Told", "ask", "tell"]

SHOWN = ("recipe", "regime", "mean", "sd", "difference", "low", "high", "p_holm", "n")


@dataclass(frozen=True)
class Told:
    """What a study has shown; `print` it, or let a notebook show it.

    Args:
        report: path of the page.
        comparisons: of its experiments.
        analysis: all statistics.
    """

    report: Path
    comparisons: Sequence[Comparison]
    analysis: Analysis

    @property
    def table(self) -> list[dict[str, object]]:
        """A dict per regime, as a row of table.csv: numbers in the unit that is shown, None where nothing is known."""
        return table_rows(self.comparisons)

    def show(self, *, as_json: bool = False) -> None:
        """Print it as `lerac compare` does."""
        if as_json:
            print(json.dumps({"report": str(self.report), **study_json(self.comparisons, self.analysis)}, indent=2))
            return
        self._print(Console())

    def _print(self, console: Console) -> None:
        print_study(console, self.comparisons, self.analysis)
        console.print(f"report: {self.report}", markup=False, highlight=False, soft_wrap=True)

    def __str__(self) -> str:
        text = io.StringIO()
        self._print(Console(file=text, width=80))
        return text.getvalue().rstrip()

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in SHOWN)
        rows = ("".join(f"<td>{_cell(row[name])}</td>" for name in SHOWN) for row in self.table)
        said = [*(one for c in self.comparisons for one in (*c.warnings, *c.verdicts)), *self.analysis.notes]
        words = "".join(f"<p>{escape(sentence)}</p>" for sentence in dict.fromkeys(said))
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f"{table}{words}<p>{escape(str(self.report))}</p>"


def ask(
    study: Study, baseline: str | None = None, claims: Sequence[str] = (), power: float = 0.8, *, early: bool = False
) -> Question:
    """Read what is asked of the statistics of a study, as `request_question` does; errors as there.

    Args:
        study: of which.
        baseline: text of a regime; what it leaves open is as in the study.
        claims: see `request_question`.
        power: see `Question`.
        early: whether nothing has been trained yet, so that what is measured may not be known.
    """
    if baseline is not None and baseline not in study.regimes and not _has_arms(study):
        regime = parse_regime(baseline)
        texts = (str(regime), str(regime.complete()))
        baseline = next((text for text in texts if text in study.regimes), texts[0])
    known = all(one.measure for one in study.experiments if isinstance(one, OwnExperiment))
    return request_question(study.regimes, study.metrics, baseline, claims if known or not early else (), power)


def tell(where: Where, study: Study, outcomes: Sequence[Outcome], question: Question) -> Told:
    """Compute the statistics of a study, and write page and tables."""
    study, outcomes = readable(study, outcomes)
    analysis = analyse(
        outcomes, baseline=question.baseline, claims=question.claims, power=question.power, folders=where.folders
    )
    comparisons, page = compare(study, outcomes, analysis), where.out / "report.html"
    write_report(page, study, comparisons, analysis, where)
    write_summary(where.out, comparisons)
    return Told(page, comparisons, analysis)


def _has_arms(study: Study) -> bool:
    return any(isinstance(one, CommandExperiment) and one.arms for one in study.experiments)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))

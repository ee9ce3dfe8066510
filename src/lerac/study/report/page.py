"""The page: report.html, self-contained, from whatever has been trained so far."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from lerac.study.files import write_text
from lerac.study.metrics import Metric
from lerac.study.plan.study import Study
from lerac.study.report.commands import changed_values, commands_of
from lerac.study.report.pictures import colour_rules
from lerac.study.report.sections import PARTS, section_of
from lerac.study.report.statistics_section import tests_of
from lerac.study.runs.comparison import Comparison
from lerac.study.runs.folder import RESULTS, Result, result_rows
from lerac.study.statistics import ALPHA, CONFIDENCE, Analysis, p_number

__all__ = ["write_report"]


def write_report(path: Path, study: Study, comparisons: Sequence[Comparison], analysis: Analysis) -> None:
    """Write the page.

    Args:
        path: of the file.
        study: that was asked for.
        comparisons: of all its recipes.
        analysis: that they are made from.
    """
    results = [result for comparison in comparisons for result in comparison.results]
    sections = [section_of(comparison, study) for comparison in comparisons]
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            study=study,
            sections=sections,
            colours=colour_rules(text for section in sections for text in _drawn(section)),
            parts=PARTS,
            changed={recipe.name: changed_values(recipe) for recipe in study.recipes},
            analysis=analysis,
            baseline=analysis.baseline,
            claims=_claims(comparisons, analysis),
            tests=[shown for comparison in comparisons if (shown := tests_of(comparison))],
            confidence=f"{CONFIDENCE:.0%}",
            alpha=ALPHA,
            ended=sum(result.status is not None for result in results),
            total=len(results),
            failures=[r for r in results if r.error or r.diverged],
            environments=_environments(results),
            seconds=sum(r.status["seconds"] for r in results if r.status),
            commands=commands_of(study, analysis),
            data=embedded(results),
        )
    )
    write_text(path, page)


def _drawn(section: Mapping[str, Any]) -> list[str]:
    """Give all that uses colours of figures."""
    single = [section["sigma"]] if section["sigma"] else []
    return [*section["seeds"], *section["curves"], *section["rates"].values(), *section["legend"].values(), *single]


def embedded(results: Sequence[Result]) -> dict[str, list[Any]]:
    """Give results.csv as JSON has it: its columns and rows, with null for NaN."""
    rows = [
        [None if isinstance(cell, float) and math.isnan(cell) else cell for cell in row] for row in result_rows(results)
    ]
    return {"columns": list(RESULTS), "rows": rows}


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lerac.study.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "fixed": _fixed,
        "shown": _shown,
        "points": _points,
        "p": _p,
        "percent": _percent,
        "prose": _prose,
        "breakable": _breakable,
    }
    return environment


def _fixed(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else _minus(f"{value:.{digits}f}")


def _shown(value: float | None, metric: Metric) -> str:
    return "–" if value is None else _minus(f"{metric.factor * value:.2f}")


def _points(value: float | None, metric: Metric) -> str:
    return "–" if value is None else _minus(f"{metric.factor * value:+.2f}")


def _p(value: float | None) -> str:
    return "–" if value is None else p_number(value)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _prose(text: str) -> str:
    """Write a sentence with true minus signs, and keep `n = 5` and `p = 0.03` on one line."""
    return re.sub(r"\b([np]) ([=<]) ", "\\1\u00a0\\2\u00a0", _minus(text))


def _minus(text: str) -> str:
    """Write the minus of negative numbers as wide as a plus; hyphens of words and exponents stay."""
    return re.sub(r"(?<![\w)\]])-(?=\d)", "−", text)


def _breakable(text: str) -> Markup:
    """Let a long name break where it has brackets, commas and points, and nowhere else."""
    pieces = re.split(r"(?<=[(,.])", text)
    return Markup("<wbr>").join(Markup('<span class="piece">{}</span>').format(piece) for piece in pieces if piece)


def _claims(comparisons: Iterable[Comparison], analysis: Analysis) -> list[str]:
    metrics = {comparison.metric.name: comparison.metric for comparison in comparisons}
    return [
        f"{metrics[name].factor * size:g} {metrics[name].difference} of {metrics[name].title}, with "
        f"{analysis.power:.0%} power"
        for name, size in analysis.claims.items()
    ]


def _environments(results: Sequence[Result]) -> list[dict[str, str]]:
    found = [environment for result in results for environment in result.environments]
    return [dict(pairs) for pairs in sorted({tuple(sorted(one.items())) for one in found})]

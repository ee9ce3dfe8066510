"""The page: report.html, self-contained, from whatever has been trained so far."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from lerac.study.files import write_text
from lerac.study.plan.study import Study
from lerac.study.report.commands import Where, commands_of
from lerac.study.report.pictures import colour_rules
from lerac.study.report.sections import PARTS, section_of
from lerac.study.runs.comparison import UNPUBLISHED, Comparison, kind_of
from lerac.study.runs.folder import RESULTS, result_rows
from lerac.study.statistics.analysis import Analysis, Cell
from lerac.study.statistics.exact_tests import ALPHA, Evidence, ExactTest
from lerac.study.statistics.networks import tally
from lerac.study.statistics.outcomes import Outcome
from lerac.study.statistics.pairing.student import CONFIDENCE
from lerac.study.statistics.verdicts import p_number

__all__ = ["embedded", "environments_of", "templates", "write_report"]


def write_report(
    path: Path, study: Study, comparisons: Sequence[Comparison], analysis: Analysis, where: Where | None = None
) -> None:
    """Write the page.

    Args:
        path: of the file.
        study: that was asked for.
        comparisons: of all its recipes.
        analysis: that they are made from.
        where: the folders that its commands name.
    """
    outcomes = [outcome for comparison in comparisons for outcome in comparison.outcomes]
    sections = [section_of(comparison, study) for comparison in comparisons]
    page = (
        templates()
        .get_template("report.html.j2")
        .render(
            study=study,
            sections=sections,
            colours=colour_rules(text for section in sections for text in _drawn(section)),
            parts=PARTS,
            unpublished=UNPUBLISHED,
            word=kind_of(comparisons),
            changed={comparison.experiment.name: comparison.changed for comparison in comparisons},
            analysis=analysis,
            baseline=analysis.baseline,
            claims=_claims(comparisons, analysis),
            tests=[shown for comparison in comparisons if (shown := _tests(comparison))],
            confidence=f"{CONFIDENCE:.0%}",
            alpha=ALPHA,
            ended=sum(outcome.ended for outcome in outcomes),
            total=len(outcomes),
            failures=[outcome for outcome in outcomes if outcome.error or outcome.diverged],
            environments=environments_of(outcomes),
            checked=not analysis.not_paired and any(section["details"].seen for section in sections),
            elsewhere=all(section["details"].elsewhere for section in sections),
            seconds=sum(outcome.seconds or 0 for outcome in outcomes),
            commands=commands_of(study, analysis, where),
            data=embedded(outcomes),
        )
    )
    write_text(path, page)


def _drawn(section: Mapping[str, Any]) -> list[str]:
    """Give all that uses colours of figures."""
    single = [section["sigma"]] if section["sigma"] else []
    return [*section["seeds"], *section["curves"], *section["rates"].values(), *section["legend"].values(), *single]


def _tests(comparison: Comparison) -> dict[str, Any] | None:
    """Give what the template shows of the tests behind the verdicts; None if there is nothing yet."""
    cells = [cell for cell in comparison.cells if cell.evidence or cell.failures.diverged]
    if not cells:
        return None
    outlooks = [(cell.regime, cell.outlook) for cell in cells if cell.outlook]
    return {
        "name": comparison.experiment.name,
        "cells": cells,
        "not_paired": comparison.not_paired,
        "compared": any(cell.evidence for cell in cells),
        "diverged": any(cell.failures.diverged for cell in cells),
        "outlooks": [(regime, outlook.text(comparison.metric)) for regime, outlook in outlooks],
        "claimed": any(outlook.claimed for _, outlook in outlooks),
        "tests": _named_tests(cells, comparison.not_paired),
        "networks": [(cell.regime, tally(cell.networks)) for cell in cells if cell.networks],
    }


def _named_tests(cells: Sequence[Cell], not_paired: str | None) -> dict[str, list[Evidence | ExactTest | None]]:
    """Give what each test of an experiment found, a row per regime, under its heading."""
    found = [cell.evidence for cell in cells]
    if not_paired:
        return {"p, Welch's t-test": [*found], "p, permutation of labels": [one and one.labels for one in found]}
    return {
        "p, t-test": [*found],
        "p, sign-flip": [one and one.sign_flip for one in found],
        "p, Wilcoxon": [one and one.wilcoxon for one in found],
    }


def embedded(outcomes: Sequence[Outcome]) -> dict[str, list[Any]]:
    """Give results.csv as JSON has it: its columns and rows, with null for NaN."""
    rows = [
        [None if isinstance(cell, float) and math.isnan(cell) else cell for cell in row]
        for row in result_rows(outcomes)
    ]
    return {"columns": list(RESULTS), "rows": rows}


def templates() -> jinja2.Environment:
    """Give the templates of pages, with their filters."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lerac.study.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "fixed": _or_dash(lambda value, digits=2: f"{value:.{digits}f}"),
        "shown": _or_dash(lambda value, metric: metric.number(value)),
        "change": _or_dash(lambda value, metric: metric.change(value)),
        "p": _or_dash(p_number),
        "percent": _or_dash("{:.0%}".format),
        "prose": _prose,
        "breakable": _breakable,
    }
    return environment


def _or_dash(write: Callable[..., str]) -> Callable[..., str]:
    """Write numbers with true minus signs, and a dash for those that are None."""
    return lambda value, *more: "–" if value is None else _minus(write(value, *more))


def _prose(text: str) -> str:
    """Write a sentence with true minus signs, and keep `n = 5` and `p = 0.03` on one line."""
    return re.sub(r"\b([np]) ([=<]) ", "\\1\u00a0\\2\u00a0", _minus(text))


def _minus(text: str) -> str:
    """Write the minus of negative numbers as wide as a plus; hyphens of words and exponents stay."""
    return re.sub(r"(?<![\w)\]])-(?=\d)", "−", text)


def _breakable(text: str) -> Markup:
    """Let a long name break where it has brackets, commas and points, and nowhere else; not within a number."""
    pieces = re.split(r"(?<=[(,])|(?<=\.)(?!\d)", text)
    return Markup("<wbr>").join(Markup('<span class="piece">{}</span>').format(piece) for piece in pieces if piece)


def _claims(comparisons: Iterable[Comparison], analysis: Analysis) -> list[str]:
    metrics = {comparison.metric.name: comparison.metric for comparison in comparisons}
    return [
        f"{metrics[name].apart(f'{metrics[name].scale * size:g}')} of {metrics[name].title}, with "
        f"{analysis.power:.0%} power"
        for name, size in analysis.claims.items()
    ]


def environments_of(outcomes: Sequence[Outcome]) -> list[dict[str, str]]:
    """Give the versions and machines that runs come from, each once."""
    found = [environment for outcome in outcomes for environment in outcome.environments]
    return [dict(pairs) for pairs in sorted({tuple(sorted(one.items())) for one in found})]

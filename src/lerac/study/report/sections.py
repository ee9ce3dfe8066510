"""What the page shows of one experiment, as plain values for its templates."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from lerac.study.figures.comparison import curve_figure, differences_figure, seeds_figure
from lerac.study.figures.style import colours
from lerac.study.plan.study import Study
from lerac.study.report import own_details as _own_details  # noqa: F401 - details of one kind of experiments
from lerac.study.report.details import Details, details_of
from lerac.study.report.pictures import inline_svg, variable
from lerac.study.report.tables import PUBLISHED_RUNS
from lerac.study.runs.comparison import Comparison
from lerac.study.runs.times import times_of, unit_of
from lerac.study.statistics.outcomes import Outcome

__all__ = ["PARTS", "section_of"]

PARTS = ("verdict", "results", "seeds", "curves", "rates", "smoothing", "times", "runs", "settings")
"""The templates of an experiment's section, in their order: templates/<part>.html.j2 each."""


def section_of(comparison: Comparison, study: Study) -> dict[str, Any]:
    """Give everything that the templates show of one experiment."""
    experiment, outcomes = comparison.experiment, comparison.outcomes
    name, details = experiment.slug, details_of(experiment, study, outcomes)
    times = times_of(outcomes, study.regimes, comparison.baseline)
    return {
        "id": name,
        "name": experiment.name,
        "details": details,
        "metric": comparison.metric,
        "warnings": comparison.warnings,
        "not_paired": comparison.not_paired,
        "differs": comparison.differs,
        "origins": comparison.origins,
        "chosen_on_test": details.recipe is not None and details.recipe.data.validation == "test",
        "reach": comparison.reach,
        "verdicts": comparison.verdicts,
        "cells": comparison.cells,
        "published": experiment.published,
        "published_runs": PUBLISHED_RUNS,
        "validated": details.recipe is not None or any(cell.validation.n for cell in comparison.cells),
        "seeds": _seed_pictures(comparison, name),
        "curves": _curves(details, outcomes, study.regimes, name),
        "legend": {regime: variable(colour) for regime, colour in colours(study.regimes).items()},
        "rates": _rates(details, name),
        "sigma": _sigma(details, name),
        "times": times,
        "time_unit": unit_of(times),
        "runs": _runs(outcomes, study),
    }


def _seed_pictures(comparison: Comparison, name: str) -> list[Markup]:
    metric, pictures = comparison.metric, []
    if any(summary.n for summary in comparison.test):
        means = ", ".join(f"{s.regime} {metric.number(s.mean)}" for s in comparison.test if s.mean is not None)
        unit = f" in {metric.unit}" if metric.unit else ""
        text = f"Test {metric.title} of every run{unit}, by regime; means: {means}"
        pictures.append(
            inline_svg(seeds_figure(comparison.test, metric, joined=not comparison.not_paired), f"{name}-seeds", text)
        )
    if comparison.baseline is not None and any(summary.difference for summary in comparison.test):
        text, figure = " ".join(comparison.verdicts), differences_figure(comparison.test, comparison.baseline, metric)
        pictures.append(inline_svg(figure, f"{name}-differences", text))
    return pictures


def _curves(details: Details, outcomes: Sequence[Outcome], regimes: Sequence[str], name: str) -> list[Markup]:
    """Draw what the histories have."""
    histories = {
        regime: [one.history for one in outcomes if one.regime == regime and one.history] for regime in regimes
    }
    known = {key for runs in histories.values() for history in runs for entry in history for key in entry}
    return [
        inline_svg(
            curve_figure(histories, curve.key, curve.title, curve.scale),
            f"{name}-curve-{number}",
            f"{curve.title} against the epoch",
        )
        for number, curve in enumerate(details.curves)
        if curve.key in known
    ]


def _rates(details: Details, name: str) -> dict[str, Markup]:
    return {
        regime: inline_svg(figure, f"{name}-rates-{number}", f"Learning rate of every layer against the step: {regime}")
        for number, (regime, figure) in enumerate(details.rates.items())
    }


def _sigma(details: Details, name: str) -> Markup | None:
    if details.sigma is None:
        return None
    figure, regimes = details.sigma
    return inline_svg(figure, f"{name}-sigma", f"σ of the blur against the step: {', '.join(regimes)}")


def _runs(outcomes: Sequence[Outcome], study: Study) -> list[tuple[int, list[dict[str, Any]]]]:
    """Give a row per seed: what each regime came to, or how it failed."""
    shown = {(one.seed, one.regime): _shown(one) for one in outcomes}
    nothing = {"value": None, "text": "–", "failure": False}  # where seeds differ from regime to regime
    return [(seed, [shown.get((seed, regime), nothing) for regime in study.regimes]) for seed in study.seeds]


def _shown(outcome: Outcome) -> dict[str, Any]:
    if outcome.diverged:
        at = "" if outcome.steps is None else f" at step {outcome.steps}"
        return {"value": None, "text": f"diverged{at}", "failure": True}
    if not outcome.ended:
        return {"value": None, "text": "failed" if outcome.error else "not ended", "failure": bool(outcome.error)}
    return {"value": outcome.value("test"), "text": "", "failure": False}

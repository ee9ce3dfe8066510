"""What the page shows of one recipe, as plain values for its templates."""

from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from lerac.study.figures.comparison import SIZE, curve_figure, differences_figure, seeds_figure
from lerac.study.figures.rates import rates_figure, sigma_figure
from lerac.study.figures.style import colours
from lerac.study.plan.study import Run, Study, steps_per_epoch
from lerac.study.recipes.recipe import Recipe
from lerac.study.recipes.regimes import parse_regime
from lerac.study.recipes.sections import flat
from lerac.study.report.pictures import inline_svg, variable
from lerac.study.report.tables import PUBLISHED_RUNS
from lerac.study.runs.comparison import Comparison
from lerac.study.runs.times import times_of, unit_of
from lerac.study.statistics.outcomes import Outcome

__all__ = ["PARTS", "section_of"]

PARTS = ("verdict", "results", "seeds", "curves", "rates", "smoothing", "times", "runs", "settings")
"""The templates of a recipe's section, in their order: templates/<part>.html.j2 each."""


def section_of(comparison: Comparison, study: Study) -> dict[str, Any]:
    """Give everything that the templates show of one recipe."""
    recipe, name = comparison.recipe, comparison.recipe.slug
    runs = [study.run(recipe, parse_regime(regime), study.seeds[0]) for regime in study.regimes]
    times = times_of(comparison.outcomes, study.regimes, comparison.baseline)
    return {
        "id": name,
        "recipe": recipe,
        "metric": comparison.metric,
        "warnings": comparison.warnings,
        "chosen_on_test": recipe.data.validation == "test",
        "reach": comparison.reach,
        "verdicts": comparison.verdicts,
        "cells": comparison.cells,
        "published": recipe.published,
        "published_runs": PUBLISHED_RUNS,
        "seeds": _seed_pictures(comparison, name),
        "curves": _curves(comparison, study.regimes, name),
        "legend": {regime: variable(colour) for regime, colour in colours(study.regimes).items()},
        "rates": _rates(runs, name),
        "sigma": _sigma(runs, name),
        "times": times,
        "time_unit": unit_of(times),
        "runs": _runs(comparison.outcomes, study),
        "settings": list(settings_rows(recipe)),
        "surprises": recipe.surprises,
        "schedule": recipe.schedule.name,
    }


def settings_rows(recipe: Recipe) -> Iterator[tuple[str, Any, str]]:
    """Give key, value and source of every setting; a source of something unset has the value None.

    Where the paper gives a range, the source says so.
    """
    settings = dict(flat(recipe.settings()))
    used = set()
    for key, value in settings.items():
        parts = key.split(".")
        sections = (".".join(parts[:length]) for length in range(len(parts), 0, -1))  # itself first
        known = [section for section in sections if section in recipe.sources]
        used.update(known)
        source = recipe.sources[known[0]] if known else ""
        if key in recipe.ranges:
            low, high = recipe.ranges[key]
            source += f" (the paper gives {low:g} to {high:g})"
        yield key, value, source
    for key, source in recipe.sources.items():
        if key not in used:
            yield key, None, source


def _seed_pictures(comparison: Comparison, name: str) -> list[Markup]:
    metric, pictures = comparison.metric, []
    if any(summary.n for summary in comparison.test):
        means = ", ".join(f"{s.regime} {metric.number(s.mean)}" for s in comparison.test if s.mean is not None)
        text = f"Test {metric.title} of every run in {metric.unit}, by regime; means: {means}"
        pictures.append(inline_svg(seeds_figure(comparison.test, metric), f"{name}-seeds", text))
    if comparison.baseline is not None and any(summary.difference for summary in comparison.test):
        text, figure = " ".join(comparison.verdicts), differences_figure(comparison.test, comparison.baseline, metric)
        pictures.append(inline_svg(figure, f"{name}-differences", text))
    return pictures


def _curves(comparison: Comparison, regimes: Sequence[str], name: str) -> list[Markup]:
    metric = comparison.metric
    histories = {
        regime: [one.history for one in comparison.outcomes if one.regime == regime and one.history]
        for regime in regimes
    }
    if not any(histories.values()):
        return []
    return [
        inline_svg(
            curve_figure(histories, key, f"{title}, {unit}" if unit else title, factor),
            f"{name}-{key}",
            f"{title.capitalize()} against the epoch",
        )
        for key, title, unit, factor in (
            (f"validation_{metric.name}", f"validation {metric.title}", metric.unit, metric.scale),
            ("train_loss", "training loss", metric.loss, 1.0),
        )
    ]


def _rates(runs: Sequence[Run], name: str) -> dict[str, Markup]:
    return {
        run.regime: inline_svg(
            rates_figure(run, SIZE),
            f"{name}-rates-{number}",
            f"Learning rate of every layer against the step: {run.regime}",
        )
        for number, run in enumerate(runs)
    }


def _sigma(runs: Sequence[Run], name: str) -> Markup | None:
    smoothings = {run.regime: run.smoothing for run in runs if run.smoothing}
    if not smoothings:
        return None
    settings = runs[0].settings
    steps = steps_per_epoch(settings) * settings["training"]["epochs"]
    text = f"σ of the blur against the step: {', '.join(smoothings)}"
    return inline_svg(sigma_figure(smoothings, steps), f"{name}-sigma", text)


def _runs(outcomes: Sequence[Outcome], study: Study) -> list[tuple[int, list[dict[str, Any]]]]:
    """Give a row per seed: what each regime came to, or how it failed."""
    shown = {(one.seed, one.regime): _shown(one) for one in outcomes}
    return [(seed, [shown[seed, regime] for regime in study.regimes]) for seed in study.seeds]


def _shown(outcome: Outcome) -> dict[str, Any]:
    if outcome.diverged:
        return {"value": None, "text": f"diverged at step {outcome.steps}", "failure": True}
    if not outcome.ended:
        return {"value": None, "text": "failed" if outcome.error else "not ended", "failure": bool(outcome.error)}
    return {"value": outcome.value("test"), "text": "", "failure": False}

"""What the page shows of one recipe, as plain values for its templates."""

from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from lerac.study.figures.comparison import SIZE, curve_figure, differences_figure, seeds_figure
from lerac.study.figures.rates import rates_figure, sigma_figure
from lerac.study.figures.style import colours
from lerac.study.plan.study import Run, Study, steps_per_epoch
from lerac.study.recipes.recipe import Recipe
from lerac.study.recipes.sections import flat
from lerac.study.report.pictures import inline_svg, variable
from lerac.study.report.tables import PUBLISHED_RUNS, table_rows
from lerac.study.report.times import times_of, unit_of
from lerac.study.runs.comparison import Comparison
from lerac.study.runs.folder import Result

__all__ = ["PARTS", "section_of"]

PARTS = ("verdict", "results", "seeds", "curves", "rates", "smoothing", "times", "runs", "settings")
"""The templates of a recipe's section, in their order: templates/<part>.html.j2 each."""


def section_of(comparison: Comparison, study: Study) -> dict[str, Any]:
    """Give everything that the templates show of one recipe."""
    recipe, name = comparison.recipe, comparison.recipe.slug
    first = {result.run.regime: result.run for result in reversed(comparison.results)}
    runs = [first[regime] for regime in study.regimes]
    times = times_of(comparison.results, study.regimes, comparison.baseline)
    return {
        "id": name,
        "recipe": recipe,
        "metric": comparison.metric,
        "warnings": comparison.warnings,
        "chosen_on_test": recipe.data.validation == "test",
        "reach": comparison.reach,
        "verdicts": comparison.verdicts,
        "rows": table_rows(comparison),
        "published_runs": PUBLISHED_RUNS,
        "seeds": _seed_pictures(comparison, name),
        "curves": _curves(comparison, study.regimes, name),
        "legend": {regime: variable(colour) for regime, colour in colours(study.regimes).items()},
        "rates": _rates(runs, name),
        "sigma": _sigma(runs, name),
        "times": times,
        "time_unit": unit_of(times),
        "runs": _runs(comparison.results, study),
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
        means = ", ".join(f"{s.regime} {metric.factor * s.mean:.2f}" for s in comparison.test if s.mean is not None)
        text = f"Test {metric.title} of every run in {metric.unit}, by regime; means: {means}"
        pictures.append(inline_svg(seeds_figure(comparison.test, metric), f"{name}-seeds", text))
    if comparison.baseline is not None and any(summary.difference for summary in comparison.test):
        text, figure = " ".join(comparison.verdicts), differences_figure(comparison.test, comparison.baseline, metric)
        pictures.append(inline_svg(figure, f"{name}-differences", text))
    return pictures


def _curves(comparison: Comparison, regimes: Sequence[str], name: str) -> list[Markup]:
    metric = comparison.metric
    histories = {
        regime: [r.history for r in comparison.results if r.run.regime == regime and r.history] for regime in regimes
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
            (f"validation_{metric.name}", f"validation {metric.title}", metric.unit, metric.factor),
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


def _runs(results: Sequence[Result], study: Study) -> list[tuple[int, list[dict[str, Any]]]]:
    """Give a row per seed: what each regime came to, or how it failed."""
    cells = {(result.run.seed, result.run.regime): _cell(result) for result in results}
    return [(seed, [cells[seed, regime] for regime in study.regimes]) for seed in study.seeds]


def _cell(result: Result) -> dict[str, Any]:
    if result.diverged and result.status:
        return {"value": None, "text": f"diverged at step {result.status['steps']}", "failure": True}
    if result.status is None:
        return {"value": None, "text": "failed" if result.error else "not ended", "failure": bool(result.error)}
    return {"value": result.value("test", result.metric.name), "text": "", "failure": False}

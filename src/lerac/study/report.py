"""The report: one HTML page with everything in it, from whatever has been trained so far."""

import base64
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from lerac.study import figures
from lerac.study.errors import StudyError
from lerac.study.files import write_text
from lerac.study.folder import Result, collect, read_study
from lerac.study.metrics import Metric, metric_of
from lerac.study.plan import Run, Study, steps_per_epoch
from lerac.study.recipe import Recipe, recipe_sources
from lerac.study.statistics import BASELINE, CONFIDENCE, Summary, summarise, verdict

__all__ = ["Comparison", "compare", "merge", "write_report"]


@dataclass(frozen=True)
class Comparison:
    """The regimes of one recipe, side by side.

    Args:
        recipe: which recipe.
        results: its runs.
        test: summaries of the metric on the test split: accuracy or mAP, a share in [0, 1], or mean absolute error.
        validation: of the metric on the validation split in the chosen epochs.
    """

    recipe: Recipe
    results: Sequence[Result]
    test: Sequence[Summary]
    validation: Sequence[Summary]

    @property
    def metric(self) -> Metric:
        """What networks are judged by."""
        return metric_of(self.recipe.dataset)

    @property
    def warnings(self) -> list[str]:
        """What must be known before any of the numbers is believed."""
        data, warnings = self.recipe.data, []
        if data.sample:
            warnings.append(f"Trained on a generated sample: the numbers say nothing about {self.recipe.dataset}.")
        if data.validation == "test":
            warnings.append("Epochs were chosen on the test split itself, so its numbers are too good in every regime.")
        return warnings

    @property
    def verdicts(self) -> list[str]:
        """A sentence per regime; about the baseline only what is wrong with it."""
        sentences = [verdict(s, metric=self.metric) for s in self.test if s.regime != BASELINE]
        base = next((s for s in self.test if s.regime == BASELINE), None)
        if base is None:
            return [f"No comparison: {BASELINE} is not among the regimes."]
        if base.missing:
            seeds = ", ".join(map(str, base.missing))
            sentences.append(f"{BASELINE} itself has not ended on seeds {seeds}; no regime is compared on these.")
        if base.diverged:
            seeds = ", ".join(map(str, base.diverged))
            sentences.append(f"{BASELINE} itself diverged on seeds {seeds}; no regime is compared on these.")
        return sentences


def compare(study: Study, results: Sequence[Result]) -> list[Comparison]:
    """Summarise every recipe of a study."""
    comparisons = []
    for recipe in study.recipes:
        own = [result for result in results if result.run.recipe == recipe.name]
        test, validation = (_summaries(study, own, split) for split in ("test", "validation"))
        comparisons.append(Comparison(recipe, own, test, validation))
    return comparisons


def merge(folders: Sequence[Path]) -> tuple[Study, list[Result]]:
    """Read several folders as one study.

    Raises:
        StudyError: if a folder holds no study, the studies contradict each other, or two folders have different
            results of the same run.
    """
    study: Study | None = None
    for folder in folders:
        if (found := read_study(folder)) is None:
            raise StudyError(f"{folder} holds no study (no study.json); give an --out folder of lerac compare")
        try:
            study = study.extend(found) if study else found
        except StudyError as error:
            raise StudyError(f"{folder} cannot be merged with {folders[0]}: {error}") from None
    if study is None:
        raise StudyError("no folder given")
    merged: dict[str, Result] = {}
    for folder in folders:
        for result in collect(folder, study.runs()):
            name = str(result.run)  # not its folder: one training may have several names
            merged[name] = _chosen(merged.get(name), result, folder)
    return study, list(merged.values())


def write_report(path: Path, study: Study, results: Sequence[Result]) -> None:
    """Write the page."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lerac.study"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["shown"] = lambda value, metric: "–" if value is None else f"{metric.factor * value:.2f}"
    environment.filters["points"] = lambda value, metric: "–" if value is None else f"{metric.factor * value:+.2f}"
    sections = [_section(comparison, study) for comparison in compare(study, results)]
    ended = sum(result.status is not None for result in results)
    page = environment.get_template("report.html.j2").render(
        study=study,
        sections=sections,
        baseline=BASELINE,
        confidence=f"{CONFIDENCE:.0%}",
        chance=f"{1 - CONFIDENCE ** max(1, len(study.regimes) - 1):.0%}",
        ended=ended,
        total=len(results),
        failures=[r for r in results if r.error or r.diverged],
        environments=_environments(results),
        seconds=sum(r.status["seconds"] for r in results if r.status),
        commands=_commands(study),
    )
    write_text(path, page)


def _summaries(study: Study, results: Sequence[Result], split: str) -> list[Summary]:
    measured: dict[str, dict[int, float | None]] = {regime: {} for regime in study.regimes}
    for result in results:
        measured[result.run.regime][result.run.seed] = result.value(split, result.metric.name)
    return summarise(measured)


def _chosen(one: Result | None, other: Result, folder: Path) -> Result:
    if one is None:
        return other
    if one.status and other.status:
        differ = [
            f"{split} {metric}"
            for split in ("test", "validation")
            for metric in one.metric.measured
            if repr(one.value(split, metric)) != repr(other.value(split, metric))
        ]
        differ += [count for count in ("epochs", "steps") if one.status[count] != other.status[count]]
        if differ:
            raise StudyError(f"{folder}: {one.run} has another {', '.join(differ)} than in the folders before it")
        return one
    return one if one.status or (len(one.history) >= len(other.history) and not other.status) else other


def _section(comparison: Comparison, study: Study) -> dict[str, Any]:
    """Everything the template shows of one recipe."""
    metric = comparison.metric
    first = {result.run.regime: result.run for result in reversed(comparison.results)}
    histories = {
        regime: [r.history for r in comparison.results if r.run.regime == regime and r.history]
        for regime in study.regimes
    }
    rates = [
        _image(figures.rates_figure(first[regime]), f"Learning rate of every layer against the step: {regime}")
        | {"regime": regime}
        for regime in study.regimes
    ]
    return {
        "recipe": comparison.recipe,
        "metric": metric,
        "warnings": comparison.warnings,
        "chosen_on_test": comparison.recipe.data.validation == "test",
        "rows": list(zip(comparison.test, comparison.validation, strict=True)),
        "verdicts": comparison.verdicts,
        "rates": rates,
        "sigma": _sigma([first[regime] for regime in study.regimes]),
        "curves": _image(
            figures.curves_figure(histories, metric), f"Validation {metric.title} and training loss against the epoch"
        )
        if any(histories.values())
        else None,
        "differences": _image(figures.differences_figure(comparison.test, metric), "; ".join(comparison.verdicts))
        if any(summary.difference for summary in comparison.test)
        else None,
        "values": {summary.regime: summary.values for summary in comparison.test},
        "sources": comparison.recipe.sources,
        "settings": comparison.recipe.settings(),
    }


def _sigma(runs: Sequence[Run]) -> dict[str, str] | None:
    smoothings = {run.regime: run.smoothing for run in runs if run.smoothing}
    if not smoothings:
        return None
    settings = runs[0].settings
    steps = steps_per_epoch(settings) * settings["training"]["epochs"]
    return _image(figures.sigma_figure(smoothings, steps), f"σ of the blur against the step: {', '.join(smoothings)}")


def _image(figure: Figure, text: str) -> dict[str, str]:
    data = base64.b64encode(figures.svg(figure).encode()).decode()
    return {"src": f"data:image/svg+xml;base64,{data}", "alt": text}


def _environments(results: Sequence[Result]) -> list[dict[str, str]]:
    found = [environment for result in results for environment in result.environments]
    return [dict(pairs) for pairs in sorted({tuple(sorted(one.items())) for one in found})]


def _commands(study: Study) -> list[str]:
    """Commands that ask for this study again; recipes that were changed by --set need one of their own."""
    common = [
        "--regimes",
        ",".join(study.regimes),
        "--seeds",
        ",".join(f"{seed}-{seed}" if len(study.seeds) == 1 else str(seed) for seed in study.seeds),
    ]
    if study.device != "cpu":
        common += ["--device", study.device]
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for recipe in study.recipes:
        changed = [k for k, v in recipe.sources.items() if v.startswith("set:")]
        sets = tuple(f"{key}={_value(recipe, key)}" for key in changed)
        word = study.files.get(recipe.name, recipe.name)
        source = ("--source", recipe.source) if _has_several_sources(word) else ()
        groups.setdefault((source, sets), []).append(word)
    return [
        shlex.join(["lerac", "compare", *names, *source, *common, *(word for s in sets for word in ("--set", s))])
        for (source, sets), names in groups.items()
    ]


def _has_several_sources(word: str) -> bool:
    try:
        return len(recipe_sources(word)) > 1
    except StudyError:  # a file that is no longer there
        return True


def _value(recipe: Recipe, key: str) -> str:
    """Write a value as --set takes it: a word, or TOML, which for numbers, truth values and lists is JSON."""
    value: Any = recipe
    for part in key.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value if isinstance(value, str) else json.dumps(value)

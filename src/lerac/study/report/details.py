"""What the page shows of an experiment beside its outcomes; a kind that has none of it shows none of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

from matplotlib.figure import Figure

from lerac.study.errors import StudyError
from lerac.study.figures.comparison import SIZE
from lerac.study.figures.rates import rates_figure, sigma_figure
from lerac.study.metrics import Metric
from lerac.study.models.theirs import is_theirs
from lerac.study.plan.curriculum import steps_per_epoch
from lerac.study.plan.study import Study
from lerac.study.recipes.recipe import Recipe
from lerac.study.recipes.regimes import parse_regime
from lerac.study.recipes.sections import flat
from lerac.study.runs.numbers.experiment import NumbersExperiment
from lerac.study.statistics.outcomes import Outcome

__all__ = ["Curve", "Details", "details_of", "settings_rows"]

ORIGINS = {
    "paper": "the paper's settings",
    "official": "the settings of the authors' code",
    "ours": "settings of our own",
    "user": "settings of the recipe's author",
}


@dataclass(frozen=True)
class Curve:
    """A number of the history that is drawn against the epoch.

    Args:
        key: of it in the entries.
        title: what it is, with its unit.
        scale: from the number to what is drawn.
    """

    key: str
    title: str
    scale: float = 1.0


@dataclass(frozen=True)
class Details:
    """All of it, in the order of the page.

    Args:
        origin: of the settings, in words.
        recipe: if it is one; texts about our data sets and the paper are of recipes only.
        code: what is known of the code that trained it, in a sentence.
        judged: by what, in words, where that is not as everybody knows.
        curves: numbers of the history, drawn where any run has them.
        rates: regime → its learning rates over the whole training.
        seen: whose rates these are, in a sentence, where they are of runs and not planned.
        held: the factor of the base schedule that is not drawn, because a metric decides it.
        sigma: of Curriculum by Smoothing over the whole training, and the regimes that have it.
        settings: key, value and source of every setting.
        surprises: what they do that nobody would expect.
        elsewhere: whether it was trained elsewhere, so that nothing is known but its numbers.
    """

    origin: str = ""
    recipe: Recipe | None = None
    code: str = ""
    judged: str = ""
    curves: Sequence[Curve] = ()
    rates: Mapping[str, Figure] = field(default_factory=dict)
    seen: str = ""
    held: bool = False
    sigma: tuple[Figure, Sequence[str]] | None = None
    settings: Sequence[tuple[str, Any, str]] = ()
    surprises: Sequence[str] = ()
    elsewhere: bool = False


@singledispatch
def details_of(experiment: Any, study: Study, outcomes: Sequence[Outcome]) -> Details:
    """Give the details of an experiment; a kind that has more than settings registers them here.

    Args:
        experiment: of the study.
        study: that was asked for.
        outcomes: of its runs.
    """
    settings = [(key, value, "") for key, value in flat(experiment.settings())]
    return Details(settings=settings, curves=_measured(experiment.metric))


@details_of.register
def _of_numbers(numbers: NumbersExperiment, study: Study, outcomes: Sequence[Outcome]) -> Details:
    settings = [(key, value, "") for key, value in flat(numbers.settings())]
    return Details(origin=f"numbers from {', '.join(numbers.files)}", settings=settings, elsewhere=True)


@details_of.register
def _of_recipe(recipe: Recipe, study: Study, outcomes: Sequence[Outcome]) -> Details:
    runs = [study.run(recipe, parse_regime(regime), study.seeds[0]) for regime in study.regimes]
    smoothings = {run.regime: run.smoothing for run in runs if run.smoothing}
    sigma = None
    if smoothings:
        steps = steps_per_epoch(runs[0].settings) * recipe.training.epochs
        sigma = sigma_figure(smoothings, steps), list(smoothings)
    rates, surprises = {}, list(recipe.surprises)
    try:
        rates = {run.regime: rates_figure(run, SIZE) for run in runs}
    except StudyError as error:
        if not is_theirs(recipe.model):
            raise
        surprises.append(f"The rates are not drawn, as the network could not be built here: {error}")
    return Details(
        origin=ORIGINS[recipe.source],
        recipe=recipe,
        curves=_measured(recipe.metric),
        rates=rates,
        held=recipe.schedule.name == "plateau",
        sigma=sigma,
        settings=list(settings_rows(recipe)),
        surprises=surprises,
    )


def _measured(metric: Metric) -> list[Curve]:
    """Give the curves of what we measure ourselves."""
    return [
        Curve(f"validation_{metric.name}", _with(metric.unit, f"validation {metric.title}"), metric.scale),
        Curve("train_loss", _with(metric.loss, "training loss")),
    ]


def _with(unit: str, title: str) -> str:
    return f"{title}, {unit}" if unit else title


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

"""The commands that ask for a study again."""

import shlex

from lerac.study.errors import StudyError
from lerac.study.metrics import Metric
from lerac.study.plan.study import Study
from lerac.study.recipes.recipe import Recipe, recipe_sources
from lerac.study.statistics.analysis import Analysis
from lerac.study.statistics.seeds_needed import POWER
from lerac.study.statistics.summary import BASELINE
from lerac.study.statistics.verdicts import seed_ranges

__all__ = ["commands_of"]


def commands_of(study: Study, analysis: Analysis) -> list[str]:
    """Give the commands that ask for this study and its analysis again.

    Recipes that were changed by --set need one of their own; of other kinds of experiments, there is none.
    """
    common = [
        "--regimes",
        ",".join(study.regimes),
        "--seeds",
        f"{study.seeds[0]}-{study.seeds[0]}" if len(study.seeds) == 1 else seed_ranges(study.seeds).replace(" ", ""),
    ]
    if study.device != "cpu":
        common += ["--device", study.device]
    if study.precision != "float32":
        common += ["--precision", study.precision]
    if analysis.baseline not in (None, BASELINE):
        common += ["--baseline", str(analysis.baseline)]
    if analysis.power != POWER:
        common += ["--power", f"{analysis.power:g}"]
    groups: dict[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for recipe in (one for one in study.experiments if isinstance(one, Recipe)):
        word = study.files.get(recipe.name, recipe.name)
        source = ("--source", recipe.source) if _has_several_sources(word) else ()
        groups.setdefault((source, recipe.changed, _claim(recipe.metric, analysis)), []).append(word)
    return [
        shlex.join(
            ["lerac", "compare", *names, *source, *common, *claim, *(word for s in sets for word in ("--set", s))]
        )
        for (source, sets, claim), names in groups.items()
    ]


def _claim(metric: Metric, analysis: Analysis) -> tuple[str, ...]:
    if (claim := analysis.claims.get(metric.name)) is None:
        return ()
    return ("--claim", f"{metric.name}={metric.scale * claim:g}")


def _has_several_sources(word: str) -> bool:
    try:
        return len(recipe_sources(word)) > 1
    except StudyError:  # a file that is no longer there
        return True

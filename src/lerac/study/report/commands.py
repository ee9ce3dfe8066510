"""The commands that ask for a study, and its report, again; each does so wherever it is pasted on this machine."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lerac.study.errors import StudyError
from lerac.study.plan.study import Study
from lerac.study.recipes.files import asked_by
from lerac.study.recipes.recipe import Recipe, recipe_sources
from lerac.study.recipes.regimes import parse_regime
from lerac.study.runs.folder import read_study
from lerac.study.runs.outcomes import places_of
from lerac.study.statistics.analysis import Analysis
from lerac.study.statistics.seeds_needed import POWER
from lerac.study.statistics.summary import BASELINE
from lerac.study.statistics.verdicts import seed_ranges

__all__ = ["Where", "commands_of", "tuning_command"]


@dataclass(frozen=True)
class Where:
    """What a command names beside the study.

    Args:
        folders: of the study, or of those that are read as one.
        out: the folder of the page.
        engine: that trains.
        command: words that make the page again, where it is of numbers and of no study.
    """

    folders: Sequence[Path]
    out: Path
    engine: str = "local"
    command: Sequence[str] = ()


def commands_of(study: Study, analysis: Analysis, where: Where | None = None) -> list[str]:
    """Give the commands that ask for this study and its analysis again.

    Recipes that were changed by --set need one of their own; of other kinds of experiments, there is none. What several
    processes train together has one per run. Where one command does not make the page, the last makes it.

    Args:
        study: that was asked for.
        analysis: of its outcomes.
        where: its folders; None: the commands name none, and so the default.
    """
    if where is not None and where.command:
        return [_joined([*where.command])]
    if where is None:
        return [_joined(words) for words in _compares(study, analysis, [])]
    if [folder.absolute() for folder in where.folders] == [where.out.absolute()] and study.processes == 1:
        commands = list(_compares(study, analysis, _places(study, where.out, where.engine)))
        if len(commands) < 2:
            return [_joined(words) for words in commands]
    else:
        commands = [words for folder in where.folders for words in _of_folder(folder, study, where)]
    folders = [str(folder.absolute()) for folder in where.folders]
    out = [] if where.folders[0] == where.out else ["--out", str(where.out.absolute())]
    claims = [word for name in analysis.claims for word in _claim(name, study, analysis)]
    return [_joined(words) for words in (*commands, ["lerac", "report", *folders, *out, *_question(analysis), *claims])]


def _of_folder(folder: Path, study: Study, where: Where) -> Iterator[list[str]]:
    """Give the commands that train what one folder is to hold."""
    own = study if len(where.folders) == 1 else read_study(folder)
    if own is None:
        return
    places = _places(own, folder, where.engine)
    if own.processes == 1:
        yield from _compares(own, None, places)
        return
    launched = ["torchrun", "--nproc-per-node", str(own.processes), "-m", "lerac", "train"]
    for words, recipe in _recipes(own):
        for seed in own.seeds:
            for regime in own.regimes:
                one = ["--regime", regime, "--seed", str(seed)]
                yield [*launched, words[0], *one, *words[1:], *_sets(recipe), *_machine(own), *places]


def _compares(study: Study, analysis: Analysis | None, places: list[str]) -> Iterator[list[str]]:
    """Give a command for all recipes that can share one."""
    lone = len(study.seeds) == 1
    seeds = f"{study.seeds[0]}-{study.seeds[0]}" if lone else seed_ranges(study.seeds).replace(" ", "")
    tuned = [word for folder in study.tuned.folders for word in ("--tuned", folder)] if study.tuned else []
    common = ["--regimes", ",".join(_names(study)), "--seeds", seeds, *tuned, *_machine(study)]
    groups: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    for (word, *source), recipe in _recipes(study):
        claim = _claim(recipe.metric.name, study, analysis) if analysis else []
        groups.setdefault((tuple(source), tuple(claim), tuple(_sets(recipe))), []).append(word)
    question = _question(analysis) if analysis else []
    for (chosen, claimed, changed), names in groups.items():
        yield ["lerac", "compare", *names, *chosen, *common, *question, *claimed, *changed, *places]


def _names(study: Study) -> list[str]:
    """Name the regimes as they are asked for: those that were tuned without options."""
    if study.tuned is None:
        return study.regimes
    return [parse_regime(regime).name for regime in study.regimes]


def tuning_command(study: Study, where: Where) -> list[str]:
    """Give the commands that continue a tuning of a recipe, and that compare what it chose; none of other kinds.

    Args:
        study: that is a tuning.
        where: its folders.
    """
    if (tuning := study.tuning) is None or not (found := list(_recipes(study))):
        return []
    [(words, recipe)] = found
    same = [*words, *_sets(recipe), *_machine(study)]
    axes = [word for option, axis in tuning.axes.items() for word in (f"--{option}", axis.words)]
    asked = ["--regimes", ",".join(tuning.tried), "--configs", str(tuning.configs), *axes]
    tuned = [word for folder in where.folders for word in ("--tuned", str(folder.absolute()))]
    seeds = seed_ranges(study.seeds).replace(" ", "") if len(study.seeds) > 1 else f"{study.seeds[0]}-{study.seeds[0]}"
    tune = [["lerac", "tune", *same, *asked, "--seeds", seeds, *_places(study, f, where.engine)] for f in where.folders]
    again = tune if len(where.folders) == 1 else []  # of several, nobody knows which has which part
    return [_joined(one) for one in (*again, ["lerac", "compare", *same, *tuned])]


def _recipes(study: Study) -> Iterator[tuple[list[str], Recipe]]:
    """Give the words that name each recipe: its own, and the source where it has several."""
    for recipe in (one for one in study.experiments if isinstance(one, Recipe)):
        word = asked_by(study.files.get(recipe.name, recipe.name))
        yield [word, *(["--source", recipe.source] if _has_several_sources(word) else [])], recipe


def _sets(recipe: Recipe) -> list[str]:
    return [word for changed in recipe.changed for word in ("--set", changed)]


def _machine(study: Study) -> list[str]:
    words = ["--device", study.device] if study.device != "cpu" else []
    return [*words, "--precision", study.precision] if study.precision != "float32" else words


def _places(study: Study, folder: Path, engine: str) -> list[str]:
    words = ["--engine", engine] if engine != "local" else []
    told = places_of(folder, study.runs())
    return [*words, *(word for pair in told.items() for word in pair), "--out", str(folder.absolute())]


def _question(analysis: Analysis) -> list[str]:
    words = ["--baseline", str(analysis.baseline)] if analysis.baseline not in (None, BASELINE) else []
    return [*words, "--power", f"{analysis.power:.12g}"] if analysis.power != POWER else words


def _claim(name: str, study: Study, analysis: Analysis) -> list[str]:
    if (claim := analysis.claims.get(name)) is None:
        return []
    scale = next(metric.scale for metric in study.metrics if metric.name == name)
    return ["--claim", f"{name}={scale * claim:.12g}"]


def _has_several_sources(word: str) -> bool:
    try:
        return len(recipe_sources(word)) > 1
    except StudyError:  # a file that is no longer there
        return True


def _joined(words: list[str]) -> str:
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """Quote a word for a shell; one that is not UTF-8, as paths can be, byte by byte."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return "$'" + "".join(f"\\x{byte:02x}" for byte in word.encode(errors="surrogateescape")) + "'"
    return shlex.quote(word)

"""The commands that ask for a study, and its report, again; each does so wherever it is pasted on this machine."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lerac.study.errors import StudyError
from lerac.study.plan.own import FunctionExperiment, OwnExperiment
from lerac.study.plan.study import Study
from lerac.study.recipes.files import asked_by
from lerac.study.recipes.recipe import Recipe, recipe_sources
from lerac.study.recipes.regimes import parse_regime
from lerac.study.report.own_commands import call_of, own_words
from lerac.study.runs.folder import read_study
from lerac.study.runs.outcomes import places_of
from lerac.study.statistics.analysis import Analysis
from lerac.study.statistics.seeds_needed import POWER
from lerac.study.statistics.summary import BASELINE
from lerac.study.statistics.verdicts import seed_ranges

__all__ = ["Where", "commands_of", "tuning_commands"]


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

    Recipes that were changed by --set need one of their own, and so do functions and commands, which are trained in
    their folder; what only Python can name is a call. Of other kinds of experiments, there is none. What several
    processes train together has one per run. Where one command does not make the page, the last makes it.

    Args:
        study: that was asked for.
        analysis: of its outcomes.
        where: its folders; None: the commands name none, and so the default.
    """
    if where is not None and where.command:
        return [_joined([*where.command])]
    if where is None:
        return [*_compares(study, analysis, [])]
    if [folder.absolute() for folder in where.folders] == [where.out.absolute()] and study.processes == 1:
        commands = list(_compares(study, analysis, _places(study, where.out, where.engine)))
        if len(commands) < 2:
            return commands
    else:
        commands = [command for folder in where.folders for command in _of_folder(folder, study, where)]
    folders = [str(folder.absolute()) for folder in where.folders]
    out = [] if where.folders[0] == where.out else ["--out", str(where.out.absolute())]
    claims = [word for name in analysis.claims for word in _claim(name, study, analysis)]
    return [*commands, _joined(["lerac", "report", *folders, *out, *_question(analysis), *claims])]


def _of_folder(folder: Path, study: Study, where: Where) -> Iterator[str]:
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
                yield _joined([*launched, words[0], *one, *words[1:], *_sets(recipe), *_machine(own), *places])


def _compares(study: Study, analysis: Analysis | None, places: list[str]) -> Iterator[str]:
    """Give a command for all recipes that can share one, and for each training of somebody's own."""
    seeds, asked = _seeds(study), _named(study)
    tuned = [word for folder in study.tuned.folders for word in ("--tuned", folder)] if study.tuned else []
    common = ["--seeds", seeds, *tuned, *_machine(study)]
    groups: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    for (word, *source), recipe in _recipes(study):
        claim = _claim(recipe.metric.name, study, analysis) if analysis else []
        groups.setdefault((tuple(source), tuple(claim), tuple(_sets(recipe))), []).append(word)
    question = _question(analysis) if analysis else []
    for (chosen, claimed, changed), names in groups.items():
        regimes = ["--regimes", ",".join(asked.regimes)]
        yield _joined(["lerac", "compare", *names, *chosen, *regimes, *common, *question, *claimed, *changed, *places])
    for own in (one for one in study.experiments if isinstance(one, OwnExperiment)):
        demanded = _claim(own.metric.name, study, analysis) if analysis and own.measure else []
        if (words := own_words(own, asked)) is not None:
            named, options = words
            told = ["lerac", "compare", *named, *common, *question, *demanded, *options, *places]
            yield f"cd {_quoted(own.folder)} && {_joined(told)}"
        elif isinstance(own, FunctionExperiment):
            yield call_of(own, asked, [*question, *demanded, *places])


def _named(study: Study) -> Study:
    """Give the study with its regimes as they are asked for: those that were tuned, or are to be, without values."""
    if study.tuning is not None:
        return study.model_copy(update={"regimes": list(study.tuning.tried)})
    if study.tuned is not None:
        return study.model_copy(update={"regimes": [parse_regime(regime).name for regime in study.regimes]})
    return study


def _seeds(study: Study) -> str:
    lone = len(study.seeds) == 1
    return f"{study.seeds[0]}-{study.seeds[0]}" if lone else seed_ranges(study.seeds).replace(" ", "")


def tuning_commands(study: Study, where: Where) -> list[str]:
    """Give the commands that continue a tuning, if it is of one folder, and that compare what it chose.

    Args:
        study: that is a tuning.
        where: its folders.

    Returns:
        None of functions that only Python can name.
    """
    if (tuning := study.tuning) is None:
        return []
    [experiment], asked = study.experiments, _named(study)
    if isinstance(experiment, OwnExperiment):
        if (own := own_words(experiment, asked)) is None:
            return []
        there, words = f"cd {_quoted(experiment.folder)} && ", [*own[0], *own[1], *_machine(study)]
        lengths = {"--epochs": tuning.epochs, "--epoch-steps": tuning.epoch_steps}
        length = [word for option, value in lengths.items() if value for word in (option, str(value))]
    else:
        [(named, recipe)] = _recipes(study)
        words = [*named, "--regimes", ",".join(asked.regimes), *_sets(recipe), *_machine(study)]
        there, length = "", []
    axes = [word for option, axis in tuning.axes.items() for word in (f"--{option}", axis.words)]
    tuned = [word for folder in where.folders for word in ("--tuned", str(folder.absolute()))]
    commands = [["lerac", "compare", *_without_regimes(words), *tuned]]
    if len(where.folders) == 1:  # of several, nobody knows which is to have what
        more = ["--configs", str(tuning.configs), *axes, *length, "--seeds", _seeds(study)]
        commands.insert(0, ["lerac", "tune", *words, *more, *_places(study, where.folders[0], where.engine)])
    return [f"{there}{_joined(one)}" for one in commands]


def _without_regimes(words: list[str]) -> list[str]:
    at = words.index("--regimes")
    return [*words[:at], *words[at + 2 :]]


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

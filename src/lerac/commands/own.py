"""What people bring themselves: which words name it, the options that are of it alone, and numbers from elsewhere."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lerac.regimes.text import DEFAULT_REGIMES
from lerac.study.errors import StudyError

if TYPE_CHECKING:
    from lerac.study.plan.study import Study
    from lerac.study.recipes.files import Source
    from lerac.study.report.commands import Where
    from lerac.study.statistics.outcomes import Outcome
    from lerac.study.statistics.question import Question

__all__ = ["OwnOptions", "are_files", "is_own", "read_numbers", "request_any", "request_own"]

WRITTEN = ("results.csv", "table.csv", "table.tex", "report.html")


@dataclass(frozen=True)
class OwnOptions:
    """Options that recipes do not have; None where they are not given."""

    metric: str | None = None
    goal: str | None = None
    unit: str | None = None
    scale: float | None = None
    name: str | None = None
    threads: int | None = None
    code: str | None = None
    paired: str | None = None
    command: str | None = None
    results: str | None = None
    arm: tuple[str, ...] = ()

    def refuse_nothing(self, words: Sequence[str]) -> None:
        """Refuse a command line that says nothing to train; what it says needs torch to be read.

        Raises:
            StudyError: if there are neither words nor a command.
        """
        if self.command is None and not words:
            raise StudyError("Missing argument 'RECIPE…', or --command")

    def refuse(self) -> None:
        """Refuse what recipes have no use for.

        Raises:
            StudyError: naming the first such option.
        """
        if given := [name for name, value in vars(self).items() if value not in (None, ())]:
            raise StudyError(
                f"--{given[0]} is of functions (FILE.py:FUNCTION) and commands (--command); recipes say themselves "
                "what it is"
            )


def is_own(words: Sequence[str], options: OwnOptions) -> bool:
    """Whether what is asked for is a training of somebody's own."""
    from lerac.study.own.functions import is_function

    return options.command is not None or any(is_function(word) for word in words)


def request_any(
    words: Sequence[str],
    regimes: str | None,
    seeds: Sequence[int],
    overrides: Sequence[str],
    source: "Source | None",
    device: str,
    precision: str,
    tracker: list[str],
    options: OwnOptions,
    *,
    here: bool,
) -> "Study":
    """Give the study that is asked for, of recipes or of a training of somebody's own.

    Args:
        words: that name recipes or functions; none where there is a command.
        regimes: text of regimes; None: those that are usual.
        seeds: with which each is trained.
        overrides: `key=value`.
        source: whose settings, of recipes.
        device: where it is trained.
        precision: of the arithmetic, of recipes.
        tracker: names, of recipes.
        options: of functions and commands.
        here: whether this machine trains.

    Raises:
        StudyError: if any of it cannot be.
    """
    from lerac.study.plan.request import request_study
    from lerac.study.training.trackers import set_trackers

    if is_own(words, options):
        only = {"--source": source, "--precision": precision if precision != "float32" else None, "--tracker": tracker}
        return request_own(words, regimes, seeds, overrides, device, options, only, here=here)
    options.refuse()
    if tracker or os.environ.get("LERAC_TRACKERS"):
        set_trackers(tracker)
    return request_study(words, regimes or DEFAULT_REGIMES, seeds, overrides, source, device, precision, here=here)


def request_own(
    words: Sequence[str],
    regimes: str | None,
    seeds: Sequence[int],
    overrides: Sequence[str],
    device: str,
    options: OwnOptions,
    others: Mapping[str, Any],
    *,
    here: bool,
) -> "Study":
    """Give the study that is asked for.

    Args:
        words: that name functions; none where there is a command.
        regimes: text of regimes; None: those that every network can be trained by.
        seeds: with which each is trained.
        overrides: `key=value` that the functions are handed.
        device: where it is trained.
        options: of functions and commands.
        others: option → value, of options that are of recipes only.
        here: whether this machine trains.

    Raises:
        StudyError: if any of it cannot be.
    """
    from lerac.study.own.functions import find_function, is_function
    from lerac.study.own.request import DEFAULT_REGIMES, Judged, parse_values, request_functions

    if options.command is not None and words:
        raise StudyError(f"--command and {words[0]} are of studies of their own, by a command each")
    if options.command is None and (options.results is not None or options.arm):
        raise StudyError(
            f"--{'arm' if options.arm else 'results'} is of --command; a function returns what it measures"
        )
    if options.arm and regimes is not None:
        raise StudyError("--regimes and --arm exclude each other: a script that calls lerac.attach has regimes")
    if strange := [word for word in words if not is_function(word)]:
        raise StudyError(f"{strange[0]} is no FILE.py:FUNCTION; recipes are compared by a command of their own")
    if given := [option for option, value in others.items() if value]:
        raise StudyError(f"{given[0]} is of recipes; functions and commands get what they need by --set key=value")
    if options.code not in (None, "accept"):
        raise StudyError(f"--code takes accept, got {options.code!r}")
    if options.paired not in (None, "require"):
        raise StudyError(f"--paired takes require, got {options.paired!r}")
    common: Any = {
        "regimes": regimes or DEFAULT_REGIMES,
        "seeds": seeds,
        "values": parse_values(overrides),
        "judged": Judged(
            options.metric, options.goal, options.unit or "", 1.0 if options.scale is None else options.scale
        ),
        "name": options.name,
        "device": device,
        "threads": options.threads or 1,
        "accept": options.code == "accept",
        "here": here,
    }
    if options.command is None:
        return request_functions({word: find_function(word) for word in words}, **common)
    from lerac.study.own.command.request import parse_arms, request_command

    if not options.results:
        raise StudyError("--command needs --results, the file that it leaves its results in: {folder}/result.json")
    return request_command(options.command, options.results, parse_arms(options.arm), **common)


def are_files(paths: Sequence[Path]) -> bool:
    """Whether these are files of numbers; by name, too, so that one that is not there is missed as a file.

    Raises:
        StudyError: if only some of them are.
    """
    files = [path for path in paths if not path.is_dir() and (path.exists() or path.suffix.lower() == ".csv")]
    if files and (others := [path for path in paths if path not in files]):
        raise StudyError(f"{files[0]} is a file of numbers, and {others[0]} none: a report is of files, or of folders")
    return bool(files)


def read_numbers(
    paths: Sequence[Path],
    out: Path | None,
    judged: Mapping[str, Any],
    baseline: str | None,
    claims: list[str],
    power: float,
) -> "tuple[Where, Study, list[Outcome], Question]":
    """Read files of numbers, and write their results.csv.

    Args:
        paths: of the files.
        out: folder of the report; None: one named after the first file, beside it.
        judged: see `Judged`.
        baseline: name of a regime; None: `conventional`.
        claims: see `request_question`.
        power: see `Question`.

    Returns:
        What the report is made from.

    Raises:
        StudyError: if anything of it cannot be.
    """
    from lerac.study.files import check_folder, make_folder
    from lerac.study.report.commands import Where
    from lerac.study.runs.folder import write_results
    from lerac.study.runs.numbers.reading import read_files
    from lerac.study.runs.numbers.study import Judged, study_of
    from lerac.study.statistics.question import request_question
    from lerac.study.statistics.seeds_needed import POWER

    study, outcomes, chosen = study_of(read_files(paths), Judged(**judged), baseline)
    question = request_question(study.regimes, study.metrics, chosen, claims, power)
    folder = out or paths[0].with_name(f"{paths[0].stem}-report")
    check_folder(folder, "--out")
    if (folder / "study.json").exists():
        raise StudyError(f"--out {folder}: there is a study, whose report and tables would be lost")
    if lost := {(folder / name).resolve() for name in WRITTEN} & {path.resolve() for path in paths}:
        raise StudyError(f"--out {folder}: {lost.pop().name} there is read, and would be written")
    make_folder(folder)
    write_results(folder, outcomes)
    words = ["lerac", "report", *(str(path.absolute()) for path in paths), "--out", str(folder.absolute())]
    asked = {**judged, "baseline": baseline, "power": None if power == POWER else f"{power:g}"}
    words += [word for name, value in asked.items() if value is not None for word in (f"--{name}", str(value))]
    words += [word for claim in claims for word in ("--claim", claim)]
    return Where([], folder, command=words), study, outcomes, question

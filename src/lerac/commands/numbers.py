"""`lerac report` of numbers from elsewhere: CSV files in place of folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lerac.study.errors import StudyError

if TYPE_CHECKING:
    from lerac.study.plan.study import Study
    from lerac.study.report.commands import Where
    from lerac.study.statistics.outcomes import Outcome
    from lerac.study.statistics.question import Question

__all__ = ["are_files", "read_numbers"]

WRITTEN = ("results.csv", "table.csv", "table.tex", "report.html")


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

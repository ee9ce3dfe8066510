"""A study on disk: what was asked for, and the tables of what came out."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from lerac.study.errors import StudyError, printable
from lerac.study.files import make_folder, read_bytes, write_text
from lerac.study.plan.study import Study
from lerac.study.runs.own import settled, without_old_code
from lerac.study.statistics.outcomes import Outcome

__all__ = [
    "RESULTS",
    "csv_text",
    "extend_study",
    "read_study",
    "result_rows",
    "write_results",
    "write_study",
    "write_tables",
]

RESULTS = ("recipe", "regime", "seed", "split", "metric", "value", "epochs", "steps")
NUMBER = re.compile(r"[+-](\d+(\.\d*)?(e[+-]?\d+)?|inf)")
FORMULA = ("=", "+", "-", "@")  # what a spreadsheet computes begins with one of them
TIMINGS = ("recipe", "regime", "seed", "seconds", "device")


def read_study(folder: Path) -> Study | None:
    """Read what a folder's study is, or None if there is none.

    Raises:
        StudyError: if its study.json cannot be read.
    """
    path = folder / "study.json"
    try:
        content = read_bytes(path)
        return None if content is None else settled(folder, Study.from_json(content.decode()))
    except NotADirectoryError:
        raise StudyError(f"{folder} is a file; a study needs a folder") from None
    except UnicodeDecodeError:
        raise StudyError(f"{path} is damaged: it is not UTF-8 text") from None
    except StudyError as error:
        raise StudyError(f"{folder}: {error}") from None


def extend_study(folder: Path, asked: Study, *, option: str = "--out") -> Study:
    """Give the union of what is asked for and what the folder has; writes nothing.

    Args:
        folder: of a study, or to be one.
        asked: what is asked for.
        option: of the command line that names the folder, for errors.

    Raises:
        StudyError: if the folder holds another study.
    """
    if folder.exists() and not folder.is_dir():
        raise StudyError(f"{folder} is a file; a study needs a folder")
    if (present := read_study(folder)) is None:
        return asked
    try:
        return without_old_code(folder, present, asked).extend(asked)
    except StudyError as error:
        raise StudyError(f"{folder} holds another study: {error}; choose another {option}") from None


def write_study(folder: Path, study: Study) -> None:
    """Write study.json; its folder is made."""
    make_folder(folder)
    write_text(folder / "study.json", study.model_dump_json(indent=2) + "\n")


def result_rows(outcomes: Sequence[Outcome]) -> list[tuple[object, ...]]:
    """Give the rows of results.csv, sorted: the columns `RESULTS`, values exact, NaN if the run diverged."""
    rows: list[tuple[object, ...]] = []
    for one in _ended(outcomes):
        for split in sorted(one.values):
            values = one.values[split]
            first = [name for name in one.metric.measured if name in values]
            for name in dict.fromkeys([*first, *values]):
                rows.append((one.experiment, one.regime, one.seed, split, name, values[name], one.epochs, one.steps))
    return rows


def write_tables(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """Write results.csv, which holds no times, and timings.csv; rows are sorted, values are exact."""
    times = [(one.experiment, one.regime, one.seed, one.seconds, one.device) for one in _ended(outcomes)]
    write_results(folder, outcomes)
    write_text(folder / "timings.csv", csv_text(TIMINGS, times))


def write_results(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """Write results.csv alone."""
    write_text(folder / "results.csv", csv_text(RESULTS, result_rows(outcomes)))


def _ended(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return sorted((one for one in outcomes if one.ended), key=lambda one: (one.experiment, one.regime, one.seed))


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write CSV; floats are exact, None is an empty cell, and no text is a formula to a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    """Give a cell: a text that a spreadsheet would compute has an apostrophe before it; numbers stay as they are."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(FORMULA) and not NUMBER.fullmatch(text) else text

"""A study on disk: what was asked for, and the tables of what came out."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lerac.study.errors import StudyError
from lerac.study.files import read_bytes, write_text
from lerac.study.metrics import Metric, metric_of
from lerac.study.plan.study import Run, Study
from lerac.study.runs.run import RunFolder

__all__ = [
    "RESULTS",
    "Result",
    "collect",
    "csv_text",
    "extend_study",
    "read_study",
    "result_rows",
    "write_study",
    "write_tables",
]

RESULTS = ("recipe", "regime", "seed", "split", "metric", "value", "epochs", "steps")
TIMINGS = ("recipe", "regime", "seed", "seconds", "device")


@dataclass(frozen=True)
class Result:
    """What is known of a run; a run that was not started has no status, no history and no error.

    Args:
        run: which run.
        status: how it ended, see `runs.RunFolder.status`; None while it has not.
        history: an entry per finished epoch.
        error: traceback of the last failed attempt.
        environments: versions and machine where it was started and where it ended.
    """

    run: Run
    status: dict[str, Any] | None
    history: list[dict[str, Any]]
    error: str | None
    environments: list[dict[str, str]]

    @property
    def metric(self) -> Metric:
        """What it is judged by."""
        return metric_of(self.run.settings["dataset"])

    @property
    def diverged(self) -> bool:
        """Whether it ended because its loss was not finite."""
        return self.status is not None and self.status["state"] == "diverged"

    def value(self, split: str, metric: str) -> float | None:
        """Give what was measured at the end, or None without an end; NaN if the run diverged."""
        if self.status is None:
            return None
        return float("nan") if self.diverged else float(self.status[split][metric])


def read_study(folder: Path) -> Study | None:
    """Read what a folder's study is, or None if there is none.

    Raises:
        StudyError: if its study.json cannot be read.
    """
    path = folder / "study.json"
    try:
        content = read_bytes(path)
        return None if content is None else Study.from_json(content.decode())
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
        return present.extend(asked)
    except StudyError as error:
        raise StudyError(f"{folder} holds another study: {error}; choose another {option}") from None


def write_study(folder: Path, study: Study) -> None:
    """Write study.json."""
    write_text(folder / "study.json", study.model_dump_json(indent=2) + "\n")


def collect(folder: Path, runs: Iterable[Run]) -> list[Result]:
    """Read what is on disk of each run."""
    results = []
    for run in runs:
        files = RunFolder(folder, run)
        status = files.status()
        environments = [known["environment"] for known in (files.config(), status) if known]
        results.append(Result(run, status, files.history(), files.error(), environments))
    return results


def result_rows(results: Sequence[Result]) -> list[tuple[str, str, int, str, str, float | None, int, int]]:
    """Give the rows of results.csv, sorted: the columns `RESULTS`, values exact, NaN if the run diverged."""
    rows = []
    for result in _ended(results):
        status, run = result.status or {}, result.run
        for split in ("test", "validation"):
            for metric in result.metric.measured:
                value, length = result.value(split, metric), (status["epochs"], status["steps"])
                rows.append((run.recipe, run.regime, run.seed, split, metric, value, *length))
    return rows


def write_tables(folder: Path, results: Sequence[Result]) -> None:
    """Write results.csv, which holds no times, and timings.csv; rows are sorted, values are exact."""
    times = [
        (r.run.recipe, r.run.regime, r.run.seed, r.status["seconds"], r.status["device"])
        for r in _ended(results)
        if r.status
    ]
    write_text(folder / "results.csv", csv_text(RESULTS, result_rows(results)))
    write_text(folder / "timings.csv", csv_text(TIMINGS, times))


def _ended(results: Sequence[Result]) -> list[Result]:
    return sorted((r for r in results if r.status), key=lambda r: (r.run.recipe, r.run.regime, r.run.seed))


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write CSV; floats are exact, None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()

"""The file that a command leaves its results in: a JSON object of numbers, or a CSV whose last row counts."""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lerac.study.errors import StopStudyError
from lerac.study.own.returned import Values, measured
from lerac.study.plan.own import OwnRun

__all__ = ["ResultsError", "Stamp", "read_values"]

SLACK = 2.0  # seconds by which the clock of a file system may be behind


class ResultsError(Exception):
    """A command has left no results that can be read."""


@dataclass(frozen=True)
class Stamp:
    """By what a file that was written anew is told from one that was there before."""

    path: Path
    before: tuple[int, ...] | None

    @classmethod
    def of(cls, path: Path) -> "Stamp":
        """Take it, before something may write the file."""
        return cls(path, _state(path))

    def written_since(self, time: float) -> bool:
        """Whether the file is there, another than before, and no older than a time, in seconds of `time.time`."""
        now = _state(self.path)
        return now is not None and now != self.before and now[0] >= (time - SLACK) * 1e9


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read_values(stamp: Stamp, since: float, run: OwnRun) -> Values:
    """Read what a command has measured.

    Args:
        stamp: of its file, taken before the command was started.
        since: when that was.
        run: that the command is of.

    Raises:
        ResultsError: if there is no such file, or an old one, or it is not what was expected; says what it has.
    """
    path = stamp.path
    if not path.is_file():
        raise ResultsError(f"there is no {path}, which --results names{_beside(path)}")
    if not stamp.written_since(since):
        raise ResultsError(f"{path} is older than the run: the command has ended without writing it")
    text = _text(path)
    read = _row(path, text, run.judged["name"]) if path.suffix.lower() == ".csv" else _object(path, text)
    try:
        return measured(read, run, str(path), "has")
    except StopStudyError as error:
        raise ResultsError(str(error)) from None


def _beside(path: Path) -> str:
    try:
        there = sorted(one.name for one in path.parent.iterdir() if not one.name.startswith("."))
    except OSError:
        return "; nor is there its folder"
    return f"; its folder has {', '.join(there[:8])}{', …' if len(there) > 8 else ''}" if there else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ResultsError(f"{path} is no text in UTF-8") from None
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror}") from None


def _object(path: Path, text: str) -> dict[str, Any]:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path} is no JSON ({error}), and no .csv") from None
    if not isinstance(read, dict):
        raise ResultsError(
            f"{path} has {type(read).__name__} {text.strip()[:40]!r}; a JSON object of numbers was expected"
        )
    return read


def _row(path: Path, text: str, measure: str | None) -> dict[str, float]:
    """Give the numbers of the last row; what is no number there, such as a date, is of interest to others."""
    rows = [row for row in csv.reader(io.StringIO(text)) if any(cell.strip() for cell in row)]
    if len(rows) < 2:
        raise ResultsError(f"{path} has {'only a header' if rows else 'nothing'}; a header and a row were expected")
    header, last = [name.strip() for name in rows[0]], rows[-1]
    if len(last) != len(header):
        raise ResultsError(f"{path}: its last row has {len(last)} cells, its header {len(header)}")
    if measure is not None and header.count(measure) > 1:
        raise ResultsError(f"{path}: its header names {measure} twice")
    numbers = {}
    for name, cell in zip(header, last, strict=True):
        try:
            numbers[name] = float(cell)
        except ValueError:
            if name == measure:
                raise ResultsError(f"{path}: the last row has {cell!r} as {measure}, no number") from None
    return {name: value for name, value in numbers.items() if name}

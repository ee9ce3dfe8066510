"""Numbers from CSV files, as if they had been trained here: what `lerac report numbers.csv` reads, and refuses."""

import csv
import hashlib
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn

from lerac.study.errors import StudyError, shown
from lerac.study.metrics import LARGEST, LONGEST
from lerac.study.statistics.outcomes import State

__all__ = ["COLUMNS", "Entry", "Measured", "read_files"]

NEEDED = ("regime", "seed", "value")
COLUMNS = (*NEEDED, "experiment", "split", "metric", "state")
SPLITS = ("test", "validation")
STATES: tuple[State, ...] = ("done", "diverged")

_SEED = re.compile(r"[0-9]{1,9}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)


@dataclass(frozen=True)
class Entry:
    """One line of a file.

    Args:
        where: file and line, for messages; the header is line 1.
        regime: free text.
        seed: by which it is paired with the other regimes.
        value: NaN if the run diverged.
        experiment: None where the file does not say it, as the following.
        split: test or validation.
        metric: name of what was measured.
        state: how the run ended.
    """

    where: str
    regime: str
    seed: int
    value: float
    experiment: str | None
    split: str
    metric: str | None
    state: State


@dataclass(frozen=True)
class Measured:
    """What several files say together.

    Args:
        entries: of all files, in their order.
        files: name → sha256.
    """

    entries: Sequence[Entry]
    files: Mapping[str, str] = field(default_factory=dict)


def read_files(paths: Sequence[Path]) -> Measured:
    """Read CSV files: UTF-8, columns separated by commas, the first line their names, see `COLUMNS`.

    Raises:
        StudyError: naming file and line, if one of them is no such file, or a number of it is none.
        OSError: if one cannot be read.
    """
    entries: list[Entry] = []
    files: dict[str, str] = {}
    for path in paths:
        content = path.read_bytes()
        if str(path) in files:
            raise StudyError(f"{path} is named twice")
        files[str(path)] = hashlib.sha256(content).hexdigest()
        entries += _entries(path, _text(path, content))
    return Measured(entries, files)


def _text(path: Path, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse(path, 1 + content[: error.start].count(b"\n"), "it is not UTF-8 text")
    if "\0" in text:
        _refuse(path, 1 + text[: text.index("\0")].count("\n"), "it has a NUL, so it is no text; UTF-8 was expected")
    return text


def _entries(path: Path, text: str) -> Iterator[Entry]:
    lines = _lines(path, text)
    number, header = next(lines, (1, []))
    names = [name.strip() for name in header]
    expected = f"columns {', '.join(NEEDED)} were expected, and if wanted {', '.join(COLUMNS[len(NEEDED) :])}"
    if unknown := [name for name in names if name not in COLUMNS]:
        hint = "; they are separated by commas" if re.search(r"[;\t|]", unknown[0]) else ""
        _refuse(path, number, f"unknown column {shown(unknown[0])}: {expected}{hint}")
    if missing := [name for name in NEEDED if name not in names]:
        _refuse(path, number, f"there is no column {missing[0]}: {expected}")
    if twice := [name for name in names if names.count(name) > 1]:
        _refuse(path, number, f"the column {twice[0]} is there twice")
    empty = True
    for number, cells in lines:
        if len(cells) != len(names):
            _refuse(path, number, f"it has {len(cells)} cells, and the header {len(names)} columns")
        empty = False
        yield _entry(path, number, {name: cell.strip() for name, cell in zip(names, cells, strict=True)})
    if empty:
        _refuse(path, number, "there are no numbers below the header")


def _lines(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Give the number of its first line and the cells of every row; empty lines are none."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            _refuse(path, number, f"it is no CSV: {error}")
        if cells:
            yield number, cells


def _entry(path: Path, number: int, cells: Mapping[str, str]) -> Entry:
    regime, experiment, metric = (_name(path, number, name, cells) for name in ("regime", "experiment", "metric"))
    if regime is None:
        _refuse(path, number, "it names no regime")
    if not _SEED.fullmatch(cells["seed"]):
        _refuse(path, number, f"seed {shown(cells['seed'])}: a whole number from 0 to 999999999 was expected")
    split = _one_of(path, number, "split", cells, SPLITS)
    state: Literal["done", "diverged"] = (
        "diverged" if _one_of(path, number, "state", cells, STATES) != "done" else "done"
    )
    value = math.nan if state == "diverged" else _value(path, number, cells["value"])
    return Entry(f"{path} line {number}", regime, int(cells["seed"]), value, experiment, split, metric, state)


def _name(path: Path, number: int, column: str, cells: Mapping[str, str]) -> str | None:
    name = cells.get(column) or None
    if name is not None and (len(name) > LONGEST or not name.isprintable()):
        _refuse(path, number, f"{column} {shown(name)}: at most {LONGEST} signs that can be printed were expected")
    return name


def _one_of(path: Path, number: int, column: str, cells: Mapping[str, str], known: Sequence[str]) -> str:
    word = cells.get(column) or known[0]
    if word not in known:
        _refuse(path, number, f"{column} {shown(word)}: {' or '.join(known)} was expected")
    return word


def _value(path: Path, number: int, text: str) -> float:
    if not _NUMBER.fullmatch(text):
        _refuse(path, number, f"value {shown(text)} is no number; of a run that diverged, say so: state=diverged")
    value = float(text)
    if abs(value) > LARGEST:
        _refuse(path, number, f"value {shown(text)}: at most {LARGEST:g} can be compared; choose a larger unit")
    return value


def _refuse(path: Path, number: int, why: str) -> NoReturn:
    raise StudyError(f"{path} line {number}: {why}")

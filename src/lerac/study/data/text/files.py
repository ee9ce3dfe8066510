"""Pairs of texts with a label, from the files that GLUE and SuperGLUE hand out and from those of the Hub."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lerac.study.data.hub import hub_table
from lerac.study.errors import StudyError

__all__ = ["Columns", "Pairs", "read_hub", "read_jsonl", "read_tsv"]


@dataclass
class Pairs:
    """Examples in the order of their file.

    Args:
        first: one text per example: a question, a premise.
        second: the other text: a passage, a sentence, a hypothesis.
        labels: a class from 0 on per example.
    """

    first: list[str] = field(default_factory=list)
    second: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, positions: Iterable[int]) -> "Pairs":
        """Give the examples at these positions, in this order."""
        chosen = list(positions)
        first, second = ([texts[i] for i in chosen] for texts in (self.first, self.second))
        return Pairs(first, second, [self.labels[i] for i in chosen])


@dataclass(frozen=True)
class Columns:
    """Where a file has what.

    Args:
        first: name of the column or key of the first text.
        second: that of the second.
        label: that of the label.
        classes: the label as the file writes it, to the class it means.
    """

    first: str
    second: str
    label: str
    classes: Mapping[Any, int]

    def take(self, values: Mapping[str, Any], pairs: Pairs, where: str) -> None:
        """Append an example.

        Raises:
            StudyError: if a key is missing, a text is no text or the label is none of `classes`.
        """
        if missing := [name for name in (self.first, self.second, self.label) if name not in values]:
            raise StudyError(f"{where}: no {', '.join(missing)}, only {', '.join(values)}")
        for name in (self.first, self.second):
            if not isinstance(values[name], str):
                raise StudyError(f"{where}: {name} must be text, got {values[name]!r}")
        label = values[self.label]
        known = [written for written in self.classes if type(written) is type(label) and written == label]
        if not known:  # True == 1 in Python, but not in a file
            expected = " or ".join(repr(written) for written in self.classes)
            raise StudyError(f"{where}: label {label!r} is none of {expected}")
        pairs.first.append(values[self.first])
        pairs.second.append(values[self.second])
        pairs.labels.append(self.classes[known[0]])


def read_jsonl(path: Path, columns: Columns) -> Pairs:
    """Read a file with a JSON object per line.

    Raises:
        StudyError: if the file is missing, or a line is not UTF-8, not JSON, no object, or has not what `columns`
            names; the message has the number of the line.
    """
    pairs = Pairs()
    for where, line in _lines(path):
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:  # the latter of brackets in brackets in …
            raise StudyError(f"{where}: not JSON ({error})") from None
        if not isinstance(values, dict):
            raise StudyError(f"{where}: must be a JSON object, got {line[:60]!r}")
        columns.take(values, pairs, where)
    return pairs


def read_tsv(path: Path, columns: Columns) -> Pairs:
    """Read a table with tabs between its columns and their names in the first line.

    Nothing is quoted: a quotation mark is a character of the text, wherever it stands, as QNLI needs it.

    Raises:
        StudyError: if the file is missing, or a line is not UTF-8, has too few or too many columns, or a label that
            is unknown; the message has the number of the line.
    """
    pairs = Pairs()
    names: list[str] | None = None
    for where, line in _lines(path):
        cells = line.split("\t")
        if names is None:
            names = cells
            if missing := [name for name in (columns.first, columns.second, columns.label) if name not in names]:
                raise StudyError(f"{where}: no column {', '.join(missing)}, only {', '.join(names)}")
            continue
        if len(cells) != len(names):
            raise StudyError(f"{where}: {len(cells)} columns, but the first line names {len(names)}")
        columns.take(dict(zip(names, cells, strict=True)), pairs, where)
    return pairs


def read_hub(folder: Path, part: str, columns: Columns) -> Pairs:
    """Read a part of a Hub data set.

    Raises:
        StudyError: as `hub_table`, or if a value is not what `columns` says; the message has the number of the row.
    """
    pairs = Pairs()
    names = [columns.first, columns.second, columns.label]
    for number, row in enumerate(hub_table(folder, part, names)):
        columns.take(row, pairs, f"{folder}: {part} row {number}")
    return pairs


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Give every line and where it is; Python's other line ends are characters of the texts."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise StudyError(f"{path} is missing") from None
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error})") from None
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n"), start=1):
        where = f"{path}, line {number}"
        try:
            text = line.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            raise StudyError(f"{where}: not UTF-8 ({error})") from None
        if not text:
            raise StudyError(f"{where}: is empty")
        yield where, text

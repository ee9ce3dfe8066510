"""The Hugging Face Hub's form of a data set: parquet files in a local folder, read by `datasets`, never downloaded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lerac.study.errors import StudyError

__all__ = ["HUB_FILES", "hub_table"]

HUB_FILES = ("**/*.parquet",)  # below the folder of a data set


def hub_table(folder: Path, part: str, columns: Sequence[str]) -> Any:
    """Open a part of a data set as a memory-mapped `datasets.Dataset`; the first time, `datasets` makes its cache.

    Args:
        folder: with the files of the repository, at any depth.
        part: the files are `<part>-*.parquet`.
        columns: that must be there.

    Raises:
        StudyError: if `datasets` is not installed, there is no such file, one cannot be read or lacks a column.
    """
    try:
        import datasets
        import pyarrow.parquet  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise StudyError(f"{folder} holds parquet files; to read them: pip install 'lerac[experiments]'") from None
    paths = sorted(folder.rglob(f"{part}-*.parquet"))
    if not paths:
        raise StudyError(f"{folder}: no file {part}-*.parquet in it or below; download the data set's repository again")
    for path in paths:
        try:
            there = pyarrow.parquet.read_schema(path).names
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            raise StudyError(f"{path}: cannot be read as parquet ({error}); download it again") from None
        if missing := [column for column in columns if column not in there]:
            raise StudyError(f"{path}: column {missing[0]!r} expected, found {', '.join(there)}")
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        table = datasets.Dataset.from_parquet([str(path) for path in paths], columns=list(columns))
    except Exception as error:  # whatever it makes of metadata that it does not know
        cause = error.__cause__ or error
        raise StudyError(f"{folder}: {part}-*.parquet cannot be read ({cause}); download them again") from None
    finally:
        if shown:
            datasets.enable_progress_bars()
    for column, feature in table.features.items():
        if isinstance(feature, datasets.Image):  # we decode, and name the row that cannot be
            table = table.cast_column(column, datasets.Image(decode=False))
    return table

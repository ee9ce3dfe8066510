"""Files that are either the old or the new version, never half of one, whenever the process is killed."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from lerac.study.errors import StudyError

__all__ = ["check_file", "check_folder", "read_json", "write_bytes", "write_json", "write_text"]


def check_file(path: Path, option: str) -> None:
    """See that a file can be written there, before anything is computed.

    Raises:
        StudyError: naming the option, if its folder does not exist or cannot be written to, or it is a folder itself.
    """
    if path.is_dir():
        raise StudyError(f"{option} {path}: this is a folder, give the name of a file")
    if not path.parent.is_dir():
        raise StudyError(f"{option} {path}: there is no folder {path.parent}")
    check_folder(path.parent, option)


def check_folder(path: Path, option: str) -> None:
    """See that files can be written to a folder, which need not exist yet, before anything is computed.

    Raises:
        StudyError: naming the option, if it, or what is to hold it, is no folder or cannot be written to.
    """
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise StudyError(f"{option} {path}: {there} is a file, not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise StudyError(f"{option} {path}: you may not write to the folder {there}")


def write_bytes(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in its place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, as `write_bytes`."""
    write_bytes(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON; NaN and infinity are refused, they are not JSON."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON, or None if there is no file.

    Raises:
        StudyError: if the file is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:  # of JSON and of UTF-8
        raise StudyError(f"{path} is damaged ({error}); delete it, and the run is trained again") from None

"""Files that are either the old or the new version, never half of one, whenever the process is killed."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from lerac.study.errors import StudyError

__all__ = ["read_json", "write_bytes", "write_json", "write_text"]


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

"""Files that are either the old or the new version, never half of one, whenever process, disk or power gives out."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from lerac.study.errors import StorageError, StudyError

__all__ = [
    "check_file",
    "check_folder",
    "make_durable",
    "read_json",
    "refusal",
    "remove_left_over",
    "write_bytes",
    "write_json",
    "write_text",
]


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


def write_bytes(path: Path, write: Callable[[BinaryIO], object], *, durable: bool = True) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in its place in one step.

    Args:
        path: of the file; its folder is made.
        write: is handed the open file.
        durable: wait until the disk has it, so that it outlives a loss of power, too.

    Raises:
        StorageError: if the system refuses, as it does when the disk is full; what was at `path` is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            make_durable(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, Exception) and (cause := _system_error(error)) is not None:
            raise StorageError(refusal(path, cause)) from error
        raise


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write UTF-8 text, as `write_bytes`."""
    write_bytes(path, lambda file: file.write(text.encode()), durable=durable)


def make_durable(path: Path) -> None:
    """Wait until the disk has a file's content, or which files a folder has."""
    if path.is_dir() and os.name == "nt":  # which cannot open folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_left_over(folder: Path) -> None:
    """Remove the temporary files of processes that were killed; no other may be writing there."""
    for left_over in folder.glob(".*.tmp"):
        left_over.unlink(missing_ok=True)


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


def refusal(path: Path, cause: OSError) -> str:
    """Say that a file cannot be written, and why, and that this is not the end."""
    reason = cause.strerror or str(cause)
    return f"{path} cannot be written: {reason}. Nothing is damaged; once it can be, the same command goes on"


def _system_error(error: BaseException | None) -> OSError | None:
    """Give the system's refusal behind an error; torch.save, for one, raises another error while it handles it."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error

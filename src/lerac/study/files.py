"""Files of a study: the old or the new version, never half of one, whenever process, disk or power gives out.

The folder of a study may come from anybody, so nothing in it is followed out of it: its files are opened by
`open_file`, its folders named by `folder_in`, and what is written is a new file in the place of whatever was there.
"""

import json
import os
import stat
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from lerac.study.errors import FolderInUseError, StorageError, StudyError

__all__ = [
    "check_file",
    "check_folder",
    "claim",
    "folder_in",
    "make_durable",
    "make_folder",
    "open_descriptor",
    "open_file",
    "parse_json",
    "read_bytes",
    "read_json",
    "refusal",
    "remove_left_over",
    "write_bytes",
    "write_json",
    "write_text",
]

# Follow no link, wait for nobody at the other end of a pipe. Where a system has no such flag, a look before must do.
SAFELY = sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


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


def folder_in(study: Path, relative: str) -> Path:
    """Give a folder inside a study's folder; it need not exist yet.

    Raises:
        StudyError: if it, or a folder between the two, is a symbolic link, or it is not inside.
    """
    path, parts = study, Path(relative).parts
    if ".." in parts or Path(relative).is_absolute():
        raise StudyError(f"{study}: {relative!r} would be outside of it")
    for part in parts:
        path /= part
        if path.is_symlink():
            raise StudyError(_not_ours(path, stat.S_IFLNK, "a folder"))
    return path


def make_folder(path: Path) -> None:
    """Make a folder, and those around it, unless it is there; if the system refuses, this is a StorageError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(refusal(path, error)) from error


def open_file(path: Path) -> BinaryIO:
    """Open a file of a study for reading.

    Raises:
        FileNotFoundError: if there is none.
        StudyError: if it is a symbolic link, or anything but a file.
    """
    return os.fdopen(open_descriptor(path, os.O_RDONLY), "rb")


def open_descriptor(path: Path, flags: int) -> int:
    """Give a descriptor of a regular file, which is known to be one before anything is done to it."""
    with suppress(FileNotFoundError):
        _check_regular(path, path.lstat())  # before opening it, which a device may notice
    descriptor = os.open(path, flags | SAFELY, 0o666)
    try:
        _check_regular(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise StudyError(_not_ours(path, stat.S_IFMT(found.st_mode), "a file"))


def _not_ours(path: Path, kind: int, expected: str) -> str:
    return (
        f"{path} is {KINDS.get(kind, 'something else')}, not {expected}: nothing in the folder of a study may lead out "
        "of it; delete it, and the same command goes on"
    )


def read_bytes(path: Path) -> bytes | None:
    """Read a file of a study, or give None if there is none; errors as for `open_file`."""
    try:
        with open_file(path) as file:
            return file.read()
    except FileNotFoundError:
        return None


def write_bytes(path: Path, write: Callable[[BinaryIO], object], *, durable: bool = True) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in its place in one step.

    Args:
        path: of the file; its folder must be there. Who begins something makes folders, by `make_folder`: what has
            been deleted meanwhile is not made again.
        write: is handed the open file.
        durable: wait until the disk has it, so that it outlives a loss of power, too.

    Raises:
        StorageError: if the system refuses, as it does when the disk is full; what was at `path` is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a process that was killed and had our number
        with temporary.open("xb") as file:
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
    """Write UTF-8 text, as `write_bytes`; what it has no code for, such as names that are not UTF-8, as escapes."""
    write_bytes(path, lambda file: file.write(text.encode(errors="backslashreplace")), durable=durable)


def make_durable(path: Path) -> None:
    """Wait until the disk has a file's content, or which files a folder has."""
    if not path.is_dir():
        descriptor = open_descriptor(path, os.O_RDONLY)
    elif os.name == "nt":  # which cannot open folders
        return
    else:
        descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON; NaN and infinity are refused, they are not JSON."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON, or None if there is no file.

    Raises:
        StudyError: if the file is damaged.
    """
    if (content := read_bytes(path)) is None:
        return None
    try:
        return parse_json(content)
    except ValueError as error:
        raise StudyError(f"{path} is damaged ({error}); delete it, and the run is trained again") from None


def parse_json(content: bytes) -> Any:
    """Make plain types of JSON that says something; a ValueError says in one line why not."""
    try:
        value = json.loads(content.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if value is None:
        raise ValueError("null, where there should be something")
    return value


@contextmanager
def claim(folder: Path, *, patience: float = 0.0, option: str = "--out") -> Iterator[None]:
    """Keep other processes from working in a folder; the system lets go if this one is killed.

    What killed processes have left over there is removed. On a file system without locks it only warns that it cannot
    keep others away.

    Args:
        folder: of a study or of one run.
        patience: seconds to wait for a process that has it, 0 or more.
        option: of the command line that names the folder, for errors.

    Raises:
        FolderInUseError: if another process has it.
        StorageError: if the folder cannot be written to.
        StudyError: if its lock is no file.
    """
    from filelock import unlock_descriptor

    lock = folder / ".lock"
    make_folder(folder)
    try:
        descriptor = open_descriptor(lock, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise StorageError(refusal(lock, error)) from error
    locked = False
    try:
        if locked := _locked(descriptor, folder, patience, option):
            remove_left_over(folder)
        yield
    finally:
        if locked:  # said, not left to closing: processes that read data ahead have been forked with the file open
            with suppress(OSError):
                unlock_descriptor(descriptor)
        os.close(descriptor)


def _locked(descriptor: int, folder: Path, patience: float, option: str) -> bool:
    """Take the lock, and say whether there are locks at all."""
    from filelock import lock_descriptor

    deadline = time.monotonic() + patience
    try:
        while not lock_descriptor(descriptor, blocking=False):
            if time.monotonic() >= deadline:
                raise FolderInUseError(
                    f"{folder}: another lerac is training there; wait for it, or choose another {option}"
                )
            time.sleep(0.05)
    except OSError as error:
        warnings.warn(
            f"{folder}: its file system has no locks ({error.strerror}); see that no other lerac works there",
            stacklevel=4,
        )
        return False
    return True


def remove_left_over(folder: Path) -> None:
    """Remove the temporary files of processes that were killed; no other may be writing there."""
    for left_over in folder.glob(".*.tmp"):
        with suppress(OSError):  # what is no file is none of ours
            left_over.unlink(missing_ok=True)


def refusal(path: Path, cause: OSError) -> str:
    """Say that a file cannot be written, and why, and that this is not the end."""
    reason = cause.strerror or str(cause)
    return f"{path} cannot be written: {reason}. Nothing is damaged; once it can be, the same command goes on"


def _system_error(error: BaseException | None) -> OSError | None:
    """Give the system's refusal behind an error; torch.save, for one, raises another error while it handles it."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error

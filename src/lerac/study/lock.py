"""One process at a time in a folder."""

import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from lerac.study.errors import FolderInUseError, StorageError
from lerac.study.files import refusal, remove_left_over

if sys.platform != "win32":
    import fcntl

__all__ = ["claim"]


@contextmanager
def claim(folder: Path, *, patience: float = 0.0, option: str = "--out") -> Iterator[None]:
    """Keep other processes from working in the folder; the system lets go if this one is killed.

    What killed processes have left over there is removed. On a file system without locks it only warns that it cannot
    keep others away.

    Args:
        folder: of a study or of one run.
        patience: seconds to wait for a process that has it, 0 or more.
        option: of the command line that names the folder, for errors.

    Raises:
        FolderInUseError: if another process has it.
        StorageError: if the folder cannot be written to.
    """
    lock = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise StorageError(refusal(lock, error)) from error
    with file:
        _take(file, folder, patience, option)
        try:
            remove_left_over(folder)
            yield
        finally:
            _let_go(file)


if sys.platform == "win32":  # has no such lock

    def _take(file: TextIO, folder: Path, patience: float, option: str) -> None:
        pass

    def _let_go(file: TextIO) -> None:
        pass

else:

    def _take(file: TextIO, folder: Path, patience: float, option: str) -> None:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise FolderInUseError(
                        f"{folder}: another lerac is training there; wait for it, or choose another {option}"
                    ) from None
                time.sleep(0.05)
            except OSError as error:
                warnings.warn(
                    f"{folder}: its file system has no locks ({error.strerror}); see that no other lerac works there",
                    stacklevel=4,
                )
                return
            else:
                return

    def _let_go(file: TextIO) -> None:
        # Said, not left to closing: processes that read data ahead have been forked with the file open.
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)

"""The errors that mean: the request cannot be done as it stands; a library that is not installed is one."""

import difflib
import importlib
import reprlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = [
    "FolderInUseError",
    "RunFailedError",
    "StopStudyError",
    "StorageError",
    "StudyError",
    "fault",
    "library",
    "near",
    "printable",
    "shown",
]

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


class StudyError(ValueError):
    """Bad input from the user, in one line that says what was received, what was expected and what to do.

    The command line prints it and exits with code 2.
    """


class FolderInUseError(StudyError):
    """Another process works in the folder."""


class StopStudyError(StudyError):
    """What no other run of the study would fare better with: the first that meets it ends the study."""


class StorageError(StopStudyError):
    """A file cannot be written, because the disk is full, for example: no other run could write its files either."""


class RunFailedError(Exception):
    """A run has failed in a process of its own.

    Args:
        reason: in one line.
        trace: the whole of it, for `error.txt`.
    """

    def __init__(self, reason: str, trace: str) -> None:
        super().__init__(reason)
        self.trace = trace


def printable(text: str) -> str:
    """Write as escapes what would steer a terminal, and what no encoding has: texts may come from anybody."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape", "surrogatepass").decode() for sign in text
    )


def shown(value: Any) -> str:
    """Write a value as Python does, cut where it is long or deep: it may come from anybody."""
    return _SHORT.repr(value)


def fault(error: "ValidationError") -> str:
    """Say in one line what pydantic found wrong first: the key, what was expected there and what it found."""
    from pydantic import ValidationError  # takes long to load

    first = error.errors()[0]
    where = [*first["loc"]]
    while isinstance(inside := first.get("ctx", {}).get("error"), ValidationError):  # of an experiment
        first = inside.errors()[0]
        where += first["loc"]
    got = "" if first["type"] in ("missing", "value_error") else f", got {shown(first['input'])}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{'.'.join(str(key)[:60] for key in where)} {message[:1].lower()}{message[1:]}{got}".lstrip()


def library(module: str, user: str, install: str) -> Any:
    """Import a library only when it is needed.

    Args:
        module: its name.
        user: what needs it, for the message.
        install: what to install, for pip.

    Raises:
        StudyError: if it is not installed; says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise StudyError(f"{user} needs {error.name or module}: pip install '{install}'") from None


def near(name: str, known: Iterable[str]) -> str:
    """Give the end of a message: which of the known names are near to one, or the first of them."""
    names = list(known)
    folded = {one.casefold(): one for one in names}
    if close := difflib.get_close_matches(name.casefold(), folded, 3):
        return f"; did you mean {', '.join(folded[one] for one in close)}?"
    return f"; there is {', '.join(names[:8])}{' …' if len(names) > 8 else ''}" if names else "; there is none"

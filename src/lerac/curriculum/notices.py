"""What LeRaC warns of, at the line of the user's program that it is about."""

import sys
import warnings
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import torch

__all__ = ["Place", "UnfinishedWarning", "builder", "notice"]

_LERAC = str(Path(__file__).parents[1])
_CURRICULUM, _REGIMES, _INTEGRATIONS = (str(Path(_LERAC, part)) for part in ("curriculum", "regimes", "integrations"))
_INSTALLED = ("site-packages", "dist-packages", "<frozen ")


class UnfinishedWarning(UserWarning):
    """A curriculum that never acted, or was not over when training was, or was over long before."""


class Place(NamedTuple):
    """A line of a program."""

    file: str
    line: int
    module: str


def notice(message: str, category: type[Warning] = UserWarning, place: Place | None = None) -> None:
    """Warn of something at the given line, or that of the user's program that runs."""
    if torch.compiler.is_compiling():  # which cannot look at frames
        warnings.warn(message, category, stacklevel=2)
        return
    warnings.warn_explicit(message, category, *(place or _caller(sys._getframe(1))))


def builder() -> tuple[Place, bool] | None:
    """Give the line of the user's program that builds a curriculum; None if it is lerac itself that does.

    `lerac.attach` and the integrations build one for a user; whether it is of a regime is said, too.
    """
    frame: FrameType | None = sys._getframe(1)
    attached = False
    while frame and (file := frame.f_code.co_filename).startswith((_CURRICULUM, _REGIMES)):
        attached = attached or file.startswith(_REGIMES)
        frame = frame.f_back
    file = frame.f_code.co_filename if frame else ""
    if frame is None or (file.startswith(_LERAC) and not file.startswith(_INTEGRATIONS)):
        return None
    return _caller(frame), attached


def _caller(frame: FrameType | None) -> Place:
    """Give the innermost line that is neither of lerac nor installed; if there is none, the innermost but lerac's."""
    outside = []
    while frame:
        file = frame.f_code.co_filename
        if not file.startswith(_LERAC):
            outside.append(Place(file, frame.f_lineno, frame.f_globals.get("__name__", "")))
            if not any(part in file for part in _INSTALLED):
                return outside[-1]
        frame = frame.f_back
    return outside[0] if outside else Place("<unknown>", 1, "")

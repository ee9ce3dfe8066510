"""States to continue from, on disk: tensors and plain types, loaded without unpickling code."""

import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from lerac.study.errors import StudyError, shown
from lerac.study.files import open_file, write_bytes

__all__ = ["check_plain", "read_state", "write_state"]

RUN = "run"  # key of a state: the folder of the run that wrote it
_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)


def read_state(path: Path, run: str) -> dict[str, Any] | None:
    """Read a state, or give None if there is none.

    Args:
        path: of the file.
        run: the folder of the run whose it must be.

    Raises:
        StudyError: if the file is damaged, or of another run.
    """
    try:
        file = open_file(path)
    except FileNotFoundError:
        return None
    damaged = StudyError(f"{path} cannot be read; delete it to train this run from the start")
    try:
        with file, zipfile.ZipFile(file) as archive:
            whole = archive.testzip() is None  # by its checksums, which torch.load does not compare
            file.seek(0)
            state = torch.load(file, map_location="cpu", weights_only=True) if whole else None
    except Exception as error:  # whatever torch meets in what it does not expect
        raise damaged from error
    if not whole:
        raise damaged
    if not isinstance(state, dict) or (whose := state.pop(RUN, run)) != run:
        what = f"is of the run {shown(whose)}" if isinstance(state, dict) else "holds no state of a run"
        raise StudyError(f"{path} {what}; delete it to train this run from the start")
    return state


def write_state(path: Path, state: dict[str, Any], run: str) -> None:
    """Write the state of a run in the place of the one before, in one step; the disk has it when this returns."""
    state = {**state, RUN: run}  # of two seeds, nothing else would tell which is whose
    write_bytes(path, lambda file: torch.save(state, file))


def check_plain(state: Any, where: str = "state") -> None:
    """Refuse what could be written, but not read again without running code of whoever wrote it.

    Raises:
        TypeError: naming the first such value.
    """
    if isinstance(state, torch.Tensor) or type(state) in _PLAIN:
        return
    if type(state) in (dict, OrderedDict):
        for key, value in state.items():
            check_plain(key, f"key {key!r} of {where}")
            check_plain(value, f"{where}[{key!r}]")
        return
    if type(state) in (list, tuple, set):
        for i, value in enumerate(state):
            check_plain(value, f"{where}[{i}]")
        return
    hint = "; torch.from_numpy makes a tensor of it" if type(state).__module__ == "numpy" else ""
    raise TypeError(f"{where} is a {type(state).__name__}; tensors and plain types can be saved{hint}")

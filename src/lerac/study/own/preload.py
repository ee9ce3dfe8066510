"""Loaded once by the server that all runs of a worker are forked from: torch, and the file of the function."""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from lerac.study.errors import StopStudyError
from lerac.study.own import running
from lerac.study.own.trial import cuda_is_used

__all__ = ["VARIABLE", "Loaded", "kept"]

VARIABLE = "LERAC_PRELOAD"  # what to load, as JSON


@dataclass
class Loaded:
    """What the server has loaded.

    Args:
        asked: of it.
        function: that was wanted; None if its file cannot be run.
        error: why not.
        output: what the file has printed meanwhile.
        cuda: whether CUDA was started, which children of a fork cannot use.
    """

    asked: dict[str, Any]
    function: Callable[[Any], Any] | None = None
    error: str = ""
    output: bytes = b""
    cuda: bool = False


_KEPT: list[Loaded] = []


def kept() -> Loaded | None:
    """Give what the server has loaded before this process was forked from it; None in any other process."""
    return _KEPT[0] if _KEPT else None


def _load(asked: dict[str, Any]) -> Loaded:
    torch.set_num_threads(1)  # threads would not be there in the children, which then wait for them
    loaded = Loaded(asked)
    with tempfile.TemporaryFile() as file:
        sys.stdout.flush()
        before = [os.dup(1), os.dup(2)]
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            loaded.function = running.load_function(asked["source"], asked["code"], asked["directory"])
        except StopStudyError as error:
            loaded.error = str(error)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, descriptor in enumerate(before, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)
            file.seek(0)
            loaded.output = file.read()
    loaded.cuda = cuda_is_used()
    return loaded


if VARIABLE in os.environ:  # this is the server: what follows takes seconds, which no other process has to wait for
    import torch._dynamo  # with SymPy, which the first step of an optimizer asks for
    import torch.utils.data

    import lerac.regimes.attached
    import lerac.smoothing.cbs  # noqa: F401

    _KEPT.append(_load(json.loads(os.environ.pop(VARIABLE))))

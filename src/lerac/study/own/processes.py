"""What a process is born with, and what ends it."""

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import parent_process
from types import ModuleType

__all__ = ["born_with", "end_with_parent", "without_main"]


@contextmanager
def born_with(environment: Mapping[str, str]) -> Iterator[None]:
    """Let children inherit these variables; afterwards this process has its own again."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def without_main() -> Iterator[None]:
    """Let children need nothing of the program that starts them; loading it would run it once more."""
    program, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program


def end_with_parent() -> None:
    """End this process when its parent ends: an orphan would train on beside the one that continues its run."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)

"""What a copy of a model has in place of things that would reach out of it, or wait for somebody else."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

__all__ = ["Alone", "CannotCopyError", "Inline", "Unread", "remove_finalizer"]


class CannotCopyError(Exception):
    """A part of the model has no copy that could stand in for it; the message names it."""


class Alone(threading.Condition):
    """Of a copy, for which no other thread does anything."""

    def wait(self, timeout: float | None = None) -> bool:
        """Refuse to wait for ever."""
        if timeout is None:
            raise CannotCopyError("its forward pass waits for another thread, which a copy of it does not have")
        return super().wait(timeout)


class Inline(Executor):
    """Does at once, in the caller's thread, what an executor does in others, where no mode watches."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Call, and give what is done already."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Unread:
    """Of an iterator that has no copy."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        raise CannotCopyError(f"its forward pass takes the next item of a {self._kind}, which has no copy")


def remove_finalizer(result: Any) -> None:
    """Let an object go without a word: what it would close or delete may be shared."""
    kind = type(result)
    make: Any = type(kind)
    if hasattr(kind, "__del__"):
        result.__class__ = make(kind.__name__, (kind,), {"__slots__": (), "__del__": lambda self: None})

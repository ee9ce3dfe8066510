"""What is behind an object: the tensors and modules that it leads to."""

import copyreg
import functools
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from types import BuiltinMethodType, CellType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["HANDLES", "PLAIN", "attributes", "filled", "leads_to_tensors"]

PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device})

# Handles to something outside the model; a copy refers to the same thing.
HANDLES: tuple[type, ...] = (type, ModuleType, torch.Stream, threading.Thread, BaseProcess)
if torch.distributed.is_available():
    HANDLES += (torch.distributed.ProcessGroup,)

WITHIN_REASON = 10_000  # objects that are looked at behind one that refuses to be copied


def attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """Give the attributes of an object by name, those in slots too."""
    yield from getattr(value, "__dict__", {}).items()
    for name in copyreg._slotnames(type(value)):  # type: ignore[attr-defined]
        if hasattr(value, name):
            yield name, getattr(value, name)


def leads_to_tensors(value: Any) -> bool:
    """Whether there are tensors or modules behind an object, as far as Python can see and within reason."""
    seen: set[int] = set()
    ahead = [value]
    while ahead and len(seen) < WITHIN_REASON:
        value = ahead.pop()
        if isinstance(value, nn.Module | Tensor):
            return True
        if type(value) not in PLAIN and id(value) not in seen and not isinstance(value, HANDLES):
            seen.add(id(value))
            ahead.extend(_behind(value))
    return False


def _behind(value: Any) -> list[Any]:
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if filled(cell)]
        return [*cells, *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
    if isinstance(value, MethodType | BuiltinMethodType):
        return [value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, weakref.ref):
        return [value()]
    inside = [attribute for _, attribute in attributes(value)]
    if isinstance(value, dict):
        return [*inside, *value.keys(), *value.values()]
    return [*inside, *value] if isinstance(value, list | tuple | set | frozenset | deque) else inside


def filled(cell: CellType) -> bool:
    """Whether a function's variable has a value yet."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True

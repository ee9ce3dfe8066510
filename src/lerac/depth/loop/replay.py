"""Does on a copy of the model what a training loop did with the model itself."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from torch import Tensor

from lerac.depth.flow import Flow, Origin
from lerac.depth.loop.events import WRAPPER, Call, Join, Loop, Output, Outside, Raw, Unclear, UnclearError
from lerac.depth.twin import Example, Twin, entrance, tensors_of

__all__ = ["replay"]


def replay(loop: Loop, twin: Twin, flow: Flow, around: Callable[[Example], AbstractContextManager[object]]) -> None:
    """Call what the loop called, in its order; what it was called with is as deep as what this came from.

    Args:
        loop: one call, or what a training loop did.
        twin: the copy.
        flow: watches it.
        around: what the calls happen in.

    Raises:
        UnclearError: if it is not known what a call was called with.
        ValueError: in evaluation mode, if a call leaves another number of tensors than it did in the loop.
        Exception: whatever a call raises.
    """
    origins: dict[int, Origin | Unclear | None] = {}  # by the number of the event
    left: dict[int, list[Origin | None]] = {}  # by the number of the call
    inputs = {number: twin.inputs(event.example) for number, event in enumerate(loop.events) if isinstance(event, Call)}
    for number, event in enumerate(loop.events):
        if isinstance(event, Call):
            args, kwargs, tensors = inputs.pop(number)
            given = [origins[source] for source in event.sources] or [0] * len(tensors)
            for tensor, origin in zip(tensors, given, strict=True):
                _receive(flow, event.path, tensor, origin)
            with around(event.example):
                result = entrance(twin.model, event.path)(*args, **kwargs)
            if event.outputs is not None:
                left[number] = _left(event, tensors_of((result, args, kwargs)), flow, exact=not twin.model.training)
        elif isinstance(event, Output):
            origins[number] = left[event.call][event.number]
        elif isinstance(event, Join):
            origins[number] = _joined(flow, [origins[source] for source in event.events], outside=event.outside)
        elif isinstance(event, Raw):
            origins[number] = frozenset([event.name])
        elif isinstance(event, Outside):
            origins[number] = 0
        elif isinstance(event, Unclear):
            origins[number] = event


def _receive(flow: Flow, path: str, tensor: Tensor, origin: Origin | Unclear | None) -> None:
    if isinstance(origin, Unclear):
        raise UnclearError(f"LeRaC cannot tell what {path!r} was called with: {origin.reason}. What to do: {WRAPPER}")
    if origin is not None:
        flow.receive(tensor, origin)


def _joined(flow: Flow, origins: list[Origin | Unclear | None], *, outside: bool) -> Origin | Unclear | None:
    known = []
    for origin in origins:
        if isinstance(origin, Unclear):
            return origin
        known.append(origin)
    if not outside or any(isinstance(origin, int) for origin in known):
        return flow.join(known)
    names = sorted(frozenset[str]().union(*(origin for origin in known if isinstance(origin, frozenset))))
    # Is what came from outside data, which is one level deeper after it met a parameter, or a constant?
    return Unclear(f"{names[0]} met other tensors outside of any forward") if names else 0


def _left(call: Call, tensors: list[Tensor], flow: Flow, *, exact: bool) -> list[Origin | None]:
    origins = [flow.origin(tensor) for tensor in tensors]
    if len(origins) == call.outputs or call.outputs is None:
        return origins
    if exact:
        raise ValueError(
            f"{call.path!r} gives {len(origins)} tensors in evaluation mode, and {call.outputs} in training"
        )
    # What it gives depends on chance or values: nobody knows which is which, so each is as deep as the deepest.
    levels = [origin for origin in origins if isinstance(origin, int)]
    return [max(levels, default=None)] * call.outputs

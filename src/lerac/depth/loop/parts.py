"""Remember how several modules are called, and which of them with what another one gave, in a loop of the user's."""

import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten
from torch.utils.hooks import RemovableHandle

from lerac.arguments import some
from lerac.depth.flow import tensors_in
from lerac.depth.loop.events import WRAPPER, Call, Event, Join, Loop, Output, Outside, Unclear
from lerac.depth.loop.trail import Trail
from lerac.depth.twin import Example, example_of, tensors_of, unwrapped
from lerac.layers import named_parameters

__all__ = ["Parts"]

_BOXES = (list, tuple, dict)
_NOT_HELD = frozenset(vars(nn.Module())) - {"_buffers"}


class _Open(NamedTuple):
    """A call that has begun."""

    key: tuple[Any, ...]  # of calls that are alike: path, mode, plain arguments, sources
    example: Example
    arguments: tuple[Any, ...]
    given: dict[int, tuple[Tensor, int]]  # the tensors in the arguments, by identity, and their versions
    held: dict[int, tuple[Tensor, int]]  # likewise those in attributes of the part
    error: BaseException | None  # that was being handled when it began


class _Here(threading.local):
    """What a thread is doing: replicas of a module run in threads of their own."""

    module: nn.Module | None = None  # that is called, the outermost one
    depth = 0
    call: _Open | None = None
    begun = False  # whether the trail was laid, and is not taken up for good
    laid = False  # whether it was when the call began


class Parts:
    """The calls of modules that only share a list, from the first one to the first optimizer step.

    Only outermost calls count: what a part calls is its own matter. Between them, a `Trail` follows what they gave. A
    call like one before, as the next of several accumulated batches makes it, is not noted again.

    Args:
        model: holds the parts.
        parts: by path.
    """

    def __init__(self, model: nn.Module, parts: Mapping[str, nn.Module]) -> None:
        self._model = model
        self._parts = parts
        self._here = _Here()
        self._lock = threading.Lock()
        self._trail: Trail | None = None
        self._calls: dict[tuple[Any, ...], dict[int, int]] = {}  # numbers of events, by key and by tensors left
        self._nested: set[str] = set()
        self._visits: list[tuple[_Visit, RemovableHandle, RemovableHandle]] = []
        for path, part in parts.items():
            visit = _Visit(path, weakref.ref(self))
            before = part.register_forward_pre_hook(visit.enter, with_kwargs=True)
            after = part.register_forward_hook(visit.leave, with_kwargs=True, always_call=True)
            self._visits.append((visit, before, after))

    def seen(self) -> Loop | None:
        """Give what was called, and what came of what; None if no part was called in training mode.

        Raises:
            RuntimeError: if that is not enough to know the order of the parts.
        """
        name = type(self._model).__name__
        if self._trail is not None:
            self._trail.lay(on=False)
            self._here.begun = False
        if compiled := [visit.path for visit, _, _ in self._visits if visit.compiled]:
            raise RuntimeError(
                f"LeRaC does not see what is called inside of torch.compile, as {_named(compiled)} of this {name} is. "
                f"Compile it first, and build LeRaC with a {name} that holds what torch.compile gave. Or: {WRAPPER}"
            )
        if self._trail is None or not any(training for _, training, *_ in self._calls):
            return None
        events = self._trail.events
        counted = self._counted(events)
        called = self._nested | {event.path for number in counted if isinstance(event := events[number], Call)}
        trained = {path for path, part in self._parts.items() if any(p.requires_grad for p in part.parameters())}
        if missing := sorted(trained - called):
            raise RuntimeError(
                f"LeRaC has seen no forward pass of {_named(missing)} of this {name} in training mode before the first "
                "optimizer step, so it does not know where in the network that is. If it is trained, call it, and not "
                f"another method of it; if it is not, leave it out of the {name} or freeze it. Or: {WRAPPER}"
            )
        return Loop(tuple(event if number in counted else None for number, event in enumerate(events)))

    def done(self) -> None:
        """Let go of what was seen, and of the modules but for what is compiled into them."""
        for visit, before, after in self._visits:
            visit.parts = _nobody
            if not visit.compiled:
                before.remove()
                after.remove()
        if self._trail is not None:
            self._trail.close()
            self._trail = None

    def enter(self, path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A part is called."""
        here = self._here
        interrupted = here.module is not None and _calls_under_way(here.module) <= (here.module is module)
        here.depth = 1 if interrupted else here.depth + 1
        if here.depth > 1:
            self._nested |= {path} if unwrapped(module).training else set()
            return
        here.module, here.call = module, None
        with self._lock:
            trail = self._trail = self._trail or Trail(self, named_parameters(self._model))
        here.laid = trail.lay(on=False) or (interrupted and here.laid)
        if torch._C._current_graph_task_id() != -1:  # the backward pass computes again what was seen already
            return
        found: list[Tensor] = []
        example = example_of(args, kwargs, found)
        with self._lock, torch._C.DisableTorchFunction():
            kind = (path, unwrapped(module).training, _form(args, kwargs))
            sources = self._sources(trail, kind, found)
            given, held = _versions(found), _versions(_held(module))
        here.call = _Open((*kind, sources), example, (args, kwargs), given, held, sys.exc_info()[1])

    def leave(self, module: nn.Module, result: Any) -> None:
        """The part that is called is done."""
        here, trail = self._here, self._trail
        here.depth = max(here.depth - 1, 0)
        if here.depth > 0 or trail is None:
            return
        call, here.call, here.module = here.call, None, None
        if call is not None and sys.exc_info()[1] is call.error:  # else it failed
            left = tensors_of((result, *call.arguments))
            with self._lock, torch._C.DisableTorchFunction():
                self._note(trail, call, left)
                for tensor in _changed(_held(module), call.held):
                    if trail.source(tensor) is None:
                        trail.mark(tensor, trail.number(Unclear(f"{call.key[0]!r} keeps it in an attribute")))
        if here.laid or not here.begun:  # else it is called inside of a function that is seen as a whole
            here.begun = True
            trail.lay(on=True)

    def _sources(self, trail: Trail, kind: tuple[Any, ...], tensors: list[Tensor]) -> tuple[int, ...]:
        outside = trail.number(Outside())
        known = [trail.source(tensor) for tensor in tensors]
        sources = tuple(outside if source is None else source for source in known)
        if trail.left_torch and known and all(s is None for s in known) and (*kind, sources) not in self._calls:
            lost = "what another module gave was taken out of torch, and may have come back in another form"
            return (trail.number(Unclear(lost)),) * len(known)
        for tensor, source in zip(tensors, known, strict=True):
            if source is None:
                trail.mark(tensor, outside)
        return sources

    def _note(self, trail: Trail, call: _Open, left: list[Tensor]) -> None:
        path, _, _, sources = call.key
        numbers = self._calls.setdefault(call.key, {})
        if len(left) not in numbers:
            numbers[len(left)] = trail.add(Call(path, call.example, sources, len(left)))
        places = {id(tensor): i for i, tensor in enumerate(left)}
        for tensor in _changed(left, call.given):
            trail.mark(tensor, trail.number(Output(numbers[len(left)], places[id(tensor)])))

    def _counted(self, events: list[Event]) -> set[int]:
        """What makes up the forward pass: calls in training mode, and everything that they come from.

        Of those of a part, calls with nothing but data from outside make all others count only for what they give:
        nowhere else is the part nearer to the input.
        """
        outside = [number for number, event in enumerate(events) if isinstance(event, Outside)]
        training = [key for key in self._calls if key[1]]
        nearest = {key[:3] for key in training if set(key[3]) <= set(outside)}
        counted: set[int] = set()
        waiting = {
            number
            for key in training
            if key[:3] not in nearest or set(key[3]) <= set(outside)
            for number in self._calls[key].values()
        }
        while waiting:
            number = waiting.pop()
            if number not in counted:
                counted.add(number)
                waiting |= _parents(events[number])
        for number, event in enumerate(events):
            if not isinstance(event, Call) and _parents(event) <= counted:
                counted.add(number)
        return counted


class _Visit:
    """The hooks of one part."""

    def __init__(self, path: str, parts: "Callable[[], Parts | None]") -> None:
        self.path = path
        self.parts = parts
        self.compiled = False

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.compiler.is_compiling():  # here hooks are part of the graph, and conditions would be guards
            self.compiled = True
        elif (parts := self.parts()) is not None:
            parts.enter(self.path, module, args, kwargs)

    def leave(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if not torch.compiler.is_compiling() and (parts := self.parts()) is not None:
            parts.leave(module, result)

    # A copy of a part, such as a moving average of its weights, is not what is trained: its hooks do nothing.
    def __deepcopy__(self, memo: dict[int, Any]) -> "_Visit":
        return _Visit(self.path, _nobody)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Visit, (self.path, _nobody)


def _nobody() -> None:
    """Stands for parts that are not watched any longer."""


def _parents(event: Event) -> set[int]:
    if isinstance(event, Call):
        return set(event.sources)
    if isinstance(event, Output):
        return {event.call}
    return set(event.events) if isinstance(event, Join) else set()


def _form(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """How the arguments are built, and the words and switches among them; not the numbers."""
    leaves, structure = tree_flatten((args, kwargs))
    return str(structure), tuple(
        leaf if leaf is None or isinstance(leaf, str | bool) else type(leaf) for leaf in leaves
    )


def _calls_under_way(module: nn.Module) -> int:
    """How many calls of this module this thread is inside of."""
    count, frame = 0, sys._getframe().f_back
    while frame is not None:
        count += frame.f_code is nn.Module._call_impl.__code__ and frame.f_locals.get("self") is module
        frame = frame.f_back
    return count


def _held(module: nn.Module) -> list[Tensor]:
    """The tensors that a module and its parts have as attributes or buffers, or in short containers."""
    values = [value for part in module.modules() for name, value in vars(part).items() if name not in _NOT_HELD]
    short = [value for value in values if isinstance(value, Tensor) or (isinstance(value, _BOXES) and len(value) < 100)]
    return tensors_in(short)


def _versions(tensors: list[Tensor]) -> dict[int, tuple[Tensor, int]]:
    return {id(tensor): (tensor, -1 if tensor.is_inference() else tensor._version) for tensor in tensors}


def _changed(tensors: list[Tensor], before: dict[int, tuple[Tensor, int]]) -> list[Tensor]:
    """Those that are new, or written to, or of which nobody knows."""
    now = _versions(tensors)
    return [tensor for key, (tensor, version) in now.items() if version == -1 or before.get(key, (0, -1))[1] != version]


def _named(paths: list[str]) -> str:
    return some([repr(path) for path in paths], 3, ", ")

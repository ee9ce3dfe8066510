"""Follows what the parts of a model gave through all that a training loop does with it, until another part gets it."""

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._device import DeviceContext

from lerac.depth.flow import SHAPE_ONLY, storage_of, tensors_in, weak
from lerac.depth.loop.events import Event, Join, Raw, Unclear

__all__ = ["Trail"]

# Of these no argument goes into the result, or only the first; the others say what it is to look like.
_NEW = SHAPE_ONLY | {"new_tensor"}
_LIKE = frozenset({"to", "type_as", "expand_as", "view_as", "reshape_as"})

# These take data out of torch, where nobody sees what becomes of it. One number, as it is logged, does not count.
_LEAVING = frozenset({"numpy", "tolist", "__array__", "__dlpack__", "data_ptr", "untyped_storage", "__reduce_ex__"})

_GRADIENT: Any = vars(torch._C.TensorBase)["grad"].__get__


class Trail(TorchFunctionMode):
    """Knows which event every tensor comes from, as far as it comes from one.

    Three things say so. A tensor that shares memory with a known one comes from the same event (views, `detach`, values
    written in place). While the trail is laid, every function of torch is seen, as far as it is called from Python:
    its result comes from what went in, with or without gradients. And where something else made a tensor (compiled
    code, another thread), autograd's graph leads back.

    Nothing is kept alive: memory is known by weak references, nodes of the graph carry the numbers of events.

    Args:
        owner: nothing is followed any longer when it is gone.
        parameters: of the model, by name.
    """

    def __init__(self, owner: object, parameters: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.closed = False
        weakref.finalize(owner, self._forget)
        self.events: list[Event] = []
        self.left_torch = False
        """Whether something that a part gave was taken out of torch, so that it may come back unseen."""
        self._numbers: dict[Event, int] = {}
        self._known: dict[int, tuple[int | None, StorageWeakRef]] = {}  # by the address of a storage
        self._crowded = 10_000
        self._tag = f"lerac {id(self)}"
        self._names = {id(parameter): name for name, parameter in parameters.items()}
        self._pinned: set[int] = set()  # where parameters are: one stays a parameter, whatever is written into it
        for parameter in parameters.values():
            if not isinstance(parameter, nn.UninitializedParameter):
                self._raw(parameter)

    def add(self, event: Event) -> int:
        """Note an event, and give its number."""
        self.events.append(event)
        return len(self.events) - 1

    def number(self, event: Event) -> int:
        """The number of an event that is noted once."""
        if event not in self._numbers:
            self._numbers[event] = self.add(event)
        return self._numbers[event]

    def source(self, tensor: Tensor) -> int | None:
        """The event that a tensor comes from; None if from none."""
        storage = storage_of(tensor)
        known = self._known.get(storage._cdata) if storage is not None else None
        if known is not None:
            return known[0]
        if id(tensor) in self._names:  # it was moved, or had no shape before
            return self._raw(tensor)
        if tensor.grad_fn is None:
            return None
        source = self._join(self._ancestors(tensor), outside=True)
        self._remember(tensor, source)
        return source

    def _raw(self, parameter: Tensor) -> int | None:
        if (storage := storage_of(parameter)) is None:
            return None
        name = self._names[id(parameter)]
        shared = storage._cdata in self._pinned
        raw = Unclear(f"{name} shares its memory with another parameter") if shared else Raw(name)
        self._pinned.add(storage._cdata)
        self._known[storage._cdata] = self.number(raw), weak(storage)
        return self.number(raw)

    def mark(self, tensor: Tensor, event: int) -> None:
        """From here on the tensor comes from this event."""
        self._remember(tensor, event)
        node: Any = tensor.grad_fn
        if node is not None:
            node.metadata.setdefault(self._tag, {})[tensor.output_nr] = event

    def lay(self, *, on: bool) -> bool:
        """See the functions of torch that this thread calls, or no longer; gives whether they were seen before.

        Other modes are left in their order and end as they would: this one lies below them.
        """
        modes = [torch._C._pop_torch_function_stack() for _ in range(torch._C._len_torch_function_stack())][::-1]
        others = [mode for mode in modes if not (mode is self or (isinstance(mode, Trail) and mode.closed))]
        # Only what `set_default_device` enters expects to find itself lowest when it ends.
        lowest = int(bool(others) and isinstance(others[0], DeviceContext) and hasattr(others[0], "old_device"))
        for mode in [*others[:lowest], self, *others[lowest:]] if on else others:
            torch._C._push_on_torch_function_stack(mode)
        return self in modes

    def close(self) -> None:
        """Let go of everything, and see no more functions."""
        self._forget()
        self.lay(on=False)

    def _forget(self) -> None:
        self.closed = True
        self.events.clear()
        self._numbers.clear()
        self._known.clear()
        self._names.clear()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function and note what its results come from."""
        kwargs = kwargs or {}
        if torch.compiler.is_compiling():
            self.left_torch = True
            return func(*args, **kwargs)
        if self.closed:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        with torch._C.DisableTorchFunction():
            inputs = tensors_in(args[:1] if name in _LIKE else (args, kwargs))
            sources = [self.source(tensor) for tensor in inputs]
            if name == "__get__" and func == _GRADIENT:
                sources = [self.number(Unclear("it was made of a gradient"))]
        result = func(*args, **kwargs)
        if name not in _NEW:
            with torch._C.DisableTorchFunction():
                self._follow(name, inputs, sources, tensors_in(result), _written(name, args, kwargs))
        return result

    def _follow(
        self, name: str, inputs: list[Tensor], sources: list[int | None], results: list[Tensor], written: list[Tensor]
    ) -> None:
        outside = any(known is None and tensor.dim() > 0 for tensor, known in zip(inputs, sources, strict=True))
        source = self._join(sources, outside=outside)
        if source is None and not any(result.requires_grad for result in results):
            return
        if source is not None:
            self.left_torch |= name in _LEAVING or (name == "item" and not inputs[0].is_floating_point())
        old = {storage._cdata for tensor in inputs if (storage := storage_of(tensor)) is not None}
        for tensor in results:
            storage = storage_of(tensor)
            if storage is None:
                self.left_torch |= source is not None and not tensor.requires_grad
            elif storage._cdata not in old:
                self._remember(tensor, source)
        for tensor in written:
            self._remember(tensor, source)

    def _join(self, sources: Iterable[int | None], *, outside: bool) -> int | None:
        known = frozenset(source for source in sources if source is not None)
        if len(known) + outside <= 1 or not known:
            return next(iter(known), None)
        return self.number(Join(known, outside))

    def _remember(self, tensor: Tensor, source: int | None) -> None:
        storage = storage_of(tensor)
        if storage is None or storage._cdata in self._pinned:
            return
        self._known[storage._cdata] = source, weak(storage)
        if len(self._known) > self._crowded:
            expired: Callable[[StorageWeakRef], bool] = StorageWeakRef.expired
            self._known = {key: known for key, known in self._known.items() if not expired(known[1])}
            self._crowded = 2 * len(self._known) + 10_000

    def _ancestors(self, tensor: Tensor) -> set[int]:
        """The events that autograd's graph leads back to."""
        found: set[int] = set()
        waiting: list[tuple[Any, int]] = [(tensor.grad_fn, tensor.output_nr)]
        seen = set()
        while waiting:
            node, output = waiting.pop()
            tags = node.metadata.get(self._tag, {})
            if output in tags:
                found.add(tags[output])
            elif type(node).__name__ == "AccumulateGrad":
                if (name := self._names.get(id(node.variable))) is not None:
                    found.add(self.number(Unclear(f"{name} was used outside of any forward")))
            elif node not in seen:
                seen.add(node)
                waiting += [edge for edge in node.next_functions if edge[0] is not None]
        return found


def _written(name: str, args: Any, kwargs: Any) -> list[Tensor]:
    """The tensors that a function writes to, other than its result."""
    if name == "__setitem__" or name.startswith("__i") or (name.endswith("_") and not name.endswith("__")):
        return tensors_in(args[:1])
    return tensors_in(kwargs.get("out"))

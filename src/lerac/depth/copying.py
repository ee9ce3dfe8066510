"""Copies of whatever a model holds, for a forward pass to use up."""

import copyreg
import functools
import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Executor
from io import IOBase
from queue import Queue, SimpleQueue
from types import BuiltinMethodType, CellType, FunctionType, MappingProxyType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lerac.depth.behind import HANDLES, PLAIN, attributes, filled, leads_to_tensors
from lerac.depth.stand_ins import Alone, CannotCopyError, Inline, Unread, remove_finalizer

__all__ = ["Copies", "wrapped"]

Replace = Callable[[Tensor], Tensor]

_PROXIES = (weakref.ProxyType, weakref.CallableProxyType)


class Copies:
    """Makes deep copies of objects, all of them together being one copy: what two of them share, their copies share.

    It does what `copy.deepcopy` does, with these differences. Tensors are replaced. What refuses to be copied is
    shared, unless it holds tensors or modules and can be copied attribute by attribute. Functions, caches and weak
    references that lead to modules or tensors lead to their copies. Locks are free in a copy, executors work in the
    caller's thread, and a copy has no finalizer, which might close what it shares.

    Args:
        replace: gives the tensor that stands for another one.
        device: of random number generators; None for that of the original.
        modules_stay: share modules: what is copied is not a model but something that may refer to one.
    """

    def __init__(self, replace: Replace, device: torch.device | None = None, *, modules_stay: bool = False) -> None:
        self.memo: dict[int, Any] = {}
        """By the identity of the original, as `copy.deepcopy` has it; copies made elsewhere may be put in."""
        self._replace = replace
        self._device = device
        self._handles = (*HANDLES, nn.Module) if modules_stay else HANDLES

    def __call__(self, value: Any) -> Any:
        """Give the copy of a value.

        Raises:
            CannotCopyError: if a scripted module refuses to be copied.
        """
        if type(value) in PLAIN:
            return value
        if id(value) in self.memo:
            return self.memo[id(value)]
        result = self._made(value)
        return value if result is value else self._keep(value, result)

    def _keep(self, value: Any, result: Any) -> Any:
        self.memo[id(value)] = result
        self.memo.setdefault(id(self.memo), []).append(value)  # or another object might get its identity
        return result

    def _made(self, value: Any) -> Any:
        kind = type(value)
        if kind in _PROXIES:  # which pretend to be what they refer to
            return self._referring(value, value.__reduce_ex__.__self__, weakref.proxy)
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, self._handles):
            return value
        if isinstance(value, nn.Module) and (inner := wrapped(value)) is not None:
            return self(inner)
        if (make := _EXACT.get(kind)) is not None:
            return make(self, value)
        for base, make in _DERIVED.items():
            if issubclass(kind, base):
                return make(self, value)
        return self._object(value)

    def _tensor(self, value: Tensor) -> Any:
        result = self._replace(value)
        if isinstance(value, nn.Parameter) and not isinstance(result, nn.Parameter):
            result = nn.Parameter(result.detach(), value.requires_grad)
        return self._keep(value, result)  # also if it is the same: a tensor is replaced once

    # Kinds that `copy.deepcopy` shares or refuses

    def _function(self, value: FunctionType) -> Any:
        if not leads_to_tensors(value):
            return value
        cells = tuple(CellType() for _ in value.__closure__ or ())
        function = FunctionType(value.__code__, value.__globals__, value.__name__, None, cells)
        self._keep(value, function)
        function.__defaults__, function.__kwdefaults__ = self((value.__defaults__, value.__kwdefaults__))
        vars(function).update(self(vars(value)))
        for cell, original in zip(cells, value.__closure__ or (), strict=True):
            if filled(original):
                cell.cell_contents = self(original.cell_contents)
        return function

    def _method(self, value: MethodType) -> Any:
        return MethodType(value.__func__, self(value.__self__))

    def _builtin(self, value: BuiltinMethodType) -> Any:
        owner = value.__self__
        if owner is None or (copied := self(owner)) is owner:
            return value
        return getattr(copied, value.__name__)

    def _cached(self, value: Any) -> Any:
        return functools.lru_cache(**value.cache_parameters())(self(value.__wrapped__))

    def _view(self, value: Any) -> Any:
        method = next(name for name, kind in _VIEWS.items() if isinstance(value, kind))
        return getattr(self(gc.get_referents(value)[0]), method)()

    def _mapping_proxy(self, value: Any) -> Any:
        return MappingProxyType(self(gc.get_referents(value)[0]))

    def _reference(self, value: Any) -> Any:
        return self._referring(value, value(), type(value))

    def _referring(self, value: Any, referent: Any, refer: Callable[[Any], Any]) -> Any:
        weak = self._weakly(referent)
        return value if weak is referent else refer(weak)

    def _weakly(self, referent: Any) -> Any:
        """The copy of what somebody else owns, if that is part of what is copied."""
        if isinstance(referent, MethodType):
            owner = self._weakly(referent.__self__)
            return referent if owner is referent.__self__ else MethodType(referent.__func__, owner)
        if id(referent) in self.memo or isinstance(referent, nn.Module | Tensor):
            return self(referent)
        return referent

    def _weak_mapping(self, value: Any) -> Any:
        items = [(self._weakly(key), self._weakly(item)) for key, item in value.items()]
        if isinstance(value, weakref.WeakKeyDictionary):
            items = [(key, self(item)) for key, item in items]
        return type(value)(items)

    def _local(self, value: Any) -> Any:
        kind: Any = type(value)
        result = self._keep(value, kind.__new__(kind))
        vars(result).update(self(vars(value)))
        return result

    def _condition(self, value: Any) -> Any:
        return Alone(self(value._lock))

    def _queue(self, value: Any) -> Any:
        return self(Queue())  # what is in it cannot be seen without taking it out

    def _generator(self, value: torch.Generator) -> Any:
        result = torch.Generator(self._device or value.device)
        if result.device == value.device:
            result.set_state(value.get_state())
        return result

    # Everything else

    def _object(self, value: Any) -> Any:
        known = len(self.memo)
        try:
            return self._by_its_own_rules(value)
        except CannotCopyError:
            raise
        except Exception as error:
            while len(self.memo) > known:  # what may refer to a copy that is not finished
                self.memo.popitem()
            if isinstance(value, torch.jit.ScriptModule):
                raise CannotCopyError(f"its part {type(value).__name__} cannot be copied, {error}") from error
        if hasattr(type(value), "__next__") and not isinstance(value, IOBase):
            return Unread(type(value).__name__)
        if isinstance(value, nn.Module) or leads_to_tensors(value):
            return self._by_attributes(value)
        return value

    def _by_its_own_rules(self, value: Any) -> Any:
        kind = type(value)
        if (own := getattr(kind, "__deepcopy__", None)) is not None:
            with _Replacing(self._replace):  # its own rules may be those of `copy.deepcopy`
                return own(value, self.memo)
        reduce = copyreg.dispatch_table.get(kind)
        reduced = reduce(value) if reduce else value.__reduce_ex__(4)
        if isinstance(reduced, str):
            return value
        padded: tuple[Any, ...] = (*reduced, None, None, None)
        make, args, state, items, pairs = padded[:5]
        result = make(*[self(argument) for argument in args])
        if make in (copyreg.__newobj__, copyreg.__newobj_ex__):  # type: ignore[attr-defined]
            remove_finalizer(result)
        self._keep(value, result)
        if state is not None:
            _set_state(result, self(state))
        for item in items or ():
            result.append(self(item))
        for key, item in pairs or ():
            result[self(key)] = self(item)
        return result

    def _by_attributes(self, value: Any) -> Any:
        try:
            result = object.__new__(type(value))
        except TypeError:  # it is more than its attributes
            return value
        remove_finalizer(self._keep(value, result))
        for name, attribute in attributes(value):
            object.__setattr__(result, name, self(attribute))
        return result

    def _list(self, value: list[Any]) -> Any:
        result: list[Any] = self._keep(value, [])
        result.extend(self(item) for item in value)
        return result

    def _dict(self, value: dict[Any, Any]) -> Any:
        result: dict[Any, Any] = self._keep(value, {})
        for key, item in value.items():
            result[self(key)] = self(item)
        return result

    def _tuple(self, value: tuple[Any, ...]) -> Any:
        result = tuple(self(item) for item in value)
        if id(value) in self.memo:  # it contains itself
            return self.memo[id(value)]
        return value if all(a is b for a, b in zip(result, value, strict=True)) else result


_VIEWS = {name: type(getattr({}, name)()) for name in ("keys", "values", "items")}

_EXACT: dict[type, Callable[[Copies, Any], Any]] = {
    list: Copies._list,
    dict: Copies._dict,
    tuple: Copies._tuple,
    FunctionType: Copies._function,
    MethodType: Copies._method,
    BuiltinMethodType: Copies._builtin,
    MappingProxyType: Copies._mapping_proxy,
    type(functools.cache(len)): Copies._cached,
    weakref.ref: Copies._reference,
    weakref.WeakMethod: Copies._reference,
    type(threading.Lock()): lambda *_: threading.Lock(),
    type(threading.RLock()): lambda *_: threading.RLock(),
    SimpleQueue: Copies._queue,
}
_DERIVED: dict[type, Callable[[Copies, Any], Any]] = {
    **dict.fromkeys(_VIEWS.values(), Copies._view),
    weakref.WeakKeyDictionary: Copies._weak_mapping,
    weakref.WeakValueDictionary: Copies._weak_mapping,
    threading.Condition: Copies._condition,
    threading.local: Copies._local,
    torch.Generator: Copies._generator,
    Executor: lambda *_: Inline(),
}


class _Replacing(TorchFunctionMode):
    """Lets `copy.deepcopy` replace every tensor it comes across, wherever it is."""

    def __init__(self, replace: Replace) -> None:
        super().__init__()
        self._replace = replace

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__:
            tensor, memo = args
            if id(tensor) not in memo:
                memo[id(tensor)] = self._replace(tensor)
            return memo[id(tensor)]
        if func is Tensor.clone:  # how a parameter is copied
            return self._replace(args[0])
        return func(*args, **(kwargs or {}))


def wrapped(module: nn.Module) -> nn.Module | None:
    """The module directly inside `torch.compile`, DistributedDataParallel or DataParallel, if it is one of these."""
    if isinstance(module, nn.parallel.DistributedDataParallel | nn.DataParallel):
        inner: object = module.module
    else:
        inner = getattr(module, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) else None


def _set_state(result: Any, state: Any) -> None:
    """What `copy.deepcopy` does with a state."""
    if hasattr(result, "__setstate__"):
        result.__setstate__(state)
        return
    state, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    if state:
        vars(result).update(state)
    for name, value in (slots or {}).items():
        setattr(result, name, value)

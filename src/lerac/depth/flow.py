"""Watches one forward pass and notes, for every parameter, how deep the data is when it first meets it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from lerac.depth.behind import PLAIN
from lerac.depth.stand_ins import CannotCopyError

__all__ = ["CPU", "SHAPE_ONLY", "SMALL", "Flow", "Origin", "has_own_rules", "storage_of", "tensors_in", "weak"]

CPU = torch.device("cpu")

SMALL = 4096
"""Tensors of up to this many elements may keep real values in a fake trace."""

# The result of these says nothing about the values of their argument, only about its shape.
SHAPE_ONLY = frozenset(
    f"{like}_like" for like in ("zeros", "ones", "empty", "full", "rand", "randn", "randint")
) | frozenset(f"new_{kind}" for kind in ("zeros", "ones", "empty", "full", "empty_strided"))

# The fake versions of these refuse data types that the real ones accept (seen in torch 2.14).
_HALF_ONLY = frozenset({"_grouped_mm"})

# Where the content of a storage comes from: a level (an int) if the input is part of it, else the names of
# the parameters it was computed from. A storage that is not listed is a constant.
Origin = int | frozenset[str]


def tensors_in(tree: object) -> list[Tensor]:
    """The tensors in nested lists, tuples, dicts and whatever else torch knows how to open."""
    kind = type(tree)
    if isinstance(tree, Tensor):
        return [tree]
    if kind in (list, tuple):  # torch opens these too, and more slowly: this is called for every operation
        return [tensor for item in cast("list[object]", tree) for tensor in tensors_in(item)]
    if kind is dict:
        return [tensor for item in cast("dict[Any, object]", tree).values() for tensor in tensors_in(item)]
    return [] if kind in PLAIN else [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


class Flow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the data through every operation below autograd, where nothing but plain operations is left.

    Origins are kept per storage, not per tensor: a view shares its base's, and what is written into a tensor
    in place is seen through all of its views. Weak references keep the address of a freed storage from being
    used again, not its memory.

    Args:
        parameters: by name, the tensors of the model that is going to run.
        originals: by name, the parameters and buffers of the model that it is a copy of: these must not be used, or
            not written.
        fake: the tensors have no values (`FakeTensorMode`); everything then happens on a pretended CPU.
    """

    supports_higher_order_operators = True  # flex attention and its like pass through as one operation

    def __init__(self, parameters: Mapping[str, Tensor], originals: Mapping[str, Tensor], *, fake: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.depths: dict[str, int] = {}
        """For each parameter met so far, the smallest level of an operation that joins it with data."""
        self._fake = fake
        self._originals = {s._cdata: (name, t) for name, t in originals.items() for s in _storages(t)}
        self._origins: dict[int, tuple[Origin, StorageWeakRef]] = {}
        self._floors = [0]
        self._of_operation: dict[str, int] = {}  # levels of the parameters of the operation under way
        self._likely: dict[int, StorageWeakRef] = {}
        for name, parameter in parameters.items():
            self._remember(parameter, frozenset([name]))
        # A parameter stays a parameter, also where a forward pass writes data into it.
        self._pinned = {storage._cdata for p in parameters.values() for storage in _storages(p)}

    def enter(self, inputs: object) -> None:
        """A module is called: nothing inside counts as shallower than the deepest of its inputs."""
        levels = [o for tensor in tensors_in(inputs) if isinstance(o := self.origin(tensor), int)]
        self._floors.append(max(levels + self._floors[-1:]))

    def leave(self) -> None:
        """The call that `enter` announced is over."""
        self._floors.pop()

    @contextmanager
    def operation(self, tensors: Iterable[Tensor], stages: Sequence[Sequence[Tensor]]) -> Iterator[None]:
        """An operation begins, of which torch may make several.

        Args:
            tensors: all that it works on.
            stages: of these, the ones whose parameters are one level: the first stage lies above the deepest
                data of the operation, each other stage above the one before.
        """
        levels = [o for tensor in tensors if isinstance(o := self.origin(tensor), int)]
        known: dict[str, int] = {}
        for level, stage in enumerate(stages, max(levels + self._floors[-1:]) + 1) if levels else ():
            for tensor in stage:
                if not isinstance(origin := self.origin(tensor) or 0, int):
                    known = dict.fromkeys(origin, level) | known
        outer, self._of_operation = self._of_operation, known
        try:
            yield
        finally:
            self._of_operation = outer

    def receive(self, tensor: Tensor, origin: Origin) -> None:
        """From here on the content of this tensor has this origin; level 0 is that of an input."""
        self._remember(tensor, origin)

    def origin(self, tensor: Tensor) -> Origin | None:
        """Where the content of a tensor comes from; None if neither from data nor from parameters."""
        origins = [known[0] for s in _storages(tensor) if (known := self._origins.get(s._cdata)) is not None]
        levels = [origin for origin in origins if isinstance(origin, int)]
        names = [origin for origin in origins if not isinstance(origin, int)]
        return max(levels) if levels else frozenset[str]().union(*names) if names else None

    def join(self, origins: Sequence[Origin | None]) -> Origin | None:
        """The origin of what an operation makes of these."""
        levels = [origin for origin in origins if isinstance(origin, int)]
        sets = [origin for origin in origins if isinstance(origin, frozenset)]
        met = frozenset[str]().union(*sets)
        return self._join(max(levels), met) if levels else met if sets else None

    def complete(self, name: str, inputs: list[Tensor], result: object) -> None:
        """An operation has results that came about out of sight, as those of a subclass may: no matter how."""
        lost = [tensor for tensor in tensors_in(result) if self.origin(tensor) is None]
        if lost and name not in SHAPE_ONLY and (origin := self.join([self.origin(t) for t in inputs])) is not None:
            for tensor in lost:
                self._remember(tensor, origin)

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation and derive the origin of its results from those of its inputs."""
        if any(has_own_rules(kind) for kind in types):
            return NotImplemented  # such a tensor says which operations its own is made of: they come here
        kwargs = kwargs or {}
        name = func.__name__.partition(".")[0]
        inputs = tensors_in((args, kwargs))
        self._check(inputs, func, args, kwargs)
        origins = [self.origin(tensor) for tensor in inputs]
        result = self._run_fake(func, name, args, kwargs, inputs) if self._fake else func(*args, **kwargs)
        if name in SHAPE_ONLY or (origin := self.join(origins)) is None:
            return result
        for tensor in tensors_in(result) + _written(func, args, kwargs):
            if not any(storage._cdata in self._pinned for storage in _storages(tensor)):
                self._remember(tensor, origin)
        return result

    def _check(self, inputs: list[Tensor], func: Any, args: Any, kwargs: Any) -> None:
        used = [s._cdata for tensor in inputs for s in _storages(tensor) if s._cdata in self._originals]
        if not used:
            return
        written = [s._cdata for tensor in _written(func, args, kwargs) for s in _storages(tensor)]
        for storage in used:
            name, tensor = self._originals[storage]
            if isinstance(tensor, nn.Parameter) or storage in written:
                raise CannotCopyError(f"its copy uses {name} of the model itself, by a way that could not be copied")

    def _join(self, level: int, met: frozenset[str]) -> int:
        """Data of this level meets parameters, if any: the result is one level deeper, and so are they.

        Where the operation under way knows their levels, these count, and the result is as deep as they are.
        """
        known = self._of_operation
        if not met <= known.keys():
            level = max(level, self._floors[-1]) + 1
        for name in met:
            here = known.get(name, level)
            self.depths[name] = min(here, self.depths.get(name, here))
        return max([level, *(known[name] for name in met & known.keys())])

    def _remember(self, tensor: Tensor, origin: Origin) -> None:
        for storage in _storages(tensor):
            self._origins[storage._cdata] = origin, weak(storage)

    def _run_fake(self, func: Any, name: str, args: Any, kwargs: Any, inputs: list[Tensor]) -> Any:
        """Run an operation without values, or with them where they are at hand: they may steer the model."""
        if kwargs.get("device") is not None:
            kwargs = {**kwargs, "device": CPU}
        if any(isinstance(tensor, FakeTensor) for tensor in inputs):
            if name == "_local_scalar_dense" and args[0].dtype is torch.bool and args[0].constant is None:
                # `if broken.any():` probably not; `if mask.all():` probably
                return args[0].untyped_storage()._cdata in self._likely
            result = _pretended(func, args, kwargs) if name in _HALF_ONLY else func(*args, **kwargs)
            if name == "all":
                storage = result.untyped_storage()
                self._likely[storage._cdata] = weak(storage)
            return result
        sized = inputs or tensors_in(func(*args, **kwargs))  # a factory says how large its result is
        if sum(tensor.numel() for tensor in sized) > SMALL:
            return func(*args, **kwargs)
        with unset_fake_temporarily():
            return func(*args, **kwargs)


def _pretended(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation without values in half precision; the result has the type of the first argument."""
    half = tree_map_only(Tensor, lambda t: t.bfloat16() if t.is_floating_point() else t, (args, kwargs))
    return func(*half[0], **half[1]).to(args[0].dtype)


def weak(storage: torch.UntypedStorage) -> StorageWeakRef:
    """A reference that keeps the address of a storage from being used again, but not its memory."""
    return StorageWeakRef(storage)  # type: ignore[no-untyped-call]


def storage_of(tensor: Tensor) -> torch.UntypedStorage | None:
    """Where the content of a tensor is; sparse and other layouts have no such place, nor have tensors around others."""
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return None


def _storages(tensor: Tensor) -> list[torch.UntypedStorage]:
    """All places where the content of a tensor is."""
    own = storage_of(tensor)
    found = [] if own is None else [own]
    if type(tensor) is not FakeTensor:
        found += [storage for part in _inside(tensor) for storage in _storages(part)]
    return found


def _inside(tensor: Tensor) -> list[Tensor]:
    """The tensors that this one is made of: of `torch.func`, or in the attributes of a subclass."""
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return [torch._C._functorch.get_unwrapped(tensor)]
    if not has_own_rules(type(tensor)):
        return []
    names: Any = tensor.__tensor_flatten__()[0] if hasattr(tensor, "__tensor_flatten__") else vars(tensor)
    return [part for name in names if isinstance(part := getattr(tensor, name, None), Tensor)]


def has_own_rules(kind: type) -> bool:
    """Whether tensors of a class say themselves what operations on them do."""
    return kind is not FakeTensor and getattr(kind, "__torch_dispatch__", None) is not Tensor.__torch_dispatch__


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The arguments that an operation writes to; not all of them are among its results."""
    schema = getattr(func, "_schema", None)  # higher-order operations have none
    if schema is None or not schema.is_mutable:
        return []
    values = dict(zip((argument.name for argument in schema.arguments), args, strict=False)) | kwargs
    return tensors_in([values.get(argument.name) for argument in schema.arguments if argument.is_write])

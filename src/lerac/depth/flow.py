"""Watches one forward pass and notes, for every parameter, how deep the data is when it first meets it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

__all__ = ["CPU", "SHAPE_ONLY", "SMALL", "Flow", "Origin", "storage_of", "tensors_in", "weak"]

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
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


class Flow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the data through every operation below autograd, where nothing but plain operations is left.

    Origins are kept per storage, not per tensor: a view shares its base's, and what is written into a tensor
    in place is seen through all of its views. Weak references keep the address of a freed storage from being
    used again, not its memory.

    Args:
        parameters: by name, the tensors of the model that is going to run.
        inputs: the tensors this model is going to be called with.
        fake: the tensors have no values (`FakeTensorMode`); everything then happens on a pretended CPU.
    """

    supports_higher_order_operators = True  # flex attention and its like pass through as one operation

    def __init__(self, parameters: Mapping[str, Tensor], inputs: Iterable[Tensor], *, fake: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.depths: dict[str, int] = {}
        """For each parameter met so far, the smallest level of an operation that joins it with data."""
        self._fake = fake
        self._origins: dict[int, tuple[Origin, StorageWeakRef]] = {}
        self._floors = [0]
        self._likely: dict[int, StorageWeakRef] = {}
        for tensor in inputs:
            self._remember(tensor, 0)
        for name, parameter in parameters.items():
            self._remember(parameter, frozenset([name]))
        # A parameter stays a parameter, also where a forward pass writes data into it.
        self._pinned = {s._cdata for p in parameters.values() if (s := storage_of(p)) is not None}

    def enter(self, inputs: object) -> None:
        """A module is called: nothing inside counts as shallower than the deepest of its inputs."""
        levels = [o for tensor in tensors_in(inputs) if isinstance(o := self._origin(tensor), int)]
        self._floors.append(max(levels + self._floors[-1:]))

    def leave(self) -> None:
        """The call that `enter` announced is over."""
        self._floors.pop()

    def receive(self, tensor: Tensor, origin: Origin) -> None:
        """From here on the content of this tensor has this origin; level 0 is that of an input."""
        self._remember(tensor, origin)

    def origin(self, tensor: Tensor) -> Origin | None:
        """Where the content of a tensor comes from; None if neither from data nor from parameters."""
        return self._origin(tensor)

    def join(self, origins: Sequence[Origin | None]) -> Origin | None:
        """The origin of what an operation makes of these."""
        levels = [origin for origin in origins if isinstance(origin, int)]
        sets = [origin for origin in origins if isinstance(origin, frozenset)]
        met = frozenset[str]().union(*sets)
        return self._join(max(levels), met) if levels else met if sets else None

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation and derive the origin of its results from those of its inputs."""
        kwargs = kwargs or {}
        name = func.__name__.partition(".")[0]
        inputs = tensors_in((args, kwargs))
        origins = [self._origin(tensor) for tensor in inputs]
        result = self._run_fake(func, name, args, kwargs, inputs) if self._fake else func(*args, **kwargs)
        if name in SHAPE_ONLY or (origin := self.join(origins)) is None:
            return result
        for tensor in tensors_in(result) + _written(func, args, kwargs):
            if (storage := storage_of(tensor)) is None or storage._cdata not in self._pinned:
                self._remember(tensor, origin)
        return result

    def _join(self, level: int, met: frozenset[str]) -> int:
        """Data of this level meets parameters, if any: the result is one level deeper, and so are they."""
        if met:
            level = max(level, self._floors[-1]) + 1
        for name in met:
            self.depths[name] = min(level, self.depths.get(name, level))
        return level

    def _origin(self, tensor: Tensor) -> Origin | None:
        storage = storage_of(tensor)
        known = None if storage is None else self._origins.get(storage._cdata)
        return None if known is None else known[0]

    def _remember(self, tensor: Tensor, origin: Origin) -> None:
        if (storage := storage_of(tensor)) is not None:
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
    """Where the content of a tensor is; sparse and other layouts have no such place."""
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return None


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The arguments that an operation writes to; not all of them are among its results."""
    schema = getattr(func, "_schema", None)  # higher-order operations have none
    if schema is None or not schema.is_mutable:
        return []
    values = dict(zip((argument.name for argument in schema.arguments), args, strict=False)) | kwargs
    return tensors_in([values.get(argument.name) for argument in schema.arguments if argument.is_write])

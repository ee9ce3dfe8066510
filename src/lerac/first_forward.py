"""Remember how a model is called: the shapes of its first training forward pass, not the batch."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.hooks import RemovableHandle

from lerac.depth import Example, example_of
from lerac.depth.twin import autocast_dtype, entrance, unwrapped

__all__ = ["FirstForward"]


class _Shape(NamedTuple):
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


class _Record(NamedTuple):
    kind: Any
    fields: dict[str, Any]


_PLAIN = (int, float, complex, str, bytes, torch.dtype, torch.device)


class FirstForward:
    """A forward pre-hook on the model inside all wrappers, so that it sees calls through any of them.

    Inside `torch.compile` the hook is part of the graph: there it only notes shapes, at every call, since a
    condition would be a guard and taking the hook off would compile the model again. So it stays.
    """

    def __init__(self, model: nn.Module) -> None:
        self._example: Example | None = None
        self._compiled: tuple[Any, Any, torch.dtype | None] | None = None
        module = entrance(unwrapped(model))
        self._handle: RemovableHandle | None = module.register_forward_pre_hook(self, with_kwargs=True)
        self._wanted = True

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note how the model is called, if it is for training."""
        if not module.training:
            return
        if torch.compiler.is_compiling():
            self._compiled = (_shapes(args), _shapes(kwargs), autocast_dtype())
        elif self._wanted and self._example is None:
            self._example = example_of(args, kwargs)

    def seen(self) -> Example | None:
        """Give the inputs of the first training forward pass; None if there has not been one."""
        if self._example is None and self._compiled is not None:
            args, kwargs, autocast = self._compiled
            with FakeTensorMode():
                self._example = Example(_tensors(args), _tensors(kwargs), autocast, described=True)
        return self._example

    def done(self) -> None:
        """Let go of what was seen, and of the model unless it is compiled."""
        self._wanted, self._example = False, None
        if self._handle is not None and self._compiled is None:
            self._handle.remove()
            self._handle = None

    # A copy of the model, such as a moving average of its weights, is not the model that is trained: the copied hook
    # does nothing, and above all brings no second curriculum and optimizer along.
    def __deepcopy__(self, memo: dict[int, Any]) -> "FirstForward":
        return self._inert()

    def __reduce__(self) -> tuple[Any, ...]:
        return FirstForward._inert, ()

    @classmethod
    def _inert(cls) -> "FirstForward":
        copied = cls.__new__(cls)
        copied._example, copied._compiled, copied._handle, copied._wanted = None, None, None, False
        return copied


def _shapes(tree: Any) -> Any:
    """Describe inputs so that no tensor is held, in code that torch.compile can follow."""
    if isinstance(tree, Tensor):
        return _Shape(tuple(tree.shape), tuple(tree.stride()), tree.dtype, tree.device)
    if isinstance(tree, Mapping):
        return {key: _shapes(value) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*[_shapes(value) for value in tree])
    if isinstance(tree, list | tuple):
        return type(tree)([_shapes(value) for value in tree])
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return _Record(type(tree), {f.name: _shapes(getattr(tree, f.name)) for f in dataclasses.fields(tree)})
    return tree if isinstance(tree, _PLAIN) else None


def _tensors(tree: Any) -> Any:
    if isinstance(tree, _Shape):
        return torch.empty_strided(tree.size, tree.stride, dtype=tree.dtype, device=tree.device)
    if isinstance(tree, _Record):
        return tree.kind(**_tensors(tree.fields))
    if isinstance(tree, dict):
        return {key: _tensors(value) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*[_tensors(value) for value in tree])
    if isinstance(tree, list | tuple):
        return type(tree)([_tensors(value) for value in tree])
    return tree

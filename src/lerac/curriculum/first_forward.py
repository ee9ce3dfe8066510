"""Remember how a model is called: the shapes of its first training forward pass, not the batch."""

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.hooks import RemovableHandle

from lerac.depth import Example, example_of
from lerac.depth.twin import autocast_dtype, unwrapped

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
    """The inputs of the first forward pass of a model in training mode, seen through any wrapper.

    Args:
        model: of `nn.ModuleList([model, loss])`, in whatever order, the module that is called first takes the inputs.
    """

    def __init__(self, model: nn.Module) -> None:
        self._eager: dict[str, Example] = {}  # the module that is called first comes first
        self._watches: list[tuple[_Watch, RemovableHandle]] = []
        for path, module in _parts(unwrapped(model)):
            watch = _Watch(path, self._eager)
            self._watches.append((watch, module.register_forward_pre_hook(watch, with_kwargs=True)))

    def seen(self) -> Example | None:
        """Give the inputs of the first training forward pass; None if there has not been one."""
        for watch, _ in self._watches:
            if watch.compiled is not None:
                args, kwargs, autocast = watch.compiled
                with FakeTensorMode():
                    return Example(_tensors(args), _tensors(kwargs), autocast, described=True, called=watch.path)
        for path, example in self._eager.items():
            return replace(example, called=path)
        return None

    def done(self) -> None:
        """Let go of what was seen, and of the model but for what is compiled into it."""
        self._eager.clear()
        for watch, handle in self._watches:
            watch.eager = None
            if watch.compiled is None:
                handle.remove()


class _Watch:
    """A forward pre-hook.

    Inside `torch.compile` it is part of the graph: there it only notes shapes, at every call, since a condition would
    be a guard and taking the hook off would compile the model again. So it stays.
    """

    def __init__(self, path: str, eager: dict[str, Example] | None) -> None:
        self.path = path
        self.eager = eager
        self.compiled: tuple[Any, Any, torch.dtype | None] | None = None

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not module.training:
            return
        if torch.compiler.is_compiling():
            self.compiled = (_shapes(args), _shapes(kwargs), autocast_dtype())
        elif self.eager is not None and self.path not in self.eager and _is_forward(module, args, kwargs):
            self.eager[self.path] = example_of(args, kwargs)

    # A copy of the model, such as a moving average of its weights, is not the model that is trained: the copied hook
    # does nothing, and above all brings no second curriculum and optimizer along.
    def __deepcopy__(self, memo: dict[int, Any]) -> "_Watch":
        return _Watch(self.path, None)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Watch, (self.path, None)


def _is_forward(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call is one of the model's own forward: Lightning under DDP calls `training_step` in its place."""
    if "forward" not in vars(module):
        return True
    try:
        inspect.signature(type(module).forward).bind(module, *args, **kwargs)
    except TypeError:
        return False
    return True


def _parts(model: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    if not isinstance(model, nn.ModuleList):
        yield path, model
        return
    for name, part in model.named_children():
        yield from _parts(unwrapped(part), f"{path}.{name}" if path else name)


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

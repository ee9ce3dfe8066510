"""Remember how a model is called before the first optimizer step: the shapes of a forward pass, not the batch."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lerac.depth import Example, example_of
from lerac.depth.loop.events import Call, Loop, parts_of
from lerac.depth.loop.parts import Parts
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
    """What happens before the first optimizer step: the first call of a model, or all calls of several parts.

    Only calls in training mode count, and they are seen through any wrapper.

    Args:
        model: may hold other modules without having a forward itself, as `nn.ModuleList([model, loss])`.
    """

    def __init__(self, model: nn.Module) -> None:
        inner = unwrapped(model)
        parts = parts_of(inner)
        if scripted := [path for path, part in parts.items() if isinstance(part, torch.jit.ScriptModule)]:
            raise TypeError(
                f"{' and '.join(map(repr, scripted)) if any(scripted) else 'the model'} was compiled by torch.jit, and "
                "takes no hook that could see how it is called: find the layers of what it was made from, layers = "
                "lerac.find_layers(model, *example_inputs), and pass layers=layers"
            )
        within = {id(parameter) for part in parts.values() for parameter in part.parameters()}
        if len(parts) != 1 or not all(id(parameter) in within for parameter in inner.parameters()):
            self._watch: _Watch | None = None
            self._parts: Parts | None = Parts(inner, parts)
            return
        [(path, part)] = parts.items()
        self._parts = None
        self._watch = _Watch(path, {})
        self._handle = unwrapped(part).register_forward_pre_hook(self._watch, with_kwargs=True)

    def seen(self) -> Loop | None:
        """Give what was called; None if nothing was.

        Raises:
            RuntimeError: if it cannot be known how several parts follow each other.
        """
        if self._parts is not None:
            return self._parts.seen()
        return self._watch.seen() if self._watch else None

    def done(self) -> None:
        """Let go of what was seen, and of the model but for what is compiled into it."""
        if self._parts is not None:
            self._parts.done()
        if self._watch is not None:
            self._watch.eager = None
            if self._watch.compiled is None:
                self._handle.remove()


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

    def seen(self) -> Loop | None:
        """Give the first call in training mode."""
        if self.compiled is not None:
            args, kwargs, autocast = self.compiled
            with FakeTensorMode():
                return Loop((Call(self.path, Example(_tensors(args), _tensors(kwargs), autocast, described=True)),))
        example = (self.eager or {}).get(self.path)
        return None if example is None else Loop((Call(self.path, example),))

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

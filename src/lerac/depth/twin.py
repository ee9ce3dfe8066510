"""Copies of a model and of its inputs for a forward pass to use up: the originals stay as they are."""

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from lerac.depth.copying import Copies, wrapped
from lerac.depth.flow import CPU, SMALL
from lerac.depth.hooks import copied_hook
from lerac.layers import named_parameters

__all__ = [
    "Example",
    "Twin",
    "autocast_dtype",
    "entrance",
    "example_of",
    "fake_twin",
    "real_twin",
    "tensors_of",
    "unwrapped",
]

Replace = Callable[[Tensor], Tensor]

_HOOKS = [attribute for attribute in vars(nn.Module()) if attribute.endswith("_hooks")]


@dataclass(frozen=True)
class Example:
    """Inputs of one forward pass.

    Args:
        args: positional arguments of the model's forward.
        kwargs: keyword arguments of the model's forward.
        autocast: data type of the autocast region in which the model is called; None outside of any.
        described: large tensors were replaced by descriptions, so the values are lost.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    autocast: torch.dtype | None = None
    described: bool = False


class Inputs(NamedTuple):
    """Arguments of a call, and all tensors in them, in the order in which they are come across."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tensors: list[Tensor]


@dataclass
class Twin:
    """A copy of a model, and of what it is called with. `parameters` has the names of the original's parameters."""

    model: nn.Module
    parameters: dict[str, Tensor]
    inputs: Callable[[Example], Inputs]


def example_of(args: tuple[Any, ...], kwargs: dict[str, Any], found: list[Tensor] | None = None) -> Example:
    """Describe the inputs of a forward pass without holding on to the batch.

    Large tensors become fake tensors: shape, strides, data type and device, no values. Those of up to 4096
    elements (masks, lengths, labels, boxes: what may steer the forward pass) are copied with their values.
    Call it where the model is called, so that autocast is seen.

    Args:
        args: positional arguments of the forward pass.
        kwargs: keyword arguments of the forward pass.
        found: gets the tensors themselves, in the order of `Inputs.tensors`.
    """
    mode = FakeTensorMode()

    def describe(tensor: Tensor) -> Tensor:
        if found is not None:
            found.append(tensor)
        if tensor.numel() <= SMALL and not (tensor.is_meta or isinstance(tensor, FakeTensor)):
            return tensor.detach().clone()
        with mode:
            return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=tensor.device)

    described_args, described_kwargs = Copies(describe, modules_stay=True)((args, kwargs))
    return Example(described_args, described_kwargs, autocast_dtype(), described=True)


def autocast_dtype() -> torch.dtype | None:
    """The data type of the autocast region around the caller, whatever its device; None outside of any."""
    for device in ("cuda", "xpu", "mps", "cpu"):
        if torch.is_autocast_enabled(device):
            return torch.get_autocast_dtype(device)
    return None


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside `torch.compile`, DistributedDataParallel and DataParallel."""
    while (inner := wrapped(model)) is not None:
        model = inner
    return model


def entrance(model: nn.Module, path: str) -> nn.Module:
    """The module of this path without its wrappers; "" is the model itself."""
    for name in path.split(".") if path else ():
        model = unwrapped(model.get_submodule(name))
    return model


def tensors_of(tree: Any) -> list[Tensor]:
    """All tensors in a call's result or arguments, also inside of objects that torch cannot open."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    Copies(note, modules_stay=True)(tree)
    return found


def fake_twin(model: nn.Module, mode: FakeTensorMode) -> Twin:
    """A copy without weights, on a pretended CPU, whatever the size of the model."""

    def fake(tensor: Tensor) -> Tensor:
        with mode:
            return torch.empty_strided(
                tensor.size(),
                tensor.stride(),
                dtype=tensor.dtype,
                device=CPU,
                requires_grad=tensor.requires_grad,
            )

    def fake_unless_steering(tensor: Tensor) -> Tensor:
        # Flags, indices, masks and lengths may decide what the forward pass does: they keep their values.
        discrete = not (tensor.is_floating_point() or tensor.is_complex())
        if discrete and tensor.numel() <= SMALL and not (tensor.is_meta or isinstance(tensor, FakeTensor)):
            return tensor.detach().to(CPU, copy=True)
        return fake(tensor)

    def fake_parameter(parameter: nn.Parameter) -> Tensor:
        return nn.Parameter(fake(parameter.detach()), requires_grad=parameter.requires_grad)

    return _twin(model, fake_parameter, fake_unless_steering, CPU)


def real_twin(model: nn.Module) -> Twin:
    """A copy with weights, on the model's own devices; missing values of the inputs are made up."""
    device = next(model.parameters()).device

    def clone(tensor: Tensor) -> Tensor:
        if not (tensor.is_meta or isinstance(tensor, FakeTensor)):
            return tensor.detach().clone().requires_grad_(tensor.requires_grad)
        shape, where = tuple(tensor.size()), device if tensor.is_meta else tensor.device
        if tensor.is_floating_point() or tensor.is_complex():
            return torch.rand(shape, dtype=tensor.dtype, device=where)
        return torch.full(shape, tensor.dtype is torch.bool, dtype=tensor.dtype, device=where)

    return _twin(model, copy.deepcopy, clone)


def _twin(
    model: nn.Module,
    parameter: Callable[[nn.Parameter], Tensor],
    replace: Replace,
    device: torch.device | None = None,
) -> Twin:
    originals = named_parameters(model)
    found: list[Tensor] = []

    def replaced(tensor: Tensor) -> Tensor:
        found.append(replace(tensor))
        return found[-1]

    copies = Copies(replaced, device)
    ours = [copies.memo.setdefault(id(original), parameter(original)) for original in originals.values()]
    twin = _copied_model(model, copies)
    # Some modules (TorchScript) copy parameters their own way: what the copy has under the same name counts.
    theirs = dict(twin.named_parameters())
    raw = [name for name, _ in model.named_parameters()]
    twins = {name: theirs.get(r, t) for name, r, t in zip(originals, raw, ours, strict=True)}

    def inputs(example: Example) -> Inputs:
        found.clear()
        args, kwargs = copies((example.args, example.kwargs))
        return Inputs(args, kwargs, list(found))

    return Twin(twin, twins, inputs)  # weak references in the copy lead to what `inputs` keeps alive


def _copied_model(model: nn.Module, copies: Copies) -> nn.Module:
    """Deep copy of a model: tensors replaced, wrappers taken off, hooks on the forward pass kept."""
    modules = list(model.modules())
    for module in modules:
        for attribute in _HOOKS:
            if hooks := vars(module).get(attribute):
                copies.memo[id(hooks)] = OrderedDict()  # they may hold on to anything; see `copied_hook`
    twin: nn.Module = copies(model)
    for module in modules:
        if id(module) in copies.memo:
            _hook_up(module, copies.memo[id(module)], copies)
    return twin


def _hook_up(module: nn.Module, twin: nn.Module, copies: Copies) -> None:
    """Give the copy of a module the hooks on its forward pass that belong to it."""
    for kind in ("_forward_pre_hooks", "_forward_hooks"):
        for key, hook in vars(module).get(kind, {}).items():
            if (copied := copied_hook(hook, copies)) is None:
                continue
            getattr(twin, kind)[key] = copied
            for flags in (f"{kind}_with_kwargs", f"{kind}_always_called"):
                if key in vars(module).get(flags, {}):
                    getattr(twin, flags)[key] = True

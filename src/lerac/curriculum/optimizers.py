"""Optimizers from outside: what a wrapper wraps, what can have one rate per layer, and whose parameters it has."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn
from torch.optim import LBFGS, Optimizer, Rprop
from torch.optim.lr_scheduler import LRScheduler

from lerac.arguments import some
from lerac.layers import named_parameters

__all__ = [
    "carriers",
    "check_optimizer",
    "check_parameters",
    "innermost",
    "loads_unseen",
    "lost_parameters",
    "numbered",
    "sizes",
]

# Where the wrappers of Accelerate, Lightning, timm (Lookahead), SAM, ZeRO and fastai keep the optimizer they wrap.
_WRAPPED_AS = ("optimizer", "_optimizer", "base_optimizer", "_base_optimizer", "optim", "opt")

# They read a list `base_lrs` of their own by the number of the group, and would stop with an IndexError in step().
_RATES_BY_NUMBER = {"AdaBound", "AdaBoundW"}


def innermost(optimizer: Any) -> Optimizer:
    """Follow wrappers to the optimizer whose `step()` reads the learning rates.

    Raises:
        TypeError: if there is no `torch.optim.Optimizer` inside.
    """
    found = optimizer if isinstance(optimizer, Optimizer) else None
    seen: set[int] = set()
    inside = [optimizer]
    while inside:
        current = inside.pop()
        if id(current) in seen or not hasattr(current, "__dict__"):
            continue
        seen.add(id(current))
        for name in _WRAPPED_AS:
            inner = vars(current).get(name)
            if isinstance(inner, Optimizer) and (found is None or _share_parameters(found, inner)):
                found = inner  # an optimizer of other parameters is an assistant, not what is wrapped
                inside.append(inner)
            elif inner is not None and not isinstance(current, Optimizer):
                inside.append(inner)
    if found is None:
        raise TypeError(f"optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}")
    return found


def carriers(optimizer: Any, inner: Optimizer) -> tuple[Optimizer, ...]:
    """Give the inner optimizer, and a wrapper that has own groups and copies options to and fro, as ZeRO does."""
    own = isinstance(optimizer, Optimizer) and optimizer.param_groups is not inner.param_groups
    return (inner, optimizer) if own else (inner,)


def loads_unseen(optimizer: Optimizer) -> bool:
    """Whether a state can come into the optimizer without running the hooks that torch has for it."""
    return type(optimizer).load_state_dict is not Optimizer.load_state_dict or "load_state_dict" in vars(optimizer)


def _share_parameters(a: Optimizer, b: Optimizer) -> bool:
    ours, theirs = ({id(p) for group in o.param_groups for p in group["params"]} for o in (a, b))
    return not ours.isdisjoint(theirs)


def check_optimizer(optimizer: Any) -> Optimizer:
    """Unwrap the optimizer, and see that its step can be entered and take one rate per layer."""
    if isinstance(optimizer, LRScheduler):
        raise TypeError(f"optimizer must be a torch.optim.Optimizer, got the scheduler {type(optimizer).__name__}")
    if reason := _no_optimizer(optimizer):
        raise TypeError(reason)
    inner = innermost(optimizer)
    name = type(inner).__name__
    if isinstance(inner, LBFGS | Rprop):
        raise TypeError(f"{name} cannot have one learning rate per layer; LeRaC needs another optimizer")
    if not getattr(type(inner).step, "hooked", False):
        raise TypeError(
            f"{name}.step() runs no step hooks, because {name}.__init__ does not call Optimizer.__init__: call it "
            "there, or pass the optimizer that it wraps"
        )
    if name in _RATES_BY_NUMBER:
        raise TypeError(
            f"{name} cannot have one learning rate per layer, because it keeps a list of rates by the number of the "
            "param group; LeRaC needs another optimizer"
        )
    if callable(getattr(inner, "fused_backward", None)):
        raise TypeError(
            f"{name} updates parameters in fused_backward(), during the backward pass and without a step(), so it "
            "cannot have one learning rate per layer; LeRaC needs another optimizer"
        )
    if name.startswith(("DAdapt", "Prodigy")):
        raise TypeError(
            f"{name} cannot have one learning rate per layer, because it estimates one rate for all parameters; LeRaC "
            "needs another optimizer"
        )
    if any(group.get("relative_step") for group in inner.param_groups):
        raise TypeError(
            f"{name} makes its own rate from the step (relative_step=True), so it cannot have one learning rate per "
            "layer: build it with relative_step=False and a learning rate"
        )
    if reason := numbered(inner):
        raise TypeError(
            f"{name} {reason}, so it cannot have one learning rate per layer; LeRaC needs another optimizer"
        )
    if any("lr" not in group for group in inner.param_groups):
        raise TypeError(f"{name} has no learning rate 'lr' in its param groups, which LeRaC could multiply")
    return inner


def _no_optimizer(optimizer: Any) -> str | None:
    """Say what to pass in place of an object that stands for optimizers whose groups do not have the parameters."""
    current: Any = optimizer
    for _ in range(9):  # wrappers, from the outside
        kind = type(current)
        name = kind.__name__
        if isinstance(found := getattr(current, "optimizer_dict", None), dict) and found:
            return (
                f"{name} does nothing in its step: an optimizer of each parameter, in its optimizer_dict, steps inside "
                "the backward pass. Build a curriculum for each of them: for one in set(optimizer.optimizer_dict."
                "values()): lerac.LeRaC(one, model, k=k)"
            )
        if "Dummy" in name and not isinstance(current, Optimizer):
            return (
                f"{name} only stands for an optimizer that is built later, from DeepSpeed's config for example: pass "
                "the one whose step() updates the parameters; and if that is to be DeepSpeed's of stage 1, 2 or 3, "
                "LeRaC cannot serve it, since it flattens the parameters of all layers into one tensor"
            )
        if kind.__module__.startswith("deepspeed.runtime") and not isinstance(current, nn.Module):
            return (
                f"DeepSpeed's {name} flattens the parameters of all layers into one tensor, so it cannot have one "
                "learning rate per layer: use stage 0 without its own fp16 or bf16, where the optimizer stays as it is "
                "and can be passed; or FSDP2, with layers=lerac.find_layers(model, *example_inputs)"
            )
        inside = [getattr(current, "__dict__", {}).get(key) for key in _WRAPPED_AS]
        current = next((inner for inner in inside if inner is not None), None)
        if current is None:
            return None
    return None


def numbered(optimizer: Optimizer) -> str | None:
    """Say what the optimizer keeps by the numbers of its groups, of which it is shown others while a curriculum lasts.

    bitsandbytes keeps overrides of single parameters in that way, filled in its first step.
    """
    for name, value in _kept(optimizer):
        if name == "module_weight_config_triple" and value:
            return "has overrides of single parameters (register_module_override), kept by the number of their group"
        if name == "pid2config" and any(
            "lr" in value.get(id(p), ()) for g in optimizer.param_groups for p in g["params"]
        ):
            return "has overrides of the learning rate of single parameters (override_config)"
        if isinstance(value, dict) and any(map(_is_place, value)):
            return f"keeps {name!r} by the numbers of param group and parameter"
    return None


def sizes(optimizer: Optimizer) -> dict[str, int]:
    """Give the lengths of all lists, and of all dicts with whole numbers as keys, that the optimizer keeps."""
    return {
        name: len(value)
        for name, value in _kept(optimizer)
        if isinstance(value, list) or (isinstance(value, dict) and all(type(key) is int for key in value))
    }


def _kept(optimizer: Optimizer) -> Iterator[tuple[str, Any]]:
    """The attributes of the optimizer and of the plain objects that it has, but not what torch gave it."""
    for name, value in vars(optimizer).items():
        if name in ("param_groups", "defaults") or name.startswith("_optimizer_"):
            continue
        yield name, value
        if type(value).__module__.partition(".")[0] not in ("builtins", "collections", "torch") and not callable(value):
            yield from getattr(value, "__dict__", {}).items()


def _is_place(key: Any) -> bool:
    return isinstance(key, tuple) and len(key) == 2 and all(type(number) is int for number in key)


def check_parameters(optimizer: Optimizer, model: nn.Module) -> None:
    """See that every parameter of the optimizer is one of the model."""
    ours = {id(p) for p in model.parameters()}
    theirs = [
        (i, group, at, p) for i, group in enumerate(optimizer.param_groups) for at, p in enumerate(group["params"])
    ]
    foreign = [_describe(i, group, at) for i, group, at, p in theirs if id(p) not in ours]
    if len(foreign) == len(theirs):
        raise ValueError(
            f"none of the optimizer's {len(theirs)} parameters is a parameter of this {type(model).__name__}: pass "
            "the model whose parameters() the optimizer was built from"
        )
    if foreign:
        raise ValueError(
            f"{len(foreign)} of the optimizer's {len(theirs)} parameters are not the model's: {some(foreign)}. "
            "If they belong to another module, such as a loss, pass nn.ModuleList([model, loss]) as the model"
        )


def lost_parameters(optimizer: Optimizer, model: nn.Module, placed: Mapping[int, float]) -> list[str]:
    """Describe the parameters of the optimizer whose id is not in `placed`."""
    names = {id(p): name for name, p in reversed(named_parameters(model, aliases=True).items())}
    return [
        names.get(id(p)) or _describe(i, group, at)
        for i, group in enumerate(optimizer.param_groups)
        for at, p in enumerate(group["params"])
        if id(p) not in placed
    ]


def _describe(index: int, group: dict[str, Any], at: int) -> str:
    name = f"{group['param_names'][at]!r}, " if "param_names" in group else ""
    return f"{name}number {at} of param group {index} with shape {tuple(group['params'][at].shape)}"

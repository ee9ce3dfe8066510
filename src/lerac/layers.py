"""Layers: which parameters belong together, and how far from the input they are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from torch import nn

__all__ = ["Layer", "find_layers", "group_layers", "named_parameters", "plain_names"]

# What torch.compile, FSDP and activation checkpointing put into parameter names.
_WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})


@dataclass(frozen=True)
class Layer:
    """Parameters that share one learning rate factor.

    Args:
        name: says which part of the network it is; unique among the layers of a model.
        depth: distance from the input, 0 for the layer next to it.
        parameters: names as in `model.named_parameters()`, without wrapper prefixes; at least one.
        placed: for parameters that no trace reached, the rule that placed them.

    Raises:
        TypeError: if a field has the wrong type.
        ValueError: if `depth` is negative or `parameters` is empty or repeats a name.
    """

    name: str
    depth: int
    parameters: tuple[str, ...]
    placed: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        parameters: Any = self.parameters
        if isinstance(parameters, str):
            raise TypeError(f"parameters of layer {self.name!r} must be a sequence of names, got one string")
        object.__setattr__(self, "parameters", tuple(parameters))
        if isinstance(self.depth, bool) or not isinstance(self.depth, int):
            raise TypeError(f"depth of layer {self.name!r} must be an int, got {self.depth!r}")
        if self.depth < 0:
            raise ValueError(f"depth of layer {self.name!r} must be 0 or more, got {self.depth}")
        if not self.parameters:
            raise ValueError(f"layer {self.name!r} has no parameters")
        if len(set(self.parameters)) < len(self.parameters):
            raise ValueError(f"layer {self.name!r} names a parameter twice: {', '.join(self.parameters)}")


def find_layers(model: nn.Module, *args: Any, **kwargs: Any) -> tuple[Layer, ...]:
    """Find the layers of `model`, nearest to the input first: at most 32, every parameter in exactly one.

    Parameters are grouped by the module that owns them and ordered as they were registered.

    Args:
        model: any network; nothing in it changes.
        *args: example inputs of the model's forward; not used yet.
        **kwargs: likewise.

    Raises:
        ValueError: if the model has no parameters.
    """
    return group_layers(registration_order(model))


def registration_order(model: nn.Module) -> tuple[Layer, ...]:
    """One layer per module that owns parameters, in the order in which they were registered."""
    names = list(named_parameters(model))
    if not names:
        raise ValueError(f"{type(model).__name__} has no parameters, so it has no layers")
    owners = [list(group) for _, group in groupby(names, key=_owner)]
    return tuple(Layer(_layer_name(group), depth, tuple(group)) for depth, group in enumerate(owners))


def group_layers(layers: Sequence[Layer], at_most: int = 32) -> tuple[Layer, ...]:
    """Merge neighbours so that at most `at_most` layers remain, of about equal numbers of old ones.

    Args:
        layers: nearest to the input first.
        at_most: 1 or more.

    Raises:
        ValueError: if `at_most` is below 1.
    """
    if at_most < 1:
        raise ValueError(f"at_most must be 1 or more, got {at_most}")
    if len(layers) <= at_most:
        return tuple(layers)
    merged = []
    for depth, (_, group) in enumerate(groupby(range(len(layers)), key=lambda i: i * at_most // len(layers))):
        members = [layers[i] for i in group]
        parameters = tuple(p for layer in members for p in layer.parameters)
        placed = {name: rule for layer in members for name, rule in layer.placed.items()}
        name = members[0].name if len(members) == 1 else _layer_name(parameters)
        merged.append(Layer(name, depth, parameters, placed))
    return tuple(merged)


def named_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Every parameter once, under its name without wrapper prefixes (`module.`, `_orig_mod.` …)."""
    named = dict(model.named_parameters())
    return dict(zip(plain_names(named), named.values(), strict=True))


def plain_names(names: Iterable[str]) -> list[str]:
    """Drop what wrappers add to parameter names, so that a model and its wrapped form agree.

    A leading `module` goes if every name has it (DistributedDataParallel and its like): it says nothing then.
    """
    split = [[part for part in name.split(".") if part not in _WRAPPERS] for name in names]
    while split and all(len(parts) > 1 and parts[0] == "module" for parts in split):
        split = [parts[1:] for parts in split]
    return [".".join(parts) for parts in split]


def _owner(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def _layer_name(parameters: Sequence[str]) -> str:
    """The shared module, or `first…last`."""
    first, last = parameters[0], parameters[-1]
    owners = {_owner(name) for name in parameters}
    if len(owners) == 1 and (owner := owners.pop()):
        return owner
    return first if len(parameters) == 1 else f"{_owner(first) or first}…{_owner(last) or last}"

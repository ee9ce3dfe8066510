"""Layers: which parameters belong together, and how far from the input they are.

Where the depths come from is another matter: measured from the data flow (`lerac.depth`), read from timm
(`layers_from_timm`), the order of registration (`registration_layers`), or your own list of `Layer`.
"""

# Long because all that people do with layers (rank, group, name, override) stands together under one import path.

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import groupby, pairwise
from typing import Any

from torch import nn

__all__ = [
    "Layer",
    "group_layers",
    "layers_from_timm",
    "named_parameters",
    "override_layers",
    "plain_name",
    "ranked_layers",
    "registration_layers",
    "start_ratios",
]

# What torch.compile, FSDP and activation checkpointing put into parameter names.
_WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})

# Modules are layers as long as none has more than this many times the depths of an even division.
_UNEVEN = 4


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
        given: object = self.parameters
        if isinstance(given, str):
            raise TypeError(f"parameters of layer {self.name!r} must be a sequence of names, got one string")
        object.__setattr__(self, "parameters", tuple(self.parameters))
        if isinstance(self.depth, bool) or not isinstance(self.depth, int):
            raise TypeError(f"depth of layer {self.name!r} must be an int, got {self.depth!r}")
        if self.depth < 0:
            raise ValueError(f"depth of layer {self.name!r} must be 0 or more, got {self.depth}")
        if not self.parameters:
            raise ValueError(f"layer {self.name!r} has no parameters")
        if len(set(self.parameters)) < len(self.parameters):
            raise ValueError(f"layer {self.name!r} names a parameter twice: {', '.join(self.parameters)}")

    def as_dict(self) -> dict[str, Any]:
        """Give the fields as plain types, as JSON and checkpoints have them; `Layer(**fields)` is the way back."""
        return {
            "name": self.name,
            "depth": self.depth,
            "parameters": list(self.parameters),
            "placed": dict(self.placed),
        }


def ranked_layers(
    levels: Mapping[str, float], trainable: Collection[str], placed: Mapping[str, str] | None = None
) -> tuple[Layer, ...]:
    """Make layers of equal level, nearest to the input first.

    Depths are the ranks 0, 1, 2, … of the levels that trainable parameters have. A frozen parameter goes to
    the nearest of these levels, of two equally near ones to the shallower; if all are frozen, all count.

    Args:
        levels: by parameter name, any numbers that grow with the distance from the input.
        trainable: names of the parameters that are trained.
        placed: for parameters whose level is not measured, the rule that placed them.
    """
    placed = placed or {}
    ranked = sorted({levels[name] for name in trainable} or set(levels.values()))
    ranks = {level: min(range(len(ranked)), key=lambda i: abs(ranked[i] - level)) for level in set(levels.values())}
    members: list[list[str]] = [[] for _ in ranked]
    for name, level in levels.items():
        members[ranks[level]].append(name)
    return tuple(
        Layer(name, depth, tuple(group), {p: placed[p] for p in group if p in placed})
        for depth, (name, group) in enumerate(zip(_layer_names(members), members, strict=True))
    )


def registration_layers(model: nn.Module) -> tuple[Layer, ...]:
    """Make layers of the modules that own parameters, in the order in which they were registered, at most 32.

    That is right where a model registers its modules from the input to the output; `find_layers` measures it. A
    parameter outside of any module is a layer by itself. Depth counts what is trained: a frozen module has the depth
    of the nearest one that is, of two equally near ones that of the first.

    Args:
        model: any network, wrapped or not.

    Raises:
        ValueError: if the model has no parameters.

    Examples:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> [(layer.depth, layer.name) for layer in registration_layers(model)]
        [(0, '0'), (1, '2')]
    """
    parameters = named_parameters(model)
    if not parameters:
        raise ValueError(f"{type(model).__name__} has no parameters, so it has no layers")
    members: dict[str, list[str]] = {}
    for name in parameters:
        members.setdefault(_owner(name) or name, []).append(name)
    trained = [any(parameters[name].requires_grad for name in inside) for inside in members.values()]
    counted = [i for i, trains in enumerate(trained) if trains] or list(range(len(members)))
    layers = []
    for i, (owner, inside) in enumerate(members.items()):
        depth = min(range(len(counted)), key=lambda rank: abs(counted[rank] - i))
        layers.append(Layer(owner, depth, tuple(inside)))
    return group_layers(layers, frozen={name for name, parameter in parameters.items() if not parameter.requires_grad})


def group_layers(layers: Sequence[Layer], at_most: int = 32, *, frozen: Set[str] = frozenset()) -> tuple[Layer, ...]:
    """Merge neighbours so that at most `at_most` layers remain.

    Where modules nest into few enough parts of similar size, such as the blocks of a ResNet, these parts are
    the layers. Otherwise the depths are divided evenly, each cut being moved, by up to half a layer, to where
    it goes through the fewest modules. The order is never changed.

    Args:
        layers: nearest to the input first.
        at_most: 1 or more.
        frozen: names of parameters that are not trained: they go with the others, and decide nothing.

    Raises:
        ValueError: if `at_most` is below 1, or a layer is nearer to the input than the one before it.
    """
    if at_most < 1:
        raise ValueError(f"at_most must be 1 or more, got {at_most}")
    if any(after.depth < before.depth for before, after in pairwise(layers)):
        raise ValueError("layers must be given nearest to the input first")
    if len(layers) <= at_most:
        return tuple(layers)
    depths = [list(group) for _, group in groupby(layers, key=lambda layer: layer.depth)]
    if frozen >= {name for layer in layers for name in layer.parameters}:
        frozen = frozenset()
    cuts = [0, *_cuts(depths, at_most, frozen), len(depths)]
    groups = [[layer for depth in depths[start:stop] for layer in depth] for start, stop in pairwise(cuts)]
    names = _layer_names([[p for layer in group for p in layer.parameters] for group in groups])
    return tuple(
        _merged(name if len(group) > 1 else group[0].name, depth, group)
        for depth, (name, group) in enumerate(zip(names, groups, strict=True))
    )


def override_layers(layers: Sequence[Layer], rules: Mapping[str, int | str]) -> tuple[Layer, ...]:
    """Move parameters to other layers by name.

    For each parameter the first rule that matches it decides. Layers keep their names, those that end up
    empty are dropped, and the remaining depths are counted anew.

    Args:
        layers: as measured, grouped or your own.
        rules: from a pattern of parameter names, with the wildcards of `fnmatch` (`head.*`, `*.bias`), to the
            layer to move to: its name, or its depth if no other layer has the same.

    Raises:
        ValueError: if a rule decides for no parameter, or names a layer that is not there.

    Examples:
        >>> layers = Layer("stem", 0, ("stem.weight",)), Layer("head", 1, ("token", "head.weight"))
        >>> override_layers(layers, {"token": "stem"})[0].parameters
        ('stem.weight', 'token')
    """
    targets = {pattern: _target(layers, target) for pattern, target in rules.items()}
    members: list[list[str]] = [[] for _ in layers]
    placed: list[dict[str, str]] = [{} for _ in layers]
    unused = set(rules)
    for i, layer in enumerate(layers):
        for name in layer.parameters:
            pattern = next((pattern for pattern in rules if fnmatchcase(name, pattern)), None)
            where = i if pattern is None else targets[pattern]
            members[where].append(name)
            if pattern is not None:
                unused.discard(pattern)
                placed[where][name] = f"rule {pattern!r}"
            elif name in layer.placed:
                placed[where][name] = layer.placed[name]
    if unused:
        raise ValueError(
            f"no parameter is left for {', '.join(map(repr, sorted(unused)))}: patterns match whole names, "
            "and the first pattern that matches a parameter decides"
        )
    kept = [i for i, names in enumerate(members) if names]
    ranks = {depth: rank for rank, depth in enumerate(sorted({layers[i].depth for i in kept}))}
    return tuple(
        replace(layers[i], depth=ranks[layers[i].depth], parameters=tuple(members[i]), placed=placed[i]) for i in kept
    )


def layers_from_timm(model: nn.Module) -> tuple[Layer, ...]:
    """The layer groups that timm's own layer-wise learning rate decay uses: stem first, head last.

    Args:
        model: a model of timm.

    Raises:
        TypeError: if the model has no `group_matcher`.
    """
    if not callable(getattr(model, "group_matcher", None)):
        raise TypeError(
            f"{type(model).__name__} has no group_matcher(), so it is not a timm model with layer groups: "
            "use find_layers(model, …)"
        )
    from timm.models import group_parameters

    matcher: Any = model.group_matcher
    levels = group_parameters(model, matcher(coarse=False), reverse=True)
    parameters = named_parameters(model)
    trainable = {name for name, parameter in parameters.items() if parameter.requires_grad}
    return ranked_layers({name: levels[name] for name in parameters}, trainable)


def start_ratios(layers: Sequence[Layer], ratio: float | Mapping[str, float]) -> dict[str, float]:
    """Give r_j, the start of every layer relative to the full rate, by the layer's name.

    Args:
        layers: of one model.
        ratio: r_j of the deepest layer, in (0, 1]: the others start at `ratio ** (depth / largest depth)`, and with
            a single depth all at 1. Or the r_j of every layer by name.

    Raises:
        ValueError: if a mapping lacks a layer or has one that there is not.
    """
    if not isinstance(ratio, Mapping):
        deepest = max(layer.depth for layer in layers)
        return {layer.name: ratio ** (layer.depth / deepest) if deepest else 1.0 for layer in layers}
    names = [layer.name for layer in layers]
    if missing := [name for name in names if name not in ratio]:
        raise ValueError(f"ratio has no factor for the layers {', '.join(missing)}")
    if unknown := ratio.keys() - set(names):
        raise ValueError(
            f"ratio has factors for layers that there are not: {', '.join(sorted(unknown))}; "
            f"the layers are {', '.join(names)}"
        )
    return {name: ratio[name] for name in names}


def named_parameters(model: nn.Module, *, aliases: bool = False) -> dict[str, nn.Parameter]:
    """Every parameter under its name without wrapper prefixes (`module.`, `_orig_mod.` …).

    Args:
        model: wrapped or not: the names are the same.
        aliases: give tied parameters under each of their names, otherwise under the first only.
    """
    wraps = {path for path, module in model.named_modules(remove_duplicate=False) if _only_wraps(module)}
    named = model.named_parameters(remove_duplicate=not aliases)
    return {_plain(name, wraps): parameter for name, parameter in named}


def plain_name(name: str) -> str:
    """Drop what wrappers add to a parameter name, without knowing the model."""
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    while len(parts) > 1 and parts[0] == "module":
        parts = parts[1:]
    return ".".join(parts)


def _only_wraps(module: nn.Module) -> bool:
    """Whether it is like DistributedDataParallel: its only child is `module`, a name that says nothing."""
    children = [name for name, _ in module.named_children()]
    return children == ["module"] and next(module.parameters(recurse=False), None) is None


def _plain(name: str, wraps: Collection[str]) -> str:
    parts, kept = name.split("."), []
    for i, part in enumerate(parts):
        if part not in _WRAPPERS and not (part == "module" and ".".join(parts[:i]) in wraps):
            kept.append(part)
    return ".".join(kept)


def _owner(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def modules_around(parameter: str) -> Iterator[str]:
    """The modules that contain a parameter, the smallest first, without the model itself."""
    while parameter := _owner(parameter):
        yield parameter


def largest_parts(groups: Sequence[Sequence[str]]) -> list[list[str]]:
    """Give for each parameter of each group the largest module around it that lies wholly within the group, or itself.

    No two groups share such a part, so `group_of` finds the group of a parameter again.
    """
    home: dict[str, int | None] = {}
    for i, group in enumerate(groups):
        for parameter in group:
            for module in modules_around(parameter):
                home[module] = i if home.get(module, i) == i else None
    parts: list[list[str]] = []
    for i, group in enumerate(groups):
        inside = [[parameter, *(m for m in modules_around(parameter) if home[m] == i)] for parameter in group]
        parts.append([around[-1] for around in inside])
    return parts


def group_of(parameter: str, groups: Mapping[str, int]) -> int | None:
    """Give the group of the part that the parameter is in, or is; None if there is none.

    Args:
        parameter: its name.
        groups: by part, as `largest_parts` gives them.
    """
    return next((groups[part] for part in (parameter, *modules_around(parameter)) if part in groups), None)


def _layer_names(groups: Sequence[Sequence[str]]) -> list[str]:
    """Name each group by the first and the last of its parts, so that the names are unique."""
    ends = [(parts[0], parts[-1]) for parts in largest_parts(groups)]
    return [first if first == last else f"{first}…{_without_shared_prefix(last, first)}" for first, last in ends]


def _without_shared_prefix(name: str, other: str) -> str:
    """`blocks.3.mlp` after `blocks.3.attn` is `mlp`."""
    parts, others = name.split("."), other.split(".")
    shared = 0
    while shared < min(len(parts), len(others)) - 1 and parts[shared] == others[shared]:
        shared += 1
    return ".".join(parts[shared:])


def _cuts(depths: Sequence[Sequence[Layer]], at_most: int, frozen: Set[str]) -> list[int]:
    """Where to cut a list of depths into `at_most` parts or fewer."""
    n = len(depths)
    if n <= at_most:
        return list(range(1, n))
    through = _modules_cut(depths, frozen)
    for limit in sorted(set(through), reverse=True):
        cuts = [i for i in range(1, n) if through[i] <= limit]
        if len(cuts) < at_most:
            largest = max(stop - start for start, stop in pairwise([0, *cuts, n]))
            if largest * at_most <= _UNEVEN * n:
                return cuts
            break
    cuts = []
    for k in range(1, at_most):
        start, stop = (-(-odd * n // (2 * at_most)) for odd in (2 * k - 1, 2 * k + 1))
        cuts.append(min(range(start, stop), key=lambda i: (through[i], abs(i * at_most - k * n))))
    return cuts


def _modules_cut(depths: Sequence[Sequence[Layer]], frozen: Set[str]) -> list[int]:
    """For each i, how many modules have trained parameters both before and from the i-th depth on."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for i, layers in enumerate(depths):
        for layer in layers:
            for parameter in layer.parameters:
                for module in modules_around(parameter) if parameter not in frozen else ():
                    first.setdefault(module, i)
                    last[module] = i
    opened, closed = Counter(first.values()), Counter(last.values())
    through, open_now = [], 0
    for i in range(len(depths)):
        through.append(open_now)
        open_now += opened[i] - closed[i]
    return through


def _merged(name: str, depth: int, layers: Sequence[Layer]) -> Layer:
    parameters = tuple(parameter for layer in layers for parameter in layer.parameters)
    placed = {parameter: rule for layer in layers for parameter, rule in layer.placed.items()}
    return Layer(name, depth, parameters, placed)


def _target(layers: Sequence[Layer], target: int | str) -> int:
    key = "name" if isinstance(target, str) else "depth"
    found = [i for i, layer in enumerate(layers) if getattr(layer, key) == target]
    if len(found) != 1:
        raise ValueError(
            f"{'no layer has' if not found else 'several layers have'} the {key} {target!r}; there are "
            + ", ".join(f"{layer.name} ({layer.depth})" for layer in layers)
        )
    return found[0]

"""Learning rates of a run: base schedule, warm-up factor, and where each layer starts."""

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from torch import nn

from lerac.curves import CURVES, Curve, staircase
from lerac.depth import find_layers
from lerac.layers import Layer, group_layers, named_parameters, start_ratios
from lerac.study.plan.study import Curriculum, Smoothing
from lerac.study.recipes.official import block_of
from lerac.study.seeds import derive

__all__ = [
    "base_changes",
    "base_schedule",
    "curriculum_layers",
    "curve_of",
    "layer_ratios",
    "sigma_of",
    "warmup_factor",
]


def base_schedule(schedule: Mapping[str, Any], *, lr: float, epochs: int, per_epoch: int) -> Callable[[int], float]:
    """Give the factor on the learning rate at a step, from 0.

    Args:
        schedule: section [schedule] of a recipe. The factor of `plateau` is held at 1: a metric drives it.
        lr: the full rate, which a `floor` is compared with.
        epochs: of the whole training.
        per_epoch: optimizer steps of one epoch.
    """
    name = schedule["name"]
    if name == "cosine":
        total = epochs * per_epoch
        return lambda step: 0.5 * (1 + math.cos(math.pi * step / total))
    if name == "step":
        rates = [lr]
        for _ in schedule["epochs"]:
            rates.append(rates[-1] / schedule["divide_by"] if rates[-1] > schedule["floor"] else rates[-1])
        return lambda step: rates[bisect_right(schedule["epochs"], step // per_epoch + 1)] / lr
    if name == "epoch-cosine":
        low = schedule["floor"] / lr

        def late(step: int) -> float:
            waited = max(0, step // per_epoch - schedule["after"])  # epoch e starts at step (e - 1) * per_epoch
            return float(low + 0.5 * (1 - low) * (1 + math.cos(math.pi * waited / epochs)))

        return late
    return lambda step: 1.0


def base_changes(schedule: Mapping[str, Any], *, epochs: int, per_epoch: int) -> Iterable[int]:
    """Give the steps at which `base_schedule` may change, rising; arguments as there."""
    match schedule["name"]:
        case "cosine":
            return range(epochs * per_epoch)
        case "step":
            return [(epoch - 1) * per_epoch for epoch in schedule["epochs"] if epoch <= epochs]
        case "epoch-cosine":
            return range((schedule["after"] + 1) * per_epoch, epochs * per_epoch, per_epoch)
    return ()


def curve_of(curriculum: Curriculum) -> Curve:
    """Give the function (progress, ratio) → factor."""
    if curriculum.base is not None and curriculum.updates is not None:
        return staircase(curriculum.base, curriculum.updates)
    return CURVES[curriculum.curve]


def sigma_of(smoothing: Smoothing) -> Callable[[int], float]:
    """Give the standard deviation of Curriculum by Smoothing in an optimizer step, counted from 0."""
    return lambda step: smoothing.sigma * smoothing.decay ** (step // smoothing.every)


def warmup_factor(curriculum: Curriculum | None) -> Callable[[int], float]:
    """Give the factor common to all layers at a step: below 1 only during a warm-up."""
    if curriculum is None or curriculum.kind != "warmup":
        return lambda step: 1.0
    k, ratio, curve = curriculum.k, curriculum.ratio, curve_of(curriculum)
    if not isinstance(ratio, float):
        return lambda step: min(1.0, step / k)
    return lambda step: curve(step / k, ratio) if step < k else 1.0


def curriculum_layers(network: nn.Module, inputs: Any, curriculum: Curriculum | None) -> Sequence[Layer]:
    """Give the layers that a curriculum has factors for: by measured depth, as registered, or as a recipe names them.

    Args:
        network: whose.
        inputs: an example batch.
        curriculum: None: the layers by measured depth.

    Raises:
        StudyError: if a parameter is in no block, or a block has no parameter.
    """
    if curriculum is not None and curriculum.order == "registered":
        return group_layers(_grouped(_modules_of(network)))
    layers = find_layers(network, inputs)
    if curriculum is None or not isinstance(curriculum.ratio, Mapping):
        return layers
    return _grouped(block_of(chain.from_iterable(x.parameters for x in layers), curriculum.ratio))


def _modules_of(network: nn.Module) -> dict[str, str]:
    """Give the module that owns each parameter, in the order in which the network registers them."""
    return {name: name.rpartition(".")[0] or name for name in named_parameters(network)}


def _grouped(layer_of: Mapping[str, str]) -> list[Layer]:
    members: dict[str, list[str]] = {}
    for parameter, layer in layer_of.items():
        members.setdefault(layer, []).append(parameter)
    return [Layer(name, depth, tuple(inside)) for depth, (name, inside) in enumerate(members.items())]


def layer_ratios(layers: Sequence[Layer], curriculum: Curriculum | None, seed: int) -> dict[str, float]:
    """Give every layer's start over its full rate under LeRaC: 1 at one end, `ratio` at the other; or as it says.

    The controls use exactly the same numbers on other layers: `reversed` starts the farthest highest,
    `shuffled` deals them out in an order drawn by the run's seed.
    """
    if curriculum is None or curriculum.kind != "lerac" or curriculum.ratio is None:
        return {layer.name: 1.0 for layer in layers}
    starts = start_ratios(layers, curriculum.ratio)
    values = list(starts.values())
    if curriculum.order == "reversed" and isinstance(curriculum.ratio, Mapping):
        values.reverse()
    elif curriculum.order == "reversed":
        mirrored = [replace(layer, depth=max(other.depth for other in layers) - layer.depth) for layer in layers]
        return start_ratios(mirrored, curriculum.ratio)
    if curriculum.order == "shuffled":
        random.Random(derive(seed, "shuffled layers")).shuffle(values)
    return dict(zip(starts, values, strict=True))

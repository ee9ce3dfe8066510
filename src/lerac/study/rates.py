"""Learning rates of a run: base schedule, warm-up factor, and where each layer starts."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from lerac.curves import CURVES, Curve, staircase
from lerac.layers import Layer, start_ratios
from lerac.study.plan import Curriculum, Smoothing
from lerac.study.seeds import derive

__all__ = ["base_schedule", "curve_of", "layer_ratios", "sigma_of", "warmup_factor"]


def base_schedule(name: str, total: int) -> Callable[[int], float]:
    """Give the factor on the learning rate at a step in [0, total]: 1, or half a cosine wave from 1 to 0."""
    if name == "constant":
        return lambda step: 1.0
    return lambda step: 0.5 * (1 + math.cos(math.pi * step / total))


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
    if ratio is None:
        return lambda step: min(1.0, step / k)
    return lambda step: curve(step / k, ratio) if step < k else 1.0


def layer_ratios(layers: Sequence[Layer], curriculum: Curriculum | None, seed: int) -> dict[str, float]:
    """Give every layer's start over its full rate under LeRaC: 1 at one end, `ratio` at the other.

    The controls use exactly the same numbers on other layers: `reversed` starts the farthest highest,
    `shuffled` deals them out in an order drawn by the run's seed.
    """
    if curriculum is None or curriculum.kind != "lerac" or curriculum.ratio is None:
        return {layer.name: 1.0 for layer in layers}
    starts = start_ratios(layers, curriculum.ratio)
    values = list(starts.values())
    if curriculum.order == "reversed":
        mirrored = [replace(layer, depth=max(other.depth for other in layers) - layer.depth) for layer in layers]
        return start_ratios(mirrored, curriculum.ratio)
    if curriculum.order == "shuffled":
        random.Random(derive(seed, "shuffled layers")).shuffle(values)
    return dict(zip(starts, values, strict=True))

"""Base schedules: the factor on the learning rate that all regimes and all layers of a recipe share."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["base_changes", "base_schedule"]


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

"""What the trainer of Ultralytics does: when it steps, on which layers, at which rates."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from lerac.curriculum.lerac import LeRaC
from lerac.depth import find_layers
from lerac.layers import Layer

__all__ = ["layers_of", "rates_of", "steps_between"]


def steps_between(trainer: Any, first: int, until: int) -> int:
    """Count the optimizer steps of the batches numbered `first` to `until` − 1, over all epochs, by the trainer's rule.

    It steps when `accumulate` batches have passed since the last step, and during the warm-up lets that number grow
    from 1 to the nominal one, which it has until the first batch.
    """
    nominal = trainer.accumulate
    warmup = trainer._get_warmup_iterations(len(trainer.train_loader))
    accumulate, last, steps = nominal, -1, 0
    for batch in range(first, until):
        if warmup and batch <= warmup:
            accumulate = max(1, round(1 + (nominal - 1) / warmup * batch))
        if batch - last >= accumulate:
            steps += 1
            last = batch
    return steps


def layers_of(trainer: Any) -> tuple[Layer, ...]:
    """Find the layers from a blank image on fake tensors.

    The trainer itself calls the model with a whole batch as a dict and gets the loss, which asks for values: following
    that takes a real copy of model and batch, in the very moment when memory is full, for the same depths.
    """
    device = next(trainer.model.parameters()).device
    size, channels = trainer.args.imgsz, trainer.data.get("channels", 3)
    image = torch.empty(1, channels, *([size] * 2 if isinstance(size, int) else size), device=device)
    try:
        return find_layers(trainer.model, image)
    except (TypeError, ValueError) as error:
        error.add_note("If this model takes more than an image, find its layers yourself: attach(…, layers=…)")
        raise


def rates_of(curriculum: LeRaC, parameters: Mapping[str, nn.Parameter]) -> dict[str, float]:
    """Give the rate of each layer's largest tensor in the next step, by names that every logger takes."""
    rates = curriculum.lrs()
    shown: dict[str, float] = {}
    for layer in curriculum.layers or ():
        if own := [name for name in layer.parameters if name in rates]:
            largest = max(own, key=lambda name: parameters[name].numel())
            shown[f"lr/{layer.name.replace('…', '-')}"] = rates[largest]
    return shown

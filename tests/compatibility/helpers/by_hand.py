"""The loop that people would write by hand: one param group per layer, every rate set before every step."""

import torch
from torch import nn

from tests.conftest import by_layer, make_net, train

__all__ = ["LR", "RATIO", "STEPS", "K", "groups", "set_rates", "trained_by_hand"]

K, STEPS, RATIO, LR = 6, 9, 1e-2, 0.1


def groups(model: nn.Module, **starts: float) -> list[dict]:
    """One group for each layer of `Net`, or for each of the submodules in `starts`, with its r_j."""
    if not starts:
        return [{"params": parameters, "start": r} for parameters, r in by_layer(model, RATIO)]
    named = {name.replace("_", "."): r for name, r in starts.items()}
    return [{"params": list(model.get_submodule(name).parameters()), "start": r} for name, r in named.items()]


def set_rates(optimizer: torch.optim.Optimizer, lr: float, step: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr * group["start"] ** (1 - min(step / K, 1))


def trained_by_hand(make, steps: range = range(STEPS), lr: float = LR) -> nn.Module:
    """Train a `Net` with the optimizer that `make` builds from its groups."""
    model = make_net()
    optimizer = make(groups(model))
    train(model, optimizer, steps, lambda step: set_rates(optimizer, lr, step))
    return model

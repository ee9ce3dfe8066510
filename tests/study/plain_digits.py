"""The loop of `lerac compare digits` as somebody would write it down, with `lerac.attach` in it."""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

import lerac
from lerac.regimes.drawing import derive
from lerac.study.data.splits import Split
from lerac.study.plan.curriculum import steps_per_epoch
from lerac.study.plan.study import Run
from lerac.study.seeds import seed_everything
from lerac.study.training.training import build


def measure(network: nn.Module, split: Split) -> tuple[float, float]:
    """Loss and accuracy."""
    network.eval()
    with torch.inference_mode():
        outputs = network(split.inputs)
    right = int((outputs.argmax(1) == split.labels).sum())
    return float(functional.cross_entropy(outputs, split.labels)), right / len(split)


class Trained(NamedTuple):
    last: dict[str, torch.Tensor]  # weights
    losses: list[float]  # of validation, by epoch
    best: float  # validation accuracy
    test: float  # accuracy with the weights that had it


def train_by_hand(run: Run, attach: Callable[..., lerac.Attached]) -> Trained:
    data, network = build(run)
    options, epochs = run.settings["optimizer"], run.epochs
    optimizer = torch.optim.SGD(
        network.parameters(), lr=options["lr"], momentum=options["momentum"], weight_decay=options["weight_decay"]
    )
    attached = attach(optimizer, network, epoch_steps=steps_per_epoch(run.settings), epochs=epochs)
    losses, best, kept = [], -1.0, None
    for epoch in range(epochs):
        seed_everything(derive(run.seed, "epoch", epoch))
        network.train()
        generator = torch.Generator().manual_seed(derive(run.seed, "order", epoch))
        for batch in torch.randperm(len(data.train), generator=generator).split(32):
            optimizer.zero_grad()
            functional.cross_entropy(network(data.train.inputs[batch]), data.train.labels[batch]).backward()
            optimizer.step()
        loss, accuracy = measure(network, data.validation)
        losses.append(loss)
        if accuracy > best:
            best, kept = accuracy, copy.deepcopy((network.state_dict(), attached.state_dict()))
    last = copy.deepcopy(network.state_dict())
    network.load_state_dict(kept[0])
    if attached.smoothing:
        attached.smoothing.load_state_dict(kept[1]["smoothing"])
    return Trained(last, losses, best, measure(network, data.test)[1])

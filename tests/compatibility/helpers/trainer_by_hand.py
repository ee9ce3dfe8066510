"""What people would write instead of lerac: one param group per layer, each rate set before each step."""

import functools
import math

import torch
from torch import nn

from tests.conftest import by_layer, make_net

BATCH, BATCHES = 16, 10  # samples in a batch, batches in an epoch
ACCUMULATE = 3  # does not divide BATCHES: the last step of an epoch has fewer batches
RATIO = 1e-3
LR = 0.05


@functools.cache
def data():
    """The whole training set: (160, 6) in and 160 of 3 classes out."""
    generator = torch.Generator().manual_seed(7)
    return torch.randn(BATCH * BATCHES, 6, generator=generator), torch.randint(
        0, 3, (BATCH * BATCHES,), generator=generator
    )


def batches():
    x, y = data()
    return list(zip(x.split(BATCH), y.split(BATCH), strict=True))


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=LR, momentum=0.9)


def cosine(step, steps):
    return LR * (1 + math.cos(math.pi * step / steps)) / 2


def train_by_hand(*, k, epochs, accumulate=1, rest=None, clip=None, schedule=lambda step: LR, forward=None):
    """Train `Net` with a curriculum of k steps and give it. k = 0 is conventional training.

    Args:
        rest: by what the losses of the last, shorter sum of an epoch are divided; `accumulate` as well by default.
        schedule: from the step to the rate that somebody without a curriculum would have.
        forward: from model and batch to the loss.
    """
    net = make_net()
    layers = by_layer(net, RATIO)
    optimizer = sgd([{"params": params} for params, _ in layers])
    step = 0
    for _ in range(epochs):
        for i, (x, y) in enumerate(batches(), start=1):
            loss = forward(net, x, y) if forward else nn.functional.cross_entropy(net(x), y)
            (loss / (rest if rest and i > BATCHES - BATCHES % accumulate else accumulate)).backward()
            if i % accumulate and i < BATCHES:
                continue
            if clip is not None:
                nn.utils.clip_grad_norm_(net.parameters(), clip)
            for group, (_, r) in zip(optimizer.param_groups, layers, strict=True):
                group["lr"] = schedule(step) * (r ** (1 - step / k) if step < k else 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
    return net

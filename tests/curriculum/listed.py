"""Modules that only share a list, and what a curriculum finds of them."""

import torch
from torch import nn, optim

import lerac

WIDTH = 4


class Chain(nn.Module):
    """A number of layers, one after the other."""

    def __init__(self, length):
        super().__init__()
        self.layers = nn.Sequential(*[nn.Linear(WIDTH, WIDTH) for _ in range(length)])

    def forward(self, x):
        return self.layers(x).tanh()


def depths(layers, names):
    return {id(names[name]): layer.depth for layer in layers for name in layer.parameters}


def by_name(curriculum):
    return {name: layer.depth for layer in curriculum.layers for name in layer.parameters if name.endswith("weight")}


def make(parts):
    optimizer = optim.SGD([p for p in parts.parameters() if p.requires_grad], lr=0.1)
    return optimizer, lerac.LeRaC(optimizer, parts, k=10)


def expected(whole, *inputs):
    return depths(lerac.measure_depths(whole, *inputs), dict(whole.named_parameters()))


def found(optimizer, curriculum, parts):
    optimizer.step()
    return depths(curriculum.layers, dict(parts.named_parameters()))


class Does(nn.Module):
    """What a loop does, as one module."""

    def __init__(self, loop, parts):
        super().__init__()
        self.loop, self.parts = loop, parts

    def forward(self, *data):
        return self.loop(self.parts, *data)


class Prompt(nn.Module):
    """Gives a parameter, whatever it is called with."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, WIDTH))

    def forward(self, x=None):
        return self.weight * 1


class Holder(nn.Module):
    """Has no forward; its modules are called one by one, its parameter is used as it is."""

    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleDict({"a": Chain(1), "b": Chain(2)})
        self.encoder = Chain(2)
        self.scale = nn.Parameter(torch.ones(WIDTH))


def chains(*lengths):
    return nn.ModuleList(Chain(length) for length in lengths)


class Methods(nn.Module):
    """Has more methods than forward."""

    def __init__(self):
        super().__init__()
        self.net = Chain(2)

    def forward(self, x):
        return self.net(x)

    def encode(self, x):
        return self.net.layers(x)

    def loss(self, x):
        return self(x).sum()


IN_TURN = {"0.layers.0.weight": 0, "1.layers.0.weight": 1}


def two(first=Methods):
    return nn.ModuleList([first(), Chain(1)])


NOT_CALLED = "no forward pass of '{}' of this ModuleList in training mode before the first optimizer step"

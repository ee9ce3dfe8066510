"""Plain transcriptions of the formula of Curriculum by Smoothing, for the tests to compare with."""

import math

import torch
from torch import nn
from torch.nn import functional


def kernel(sigma, dims, size=3, dtype=torch.float64):
    """exp(−|x|² / 2σ²) on a grid, divided by its sum."""
    axis = [i - size // 2 for i in range(size)]
    grid = torch.cartesian_prod(*[torch.tensor(axis, dtype=dtype)] * dims).reshape([size] * dims + [dims])
    weights = torch.exp(-grid.square().sum(-1) / (2 * sigma**2))
    return weights / weights.sum()


class Smooth(nn.Module):
    """The authors' way: a module of its own after each convolution."""

    def __init__(self, channels, sigma, dims, size=3):
        super().__init__()
        self.dims, self.channels, self.size = dims, channels, size
        self.register_buffer("weight", kernel(sigma, dims, size).expand(channels, 1, *[size] * dims).contiguous())

    def forward(self, x):
        convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[self.dims - 1]
        return convolve(x, self.weight.to(x.dtype), padding=self.size // 2, groups=self.channels)


def with_modules(model, names, sigma, size=3):
    """Replace each named convolution by itself and a `Smooth`."""
    for name in names:
        convolution = model.get_submodule(name)
        dims = len(convolution.kernel_size)
        smooth = Smooth(convolution.out_channels, sigma, dims, size)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, nn.Sequential(convolution, smooth))
    return model


def smooth_rows(x, sigma, size=3):
    """Smooth (tokens, features) along the tokens, one sum at a time."""
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(-(size // 2), size // 2 + 1)]
    rows = []
    for t in range(len(x)):
        row = torch.zeros_like(x[0])
        for i, weight in enumerate(weights):
            at = t + i - size // 2
            if 0 <= at < len(x):
                row = row + weight / sum(weights) * x[at]
        rows.append(row)
    return torch.stack(rows) if rows else x

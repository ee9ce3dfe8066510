"""Residual networks for small images: a tiny one for digits, ResNet-18 and Wide-ResNet-52-2 for 32×32 and up.

Sources: He et al., "Deep Residual Learning", CVPR 2016; Zagoruyko and Komodakis, "Wide Residual Networks",
BMVC 2016. Initialisation: He et al., "Delving Deep into Rectifiers", ICCV 2015. All weights are drawn from
torch's global generator when the network is built.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from lerac.study.models.options import ResNetOptions, SmallCNNOptions, WideResNetOptions

__all__ = ["BasicBlock", "ResNet", "WideBlock", "WideResNet", "small_cnn"]


def small_cnn(channels: int, classes: int, options: SmallCNNOptions) -> nn.Module:
    """Build the network of the digits demo: three basic blocks of 16, 32 and 64 channels (78 thousand weights)."""
    model = ResNet(channels, classes, options)
    with torch.no_grad():
        for module in model.modules():
            if options.gain != 1.0 and isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.mul_(options.gain)
    return model


class ResNet(nn.Module):
    """Basic blocks in stages, after a 3×3 stem without pooling; every stage but the first halves height and width.

    As ResNet-18 it has 11,173,962 weights for 3 channels and 10 classes.
    """

    def __init__(self, channels: int, classes: int, options: ResNetOptions) -> None:
        super().__init__()
        widths, blocks = options.widths, options.blocks
        self.conv1 = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.stages = add_stages(self, widths[0], widths, blocks, BasicBlock)
        self.fc = nn.Linear(widths[-1], classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (batch, channels, height, width) to logits (batch, classes)."""
        x = functional.relu(self.bn1(self.conv1(images)))
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with batch normalisation, added to the input (1×1 convolved where shapes differ)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, height, width) to (batch, outputs, height / stride, width / stride)."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return functional.relu(y + self.shortcut(x))


class WideResNet(nn.Module):
    """Pre-activation blocks in three stages of 16, 32 and 64 times `widening` channels.

    The LeRaC authors' network for CIFAR, Tiny ImageNet and Food-101: convolutions with biases, dropout between the two
    convolutions of a block. Of depth 52 and widening 2 it has 3,023,306 weights for 3 channels and 10 classes.

    Raises:
        ValueError: if no whole number of blocks gives `depth`.
    """

    def __init__(self, channels: int, classes: int, options: WideResNetOptions) -> None:
        super().__init__()
        blocks, rest = divmod(options.depth - 4, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth must be 6 · blocks + 4 (10, 16, 22, …), got {options.depth}")
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1)
        widths = [options.widening * wide for wide in (16, 32, 64)]
        self.stages = add_stages(self, 16, widths, blocks, partial(WideBlock, dropout=options.dropout))
        self.bn_final = nn.BatchNorm2d(widths[-1])
        self.fc = nn.Linear(widths[-1], classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (batch, channels, height, width) to logits (batch, classes)."""
        x = self.conv1(images)
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        x = functional.relu(self.bn_final(x))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


class WideBlock(nn.Module):
    """Normalise, rectify, convolve, twice, with dropout between; added to the input (1×1 convolved if needed)."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride=stride, padding=1)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, height, width) to (batch, outputs, height / stride, width / stride)."""
        y = self.dropout(self.conv1(functional.relu(self.bn1(x))))
        y = self.conv2(functional.relu(self.bn2(y)))
        added: Tensor = y + self.shortcut(x)
        return added


def add_stages(
    model: nn.Module, inputs: int, widths: Sequence[int], blocks: int, block: Callable[[int, int, int], nn.Module]
) -> list[str]:
    """Add a stage of blocks for each width, and give their names; all but the first halve height and width."""
    names = [f"layer{number}" for number in range(1, len(widths) + 1)]
    for name, width in zip(names, widths, strict=True):
        first = block(inputs, width, 1 if name == names[0] else 2)
        model.add_module(name, nn.Sequential(first, *(block(width, width, 1) for _ in range(blocks - 1))))
        inputs = width
    return names


def initialise(model: nn.Module) -> None:
    """Draw convolutions from the Kaiming normal distribution (fan out), set their biases to zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)

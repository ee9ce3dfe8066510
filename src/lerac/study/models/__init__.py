"""The networks that a recipe can name."""

from collections.abc import Callable

from torch import nn

from lerac.study.models.lenet import lenet
from lerac.study.models.residual import resnet18, small_cnn, wrn52_2

__all__ = ["MODELS"]

MODELS: dict[str, Callable[[int, int], nn.Module]] = {
    "lenet": lenet,
    "resnet18": resnet18,
    "small-cnn": small_cnn,
    "wrn52-2": wrn52_2,
}
"""Name → builder, called with the number of input channels and of classes."""

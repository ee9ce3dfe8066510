"""Seeing a training from inside: its forward passes, and who takes its steps."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lerac.curriculum.step_count import called_from

__all__ = ["ForwardHook", "scaler_calls"]


class ForwardHook:
    """A forward pre-hook. A copy of the model, such as a moving average of its weights, has one that does nothing.

    Inside `torch.compile` it does nothing either: it would be part of the graph.
    """

    def __init__(self, heard: Callable[[tuple[Any, ...], dict[str, Any]], None] | None) -> None:
        self._heard = heard

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Tell of a call in training."""
        if self._heard is not None and module.training and not torch.compiler.is_compiling():
            self._heard(args, kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> "ForwardHook":
        return ForwardHook(None)

    def __reduce__(self) -> tuple[Any, ...]:
        return ForwardHook, (None,)


def scaler_calls() -> bool:
    """Whether a GradScaler is what takes the step."""
    return called_from(lambda module: module.endswith("amp.grad_scaler"))

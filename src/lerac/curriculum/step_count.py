"""What the optimizer carries of its curriculum, so that every kind of checkpoint does; and which of its steps count."""

import sys
from collections.abc import Callable
from types import FrameType

import torch
from torch.optim import Optimizer

__all__ = [
    "LAYERS_KEY",
    "STEP_KEY",
    "called_from",
    "carries",
    "distributed_checkpoint_calls",
    "found_inf",
    "is_fake_step",
    "read_count",
    "read_layers",
    "write",
]

# All that is ever written into the user's optimizer, in each of its param groups:
STEP_KEY = "lerac_step"  # the count of steps, an int
LAYERS_KEY = "lerac_layers"  # while the curriculum lasts: its layers as a string, empty until they are known


def read_count(optimizer: Optimizer, key: str = STEP_KEY) -> int | None:
    """Give the step count in the optimizer's param groups, under `key`; None if there is none.

    Raises:
        ValueError: if it is negative, or the groups disagree.
    """
    counts = sorted({int(group[key]) for group in optimizer.param_groups if key in group})
    if len(counts) > 1 or any(count < 0 for count in counts):
        raise ValueError(
            f"the optimizer's param groups must agree on {key!r}, a count of 0 or more, and have {counts}: load a "
            "checkpoint that was saved as a whole, or delete the entry from every group to start at 0"
        )
    return counts[0] if counts else None


def read_layers(optimizer: Optimizer) -> str:
    """Give the layers in the optimizer's param groups as they were written, empty if there are none.

    Raises:
        ValueError: if the groups disagree.
    """
    texts = sorted({str(group[LAYERS_KEY]) for group in optimizer.param_groups if group.get(LAYERS_KEY)})
    if len(texts) > 1:
        raise ValueError(
            f"the optimizer's param groups must agree on {LAYERS_KEY!r}, the layers of its curriculum, and have "
            f"{len(texts)} different ones: load a checkpoint that was saved as a whole"
        )
    return texts[0] if texts else ""


def carries(optimizer: Optimizer, count: int, layers: str | None) -> bool:
    """Whether every param group has just this; groups that were added since the last step have nothing yet."""
    groups = optimizer.param_groups
    return (not groups or groups[0].get(LAYERS_KEY, layers) == layers) and all(
        group.get(STEP_KEY, count) == count for group in groups
    )


def write(optimizer: Optimizer, count: int | None, layers: str | None) -> None:
    """Write step count and layers into every param group; None takes them out."""
    for group in optimizer.param_groups:
        for key, value in ((STEP_KEY, count), (LAYERS_KEY, layers)):
            if value is None:
                group.pop(key, None)
            else:
                group[key] = value


def distributed_checkpoint_calls() -> bool:
    """Whether torch.distributed.checkpoint is what is running."""
    return called_from(lambda module: module.startswith("torch.distributed.checkpoint"))


def called_from(is_it: Callable[[str], bool]) -> bool:
    """Whether a module of whose name this is true is what is running."""
    frame: FrameType | None = sys._getframe()
    while frame and not is_it(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return frame is not None


def found_inf(optimizer: Optimizer) -> bool:
    """Whether a fused step was skipped inside its kernel, because GradScaler had found inf or NaN."""
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)


def is_fake_step(optimizer: Optimizer) -> bool:
    """Tell the step that torch.distributed.checkpoint takes to create the state: every rate 0, every gradient zero.

    A real step may look the same, of an optimizer without state.
    """
    if torch.compiler.is_compiling():  # looking into a tensor would break the graph; that step is not compiled
        return False
    if optimizer.state or any(float(group["lr"]) != 0 for group in optimizer.param_groups):
        return False
    gradients = (p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None)
    return distributed_checkpoint_calls() and not any(bool(gradient.any()) for gradient in gradients)

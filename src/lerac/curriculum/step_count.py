"""The step count that the optimizer carries, and which of its steps count."""

import torch
from torch.optim import Optimizer

__all__ = ["STEP_KEY", "found_inf", "is_fake_step", "read_count", "write_count"]

STEP_KEY = "lerac_step"  # the one thing written into the user's optimizer, in each of its param groups


def read_count(optimizer: Optimizer) -> int | None:
    """Give the step count in the optimizer's param groups, None if there is none.

    Raises:
        ValueError: if it is negative, or the groups disagree.
    """
    counts = sorted({int(group[STEP_KEY]) for group in optimizer.param_groups if STEP_KEY in group})
    if len(counts) > 1 or any(count < 0 for count in counts):
        raise ValueError(
            f"the optimizer's param groups must agree on {STEP_KEY!r}, a count of 0 or more, and have {counts}: load a "
            "checkpoint that was saved as a whole, or delete the entry from every group to start at 0"
        )
    return counts[0] if counts else None


def write_count(optimizer: Optimizer, count: int) -> None:
    """Write the step count into every param group, so that every kind of checkpoint has it."""
    for group in optimizer.param_groups:
        group[STEP_KEY] = count


def found_inf(optimizer: Optimizer) -> bool:
    """Whether a fused step was skipped inside its kernel, because GradScaler had found inf or NaN."""
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)


def is_fake_step(optimizer: Optimizer) -> bool:
    """Tell the step that torch.distributed.checkpoint takes to create the state: every rate 0, every gradient zero."""
    if torch.compiler.is_compiling():  # looking into a tensor would break the graph; that step is not compiled
        return False
    if optimizer.state or any(float(group["lr"]) != 0 for group in optimizer.param_groups):
        return False
    gradients = (p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None)
    return not any(bool(gradient.any()) for gradient in gradients)

"""Rates as floats and as tensors: multiplied, and compared."""

from ctypes import c_float
from typing import Any

import torch

__all__ = ["changed_in_place", "rates_of", "same_rate"]


def rates_of(lr: Any, factors: list[float]) -> list[Any]:
    """Give lr · factor for every factor, in new tensors where lr is one: the user's own is never changed."""
    one_product = isinstance(lr, torch.Tensor) and lr.dtype in (torch.float32, torch.float64) and lr.ndim == 0
    if one_product and not torch.compiler.is_compiling():
        products: list[Any] = [*(lr * torch.tensor(factors, dtype=torch.float64).to(lr)).clone().unbind()]
        return products  # bit for bit what the products one by one are
    return [lr * m for m in factors]


def changed_in_place(lr: Any) -> bool:
    """Whether a rate that was made for one step is not any more what it was."""
    return isinstance(lr, torch.Tensor) and not torch.compiler.is_compiling() and lr._version > 0


def same_rate(a: Any, b: Any) -> bool:
    """Whether two rates are the same number, one of them perhaps by way of a float32 tensor."""
    try:
        one, other = float(a), float(b)
    except (TypeError, ValueError, RuntimeError):
        return False
    return one == other or c_float(one).value == c_float(other).value

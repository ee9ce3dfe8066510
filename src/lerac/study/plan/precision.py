"""The precisions that a run can be computed in."""

import torch

from lerac.study.errors import StudyError

__all__ = ["MIXED", "check_precision"]

MIXED = {"float32": "no", "bf16": "bf16", "fp16": "fp16"}
"""Precision → what Accelerate calls it. Weights and their updates are float32 in all of them."""


def check_precision(precision: str, device: str, *, here: bool = True) -> None:
    """Refuse a precision that is unknown, or that Accelerate would silently not use on a device.

    Args:
        precision: a key of `MIXED`.
        device: as torch names it.
        here: whether it is a device of this machine, which can be asked.

    Raises:
        StudyError: with the value, and what to use instead.
    """
    if precision not in MIXED:
        raise StudyError(f"--precision must be one of {', '.join(MIXED)}, got {precision!r}")
    kind = torch.device(device).type
    if precision == "fp16" and kind == "cpu":
        raise StudyError("--precision fp16 needs a GPU (--device cuda); on the CPU use bf16 or float32")
    if precision == "bf16" and kind != "cpu" and here:
        from accelerate.utils import is_bf16_available  # type: ignore[import-untyped] # here: it takes long to load

        if not is_bf16_available(ignore_tpu=True):
            raise StudyError(f"--precision bf16: the device {device} has no such arithmetic; use fp16 or float32")

"""Small updates of parameters in low precision are rounded away; say so before it happens."""

import torch
from torch.optim import Optimizer

from lerac.curriculum.notices import notice

__all__ = ["warn_of_rounding"]

_LOW = (torch.bfloat16, torch.float16)


def warn_of_rounding(optimizer: Optimizer, smallest: float) -> None:
    """Warn if trained parameters are bfloat16 or float16 and some layer starts below the full rate.

    A float32 copy inside the optimizer (master weights) would not be seen. Autocast needs none: there the
    parameters themselves are float32.

    Args:
        optimizer: whose parameters are looked at.
        smallest: factor at which the lowest layer starts, in [0, 1]; of 0 there is no update to be rounded.
    """
    if smallest >= 1 or smallest == 0:
        return
    trained = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    low = [p.dtype for p in trained if p.dtype in _LOW]
    if not low:
        return
    dtype = max(set(low), key=low.count)
    name = str(dtype).removeprefix("torch.")
    notice(
        f"{len(low)} of the optimizer's {len(trained)} trained parameters are {name}, in which an update of less than "
        f"{torch.finfo(dtype).eps / 4:.1g} of a weight is rounded away. At rates down to {smallest:.3g} of the full "
        "one, layers near the output can stay exactly as they are for most of the curriculum. Keep the parameters in "
        "float32 and compute with torch.autocast; or choose a larger ratio; or, if this optimizer keeps float32 copies "
        "of the weights, ignore this. What was measured: docs/effects.md"
    )

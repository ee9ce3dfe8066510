"""The same layers on every rank of a distributed run."""

from collections.abc import Callable, Sequence
from typing import Any

import torch.distributed as dist

from lerac.layers import Layer

__all__ = ["agreed"]


def agreed(find: Callable[[], tuple[Layer, ...]], parameters: Sequence[str]) -> tuple[Layer, ...]:
    """Find layers on every rank, and give those of the first rank whose model has the same parameters.

    With data parallelism that is rank 0: batches of other shapes, or control flow that depends on them, cannot make
    the ranks disagree. With pipeline parallelism each stage keeps its own. Every rank must call this.

    Args:
        find: finds the layers of this rank's model, or raises.
        parameters: names of this rank's parameters.

    Raises:
        RuntimeError: if the deciding rank could not find layers; its reason is given.
        Exception: whatever `find` raises, if this rank decides.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return find()
    layers, error = None, None
    try:
        layers = find()
    except Exception as raised:  # the other ranks are waiting to hear of it
        error = raised
    answers: list[Any] = [None] * dist.get_world_size()
    try:
        dist.all_gather_object(answers, (list(parameters), layers, str(error)))
    except RuntimeError as failed:
        raise RuntimeError(
            "the ranks could not agree on the layers: every rank must build LeRaC and step its optimizer; if only some "
            "do, pass layers=lerac.find_layers(model, *example_inputs)"
        ) from failed
    decides = next(rank for rank, (names, _, _) in enumerate(answers) if names == list(parameters))
    _, found, reason = answers[decides]
    if found is not None:
        return tuple(found)
    if error is not None and decides == dist.get_rank():
        raise error
    raise RuntimeError(f"rank {decides} found no layers: {reason}")

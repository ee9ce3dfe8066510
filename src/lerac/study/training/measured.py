"""What comes out when a network is measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

__all__ = ["Measured"]


@dataclass(frozen=True)
class Measured:
    """How a network does on a split.

    Args:
        loss: mean over the examples: cross-entropy in nats, absolute error, or Ultralytics' loss of a detection.
        score: value of the metric of the data set, see `lerac.study.data.tasks`.
        kept: what the network said of each example, and what is true, by name; later tests are made from it.
        others: values of metrics that are measured beside it, by name.
    """

    loss: float
    score: float
    kept: Mapping[str, Tensor]
    others: Mapping[str, float] = field(default_factory=dict)

"""From a network's outputs to loss, predictions and score, for each kind of task."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional

from lerac.study.data import Task

__all__ = ["Measured", "judge", "loss_of", "predicted", "total_score"]


@dataclass(frozen=True)
class Measured:
    """How a network does on a split.

    Args:
        loss: mean over the examples: cross-entropy in nats, or absolute error.
        score: value of the metric of the data set, see `lerac.study.metrics`.
        predicted: (n,): int64, the most probable class of each example; of a regression float32, the estimates.
    """

    loss: float
    score: float
    predicted: Tensor


def loss_of(task: Task, outputs: Tensor, labels: Tensor) -> Tensor:
    """Give the mean loss: cross-entropy; of a regression the absolute error, which is what it is judged by, too.

    Args:
        task: which.
        outputs: of the network, (batch, classes); of a regression (batch, 1).
        labels: (batch,), or of mixed examples (batch, classes) shares of the classes.
    """
    if task == "regression":
        return functional.l1_loss(outputs.squeeze(1), labels.to(outputs.dtype))
    return functional.cross_entropy(outputs, labels.to(outputs.dtype) if labels.is_floating_point() else labels)


def predicted(task: Task, outputs: Tensor) -> Tensor:
    """Give the estimates (batch,), or the most probable classes."""
    return outputs.squeeze(1) if task == "regression" else outputs.argmax(dim=1)


def total_score(task: Task, outputs: Tensor, labels: Tensor) -> Tensor:
    """Sum the metric over a batch: absolute errors, or how many are right; a mixed example counts as its larger part.

    Arguments as for `loss_of`.
    """
    if task == "regression":
        return (predicted(task, outputs).double() - labels.double()).abs().sum()
    truth = labels.argmax(dim=1) if labels.is_floating_point() else labels
    return (predicted(task, outputs) == truth).sum()


def judge(task: Task, outputs: Tensor, labels: Any) -> Measured:
    """Measure on a whole split; arguments as for `loss_of`."""
    score = total_score(task, outputs, labels).item() / len(labels)
    return Measured(loss_of(task, outputs.double(), labels).item(), score, predicted(task, outputs))

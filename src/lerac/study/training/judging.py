"""From a network's outputs to loss, predictions and score: a judge for each kind of task."""

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from lerac.study.data.settings import Task
from lerac.study.data.splits import Split
from lerac.study.training.detecting import Detection
from lerac.study.training.measured import Measured

__all__ = ["JUDGES", "Classification", "Judge", "Regression"]


class Judge(Protocol):
    """How networks are trained and judged on one kind of task.

    Attributes:
        together: times as many examples as are trained on can be measured together: without gradients there is room.
    """

    together: int

    def loss(self, network: nn.Module, outputs: Any, labels: Tensor) -> Tensor:
        """Give the mean loss over the examples of a batch.

        Args:
            network: that made the outputs, without what wraps it.
            outputs: of the network.
            labels: of the batch, as the split gives them: one row per example.
        """

    def total_score(self, outputs: Any, labels: Tensor) -> Tensor | None:
        """Sum the metric over a batch, or None where it takes a whole split; arguments as for `loss`."""

    def measure(self, network: nn.Module, batches: Iterable[tuple[Any, Tensor]], split: Split) -> Measured:
        """Measure on a whole split.

        Args:
            network: in evaluation mode, without what wraps it.
            batches: outputs and labels of all examples, in the order of the split.
            split: which.
        """


class Classification:
    """Cross-entropy and how many are right; labels are classes, or shares of the classes of mixed examples."""

    together = 8

    def loss(self, network: nn.Module, outputs: Tensor, labels: Tensor) -> Tensor:
        """Give the mean cross-entropy of outputs (batch, classes) to labels (batch,) or shares (batch, classes)."""
        return functional.cross_entropy(outputs, labels.to(outputs.dtype) if labels.is_floating_point() else labels)

    def total_score(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Count what is right; a mixed example counts as its larger part."""
        truth = labels.argmax(dim=1) if labels.is_floating_point() else labels
        return (self._predicted(outputs) == truth).sum()

    def measure(self, network: nn.Module, batches: Iterable[tuple[Any, Tensor]], split: Split) -> Measured:
        """Measure on a whole split; keeps the label and the most probable class of each example."""
        outputs = torch.cat([batch.float().cpu() for batch, _ in batches])
        loss = self.loss(network, outputs.double(), split.labels).item()
        score = self.total_score(outputs, split.labels).item() / len(split)
        return Measured(loss, score, {"label": split.labels, "predicted": self._predicted(outputs)})

    def _predicted(self, outputs: Tensor) -> Tensor:
        return outputs.argmax(dim=1)


class Regression(Classification):
    """The absolute error, which is both what is trained and what is judged by; labels are values (batch,)."""

    def loss(self, network: nn.Module, outputs: Tensor, labels: Tensor) -> Tensor:
        """Give the mean absolute error of outputs (batch, 1)."""
        return functional.l1_loss(outputs.squeeze(1), labels.to(outputs.dtype))

    def total_score(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Sum the absolute errors."""
        return (self._predicted(outputs).double() - labels.double()).abs().sum()

    def _predicted(self, outputs: Tensor) -> Tensor:
        return outputs.squeeze(1)


JUDGES: dict[Task, Judge] = {
    "classification": Classification(),
    "regression": Regression(),
    "detection": Detection(),
}
